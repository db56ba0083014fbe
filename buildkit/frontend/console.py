"""The default console reporter: doit's, and what there is to say about restores and logs."""

from __future__ import annotations

from typing import Any

from doit.exceptions import BaseFail
from doit.reporter import ConsoleReporter
from doit.task import Task as DoitTask

from buildkit.frontend.folding import Folding

_TAIL_LINES = 60  # of a failed task's output; the whole is in its log file


class BuildkitReporter(ConsoleReporter):  # type: ignore[misc] # doit has no types
    """doit's console output; restored tasks are told apart from those that are up to date."""

    desc = "console output"
    folding: Folding | None = None  # how the CI service folds output, where it does

    def execute_task(self, task: DoitTask) -> None:
        """Tell that a task starts: as doit does, but without making the objects of its actions for that."""
        if task._actions and task.name[0] != "_":
            self.write(f".  {task.title()}\n")

    def restored(self, task: DoitTask) -> None:
        """Tell that outputs and log of a task came back from the cache."""
        if task.name[0] != "_":
            self.write(f"== {task.title()} (restored)\n")

    def complete_run(self) -> None:
        """Show the end of what failed tasks wrote, and where the whole of it is."""
        for result in self.failures:
            task, fail = result["task"], result["exception"]
            if not task.executed:
                continue
            show_err = task.verbosity < 1 or self.failure_verbosity > 0
            show_out = task.verbosity < 2 or self.failure_verbosity == 2
            fold = self.folding if show_err or show_out else None
            if fold is not None:
                self.write(fold.begin(task.name, f"{task.name}: output of the failed task"))
            if show_err or show_out:
                self.write("#" * 40 + "\n")
            if show_err:
                self._write_failure(result, write_exception=self.failure_verbosity)
                self._write_stream(task, "stderr", "err", fail)
            if show_out:
                self._write_stream(task, "stdout", "out", fail)
            path = getattr(fail, "log_path", None)
            if path:
                self.write(f"{task.name} <log>: {path}\n")
            if fold is not None:
                self.write(fold.end(task.name))
        if self.runtime_errors:
            self.write("#" * 40 + "\n")
            self.write("Execution aborted.\n")
            self.write("\n".join(self.runtime_errors))
            self.write("\n")

    def _write_stream(self, task: DoitTask, name: str, attribute: str, fail: BaseFail) -> None:
        text = "".join(getattr(action, attribute, None) or "" for action in _actions(task))
        lines = text.splitlines(keepends=True)
        if len(lines) > _TAIL_LINES and getattr(fail, "log_path", None):
            left_out = len(lines) - _TAIL_LINES
            text = f"[{left_out} earlier lines are in the log]\n" + "".join(lines[-_TAIL_LINES:])
        self.write(f"{task.name} <{name}>:\n{text}\n")


def _actions(task: DoitTask) -> list[Any]:
    try:
        return list(task.actions)
    except Exception:
        return []
