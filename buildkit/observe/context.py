"""Which run this is, and which trace it is part of: what every observer puts beside its data.

What belongs here: the identity of a run, and W3C Trace Context (https://www.w3.org/TR/trace-context/).
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping

from buildkit.core.record import Record
from buildkit.state.runs import RunInfo

TRACEPARENT = "TRACEPARENT"  # the variable in which programs without headers pass the context on
_TRACEPARENT = r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"


class TraceContext(Record):
    """The trace of a run: ids in hexadecimal digits, as W3C writes them."""

    trace_id: str
    span_id: str  # of the run
    parent_id: str | None = None  # the span that this run is part of
    sampled: bool = True

    @classmethod
    def begin(cls, traceparent: str | None) -> TraceContext:
        """Return a new span for a run, within the trace of `traceparent` where that is a valid one."""
        span_id = os.urandom(8).hex()
        parent = parse_traceparent(traceparent)
        if parent is None:
            return cls(os.urandom(16).hex(), span_id)
        trace_id, parent_id, sampled = parent
        return cls(trace_id, span_id, parent_id, sampled)

    def span_of(self, task: str, attempt: int = 1) -> str:
        """Return the span id of a task in this run: the same for all who ask, different in each run."""
        from hashlib import blake2b  # only where somebody traces the run

        name = f"{self.trace_id}{self.span_id}{attempt} {task}"
        return blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()

    def traceparent(self) -> str:
        """Return the value of TRACEPARENT for processes that this run starts."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"


def parse_traceparent(text: str | None) -> tuple[str, str, bool] | None:
    """Return (trace id, parent id, sampled), or None for anything that the specification calls invalid."""
    found = re.fullmatch(_TRACEPARENT, text.strip()) if text else None
    if found is None:
        return None
    version, trace_id, parent_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more) or not int(trace_id, 16) or not int(parent_id, 16):
        return None
    return trace_id, parent_id, bool(int(flags, 16) & 1)


class RunContext(Record):
    """The run that is being observed."""

    info: RunInfo
    trace: TraceContext
    started_ns: int  # on the monotonic clock, where the offsets of executions begin
    started_at: float  # the same moment in Unix seconds
    # Wall time of tasks as history predicts it, in ns; asked late, because not every run needs it.
    predicted: Callable[[], Mapping[str, int]] = dict
    clock_ns: Callable[[], int] = time.monotonic_ns

    @property
    def project(self) -> str:
        """Return the name of the project: that of its directory."""
        return os.path.basename(self.info.cwd.rstrip(os.sep)) or self.info.cwd

    @property
    def elapsed_ns(self) -> int:
        """How long the run has taken up to now."""
        return self.clock_ns() - self.started_ns

    def unix_s(self, monotonic_ns: int) -> float:
        """Return a moment of the monotonic clock as Unix seconds; a step of the wall clock cannot bend it."""
        return self.started_at + (monotonic_ns - self.started_ns) / 1e9
