"""The cache of this machine, as the engine sees it: capture, remember, look up, restore, keep within limits.

One directory holds everything (`index.db`, `cas/`, `tmp/`), private to the user, and may be used by any
number of processes at once. Whatever goes wrong with it is a miss or a result that is not stored, told once
per run; the only exceptions that leave this class are those of `errors.py`. Nothing is created on disk
before the first write.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

from buildkit.cache.birthplace import Birthplaces
from buildkit.cache.capture import Capture, OutputEntry, capture
from buildkit.cache.cas import GRACE_S, LocalBlobStore
from buildkit.cache.errors import RestoreMiss
from buildkit.cache.index import (
    BYTES,
    COLLECTED_AT,
    HITS,
    MISSES,
    DamagedIndex,
    Index,
    NewerIndex,
    is_damage,
    is_passing,
    is_write_only,
    set_aside,
)
from buildkit.cache.lock import FileLock
from buildkit.cache.result import ActionResult, blob_digests
from buildkit.cache.scratch import Scratch, make_private_directories
from buildkit.cache.trouble import Trouble
from buildkit.core.digest import XXH3, Digest, digest_bytes
from buildkit.state.database import UndecodableError

if TYPE_CHECKING:
    from buildkit.cache.collect import CacheStats, CollectReport, VerifyReport
    from buildkit.cache.early import EarlyOutput, EarlyStore
    from buildkit.cache.restore import Restored, Restorer

_T = TypeVar("_T")

FLUSH_AT = 500  # results in the buffer
_COLLECT_EVERY_S = 3600
_COLLECT_TO = 0.9  # an automatic collection leaves room, or the next run would have to collect again


class LocalCache:
    """Action cache and blob store in one directory. Belongs to the thread that uses it first."""

    def __init__(
        self,
        directory: str,
        *,
        warn: Callable[[str], None],
        clock: Callable[[], float] = time.time,
        function: str = XXH3,
    ) -> None:
        self.directory = directory
        self._clock = clock
        # In the same file system as the blobs, so that a finished one can be renamed into place.
        self._scratch = Scratch(os.path.join(directory, "tmp"))
        self._birthplaces = Birthplaces(self._scratch.directory_apart)
        self._store = LocalBlobStore(
            f"{directory}/cas", self._scratch, function, birthplaces=self._birthplaces
        )
        self._index_path = f"{directory}/index.db"
        self._index: Index | None = None
        self._trouble = Trouble(directory, warn)
        self._ready = False  # whether the directory has been looked at
        self._writable = False  # whether it has been made, and leftovers of dead processes swept
        # Why the last question found no answer; None: it was answered, or there is no cache yet. A build
        # takes no answer for a miss; who asks what the cache holds must not be told that it holds nothing.
        self.unanswered: str | None = None
        self._early_misses = 0  # questions from before there was an index to count them in

    @classmethod
    def open(
        cls, directory: str, *, warn: Callable[[str], None], clock: Callable[[], float] = time.time
    ) -> LocalCache:
        """Return the cache in `directory`; nothing is touched yet."""
        return cls(directory, warn=warn, clock=clock)

    def close(self) -> None:
        """Write what is buffered and let go of the directory."""
        self.flush()
        if self._index is not None:
            if self._index.pending:
                self._trouble.index_failed(TimeoutError("another process holds it"), reading=True)
            self._index.close()
            self._index = None
        self._scratch.close()

    # --- storing

    def capture(
        self, paths: Iterable[str], *, root: str, store: bool = True, marks: tuple[bytes, ...] = ()
    ) -> Capture:
        """Read the outputs `paths` once; hash them and, unless told otherwise, store them.

        `marks` are texts to look for in them, see `Capture.marked`.

        Raises CaptureError (OutputMissing, OutputChanged, OutputUnstorable).
        """
        usable = self._store if store and self._may_write() else None
        return capture(
            paths,
            root=root,
            store=usable,
            on_store_error=self._trouble.writing_failed,
            function=self._store.function,
            marks=marks,
        )

    def early(self, *, root: str, marks: tuple[bytes, ...] = ()) -> EarlyStore:
        """Return what stores outputs from within a worker, where `takes_early` allows it."""
        from buildkit.cache.early import EarlyStore  # only where Python actions run

        return EarlyStore(self._store, root, marks)

    def takes_early(self) -> bool:
        """Whether workers may store outputs now."""
        return self._may_write()

    def accept_early(self, kept: EarlyOutput, *, root: str) -> OutputEntry | None:
        """Return what a worker has stored; None where the file is another one by now."""
        from buildkit.cache.early import accepted  # has been imported then

        self._store.added_bytes += kept.added_bytes
        return accepted(kept, root)

    def put(self, key: Digest, result: ActionResult) -> None:
        """Remember a result whose blobs are all stored. Others see it after the next flush."""
        if not self._may_write():
            return

        def put(index: Index) -> None:
            index.put(key, result, self._clock())
            index.count(BYTES, self._store.added_bytes)
            self._store.added_bytes = 0
            index.count(MISSES, self._early_misses)
            self._early_misses = 0
            if index.pending >= FLUSH_AT:
                index.flush()

        self._ask(put, create=True)

    def put_bytes(self, data: bytes) -> Digest | None:
        """Store bytes (a log, say); `None` if they could not be stored."""
        if not self._may_write():
            return None
        digest = digest_bytes(data, self._store.function)
        try:
            self._store.add(data, digest)
        except OSError as error:
            self._trouble.writing_failed(error)
            return None
        return digest

    def flush(self) -> None:
        """Make what was put visible to other processes and safe from a crash of this one."""
        if self._index is not None and self._trouble.reading:
            self._ask(Index.flush)

    # --- looking up

    def fetch(self, keys: Iterable[Digest]) -> None:
        """Read at once the results of keys that will be asked for one by one right after this."""
        wanted = list(keys)
        self._ask(lambda index: index.fetch(wanted))

    def get(self, key: Digest) -> ActionResult | None:
        """Return the result of the action, or `None`."""
        found = self.get_first((key,))
        return None if found is None else found[1]

    def get_first(self, keys: Iterable[Digest]) -> tuple[Digest, ActionResult] | None:
        """Return the first of the keys that has a result, with that result; one hit or one miss."""

        def get(index: Index) -> tuple[Digest, ActionResult] | None:
            for key in keys:
                result = index.get(key, self._clock())
                if result is not None:
                    index.count(HITS)
                    return key, result
            index.count(MISSES)
            return None

        found = self._ask(get)
        if self._index is None:
            self._early_misses += 1
        return found

    def foresee(self, keys: Iterable[Digest]) -> ActionResult | None:
        """Return what would be restored if one of the keys were asked for in a build; `None`: nothing.

        Nothing is changed, not even what was used when. The bytes of the blobs are not read.
        """

        def foresee(index: Index) -> ActionResult | None:
            for key in keys:
                result = index.peek(key)
                if result is not None:
                    return result if all(map(self._store.contains, blob_digests(result))) else None
            return None

        return self._ask(foresee)

    def is_empty(self) -> bool:
        """Return whether nothing can be restored from it, whatever the key."""
        return bool(self._ask(lambda index: index.oldest_use() is None)) or self._index is None

    def has_many(self, keys: Iterable[Digest]) -> set[Digest]:
        """Return those of the keys that have a result whose blobs are all there; their bytes are not read.

        Nothing is changed, not even what was used when.
        """
        wanted = list(keys)

        def has_many(index: Index) -> set[Digest]:
            blobs_of = index.blobs_of(wanted)
            return {key for key, blobs in blobs_of.items() if all(map(self._store.contains, blobs))}

        return self._ask(has_many) or set()

    def discard(self, key: Digest) -> None:
        """Forget a result."""
        self._ask(lambda index: index.delete([key]))

    def get_bytes(self, digest: Digest) -> bytes | None:
        """Return stored bytes, verified, or `None`."""
        if not self._may_read():
            return None
        try:
            return self._store.read(digest)
        except OSError as error:
            self._trouble.reading_failed(error)
            return None

    def restore(
        self,
        key: Digest,
        result: ActionResult,
        *,
        root: str,
        declared: Iterable[str] | None = None,
        expected_previous: Iterable[str] = (),
    ) -> Restored:
        """Put the outputs of a result back on disk, all or none; see `restore.restore`.

        Raises RestoreError: RestoreMiss, RestoreRefused (nothing was touched), RestoreFailed. The task has
        to run then. A result that can never be restored again is forgotten.
        """
        restorer = self.restorer(root=root)
        try:
            return restorer.restore(result, declared, expected_previous)
        except RestoreMiss as miss:
            if isinstance(miss.__cause__, OSError):
                self._trouble.reading_failed(miss.__cause__)
            if miss.stale:
                self.discard(key)
            raise

    def restorer(self, *, root: str) -> Restorer:
        """Return what restores results into the project at `root`, also within another process."""
        from buildkit.cache.restore import Restorer  # many runs restore nothing

        self._may_write()  # or what a killed restore left would stay where only restores follow it
        return Restorer(self._store, self._scratch, root, self._birthplaces)

    # --- keeping house

    def collect(
        self,
        *,
        max_bytes: int | None,
        max_age_s: float | None,
        wait: bool = True,
        grace_s: float = GRACE_S,
    ) -> CollectReport:
        """Evict results until both limits are kept, and delete the blobs that nothing needs any more.

        A blob that nothing needs stays for `grace_s` seconds after it was last written or found present.
        """
        from buildkit.cache import collect  # as below: a run needs it once an hour

        def run(index: Index) -> CollectReport:
            index.flush()
            return collect.collect(
                self._store,
                index,
                self._scratch,
                self._lock(),
                max_bytes=max_bytes,
                max_age_s=max_age_s,
                now_s=self._clock(),
                grace_s=grace_s,
                wait=wait,
            )

        return self._ask(run, create=self._holds_blobs()) or collect.CollectReport()

    def collect_if_due(self, *, max_bytes: int | None, max_age_s: float | None) -> CollectReport | None:
        """Collect at the end of a run if a limit is exceeded and the last time was an hour ago or more.

        Cheap if there is nothing to do: two small queries. Returns `None` then.
        """

        def due(index: Index) -> bool:
            index.flush()
            now_s = self._clock()
            counters = index.counters()
            # A time in the future comes from a clock that was set back: it must not switch collecting off.
            if 0 <= now_s - counters.get(COLLECTED_AT, 0) < _COLLECT_EVERY_S:
                return False
            if max_bytes is not None and counters.get(BYTES, 0) > max_bytes:
                return True
            oldest = index.oldest_use()
            return max_age_s is not None and oldest is not None and now_s - oldest > max_age_s

        if not self._ask(due):
            return None
        target = None if max_bytes is None else int(max_bytes * _COLLECT_TO)
        return self.collect(max_bytes=target, max_age_s=max_age_s, wait=False)

    def verify(self) -> VerifyReport:
        """Check every blob and every result, and delete what is damaged."""
        from buildkit.cache import collect

        def run(index: Index) -> VerifyReport:
            index.flush()
            return collect.verify(self._store, index, self._lock())

        return self._ask(run, create=self._holds_blobs()) or collect.VerifyReport()

    def stats(self) -> CacheStats:
        """Count what is in the cache."""
        from buildkit.cache import collect

        def run(index: Index) -> CacheStats:
            index.flush()
            return collect.stats(self._store, index, self.directory)

        found = self._ask(run)
        if found is None and self.unanswered is None:
            return collect.stats(self._store, None, self.directory)
        return found or collect.CacheStats(self.directory)

    def clear(self) -> CollectReport:
        """Delete every result and every blob."""
        from buildkit.cache import collect

        def run(index: Index) -> CollectReport:
            return collect.clear(self._store, index, self._scratch, self._lock(), self._clock())

        return self._ask(run, create=self._holds_blobs()) or collect.CollectReport()

    # --- inside

    def _holds_blobs(self) -> bool:
        """Whether there is something to keep house in, even where the index was lost."""
        return os.path.isdir(self._store.directory)

    def _lock(self) -> FileLock:
        return FileLock(f"{self.directory}/collect.lock")

    def _may_read(self) -> bool:
        if not self._ready:
            self._ready = True
            problem = _not_private(self.directory)
            if problem is not None:
                self._trouble.unusable(problem)
        return self._trouble.reading

    def _may_write(self) -> bool:
        if not self._may_read() or not self._trouble.storing:
            return False
        if not self._writable:
            try:
                make_private_directories(self._store.directory)
                self._scratch.sweep(self._clock())
            except OSError as error:
                self._trouble.writing_failed(error)
                self._trouble.storing = False
                return False
            self._writable = True
        return True

    def _ask(self, question: Callable[[Index], _T], *, create: bool = False) -> _T | None:
        """Put a question to the index; `None` if it cannot answer. A damaged index is replaced once."""
        self.unanswered = None
        for last_try in (False, True):
            if not self._may_read():
                self.unanswered = self._trouble.problem
                break
            try:
                if self._index is None:
                    if not create and not os.path.exists(self._index_path):
                        break
                    self._index = Index.open(self._index_path)
                return question(self._index)
            except NewerIndex as error:
                self._trouble.unusable(f"it was written by a newer buildkit ({error})")
            except DamagedIndex as error:
                self._replace_index(error.inode)
            except (sqlite3.Error, UnicodeDecodeError) as raised:
                broken = UndecodableError(str(raised)) if isinstance(raised, UnicodeDecodeError) else raised
                if self._index is None or not is_damage(broken) or last_try:
                    self._index_failed(broken)
                    break
                self._replace_index(self._index.inode)
            except OSError as error:
                self._trouble.reading_failed(error)
                self.unanswered = self._trouble.problem
                break
        else:
            self.unanswered = self._trouble.problem  # damaged again as soon as it had been replaced
        return None

    def _index_failed(self, error: sqlite3.Error) -> None:
        if is_passing(error):
            self.unanswered = "is busy: another process has held its index for a while"
            return  # the buffer keeps what was put; the next flush tries again
        readable = is_write_only(error) and self._index is not None
        if readable and self._index is not None:
            self._index.drop_buffer()
        self._trouble.index_failed(error, reading=readable)
        self.unanswered = self._trouble.problem

    def _replace_index(self, damaged_inode: int) -> None:
        old, self._index = self._index, None
        try:
            name = set_aside(self._index_path, damaged_inode)
            if name is not None:
                self._trouble.rebuilt(name)
            self._index = Index.open(self._index_path)
        except (OSError, sqlite3.Error, DamagedIndex, NewerIndex) as error:
            self._trouble.index_failed(error, reading=False)
        if old is not None:
            if self._index is not None:
                old.move_buffer_to(self._index)
            old.close()


def _not_private(directory: str) -> str | None:
    """Say why a directory that exists cannot be trusted; what others can write to, they can forge."""
    try:
        status = os.stat(directory)
    except OSError:
        return None  # not there yet, or unreadable: the first use will tell
    user = os.geteuid()
    if user not in (0, status.st_uid) and status.st_uid != 0:
        return "it belongs to another user"
    if status.st_mode & 0o002:
        return "everybody may write to it (chmod o-w would make it usable)"
    return None
