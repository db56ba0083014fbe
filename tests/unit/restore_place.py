"""A project and a store beside it, for the tests of restoring."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from buildkit.cache.capture import capture
from buildkit.cache.cas import LocalBlobStore
from buildkit.cache.restore import Restored, restore
from buildkit.cache.result import ActionResult
from buildkit.cache.scratch import Scratch
from buildkit.core.digest import Digest


class Place:
    """A project and a store beside it."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.root = base / "project"
        self.root.mkdir()
        self.scratch = Scratch(str(base / "tmp"))
        self.store = LocalBlobStore(str(base / "cas"), self.scratch)

    def record(self, *paths: str) -> ActionResult:
        def fail(error: OSError) -> None:
            raise error

        taken = capture(paths, root=str(self.root), store=self.store, on_store_error=fail)
        assert taken.stored
        return ActionResult(task="t", roots=taken.roots, outputs=taken.outputs)

    def restore(self, result: ActionResult, **options: object) -> Restored:
        return restore(result, store=self.store, scratch=self.scratch, root=str(self.root), **options)  # type: ignore[arg-type]

    def snapshot(self) -> dict[str, object]:
        """Everything below the project: kind, mode, content."""
        seen: dict[str, object] = {}
        for directory, directories, files in os.walk(self.root):
            for name in directories + files:
                path = Path(directory, name)
                mode = stat.S_IMODE(path.lstat().st_mode)
                key = str(path.relative_to(self.root))
                if path.is_symlink():
                    seen[key] = os.readlink(path)
                elif path.is_dir():
                    seen[key] = mode
                else:
                    seen[key] = (mode, path.read_bytes())
        return seen

    def damage(self, digest: Digest | None, data: bytes) -> None:
        assert digest is not None
        path = Path(self.store.path(digest))
        path.chmod(0o600)
        path.write_bytes(data)


def write(path: Path, data: bytes, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(mode)


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        for child in path.iterdir():
            remove(child)
        path.rmdir()
    else:
        path.unlink()


def without_unnamed_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restore as on a file system that knows no files without a name."""
    monkeypatch.setattr("buildkit.cache.birthplace.create_unnamed", lambda _directory, _mode: None)
