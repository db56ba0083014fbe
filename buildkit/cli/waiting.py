"""What the one who takes the lock of a project says, and does first.

What belongs here: words for those who wait, and ending what a killed run left. The lock is `state/lock.py`.
"""

from __future__ import annotations

from buildkit.frontend.workspace import warn_on_stderr
from buildkit.state.lock import Holder, ProjectLock

_LEFTOVERS_GRACE_S = 2.0


def end_what_was_left(lock: ProjectLock) -> None:
    """End the tasks of a run that was killed while it held the lock: they would write into our outputs."""
    if lock.killed is None:
        return
    from buildkit.engine.leftovers import end_leftovers  # only after a kill

    count = end_leftovers(lock.killed, lock.directory, grace_s=_LEFTOVERS_GRACE_S)
    if count:
        were = "process that it left was" if count == 1 else "processes that it left were"
        warn_on_stderr(f"run {lock.killed} was killed while it built this project; {count} {were} ended")


def tell_wait(holder: Holder) -> None:
    """Say for whom this process waits."""
    warn_on_stderr(f"waiting for {holder} to finish with this project (--no-wait fails instead)")
