"""What a run without a dodo.py has in the place of doit's tasks: it can run commands, and nothing else.

What belongs here: the few answers that plain data gives. Whoever plans such a run lets no task through that
would need more, so that any other question is an error of ours.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NoReturn

from buildkit.core.plan import CheckKind, Task, TaskKind
from buildkit.engine.host import CheckAnswer, Extension
from buildkit.engine.job import Done, Executor, Job, JobOutcome, OutputSink, Pipeline
from buildkit.engine.values import values_of_checks


def needs_dodo(task: Task, fixed: Collection[str]) -> str | None:
    """Return why a task cannot be judged, and run, without the dodo.py; None where it can.

    `fixed` are the files that the plan itself depends on.
    """
    if task.kind is TaskKind.HOSTED:
        return "it has Python actions"
    if any(action.env is not None for action in task.actions):
        return "it has an environment of its own, which is not written down"
    if task.dynamic or task.calc_deps:
        return "what it depends on is only known while it runs"
    if task.setup:
        return "it has setup tasks"
    if task.teardown:
        return "it has teardown actions"
    if task.title is not None:
        return "its title is made by a function"
    if any(check.kind is CheckKind.OPAQUE for check in task.checks):
        return "it has to be asked"
    if any(path.endswith("/") for path in task.outputs):
        return "it makes a folder"
    # What it makes of a tool, or of a file that loading looks at, would change the plan itself.
    made = [path for path in task.outputs if path in fixed]
    return f"it makes '{made[0]}', which the plan depends on" if made else None


class CommandsHost:
    """The engine's questions, answered without Python code."""

    def succeeded(
        self, task: Task, outcome: JobOutcome, results: Mapping[str, object]
    ) -> Mapping[str, object]:
        """Return the task's own values and those that its uptodate items save."""
        return {**outcome.values, **values_of_checks(task.checks, results)}

    def forget_code(self) -> None:
        """Read nothing anew: there is no Python code."""

    def ask(self, task: Task) -> tuple[Task, Sequence[CheckAnswer]]:
        """Refuse, as all below."""
        _refuse(task)

    def replan(self, task: Task) -> Task:
        """Refuse."""
        _refuse(task)

    def extend(self, task: Task, values: Mapping[str, Mapping[str, object]]) -> Extension:  # noqa: ARG002 Host
        """Refuse."""
        _refuse(task)

    def payload(self, task: Task, getargs: Mapping[str, object], changed: Sequence[str]) -> object:  # noqa: ARG002 Host
        """Refuse."""
        _refuse(task)

    def runs_inline(self, task: Task) -> bool:
        """Refuse."""
        _refuse(task)

    def teardown(self, task: Task) -> str | None:
        """Refuse."""
        _refuse(task)

    def teardown_payload(self, task: Task) -> object:
        """Refuse."""
        _refuse(task)

    def torn_down(self, task: Task, outcome: JobOutcome) -> str | None:  # noqa: ARG002 Host
        """Refuse."""
        _refuse(task)


class _NoExecutor:
    """Runs no Python: it has nothing to end, either."""

    def start(self, job_id: int, job: Job, sink: OutputSink | None, done: Done) -> None:  # noqa: ARG002 Executor
        """Refuse."""
        _refuse(job)

    def cancel(self, job_id: int) -> None:
        """End nothing."""

    def hurry(self) -> None:
        """End nothing."""

    def shutdown(self, grace_s: float) -> None:
        """End nothing."""


class CommandsOnly:
    """The hosting of a session whose tasks are commands."""

    def __init__(self) -> None:
        self.host = CommandsHost()
        self.python: Executor = _NoExecutor()
        self.inline: Executor = self.python
        self.pipeline: Pipeline | None = None

    def close(self) -> None:
        """Let go of nothing."""


def _refuse(asked: object) -> NoReturn:
    raise AssertionError(f"this needs the dodo.py: {asked}")
