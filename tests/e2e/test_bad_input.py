"""Bad input: exit code 3, one clear message with task, file and line, no traceback, nothing left on disk."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
from dataclasses import dataclass

import pytest

from .harness import Project, RunResult

GOOD = """
    def task_copy():
        return {'actions': ['say copy && cp in out'], 'file_dep': ['in'], 'targets': ['out']}
"""


@dataclass(frozen=True)
class Case:
    """A wrong dodo.py, and what a message about it has to name."""

    text: str
    names: tuple[str, ...]
    line: int | None = None  # where in dodo.py the mistake is, as far as it can be known


CASES = {
    "syntax error": Case("x = 1\ndef task_copy(:\n    pass\n", ("dodo.py", "syntax"), 2),
    "exception while loading": Case("x = 1\n\nraise ValueError('no luck')\n", ("ValueError", "no luck"), 3),
    "exception in a function": Case("def f():\n    return {}['key']\n\nf()\n", ("KeyError", "key"), 2),
    "unknown module": Case("x = 1\nimport nosuchmodule\n", ("nosuchmodule",), 2),
    "exception in a task creator": Case(
        "def task_copy():\n    x = 1\n    raise ValueError('no luck')\n", ("ValueError", "no luck"), 3
    ),
    "exception in a generator": Case(
        "def task_copy():\n    yield {'name': 'x', 'actions': []}\n    raise ValueError('no luck')\n",
        ("ValueError", "no luck"),
        3,
    ),
    "file_dep is a text": Case(
        "def task_copy():\n    return {'actions': [], 'file_dep': 'in'}\n", ("copy", "file_dep")
    ),
    "file_dep holds a number": Case(
        "def task_copy():\n    return {'actions': [], 'file_dep': [5]}\n", ("copy", "5")
    ),
    "targets hold a number": Case(
        "def task_copy():\n    return {'actions': [], 'targets': [5]}\n", ("copy", "5")
    ),
    "actions is a text": Case("def task_copy():\n    return {'actions': 'ls'}\n", ("copy", "actions")),
    "no actions": Case("def task_copy():\n    return {'file_dep': []}\n", ("copy", "actions")),
    "misspelt field": Case(
        "def task_copy():\n    return {'actions': [], 'file_depp': []}\n", ("copy", "file_depp")
    ),
    "a number as a task": Case("def task_copy():\n    return 5\n", ("copy",)),
    "an action that is a number": Case("def task_copy():\n    return {'actions': [5]}\n", ("copy", "5")),
    "verbosity is 7": Case(
        "def task_copy():\n    return {'actions': [], 'verbosity': 7}\n", ("copy", "verbosity")
    ),
    "misspelt setting": Case(
        "def task_copy():\n    return {'actions': [], 'meta': {'buildkit': {'cach': False}}}\n",
        ("copy", "cach", "Did you mean 'cache'"),
    ),
    "setting of a wrong type": Case(
        "def task_copy():\n    return {'actions': [], 'meta': {'buildkit': {'env': 'CC'}}}\n", ("copy", "env")
    ),
    "settings that are no table": Case(
        "def task_copy():\n    return {'actions': [], 'meta': {'buildkit': True}}\n", ("copy", "buildkit")
    ),
    "task_dep that does not exist": Case(
        "def task_copy():\n    return {'actions': [], 'task_dep': ['compil']}\n"
        "def task_compile():\n    return {'actions': []}\n",
        ("copy", "compil", "Did you mean 'compile'"),
        1,
    ),
    "two tasks with one target": Case(
        "def task_one():\n    return {'actions': ['touch t'], 'targets': ['t']}\n"
        "def task_two():\n    return {'actions': ['touch t'], 'targets': ['t']}\n",
        ("one", "two", "'t'"),
    ),
    "a cycle of tasks": Case(
        "def task_one():\n    return {'actions': ['touch a'], 'task_dep': ['two']}\n"
        "def task_two():\n    return {'actions': ['touch b'], 'task_dep': ['three']}\n"
        "def task_three():\n    return {'actions': ['touch c'], 'task_dep': ['one']}\n",
        ("one", "two", "three"),
    ),
    "a cycle of files": Case(
        "def task_one():\n    return {'actions': ['touch a'], 'file_dep': ['b'], 'targets': ['a']}\n"
        "def task_two():\n    return {'actions': ['touch b'], 'file_dep': ['a'], 'targets': ['b']}\n",
        ("one", "two"),
    ),
    "a task that needs its own output": Case(
        "def task_one():\n    return {'actions': ['touch a'], 'file_dep': ['a'], 'targets': ['a']}\n",
        ("one",),
    ),
    "no dict in DOIT_CONFIG": Case("DOIT_CONFIG = 'text'\n", ("DOIT_CONFIG",)),
}


def assert_clear_refusal(project: Project, result: RunResult, before: object) -> None:
    """One message, the right exit code, and nothing that happened."""
    assert result.exit_code == 3, result
    assert "Traceback" not in result.output, result
    assert result.ran == (), result
    assert result.stdout == "", result
    message = result.stderr.strip()
    assert message, result
    assert len(message.splitlines()) <= 6, f"more than one message:\n{result}"
    assert project.everything() == before, f"something changed on disk:\n{result}"
    assert not project.cache.exists(), f"the cache was created:\n{result}"


@pytest.mark.parametrize("width", [[], ["-n", "2"]], ids=["sequential", "parallel"])
@pytest.mark.parametrize("case", CASES)
def test_wrong_dodo(project: Project, case: str, width: list[str]):
    wrong = CASES[case]
    project.write("dodo.py", wrong.text)
    before = project.everything()
    result = project.run(*width)
    assert_clear_refusal(project, result, before)
    for name in wrong.names:
        assert name.lower() in result.stderr.lower(), result
    if wrong.line is not None:
        assert re.search(rf'dodo\.py(:|", line ){wrong.line}\b', result.stderr), result


@pytest.mark.parametrize(
    "command", [["list"], ["list", "-s"], ["info", "copy"], ["clean"], ["forget"]], ids=" ".join
)
@pytest.mark.parametrize("case", ["syntax error", "exception while loading", "file_dep is a text"])
def test_wrong_dodo_and_other_commands(project: Project, case: str, command: list[str]):
    project.write("dodo.py", CASES[case].text)
    before = project.everything()
    assert_clear_refusal(project, project.run(*command), before)


def test_exception_in_an_imported_module_of_the_project(project: Project):
    project.write("rules.py", "x = 1\n\nraise ValueError('no luck')\n")
    project.write("dodo.py", "import rules\n")
    before = project.everything()
    result = project.run()
    assert_clear_refusal(project, result, before)
    assert re.search(r'rules\.py(:|", line )3\b', result.stderr), result


def test_no_dodo(project: Project):
    before = project.everything()
    result = project.run()
    assert_clear_refusal(project, result, before)
    assert "dodo.py" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["-n", "banana"], ["banana", "auto"]),
        (["-n", "-1"], ["-1"]),
        (["-n", "0%"], ["0%"]),
        (["-n", "1.5"], ["1.5"]),
        (["-n", "auto-"], ["auto-"]),
        (["-P", "banana", "-n", "2"], ["banana"]),
        (["-r", "banana"], ["banana"]),
        (["-v", "banana"], ["banana"]),
        (["--banana"], ["ERROR: option --banana not recognized.\n"]),
        (["--no-wiat"], ["ERROR: option --no-wiat not recognized. Did you mean '--no-wait'?\n"]),
        (["report", "--limit", "many"], ["'limit'", "'many'"]),
        (["explain", "--al"], ["--al"]),
        (["explain", "--allz"], ["ERROR: option --allz not recognized. Did you mean '--all'?\n"]),
        (["history", "prune", "--max-runs", "9" * 30], ["--max-runs 9999", "at most 1,000,000,000"]),
        (["copi"], ["copi", "Did you mean 'copy'"]),
        (["ou"], ["ou", "Did you mean 'out'"]),
        (["run", "copi"], ["copi"]),
        (["list", "copi"], ["copi"]),
        (["clean", "copi"], ["copi"]),
        (["forget", "copi"], ["copi"]),
        (["ignore", "copi"], ["copi"]),
        (["info", "copi"], ["copi"]),
        (["reset-dep", "copi"], ["copi"]),
    ],
    ids=" ".join,
)
def test_wrong_command_line(project: Project, arguments: list[str], names: list[str]):
    project.write("in", "1")
    project.dodo(GOOD)
    before = project.everything()
    result = project.run(*arguments)
    assert_clear_refusal(project, result, before)
    for name in names:
        assert name in result.stderr, result


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("[tool.buildkit]\ncache_max_sise = 5\n", ["cache_max_sise", "Did you mean 'cache_max_size'"]),
        ("[tool.buildkit]\ncache = 'often'\n", ["cache", "often"]),
        ("[tool.buildkit]\nenabled = 'often'\n", ["enabled", "often"]),
        ("[tool.buildkit]\ncache_max_size = 'huge'\n", ["cache_max_size", "huge"]),
        ("[tool.buildkit]\npools = 5\n", ["pools"]),
        ("[tool.buildkit]\nsla = 1e300\n", ["sla", "at most 1,000,000,000"]),
        ("[tool.buildkit]\ngrace = inf\n", ["grace", "at most 1,000,000,000"]),
        (f"[tool.buildkit]\nhistory_max_runs = {'9' * 30}\n", ["history_max_runs", "at most 1,000,000,000"]),
        ("[tool.doit.commands.run]\nnum_process = 'banana'\n", ["banana"]),
    ],
)
def test_wrong_settings(project: Project, text: str, names: list[str]):
    project.write("in", "1")
    project.dodo(GOOD)
    project.write("pyproject.toml", text)
    before = project.everything()
    result = project.run()
    assert_clear_refusal(project, result, before)
    for name in names:
        assert name in result.stderr, result


@pytest.mark.parametrize("value", ["banana", -1, "200 apples"])
def test_wrong_width_in_dodo(project: Project, value: object):
    project.write("in", "1")
    project.dodo(f"    DOIT_CONFIG = {{'num_process': {value!r}}}\n" + GOOD)
    before = project.everything()
    result = project.run()
    assert_clear_refusal(project, result, before)
    assert str(value) in result.stderr


def test_read_only_project(project: Project):
    project.write("in", "1")
    project.dodo(GOOD)
    before = project.everything()
    project.root.chmod(0o555)
    try:
        result = project.run(obey_modes=True)
    finally:
        project.root.chmod(0o755)
    assert_clear_refusal(project, result, before)
    assert ".buildkit" in result.stderr


def test_database_from_a_newer_version(project: Project):
    project.write("in", "1")
    project.dodo(GOOD)
    project.run(check=0)
    database = sqlite3.connect(project.path(".buildkit/state.db"))
    database.execute("PRAGMA user_version = 9999")
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    project.write("in", "2")
    before = project.path(".buildkit/state.db").read_bytes()
    for command in ([], ["list", "-s"], ["forget"], ["ignore", "copy"], ["reset-dep"], ["report"]):
        result = project.run(*command)
        assert result.exit_code == 3, result
        assert result.ran == (), result
        assert "Traceback" not in result.output, result
        assert "newer" in result.stderr, result
        assert project.path(".buildkit/state.db").read_bytes() == before, result


@pytest.mark.parametrize("kind", ["folder", "pipe", "dangling link"])
def test_input_that_is_no_file(project: Project, kind: str):
    """Found when the task's turn has come: an error of that task, which the others survive."""
    project.dodo("""
        def task_use():
            return {'actions': ['say use'], 'file_dep': ['thing']}

        def task_other():
            return {'actions': ['say other']}
    """)
    if kind == "folder":
        project.write("thing/file", "1")
    elif kind == "pipe":
        os.mkfifo(project.path("thing"))
    else:
        project.path("thing").symlink_to("nowhere")
    result = project.run("--continue", check=2)
    assert result.ran == ("other",)
    assert "Traceback" not in result.output
    assert "thing" in result.output
    assert "use" in result.output


