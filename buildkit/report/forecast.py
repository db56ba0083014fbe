"""Where a month of history leads to: growth of tasks, of all of them together, and of the cache.

The method: the days' medians on a log scale, Theil and Sen's slope (the median of the slopes of all pairs of
days) with Sen's rank interval (1968), widened where days are correlated (Hirsch and Slack 1984 show why). A
change in one step is no growth: where a step fits as well as the line, nothing is said. Neither is where
the interval holds zero, or the history is shorter than a month.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from buildkit.core.quantiles import median
from buildkit.report.data import Forecast

LEAST_DAYS = 30  # from the first to the last day
LEAST_POINTS = 15  # days with data between them
LOOK_BACK_DAYS = 60
_MONTH = 30
_HORIZON_DAYS = 365
_NORMAL_95 = 1.96
_LEAST_GROWTH = 0.01  # per month; less is not worth a line
_BETTER_STEP = 1.0  # a step that fits as well as the line is the simpler story: it has ended
_SETTLING_DAYS = 7  # tasks first seen later than this after the start are taken for new ones


@dataclass(frozen=True, slots=True)
class Slope:
    """Growth per day on a log scale, with its 95% interval."""

    middle: float
    low: float
    high: float
    now: float  # the level of the last day, on the line


@dataclass(frozen=True, slots=True)
class CacheUse:
    """What is known of the cache."""

    size: int
    limit: int


def forecasts_of(
    days: Iterable[tuple[int, str, int]],
    targets: Mapping[str, float],
    *,
    shown: int = 10,
) -> tuple[Forecast, ...]:
    """Return what grows or shrinks: the total first, then tasks, those that break their target soonest.

    `days` are (day, task, median wall_ns), ordered by day, on one class of machine.
    """
    series: dict[str, list[tuple[int, int]]] = {}
    for day, task, wall_ns in days:
        series.setdefault(task, []).append((day, wall_ns))
    if not series:
        return ()
    first = min(points[0][0] for points in series.values())
    last = max(points[-1][0] for points in series.values())
    if last - first + 1 < LEAST_DAYS:
        return ()
    found = []
    total = _total(series, first)
    overall = _forecast("total", total, None)
    if overall is not None:
        found.append(overall)
    size = sum(points[-1][1] for points in series.values())
    tasks = []
    for task, points in series.items():
        # A task that takes less than a hundredth of everything is only worth a look for its target.
        if task in targets or points[-1][1] * 100 >= size:
            forecast = _forecast(task, points, targets.get(task))
            if forecast is not None:
                tasks.append(forecast)
    tasks.sort(key=_soonest)
    return (*found, *tasks[:shown])


def _soonest(forecast: Forecast) -> tuple[float, float]:
    breaks = forecast.breaks_in_days
    return (math.inf if breaks is None else breaks, -forecast.now * (forecast.growth - 1))


def _total(series: Mapping[str, Sequence[tuple[int, int]]], first: int) -> list[tuple[int, int]]:
    """Return what all tasks together take, by day, were they all executed: each at its latest median."""
    by_day: dict[int, list[tuple[str, int]]] = {}
    latest: dict[str, int] = {}
    for task, points in series.items():
        if points[0][0] <= first + _SETTLING_DAYS:
            latest[task] = points[0][1]
        for day, wall_ns in points:
            by_day.setdefault(day, []).append((task, wall_ns))
    total = []
    for day in sorted(by_day):
        latest.update(by_day[day])
        total.append((day, sum(latest.values())))
    return total


def _forecast(what: str, points: Sequence[tuple[int, int]], target_s: float | None) -> Forecast | None:
    slope = slope_of(points)
    if slope is None or abs(slope.middle) * _MONTH < _LEAST_GROWTH:
        return None
    now = math.exp(slope.now)
    middle, earliest, latest = None, None, None
    if target_s is not None:
        gap = math.log(target_s * 1e9 / now)
        middle = _days_until(gap, slope.middle)
        earliest, latest = _days_until(gap, slope.high), _days_until(gap, slope.low)
    return Forecast(
        what=what,
        unit="ns",
        now=round(now),
        growth=math.exp(slope.middle * _MONTH),
        growth_low=math.exp(slope.low * _MONTH),
        growth_high=math.exp(slope.high * _MONTH),
        days=points[-1][0] - points[0][0] + 1,
        sla_s=target_s,
        breaks_in_days=middle,
        breaks_earliest_days=earliest if middle is not None else None,
        breaks_latest_days=latest if middle is not None else None,
    )


def _days_until(gap: float, slope: float) -> float | None:
    """Return when a gap is closed at so much a day; None where that is not within a year."""
    if gap <= 0:
        return 0.0
    days = gap / slope if slope > 0 else math.inf
    return days if days <= _HORIZON_DAYS else None


def slope_of(points: Sequence[tuple[int, int]]) -> Slope | None:
    """Return the growth of (day, value) points, or None where they do not carry one."""
    points = [(day, value) for day, value in points if value > 0]
    if len(points) < LEAST_POINTS or points[-1][0] - points[0][0] + 1 < LEAST_DAYS:
        return None
    days = [float(day) for day, _value in points]
    logs = [math.log(value) for _day, value in points]
    slopes = sorted(
        (logs[j] - logs[i]) / (days[j] - days[i])
        for i in range(len(days))
        for j in range(i + 1, len(days))
        if days[j] > days[i]
    )
    middle = median(slopes)
    level = median([log - middle * day for log, day in zip(logs, days, strict=True)])
    residuals = [log - level - middle * day for log, day in zip(logs, days, strict=True)]
    count = len(points)
    reach = _NORMAL_95 * math.sqrt(count * (count - 1) * (2 * count + 5) / 18) * _inflation(residuals)
    low = slopes[max(0, math.floor((len(slopes) - reach) / 2))]
    high = slopes[min(len(slopes) - 1, math.ceil((len(slopes) + reach) / 2))]
    if low <= 0 <= high or _is_step(logs, sum(map(abs, residuals))):
        return None
    return Slope(middle, low, high, level + middle * days[-1])


def _inflation(residuals: Sequence[float]) -> float:
    """Return by how much the correlation of following days widens an interval."""
    power = sum(r * r for r in residuals)
    if power == 0:
        return 1.0
    lagged = sum(a * b for a, b in pairwise(residuals)) / power
    lagged = min(max(lagged, 0.0), 0.9)
    return math.sqrt((1 + lagged) / (1 - lagged))


def _is_step(logs: Sequence[float], off_the_line: float) -> bool:
    """Return whether two levels fit the values as well as the line does."""
    for start in range(3, len(logs) - 2):
        before, after = logs[:start], logs[start:]
        low, high = median(before), median(after)
        off = sum(abs(log - low) for log in before) + sum(abs(log - high) for log in after)
        if off <= _BETTER_STEP * off_the_line:
            return True
    return False


def cache_forecast(stored: Sequence[tuple[int, int]], use: CacheUse | None) -> Forecast | None:
    """Return how the cache grows by what runs store in it: (day, bytes) pairs, ordered by day.

    An upper bound: contents that are there already take no room again.
    """
    if use is None or use.size <= 0 or len(stored) < LEAST_POINTS:
        return None
    span = stored[-1][0] - stored[0][0] + 1
    if span < LEAST_DAYS:
        return None
    by_day = dict(stored)
    daily = [by_day.get(day, 0) for day in range(stored[0][0], stored[-1][0] + 1)]
    mean = sum(daily) / span
    if mean <= 0:
        return None
    error = _NORMAL_95 * math.sqrt(sum((one - mean) ** 2 for one in daily) / (span - 1) / span)
    low, high = max(0.0, mean - error), mean + error
    room = max(0, use.limit - use.size)

    return Forecast(
        what="cache",
        unit="bytes",
        now=use.size,
        growth=1 + mean * _MONTH / use.size,
        growth_low=1 + low * _MONTH / use.size,
        growth_high=1 + high * _MONTH / use.size,
        days=span,
        breaks_in_days=_days_until(room, mean),
        breaks_earliest_days=_days_until(room, high),
        breaks_latest_days=_days_until(room, low),
    )
