"""Promise 10: the wall clock steps by a day in either direction; no wrong skip, and durations stay right."""

from __future__ import annotations

import itertools
import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from builds import Build
from tally import tried
from world import edit_unseen

DAY_S = 86400


def clock_at(offset_s: float, step_s: float = 0.0, after: int = 40) -> Callable[[], None]:
    """Return what shifts a child's wall clock, and steps it once more after some readings."""

    def prepare() -> None:
        import time

        now, now_ns = time.time, time.time_ns
        readings = itertools.count()

        def shift() -> float:
            return offset_s + (step_s if next(readings) > after else 0.0)

        time.time = lambda: now() + shift()  # type: ignore[assignment]
        time.time_ns = lambda: now_ns() + int(shift() * 1e9)  # type: ignore[assignment]

    return prepare


@pytest.mark.timeout(3000)
def test_a_clock_that_steps_leads_to_no_wrong_skip(tmp_path: Path, rounds: int) -> None:
    rng = random.Random(10)
    build = Build(tmp_path)
    build.assert_sound(build.run())
    for _ in range(10 * rounds):
        for name in rng.sample(["in0", "in1", "in2", "in3"], 2):
            path = build.root / name
            path.write_bytes(b"%d\n" % rng.randrange(10))  # always two bytes
            if rng.random() < 0.5:
                edit_unseen(path, b"%d\n" % rng.randrange(10))
            if rng.random() < 0.3:
                moved = path.stat().st_mtime + rng.choice([-DAY_S, DAY_S])
                os.utime(path, (moved, moved))
        prepare = clock_at(
            rng.choice([-DAY_S, 0, DAY_S]), rng.choice([-DAY_S, 0, DAY_S]), rng.randint(1, 200)
        )
        build.assert_sound(build.run("-n", rng.choice(["0", "2"]), prepare=prepare))
        tried()
    build.assert_sound(build.run())


@pytest.mark.parametrize("step_s", [-DAY_S, DAY_S])
def test_durations_come_from_a_clock_that_does_not_step(tmp_path: Path, step_s: float) -> None:
    build = Build(tmp_path)
    build.assert_sound(build.run("-n", "2", prepare=clock_at(0, step_s, after=3)))
    done = build.run("report", "--json")
    assert done.code == 0, done.output
    durations = list(_durations(json.loads(done.output)))
    assert durations
    assert all(0 <= seconds < 60 for seconds in durations), durations


def _durations(value: object) -> list[float]:
    if isinstance(value, dict):
        own = [
            v
            for k, v in value.items()
            if "wall" in k and isinstance(v, int | float) and not k.endswith("_ns")
        ]
        own += [v / 1e9 for k, v in value.items() if k.endswith("wall_ns") and isinstance(v, int | float)]
        return own + [x for item in value.values() for x in _durations(item)]
    if isinstance(value, list):
        return [x for item in value for x in _durations(item)]
    return []
