"""Small outputs that the process which made them hashes and stores at once, so that the run itself need not.

A worker has run somebody's code, so nothing is taken from it on trust: a digest counts only for a file that
is still the one that it was read from, and is held to be taken too soon after the last write, so that the
file is read again before the run ends. A blob is verified whenever it is read, whoever wrote it. What a
worker could not store, or what is no plain small file, the run captures itself. Without a cache there is
nothing to store, and the digests are what is spared.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from buildkit.cache.capture import OPEN_OUTPUT, SMALL_BYTES, OutputEntry
from buildkit.cache.cas import LocalBlobStore, read_exactly
from buildkit.cache.result import OutputFile, OutputKind
from buildkit.core.digest import XXH3, Digest, digest_bytes
from buildkit.core.fingerprint import PERMISSION_BITS
from buildkit.core.record import Record

_MOST = 64  # files of one task
_SIZE = 2  # index in a signature


class EarlyOutput(Record):
    """One file, as it was when a worker read it, and stored its bytes if there is a store."""

    path: str
    digest: str
    signature: tuple[int, ...]
    marked: bool  # see `Capture.marked`
    added_bytes: int  # to the store


class EarlyStore:
    """Reads outputs within a worker, and stores them; made before that is forked."""

    def __init__(self, store: LocalBlobStore | None, root: str, marks: tuple[bytes, ...] = ()) -> None:
        """`store`: None where there is no cache, and digests are all that is wanted."""
        self._store = store
        self._root = root
        self._marks = marks

    def keep(self, paths: Sequence[str]) -> tuple[EarlyOutput, ...]:
        """Read those of the outputs that can be, and return what was stored. Nothing is ever raised."""
        found: list[EarlyOutput] = []
        room = SMALL_BYTES  # of all together: the job's time limit goes on meanwhile
        for path in paths[:_MOST]:
            kept = self._keep(path, room)
            if kept is not None:
                found.append(kept)
                room -= kept.signature[_SIZE]
        return tuple(found)

    def _keep(self, path: str, room: int) -> EarlyOutput | None:
        store = self._store
        added_bytes = 0
        try:
            fd = os.open(os.path.join(self._root, path), OPEN_OUTPUT)
            try:
                status = os.fstat(fd)
                size = status.st_size
                if not stat.S_ISREG(status.st_mode) or size > room:
                    return None
                data = read_exactly(fd, size)
                signature = _signature(os.fstat(fd))
            finally:
                os.close(fd)
            if len(data) != size or signature != _signature(status):
                return None
            digest = digest_bytes(data, XXH3 if store is None else store.function)
            if store is not None:
                store.added_bytes = 0
                store.add(data, digest)
                added_bytes = store.added_bytes
        except Exception:
            return None  # the run looks itself, and says what is wrong
        marked = any([data.find(mark) >= 0 for mark in self._marks])
        return EarlyOutput(path, digest, signature, marked, added_bytes)


def accepted(kept: EarlyOutput, root: str) -> OutputEntry | None:
    """Return what a worker has read, if the file is still the same; else None."""
    try:
        status = os.lstat(os.path.join(root, kept.path))
    except OSError:
        return None
    if _signature(status) != kept.signature:
        return None
    output = OutputFile(kept.path, OutputKind.FILE, Digest(kept.digest), status.st_mode & PERMISSION_BITS)
    # The worker's clock is not asked: what was read when it was written is always read again.
    return OutputEntry(output, status, min(status.st_mtime_ns, status.st_ctime_ns))


def _signature(status: os.stat_result) -> tuple[int, ...]:
    return (
        status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_dev, status.st_mode,
    )  # fmt: skip
