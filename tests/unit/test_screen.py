from __future__ import annotations

import os
import sys

import pytest
from terminal import Terminal

from buildkit.frontend.screen import Screen, printed_width, terminal_reflows


class Rig:
    """A screen that writes into a pipe, and the terminal at its other end."""

    def __init__(self, columns: int = 40, rows: int = 10, *, reflow: bool = False) -> None:
        self.terminal = Terminal(columns, rows, reflow=reflow)
        self._read, self.write_end = os.pipe()
        os.set_blocking(self._read, False)
        self.now = 0.0
        self.screen = Screen(
            self.write_end,
            size=lambda _fd: (self.terminal.columns, self.terminal.rows),
            clock=lambda: self.now,
            reflows=reflow,
        )

    def seen(self) -> list[str]:
        try:
            # The terminal driver makes \r\n of \n.
            data = os.read(self._read, 1 << 20)
            self.terminal.feed(data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
        except BlockingIOError:
            pass
        return self.terminal.seen()

    def print(self, text: str) -> None:
        self.now += 1.0  # later than the last: shown at once
        self.screen.write(text.encode())


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_output_scrolls_above_the_region(rig: Rig) -> None:
    rig.screen.show(["task 1s", "bar"])
    rig.print("first\n")
    rig.print("second\n")
    assert rig.seen() == ["first", "second", "task 1s", "bar"]


def test_a_region_that_shrinks_leaves_nothing_behind(rig: Rig) -> None:
    rig.screen.show(["one", "two", "a longer bar"])
    rig.screen.show(["bar"])
    assert rig.seen() == ["bar"]


def test_nothing_is_left_when_it_is_closed(rig: Rig) -> None:
    rig.print("output\n")
    rig.screen.show(["task", "bar"])
    rig.screen.close()
    assert rig.seen() == ["output"]
    assert (rig.terminal.row, rig.terminal.column) == (1, 0)


def test_what_the_terminal_echoes_for_ctrl_c_is_taken_away_with_the_region(rig: Rig) -> None:
    rig.screen.show(["task", "b" * 39])
    rig.seen()
    rig.terminal.feed(b"^C^C")
    rig.screen.close()
    assert rig.seen() == []


def test_long_output_keeps_every_line_in_order(rig: Rig) -> None:
    rig.screen.show(["task", "bar"])
    wanted = [f"line {number}" for number in range(100)]
    for line in wanted:
        rig.print(line + "\n")
        rig.screen.show(["task", f"bar {line}"])
    rig.screen.close()
    assert rig.seen() == wanted


def test_a_line_without_an_end_is_not_broken_by_the_region(rig: Rig) -> None:
    rig.screen.show(["bar"])
    rig.print("50%")
    rig.screen.show(["bar"])
    rig.print(" done\n")
    assert rig.seen() == ["50% done", "bar"]


def test_a_colour_that_is_switched_off_after_the_line_does_not_hide_the_region(rig: Rig) -> None:
    rig.screen.show(["bar"])
    rig.print("\x1b[31mred\n\x1b[0m")
    assert rig.seen() == ["red", "bar"]


def test_the_region_is_never_seen_half_drawn_or_missing(rig: Rig) -> None:
    rig.screen.show(["task", "bar"])
    rig.seen()
    rig.terminal.frames.clear()
    for number in range(20):
        rig.print(f"{number}\n")
        rig.screen.show(["task", "bar"])
        rig.seen()
    assert all(frame[-2:] == ["task", "bar"] for frame in rig.terminal.frames)


def test_output_in_quick_succession_is_shown_together(rig: Rig) -> None:
    rig.screen.show(["bar"])
    rig.print("first\n")
    rig.seen()
    rig.screen.write(b"second\n")  # at the same moment
    assert rig.seen() == ["first", "bar"]
    rig.screen.show(["bar"])
    assert rig.seen() == ["first", "second", "bar"]


@pytest.mark.parametrize("reflow", [True, False])
def test_a_narrower_window_keeps_the_output_and_cleans_up_the_region(reflow: bool) -> None:
    rig = Rig(40, 10, reflow=reflow)
    rig.print("output\n")
    rig.screen.show(["t" * 36, "b" * 36])
    rig.seen()
    rig.terminal.resize(20, 10)
    rig.screen.show(["t" * 16, "b" * 16])
    assert rig.seen() == ["output", "t" * 16, "b" * 16]


def test_a_task_that_writes_by_itself_gets_the_terminal(rig: Rig) -> None:
    rig.screen.show(["bar"])
    rig.screen.hide()
    rig.seen()
    rig.terminal.feed(b"direct\r\n")
    rig.screen.show(["bar"])
    assert rig.seen() == ["direct"]
    rig.screen.unhide()
    rig.print("next\n")
    assert rig.seen() == ["direct", "next", "bar"]


def test_a_terminal_that_has_gone_away_does_not_end_the_build(rig: Rig) -> None:
    broken = os.open(os.devnull, os.O_RDONLY)  # EBADF for each write
    screen = Screen(broken, size=lambda _fd: (80, 24))
    screen.show(["bar"])
    screen.write(b"output\n")
    screen.close()
    os.close(broken)


def test_streams_of_another_file_are_left_alone(rig: Rig) -> None:
    before = sys.stdout, sys.stderr
    rig.screen.install()
    try:
        assert (sys.stdout, sys.stderr) == before
    finally:
        rig.screen.close()


def test_streams_of_the_terminal_are_whole_again_when_it_is_closed(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    with os.fdopen(os.dup(rig.write_end), "w") as real:
        monkeypatch.setattr(sys, "stdout", real)
        rig.screen.install()
        rig.screen.show(["bar"])
        rig.now += 1
        print("through the stand-in")
        stand_in = sys.stdout
        assert stand_in.fileno() == real.fileno()
        rig.screen.close()
        assert sys.stdout is real
        print("directly", file=stand_in, flush=True)  # somebody kept it
        assert rig.seen() == ["through the stand-in", "directly"]


@pytest.mark.parametrize(
    ("line", "width"),
    [("plain", 5), ("\x1b[31mred\x1b[0m", 3), ("\u6f22\u5b57", 4), ("e\u0301", 1), ("\u2588\u2591", 2)],
)
def test_printed_width(line: str, width: int) -> None:
    assert printed_width(line) == width


@pytest.mark.parametrize(
    ("environ", "reflows"),
    [
        ({"TERM": "xterm-256color"}, True),
        ({"TERM": "xterm", "XTERM_VERSION": "XTerm(379)"}, False),
        ({"TERM": "linux"}, False),
        ({"TERM": "screen"}, False),
        ({"TERM": "screen", "TMUX": "/tmp/tmux"}, True),
    ],
)
def test_which_terminals_wrap_lines_anew(environ: dict[str, str], reflows: bool) -> None:
    assert terminal_reflows(environ) is reflows
