"""`doit explain` says what a run would do, and why; and what a run did, and why."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest

from .harness import FileState, Project

PIPELINE = """
    from doit import create_after
    from doit.tools import config_changed

    LEVEL = 1

    def parse(dependencies):
        return {'words': open('in').read().split(), 'level': LEVEL}

    def task_parse():
        return {'actions': [parse], 'file_dep': ['in']}

    def task_upper():
        return {'actions': ['tr a-z A-Z < in > upper; : $SHADE'], 'file_dep': ['in'], 'targets': ['upper'],
                'uptodate': [config_changed('dark')]}

    def task_tree():
        return {'actions': ['mkdir -p tree/deep && cp upper tree/deep/leaf'], 'file_dep': ['upper'],
                'targets': ['tree/']}

    def task_use():
        return {'actions': ['echo %(words)s > used; cat tree/deep/leaf >> used'], 'targets': ['used'],
                'file_dep': ['tree/deep/leaf'], 'task_dep': ['tree'],
                'getargs': {'words': ('parse', 'words')}}

    def task_check():
        return {'actions': ['grep -q . used'], 'file_dep': ['used']}

    def task_fails():
        return {'actions': ['false'], 'file_dep': ['in']}

    def task_always():
        return {'actions': ['true']}

    def task_own():
        return {'actions': ['cp in own'], 'file_dep': ['in'], 'targets': ['own'],
                'meta': {'buildkit': {'cache': False}}}

    @create_after(executed='check')
    def task_late():
        for word in open('used').read().split()[-1:]:
            yield {'name': word.lower(), 'actions': ['true'], 'file_dep': ['used']}

    def task_both():
        return {'actions': None, 'task_dep': ['check', 'fails']}
