"""Which runs stay, and what is left of the others."""

import pytest
from history_maker import START, HistoryMaker, executed, failed

from buildkit.state import retention

DAY = 86400


@pytest.fixture
def maker(tmp_path):
    maker = HistoryMaker(str(tmp_path))
    yield maker
    maker.history.connection.close()


def retire(maker, now, max_age_s=30 * DAY, max_runs=1000, at_once=None):
    history = maker.history
    with history._writing():
        return retention.retire(
            history.connection,
            history._texts,
            max_age_s=max_age_s,
            max_runs=max_runs,
            at_once=at_once,
            now=now,
        )


def ids(maker):
    return sorted(run.id for run in maker.history.runs())


def test_runs_that_are_too_old_go_with_their_executions(maker):
    old = maker.run(executed("a"), at=START)
    kept = maker.run(executed("a"), at=START + 20 * DAY)
    assert retire(maker, START + 31 * DAY) == 1
    assert ids(maker) == [kept]
    assert maker.history.executions_of(old) == []
    assert len(maker.history.executions_of(kept)) == 1


def test_runs_beyond_the_number_go_oldest_first(maker):
    runs = [maker.run(executed("a")) for _ in range(5)]
    assert retire(maker, maker.at, max_runs=2) == 3
    assert ids(maker) == runs[-2:]


def test_runs_that_did_nothing_do_not_push_out_those_that_did(maker):
    worked = [maker.run(executed("a")) for _ in range(3)]
    idle = [maker.run(skipped=["a"]) for _ in range(10)]
    retire(maker, maker.at, max_runs=3)
    assert ids(maker) == [*worked, *idle[-3:]]


def test_the_last_run_of_all_stays_however_old(maker):
    run = maker.run(executed("a"), at=START)
    assert retire(maker, START + 500 * DAY) == 0
    assert ids(maker) == [run]


def test_a_run_removes_a_few_old_ones_at_a_time(maker):
    for _ in range(10):
        maker.run(executed("a"))
    assert [retire(maker, maker.at, max_runs=3, at_once=4) for _ in range(3)] == [4, 3, 0]


def test_runs_that_did_nothing_go_all_at_once(maker):
    for _ in range(10):
        maker.run(skipped=["a"])
    assert retire(maker, maker.at, max_runs=3, at_once=4) == 7


def test_totals_of_a_day_outlive_its_runs(maker):
    for wall_s in (3, 1, 2):
        maker.run(executed("a", wall_s), executed("b", 1, bytes_stored=7), at=START + wall_s)
    maker.run(failed("a"), at=START + 100)
    maker.run(executed("a"), at=START + 40 * DAY)
    retire(maker, START + 40 * DAY + 5)
    assert len(ids(maker)) == 1
    days = maker.history.days()
    assert [(day.runs, day.executed, day.task_ns, day.bytes_stored) for day in days] == [
        (4, 6, 9 * 10**9, 21)
    ]
    day = int(START // DAY)
    assert maker.history.task_days(day, day, "m") == [(day, "a", 2 * 10**9), (day, "b", 10**9)]
    assert maker.history.task_days(day, day, "another machine") == []


def test_a_day_that_goes_on_has_no_totals_yet(maker):
    maker.run(executed("a"), at=START)
    retire(maker, START + DAY - 1)
    assert maker.history.days() == []
    retire(maker, START + DAY)
    assert len(maker.history.days()) == 1


def test_totals_are_kept_a_year(maker):
    maker.run(executed("a"), at=START)
    maker.run(executed("a"), at=START + 364 * DAY)
    retire(maker, START + 365 * DAY)
    assert len(maker.history.days()) == 2
    retire(maker, START + 366 * DAY)
    assert len(maker.history.days()) == 1


def test_days_are_made_after_a_clock_was_in_the_future_too(maker):
    maker.run(executed("a"), at=START + 100 * DAY)
    retire(maker, START + 101 * DAY)
    maker.run(executed("a"), at=START)
    retire(maker, START + DAY)
    assert [day.day for day in maker.history.days()] == [int(START // DAY), int(START // DAY) + 100]


def test_a_clock_that_went_back_loses_nothing(maker):
    runs = [maker.run(executed("a"), at=START), maker.run(executed("a"), at=START - 10 * DAY)]
    assert retire(maker, START - 9 * DAY) == 0
    assert ids(maker) == runs
