"""What the operating system tells about processes: who descends from whom, and who uses how much memory.

Linux is read from /proc by hand, because that costs a tenth of psutil; other systems go through psutil.
Nothing here changes a process, except `adopt_orphans`, which changes ours.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress

from buildkit.core.record import Record

JOB_VARIABLE = "BUILDKIT_JOB"  # in the environment of every process of a job, so that none gets lost

_LINUX = sys.platform.startswith("linux")
_PR_SET_PDEATHSIG = 1  # prctl(2)
_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
_MOST_SAMPLED = 64  # processes of one job whose memory is looked at


class Process(Record):
    """One process as it was when the table was read."""

    pid: int
    ppid: int
    pgid: int
    sid: int
    started: float  # on the scale of `process_clock`
    zombie: bool


def process_clock() -> float:
    """Return the present on the scale of `Process.started`: seconds since boot, or since the epoch."""
    if _LINUX:
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.time()


def list_processes() -> list[Process]:
    """Return all processes that can be seen."""
    return _list_proc() if _LINUX else _list_psutil()


def _list_proc() -> list[Process]:
    table = []
    ticks_per_s = os.sysconf("SC_CLK_TCK")
    for name in os.listdir("/proc"):
        if not name.isdecimal():
            continue
        try:
            fd = os.open(f"/proc/{name}/stat", os.O_RDONLY)
        except OSError:
            continue  # it ended since the listing
        try:
            stat = os.read(fd, 4096)
        except OSError:
            continue
        finally:
            os.close(fd)
        # proc(5): the name in parentheses may hold anything; what follows starts with field 3, the state
        fields = stat.rpartition(b")")[2].split()
        table.append(
            Process(
                pid=int(name),
                ppid=int(fields[1]),
                pgid=int(fields[2]),
                sid=int(fields[3]),
                started=int(fields[19]) / ticks_per_s,
                zombie=fields[0] in (b"Z", b"X"),
            )
        )
    return table


def _list_psutil() -> list[Process]:
    import psutil  # only where there is no /proc, and only when a job must be ended

    table = []
    for process in psutil.process_iter():
        try:
            with process.oneshot():
                pid = process.pid
                table.append(
                    Process(
                        pid=pid,
                        ppid=process.ppid(),
                        pgid=os.getpgid(pid),
                        sid=os.getsid(pid),
                        started=process.create_time(),
                        zombie=process.status() == psutil.STATUS_ZOMBIE,
                    )
                )
        except (psutil.Error, OSError):
            continue  # it ended, or belongs to somebody else
    return table


def read_job_mark(pid: int) -> str:
    """Return the job that the process was started for, or an empty string when it does not say."""
    return read_variable(pid, JOB_VARIABLE)


def read_variable(pid: int, name: str) -> str:
    """Return a variable of the environment that a process was started with, empty where there is none."""
    if not _LINUX:
        return _read_variable_psutil(pid, name)
    prefix = name.encode() + b"="
    for entry in _read(f"/proc/{pid}/environ").split(b"\0"):
        if entry.startswith(prefix):
            return os.fsdecode(entry[len(prefix) :])
    return ""


def _read_variable_psutil(pid: int, name: str) -> str:
    import psutil  # as above

    try:
        return str(psutil.Process(pid).environ().get(name, ""))
    except (psutil.Error, OSError):
        return ""


def peak_rss_bytes(pid: int) -> int | None:
    """Return the memory of a living process and its descendants together; None: unknown.

    What is private to each adds up, what is shared counts once, as large as it is in one of them. It is no
    less than the largest peak that one of them had so far.
    """
    if not _LINUX:
        return None  # the rusage of wait4 has to do
    peak, private, shared = None, 0, 0
    pids = [pid]
    for member in pids:  # grows while it is walked
        status = _read(f"/proc/{member}/status")
        high = _kilobytes(status, b"VmHWM:")
        if high is not None:
            peak = max(peak or 0, high)
            private += _kilobytes(status, b"RssAnon:") or 0
            files = (_kilobytes(status, b"RssFile:") or 0) + (_kilobytes(status, b"RssShmem:") or 0)
            shared = max(shared, files)
        if len(pids) < _MOST_SAMPLED:
            # Empty where the kernel lacks CONFIG_PROC_CHILDREN: then the first process has to do.
            pids += map(int, _read(f"/proc/{member}/task/{member}/children").split())
    return None if peak is None else max(peak, private + shared) * 1024


def _kilobytes(status: bytes, name: bytes) -> int | None:
    """Return a value of /proc/PID/status; None for a process that has ended."""
    found = status.find(name)
    return int(status[found + len(name) :].split(None, 1)[0]) if found >= 0 else None


def _read(path: str) -> bytes:
    """Return what the file says; nothing when the process has ended or belongs to somebody else."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def own_peak_rss_bytes() -> int:
    """Return our own peak resident set: the value that the `ru_maxrss` of our children starts at."""
    import resource

    return rss_of(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def rss_of(ru_maxrss: int) -> int:
    """Return `ru_maxrss` in bytes; its unit is KiB on Linux and bytes on macOS."""
    return ru_maxrss if sys.platform == "darwin" else ru_maxrss * 1024


def die_with_parent(parent: int) -> None:
    """Be killed when `parent`, which has just forked us, dies (Linux); elsewhere nothing happens."""
    if not _LINUX:
        return
    import ctypes  # as below

    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:  # it died before we could ask
        os._exit(0)


def adopt_orphans(adopt: bool) -> bool:
    """Make orphaned descendants children of this process (Linux); return whether that is so now.

    Without it a process that daemonizes becomes a child of init, and only its environment tells whose it is.
    """
    if not _LINUX:
        return False
    import ctypes  # 4 ms: only once a job has lived for a while

    try:
        return bool(ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(adopt), 0, 0, 0) == 0) and adopt
    except (OSError, AttributeError):
        return False
