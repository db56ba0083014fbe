"""Compare the regression detector with rules in common use, on made-up and, if given, recorded histories.

    python benchmarks/regressions.py                      # families seen in development, fresh seed
    python benchmarks/regressions.py --unseen             # families that were kept out of development
    python benchmarks/regressions.py --recorded FILE      # JSON: a list of lists of durations, believed clean
    python benchmarks/regressions.py --calibration        # of runs with confidence c, how many are slower?
    python benchmarks/regressions.py --speed              # per verdict, per report, and of a very long series

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
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

sys.path[:0] = [os.path.dirname(__file__), os.path.join(os.path.dirname(__file__), "..")]

# The scripts beside this one, and the checkout above it, are on the path only now.
from regression_rivals import RIVALS, Rival, otava  # noqa: E402
from regression_series import FAMILIES, UNSEEN, Labelled, from_timings, mix  # noqa: E402

from buildkit.report.regressions import Detector, Run, judge, judge_latest  # noqa: E402

STEPS = (0.1, 0.2, 0.5, 1.0)
HELD_OUT_SEED = 90_001  # not looked at while the detector was developed
TOLD = 25  # runs after the onset for which the old level is what a run is compared with
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
    starts: list[tuple[float, bool]] = field(default_factory=list)  # confidence of first alarms, true?
    said: list[tuple[float, bool]] = field(default_factory=list)  # confidence of a run, slower?
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
            if alarm.confidence > 0 and item.event != "drift" and after <= TOLD:
                self.said.append((alarm.confidence, not clean))
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
        return f"{sum(hits) / len(hits):.2f}" if hits else "-"


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
    """Return a rule as a detector; its effect is the ratio of medians, of the last 5 and the 30 before."""

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
        start = time.process_time()
        alarms = detect(item)
        total.seconds += time.process_time() - start
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


def print_table(series: Sequence[Labelled], only: str | None) -> None:
    """Print one row per detector, or that of `only`."""
    rules: dict[str, Callable[[Labelled], list[Alarm]]] = {"buildkit": ours}
    rules |= {name: rival_of(rule) for name, rule in RIVALS.items()}
    apache = otava()
    if apache:
        rules["Apache Otava"] = rival_of(apache)
    columns = ("precision", "false / 1,000", "+10%", "+20%", "+50%", "+100%", "drift", "back up", "delay")
    print(f"| detector | {' | '.join(columns)} | effect | ms |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, detect in rules.items():
        if only not in (None, name):
            continue
        s = score(series, detect)
        true = sum(1 for _, right in s.starts if right)
        cells = [
            f"{true / max(1, true + s.false):.3f}",
            f"{1000 * s.false / max(1, s.clean):.2f}",
            *(s.share(f"+{step:.0%}") for step in STEPS),
            s.share("drift"),
            s.share("return"),
            f"{statistics.median(s.delays):.0f}" if s.delays else "-",
            f"{statistics.median(s.first_errors):.1%} / {statistics.median(s.last_errors):.1%}"
            if s.first_errors
            else "-",
            f"{1000 * s.seconds / max(1, s.verdicts):.3f}",
        ]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    if not apache and only is None:
        print("\nApache Otava is not installed; its row is missing.")


def print_families(series: Sequence[Labelled]) -> None:
    """Print the detector's false alarms per family."""
    s = score(series, ours)
    for name, (false, clean) in sorted(s.by_family.items()):
        rate = 1000 * false / max(1, clean)
        print(f"{name:16s} {false:4d} false in {clean:7d} clean runs: {rate:.2f} per 1,000")


def print_calibration(series: Sequence[Labelled], runs_per_regression: float) -> None:
    """Print how often runs of a confidence are slower, weighted to a base rate of regressions."""
    s = score(series, ours)
    regressions = sum(len(hits) for label, hits in s.steps.items() if label != "drift")
    weight = runs_per_regression * regressions / max(1, sum(not slower for _, slower in s.said))
    print(f"{len(s.said)} runs, {regressions} regressions; a clean run counts {weight:.2f} times\n")
    print("| said | true | runs |\n| --- | --- | --- |")
    edges = (0.0, 0.01, 0.03, 0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.995, 1.01)
    for low, high in pairwise(edges):
        part = [(c, 1.0 if slower else weight, slower) for c, slower in s.said if low <= c < high]
        if part:
            mass = math.fsum(w for _, w, _ in part)
            said = math.fsum(c * w for c, w, _ in part) / mass
            print(f"| {said:.3f} | {sum(slower for *_, slower in part) / mass:.3f} | {len(part)} |")


def print_speed() -> None:
    """Print what verdicts cost: one by one, the latest alone, and in a series of 10,000 runs."""
    rng = random.Random(1)
    plain = [[Run(i, rng.lognormvariate(0, 0.1)) for i in range(200)] for _ in range(100)]
    full = [
        [
            Run(i, rng.lognormvariate(0, 0.1), rng.lognormvariate(0, 0.05), worker=rng.choice("ab"))
            for i in range(200)
        ]
        for _ in range(20)
    ]
    stepped = [
        [Run(r.i, r.wall * (1.4 if r.i >= 190 else 1.0)) for r in runs] if k % 50 == 0 else runs
        for k, runs in enumerate(plain * 10)
    ]
    for name, many in (("wall alone", plain[:20]), ("wall, CPU and two workers", full)):
        start = time.process_time()
        for runs in many:
            judge(runs)
        spent = time.process_time() - start
        print(f"{1000 * spent / sum(map(len, many)):.2f} ms per verdict: {name}")
    start = time.process_time()
    alarms = sum(bool(verdict and verdict.regressed) for verdict in map(judge_latest, stepped))
    print(f"{time.process_time() - start:.2f} s for 1,000 tasks x 200 runs, {alarms} regressed")
    tracemalloc.start()
    detector = Detector()
    for i in range(2000):
        detector.update(Run(i, rng.lognormvariate(0, 0.1)))
    early = tracemalloc.get_traced_memory()[0]
    for i in range(2000, 10_000):
        detector.update(Run(i, rng.lognormvariate(0, 0.1)))
    late = tracemalloc.get_traced_memory()[0]
    print(f"{early / 1024:.0f} KiB kept after 2,000 runs of a series, {late / 1024:.0f} KiB after 10,000")


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
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--only", metavar="DETECTOR", help="one row of the table")
    parser.add_argument("--by-family", action="store_true")
    parser.add_argument("--runs-per-regression", type=float, default=250.0)
    options = parser.parse_args()
    if options.speed:
        print_speed()
        return
    if options.recorded:
        series = recorded(options.recorded, options.seed)
    else:
        families = UNSEEN if options.unseen else FAMILIES
        series = list(mix(options.seed, families, 2 * options.series, STEPS, options.series))
    machine = f"Python {platform.python_version()}, {platform.machine()}"
    print(f"{len(series)} series, seed {options.seed}; {machine}\n")
    if options.calibration:
        print_calibration(series, options.runs_per_regression)
    elif options.by_family:
        print_families(series)
    else:
        print_table(series, options.only)


if __name__ == "__main__":
    main()
