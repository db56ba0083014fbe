"""Settings of targets, of what the history keeps, and of what the gate lets pass."""

import datetime

import pytest

from buildkit.core.config import (
    Allowance,
    Settings,
    load_settings,
    parse_settings,
    parse_task_settings,
    task_meta,
)
from buildkit.core.errors import ConfigError


@pytest.mark.parametrize(("value", "seconds"), [(True, 30.0), (False, None), (12, 12.0), (0.5, 0.5)], ids=str)
def test_a_target_for_all_tasks(value, seconds):
    assert parse_settings({"sla": value}).sla == seconds


def test_there_are_no_targets_unless_asked_for():
    assert Settings().sla is None
    assert parse_task_settings({}, "task 'a'").sla is None


@pytest.mark.parametrize("value", [0, -1, "30s", []], ids=str)
def test_a_target_for_all_tasks_that_is_none(value):
    with pytest.raises(ConfigError, match="'sla' must be"):
        parse_settings({"sla": value})


def test_a_task_may_have_another_target_or_none():
    assert parse_task_settings({"buildkit": {"sla": 5}}, "task 'a'").sla == 5.0
    assert parse_task_settings({"buildkit": {"sla": 0}}, "task 'a'").sla == 0.0
    assert task_meta(sla=2.5)["buildkit"]["sla"] == 2.5


@pytest.mark.parametrize("value", [-1, True, "5"], ids=str)
def test_a_target_of_a_task_that_is_none(value):
    with pytest.raises(ConfigError, match="'sla' must be"):
        parse_task_settings({"buildkit": {"sla": value}}, "task 'a'")


def test_how_much_history_is_kept():
    settings = parse_settings({"history_max_age": "2w", "history_max_runs": 50})
    assert (settings.history_max_age, settings.history_max_runs) == (14 * 86400, 50)
    with pytest.raises(ConfigError, match="'history_max_runs' must be a whole number above 0"):
        parse_settings({"history_max_runs": 0})


def test_the_allow_list_is_read_from_the_project(tmp_path):
    (tmp_path / "pyproject.toml").write_text(
        "[tool.buildkit.report]\n"
        'allow = [{task = "test:*", until = "2026-12-31", reason = "issue 12"},\n'
        '         {task = "lint", until = 2027-01-31, reason = "slow disk"}]\n',
        encoding="utf-8",
    )
    assert load_settings(str(tmp_path)).report.allow == (
        Allowance("test:*", datetime.date(2026, 12, 31), "issue 12"),
        Allowance("lint", datetime.date(2027, 1, 31), "slow disk"),
    )


@pytest.mark.parametrize(
    "table",
    [
        {"allowed": []},
        {"allow": "test"},
        {"allow": ["test"]},
        {"allow": [{"task": "a", "until": "2026-12-31"}]},
        {"allow": [{"task": "a", "until": "2026-31-12", "reason": "x"}]},
        {"allow": [{"task": "a", "until": 5, "reason": "x"}]},
        {"allow": [{"task": "a", "until": "2026-12-31", "reason": ""}]},
        [],
    ],
    ids=str,
)
def test_an_allow_list_that_is_none(table):
    with pytest.raises(ConfigError, match="'report' must be"):
        parse_settings({"report": table})
