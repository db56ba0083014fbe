"""A graph of tasks for other programs: Graphviz's DOT language and Mermaid flowcharts.

What belongs here: syntax and quoting. An arrow leads from a task to the one that waits for it. Sources:
https://graphviz.org/doc/info/lang.html, https://mermaid.js.org/syntax/flowchart.html
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from buildkit.core.humanize import printable
from buildkit.report.graph_text import expected
from buildkit.report.task_graph import EdgeKind, TaskGraph

_DOT_EDGES = {
    EdgeKind.ORDER: "style=dashed",
    EdgeKind.SETUP: "style=dotted",
    EdgeKind.MEMBER: "arrowhead=none",
}
_MERMAID_EDGES = {EdgeKind.ORDER: "-.->", EdgeKind.SETUP: "-. setup .->", EdgeKind.MEMBER: "---"}


def dot(graph: TaskGraph) -> str:
    """Return the graph in DOT; the critical path is bold, order-only edges are dashed, setup dotted."""
    on_path = set(graph.timeline.critical)
    steps = set(itertools.pairwise(graph.timeline.critical))
    lines = ["digraph tasks {", "  rankdir=LR;", "  node [shape=box];"]
    for name, node in graph.nodes.items():
        attributes = [f"label={_dot_quoted(_label(graph, name, chr(10)))}"] if expected(graph, name) else []
        if node.group:
            attributes.append("shape=folder")
        if name in on_path:
            attributes.append("penwidth=3")
        lines.append(f"  {_dot_quoted(printable(name))}{_dot_attributes(attributes)};")
    for first, second, kind in _arrows(graph):
        attributes = [_DOT_EDGES[kind]] if kind in _DOT_EDGES else []
        if (first, second) in steps:
            attributes.append("penwidth=3")
        arrow = f"{_dot_quoted(printable(first))} -> {_dot_quoted(printable(second))}"
        lines.append(f"  {arrow}{_dot_attributes(attributes)};")
    return "\n".join([*lines, "}"])


def mermaid(graph: TaskGraph) -> str:
    """Return the graph as a Mermaid flowchart; the critical path is thick."""
    ids = {name: f"t{number}" for number, name in enumerate(graph.nodes)}
    steps = set(itertools.pairwise(graph.timeline.critical))
    lines = ["flowchart LR"]
    for name, node in graph.nodes.items():
        opening, closing = ("[[", "]]") if node.group else ("[", "]")
        label = _mermaid_quoted(_label(graph, name, "\n")).replace("\n", "<br>")
        lines.append(f'  {ids[name]}{opening}"{label}"{closing}')
    for first, second, kind in _arrows(graph):
        arrow = "==>" if (first, second) in steps else _MERMAID_EDGES.get(kind, "-->")
        lines.append(f"  {ids[first]} {arrow} {ids[second]}")
    if graph.timeline.critical:
        lines.append("  classDef critical stroke-width:4px")
        lines.append(f"  class {','.join(ids[name] for name in graph.timeline.critical)} critical")
    return "\n".join(lines)


def _arrows(graph: TaskGraph) -> Iterator[tuple[str, str, EdgeKind]]:
    return ((edge.task, name, edge.kind) for name, node in graph.nodes.items() for edge in node.edges)


def _label(graph: TaskGraph, name: str, newline: str) -> str:
    time = expected(graph, name)
    return f"{printable(name)}{newline}{time}" if time else printable(name)


def _dot_quoted(text: str) -> str:
    """Return a quoted string; a backslash alone would begin an escape of DOT's own."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _dot_attributes(attributes: list[str]) -> str:
    return f" [{', '.join(attributes)}]" if attributes else ""


def _mermaid_quoted(text: str) -> str:
    """Return text for a quoted label: Mermaid knows entities by name or number, written with `#`."""
    return "".join(f"#{ord(character)};" if character in _SPECIAL else character for character in text)


_SPECIAL = frozenset('"#&<>`\\')
