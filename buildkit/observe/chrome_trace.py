"""A run as a Chrome trace, which Perfetto and chrome://tracing open: `--trace FILE`.

What belongs here: the format ("Trace Event Format"). One row per slot, one for what comes from the cache,
counters for the width, the processors and the memory.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from buildkit.core.plan import TaskKind
from buildkit.engine import events
from buildkit.engine.loop import EventLoop
from buildkit.observe.context import RunContext
from buildkit.observe.files import ReplacedFile
from buildkit.observe.jsonl import execution_fields
from buildkit.observe.observer import Handler
from buildkit.observe.samples import MachineSampler

_SAMPLE_S = 0.25
_RUN = 1  # the "process" of the trace that everything belongs to
_CACHE_ROW = 0  # below the slots, which count from 1


class ChromeTrace:
    """Collects a run, and writes it when it is over: 160 bytes a task."""

    def __init__(
        self,
        file: ReplacedFile,
        context: RunContext,
        loop: EventLoop,
        *,
        sampler: MachineSampler | None = None,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._file = file
        self._context = context
        self._loop = loop
        self._sampler = sampler or MachineSampler()
        self._clock_ns = clock_ns
        self._events: list[dict[str, Any]] = []
        self._skipped = 0
        self._slots: set[int] = set()
        self._width = 0
        self._finished = False

    @property
    def what(self) -> str:
        """Return what it writes."""
        return f"trace '{self._file.path}'"

    @property
    def handlers(self) -> Mapping[type, Handler]:
        """Return who takes which class of events."""
        return {
            events.RunStarted: self._run_started,
            events.Started: self._started,
            events.Succeeded: self._ended,
            events.Failed: self._ended,
            events.Cancelled: self._ended,
            events.Restored: self._restored,
            events.Skipped: self._skip,
            events.Warned: lambda event: self._instant(event.message),
            events.Aborted: lambda event: self._instant(event.message),
        }

    def finish(self, exit_code: int) -> None:
        """Write the file."""
        self._finished = True
        self._sample()
        info, trace = self._context.info, self._context.trace
        document = {
            "displayTimeUnit": "ms",
            "otherData": {
                "run": info.uid,
                "trace": trace.trace_id,
                "argv": list(info.argv),
                "project": info.cwd,
                "started_at": self._context.started_at,
                "width": self._width,
                "machine": info.machine,
                "git_commit": info.git_commit,
                "exit_code": exit_code,
                "skipped": self._skipped,
            },
            "traceEvents": [*self._names(), *self._running(), *self._events],
        }
        self._file.write(json.dumps(document, separators=(",", ":"), default=str).encode() + b"\n")

    # --- rows

    def _names(self) -> list[dict[str, Any]]:
        """Return the metadata: what the rows are called, and in which order they stand."""
        rows = {slot: f"slot {slot}" for slot in sorted(self._slots)}
        if any(event["ph"] == "X" and event["tid"] == _CACHE_ROW for event in self._events):
            rows[_CACHE_ROW] = "cache"
        named = [self._metadata("process_name", 0, {"name": f"doit {self._context.project}"})]
        for position, (row, name) in enumerate(rows.items()):
            named.append(self._metadata("thread_name", row, {"name": name}))
            named.append(self._metadata("thread_sort_index", row, {"sort_index": position}))
        return named

    def _metadata(self, name: str, row: int, args: Mapping[str, Any]) -> dict[str, Any]:
        return {"name": name, "ph": "M", "pid": _RUN, "tid": row, "args": args}

    def _running(self) -> list[dict[str, Any]]:
        """Return how many tasks ran at each moment, from their times: events come a little later."""
        steps: dict[float, int] = {0.0: 0}
        for event in self._events:
            if event["ph"] == "X" and event["tid"] != _CACHE_ROW:
                end = event["ts"] + event["dur"]
                steps[event["ts"]] = steps.get(event["ts"], 0) + 1
                steps[end] = steps.get(end, 0) - 1
        counts, running = [], 0
        for at in sorted(steps):
            running += steps[at]
            counts.append(self._counter("running", at, {"tasks": running}))
        return counts

    # --- events

    def _run_started(self, event: events.RunStarted) -> None:
        self._width = event.width
        self._count("width", {"slots": event.width})
        self._tick()

    def _tick(self) -> None:
        if not self._finished:
            self._sample()
            self._loop.call_later(_SAMPLE_S, self._tick)

    def _sample(self) -> None:
        sample = self._sampler.take()
        if sample.busy_cpus is not None:
            self._count("CPU", {"busy": round(sample.busy_cpus, 2)})
        if sample.memory_used_bytes is not None:
            self._count("memory", {"MiB": sample.memory_used_bytes >> 20})

    def _started(self, event: events.Started) -> None:
        if event.slot is not None:
            self._slots.add(event.slot)

    def _ended(self, event: Any) -> None:
        execution = event.execution
        if event.task.kind is TaskKind.GROUP or execution.slot is None:
            return
        self._slice(event, execution.slot)

    def _restored(self, event: events.Restored) -> None:
        self._slice(event, _CACHE_ROW)

    def _skip(self, _event: events.Skipped) -> None:
        self._skipped += 1  # takes no time that could be shown

    def _slice(self, event: Any, row: int) -> None:
        execution = event.execution
        args = execution_fields(execution)
        args["reasons"] = [str(reason) for reason in execution.reasons]
        self._events.append(
            {
                "name": execution.task,
                "cat": str(execution.decision),
                "ph": "X",
                "pid": _RUN,
                "tid": row,
                "ts": execution.started_ns / 1000,
                "dur": execution.cost.wall_ns / 1000,
                "args": args,
            }
        )

    def _instant(self, message: str) -> None:
        self._events.append(
            {"name": message, "ph": "i", "s": "g", "pid": _RUN, "tid": _CACHE_ROW, "ts": self._now_us()}
        )

    def _count(self, name: str, values: Mapping[str, float]) -> None:
        self._events.append(self._counter(name, self._now_us(), values))

    def _counter(self, name: str, at_us: float, values: Mapping[str, float]) -> dict[str, Any]:
        return {"name": name, "ph": "C", "pid": _RUN, "tid": 0, "ts": at_us, "args": values}

    def _now_us(self) -> float:
        return (self._clock_ns() - self._context.started_ns) / 1000
