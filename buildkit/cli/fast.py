"""The fast start: a run that has nothing to do, answered without doit and without executing the dodo.py.

What belongs here: from a command line to the answer, or to None, after which the run goes the long way.
Everything that is imported here, and at what cost, is in docs/performance.md; a test keeps the list.
"""

import os
import sys
import time
from zlib import crc32

from buildkit.state import facts, snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import NoReturn

    from buildkit.state.snapshot import Snapshot

_CHECKED_ONE_IN = 50
_OFF = ("0", "no", "off", "false")


class Answer:
    """What a run with nothing to do prints and records; every fact that it rests on has been looked at."""

    def __init__(self, found: "Snapshot", started_at: float, started_ns: int) -> None:
        self._snapshot = found
        self._started_at = started_at
        self._started_ns = started_ns

    @property
    def lines(self) -> list[str]:
        """What is printed on stdout."""
        return self._snapshot.stdout.splitlines()

    @property
    def to_be_checked(self) -> bool:
        """Whether this run is one of the few of a CI job that take the long way all the same."""
        if os.environ.get("CI", "").lower() in ("", "0", "false"):
            return False
        return crc32(str(self._started_ns).encode()) % _CHECKED_ONE_IN == 0

    def give(self) -> int:
        """Print, record the run, and return the exit code."""
        found = self._snapshot
        try:
            sys.stdout.write(found.stdout)
            sys.stdout.flush()
        except BrokenPipeError:
            return _nobody_listens()
        wall_ns = time.monotonic_ns() - self._started_ns
        if found.summary[0]:
            from buildkit.core.humanize import duration  # most embedding programs want no summary

            before, behind = found.summary
            _tell(f"{before}{duration(wall_ns)}{behind}\n")
        self._record(wall_ns)
        return 0

    def _record(self, wall_ns: int) -> None:
        try:
            snapshot.append_line(snapshot.PENDING, self._line(wall_ns))
        except OSError:
            return  # costs one entry of the history

    def _line(self, wall_ns: int) -> bytes:
        """Return the run as `state/pending.py` keeps it. Written by hand: `json` imports `re`."""
        from buildkit.state.commit import checked_out

        arguments = ",".join(map(_quoted, sys.argv))
        commit = checked_out(".")
        return (
            f'{{"uid":"{os.urandom(8).hex()}","pid":{os.getpid()},"started_at":{self._started_at!r},'
            f'"wall_ns":{wall_ns},"argv":[{arguments}],'
            f'"git_commit":{_quoted(commit) if commit else "null"},{self._snapshot.history}}}'
        ).encode()


class Answered:
    """What doit takes for its command `run` where the answer is known: it has nothing left to parse."""

    pdb = False  # asked by doit

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    @classmethod
    def of(cls, answer: Answer) -> "Callable[..., Answered]":
        """Return what doit calls to make the command."""
        return lambda **_given: cls(answer)

    def parse_execute(self, _arguments: "Sequence[str]") -> int:
        """Give the answer, and the exit code."""
        return self._answer.give()


def fast_start_wanted(environ: "Mapping[str, str]") -> bool:
    """Return False where `BUILDKIT_FAST` says that every run has to load the dodo.py."""
    return environ.get("BUILDKIT_FAST", "").strip().lower() not in _OFF


def check(arguments: "Sequence[str]") -> Answer | None:
    """Return the answer for a command line in the current directory; None where a run has to find it."""
    if not fast_start_wanted(os.environ):
        return None
    started_at, started_ns = time.time(), time.monotonic_ns()
    name = snapshot.name_of(arguments)
    found = snapshot.read("", name)
    if found is None or facts.what_changed(found, arguments, os.environ) is not None:
        return None
    changed = facts.files_changed(found)
    if changed is None:
        return None
    if changed:
        from buildkit.cli import recheck  # only when files were touched

        if not recheck.same_content(found, changed):
            return None
        recheck.refresh(found, changed, name)
    return Answer(found, started_at, started_ns)


def leave(exit_code: int) -> "NoReturn":
    """End this process now: taking the interpreter apart takes longer than a tenth of the whole run."""
    sys.stdout.flush()
    sys.stderr.flush()
    if sys.gettrace() is not None or sys.getprofile() is not None:
        sys.exit(exit_code)  # somebody measures us, and has something to write at the end
    os._exit(exit_code)


def _tell(line: str) -> None:
    try:
        sys.stderr.write(line)
    except OSError:
        return  # the terminal may be gone


def _nobody_listens() -> int:
    from buildkit.cli.output import discard_output
    from buildkit.cli.tasks import UNREAD

    discard_output()
    return UNREAD


def _quoted(text: str) -> str:
    """Return a text as JSON writes it."""
    try:
        from _json import encode_basestring_ascii
    except ImportError:
        from json.encoder import encode_basestring_ascii

    quoted: str = encode_basestring_ascii(text)
    return quoted
