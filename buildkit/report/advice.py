"""What to do about it: recommendations, each with what says so and what it would gain.

What belongs here: rules from the numbers of the report to a sentence. A rule that has no evidence in the
data says nothing. Gains are per run; those in time follow the model in `efficiency.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from buildkit.core.execution import Decision, Reason, ReasonKind
from buildkit.core.humanize import duration, plural, printable
from buildkit.core.quantiles import whole_median
from buildkit.report.data import Advice, Bottleneck, Efficiency, RunView
from buildkit.report.efficiency import bound_ns
from buildkit.report.last_run import TaskRow
from buildkit.report.samples import Samples

_WORTH_SHARE = 0.05  # of the run's task time: what gains less is not worth a line
_WORTH_NS = 100_000_000
_BUSY = 0.85  # utilisation from which the width is what limits
_IDLE = 0.5
_SPLIT_SHARE = 0.3  # of the run's wall time
_VOLATILE_SHARE = 0.8  # of the runs
_LEAST_RUNS = 5  # before "in most runs" means anything
_SATURATED = 0.95  # of the CPU time that the cores offer
_SHOWN = 5

# Tasks that are executed under a known key for these reasons were meant to be.
_ON_PURPOSE = frozenset(
    {ReasonKind.ALWAYS, ReasonKind.NO_DEPENDENCIES, ReasonKind.NOT_UPTODATE, ReasonKind.FORGOTTEN}
)
_INPUTS = frozenset({ReasonKind.INPUT_CHANGED, ReasonKind.INPUT_ADDED, ReasonKind.INPUT_REMOVED})


def advice_of(
    run: RunView,
    efficiency: Efficiency,
    rows: Sequence[TaskRow],
    bottlenecks: Sequence[Bottleneck],
    samples: Samples,
    reasons: Mapping[int, tuple[Reason, ...]],
) -> tuple[Advice, ...]:
    """Return what the data recommend, the largest gain first; `reasons` are those of `worth_reading`."""
    found = [
        *_width(run, efficiency),
        *_split(run, bottlenecks),
        *_uncacheable(efficiency, rows),
        *_volatile_inputs(samples, reasons),
        *_lost_results(samples, reasons),
    ]
    return tuple(sorted(found, key=lambda one: -(one.gain_ns or 0)))


def worth_reading(samples: Samples) -> set[int]:
    """Return the ids of the reasons that `advice_of` has to know: those of tasks worth a line."""
    wanted = {id_ for task in _costly(samples) for id_ in samples.reasons.get(task, {}) if id_ is not None}
    for outcomes in samples.keys.values():
        if outcomes.again_ns >= _WORTH_NS:
            wanted.update(id_ for id_ in outcomes.reasons if id_ is not None)
    return wanted


def _costly(samples: Samples) -> list[str]:
    """Return the few tasks that took most of the window's time."""
    totals = {task: sum(known.wall_ns) for task, known in samples.tasks.items()}
    least = max(_WORTH_SHARE * sum(totals.values()), _WORTH_NS)
    return [task for task, total in totals.items() if total >= least]


def _width(run: RunView, efficiency: Efficiency) -> Iterable[Advice]:
    width, used = run.width or 1, efficiency.utilisation or 0.0
    cores = math.floor(run.cores or 0)
    bound = bound_ns(efficiency.task_ns, width, efficiency.critical_ns)
    cpu_share = (efficiency.cpu_ns or 0) / ((run.cores or 1) * max(efficiency.wall_ns, 1))
    if used >= _BUSY and width < cores and run.executed > width:
        gain = bound - bound_ns(efficiency.task_ns, cores, efficiency.critical_ns)
        if gain >= max(_WORTH_NS, _WORTH_SHARE * efficiency.wall_ns):
            yield Advice(
                "more-workers",
                f"Run with -n auto or -n {cores}.",
                f"{plural(width, 'slot')} of {plural(cores, 'core')} were busy for {used:.0%} of the run",
                gain,
            )
    elif width > 2 * max(run.cores or width, 1) and cpu_share >= _SATURATED:
        yield Advice(
            "fewer-workers",
            f"Run with -n auto or -n {max(cores, 1)}.",
            f"{width} slots shared {run.cores:g} cores, which were busy for {min(cpu_share, 1):.0%} of the "
            "run: more tasks at once only take more memory",
            None,
        )
    elif width > 2 and used and used < _IDLE and run.executed >= width:
        enough = max(1, math.ceil(efficiency.task_ns / max(bound, 1)))
        if enough < width and efficiency.wall_ns >= _WORTH_NS:
            yield Advice(
                "fewer-workers",
                f"-n {enough} would do for tasks like these; what they wait for is each other.",
                f"{width} slots were busy for {used:.0%} of the run, and the critical path takes "
                f"{duration(efficiency.critical_ns)} of {duration(efficiency.wall_ns)}",
                None,
            )


