"""What does observing a run cost? Feeds the events of many trivial tasks through each observer.

    python benchmarks/observers.py [--tasks 2000] [--cold]

Prints microseconds of processor time per task, beyond a sink that does nothing. `--cold` also runs a project
of trivial tasks for real, and prints the share of that. Processor time, because it is the same on a busy
machine.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from buildkit.core.execution import Cost, Decision, Execution, Reason, ReasonKind
from buildkit.core.plan import Plan, Task, TaskKind
from buildkit.engine import events
from buildkit.engine.job import JobOutcome, JobStatus
from buildkit.engine.loop import EventLoop
from buildkit.engine.scheduler import Scheduler
from buildkit.frontend.live import LiveView, Style
from buildkit.frontend.screen import Screen
from buildkit.observe.chrome_trace import ChromeTrace
from buildkit.observe.context import RunContext, TraceContext
from buildkit.observe.executions import Executions, FinishedRun, WrittenAtTheEnd
from buildkit.observe.files import AppendedFile, ReplacedFile
from buildkit.observe.forecast import Forecast
from buildkit.observe.jsonl import EventLines
from buildkit.observe.junit import write_junit
from buildkit.observe.observer import FanOut, Observer
from buildkit.observe.progress import Progress
from buildkit.observe.prometheus import write_metrics
from buildkit.observe.status import StatusFile
from buildkit.state.runs import RunInfo

TASK_S = 0.001  # what a trivial task takes; periodic work is paid per second, and this makes it per task


class Nobody:
    """The reporter's sink, without a reporter."""

    def handle(self, event: events.Event) -> None:
        """Do nothing."""


class Rig:
    """A run of trivial tasks, one after the other, at the pace of real ones."""

    def __init__(self, tasks: int, folder: str) -> None:
        self.folder = folder
        os.makedirs(os.path.join(folder, ".buildkit"), exist_ok=True)
        self.tasks = [Task(f"group:task_{number:05}", TaskKind.COMMANDS) for number in range(tasks)]
        self.plan = Plan(self.tasks, [task.name for task in self.tasks])
        self.loop = EventLoop()

    def context(self) -> RunContext:
        """Return the identity of a run."""
        info = RunInfo(time.time(), ("doit",), self.folder, width=2)
        return RunContext(info, TraceContext.begin(None), time.monotonic_ns(), time.time())

    def play(self, choose: Callable[[RunContext, Progress, Forecast], list[Observer]]) -> float:
        """Return the processor time per task in microseconds."""
        known = dict.fromkeys((task.name for task in self.tasks), 1_000_000)
        context = self.context()
        scheduler = Scheduler(self.plan, by_critical_path=True)
        scheduler.add(self.plan.selected)
        while (node := scheduler.next_to_judge()) is not None:
            scheduler.queue(node)
        progress = Progress()
        forecast = Forecast(scheduler, progress, width=2, pools={}, predicted=lambda: known)
        fan = FanOut(Nobody(), choose(context, progress, forecast), print)
        fan.handle(events.RunStarted(self.plan, 2))
        spent = 0.0
        for number, task in enumerate(self.tasks):
            node = scheduler.next_to_start(lambda _pool: True)
            assert node is not None
            due = time.perf_counter() + TASK_S
            execution = Execution(
                task.name,
                Decision.EXECUTED,
                (Reason(ReasonKind.NEVER_RUN),),
                started_ns=number * 1_000_000,
                cost=Cost(wall_ns=1_000_000, user_ns=500_000, system_ns=300_000, rss_bytes=2_000_000),
                exit_code=0,
                worker="process",
                slot=1,
                beside=1.0,
                load=1.0,
            )
            outcome = JobOutcome(JobStatus.OK, ended_ns=time.monotonic_ns())
            started, ended = events.Started(task, 1), events.Succeeded(task, outcome, execution)
            before = time.thread_time()
            fan.handle(events.Judged(task))
            fan.handle(started)
            fan.handle(ended)
            self.loop.run_once(0)
            spent += time.thread_time() - before
            scheduler.finish(node, Decision.EXECUTED)
            time.sleep(max(0.0, due - time.perf_counter()))
        before = time.thread_time()
        fan.handle(events.RunFinished())
        fan.finish(0)
        spent += time.thread_time() - before
        return spent / len(self.tasks) * 1e6


def cold_run_us(tasks: int) -> float:
    """Return the wall time per task of a real cold run of trivial tasks, in microseconds."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "dodo.py").write_text(
            "def task_t():\n"
            f"    for n in range({tasks}):\n"
            "        yield {'name': str(n), 'actions': [f'true > out{n}'], 'targets': [f'out{n}'],\n"
            "               'file_dep': ['dodo.py']}\n"
        )
        environ = {**os.environ, "BUILDKIT_CACHE_DIR": os.path.join(folder, "cache")}
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "doit", "-n", "2"],
            cwd=folder,
            env=environ,
            stdout=subprocess.DEVNULL,
            check=True,
        )
        wall_us = (time.perf_counter() - started) / tasks * 1e6
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        print(f"cold run: {wall_us:.0f} us of wall time a task, {cpu / tasks * 1e6:.0f} us of processor time")
        return wall_us


def main() -> None:
    """Parse options and measure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--cold", action="store_true", help="also run trivial tasks for real")
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as folder:
        rig = Rig(options.tasks, folder)

        def path(name: str) -> str:
            return os.path.join(folder, name)

        def view(progress: Progress, forecast: Forecast) -> list[Observer]:
            terminal = os.open(os.devnull, os.O_WRONLY)
            screen = Screen(terminal, size=lambda _fd: (80, 24))
            style = Style(colours=True, unicode=True)
            return [
                LiveView(screen, progress, forecast, rig.loop, style, writes_directly=lambda _task: False)
            ]

        def at_the_end(
            write: Callable[[ReplacedFile, FinishedRun], None], context: RunContext
        ) -> list[Observer]:
            executions = Executions()
            to_file = partial(write, ReplacedFile(path("x"), "--x"))
            return [executions, WrittenAtTheEnd("file", to_file, context, executions)]

        cases: dict[str, Callable[[RunContext, Progress, Forecast], list[Observer]]] = {
            "nobody": lambda _context, _progress, _forecast: [],
            "status.json (always on)": lambda context, progress, forecast: [
                progress,
                StatusFile(context, progress, forecast, rig.loop),
            ],
            "live view": lambda _context, progress, forecast: [progress, *view(progress, forecast)],
            "--events": lambda context, _progress, _forecast: [
                EventLines(AppendedFile(path("events"), "--events"), context)
            ],
            "--trace": lambda context, _progress, _forecast: [
                ChromeTrace(ReplacedFile(path("trace"), "--trace"), context, rig.loop)
            ],
            "--junit": lambda context, _progress, _forecast: at_the_end(write_junit, context),
            "--prometheus": lambda context, _progress, _forecast: at_the_end(write_metrics, context),
        }
        cold_us = cold_run_us(options.tasks) if options.cold else None
        nothing_us = min(rig.play(cases["nobody"]) for _ in range(3))
        for name, choose in list(cases.items())[1:]:
            cost_us = min(rig.play(choose) for _ in range(3)) - nothing_us
            share = "" if cold_us is None else f", {cost_us / cold_us:.2%} of a cold run"
            print(f"{name:26} {cost_us:6.1f} us a task{share}")
        rig.loop.close()


if __name__ == "__main__":
    main()
