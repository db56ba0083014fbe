"""The plan that belongs to a snapshot: what a run needs to execute some of its commands again without doit.

What belongs here: the file, and a `Plan` that takes a task apart only when somebody asks for it. Which runs
can do with it is decided by who runs them.
"""

from __future__ import annotations

import marshal
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any
from zlib import crc32

from buildkit.core.config import TaskSettings
from buildkit.core.plan import Check, CheckKind, CommandAction, GetArg, Plan, Task, TaskKind
from buildkit.core.record import Record
from buildkit.state import snapshot


class Request(Record):
    """How the run was asked for, as far as it matters for the next one: doit's options, resolved."""

    width: str
    parallel: str
    continue_: bool
    verbosity: int
    force_verbosity: bool
    failure_verbosity: int
    sla_strict: bool
    live: bool


class Head(Record):
    """What the file says beside its tasks; numbers of tasks count from 0 in the order of `names`."""

    salt: bytes  # of the snapshot that the plan belongs to
    request: tuple[object, ...]
    names: list[str]
    task_ends: bytes  # for each task, where it ends among the tasks
    selected: tuple[str, ...]
    programs: tuple[str, ...]  # see `Plan.programs`
    output_count: int
    order: bytes  # the tasks that such a run looks at, in its order
    user_ends: bytes  # for each tracked file of the snapshot, where its tasks end in `users`
    users: bytes  # the tasks that read or make a file
    dependent_ends: bytes  # for each task, where those that wait for it end in `dependents`
    dependents: bytes
    fixed: tuple[str, ...]  # files that the plan itself depends on: tools, and what loading looked at


_KIND, _GETARGS, _CHECKS, _ACTIONS, _SETTINGS = map(
    Task._fields.index, ("kind", "getargs", "checks", "actions", "settings")
)
# The format follows from what is in it, whatever the version of buildkit says while it is being changed.
_FIELDS = (Head, Request, Task, TaskSettings, CommandAction, Check, GetArg)
_MAGIC = f"buildkit plan {crc32(repr([each._fields for each in _FIELDS]).encode()):08x}\n".encode()
_LENGTH = 8  # bytes at the end of the file: how long the head before them is
_PART_BYTES = 1 << 20


class StoredPlan(Plan):
    """The plan of the run that wrote a snapshot."""

    def __init__(self, head: Head, tasks: memoryview) -> None:
        """Take what `encode` made apart as far as every run needs it; `tasks` as `_encode` makes each."""
        super().__init__((), head.selected)
        self._head = head
        self._encoded = tasks
        self._numbers = {name: number for number, name in enumerate(head.names)}
        self._ends = memoryview(head.task_ends).cast("Q")
        self._complete = False
        self.salt = head.salt
        self.request = Request._make(head.request)
        self.fixed = frozenset(head.fixed)

    # --- as any plan

    def __len__(self) -> int:
        return len(self._head.names)

    def __contains__(self, name: object) -> bool:
        return name in self._numbers

    def __iter__(self) -> Iterator[Task]:
        return iter(self.tasks.values())

    def __getitem__(self, name: str) -> Task:
        found = self._tasks.get(name)
        if found is None:
            number = self._numbers[name]
            begin = self._ends[number - 1] if number else 0
            found = self._tasks[name] = _decode(self._encoded[begin : self._ends[number]])
        return found

    def get(self, name: str) -> Task | None:
        """Return the task of that name, or None."""
        return self[name] if name in self._numbers else None

    @property
    def tasks(self) -> Mapping[str, Task]:
        """All tasks by name."""
        if not self._complete:
            self._complete = True
            self._tasks = {name: self[name] for name in self._head.names}
        return self._tasks

    @property
    def makers(self) -> Mapping[str, str]:
        """Which task makes which output: path -> task name."""
        if self._makers is None:
            self._makers = {path: task.name for task in self for path in task.outputs}
        return self._makers

    @property
    def output_count(self) -> int:
        """How many outputs are declared."""
        return self._head.output_count

    @property
    def programs(self) -> Collection[str]:
        """The names of all programs that keys hold."""
        return self._head.programs

    # --- what follows from a change

    def order(self) -> list[str]:
        """Return the names of the tasks that such a run looks at, in its order; groups are left out."""
        names = self._head.names
        return [names[number] for number in _numbers(self._head.order)]

    def affected(self, files: Iterable[int], tasks: Iterable[str]) -> list[str] | None:
        """Return the tasks that read or make one of these tracked files, `tasks`, and all that need them.

        In the order of the definition, and only those that such a run looks at; None where a file belongs to
        no task.
        """
        users = _Lists(self._head.user_ends, self._head.users)
        dependents = _Lists(self._head.dependent_ends, self._head.dependents)
        pending = [self._numbers[name] for name in tasks if name in self._numbers]
        for file in files:
            found = users[file]
            if not found:
                return None
            pending += found
        known = set(pending)
        while pending:
            for number in dependents[pending.pop()]:
                if number not in known:
                    known.add(number)
                    pending.append(number)
        looked_at = set(_numbers(self._head.order))
        names = self._head.names
        return [
            names[number]
            for number in sorted(known)
            if number in looked_at or self[names[number]].kind is TaskKind.GROUP
        ]


class _Lists:
    """Lists of numbers, one after the other in one array, by where each ends."""

    def __init__(self, ends: bytes, values: bytes) -> None:
        self._ends = _numbers(ends)
        self._values = _numbers(values)

    def __getitem__(self, index: int) -> list[int]:
        begin = self._ends[index - 1] if index else 0
        return self._values[begin : self._ends[index]].tolist()


