"""The last line of a run, and what it claims to have saved."""

from buildkit.report.summary import summary_line
from buildkit.state.runs import RunSummary


def summary(**counts):
    return RunSummary(**{"wall_ns": 1_240_000_000, "exit_code": 0, **counts})


def test_the_line_counts_what_happened_and_says_what_was_saved():
    line = summary_line(summary(executed=3, restored=2, skipped=40, saved_ns=12_300_000_000))
    assert line == "buildkit: 3 executed, 2 restored, 40 skipped in 1.24 s; saved 12.3 s of task time"


def test_what_did_not_happen_is_not_mentioned():
    assert summary_line(summary(executed=1)) == "buildkit: 1 executed in 1.24 s"


def test_a_run_without_tasks_says_so():
    assert summary_line(summary(wall_ns=0)) == "buildkit: 0 tasks in 0.00 ms"


def test_failures_are_named():
    line = summary_line(summary(failed=2, upstream_failed=5, exit_code=1), ["lint", "te\x1b[2Jst"])
    assert line == r"buildkit: 2 failed (lint, te\x1b[2Jst), 5 not started after a failure in 1.24 s"


def test_many_failures_are_named_in_part():
    assert "5 failed (a, b, c and 2 more)" in summary_line(summary(failed=5), ["a", "b", "c", "d", "e"])


def test_failures_without_names_are_counted():
    assert summary_line(summary(failed=2)) == "buildkit: 2 failed in 1.24 s"


def test_large_counts_can_be_read():
    line = summary_line(summary(skipped=12_345, ignored=1, cancelled=2))
    assert line == "buildkit: 12,345 skipped, 1 ignored, 2 cancelled in 1.24 s"


def test_nothing_is_claimed_without_history():
    assert "saved" not in summary_line(summary(restored=1, skipped=1, saved_ns=0))
