"""Bytes from one open file to another, in the cheapest way that the two file systems allow.

A reflink shares the blocks until one side is written to, `copy_file_range` lets the kernel (or a file
server) copy, and reading and writing works everywhere. Knows nothing of digests or of the cache.
"""

from __future__ import annotations

import errno
import os

# linux/fs.h: _IOW(0x94, 9, int). An architecture that numbers ioctls differently answers ENOTTY, and the
# next way is taken.
_FICLONE = 0x40049409

# The disk itself says no: another way of copying would only fail again, or hide that it did.
_FINAL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG})
_CHUNK_BYTES = 1024 * 1024


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data`; OSError as `os.write` raises it."""
    written = os.write(fd, data)
    while written < len(data):
        written += os.write(fd, memoryview(data)[written:])


def copy_file(source_fd: int, target_fd: int, size: int) -> None:
    """Copy a file of `size` bytes into an empty one; both positions are at the start.

    Copies until the end of the source, should it have grown meanwhile. The target's position afterwards
    is undefined. OSError when the disk refuses.
    """
    if _clone(source_fd, target_fd):
        return
    if hasattr(os, "copy_file_range"):
        try:
            while size > 0:
                count = os.copy_file_range(source_fd, target_fd, size)
                if not count:
                    break
                size -= count
        except OSError as error:
            if error.errno in _FINAL:
                raise
    # Both positions stand behind what was copied so far: the rest, usually nothing, goes by hand.
    while data := os.read(source_fd, _CHUNK_BYTES):
        write_all(target_fd, data)


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
