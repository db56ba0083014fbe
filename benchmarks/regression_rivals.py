"""What the detector is compared with: simple rules in common use, and Apache Otava where it is installed.

Each rival is a function from the durations of the judged runs, oldest first, to one alarm per run; like the
detector it sees no later run. None of them knows workers or load: that is how they are used.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence

Rival = Callable[[Sequence[float]], list[bool]]
WARM_UP = 10
WINDOW = 30  # earlier runs that a rule compares with


def mean_times(values: Sequence[float]) -> list[bool]:
    """Alarm above 1.5 times the mean of all earlier runs."""
    return [k >= WARM_UP and v > 1.5 * statistics.fmean(values[:k]) for k, v in enumerate(values)]


def three_sigma(values: Sequence[float]) -> list[bool]:
    """Alarm above mean + 3 standard deviations of the 30 runs before."""
    out = []
    for k, v in enumerate(values):
        past = values[max(0, k - WINDOW) : k]
        out.append(k >= WARM_UP and v > statistics.fmean(past) + 3 * statistics.stdev(past))
    return out


def mad_score(values: Sequence[float]) -> list[bool]:
    """Alarm above a modified z-score of 3.5 (Iglewicz and Hoaglin 1993) against the 30 runs before."""
    out = []
    for k, v in enumerate(values):
        past = values[max(0, k - WINDOW) : k]
        if k < WARM_UP:
            out.append(False)
            continue
        centre = statistics.median(past)
        mad = statistics.median(abs(p - centre) for p in past)
        out.append(0.6745 * (v - centre) > 3.5 * max(mad, 1e-9))
    return out


def mann_whitney(values: Sequence[float]) -> list[bool]:
    """Alarm when the last five runs rank above the 30 before them, one-sided p < 0.001."""
    out = []
    for k in range(1, len(values) + 1):
        late, early = values[max(0, k - 5) : k], values[max(0, k - 5 - WINDOW) : max(0, k - 5)]
        out.append(len(early) >= WARM_UP and _rank_test(late, early) > 3.09)
    return out


def _rank_test(late: Sequence[float], early: Sequence[float]) -> float:
    n, m = len(late), len(early)
    u = sum((a > b) + 0.5 * (a == b) for a in late for b in early)
    return (u - 0.5 - n * m / 2) / math.sqrt(n * m * (n + m + 1) / 12)


def cusum(values: Sequence[float]) -> list[bool]:
    """Alarm by Page's one-sided CUSUM (1954), k = 0.5 and h = 5 standard deviations of the runs so far."""
    out, total, start = [], 0.0, 0
    for k, v in enumerate(values):
        past = values[start:k]
        if len(past) < WARM_UP:
            out.append(False)
            continue
        spread = statistics.stdev(past) or 1e-9
        total = max(0.0, total + (v - statistics.fmean(past)) / spread - 0.5)
        alarm = total > 5
        out.append(alarm)
        if alarm:
            total, start = 0.0, k
    return out


def otava() -> Rival | None:
    """Return Apache Otava with its defaults, asked anew after each run; None if it is not installed."""
    try:
        from otava.analysis import compute_change_points
    except ImportError:
        return None

    def rival(values: Sequence[float]) -> list[bool]:
        out = []
        for k in range(1, len(values) + 1):
            part = list(values[max(0, k - 100) : k])
            alarm = False
            if len(part) >= WARM_UP:
                found = compute_change_points(part)
                points = found[0] if isinstance(found, tuple) else found
                if points:
                    point = points[-1]
                    alarm = len(part) - point.index <= 25 and point.stats.mean_2 > point.stats.mean_1
            out.append(alarm)
        return out

    return rival


RIVALS: dict[str, Rival] = {
    "mean x 1.5": mean_times,
    "mean + 3 sigma": three_sigma,
    "MAD z > 3.5": mad_score,
    "Mann-Whitney": mann_whitney,
    "CUSUM": cusum,
}
