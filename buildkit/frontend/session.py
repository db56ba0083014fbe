"""One run of a plan: puts state, engine and reporter together.

What belongs here: the wiring, and what has to happen before the first and after the last task.
"""

from __future__ import annotations

import gc
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Protocol

import buildkit
from buildkit.core.errors import BuildkitError, ExitCode
from buildkit.core.execution import Decision, Execution
from buildkit.core.plan import Plan, Task, TaskKind
from buildkit.core.record import Record
from buildkit.engine.events import Aborted, EventSink
from buildkit.engine.host import Host
from buildkit.engine.job import Executor, JobOutcome, Pipeline
from buildkit.engine.judge import Judge
from buildkit.engine.loop import EventLoop
from buildkit.engine.machine import Machine
from buildkit.engine.parts import FEW_COMMANDS, Executors, RunOptions, RunTotals
from buildkit.engine.process import ProcessExecutor
from buildkit.engine.recorder import Recorder
from buildkit.engine.run import Run
from buildkit.engine.scheduler import Scheduler
from buildkit.frontend import git
from buildkit.frontend.ci import ci_service
from buildkit.frontend.observing import RunParts
from buildkit.frontend.workspace import Workspace
from buildkit.observe.context import TRACEPARENT, RunContext, TraceContext
from buildkit.observe.observer import FanOut, Observer
from buildkit.report.summary import summary_line
from buildkit.state import ranges
from buildkit.state.database import is_damage
from buildkit.state.directory import STATE_DIRECTORY
from buildkit.state.history import History
from buildkit.state.lock import LOCK_VARIABLE, ProjectLock
from buildkit.state.runs import RunInfo, RunSummary

if TYPE_CHECKING:
    from buildkit.engine.restoring import RestoreCrew
    from buildkit.engine.served_commands import ServedCommands

RARE_COLLECTIONS = (100_000, 50, 100)  # thresholds of the garbage collector
_RETIRED_AT_ONCE = 4  # old runs that one run removes at most
_UNSEEN_QUANTILE = 0.9  # a task without history is taken for one of the long ones
_NAMED = 10  # outputs that a warning names; whoever removes a folder changes thousands


class SessionOptions(Record):
    """What the user asked for on the command line."""

    width: int
    parallel: str  # 'process', 'thread', or 'inline' for -n 0
    continue_: bool
    always: bool
    live: Callable[[Task], bool]  # whether the output of a task is shown while it runs
    sla_strict: bool = False


class UpToDate:
    """Tasks of a plan that are known to be up to date before the run begins: nobody looks at them again.

    Unless `more` says so, which is asked when all else is done, and then takes them out of the numbers here.
    `come_to` is asked at the end: a run in sequence that stops at a failure has not come to all of them.
    """

    __slots__ = ("come_to", "count", "more", "ranges", "saved_ns", "to_judge")

    def __init__(
        self,
        to_judge: set[str],  # all others
        count: int,
        saved_ns: int,
        ranges: str,  # their ids in the history, see `state/ranges.py`
    ) -> None:
        self.to_judge = to_judge
        self.more: Callable[[], Collection[str]] = tuple
        self.come_to: Callable[[], UpToDate] = lambda: self
        self.count = count
        self.saved_ns = saved_ns
        self.ranges = ranges


class Hosting(Protocol):
    """Who answers the engine's questions in one run, and runs what is Python."""

    @property
    def host(self) -> Host:
        """Who answers."""

    @property
    def python(self) -> Executor:
        """Who runs Python actions."""

    @property
    def inline(self) -> Executor:
        """Who runs those that need the terminal, in this process."""

    @property
    def pipeline(self) -> Pipeline | None:
        """`python`, where it takes jobs ahead of time."""

    def close(self) -> None:
        """Let go of all that; the run is over."""


