"""Restores by processes of their own: what comes back, what does not, and what becomes of their deaths."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from engine_rig import PATIENCE_S
from hypothesis import given
from hypothesis import strategies as st
from restore_place import Place, write

from buildkit.cache.errors import RestoreMiss
from buildkit.cache.restore import Restored, restore
from buildkit.cache.result import ActionResult
from buildkit.engine.loop import EventLoop
from buildkit.engine.parts import Brought, Order
from buildkit.engine.restoring import RestoreCrew


class CrewRig:
    """A crew over a place, and what it has told."""

    def __init__(self, place: Place, width: int, grace_s: float = 2.0) -> None:
        self.place = place
        self.loop = EventLoop()
        self.crew = RestoreCrew(self.loop, lambda: self, width, grace_s)
        self.told: dict[int, Sequence[Brought | None]] = {}
        self.when_told: Callable[[int], object] = lambda _number: None

    def restore(
        self, result: ActionResult, declared: Sequence[str], expected_previous: Sequence[str]
    ) -> Restored:
        """Do what a `Restorer` does, or what the name of a task says."""
        if result.task == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if result.task == "wait":
            (self.place.base / "waits").touch()
            signal.pause()
        if result.task == "slow":
            time.sleep(0.02)  # longer than what others are put behind
            return Restored((), None, 0)
        if result.task == "quick":
            return Restored((), None, 0)
        if result.task == "torn":
            (self.place.base / "begun").touch()
            time.sleep(0.1)  # so that it is told to end meanwhile
            (self.place.base / "whole").touch()
        return restore(
            result,
            store=self.place.store,
            scratch=self.place.scratch,
            root=str(self.place.root),
            declared=declared,
            expected_previous=expected_previous,
        )

    def close(self) -> None:
        (self.place.base / f"closed-{os.getpid()}").touch()

    def give(self, number: int, *results: ActionResult) -> None:
        orders = [Order(result, result.roots, (), 1) for result in results]
        self.crew.give(number, orders, self._done)

    def _done(self, number: int, brought: Sequence[Brought | None]) -> None:
        assert number not in self.told, "told twice"
        self.told[number] = brought
        self.when_told(number)

    def until_told(self, *numbers: int) -> None:
        assert self.loop.run_until(lambda: self.told.keys() >= set(numbers), PATIENCE_S), "it never came"

    def until_there(self, name: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not (self.place.base / name).exists():
            assert time.monotonic() < deadline, "it never came"
            self.loop.run_once(0.01)

    def brought(self, *results: ActionResult) -> Sequence[Brought | None]:
        number = len(self.told) + 1000
        self.give(number, *results)
        self.until_told(number)
        return self.told[number]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@contextmanager
def ended(rig: CrewRig) -> Iterator[CrewRig]:
    yield rig
    rig.crew.shutdown(1.0)
    rig.loop.close()


@pytest.fixture
def rig(place: Place) -> Iterator[CrewRig]:
    with ended(CrewRig(place, 2)) as rig:
        yield rig


@pytest.fixture
def alone(place: Place) -> Iterator[CrewRig]:
    """A crew of one process, which is never killed for taking long."""
    with ended(CrewRig(place, 1, grace_s=PATIENCE_S * 2)) as rig:
        yield rig


def file_result(place: Place, name: str) -> ActionResult:
    """Record a file with its name as its content, and delete it."""
    write(place.root / name, name.encode(), 0o640)
    result = place.record(name)
    (place.root / name).unlink()
    return result


def test_files_come_back_with_what_is_known_of_them(rig: CrewRig, place: Place) -> None:
    results = [file_result(place, f"out{number}") for number in range(5)]
    brought = rig.brought(*results)
    assert place.snapshot() == {f"out{number}": (0o640, f"out{number}".encode()) for number in range(5)}
    for result, one in zip(results, brought, strict=True):
        assert one is not None
        (seen,) = one.seen
        assert seen is not None
        assert seen.digest == result.outputs[0].digest
        assert seen.matches((place.root / result.outputs[0].path).stat())
        assert one.size == len(result.outputs[0].path)
        assert one.started_ns > 0
        assert one.wall_ns > 0


def test_folders_links_and_logs_come_back(rig: CrewRig, place: Place) -> None:
    write(place.root / "out" / "deep" / "f", b"content", 0o600)
    (place.root / "out" / "link").symlink_to("deep/f")
    result = place.record("out")
    log = place.store.add_file(os.open(write_log(place), os.O_RDONLY))
    expected = place.snapshot()
    for name in ("deep/f", "link"):
        (place.root / "out" / name).unlink()
    (place.root / "out" / "deep").rmdir()
    (place.root / "out").rmdir()
    (one,) = rig.brought(result._replace(log=log))
    assert one is not None
    assert one.log == b"said"
    assert place.snapshot() == expected
    assert {seen.digest if seen is not None else None for seen in one.seen} == {
        output.digest for output in result.outputs
    }


def write_log(place: Place) -> Path:
    path = place.base / "log"
    path.write_bytes(b"said")
    return path


def test_what_cannot_come_back_leaves_the_others_alone(rig: CrewRig, place: Place) -> None:
    good, bad = file_result(place, "good"), file_result(place, "bad")
    place.damage(bad.outputs[0].digest, b"other")
    brought = rig.brought(bad, good)
    assert brought[0] is None
    assert brought[1] is not None
    assert place.snapshot() == {"good": (0o640, b"good")}


def test_many_batches_all_come_back(rig: CrewRig, place: Place) -> None:
    results = [file_result(place, f"d{number % 7}/out{number}") for number in range(200)]
    for number in range(50):
        rig.give(number, *results[number * 4 : number * 4 + 4])
    assert rig.crew.full
    rig.until_told(*range(50))
    assert not rig.crew.full
    assert all(one is not None for brought in rig.told.values() for one in brought)
    assert sum(isinstance(seen, tuple) for seen in place.snapshot().values()) == 200


def test_the_death_of_a_process_is_told_and_the_crew_stays_away(rig: CrewRig, place: Place) -> None:
    result = file_result(place, "out")
    orders = [Order(result, result.roots, (), 1 << 30)]
    assert rig.crew.pays(orders)
    assert list(rig.brought(result, ActionResult(task="die"))) == [None, None]
    assert not rig.crew.pays(orders)


def test_a_batch_under_way_can_be_cancelled(rig: CrewRig, place: Place) -> None:
    rig.give(1, ActionResult(task="wait"))
    rig.until_there("waits")
    rig.crew.hurry()  # nothing is being ended yet
    rig.crew.cancel(1)
    rig.until_told(1)
    assert list(rig.told[1]) == [None]


def test_who_is_told_may_cancel_all_others(rig: CrewRig) -> None:
    """As a run does whose output nobody reads any more, from wherever it finds out."""

    def cancel_all(number: int) -> None:
        if number == 12:
            for other in reversed(range(1, 41)):
                rig.crew.cancel(other)

    rig.when_told = cancel_all
    for number in range(1, 41):
        rig.give(number, ActionResult(task="quick"))
    rig.until_told(*range(1, 41))


def test_what_waits_goes_on_when_what_is_ahead_of_it_is_cancelled(alone: CrewRig) -> None:
    alone.give(1, ActionResult(task="wait"))
    alone.give(2, ActionResult(task="quick"))
    alone.give(3, ActionResult(task="quick"))
    alone.until_there("waits")
    alone.crew.cancel(1)
    alone.until_told(1, 2, 3)
    assert [alone.told[number][0] is not None for number in (1, 2, 3)] == [False, True, True]


@pytest.mark.parametrize("_turn", range(6))
def test_a_process_that_was_just_forked_hears_that_it_is_to_end(alone: CrewRig, _turn: int) -> None:
    alone.give(1, *[ActionResult(task="slow")] * 10_000)  # minutes of them
    alone.crew.cancel(1)
    alone.until_told(1)
    assert list(alone.told[1]) == [None] * 10_000


def test_what_waits_behind_a_slow_batch_is_brought_back_all_the_same(alone: CrewRig) -> None:
    for number in range(8):
        alone.give(number, ActionResult(task="quick"))
    alone.until_told(*range(8))
    for number in range(10, 20):
        alone.give(number, ActionResult(task="slow" if number == 10 else "quick"))
    alone.until_told(*range(10, 20))
    assert all(one is not None for brought in alone.told.values() for one in brought)
    assert alone.crew.pays([Order(ActionResult(task="quick"), (), (), 1 << 30)])


def test_a_result_that_is_coming_back_does_so_as_a_whole_when_the_run_is_stopped(
    rig: CrewRig, place: Place
) -> None:
    result = file_result(place, "out")
    rig.give(1, result._replace(task="torn"), ActionResult(task="wait"))
    rig.until_there("begun")
    rig.crew.cancel(1)
    rig.until_told(1)
    assert (place.base / "whole").exists()
    assert not (place.base / "waits").exists()
    assert place.snapshot() == {"out": (0o640, b"out")}


def test_a_process_leaves_nothing_behind(rig: CrewRig, place: Place) -> None:
    rig.brought(ActionResult(task="quick"))
    rig.crew.shutdown(1.0)
    assert len(list(place.base.glob("closed-*"))) == 1


def test_a_miss_in_a_process_is_no_error_of_it(rig: CrewRig, place: Place, tmp_path: Path) -> None:
    result = file_result(place, "out")
    with pytest.raises(RestoreMiss):
        rig.restore(result, ("other",), ())
    rig.crew.give(1, [Order(result, ("other",), (), 1)], rig._done)
    rig.until_told(1)
    assert list(rig.told[1]) == [None]
    (one,) = rig.brought(result)  # by the same process
    assert one is not None


def test_it_pays_only_when_there_is_much_to_bring_back(place: Place) -> None:
    with EventLoop() as loop:
        crew = RestoreCrew(loop, partial(pytest.fail, "nobody asked"), 2, 2.0)
    small = Order(ActionResult(task="t"), (), (), 100)
    assert not crew.pays([small] * 50)
    while not crew.pays([small] * 50):
        pass  # little by little it is much
    assert not crew.pays([small])  # not worth a message
    assert crew.pays([small._replace(size=1 << 30)])


@given(st.lists(st.integers(0, 40 << 20), min_size=1, max_size=200))
def test_batches_hold_all_orders_and_are_bounded(sizes: list[int]) -> None:
    orders = [Order(ActionResult(task=str(number)), (), (), size) for number, size in enumerate(sizes)]
    cut = [orders[part] for part in RestoreCrew.batches(orders)]
    assert [order for batch in cut for order in batch] == orders
    for batch in cut:
        assert 0 < len(batch) <= 32
        assert len(batch) == 1 or sum(order.size for order in batch) <= 32 << 20
