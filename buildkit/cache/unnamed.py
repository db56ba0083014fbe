"""New files that have no name until they are whole (O_TMPFILE, Linux).

Making one and giving it its name takes half of what a temporary name and a rename take, and whoever is killed
in between leaves nothing behind. Where they cannot be had, callers use a temporary name.
"""

from __future__ import annotations

import functools
import os


def create_unnamed(directory: str, mode: int) -> int | None:
    """Open a new file without a name for writing; None where the file system knows no such files.

    `mode` is subject to the umask. FileNotFoundError where the directory does not exist.
    """
    if not _can_be_named():
        return None
    try:
        return os.open(directory, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, mode)
    except FileNotFoundError:
        raise
    except OSError:
        return None  # if it is the disk that refuses, a file with a name is refused as well


def give_name(fd: int, path: str) -> bool:
    """Give a file that has no name the name `path`; False, and nothing is done, where something stands there.

    Other OSErrors as `os.link` raises them.
    """
    try:
        # Only a call that takes the descriptor of a directory follows the link that stands for our file;
        # which directory it is does not matter, as the path is absolute.
        os.link(f"/proc/self/fd/{fd}", path, src_dir_fd=fd, follow_symlinks=True)
    except FileExistsError:
        return False
    return True


@functools.cache
def _can_be_named() -> bool:
    return hasattr(os, "O_TMPFILE") and os.path.isdir("/proc/self/fd")
