"""Graphs of names: an order in which each one comes after what it waits for, and the longest path.

What belongs here: algorithms on names and numbers, without recursion. What an edge means and what a node
costs is for the caller to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from buildkit.core.record import Record


class CycleFound(Exception):  # noqa: N818 - says what was found
    """Names that wait for each other; the first one stands at the end again."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(" -> ".join(names))
        self.names = list(names)


def upstream_first(
    roots: Iterable[str],
    before: Callable[[str], Iterable[str]],
    *,
    settle: Callable[[str], bool] = lambda _name: False,
) -> Iterator[str]:
    """Yield the roots and all that they wait for, each once, after everything that it waits for itself.

    `before` tells what a name waits for; it is asked when the name is reached. `settle` is called when all
    of that has been yielded: where it returns True, there is more by now, and `before` is asked again.
    Raises CycleFound.
    """
    done: set[str] = set()
    for root in roots:
        if root in done:
            continue
        path: dict[str, None] = {root: None}
        stack = [(root, iter(before(root)))]
        while stack:
            name, edges = stack[-1]
            for edge in edges:
                if edge in path:
                    names = list(path)
                    raise CycleFound([*names[names.index(edge) :], edge])
                if edge not in done:
                    path[edge] = None
                    stack.append((edge, iter(before(edge))))
                    break
            else:
                if settle(name):
                    stack[-1] = (name, iter(before(name)))
                    continue
                stack.pop()
                del path[name]
                done.add(name)
                yield name


class Timeline(Record):
    """When each name starts if nothing but the edges holds it up; all numbers in the unit of the costs."""

    start: Mapping[str, int]
    slack: Mapping[str, int]  # how much later it could end, and the whole would not take longer
    critical: tuple[str, ...]  # a longest path, in order
    length: int  # of that path
    work: int  # all costs together


def timeline(order: Sequence[str], before: Mapping[str, Sequence[str]], cost: Mapping[str, int]) -> Timeline:
    """Return the critical path of the names in `order`, each of which comes after what is `before` it.

    Of several longest paths it is the one that comes first in the order. The critical path method: Kelley
    and Walker, 1959.
    """
    start: dict[str, int] = {}
    came_from: dict[str, str] = {}
    length, last = 0, None
    for name in order:
        start[name] = 0
        for other in before[name]:
            end = start[other] + cost[other]
            if end > start[name] or (end == start[name] and name not in came_from):
                start[name] = end
                came_from[name] = other
        if last is None or start[name] + cost[name] > length:
            length, last = start[name] + cost[name], name
    latest_end = dict.fromkeys(order, length)
    for name in reversed(order):
        latest_start = latest_end[name] - cost[name]
        for other in before[name]:
            latest_end[other] = min(latest_end[other], latest_start)
    critical: list[str] = []
    step = last
    while step is not None:
        critical.append(step)
        step = came_from.get(step)
    return Timeline(
        start=start,
        slack={name: latest_end[name] - start[name] - cost[name] for name in order},
        critical=tuple(reversed(critical)),
        length=length,
        work=sum(cost[name] for name in order),
    )
