"""Running one Python job, wherever that is: exceptions become replies, and what it took is measured.

Used by forked workers, by threads and in-process. How payload and reply travel does not belong here.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable
from typing import TextIO

from buildkit.core.execution import Cost
from buildkit.engine.job import JobOutcome, JobStatus, RunnerReply
from buildkit.engine.log import TaskLog
from buildkit.engine.procfs import rss_of

Run = Callable[[object, TextIO, TextIO], object]

_BLOCK_BYTES = 512  # unit of ru_inblock and ru_oublock


def perform(
    run: Run, payload: object, out: TextIO, err: TextIO, passing: tuple[type[BaseException], ...] = ()
) -> RunnerReply:
    """Return what `run` says, or an ERROR with the traceback of what it raised; `passing` is raised on."""
    try:
        value = run(payload, out, err)
    except passing:
        raise
    except SystemExit as error:
        return RunnerReply(JobStatus.ERROR, f"Python action called sys.exit({error.code!r})")
    except BaseException as error:  # a task must not end the worker, whatever it raises
        import traceback  # only on the way to an error message

        head = f"Python action raised {type(error).__name__}: {error}"
        return RunnerReply(JobStatus.ERROR, f"{head}\n{traceback.format_exc()}")
    return value if isinstance(value, RunnerReply) else RunnerReply(extra=value)


def outcome_of(
    reply: RunnerReply,
    cost: Cost,
    started_ns: int,
    outs: list[str | None],
    errs: list[str | None],
    log: TaskLog,
) -> JobOutcome:
    """Return the outcome of a Python job that was answered."""
    return JobOutcome(
        status=reply.status,
        message=reply.message,
        exit_code=reply.exit_code,
        failed_action=reply.failed_action,
        log=log,
        outs=outs,
        errs=errs,
        values=reply.values,
        result=reply.result,
        extra=reply.extra,
        cost=cost,
        started_ns=started_ns,
        ended_ns=started_ns + cost.wall_ns,
    )


class Meter:
    """Measures one job from now on: time of this process and its children, or of this thread."""

    def __init__(self, *, thread: bool = False) -> None:
        # RUSAGE_THREAD exists on Linux only
        self._who = getattr(resource, "RUSAGE_THREAD", None) if thread else resource.RUSAGE_SELF
        self._children = not thread
        self._peak_was_reset = not thread and _reset_peak()
        self._before = self._usages()
        self.started_ns = time.monotonic_ns()

    def cost(self) -> Cost:
        """Return what it took until now."""
        cost = Cost(wall_ns=time.monotonic_ns() - self.started_ns)
        if self._who is None:
            return cost
        user_s = system_s = 0.0
        read = written = 0
        peak: int | None = None
        peak_counts = self._peak_was_reset
        for now, then in zip(self._usages(), self._before, strict=True):
            user_s += now.ru_utime - then.ru_utime
            system_s += now.ru_stime - then.ru_stime
            read += now.ru_inblock - then.ru_inblock
            written += now.ru_oublock - then.ru_oublock
            # A peak that did not grow is that of an earlier job, unless it was set back at the start.
            if now.ru_maxrss > then.ru_maxrss or peak_counts:
                peak = max(peak or 0, now.ru_maxrss)
            peak_counts = False  # nobody can set back that of our children
        cost.user_ns, cost.system_ns = int(user_s * 1e9), int(system_s * 1e9)
        cost.read_bytes, cost.write_bytes = read * _BLOCK_BYTES, written * _BLOCK_BYTES
        if self._children and peak is not None:
            cost.rss_bytes = rss_of(peak)
        return cost

    def _usages(self) -> list[resource.struct_rusage]:
        if self._who is None:
            return []
        usages = [resource.getrusage(self._who)]
        if self._children:
            usages.append(resource.getrusage(resource.RUSAGE_CHILDREN))
        return usages


def _reset_peak() -> bool:
    """Set our peak resident set back to the present one (Linux, proc(5): clear_refs); return whether."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        fd = os.open("/proc/self/clear_refs", os.O_WRONLY)
    except OSError:
        return False
    try:
        return os.write(fd, b"5") == 1
    except OSError:
        return False
    finally:
        os.close(fd)
