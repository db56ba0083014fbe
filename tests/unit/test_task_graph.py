"""Graphs of tasks with times: the path, the text, DOT and Mermaid."""

from __future__ import annotations

import pytest

from buildkit.report.graph_formats import dot, mermaid
from buildkit.report.graph_text import text
from buildkit.report.task_graph import Edge, EdgeKind, Node, TaskGraph, Timing, graph_json, task_graph

SECOND = 1_000_000_000


def node(name: str, *before: str, kind: EdgeKind = EdgeKind.SUPPLIES, **more: bool) -> Node:
    return Node(name, edges=tuple(Edge(other, kind) for other in before), **more)


def graph(*nodes: Node, **seconds: float) -> TaskGraph:
    wall_ns = {name: int(value * SECOND) for name, value in seconds.items()}
    return task_graph(nodes, [nodes[-1].task] if nodes else [], wall_ns)


def lines_of(found: TaskGraph, limit: int | None = None, width: int | None = None) -> list[str]:
    return text(found, found.roots, width=width, limit=limit).splitlines()


def test_a_task_without_history_counts_as_one_of_the_long_ones():
    nodes = [node(f"t{number}") for number in range(10)] + [node("new")]
    found = graph(*nodes, **{f"t{number}": number + 1 for number in range(10)})
    assert found.expected["new"] == 10 * SECOND
    assert found.timing["new"] is Timing.GUESS
    assert found.guessed == ["new"]


def test_groups_take_no_time_and_are_no_tasks():
    found = graph(node("a"), node("all", "a", group=True), a=2)
    assert (found.expected["all"], found.timing["all"]) == (0, Timing.NOTHING)
    assert (found.tasks, found.edges) == (1, 1)


def test_without_any_history_json_has_no_times():
    found = graph_json(graph(node("a"), node("b", "a")))
    assert found["critical_path"] == ["a", "b"]
    assert found["critical_path_ns"] is found["work_ns"] is None
    assert [task["expected_ns"] for task in found["tasks"]] == [None, None]


def test_with_history_json_has_start_and_slack():
    found = graph_json(graph(node("a"), node("b"), node("c", "a", "b"), a=1, b=3, c=1))
    assert found["critical_path"] == ["b", "c"]
    assert (found["critical_path_ns"], found["work_ns"]) == (4 * SECOND, 5 * SECOND)
    assert [task["slack_ns"] for task in found["tasks"]] == [2 * SECOND, 0, 0]
    assert [task["earliest_start_ns"] for task in found["tasks"]] == [0, 0, 3 * SECOND]


def test_the_headline_says_what_more_workers_can_gain():
    lines = lines_of(graph(node("a"), node("b"), node("c", "a", "b"), a=1, b=3, c=1))
    assert lines[0] == "3 tasks, 2 edges"
    assert lines[1] == (
        "Critical path: 2 tasks, ~4.00 s of ~5.00 s of work; at best 1.2x as fast as one after the other"
    )
    assert lines[2:4] == ["  b  ~3.00 s  75%", "  c  ~1.00 s  25%"]


def test_a_task_is_told_once_with_what_it_waits_for():
    lines = lines_of(
        graph(node("a"), node("b", "a"), node("c", "b"), node("d", "b", "c"), a=1, b=1, c=1, d=1)
    )
    tree = lines[lines.index("") + 1 :]
    assert tree == [
        "d  ~1.00 s  *",
        "  b  ~1.00 s  *",
        "    a  ~1.00 s  *",
        "  c  ~1.00 s  *",
        "    b  *  (see above)",
    ]


def test_long_paths_and_trees_are_cut_and_say_so():
    nodes = [node("t0"), *(node(f"t{n}", f"t{n - 1}") for n in range(1, 100))]
    lines = lines_of(graph(*nodes, **{f"t{n}": 1 for n in range(100)}), limit=5)
    assert "  … 88 more tasks …" in lines
    assert lines[-1] == "95 more lines; --all shows all"
    assert len(lines) == 24


def test_deep_levels_are_numbered_instead_of_indented():
    nodes = [node("t0"), *(node(f"t{n}", f"t{n - 1}") for n in range(1, 100))]
    assert lines_of(graph(*nodes))[-1] == f"{' ' * 32}[99] t0  *"


def test_lines_fit_the_terminal():
    assert lines_of(graph(node("n" * 100)), width=20)[-1] == "n" * 19 + "…"


def test_nothing_is_said_so():
    assert lines_of(graph()) == ["No tasks."]
    assert dot(graph()).splitlines()[0] == "digraph tasks {"
    assert mermaid(graph()) == "flowchart LR"


@pytest.mark.parametrize(
    ("kind", "in_dot", "in_mermaid"),
    [
        (EdgeKind.SUPPLIES, '"a" -> "c";', "t0 --> t2"),
        (EdgeKind.ORDER, '"a" -> "c" [style=dashed];', "t0 -.-> t2"),
        (EdgeKind.SETUP, '"a" -> "c" [style=dotted];', "t0 -. setup .-> t2"),
        (EdgeKind.MEMBER, '"a" -> "c" [arrowhead=none];', "t0 --- t2"),
    ],
)
def test_kinds_of_edges_look_different(kind: EdgeKind, in_dot: str, in_mermaid: str):
    slow = Edge("b", EdgeKind.SUPPLIES)
    found = graph(node("a"), node("b"), Node("c", edges=(Edge("a", kind), slow)), a=1, b=5, c=1)
    assert f"  {in_dot}" in dot(found).splitlines()
    assert f"  {in_mermaid}" in mermaid(found).splitlines()


def test_the_critical_path_is_marked_in_both_formats():
    found = graph(node("a"), node("b", "a"), a=1, b=1)
    assert '  "a" -> "b" [penwidth=3];' in dot(found).splitlines()
    assert mermaid(found).splitlines()[-2:] == [
        "  classDef critical stroke-width:4px",
        "  class t0,t1 critical",
    ]
    assert "  t0 ==> t1" in mermaid(found).splitlines()


@pytest.mark.parametrize(
    ("name", "in_dot", "in_mermaid"),
    [
        ('say "x"', '"say \\"x\\""', '"say #34;x#34;"'),
        ("back\\slash", '"back\\\\slash"', '"back#92;slash"'),
        ("a<b>&c#d`e", '"a<b>&c#d`e"', '"a#60;b#62;#38;c#35;d#96;e"'),
        ("esc\x1b[0m", '"esc\\\\x1b[0m"', '"esc#92;x1b[0m"'),
        ("caf\udce9", '"caf\\\\udce9"', '"caf#92;udce9"'),
    ],
)
def test_names_are_quoted(name: str, in_dot: str, in_mermaid: str):
    found = graph(node(name))
    assert in_dot in dot(found)
    assert in_mermaid in mermaid(found)