def _split(run: RunView, bottlenecks: Sequence[Bottleneck]) -> Iterable[Advice]:
    for one in bottlenecks:
        if one.critical and run.wall_ns and one.wall_ns >= _SPLIT_SHARE * run.wall_ns and one.gain_ns:
            yield Advice(
                "split",
                f"Split '{printable(one.task)}', or make it faster.",
                f"it is on the critical path and takes {one.wall_ns / run.wall_ns:.0%} of the run",
                one.gain_ns,
                one.task,
            )


def _uncacheable(efficiency: Efficiency, rows: Sequence[TaskRow]) -> Iterable[Advice]:
    least = max(_WORTH_NS, _WORTH_SHARE * efficiency.task_ns)
    costly = [
        row
        for row in rows
        if row.execution.decision is Decision.EXECUTED
        and not row.execution.cacheable
        and row.execution.cost.wall_ns >= least
    ]
    for row in sorted(costly, key=lambda row: -row.execution.cost.wall_ns)[:_SHOWN]:
        why = row.execution.uncacheable_reason or "its result cannot be stored"
        yield Advice(
            "uncacheable",
            f"Make '{printable(row.execution.task)}' cacheable: a run with nothing new would not execute it.",
            f"it takes {duration(row.execution.cost.wall_ns)} and is uncacheable: {printable(why)}",
            row.execution.cost.wall_ns,
            row.execution.task,
        )


def _volatile_inputs(samples: Samples, reasons: Mapping[int, tuple[Reason, ...]]) -> Iterable[Advice]:
    runs = sum(run.id >= samples.window.sampled_from for run in samples.runs)
    if runs < _LEAST_RUNS:
        return
    for task in _costly(samples):
        by_path: dict[str, set[int]] = {}
        for id_, run_ids in samples.reasons.get(task, {}).items():
            for reason in reasons.get(id_, ()) if id_ is not None else ():
                if reason.kind in _INPUTS:
                    for path in reason.names:
                        by_path.setdefault(path, set()).update(run_ids)
        if not by_path:
            continue
        path, hit = max(by_path.items(), key=lambda pair: (len(pair[1]), pair[0]))
        if len(hit) >= max(_LEAST_RUNS, _VOLATILE_SHARE * runs):
            yield Advice(
                "volatile-input",
                f"See whether '{printable(task)}' needs '{printable(path)}' as an input.",
                f"it was executed because of that input in {len(hit)} of {runs} runs ({len(hit) / runs:.0%})",
                round(whole_median(samples.tasks[task].wall_ns) * len(hit) / runs),
                task,
            )


def _lost_results(samples: Samples, reasons: Mapping[int, tuple[Reason, ...]]) -> Iterable[Advice]:
    """Look for executions under keys that had succeeded before: the result was there once, and is gone."""
    count, total_ns = 0, 0
    tasks: dict[str, int] = {}
    for (task, _key), outcomes in samples.keys.items():
        if outcomes.again_ns < _WORTH_NS or not outcomes.cacheable:
            continue
        kinds = {r.kind for id_ in outcomes.reasons if id_ is not None for r in reasons.get(id_, ())}
        if kinds & _ON_PURPOSE:
            continue
        count += len(outcomes.succeeded) - 1
        total_ns += outcomes.again_ns
        tasks[task] = tasks.get(task, 0) + outcomes.again_ns
    runs = sum(run.id >= samples.window.sampled_from for run in samples.runs)
    if count and total_ns / runs >= _WORTH_NS:
        worst = max(tasks, key=tasks.__getitem__)
        yield Advice(
            "cache-size",
            "Keep more in the cache (cache_max_size, cache_max_age), or keep the cache between jobs.",
            f"{plural(count, 'execution')} in {plural(runs, 'run')} repeated what had succeeded before under "
            f"the same action key; most of the time went into '{printable(worst)}'",
            total_ns // runs,
        )
