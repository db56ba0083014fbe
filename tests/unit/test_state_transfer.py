"""The history as lines: out, and in again."""

import json
import random

import pytest
from history_maker import START, HistoryMaker, executed, failed

from buildkit.core.execution import Decision, Execution
from buildkit.state.database import open_database
from buildkit.state.history import Accepted, History
from buildkit.state.transfer import export_lines, import_lines


@pytest.fixture
def maker(tmp_path):
    maker = HistoryMaker(str(tmp_path / "one"))
    yield maker
    maker.history.connection.close()


@pytest.fixture
def other(tmp_path):
    maker = HistoryMaker(str(tmp_path / "two"))
    yield maker
    maker.history.connection.close()


@pytest.fixture(autouse=True)
def directories(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()


def filled(maker):
    maker.run(executed("a", 2, key="0" * 15, sla_s=3.0, beside=1.5), failed("b", signal=9), path=["a"])
    maker.run(Execution("a", Decision.RESTORED, bytes_restored=5), skipped=["b", "c"], saved_s=2)
    maker.run(executed("a", 4), finish=False)
    maker.history.accept(Accepted("a", "on purpose", START, 2))
    maker.history.retire(max_age_s=10**9, max_runs=100)


def lines(maker):
    return list(export_lines(maker.history.connection))


def test_a_history_comes_back_as_it_went(maker, other):
    filled(maker)
    gone = lines(maker)
    found = import_lines(other.history.connection, gone)
    assert (found.runs, found.executions, found.known, found.unread) == (3, 4, 0, 0)
    assert lines(other) == gone
    for run in maker.history.runs():
        assert other.history.executions_of(run.id) == maker.history.executions_of(run.id)
        assert other.history.skipped_tasks_of(run.id) == maker.history.skipped_tasks_of(run.id)
    assert other.history.days() == maker.history.days() != []
    assert other.history.expected_wall_ns(["a"]) == maker.history.expected_wall_ns(["a"])


def test_every_line_says_what_it_is(maker):
    filled(maker)
    kinds = [json.loads(line)["kind"] for line in lines(maker)]
    assert kinds[:3] == ["header", "run", "execution"]
    assert set(kinds) == {"header", "run", "execution", "accepted", "day", "task_day"}


def test_runs_that_are_known_are_left_alone(maker):
    filled(maker)
    before = lines(maker)
    found = import_lines(maker.history.connection, before)
    assert (found.runs, found.known) == (0, 3)
    assert lines(maker) == before


def test_runs_of_two_histories_are_in_the_order_in_which_they_began(maker, other):
    for hour in (1, 3, 5):
        maker.run(executed("a", hour), at=START + hour * 3600)
        other.run(executed("a", hour + 1), executed("b", 1), at=START + (hour + 1) * 3600)
    maker.history.accept(Accepted("a", "on purpose", START, 3))
    import_lines(maker.history.connection, lines(other))
    runs = maker.history.runs()
    assert [run.info.started_at for run in runs] == [START + hour * 3600 for hour in (6, 5, 4, 3, 2, 1)]
    walls = [maker.history.executions_of(run.id)[0].cost.wall_ns for run in runs]
    assert walls == [hour * 10**9 for hour in (6, 5, 4, 3, 2, 1)]
    assert maker.history.accepted()[0].run_id == runs[1].id
    assert maker.history.expected_wall_ns(["a"]) == {"a": 4 * 10**9}  # of 2 to 6


def test_lines_that_are_no_history_are_counted_and_left_out(maker, other):
    maker.run(executed("a"))
    found = import_lines(
        other.history.connection,
        ["not json", "[]", '{"kind":"execution","run":"nobody"}', '{"kind":"magic"}', "", *lines(maker)],
    )
    assert (found.runs, found.unread) == (1, 4)


def test_lines_of_another_schema_are_refused_as_a_whole(maker, other):
    maker.run(executed("a"))
    changed = [lines(maker)[0].replace('"schema":1', '"schema":99'), *lines(maker)[1:]]
    with pytest.raises(ValueError, match="schema 99"):
        import_lines(other.history.connection, changed)
    assert other.history.runs() == []


def test_an_import_that_fails_leaves_nothing_behind(maker, other):
    maker.run(executed("a"))

    def broken():
        yield from lines(maker)
        raise OSError("the disk went away")

    with pytest.raises(OSError):
        import_lines(other.history.connection, broken())
    assert other.history.runs() == []
    assert History(open_database(other.project, warn=pytest.fail)).task_names() == {}


JUNK = [None, True, -1, 2**70, 1e400, "x", "\ud800", [], {}, [["x"]], "2026-01-01"]


@pytest.mark.parametrize("seed", range(40))
def test_lines_that_were_tampered_with_are_left_out_one_by_one(maker, other, seed):
    rng = random.Random(seed)
    filled(maker)
    tampered = []
    for line in lines(maker):
        values = json.loads(line)
        if rng.random() < 0.5:
            values[rng.choice(list(values))] = rng.choice(JUNK)
        tampered.append(json.dumps(values))
    tampered[0] = lines(maker)[0]
    found = import_lines(other.history.connection, tampered)
    assert found.runs <= 3
    for run in other.history.runs():  # whatever got in can be read
        other.history.executions_of(run.id)
    assert list(export_lines(other.history.connection))
