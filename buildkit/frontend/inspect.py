"""Judging tasks outside a run: for `list --status`, `info`, `explain`, `reset-dep`.

What belongs here: a plan of all tasks, and the engine's judge on it, without executors and scheduler.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from doit.control import TaskControl
from doit.task import Stream
from doit.task import Task as DoitTask

from buildkit.core.execution import Cost
from buildkit.core.plan import Plan, Task, TaskKind
from buildkit.engine.job import JobOutcome, JobStatus
from buildkit.engine.judge import Judgement
from buildkit.engine.log import TaskLog
from buildkit.engine.recorder import Recorder
from buildkit.frontend.definitions import Definitions
from buildkit.frontend.dependency import BuildkitDependency
from buildkit.frontend.host import DoitHost
from buildkit.frontend.planner import Planner
from buildkit.frontend.workspace import Workspace


class Inspector:
    """Judges the tasks of a loaded dodo.py as a run would, one by one and without acting on it."""

    def __init__(
        self,
        workspace: Workspace,
        task_list: Sequence[DoitTask],
        *,
        dependency: BuildkitDependency,
        definitions: Definitions,
        expansion: str,
        control: TaskControl | None = None,
    ) -> None:
        """`control` is one that has already selected tasks (and read their options) from `task_list`."""
        self._workspace = workspace
        control = TaskControl(list(task_list)) if control is None else control
        planner = Planner(
            root=workspace.root,
            environ=workspace.environ,
            expansion=expansion,
            locate=definitions.locate,
        )
        self.host = DoitHost(
            control, planner, dependency=dependency, stream=Stream(0), retire_workers=lambda: None
        )
        self.plan = Plan([self.host.plan(task) for task in control.tasks.values()], ())
        self.judge = workspace.judge(self.plan, self.host)

    def task(self, name: str) -> Task:
        """Return a task of the plan, with dependencies that recorded values of calc_deps name."""
        task = self.plan[name]
        while task.dynamic and task.calc_deps:
            values = {source: self._workspace.values.values(source) for source in task.calc_deps}
            task = self.host.extend(task, values).task
            self.plan.extend([task])
        return task

    def status_of(self, doit_task: DoitTask, _tasks: Mapping[str, DoitTask]) -> Judgement | None:
        """Return the judgement of a task, None for a group. JudgeError and HostError as in a run."""
        task = self.task(doit_task.name)
        return None if task.kind is TaskKind.GROUP else self.judge.judge(task)

    def record(self, doit_task: DoitTask, _tasks: Mapping[str, DoitTask]) -> None:
        """Record a task as it is on disk, as if it had just run."""
        task = self.task(doit_task.name)
        if task.kind is TaskKind.GROUP:
            return
        judgement = self.judge.judge(task)
        recorder = Recorder(
            self.plan,
            table=self._workspace.table,
            traces=self._workspace.traces,
            values=self._workspace.values,
            cache=None,
            root=self._workspace.root,
            warn=self._workspace.warn,
        )
        results = {
            check.value: self._workspace.values.result_of(self.plan, check.value) for check in task.checks
        }
        outcome = JobOutcome(JobStatus.OK, values=dict(doit_task.values))
        trace = self._workspace.traces.get(task.name)
        recorder.succeeded(
            task,
            judgement,
            before={},
            values=self.host.succeeded(task, outcome, results),
            result=None,
            log=TaskLog(),
            cost=Cost(wall_ns=trace.wall_ns if trace is not None else 0),
        )
