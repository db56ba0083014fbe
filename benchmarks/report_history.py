"""Makes a history of many runs, and measures its size and what `doit report` takes on it.

`python benchmarks/report_history.py [RUNS] [TASKS] [DIRECTORY]`, by default a thousand of each in a
temporary directory. A history that is already in DIRECTORY is measured as it is.
"""

from __future__ import annotations

import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time

from buildkit.core.execution import Cost, Decision, Execution, Reason, ReasonKind
from buildkit.state.database import database_path, open_database
from buildkit.state.history import History
from buildkit.state.runs import RunInfo, RunSummary

DAYS = 29
SLOTS = 8
COMMANDS = (
    ("doit report", ["report"]),
    ("doit report --json", ["report", "--json"]),
    ("doit report --task 'stage0:*'", ["report", "--task", "stage0:*"]),
    ("doit report --fail-on regression", ["report", "--fail-on", "regression"]),
)


def make(directory: str, runs: int, tasks: int) -> None:
    """Record `runs` runs that execute all of `tasks` tasks: noise, a few steps, a few failures."""
    rng = random.Random(1)
    names = [f"stage{number % 20}:task{number}" for number in range(tasks)]
    typical = [0.05 * rng.lognormvariate(0, 1.2) for _ in names]
    noise = [rng.uniform(0.01, 0.15) for _ in names]
    # The last of these steps are still alarms when the history ends.
    steps = {
        rng.randrange(tasks): (rng.uniform(1.3, 2), int(runs * rng.uniform(0.3, 0.99))) for _ in range(20)
    }
    flaky = {rng.randrange(tasks) for _ in range(3)}
    connection = open_database(directory, warn=print)
    history = History(connection)
    started = time.time() - DAYS * 86400
    for run in range(runs):
        executions = []
        slots = [0] * SLOTS
        slower = 1 + 0.03 * rng.gauss(0, 1)
        for number, name in enumerate(names):
            factor = steps[number][0] if number in steps and run >= steps[number][1] else 1.0
            wall_ns = int(typical[number] * factor * slower * rng.lognormvariate(0, noise[number]) * 1e9)
            slot = min(range(SLOTS), key=slots.__getitem__)
            failed = number in flaky and rng.random() < 0.05
            executions.append(
                Execution(
                    name,
                    Decision.FAILED if failed else Decision.EXECUTED,
                    (Reason(ReasonKind.INPUT_CHANGED, (f"src/{number}.c",)),),
                    slots[slot],
                    rng.randrange(10**6),
                    Cost(wall_ns, int(wall_ns * 0.8), int(wall_ns * 0.1), rng.randrange(2**22, 2**24)),
                    exit_code=int(failed),
                    worker="process",
                    slot=slot + 1,
                    beside=rng.uniform(4, 7),
                    load=rng.random(),
                    bytes_stored=rng.randrange(2**14),
                    key=f"{number * 1000 + run // 3:015x}",
                )
            )
            slots[slot] += wall_ns
        info = RunInfo(
            started + run * DAYS * 86400 / runs, ("doit", "-n", "8"), directory, width=SLOTS,
            machine="benchmark", cores=8.0, git_commit=f"{run:040x}", git_dirty=False,
        )  # fmt: skip
        failures = sum(execution.decision is Decision.FAILED for execution in executions)
        run_id = history.begin_run(info)
        history.add_executions(run_id, executions)
        history.finish_run(
            run_id,
            RunSummary(max(slots), int(failures > 0), executed=tasks - failures, failed=failures,
                       bytes_stored=sum(execution.bytes_stored for execution in executions)),
        )  # fmt: skip
    connection.close()


def measure(directory: str, arguments: list[str], repeats: int = 5) -> tuple[float, float]:
    """Return the median wall and CPU time in seconds of the command in a process of its own."""
    walls, cpus = [], []
    for _ in range(repeats):
        began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-m", "doit", *arguments], cwd=directory, stdout=subprocess.DEVNULL, check=False
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        walls.append(time.perf_counter() - began)
        cpus.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(walls), statistics.median(cpus)


def recording(tasks: int, repeats: int = 5) -> float:
    """Return the median CPU time in seconds that a run of so many tasks spends on recording them."""
    executions = [
        Execution(
            f"task{number}",
            Decision.EXECUTED,
            (Reason(ReasonKind.NEVER_RUN),),
            number,
            number,
            Cost(10**6, 10**5, 10**5, 2**22, 0, 4096),
            exit_code=0,
            worker="process",
            slot=1,
            beside=1.0,
            load=0.5,
            key=f"{number:015x}",
        )
        for number in range(tasks)
    ]
    times = []
    with tempfile.TemporaryDirectory() as directory:
        connection = open_database(directory, warn=print)
        history = History(connection)
        for _ in range(repeats):
            began = time.process_time()
            run_id = history.begin_run(RunInfo(time.time(), ("doit",), directory, machine="benchmark"))
            for first in range(0, tasks, 250):  # a run writes what it has four times a second
                history.add_executions(run_id, executions[first : first + 250])
            history.finish_run(run_id, RunSummary(10**9, 0, executed=tasks))
            history.retire(max_age_s=30 * 86400, max_runs=1000, at_once=4)
            times.append(time.process_time() - began)
        connection.close()
    return statistics.median(times)


def main() -> None:
    """Make the history if need be, and print the figures."""
    runs, tasks = (int(sys.argv[index]) if len(sys.argv) > index else 1000 for index in (1, 2))
    directory = sys.argv[3] if len(sys.argv) > 3 else tempfile.mkdtemp()
    if not os.path.exists(database_path(directory)):
        began = time.perf_counter()
        make(directory, runs, tasks)
        print(f"{runs:,} runs of {tasks:,} tasks, recorded in {time.perf_counter() - began:.0f} s")
    size = os.path.getsize(database_path(directory))
    print(f"{platform.platform()}, {os.cpu_count()} cores")
    print(f"{directory}: {size / 1e6:.0f} MB")
    print("    wall       CPU")
    for name, arguments in COMMANDS:
        wall_s, cpu_s = measure(directory, arguments)
        print(f"{wall_s:8.3f}  {cpu_s:8.3f} s  {name}")
    print(f"          {recording(tasks):8.3f} s  recording a run of {tasks:,} tasks")
    print(f"{resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:.0f} MB at most")


if __name__ == "__main__":
    main()
