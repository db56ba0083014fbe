"""The fast start against the long way, in one run: `buildkit --check-plan`, and now and then in CI.

What belongs here: taking the long way while listening to what it prints, and saying whether the stored answer
would have been the same. A wrong answer is a bug of ours: the long way has run by then, so nothing is lost.
"""

import sys

from buildkit.cli import fast
from buildkit.core.humanize import listed, plural
from buildkit.state import snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from buildkit.cli.fast import Answer, Rest

_ERROR = 2


def check_plan(arguments: "Sequence[str]", long_way: "Callable[[], int]") -> int:
    """Take the long way, and say on stderr how the stored plan compares; 2 where it would have been wrong."""
    answer = fast.check(arguments)
    exit_code, printed = _listen(long_way)
    if answer is None:
        _say("there was no stored answer that could have been used; " + _now(arguments))
        return exit_code
    wrong = difference(answer, exit_code, printed)
    _say(wrong or f"the stored plan agrees with a fresh one: {plural(len(answer.lines), 'line')} in common")
    return _ERROR if wrong else exit_code


def compare(found: "Answer | Rest", long_way: "Callable[[], int]") -> int:
    """Take the long way in the place of an answer, and say so only if that would have been a wrong one."""
    exit_code, printed = _listen(long_way)
    wrong = difference(found, exit_code, printed) if isinstance(found, fast.Answer) else None
    if wrong:
        _say(wrong)
    return exit_code


class Compared(fast.Answered):
    """What doit takes for its command `run` where what is known is to be compared with the long way."""

    def parse_execute(self, arguments: "Sequence[str]") -> int:
        """Run, and compare."""
        from buildkit.cli.run import Run

        return compare(self._found, lambda: int(Run(**self._given).parse_execute(arguments) or 0))


def difference(answer: "Answer", exit_code: int, printed: str) -> str | None:
    """Return what to say where the long way did not do what the answer says; None where it did."""
    lines = printed.splitlines()
    if exit_code == 0 and lines == answer.lines:
        return None
    told = next((one for one in lines if one not in set(answer.lines)), f"exit code {exit_code}")
    return (
        f"the fast start would have been wrong: the long way says '{told}'. "
        "Please report this; BUILDKIT_FAST=0 switches the fast start off."
    )


def _now(arguments: "Sequence[str]") -> str:
    name = snapshot.name_of(arguments)
    found = snapshot.read("", name)
    if found is not None and found.unfinished:
        told = plural(len(found.unfinished), "task")
        return f"a run executes {told} even where nothing has changed: {listed(found.unfinished)}"
    if found is not None:
        return "now there is one"
    reason = snapshot.reason("", name)
    return f"none can be kept: {reason}" if reason else "none was kept"


def _say(text: str) -> None:
    sys.stderr.write(f"buildkit: {text}\n")


def _listen(long_way: "Callable[[], int]") -> tuple[int, str]:
    """Return the exit code and what was printed on stdout, which is printed all the same."""
    printed: list[str] = []
    out = sys.stdout
    write = out.write

    def note(text: str) -> int:
        printed.append(text)
        return write(text)

    out.write = note  # type: ignore[method-assign] # an attribute of the stream itself, for a moment
    try:
        exit_code = long_way()
    finally:
        vars(out).pop("write", None)
    return exit_code, "".join(printed)
