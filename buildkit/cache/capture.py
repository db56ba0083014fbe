"""Outputs on disk into the cache: each is read once, hashed on the way, and stored if there is a store.

What belongs here: reading outputs and noticing that they change meanwhile. A store that fails does not
make the capture fail: the hashes are still what the caller needs, and `Capture.stored` says the rest.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from buildkit.cache.cas import read_exactly
from buildkit.cache.errors import OutputChanged, OutputMissing, OutputUnstorable
from buildkit.cache.result import OutputFile, OutputKind
from buildkit.cache.tree import check_unchanged, walk
from buildkit.core.digest import XXH3, Digest, digest_bytes, digest_fd, digest_file
from buildkit.core.fingerprint import PERMISSION_BITS, Fingerprint, fingerprint_from
from buildkit.core.record import Record

if TYPE_CHECKING:
    import mmap

    from buildkit.cache.protocols import BlobStore

# Up to here a file is held in memory as a whole; above, the file system copies it.
SMALL_BYTES = 1024 * 1024

# O_NOFOLLOW: a link is an output of its own. O_NONBLOCK: opening a pipe must not wait for a writer.
OPEN_OUTPUT = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class OutputEntry(Record):
    """An output entry together with the state of the disk that it was seen in.

    `status` is of the file whose bytes `output.digest` describes (for a link: what it leads to), and of
    the entry itself where there is no digest.
    """

    output: OutputFile
    status: os.stat_result
    # Wall clock, before the first byte was read or written, or any moment at which the content was the same.
    hashed_at_ns: int

    @property
    def fingerprint(self) -> Fingerprint | None:
        """Return the fingerprint of the file, or `None` for a directory and a link without a file."""
        digest = self.output.digest
        return None if digest is None else fingerprint_from(digest, self.status, self.hashed_at_ns)


class Capture(Record):
    """What a task made: all entries, and whether every byte of them is in the store.

    Only a stored capture may become an action result. `uncacheable` says why this one never can be.
    """

    roots: tuple[str, ...]
    entries: tuple[OutputEntry, ...]
    stored: bool
    size: int  # bytes of all files together
    uncacheable: str | None = None
    marked: bool = False  # one of the marks that were asked for is in a file or in the text of a link

    @property
    def outputs(self) -> tuple[OutputFile, ...]:
        """Return the entries as an action result keeps them."""
        return tuple([entry.output for entry in self.entries])


def capture(
    paths: Iterable[str],
    *,
    root: str,
    store: BlobStore | None,
    on_store_error: Callable[[OSError], None],
    function: str = XXH3,
    marks: tuple[bytes, ...] = (),
) -> Capture:
    """Read the declared outputs, relative to `root` or absolute, and store them if `store` is given.

    `marks` are texts to look for in what is read, see `Capture.marked`.

    Raises OutputMissing, OutputChanged or OutputUnstorable; the task's result must then not be recorded.
    An OSError of the store is handed to `on_store_error` and ends storing, not hashing.
    """
    reader = _Reader(root, store, on_store_error, function, marks)
    roots: dict[str, None] = {}
    for declared in paths:
        path = declared.rstrip("/") or declared
        if path not in roots:
            roots[path] = None
            reader.read_output(path)
    stored = reader.store is not None and reader.uncacheable is None
    entries = tuple(reader.entries)
    return Capture(tuple(roots), entries, stored, reader.size, reader.uncacheable, reader.marked)


class _Reader:
    """One capture under way."""

    __slots__ = (
        "_function", "_marks", "_on_store_error", "_root",
        "entries", "marked", "size", "store", "uncacheable",
    )  # fmt: skip

    def __init__(
        self,
        root: str,
        store: BlobStore | None,
        on_store_error: Callable[[OSError], None],
        function: str,
        marks: tuple[bytes, ...],
    ) -> None:
        self._root = root
        self._marks = marks
        self.marked = False
        self._on_store_error = on_store_error
        self._function = function if store is None else store.function
        self.store = store
        self.entries: list[OutputEntry] = []
        self.size = 0
        self.uncacheable: str | None = None

    def read_output(self, path: str) -> None:
        """Read one declared output, whatever it is."""
        hashed_at_ns = time.time_ns()
        full = os.path.join(self._root, path)
        try:
            fd = os.open(full, OPEN_OUTPUT)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise OutputMissing(path, "was not made") from error
        except OSError as error:
            if os.path.islink(full):
                self._add_link(path, full, hashed_at_ns, follow=True)
                return
            raise OutputUnstorable(path, f"cannot be read: {error.strerror}") from error
        try:
            status = os.fstat(fd)
            if stat.S_ISREG(status.st_mode):
                self._add_file(path, fd, status, hashed_at_ns)
                return
        finally:
            os.close(fd)
        if not stat.S_ISDIR(status.st_mode):
            raise OutputUnstorable(path, "is neither a file nor a directory nor a symbolic link")
        self._read_tree(path)

    def _read_tree(self, path: str) -> None:
        tree = walk(path, root=self._root)
        for entry_path, kind, status in tree:
            full = os.path.join(self._root, entry_path)
            hashed_at_ns = time.time_ns()
            if kind is OutputKind.DIR:
                output = OutputFile(entry_path, kind, None, status.st_mode & PERMISSION_BITS)
                self.entries.append(OutputEntry(output, status, hashed_at_ns))
            elif kind is OutputKind.LINK:
                self._add_link(entry_path, full, hashed_at_ns, follow=False)
            else:
                try:
                    fd = os.open(full, OPEN_OUTPUT)
                except FileNotFoundError as error:
                    raise OutputChanged(entry_path, "disappeared while it was being read") from error
                except OSError as error:
                    raise OutputUnstorable(entry_path, f"cannot be read: {error.strerror}") from error
                try:
                    self._add_file(entry_path, fd, os.fstat(fd), hashed_at_ns)
                finally:
                    os.close(fd)
        check_unchanged(tree, root=self._root)

    def _add_link(self, path: str, full: str, hashed_at_ns: int, *, follow: bool) -> None:
        """Add a symbolic link.

        A link that is a declared output stands for the content that it leads to, so that content's digest
        is kept (its bytes are not stored: they belong to another path). What a link to a directory stands
        for is not captured, so it cannot be cached. Links inside a directory output are part of its shape.
        """
        digest: Digest | None = None
        try:
            text = os.readlink(full)
            self._look_for_marks(os.fsencode(text))
            status = os.lstat(full)
            if follow:
                target = _stat_or_none(full)
                if target is not None and stat.S_ISREG(target.st_mode):
                    status = target
                    digest = digest_file(full, self._function)
                    if _signature(os.stat(full)) != _signature(status):
                        raise OutputChanged(path, "changed while it was being read")
                elif target is not None:
                    self.uncacheable = f"output {path!r} is a link to something that is not a file"
        except OSError as error:
            raise OutputChanged(path, f"cannot be followed: {error.strerror}") from error
        # The mode of a link means nothing and differs between systems.
        self.entries.append(
            OutputEntry(OutputFile(path, OutputKind.LINK, digest, 0o777, text), status, hashed_at_ns)
        )

    def _add_file(self, path: str, fd: int, status: os.stat_result, hashed_at_ns: int) -> None:
        size = status.st_size
        try:
            if size <= SMALL_BYTES:
                data = read_exactly(fd, size)
                digest = digest_bytes(data, self._function)
                self._look_for_marks(data)
            else:
                data = None
                digest = self._hash_large(fd)
                self._look_for_marks_in_large(fd, size)
            after = os.fstat(fd)
        except OSError as error:
            raise OutputUnstorable(path, f"cannot be read: {error.strerror}") from error
        if (
            after.st_mtime_ns != status.st_mtime_ns
            or after.st_ctime_ns != status.st_ctime_ns
            or after.st_size != size
            or int(digest.rpartition(":")[2]) != size
        ):
            raise OutputChanged(path, "changed while it was being read")
        if data is not None and self.store is not None:
            try:
                self.store.add(data, digest)
            except OSError as error:
                self._stop_storing(error)
        self.size += size
        output = OutputFile(path, OutputKind.FILE, digest, status.st_mode & PERMISSION_BITS)
        self.entries.append(OutputEntry(output, status, hashed_at_ns))

    def _look_for_marks(self, data: bytes | mmap.mmap) -> None:
        if not self.marked:
            self.marked = any(data.find(mark) >= 0 for mark in self._marks)

    def _look_for_marks_in_large(self, fd: int, size: int) -> None:
        if self._marks and not self.marked:
            import mmap  # only for large files

            with mmap.mmap(fd, size, prot=mmap.PROT_READ) as data:
                self._look_for_marks(data)

    def _hash_large(self, fd: int) -> Digest:
        if self.store is not None:
            try:
                return self.store.add_file(fd)
            except OSError as error:
                # Perhaps the output could not be read rather than the blob not be written: hashing tells.
                self._stop_storing(error)
                os.lseek(fd, 0, os.SEEK_SET)
        return digest_fd(fd, self._function)

    def _stop_storing(self, error: OSError) -> None:
        self.store = None
        self._on_store_error(error)


def _signature(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino


def _stat_or_none(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None  # a link into nothing, or into a loop, is an output all the same
