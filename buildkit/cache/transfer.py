"""Bytes from one open file to another, in the cheapest way that the two file systems allow.

A reflink shares the blocks until one side is written to. Everywhere else bytes are read, hashed while they
lie in the processor's cache, and written: that takes less than `copy_file_range` alone, and with it the copy
would have to be read once more to be hashed. Knows nothing of the cache.
"""

from __future__ import annotations

import errno
import os

from buildkit.core.digest import Digest, digest_fd, make_digest, new_hasher

# linux/fs.h: _IOW(0x94, 9, int). An architecture that numbers ioctls differently answers ENOTTY, and the
# next way is taken.
_FICLONE = 0x40049409

# The disk itself says no: another way of copying would only fail again, or hide that it did.
_FINAL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG})
_CHUNK_BYTES = 512 * 1024  # measured: 256 KiB to 8 MiB are alike


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write all of `data`; OSError as `os.write` raises it."""
    written = os.write(fd, data)
    while written < len(data):
        written += os.write(fd, memoryview(data)[written:])


def copy_file(source_fd: int, target_fd: int, function: str, *, source_is_final: bool = False) -> Digest:
    """Copy a file into an empty one and return the digest of the copy; both positions are at the start.

    Copies until the end of the source. Positions afterwards are undefined. OSError when the disk refuses.
    `source_is_final` says that nobody writes to the source (a blob): its blocks are then those of a reflink,
    and, unlike those, may be in memory already.
    """
    if _clone(source_fd, target_fd):
        return digest_fd(source_fd if source_is_final else target_fd, function)
    hasher = new_hasher(function)
    size = 0
    buffer = bytearray(_CHUNK_BYTES)
    view = memoryview(buffer)
    while count := os.readv(source_fd, [buffer]):
        chunk = view[:count]
        hasher.update(chunk)
        write_all(target_fd, chunk)
        size += count
    return make_digest(function, hasher, size)


def _clone(source_fd: int, target_fd: int) -> bool:
    """Share the source's blocks with the target if the file system can."""
    import fcntl  # only for large files

    try:
        fcntl.ioctl(target_fd, _FICLONE, source_fd)
    except OSError as error:
        if error.errno in _FINAL:
            raise
        return False
    return True