"""


@pytest.fixture
def pipeline(project: Project) -> Project:
    project.write("in", "one two")
    project.dodo(PIPELINE)
    return project


def lasting(project: Project) -> dict[str, FileState]:
    """Return every path of the project, without what SQLite keeps beside a database that is being read."""
    return {
        path: state for path, state in project.everything().items() if not path.endswith(("-shm", "-wal"))
    }


def explained(project: Project, *arguments: str, env: dict[str, str] | None = None) -> dict[str, Any]:
    """Return what `doit explain --json` says, by task."""
    before = lasting(project)
    result = project.run("explain", "--json", *arguments, env=env, check=0)
    assert lasting(project) == before, "explain changed something on disk"
    return {task["task"]: task for task in json.loads(result.stdout)["tasks"]}


def happened(project: Project) -> dict[str, str]:
    """Return the outcome of each task in the last run."""
    result = project.run("explain", "--run", "last", "--json", check=0)
    return {task["task"]: task["outcome"] for task in json.loads(result.stdout)["tasks"]}


MEANS = {
    "up to date": {"skipped"},
    "would run": {"executed", "failed"},
    "would be restored": {"restored"},
    "ignored": {"ignored"},
    "cannot start": {"failed", "upstream-failed"},
}

STEPS: dict[str, Callable[[Project], object]] = {
    "nothing": lambda project: None,
    "edit": lambda project: project.write("in", "three four"),
    "revert": lambda project: project.write("in", "one two"),
    "lost output": lambda project: project.remove("used"),
    "lost outputs": lambda project: project.remove("used", "tree", "upper"),
    "altered output": lambda project: project.write("upper", "altered"),
    "other code": lambda project: project.dodo(PIPELINE.replace("LEVEL = 1", "LEVEL = 2")),
    "other command": lambda project: project.dodo(PIPELINE.replace("tr a-z A-Z", "tr a-y A-Y")),
    "other configuration": lambda project: project.dodo(PIPELINE.replace("'dark'", "'light'")),
    "forget": lambda project: project.run("forget", "upper", check=0),
    "ignore": lambda project: project.run("ignore", "upper", check=0),
    "lost input": lambda project: project.remove("in"),
    "cache cleared": lambda project: project.run("cache", "clear", check=0),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_run_does_what_was_foretold(pipeline: Project, step: str):
    pipeline.run("--continue")
    if step == "revert":
        pipeline.write("in", "three four")
        pipeline.run("--continue")
    STEPS[step](pipeline)
    foretold = explained(pipeline)
    pipeline.run("--continue", "-n", "2")
    outcomes = happened(pipeline)
    sure = {
        name: task["would"]
        for name, task in foretold.items()
        if task["would"] in MEANS and not task["awaits"]
    }
    assert len(sure) >= 4
    for name, would in sure.items():
        assert outcomes[name] in MEANS[would], (name, foretold[name], outcomes)


def test_a_fresh_clone_foresees_that_all_is_restored(pipeline: Project):
    pipeline.run("--continue")
    clone = pipeline.clone("clone")
    clone.write("in", "one two")
    clone.dodo(PIPELINE)
    would = {name: task["would"] for name, task in explained(clone).items()}
    restored = {name for name, what in would.items() if what == "would be restored"}
    assert restored == {"parse", "upper", "tree", "use", "check"}
    assert not (clone.root / ".buildkit").exists()
    clone.run("--continue")
    assert restored < {name for name, outcome in happened(clone).items() if outcome == "restored"}


def test_a_result_whose_bytes_are_gone_is_not_promised(pipeline: Project):
    pipeline.run("--continue")
    for blob in (pipeline.cache / "cas").rglob("*"):
        if blob.is_file():
            blob.unlink()
    pipeline.remove("used")
    assert explained(pipeline, "use")["use"]["would"] == "would run"


def test_asking_leaves_no_trace_in_the_cache(pipeline: Project):
    pipeline.run("--continue")
    pipeline.remove("used")
    before = pipeline.run("cache", "stats", "--json").stdout
    explained(pipeline)
    explained(pipeline, "use")
    assert pipeline.run("cache", "stats", "--json").stdout == before


def differences(project: Project, task: str, env: dict[str, str] | None = None) -> list[tuple[str, str]]:
    found = explained(project, task, env=env)[task]["differences"]
    return [(one["kind"], one["name"]) for one in found]


@pytest.mark.parametrize(
    ("change", "task", "expected"),
    [
        (lambda p: p.write("in", "x"), "upper", ("input file", "in")),
        (lambda p: p.path("in").chmod(0o755), "upper", ("input file", "in")),
        (lambda p: p.dodo(PIPELINE.replace("a-z", "a-y")), "upper", ("command", "1")),
        (lambda p: p.dodo(PIPELINE.replace("'dark'", "'x'")), "upper", ("configuration", "config_changed")),
        (
            lambda p: p.dodo(PIPELINE.replace("LEVEL = 1", "LEVEL = 2")),
            "parse",
            ("Python code", "dodo.LEVEL (constant)"),
        ),
        (
            lambda p: p.dodo(PIPELINE.replace("'targets': ['used']", "'targets': ['used', 'more']")),
            "use",
            ("output", "more"),
        ),
    ],
    ids=["content", "mode", "command", "configuration", "code", "outputs"],
)
def test_what_differs_is_named(pipeline: Project, change: Callable[[Project], object], task: str, expected):
    pipeline.run("--continue")
    change(pipeline)
    assert differences(pipeline, task) == [expected]


def test_a_variable_that_differs_is_named_and_its_values_are_not_told(pipeline: Project):
    pipeline.run("--continue", env={"SHADE": "old-secret"})
    result = pipeline.run("explain", "upper", "--all-components", env={"SHADE": "new-secret"}, check=0)
    assert "environment variable SHADE: changed" in result.stdout
    told = result.output + pipeline.run("explain", "--json", "upper", env={"SHADE": "new-secret"}).stdout
    assert "secret" not in told
    assert differences(pipeline, "upper", env={"SHADE": "old-secret"}) == []
    assert differences(pipeline, "upper") == [("environment variable", "SHADE")]


def test_a_tool_that_differs_is_named(project: Project):
    project.write("tool", "#!/bin/sh\necho 1 > out\n", 0o755)
    project.write("in", "1")
    project.dodo(
        """
        def task_make():
            return {'actions': ['./tool'], 'file_dep': ['in'], 'targets': ['out']}
        """
    )
    project.run(check=0)
    project.write("tool", "#!/bin/sh\necho 2 > out\n", 0o755)
    assert differences(project, "make") == [("tool", "./tool")]


def test_an_upstream_task_whose_value_differs_is_named(pipeline: Project):
    pipeline.run("--continue")
    pipeline.write("in", "other words")
    pipeline.run("parse", check=0)
    assert ("upstream task", "parse words as words") in differences(pipeline, "use")


def test_the_words_of_an_explanation(pipeline: Project):
    pipeline.run("--continue")
    pipeline.write("in", "three")
    text = pipeline.run("explain", "upper", "use", "own", "fails", "both", check=0).stdout
    assert "upper (dodo.py:12): would run" in text
    assert "input file in: " in text
    assert "(7 B) -> " in text and "(5 B)" in text
    assert "The answer may change when parse, upper have run." in text
    assert "upper: would run; supplies" not in text  # `use` waits for `tree`, not for `upper` itself
    assert "Cache: does not keep its results: its meta says cache=False" in text
    assert "failed in run 1" in text and "exit code 1" in text
    assert re.search(r"^both \(dodo.py:\d+\): group$", text, re.MULTILINE)


def test_why_a_skip_and_a_restore_are_right_is_told(pipeline: Project):
    pipeline.run("--continue")
    skip = pipeline.run("explain", "tree", check=0).stdout
    assert "Its key is that of its last success: the same 1 input file, 1 command" in skip
    assert "Its 1 output is as it left it." in skip
    pipeline.remove("tree")
    restore = pipeline.run("explain", "tree", check=0).stdout
    assert "output missing: tree" in restore
    assert "The cache has a result that was made under exactly this key" in restore
    assert "What comes back: tree/, its log and its values." in restore


def test_a_table_of_all_tasks_puts_first_what_would_act(pipeline: Project):
    pipeline.run("--continue")
    pipeline.write("in", "three")
    lines = pipeline.run("explain", check=0).stdout.splitlines()
    assert lines[0].split() == ["Task", "Would", "Why"]
    assert [line.split()[0] for line in lines[2:6]] == ["parse", "upper", "fails", "always"]
    assert "input changed: in" in lines[2]
    assert lines[-1] == "5 would run, 1 known later, 3 up to date"


def test_what_is_not_created_yet_is_known_later(pipeline: Project):
    late = explained(pipeline)["late"]
    assert late["would"] == "known later"
    assert "check" in late["message"]
    pipeline.run("--continue")
    assert explained(pipeline)["late:two"]["would"] == "up to date"


def test_a_check_that_raises_keeps_only_its_own_task_from_an_answer(project: Project):
    project.write("in", "1")
    project.dodo(
        """
        def broken():
            raise ValueError('no answer')

        def task_bad():
            return {'actions': ['true'], 'uptodate': [broken]}

        def task_good():
            return {'actions': ['true'], 'file_dep': ['in']}
        """
    )
    found = explained(project)
    assert found["bad"]["would"] == "cannot start"
    assert "no answer" in found["bad"]["message"]
    assert found["good"]["would"] == "would run"


# --- what happened


def test_what_happened_and_why(pipeline: Project):
    pipeline.run("--continue")
    pipeline.write("in", "three")
    pipeline.run("--continue")
    last = pipeline.run("explain", "--run", "last", check=0).stdout
    assert last.startswith("Run 2, ")
    assert "input changed: in" in last
    first = pipeline.run("explain", "--run", "1", "upper", check=0).stdout
    assert "upper: executed in" in first
    assert "never run" in first
    failed = pipeline.run("explain", "--run", "last", "fails", check=0).stdout
    assert "exit code 1" in failed
    uid = json.loads(pipeline.run("explain", "--run", "1", "--json").stdout)["run"]["uid"]
    assert pipeline.run("explain", "--run", uid[:8], "upper", check=0).stdout == first


def test_what_happened_needs_no_dodo(pipeline: Project):
    pipeline.run("--continue")
    pipeline.remove("dodo.py")
    assert "executed" in pipeline.run("explain", "--run", "last", check=0).stdout


# --- bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nosuch"], 'invalid parameter: "nosuch"'),
        (["uper"], "Did you mean 'upper'?"),
        (["--nosuch"], "nosuch"),
        (["--run"], "--run"),
        (["--run", "7"], "no runs are recorded"),
        (["--run", "last", "upper"], "no runs are recorded"),
    ],
    ids=" ".join,
)
def test_a_mistake_is_one_message_and_creates_nothing(pipeline: Project, arguments: list[str], message: str):
    before = pipeline.everything()
    result = pipeline.run("explain", *arguments, check=3)
    assert result.stdout == ""
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert pipeline.everything() == before
    assert not pipeline.cache.exists()


def test_a_run_without_history_is_no_mistake(pipeline: Project):
    assert "No runs are recorded" in pipeline.run("explain", "--run", "last", check=0).stdout
    assert json.loads(pipeline.run("explain", "--run", "last", "--json", check=0).stdout)["run"] is None


def test_an_unknown_run_or_task_of_a_run_is_told_with_what_there_is(pipeline: Project):
    pipeline.run("--continue")
    assert "holds runs 1 to 1" in pipeline.run("explain", "--run", "9", check=3).stderr
    assert "Did you mean 'upper'?" in pipeline.run("explain", "--run", "last", "uppr", check=3).stderr


@pytest.mark.parametrize(
    "arguments", [["explain"], ["explain", "--run", "last"], ["graph"], ["graph", "use"]]
)
def test_a_database_of_a_newer_version_is_refused_in_one_line(pipeline: Project, arguments: list[str]):
    pipeline.run("--continue")
    connection = sqlite3.connect(pipeline.root / ".buildkit" / "state.db")
    connection.execute("PRAGMA user_version = 999")
    connection.close()
    result = pipeline.run(*arguments, check=3)
    assert len(result.stderr.splitlines()) == 1
    assert "newer buildkit" in result.stderr


def test_a_reader_that_goes_away_is_no_error(project: Project):
    project.write("in", "1")
    project.dodo(
        """
        def task_many():
            for number in range(3000):
                yield {'name': str(number), 'actions': ['true'], 'file_dep': ['in']}
        """
    )
    for arguments in (["explain", "--all"], ["graph", "--all"], ["graph", "--format", "dot"]):
        started = project.start(*arguments)
        assert started.stdout is not None
        started.stdout.read(1)
        started.stdout.close()
        assert started.wait(60) == 0


def test_switched_off_there_is_no_such_command(pipeline: Project):
    result = pipeline.run("explain", env={"BUILDKIT": "0"}, check=3)
    assert 'Invalid parameter: "explain"' in result.stderr


def test_what_cannot_be_printed_in_the_encoding_of_the_terminal_is_replaced(project: Project):
    project.dodo(
        """
        def task_grün():
            return {'actions': ['true']}
        """
    )
    result = project.run("explain", env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}, check=0)
    assert "gr?n" in result.stdout


def test_a_terminal_narrower_than_the_names(pipeline: Project):
    env = {"COLUMNS": "40"}
    for arguments in (["explain"], ["graph"]):
        assert max(map(len, pipeline.run(*arguments, env=env, check=0).stdout.splitlines()[:1])) <= 40


def test_options_may_follow_names(pipeline: Project):
    (task,) = json.loads(pipeline.run("explain", "upper", "--json", check=0).stdout)["tasks"]
    assert task["task"] == "upper"


def test_damage_in_the_middle_of_the_database_is_one_line(pipeline: Project):
    pipeline.run("--continue")
    pipeline.run("explain", check=0)  # a reader may have left a log beside the database
    database = pipeline.root / ".buildkit" / "state.db"
    sound = database.read_bytes()
    for name in ("state.db-wal", "state.db-shm"):
        (database.parent / name).unlink(missing_ok=True)
    for page in range(4096, len(sound), 3 * 4096):
        database.write_bytes(sound[:page] + b"\xff" * 4096 + sound[page + 4096 :])
        for arguments in (["explain", "upper"], ["graph"]):
            result = pipeline.run(*arguments)
            assert result.exit_code in (0, 3), result
            assert "Traceback" not in result.stderr
