"""The stored plan: tasks come back as they were, and what a change affects is found without the rest."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from snapshot_maker import snapshot_of

from buildkit.core.config import TaskSettings
from buildkit.core.plan import Check, CheckKind, CommandAction, GetArg, Plan, Task, TaskKind
from buildkit.frontend.commands_only import needs_dodo
from buildkit.state import facts, snapshot, stored_plan
from buildkit.state.stored_plan import Request, StoredPlan

REQUEST = Request("2", "process", False, 1, False, 0, False, True)
SALT = b"salt" * 4

texts = st.sampled_from(["", "a", "\udcff", "a\nb", "\u00e9\0", "1"])
names = st.tuples(texts, texts)
commands = st.builds(
    CommandAction,
    st.none() | texts, st.tuples(texts), st.booleans(), texts, st.none() | texts,
    st.none() | st.tuples(names), st.none() | texts, texts, texts, st.booleans(),
)  # fmt: skip
tasks = st.builds(
    Task,
    name=texts,
    kind=st.sampled_from(TaskKind),
    inputs=st.tuples(texts),
    outputs=st.tuples(texts, texts),
    waits=st.tuples(texts),
    getargs=st.tuples(st.builds(GetArg, texts, texts, st.none() | texts)),
    checks=st.tuples(st.builds(Check, st.sampled_from(CheckKind), texts, texts)),
    actions=st.tuples(commands),
    options=st.tuples(names),
    parts=st.tuples(names),
    settings=st.builds(TaskSettings, timeout=st.floats(0, 9), env=st.tuples(texts), sla=st.none()),
    verbosity=st.none() | st.integers(0, 2),
    capture=st.none() | st.booleans(),
    title=st.none() | texts,
    subtasks=st.tuples(texts),
    uncacheable=st.none() | texts,
    location=texts,
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty project, which is the current directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def stored(plan: Plan, tracked: list[str], fixed: tuple[str, ...] = ()) -> StoredPlan:
    """Return the plan as a later run reads it; all tasks of `plan` were asked for."""
    order = [task.name for task in plan if task.kind is not TaskKind.GROUP]
    content = b"".join(
        stored_plan.encode(plan, salt=SALT, request=REQUEST, order=order, tracked=tracked, fixed=fixed)
    )
    os.makedirs(snapshot.DIRECTORY, exist_ok=True)
    snapshot.write("", "name", snapshot_of(salt=SALT), [content])
    read = stored_plan.read("", "name", SALT)
    assert read is not None
    assert read[1] == content
    return read[0]


@given(tasks)
def test_a_task_comes_back_as_it_was(task: Task) -> None:
    again = stored_plan._decode(stored_plan._encode(task))
    assert again == task._replace(
        actions=tuple(each._replace(env=None if each.env is None else ()) for each in task.actions)
    )
    assert type(again.kind) is TaskKind
    assert all(type(check.kind) is CheckKind for check in again.checks)


def test_values_of_variables_are_not_written_down() -> None:
    action = CommandAction(
        "say", (), True, "", None, (("TOKEN", "secret-1234"),), None, "utf-8", "strict", False
    )
    task = Task("a", TaskKind.COMMANDS, actions=(action,))
    encoded = stored_plan._encode(task)
    assert b"secret-1234" not in encoded
    reason = needs_dodo(stored_plan._decode(encoded), ())
    assert reason is not None
    assert "environment" in reason


def test_a_stored_plan_answers_as_the_plan_does(project: Path) -> None:
    plan = Plan(
        [
            Task("a", TaskKind.COMMANDS, inputs=("in",), outputs=("x", "y"), programs=("cp",)),
            Task("b", TaskKind.HOSTED, inputs=("x",), outputs=("z",), waits=("a",), programs=("/bin/sh",)),
            Task("g", waits=("a", "b"), subtasks=("a", "b")),
        ],
        ["g"],
    )
    again = stored(plan, ["in", "x", "y", "z"])
    assert again["b"] == plan["b"]
    assert again.get("nobody") is None
    assert "b" in again
    assert "nobody" not in again
    assert len(again) == 3
    assert list(again) == list(plan)
    assert again.makers == plan.makers
    assert set(again.programs) == set(plan.programs)
    assert again.output_count == plan.output_count == 3
    assert again.selected == ("g",)
    assert again.request == REQUEST
    assert again.order() == ["a", "b"]


def test_a_change_affects_users_makers_and_all_that_wait(project: Path) -> None:
    plan = Plan(
        [
            Task("a", TaskKind.COMMANDS, inputs=("in",), outputs=("x",)),
            Task("b", TaskKind.COMMANDS, inputs=("x",), waits=("a",)),
            Task("c", TaskKind.COMMANDS, inputs=("other",)),
            Task("d", TaskKind.COMMANDS, getargs=(GetArg("v", "c", None),)),
            Task("g", waits=("b",)),
        ],
        ["g", "c", "d"],
    )
    again = stored(plan, ["in", "x", "other", "tool", "both"], fixed=("tool", "both"))
    assert again.affected([0], ()) == ["a", "b", "g"]
    assert again.affected([1], ()) == ["a", "b", "g"]
    assert again.affected([2], ()) == ["c", "d"]
    assert again.affected([], ["b"]) == ["b", "g"]
    assert again.affected([], []) == []
    assert again.affected([0, 3], ()) is None  # a tool: whoever uses it is not known
    assert again.fixed == {"tool", "both"}


@given(st.data())
def test_what_is_affected_is_what_a_walk_over_the_tasks_finds(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 8))
    files = [f"f{number}" for number in range(6)]
    some = st.lists(st.sampled_from(files), max_size=3, unique=True)
    listed = [
        Task(
            str(number),
            TaskKind.COMMANDS,
            inputs=tuple(data.draw(some)),
            waits=tuple(data.draw(st.sets(st.sampled_from([str(n) for n in range(number)]))))
            if number
            else (),
        )
        for number in range(count)
    ]
    plan = Plan(listed, [task.name for task in listed])
    parts = stored_plan.encode(
        plan,
        salt=SALT,
        request=REQUEST,
        order=list(plan.tasks),
        tracked=files,
        fixed=(),
    )
    again = stored_plan.decoded(memoryview(b"".join(parts)))
    assert again is not None
    changed = data.draw(st.sampled_from(range(len(files))))
    affected = {task.name for task in listed if files[changed] in task.inputs}
    for task in listed:  # waits come first
        if affected & set(task.waits):
            affected.add(task.name)
    expected = sorted(affected, key=int)
    assert again.affected([changed], ()) == (expected or None)


def test_numbers_of_paths_are_found_in_their_folders(project: Path) -> None:
    paths = [f"in/{i}" for i in range(20)] + ["single", "a/b", "/bin/cp"]
    ordered, folders = facts.by_folder(paths)
    tracked = len(ordered)
    more, more_folders = facts.by_folder([f"in/{i}" for i in range(30, 50)])
    every = (*folders, *more_folders)
    kept = snapshot_of(folders=every, names=facts.names_of((*ordered, *more), every), tracked=tracked)
    assert facts.numbers_of(kept, [*paths, "in/35", "nowhere", "in/nothing"]) == {
        path: ordered.index(path) for path in paths
    }
    wanted = ["single", "in/7", "/bin/cp"]
    numbers = [ordered.index(path) for path in wanted]
    assert facts.paths_of(kept, numbers) == [path.encode() for path in wanted]
