"""Finds runs of a task that are slower than its own history explains; plain sequences in, verdicts out.

Nothing here reads files, the history or the clock. The method, its sources and its limits: docs/regressions.md.
"""

from buildkit.report.regressions.detector import Detector, judge
from buildkit.report.regressions.series import Run, State, Verdict
from buildkit.report.regressions.settings import Settings

__all__ = ["Detector", "Run", "Settings", "State", "Verdict", "judge"]