def test_events_file_of_the_settings_that_cannot_be_written(project: Project):
    project.write("in", "1")
    project.dodo(GOOD)
    project.write("pyproject.toml", "[tool.buildkit]\nevents = 'nowhere/events'\n")
    result = project.run()
    assert (result.exit_code, result.ran) == (3, ())
    assert result.stderr.startswith("ERROR: the setting 'events': 'nowhere/events' cannot be written: ")


def test_output_file_that_cannot_be_written(project: Project):
    project.write("in", "1")
    project.dodo(GOOD)
    result = project.run("-o", "nowhere/log")
    assert (result.exit_code, result.ran) == (3, ())
    assert (
        result.stderr == "ERROR: --output-file: 'nowhere/log' cannot be written: No such file or directory.\n"
    )


@pytest.mark.parametrize("content", ["x", "tool = 3\n", b"\xff"])
def test_settings_that_cannot_be_parsed_are_told_by_our_script(project: Project, content: str | bytes):
    # doit itself ends with a traceback, before it asks for any plug-in.
    project.write("in", "1")
    project.dodo(GOOD)
    project.write("pyproject.toml", content)
    before = project.everything()
    result = project.script("-m", "buildkit")
    assert_clear_refusal(project, result, before)
    assert "pyproject.toml" in result.stderr


