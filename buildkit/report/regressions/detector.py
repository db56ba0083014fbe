"""Judge each run of a task against the runs before it.

`Detector` is the state of one series: history at the known level, the latest runs, and what is believed now.
It looks at runs in the order in which they come and never at later ones. The method: docs/regressions.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from buildkit.core.quantiles import median
from buildkit.report.regressions import drift
from buildkit.report.regressions.baseline import Baseline, best_share, fit_baseline
from buildkit.report.regressions.calibration import probability
from buildkit.report.regressions.evidence import Evidence, quantile, seen_before, weigh
from buildkit.report.regressions.resolution import Resolution
from buildkit.report.regressions.series import Run, State, Verdict
from buildkit.report.regressions.settings import DEFAULT, Settings
from buildkit.report.regressions.strata import ENOUGH, Sample, sample_of

# An alarm is taken for confirmed after so many slower runs, if it is as sure as this.
CONFIRMED_RUNS, CONFIRMED_CONFIDENCE = 8, 0.95
DRIFT_MARGIN = 2.75  # what an alarm for slow drift counts for, in log odds over the bar


class Detector:
    """The incremental detector of one series."""

    def __init__(self, settings: Settings = DEFAULT) -> None:
        self.settings = settings
        self._history: list[Sample] = []  # at the known level, oldest first
        self._recent: list[Sample] = []  # not yet history; all runs since `since` during an alarm
        self._at_level = 0  # how many of the history were measured at the present level
        self._baseline: Baseline | None = None  # of wall time
        self._blend: Baseline | None = None  # of wall and CPU time together, where that scatters less
        self._judge: Baseline | None = None  # the one of the two that raised the alarm
        self._stale = 0  # runs that became history since the baseline was fitted
        self._resolution = Resolution()
        self._since: int | None = None  # index into `_recent` of the first slower run; None: no alarm
        self._margin_now = -20.0
        self._size = 0.0
        self._last: Verdict | None = None
        self._seen: int | None = None
        self._unlooked = 0  # runs since the last look for drift
        self._alarmed = 0  # runs since the alarm

    def update(self, run: Run) -> Verdict | None:
        """Take in the next run; return its verdict, or None if it is not judged or came before."""
        if not run.judged or (self._seen is not None and run.i <= self._seen):
            return None
        self._seen = run.i
        if not run.usable:
            return self._unchanged(run.i)
        sample = self._sample(run)
        self._recent.append(sample)
        if len(self._history) < self.settings.warm_up:
            return self._learn(run.i)
        baseline = self._fitted()
        sample.comparable = baseline.strata.seen(sample) >= ENOUGH
        if not sample.comparable:
            self._stale = 99
        verdict = self._steady(run.i, baseline) if self._since is None else self._during(run.i, baseline)
        self._last = verdict
        return verdict

    def accept(self) -> None:
        """Take the present level for the known one, as a person decided."""
        if self._since is not None and self._baseline is not None:
            self._settle(self._since, self._baseline)

    def _sample(self, run: Run) -> Sample:
        return sample_of(run, self._resolution.update(run.wall))

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
        """Return the baseline of wall time, after fitting it and that of the blend anew where it is time."""
        if self._baseline is None or self._stale >= (
            1 if len(self._history) < 24 else 4 if len(self._history) < 80 else 8
        ):
            strangers = [s for s in self._recent if not s.comparable]
            fit = (self._history, self._at_level, strangers, self._resolution.error_at, self.settings)
            self._baseline = fit_baseline(*fit)
            share = best_share(self._baseline, self._history, self.settings)
            self._blend = None
            if share < 1 and all(s.cpu is not None for s in (*self._history, *strangers)):
                self._blend = fit_baseline(*fit, wall_share=share)
            self._stale = 0
        return self._baseline

    def _steady(self, i: int, wall: Baseline) -> Verdict:
        settings = self.settings
        window = [s for s in self._recent if s.comparable]
        room = max(settings.minimum_runs, min(settings.window, (len(self._history) + len(window)) // 3))
        window = window[-room:]
        margin, up, judge_of = self._margin(window, wall)
        if self._blend is not None and all(s.cpu is not None for s in window):
            other, blend_up, _ = self._margin(window, self._blend)
            if other > max(margin, 0) and self._wall_follows(
                window[len(window) - blend_up.runs :], blend_up.size, wall
            ):
                margin, up, judge_of = other, blend_up, self._blend
        self._margin_now, self._size = margin, up.size
        slower = window[len(window) - up.runs :]
        if margin > 0 and window[-1] is self._recent[-1] and self._stands(slower, wall):
            self._since = self._recent.index(slower[0])
            self._judge = judge_of
            return self._alarm(i, wall)
        if self._drifted(wall):
            return self._alarm(i, self._fitted())
        if not self._improved(window, wall):
            self._retire_beyond(room)
        doubtful = up.log_odds > 0
        return Verdict(
            i,
            False,
            probability(margin),
            _ratio(up.size) if doubtful else 1.0,
            slower[0].i if doubtful else None,
            State.SUSPECT if doubtful else State.STEADY,
            up.runs if doubtful else 0,
        )

    def _margin(
        self, window: list[Sample], baseline: Baseline, sloth: float | None = None
    ) -> tuple[float, Evidence, Baseline]:
        """Return by how much the log odds of a rise pass the bar, the evidence, and its baseline."""
        settings = self.settings
        sloth = settings.sloth if sloth is None else sloth
        residuals = [baseline.residual(s) for s in window]
        up = self._weigh(residuals, baseline, baseline.error_for(window), 1)
        bar = (
            settings.alarm
            + settings.haste * max(0, 5 - up.runs)
            + sloth * max(0, up.runs - 6)
            + settings.youth
            * max(0.0, math.log(settings.level_runs / max(self._at_level, len(self._history) / 2)))
        )
        if up.log_odds > bar:
            stretch = residuals[len(residuals) - up.runs :]
            share = seen_before(baseline.residuals, stretch, up.size, baseline.noise.scale)
            bar += settings.like_the_past * max(0.0, share - settings.unlike_the_past)
        return up.log_odds - bar, up, baseline

    def _stands(self, slower: list[Sample], wall: Baseline) -> bool:
        """Return whether wall time is up at all, and for more than that the machine is busier than usual."""
        size = self._measure(slower, wall)
        if size < self.settings.minimum_effect / 2:
            return False
        usual = self._history[-self.settings.level_runs :]
        loads = [s.load for s in slower if s.load is not None]
        usual_loads = [s.load for s in usual if s.load is not None]
        if not loads or not usual_loads:
            return True
        if median(loads) < quantile(sorted(usual_loads), 0.9) + self.settings.busier:
            return True
        after = [s.cpu for s in slower if s.cpu is not None]
        before = [s.cpu for s in usual if s.cpu is not None]
        if len(after) < len(slower) or not before:
            return True
        return median(after) - median(before) > self.settings.cpu_veto * size

    def _wall_follows(self, slower: list[Sample], size: float, wall: Baseline) -> bool:
        return wall.shift([wall.residual(s) for s in slower]) > self.settings.wall_follows * size

    def _drifted(self, wall: Baseline) -> bool:
        """Raise the alarm if the runs at the known level have risen slowly; looked at once in a while."""
        self._unlooked += 1
        if self._unlooked < drift.BLOCK // 2:
            return False
        self._unlooked = 0
        recent = [s for s in self._recent if s.comparable]
        values = wall.residuals[-self._at_level :] + [wall.residual(s) for s in recent]
        start = drift.onset(values, wall.noise.scale * wall.noise.stretch)
        if start is None or start >= self._at_level or start < drift.BLOCK // 2:
            return False
        start += len(self._history) - self._at_level
        self._recent = self._history[start:] + recent
        self._at_level -= len(self._history) - start
        del self._history[start:]
        self._since, self._judge, self._stale = 0, None, 99
        self._fitted()
        self._margin_now = DRIFT_MARGIN
        return True

    def _improved(self, window: list[Sample], wall: Baseline) -> bool:
        """Make a lower level the known one, if the latest runs show it beyond doubt."""
        residuals = [wall.residual(s) for s in window]
        down = self._weigh(residuals, wall, wall.error_for(window), -1)
        if down.runs < self.settings.drop_runs or down.log_odds < self.settings.drop_alarm:
            return False
        self._settle(self._recent.index(window[len(window) - down.runs]), wall)
        return True

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

    def _alarm(self, i: int, wall: Baseline) -> Verdict:
        slower = self._slower()
        self._size = self._measure(slower, wall)
        confidence = probability(self._margin_now)
        sure = len(slower) >= CONFIRMED_RUNS and confidence >= CONFIRMED_CONFIDENCE
        return Verdict(
            i,
            True,
            confidence,
            _ratio(self._size),
            slower[0].i,
            State.CONFIRMED if sure else State.REGRESSED,
            len(slower),
        )

    def _slower(self) -> list[Sample]:
        return [s for s in self._recent[self._since :] if s.comparable]

    def _measure(self, slower: list[Sample], wall: Baseline) -> float:
        """Return the log of new / old wall time; CPU time makes it more precise where both agree."""
        size = wall.shift([wall.residual(s) for s in slower])
        blend = self._blend
        if blend is None or any(s.cpu is None for s in slower):
            return size
        precise = blend.shift([blend.residual(s) for s in slower])
        error = wall.noise.scale / math.sqrt(len(slower))
        return precise if abs(precise - size) < 2 * error else size

    def _during(self, i: int, wall: Baseline) -> Verdict:
        settings = self.settings
        slower = self._slower()
        baseline = self._judge or wall
        back = self._back_at_level([baseline.residual(s) for s in slower], baseline)
        if back:
            return self._retract(i, len(slower) - back)
        if self._rose_again(slower, baseline, wall):
            return self._alarm(i, self._fitted())
        if len(slower) <= settings.window:
            self._margin_now = self._margin(slower, baseline, sloth=0.0)[0]
            if self._margin_now < settings.give_up:
                return self._retract(i, 0)
        verdict = self._alarm(i, wall)
        self._alarmed += 1
        if self._alarmed >= settings.hold:
            self._settle(self._since or 0, wall)
        return verdict

    def _rose_again(self, slower: list[Sample], baseline: Baseline, wall: Baseline) -> bool:
        """Make the level of the alarm the known one, if the latest runs are slower still than it."""
        if len(slower) < 2 * self.settings.minimum_runs:
            return False
        level = baseline.shift([baseline.residual(s) for s in slower[: -self.settings.minimum_runs]])
        latest = slower[-self.settings.window :]
        residuals = [baseline.residual(s) - level for s in latest]
        again = self._weigh(residuals, baseline, baseline.error_for(latest), 1)
        first = len(slower) - again.runs
        if again.log_odds < self.settings.again or first < self.settings.minimum_runs:
            return False
        kept = self._recent[self._recent.index(slower[first]) :]
        del self._recent[len(self._recent) - len(kept) :]
        self._settle(self._since or 0, wall)
        self._recent, self._since, self._judge = kept, 0, None
        self._fitted()
        self._margin_now = again.log_odds - self.settings.again
        return True

    def _back_at_level(self, residuals: list[float], baseline: Baseline) -> int:
        """Return how many of the latest runs are back at the known level; 0 if they are not."""
        density, gain = baseline.noise.log_density, 0.0
        size = baseline.shift(residuals)
        latest = residuals[-8:]
        for count, r in enumerate(reversed(latest), start=1):
            gain += density(r) - density(r - size)
            if count >= 3 and gain > 4.0 and baseline.shift(latest[-count:]) < 0.5 * size:
                return count
        return 0

    def _retract(self, i: int, slower: int) -> Verdict:
        """End an alarm whose latest runs are back at the known level."""
        since = self._since or 0
        if slower < 10:  # a burst: noise to learn from
            self._stale = 99
        else:  # a regression that was repaired: its runs are no noise
            del self._recent[since : since + slower]
        self._since = None
        self._alarmed = 0
        self._margin_now = -8.0
        self._retire_beyond(self.settings.window)
        return Verdict(i, False, probability(self._margin_now), 1.0, None, State.STEADY)

    def _settle(self, start: int, wall: Baseline) -> None:
        """Make the level since `_recent[start]` the known one: move all older runs to it."""
        latest = [s for s in self._recent[start:] if s.comparable]
        size = wall.shift([wall.residual(s) for s in latest])
        after = [s.cpu for s in latest if s.cpu is not None]
        before = [s.cpu for s in self._history[-self.settings.level_runs :] if s.cpu is not None]
        cpu_size = median(after) - median(before) if after and before else size
        while start:
            self._retire()
            start -= 1
        for sample in self._history:
            sample.y += size
            if sample.cpu is not None:
                sample.cpu += cpu_size
        self._at_level = 0
        while self._recent:
            self._retire()
        self._since = None
        self._alarmed = 0
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


def _ratio(size: float) -> float:
    return max(0.0001, round(math.exp(min(size, 40.0)), 4))


def judge(runs: Iterable[Run], settings: Settings = DEFAULT) -> list[Verdict]:
    """Return a verdict for each judged run, in the order of `i`, each from the runs up to it alone.

    Of runs with the same `i`, the first judged one counts.
    """
    detector = Detector(settings)
    verdicts = []
    for run in sorted(runs, key=lambda run: run.i):
        verdict = detector.update(run)
        if verdict is not None:
            verdicts.append(verdict)
    return verdicts
