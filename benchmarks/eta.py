"""How right is the ETA after a tenth of a run? Compares the forecast with simpler ones.

    python benchmarks/eta.py            simulated runs: many graphs, widths and kinds of noise
    python benchmarks/eta.py --real     real runs of a generated project, polled through status.json

The error is that of the whole run: |predicted end - end| / duration. "left" counts it against what was left.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from buildkit.core.execution import Cost, Decision, Execution
from buildkit.core.plan import Plan, Task, TaskKind
from buildkit.engine import events
from buildkit.engine.job import JobOutcome, JobStatus
from buildkit.engine.scheduler import Scheduler
from buildkit.observe.forecast import Forecast
from buildkit.observe.progress import Progress

MS = 1_000_000
AT = 0.1  # share of the run after which is asked
GOAL = 0.15


@dataclass(frozen=True)
class Scenario:
    """A kind of project on a kind of machine."""

    name: str
    tasks: int
    width: int
    waits: Callable[[int, random.Random], list[int]]  # number of a task -> numbers of earlier ones
    tail: float  # sigma of the lognormal distribution of typical durations
    noise: float = 0.1  # sigma of one execution around the task's typical duration
    mood: float = 0.1  # sigma of what all executions of a run share: a busy neighbour, a cold disk
    lost_ms: float = 2.0  # between two tasks of a slot
    unseen: float = 0.0  # share of the tasks without history
    warm: float = 0.0  # share of the tasks that are up to date


def flat(_number: int, _rng: random.Random) -> list[int]:
    """Return no edges."""
    return []


def layered(number: int, rng: random.Random) -> list[int]:
    """Return a few edges to tasks of the layer before."""
    first = max(0, (number // 20 - 1) * 20)
    before = range(first, number // 20 * 20)
    return rng.sample(before, min(2, len(before)))


def chains(number: int, _rng: random.Random) -> list[int]:
    """Return the edge to the task before, in chains of ten."""
    return [number - 1] if number % 10 else []


def funnel(number: int, _rng: random.Random) -> list[int]:
    """Return many small tasks that a few big ones wait for."""
    return list(range(max(0, number - 12), number)) if number % 13 == 12 else []


SCENARIOS = [
    Scenario("flat, 40 tasks, 2 slots", 40, 2, flat, 0.8),
    Scenario("flat, 400 tasks, 8 slots", 400, 8, flat, 1.0),
    Scenario("flat, heavy tail", 200, 8, flat, 1.6),
    Scenario("layered, 8 slots", 300, 8, layered, 0.8),
    Scenario("chains, 4 slots", 200, 4, chains, 0.8),
    Scenario("funnels, 4 slots", 260, 4, funnel, 0.8),
    Scenario("noisy tasks (30%)", 200, 4, layered, 0.8, noise=0.3),
    Scenario("moody machine (25%)", 200, 4, layered, 0.8, mood=0.25),
    Scenario("short tasks, 20 ms", 1000, 4, flat, 0.5, lost_ms=5),
    Scenario("10% never seen", 200, 4, layered, 0.8, unseen=0.1),
    Scenario("60% up to date", 300, 4, layered, 0.8, warm=0.6),
]


@dataclass(frozen=True)
class Question:
    """What each predictor said at the moment of the question, in ns from the start; None: nothing."""

    asked_ns: int
    answers: dict[str, float | None]


def simulate(scenario: Scenario, seed: int) -> dict[str, tuple[float, float] | None]:
    """Return by predictor its error over the whole run, and over what was left."""
    rng = random.Random(seed)
    unit = 20 * MS if "short" in scenario.name else 1000 * MS
    typical = [unit * rng.lognormvariate(0, scenario.tail) for _ in range(scenario.tasks)]
    edges = [scenario.waits(number, rng) for number in range(scenario.tasks)]
    fresh = {n for n in range(scenario.tasks) if rng.random() < scenario.warm}
    for number, before in enumerate(edges):  # what waits for something that runs, runs too
        if any(other not in fresh for other in before):
            fresh.discard(number)

    def execution(mood: float, number: int) -> int:
        return int(typical[number] * mood * rng.lognormvariate(0, scenario.noise))

    moods = [rng.lognormvariate(0, scenario.mood) for _ in range(5)]
    known = {
        f"t{n}": int(statistics.median(execution(mood, n) for mood in moods))
        for n in range(scenario.tasks)
        if rng.random() >= scenario.unseen
    }
    today = rng.lognormvariate(0, scenario.mood)
    actual = {f"t{n}": execution(today, n) for n in range(scenario.tasks)}
    plan = Plan(
        [
            Task(f"t{n}", TaskKind.COMMANDS, waits=tuple(f"t{m}" for m in edges[n]))
            for n in range(scenario.tasks)
        ],
        [f"t{n}" for n in range(scenario.tasks)],
    )
    skipped = {f"t{n}" for n in fresh}
    duration, _ = play(plan, scenario, actual, known, skipped, ask_at_ns=None)
    end, question = play(plan, scenario, actual, known, skipped, ask_at_ns=int(AT * duration))
    assert question is not None
    assert end == duration
    return {
        name: None
        if answer is None
        else (abs(answer - end) / end, abs(answer - end) / (end - question.asked_ns))
        for name, answer in question.answers.items()
    }


def play(
    plan: Plan,
    scenario: Scenario,
    actual: dict[str, int],
    known: dict[str, int],
    skipped: set[str],
    ask_at_ns: int | None,
) -> tuple[int, Question | None]:
    """Run the real scheduler on a clock of paper; return the duration, and the answers at `ask_at_ns`."""
    now = 0
    lost_ns = int(scenario.lost_ms * MS)
    guess = sorted(known.values())[int(len(known) * 0.9)]
    scheduler = Scheduler(plan, by_critical_path=True, expected_s=lambda name: known.get(name, guess) / 1e9)
    progress = Progress(clock_ns=lambda: now)
    forecast = Forecast(
        scheduler,
        progress,
        width=scenario.width,
        pools={},
        predicted=lambda: known,
        clock_ns=lambda: now,
    )
    handlers = progress.handlers
    scheduler.add(plan.selected)
    slots = list(range(scenario.width, 0, -1))
    ends: list[tuple[int, int, object, Execution]] = []
    free_ns: dict[int, int] = {}
    question = None
    count = 0
    while True:
        while (node := scheduler.next_to_judge()) is not None:
            if node.task.name in skipped:
                scheduler.finish(node, Decision.SKIPPED)
                handlers[events.Skipped](
                    events.Skipped(node.task, Execution(node.task.name, Decision.SKIPPED))
                )
                continue
            node.ready_ns = now
            scheduler.queue(node)
        while slots and (node := scheduler.next_to_start(lambda _pool: True)) is not None:
            slot = slots.pop()
            name = node.task.name
            starts = max(now, free_ns.get(slot, -lost_ns) + lost_ns)
            started = Execution(name, Decision.EXECUTED, started_ns=starts, slot=slot)
            started.queue_ns = starts - node.ready_ns
            started.cost = Cost(wall_ns=actual[name])
            before, now = now, starts
            handlers[events.Started](events.Started(node.task, slot))
            now = before
            count += 1
            heapq.heappush(ends, (starts + actual[name], count, node, started))
        if not ends:
            return now, question
        if ask_at_ns is not None and question is None and ends[0][0] > ask_at_ns:
            now = max(now, ask_at_ns)
            question = Question(now, answers(now, progress, forecast, scenario, known, len(actual)))
        now, _, node, ended = heapq.heappop(ends)
        scheduler.finish(node, Decision.EXECUTED)
        outcome = JobOutcome(JobStatus.OK, ended_ns=now)
        free_ns[ended.slot] = now
        slots.append(ended.slot)
        handlers[events.Succeeded](events.Succeeded(node.task, outcome, ended))


def answers(
    now: int, progress: Progress, forecast: Forecast, scenario: Scenario, known: dict[str, int], total: int
) -> dict[str, float | None]:
    """Return when the run will end, as each predictor sees it."""
    estimate = forecast.estimate()
    done = progress.done
    executed = progress.count(Decision.EXECUTED)
    left = total - done
    mean = statistics.mean(known.values())
    walls = [each.wall_ns for each in progress.finished]
    return {
        "forecast": None if estimate is None else float(now + estimate.left_ns),
        "share of tasks done": now * total / done if done else None,
        "mean of this run": now + left * statistics.mean(walls) / scenario.width if executed else None,
        "mean of history": now + left * mean / scenario.width,
    }


def simulated(runs: int) -> None:
    """Print errors by scenario and predictor."""
    names = ["forecast", "share of tasks done", "mean of this run", "mean of history"]
    print(f"median error of the whole run after a tenth of it (share within {GOAL:.0%}), {runs} runs each")
    print(f"{'scenario':28}" + "".join(f"{name:>24}" for name in names) + f"{'forecast, left':>20}")
    every: list[float] = []
    for scenario in SCENARIOS:
        results = [simulate(scenario, seed) for seed in range(runs)]
        cells = []
        for name in names:
            errors = [result[name][0] if result[name] else 1.0 for result in results]
            within = sum(error <= GOAL for error in errors) / len(errors)
            cells.append(f"{statistics.median(errors):>15.1%} ({within:>4.0%})")
            if name == "forecast":
                every += errors
        left = [result["forecast"][1] if result["forecast"] else 1.0 for result in results]
        within = sum(error <= GOAL for error in left) / len(left)
        cells.append(f"{statistics.median(left):>11.1%} ({within:>4.0%})")
        print(f"{scenario.name:28}" + "".join(f"{cell:>24}" for cell in cells[:-1]) + f"{cells[-1]:>20}")
    within = sum(error <= GOAL for error in every) / len(every)
    ninth = sorted(every)[int(len(every) * 0.9)]
    print(
        f"all: median {statistics.median(every):.1%}, 90% below {ninth:.1%}, within {GOAL:.0%}: {within:.1%}"
    )


DODO = """
import random
R = random.Random(7)
def task_work():
    for n in range({tasks}):
        seconds = 0.08 * R.lognormvariate(0, 0.9)
        busy = R.random() < 0.5
        code = f"import time; t=time.process_time()\\nwhile time.process_time()-t<{{seconds}}: pass"
        action = ['python3', '-S', '-c', code] if busy else ['sleep', str(seconds)]
        yield {{'name': f'{{n:03}}', 'actions': [action],
               'task_dep': [f'work:{{n-20:03}}'] if n >= 20 and n % 3 else []}}
