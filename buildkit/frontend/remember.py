"""After a run: whether the next one would have nothing to do, and on which facts that rests.

What belongs here: one run from loading to its end as the fast start sees it. The facts are not listed by
hand: everything is judged once more while `LoadTrace` watches, so that what was asked is what is stored.
"""

from __future__ import annotations

import gc
import json
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import cast

from buildkit.core.decide import Course
from buildkit.core.errors import BuildkitError
from buildkit.core.execution import Decision
from buildkit.core.fingerprint import Fingerprint
from buildkit.core.plan import CheckKind, Plan, Task, TaskKind
from buildkit.engine.judge import Judge, JudgeError
from buildkit.engine.scheduler import Scheduler
from buildkit.frontend.answer import WatchingTable, data_version, signatures_of, skip_lines, split_summary
from buildkit.frontend.commands_only import CommandsHost, needs_dodo
from buildkit.frontend.loadtrace import LoadTrace
from buildkit.frontend.session import RARE_COLLECTIONS
from buildkit.frontend.workspace import Workspace
from buildkit.state import facts, snapshot, stored_plan
from buildkit.state.history import History
from buildkit.state.runs import RunInfo, RunSummary, line_of_run
from buildkit.state.stored_plan import Request

_VARIES = ("started_at", "argv", "git_commit", "git_dirty", "pid", "uid", "wall_ns")
_NOT_OURS = frozenset({"BUILDKIT_LOCK", "BUILDKIT_JOB"})  # name the run around this one
_MANY = 20_000  # tasks from which it pays to give memory back
_STANDARD = os.path.dirname(os.__file__) + os.sep


class NotKeptError(Exception):
    """Why nothing is kept; the message completes "not kept: "."""


@dataclass(frozen=True, slots=True)
class Console:
    """What the reporter of this run prints of tasks that are up to date."""

    supported: bool
    lines: bool = False  # `-- task` for each
    summary: bool = False  # our line on stderr


