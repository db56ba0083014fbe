"""Like with like: what a worker, the load beside a task and the width of the run do to its time.

A run's log duration is level + offset of its worker + offset of its load and width + noise. Offsets are
medians, fitted in turn (median polish, Tukey 1977). A run of a stratum that was hardly ever seen is not
comparable.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from buildkit.core.quantiles import median
from buildkit.report.regressions.series import Run

Context = tuple[int, int | None]  # load bucket (-1: unknown), width of the run

LOAD_EDGES = (0.15, 0.5, 1.0, 1.75)  # other busy tasks per core
MOST_LOAD = 1000.0  # a load beyond is none that was measured
SMALLEST, LARGEST = 1e-9, 1e18  # a nanosecond, an exabyte
ENOUGH = 4  # runs of a stratum before others are comparable with it
MOST_CONTEXTS = 15  # of load bucket and width that are told apart in any case
REACH = 0.25  # load beyond the loads seen for which the slope is trusted


@dataclass(slots=True)
class Sample:
    """A judged run on the log scale; `y` and `c` move when the known level moves."""

    i: int
    y: float
    cpu: float | None
    worker: str | None
    context: Context
    load: float | None
    comparable: bool = True


def context_of(load: float | None, jobs: int | None) -> Context:
    """Return the bucket of runs that one with this load and width is comparable with."""
    return (-1 if load is None else bisect_right(LOAD_EDGES, load), jobs)


def sample_of(run: Run, shortest: float) -> Sample:
    """Return a usable run on the log scale; durations below `shortest` cannot be told from it."""
    cpu = run.cpu
    load = run.load if run.load is not None and 0 <= run.load <= MOST_LOAD else None
    return Sample(
        run.i,
        math.log(min(LARGEST, max(run.wall, shortest))),
        math.log(min(LARGEST, max(cpu, SMALLEST))) if cpu is not None and 0 < cpu < math.inf else None,
        run.worker,
        context_of(load, run.jobs),
        load,
    )


@dataclass(frozen=True, slots=True)
class Strata:
    """Fitted offsets on the log scale, and how often each stratum was seen."""

    workers: dict[str | None, float] = field(default_factory=dict)
    contexts: dict[Context, float] = field(default_factory=dict)
    worker_counts: Counter[str | None] = field(default_factory=Counter)
    context_counts: Counter[Context] = field(default_factory=Counter)
    widths: Counter[int | None] = field(default_factory=Counter)
    workers_matter: bool = True  # False: names hardly ever repeat and say nothing
    widths_matter: bool = True  # False: there are too many of them to learn each
    slope: float = 0.0  # log per unit of load
    loads: tuple[float, float] = (0.0, 0.0)  # range in which the slope was measured

    def offset(self, sample: Sample) -> float:
        """Return what the sample's stratum adds to its log duration; 0 where that is not known."""
        worker = self.workers.get(sample.worker, 0.0) if self.workers_matter else 0.0
        return worker + self.slope * (sample.load or 0.0) + self.contexts.get(self.context(sample), 0.0)

    def context(self, sample: Sample) -> Context:
        """Return the context that the sample is told apart by."""
        return sample.context if self.widths_matter else (sample.context[0], None)

    def seen(self, sample: Sample) -> int:
        """Return how many runs the less known part of the sample's stratum was learned from."""
        context = self.context_counts[self.context(sample)]
        low, high = self.loads
        if low < high and sample.load is not None:  # between known loads a bucket need not be known itself
            known = not self.widths_matter or self.widths[sample.context[1]] >= 2 * ENOUGH
            if low - REACH <= sample.load <= high + REACH and known:
                context = max(context, ENOUGH)
        return min(context, self.worker_counts[sample.worker]) if self.workers_matter else context


def fit(samples: Sequence[Sample], values: Sequence[float]) -> Strata:
    """Return the offsets of the strata that occur in `samples`, whose log durations are `values`."""
    workers = Counter(s.worker for s in samples)
    contexts = Counter(s.context for s in samples)
    widths_matter = len(contexts) <= max(MOST_CONTEXTS, len(samples) // 8)
    if not widths_matter:
        contexts = Counter((s.context[0], None) for s in samples)
    own = [s.context if widths_matter else (s.context[0], None) for s in samples]
    widths = Counter(s.context[1] for s in samples)
    matter = len(workers) <= max(6, len(samples) // 4)
    if len(contexts) == 1 and (len(workers) == 1 or not matter):
        return Strata({}, {}, workers, contexts, widths, matter, widths_matter)
    worker_offset: dict[str | None, float] = dict.fromkeys(workers, 0.0)
    context_offset: dict[Context, float] = dict.fromkeys(contexts, 0.0)
    centre = median(values)
    slope, loads = _slope(samples, values)
    flat = [y - centre - slope * (s.load or 0.0) for s, y in zip(samples, values, strict=True)]
    for _ in range(3):
        if matter and len(workers) > 1:
            groups: dict[str | None, list[float]] = {}
            for s, context, y in zip(samples, own, flat, strict=True):
                groups.setdefault(s.worker, []).append(y - context_offset[context])
            worker_offset = {name: median(group) for name, group in groups.items()}
        if len(contexts) > 1:
            beside: dict[Context, list[float]] = {}
            for s, context, y in zip(samples, own, flat, strict=True):
                beside.setdefault(context, []).append(y - worker_offset[s.worker])
            context_offset = {name: median(group) for name, group in beside.items()}
        if len(contexts) == 1 or len(workers) == 1:
            break
    return Strata(
        worker_offset, context_offset, workers, contexts, widths, matter, widths_matter, slope, loads
    )


def _slope(samples: Sequence[Sample], values: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """Return the slope of log durations over load: Tukey's resistant line through the outer thirds."""
    pairs = sorted((s.load, y) for s, y in zip(samples, values, strict=True) if s.load is not None)
    third = len(pairs) // 3
    if third < ENOUGH:
        return 0.0, (0.0, 0.0)
    low, high = pairs[:third], pairs[-third:]
    width = median([load for load, _ in high]) - median([load for load, _ in low])
    if width < REACH:
        return 0.0, (0.0, 0.0)
    rise = median([y for _, y in high]) - median([y for _, y in low])
    return max(0.0, rise / width), (pairs[0][0], pairs[-1][0])
