"""What a run is given, has under way, and comes to, as data: options, executors, jobs, totals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from buildkit.cache.result import ActionResult
from buildkit.core.execution import Decision, Execution
from buildkit.core.fingerprint import Fingerprint
from buildkit.core.plan import Task
from buildkit.core.record import Record
from buildkit.engine.job import Executor, JobOutcome, Pipeline
from buildkit.engine.judge import Judgement
from buildkit.engine.scheduler import Node
from buildkit.engine.slots import NOWHERE, Stay

if TYPE_CHECKING:
    from buildkit.engine.restoring import RestoreCrew

_KEY_DIGITS = 15  # of an action key that the history keeps: they fit SQLite's signed integers
FEW_COMMANDS = 16  # of a run; so many are started directly, where there could be a server for it


class RunOptions(Record):
    """How a run was asked for."""

    width: int
    continue_: bool = False
    live: Callable[[Task], bool] = lambda _task: True  # whether the output of a task is shown while it runs
    grace_s: float = 2.0
    pools: Mapping[str, int] = {}
    cores: float = 1.0
    stdin_inherited: bool = False  # commands read our stdin: only where they cannot fight for it
    sla_s: float | None = None  # the target of tasks that have none of their own
    sla_strict: bool = False  # a task that breaks its target fails the run


class RunTotals:
    """What a run came to."""

    __slots__ = (
        "bytes_restored",
        "bytes_stored",
        "counts",
        "critical_path",
        "exit_code",
        "failed",
        "saved_ns",
        "skipped",
        "targeted",
    )

    def __init__(self) -> None:
        self.exit_code = 0
        self.counts: dict[Decision, int] = {}
        self.skipped: list[str] = []
        self.failed: list[str] = []
        self.saved_ns = 0
        self.bytes_stored = 0
        self.bytes_restored = 0
        self.critical_path: list[str] = []  # see Scheduler.critical_path
        self.targeted: list[Execution] = []  # executions that were held to a target

    @property
    def target_broken(self) -> bool:
        """Whether a task took as long as its target, or longer."""
        return any(one.sla_s and one.cost.wall_ns >= one.sla_s * 1e9 for one in self.targeted)


class Order(Record):
    """A result that is to be brought back."""

    result: ActionResult
    declared: tuple[str, ...]
    previous: tuple[str, ...]  # outputs of an earlier state: see `restore.restore`
    size: int  # bytes of all files and of the log together


class Brought(Record):
    """What was brought back of one result."""

    log: bytes | None
    size: int  # bytes of all files together
    seen: tuple[Fingerprint | None, ...]  # of the outputs in their order; None: no regular file
    started_ns: int  # on the monotonic clock
    wall_ns: int


class Executors(Record):
    """Who runs what. `inline` runs Python in this process."""

    commands: Executor
    python: Executor
    inline: Executor
    pipeline: Pipeline | None = None  # `python`, where it takes jobs ahead of time
    command_queue: Pipeline | None = None  # `commands`, likewise
    restorers: RestoreCrew | None = None  # who restores beside the run, where there is room for it

    def all(self) -> tuple[Executor | RestoreCrew, ...]:
        """Return each executor once."""
        everyone = (self.commands, self.python, self.inline, self.restorers)
        return tuple({id(one): one for one in everyone if one is not None}.values())


class Running:
    """A task that was given to an executor."""

    __slots__ = ("before", "beside", "executor", "judgement", "node", "stay")

    def __init__(
        self,
        node: Node,
        judgement: Judgement,
        executor: Executor,
        before: dict[str, tuple[int, int, int]],
        stay: Stay = NOWHERE,
        beside: float = 0.0,  # others that ran at the same time, on average; known once it has ended
    ) -> None:
        self.node = node
        self.judgement = judgement
        self.executor = executor
        self.before = before
        self.stay = stay
        self.beside = beside

    def execution(
        self, outcome: JobOutcome, decision: Decision, run_started_ns: int, sla_s: float | None
    ) -> Execution:
        """Return what the history keeps of it; `sla_s` is the target of tasks that have none of their own."""
        task, stay, key = self.node.task, self.stay, self.judgement.key
        return Execution(
            task.name,
            decision,
            self.judgement.verdict.reasons,
            stay.started_ns - run_started_ns,
            stay.started_ns - self.node.ready_ns,
            outcome.cost,
            outcome.exit_code,
            outcome.signal,
            worker=outcome.worker or None,
            slot=stay.slot,
            beside=self.beside,
            load=stay.load,
            cacheable=task.uncacheable is None,
            uncacheable_reason=task.uncacheable,
            key=None if key is None else key.rpartition(":")[2][:_KEY_DIGITS],
            sla_s=(sla_s if task.settings.sla is None else task.settings.sla) or None,
        )
