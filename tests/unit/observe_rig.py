"""A run that never happened: events as the engine would emit them, on a clock that tests hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from buildkit.core.config import TaskSettings
from buildkit.core.execution import Cost, Decision, Execution, Reason, ReasonKind
from buildkit.core.plan import Plan, Task, TaskKind
from buildkit.engine import events
from buildkit.engine.events import Failure, FailureKind
from buildkit.engine.job import JobOutcome, JobStatus
from buildkit.engine.log import TaskLog
from buildkit.engine.scheduler import Node, Scheduler
from buildkit.observe.context import RunContext, TraceContext
from buildkit.observe.observer import Observer
from buildkit.state.runs import RunInfo

S = 1_000_000_000
UID = "0123456789abcdef"


def task(name: str, *waits: str, pool: str | None = None, location: str = "dodo.py:3") -> Task:
    return Task(name, TaskKind.COMMANDS, waits=waits, settings=TaskSettings(pool=pool), location=location)


def context(root: str = "/home/me/project", parent: str | None = None) -> RunContext:
    info = RunInfo(
        started_at=1_767_225_600.0,
        argv=("doit", "-n", "2"),
        cwd=root,
        width=2,
        machine="a machine",
        buildkit="1.0",
        git_commit="c0ffee",
        uid=UID,
    )
    trace = TraceContext("a" * 32, "b" * 16, parent)
    return RunContext(info, trace, started_ns=0, started_at=info.started_at)


class Script:
    """Plays a run to observers, and to a scheduler that knows what is left."""

    def __init__(self, tasks: Iterable[Task], *, width: int = 2) -> None:
        self.now_ns = 0
        self.plan = Plan(tasks, ())
        self.plan.selected = tuple(self.plan.tasks)
        self.width = width
        self.scheduler = Scheduler(self.plan, by_critical_path=True)
        self.scheduler.add(self.plan.selected)
        self.observers: list[Observer] = []

    def clock_ns(self) -> int:
        return self.now_ns

    def emit(self, event: Any) -> None:
        for observer in self.observers:
            handler: Callable[[Any], None] | None = observer.handlers.get(type(event))
            if handler is not None:
                handler(event)

    def begin(self) -> None:
        self.emit(events.RunStarted(self.plan, self.width))

    def node(self, name: str) -> Node:
        self._judge()
        return self.scheduler.nodes[name]

    def _judge(self) -> None:
        while (node := self.scheduler.next_to_judge()) is not None:
            node.ready_ns = self.now_ns

    def start(self, name: str, slot: int = 1) -> None:
        self.scheduler.queue(self.node(name))
        started = self.scheduler.next_to_start(lambda _pool: True)
        assert started is not None
        assert started.task.name == name
        self.emit(events.Started(started.task, slot))

    def succeed(self, name: str, wall_ns: int = S, slot: int = 1, **fields: Any) -> None:
        execution = self._execution(name, Decision.EXECUTED, wall_ns, slot=slot, exit_code=0, **fields)
        outcome = JobOutcome(JobStatus.OK, ended_ns=self.now_ns)
        self.scheduler.finish(self.node(name), Decision.EXECUTED)
        self.emit(events.Succeeded(self.plan[name], outcome, execution))

    def fail(
        self, name: str, output: str = "", message: str = "Command failed: 'x' returned 1", **fields: Any
    ) -> None:
        execution = self._execution(name, Decision.FAILED, S, slot=1, exit_code=1, **fields)
        outcome = JobOutcome(JobStatus.FAILED, message, exit_code=1, log=TaskLog(), ended_ns=self.now_ns)
        outcome.log.write(1, output.encode())
        self.scheduler.finish(self.node(name), Decision.FAILED)
        failure = Failure(FailureKind.FAILED, message)
        self.emit(events.Failed(self.plan[name], failure, outcome, execution))

    def unmet(self, name: str) -> None:
        execution = Execution(name, Decision.UPSTREAM_FAILED)
        failure = Failure(FailureKind.UNMET, "other")
        self.emit(events.Failed(self.plan[name], failure, None, execution))

    def skip(self, name: str, saved_ns: int = 2 * S) -> None:
        execution = Execution(name, Decision.SKIPPED, saved_ns=saved_ns)
        self.scheduler.finish(self.node(name), Decision.SKIPPED)
        self.emit(events.Skipped(self.plan[name], execution))

    def restore(self, name: str) -> None:
        execution = Execution(name, Decision.RESTORED, bytes_restored=1000, saved_ns=3 * S)
        execution.cost = Cost(wall_ns=S // 100)
        self.scheduler.finish(self.node(name), Decision.RESTORED)
        self.emit(events.Restored(self.plan[name], None, execution))

    def _execution(self, name: str, decision: Decision, wall_ns: int, **fields: Any) -> Execution:
        return Execution(
            name,
            decision,
            (Reason(ReasonKind.INPUT_CHANGED, ("src/a.c",)),),
            started_ns=self.now_ns - wall_ns,
            cost=Cost(wall_ns=wall_ns, user_ns=wall_ns // 2, system_ns=wall_ns // 10, rss_bytes=1 << 20),
            **fields,
        )
