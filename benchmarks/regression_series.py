"""Made-up histories of tasks, each with the truth about it: what was clean, what was injected and where.

Every series draws its own length, level, noise scale and habits, so that no detector can learn one number.
`FAMILIES` may be looked at while a detector is developed; `UNSEEN` are kept for the last check.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

Noise = Callable[[random.Random, int], list[float]]  # log-multipliers, one per run


@dataclass(frozen=True)
class Labelled:
    """A series as an input line has it, and what is true of it."""

    name: str
    family: str
    event: str  # "clean", "step", "drift", "drop", "return"
    runs: list[dict[str, Any]]
    onset: int | None = None  # index `i` of the first slower run
    factor: float = 1.0  # new level / old level
    sigma: float = 0.0  # the noise scale that was drawn

    def line(self) -> dict[str, Any]:
        """Return the series in the form of the filter's input."""
        return {"series": self.name, "unit": "s", "runs": self.runs}


def draw_scale(rng: random.Random) -> float:
    """Return a coefficient of variation between 1% and 30%, log-uniform."""
    return math.exp(rng.uniform(math.log(0.01), math.log(0.30)))


def _lognormal(rng: random.Random, n: int) -> list[float]:
    s = draw_scale(rng)
    return [rng.gauss(0, s) for _ in range(n)]


def _student(rng: random.Random, n: int) -> list[float]:
    s, dof = draw_scale(rng) * 0.7, rng.choice((3, 4, 6))
    return [rng.gauss(0, s) / math.sqrt(rng.gammavariate(dof / 2, 2 / dof)) for _ in range(n)]


def _outliers(rng: random.Random, n: int) -> list[float]:
    s, rate, top = draw_scale(rng) * 0.7, rng.uniform(0.01, 0.05), rng.uniform(2.2, 10)
    return [
        rng.gauss(0, s) + (math.log(rng.uniform(2, top)) if rng.random() < rate else 0.0) for _ in range(n)
    ]


def _pareto(rng: random.Random, n: int) -> list[float]:
    s, rate, shape = draw_scale(rng) * 0.6, rng.uniform(0.02, 0.15), rng.uniform(1.5, 4)
    return [
        rng.gauss(0, s) + (min(math.log(rng.paretovariate(shape)), 3.0) if rng.random() < rate else 0.0)
        for _ in range(n)
    ]


def _autoregressive(rng: random.Random, n: int) -> list[float]:
    s, phi = draw_scale(rng), rng.uniform(0.2, 0.6)
    value, out = rng.gauss(0, s), []
    for _ in range(n):
        out.append(value)
        value = phi * value + rng.gauss(0, s * math.sqrt(1 - phi * phi))
    return out


def _bimodal(rng: random.Random, n: int) -> list[float]:
    s, gap, share = draw_scale(rng) * 0.4, rng.uniform(0.15, 0.6), rng.uniform(0.15, 0.5)
    return [rng.gauss(0, s) + (gap if rng.random() < share else 0.0) for _ in range(n)]


def _sticky(rng: random.Random, n: int) -> list[float]:
    s, gap, leave = draw_scale(rng) * 0.4, rng.uniform(0.1, 0.4), rng.uniform(0.3, 0.6)
    slow, out = False, []
    for _ in range(n):
        if rng.random() < leave:
            slow = rng.random() < 0.4
        out.append(rng.gauss(0, s) + (gap if slow else 0.0))
    return out


def _seasonal(rng: random.Random, n: int) -> list[float]:
    s, size, period = draw_scale(rng) * 0.7, rng.uniform(0.02, 0.12), rng.uniform(6, 40)
    phase = rng.uniform(0, 6.3)
    return [rng.gauss(0, s) + size * math.sin(phase + 2 * math.pi * k / period) for k in range(n)]


def _laplace(rng: random.Random, n: int) -> list[float]:
    s = draw_scale(rng) * 0.7
    return [rng.expovariate(1 / s) * rng.choice((-1, 1)) for _ in range(n)]


def _weibull(rng: random.Random, n: int) -> list[float]:
    s, shape = draw_scale(rng) * 2, rng.uniform(1.0, 2.5)
    return [math.log1p(rng.weibullvariate(s, shape)) for _ in range(n)]


