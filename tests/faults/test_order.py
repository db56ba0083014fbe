"""Promise 8: with any width and any order of scheduling the outputs are the same."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from builds import Build
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tally import tried
from test_oracle import graphs
from world import Job


def shuffled(seed: int) -> Callable[[], None]:
    """Return what makes a child judge and start ready tasks in a random order."""

    def prepare() -> None:
        import buildkit.frontend.session as session

        rng = random.Random(seed)
        real = session.Scheduler

        def scheduler(plan: object, **options: object) -> object:
            options |= {
                "by_critical_path": True,
                "expected_s": lambda _name: rng.random(),
                "order": rng.shuffle,
            }
            return real(plan, **options)  # type: ignore[arg-type]

        session.Scheduler = scheduler  # type: ignore[assignment,misc]

    return prepare


@pytest.mark.timeout(3000)
def test_any_width_and_any_order_give_the_same_outputs(tmp_path: Path, rounds: int) -> None:
    count = 0

    @settings(max_examples=3 * rounds, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(jobs=graphs(), seed=st.integers(0, 2**32))
    def try_one(jobs: list[Job], seed: int) -> None:
        nonlocal count
        for number, (width, order) in enumerate(
            [("1", False), ("2", False), ("8", False), ("2", True), ("8", True)]
        ):
            count += 1
            base = tmp_path / f"{count}"
            base.mkdir()
            build = Build(base, jobs=jobs)
            prepare = shuffled(seed + number) if order else None
            build.assert_sound(build.run("-n", width, prepare=prepare))
            build.change(random.Random(seed))
            build.assert_sound(build.run("-n", width, prepare=prepare))
            tried()

    try_one()


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("parallel", ["process", "thread"])
def test_threads_and_processes_agree_in_any_order(tmp_path: Path, rounds: int, parallel: str) -> None:
    rng = random.Random(parallel)
    build = Build(tmp_path)
    run = partial(build.run, "-P", parallel)
    for seed in range(5 * rounds):
        build.change(rng)
        build.assert_sound(run("-n", rng.choice(["2", "8"]), prepare=shuffled(seed)))
        tried()
