"""What real runs leave in the history, and what `doit report` and its companions make of it."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from typing import Any

import pytest

from .harness import Project

CHAIN = """
def task_first():
    return {'actions': ['echo 1 > one'], 'targets': ['one'], 'file_dep': ['in']}

def task_second():
    return {'actions': ['cat one one > two'], 'file_dep': ['one'], 'targets': ['two']}

def task_beside():
    return {'actions': ['true'], 'file_dep': ['in']}

def task_fails_once():
    return {'actions': ['test -e ok'], 'uptodate': [{'version': 1} and True], 'file_dep': ['in']}
"""


@pytest.fixture
def chain(project: Project) -> Project:
    project.dodo(CHAIN)
    project.write("in", "1")
    project.write("ok", "")
    return project


def report(project: Project, *arguments: str) -> Any:
    return json.loads(project.run("report", "--json", *arguments, check=0).stdout)


def task(document: Any, name: str) -> Any:
    return next(row for row in document["tasks"] if row["task"] == name)


def test_each_execution_is_recorded_with_what_it_took(chain: Project):
    chain.run("-n", "2", check=0)
    document = report(chain)
    run, row = document["run"], task(document, "second")
    assert (run["executed"], run["width"], run["exit_code"]) == (4, 2, 0)
    assert run["machine"]
    assert run["cores"] > 0
    assert row["outcome"] == "executed"
    assert row["reasons"] == [{"kind": "never run", "names": []}]
    for measure in ("wall_ns", "user_ns", "system_ns", "queue_ns", "read_bytes", "write_bytes", "beside"):
        assert row[measure] >= 0, measure
    assert row["wall_ns"] > 0
    assert (row["exit_code"], row["attempt"], row["worker"]) == (0, 1, "process")
    assert row["slot"] in (1, 2)
    assert row["bytes_stored"] > 0
    assert len(row["key"]) == 15


def test_the_critical_path_is_the_chain_that_ended_last(chain: Project):
    chain.dodo(CHAIN.replace("cat one one > two", "sleep 0.3; cat one one > two"))
    chain.run("-n", "4", check=0)
    assert report(chain)["efficiency"]["critical_path"] == ["first", "second"]


def test_restores_and_skips_are_told_from_executions(chain: Project):
    chain.run(check=0)
    chain.remove("two")
    chain.run(check=0)
    document = report(chain)
    assert task(document, "second")["outcome"] == "restored"
    assert task(document, "second")["bytes_restored"] > 0
    assert task(document, "first")["outcome"] == "skipped"
    assert document["efficiency"]["hit_rate"] == 1.0
    assert document["efficiency"]["saved_by_history_ns"] > 0


def git(project: Project, *arguments: str) -> None:
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    subprocess.run(("git", *identity, *arguments), cwd=project.root, check=True, capture_output=True)


def test_the_commit_and_whether_it_was_dirty_are_recorded(chain: Project):
    git(chain, "init", "-q")
    git(chain, "add", "in", "ok", "dodo.py")
    git(chain, "commit", "-q", "-m", "x")
    # Git has the time of the run to answer: let it be long enough for a busy machine.
    chain.dodo(CHAIN.replace("'true'", "'sleep 1'"))
    git(chain, "commit", "-q", "-a", "-m", "y")
    chain.run("-n", "2", check=0)
    run = report(chain)["run"]
    assert (len(run["git_commit"]), run["git_dirty"]) == (40, False)
    chain.write("in", "2")
    chain.run("-n", "2", check=0)
    assert report(chain)["run"]["git_dirty"] is True


def test_a_task_that_fails_and_then_succeeds_unchanged_is_flaky(chain: Project):
    chain.remove("ok")
    assert chain.run("fails_once").exit_code == 1
    chain.write("ok", "")
    chain.run("fails_once", check=0)
    (flaky,) = report(chain)["flaky"]
    assert (flaky["task"], flaky["failed"], flaky["succeeded"]) == ("fails_once", 1, 1)
    gate = chain.run("report", "--fail-on", "flaky")
    assert gate.exit_code == 4
    assert "flaky: 'fails_once'" in gate.stderr


SLOW = """
def task_slow():
    return {'actions': ['sleep 0.3'], 'meta': {'buildkit': {'sla': 0.1}}}

def task_quick():
    return {'actions': ['true']}