def _three_modes(rng: random.Random, n: int) -> list[float]:
    s, gaps = draw_scale(rng) * 0.3, (0.0, rng.uniform(0.1, 0.3), rng.uniform(0.3, 0.6))
    return [rng.gauss(0, s) + rng.choices(gaps, (6, 3, 1))[0] for _ in range(n)]


def _volatile(rng: random.Random, n: int) -> list[float]:
    s, spread, value, out = draw_scale(rng) * 0.7, 0.0, 0.0, []
    for _ in range(n):
        spread = 0.9 * spread + rng.gauss(0, 0.25)
        value = rng.gauss(0, s * math.exp(spread))
        out.append(value)
    return out


def _bursts(rng: random.Random, n: int) -> list[float]:
    s, rate, out, left, size = draw_scale(rng) * 0.6, rng.uniform(0.005, 0.02), [], 0, 0.0
    for _ in range(n):
        if left == 0 and rng.random() < rate:
            left, size = rng.choice((1, 2, 2, 3)), rng.uniform(0.2, 0.8)
        out.append(rng.gauss(0, s) + (size if left else 0.0))
        left = max(0, left - 1)
    return out


def _moving_average(rng: random.Random, n: int) -> list[float]:
    s, width = draw_scale(rng), rng.choice((2, 3))
    raw = [rng.gauss(0, s) for _ in range(n + width)]
    return [sum(raw[k : k + width]) / math.sqrt(width) for k in range(n)]


def _day(rng: random.Random, n: int) -> list[float]:
    """Shared runners: log-normal, slower in office hours, with bursts of outliers that share their cause."""
    s, size, rate = draw_scale(rng) * 0.6, rng.uniform(0.02, 0.15), rng.uniform(0.005, 0.015)
    hour, left, burst, out = rng.uniform(0, 24), 0, 0.0, []
    for _ in range(n):
        hour += rng.expovariate(1 / 2.5)
        if left == 0 and rng.random() < rate:
            left, burst = rng.choice((1, 1, 2, 3)), rng.uniform(0.3, 1.0)
        busy = max(0.0, math.cos((hour - 14) * math.pi / 12))
        out.append(rng.gauss(0, s) + size * busy + (burst * rng.random() if left else 0.0))
        left = max(0, left - 1)
    return out


def _alternating(rng: random.Random, n: int) -> list[float]:
    """Two machines without a name that take turns, not always."""
    s, gap, loyal = draw_scale(rng) * 0.5, rng.uniform(0.1, 0.5), rng.uniform(0.1, 0.4)
    slow, out = False, []
    for _ in range(n):
        slow = slow if rng.random() < loyal else not slow
        out.append(rng.gauss(0, s) + (gap if slow else 0.0))
    return out


def _busy_hours(rng: random.Random, n: int) -> list[float]:
    """Neighbours come and go, unknown to the scheduler: more time, and more scatter, while they are there."""
    s, slope, leave, beside, out = draw_scale(rng) * 0.5, rng.uniform(0.05, 0.2), rng.uniform(0.2, 0.6), 0, []
    for _ in range(n):
        if rng.random() < leave:
            beside = rng.choice((0, 0, 0, 1, 2))
        out.append(rng.gauss(0, s * (1 + beside)) + math.log1p(slope * beside * rng.uniform(0.6, 1.2)))
    return out


def _cauchy(rng: random.Random, n: int) -> list[float]:
    """Tails as heavy as they get: Student t with one to two degrees of freedom, cut off at a factor of 20."""
    s, dof = draw_scale(rng) * 0.4, rng.uniform(1, 2)
    return [
        max(-1.0, min(3.0, rng.gauss(0, s) / math.sqrt(rng.gammavariate(dof / 2, 2 / dof)))) for _ in range(n)
    ]


def _long_memory(rng: random.Random, n: int) -> list[float]:
    """Correlation at several scales at once, as of caches and of disks that fill."""
    s, parts = draw_scale(rng), [(0.0, 0.6), (rng.uniform(0.3, 0.6), 0.6), (rng.uniform(0.7, 0.9), 0.5)]
    values, out = [0.0] * len(parts), []
    for _ in range(n):
        values = [
            phi * value + rng.gauss(0, s * share * math.sqrt(1 - phi * phi))
            for value, (phi, share) in zip(values, parts, strict=True)
        ]
        out.append(sum(values))
    return out


