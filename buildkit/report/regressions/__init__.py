"""Finds runs of a task that are slower than its own history explains; plain sequences in, verdicts out.

    judge(runs)         -> list[Verdict]      one for each judged run
    judge_latest(runs)  -> Verdict | None     on the latest run alone, for a report over many tasks
    Detector().update(run) -> Verdict | None  run by run

`runs` are `Run`s of one task; `wall` and `cpu` in seconds, or bytes in `wall` for peak memory. Nothing here
reads files, the history or the clock. The method and its limits: docs/regressions.md.
"""

from buildkit.report.regressions.across import Control, Onset, control_across
from buildkit.report.regressions.detector import Detector, judge
from buildkit.report.regressions.latest import judge_latest
from buildkit.report.regressions.series import Run, State, Verdict
from buildkit.report.regressions.settings import Settings

__all__ = [
    "Control",
    "Detector",
    "Onset",
    "Run",
    "Settings",
    "State",
    "Verdict",
    "control_across",
    "judge",
    "judge_latest",
]
