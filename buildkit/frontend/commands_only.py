"""What a run without a dodo.py has in the place of doit's tasks: it can run commands, and nothing else.

What belongs here: the few answers that plain data gives. Whoever plans such a run lets no task through that
would need more, so that any other question is an error of ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NoReturn

from buildkit.core.plan import Task
from buildkit.engine.host import CheckAnswer, Extension
from buildkit.engine.job import Executor, JobOutcome, Pipeline
from buildkit.engine.loop import EventLoop
from buildkit.engine.threads import InlineExecutor
from buildkit.engine.values import values_of_checks


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


class CommandsOnly:
    """The hosting of a session whose tasks are commands."""

    def __init__(self, loop: EventLoop) -> None:
        self.host = CommandsHost()
        self.python: Executor = InlineExecutor(loop, _refuse)
        self.inline: Executor = self.python
        self.pipeline: Pipeline | None = None

    def close(self) -> None:
        """Let go of nothing."""


def _refuse(asked: object, *_more: object) -> NoReturn:
    raise AssertionError(f"this needs the dodo.py: {asked}")
