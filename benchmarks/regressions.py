"""Compare the regression detector with rules in common use, on made-up and, if given, recorded histories.

    python benchmarks/regressions.py                      # families seen in development, fresh seed
    python benchmarks/regressions.py --unseen             # families that were kept out of development
    python benchmarks/regressions.py --recorded FILE      # JSON: a list of lists of durations, believed clean
    python benchmarks/regressions.py --calibration        # of alarms with confidence c, how many are true?

Standard library only; Apache Otava is in the table if it can be imported (`pip install apache-otava`).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

sys.path[:0] = [os.path.dirname(__file__), os.path.join(os.path.dirname(__file__), "..")]

from regression_rivals import RIVALS, Rival, otava
from regression_series import FAMILIES, UNSEEN, Labelled, from_timings, mix

from buildkit.report.regressions import Run, judge

STEPS = (0.1, 0.2, 0.5, 1.0)
HELD_OUT_SEED = 90_001  # not looked at while the detector was developed
SOON = 5  # judged runs after the onset within which a step counts as found


@dataclass(frozen=True)
class Alarm:
    """What a detector says of one judged run."""

    i: int
    regressed: bool
    confidence: float = 1.0
    effect: float = 1.0


@dataclass
class Score:
    """What is counted over all series."""

    clean: int = 0
    false: int = 0
    verdicts: int = 0
    seconds: float = 0.0
    steps: dict[str, list[bool]] = field(default_factory=dict)
    delays: list[int] = field(default_factory=list)
    first_errors: list[float] = field(default_factory=list)
    last_errors: list[float] = field(default_factory=list)
    starts: list[tuple[float, bool]] = field(
        default_factory=list
    )  # confidence of an episode's first alarm, true?
    by_family: dict[str, list[int]] = field(default_factory=dict)  # false episodes, clean runs

    def add(self, item: Labelled, alarms: Sequence[Alarm]) -> None:
        """Count one series. Alarms after an onset belong to it; an improvement may never alarm."""
        clean_all = item.onset is None or item.event == "drop"
        family = self.by_family.setdefault(item.family, [0, 0])
        before, found, after = False, None, 0
        last = 1.0
        for alarm in alarms:
            clean = clean_all or (item.onset is not None and alarm.i < item.onset)
            self.clean += clean
            family[1] += clean
            after += not clean
            if alarm.regressed and not before:
                if clean:
                    self.false += 1
                    family[0] += 1
                    self.starts.append((alarm.confidence, False))
                elif found is None:
                    found = after
                    self.starts.append((alarm.confidence, True))
                    first = alarm.effect
            if alarm.regressed and found is not None:
                last = alarm.effect
            before = alarm.regressed
        if clean_all or after < SOON:
            return
        soon = found is not None and found <= SOON
        label = f"+{item.factor - 1:.0%}" if item.event == "step" else item.event
        self.steps.setdefault(label, []).append(found is not None if item.event == "drift" else soon)
        if found is not None and soon and item.event == "step":
            self.delays.append(found)
            self.first_errors.append(abs(first / item.factor - 1))
            self.last_errors.append(abs(last / item.factor - 1))

    def share(self, label: str) -> str:
        """Return the share of steps of one size that were found soon."""
        hits = self.steps.get(label)
        return f"{sum(hits) / len(hits):.2f}" if hits else "–"


def judged(item: Labelled) -> list[Run]:
    """Return the judged runs of a series."""
    return [
        Run(d["i"], d["wall"], d["cpu"], d["ok"], d["cache"], d["worker"], d["load"], d["jobs"], d["t"])
        for d in item.runs
        if d["ok"] and d["cache"] == "miss"
    ]


def ours(item: Labelled) -> list[Alarm]:
    """Return the verdicts of the detector."""
    return [Alarm(v.i, v.regressed, v.confidence, v.effect) for v in judge(judged(item))]


def rival_of(rule: Rival) -> Callable[[Labelled], list[Alarm]]:
    """Return a rule as a detector; its effect is the ratio of the medians of the last 5 and the 30 before."""

    def detect(item: Labelled) -> list[Alarm]:
        runs = judged(item)
        walls = [run.wall for run in runs]
        out = []
        for k, (run, regressed) in enumerate(zip(runs, rule(walls), strict=True)):
            effect = 1.0
            if regressed:
                past = walls[max(0, k - 34) : max(1, k - 4)]
                effect = statistics.median(walls[max(0, k - 4) : k + 1]) / (statistics.median(past) or 1.0)
            out.append(Alarm(run.i, regressed, 1.0, effect))
        return out

    return detect


def score(series: Sequence[Labelled], detect: Callable[[Labelled], list[Alarm]]) -> Score:
    """Return what `detect` scores on `series`."""
    total = Score()
    for item in series:
        start = time.perf_counter()
        alarms = detect(item)
        total.seconds += time.perf_counter() - start
        total.verdicts += len(alarms)
        total.add(item, alarms)
    return total


def recorded(path: str, seed: int) -> list[Labelled]:
    """Return recorded clean series as they are, and with each step multiplied in."""
    with open(path, encoding="utf-8") as source:
        lists = [values for values in json.load(source) if len(values) >= 60]
    rng = random.Random(seed)
    out = [from_timings(f"r{k}", values, rng, "clean") for k, values in enumerate(lists)]
    for step in STEPS:
        out += [from_timings(f"r{k}+{step}", values, rng, "step", 1 + step) for k, values in enumerate(lists)]
    return out


def print_table(series: Sequence[Labelled]) -> None:
    """Print one row per detector."""
    rules: dict[str, Callable[[Labelled], list[Alarm]]] = {"buildkit": ours}
    rules |= {name: rival_of(rule) for name, rule in RIVALS.items()}
    apache = otava()
    if apache:
        rules["Apache Otava"] = rival_of(apache)
    print(
        "| detector | precision | false / 1,000 | +10% | +20% | +50% | +100% | drift | back up | delay | effect | ms |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, detect in rules.items():
        s = score(series, detect)
        true = sum(1 for _, right in s.starts if right)
        cells = [
            f"{true / max(1, true + s.false):.3f}",
            f"{1000 * s.false / max(1, s.clean):.2f}",
            *(s.share(f"+{step:.0%}") for step in STEPS),
            s.share("drift"),
            s.share("return"),
            f"{statistics.median(s.delays):.0f}" if s.delays else "–",
            f"{statistics.median(s.first_errors):.1%} / {statistics.median(s.last_errors):.1%}"
            if s.first_errors
            else "–",
            f"{1000 * s.seconds / max(1, s.verdicts):.3f}",
        ]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    if not apache:
        print("\nApache Otava is not installed; its row is missing.")


def print_families(series: Sequence[Labelled]) -> None:
    """Print the detector's false alarms per family."""
    s = score(series, ours)
    for name, (false, clean) in sorted(s.by_family.items()):
        print(
            f"{name:16s} {false:4d} false in {clean:7d} clean runs: {1000 * false / max(1, clean):.2f} per 1,000"
        )


