"""Keeping the cache within its limits, checking it, emptying it, and telling what is in it.

Mark and sweep: first action results are evicted, the least recently used first, then blobs that no result
refers to are deleted. Why a sweep cannot take a blob from under a running build is told in `cas.py`. Two
collections do not run at the same time; if they did (a file system without locks), nothing would break.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress

from buildkit.cache.cas import GRACE_S, LocalBlobStore, StoredBlob
from buildkit.cache.index import BYTES, COLLECTED_AT, HITS, MISSES, Index, IndexRow
from buildkit.cache.lock import FileLock
from buildkit.cache.result import blob_digests
from buildkit.cache.scratch import Scratch
from buildkit.core.digest import Digest, digest_file, digest_function, digest_size
from buildkit.core.record import Record


class CollectReport(Record):
    """What a collection did."""

    entries_evicted: int = 0
    entries_left: int = 0
    blobs_deleted: int = 0
    bytes_deleted: int = 0
    blobs_left: int = 0
    bytes_left: int = 0
    blobs_young: int = 0  # of those left: nothing needs them, but a running build may be about to
    bytes_young: int = 0
    temporaries_swept: int = 0
    busy: bool = False  # another collection is under way; nothing was done


class VerifyReport(Record):
    """What a verification found and removed."""

    blobs_checked: int = 0
    bytes_checked: int = 0
    blobs_damaged: int = 0
    entries_checked: int = 0
    entries_removed: int = 0  # damaged, or without one of their blobs


class CacheStats(Record):
    """What is in the cache."""

    location: str
    entries: int = 0
    blobs: int = 0
    bytes: int = 0  # of all blobs
    index_bytes: int = 0
    oldest_used_at: int | None = None  # seconds since the epoch
    newest_used_at: int | None = None
    hits: int = 0
    misses: int = 0
    collected_at: int | None = None


def choose_evictions(
    rows: Iterable[IndexRow], *, max_bytes: int | None, max_age_s: float | None, now_s: float
) -> list[IndexRow]:
    """Return the rows to evict, from rows in order of use, the most recent first.

    All rows are kept until the first one that no longer fits into `max_bytes` (a blob counts once, for the
    most recent row that needs it) or was last used more than `max_age_s` ago; the rest goes.
    """
    evicted: list[IndexRow] = []
    counted: set[Digest] = set()
    total = 0
    for row in rows:
        if not evicted:
            new = [digest for digest in row.blobs if digest not in counted]
            counted.update(new)
            total += row.size + sum(map(digest_size, new))
            too_large = max_bytes is not None and total > max_bytes
            too_old = max_age_s is not None and now_s - row.used_at > max_age_s
            if not (too_large or too_old):
                continue
        evicted.append(row)
    return evicted


def collect(
    store: LocalBlobStore,
    index: Index,
    scratch: Scratch,
    lock: FileLock,
    *,
    max_bytes: int | None,
    max_age_s: float | None,
    now_s: float,
    grace_s: float = GRACE_S,
    wait: bool = True,
) -> CollectReport:
    """Bring the cache within its limits; OSError and sqlite3.Error as they come."""
    if not lock.acquire(wait=wait):
        return CollectReport(busy=True)
    try:
        swept = scratch.sweep(now_s)
        evictions = choose_evictions(index.rows(), max_bytes=max_bytes, max_age_s=max_age_s, now_s=now_s)
        evicted = index.delete_unused([(row.key, row.used_at) for row in evictions]) if evictions else 0
        # In this order: what becomes referenced after the blobs were listed has been touched by then.
        cutoff_s = lock.file_time_s() - grace_s
        blobs = list(store.scan())
        rows = index.rows()
        referenced = {digest for row in rows for digest in row.blobs}
        unneeded = [blob for blob in blobs if blob.digest not in referenced]
        deleted = _sweep(store, unneeded, cutoff_s)
        sizes = [digest_size(blob.digest) for blob in blobs]
        bytes_deleted = sum(digest_size(blob.digest) for blob in deleted)
        report = CollectReport(
            entries_evicted=evicted,
            entries_left=len(rows),
            blobs_deleted=len(deleted),
            bytes_deleted=bytes_deleted,
            blobs_left=len(blobs) - len(deleted),
            bytes_left=sum(sizes) - bytes_deleted,
            blobs_young=len(unneeded) - len(deleted),
            bytes_young=sum(digest_size(blob.digest) for blob in unneeded) - bytes_deleted,
            temporaries_swept=swept,
        )
        index.set_counter(BYTES, report.bytes_left)
        index.set_counter(COLLECTED_AT, int(now_s))
        if evicted:
            index.shrink()
        return report
    finally:
        lock.release()


def verify(store: LocalBlobStore, index: Index, lock: FileLock) -> VerifyReport:
    """Read every blob and every result; delete what is damaged and what can no longer be restored."""
    with lock:
        sound: set[Digest] = set()
        damaged = bytes_checked = 0
        for blob in store.scan():
            actual = None
            try:
                actual = digest_file(blob.path, digest_function(blob.digest))
            except (FileNotFoundError, ValueError):
                continue  # collected meanwhile; or an unknown hash function: a directory that is none of ours
            except OSError:
                pass  # what cannot be read is damaged
            if actual == blob.digest:
                sound.add(blob.digest)
                bytes_checked += digest_size(blob.digest)
            else:
                damaged += 1
                with suppress(OSError):
                    os.unlink(blob.path)
        doomed: list[str] = []
        entries = 0
        for key, result in list(index.results()):
            entries += 1
            # A blob may have come after the listing: ask the disk before giving a result up.
            if result is None or not all(d in sound or store.contains(d) for d in blob_digests(result)):
                doomed.append(key)
        if doomed:
            index.delete(doomed)
        index.set_counter(BYTES, bytes_checked)
        return VerifyReport(len(sound) + damaged, bytes_checked, damaged, entries, len(doomed))


def clear(
    store: LocalBlobStore, index: Index, scratch: Scratch, lock: FileLock, now_s: float
) -> CollectReport:
    """Delete everything. A build that runs at the same time has misses from then on."""
    with lock:
        entries = len(index.rows())
        index.delete_all()
        deleted = _sweep(store, store.scan(), float("inf"))
        return CollectReport(
            entries_evicted=entries,
            blobs_deleted=len(deleted),
            bytes_deleted=sum(digest_size(blob.digest) for blob in deleted),
            temporaries_swept=scratch.sweep(now_s),
        )


def stats(store: LocalBlobStore, index: Index | None, location: str) -> CacheStats:
    """Count what is in the cache; looks at the disk, not at counters. None: the index was lost."""
    blobs = [digest_size(blob.digest) for blob in store.scan()]
    if index is None:
        return CacheStats(location, blobs=len(blobs), bytes=sum(blobs))
    rows = index.rows()
    counters = index.counters()
    return CacheStats(
        location=location,
        entries=len(rows),
        blobs=len(blobs),
        bytes=sum(blobs),
        index_bytes=os.stat(index.path).st_size,
        oldest_used_at=rows[-1].used_at if rows else None,
        newest_used_at=rows[0].used_at if rows else None,
        hits=counters.get(HITS, 0),
        misses=counters.get(MISSES, 0),
        collected_at=counters.get(COLLECTED_AT),
    )


def _sweep(store: LocalBlobStore, blobs: Iterable[StoredBlob], cutoff_s: float) -> list[StoredBlob]:
    return [blob for blob in blobs if blob.mtime_s < cutoff_s and store.remove_if_older(blob, cutoff_s)]
