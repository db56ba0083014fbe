"""The rest of a run's schedule, played through on paper.

What belongs here: the order of the scheduler, applied to predicted times. Where those come from is
`forecast.py`'s.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence

from buildkit.core.plan import TaskKind
from buildkit.engine.scheduler import Node, NodeState

WallOf = Callable[[str], int]  # task -> ns


def simulate_ns(
    left: Sequence[Node], running: Mapping[str, int], wall_ns: WallOf, width: int, pools: Mapping[str, int]
) -> int:
    """Return how long it takes to do what is left, in the order in which the scheduler would do it.

    `running` says how much longer each running task takes, in ns. Tasks that nobody has judged yet are
    expected to run: what could be skipped was skipped before the first of the others was through.
    """
    return _Simulation(left, running, wall_ns, width, pools).play()


def bounds_ns(left: Sequence[Node], running: Mapping[str, int], wall_ns: WallOf, width: int) -> int:
    """Return what the rest takes at least: all work on all slots, or the longest chain (Graham, 1969)."""
    work, chain_s, longest = sum(running.values()), 0.0, 0
    for node in left:
        if node.task.kind is TaskKind.GROUP or node.task.name in running:
            continue
        cost = wall_ns(node.task.name)
        work += cost
        longest = max(longest, cost)
        chain_s = max(chain_s, node.path_s)
    return max(work // width, int(chain_s * 1e9), longest, max(running.values(), default=0))


class _Simulation:
    """Slots, pools and tasks at one moment of the future."""

    def __init__(
        self,
        left: Sequence[Node],
        running: Mapping[str, int],
        wall_ns: WallOf,
        width: int,
        pools: Mapping[str, int],
    ) -> None:
        self._wall_ns = wall_ns
        self._pools = pools
        self._free = width - len(running)
        self._in_use: dict[str | None, int] = {}
        self._missing = {id(node): node.missing for node in left}
        self._now = 0
        self._count = 0
        self._ends: list[tuple[int, int, Node]] = []
        self._ready: dict[str | None, list[tuple[tuple[float, ...], int, Node]]] = {}  # one heap per pool
        for node in left:
            if node.state is NodeState.RUNNING and node.task.name in running:
                self._occupy(node.task.settings.pool)
                self._ends_at(running[node.task.name], node)
            elif not node.missing:
                self._make_ready(node)

    def play(self) -> int:
        self._start_what_fits()
        while self._ends:
            self._now, _, node = heapq.heappop(self._ends)
            if node.task.kind is not TaskKind.GROUP:
                self._free += 1
                self._in_use[node.task.settings.pool] -= 1
            for other in node.dependents:
                if id(other) in self._missing:
                    self._missing[id(other)] -= 1
                    if not self._missing[id(other)]:
                        self._make_ready(other)
            self._start_what_fits()
        return self._now

    def _start_what_fits(self) -> None:
        while self._free > 0:
            open_queues = [queue for pool, queue in self._ready.items() if queue and self._has_room(pool)]
            if not open_queues:
                return
            _, _, node = heapq.heappop(min(open_queues, key=lambda queue: queue[0][0]))
            self._free -= 1
            self._occupy(node.task.settings.pool)
            self._ends_at(self._now + self._wall_ns(node.task.name), node)

    def _has_room(self, pool: str | None) -> bool:
        return pool is None or self._in_use.get(pool, 0) < self._pools.get(pool, 1)

    def _occupy(self, pool: str | None) -> None:
        self._in_use[pool] = self._in_use.get(pool, 0) + 1

    def _ends_at(self, when_ns: int, node: Node) -> None:
        self._count += 1  # decides between equals; nodes cannot be compared
        heapq.heappush(self._ends, (when_ns, self._count, node))

    def _make_ready(self, node: Node) -> None:
        if node.task.kind is TaskKind.GROUP:  # needs no slot and takes no time
            self._ends_at(self._now, node)
            return
        self._count += 1
        turn = (-node.task.settings.priority, -node.path_s, node.rank)
        heapq.heappush(self._ready.setdefault(node.task.settings.pool, []), (turn, self._count, node))
