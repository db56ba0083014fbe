"""What this machine offers, and how many tasks may therefore run side by side.

Counts what we may use (affinity mask, cgroup limits of every level), not what is built in. How the width
changes during a run, and what history says about tasks, do not belong here.
"""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Iterator, Mapping
from enum import Enum

from buildkit.core.errors import UsageError
from buildkit.core.record import Record

_SLOT_BYTES = 256 * 1024 * 1024  # memory that one slot must find, as long as nothing is known of the tasks
_LARGEST_PERCENT = 1000
_MOST_DIGITS = 6
_UNLIMITED_BYTES = 1 << 60  # cgroup v1 writes "no limit" as a number near 2**63
_CPUINFO_BYTES = 4096  # the first processor's entry; the whole file takes milliseconds on large machines


class Machine(Record):
    """What one run may use, as it was when it began."""

    cpus: float  # processors that we may use; a quota may make it a fraction
    memory_bytes: int | None  # available now, within the limits of our cgroups; None: unknown
    load_1m: float | None  # one-minute load average
    description: str  # model, architecture, cpus, runner image: durations are comparable where it is equal

    @classmethod
    def probe(cls, root: str = "/", environ: Mapping[str, str] | None = None) -> Machine:
        """Return this machine; `root` is where /proc and /sys are looked for."""
        groups = list(_control_groups(root))
        cpus = min([float(_affinity()), *_cpu_limits(groups)])
        memory = [size for size in (_available_memory(root), *_memory_limits(groups)) if size is not None]
        try:
            load: float | None = os.getloadavg()[0]
        except OSError:
            load = None
        description = _describe(root, cpus, os.environ if environ is None else environ)
        return cls(cpus, min(memory, default=None), load, description)


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


# --- control groups


class _ControlGroup(Record):
    """One level of a hierarchy: the folder with its files, and which version they are."""

    path: str
    unified: bool  # version 2
    controllers: frozenset[str]  # of version 1


def _control_groups(root: str) -> Iterator[_ControlGroup]:
    """Yield the groups that this process is in, from its own up to the root of each hierarchy."""
    mounts = list(_mounts(root))
    for line in _read(os.path.join(root, "proc/self/cgroup")).splitlines():
        number, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        controllers = frozenset(names.split(",")) - {""}
        unified = number == "0" and not controllers
        for mount, below, mount_unified, mount_controllers in mounts:
            if mount_unified is not unified or not controllers <= mount_controllers:
                continue
            # Inside a container the mount shows a part of the hierarchy; the path may be told from the host.
            relative = (
                os.path.relpath(path, below) if below != "/" and path.startswith(below) else path.lstrip("/")
            )
            at = os.path.normpath(os.path.join(root, mount.lstrip("/"), relative))
            top = os.path.normpath(os.path.join(root, mount.lstrip("/")))
            while at.startswith(top):
                if os.path.isdir(at):
                    yield _ControlGroup(at, unified, controllers)
                if at == top:
                    break
                at = os.path.dirname(at)
            break


def _mounts(root: str) -> Iterator[tuple[str, str, bool, frozenset[str]]]:
    """Yield (mount point, root of the mount, is version 2, controllers); proc(5): mountinfo."""
    for line in _read(os.path.join(root, "proc/self/mountinfo")).splitlines():
        head, separator, tail = line.partition(" - ")
        fields, kinds = head.split(), tail.split()
        if separator and kinds and kinds[0] in ("cgroup", "cgroup2") and len(fields) > 4:
            options = frozenset(kinds[-1].split(","))
            yield fields[4], fields[3], kinds[0] == "cgroup2", options


def _cpu_limits(groups: list[_ControlGroup]) -> Iterator[float]:
    for group in groups:
        if group.unified:
            quota, _, period = _read(os.path.join(group.path, "cpu.max")).strip().partition(" ")
        elif "cpu" in group.controllers:
            quota = _read(os.path.join(group.path, "cpu.cfs_quota_us")).strip()
            period = _read(os.path.join(group.path, "cpu.cfs_period_us")).strip()
        else:
            continue
        if quota.isdecimal() and period.isdecimal() and int(period) and int(quota):
            yield int(quota) / int(period)


