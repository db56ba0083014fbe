from __future__ import annotations

import os
import signal
import subprocess
import threading

import pytest
from engine_rig import PATIENCE_S

from buildkit.engine.loop import EventLoop, InterruptedBySignal


def spawn(*argv: str) -> int:
    return os.posix_spawn(argv[0], argv, os.environ)


def exit_codes(count: int) -> list[int]:
    """Run children that exit with 0..count-1 and return what the loop says."""
    codes: dict[int, int] = {}
    with EventLoop() as loop:
        for number in range(count):
            pid = spawn("/bin/sh", "-c", f"exit {number}")
            loop.watch_child(pid, lambda status, usage, n=number: codes.update({n: status >> 8}))
        assert loop.run_until(lambda: len(codes) == count, PATIENCE_S)
    return [codes[number] for number in range(count)]


def test_children_are_reaped_with_their_status() -> None:
    assert exit_codes(10) == list(range(10))


def in_a_thread(function) -> object:
    results: list[object] = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join(PATIENCE_S)
    return results[0]


def test_children_are_reaped_outside_the_main_thread() -> None:
    assert in_a_thread(lambda: exit_codes(5)) == [0, 1, 2, 3, 4]


def test_children_are_reaped_where_there_are_no_pidfds_either(monkeypatch) -> None:
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    assert in_a_thread(lambda: exit_codes(5)) == [0, 1, 2, 3, 4]


def test_children_of_other_code_are_left_alone() -> None:
    other = subprocess.Popen(("/bin/sh", "-c", "exit 7"))
    assert exit_codes(3) == [0, 1, 2]
    assert other.wait() == 7


def test_a_child_whose_status_was_stolen_is_told_as_unknown() -> None:
    told: list[object] = []
    with EventLoop() as loop:
        pid = spawn("/bin/true")
        os.waitpid(pid, 0)
        loop.watch_child(pid, lambda status, usage: told.append((status, usage)))
        assert loop.run_until(lambda: bool(told), PATIENCE_S)
    assert told == [(None, None)]


def test_children_are_found_even_if_task_code_takes_the_signal_handlers_away() -> None:
    told: list[int | None] = []
    with EventLoop() as loop:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        loop.watch_child(spawn("/bin/true"), lambda status, usage: told.append(status))
        assert loop.run_until(lambda: bool(told), PATIENCE_S)
    assert told == [0]


def test_timers_fire_in_the_order_of_their_time_and_not_when_cancelled() -> None:
    fired: list[str] = []
    with EventLoop() as loop:
        loop.call_later(0.02, lambda: fired.append("second"))
        loop.call_later(0.001, lambda: fired.append("first"))
        loop.call_later(0.01, lambda: fired.append("never")).cancel()
        loop.run_until(lambda: len(fired) == 2, PATIENCE_S)
    assert fired == ["first", "second"]


def test_cancelled_timers_of_many_jobs_do_not_pile_up() -> None:
    with EventLoop() as loop:
        for _ in range(10_000):
            loop.call_later(3600, lambda: None).cancel()
        assert len(loop._timers) < 5_000


def test_a_callback_may_drop_the_watch_of_another_that_is_due() -> None:
    called: list[int] = []
    pipes = [os.pipe() for _ in range(2)]
    with EventLoop() as loop:
        for number, (reader, writer) in enumerate(pipes):
            other = pipes[1 - number][0]
            loop.watch_reads(reader, lambda n=number, o=other: (called.append(n), loop.unwatch(o)))
            os.write(writer, b"x")
        loop.run_once(PATIENCE_S)
    assert len(called) == 1
    for fds in pipes:
        for fd in fds:
            os.close(fd)


def test_callbacks_from_threads_run_in_the_loops_thread() -> None:
    seen: list[int] = []
    with EventLoop() as loop:
        thread = threading.Thread(
            target=lambda: loop.call_soon_threadsafe(lambda: seen.append(threading.get_ident()))
        )
        thread.start()
        assert loop.run_until(lambda: bool(seen), PATIENCE_S)
        thread.join()
        assert seen == [loop.thread_id]


def test_a_thread_that_comes_after_the_end_writes_into_nobodys_file(tmp_path) -> None:
    loop = EventLoop()
    loop.close()
    with open(tmp_path / "reuses-the-number", "wb") as first, open(tmp_path / "too", "wb") as second:
        loop.call_soon_threadsafe(lambda: None)
        first.flush()
        assert os.fstat(first.fileno()).st_size == os.fstat(second.fileno()).st_size == 0


def test_signals_are_told_and_their_handlers_put_back() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)}
    told: list[int] = []
    with EventLoop() as loop:
        loop.deliver_signals(told.append)
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        loop.run_until(lambda: len(told) == 2, PATIENCE_S)
    assert sorted(told) == [signal.SIGINT, signal.SIGTERM]
    assert {number: signal.getsignal(number) for number in before} == before
    assert signal.set_wakeup_fd(-1) == -1


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with EventLoop() as loop:
            loop.deliver_signals(lambda _: None)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_signal_interrupts_task_code_in_this_thread() -> None:
    with EventLoop() as loop:
        loop.deliver_signals(lambda _: None)
        with pytest.raises(InterruptedBySignal, match="SIGTERM") as interruption, loop.interruptible():
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
        assert interruption.value.signum == signal.SIGTERM


def test_handlers_that_task_code_replaced_are_put_back() -> None:
    told: list[int] = []
    with EventLoop() as loop:
        loop.deliver_signals(told.append)
        with loop.interruptible():
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.set_wakeup_fd(-1)
        os.kill(os.getpid(), signal.SIGINT)
        assert loop.run_until(lambda: bool(told), PATIENCE_S)
