"""What the machine is doing, sampled now and then: processors and memory.

What belongs here: reading the operating system. Who wants the numbers decides how often.
"""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sample:
    """The machine at one moment. None: this system does not say."""

    busy_cpus: float | None  # processors at work since the last sample, on average
    memory_used_bytes: int | None  # of the whole machine, without what it could give back


class MachineSampler:
    """Takes samples; the first one has no processors, because they are counted between two of them."""

    def __init__(self, root: str = "/") -> None:
        """`root` is where /proc is looked for."""
        self._root = root
        self._before: tuple[int, int] | None = None
        self._cpus = os.cpu_count() or 1

    def take(self) -> Sample:
        """Return a sample; costs about 0.1 ms on Linux."""
        return Sample(self._busy(), self._memory())

    def _busy(self) -> float | None:
        ticks = self._ticks()
        before, self._before = self._before, ticks
        if ticks is None or before is None or ticks[1] <= before[1]:
            return None
        return self._cpus * (ticks[0] - before[0]) / (ticks[1] - before[1])

    def _ticks(self) -> tuple[int, int] | None:
        """Return (ticks at work, all ticks) of all processors together since the system started."""
        try:
            with open(os.path.join(self._root, "proc/stat"), encoding="ascii", errors="replace") as file:
                # proc(5): user nice system idle iowait irq softirq steal; what follows is in them already
                ticks = [int(text) for text in file.readline().split()[1:9]]
        except (OSError, ValueError):
            return None
        if len(ticks) < 4:
            return None
        return sum(ticks) - sum(ticks[3:5]), sum(ticks)

    def _memory(self) -> int | None:
        found = {}
        try:
            with open(os.path.join(self._root, "proc/meminfo"), encoding="ascii", errors="replace") as file:
                for line in file:
                    name, _, rest = line.partition(":")
                    if name in ("MemTotal", "MemAvailable"):
                        found[name] = int(rest.split()[0]) * 1024
                        if len(found) == 2:
                            return found["MemTotal"] - found["MemAvailable"]
        except (OSError, ValueError, IndexError):
            return None
        return None