def _memory_limits(groups: list[_ControlGroup]) -> Iterator[int]:
    """Yield what each group still allows: its limit, less what is used and cannot be given back."""
    for group in groups:
        if group.unified:
            limit, used, cache = "memory.max", "memory.current", "inactive_file"
        elif "memory" in group.controllers:
            limit, used, cache = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
        else:
            continue
        most = _read(os.path.join(group.path, limit)).strip()
        now = _read(os.path.join(group.path, used)).strip()
        if most.isdecimal() and now.isdecimal() and int(most) < _UNLIMITED_BYTES:
            lines = _read(os.path.join(group.path, "memory.stat")).splitlines()
            pairs = [line.partition(" ") for line in lines]
            reclaimable = next(
                (int(size) for name, _, size in pairs if name == cache and size.isdecimal()), 0
            )
            yield max(int(most) - max(int(now) - reclaimable, 0), 0)


def _available_memory(root: str) -> int | None:
    for line in _read(os.path.join(root, "proc/meminfo")).splitlines():
        words = line.split()
        if words[:1] == ["MemAvailable:"] and words[1].isdecimal() and words[2:] == ["kB"]:
            return int(words[1]) * 1024
    if sys.platform.startswith("linux"):
        return None
    import psutil  # 20 ms: only where there is no /proc

    return int(psutil.virtual_memory().available)


# --- the machine's name


def _describe(root: str, cpus: float, environ: Mapping[str, str]) -> str:
    parts = [_processor(root), os.uname().machine, f"{cpus:g} cpus", _runner(environ)]
    return "; ".join(part for part in parts if part)


def _processor(root: str) -> str:
    try:
        with open(os.path.join(root, "proc/cpuinfo"), encoding="utf-8", errors="replace") as file:
            head = file.read(_CPUINFO_BYTES)
    except OSError:
        head = ""
    for line in head.splitlines():
        name, _, model = line.partition(":")
        if name.rstrip() in ("model name", "Model", "Processor") and model.strip():
            return " ".join(model.split())
    if sys.platform != "darwin":
        return ""
    import subprocess  # macOS tells its processor's name in no other way

    asked = subprocess.run(
        ("/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"), capture_output=True, text=True, check=False
    )
    return asked.stdout.strip()


def _runner(environ: Mapping[str, str]) -> str:
    """Return the kind of CI runner, without what differs from one runner of a kind to the next."""
    image = environ.get("ImageOS", "")
    name = environ.get("RUNNER_NAME") or environ.get("CI_RUNNER_DESCRIPTION") or ""
    kind = re.sub(r"[0-9a-f]*\d[0-9a-f]*", "#", name) if name else ""
    return " ".join(part for part in (image, kind) if part)


# --- width


class WidthKind(Enum):
    """How a width was asked for."""

    AUTO = "auto"  # what the machine offers, less `number`
    COUNT = "count"  # `number` slots; 0: in this process, one after the other
    PERCENT = "percent"  # `number` percent of the processors


class Width(Record):
    """How many tasks may run side by side, as the user said it."""

    kind: WidthKind
    number: int = 0

    def resolve(self, machine: Machine) -> int:
        """Return the number of slots: at least 1, and 0 only where 0 was asked for."""
        if self.kind is WidthKind.COUNT:
            return self.number
        if self.kind is WidthKind.PERCENT:
            return max(1, math.floor(machine.cpus * self.number / 100))
        slots = math.ceil(machine.cpus)
        if machine.memory_bytes is not None:
            slots = min(slots, machine.memory_bytes // _SLOT_BYTES)
        return max(1, slots - self.number)


_WIDTH = r"(?P<auto>auto)(?:-(?P<less>[0-9]{1,6}))?|(?P<percent>[0-9]{1,6})%|(?P<count>[0-9]{1,6})"


def parse_width(text: str | int) -> Width:
    """Return what `-n` or `num_process` asks for; UsageError says what is accepted."""
    asked = str(text).strip()
    if asked.isascii() and asked.isdecimal() and len(asked) <= _MOST_DIGITS:
        return Width(WidthKind.COUNT, int(asked))  # spares most runs the compiling of the pattern
    found = re.fullmatch(_WIDTH, asked)
    if found is None or isinstance(text, bool):
        raise _bad_width(text)
    if found["auto"]:
        return Width(WidthKind.AUTO, int(found["less"] or 0))
    if found["count"]:
        return Width(WidthKind.COUNT, int(found["count"]))
    percent = int(found["percent"])
    if not 1 <= percent <= _LARGEST_PERCENT:
        raise _bad_width(text)
    return Width(WidthKind.PERCENT, percent)


def _bad_width(text: object) -> UsageError:
    return UsageError(
        f"'{text}' is not a number of processes: give 'auto', 'auto-1', a number such as 4, "
        f"a share of the processors from 1% to {_LARGEST_PERCENT}%, or 0 for one task after the other"
    )


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""  # not this system, or not this version of it
