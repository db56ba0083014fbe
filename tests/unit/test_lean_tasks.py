"""A lean task looks like the doit task that it was."""

from __future__ import annotations

from copy import deepcopy

import pytest
from doit.task import Stream, dict_to_task
from doit.task import Task as DoitTask

from buildkit.frontend.lean import make_lean
from buildkit.frontend.planner import Planner


def nothing() -> None:
    """Do nothing."""


DEFINITIONS: dict[str, dict[str, object]] = {
    "plain": {"actions": ["cp a b"], "file_dep": ["a"], "targets": ["b"]},
    "bare": {"actions": ["true"]},
    "group": {"actions": None, "task_dep": ["x", "y*"]},
    "rich": {
        "actions": [nothing, ["ls", "-l"]],
        "file_dep": ["a", "c"],
        "targets": ["b"],
        "task_dep": ["x"],
        "setup": ["s"],
        "calc_dep": ["d"],
        "uptodate": [True, nothing],
        "clean": [nothing],
        "teardown": [nothing],
        "getargs": {"value": ("other", "key")},
        "params": [{"name": "p", "default": "1"}],
        "pos_arg": "rest",
        "verbosity": 2,
        "title": lambda task: f"<{task.name}>",
        "doc": "What it does.",
        "meta": {"some": "thing"},
        "io": {"capture": False},
        "watch": ["w"],
    },
    "cleaned": {"actions": ["cp a b"], "targets": ["b"], "clean": True, "verbosity": 0},
}


def made(name: str) -> DoitTask:
    return dict_to_task({"name": name, **deepcopy(DEFINITIONS[name])})  # doit adds to the lists in it


def lean(name: str) -> DoitTask:
    task = made(name)
    planner = Planner(root="/", environ={}, expansion="old", locate=lambda _name: "dodo.py:1")
    make_lean(task, planner.plan(task, known={}.get))
    return task


def told(value: object) -> object:
    return value if isinstance(value, (str, int, list, set, dict, tuple, type(None))) else type(value)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_each_attribute_is_what_it_was(name: str) -> None:
    expected, task = made(name), lean(name)
    assert type(task) is not DoitTask
    for attribute in vars(expected):
        if attribute in (
            "_action_instances",
            "clean_actions",
            "teardown",
            "uptodate",
            "custom_title",
            "options",
        ):
            assert bool(getattr(task, attribute)) >= bool(getattr(expected, attribute)), attribute
        else:
            assert told(getattr(task, attribute)) == told(getattr(expected, attribute)), attribute
    assert task.io.capture == expected.io.capture
    assert str(task.title()) == str(expected.title())
    assert repr(task) == repr(expected)
    assert isinstance(task, DoitTask)
    assert [str(action) for action in task.actions] == [str(action) for action in expected.actions]


def test_a_plain_task_holds_little() -> None:
    assert len(vars(lean("plain"))) == 3


def test_what_is_put_into_one_task_is_in_no_other() -> None:
    one, other = lean("plain"), lean("plain")
    for attribute in ("task_dep", "setup_tasks", "targets", "uptodate", "teardown", "value_savers"):
        getattr(one, attribute).append("new")
        assert "new" in getattr(one, attribute)
        assert "new" not in getattr(other, attribute)
    one.file_dep.add("new")
    one.values["new"] = 1
    assert "new" in one.file_dep
    assert "new" not in other.file_dep
    assert other.values == {}


def test_a_lean_task_can_be_changed_and_executed() -> None:
    task = lean("bare")
    task.update_deps({"file_dep": ["new"], "task_dep": ["x"]})
    assert task.file_dep == {"new"}
    assert task.task_dep == ["x"]
    assert task.execute(Stream(0)) is None
    assert task.executed


def test_an_unknown_attribute_is_an_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'colour'"):
        lean("plain").colour  # noqa: B018 - asking is the point