class Session:
    """A run; `run` may be called once."""

    def __init__(
        self,
        workspace: Workspace,
        plan: Plan,
        *,
        options: SessionOptions,
        machine: Machine,
        hosting: Callable[[EventLoop, Callable[[], None]], Hosting],
        lock: ProjectLock,
        sink: EventSink,
        observers: Callable[[RunParts], Sequence[Observer]] = lambda _parts: (),
        own_files: Sequence[int | str] = (),
        up_to_date: UpToDate | None = None,
    ) -> None:
        """`hosting` is given the loop, and what a forked worker has to call; `sink` is the reporter's.

        `observers` makes those who are told beside it. `own_files`, open or by path, are written by us while
        tasks run.
        """
        self._workspace = workspace
        self._options = options
        self._machine = machine
        self._lock = lock
        self._loop = EventLoop()
        self._hosting = hosting(self._loop, self._after_fork)
        self._plan = plan
        self._dirtiness = git.Dirtiness(sink, workspace.root, workspace.environ)
        self._observers = observers
        self._own_files = own_files
        self._up_to_date = up_to_date
        self._run_id: int | None = None
        self._history: History | None = None
        self._predicted: Mapping[str, int] | None = None
        self._warned_state = False

    def _after_fork(self) -> None:
        """In a new worker: let go of what belongs to the run."""
        self._lock.close_in_child()  # the loop has closed all that it watches, the line to the server too

    # --- the run

    def run(self) -> RunTotals:
        """Run everything that was selected; BuildkitError where the definition is wrong."""
        workspace = self._workspace
        started_at, started_ns = time.time(), time.monotonic_ns()
        self._begin(started_at)
        judge = workspace.judge(self._plan, self._hosting.host, always=self._options.always)
        recorder = Recorder(
            self._plan,
            table=workspace.table,
            traces=workspace.traces,
            values=workspace.values,
            cache=workspace.cache,
            root=workspace.root,
            warn=workspace.warn,
        )
        recorder.run_id = self._run_id
        recorder.writes.pass_over(self._own_files)
        if workspace.cache is not None:
            recorder.writes.pass_over_folder(workspace.cache.directory)
        sequential = self._options.width <= 1
        scheduler = Scheduler(
            self._plan,
            by_critical_path=not sequential,
            expected_s=None if sequential else self._expectations(),
            only=self._up_to_date.to_judge if self._up_to_date is not None else None,
        )
        sink = self._fan_out(scheduler)
        try:
            with _rare_collections():
                totals = self._execute(judge, recorder, scheduler, sink)
        except BaseException as error:
            sink.finish(int(getattr(error, "exit_code", ExitCode.USAGE)))
            raise
        changed = list(recorder.written.changed())
        for path, task in changed[:_NAMED]:
            workspace.warn(
                f"output '{path}' of task '{task}' was changed by something else while the run went on"
            )
        if len(changed) > _NAMED:
            workspace.warn(f"so were {len(changed) - _NAMED:,} more outputs")
        for finding in recorder.writes.findings():
            workspace.warn(finding)
        self._end(totals, started_ns)
        sink.finish(totals.exit_code)
        self._history = self._predicted = None  # as long as the plan, and the process may live on
        return totals

    def _fan_out(self, scheduler: Scheduler) -> FanOut:
        """Return the sink that tells the reporter, and then all who observe the run."""
        workspace = self._workspace
        context = RunContext(
            info=self.info,
            trace=TraceContext.begin(workspace.environ.get(TRACEPARENT)),
            started_ns=time.monotonic_ns(),
            started_at=time.time(),
            predicted=self._predicted_ns,
        )
        parts = RunParts(
            context,
            scheduler,
            self._loop,
            self._options.width,
            pools=workspace.settings.pools,
            nested=self._lock.nested,
        )
        return FanOut(self._dirtiness, self._observers(parts), workspace.warn)

    def _execute(self, judge: Judge, recorder: Recorder, scheduler: Scheduler, sink: EventSink) -> RunTotals:
        workspace, options = self._workspace, self._options
        commands = ProcessExecutor(
            self._loop,
            same_group=options.parallel == "inline" and os.isatty(0),
            grace_s=workspace.settings.grace,
            new_log=workspace.new_log,
        )
        served: ServedCommands | None = None
        # A fork while threads run could leave their locks held for ever.
        if options.width > 1 and options.parallel == "process" and self._many_tasks():
            from buildkit.engine.served_commands import ServedCommands  # only for them

            # The lock stays with the server: the next run must not begin before all of this one has ended.
            if ServedCommands.available():
                served = ServedCommands(
                    self._loop,
                    direct=commands,
                    width=options.width,
                    continue_=options.continue_,
                    grace_s=workspace.settings.grace,
                )
        run = Run(
            self._plan,
            RunOptions(
                width=options.width,
                continue_=options.continue_,
                grace_s=workspace.settings.grace,
                pools=workspace.settings.pools,
                live=options.live,
                cores=self._machine.cpus,
                stdin_inherited=options.parallel == "inline",
                sla_s=workspace.settings.sla,
                sla_strict=options.sla_strict,
            ),
            scheduler=scheduler,
            judge=judge,
            recorder=recorder,
            values=workspace.values,
            host=self._hosting.host,
            executors=Executors(
                served or commands,
                self._hosting.python,
                self._hosting.inline,
                self._hosting.pipeline,
                served,
                self._restorers(),
            ),
            loop=self._loop,
            sink=sink,
            environ=workspace.environ,
            ignored=self.is_ignored,
            flush=partial(self._flush_meanwhile, recorder),
            keep_log=self._keep_log,
            more=self._up_to_date.more if self._up_to_date is not None else tuple,
        )
        try:
            return run.execute()
        except BuildkitError as error:
            # The reporter has already been told that the run is over; the definition is still wrong.
            sink.handle(Aborted(str(error)))
            raise
        finally:
            self._loop.close()
            self._hosting.close()

    def _restorers(self) -> RestoreCrew | None:
        """Return who restores beside the run, where there are processors for it."""
        options, cache = self._options, self._workspace.cache
        width = min(options.width, int(self._machine.cpus))
        if cache is None or width <= 1 or options.parallel != "process" or not self._many_tasks():
            return None
        from buildkit.engine.restoring import RestoreCrew  # as above

        if not RestoreCrew.available():
            return None
        restorer = partial(cache.restorer, root=self._workspace.root)
        return RestoreCrew(self._loop, restorer, width, self._workspace.settings.grace)

    def _many_tasks(self) -> bool:
        known = self._up_to_date
        return known is None or len(known.to_judge) > FEW_COMMANDS

    def is_ignored(self, task: str) -> bool:
        """Whether the user has said `doit ignore` for a task."""
        trace = self._workspace.traces.get(task)
        return trace is not None and trace.ignored

    def ran_here(self, task: Task) -> bool:
        """Whether the actions of a task are code of the project that runs in this process."""
        if task.kind is not TaskKind.HOSTED:
            return False
        return self._options.parallel != "process" or self._hosting.host.runs_inline(task)

    def _expectations(self) -> Callable[[str], float]:
        """Return how long each task is expected to take, in seconds."""
        if self._history is None:
            return lambda _name: 0.0
        known = self._predicted_ns()
        ordered = sorted(known.values())
        guess = ordered[int(len(ordered) * _UNSEEN_QUANTILE)] if ordered else 1_000_000_000
        plan = self._plan

        def expected_s(name: str) -> float:
            if plan[name].kind is TaskKind.GROUP:
                return 0.0
            return known.get(name, guess) / 1e9

        return expected_s

    def _predicted_ns(self) -> Mapping[str, int]:
        """Return the wall time that history predicts for each task that it knows; asked once."""
        if self._predicted is None:
            self._predicted = {}
            self._guard(self._predict)
        return self._predicted

    def _predict(self, history: History) -> None:
        if self._up_to_date is not None:
            self._predicted = history.expected_wall_ns(self._up_to_date.to_judge)
        else:
            self._predicted = history.expected_wall_ns([task.name for task in self._plan if task.kind])

    # --- the record

    def _begin(self, started_at: float) -> None:
        os.environ[LOCK_VARIABLE] = self._lock.variable_for_children()
        info = self.info = RunInfo(
            started_at=started_at,
            argv=tuple(sys.argv),
            cwd=self._workspace.root,
            width=self._options.width,
            parallel=None if self._options.width <= 1 else self._options.parallel,
            machine=self._machine.description,
            cores=self._machine.cpus,
            python=sys.version.split()[0],
            platform=f"{sys.platform} {os.uname().machine}",
            buildkit=buildkit.__version__,
            git_commit=git.commit(self._workspace.root),
            ci=ci_service(self._workspace.environ),
        )
        if self._workspace.connection is not None:
            self._history = History(self._workspace.connection)
            self._guard(lambda history: self._started(history, info))

    def _started(self, history: History, info: RunInfo) -> None:
        history.drain_pending(self._workspace.root)
        self._run_id = history.begin_run(info)

    def _flush_meanwhile(self, recorder: Recorder, executions: list[Execution]) -> None:
        recorder.written.look_again()
        self._flush(executions, meanwhile=True)

    def _flush(self, executions: list[Execution], *, meanwhile: bool = False) -> None:
        workspace = self._workspace
        workspace.traces.learn(workspace.table.take_dirty(meanwhile=meanwhile))

        def flush(history: History) -> None:
            workspace.traces.flush()
            if executions and self._run_id is not None:
                history.add_executions(self._run_id, executions)

        self._guard(flush)
        if workspace.cache is not None:
            workspace.cache.flush()

    def _guard(self, write: Callable[[History], None]) -> None:
        """Write to the state; a failing disk costs the record, told once, never the build."""
        if self._history is None:
            return
        try:
            write(self._history)
        except (sqlite3.Error, OSError, UnicodeDecodeError) as error:
            if not self._warned_state:
                self._warned_state = True
                what = "is damaged" if isinstance(error, sqlite3.Error) and is_damage(error) else "failed"
                self._workspace.warn(
                    f"the state of this project {what} ({error}); what runs now may run again the next time"
                )

    def _end(self, totals: RunTotals, started_ns: int) -> None:
        count = totals.counts.get
        wall_ns = time.monotonic_ns() - started_ns
        known = self._up_to_date.come_to() if self._up_to_date is not None else None
        summary = RunSummary(
            wall_ns=wall_ns,
            exit_code=totals.exit_code,
            executed=count(Decision.EXECUTED, 0),
            restored=count(Decision.RESTORED, 0),
            skipped=count(Decision.SKIPPED, 0) + (known.count if known is not None else 0),
            failed=count(Decision.FAILED, 0),
            upstream_failed=count(Decision.UPSTREAM_FAILED, 0),
            ignored=count(Decision.IGNORED, 0),
            cancelled=count(Decision.CANCELLED, 0),
            saved_ns=totals.saved_ns + (known.saved_ns if known is not None else 0),
            bytes_stored=totals.bytes_stored,
            bytes_restored=totals.bytes_restored,
            skipped_tasks=self._skipped(totals.skipped, known),
            critical_path=tuple(totals.critical_path),
        )
        self.summary = summary_line(summary, totals.failed)
        self._flush([])
        run_id = self._run_id
        if run_id is not None:
            dirty = self._dirtiness.answer(wall_ns / 1e9)
            self._guard(lambda history: history.finish_run(run_id, summary, git_dirty=dirty))
            self._guard(self._retire_runs)
        if self._workspace.cache is not None:
            settings = self._workspace.settings
            self._workspace.cache.collect_if_due(
                max_bytes=settings.cache_max_size, max_age_s=settings.cache_max_age
            )

    def _skipped(self, names: list[str], known: UpToDate | None) -> Sequence[str]:
        """Return all tasks that were skipped, by name or as the history keeps them."""
        if known is None:
            return names
        found: Sequence[str] = names

        def merge(history: History) -> None:
            nonlocal found
            found = ranges.union(known.ranges, history.task_ids(names))

        self._guard(merge)
        return found

    def _retire_runs(self, history: History) -> None:
        """Let old runs go, a few at a time: a run must not pay for those of a month."""
        settings = self._workspace.settings
        history.retire(
            max_age_s=settings.history_max_age, max_runs=settings.history_max_runs, at_once=_RETIRED_AT_ONCE
        )

    def _keep_log(self, task: Task, outcome: JobOutcome) -> str | None:
        """Save the whole log of a failure beside the state; return its path from the project."""
        if not outcome.log.total_bytes:
            return None
        name = "".join(char if char.isalnum() or char in "._-" else "_" for char in task.name)[:100]
        path = os.path.join(STATE_DIRECTORY, "logs", f"{name}.log")
        try:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                outcome.log.write_to(fd)
            finally:
                os.close(fd)
        except OSError as error:
            self._workspace.warn(f"the log of task '{task.name}' cannot be kept: {error}")
            return None
        return path


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Look for reference cycles rarely: a run makes few, and each search visits every task of the plan."""
    before = gc.get_threshold()
    gc.set_threshold(*RARE_COLLECTIONS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
