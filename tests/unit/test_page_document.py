"""The report as the JSON that the page reads."""

from __future__ import annotations

import page_sample

from buildkit.core.execution import Cost, Decision, Reason, ReasonKind
from buildkit.report.page import page_document


def test_columns_of_tasks_have_one_entry_for_each_task() -> None:
    rows = [page_sample.row("a"), page_sample.row("b", Decision.FAILED, exit_code=2)]
    tasks = page_document(page_sample.report(*rows), project="shop")["tasks"]
    assert {len(column) for column in tasks.values()} == {2}
    assert tasks["exit"] == [0, 2]


def test_what_ran_for_less_than_a_microsecond_still_ran() -> None:
    rows = [page_sample.row("a", cost=Cost(1)), page_sample.row("b", Decision.SKIPPED, cost=Cost(0))]
    assert page_document(page_sample.report(*rows), project="shop")["tasks"]["wall"] == [1, 0]


def test_long_lists_of_reasons_are_cut() -> None:
    reasons = tuple(Reason(ReasonKind.INPUT_CHANGED, (f"{'x' * 90}{number}",)) for number in range(20))
    (reason,) = page_document(page_sample.report(page_sample.row("a", reasons=reasons)), project="shop")[
        "tasks"
    ]["reason"]
    assert len(reason) == 400
    assert reason.endswith("…")


def test_trends_point_to_the_runs_of_the_page() -> None:
    document = page_document(page_sample.report(page_sample.row("a"), runs=3), project="shop")
    assert document["trends"][0]["run"] == [0, 1, 2]
    assert document["runs"]["id"] == [1, 2, 3]


def test_where_room_is_short_alarmed_tasks_keep_their_trends() -> None:
    rows = [page_sample.row("a"), page_sample.row("b")]
    data = page_sample.report(*rows, regressions=(page_sample.regression("b"),))
    document = page_document(data, project="shop", trend_points=5)
    assert [trend["task"] for trend in document["trends"]] == ["b"]
    assert document["trends_omitted"] == 1


def test_a_run_that_goes_on_says_for_how_long_and_what_is_under_way() -> None:
    view = page_sample.run_view(6, state="running", wall_ns=None, exit_code=None, started_at=1_760_099_990.0)
    data = page_sample.report(page_sample.row("a"), run=view)
    status = {
        "run": view.uid,
        "state": "running",
        "total": 9,
        "done": 4,
        "counts": {"executed": 3, "skipped": 1},
        "running": [{"task": "b", "slot": 2, "started_at": 1_760_099_995.0}],
    }
    document = page_document(data, project="shop", live=True, status=status)
    assert document["run"]["elapsed"] == 10_000_000
    assert (document["run"]["executed"], document["run"]["skipped"]) == (3, 1)
    assert document["progress"] == {
        "total": 9,
        "done": 4,
        "eta_at": None,
        "running": [{"task": "b", "slot": 2, "start": 5_000_000, "wall": 5_000_000, "expected": None}],
    }


def test_the_status_of_another_run_is_left_alone() -> None:
    view = page_sample.run_view(6, state="running", wall_ns=None, exit_code=None)
    data = page_sample.report(page_sample.row("a"), run=view)
    status = {"run": "another", "state": "running", "total": 9, "done": 4, "counts": {}, "running": []}
    assert page_document(data, project="shop", status=status)["progress"] is None
