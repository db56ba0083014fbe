"""A run from the stored plan: few inputs have changed, and only commands have to be executed for them.

What belongs here: whether the stored plan will do, the run without doit and without the dodo.py, and the
snapshot for the next one. Every fact about loading has been looked at before this is imported. The engine is
that of every run.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from buildkit.cache.result import OutputKind
from buildkit.cli import recheck
from buildkit.cli.epilogue import tell_end
from buildkit.cli.output import interrupted, print_error
from buildkit.cli.waiting import end_what_was_left, tell_wait
from buildkit.core.decide import Course
from buildkit.core.errors import BuildkitError, ExitCode
from buildkit.core.fingerprint import Fingerprint
from buildkit.core.plan import Task, TaskKind
from buildkit.engine.judge import Judge, JudgeError
from buildkit.engine.machine import Machine, parse_width
from buildkit.engine.outputs import decode_outputs
from buildkit.frontend.answer import (
    WatchingTable,
    data_version,
    signatures_of,
    skip_lines,
    split_summary,
)
from buildkit.frontend.commands_only import CommandsHost, CommandsOnly, needs_dodo
from buildkit.frontend.observing import Observing, console_mode
from buildkit.frontend.plain_console import PlainConsole
from buildkit.frontend.session import Session, SessionOptions, UpToDate
from buildkit.frontend.task_output import LIVE, TaskOutput
from buildkit.frontend.workspace import Workspace, warn_on_stderr
from buildkit.observe.options import EVENTS_SETTING, ObserveOptions
from buildkit.state import facts, ranges, snapshot, stored_plan
from buildkit.state.history import History
from buildkit.state.lock import LOCK_VARIABLE, ProjectLock
from buildkit.state.runs import RunSummary

if TYPE_CHECKING:
    from buildkit.cli.fast import Rest
    from buildkit.state.stored_plan import StoredPlan


def run(rest: Rest) -> int | None:
    """Execute what is left to do, and return the exit code; None where the run has to go the long way."""
    found = rest.snapshot
    read = stored_plan.read("", rest.name, found.salt)
    if read is None or LOCK_VARIABLE in os.environ:  # a run within a task
        return None
    plan, content = read
    names = plan.affected(rest.changed, rest.open)
    if names is None or any(needs_dodo(plan[name], plan.fixed) for name in names):
        return None
    lock = ProjectLock(os.getcwd())
    try:
        lock.acquire(wait=False, on_wait=tell_wait, argv=tuple(sys.argv))
    except BuildkitError:
        return None  # the long way waits, or says what is wrong
    try:
        end_what_was_left(lock)
        if lock.killed is not None or snapshot.identity("", rest.name) != rest.identity:
            return None
        return _PlannedRun(rest, plan, content, names, lock).execute()
    except KeyboardInterrupt:
        return interrupted()
    finally:
        lock.release()


class _PlannedRun:
    """One such run, under the lock of the project."""

    def __init__(
        self, rest: Rest, plan: StoredPlan, content: memoryview, names: Iterable[str], lock: ProjectLock
    ) -> None:
        """`names` are the tasks that may have to run, groups included; `content` is the plan's file."""
        self._rest = rest
        self._found = rest.snapshot
        self._plan = plan
        self._content = content
        self._names = set(names)  # grows where a task changes inputs of others behind the back of the graph
        self._tasks: dict[str, Task] = {}
        self._lock = lock
        self._line: dict[str, Any] = json.loads("{" + self._found.history + "}")
        self._width = 1
        self._needs_dodo = False

    def execute(self) -> int | None:
        """Run, and return the exit code; None where something is left, or all, that takes the long way."""
        self._add(self._names)
        paths = {path for task in self._tasks.values() for path in (*task.inputs, *task.outputs)}
        try:
            workspace = Workspace(os.getcwd(), os.environ, read_only=False, paths=paths)
        except BuildkitError:
            return None  # the long way mends it, or says what is wrong
        try:
            try:
                known = self._known(workspace)
            except (sqlite3.Error, UnicodeDecodeError):
                return None
            exit_code = None if known is None else self._run(workspace, known)
            return None if self._needs_dodo and exit_code == 0 else exit_code
        finally:
            workspace.close()

    def _add(self, names: Iterable[str]) -> None:
        found = [self._plan[name] for name in names]
        self._tasks |= {task.name: task for task in found if task.kind is not TaskKind.GROUP}

    def _known(self, workspace: Workspace) -> UpToDate | None:
        """Return what is known of all other tasks; None where something is there that needs the dodo.py."""
        if workspace.connection is None:
            return None
        if ranges.count_of(self._line["skipped_ranges"]) != self._line["skipped"]:
            return None
        known = UpToDate(
            self._names, self._line["skipped"], self._line["saved_ns"], self._line["skipped_ranges"]
        )
        known.more = lambda: self._look_again(workspace, known)
        return known if self._take_out(workspace, known, self._tasks) else None

    def _take_out(self, workspace: Workspace, known: UpToDate, names: Iterable[str]) -> bool:
        """Take tasks out of those that are known to be up to date; False where one needs the dodo.py."""
        assert workspace.connection is not None  # noqa: S101 - or there would be no such run
        listed = list(names)
        numbers = dict(zip(listed, History(workspace.connection).task_ids(listed), strict=True))
        for name in listed:
            trace = workspace.traces.get(name)
            if trace is not None and (trace.ignored or not _are_files(trace.outputs)):
                return False
            if trace is not None and ranges.holds(known.ranges, numbers[name]):
                known.saved_ns = max(0, known.saved_ns - trace.wall_ns)
        known.ranges = ranges.without(known.ranges, numbers.values())
        known.count = ranges.count_of(known.ranges)
        return True

    def _look_again(self, workspace: Workspace, known: UpToDate) -> list[str]:
        """Return further tasks that have to be looked at: in sequence, tasks see what earlier ones did.

        Where that is undeclared, only the files themselves can tell. In parallel nobody can count on it.
        """
        if self._width > 1:
            return []
        found = self._found
        others: dict[int, set[str]] = {}
        for number in facts.files_changed(found) or ():
            if number < found.tracked:
                affected = set(self._plan.affected([number], ()) or ()) - self._names
                if affected:
                    others[number] = affected
        changed = recheck.changed_content(found, list(others)) or ()
        names = sorted(set().union(*(others[number] for number in changed)))
        if any(needs_dodo(self._plan[name], self._plan.fixed) for name in names):
            self._needs_dodo = True
            return []
        before = set(self._tasks)
        self._names.update(names)
        self._add(names)
        if not self._take_out(workspace, known, self._tasks.keys() - before):
            self._needs_dodo = True
            return []
        return names

    def _come_to(self, workspace: Workspace, known: UpToDate, console: PlainConsole) -> UpToDate:
        """Return those that the run has come to."""
        left = console.not_come_to()
        if not left:
            return known
        come_to = UpToDate(known.to_judge, known.count, known.saved_ns, known.ranges)
        self._take_out(workspace, come_to, left)
        return come_to

    def _run(self, workspace: Workspace, known: UpToDate) -> int:
        request = self._plan.request
        machine = Machine.probe()
        slots = parse_width(request.width).resolve(machine)
        self._width = max(1, slots)
        options = SessionOptions(
            width=self._width,
            parallel="inline" if slots == 0 else request.parallel,
            continue_=request.continue_,
            always=False,
            live=lambda task: self._verbosity(task) >= LIVE,
            sla_strict=request.sla_strict,
        )
        version = data_version(workspace)
        observing = Observing(
            ObserveOptions(events=workspace.settings.events, events_from=EVENTS_SETTING),
            os.environ,
            mode=console_mode(
                os.environ,
                ours=True,
                terminal=os.isatty(2),
                inline=options.parallel == "inline",
                live=request.live,
            ),
            threads=options.parallel == "thread",
        )
        console = self._console(observing, options)
        known.come_to = lambda: self._come_to(workspace, known, console)
        try:
            session = Session(
                workspace,
                self._plan,
                options=options,
                machine=machine,
                hosting=lambda _loop, _after_fork: CommandsOnly(),
                lock=self._lock,
                sink=console,
                observers=observing.observers,
                own_files=[1, 2, *observing.open_files],
                up_to_date=known,
            )
            totals = session.run()
        except BuildkitError as error:
            print_error(error)
            return int(error.exit_code)
        finally:
            observing.close()
        tell_end(session.summary, totals)
        if not (
            totals.exit_code < ExitCode.INTERRUPTED
            and version == data_version(workspace)
            and self._renew(workspace, known)
        ):
            snapshot.drop("", self._rest.name)
        return int(totals.exit_code)

    def _console(self, observing: Observing, options: SessionOptions) -> PlainConsole:
        request, plan = self._plan.request, self._plan
        parallel = options.width > 1
        return PlainConsole(
            sys.stdout if observing.screen is None else observing.screen.stream(sys.stdout),
            TaskOutput(parallel=parallel, voice=observing.voice, folding=observing.folding),
            names=plan.order(),
            skip_lines=skip_lines,
            running=self._tasks.keys(),
            in_order=not parallel,
            continue_=request.continue_,
            verbosity=self._verbosity,
            failure_verbosity=request.failure_verbosity,
            folding=observing.folding,
            warn=warn_on_stderr,
        )

    def _verbosity(self, task: Task) -> int:
        request = self._plan.request
        if request.force_verbosity or task.verbosity is None:
            return request.verbosity
        return task.verbosity

    # --- the next run

    def _renew(self, workspace: Workspace, known: UpToDate) -> bool:
        """Write the snapshot as it is now; return whether that could be done."""
        try:
            self._found.touched = snapshot.touched_so_far("")
            if workspace.traces.dirty or not self._learn(workspace, known):
                return False
            snapshot.keep_plan("", self._rest.name, self._content)
            snapshot.write("", self._rest.name, self._found)
        except (OSError, sqlite3.Error, BuildkitError):
            return False
        return True

    def _learn(self, workspace: Workspace, known: UpToDate) -> bool:
        """Judge the tasks again, and put what was seen into the snapshot; False where there is no place."""
        found = self._found
        done: list[str] = []
        unfinished: dict[str, None] = {}
        seen: dict[str, Fingerprint] = {}
        table = WatchingTable(workspace.table)
        judge = workspace.judge(self._plan, CommandsHost(), table=table)
        for task in self._tasks.values():
            table.seen.clear()
            if self._is_done(workspace, judge, task):
                done.append(task.name)
                seen.update((path, one) for path, one in table.seen.items() if one is not None)
            else:
                unfinished[task.name] = None
                judge.tools_may_have_changed()  # what it saw of them is not taken over: look again
        numbers = facts.numbers_of(found, seen)
        if len(numbers) != len(seen):
            return False
        signatures, digests, modes = signatures_of(seen, seen)
        found.signatures = _patched(found.signatures, numbers.values(), signatures, 8)
        found.digests = _patched(found.digests, numbers.values(), digests, 16)
        found.modes = _patched(found.modes, numbers.values(), modes, 2)
        if found.unfinished != tuple(unfinished):
            found.unfinished = tuple(unfinished)
            found.stdout = skip_lines(name for name in self._plan.order() if name not in unfinished)
        self._tell(workspace, known, done)
        return True

    @staticmethod
    def _is_done(workspace: Workspace, judge: Judge, task: Task) -> bool:
        try:
            course = judge.judge(task).verdict.course
        except JudgeError:
            return False
        trace = workspace.traces.get(task.name)
        return course is Course.SKIP and trace is not None and _are_files(trace.outputs)

    def _tell(self, workspace: Workspace, known: UpToDate, done: Sequence[str]) -> None:
        """Put into the snapshot what is said of a run that skips `done` beside all that is known."""
        assert workspace.connection is not None  # noqa: S101 - or there would be no such run
        history, traces = History(workspace.connection), workspace.traces
        saved_ns = known.saved_ns + sum(trace.wall_ns for name in done if (trace := traces.get(name)))
        skipped = known.count + len(done)
        numbers = ranges.union(known.ranges, history.task_ids(done))
        summary = RunSummary(wall_ns=0, exit_code=0, skipped=skipped, saved_ns=saved_ns)
        line = self._line | {"skipped": skipped, "saved_ns": saved_ns, "skipped_ranges": numbers}
        self._found.summary = split_summary(summary)
        self._found.history = json.dumps(line, separators=(",", ":"))[1:-1]


def _are_files(outputs: str) -> bool:
    """Whether the outputs of a trace are regular files: what lies in a folder is not looked for here."""
    if not any(f'"{kind}"' in outputs for kind in OutputKind if kind is not OutputKind.FILE):
        return True  # spares the JSON of thousands of tasks
    return all(output.kind is OutputKind.FILE for output in decode_outputs(outputs))


def _patched(packed: bytes, numbers: Iterable[int], values: bytes, size: int) -> bytes:
    """Return packed values of `size` bytes each, those with these numbers replaced."""
    patched = bytearray(packed)
    for position, number in enumerate(numbers):
        patched[size * number : size * (number + 1)] = values[size * position : size * (position + 1)]
    return bytes(patched)
