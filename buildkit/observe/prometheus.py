"""A run as metrics in a text file, which node_exporter's textfile collector reads: `--prometheus FILE`.

What belongs here: the text format (https://prometheus.io/docs/instrumenting/exposition_formats/) and the
names of the metrics, which docs/reference/events.md lists. All are gauges of the last run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from buildkit.core.execution import Decision
from buildkit.core.record import Record
from buildkit.observe.executions import Ended, Executions, FinishedRun
from buildkit.observe.files import ReplacedFile


class Metric(Record):
    """One metric: its name with the unit, what it is, and its samples by labels."""

    name: str
    meaning: str
    samples: list[tuple[dict[str, str], float]]


def write_metrics(file: ReplacedFile, run: FinishedRun) -> None:
    """Write the metrics of a run."""
    metrics = run_metrics(
        run.executions,
        exit_code=run.exit_code,
        elapsed_s=run.elapsed_s,
        started_at=run.context.started_at,
    )
    text = exposition(metrics, {"project": run.context.project})
    file.write(text.encode("utf-8", "backslashreplace"))


def run_metrics(
    executions: Executions, *, exit_code: int, elapsed_s: float, started_at: float
) -> list[Metric]:
    """Return what is worth watching. Tasks that nothing was done for are counted, not listed."""
    ended = executions.ended

    def total(value: Callable[[Ended], int]) -> float:
        return sum(value(each) for each in ended)

    def single(name: str, meaning: str, value: float) -> Metric:
        return Metric(name, meaning, [({}, value)])

    acted = [
        each
        for each in ended
        if each.execution.decision in (Decision.EXECUTED, Decision.RESTORED, Decision.FAILED)
    ]
    return [
        single("buildkit_run_start_timestamp_seconds", "When the run started, in Unix time.", started_at),
        single("buildkit_run_duration_seconds", "How long the run took.", elapsed_s),
        single("buildkit_run_exit_code", "Exit code of the run; 0 is success.", exit_code),
        single("buildkit_run_width", "How many tasks could run at once.", executions.width),
        Metric(
            "buildkit_run_tasks",
            "Tasks of the run by what became of them.",
            [({"decision": str(decision)}, executions.count(decision)) for decision in Decision],
        ),
        single(
            "buildkit_run_saved_seconds",
            "Recorded time of the tasks that were skipped or restored.",
            total(lambda each: each.execution.saved_ns) / 1e9,
        ),
        single(
            "buildkit_run_stored_bytes",
            "Bytes that the run put into the cache.",
            total(lambda each: each.execution.bytes_stored),
        ),
        single(
            "buildkit_run_restored_bytes",
            "Bytes that the run got from the cache.",
            total(lambda each: each.execution.bytes_restored),
        ),
        *_task_metrics(acted),
    ]


def _task_metrics(acted: Iterable[Ended]) -> list[Metric]:
    duration = Metric("buildkit_task_duration_seconds", "How long a task took, restores included.", [])
    cpu = Metric("buildkit_task_cpu_seconds", "Processor time of a task and all its processes.", [])
    memory = Metric("buildkit_task_peak_memory_bytes", "Peak memory of the largest process of a task.", [])
    for each in acted:
        execution, cost = each.execution, each.execution.cost
        labels = {"task": execution.task, "decision": str(execution.decision)}
        duration.samples.append((labels, cost.wall_ns / 1e9))
        if cost.cpu_ns is not None:
            cpu.samples.append((labels, cost.cpu_ns / 1e9))
        if cost.rss_bytes is not None:
            memory.samples.append((labels, cost.rss_bytes))
    return [duration, cpu, memory]


def exposition(metrics: Iterable[Metric], labels: Mapping[str, str]) -> str:
    """Return metrics in the text format, each sample with `labels` beside its own."""
    lines = []
    for metric in metrics:
        lines.append(f"# HELP {metric.name} {metric.meaning}")
        lines.append(f"# TYPE {metric.name} gauge")
        lines += [
            f"{metric.name}{_labels({**labels, **own})} {float(value)!r}" for own, value in metric.samples
        ]
    return "\n".join(lines) + "\n"


def _labels(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{name}="{_escape(value)}"' for name, value in labels.items()) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
