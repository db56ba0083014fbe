"""The project's state directory: where `.buildkit/` is, and how it comes into being.

Everything in it belongs to this checkout alone. What belongs here: names and creation. No SQLite, so that
the fast answer to a build with nothing to do can use it.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress

from buildkit.core.errors import StateError

STATE_DIRECTORY = ".buildkit"
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def state_directory(project: str) -> str:
    """Return the path of the state directory of the project at `project`; it need not exist."""
    return os.path.join(project, STATE_DIRECTORY)


def ensure_state_directory(project: str) -> str:
    """Create the state directory (0700) with a `.gitignore` of its own, and return its path.

    Raises StateError where it cannot be created.
    """
    directory = state_directory(project)
    try:
        os.mkdir(directory, 0o700)
    except FileExistsError:
        if not os.path.isdir(directory):
            raise StateError(
                f"cannot keep the state of this project: {directory} is not a directory. "
                f"Move it away, or set BUILDKIT=0 to run stock doit."
            ) from None
    except OSError as error:
        raise unusable(directory, error) from error
    ignore = os.path.join(directory, ".gitignore")
    if not os.path.exists(ignore):  # asked each time, because a kill may come between the two
        try:
            with open(ignore, "w", encoding="utf-8") as file:
                file.write("*\n")
        except OSError as error:
            if error.errno not in FULL:
                raise unusable(ignore, error) from error
            with suppress(OSError):
                os.unlink(ignore)  # empty: the next run has to write it
    return directory


def unusable(path: str, error: OSError) -> StateError:
    """Return the error that says that the state at `path` cannot be written, and what to do."""
    return StateError(
        f"cannot keep the state of this project: {path}: {error.strerror or error}. "
        f"Make it writable, or set BUILDKIT=0 to run stock doit."
    )
