"""The verdict on the latest run alone, for those who ask about many tasks at once.

A report wants one verdict per task, not one per run. A task whose latest times do not stand out from those
before them is answered by the screen, in microseconds; of the others, the quiet past is learned from without
a verdict on each run of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from buildkit.report.regressions.calibration import LOWEST
from buildkit.report.regressions.detector import Detector
from buildkit.report.regressions.series import Run, State, Verdict
from buildkit.report.regressions.settings import DEFAULT, Settings
from buildkit.report.screen import LEAST, quiet_length, sureness


def judge_latest(
    runs: Iterable[Run], window: int = 200, judged: int = 40, settings: Settings = DEFAULT
) -> Verdict | None:
    """Return the verdict on the run with the highest `i`, or None if there is no judged run.

    `runs` are those of one task, in any order, durations in seconds (or bytes, for peak memory); at most
    the latest `window` judged ones are looked at. An alarm that set in more than `judged` runs ago is not
    told: by then the new level is the known one. The verdict is that of `judge` in nearly all cases, not in
    all: what the screen does not see, a rise that only shows against its own worker or load, is left out.
    """
    by_number = {run.i: run for run in reversed(list(runs)) if run.judged and run.usable}
    latest = [by_number[i] for i in sorted(by_number)][-window:]
    if not latest:
        return None
    values = [run.wall for run in latest]
    if len(values) <= settings.warm_up:
        return Verdict(latest[-1].i, False, 0.0, 1.0, None, State.LEARNING)
    if len(values) < LEAST or (min(values) > 0 and sureness(values) == 0):
        return Verdict(latest[-1].i, False, LOWEST, 1.0, None, State.STEADY)
    detector = Detector(replace(settings, warm_up=max(settings.warm_up, quiet_length(values, judged))))
    verdict = None
    for run in latest:
        verdict = detector.update(run)
    return verdict
