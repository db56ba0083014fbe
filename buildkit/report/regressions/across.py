"""Many tasks, few false alarms: hold the verdicts of one build against each other.

Two hundred tasks with one false alarm per thousand runs each are a false alarm in every fifth build. The
verdicts' confidences are posterior probabilities, so the expected share of false ones among those kept is
the mean of what they fall short of 1 by: the Bayesian counterpart of Benjamini and Hochberg's step-up rule
(Newton et al. 2004).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from buildkit.report.regressions.series import Verdict


@dataclass(frozen=True, slots=True)
class Onset:
    """Tasks that became slower in one build: most likely one cause."""

    build: int | None  # `since` of its alarms
    tasks: tuple[str, ...]  # surest first
    confidence: float  # probability that at least one of them is slower


@dataclass(frozen=True, slots=True)
class Control:
    """What is left of the alarms of one build."""

    kept: tuple[str, ...]  # tasks whose alarm stands, surest first
    doubted: tuple[str, ...]  # tasks whose alarm is put back to suspect
    onsets: tuple[Onset, ...]  # the alarms that stand, by the build where they set in, surest first
    expected_false: float  # expected number of false alarms among those kept


def control_across(verdicts: Mapping[str, Verdict], alarm_rate: float = 0.05) -> Control:
    """Return which alarms stand if at most `alarm_rate` of them may be false on average.

    `verdicts` are the latest ones of the tasks of a build; their `since` must count the same builds.
    Tasks that set in together speak for each other: an alarm's doubt is halved for each other alarm of
    the same build, up to three, because independent noise rarely moves several tasks in the same build.
    """
    if not 0 < alarm_rate < 1:
        raise ValueError(f"alarm_rate must lie between 0 and 1, not {alarm_rate}")
    alarms = {name: v for name, v in verdicts.items() if v.regressed}
    together: dict[int | None, list[str]] = {}
    for name, verdict in alarms.items():
        together.setdefault(verdict.since, []).append(name)
    doubt = {}
    for name, verdict in alarms.items():
        others = 0 if verdict.since is None else len(together[verdict.since]) - 1
        doubt[name] = (1 - verdict.confidence) * 0.5 ** min(3, others)
    ranked = sorted(alarms, key=lambda name: (doubt[name], name))
    kept: list[str] = []
    total = 0.0
    for count, name in enumerate(ranked, start=1):
        if total + doubt[name] > alarm_rate * count:
            break
        total += doubt[name]
        kept.append(name)
    onsets = []
    for build, names in together.items():
        here = [name for name in kept if name in set(names)]
        if here:
            none = 1.0
            for name in here:
                none *= doubt[name]
            onsets.append(Onset(build, tuple(here), 1 - none))
    onsets.sort(key=lambda onset: (-onset.confidence, -len(onset.tasks), onset.build or 0))
    return Control(tuple(kept), tuple(ranked[len(kept) :]), tuple(onsets), total)
