"""Eight processes store, look up, restore, collect, verify and clear in one directory at once."""

from __future__ import annotations

import os
import random
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from buildkit.cache.errors import RestoreMiss
from buildkit.cache.local import LocalCache
from buildkit.cache.result import ActionResult
from buildkit.core.digest import Digest, digest_text

PROCESSES = 8
STEPS = 60 * max(1, int(os.environ.get("BUILDKIT_FAULT_ROUNDS", "1")))
KEYS = 25


def content(number: int) -> bytes:
    """What key `number` stands for; some are shared between keys, one is large."""
    if number == 0:
        return b"large" * 300_000
    return b"content %d\n" % (number // 2)


def key(number: int) -> Digest:
    return digest_text(f"key {number}")


def in_processes(work: Callable[[int], None]) -> list[str]:
    """Run `work` in as many children at once; return what went wrong in them."""
    children = []
    for number in range(PROCESSES):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            try:
                work(number)
            except BaseException:  # nothing of the test runner may run in the child
                os.write(writer, traceback.format_exc().encode()[-4000:])
            os._exit(0)
        os.close(writer)
        children.append((pid, reader))
    problems = []
    for pid, reader in children:
        with os.fdopen(reader, "rb") as pipe:
            told = pipe.read().decode()
        status = os.waitpid(pid, 0)[1]
        if told or status:
            problems.append(told or f"status {status}")
    return problems


class Worker:
    """One process in its own worktree."""

    def __init__(self, base: Path, number: int) -> None:
        self.warnings: list[str] = []
        self.root = base / f"worktree{number}"
        self.root.mkdir()
        self.cache = LocalCache.open(str(base / "cache"), warn=self.warnings.append)
        self.rng = random.Random(number)

    def store(self, number: int) -> None:
        (self.root / "out").write_bytes(content(number))
        (self.root / "d").mkdir(exist_ok=True)
        (self.root / "d" / "same").write_bytes(content(number))
        taken = self.cache.capture(["out", "d"], root=str(self.root))
        assert taken.stored
        log = self.cache.put_bytes(content(number)[:5])
        result = ActionResult(task=str(number), roots=taken.roots, outputs=taken.outputs, log=log, log_size=5)
        self.cache.put(key(number), result)

    def restore(self, number: int) -> bool:
        result = self.cache.get(key(number))
        if result is None:
            return False
        assert result.task == str(number)
        try:
            restored = self.cache.restore(key(number), result, root=str(self.root), declared=["out", "d"])
        except RestoreMiss:
            return False
        assert (self.root / "out").read_bytes() == content(number)
        assert (self.root / "d" / "same").read_bytes() == content(number)
        assert restored.log == content(number)[:5]
        return True

    def finish(self) -> None:
        self.cache.close()
        assert self.warnings == []
        assert sorted(os.listdir(self.root)) in ([], ["d", "out"])


def check(base: Path, *, misses_allowed: bool) -> None:
    """What everybody left behind must be sound."""
    worker = Worker(base, 99)
    report = worker.cache.verify()
    assert report.blobs_damaged == 0
    if not misses_allowed:
        assert report.entries_removed == 0
    for number in range(KEYS):
        worker.restore(number)
    worker.finish()
    assert os.listdir(base / "cache" / "tmp") == []


def test_worktrees_share_a_cache_while_it_is_collected(tmp_path: Path) -> None:
    def work(number: int) -> None:
        worker = Worker(tmp_path, number)
        for step in range(STEPS):
            n = worker.rng.randrange(KEYS)
            if not worker.restore(n):
                worker.store(n)
            if step % 10 == 0:
                worker.cache.flush()
            if number == 0 and step % 5 == 0:
                worker.cache.collect(max_bytes=40, max_age_s=None)
        worker.finish()

    assert in_processes(work) == []
    check(tmp_path, misses_allowed=False)


def test_everything_at_once_without_any_grace(tmp_path: Path) -> None:
    def work(number: int) -> None:
        worker = Worker(tmp_path, number)
        for _ in range(STEPS):
            n, chance = worker.rng.randrange(KEYS), worker.rng.random()
            if chance < 0.4:
                worker.store(n)
            elif chance < 0.8:
                worker.restore(n)
            elif chance < 0.85:
                worker.cache.collect(max_bytes=20, max_age_s=None, grace_s=-1)
            elif chance < 0.87:
                worker.cache.clear()
            elif chance < 0.9:
                assert worker.cache.verify().blobs_damaged == 0
            else:
                worker.cache.flush()
        worker.finish()

    assert in_processes(work) == []
    check(tmp_path, misses_allowed=True)


def test_processes_that_start_together_make_one_cache(tmp_path: Path) -> None:
    def work(number: int) -> None:
        worker = Worker(tmp_path, number)
        worker.store(number)
        worker.finish()

    assert in_processes(work) == []
    cache = LocalCache.open(str(tmp_path / "cache"), warn=pytest.fail)
    assert len(cache.has_many(key(number) for number in range(PROCESSES))) == PROCESSES


def test_a_damaged_index_is_rebuilt_once_by_many(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "index.db").write_bytes(b"no database" * 1000)

    def work(number: int) -> None:
        worker = Worker(tmp_path, number)
        for n in range(KEYS):
            if not worker.restore(n):
                worker.store(n)
            worker.cache.flush()
        worker.warnings = [w for w in worker.warnings if "set aside" not in w]
        worker.finish()

    assert in_processes(work) == []
    assert (tmp_path / "cache" / "index.db.damaged-1").exists()
    assert not (tmp_path / "cache" / "index.db.damaged-2").exists()
    check(tmp_path, misses_allowed=False)
