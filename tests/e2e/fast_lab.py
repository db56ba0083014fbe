"""What tests of the fast start share: the installed scripts, old files, output without times."""

from __future__ import annotations

import os
import re
import sys

from .harness import Project


class Scripts(Project):
    """A project whose commands are the installed scripts themselves, where there are any."""

    def _command(self, program: str) -> list[str]:
        script = os.path.join(os.path.dirname(sys.executable), program)
        return [script] if os.access(script, os.X_OK) else super()._command(program)


def age(project: Project) -> None:
    """Make all files ten seconds old, as far as a user can: their times of change stay."""
    for folder, names, files in os.walk(project.root, topdown=False):
        for name in (*names, *files):
            path = os.path.join(folder, name)
            when = os.lstat(path).st_mtime_ns - 10_000_000_000
            os.utime(path, ns=(when, when), follow_symlinks=False)


def without_times(text: str) -> str:
    """Return the summary without what is measured."""
    return re.sub(r" in \d[\d.]* (ms|s|min \d+ s)\b", " in no time", text)
