"""What a run that was killed has left running: found by its environment, ended before the next run begins.

SIGKILL gives a run no time to end its tasks. A command that goes on would write into outputs while the next
run makes them. Every process of a run carries `BUILDKIT_LOCK`, which names the run and the project.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress

from buildkit.engine.procfs import list_processes, read_variable
from buildkit.state.lock import LOCK_VARIABLE

_POLL_S = 0.01


def processes_of(run: int, directory: str) -> list[int]:
    """Return the living processes of the run with process id `run` that held `directory`; never our own."""
    found = []
    for process in list_processes():
        if process.zombie or process.pid in (os.getpid(), os.getppid(), run):
            continue
        held = read_variable(process.pid, LOCK_VARIABLE)
        if held and _names(held, run, directory):
            found.append(process.pid)
    return found


def end_leftovers(
    run: int,
    directory: str,
    *,
    grace_s: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """End what the dead run has left: SIGTERM, then SIGKILL after the grace; return how many it was."""
    living = processes_of(run, directory)
    count = len(living)
    started = clock()
    killed = False
    told: set[int] = set()
    while living and clock() - started < grace_s + 1.0:
        killed = killed or clock() - started >= grace_s
        for pid in living:
            if killed or pid not in told:
                told.add(pid)
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL if killed else signal.SIGTERM)
        sleep(_POLL_S)
        living = processes_of(run, directory)
    return count


def _names(held: str, run: int, directory: str) -> bool:
    try:
        return [run, directory] in json.loads(held)
    except (ValueError, TypeError):
        return False
