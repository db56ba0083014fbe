from __future__ import annotations

import pytest
from observe_rig import S, Script, task

from buildkit.core.plan import Task
from buildkit.observe.forecast import Estimate, Forecast
from buildkit.observe.progress import Progress
from buildkit.observe.simulation import bounds_ns


class Rig(Script):
    """A script with the forecast that is asked."""

    def __init__(
        self, tasks: list[Task], known: dict[str, int], *, width: int = 2, pools: dict[str, int] | None = None
    ) -> None:
        super().__init__(tasks, width=width)
        self.progress = Progress(self.clock_ns)
        self.observers = [self.progress]
        self.forecast = Forecast(
            self.scheduler,
            self.progress,
            width=width,
            pools=pools or {},
            predicted=lambda: known,
            clock_ns=self.clock_ns,
        )

    def left_s(self) -> float | None:
        self.now_ns += 10 * S  # later than the pause between two looks
        estimate = self.forecast.estimate()
        return None if estimate is None else estimate.left_ns / S


def test_independent_tasks_share_the_slots() -> None:
    rig = Rig([task(name) for name in "abcd"], dict.fromkeys("abcd", 10 * S))
    assert rig.left_s() == 20


def test_a_chain_takes_as_long_as_its_links() -> None:
    rig = Rig([task("a"), task("b", "a"), task("c", "b"), task("d")], dict.fromkeys("abcd", 10 * S))
    assert rig.left_s() == 30


def test_the_longest_task_decides_where_it_is_longer_than_all_others() -> None:
    rig = Rig([task("a"), task("b"), task("c")], {"a": 100 * S, "b": S, "c": S})
    assert rig.left_s() == 100


def test_a_pool_lets_its_tasks_run_one_after_the_other() -> None:
    tasks = [task("a", pool="db"), task("b", pool="db"), task("c", pool="db"), task("d")]
    assert Rig(tasks, dict.fromkeys("abcd", 10 * S), width=4).left_s() == 30
    assert Rig(tasks, dict.fromkeys("abcd", 10 * S), width=4, pools={"db": 3}).left_s() == 10


def test_groups_take_no_time_and_hold_no_slot() -> None:
    rig = Rig([task("a"), Task("group", waits=("a",)), task("b", "group")], dict.fromkeys("ab", 10 * S))
    assert rig.left_s() == 20
    assert rig.forecast.total == 2


def test_done_and_skipped_tasks_are_not_ahead() -> None:
    rig = Rig([task(name) for name in "abcd"], dict.fromkeys("abcd", 10 * S))
    rig.skip("a")
    rig.skip("b")
    assert rig.left_s() == 10
    assert (rig.progress.done, rig.forecast.total) == (2, 4)


def test_a_slow_run_makes_what_is_left_longer() -> None:
    rig = Rig([task(name) for name in "ab"], dict.fromkeys("ab", 10 * S), width=1)
    rig.start("a")
    rig.now_ns = 20 * S
    rig.succeed("a", wall_ns=20 * S)
    left_s = rig.left_s()
    assert left_s is not None
    assert 18 < left_s <= 20


def test_one_wild_task_does_not_carry_the_forecast_away() -> None:
    rig = Rig([task(name) for name in "ab"], dict.fromkeys("ab", 10 * S), width=1)
    rig.start("a")
    rig.now_ns = 1000 * S
    rig.succeed("a", wall_ns=1000 * S)
    left_s = rig.left_s()
    assert left_s is not None
    assert left_s <= 30


def test_time_lost_between_tasks_is_expected_again() -> None:
    rig = Rig([task(name) for name in "abc"], dict.fromkeys("abc", 10 * S), width=1)
    rig.start("a")
    rig.now_ns = 10 * S
    rig.succeed("a", wall_ns=10 * S)
    rig.now_ns = 11 * S  # the slot stayed empty for a second
    rig.start("b")
    rig.now_ns = 21 * S
    rig.succeed("b", wall_ns=10 * S, queue_ns=11 * S)
    assert rig.left_s() == pytest.approx(10.5)


def test_a_slot_that_is_filled_before_the_last_task_is_kept_was_not_empty() -> None:
    rig = Rig([task(name) for name in "abc"], dict.fromkeys("abc", 10 * S), width=1)
    rig.start("a")
    rig.now_ns = 10 * S
    rig.start("b")  # the engine tells of this start first
    rig.succeed("a", wall_ns=10 * S)
    rig.now_ns = 20 * S
    rig.succeed("b", wall_ns=10 * S, queue_ns=10 * S)
    assert [each.lost_ns for each in rig.progress.finished] == [0, 0]


def test_a_task_that_overruns_is_not_expected_to_end_at_once() -> None:
    rig = Rig([task("a")], {"a": 10 * S}, width=1)
    rig.start("a")
    rig.now_ns = 100 * S
    estimate = rig.forecast.estimate()
    assert estimate is not None
    assert estimate.left_ns == 10 * S


def test_nothing_is_foretold_without_history() -> None:
    rig = Rig([task(name) for name in "abcdefgh"], {})
    assert rig.left_s() is None


def test_a_run_without_history_foretells_itself_when_a_part_is_done() -> None:
    names = "abcdefgh"
    rig = Rig([task(name) for name in names], {}, width=1)
    for name in "ab":
        rig.start(name)
        rig.now_ns += 10 * S
        rig.succeed(name, wall_ns=10 * S)
    assert rig.left_s() == 60


def test_looking_ahead_is_paid_for_by_a_pause() -> None:
    asked = []
    rig = Rig([task("a")], {"a": 10 * S})
    rig.forecast._predicted = lambda: asked.append(1) or {"a": 10 * S}  # type: ignore[func-returns-value]
    first = rig.forecast.estimate()
    rig.now_ns += S // 10
    assert rig.forecast.estimate() is first
    rig.now_ns += S
    assert rig.forecast.estimate() is not first
    assert asked == [1]


def test_an_estimate_runs_down() -> None:
    estimate = Estimate(at_ns=5 * S, left_ns=10 * S)
    assert estimate.left_at(8 * S) == 7 * S
    assert estimate.left_at(60 * S) == 0


def test_bounds_are_the_work_and_the_longest_chain() -> None:
    rig = Rig([task("a"), task("b", "a"), task("c")], {})
    left = list(rig.scheduler.nodes.values())
    for node, path_s in zip(left, (2.0, 1.0, 1.0), strict=True):
        node.path_s = path_s
    assert bounds_ns(left, {}, lambda _name: S, 4) == 2 * S
    assert bounds_ns(left, {}, lambda _name: S, 1) == 3 * S
    assert bounds_ns(left, {"a": 9 * S}, lambda _name: S, 4) == 9 * S
