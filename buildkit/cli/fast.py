"""The fast start: a run that has nothing to do, answered without doit and without executing the dodo.py.

What belongs here: from a command line to the answer, to what little there is to do, or to None, after which
the run goes the long way.
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
    from typing import Any, NoReturn

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


class Rest:
    """What there is to do where the snapshot's run had nothing to do, but some files are others now."""

    def __init__(
        self,
        found: "Snapshot",
        name: str,
        identity: "tuple[int, int, int] | None",
        changed: list[int],
        open_: "Sequence[str]",
    ) -> None:
        self.snapshot = found
        self.name = name
        self.identity = identity  # of the snapshot's file
        self.changed = changed  # numbers of tracked files
        self.open = open_  # tasks of this project that the snapshot does not speak for, whoever selects them

    def give(self) -> int | None:
        """Do it, and return the exit code; None where the run has to go the long way."""
        import gc

        # Importing makes thousands of objects that stay, and so does the plan. Looking for cycles among them
        # takes a tenth of its time meanwhile, and again later.
        threshold = gc.get_threshold()
        gc.set_threshold(100_000, *threshold[1:])
        from buildkit.cli import planned_run  # with the engine, which the fast answer does without

        gc.freeze()
        try:
            return planned_run.run(self)
        finally:
            gc.set_threshold(*threshold)


class Answered:
    """What doit takes for its command `run` where the fast start knows what to do, and nothing is parsed."""

    pdb = False  # asked by doit

    def __init__(self, found: "Answer | Rest", given: "Mapping[str, Any]") -> None:
        self._found = found
        self._given = given

    @classmethod
    def of(cls, found: "Answer | Rest") -> "Callable[..., Answered]":
        """Return what doit calls to make the command."""
        return lambda **given: cls(found, given)

    def parse_execute(self, arguments: "Sequence[str]") -> int:
        """Do it, and return the exit code."""
        exit_code = self._found.give()
        if exit_code is None:
            from buildkit.cli.run import Run

            exit_code = int(Run(**self._given).parse_execute(arguments) or 0)
        return exit_code


def fast_start_wanted(environ: "Mapping[str, str]") -> bool:
    """Return False where `BUILDKIT_FAST` says that every run has to load the dodo.py."""
    return environ.get("BUILDKIT_FAST", "").strip().lower() not in _OFF


def check(arguments: "Sequence[str]") -> Answer | None:
    """Return the answer for a command line in the current directory; None where a run has to find it."""
    found = look(arguments)
    return found if isinstance(found, Answer) else None


def look(arguments: "Sequence[str]") -> "Answer | Rest | None":
    """Return the answer for a command line in the current directory, or what there is to do for it.

    None where only the long way can tell.
    """
    if not fast_start_wanted(os.environ):
        return None
    started_at, started_ns = time.time(), time.monotonic_ns()
    name = snapshot.name_of(arguments)
    identity = snapshot.identity("", name)
    found = snapshot.read("", name)
    if found is None or facts.what_changed(found, arguments, os.environ) is not None:
        return None
    touched = snapshot.touched_since("", found.touched)
    changed = facts.files_changed(found)
    if touched is None or changed is None:
        return None
    different: list[int] = []
    if changed:
        from buildkit.cli import recheck  # only when files were touched

        reread = recheck.changed_content(found, changed)
        if reread is None:
            return None
        different = reread
    if different or touched or found.unfinished:
        return Rest(found, name, identity, different, (*found.unfinished, *touched))
    if changed:
        recheck.refresh(found, changed, name)
    return Answer(found, started_at, started_ns)


def to_be_checked() -> bool:
    """Whether this run is one of the few of a CI job that take the long way all the same."""
    if os.environ.get("CI", "").lower() in ("", "0", "false"):
        return False
    return crc32(str(time.monotonic_ns()).encode()) % _CHECKED_ONE_IN == 0


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
    from buildkit.cli.output import UNREAD, discard_output

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
