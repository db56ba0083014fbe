"""What tasks write, while they run and afterwards, on our own stdout and stderr.

What belongs here: how much of it is shown, and that it stays together. Lines about tasks are the reporter's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TextIO

from buildkit.engine.log import TaskLog, sanitize
from buildkit.frontend.observing import Voice

if TYPE_CHECKING:
    from buildkit.frontend.folding import Fold, Folding

LIVE = 2  # verbosity from which parallel tasks are shown while they run


class TaskOutput:
    """Shows what tasks write.

    In sequence, bytes pass through as they come, so that prompts show. In parallel, verbosity 2 passes
    whole lines through, and anything less is held until the task is done, so that it stays together.
    """

    def __init__(self, *, parallel: bool, voice: Voice | None = None, folding: Folding | None = None) -> None:
        self._parallel = parallel
        self._voice = voice or Voice()
        self._folding = folding
        self._folds: dict[str, Fold] = {}  # of running tasks, in sequence
        # As they are now: actions in this process put others in their place while they run.
        self._targets: dict[int, TextIO] = {1: sys.stdout, 2: sys.stderr}
        self._partial: dict[tuple[str, int], bytes] = {}

    def write(self, task: str, stream: int, data: bytes, verbosity: int) -> None:
        """Take what a running task wrote."""
        if not _shown(stream, verbosity) or (self._parallel and verbosity < LIVE):
            return
        if self._parallel:
            whole, newline, rest = (self._partial.pop((task, stream), b"") + data).rpartition(b"\n")
            if rest:
                self._partial[task, stream] = rest
            data = whole + newline
            self._print(stream, data)
        else:
            self._sequential(task)(stream, data)

    def _sequential(self, task: str) -> Callable[[int, bytes], None]:
        """Return where the output of the one task that runs goes."""
        if self._folding is None:
            return self._print
        fold = self._folds.get(task)
        if fold is None:
            fold = self._folds[task] = self._fold(task, self._folding)
        return fold.write

    def _fold(self, task: str, folding: Folding) -> Fold:
        from buildkit.frontend.folding import Fold  # only where a CI service folds

        return Fold(folding, task, f"{task}: output", self._print)

    def finish(self, task: str, log: TaskLog, verbosity: int) -> None:
        """Show what was held back of a task."""
        if not self._parallel:
            fold = self._folds.pop(task, None)
            if fold is not None:
                fold.close()
            return
        if verbosity < LIVE:
            self._print_all(
                task, ((stream, data) for stream, data in log.frames() if _shown(stream, verbosity))
            )
            return
        for stream in (1, 2):
            rest = self._partial.pop((task, stream), b"")
            if rest:
                self._print(stream, rest + b"\n")

    def replay(self, task: str, log: TaskLog, verbosity: int) -> None:
        """Show the log of a task that did not run, harmless to a terminal."""
        shown = ((stream, data) for stream, data in log.frames() if _shown(stream, verbosity))
        self._print_all(task, ((stream, sanitize(data)) for stream, data in shown))

    def _print_all(self, task: str, frames: Iterable[tuple[int, bytes]]) -> None:
        """Show all that a task wrote in one piece, folded where that is done."""
        fold = None if self._folding is None else self._fold(task, self._folding)
        for stream, data in frames:
            (self._print if fold is None else fold.write)(stream, data)
        if fold is not None:
            fold.close()

    def _print(self, stream: int, data: bytes) -> None:
        if not data:
            return
        self._voice.speaks()
        target = self._targets[stream]
        buffer = getattr(target, "buffer", None)
        try:
            if buffer is not None:
                target.flush()
                buffer.write(data)
                buffer.flush()
            else:  # somebody has put a text stream in its place, for instance doit's json reporter
                target.write(data.decode("utf-8", "replace"))
        except BrokenPipeError:
            pass  # nobody is listening any more; the build goes on


def _shown(stream: int, verbosity: int) -> bool:
    return verbosity >= (2 if stream == 1 else 1)
