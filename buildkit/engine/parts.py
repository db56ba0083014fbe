"""What a run is given, has under way, and comes to, as data: options, executors, jobs, totals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from buildkit.core.execution import Decision, Execution
from buildkit.engine.job import Executor, Pipeline
from buildkit.engine.judge import Judgement
from buildkit.engine.scheduler import Node
from buildkit.engine.slots import NOWHERE, Stay


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a run was asked for."""

    width: int
    continue_: bool = False
    verbosity: int | None = None
    grace_s: float = 2.0
    pools: Mapping[str, int] = field(default_factory=dict)
    cores: float = 1.0
    stdin_inherited: bool = False  # commands read our stdin: only where they cannot fight for it
    sla_s: float | None = None  # the target of tasks that have none of their own
    sla_strict: bool = False  # a task that breaks its target fails the run


@dataclass(slots=True)
class RunTotals:
    """What a run came to."""

    exit_code: int = 0
    counts: dict[Decision, int] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    saved_ns: int = 0
    bytes_stored: int = 0
    bytes_restored: int = 0
    critical_path: list[str] = field(default_factory=list)  # see Scheduler.critical_path
    targeted: list[Execution] = field(default_factory=list)  # executions that were held to a target

    @property
    def target_broken(self) -> bool:
        """Whether a task took as long as its target, or longer."""
        return any(one.sla_s and one.cost.wall_ns >= one.sla_s * 1e9 for one in self.targeted)


class Executors(NamedTuple):
    """Who runs what. `inline` runs Python in this process."""

    commands: Executor
    python: Executor
    inline: Executor
    pipeline: Pipeline | None = None  # `python`, where it takes jobs ahead of time
    command_queue: Pipeline | None = None  # `commands`, likewise

    def all(self) -> tuple[Executor, ...]:
        """Return each executor once."""
        return tuple({id(one): one for one in (self.commands, self.python, self.inline)}.values())


@dataclass(slots=True, eq=False)
class Running:
    """A task that was given to an executor."""

    node: Node
    judgement: Judgement
    executor: Executor
    before: dict[str, tuple[int, int, int]]
    stay: Stay = NOWHERE
    beside: float = 0.0  # others that ran at the same time, on average; known once it has ended
