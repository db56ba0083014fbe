"""The formats that a run writes are documented: events, fields, metrics, options."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from observe_rig import S, Script, context, task

from buildkit.cli.run import Run
from buildkit.core.config import Settings
from buildkit.engine import events
from buildkit.observe.executions import Executions
from buildkit.observe.files import AppendedFile
from buildkit.observe.jsonl import SCHEMA_VERSION, EventLines
from buildkit.observe.prometheus import run_metrics

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
PAGE = (REFERENCE / "events.md").read_text(encoding="utf-8")


def in_tables(text: str) -> set[str]:
    """Return what stands in backticks in the rows of tables."""
    rows = re.findall(r"^\|.+\|$", text, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def test_every_event_and_field_is_documented(tmp_path: Path) -> None:
    script = Script([task(name) for name in ("a", "b", "c")])
    path = tmp_path / "events.jsonl"
    script.observers = [EventLines(AppendedFile(str(path), "--events"), context(parent="c" * 16))]
    script.begin()
    script.start("a")
    script.succeed("a", bytes_stored=1, beside=1.0, load=0.5, worker="process", attempt=2, queue_ns=S)
    script.restore("b")
    script.start("c")
    script.fail("c", signal=9, log_path="log", uncacheable_reason="because")
    script.emit(events.TeardownFailed(script.plan["c"], "no"))
    script.emit(events.Warned("careful"))
    script.emit(events.Aborted("wrong"))
    script.observers[0].finish(1)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    written = {line["event"] for line in lines} | {name for line in lines for name in line}
    assert written - in_tables(PAGE) == set()


def test_the_version_of_the_schema_is_documented() -> None:
    assert f"version of this schema: `{SCHEMA_VERSION}`" in PAGE


def test_every_metric_is_documented_and_no_other() -> None:
    script = Script([task("a")])
    executions = Executions()
    script.observers = [executions]
    script.start("a")
    script.succeed("a")
    metrics = run_metrics(executions, exit_code=0, elapsed_s=1.0, started_at=0.0)
    documented = set(re.findall(r"`(buildkit_(?:run|task)_\w+)`", PAGE))
    assert {metric.name for metric in metrics} == documented


@pytest.mark.parametrize("option", ["events", "trace", "junit", "prometheus", "otel"])
def test_options_exist_and_are_documented(option: str) -> None:
    assert option in {each["name"] for each in Run.cmd_options}
    assert f"| `--{option}` |" in (REFERENCE / "commands.md").read_text(encoding="utf-8")


def test_the_setting_for_events_is_documented() -> None:
    assert hasattr(Settings(), "events")
    assert "| `events` |" in (REFERENCE / "settings.md").read_text(encoding="utf-8")
