"""SIGKILL at any moment of storing, restoring and collecting: never half a blob, never half an output.

A forked child counts its calls into C (every system call and every SQL statement is one) and kills itself at
a chosen one, so that a failure can be repeated: the number is in its message.
"""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tally import tried

from buildkit.cache.errors import RestoreMiss
from buildkit.cache.local import LocalCache
from buildkit.cache.result import ActionResult
from buildkit.core.digest import digest_text

TRIES = 8 * max(1, int(os.environ.get("BUILDKIT_FAULT_ROUNDS", "1")))

KEY = digest_text("key")
OUTPUTS = ("small", "large", "deep/down/file", "tree", "link")
OLD, NEW = b"old", b"new"


def write_outputs(root: Path, state: bytes) -> None:
    """Make all outputs by hand, as a task would, in one of two states."""
    (root / "deep" / "down").mkdir(parents=True, exist_ok=True)
    (root / "tree" / "sub").mkdir(parents=True, exist_ok=True)
    for name in ("small", "deep/down/file", "tree/a", "tree/sub/b"):
        (root / name).write_bytes(state + name.encode())
    (root / "tree" / f"only-{state.decode()}").write_bytes(state)
    (root / "large").write_bytes(state * 350_000)
    if not (root / "link").is_symlink():
        (root / "link").symlink_to("small")


def files(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def never(message: str) -> None:
    raise AssertionError(f"a killed process must not cost a warning: {message}")


def killed_at(number: int, work: Callable[[], None]) -> bool:
    """Run `work` in a child that is killed at its call `number`; False if it ended before."""
    pid = os.fork()
    if pid == 0:
        left = number

        def count(_frame: object, event: str, _arg: object) -> None:
            nonlocal left
            if event == "c_call":
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.setprofile(count)
            work()
        except BaseException as error:  # nothing of the test runner may run in the child
            os.write(2, f"child failed: {error!r}\n".encode())
            os._exit(9)
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def moments(work: Callable[[int], bool], seed: int) -> None:
    """Call `work` with random numbers of calls, and with each of the first ones, until all was covered."""
    length = 1
    while work(length):  # how long is it?
        length *= 2
    rng = random.Random(seed)
    for _ in range(TRIES):
        tried()
        work(rng.randint(1, length))


class Place:
    def __init__(self, base: Path) -> None:
        self.root = base / "project"
        self.root.mkdir()
        self.directory = base / "cache"

    def open(self) -> LocalCache:
        return LocalCache.open(str(self.directory), warn=never)

    def store(self) -> None:
        cache = self.open()
        taken = cache.capture(OUTPUTS, root=str(self.root))
        assert taken.stored
        log = cache.put_bytes(b"log")
        cache.put(KEY, ActionResult(task="t", roots=taken.roots, outputs=taken.outputs, log=log, log_size=3))
        cache.flush()
        cache.close()

    def restore(self, previous: bytes) -> None:
        cache = self.open()
        result = cache.get(KEY)
        assert result is not None
        stale = [f"tree/only-{previous.decode()}"]
        cache.restore(KEY, result, root=str(self.root), declared=OUTPUTS, expected_previous=stale)
        cache.close()

    def leftovers(self) -> list[str]:
        """Temporary files, once the next process has looked after them."""
        cache = self.open()
        cache.put_bytes(b"anything")
        cache.close()
        hidden = [str(path) for path in self.root.rglob(".*")]
        return hidden + os.listdir(self.directory / "tmp")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_killed_while_storing(place: Place) -> None:
    write_outputs(place.root, NEW)
    expected = files(place.root)

    def once(number: int) -> bool:
        killed = killed_at(number, place.store)
        cache = place.open()
        report = cache.verify()
        assert report.blobs_damaged == 0, f"half a blob after call {number}"
        assert report.entries_removed == 0, f"a result without its blobs after call {number}"
        result = cache.get(KEY)
        if result is not None:
            cache.restore(KEY, result, root=str(place.root))
            assert files(place.root) == expected
        cache.close()
        assert place.leftovers() == [], f"after call {number}"
        place.open().clear()
        return killed

    moments(once, seed=1)


def test_killed_while_restoring(place: Place) -> None:
    write_outputs(place.root, NEW)
    place.store()
    new = files(place.root)
    del new["tree/only-new"]
    write_outputs(place.root, OLD)
    old = files(place.root)

    def once(number: int) -> bool:
        write_outputs(place.root, OLD)
        killed = killed_at(number, lambda: place.restore(OLD))
        seen = files(place.root)
        for name, content in new.items():
            assert seen[name] in (content, old[name]), f"half of {name} after call {number}"
        assert place.leftovers() == [], f"after call {number}"
        place.restore(OLD)
        assert files(place.root) == {**new, "tree/only-new": b"new"}
        return killed

    moments(once, seed=2)


def test_killed_while_restoring_what_was_deleted(place: Place) -> None:
    write_outputs(place.root, NEW)
    place.store()
    new = files(place.root)

    def once(number: int) -> bool:
        for name in new:
            (place.root / name).unlink(missing_ok=True)
        killed = killed_at(number, lambda: place.restore(OLD))
        for name, content in files(place.root).items():
            if not os.path.basename(name).startswith("."):
                assert content == new[name], f"half of {name} after call {number}"
        assert place.leftovers() == [], f"after call {number}"
        place.restore(OLD)
        assert files(place.root) == new
        return killed

    moments(once, seed=3)


def test_killed_while_collecting(place: Place) -> None:
    write_outputs(place.root, NEW)
    expected = files(place.root)

    def collect() -> None:
        cache = place.open()
        cache.collect(max_bytes=0, max_age_s=None, grace_s=-1)
        cache.close()

    def once(number: int) -> bool:
        place.store()
        killed = killed_at(number, collect)
        cache = place.open()
        assert cache.verify().blobs_damaged == 0
        result = cache.get(KEY)
        if result is not None:
            try:
                cache.restore(KEY, result, root=str(place.root))
            except RestoreMiss:
                pytest.fail(f"verify left a result without its blobs after call {number}")
            assert files(place.root) == expected
        cache.close()
        assert place.leftovers() == [], f"after call {number}"
        place.store()  # whatever was killed, storing and restoring work again
        place.restore(OLD)
        assert files(place.root) == expected
        return killed

    moments(once, seed=4)
