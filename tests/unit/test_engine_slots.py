from __future__ import annotations

from buildkit.engine.slots import Slots


class Clock:
    def __init__(self) -> None:
        self.now = 1000

    def __call__(self) -> int:
        return self.now


def test_slots_are_numbered_from_one_and_used_again() -> None:
    slots = Slots(2, 1.0)
    first, second = slots.take(), slots.take()
    assert (first.slot, second.slot, slots.free) == (1, 2, 0)
    slots.leave(first)
    assert slots.take().slot == 1


def test_a_job_beyond_the_width_has_no_slot_and_gives_none_back() -> None:
    slots = Slots(1, 1.0)
    inside, beyond = slots.take(), slots.take()
    assert (inside.slot, beyond.slot) == (1, 0)
    slots.leave(beyond)
    assert slots.free == 0


def test_what_ran_beside_is_the_mean_number_of_the_others() -> None:
    clock = Clock()
    slots = Slots(2, 1.0, clock=clock)
    long = slots.take()
    clock.now += 100
    short = slots.take()
    clock.now += 100
    assert slots.leave(short) == 1.0
    assert slots.leave(long) == 0.5


def test_what_another_process_tells_late_counts_from_when_it_was() -> None:
    clock = Clock()
    slots = Slots(2, 1.0, clock=clock)
    clock.now += 1000
    first, second = slots.take(1200), slots.take(1400)
    assert (first.started_ns, second.started_ns) == (1200, 1400)
    assert slots.leave(first, 1600) == 0.5
    assert slots.leave(second, 1800) == 0.5


def test_the_load_is_asked_for_ten_times_a_second_at_most() -> None:
    clock, asked = Clock(), []
    slots = Slots(8, 2.0, clock=clock, load=lambda: (asked.append(1) or 3.0, 0.0, 0.0))
    assert [slots.take().load for _ in range(3)] == [1.5] * 3
    assert len(asked) == 1
    clock.now += 100_000_000
    slots.take()
    assert len(asked) == 2


def test_a_system_that_does_not_tell_its_load_is_no_error() -> None:
    def unknown() -> tuple[float, float, float]:
        raise OSError

    assert Slots(1, 1.0, load=unknown).take().load is None