"""


def real(tasks: int, warm_ups: int, measured: int) -> None:
    """Print errors of real runs, as a reader of status.json sees them."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "dodo.py").write_text(DODO.format(tasks=tasks))
        environ = {**os.environ, "BUILDKIT_CACHE_DIR": os.path.join(folder, "cache")}
        command = [sys.executable, "-m", "doit", "-n", "auto"]
        errors = []
        for number in range(warm_ups + measured):
            before = time.time()
            run = subprocess.Popen(
                command, cwd=folder, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            seen: dict[float, dict[str, float]] = {}
            while run.poll() is None:
                try:
                    status = json.loads(Path(folder, ".buildkit", "status.json").read_text())
                except (OSError, ValueError):
                    status = {}
                if status.get("started_at", 0) > before and status["state"] == "running":
                    seen[status["updated_at"]] = status
                time.sleep(0.1)
            last = json.loads(Path(folder, ".buildkit", "status.json").read_text())
            took = last["updated_at"] - last["started_at"]
            at = [
                s for s in seen.values() if "eta_at" in s and s["updated_at"] - s["started_at"] >= AT * took
            ]
            if number >= warm_ups and at:
                error = (at[0]["eta_at"] - last["updated_at"]) / took
                share = (at[0]["updated_at"] - at[0]["started_at"]) / took
                worst = max(abs(s["eta_at"] - last["updated_at"]) / took for s in at)
                errors.append(abs(error))
                print(
                    f"run of {took:.1f} s: asked at {share:.0%}, error {error:+.1%}; worst later {worst:.1%}"
                )
        print(f"median error {statistics.median(errors):.1%}, largest {max(errors):.1%}")


def main() -> None:
    """Parse options and measure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--real", action="store_true", help="run a real project instead of simulating")
    parser.add_argument("--runs", type=int, default=40, help="simulated runs per scenario")
    parser.add_argument("--tasks", type=int, default=150, help="tasks of the real project")
    parser.add_argument(
        "--measured", type=int, default=5, help="real runs that are measured, after five others"
    )
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}")
    if options.real:
        real(options.tasks, 5, options.measured)
    else:
        simulated(options.runs)


if __name__ == "__main__":
    main()
