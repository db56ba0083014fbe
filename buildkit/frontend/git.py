"""What git says about the project: the commit that is checked out, and whether tracked files differ from it.

The commit is read from `.git`, which costs microseconds. Dirtiness needs git itself: it is asked while
tasks run, and nobody waits for it at the start.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from buildkit.engine.events import Event, EventSink, Started
from buildkit.state.commit import checked_out as commit

if TYPE_CHECKING:
    import subprocess

__all__ = ["Dirtiness", "commit"]

# How long the end of a run may wait for git, which has had the time of the run: so much, and a share of it.
_PATIENCE_S = 0.02
_PATIENCE_SHARE = 0.05


class Dirtiness:
    """Asks git whether tracked files differ from the commit, in the background from the first task on.

    A sink that passes all events on: a run that starts nothing does not pay for a process.
    """

    def __init__(self, sink: EventSink, root: str, environ: Mapping[str, str]) -> None:
        self._sink = sink
        self._root = root
        self._environ = environ
        self._asked = not os.path.exists(os.path.join(root, ".git"))
        self._process: subprocess.Popen[bytes] | None = None

    def handle(self, event: Event) -> None:
        """Pass the event on; with the first task that starts, start git."""
        self._sink.handle(event)
        if self._asked:
            return
        if isinstance(event, Started) and event.slot is not None:
            self._asked = True
            self._ask()

    def _ask(self) -> None:
        import subprocess  # only where there is a repository

        try:
            self._process = subprocess.Popen(
                ("git", "status", "--porcelain", "--untracked-files=no"),
                cwd=self._root,
                # Without the lock, or it would refresh the index under a task's feet.
                env={**self._environ, "GIT_OPTIONAL_LOCKS": "0"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for us
            )
        except OSError:
            return  # no git here

    def answer(self, elapsed_s: float) -> bool | None:
        """Return whether they differ, after a run of `elapsed_s`; None where git is missing or too slow."""
        process, self._process = self._process, None
        if process is None:
            return None
        from subprocess import TimeoutExpired

        try:
            listed, _ = process.communicate(timeout=_PATIENCE_S + _PATIENCE_SHARE * elapsed_s)
        except TimeoutExpired:
            process.kill()
            process.communicate()
            return None
        return bool(listed) if process.returncode == 0 else None
