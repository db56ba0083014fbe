"""Files that an observer writes: checked before the run, appended to, or replaced as a whole.

What belongs here: opening and replacing. Formats belong to who writes them.
"""

from __future__ import annotations

import os
import stat

from buildkit.core.errors import UsageError


class AppendedFile:
    """Lines at the end of a file, each with one write: several processes may share it, and be followed."""

    def __init__(self, path: str, option: str) -> None:
        """Open the file; UsageError names `option` where that cannot be done."""
        self.path = path
        try:
            # Non-blocking only for the opening: a pipe without a reader is an error, not a wait.
            self._fd = os.open(
                path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o666
            )
        except OSError as error:
            raise _unwritable(path, option, error) from None
        os.set_blocking(self._fd, True)

    def write(self, data: bytes) -> None:
        """Append `data`, all of it."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._fd)


class ReplacedFile:
    """A file that appears as a whole at the end of a run, or not at all."""

    def __init__(self, path: str, option: str) -> None:
        """Find out whether the file can be written; UsageError names `option` where it cannot."""
        self.path = path
        try:
            self._special = not _is_regular_or_new(path)
            if self._special:
                os.close(os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NONBLOCK))
            else:
                # A link stays a link, and its end is replaced. (The end of /dev/stdout may be no path.)
                self.path = os.path.realpath(path)
                if os.path.exists(path):
                    os.close(os.open(path, os.O_WRONLY | os.O_CLOEXEC))
                probe = self._scratch()
                os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666))
                os.unlink(probe)
        except OSError as error:
            raise _unwritable(path, option, error) from None

    def write(self, data: bytes) -> None:
        """Put `data` in the place of what the file held; readers see the old or the new, never a part."""
        if self._special:
            with open(self.path, "wb") as file:
                file.write(data)
            return
        replace(self.path, data, self._scratch())

    def _scratch(self) -> str:
        # Hidden, and without the ending that whoever collects such files looks for.
        folder, name = os.path.split(self.path)
        return os.path.join(folder, f".{name}.{os.getpid()}.tmp")


def replace(path: str, data: bytes, scratch: str, mode: int = 0o666) -> None:
    """Write `data` to `scratch` and rename it to `path`; OSError leaves `path` as it was."""
    fd = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
        finally:
            os.close(fd)
        os.rename(scratch, path)
    except OSError:
        os.unlink(scratch)
        raise


def _is_regular_or_new(path: str) -> bool:
    """Whether a rename may put a new file there: not over a device, a pipe, or a directory."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return True
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(21, "is a directory", path)
    return stat.S_ISREG(mode)


def _unwritable(path: str, option: str, error: OSError) -> UsageError:
    return UsageError(f"{option}: '{path}' cannot be written: {error.strerror or error}.")
