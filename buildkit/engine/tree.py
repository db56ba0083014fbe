"""Ending whole process trees: SIGTERM, grace, SIGKILL, until nothing that descends from a job is left.

A process belongs to a job when it descends from the job's first process, is in its process group or session,
or carries the job's mark in its environment; the mark finds those that daemonized. Deciding who belongs is a
pure function over a table of processes; `TreeEnder` does the signalling.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from buildkit.core.record import Record
from buildkit.engine.loop import EventLoop, Timer
from buildkit.engine.procfs import JOB_VARIABLE, Process, adopt_orphans, list_processes, read_job_mark

GRACE_S = 2.0
_FIRST_LOOK_S = 0.005
_LONGEST_WAIT_S = 0.05
_GIVE_UP_S = 1.0  # after SIGKILL: what is left then hangs in the kernel or belongs to another user
_START_SLACK_S = 0.05  # the kernel counts starts in ticks of 10 ms


class Root(Record):
    """What is known of a job's processes from the moment they were started."""

    pid: int
    started: float  # on the scale of `process_clock`; what is older, except the pid itself, is not the job's
    mark: str = ""  # value of JOB_VARIABLE; empty: not marked
    own_group: bool = True  # the pid is also the number of a process group
    alone: bool = False  # no other job ran at the same time: adopted orphans without a mark are its own


def members(
    root: Root,
    table: Iterable[Process],
    own_pid: int,
    read_mark: Callable[[int], str],
    is_kept: Callable[[int], bool] = lambda _: False,
) -> list[Process]:
    """Return the processes that belong to `root`, living and zombies; never our own.

    `is_kept` names our children that are no orphans: workers, and the first processes of other jobs.
    """
    oldest = root.started - _START_SLACK_S
    young = {p.pid: p for p in table if (p.started >= oldest or p.pid == root.pid) and p.pid != own_pid}
    found = {pid for pid, process in young.items() if _belongs(process, root, read_mark)}
    if root.alone:
        own_group = next((p.pgid for p in table if p.pid == own_pid), 0)
        for pid, process in young.items():
            # Children of code in our own process are in our own group, and stay untouched.
            orphan = process.ppid == own_pid and process.pgid != own_group and not is_kept(pid)
            if orphan and not read_mark(pid):
                found.add(pid)
    size = 0
    while size != len(found):  # children of members, however deep
        size = len(found)
        found.update(pid for pid, process in young.items() if process.ppid in found)
    return [young[pid] for pid in found]


def _belongs(process: Process, root: Root, read_mark: Callable[[int], str]) -> bool:
    if root.pid in (process.pid, process.sid) or (root.own_group and process.pgid == root.pid):
        return True
    if not root.mark or process.zombie:
        return False
    mark = read_mark(process.pid)
    return mark == root.mark or mark.startswith(root.mark + "/")  # the latter: a run within the job


def signal_name(signum: int) -> str:
    """Return the name of a signal, and for SIGKILL what it often means."""
    try:
        name = signal.Signals(signum).name
    except ValueError:
        return f"signal {signum}"
    return f"{name}; perhaps out of memory" if signum == signal.SIGKILL else name


def marks_prefix(starter: int | None = None) -> str:
    """Return what the marks of all jobs begin with that this process starts, or process `starter`.

    A mark is the value of JOB_VARIABLE, and ends with the number of the job: unique on this machine, and
    nested within our own.
    """
    outer = os.environ.get(JOB_VARIABLE)
    own = f"{starter or os.getpid()}."
    return f"{outer}/{own}" if outer else own


class _Ending:
    __slots__ = ("gone", "kill_at_s", "killed_at_s", "root", "told")

    def __init__(self, root: Root, kill_at_s: float, gone: Callable[[list[int]], None]) -> None:
        self.root = root
        self.kill_at_s = kill_at_s
        self.gone = gone
        self.killed_at_s: float | None = None
        self.told: set[int] = set()  # got their SIGTERM


class TreeEnder:
    """Ends any number of trees at the same time, with one look at the process table for all of them."""

    def __init__(self, loop: EventLoop) -> None:
        self._loop = loop
        self._endings: list[_Ending] = []
        self._timer: Timer | None = None
        self._wait_s = _FIRST_LOOK_S
        self.adopts = False
        self._asked_to_adopt = False

    def adopt(self) -> None:
        """Become the parent of orphaned descendants, where the system can; costs 4 ms the first time."""
        if not self._asked_to_adopt:
            self._asked_to_adopt = True
            self.adopts = adopt_orphans(True)

    def close(self) -> None:
        """Adopt no more."""
        if self.adopts:
            adopt_orphans(False)
        self.adopts = self._asked_to_adopt = False

    def end(self, root: Root, grace_s: float, gone: Callable[[list[int]], None]) -> None:
        """End the tree and call `gone` with the pids that even SIGKILL did not end: normally none."""
        self._endings.append(_Ending(root, time.monotonic() + grace_s, gone))
        if root.own_group and self._loop.is_watched_child(root.pid):
            # Not reaped yet, so the number cannot be anybody else's. One call reaches the whole group.
            _signal_group(root.pid, signal.SIGTERM)
            _signal_group(root.pid, signal.SIGCONT)
        self._wait_s = _FIRST_LOOK_S
        self._look_after(0)

    def hurry(self) -> None:
        """End the grace of everything."""
        for ending in self._endings:
            ending.kill_at_s = 0.0
        if self._endings:
            self._look_after(0)

    def _look_after(self, delay_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(delay_s, self._look)

    def _look(self) -> None:
        self._timer = None
        table = list_processes()
        marks: dict[int, str] = {}

        def read_mark(pid: int) -> str:
            if pid not in marks:
                marks[pid] = read_job_mark(pid)
            return marks[pid]

        now = time.monotonic()
        for ending in list(self._endings):
            found = members(ending.root, table, os.getpid(), read_mark, self._loop.is_watched_child)
            self._reap_adopted(found)
            living = [process.pid for process in found if not process.zombie]
            if not living or (ending.killed_at_s is not None and now >= ending.killed_at_s + _GIVE_UP_S):
                self._endings.remove(ending)
                ending.gone(living)
            elif now >= ending.kill_at_s:
                ending.killed_at_s = ending.killed_at_s or now
                _signal_all(living, signal.SIGKILL)
            else:
                fresh = [pid for pid in living if pid not in ending.told]
                ending.told.update(fresh)
                _signal_all(fresh, signal.SIGTERM)
                _signal_all(fresh, signal.SIGCONT)
        if self._endings and self._timer is None:
            self._wait_s = min(self._wait_s * 2, _LONGEST_WAIT_S)
            to_kill = [e.kill_at_s - now for e in self._endings if e.killed_at_s is None]
            self._look_after(max(min([self._wait_s, *to_kill]), 0.001))

    def _reap_adopted(self, found: list[Process]) -> None:
        """Reap zombies that we became the parent of; the loop reaps those that we started."""
        for process in found:
            if (
                process.zombie
                and process.ppid == os.getpid()
                and not self._loop.is_watched_child(process.pid)
            ):
                with suppress(ChildProcessError):
                    os.waitpid(process.pid, os.WNOHANG)


def _signal_group(pgid: int, signum: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pgid, signum)


def _signal_all(pids: Iterable[int], signum: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signum)