def test_settings_that_cannot_be_read_are_not_taken_for_none(project: Project):
    project.write("in", "1")
    project.dodo(GOOD)
    project.run(check=0)
    project.write("pyproject.toml", "[tool.buildkit]\ncache = false\n", mode=0)
    elsewhere = project.clone("elsewhere")
    result = elsewhere.run("report", "--dir", str(project.root), obey_modes=True)
    assert result.exit_code == 3, result
    assert "pyproject.toml: cannot be read: Permission denied" in result.stderr


def test_output_that_cannot_be_read(project: Project):
    project.write("in", "1")
    project.dodo(GOOD.replace("cp in out", "rm -f out && cp in out"))
    project.run(check=0)
    project.path("out").chmod(0)
    project.write("in", "2")
    for command in (["list", "-s"], ["explain", "copy"]):
        project.run(*command, check=0, obey_modes=True)
    assert project.run(check=0, obey_modes=True).ran == ("copy",)
    assert project.read("out") == "2"


@pytest.mark.parametrize("command", ["report", "explain", "history export", "dumpdb"])
def test_state_that_cannot_be_read_is_not_taken_for_none(project: Project, command: str):
    project.write("in", "1")
    project.dodo(GOOD)
    project.run(check=0)
    project.path(".buildkit").chmod(0)
    try:
        result = project.run(*command.split(), obey_modes=True)
    finally:
        project.path(".buildkit").chmod(0o700)
    assert (result.exit_code, result.stdout) == (3, ""), result
    assert "state.db: Permission denied" in result.stderr


