"""The tasks of a project as a graph with times: what `doit graph` shows, as data and as JSON.

What belongs here: nodes, edges, and the critical path. Where they come from is said by
`frontend/graph.py`; what they look like, by `graph_text.py` and `graph_formats.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from buildkit.core.graph import Timeline, timeline

_UNSEEN_QUANTILE = 0.9  # the scheduler too takes a task without history for one of the long ones


class EdgeKind(StrEnum):
    """Why a task waits for another."""

    SUPPLIES = "supplies"  # the other makes an input, or gives a value
    ORDER = "order"  # `task_dep`: it only has to end first
    MEMBER = "member"  # of a group
    SETUP = "setup"  # run first if this one has to run


class Timing(StrEnum):
    """Where the time of a task comes from."""

    HISTORY = "history"  # the median of its last successful executions: a prediction
    GUESS = "guess"  # it has never run: taken for one of the long ones
    STEP = "step"  # nothing has ever run: each task counts as one
    NOTHING = "nothing"  # a group: takes no time


@dataclass(frozen=True, slots=True)
class Edge:
    """A task that has to end first; `via` names files and values that it supplies."""

    task: str
    kind: EdgeKind
    via: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Node:
    """A task and what it waits for."""

    task: str
    group: bool = False
    location: str = ""
    edges: tuple[Edge, ...] = ()
    undecided: bool = False  # it may get more edges, or make more tasks, while a run goes on


@dataclass(frozen=True, slots=True)
class TaskGraph:
    """Tasks in an order that a run could take, with predicted times, and the longest path through them."""

    nodes: Mapping[str, Node]
    roots: tuple[str, ...]  # what was asked for
    expected: Mapping[str, int]  # nanoseconds; steps where nothing has ever run
    timing: Mapping[str, Timing]
    timeline: Timeline

    @property
    def in_steps(self) -> bool:
        """Whether there is no history at all, and the path counts tasks instead of time."""
        return Timing.STEP in self.timing.values()

    @property
    def edges(self) -> int:
        """How many edges there are."""
        return sum(len(node.edges) for node in self.nodes.values())

    @property
    def tasks(self) -> int:
        """How many tasks there are, groups left out."""
        return sum(not node.group for node in self.nodes.values())

    @property
    def guessed(self) -> list[str]:
        """Tasks without a history of their own, while others have one."""
        return [name for name, timing in self.timing.items() if timing is Timing.GUESS]


def task_graph(nodes: Sequence[Node], roots: Sequence[str], wall_ns: Mapping[str, int]) -> TaskGraph:
    """Return the graph of `nodes`, each of which comes after all that it waits for.

    `wall_ns` holds the predicted times of those that have a history.
    """
    known = sorted(wall_ns[node.task] for node in nodes if node.task in wall_ns)
    unseen = known[int(len(known) * _UNSEEN_QUANTILE)] if known else 1
    expected: dict[str, int] = {}
    timing: dict[str, Timing] = {}
    for node in nodes:
        name = node.task
        if node.group:
            expected[name], timing[name] = 0, Timing.NOTHING
        elif name in wall_ns:
            expected[name], timing[name] = wall_ns[name], Timing.HISTORY
        else:
            expected[name], timing[name] = unseen, Timing.GUESS if known else Timing.STEP
    before = {node.task: [edge.task for edge in node.edges] for node in nodes}
    return TaskGraph(
        nodes={node.task: node for node in nodes},
        roots=tuple(roots),
        expected=expected,
        timing=timing,
        timeline=timeline([node.task for node in nodes], before, expected),
    )


def graph_json(graph: TaskGraph) -> dict[str, Any]:
    """Return everything for JSON; times in nanoseconds, null where nothing has ever run."""
    in_steps = graph.in_steps
    on_path = set(graph.timeline.critical)

    def time(value: int) -> int | None:
        return None if in_steps else value

    return {
        "selected": list(graph.roots),
        "critical_path": list(graph.timeline.critical),
        "critical_path_ns": time(graph.timeline.length),
        "work_ns": time(graph.timeline.work),
        "tasks": [
            {
                "task": name,
                "group": node.group,
                "location": node.location or None,
                "undecided": node.undecided,
                "waits": [
                    {"task": edge.task, "kind": edge.kind.value, "via": list(edge.via)} for edge in node.edges
                ],
                "expected_ns": time(graph.expected[name]),
                "expected_from": None if in_steps else graph.timing[name].value,
                "earliest_start_ns": time(graph.timeline.start[name]),
                "slack_ns": time(graph.timeline.slack[name]),
                "critical": name in on_path,
            }
            for name, node in graph.nodes.items()
        ],
    }
