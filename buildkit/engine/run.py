"""One run: judges what is ready, starts what must run, keeps what came of it, until nothing is left.

What belongs here: the order of events in a run. Each step is somebody else's: the scheduler knows what
may happen, the judge what should, executors do it, the recorder keeps it.
"""

from __future__ import annotations

import errno
import signal
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Literal

from buildkit.core.decide import Course
from buildkit.core.errors import ExitCode, PlanError
from buildkit.core.execution import Cost, Decision, Execution, Reason, ReasonKind
from buildkit.core.plan import Plan, Task, TaskKind
from buildkit.engine import events
from buildkit.engine.events import EventSink, Failure, FailureKind
from buildkit.engine.expansion import ExpansionError, commands_of
from buildkit.engine.host import Host, HostError
from buildkit.engine.job import (
    CommandJob,
    Executor,
    Job,
    JobOutcome,
    JobStatus,
    Pipeline,
    PythonJob,
    Stream,
)
from buildkit.engine.judge import Judge, JudgeError, Judgement
from buildkit.engine.loop import EventLoop
from buildkit.engine.outputs import is_directory
from buildkit.engine.parts import Brought, Executors, Running, RunOptions, RunTotals
from buildkit.engine.recorder import CameBack, Found, Recorder, UnsavableValuesError
from buildkit.engine.scheduler import Node, NodeState, Scheduler, cycle_error
from buildkit.engine.slots import Slots
from buildkit.engine.teardown import Teardown
from buildkit.engine.values import ValueMissingError, ValueTable

_JUDGE_BATCH = 64  # nodes judged before the loop looks at what else has happened
_JUDGE_BATCH_BUSY = 8  # the same while every slot is taken, and may be free in a millisecond
_SETTLE_BATCH = 8  # results kept before that, where the executors have been given work ahead
_FLUSH_S = 0.25  # a kill loses at most this much of the record

_Hit = tuple[Node, Judgement, Found]  # a task whose result the cache has