@pytest.mark.parametrize("command", ["stats", "gc", "verify", "clear"])
def test_cache_that_cannot_be_read_is_not_taken_for_empty(project: Project, command: str):
    project.write("in", "1")
    project.dodo(GOOD)
    project.run(check=0)
    project.cache.chmod(0)
    try:
        result = project.run("cache", command, obey_modes=True)
    finally:
        project.cache.chmod(0o700)
    assert (result.exit_code, result.stdout) == (3, ""), result
    assert "cannot be read: Permission denied" in result.stderr


def test_dodo_that_cannot_be_read(project: Project):
    project.dodo(GOOD)
    project.path("dodo.py").chmod(0)
    before = project.everything()
    result = project.run(obey_modes=True)
    assert_clear_refusal(project, result, before)
    assert result.stderr.startswith("ERROR: PermissionError: ")


def test_dumpdb_of_a_project_without_a_record(project: Project):
    project.dodo(GOOD)
    result = project.run("dumpdb")
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr == "ERROR: there is no record of this project yet.\n"


@pytest.mark.parametrize(
    "command", [["-n", "2"], ["list"], ["report"], ["explain"], ["dumpdb"]], ids=" ".join
)
def test_standard_output_on_a_full_disk(project: Project, command: list[str]):
    project.write("in", "1")
    project.dodo(GOOD)
    project.run(check=0)
    script = 'exec "$@" > /dev/full'
    finished = subprocess.run(
        ["sh", "-c", script, "sh", *project._command("doit"), *command],
        cwd=project.root,
        env=project._environment() | project.env | {"BUILDKIT_FAST": "0"},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert finished.returncode == 3, finished.stderr
    assert finished.stderr.splitlines()[-1] == (
        "ERROR: standard output cannot be written: No space left on device."
    )
    assert "Traceback" not in finished.stderr


def test_stored_plans_that_cannot_be_read(project: Project):
    project.write("in", "1")
    project.dodo(GOOD)
    project.run(check=0)
    project.path(".buildkit/snapshots").chmod(0)
    try:
        result = project.run("explain", "--plan", obey_modes=True)
    finally:
        project.path(".buildkit/snapshots").chmod(0o700)
    assert (result.exit_code, result.stdout) == (3, ""), result
    assert "snapshots" in result.stderr
    assert "Traceback" not in result.stderr


def test_forgetting_nothing_in_particular(project: Project):
    project.write("in", "1")
    project.dodo(GOOD)
    result = project.run("forget")
    assert (result.exit_code, result.stderr) == (0, ""), result
    assert result.stdout == "no tasks specified, pass task name, --enable-default or --all\n"