def _numbers(packed: bytes) -> memoryview[int]:
    return memoryview(packed).cast("I")


def _packed_lists(lists: Iterable[Sequence[int]]) -> tuple[bytes, bytes]:
    ends, values = array("I"), array("I")
    for each in lists:
        values.extend(each)
        ends.append(len(values))
    return ends.tobytes(), values.tobytes()


# --- the file


def encode(
    plan: Plan,
    *,
    salt: bytes,
    request: Request,
    order: Sequence[str],
    tracked: Sequence[str],
    fixed: Collection[str],
) -> Iterator[bytes]:
    """Yield the content of the file in parts: as a whole it would be what a run of many tasks ends with.

    `order` are the tasks that were asked for and what they wait for, without groups, in the order of a run,
    `tracked` the first files of the snapshot, `fixed` those of them that are more than inputs and outputs.
    """
    names = list(plan.tasks)
    numbers = {name: number for number, name in enumerate(names)}
    looked_at = [numbers[name] for name in order]
    dependents: dict[int, list[int]] = {}
    for number, task in enumerate(plan):
        if not (task.waits or task.setup or task.getargs or task.checks):
            continue
        sources = [wanted.task for wanted in task.getargs]
        sources += [check.value for check in task.checks if check.kind is CheckKind.RESULT]
        for name in {*task.waits, *task.setup, *sources} & numbers.keys():
            dependents.setdefault(numbers[name], []).append(number)
    del numbers  # as large as the plan
    yield _MAGIC
    task_ends = array("Q")
    end, part = 0, bytearray()
    for task in plan:
        encoded = _encode(task)
        end += len(encoded)
        task_ends.append(end)
        part += encoded
        if len(part) >= _PART_BYTES:
            yield bytes(part)
            part.clear()
    yield bytes(part)
    head: Any = tuple(
        Head(
            salt,
            tuple(request),
            names,
            task_ends.tobytes(),
            plan.selected,
            tuple(plan.programs),
            plan.output_count,
            array("I", looked_at).tobytes(),
            *_packed_lists(_users(plan, names, looked_at, tracked, fixed)),
            *_packed_lists(dependents.get(number, ()) for number in range(len(names))),
            tuple([path for path in tracked if path in fixed]),
        )
    )
    written = marshal.dumps(head)
    yield written
    yield len(written).to_bytes(_LENGTH, "little")


def _users(
    plan: Plan,
    names: Sequence[str],
    looked_at: Iterable[int],
    tracked: Iterable[str],
    fixed: Collection[str],
) -> Iterator[Sequence[int]]:
    """Yield the tasks that read or make each of the tracked files; none of those that are `fixed`."""
    users: dict[str, int | list[int]] = {}  # most files have one
    for number in looked_at:
        task = plan[names[number]]
        for path in (*task.inputs, *task.outputs):
            known = users.setdefault(path, number)
            if isinstance(known, list):
                known.append(number)
            elif known != number:
                users[path] = [known, number]
    for path in tracked:
        found = () if path in fixed else users.get(path, ())
        yield (found,) if isinstance(found, int) else found


def read(project: str, name: str, salt: bytes) -> tuple[StoredPlan, memoryview] | None:
    """Return the plan that belongs to the snapshot with that salt, and its file; None where there is none."""
    content = snapshot.read_plan(project, name)
    plan = decoded(content) if content is not None else None
    if content is None or plan is None or plan.salt != salt:
        return None
    return plan, content


def decoded(content: memoryview) -> StoredPlan | None:
    """Return the plan that `encode` made the content of; None where it is of another format."""
    if content[: len(_MAGIC)] != _MAGIC:
        return None
    end = len(content) - _LENGTH
    begin = end - int.from_bytes(content[end:], "little")
    try:
        head = Head._make(marshal.loads(content[begin:end]))  # noqa: S302 - with a checksum
    except (ValueError, TypeError, EOFError):
        return None
    return StoredPlan(head, content[len(_MAGIC) : begin])


def _encode(task: Task) -> bytes:
    # `marshal` knows builtin types alone.
    plain: list[Any] = [*task]
    plain[_KIND] = int(task.kind)
    plain[_SETTINGS] = tuple(task.settings)
    # Values of variables may be secrets, and are written down nowhere; that there are some is kept.
    plain[_ACTIONS] = [tuple(each if each.env is None else each._replace(env=())) for each in task.actions]
    if task.getargs:
        plain[_GETARGS] = [tuple(each) for each in task.getargs]
    if task.checks:
        plain[_CHECKS] = [(int(check.kind), check.name, check.value) for check in task.checks]
    return marshal.dumps(plain)


def _decode(encoded: bytes | memoryview) -> Task:
    plain = marshal.loads(encoded)  # noqa: S302 - part of a file with a checksum
    plain[_KIND] = TaskKind(plain[_KIND])
    plain[_SETTINGS] = TaskSettings._make(plain[_SETTINGS])
    plain[_ACTIONS] = tuple([CommandAction(*each) for each in plain[_ACTIONS]])
    if plain[_GETARGS]:
        plain[_GETARGS] = tuple(map(GetArg._make, plain[_GETARGS]))
    if plain[_CHECKS]:
        plain[_CHECKS] = tuple([Check(CheckKind(kind), *rest) for kind, *rest in plain[_CHECKS]])
    return Task._make(plain)
