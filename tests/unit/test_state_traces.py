"""Traces as they are read one by one, from a state that is whole and from one that is not."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from buildkit.state.database import database_path, open_database
from buildkit.state.traces import OK, TraceRow, TraceStore


def fail(message: str) -> None:
    raise AssertionError(message)


@pytest.fixture
def project(tmp_path: Path) -> str:
    """Return a project whose state has the traces of a hundred tasks."""
    connection = open_database(str(tmp_path), warn=fail)
    store = TraceStore(connection)
    for number in range(100):
        store.put(TraceRow(f"t{number}", "k", "c" * 500, "[]", "{}", "null", OK, False, "{}", 1.0, None, 7))
    store.flush()
    connection.close()
    return str(tmp_path)


def damage(project: str) -> None:
    """Overwrite the first page of the traces."""
    with sqlite3.connect(database_path(project)) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'traces'").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    connection.close()
    with open(database_path(project), "r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)


def opened(project: str, *, forgiving: bool) -> TraceStore:
    connection = open_database(project, warn=fail, read_only=True)
    assert connection is not None
    return TraceStore(connection, one_by_one=True, forgiving=forgiving)


def test_a_trace_is_read_when_it_is_asked_for(project: str) -> None:
    store = opened(project, forgiving=False)
    found = store.get("t42")
    assert found is not None
    assert found.wall_ns == 7
    assert store.get("nobody") is None
    assert len(store.all()) == 100


def test_who_forgives_finds_nothing_in_a_damaged_state(project: str) -> None:
    damage(project)
    with pytest.raises(sqlite3.DatabaseError):
        opened(project, forgiving=False).get("t42")
    assert opened(project, forgiving=True).get("t42") is None


def test_what_was_let_go_is_read_again(project: str) -> None:
    store = TraceStore(open_database(project, warn=fail))
    before = dict(store.all())
    row = TraceRow("t1", "new", "", "[]", "{}", "null", OK, False, "{}", 2.0, None, 8)
    store.put(row)
    store.let_go()  # not what is still to be written
    assert store.all()["t1"].action_key == "new"
    store.flush()
    store.let_go()
    again = store.all()
    assert again["t1"].action_key == "new"
    assert {**again, "t1": before["t1"]} == before
