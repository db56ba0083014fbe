"""The Bayes factor for "the level changed in the latest runs" against "it did not".

Pure functions over residuals (log duration minus level and strata) and a learned noise. The time of the
change is summed over, its size integrated by Laplace's method about robust candidates (Kass & Raftery
1995).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from buildkit.report.regressions.noise import Noise
from buildkit.report.regressions.settings import Settings

WORTH_A_LOOK = 1.5  # standard errors of the mean of the latest runs
_ROOT_2PI = math.sqrt(2 * math.pi)
_LOG_3 = math.log(3)  # candidates for the size of a change
_NODES = ((-2.0, 0.054), (-1.0, 0.242), (0.0, 0.399), (1.0, 0.242), (2.0, 0.054))


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the latest runs say about a change of level."""

    log_odds: float  # posterior odds of a change against none
    runs: int  # latest runs since the most probable time of the change
    size: float  # log of new / old level


NOTHING = Evidence(-12.0, 0, 0.0)


def log_likelihood(residuals: Sequence[float], before: float, level: float, noise: Noise) -> float:
    """Return the log likelihood of `residuals` about `level`; `before` is the residual before them."""
    total = 0.0
    for r in residuals:
        now = r - level
        total += noise.log_density_after(now, before)
        before = now
    return total


def shift(after: Sequence[float], before: Sequence[float]) -> tuple[float, ...]:
    """Return candidates for the shift between two samples: the differences of their quartiles."""
    a, b = sorted(after), sorted(before)
    return tuple(quantile(a, q) - quantile(b, q) for q in (0.25, 0.5, 0.75))


def quantile(ordered: Sequence[float], q: float) -> float:
    """Return the `q` quantile of a sorted sequence, interpolated."""
    place = q * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def weigh(
    recent: Sequence[float],
    before: float,
    quartiles: Sequence[float],
    noise: Noise,
    level_error: float,
    settings: Settings,
    direction: int = 1,
) -> Evidence:
    """Return the evidence that the level rose (`direction` 1) or fell (-1) within `recent`.

    `before` is the residual of the run before `recent`; `quartiles` are those of the history;
    `level_error` is the standard error of the known level; the hypothesis of no change may use it, and
    the noise's wandering, as an excuse. What was learned from few runs counts for less: the log of the
    Bayes factor is divided by the noise's doubt.
    """
    count = len(recent)
    candidates: list[tuple[int, list[float]]] = []
    for runs in range(settings.minimum_runs, count + 1):
        ordered = sorted(recent[count - runs :])
        sizes = {
            round(quantile(ordered, q) - base, 4)
            for q, base in zip((0.25, 0.5, 0.75), quartiles, strict=True)
        }
        # What chance alone often makes is not weighed: nothing would come of it, and most runs are like that.
        least = max(settings.minimum_effect, WORTH_A_LOOK * noise.scale / math.sqrt(runs))
        large = [size for size in sizes if size * direction >= least]
        if large:
            candidates.append((runs, large))
    if not candidates:
        return NOTHING
    # What following runs have in common may be no change, but the wandering of a level that stays.
    wander = math.hypot(level_error, noise.wander)
    nulls = [(w, _from_each_run(recent, before, node * wander, noise)) for node, w in _NODES]
    logs: list[tuple[float, int, float]] = []
    for runs, large in candidates:
        start = count - runs
        part = recent[start:]
        previous = recent[start - 1] if start else before
        rest = max(v[start] for _, v in nulls)
        null = rest + math.log(sum(w * math.exp(v[start] - rest) for w, v in nulls))
        error = noise.scale * noise.stretch / math.sqrt(runs)
        for size in large:
            # The run at the change follows one at the old level: its predecessor keeps its residual.
            alternative = noise.log_density_after(part[0] - size, previous) + log_likelihood(
                part[1:], part[0] - size, size, noise
            )
            prior = -abs(size) / settings.prior_effect - math.log(settings.prior_effect)
            occam = min(0.0, prior + math.log(_ROOT_2PI * error))
            logs.append(((alternative - null) / noise.doubt + occam - _LOG_3, runs, size))
    top, runs, size = max(logs)
    total = sum(math.exp(value - top) for value, _, _ in logs)
    return Evidence(top + math.log(total * settings.hazard), runs, size)


def _from_each_run(recent: Sequence[float], before: float, level: float, noise: Noise) -> list[float]:
    """Return, for each start, the log likelihood of the runs from there to the end about `level`."""
    terms = []
    previous = before
    for r in recent:
        terms.append(noise.log_density_after(r - level, previous))
        previous = r - level
    total = 0.0
    for k in range(len(terms) - 1, -1, -1):
        total += terms[k]
        terms[k] = total
    return terms


def seen_before(history: Sequence[float], stretch: Sequence[float], size: float, scale: float) -> float:
    """Return how slow the slowest earlier stretch of as many runs was, as a share of how slow `stretch` is.

    Means are taken of residuals clipped a little beyond `size`, so that one outlier is not a slow
    stretch. It is the empirical counterpart of the Bayes factor: whatever the noise is, the task's own
    past must not show the like.
    """
    top, bottom = size + 2 * scale, -3 * scale
    runs = len(stretch)
    now = sum(min(top, max(bottom, r)) for r in stretch)
    clipped = [min(top, max(bottom, r)) for r in history]
    if len(clipped) < runs or now <= 0:
        return 0.0
    moving = highest = sum(clipped[:runs])
    for gone, come in zip(clipped, clipped[runs:], strict=False):
        moving += come - gone
        highest = max(highest, moving)
    return highest / now
