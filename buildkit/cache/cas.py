"""The local content-addressed store: one read-only file per blob, below `cas/` of the cache directory.

A blob is written to a file without a name, or to a scratch file, which then becomes
`cas/<function>/<2 hex>/<rest of hex>-<size>`, so it is there as a whole or not at all. Nothing is flushed to
the disk on purpose: what a power cut leaves behind has a wrong size or a wrong hash, and a blob is verified
whenever it is read.

**Racing with a collection.** A writer that finds its blob present does not write it again; it sets the
blob's mtime to now first and relies on it afterwards. A collector (`collect.py`) deletes only blobs that
no action result refers to and that are older than a grace period, and it takes each one out of sight
*before* it looks at the mtime for the last time:

1. collector renames the blob away; 2. collector reads the mtime; 3. young: rename back, old: delete.

The writer's touch goes by name. It comes before (1), then (2) sees it and the blob comes back; or after
(1), then it fails with ENOENT and the writer writes the blob anew. No order loses a blob that a writer
relies on, and no lock is needed. A reader between (1) and (3) sees a miss, which is always correct. A
collector that dies there leaves a scratch file, and the same miss. The grace period covers the time
between the touch and the moment when the writer's action result is in the index (0.1 s by design); a
machine that sleeps or a clock that jumps in between costs, again, a miss.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

from buildkit.cache.birthplace import Birthplaces
from buildkit.cache.scratch import Scratch, make_private_directories
from buildkit.cache.transfer import copy_file, write_all
from buildkit.cache.unnamed import give_name
from buildkit.core.digest import XXH3, Digest, digest_bytes, digest_fd, digest_function, digest_size
from buildkit.core.record import Record

# Between the moment when a running build starts to rely on a blob and the one when its result is in the
# index lies a tenth of a second; ten minutes leave room for machines that are out of breath.
GRACE_S = 600
_MODE = 0o400  # read-only from birth: a blob is never meant to be written to again


class StoredBlob(Record):
    """A blob as it lies on disk."""

    path: str
    digest: Digest
    mtime_s: float


class LocalBlobStore:
    """Blobs as files below one directory. Safe between processes; not for several threads at once."""

    def __init__(
        self,
        directory: str,
        scratch: Scratch,
        function: str = XXH3,
        *,
        birthplaces: Birthplaces | None = None,
    ) -> None:
        """`birthplaces` are shared with others that make files without a name."""
        self.directory = directory
        self.function = function
        self.added_bytes = 0  # by this process, since the owner last looked
        self._scratch = scratch
        self._birthplaces = birthplaces or Birthplaces()

    def path(self, digest: Digest) -> str:
        """Return where the blob is, if it is there."""
        function, hexadecimal, size = digest.split(":")
        return f"{self.directory}/{function}/{hexadecimal[:2]}/{hexadecimal[2:]}-{size}"

    def contains(self, digest: Digest) -> bool:
        """Return whether a blob of the right size is there."""
        try:
            return os.stat(self.path(digest)).st_size == digest_size(digest)
        except FileNotFoundError:
            return False

    def add(self, data: bytes, digest: Digest) -> None:
        """Store `data` unless the blob is there already, which then counts as written now."""
        path = self.path(digest)
        if self._keep(path, data):
            return
        if not self._add_unnamed(data, path):
            self._add_named(data, path)
        self.added_bytes += len(data)

    def add_file(self, fd: int) -> Digest:
        """Copy the open file and return the digest of the copy, which is then stored."""
        copy_fd, temporary = self._scratch.create()
        try:
            try:
                digest = copy_file(fd, copy_fd, self.function)
            finally:
                os.close(copy_fd)
            # Over a blob that may be there already: the copy has just been hashed, the other one has not.
            self._publish(temporary, self.path(digest))
        except BaseException:
            _unlink(temporary)
            raise
        self.added_bytes += digest_size(digest)
        return digest

    def open(self, digest: Digest) -> int | None:
        """Return a descriptor of the blob if it is there with the right size."""
        try:
            fd = os.open(self.path(digest), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        if os.fstat(fd).st_size == digest_size(digest):
            return fd
        os.close(fd)
        self.discard(digest)
        return None

    def read(self, digest: Digest) -> bytes | None:
        """Return the blob's bytes if they are there and right; delete them if they are wrong."""
        try:
            fd = os.open(self.path(digest), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        try:
            data = read_exactly(fd, digest_size(digest))
        finally:
            os.close(fd)
        if digest_bytes(data, digest_function(digest)) == digest:
            return data
        self.discard(digest)
        return None

    def verify(self, digest: Digest) -> bool:
        """Return whether the blob is there and right; delete it if it is wrong. Memory stays bounded."""
        fd = self.open(digest)
        if fd is None:
            return False
        try:
            sound = digest_fd(fd, digest_function(digest)) == digest
        finally:
            os.close(fd)
        if not sound:
            self.discard(digest)
        return sound

    def discard(self, digest: Digest) -> None:
        """Delete the blob."""
        _unlink(self.path(digest))

    def scan(self) -> Iterator[StoredBlob]:
        """Yield every blob on disk. Files that are not blobs are passed over."""
        for function in _names(self.directory):
            for shard in _names(f"{self.directory}/{function}"):
                directory = f"{self.directory}/{function}/{shard}"
                try:
                    entries = list(os.scandir(directory))
                except (FileNotFoundError, NotADirectoryError):
                    continue
                for entry in entries:
                    rest, _, size = entry.name.rpartition("-")
                    if not rest or not size.isascii() or not size.isdigit():
                        continue
                    with suppress(FileNotFoundError):
                        mtime_s = entry.stat(follow_symlinks=False).st_mtime
                        digest = Digest(f"{function}:{shard}{rest}:{size}")
                        yield StoredBlob(entry.path, digest, mtime_s)

    def remove_if_older(self, blob: StoredBlob, cutoff_s: float) -> bool:
        """Delete a blob unless it has been touched at or after `cutoff_s`; see "Racing" above."""
        hidden = self._scratch.unused_path()
        try:
            os.rename(blob.path, hidden)
        except FileNotFoundError:
            return False
        try:
            if os.stat(hidden).st_mtime >= cutoff_s:
                os.rename(hidden, blob.path)
                return False
            os.unlink(hidden)
        except FileNotFoundError:
            pass  # old enough for another process to have swept it as a leftover
        return True

    def _keep(self, path: str, data: bytes) -> bool:
        """Mark the blob as used now, if it is there and right; otherwise it has to be written."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return False  # not there, or unreadable, which writing it anew cures
        try:
            if read_exactly(fd, len(data)) != data:
                return False
        finally:
            os.close(fd)
        try:
            os.utime(path)
        except FileNotFoundError:
            return False
        return True

    def _add_unnamed(self, data: bytes, path: str) -> bool:
        """Write a blob the fast way; False where that cannot be done, or another file stands there."""
        place = self._scratch.directory
        try:
            fd = self._create_unnamed(place)
        except FileNotFoundError:
            make_private_directories(place)
            fd = self._create_unnamed(place)
        if fd is None:
            return False
        try:
            write_all(fd, data)
            try:
                return give_name(fd, path)
            except FileNotFoundError:
                make_private_directories(os.path.dirname(path))
                return give_name(fd, path)
            except OSError:
                self._birthplaces.refused(place)
                return False
        finally:
            os.close(fd)

    def _create_unnamed(self, place: str) -> int | None:
        return self._birthplaces.create(place, _MODE, lambda _beside: self._scratch.unused_path())

    def _add_named(self, data: bytes, path: str) -> None:
        fd, temporary = self._scratch.create()
        try:
            try:
                write_all(fd, data)
            finally:
                os.close(fd)
            self._publish(temporary, path)
        except BaseException:
            _unlink(temporary)
            raise

    def _publish(self, temporary: str, path: str) -> None:
        try:
            os.rename(temporary, path)
        except FileNotFoundError:
            make_private_directories(os.path.dirname(path))
            os.rename(temporary, path)


def read_exactly(fd: int, size: int) -> bytes:
    """Return up to `size + 1` bytes from `fd`; any number but `size` means that the file is another one."""
    data = os.read(fd, size + 1)
    if len(data) >= size:
        return data
    parts = [data]
    missing = size + 1 - len(data)
    while missing > 0 and (data := os.read(fd, missing)):
        parts.append(data)
        missing -= len(data)
    return b"".join(parts)


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _unlink(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)
