"""Every error that buildkit raises on purpose, and the exit code that each one ends in.

What belongs here: exception types, exit codes, and the wording of suggestions. No printing.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum


class ExitCode(IntEnum):
    """doit's exit codes, the gate's, and the ones that shells give to signals."""

    OK = 0
    TASK_FAILED = 1
    TASK_ERROR = 2
    USAGE = 3
    GATE = 4
    HUNG_UP = 129
    INTERRUPTED = 130
    UNREAD = 141  # nobody reads the output any more
    TERMINATED = 143


class BuildkitError(Exception):
    """Base of all errors with a message that is written for the person who must act."""

    exit_code = ExitCode.USAGE


class UsageError(BuildkitError):
    """An option or an argument of the command line is wrong."""


class ConfigError(BuildkitError):
    """A setting in pyproject.toml, in the environment or in a task's `meta` is wrong."""


class PlanError(BuildkitError):
    """The tasks contradict each other: a cycle, two tasks with one target, an unknown task."""


class StateError(BuildkitError):
    """The project's state cannot be used: not writable, or written by a newer buildkit."""


class LockHeldError(BuildkitError):
    """Another run holds the project, and the caller asked not to wait for it."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `" Did you mean 'x'?"` for the closest known name, or an empty string."""
    import difflib  # only on the way to an error message

    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""
