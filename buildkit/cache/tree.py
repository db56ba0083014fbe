"""Directory outputs: what is in a directory, as a flat list in a fixed order. Reads no file."""

from __future__ import annotations

import os
import stat

from buildkit.cache.errors import OutputChanged, OutputMissing, OutputUnstorable
from buildkit.cache.result import OutputKind
from buildkit.cache.scratch import is_restore_temporary
from buildkit.core.record import Record


class TreeEntry(Record):
    """One thing in a directory output; `path` begins with the declared path of the directory."""

    path: str
    kind: OutputKind
    status: os.stat_result  # of the entry itself, links not followed


def walk(path: str, *, root: str) -> list[TreeEntry]:
    """Return the directory `path` (relative to `root`, or absolute) and all that is in it, sorted by path.

    A directory always comes before its entries. Symbolic links are entries, never followed, except `path`
    itself. Raises OutputUnstorable for sockets, pipes, devices and unreadable directories.
    """
    try:
        entries = [TreeEntry(path, OutputKind.DIR, os.stat(os.path.join(root, path)))]
    except FileNotFoundError as error:
        raise OutputMissing(path, "was not made") from error
    pending = [path]
    while pending:
        directory = pending.pop()
        try:
            found = list(os.scandir(os.path.join(root, directory)))
        except FileNotFoundError as error:
            raise OutputChanged(directory, "disappeared while it was being read") from error
        except OSError as error:
            raise OutputUnstorable(directory, f"cannot be read: {error.strerror}") from error
        for entry in found:
            if is_restore_temporary(entry.name):
                continue  # left by a killed run, not made by the task
            entry_path = f"{directory}/{entry.name}"
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError as error:
                raise OutputChanged(entry_path, "disappeared while it was being read") from error
            kind = kind_of(entry_path, status)
            if kind is OutputKind.DIR:
                pending.append(entry_path)
            entries.append(TreeEntry(entry_path, kind, status))
    entries.sort()
    return entries


def kind_of(path: str, status: os.stat_result) -> OutputKind:
    """Return what a stat result describes; OutputUnstorable if it is nothing that has content."""
    if stat.S_ISREG(status.st_mode):
        return OutputKind.FILE
    if stat.S_ISDIR(status.st_mode):
        return OutputKind.DIR
    if stat.S_ISLNK(status.st_mode):
        return OutputKind.LINK
    raise OutputUnstorable(path, "is neither a file nor a directory nor a symbolic link")


def check_unchanged(entries: list[TreeEntry], *, root: str) -> None:
    """Raise OutputChanged if an entry has been added to or removed from a directory since `walk`."""
    for entry in entries:
        if entry.kind is OutputKind.DIR:
            try:
                now = os.stat(os.path.join(root, entry.path))
            except FileNotFoundError as error:
                raise OutputChanged(entry.path, "disappeared while it was being read") from error
            if now.st_mtime_ns != entry.status.st_mtime_ns or now.st_ino != entry.status.st_ino:
                raise OutputChanged(entry.path, "changed while it was being read")
