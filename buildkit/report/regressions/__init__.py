"""Finds runs of a task that are slower than its own history explains; plain sequences in, verdicts out.

Nothing here reads files, the history or the clock. The method and its limits: docs/regressions.md.
"""

from buildkit.report.regressions.across import Control, Onset, control_across
from buildkit.report.regressions.detector import Detector, judge
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
]
