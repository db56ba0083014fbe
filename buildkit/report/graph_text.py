"""A graph of tasks as an indented list, for a terminal: what is asked for, and below it what it waits for.

What belongs here: wording and layout. Nothing is computed; see `task_graph.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from buildkit.core.humanize import duration, plural, printable
from buildkit.report.tables import cut
from buildkit.report.task_graph import EdgeKind, TaskGraph, Timing

_DEEPEST = 16  # levels of indentation; deeper lines tell their level instead
_PATH_ROWS = 12
_NOTES = {EdgeKind.ORDER: "order only", EdgeKind.SETUP: "setup"}


def text(graph: TaskGraph, tops: Sequence[str], *, width: int | None, limit: int | None) -> str:
    """Return the graph below `tops`, at most `limit` lines of it, with the critical path above it."""
    if not graph.nodes:
        return "No tasks."
    lines = [_headline(graph), *_path(graph, limit), ""]
    shown = 0
    hidden = 0
    for line in _tree(graph, tops):
        if limit is None or shown < limit:
            lines.append(line if width is None else cut(line, width))
            shown += 1
        else:
            hidden += 1
    if hidden:
        lines += ["", f"{plural(hidden, 'more line')}; --all shows all"]
    return "\n".join(lines)


def expected(graph: TaskGraph, name: str) -> str:
    """Return the predicted time of a task: `~1.24 s`, with `?` where it is a guess; empty for a group."""
    timing = graph.timing[name]
    if timing in (Timing.NOTHING, Timing.STEP):
        return ""
    return f"~{duration(graph.expected[name])}{'?' if timing is Timing.GUESS else ''}"


def _headline(graph: TaskGraph) -> str:
    groups = len(graph.nodes) - graph.tasks
    told = plural(graph.tasks, "task")
    if groups:
        told += f" in {plural(groups, 'group')}"
    return f"{told}, {plural(graph.edges, 'edge')}"


def _path(graph: TaskGraph, limit: int | None) -> list[str]:
    """Return the critical path: what it takes, and its steps, groups left out."""
    line = graph.timeline
    steps = [name for name in line.critical if not graph.nodes[name].group]
    if graph.in_steps:
        lines = [
            f"Critical path: {plural(len(steps), 'task')}, counted in tasks since none of them has a history"
        ]
    else:
        gain = line.work / line.length if line.length else 1.0
        best = f"; at best {gain:.1f}x as fast as one after the other" if gain >= 1.05 else ""
        lines = [
            f"Critical path: {plural(len(steps), 'task')}, ~{duration(line.length)} of"
            f" ~{duration(line.work)} of work{best}"
        ]
    rows = steps if limit is None or len(steps) <= _PATH_ROWS else steps[: _PATH_ROWS // 2]
    rest = [] if len(rows) == len(steps) else steps[-(_PATH_ROWS // 2) :]
    lines += _steps(graph, rows)
    if rest:
        lines.append(f"  … {plural(len(steps) - len(rows) - len(rest), 'more task')} …")
        lines += _steps(graph, rest)
    guessed = graph.guessed
    if guessed:
        lines.append(
            f"~ is predicted from history, ? is a guess: {plural(len(guessed), 'task')} never ran here"
        )
    elif not graph.in_steps:
        lines.append("~ is predicted from history")
    return lines


def _steps(graph: TaskGraph, names: Sequence[str]) -> list[str]:
    length = graph.timeline.length
    lines = []
    for name in names:
        time = expected(graph, name)
        share = f"  {_share(graph.expected[name] / length)}" if time and length else ""
        lines.append(f"  {printable(name)}  {time}{share}".rstrip())
    return lines


def _share(part: float) -> str:
    return f"{part:.0%}" if part >= 0.005 else "<1%"


def _tree(graph: TaskGraph, tops: Sequence[str]) -> Iterator[str]:
    """Yield one line per task and per further mention of it; without recursion, as chains may be long."""
    on_path = set(graph.timeline.critical)
    told: set[str] = set()
    stack: list[tuple[str, int, str]] = [(name, 0, "") for name in reversed(tops)]
    while stack:
        name, level, note = stack.pop()
        node = graph.nodes[name]
        again = name in told and bool(node.edges)
        told.add(name)
        marks = [note] if note else []
        if node.undecided:
            marks.append("more is known when it runs")
        if again:
            marks.append("see above")
        line = "  ".join(
            part
            for part in (
                f"{_indent(level)}{printable(name)}",
                "" if again else expected(graph, name),
                "*" if name in on_path else "",
                f"({', '.join(marks)})" if marks else "",
            )
            if part
        )
        yield line
        if not again:
            stack.extend((edge.task, level + 1, _NOTES.get(edge.kind, "")) for edge in reversed(node.edges))


def _indent(level: int) -> str:
    if level <= _DEEPEST:
        return "  " * level
    return f"{'  ' * _DEEPEST}[{level}] "