class Run:
    """A run of a plan; `execute` may be called once."""

    def __init__(
        self,
        plan: Plan,
        options: RunOptions,
        *,
        scheduler: Scheduler,
        judge: Judge,
        recorder: Recorder,
        values: ValueTable,
        host: Host,
        executors: Executors,
        loop: EventLoop,
        sink: EventSink,
        environ: Mapping[str, str],
        ignored: Callable[[str], bool],
        flush: Callable[[list[Execution]], None],
        keep_log: Callable[[Task, JobOutcome], str | None],
        more: Callable[[], Collection[str]] = tuple,
    ) -> None:
        """Take all parts ready-made.

        `ignored` says whether the user ignores a task, `flush` makes the record durable together with the
        executions since the last call, `keep_log` saves the log of a failure and returns its path.
        `more` is asked when all is done: it may name tasks that have to be looked at after all.
        """
        self._plan = plan
        self._options = options
        self._scheduler = scheduler
        self._judge = judge
        self._recorder = recorder
        self._values = values
        self._host = host
        self._executors = executors
        self._restorers = executors.restorers
        self._loop = loop
        self._sink = sink
        self._environ = environ
        self._ignored = ignored
        self._flush = flush
        self._keep_log = keep_log
        self._more = more
        self._running: dict[int, Running] = {}
        self._ahead: dict[int, Running] = {}  # given to an executor, to begin after another one
        self._restoring: dict[int, list[_Hit]] = {}  # what the restorers have been given, by number
        self._judgements: dict[str, Judgement] = {}
        self._judged: list[tuple[Node, Judgement]] = []  # not acted on yet
        self._executions: list[Execution] = []
        self._ended: deque[tuple[Running, JobOutcome]] = deque()  # succeeded, and not yet recorded
        self._pools: dict[str, int] = {}
        self._slots = Slots(options.width, options.cores)
        self._next_job = 1
        self._stopping = False
        self._signal: int | None = None
        self._deaf = False
        self._teardown = Teardown(host, executors.python, loop, self._emit)
        self._started_ns = 0
        self._last_flush = 0.0
        self.totals = RunTotals()

    def execute(self) -> RunTotals:
        """Run everything that was asked for; errors of tasks are in the totals, not raised.

        Raises BuildkitError when the definition itself is wrong (a cycle, an unknown task).
        """
        self._started_ns = time.monotonic_ns()
        self._last_flush = time.monotonic()
        self._loop.deliver_signals(self._on_signal)
        self._emit(events.RunStarted(self._plan, self._options.width))
        try:
            self._scheduler.add(self._plan.selected)
            self._until_done()
        finally:
            self._end_running()
            self._teardown.execute()
            self._shut_down()
            self._flush_now()
            self.totals.critical_path = self._scheduler.critical_path()
            if self._options.sla_strict and self.totals.exit_code == 0 and self.totals.target_broken:
                self.totals.exit_code = ExitCode.TASK_FAILED
            if self._signal is not None:
                self.totals.exit_code = 128 + self._signal
            self._emit(events.RunFinished())
        return self.totals

    # --- the loop

    def _until_done(self) -> None:
        while True:
            self._start_queued()
            settled = self._settle_some()
            judged = self._judge_some()
            if not (self._running or self._ahead or self._ended or self._restoring) and (
                self._stopping or self._scheduler.open == 0
            ):
                if self._stopping or not self._scheduler.look_at(self._more()):
                    return
                continue
            if settled or judged or self._can_start():
                self._loop.run_once(0)
            elif self._running or self._restoring:
                if self._ahead and self._slots.free and self._executors.pipeline is not None:
                    self._executors.pipeline.spread(self._slots.free)
                self._loop.run_once(None)
            elif not self._scheduler.has_ready:
                cycle = self._scheduler.stuck_cycle()
                raise cycle_error(cycle) if cycle else PlanError("no task can go on; please report this.")
            if time.monotonic() - self._last_flush > _FLUSH_S:
                self._flush_now()

    def _settle_some(self) -> bool:
        """Keep the results of a few tasks, or of one where a free slot has to wait for us meanwhile."""
        settled = 0
        while settled < (_SETTLE_BATCH if self._ahead else 1) and self._settle_one():
            settled += 1
        return settled > 0

    def _settle_one(self) -> bool:
        """Keep the result of one task that has succeeded; return whether there was one."""
        if not self._ended:
            return False
        self._succeeded(*self._ended.popleft())
        return True

    def _can_start(self) -> bool:
        return not self._stopping and self._slots.free > 0 and self._scheduler.has_queued

    def _judge_some(self) -> bool:
        """Judge a batch of ready tasks; return whether there was one."""
        any_judged = False
        for _ in range(_JUDGE_BATCH if self._slots.free else _JUDGE_BATCH_BUSY):
            # In sequence a task is judged when it is its turn, as in doit: earlier ones may change its inputs
            # behind the back of the graph.
            if self._stopping or (self._options.width <= 1 and (self._running or self._scheduler.has_queued)):
                break
            if self._restorers is not None and self._restorers.full:
                break  # what is judged and not acted upon takes memory
            node = self._scheduler.next_to_judge()
            if node is None:
                break
            any_judged = True
            try:
                self._judge_node(node)
            except JudgeError as error:
                self._act_on_judged()
                message = f"ERROR: Task '{node.task.name}' checking dependencies: {error}"
                self._fail(node, Failure(FailureKind.DEPENDENCY, message))
        self._act_on_judged()
        return any_judged

    def _judge_node(self, node: Node) -> None:
        task = node.task
        judgement = self._judgements.get(task.name)
        if judgement is not None and not node.bad:
            self._after_setup(node, judgement)
            return
        if task.dynamic and not (node.bad or node.ignored) and not self._extend(node):
            return
        task = node.task
        if judgement is None:
            self._emit(events.Judged(task))
        if node.ignored or self._ignored(task.name):
            self._ignore(node)
        elif node.bad:
            self._fail(node, Failure(FailureKind.UNMET, " ".join(node.bad)), Decision.UPSTREAM_FAILED)
        elif task.kind is TaskKind.GROUP:
            self._scheduler.finish(node, Decision.EXECUTED)
            self._emit(events.Started(task))
            self._emit(events.Succeeded(task, None, self._execution(node, Decision.EXECUTED)))
        else:
            judgement = self._judge.judge(task)
            node.task = judgement.task
            if judgement.cacheable and self._options.width > 1:
                self._judged.append((node, judgement))
            else:
                self._act(node, judgement)

    def _act_on_judged(self) -> None:
        """Act on the judgements that the cache may answer, after one question to it for all of them."""
        judged, self._judged = self._judged, []
        if not judged:
            return
        self._recorder.look_ahead(judgement for _node, judgement in judged)
        hits: list[_Hit] = []
        for node, judgement in judged:
            found = self._recorder.find(node.task, judgement)
            if found is not None:
                hits.append((node, judgement, found))
            else:
                self._to_be_run(node, judgement)
        if self._stopping or not hits:
            return
        if self._restorers is not None and self._restorers.pays([hit[2].order for hit in hits]):
            self._give_to_restorers(hits)
            return
        for hit in hits:
            self._restore_or_run(*hit)
            if self._stopping:
                return

    def _give_to_restorers(self, hits: list[_Hit]) -> None:
        """Have results brought back by other processes; `_brought_back` goes on with what comes of it."""
        assert self._restorers is not None  # noqa: S101 - they have been asked
        orders = [hit[2].order for hit in hits]
        for batch in self._restorers.batches(orders):
            number = self._next_job
            self._next_job += 1
            self._restorers.give(number, orders[batch], self._brought_back)
            self._restoring[number] = hits[batch]
            for node, _judgement, _found in hits[batch]:
                self._recorder.bringing_back(node.task)

    def _brought_back(self, number: int, brought: Sequence[Brought | None]) -> None:
        for (node, judgement, found), one in zip(self._restoring.pop(number), brought, strict=True):
            back = self._recorder.brought_back(node.task, judgement, found, one)
            if back is not None:
                self._restored(node, judgement, back)
            elif not self._stopping:
                self._restore_or_run(node, judgement, found)

    def _ignore(self, node: Node) -> None:
        execution = self._execution(node, Decision.IGNORED, Reason(ReasonKind.IGNORED, tuple(node.ignored)))
        self._finish(node, execution)
        self._emit(events.Ignored(node.task, execution))

    def _extend(self, node: Node) -> bool:
        """Let the frontend work out a dynamic task; return whether it can be judged now."""
        values = {name: self._values.values(name) for name in node.task.calc_deps}
        extension = self._host.extend(node.task, values)
        self._plan.extend((*extension.added, extension.task))
        self._judge.tasks_were_added((*extension.added, extension.task))
        if extension.drop:
            self._scheduler.finish(node, Decision.SKIPPED)
            return False
        if self._scheduler.rewire(node, extension.task):
            return False
        if extension.task.dynamic:  # what it waits for now is done already, and may say more
            return self._extend(node)
        return (not node.bad and not node.ignored) or self._rejudge(node)

    def _rejudge(self, node: Node) -> bool:
        """Judge a node again whose new dependencies have already failed."""
        node.task = node.task._replace(dynamic=False)
        self._judge_node(node)
        return False

    def _act(self, node: Node, judgement: Judgement) -> None:
        task = node.task
        if judgement.verdict.course is Course.SKIP:
            execution = self._execution(node, Decision.SKIPPED, *judgement.verdict.reasons)
            execution.saved_ns = judgement.trace.wall_ns if judgement.trace is not None else 0
            self._finish(node, execution)
            self._emit(events.Skipped(task, execution))
            return
        found = self._recorder.find(task, judgement)
        if found is not None:
            self._restore_or_run(node, judgement, found)
        else:
            self._to_be_run(node, judgement)

    def _to_be_run(self, node: Node, judgement: Judgement) -> None:
        self._judgements[node.task.name] = judgement
        if not self._scheduler.wait_for_setup(node):
            self._after_setup(node, judgement)

    def _after_setup(self, node: Node, judgement: Judgement) -> None:
        if node.ignored:
            self._ignore(node)
            return
        if node.task.setup:
            known = judgement.key
            self._judge.rekey(node.task, judgement)
            node.task = judgement.task
            found = self._recorder.find(node.task, judgement) if known is None else None
            if found is not None and self._restore(node, judgement, found):
                return
        node.ready_ns = time.monotonic_ns()
        self._scheduler.queue(node)

    def _restore_or_run(self, node: Node, judgement: Judgement, found: Found) -> None:
        if not self._restore(node, judgement, found):
            self._to_be_run(node, judgement)

    def _restore(self, node: Node, judgement: Judgement, found: Found) -> bool:
        """Restore a result here and now; return whether that was possible."""
        back = self._recorder.restore(node.task, judgement, found)
        if back is not None:
            self._restored(node, judgement, back)
        return back is not None

    def _restored(self, node: Node, judgement: Judgement, back: CameBack) -> None:
        execution = self._execution(node, Decision.RESTORED, *judgement.verdict.reasons)
        execution.started_ns = back.started_ns - self._started_ns
        execution.cost = Cost(wall_ns=back.wall_ns)
        execution.bytes_restored, execution.saved_ns = back.size, back.saved_ns
        self._judge.files_were_made(node.task.outputs, only_files=back.only_files)
        self._finish(node, execution)
        self._emit(events.Restored(node.task, back.log, execution))

    # --- running

    def _start_queued(self) -> None:
        if self._ahead and self._slots.free and self._executors.command_queue is not None:
            self._executors.command_queue.spread(self._slots.free)
        while self._can_start():
            node = self._scheduler.next_to_start(self._has_room)
            if node is None:
                return
            self._start(node)
        while not (self._stopping or self._slots.free or self._options.width <= 1):
            node = self._scheduler.next_to_start(self._has_room, self._may_wait_its_turn)
            if node is None:
                return
            self._start(node, self._pipeline_for(node.task))

    def _may_wait_its_turn(self, node: Node) -> bool:
        """Whether a task may be given to somebody who is still busy with another one.

        What lies in an output directory has to be known right before its actions start.
        """
        task = node.task
        pipeline = self._pipeline_for(task)
        return (
            pipeline is not None
            and pipeline.room_ahead()
            and not task.teardown
            and not any([is_directory(path) for path in task.outputs])
            and (task.kind is TaskKind.COMMANDS or not self._host.runs_inline(task))
        )

    def _pipeline_for(self, task: Task) -> Pipeline | None:
        commands = task.kind is TaskKind.COMMANDS
        return self._executors.command_queue if commands else self._executors.pipeline

    def _has_room(self, pool: str | None) -> bool:
        return pool is None or self._pools.get(pool, 0) < self._options.pools.get(pool, 1)

    def _start(self, node: Node, pipeline: Pipeline | None = None) -> None:
        """Give a task to its executor; with `pipeline` it begins when another one has ended."""
        task, judgement = node.task, self._judgements.pop(node.task.name)
        try:
            job, executor = self._job(task, judgement)
        except ValueMissingError as error:
            self._fail(node, Failure(FailureKind.DEPENDENCY, f"ERROR getting value for argument\n{error}"))
            return
        except (ExpansionError, HostError) as error:
            self._emit(events.Started(task))
            self._recorder.failed(task)
            self._fail(node, Failure(FailureKind.ERROR, str(error)))
            return
        running = Running(node, judgement, executor, self._recorder.before(task, look=pipeline is None))
        job_id = self._next_job
        self._next_job += 1
        if (pool := task.settings.pool) is not None:
            self._pools[pool] = self._pools.get(pool, 0) + 1
        self._ahead[job_id] = running
        if pipeline is not None:
            pipeline.start_ahead(job_id, job, self, self._done, self._began)
            return
        if task.teardown:
            self._teardown.owe(task)
        now_ns = time.monotonic_ns()
        self._began(job_id, now_ns)
        if self._stopping:  # nobody could be told that it begins: it does not
            self._done(job_id, JobOutcome(JobStatus.CANCELLED, started_ns=now_ns, ended_ns=now_ns))
            return
        executor.start(job_id, job, self, self._done)

    def _began(self, job_id: int, began_ns: int) -> None:
        """Take note that a job has begun."""
        running = self._running[job_id] = self._ahead.pop(job_id)
        running.stay = self._slots.take(began_ns)
        self._emit(events.Started(running.node.task, running.stay.slot))

    def _job(self, task: Task, judgement: Judgement) -> tuple[Job, Executor]:
        getargs = {wanted.name: self._values.argument(self._plan, wanted) for wanted in task.getargs}
        timeout_s = task.settings.timeout
        if task.kind is TaskKind.COMMANDS:
            commands = commands_of(
                task,
                getargs=getargs,
                changed=lambda: self._judge.changed_inputs(task, judgement.inputs),
                environ=self._environ,
            )
            stdin: Literal["inherit", "null"] = "inherit" if self._options.stdin_inherited else "null"
            live = self._options.live(task)
            return CommandJob(commands, stdin, timeout_s, live), self._executors.commands
        changed = self._judge.changed_inputs(task, judgement.inputs) if task.uses_changed else None
        if changed is None:
            changed = [path for path, _seen in judgement.inputs]
        job = PythonJob(
            self._host.payload(task, getargs, changed),
            timeout_s,
            keeps_worker=task.teardown,
            outputs=self._recorder.early_outputs(task, judgement),
        )
        inline = self._host.runs_inline(task)
        return job, self._executors.inline if inline else self._executors.python

    def write(self, job_id: int, stream: Stream, data: bytes) -> None:
        """Pass on what a running job wrote (the executors' OutputSink)."""
        running = self._running.get(job_id)
        if running is not None:
            self._emit(events.OutputWritten(running.node.task, stream, data))

    def _done(self, job_id: int, outcome: JobOutcome) -> None:
        if job_id in self._ahead:
            if outcome.status is JobStatus.CANCELLED:
                self._returned(self._ahead.pop(job_id))
                return
            self._began(job_id, outcome.started_ns)  # and could not go on
        running = self._running.pop(job_id)
        running.beside = self._slots.leave(running.stay, outcome.ended_ns)
        self._leave_pool(running)
        self._judge.files_may_have_changed()
        if running.node.task.teardown:
            self._teardown.owe(running.node.task, outcome.worker)
        if outcome.status is not JobStatus.OK:
            self._failed(running, outcome)
        elif self._options.width > 1:
            self._ended.append((running, outcome))  # the free slot comes first, then hashing and storing
        else:
            self._succeeded(running, outcome)

    def _returned(self, running: Running) -> None:
        """Take back a task that was given to an executor and did not begin."""
        self._leave_pool(running)
        self._recorder.not_begun(running.node.task)
        self._judgements[running.node.task.name] = running.judgement
        self._scheduler.queue(running.node)

    def _leave_pool(self, running: Running) -> None:
        if (pool := running.node.task.settings.pool) is not None:
            self._pools[pool] -= 1

    def _succeeded(self, running: Running, outcome: JobOutcome) -> None:
        node, task = running.node, running.node.task
        try:
            values: Mapping[str, object] = outcome.values
            if task.checks:
                results = {one.value: self._values.result_of(self._plan, one.value) for one in task.checks}
                values = self._host.succeeded(task, outcome, results)
            kept = self._recorder.succeeded(
                task,
                running.judgement,
                before=running.before,
                values=values,
                result=outcome.result,
                log=outcome.log,
                cost=outcome.cost,
                kept=outcome.kept,
            )
        except (HostError, UnsavableValuesError) as error:
            outcome.status = JobStatus.ERROR
            outcome.message = str(error)
            self._failed(running, outcome)
            return
        execution = self._measured(running, outcome, Decision.EXECUTED)
        execution.bytes_stored = kept.stored_bytes
        execution.cacheable = kept.uncacheable is None
        execution.uncacheable_reason = kept.uncacheable
        self._judge.files_were_made(task.outputs, only_files=kept.only_files)
        self._finish(node, execution)
        self._emit(events.Succeeded(task, outcome, execution))

    def _failed(self, running: Running, outcome: JobOutcome) -> None:
        node, task = running.node, running.node.task
        self._recorder.failed(task)
        cancelled = outcome.status is JobStatus.CANCELLED
        decision = Decision.CANCELLED if cancelled else Decision.FAILED
        execution = self._measured(running, outcome, decision)
        if cancelled:
            self._finish(node, execution)
            self._emit(events.Cancelled(task, outcome, execution))
            return
        execution.log_path = self._keep_log(task, outcome)
        broken = outcome.status in (JobStatus.ERROR, JobStatus.LOST)
        kind = FailureKind.ERROR if broken else FailureKind.FAILED
        self._fail(node, Failure(kind, outcome.message), decision, outcome=outcome, execution=execution)

    def _fail(
        self,
        node: Node,
        failure: Failure,
        decision: Decision = Decision.FAILED,
        *,
        outcome: JobOutcome | None = None,
        execution: Execution | None = None,
    ) -> None:
        """Record a failure, tell it, and stop the run unless it is to continue."""
        if execution is None:
            kind = ReasonKind.UPSTREAM if decision is Decision.UPSTREAM_FAILED else ReasonKind.ERROR
            execution = self._execution(node, decision, Reason(kind, (failure.message,)))
        self._judgements.pop(node.task.name, None)
        self._finish(node, execution)
        if failure.kind is FailureKind.FAILED and self.totals.exit_code != ExitCode.TASK_ERROR:
            self.totals.exit_code = ExitCode.TASK_FAILED
        else:
            self.totals.exit_code = ExitCode.TASK_ERROR
        self._emit(events.Failed(node.task, failure, outcome, execution))
        if not self._options.continue_:
            self._stop()

    # --- bookkeeping

    def _execution(self, node: Node, decision: Decision, *reasons: Reason) -> Execution:
        return Execution(node.task.name, decision, reasons, uncacheable_reason=node.task.uncacheable,
                         cacheable=node.task.uncacheable is None)  # fmt: skip

    def _measured(self, running: Running, outcome: JobOutcome, decision: Decision) -> Execution:
        execution = running.execution(outcome, decision, self._started_ns, self._options.sla_s)
        if execution.sla_s is not None and decision is not Decision.CANCELLED:
            self.totals.targeted.append(execution)
        return execution

    def _finish(self, node: Node, execution: Execution) -> None:
        decision = execution.decision
        totals = self.totals
        totals.counts[decision] = totals.counts.get(decision, 0) + 1
        totals.saved_ns += execution.saved_ns
        totals.bytes_stored += execution.bytes_stored
        totals.bytes_restored += execution.bytes_restored
        if decision is Decision.SKIPPED:
            totals.skipped.append(node.task.name)
        else:
            self._executions.append(execution)
        if decision is Decision.FAILED:
            totals.failed.append(node.task.name)
        self._scheduler.finish(node, decision)

    def _flush_now(self) -> None:
        executions, self._executions = self._executions, []
        self._flush(executions)
        self._last_flush = time.monotonic()

    def _emit(self, event: events.Event) -> None:
        """Tell the sink. One that fails is told nothing more: the run has to end, and end in order."""
        if self._deaf:
            return
        try:
            self._sink.handle(event)
        except OSError as error:
            self._deaf = True
            if error.errno not in (errno.EPIPE, errno.EIO):
                raise
            # Nobody reads what we print: the reader of a pipe is gone, or the terminal is.
            self._signal = self._signal or signal.SIGPIPE
            self._stop()
        except BaseException:
            self._deaf = True
            raise

    # --- the end

    def _on_signal(self, signum: int) -> None:
        if self._signal is not None:
            for executor in self._executors.all():
                executor.hurry()
            return
        self._signal = signum
        name = signal.Signals(signum).name
        left = len(self._running)
        self._emit(events.Warned(f"{name}: ending {left} running {'task' if left == 1 else 'tasks'}"))
        self._stop()

    def _stop(self) -> None:
        """Start nothing more, and end what runs: what it makes would not be used."""
        self._stopping = True
        self._cancel_all()

    def _cancel_all(self) -> None:
        """End all jobs, first those that have not begun: they would begin when others end."""
        if self._restorers is not None:
            for number in reversed(list(self._restoring)):
                self._restorers.cancel(number)
        for jobs in (self._ahead, self._running):
            for job_id, running in list(jobs.items()):
                running.executor.cancel(job_id)

    def _end_running(self) -> None:
        self._stopping = True
        if self._running or self._ahead or self._restoring:
            self._cancel_all()
            self._loop.run_until(lambda: not (self._running or self._ahead or self._restoring))
        while self._settle_one():
            pass

    def _shut_down(self) -> None:
        for executor in self._executors.all():
            executor.shutdown(self._options.grace_s)
        for node in self._scheduler.unfinished():
            if node.state is not NodeState.WAITING and node.task.kind is not TaskKind.GROUP:
                self.totals.counts[Decision.CANCELLED] = self.totals.counts.get(Decision.CANCELLED, 0) + 1
