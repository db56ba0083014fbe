"""The one line at the end of a run.

What belongs here: the wording, from counts and times. The numbers are made by who ran the tasks.
"""

from __future__ import annotations

from collections.abc import Sequence

from buildkit.core.humanize import duration, listed, plural, printable
from buildkit.state.runs import RunSummary

_WORTH_SAYING_NS = 1_000_000  # below a millisecond a saving is noise


def summary_line(summary: RunSummary, failed: Sequence[str] = ()) -> str:
    """Return what became of the tasks, how long it took, and what history says was saved.

    `buildkit: 3 executed, 2 restored, 40 skipped in 1.24 s; saved 12.3 s of task time`. `failed` names the
    tasks that failed. Nothing is said about savings where history knows none.
    """
    counted = [
        (summary.executed, "executed"),
        (summary.restored, "restored"),
        (summary.skipped, "skipped"),
        (summary.failed, _failed(failed)),
        (summary.upstream_failed, "not started after a failure"),
        (summary.ignored, "ignored"),
        (summary.cancelled, "cancelled"),
    ]
    parts = [f"{count:,} {outcome}" for count, outcome in counted if count]
    line = f"buildkit: {', '.join(parts) or plural(0, 'task')} in {duration(summary.wall_ns)}"
    if summary.saved_ns >= _WORTH_SAYING_NS:
        line += f"; saved {duration(summary.saved_ns)} of task time"
    return line


def _failed(names: Sequence[str]) -> str:
    return f"failed ({listed([printable(name) for name in names])})" if names else "failed"
