from __future__ import annotations

import pytest

from buildkit.core.execution import Decision
from buildkit.frontend.live import RunningLine, Style, View, bar, clock, fitted, lines_of
from buildkit.frontend.screen import printed_width

PLAIN = Style(colours=False, unicode=False)
VIEW = View(
    running=[RunningLine("link", 45.2, 60.0), RunningLine("test:unit", 12.0, None)],
    done=23,
    total=40,
    counts={Decision.EXECUTED: 1, Decision.RESTORED: 2, Decision.SKIPPED: 20},
    elapsed_s=50.0,
    left_s=50.0,
)


def test_tasks_show_elapsed_and_predicted_time_longest_first() -> None:
    assert lines_of(VIEW, 100, 24, PLAIN)[:2] == ["  link 45s of 1m00s", "  test:unit 12s"]


def test_the_bar_counts_and_tells_what_is_left() -> None:
    assert lines_of(VIEW, 100, 24, PLAIN)[-1] == (
        "############............  23/40  50s left  2 restored  20 skipped  2 running"
    )


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
@pytest.mark.parametrize("rows", [3, 4, 24])
@pytest.mark.parametrize("style", [PLAIN, Style(colours=True, unicode=True)])
def test_lines_fit_the_terminal(columns: int, rows: int, style: Style) -> None:
    many = View(
        running=[RunningLine(f"a long name \u6f22\u5b57 of task {n} " * 5, n, 1.0) for n in range(30)],
        done=1_000,
        total=100_000,
        counts={Decision.FAILED: 3, Decision.RESTORED: 2000, Decision.SKIPPED: 20_000},
        elapsed_s=7300.0,
        left_s=3700.0,
    )
    lines = lines_of(many, columns, rows, style)
    assert max(printed_width(line) for line in lines) < columns
    assert len(lines) < rows


def test_tasks_beyond_the_limit_are_counted() -> None:
    view = View([RunningLine(f"t{n}", n, None) for n in range(12)], 0, 12, {}, 1.0, None)
    lines = lines_of(view, 80, 24, PLAIN)
    assert lines[-2] == "  and 5 more"
    assert len(lines) == 9


def test_the_most_important_numbers_stay_on_a_narrow_terminal() -> None:
    assert lines_of(VIEW, 40, 24, PLAIN)[-1] == "###...  23/40  50s left  2 restored"
    assert lines_of(VIEW, 20, 24, PLAIN)[-1] == "23/40  50s left"


def test_without_an_estimate_the_bar_counts_tasks() -> None:
    view = View([], 10, 20, {}, 5.0, None)
    assert lines_of(view, 80, 24, PLAIN) == ["############............  10/20"]


def test_no_colours_means_no_escapes() -> None:
    failed = View(VIEW.running, 1, 4, {Decision.FAILED: 1}, 1.0, None)
    assert "\x1b" not in "".join(lines_of(failed, 80, 24, PLAIN))
    assert "\x1b[31m1 failed" in lines_of(failed, 80, 24, Style(colours=True, unicode=False))[-1]


def test_a_name_cannot_obey_the_terminal() -> None:
    view = View([RunningLine("evil\x1b[2J\nname", 1.0, None)], 0, 1, {}, 1.0, None)
    assert lines_of(view, 80, 24, PLAIN)[0] == "  evil\\x1b[2J\\nname 1s"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0s"), (59.9, "59s"), (65.0, "1m05s"), (3600.0, "1h00m"), (7_384.0, "2h03m")],
)
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_cutting_counts_columns() -> None:
    assert fitted("\u6f22\u5b57\u6f22\u5b57", 5) == "\u6f22\u5b57\u2026"
    assert fitted("fits", 4) == "fits"


@pytest.mark.parametrize(("share", "text"), [(-1.0, "...."), (0.5, "##.."), (2.0, "####")])
def test_a_bar_stays_within_its_ends(share: float, text: str) -> None:
    assert bar(share, 4, PLAIN) == text