NOISES: dict[str, Noise] = {
    "lognormal": _lognormal,
    "student": _student,
    "outliers": _outliers,
    "pareto": _pareto,
    "autoregressive": _autoregressive,
    "bimodal": _bimodal,
    "sticky": _sticky,
    "seasonal": _seasonal,
}
UNSEEN_NOISES: dict[str, Noise] = {
    "laplace": _laplace,
    "weibull": _weibull,
    "three-modes": _three_modes,
    "volatile": _volatile,
    "bursts": _bursts,
    "moving-average": _moving_average,
    "day": _day,
    "alternating": _alternating,
    "busy-hours": _busy_hours,
    "cauchy": _cauchy,
    "long-memory": _long_memory,
    "short-ticks": _weibull,
}
# What the scheduler knows about each run, beside plain noise.
CONTEXTS = ("quantised", "pool", "pool-shift", "new-worker", "load-mix", "load-shift", "jobs-mix")
QUANTISED = ("quantised", "short-ticks")  # measured in ticks of 10 ms
FAMILIES = (*NOISES, *CONTEXTS)
UNSEEN = tuple(UNSEEN_NOISES)


def _context(
    family: str, rng: random.Random, n: int
) -> list[tuple[str | None, float | None, int | None, float, float]]:
    """Return per run: worker, load, jobs, log-offset of the wall time, log-offset of CPU time."""
    worker, load, jobs = rng.choice((None, "w1")), rng.choice((None, 0.0)), rng.choice((None, 2, 8))
    plain = [(worker, load, jobs, 0.0, 0.0)] * n
    cut = rng.randint(n // 4, 3 * n // 4)
    if family in ("pool", "pool-shift", "new-worker"):
        names = [f"w{k}" for k in range(1, rng.randint(2, 5) + 1)]
        speed = {name: rng.uniform(-0.2, 0.35) for name in names}
        before = [rng.uniform(0.2, 1) for _ in names]
        after = [rng.uniform(0.05, 1) for _ in names] if family == "pool-shift" else before
        picks = [rng.choices(names, before if k < cut else after)[0] for k in range(n)]
        if family == "new-worker":
            names, speed["w9"] = [*names, "w9"], rng.choice((-1, 1)) * rng.uniform(0.1, 0.5)
            share = rng.choice((0.5, 1.0))
            picks = ["w9" if k >= cut and rng.random() < share else name for k, name in enumerate(picks)]
        return [(name, load, jobs, speed[name], speed[name]) for name in picks]
    if family in ("load-mix", "load-shift"):
        slope = rng.uniform(0.1, 0.5)
        high = rng.uniform(0.5, 2.0)
        out = []
        for k in range(n):
            busy = k >= cut if family == "load-shift" else rng.random() < 0.4
            here = max(0.0, rng.gauss(high, 0.15)) if busy else max(0.0, rng.gauss(0.02, 0.05))
            wall = math.log1p(slope * here) + (abs(rng.gauss(0, 0.05)) if busy else 0.0)
            out.append((worker, round(here, 2), jobs, wall, rng.uniform(0, 0.058) * min(1.0, here)))
        return out
    if family == "jobs-mix":
        width = {1: 0.0, 4: rng.uniform(0.05, 0.25), 16: rng.uniform(0.2, 0.6)}
        weights = {True: (4, 2, 1), False: (1, 2, 4)}
        picks = [rng.choices((1, 4, 16), weights[k < cut])[0] for k in range(n)]
        return [(worker, load, pick, width[pick], 0.02) for pick in picks]
    return plain


def make(name: str, family: str, event: str, rng: random.Random, factor: float = 1.0) -> Labelled:
    """Return one series of `family` with `event` injected into it."""
    n = rng.randint(80, 220)
    level = math.exp(rng.uniform(math.log(0.05), math.log(300)))
    if family in QUANTISED:
        level = rng.uniform(0.02, 0.4)
    noise_of = {**NOISES, **UNSEEN_NOISES}.get(family) or rng.choice(list(NOISES.values())[:4])
    noise = noise_of(rng, n)
    context = _context(family, rng, n)
    last = n - 60 if event == "drift" and n > 100 else n - 12
    onset = None if event == "clean" else rng.randint(30, last)
    shift = _event(event, rng, n, onset, factor)
    has_cpu, share, cpu_noise = rng.random() < 0.7, rng.uniform(0.5, 1.0), draw_scale(rng) * 0.25
    cpu_follows = rng.random() < 0.8  # a regression that only waits longer leaves CPU time alone
    shared = rng.random()
    hits, fails = rng.choice((0.0, 0.1, 0.3)), rng.choice((0.0, 0.02))
    t, runs = 1.7672256e9, []
    for k in range(n):
        worker, load, jobs, slower, cpu_slower = context[k]
        wall = level * math.exp(noise[k] + slower + shift[k])
        cpu = (
            level
            * share
            * math.exp(
                shared * 0.5 * min(noise[k], 0.3)
                + rng.gauss(0, cpu_noise)
                + cpu_slower
                + (shift[k] if cpu_follows else 0.0)
            )
        )
        wall, cpu = (
            (round(wall, 2), round(cpu, 2)) if family in QUANTISED else (round(wall, 4), round(cpu, 4))
        )
        t += rng.expovariate(1 / 7200)
        hit, ok = rng.random() < hits, rng.random() >= fails
        runs.append(
            {
                "i": k,
                "t": round(t, 1),
                "wall": round(wall * 0.03, 4) if hit else wall,
                "cpu": cpu if has_cpu else None,
                "ok": ok,
                "cache": "hit" if hit else "miss",
                "worker": worker,
                "load": load,
                "jobs": jobs,
            }
        )
    return Labelled(name, family, event, runs, onset, factor)


def _event(event: str, rng: random.Random, n: int, onset: int | None, factor: float) -> list[float]:
    size = math.log(factor)
    if onset is None:
        return [0.0] * n
    if event == "drift":
        return [math.log(1.005) * max(0, k - onset + 1) for k in range(n)]
    if event == "drop":  # an improvement: nothing may alarm at any time
        return [-abs(size) if k >= onset else 0.0 for k in range(n)]
    if event == "return":  # an improvement in the first quarter, taken back at the onset
        early = max(8, onset - rng.randint(20, 40))
        return [-size if early <= k < onset else 0.0 for k in range(n)]
    return [size if k >= onset else 0.0 for k in range(n)]


def mix(
    seed: int, families: Sequence[str], clean: int, steps: Sequence[float], per_step: int
) -> Iterator[Labelled]:
    """Yield `clean` clean series, `per_step` with each step, some drops, returns and drifts."""
    rng = random.Random(seed)
    number = 0
    jobs: list[tuple[str, float, int]] = [("clean", 1.0, clean)]
    jobs += [("step", 1 + step, per_step) for step in steps]
    jobs += [("drop", 1.4, per_step // 2), ("return", 1.5, per_step // 2), ("drift", 1.0, per_step // 2)]
    for event, factor, count in jobs:
        for k in range(count):
            number += 1
            yield make(
                f"{event}-{number}", families[k % len(families)], event, random.Random(rng.random()), factor
            )


def from_timings(
    name: str, values: Sequence[float], rng: random.Random, event: str, factor: float = 1.0
) -> Labelled:
    """Return recorded timings as a series, with `event` multiplied into them."""
    n = len(values)
    onset = None if event == "clean" else rng.randint(min(30, n // 2), n - 10)
    shift = _event(event, rng, n, onset, factor)
    runs = [
        {
            "i": k,
            "t": 1.7672256e9 + 3600.0 * k,
            "wall": value * math.exp(shift[k]),
            "cpu": None,
            "ok": True,
            "cache": "miss",
            "worker": None,
            "load": None,
            "jobs": None,
        }
        for k, value in enumerate(values)
    ]
    return Labelled(name, "recorded", event, runs, onset, factor)


def dump(series: Sequence[Labelled], path: str) -> None:
    """Write series as JSON lines, with the truth beside them, for a look by other tools."""
    with open(path, "w", encoding="utf-8") as out:
        for item in series:
            out.write(json.dumps({**item.line(), "truth": [item.event, item.onset, item.factor]}) + "\n")