def print_calibration(series: Sequence[Labelled], runs_per_regression: float) -> None:
    """Print how often alarms of a confidence are true, weighted to a base rate of regressions."""
    s = score(series, ours)
    true = sum(1 for _, right in s.starts if right)
    weight = runs_per_regression * sum(len(h) for h in s.steps.values()) / max(1, s.clean)
    print(f"{true} true and {s.false} false alarms; false ones weighted {weight:.2f}")
    for low, high in ((0.0, 0.8), (0.8, 0.9), (0.9, 0.95), (0.95, 0.98), (0.98, 1.01)):
        part = [(c, right) for c, right in s.starts if low <= c < high]
        mass = math.fsum(1.0 if right else weight for _, right in part)
        if part:
            said = math.fsum(c * (1.0 if right else weight) for c, right in part) / mass
            print(f"said {said:.3f}, true {sum(right for _, right in part) / mass:.3f} ({len(part)} alarms)")


def main() -> None:
    """Parse the options and print what is asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=HELD_OUT_SEED)
    parser.add_argument(
        "--series", type=int, default=300, help="series per step size (and twice as many clean)"
    )
    parser.add_argument("--unseen", action="store_true", help="noise families kept out of development")
    parser.add_argument("--recorded", metavar="FILE", help="JSON list of lists of durations")
    parser.add_argument("--calibration", action="store_true")
    parser.add_argument("--by-family", action="store_true")
    parser.add_argument("--runs-per-regression", type=float, default=250.0)
    options = parser.parse_args()
    if options.recorded:
        series = recorded(options.recorded, options.seed)
    else:
        families = UNSEEN if options.unseen else FAMILIES
        series = list(mix(options.seed, families, 2 * options.series, STEPS, options.series))
    print(
        f"{len(series)} series, seed {options.seed}; Python {platform.python_version()}, {platform.machine()}\n"
    )
    if options.calibration:
        print_calibration(series, options.runs_per_regression)
    elif options.by_family:
        print_families(series)
    else:
        print_table(series)


if __name__ == "__main__":
    main()
