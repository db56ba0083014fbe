"""The verdict on the latest run alone, for those who ask about many tasks at once.

A report wants one verdict per task, not one per run. A task whose latest times do not stand out from those
before them is answered by the screen, in microseconds; of the others, the quiet past is learned from without
a verdict on each run of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from buildkit.report.regressions.calibration import LOWEST
from buildkit.report.regressions.detector import Detector
from buildkit.report.regressions.series import Run, State, Verdict
from buildkit.report.regressions.settings import DEFAULT, Settings
from buildkit.report.regressions.sieve import LEAST, quiet_length, sureness
from buildkit.report.regressions.strata import fit, sample_of

OUT = 3.3  # standard errors by which the latest values must stand out to be judged
JUST_BEFORE = 24  # latest runs that are looked at on their own, too
PLAIN = 4.0  # standard errors by which those must stand out


def judge_latest(
    runs: Iterable[Run], window: int = 200, judged: int = 30, settings: Settings = DEFAULT
) -> Verdict | None:
    """Return the verdict on the run with the highest `i`, or None if there is no judged run.

    `runs` are those of one task, in any order, durations in seconds (or bytes, for peak memory); at most
    the latest `window` judged ones are looked at. An alarm that set in more than `judged` runs ago is not
    told: by then the new level is the known one. The verdict is that of `judge` in nearly all cases, not in
    all: docs/regressions.md says how often.
    """
    by_number = {run.i: run for run in reversed(list(runs)) if run.judged and run.usable}
    latest = [by_number[i] for i in sorted(by_number)][-window:]
    if not latest:
        return None
    if len(latest) <= settings.warm_up:
        return Verdict(latest[-1].i, False, 0.0, 1.0, None, State.LEARNING)
    values = _like_with_like(latest)
    if len(values) < LEAST or not _stands_out(values):
        return Verdict(latest[-1].i, False, LOWEST, 1.0, None, State.STEADY)
    detector = Detector(replace(settings, warm_up=max(settings.warm_up, quiet_length(values, judged))))
    verdict = None
    for run in latest:
        verdict = detector.update(run)
    return verdict


def _like_with_like(runs: Sequence[Run]) -> list[float]:
    """Return the durations of `runs` less what their workers, load and width add to them; all positive."""
    smallest = min((run.wall for run in runs if run.wall > 0), default=1.0)
    samples = [sample_of(run, 0.5 * smallest) for run in runs]
    strata = fit(samples, [sample.y for sample in samples])
    return [math.exp(max(-50.0, min(50.0, sample.y - strata.offset(sample)))) for sample in samples]


def _stands_out(values: Sequence[float]) -> bool:
    """Return whether the latest values lie above those before them, or above those just before them."""
    # The second look is for an improvement that is taken back before it fills the past.
    return sureness(values) > OUT or sureness(values[-JUST_BEFORE:]) > PLAIN
