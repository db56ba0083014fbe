"""Makes the history of a project that does not exist: what screenshots, tests and figures of the page show.

`python benchmarks/page_history.py DIRECTORY [RUNS] [TASKS]`. Times have noise, a few tasks got slower or
fail now and then, most runs find most tasks done, and the last run has a failure. The same numbers each time.
"""

from __future__ import annotations

import hashlib
import heapq
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from buildkit.core.execution import Cost, Decision, Execution, Reason, ReasonKind
from buildkit.core.graph import timeline
from buildkit.state.database import open_database
from buildkit.state.history import History
from buildkit.state.runs import RunInfo, RunSummary

SLOTS = 8
DAYS = 26
# Stage, its share of the tasks, typical seconds of one, and the stage that it waits for.
STAGES = (
    ("lint", 0.12, 1.6, None),
    ("compile", 0.44, 2.4, None),
    ("link", 0.03, 4.0, "compile"),
    ("test", 0.29, 4.5, "compile"),
    ("docs", 0.06, 2.0, None),
    ("e2e", 0.03, 11.0, "link"),
    ("image", 0.03, 6.0, "link"),
)
WORDS = (
    "account", "address", "basket", "billing", "cache", "catalog", "checkout", "coupon", "currency",
    "delivery", "export", "feed", "gateway", "import", "inventory", "invoice", "ledger", "login", "mail",
    "orders", "parser", "payment", "pricing", "profile", "queue", "refund", "report", "returns", "search",
    "session", "stock", "tax",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Made:
    """A task of the project."""

    name: str
    typical_s: float
    noise: float
    waits: tuple[str, ...] = ()
    step: tuple[float, float] | None = None  # ratio, and from which share of the runs on
    flaky: bool = False
    sla_s: float | None = None


def project(tasks: int, rng: random.Random) -> list[Made]:
    """Return about `tasks` tasks, each after what it waits for."""
    made: list[Made] = []
    names: dict[str, list[str]] = {}
    for stage, share, typical_s, before in STAGES:
        names[stage] = []
        for number in range(max(2, round(tasks * share))):
            suffix = "" if number < len(WORDS) else f"-{number // len(WORDS) + 1}"
            name = f"{stage}:{WORDS[number % len(WORDS)]}{suffix}"
            names[stage].append(name)
            waits = tuple(rng.sample(names[before], min(3, len(names[before])))) if before else ()
            made.append(
                Made(name, typical_s * rng.lognormvariate(-0.2, 0.6), rng.uniform(0.015, 0.06), waits)
            )
    return [special(task) for task in made] + [
        Made("package", 5.5, 0.02, tuple(names["image"] + names["e2e"]))
    ]


def special(task: Made) -> Made:
    """Return the task with a story where it has one."""
    if task.name == "test:checkout":
        return replace(task, typical_s=9.0, step=(1.38, 0.8), sla_s=12)
    if task.name == "compile:parser":
        return replace(task, typical_s=5.0, step=(1.22, 0.7))
    if task.name == "e2e:account":
        return replace(task, typical_s=14.0, sla_s=20)
    if task.name == "docs:account":
        return replace(task, typical_s=4.0, sla_s=8)
    return replace(task, flaky=task.name in ("e2e:basket", "test:gateway"))


def wall_ns(task: Made, progress: float, rng: random.Random) -> int:
    """Return how long the task takes when so much of the history has passed."""
    factor = task.step[0] if task.step and progress >= task.step[1] else 1.0
    return int(task.typical_s * factor * rng.lognormvariate(0, task.noise) * 1e9)


def inputs_of(task: Made) -> tuple[str, ...]:
    """Return two of the inputs of the task."""
    return (f"src/{task.name.replace(':', '/')}.c", "src/common.h")


def executions_of(tasks: Sequence[Made], run: int, runs: int, rng: random.Random) -> Iterator[Execution]:
    """Yield one run: which tasks were due, on which slot, from when to when."""
    progress = run / runs
    last = run == runs - 1
    share = 1.0 if run == 0 else 0.75 if last or rng.random() < 0.15 else rng.uniform(0.06, 0.5)
    slots = [(0, slot) for slot in range(1, SLOTS + 1)]
    ended: dict[str, int] = {}
    failed: set[str] = set()
    for task in tasks:
        touched = (
            rng.random() < share
            or (last and task.sla_s is not None)
            or (last and task.flaky)
            or bool(task.step and rng.random() < 0.7)
        )
        ready = max((ended.get(name, 0) for name in task.waits), default=0)
        key = hashlib.sha256(f"{task.name}{run // 3 if task.flaky else run}".encode()).hexdigest()[:15]
        if failed.intersection(task.waits):
            failed.add(task.name)
            yield Execution(
                task.name, Decision.UPSTREAM_FAILED, (Reason(ReasonKind.UPSTREAM, tuple(failed)[:1]),)
            )
            continue
        if not touched:
            if rng.random() < 0.35 and run:
                took = int(rng.lognormvariate(2.2, 0.7) * 1e6)
                ended[task.name] = ready + took
                yield Execution(
                    task.name,
                    Decision.RESTORED,
                    (Reason(ReasonKind.INPUT_CHANGED, inputs_of(task)),),
                    ready,
                    cost=Cost(took),
                    bytes_restored=rng.randrange(10**6),
                    key=key,
                    saved_ns=int(task.typical_s * 1e9),
                )
            continue
        free, slot = heapq.heappop(slots)
        began = max(free, ready) + rng.randrange(1, 4) * 10**6
        took = wall_ns(task, progress, rng)
        wrong = rng.random() < (0.16 if task.flaky else 0.0006) or (last and task.name == "test:gateway")
        heapq.heappush(slots, (began + took, slot))
        ended[task.name] = began + took
        if wrong:
            failed.add(task.name)
        yield Execution(
            task.name,
            Decision.FAILED if wrong else Decision.EXECUTED,
            (Reason(ReasonKind.INPUT_CHANGED, inputs_of(task)[: rng.randint(1, 2)]),),
            began,
            max(0, began - ready),
            Cost(
                took,
                int(took * 0.83),
                int(took * 0.06),
                int(task.typical_s * 4e7 * rng.lognormvariate(0, 0.05)),
            ),
            exit_code=int(wrong),
            worker="process",
            slot=slot,
            beside=rng.uniform(4, 7),
            load=rng.uniform(0.5, 0.9),
            bytes_stored=rng.randrange(2**20),
            key=key,
            sla_s=task.sla_s,
            log_path=f".buildkit/logs/{task.name.replace(':', '_')}.log" if wrong else None,
        )


def critical_path(tasks: Sequence[Made], executions: Sequence[Execution]) -> tuple[str, ...]:
    """Return the longest chain of executed tasks."""
    took = {each.task: each.cost.wall_ns for each in executions if each.decision is Decision.EXECUTED}
    order = [task.name for task in tasks if task.name in took]
    before = {task.name: [name for name in task.waits if name in took] for task in tasks}
    return timeline(order, before, took).critical


def make(directory: str, runs: int = 64, tasks: int = 150) -> None:
    """Record the history in the directory."""
    rng = random.Random(7)
    made = project(tasks, rng)
    connection = open_database(directory, warn=print)
    history = History(connection)
    started = time.time() - DAYS * 86400
    for run in range(runs):
        executions = list(executions_of(made, run, runs, rng))
        told = {each.task for each in executions}
        count = {decision: sum(each.decision is decision for each in executions) for decision in Decision}
        info = RunInfo(
            started + run * DAYS * 86400 / runs, ("doit", "-n", "auto"), directory, width=SLOTS,
            parallel="process",
            machine="AMD EPYC 7763, 8 CPUs", cores=8.0, python="3.12.4", platform="linux x86_64", ci="github",
            git_commit=hashlib.sha1(str(run).encode()).hexdigest(), git_dirty=False,
        )  # fmt: skip
        run_id = history.begin_run(info)
        history.add_executions(run_id, executions)
        history.finish_run(
            run_id,
            RunSummary(
                max((each.started_ns + each.cost.wall_ns for each in executions), default=0) + 40 * 10**6,
                int(count[Decision.FAILED] > 0),
                executed=count[Decision.EXECUTED],
                restored=count[Decision.RESTORED],
                skipped=len(made) - len(told),
                failed=count[Decision.FAILED],
                upstream_failed=count[Decision.UPSTREAM_FAILED],
                saved_ns=sum(int(task.typical_s * 1e9) for task in made if task.name not in told)
                + sum(each.saved_ns for each in executions),
                bytes_stored=sum(each.bytes_stored for each in executions),
                bytes_restored=sum(each.bytes_restored for each in executions),
                skipped_tasks=tuple(task.name for task in made if task.name not in told),
                critical_path=critical_path(made, executions),
            ),
        )
    connection.close()


if __name__ == "__main__":
    make(sys.argv[1], *map(int, sys.argv[2:]))
