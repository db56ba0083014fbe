"""Where a month of history leads to, and when nothing is said."""

import math
import random

import pytest
from history_maker import SECOND, START, HistoryMaker, executed

from buildkit.report.collect import Query, collect
from buildkit.report.forecast import CacheUse, cache_forecast, forecasts_of, slope_of

DAY = 86400


def series(count, level=1.0, growth=0.0, noise=0.03, seed=1, every=1):
    """Return (day, wall_ns) with `growth` per day on a log scale."""
    rng = random.Random(seed)
    return [
        (20_000 + day, int(level * math.exp(growth * day) * rng.lognormvariate(0, noise) * SECOND))
        for day in range(0, count, every)
    ]


def days(**tasks):
    return sorted((day, task, value) for task, points in tasks.items() for day, value in points)


def test_steady_growth_is_found_with_its_interval():
    for seed in range(20):
        slope = slope_of(series(45, growth=0.01, seed=seed))
        assert slope.middle == pytest.approx(0.01, abs=0.002)
        assert slope.low < slope.middle < slope.high
        assert slope.low > 0


def test_the_interval_holds_the_truth_most_of_the_time():
    held = 0
    for seed in range(200):
        slope = slope_of(series(40, growth=0.01, seed=seed))
        held += slope is not None and slope.low <= 0.01 <= slope.high
    assert held >= 180


def test_noise_alone_is_no_growth():
    said = sum(slope_of(series(40, seed=seed)) is not None for seed in range(200))
    assert said <= 14  # 5% by construction, some of them fit a step as well


@pytest.mark.parametrize("start", [8, 20, 32])
def test_a_step_is_no_growth(start):
    for seed in range(10):
        points = series(40, seed=seed)
        assert slope_of([(day, value * (2 if day >= 20_000 + start else 1)) for day, value in points]) is None


def test_one_wild_day_is_no_growth():
    points = series(40)
    points[-1] = (points[-1][0], points[-1][1] * 50)
    assert slope_of(points) is None


@pytest.mark.parametrize("points", [series(29, growth=0.02), series(60, growth=0.02, every=5), []])
def test_too_little_history_says_nothing(points):
    assert slope_of(points) is None


def test_the_day_when_a_target_will_be_broken():
    found = {one.what: one for one in forecasts_of(days(a=series(40, growth=0.01), b=series(40)), {"a": 2.0})}
    assert set(found) == {"total", "a"}
    task = found["a"]
    truth = (math.log(2) - 39 * 0.01) / 0.01
    assert task.breaks_in_days == pytest.approx(truth, rel=0.25)
    assert task.breaks_earliest_days < task.breaks_in_days < task.breaks_latest_days
    assert task.growth == pytest.approx(math.exp(0.3), rel=0.1)
    assert (task.sla_s, task.days) == (2.0, 40)


def test_a_target_that_is_far_away_is_not_told():
    (_, task) = forecasts_of(days(a=series(40, growth=0.005)), {"a": 100.0})
    assert (task.breaks_in_days, task.breaks_earliest_days, task.breaks_latest_days) == (None, None, None)


def test_a_task_that_shrinks_breaks_no_target():
    (_, task) = forecasts_of(days(a=series(40, growth=-0.01)), {"a": 2.0})
    assert task.growth < 1
    assert task.breaks_in_days is None


def test_a_new_task_is_growth_of_the_total():
    parts = {f"t{number}": series(40, seed=number)[4 * number :] for number in range(10)}
    found = {one.what: one for one in forecasts_of(days(**parts), {})}
    assert found["total"].growth > 2


def test_days_on_which_only_some_tasks_ran_do_not_move_the_total():
    often, seldom = series(45, level=1), series(45, level=50, seed=2, every=7)
    assert forecasts_of(days(often=often, seldom=seldom), {}) == ()


def test_the_cache_is_full_some_day():
    rng = random.Random(1)
    stored = [(20_000 + day, int(rng.uniform(0.8, 1.2) * 2**30)) for day in range(40)]
    forecast = cache_forecast(stored, CacheUse(40 * 2**30, 100 * 2**30))
    assert forecast.breaks_in_days == pytest.approx(60, rel=0.05)
    assert forecast.growth == pytest.approx(1.75, rel=0.05)
    assert forecast.breaks_earliest_days < forecast.breaks_in_days < forecast.breaks_latest_days


@pytest.mark.parametrize("use", [None, CacheUse(0, 10)])
def test_nothing_is_said_of_a_cache_that_is_not_known(use):
    assert cache_forecast([(day, 1) for day in range(40)], use) is None


def test_the_report_says_it_from_a_month_of_runs_on(tmp_path):
    maker = HistoryMaker(str(tmp_path))
    asked = []

    def cache():
        asked.append(True)
        return CacheUse(2**30, 2**40)

    for day in range(40):
        maker.run(executed("a", 1.02**day, sla_s=10.0, bytes_stored=2**20), at=START + day * DAY)
        maker.history.retire(max_age_s=10**9, max_runs=10**6)
        data = collect(maker.history, Query(), cache=cache, now=maker.at)
        if day < 29:
            assert (data.forecasts, asked) == ((), [])
    assert [one.what for one in data.forecasts] == ["total", "a", "cache"]
    assert data.forecasts[1].breaks_in_days == pytest.approx(
        math.log(10 / 1.02**38) / math.log(1.02), rel=0.05
    )
    maker.history.connection.close()
