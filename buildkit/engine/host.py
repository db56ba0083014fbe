"""The seam between the engine and what knows the dodo.py: a Protocol with the few questions of a run.

What belongs here: the questions and the data of their answers. The engine never sees a doit object.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from buildkit.core.plan import Task
from buildkit.core.record import Record
from buildkit.engine.job import JobOutcome


class HostError(Exception):
    """The host could not answer because of something in the user's code; the message is for the user."""


class CheckAnswer(Record):
    """What an opaque uptodate item said; None: no opinion."""

    name: str
    value: bool | None


class Extension(Record):
    """What a dynamic task has turned into: itself, and tasks that did not exist before."""

    task: Task
    added: tuple[Task, ...] = ()
    drop: bool = False  # the task was a placeholder that is not needed any more


class Host(Protocol):
    """What the engine asks of the frontend."""

    def ask(self, task: Task) -> tuple[Task, Sequence[CheckAnswer]]:
        """Evaluate the opaque checks of a task, which may change it: return it as it is then.

        BuildkitError where a check raises: the definition is wrong.
        """

    def forget_code(self) -> None:
        """Read Python code anew from now on."""

    def replan(self, task: Task) -> Task:
        """Return a task of the Plan with the key components that its definition gives now."""

    def extend(self, task: Task, values: Mapping[str, Mapping[str, object]]) -> Extension:
        """Work out a dynamic task, once what it waits for is done.

        `values` are the saved values of its calc_deps. PlanError or HostError when that fails.
        """

    def payload(self, task: Task, getargs: Mapping[str, object], changed: Sequence[str]) -> object:
        """Return what the frontend's runner needs to run a HOSTED task, picklable."""

    def runs_inline(self, task: Task) -> bool:
        """Whether a HOSTED task must run in this process because it needs the terminal."""

    def succeeded(
        self, task: Task, outcome: JobOutcome, results: Mapping[str, object]
    ) -> Mapping[str, object]:
        """Return all values to be saved for a task that ran: its own, and those of its checks.

        `results` are the results of the tasks that its checks name. HostError when a value saver of the
        user fails.
        """

    def teardown(self, task: Task) -> str | None:
        """Run the teardown actions of a task in this process; return a message where one failed."""

    def teardown_payload(self, task: Task) -> object:
        """Return what the frontend's runner needs to run the teardown actions where the task ran."""

    def torn_down(self, task: Task, outcome: JobOutcome) -> str | None:
        """Show what teardown actions printed elsewhere; return a message where one failed."""
