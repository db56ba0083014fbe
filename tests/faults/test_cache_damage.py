"""Flipped bits and cut ends anywhere in the cache: a miss or the right bytes, never an exception."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from buildkit.cache.capture import Capture
from buildkit.cache.errors import RestoreMiss
from buildkit.cache.local import LocalCache
from buildkit.cache.result import ActionResult
from buildkit.core.digest import Digest, digest_text

ROUNDS = 4 * max(1, int(os.environ.get("BUILDKIT_FAULT_ROUNDS", "1")))  # for each kind of damage
TASKS = 60


def content(number: int) -> bytes:
    return b"large" * 300_000 if number == 0 else b"content %d\n" % number * (number % 7 + 1)


def record(taken: Capture, log: Digest | None, number: int) -> ActionResult:
    values = f'{{"n": {number}}}'
    return ActionResult(str(number), taken.roots, taken.outputs, log, log_size=5, values_json=values)


def build_cache(base: Path, *, checkpoint: bool) -> Path:
    """A cache of many results; without a checkpoint they are still in the WAL, as after a kill."""
    root = base / "project"
    root.mkdir()
    cache = LocalCache.open(str(base / "live"), warn=pytest.fail)
    for number in range(TASKS):
        (root / "out").write_bytes(content(number))
        taken = cache.capture(["out"], root=str(root))
        log = cache.put_bytes(b"log %d" % number)
        cache.put(digest_text(str(number)), record(taken, log, number))
        if number % 20 == 0:
            cache.flush()
    cache.flush()
    if checkpoint:
        cache.close()
    shutil.copytree(base / "live", base / "pristine")
    cache.close()
    return base / "pristine"


def use(directory: Path, root: Path, *, may_warn: bool) -> tuple[int, list[str]]:
    """Restore or rebuild everything twice; return how many results the damage has cost."""
    misses = []
    warnings: list[str] = []
    for _ in range(2):
        told: list[str] = []
        missed = 0
        cache = LocalCache.open(str(directory), warn=told.append)
        for number in range(TASKS):
            key = digest_text(str(number))
            (root / "out").write_bytes(b"to be replaced")
            result = cache.get(key)
            try:
                if result is None:
                    raise RestoreMiss("no entry", stale=False)
                assert result.task == str(number)
                assert result.values_json == f'{{"n": {number}}}'
                restored = cache.restore(key, result, root=str(root), declared=["out"])
                assert restored.log == b"log %d" % number
            except RestoreMiss:
                missed += 1
                assert (root / "out").read_bytes() == b"to be replaced"
                (root / "out").write_bytes(content(number))
                taken = cache.capture(["out"], root=str(root))
                log = cache.put_bytes(b"log %d" % number)
                again = record(taken, log, number)
                if taken.stored:
                    cache.put(key, again)
            assert (root / "out").read_bytes() == content(number)
        cache.collect(max_bytes=None, max_age_s=None)
        cache.stats()
        cache.verify()
        cache.close()
        assert len(told) <= 1, told
        warnings += told
        misses.append(missed)
    if not may_warn:
        assert warnings == []
    assert misses[1] == 0 or warnings, "the second pass must find everything again"
    return misses[0], warnings


def damage(path: Path, rng: random.Random) -> str:
    """Flip bits, overwrite a stretch or cut the end off; return what was done."""
    data = bytearray(path.read_bytes())
    if not data:
        return "empty already"
    how = rng.choice(["flip", "flip many", "zeros", "noise", "cut"])
    where = rng.randrange(len(data))
    if how == "flip":
        data[where] ^= 1 << rng.randrange(8)
    elif how == "flip many":
        for _ in range(50):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif how == "cut":
        del data[where:]
    else:
        length = min(rng.choice([1, 16, 512, 4096]), len(data) - where)
        data[where : where + length] = bytes(length) if how == "zeros" else rng.randbytes(length)
    path.chmod(0o600)
    path.write_bytes(data)
    return f"{how} at {where} of {len(data)}"


@pytest.mark.parametrize("checkpoint", [True, False], ids=["closed", "killed"])
@pytest.mark.parametrize("what", ["index", "blobs", "all"])
def test_damage_anywhere_is_a_miss_at_worst(tmp_path: Path, what: str, checkpoint: bool) -> None:
    pristine = build_cache(tmp_path, checkpoint=checkpoint)
    hurt = 0
    for round_number in range(ROUNDS):
        seed = f"{what} {checkpoint} {round_number}"
        rng = random.Random(seed)
        directory = tmp_path / "damaged"
        shutil.copytree(pristine, directory)
        blobs = [path for path in sorted((directory / "cas").rglob("*")) if path.is_file()]
        index = [path for path in sorted(directory.glob("index.db*")) if path.stat().st_size]
        done = []
        if what != "blobs":
            done = [damage(path, rng) for path in rng.sample(index, rng.randint(1, len(index)))]
        if what != "index":
            done += [damage(path, rng) for path in rng.sample(blobs, 10)]
        try:
            misses, _ = use(directory, tmp_path / "project", may_warn=what != "blobs")
        except BaseException as error:
            error.add_note(f"seed {seed!r}: {done}")
            raise
        hurt += misses > 0
        shutil.rmtree(directory)
    assert hurt, "the damage did not hit anything"


def test_a_missing_piece_is_a_miss_at_worst(tmp_path: Path) -> None:
    pristine = build_cache(tmp_path, checkpoint=True)
    for piece in ("index.db", "cas", "tmp", "cas/xxh3"):
        directory = tmp_path / "damaged"
        shutil.copytree(pristine, directory)
        if (directory / piece).is_dir():
            shutil.rmtree(directory / piece)
        else:
            (directory / piece).unlink()
        use(directory, tmp_path / "project", may_warn=False)
        shutil.rmtree(directory)


def test_files_in_place_of_directories_are_a_miss_at_worst(tmp_path: Path) -> None:
    pristine = build_cache(tmp_path, checkpoint=True)
    for piece in ("cas", "tmp", "cas/xxh3", "index.db"):
        directory = tmp_path / "damaged"
        shutil.copytree(pristine, directory)
        if (directory / piece).is_dir():
            shutil.rmtree(directory / piece)
            (directory / piece).write_text("a file")
        else:
            (directory / piece).unlink()
            (directory / piece).mkdir()
        use(directory, tmp_path / "project", may_warn=True)
        shutil.rmtree(directory)
