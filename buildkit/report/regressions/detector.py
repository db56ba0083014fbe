"""Judge each run of a task against the runs before it.

`Detector` is the state of one series: history at the known level, the latest runs, and what is believed now.
It looks at runs in the order in which they come and never at later ones. The method: docs/regressions.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from buildkit.report.regressions.baseline import Baseline, fit_baseline
from buildkit.report.regressions.calibration import probability
from buildkit.report.regressions.evidence import Evidence, seen_before, weigh
from buildkit.report.regressions.resolution import Resolution
from buildkit.report.regressions.series import Run, State, Verdict
from buildkit.report.regressions.settings import DEFAULT, Settings
from buildkit.report.regressions.strata import Sample, context_of


class Detector:
    """The incremental detector of one series."""

    def __init__(self, settings: Settings = DEFAULT) -> None:
        self.settings = settings
        self._history: list[Sample] = []  # at the known level, oldest first
        self._recent: list[Sample] = []  # not yet history; all runs since `since` during an alarm
        self._at_level = 0  # how many of the history were measured at the present level
        self._baseline: Baseline | None = None
        self._stale = 0  # runs that became history since the baseline was fitted
        self._resolution = Resolution()
        self._since: int | None = None  # index into `_recent` of the first slower run; None: no alarm
        self._record = 0.0  # highest log odds of an excursion that came to nothing
        self._excursion = 0.0
        self._odds = -20.0
        self._size = 0.0
        self._last: Verdict | None = None
        self._seen: int | None = None

    def update(self, run: Run) -> Verdict | None:
        """Take in the next run; return its verdict, or None if it is not judged or came before."""
        if self._seen is not None and run.i <= self._seen:
            return None
        self._seen = run.i
        if not run.judged:
            return None
        if not run.usable:
            return self._unchanged(run.i)
        sample = self._sample(run)
        self._recent.append(sample)
        if len(self._history) < self.settings.warm_up:
            return self._learn(run.i)
        baseline = self._fitted()
        sample.comparable = baseline.strata.seen(sample) >= self.settings.stratum_runs
        if not sample.comparable:
            self._stale = 99
        verdict = self._steady(run.i, baseline) if self._since is None else self._during(run.i, baseline)
        self._last = verdict
        return verdict

    def accept(self) -> None:
        """Take the present level for the known one, as a person decided."""
        if self._since is not None:
            self._settle(self._size, self._since)

    def _sample(self, run: Run) -> Sample:
        floor = self._resolution.update(run.wall)
        cpu = run.cpu
        usable = cpu is not None and math.isfinite(cpu) and cpu > 0
        load = run.load if run.load is not None and math.isfinite(run.load) else None
        return Sample(
            run.i,
            math.log(max(run.wall, floor)),
            math.log(cpu) if cpu is not None and usable else None,
            run.worker,
            context_of(load, run.jobs),
            load,
        )

    def _learn(self, i: int) -> Verdict:
        self._history.append(self._recent.pop())
        self._at_level += 1
        self._stale = 99
        return Verdict(i, False, 0.0, 1.0, None, State.LEARNING)

    def _unchanged(self, i: int) -> Verdict:
        if self._last is None:
            return Verdict(i, False, 0.0, 1.0, None, State.LEARNING)
        last = self._last
        return Verdict(i, last.regressed, last.confidence, last.effect, last.since, last.state, last.delay)

    def _fitted(self) -> Baseline:
        if self._baseline is None or self._stale >= (1 if len(self._history) < 24 else 4):
            strangers = [s for s in self._recent if not s.comparable]
            self._baseline = fit_baseline(
                self._history, self._at_level, strangers, self._resolution.error_at, self.settings
            )
            self._stale = 0
        return self._baseline

    def _steady(self, i: int, baseline: Baseline) -> Verdict:
        settings = self.settings
        window = [s for s in self._recent if s.comparable]
        residuals = [baseline.residual(s) for s in window]
        room = max(settings.minimum_runs, min(settings.window, (len(self._history) + len(window)) // 3))
        error = baseline.error_for(window[-room:])
        up = self._weigh(residuals[-room:], baseline, error, 1)
        if up.log_odds > 0:
            self._excursion = max(self._excursion, up.log_odds)
        elif up.log_odds < -2 and self._excursion:
            self._record = max(self._record, self._excursion)
            self._excursion = 0.0
        bar = settings.alarm + settings.haste * max(0, 5 - up.runs) + settings.own_record * self._record
        self._odds, self._size = up.log_odds - bar, up.size
        if (
            up.log_odds > bar
            and window[-1] is self._recent[-1]
            and seen_before(baseline.residuals, residuals[-up.runs :], up.size, baseline.noise.scale)
            < settings.unlike_the_past
        ):
            first = window[len(window) - up.runs]
            self._since = self._recent.index(first)
            return self._alarm(i, up.runs, baseline)
        down = self._weigh(residuals[-room:], baseline, error, -1)
        if down.runs >= settings.drop_runs and down.log_odds > settings.alarm:
            first = window[len(window) - down.runs]
            start = self._recent.index(first)
            size = baseline.shift([baseline.residual(s) for s in self._recent[start:] if s.comparable])
            self._settle(size, start)
        else:
            self._retire_beyond(room)
        doubtful = up.log_odds > 0
        return Verdict(
            i,
            False,
            probability(self._odds),
            round(math.exp(up.size), 4) if doubtful else 1.0,
            window[len(window) - up.runs].i if doubtful and up.runs else None,
            State.SUSPECT if doubtful else State.STEADY,
            up.runs if doubtful else 0,
        )

    def _weigh(
        self, residuals: list[float], baseline: Baseline, level_error: float, direction: int
    ) -> Evidence:
        return weigh(
            residuals,
            baseline.residuals[-1],
            baseline.quartiles,
            baseline.noise,
            level_error,
            self.settings,
            direction,
        )

    def _alarm(self, i: int, runs: int, baseline: Baseline) -> Verdict:
        assert self._since is not None
        slower = [baseline.residual(s) for s in self._recent[self._since :] if s.comparable]
        self._size = baseline.shift(slower)
        return Verdict(
            i,
            True,
            probability(self._odds),
            round(math.exp(self._size), 4),
            self._recent[self._since].i,
            State.CONFIRMED if runs >= 8 else State.REGRESSED,
            runs,
        )

    def _during(self, i: int, baseline: Baseline) -> Verdict:
        assert self._since is not None
        slower = [s for s in self._recent[self._since :] if s.comparable]
        residuals = [baseline.residual(s) for s in slower]
        back = self._back_at_level(residuals, baseline)
        if back:
            return self._retract(i, len(residuals) - back)
        if len(slower) >= self.settings.hold:
            verdict = self._alarm(i, len(slower), baseline)
            self._settle(self._size, self._since)
            return verdict
        return self._alarm(i, len(slower), baseline)

    def _back_at_level(self, residuals: list[float], baseline: Baseline) -> int:
        """Return how many of the latest runs are back at the known level; 0 if they are not."""
        density, gain = baseline.noise.log_density, 0.0
        for count, r in enumerate(reversed(residuals[-8:]), start=1):
            gain += density(r) - density(r - self._size)
            if count >= 3 and gain > 4.0:
                return count
        return 0

    def _retract(self, i: int, slower: int) -> Verdict:
        """End an alarm whose latest runs are back at the known level."""
        assert self._since is not None
        if slower < 10:  # a burst: noise to learn from
            self._record = max(self._record, self._excursion)
            self._stale = 99
        else:  # a regression that was repaired: its runs are no noise
            del self._recent[self._since : self._since + slower]
        self._excursion = 0.0
        self._since = None
        self._odds = -8.0
        self._retire_beyond(self.settings.window)
        return Verdict(i, False, probability(self._odds), 1.0, None, State.STEADY)

    def _settle(self, size: float, start: int) -> None:
        """Make the level since `_recent[start]` the known one: move all older runs to it."""
        while start:
            self._retire()
            start -= 1
        for sample in self._history:
            sample.y += size
        self._at_level = 0
        while len(self._recent) > 0:
            self._retire()
        self._since = None
        self._excursion = 0.0
        self._stale = 99

    def _retire_beyond(self, room: int) -> None:
        comparable = sum(s.comparable for s in self._recent)
        while comparable > room or (len(self._recent) > room and not self._recent[0].comparable):
            comparable -= self._recent[0].comparable
            self._retire()

    def _retire(self) -> None:
        """Move the oldest of the recent runs into the history."""
        self._history.append(self._recent.pop(0))
        self._at_level += 1
        self._stale += 1
        if len(self._history) > self.settings.history:
            del self._history[0]


def judge(runs: Iterable[Run], settings: Settings = DEFAULT) -> list[Verdict]:
    """Return a verdict for each judged run, each from the runs up to it alone."""
    detector = Detector(settings)
    verdicts = []
    for run in sorted(runs, key=lambda run: run.i):
        verdict = detector.update(run)
        if verdict is not None:
            verdicts.append(verdict)
    return verdicts
