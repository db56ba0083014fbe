"""The graph of a loaded dodo.py: its tasks and edges, dynamic ones as far as they can be known now.

What belongs here: reading the graph off the plan. Nothing is judged, run or written.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from buildkit.core.errors import PlanError
from buildkit.core.graph import CycleFound, upstream_first
from buildkit.core.plan import Task, TaskKind
from buildkit.engine.host import HostError
from buildkit.engine.scheduler import cycle_error
from buildkit.frontend.inspect import Inspector
from buildkit.frontend.supplies import Makers, supplies
from buildkit.report.task_graph import Edge, EdgeKind, Node


def nodes_of(inspector: Inspector, names: Iterable[str]) -> list[Node]:
    """Return the tasks and all that they wait for, each after what it waits for; PlanError for a cycle."""
    return _Walk(inspector).nodes(names)


class _Walk:
    def __init__(self, inspector: Inspector) -> None:
        self._inspector = inspector
        self._plan = inspector.plan
        self._makers = Makers(inspector.plan.makers)
        self._calculators: dict[str, tuple[str, ...]] = {}  # tasks that calculated dependencies
        self._position = {task.name: number for number, task in enumerate(inspector.plan)}
        self._undecided: set[str] = set()  # a calc_dep has not run, or a creator cannot do without a run

    def nodes(self, names: Iterable[str]) -> list[Node]:
        try:
            order = list(upstream_first(names, self._before, settle=self._create))
        except CycleFound as cycle:
            raise cycle_error(cycle.names) from None
        return [self._node(name) for name in order]

    def _before(self, name: str) -> tuple[str, ...]:
        task = self._plan[name]
        if task.calc_deps and name not in self._undecided:
            self._calculators.setdefault(name, task.calc_deps)
            try:
                task = self._inspector.task(name)
            except (HostError, PlanError):
                self._undecided.add(name)
        edges = {*task.calc_deps, *task.waits, *task.setup}
        # Inputs are a set in doit; their tasks come in the order of the definition here.
        return tuple(sorted(edges, key=lambda other: self._position.get(other, len(self._position))))

    def _create(self, name: str) -> bool:
        """Create a delayed task, as `doit list` would; return whether there is more to wait for now."""
        task = self._plan[name]
        if not task.dynamic or task.calc_deps or name in self._undecided:
            return False
        try:
            extension = self._inspector.host.extend(task, {})
        except (HostError, PlanError):
            self._undecided.add(name)  # its creator needs what only a run makes
            return False
        created = (*extension.added, extension.task._replace(dynamic=bool(extension.task.calc_deps)))
        self._plan.extend(created)
        self._makers.learn(created)
        return True

    def _node(self, name: str) -> Node:
        task = self._plan[name]
        before = self._before(name)
        supplied = supplies(task, before, self._makers, self._calculators.get(name, ()))
        return Node(
            name,
            group=task.kind is TaskKind.GROUP and name not in self._undecided,
            location=task.location,
            edges=tuple(
                Edge(other, _kind(task, other, supplied), tuple(supplied.get(other, ()))) for other in before
            ),
            undecided=name in self._undecided or (task.dynamic and bool(task.calc_deps)),
        )


def _kind(task: Task, other: str, supplied: dict[str, list[str]]) -> EdgeKind:
    if task.kind is TaskKind.GROUP or other in task.subtasks:
        return EdgeKind.MEMBER
    if other in task.setup and other not in task.waits:
        return EdgeKind.SETUP
    return EdgeKind.SUPPLIES if supplied.get(other) else EdgeKind.ORDER


def sinks(nodes: Sequence[Node]) -> list[str]:
    """Return the tasks that no other one waits for, in their order."""
    awaited = {edge.task for node in nodes for edge in node.edges}
    return [node.task for node in nodes if node.task not in awaited]
