"""The tasks of a run as rows."""

import json

import pytest

from buildkit.core.execution import Cost, Decision, Execution, Reason, ReasonKind
from buildkit.report.last_run import COLUMNS, Order, TaskRow, as_json, cells, ordered, rows_of
from buildkit.state.database import open_database
from buildkit.state.history import History
from buildkit.state.runs import RunInfo, RunSummary

CHANGED = (Reason(ReasonKind.INPUT_CHANGED, ("a.c",)),)


@pytest.fixture
def history(tmp_path):
    connection = open_database(str(tmp_path), warn=pytest.fail)
    yield History(connection)
    connection.close()


def record(history, *executions, skipped=()):
    run_id = history.begin_run(RunInfo(1.0, ("doit",), "/p"))
    history.add_executions(run_id, executions)
    history.finish_run(run_id, RunSummary(1, 0, skipped_tasks=skipped))
    return history.run_by_id(run_id)


def executed(task, wall_ns, **fields):
    return Execution(task, Decision.EXECUTED, cost=Cost(wall_ns=wall_ns), **fields)


def test_the_change_is_against_the_median_of_three_or_more_earlier_runs(history):
    for wall_ns in (100, 300, 200):
        run = record(history, executed("a", wall_ns), executed("b", wall_ns))
        assert [row.change for row in rows_of(history, run)] == [None, None]
    (row,) = rows_of(history, record(history, executed("a", 250)))
    assert row.typical_wall_ns == 200
    assert cells(row)[-1] == "+25%"


def test_restores_skips_and_failures_have_no_change(history):
    for _ in range(3):
        record(history, executed("a", 100))
    cost = Cost(wall_ns=500)
    for decision in (Decision.RESTORED, Decision.FAILED):
        (row,) = rows_of(history, record(history, Execution("a", decision, cost=cost)))
        assert row.change is None
    (row,) = rows_of(history, record(history, skipped=["a"]))
    assert row.change is None


def test_skipped_tasks_are_rows_too(history):
    rows = rows_of(history, record(history, executed("a", 1), skipped=["b"]))
    assert [cells(row)[:3] for row in rows] == [["a", "executed", ""], ["b", "skipped", "up to date"]]


def test_of_several_attempts_the_last_is_shown(history):
    first = Execution("a", Decision.FAILED, started_ns=1, attempt=1)
    rows = rows_of(history, record(history, executed("a", 5, started_ns=2, attempt=2), first))
    assert [(row.execution.decision, row.execution.attempt) for row in rows] == [(Decision.EXECUTED, 2)]


def test_failures_come_first_and_skipped_tasks_last():
    decisions = [Decision.SKIPPED, Decision.EXECUTED, Decision.FAILED, Decision.RESTORED]
    rows = [TaskRow(Execution(decision.value, decision)) for decision in decisions]
    slow = TaskRow(executed("slow", 9))
    names = [row.execution.task for row in ordered([*rows, slow], Order.INTEREST)]
    assert names == ["failed", "slow", "executed", "restored", "skipped"]


@pytest.mark.parametrize("order", Order)
def test_every_order_takes_rows_of_which_nothing_is_known(order):
    rows = [TaskRow(Execution("b", decision)) for decision in Decision]
    assert len(ordered(rows, order)) == len(rows)


def test_orders_put_the_largest_first():
    small = TaskRow(Execution("a", Decision.EXECUTED, cost=Cost(1, 1, 1, 1)), typical_wall_ns=1)
    large = TaskRow(Execution("b", Decision.EXECUTED, cost=Cost(9, 9, 9, 9)), typical_wall_ns=1)
    for order in (Order.WALL, Order.CPU, Order.MEMORY, Order.CHANGE, Order.INTEREST):
        assert ordered([small, large], order) == [large, small]
    assert ordered([large, small], Order.NAME) == [small, large]


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"exit_code": 2}, "exit code 2; input changed: a.c"),
        ({"signal": 9, "exit_code": -9}, "killed by SIGKILL; input changed: a.c"),
        ({"signal": 250}, "killed by signal 250; input changed: a.c"),
        ({}, "input changed: a.c"),
    ],
)
def test_a_failure_says_how_it_ended(fields, text):
    assert cells(TaskRow(Execution("a", Decision.FAILED, CHANGED, **fields)))[2] == text


def test_what_was_not_measured_is_blank_in_the_table_and_null_in_json():
    row = TaskRow(Execution("a", Decision.EXECUTED))
    assert cells(row)[3:] == ["", "", "", ""]
    document = json.loads(json.dumps(as_json(row)))
    assert document["rss_bytes"] is document["user_ns"] is document["typical_wall_ns"] is None


def test_what_was_measured_is_in_table_and_json():
    row = TaskRow(
        Execution("a", Decision.EXECUTED, CHANGED, cost=Cost(2 * 10**9, 10**9, 10**9, 2**20)), 10**9
    )
    assert cells(row) == ["a", "executed", "input changed: a.c", "2.00 s", "2.00 s", "1.00 MiB", "+100%"]
    document = as_json(row)
    assert document["reasons"] == [{"kind": "input changed", "names": ["a.c"]}]
    assert (document["wall_ns"], document["change_ratio"]) == (2 * 10**9, 2.0)


def test_a_row_has_a_cell_for_each_column():
    assert len(cells(TaskRow(Execution("a", Decision.SKIPPED)))) == len(COLUMNS)


def test_names_cannot_steer_the_terminal():
    row = TaskRow(Execution("a\x1b[2J", Decision.EXECUTED, (Reason(ReasonKind.ERROR, ("\x07",)),)))
    assert all(cell.isprintable() for cell in cells(row))
