"""How a task's time scatters about its level, learned from the task itself.

The density of a residual is a mixture of a Student t (robust when little is known), a kernel estimate over
the task's own residuals (modes, skew and repeating outliers, once they have been seen) and a broad tail
(outliers never seen). Runs that follow each other may be correlated; the density is that of the
innovations.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from buildkit.core.quantiles import median

CELLS = 4  # cells of the tabulated density per scale
CLIP = 3.0  # a residual beyond so many scales is an outlier that says nothing about the next run
DOF = 6.0
PRIOR_SCALE, PRIOR_RUNS = 0.07, 2.0
PRIOR_CORRELATION, PRIOR_CORRELATION_RUNS = 0.1, 10.0
PRIOR_AGAIN, PRIOR_OUTLIERS = 0.15, 1.8
MOST_PERSISTENT = 0.4
DOUBT = 8.0  # runs that the doubt about a scale learned from few runs is worth
SUMS, PRIOR_SUMS = (4, 8), 6.0  # following runs that are summed, and sums that their prior is worth
PRIOR_LAG, PRIOR_LAG_RUNS = 0.3, 20.0  # correlation of what whitening left, and what its prior is worth
SMALLEST_SCALE = 0.004
_T = math.exp(math.lgamma((DOF + 1) / 2) - math.lgamma(DOF / 2)) / math.sqrt(DOF * math.pi)


def robust_scale(values: Sequence[float]) -> float:
    """Return a scale that outliers do not move: from the MAD, or from the mean deviation if that is 0."""
    centre = median(values)
    away = sorted(abs(v - centre) for v in values)
    mad = 1.4826 * median(away)
    if mad > 0:
        return mad
    kept = away[: max(1, int(len(away) * 0.95))]
    return 1.2533 * sum(kept) / len(kept)


class Noise:
    """The learned density of innovations; `log_density` is tabulated as it is asked."""

    __slots__ = (
        "_cells",
        "_counts",
        "_inverse",
        "_kernel",
        "_n",
        "_table",
        "correlation",
        "doubt",
        "excess",
        "outlying",
        "persistence",
        "scale",
        "wander",
    )

    def __init__(self, residuals: Sequence[float], floor: float = 0.0) -> None:
        n = len(residuals)
        rough = max(robust_scale(residuals), floor, SMALLEST_SCALE)
        self.correlation = _correlation(residuals, rough)
        self.outlying = CLIP * rough
        innovations = [self.innovation(now, before) for before, now in pairwise(residuals)] or [0.0]
        inner = max(robust_scale(innovations), floor, SMALLEST_SCALE)
        self.scale = math.sqrt(
            (n * inner * inner + PRIOR_RUNS * PRIOR_SCALE * PRIOR_SCALE) / (n + PRIOR_RUNS)
        )
        self.outlying = CLIP * self.scale * math.sqrt(1 / (1 - self.correlation * self.correlation))
        self.persistence = _persistence(residuals, self.scale, self.outlying)
        self.excess = _excess(innovations, self.scale)
        self.wander = self.scale * math.sqrt(2 * (self.excess - 1) / SUMS[0])
        self.doubt = 1 + DOUBT / (n + 1)
        self._n = n
        self._inverse = CELLS / self.scale
        self._counts = Counter(round(e * self._inverse) for e in innovations)
        bandwidth = max(0.35, 1.06 * max(n, 2) ** -0.2) * CELLS
        reach = int(3 * bandwidth) + 1
        weights = [math.exp(-0.5 * (d / bandwidth) ** 2) for d in range(-reach, reach + 1)]
        total = sum(weights)
        self._kernel = [(d, w / total) for d, w in zip(range(-reach, reach + 1), weights, strict=True)]
        self._table: dict[int, float] = {}
        self._cells = len(innovations)

    @property
    def stretch(self) -> float:
        """Return the factor by which correlation widens the error of a mean of many runs."""
        return math.sqrt((1 + self.correlation) / (1 - self.correlation))

    def innovation(self, now: float, before: float) -> float:
        """Return what is new in a residual, given the one before it, if that was no outlier."""
        return now - self.correlation * before if abs(before) <= self.outlying else now

    def log_density_after(self, now: float, before: float) -> float:
        """Return the log density of a residual, given the one before it.

        After an outlier the next run may well be one of the same size: a slow machine, a busy hour.
        How often it was so in this series is `persistence`.
        """
        if abs(before) <= self.outlying:
            return self.log_density(now - self.correlation * before)
        alone = self.log_density(now)
        away = (now - before) / self.scale
        if abs(away) > 5:
            return alone
        again = 0.282 / self.scale * math.exp(-0.25 * away * away)
        return math.log((1 - self.persistence) * math.exp(alone) + self.persistence * again)

    def log_density(self, innovation: float) -> float:
        """Return the log of the learned density at `innovation`."""
        cell = round(innovation * self._inverse)
        known = self._table.get(cell)
        if known is None:
            known = self._table[cell] = self._log_density(cell)
        return known

    def _log_density(self, cell: int) -> float:
        z = cell / CELLS
        e = z * self.scale
        student = _T * (1 + z * z / DOF) ** (-(DOF + 1) / 2) / self.scale
        counts = self._counts
        kernel = sum(w * counts[cell + d] for d, w in self._kernel if cell + d in counts)
        kernel *= self._inverse / self._cells
        tail = 0.7 * 0.5 / (0.5 + e) ** 2 if e >= 0 else 0.3 * 0.2 / (0.2 - e) ** 2
        outliers = 0.015
        learned = (1 - outliers) * 0.9 * self._n / (self._n + 10)
        return math.log(outliers * tail + learned * kernel + (1 - outliers - learned) * student)


def _persistence(residuals: Sequence[float], scale: float, outlying: float) -> float:
    """Return how often an outlier is followed by one like it; a twelfth if there were none (Beta prior)."""
    outliers = again = 0
    for before, now in pairwise(residuals):
        if abs(before) > outlying:
            outliers += 1
            again += abs(now - before) < 2.5 * scale
    return min(MOST_PERSISTENT, (PRIOR_AGAIN + again) / (PRIOR_OUTLIERS + outliers))


def _excess(innovations: Sequence[float], scale: float) -> float:
    """Return how much wider sums of following innovations scatter than independent ones would; 1 or more.

    It is a ratio of variances, the overdispersion of generalised linear models (McCullagh and Nelder
    1989), here that of seasons, modes that last and long memory; drawn to a prior where few runs were seen.
    """
    clipped = [min(CLIP * scale, max(-CLIP * scale, e)) for e in innovations]
    mean = sum(clipped) / len(clipped)
    clipped = [c - mean for c in clipped]
    power = sum(c * c for c in clipped) / len(clipped)
    if power <= 0:
        return 1.0
    count = len(clipped)
    lagged = sum(a * b for a, b in pairwise(clipped)) / (power * count)
    lagged = (count * lagged + 1 + 3 * lagged + PRIOR_LAG * PRIOR_LAG_RUNS) / (count + PRIOR_LAG_RUNS)
    lagged = max(0.0, min(0.8, lagged))
    highest = (1 + lagged) / (1 - lagged)
    for length in SUMS:
        if count < 2 * length:
            break
        moving = sum(clipped[:length])
        squares = moving * moving
        for gone, come in zip(clipped, clipped[length:], strict=False):
            moving += come - gone
            squares += moving * moving
        ratio = squares / (count - length + 1) / (length * power) / (1 - length / count)
        blocks = count / length
        highest = max(highest, (blocks * ratio + PRIOR_SUMS) / (blocks + PRIOR_SUMS))
    return highest


def _correlation(residuals: Sequence[float], scale: float) -> float:
    """Return the lag-one autocorrelation, outliers clipped, drawn to a prior; 0 where it may be chance."""
    edge = 2.5 * scale
    clipped = [min(edge, max(-edge, r)) for r in residuals]
    power = sum(c * c for c in clipped)
    if power <= 0:
        return 0.0
    lagged = sum(a * b for a, b in pairwise(clipped))
    n = len(clipped)
    phi = lagged / power
    phi += (1 + 3 * phi) / n  # the estimate is biased downwards (Kendall 1954)
    phi = (n * phi + PRIOR_CORRELATION * PRIOR_CORRELATION_RUNS) / (n + PRIOR_CORRELATION_RUNS)
    return min(phi, 0.8) if phi > 1 / math.sqrt(n) else 0.0
