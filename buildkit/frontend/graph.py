"""The graph of a loaded dodo.py: its tasks, and what kind of edge leads from one to the other.

What belongs here: reading the graph off the plan. Nothing is judged, run or written.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from buildkit.core.graph import CycleFound, upstream_first
from buildkit.core.plan import Task, TaskKind
from buildkit.engine.scheduler import cycle_error
from buildkit.frontend.inspect import Inspector
from buildkit.frontend.unfolding import Unfolding
from buildkit.report.task_graph import Edge, EdgeKind, Node


def nodes_of(inspector: Inspector, names: Iterable[str]) -> list[Node]:
    """Return the tasks and all that they wait for, each after what it waits for; PlanError for a cycle."""
    tasks = Unfolding(inspector)

    def before(name: str) -> tuple[str, ...]:
        return tasks.waits(name, setup=True)

    try:
        order = list(upstream_first(names, before, settle=tasks.create))
    except CycleFound as cycle:
        raise cycle_error(cycle.names, tasks.plan[cycle.names[0]]) from None
    return [_node(tasks, name, before(name)) for name in order]


def _node(tasks: Unfolding, name: str, before: Iterable[str]) -> Node:
    task = tasks.plan[name]
    undecided = name in tasks.errors  # a calc_dep has not run, or a creator cannot do without a run
    supplied = tasks.suppliers(name)
    return Node(
        name,
        group=task.kind is TaskKind.GROUP and not undecided,
        location=task.location,
        edges=tuple(
            Edge(other, _kind(task, other, supplied), tuple(supplied.get(other, ()))) for other in before
        ),
        undecided=undecided or (task.dynamic and bool(task.calc_deps)),
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
