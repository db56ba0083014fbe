"""Which git commit is checked out, read from `.git` as git's own documentation lays it out.

Builtin modules only: the fast answer asks, too.
"""

import os


def checked_out(root: str) -> str | None:
    """Return the commit of the work tree at `root`, None where it is none or has no commit."""
    directory = os.path.join(root, ".git")
    try:
        if os.path.isfile(directory):  # a worktree: the file names its directory
            directory = os.path.join(root, _read(directory).removeprefix("gitdir: "))
        head = _read(os.path.join(directory, "HEAD"))
        if not head.startswith("ref: "):
            return head or None
        common = directory
        if os.path.exists(os.path.join(directory, "commondir")):
            common = os.path.join(directory, _read(os.path.join(directory, "commondir")))
        return _resolve(head[5:], directory, common)
    except OSError:
        return None


def _resolve(ref: str, directory: str, common: str) -> str | None:
    for base in (directory, common):
        try:
            return _read(os.path.join(base, ref)) or None
        except OSError:
            continue
    for line in _read(os.path.join(common, "packed-refs")).splitlines():
        commit, _, name = line.strip().partition(" ")
        if name == ref:
            return commit
    return None


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read().strip()
