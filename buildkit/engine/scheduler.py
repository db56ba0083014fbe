"""Which task may be judged, which may start, and in what order. No I/O, no clock.

What belongs here: the states of tasks in one run and the edges between them. See "States of a task" in
docs/design.md.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from enum import Enum

from buildkit.core.errors import PlanError
from buildkit.core.execution import Decision
from buildkit.core.plan import Plan, Task, TaskKind


class NodeState(Enum):
    """Where a task stands in this run."""

    WAITING = "waiting"  # tasks that it waits for are not done
    READY = "ready"  # can be judged: everything that its key may depend on is there
    SETUP = "setup"  # has to run; its setup tasks are not done
    QUEUED = "queued"  # has to run, and waits for a slot
    RUNNING = "running"
    DONE = "done"  # its decision is made


class Node:
    """A task in this run.

    What most nodes have none of is an empty tuple until there is something: an empty list takes 56 bytes, an
    empty set 216, and a run may have a hundred thousand nodes.
    """

    __slots__ = (
        "bad",
        "decision",
        "dependents",
        "ended",
        "extended",
        "ignored",
        "missing",
        "path_s",
        "rank",
        "ready_ns",
        "state",
        "task",
        "waited_for",
    )

    def __init__(
        self,
        task: Task,
        rank: float,  # position in a sequential run; no two are equal
        state: NodeState = NodeState.WAITING,
        missing: int = 0,  # how many tasks it still waits for
        dependents: Sequence[Node] = (),
        bad: tuple[str, ...] = (),  # tasks that it waited for, and that failed
        ignored: tuple[str, ...] = (),  # tasks that it waited for, and that are ignored
        decision: Decision | None = None,
        path_s: float = 0.0,  # predicted seconds from its start to the end of the longest chain behind it
        waited_for: Collection[str] = (),
        extended: bool = False,  # the frontend has already added what it only knows during the run
        ready_ns: int = 0,
        ended: int = 0,  # position among the nodes that are done, from 1
    ) -> None:
        self.task = task
        self.rank = rank
        self.state = state
        self.missing = missing
        self.dependents = dependents
        self.bad = bad
        self.ignored = ignored
        self.decision = decision
        self.path_s = path_s
        self.waited_for = waited_for
        self.extended = extended
        self.ready_ns = ready_ns
        self.ended = ended


_PASSED = frozenset({Decision.EXECUTED, Decision.RESTORED, Decision.SKIPPED})


class Scheduler:
    """The graph of one run. Nodes come into being when something that was asked for needs them."""

    def __init__(
        self,
        plan: Plan,
        *,
        by_critical_path: bool,
        expected_s: Callable[[str], float] | None = None,
        order: Callable[[list[Node]], None] | None = None,
        only: Collection[str] | None = None,
    ) -> None:
        """Sort what is ready by predicted critical path, or, without `by_critical_path`, as doit would.

        Without `expected_s` all paths count as equally long.
        With `only`, all other tasks are known to be up to date, and get no nodes. `order` may shuffle each
        batch of ready nodes: tests use it to try schedules.
        """
        self._plan = plan
        self._by_critical_path = by_critical_path
        self._expected_s = expected_s
        self._order = order
        self._only = None if only is None else frozenset(only)
        self.nodes: dict[str, Node] = {}
        self._to_judge: deque[Node] = deque()
        self._judge_heap: list[tuple[float, Node]] = []
        self._queues: dict[str | None, list[tuple[tuple[float, ...], Node]]] = {}  # one heap per pool
        self._count = 0
        self.open = 0  # nodes that are not done
        self._done = 0
        self._last_executed: Node | None = None

    def add(self, names: Iterable[str], *, before: Node | None = None) -> list[Node]:
        """Add tasks, and all that they wait for; return their nodes. PlanError names a cycle.

        With `before`, new nodes get ranks just ahead of that node's.
        """
        created: list[Node] = []
        wanted = [
            self._visit(name, created, before) for name in names if self._only is None or name in self._only
        ]
        self._predict(created)
        for node in created:
            if node.missing == 0 and node.state is NodeState.WAITING:
                self._make_ready(node)
        return wanted

    def look_at(self, names: Collection[str]) -> bool:
        """Add tasks that `only` had left out; return whether there is any."""
        if self._only is not None:
            self._only |= frozenset(names)
        return bool(self.add(names))

    def _visit(self, root: str, created: list[Node], before: Node | None) -> Node:
        """Create the nodes of `root` and its waits, depth first and without recursion."""
        existing = self.nodes.get(root)
        if existing is not None:
            return existing
        on_path: dict[str, None] = {root: None}
        stack: list[tuple[str, Iterator[str]]] = [(root, iter(self._edges(root)))]
        while stack:
            name, edges = stack[-1]
            for edge in edges:
                if edge in on_path:
                    names = list(on_path)
                    raise cycle_error([*names[names.index(edge) :], edge], self._plan[edge])
                if edge not in self.nodes:
                    following = self._edges(edge)
                    if not following:
                        created.append(self._create(edge, following, before))
                        continue
                    on_path[edge] = None
                    stack.append((edge, iter(following)))
                    break
            else:
                stack.pop()
                del on_path[name]
                created.append(self._create(name, self._edges(name), before))
        return self.nodes[root]

    def _edges(self, name: str) -> tuple[str, ...]:
        task = self._plan[name]
        edges = (*task.calc_deps, *task.waits) if task.calc_deps else task.waits
        return edges if self._only is None else tuple(filter(self._only.__contains__, edges))

    def _create(self, name: str, edges: Iterable[str], before: Node | None) -> Node:
        self._count += 1
        rank = float(self._count) if before is None else before.rank - 1.0 + self._count * 1e-9
        node = self.nodes[name] = Node(self._plan[name], rank)
        self.open += 1
        for edge in edges:
            self._wait(node, self.nodes[edge])
        return node

    def _wait(self, node: Node, other: Node) -> None:
        if other.task.name in node.waited_for:
            return
        if isinstance(node.waited_for, set):
            node.waited_for.add(other.task.name)
        else:
            node.waited_for = {other.task.name}
        if other.decision is None:
            node.missing += 1
            if isinstance(other.dependents, list):
                other.dependents.append(node)
            else:
                other.dependents = [node]
        else:
            _tell(node, other)

    def _predict(self, created: list[Node]) -> None:
        expected_s = self._expected_s
        if not self._by_critical_path or expected_s is None:
            return
        # Nodes were created with what they wait for ahead of them, so backwards means: dependents first.
        for node in reversed(created):
            path_s = expected_s(node.task.name)
            if len(node.dependents) == 1:
                path_s += node.dependents[0].path_s
            elif node.dependents:
                path_s += max([other.path_s for other in node.dependents])
            node.path_s = path_s

    def _make_ready(self, node: Node) -> None:
        node.state = NodeState.READY
        if self._by_critical_path:
            self._to_judge.append(node)
        else:
            heapq.heappush(self._judge_heap, (node.rank, node))

    def next_to_judge(self) -> Node | None:
        """Return a node whose waits are over, or None."""
        if self._order is not None and len(self._to_judge) > 1:
            batch = list(self._to_judge)
            self._order(batch)
            self._to_judge = deque(batch)
        if self._to_judge:
            return self._to_judge.popleft()
        if self._judge_heap:
            return heapq.heappop(self._judge_heap)[1]
        return None

    def wait_for_setup(self, node: Node) -> bool:
        """Add the setup tasks of a node that has to run; return whether it has to wait for them."""
        if not node.task.setup:
            return False
        waiting = False
        for setup in self.add(node.task.setup, before=node):
            if setup is node:
                raise cycle_error([node.task.name, node.task.name])
            if setup.task.name not in node.waited_for:
                self._wait(node, setup)
            waiting = waiting or node.missing > 0
        if waiting:
            node.state = NodeState.SETUP
        return waiting

    def rewire(self, node: Node, task: Task) -> bool:
        """Take over a task that the frontend has extended; return whether the node has to wait again."""
        node.task = task
        edges = self._edges(task.name)
        for other in self.add(edges, before=node):
            if other is node:
                raise cycle_error([task.name, task.name])
            self._wait(node, other)
        if node.missing:
            node.state = NodeState.WAITING
        return node.missing > 0

    def queue(self, node: Node) -> None:
        """Put a node that has to run among those that wait for a slot."""
        node.state = NodeState.QUEUED
        key: tuple[float, ...]
        if self._by_critical_path:
            key = (-node.task.settings.priority, -node.path_s, node.rank)
        else:
            key = (-node.task.settings.priority, node.rank)
        heapq.heappush(self._queues.setdefault(node.task.settings.pool, []), (key, node))

    def next_to_start(
        self, has_room: Callable[[str | None], bool], suits: Callable[[Node], bool] | None = None
    ) -> Node | None:
        """Return the first queued node of those whose pool has room, or None, also where it does not suit."""
        first: list[tuple[tuple[float, ...], Node]] | None = None
        for pool, queue in self._queues.items():
            if queue and has_room(pool) and (first is None or queue[0][0] < first[0][0]):
                first = queue
        if first is None or (suits is not None and not suits(first[0][1])):
            return None
        _key, node = heapq.heappop(first)
        node.state = NodeState.RUNNING
        return node

    @property
    def has_queued(self) -> bool:
        """Whether a node waits for a slot."""
        return any(self._queues.values())

    @property
    def has_ready(self) -> bool:
        """Whether a node can be judged."""
        return bool(self._to_judge or self._judge_heap)

    def finish(self, node: Node, decision: Decision) -> None:
        """Record how a node ended, and let go on what waited for it."""
        node.decision = decision
        node.state = NodeState.DONE
        self.open -= 1
        self._done += 1
        node.ended = self._done
        if decision is Decision.EXECUTED and node.task.kind is not TaskKind.GROUP:
            self._last_executed = node
        for other in node.dependents:
            _tell(other, node)
            other.missing -= 1
            if other.missing == 0 and other.state in (NodeState.WAITING, NodeState.SETUP):
                self._make_ready(other)

    def critical_path(self) -> list[str]:
        """Return the executed tasks of the chain that ended last: each one waited for the one before it.

        Of several that a task waited for, the one that ended last held it up.
        """
        path: list[str] = []
        node = self._last_executed
        while node is not None:
            if node.decision is Decision.EXECUTED and node.task.kind is not TaskKind.GROUP:
                path.append(node.task.name)
            waited_for = [self.nodes[name] for name in node.waited_for]
            node = max(waited_for, key=lambda other: other.ended, default=None)
        return path[::-1]

    def unfinished(self) -> list[Node]:
        """Return the nodes that are not done, in sequential order."""
        return sorted((node for node in self.nodes.values() if node.decision is None), key=lambda n: n.rank)

    def stuck_cycle(self) -> list[str]:
        """Return a cycle among nodes that wait for each other; empty when there is none.

        Edges that are only found during the run (calc_dep, setup) can close one.
        """
        waiting: Mapping[str, Node] = {node.task.name: node for node in self.unfinished()}
        for start in waiting:
            path: dict[str, None] = {}
            name: str | None = start
            while name is not None and name not in path:
                path[name] = None
                name = next((edge for edge in waiting[name].waited_for if edge in waiting), None)
            if name is not None:
                steps = list(path)
                return [*steps[steps.index(name) :], name]
        return []


def _tell(node: Node, other: Node) -> None:
    """Tell `node` how a task that it waits for has ended."""
    if other.decision is Decision.IGNORED:
        node.ignored += (other.task.name,)
    elif other.decision not in _PASSED:
        node.bad += (other.task.name,)


def refuse_cycles(plan: Plan) -> None:
    """Raise PlanError where tasks that were asked for wait for each other; looks at what is known by now."""
    from buildkit.core.graph import CycleFound, upstream_first  # plans that are stored have no cycles

    def before(name: str) -> Iterable[str]:
        task = plan.get(name)
        return () if task is None else (*task.calc_deps, *task.waits)

    try:
        for _name in upstream_first(plan.selected, before):
            pass
    except CycleFound as cycle:
        raise cycle_error(cycle.names, plan.get(cycle.names[0])) from None


def cycle_error(names: list[str], first: Task | None = None) -> PlanError:
    """Return the error that shows a cycle, shortened where it is long, and where its first task stands."""
    place = f" ({first.location})" if first is not None and first.location else ""
    if len(names) > 12:
        names = [*names[:6], f"… {len(names) - 11} more …", *names[-5:]]
    return PlanError(f"tasks wait for each other in a circle: {' -> '.join(names)}.{place}")