class Memory:
    """The fast start's part in one run. `close` may be called at any time, and more than once."""

    def __init__(self, arguments: Iterable[str]) -> None:
        """To be made before the dodo.py is loaded; `arguments` are those of the command line."""
        self._arguments = tuple(arguments)
        self._stamp = snapshot.stamp()
        self._directory = os.getcwd()
        self._trace = LoadTrace()
        self._imports: dict[str, bytes] = {}
        self._names: frozenset[str] = frozenset()
        self._process_began_ns = process_began_ns()
        self._version: int | None = None
        self._ends_at_once = False
        self._read_by_doit()
        # Thousands of tasks come into being, and none of them goes: looking for garbage among them is a
        # quarter of the time that loading takes.
        self._collects = gc.isenabled()
        gc.disable()
        self._trace.begin()

    def close(self) -> None:
        """Watch no more."""
        self._trace.end()
        # The process ends. What the dodo.py has left to that (a file that is still open) needs a last search.
        if self._ends_at_once:
            gc.freeze()
        else:
            gc.unfreeze()
        self._collect_again()

    def _collect_again(self) -> None:
        if self._collects:
            gc.enable()

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Within, nothing counts as looked at."""
        with self._trace.pause():
            yield

    def _read_by_doit(self) -> None:
        for name in ("pyproject.toml", "doit.cfg"):
            path = os.path.join(self._directory, name)
            try:
                self._trace.statuses[path] = os.stat(path), self._process_began_ns
            except OSError:
                self._trace.kinds[path, True] = facts.ABSENT

    def created(self) -> None:
        """Take note that the tasks are there, and their code is going to be digested."""
        self._trace.give_back()

    def loaded(self, tasks: int) -> None:
        """Note which modules loading and planning took; both are done, and there are so many tasks."""
        gc.freeze()  # what is there now stays: later collections need not look at it
        gc.set_threshold(*RARE_COLLECTIONS)
        self._collect_again()
        trace = self._trace
        trace.end()
        trace.names.update(name.rpartition(".")[2] for name in sys.modules)
        for module in list(sys.modules.values()):
            file = getattr(module, "__file__", None)
            if isinstance(file, str) and _counts(file):
                path = os.path.join(self._directory, file)
                try:
                    # When it was read is not known exactly, so it has to be older than all of this.
                    trace.statuses.setdefault(path, (os.stat(path), trace.began_at_ns))
                except OSError:
                    trace.refuse(f"the module file '{path}' cannot be found")
        names = self._names = frozenset(trace.names)
        for folder in {*trace.import_folders, *trace.path, *sys.path}:
            path = os.path.join(self._directory, folder)
            if _counts(path + os.sep):
                self._imports[path] = facts.listing_of(path, names)
        if tasks >= _MANY:
            _give_memory_back()

    def opened(self, workspace: Workspace) -> None:
        """Note in which state the record was opened."""
        self._version = data_version(workspace)

    # --- the end of the run

    def finish(
        self,
        workspace: Workspace,
        plan: Plan,
        *,
        sequential: bool,
        console: Console,
        ignored: Callable[[str], bool],
        info: RunInfo,
        doit_tasks: object,
        ran_here: Callable[[Task], bool],
        command: str,
        request: Request | None,
    ) -> str | None:
        """Keep a snapshot if the next run has nothing to do, or commands alone; return why not, or None.

        `request` is kept with it where the next run may use the stored plan. The process ends after that.
        `ran_here` tells of which tasks the actions have run in this process.
        """
        clean = console.supported and not plan.grown and not self._trace.refusals
        if clean and not any(_calls_code(each, ran_here) for each in plan):
            self._ends_at_once = True
            _leave_to_the_system(plan, workspace, doit_tasks)
        name = snapshot.name_of(self._arguments)
        gc.disable()  # nothing is left to be collected before the process ends
        try:
            kept, stored = self._snapshot(workspace, plan, sequential, console, ignored, info, request)
            if len(plan) >= _MANY:  # what follows is where their run takes the most memory
                workspace.table.let_go()
                workspace.traces.let_go()
            return self._write(workspace.root, name, kept, stored)
        except (NotKeptError, BuildkitError, JudgeError, OSError) as error:
            reason = str(error)
        except Exception as error:
            # The run has succeeded: what is only there for the speed of the next one must not fail it.
            reason = f"an error of buildkit, please report it: {error!r}"
        self._trace.end()
        with suppress(OSError):  # then nobody is told why, that is all
            snapshot.write_reason(workspace.root, name, command, reason)
        return reason

    @staticmethod
    def _write(root: str, name: str, kept: snapshot.Snapshot, plan: Iterator[bytes] | None) -> str | None:
        try:
            snapshot.write(root, name, kept, plan)
        except OSError as error:
            return f"it cannot be written: {error}"
        return None

    def _snapshot(
        self,
        workspace: Workspace,
        plan: Plan,
        sequential: bool,
        console: Console,
        ignored: Callable[[str], bool],
        info: RunInfo,
        request: Request | None,
    ) -> tuple[snapshot.Snapshot, Iterator[bytes] | None]:
        connection = self._foreseeable(workspace, console)
        at_loading = set(self._trace.statuses)
        self._trace.begin()
        try:
            outlook = _outlook(workspace, plan, ignored, sequential=sequential)
        finally:
            self._trace.end()
        self._raise_refusal("judging")
        fixed = set(outlook.tools)
        fixed.update(self._forget_tracked(outlook.seen, at_loading))
        _refuse_to_run(outlook, plan, fixed, request)
        ordered, folders = facts.by_folder(outlook.seen)
        signatures, digests, modes = signatures_of(ordered, outlook.seen)
        statuses = self._statuses()
        others, more_folders = facts.by_folder(statuses)
        summary = outlook.summary(workspace)
        salt = os.urandom(16)
        values = self._facts_of_loading(salt) | {
            "database": _identity_of_record(workspace),
            "folders": (*folders, *more_folders),
            "names": facts.names_of((*ordered, *others), (*folders, *more_folders)),
            "tracked": len(ordered),
            "signatures": signatures + facts.packed([statuses[path] for path in others]),
            "digests": digests,
            "modes": modes,
            "stdout": skip_lines(task.name for task in outlook.skipped) if console.lines else "",
            "summary": split_summary(summary) if console.summary else ("", ""),
            "history": _history(History(connection), info, summary),
            "unfinished": tuple(outlook.to_run),
            "touched": snapshot.touched_so_far(workspace.root),
        }
        kept = snapshot.Snapshot(values[field] for field in snapshot.Snapshot.fields)
        if request is None:
            return kept, None
        return kept, stored_plan.encode(
            plan,
            salt=salt,
            request=request,
            order=[task.name for task in outlook.order],
            tracked=ordered,
            fixed=fixed,
        )

    def _forget_tracked(self, seen: Collection[str], at_loading: Collection[str]) -> Iterator[str]:
        """Drop what is tracked by content: it is no further fact, unless loading has looked at it, too.

        Yields the files of which that is so.
        """
        here = os.path.join(self._directory, "")
        for full in list(self._trace.statuses):
            path = full.removeprefix(here)
            if path not in seen:
                path = full
            if path not in seen:
                continue
            if full in at_loading:
                yield path
            else:
                del self._trace.statuses[full]

    def _foreseeable(self, workspace: Workspace, console: Console) -> sqlite3.Connection:
        """Return the connection to the record; NotKeptError where the next run cannot be foreseen at all."""
        if workspace.root != self._directory:
            raise NotKeptError("doit was not started in the project's own directory")
        if not console.supported:
            raise NotKeptError("the reporter is another one than the console's")
        if workspace.connection is None or workspace.traces.dirty:
            raise NotKeptError("the state of the project could not be written")
        if self._version != data_version(workspace):
            raise NotKeptError("a task changed the record of the project (a buildkit within the run)")
        self._raise_refusal("loading")
        return workspace.connection

    def _facts_of_loading(self, salt: bytes) -> dict[str, object]:
        """Return the fields of a snapshot that say what loading and judging have looked at, but files."""
        trace, environ = self._trace, self._trace.environ
        variables = sorted(trace.variables - _NOT_OURS)
        return {
            "stamp": self._stamp,
            "arguments": self._arguments,
            "salt": salt,
            "environment": tuple((each, facts.variable_digest(environ, each, salt)) for each in variables),
            "whole_environment": facts.environment_digest(environ, salt) if trace.whole_environment else b"",
            "kinds": self._kinds(),
            "links": self._links(),
            "accesses": self._accesses(),
            "listings": self._listings(),
        }

    def _raise_refusal(self, when: str) -> None:
        if self._trace.refusals:
            raise NotKeptError(f"{when} cannot be foreseen: {self._trace.refusals[0]}")

    # --- facts, each looked at once more: what has changed since loading is no fact any more

    def _statuses(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for path, (seen, seen_at_ns) in self._trace.statuses.items():
            try:
                now = os.stat(path)
            except OSError:
                now = None
            if seen is None or now is None:
                if now is not seen:
                    raise NotKeptError(f"'{path}' was changed during the run")
                self._trace.kinds.setdefault((path, True), facts.ABSENT)
                continue
            if facts.signature(now) != facts.signature(seen) or facts.racy(now, seen_at_ns):
                raise NotKeptError(f"'{path}' was changed during the run, or right before it")
            found[path] = facts.signature(now)
        return found

    def _kinds(self) -> tuple[tuple[str, bool, int], ...]:
        for (path, follow), kind in self._trace.kinds.items():
            if facts.kind_of(path, follow=follow) != kind:
                raise NotKeptError(f"'{path}' has come, gone or become something else during the run")
        return tuple((path, follow, kind) for (path, follow), kind in self._trace.kinds.items())

    def _links(self) -> tuple[tuple[str, str], ...]:
        for path, text in self._trace.links.items():
            if os.readlink(path) != text:
                raise NotKeptError(f"the link '{path}' was changed during the run")
        return tuple(self._trace.links.items())

    def _accesses(self) -> tuple[tuple[str, int, bool], ...]:
        for (path, mode), answer in self._trace.accesses.items():
            if os.access(path, mode) != answer:
                raise NotKeptError(f"'{path}' was changed during the run")
        return tuple((path, mode, answer) for (path, mode), answer in self._trace.accesses.items())

    def _listings(self) -> tuple[tuple[str, int, bytes, frozenset[str] | None], ...]:
        wanted: list[tuple[str, bytes, frozenset[str] | None]] = [
            *((path, listed, None) for path, listed in self._trace.listings.items()),
            *((path, listed, self._names) for path, listed in self._imports.items()),
        ]
        found: list[tuple[str, int, bytes, frozenset[str] | None]] = []
        for path, listed, names in wanted:
            seen_at_ns = time.time_ns()
            try:
                status = os.stat(path)
            except OSError:
                seen = 0
            else:
                seen = 0 if facts.racy(status, seen_at_ns) else facts.signature(status)
            if facts.listing_of(path, names) != listed:
                raise NotKeptError(f"files have come to '{path}' or gone from it during the run")
            found.append((path, seen, listed, names))
        return tuple(found)


@dataclass(frozen=True, slots=True)
class _Outlook:
    """What the next run would do if nothing changes."""

    order: list[Task]  # all tasks but groups, in the order of the run
    skipped: list[Task]
    to_run: dict[str, str]  # the others, each with the reason
    seen: dict[str, Fingerprint]
    tools: set[str]

    def summary(self, workspace: Workspace) -> RunSummary:
        """Return what the run comes to if nothing but `skipped` is told of; its duration is not known."""
        names = [task.name for task in self.skipped]
        traces = map(workspace.traces.get, names)
        return RunSummary(
            wall_ns=0,
            exit_code=0,
            skipped=len(names),
            saved_ns=sum(trace.wall_ns for trace in traces if trace is not None),
            skipped_tasks=names,
        )


def _calls_code(task: Task, ran_here: Callable[[Task], bool]) -> bool:
    """Whether code of the project may have been called for a task, in this process, since it was loaded."""
    asked = any(check.kind is CheckKind.OPAQUE for check in task.checks) if task.checks else False
    return asked or task.teardown or task.title is not None or ran_here(task)


def _give_memory_back() -> None:
    """Return to the system what loading has taken and let go of: 1.5 kB for each task.

    The C library keeps it for more of the same, and what a run takes is of other sizes.
    """
    import ctypes  # milliseconds: only where they do not count

    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def _leave_to_the_system(*objects: object) -> None:
    """Spare the interpreter from taking these apart, piece by piece, when it ends.

    A cycle that the garbage collector has been told to pass over stays for ever.
    """
    cycle: list[object] = [*objects]
    cycle.append(cycle)
    gc.freeze()


def _outlook(
    workspace: Workspace, plan: Plan, ignored: Callable[[str], bool], *, sequential: bool
) -> _Outlook:
    """Judge all tasks as the next run would; NotKeptError where that cannot be foreseen."""
    table = WatchingTable(workspace.table)
    judge = workspace.judge(plan, CommandsHost(), table=table)
    if plan.grown:  # the next run has to find out again
        raise NotKeptError("tasks came into being, or their dependencies were found, only during the run")
    order, to_run = [], {}
    scheduler = Scheduler(plan, by_critical_path=not sequential)
    scheduler.add(plan.selected)
    while (node := scheduler.next_to_judge()) is not None:
        task = node.task
        _refuse_unforeseen(task, ignored)
        if task.kind is TaskKind.GROUP:
            scheduler.finish(node, Decision.EXECUTED)
            continue
        order.append(task)
        why = _why_it_runs(judge, task)
        if why is not None:
            to_run[task.name] = why
            _look_at_outputs(table, task)
        scheduler.finish(node, Decision.SKIPPED)
    skipped = [task for task in order if task.name not in to_run] if to_run else order
    seen = table.seen
    for path in [path for path, one in seen.items() if one is None]:
        del seen[path]
    return _Outlook(order, skipped, to_run, cast("dict[str, Fingerprint]", seen), judge.tools)


def _refuse_unforeseen(task: Task, ignored: Callable[[str], bool]) -> None:
    if ignored(task.name):
        raise NotKeptError(f"task '{task.name}' is ignored")
    if task.dynamic:
        raise NotKeptError(f"what task '{task.name}' depends on is only known while it runs")
    if task.title is not None:
        raise NotKeptError(f"the title of task '{task.name}' is made by a function")
    for check in task.checks:
        if check.kind is CheckKind.OPAQUE:
            raise NotKeptError(f"task '{task.name}' has to be asked: uptodate check {check.name}")


def _why_it_runs(judge: Judge, task: Task) -> str | None:
    try:
        judgement = judge.judge(task)
    except JudgeError as error:
        return str(error)
    if judgement.verdict.course is Course.SKIP:
        return None
    return "; ".join(map(str, judgement.verdict.reasons))


def _look_at_outputs(table: WatchingTable, task: Task) -> None:
    """Track the outputs of a task that runs the next time: once it has succeeded, they count."""
    for path in task.outputs:
        with suppress(OSError):
            table.current(path)


def _refuse_to_run(outlook: _Outlook, plan: Plan, fixed: Collection[str], request: Request | None) -> None:
    """Raise NotKeptError where a task runs the next time, and a run from the stored plan could not do it."""
    for name, why in outlook.to_run.items():
        told = f"task '{name}' runs the next time, too"
        if request is None:
            raise NotKeptError(f"{told}: {why}")
        need = needs_dodo(plan[name], fixed)
        if need is not None:
            raise NotKeptError(f"{told}, and {need}: {why}")


def _identity_of_record(workspace: Workspace) -> tuple[int, int]:
    status = os.stat(os.path.join(workspace.root, snapshot.DATABASE))
    return status.st_dev, status.st_ino


def process_began_ns() -> int:
    """Return when this process began, on the wall clock, or a little before."""
    try:
        with open("/proc/self/stat", encoding="utf-8", errors="replace") as file:
            ticks = int(file.read().rpartition(")")[2].split()[19])
        age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - (ticks - 1) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, AttributeError):
        age_s = 5.0  # no Linux: whoever edited settings within five seconds waits for the next run
    return time.time_ns() - int(age_s * 1e9)


def _counts(path: str) -> bool:
    """Whether a file of Python code can change without Python itself becoming another one."""
    return not path.startswith(_STANDARD) or "-packages" in path


def _history(history: History, info: RunInfo, summary: RunSummary) -> str:
    """Return what the history is told of each answer, as JSON without braces."""
    ranges = history.skipped_ranges(summary.skipped_tasks)
    told = RunSummary(
        wall_ns=0,
        exit_code=0,
        skipped=summary.skipped,
        saved_ns=summary.saved_ns,
        skipped_tasks=ranges,
    )
    line = line_of_run(info, told, history.database_uid())
    line = {key: value for key, value in line.items() if key not in _VARIES}
    return json.dumps({"git_dirty": None, **line}, separators=(",", ":"))[1:-1]
