"""Try to break every promise, for long, and print a table: promise, tries, failures.

    python tests/faults/table.py [ROUNDS]

`make faults` runs this. ROUNDS (20) scales how often each test tries; the tests that `make test` runs are the
same ones with 1. Whatever cannot be tried on this machine is listed with its reason.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

from tabulate import tabulate

HERE = Path(__file__).parent
PROMISES = {
    "1 a build from scratch gives the same": ("test_oracle", "test_wrong_skips"),
    "2 edits during a run": ("test_edits_during_a_run",),
    "3 kill at any moment": ("test_killed_runs", "test_cache_kill"),
    "4 full and failing disks": ("test_runs_and_disks", "test_cache_full_disk"),
    "5 damaged files": ("test_damaged_runs", "test_cache_damage"),
    "6 many runs at once": ("test_runs_together", "test_cache_race"),
    "7 processes end": ("test_processes",),
    "8 parallel as in sequence": ("test_order", "test_undeclared_writes"),
    "9 security": ("test_security",),
    "10 clocks that step": ("test_clock",),
    "11 compatibility": ("test_compat",),
}


def promise_of(test: str) -> str:
    """Return the promise that a test is about."""
    module = test.partition(".py::")[0].rpartition("/")[2]
    return next((promise for promise, modules in PROMISES.items() if module in modules), "other")


def main(rounds: str = "20") -> int:
    """Run all fault tests; return 1 when one failed."""
    started = time.monotonic()
    for signum in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):  # nohup: else ignored by all tests
        signal.signal(signum, signal.SIG_DFL)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report"
        env = os.environ | {
            "BUILDKIT_FAULT_ROUNDS": rounds,
            "BUILDKIT_FAULT_REPORT": str(report),
            "PYTHONPATH": str(HERE),
        }
        subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "-p",
                "tally",
                HERE,
                HERE.parent / "compat",
                "--timeout",
                "7200",
            ],
            env=env,
            cwd=HERE.parents[1],
            check=False,
        )
        lines = [json.loads(line) for line in report.read_text().splitlines()] if report.exists() else []
    tries: Counter[str] = Counter()
    failures: dict[str, list[str]] = defaultdict(list)
    skipped: Counter[str] = Counter()
    for test, outcome, tried, reason in lines:
        promise = promise_of(test)
        if outcome == "skipped":
            skipped[f"{promise}: {reason.removeprefix('Skipped: ')}"] += 1
            continue
        tries[promise] += tried
        if outcome == "failed":
            failures[promise].append(test)
    rows = [(promise, tries[promise], len(failures[promise])) for promise in PROMISES]
    print(tabulate([*rows, ("all", sum(tries.values()), sum(map(len, failures.values())))],
                   headers=("promise", "tries", "failures")))  # fmt: skip
    print(f"{time.monotonic() - started:.0f} s, rounds: {rounds}")
    for reason, count in skipped.items():
        print(f"not tried here ({count}): {reason}")
    for promise, tests in failures.items():
        print(*(f"failed: {promise}: {test}" for test in tests), sep="\n", end="\n" if tests else "")
    return 1 if not lines or any(failures.values()) else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