"""


def test_a_broken_target_is_shown_at_the_end_and_recorded(project: Project):
    project.dodo(SLOW)
    run = project.run(check=0)
    assert "Targets (SLA)" in run.stderr
    assert "violation" in run.stderr
    (row,) = report(project)["slas"]
    assert (row["task"], row["target_s"], row["level"]) == ("slow", 0.1, "violation")
    assert project.run("report", "--fail-on", "sla").exit_code == 4


def test_a_strict_run_fails_on_a_broken_target(project: Project):
    project.dodo(SLOW)
    assert project.run("--sla-strict").exit_code == 1
    assert report(project)["run"]["exit_code"] == 1
    assert project.run("--sla-strict", "quick").exit_code == 0


def test_a_target_for_all_tasks_is_a_setting(project: Project):
    project.dodo(SLOW)
    project.write("pyproject.toml", "[tool.buildkit]\nsla = true\n")
    project.run(check=0)
    targets = {row["task"]: row["target_s"] for row in report(project)["slas"]}
    assert targets == {"slow": 0.1, "quick": 30.0}


def test_without_targets_a_run_says_nothing_of_them(project: Project):
    project.dodo(SLOW.replace("0.1", "0"))
    assert "SLA" not in project.run("--sla-strict", check=0).output


@pytest.mark.parametrize("option", ["--csv", "--markdown", "--format=grid", "--format=html"])
def test_the_report_comes_in_other_forms(chain: Project, option: str):
    chain.run(check=0)
    text = chain.run("report", option, check=0).stdout
    assert "second" in text
    if option == "--csv":
        assert {row["task"] for row in csv.DictReader(io.StringIO(text))} >= {"first", "second"}


def test_two_runs_are_compared(chain: Project):
    chain.run(check=0)
    chain.write("in", "2")
    chain.run(check=0)
    text = chain.run("report", "--compare", "1", "2", check=0).stdout
    assert "Before: run 1" in text
    assert "second" in text


def test_a_history_goes_to_another_clone(chain: Project):
    chain.run(check=0)
    lines = chain.run("history", "export", check=0).stdout
    chain.write("history.jsonl", lines)
    assert "1 run known before" in chain.run("history", "import", "history.jsonl", check=0).stdout
    assert "forgot 0 runs, 1 left" in chain.run("history", "prune", check=0).stdout
    accepted = chain.run("accept", "second", "--reason", "it does more now", check=0)
    assert "accepted second" in accepted.stdout


def test_tasks_that_are_called_like_the_commands_are_still_tasks(project: Project):
    project.dodo("""
        def task_history():
            return {'actions': [(say, ['history ran'])]}

        def task_accept():
            return {'actions': [(say, ['accept ran'])]}
    """)
    assert project.run("history", check=0).ran == ("history ran",)
    assert project.run("accept", check=0).ran == ("accept ran",)


def test_old_runs_go_by_themselves(chain: Project):
    chain.write("pyproject.toml", "[tool.buildkit]\nhistory_max_runs = 2\n")
    for version in range(6):
        chain.write("in", str(version))
        chain.run(check=0)
    assert len(report(chain)["runs"]) <= 3


def history_lines(walls_s: list[float]) -> str:
    """Return a history in which task `build` took these times, one run each, an hour apart."""
    lines: list[dict[str, Any]] = [{"kind": "header", "schema": 1}]
    for number, wall_s in enumerate(walls_s):
        wall_ns = int(wall_s * 1e9)
        uid = f"{number:016x}"
        run = {
            "uid": uid,
            "started_at": 1.76e9 + number * 3600,
            "argv": ["doit"],
            "cwd": "/p",
            "machine": "m",
        }
        lines.append(
            {"kind": "run", **run, "git_commit": f"{number:040x}", "wall_ns": wall_ns, "executed": 1}
        )
        cost = {"wall_ns": wall_ns, "user_ns": wall_ns // 2, "system_ns": 0}
        lines.append(
            {"kind": "execution", "run": uid, "task": "build", "decision": "executed", "reasons": [], **cost}
        )
    return "".join(json.dumps(line) + "\n" for line in lines)


def test_a_step_in_the_history_fails_the_gate_until_it_is_accepted(project: Project):
    noise = [0.97, 1.02, 1.0, 0.99, 1.03, 1.01, 0.98]
    steady, slower = [noise[i % 7] for i in range(24)], [1.6 * noise[i] for i in range(7)]
    project.write("history.jsonl", history_lines(steady + slower))
    project.run("history", "import", "history.jsonl", check=0)

    gate = project.run("report", "--fail-on", "regression")
    assert gate.exit_code == 4
    assert "regression: 'build' is slower by +6" in gate.stderr
    assert "since run 25" in gate.stderr
    assert f"{24:040x}"[:10] in gate.stderr
    assert "Slower, or hungrier, than before" in gate.stdout

    assert project.run("report", "--fail-on", "regression", "--run", "24").exit_code == 0
    assert project.run("report", "--fail-on", "regression:effect=3").exit_code == 0

    project.write(
        "pyproject.toml",
        '[tool.buildkit.report]\nallow = [{task = "bu*", until = "2999-01-01", reason = "later"}]\n',
    )
    assert project.run("report", "--fail-on", "regression").exit_code == 0
    project.remove("pyproject.toml")

    project.run("accept", "build", "--reason", "does more now", check=0)
    assert project.run("report", "--fail-on", "regression").exit_code == 0
