"""`.buildkit/status.json`: where the run stands, for who looks now and then.

What belongs here: the file's content, and how often it is written. It is replaced, never changed: a reader
sees a whole state. Documented in docs/reference/events.md.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from buildkit.engine import events
from buildkit.engine.loop import EventLoop
from buildkit.observe.context import RunContext
from buildkit.observe.files import replace
from buildkit.observe.forecast import Forecast
from buildkit.observe.observer import Handler
from buildkit.observe.progress import Progress
from buildkit.state.directory import state_directory

SCHEMA_VERSION = 1
STATUS_FILE = "status.json"
_PAUSE_S = 0.5
_ETA_AFTER_S = 1.0  # shorter runs are over before anybody has read when they will be


class StatusFile:
    """Writes the status of one run. A run that starts no task leaves the file alone."""

    what = f"status file '.buildkit/{STATUS_FILE}'"

    def __init__(
        self,
        context: RunContext,
        progress: Progress,
        forecast: Forecast,
        loop: EventLoop,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._context = context
        self._progress = progress
        self._forecast = forecast
        self._loop = loop
        self._clock = clock
        self._path = os.path.join(state_directory(context.info.cwd), STATUS_FILE)
        self._written_s: float | None = None
        self._timer_set = False
        self._width = 0
        self._failed: OSError | None = None

    @property
    def handlers(self) -> Mapping[type, Handler]:
        """Return who takes which class of events."""
        return {
            events.RunStarted: self._run_started,
            events.Started: self._started,
            events.Skipped: self._changed,
            events.Restored: self._changed,
            events.Succeeded: self._changed,
            events.Failed: self._changed,
            events.Cancelled: self._changed,
        }

    def finish(self, exit_code: int) -> None:
        """Say how the run ended."""
        if self._written_s is not None:
            self._write({"state": "finished", "exit_code": exit_code})

    def _run_started(self, event: events.RunStarted) -> None:
        self._width = event.width

    def _started(self, event: events.Started) -> None:
        if event.slot is not None:
            if self._written_s is None:
                self._write({"state": "running"})
            else:
                self._changed(event)

    def _changed(self, _event: Any) -> None:
        if self._failed is not None:
            raise self._failed
        if self._timer_set or self._written_s is None:
            return
        pause_s = self._written_s + _PAUSE_S - self._clock()
        if pause_s <= 0:
            self._write({"state": "running"})
        else:
            self._timer_set = True
            self._loop.call_later(pause_s, self._due)

    def _due(self) -> None:
        self._timer_set = False
        try:
            self._write({"state": "running"})
        except OSError as error:
            self._failed = error  # told at the next event, where it is expected

    def _write(self, state: Mapping[str, Any]) -> None:
        context, progress = self._context, self._progress
        self._written_s = self._clock()
        status = {
            "v": SCHEMA_VERSION,
            "run": context.info.uid,
            "trace": context.trace.trace_id,
            "pid": context.info.pid,
            **state,
            "started_at": round(context.started_at, 3),
            "updated_at": round(time.time(), 3),
            "width": self._width,
            "total": self._forecast.total,
            "done": progress.done,
            "counts": {str(decision): count for decision, count in progress.counts.items()},
            "running": self._running() if state["state"] == "running" else [],
            **(self._eta() if state["state"] == "running" else {}),
        }
        data = json.dumps(status, separators=(",", ":")).encode() + b"\n"
        replace(self._path, data, f"{self._path}.{context.info.pid}.tmp", mode=0o600)

    def _running(self) -> list[dict[str, Any]]:
        tasks = []
        for running in self._progress.running.values():
            task: dict[str, Any] = {
                "task": running.task.name,
                "slot": running.slot,
                "started_at": round(self._context.unix_s(running.started_ns), 3),
            }
            predicted_ns = self._forecast.predicted_ns(running.task.name) if self._is_long() else None
            if predicted_ns is not None:
                task["predicted_ns"] = predicted_ns
            tasks.append(task)
        return tasks

    def _eta(self) -> dict[str, float]:
        estimate = self._forecast.estimate() if self._is_long() else None
        if estimate is None:
            return {}
        return {"eta_at": round(self._context.unix_s(estimate.at_ns + estimate.left_ns), 3)}

    def _is_long(self) -> bool:
        return self._context.elapsed_ns > _ETA_AFTER_S * 1e9
