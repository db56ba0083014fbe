"""The known level of a task, with all that a run is compared with: strata, noise, error of the level."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from buildkit.core.quantiles import median
from buildkit.report.regressions.evidence import quantile
from buildkit.report.regressions.noise import SMALLEST_SCALE, Noise, robust_scale
from buildkit.report.regressions.settings import Settings
from buildkit.report.regressions.strata import Sample, Strata, fit


@dataclass(frozen=True, slots=True)
class Baseline:
    """What was fitted to the history of a series."""

    level: float  # log
    level_error: float  # standard error of `level`
    strata: Strata
    noise: Noise
    quartiles: tuple[float, float, float]  # of the residuals at the level
    wall_share: float  # 1: wall time alone; less: a blend of log wall time and log CPU time
    centre: float  # robust mean of the residuals at the level
    residuals: list[float]  # of the whole history, oldest first

    def residual(self, sample: Sample) -> float:
        """Return a run's log duration less level and strata."""
        return blended(sample, self.wall_share) - self.level - self.strata.offset(sample)

    def error_for(self, samples: Sequence[Sample]) -> float:
        """Return the error of the level that `samples` are compared with, strata hardly seen included."""
        if not samples or not (self.strata.workers or self.strata.contexts):
            return self.level_error
        doubt = sum(1 / max(1, self.strata.seen(s)) for s in samples) / len(samples)
        return math.hypot(self.level_error, self.noise.scale * math.sqrt(doubt))

    def shift(self, residuals: Sequence[float]) -> float:
        """Return by how much `residuals` lie above the level: a difference of robust means."""
        return robust_mean(residuals, self.noise.scale) - self.centre


def robust_mean(values: Sequence[float], scale: float) -> float:
    """Return the Huber estimate of location (Huber 1964), by a few reweighted means from the median."""
    place, edge = median(values), 1.5 * scale
    for _ in range(4):
        top = bottom = 0.0
        for v in values:
            away = abs(v - place)
            weight = 1.0 if away <= edge else edge / away
            top += weight * v
            bottom += weight
        place = top / bottom
    return place


def blended(sample: Sample, wall_share: float) -> float:
    """Return the log duration that is judged: of wall time or of a blend with known CPU time."""
    if wall_share == 1.0 or sample.cpu is None:
        return sample.y
    return wall_share * sample.y + (1 - wall_share) * sample.cpu


def best_share(wall: Baseline, history: Sequence[Sample], settings: Settings) -> float:
    """Return the share of wall time in the blend that scatters least; 1 where CPU time does not help."""
    latest = history[-settings.level_runs :]
    if len(latest) < settings.cpu_runs or any(s.cpu is None for s in latest):
        return 1.0
    residuals = wall.residuals[-len(latest) :]
    values = [s.cpu or 0.0 for s in latest]
    strata = fit(latest, values)
    flat = [value - strata.offset(s) for value, s in zip(values, latest, strict=True)]
    alone = max(robust_scale(residuals), SMALLEST_SCALE)
    best = (settings.cpu_gain * alone, 1.0)
    for share in settings.wall_share:
        mixed = [share * r + (1 - share) * c for r, c in zip(residuals, flat, strict=True)]
        best = min(best, (max(robust_scale(mixed), SMALLEST_SCALE), share))
    return best[1]


def fit_baseline(
    history: Sequence[Sample],
    at_level: int,
    strangers: Sequence[Sample],
    error_at: Callable[[float], float],
    settings: Settings,
    wall_share: float = 1.0,
) -> Baseline:
    """Return the baseline of `history`, the last `at_level` of which were measured at the present level.

    `strangers` are later runs of strata that the history hardly knows; they serve to learn these strata only.
    """
    everything = [*history, *strangers]
    strata = fit(everything, [blended(s, wall_share) for s in everything])
    flat = [blended(s, wall_share) - strata.offset(s) for s in history]
    latest = flat[-min(at_level, settings.level_runs) :]
    level = median(latest)
    residuals = [y - level for y in flat if math.isfinite(y)]
    noise = Noise(residuals, error_at(level))
    here = residuals[-len(latest) :]
    ordered = sorted(here)
    return Baseline(
        level,
        1.1 * max(noise.scale, robust_scale(here)) * noise.stretch / math.sqrt(len(here)),
        strata,
        noise,
        (quantile(ordered, 0.25), quantile(ordered, 0.5), quantile(ordered, 0.75)),
        wall_share,
        robust_mean(here, noise.scale),
        residuals,
    )
