"""Why a task would run: every task that it depends on is judged, and what that means for it is told.

What belongs here: the walk through the tasks and the facts of an explanation. Nothing is run or written;
the rule that decides is the engine's.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from buildkit.core.decide import Course, Facts, RecordStatus, decide
from buildkit.core.difference import Difference, differences, parts_of
from buildkit.core.errors import PlanError, StateError
from buildkit.core.execution import Reason, ReasonKind
from buildkit.core.graph import CycleFound, upstream_first
from buildkit.core.humanize import listed
from buildkit.core.plan import Task, TaskKind
from buildkit.engine.host import HostError
from buildkit.engine.judge import JudgeError, Judgement, decode_components
from buildkit.engine.outputs import AS_RECORDED, compare_outputs, decode_outputs
from buildkit.engine.scheduler import cycle_error
from buildkit.frontend.foresight import Foresight
from buildkit.frontend.inspect import Inspector
from buildkit.frontend.unfolding import Unfolding
from buildkit.frontend.workspace import Workspace
from buildkit.report.explanation import Brief, CacheAnswer, Explanation, LastTime, Upstream, Would
from buildkit.state.history import History
from buildkit.state.traces import OK

_NOT_DONE = (Would.IGNORED, Would.BLOCKED)
_STATUS = {status.value: status for status in RecordStatus}  # as traces spell it


@dataclass(slots=True)
class _Seen:
    """What has been found out about a task."""

    task: Task
    would: Would
    reasons: tuple[Reason, ...] = ()
    message: str = ""
    judgement: Judgement | None = None
    awaited: str | None = None  # the first task upstream that would act, and supplies what this one reads
    cache: CacheAnswer | None = None  # None: not asked yet, it is up to date anyway
    foreseen: bool = False  # would be restored, and all that it would leave behind is known
    pending: bool = False  # something upstream, that supplies what this one reads, would act

    @property
    def unsettles(self) -> bool:
        """Whether what comes after it may be judged otherwise once it has run."""
        return self.would.acts and not self.foreseen

    def brief(self) -> Brief:
        return Brief(self.task.name, self.would, self.reasons, self.message, self.awaited)


class Explainer:
    """Explains tasks of a loaded dodo.py; every task is judged once."""

    def __init__(self, inspector: Inspector, workspace: Workspace) -> None:
        self._inspector = inspector
        self._plan = inspector.plan
        self._tasks = Unfolding(inspector)
        self._workspace = workspace
        self._seen: dict[str, _Seen] = {}
        self._foresight = Foresight(workspace)

    def survey(self, names: Iterable[str]) -> list[Brief]:
        """Judge the tasks and all that they wait for; return those that were not known, in their order.

        Setup tasks are among them where the task that needs them would run. PlanError names a cycle, or
        what is wrong with a definition.
        """
        order: list[_Seen] = []
        waiting = list(names)
        while waiting:
            fresh = list(self._visit(waiting))
            order += fresh
            waiting = [
                setup
                for seen in fresh
                if seen.would is Would.RUN
                for setup in seen.task.setup
                if setup not in self._seen
            ]
        return [seen.brief() for seen in order]

    def explain(self, name: str) -> Explanation:
        """Return everything there is to say about a task; PlanError as in `survey`."""
        if name not in self._seen:
            self.survey([name])
        seen = self._seen[name]
        task, judgement = seen.task, seen.judgement
        if seen.cache is None:
            self._ask_cache(seen)
        trace = self._workspace.traces.get(name)
        components = judgement.components if judgement is not None else ()
        inputs = [(path, found.digest, found.mode) for path, found in judgement.inputs] if judgement else []
        supplied = self._tasks.suppliers(name)
        return Explanation(
            brief=seen.brief(),
            location=task.location,
            differences=self._differences(seen),
            parts=parts_of(components, inputs),
            key=judgement.key if judgement is not None else None,
            recorded_key=trace.action_key if trace is not None else None,
            cache=seen.cache or CacheAnswer.OFF,
            uncacheable=task.uncacheable,
            waits=tuple(self._upstream(wait, supplied) for wait in self._tasks.waits(name)),
            setup=tuple(self._upstream(setup, supplied) for setup in self._known(task.setup)),
            may_change=tuple(self._acting_sources(name)),
            members=tuple(member.brief() for member in self._members(name)),
            last=self._last(name),
        )

    # --- the walk

    def _visit(self, names: Sequence[str]) -> Iterator[_Seen]:
        try:
            for name in upstream_first(names, self._unseen_edges, settle=self._create):
                if name not in self._seen:
                    seen = self._seen[name] = self._judge(self._plan[name])
                    seen.pending = any(map(self._may_act, self._tasks.suppliers(name)))
                    if seen.would is not Would.SKIP:
                        self._ask_cache(seen)
                    yield seen
        except CycleFound as cycle:
            raise cycle_error(cycle.names, self._plan[cycle.names[0]]) from None

    def _unseen_edges(self, name: str) -> tuple[str, ...]:
        return () if name in self._seen else self._tasks.waits(name)

    def _create(self, name: str) -> bool:
        """Create a delayed task, once nothing is left to be done before it; return whether that was so."""
        if name in self._seen or not self._tasks.is_delayed(name):
            return False
        waits = self._plan[name].waits
        if any(self._may_act(wait) or self._seen[wait].would in _NOT_DONE for wait in waits):
            return False
        return self._tasks.create(name)

    def _may_act(self, name: str) -> bool:
        seen = self._seen.get(name)  # setup tasks are judged later, if at all
        return seen is not None and (seen.would.acts or seen.pending)

    # --- judging

    def _judge(self, task: Task) -> _Seen:
        name = task.name
        if name in self._tasks.errors:
            return _Seen(task, Would.BLOCKED, message=self._tasks.errors[name])
        edges = [self._seen[edge] for edge in self._tasks.waits(name)]
        trace = self._workspace.traces.get(name)
        ignored = tuple(edge.task.name for edge in edges if edge.would is Would.IGNORED)
        if ignored or (trace is not None and trace.ignored):
            return _Seen(task, Would.IGNORED, (Reason(ReasonKind.IGNORED, ignored),))
        blocked = tuple(edge.task.name for edge in edges if edge.would is Would.BLOCKED)
        if blocked:
            return _Seen(task, Would.BLOCKED, (Reason(ReasonKind.UPSTREAM, blocked),))
        if task.dynamic:
            makers = [wait for wait in task.waits if self._may_act(wait)] or list(task.waits)
            have = "has" if len(makers) == 1 else "have"
            named = listed([f"'{maker}'" for maker in makers])
            message = f"it is created when {named} {have} run"
            return _Seen(task, Would.UNKNOWN, message=message, awaited=makers[0])
        awaited = next(self._acting_suppliers(task), None)
        if task.kind is TaskKind.GROUP:
            return _Seen(task, Would.GROUP, awaited=awaited)
        try:
            judgement = self._inspector.judge.judge(task)
        except JudgeError as error:
            absent = self._not_made_yet(task)
            if absent:
                return self._without_inputs(task, absent, awaited)
            return _Seen(task, Would.BLOCKED, message=str(error))
        except (HostError, PlanError) as error:
            return _Seen(task, Would.BLOCKED, message=str(error))
        would = Would.SKIP if judgement.verdict.course is Course.SKIP else Would.RUN
        return _Seen(task, would, judgement.verdict.reasons, judgement=judgement, awaited=awaited)

    def _not_made_yet(self, task: Task) -> list[str]:
        """Return the inputs that are missing, if tasks that would act make all of them."""
        absent: list[str] = []
        for path in task.inputs:
            try:
                if self._workspace.table.current(path) is not None:
                    continue
            except OSError:
                return []
            maker = self._tasks.makers.maker(path)
            if maker is None or maker not in self._seen or not self._may_act(maker):
                return []
            absent.append(path)
        return absent

    def _without_inputs(self, task: Task, absent: list[str], awaited: str | None) -> _Seen:
        """Say what can be said of a task whose inputs are still to be made: its key is not known."""
        trace = self._workspace.traces.get(task.name)
        status, seen = RecordStatus.NONE, AS_RECORDED
        if trace is not None and (trace.status != OK or trace.action_key is not None):
            status = _STATUS.get(trace.status, status)
        if trace is not None and status is RecordStatus.OK:
            recorded = decode_outputs(trace.outputs)
            seen = compare_outputs(task.outputs, recorded, self._workspace.table, self._workspace.root)
        verdict = decide(
            Facts(status, key_is_recorded=True, outputs_missing=seen.missing, outputs_changed=seen.changed)
        )
        first = self._tasks.makers.maker(absent[0])
        message = f"'{first}' makes its input '{absent[0]}' first"
        restorable = (
            verdict.course is Course.REUSE
            and task.uncacheable is None
            and self._foresight.may_hold_something()
        )
        if verdict.course is Course.SKIP or restorable:
            return _Seen(task, Would.UNKNOWN, message=message, awaited=awaited)
        return _Seen(task, Would.RUN, verdict.reasons, awaited=awaited)

    def _ask_cache(self, seen: _Seen) -> None:
        """Find out what the cache can do for a task, and whether it would be restored."""
        task = seen.judgement.task if seen.judgement is not None else seen.task
        seen.cache, result = self._foresight.ask(task, seen.judgement)
        if result is not None and seen.would is Would.RUN:
            seen.would = Would.RESTORE
            seen.foreseen = self._foresight.pretend(task, result)

    # --- upstream

    def _acting_suppliers(self, task: Task) -> Iterator[str]:
        """Yield tasks that would act and supply what `task` reads, straight or through others."""
        for name in self._tasks.suppliers(task.name):
            seen = self._seen.get(name)
            if seen is None:
                continue
            if seen.unsettles:
                yield name
            elif seen.awaited is not None:
                yield seen.awaited

    def _acting_sources(self, name: str) -> list[str]:
        """Return all tasks that would act and with which the answer for `name` may change."""
        found: dict[str, None] = {}
        done = {name}
        waiting = [name]
        while waiting:
            for supplier in self._tasks.suppliers(waiting.pop()):
                seen = self._seen.get(supplier)
                if seen is None or supplier in done:
                    continue
                done.add(supplier)
                if seen.unsettles:
                    found[supplier] = None
                elif seen.awaited is not None:
                    waiting.append(supplier)
        if not found and (awaited := self._seen[name].awaited) is not None:
            found[awaited] = None  # of a task that is not created yet
        return list(found)

    def _upstream(self, name: str, supplied: dict[str, list[str]]) -> Upstream:
        return Upstream(name, self._seen[name].would, tuple(supplied.get(name, ())))

    def _known(self, names: Iterable[str]) -> list[str]:
        """Return the names, judged if they were not yet (setup tasks of a task that would not run)."""
        wanted = list(names)
        self.survey([name for name in wanted if name not in self._seen])
        return wanted

    def _members(self, name: str) -> list[_Seen]:
        """Return the tasks of a group, groups within it resolved, in the order of the definition."""
        if self._seen[name].would is not Would.GROUP:
            return []
        found: dict[str, _Seen] = {}
        done: set[str] = set()
        waiting = [name]
        while waiting:
            group = waiting.pop()
            if group in done:
                continue
            done.add(group)
            inner = []
            for member in self._tasks.waits(group):
                seen = self._seen[member]
                if seen.would is Would.GROUP:
                    inner.append(member)
                else:
                    found.setdefault(member, seen)
            waiting.extend(reversed(inner))
        return list(found.values())

    # --- the record

    def _differences(self, seen: _Seen) -> tuple[Difference, ...]:
        trace, judgement = self._workspace.traces.get(seen.task.name), seen.judgement
        if judgement is None or trace is None or trace.action_key in (None, judgement.key):
            return ()
        recorded = decode_components(self._workspace.traces.components(seen.task.name))
        if recorded is None or judgement.key is None:
            return ()
        components, inputs = recorded
        return differences(
            components,
            [(path, digest, mode) for path, (digest, mode) in inputs.items()],
            judgement.components,
            [(path, found.digest, found.mode) for path, found in judgement.inputs],
        )

    def _last(self, name: str) -> LastTime | None:
        connection = self._workspace.connection
        if connection is None:
            return None
        try:
            found = History(connection).task_history(name, limit=1)
        except sqlite3.Error as error:  # damage that opening did not see
            raise StateError(f"cannot read the history of this project: {error}.") from error
        return LastTime(*found[0]) if found else None
