"""Commands measured in turns: what disturbs the machine disturbs all of them.

What belongs here: starting, waiting, medians. Ratios are taken between medians of the same turns.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Sample:
    """One run of a command."""

    wall_s: float
    cpu_s: float
    rss_bytes: int


@dataclass
class Contender:
    """A command, and what is done ahead of each of its runs, which is not measured."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    before: Callable[[], None] = lambda: None
    folder: Path | None = None  # where it runs, if not where all do
    samples: list[Sample] = field(default_factory=list)

    @property
    def wall_s(self) -> float:
        """Return the median wall time."""
        return statistics.median(sample.wall_s for sample in self.samples)

    @property
    def fastest_s(self) -> float:
        """Return the shortest wall time: what it takes where nothing disturbs."""
        return min(sample.wall_s for sample in self.samples)

    @property
    def cpu_s(self) -> float:
        """Return the median processor time of the command and its children."""
        return statistics.median(sample.cpu_s for sample in self.samples)

    @property
    def rss_bytes(self) -> int:
        """Return the median peak memory."""
        return int(statistics.median(sample.rss_bytes for sample in self.samples))


def run(command: Sequence[str], folder: Path, env: Mapping[str, str]) -> Sample:
    """Run a command with its output thrown away; RuntimeError where it fails."""
    before_s = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=folder, env={**os.environ, **env}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - before_s
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} in {folder}: exit code {process.returncode}")
    return Sample(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def sample_of(step: Callable[[], object]) -> Sample:
    """Measure a call, and the processes that it waits for; the memory is that of this process."""
    before_s, before = time.perf_counter(), os.times()
    step()
    wall_s, after = time.perf_counter() - before_s, os.times()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Sample(wall_s, sum(after[:4]) - sum(before[:4]), peak)


def measure(contenders: Sequence[Contender], folder: Path, turns: int) -> None:
    """Fill the samples, one run of each in every turn; the first turn only warms up."""
    for turn in range(turns + 1):
        for contender in contenders:
            contender.before()
            sample = run(contender.command, contender.folder or folder, contender.env)
            if turn:
                contender.samples.append(sample)
