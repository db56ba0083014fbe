"""What can go wrong when outputs go into the cache or come out of it, as types that the engine acts upon.

Each of them means "the cache cannot be used for this task now"; none of them ends a build. Trouble of
the cache as a whole (disk full, damaged index) is not raised at all: see `trouble.py`.
"""

from __future__ import annotations

from buildkit.core.errors import BuildkitError


class CaptureError(BuildkitError):
    """An output cannot be recorded. `path` is the output as it was declared, or an entry below it."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"output {path!r} {problem}")
        self.path = path


class OutputMissing(CaptureError):  # noqa: N818 - reads as what happened, like FileNotFoundError's siblings
    """The task ended, and the output that it declares is not there."""


class OutputChanged(CaptureError):  # noqa: N818 - as above
    """Somebody wrote to the output while it was being read."""


class OutputUnstorable(CaptureError):  # noqa: N818 - as above
    """The output is a socket, a pipe or a device, or it cannot be read."""


class RestoreError(BuildkitError):
    """The outputs did not come back from the cache; the task has to run."""


class RestoreMiss(RestoreError):  # noqa: N818 - as above
    """A blob is missing or damaged, or a link leads to other content than it did. Nothing was touched.

    `stale` is true when the action result can never be restored again and should be deleted.
    """

    def __init__(self, problem: str, *, stale: bool) -> None:
        super().__init__(problem)
        self.stale = stale


class RestoreRefused(RestoreError):  # noqa: N818 - as above
    """Something that is not ours stands where an output belongs. Nothing was touched."""


class RestoreFailed(RestoreError):  # noqa: N818 - as above
    """The disk refused in the middle; some outputs may be there already, none is half written."""
