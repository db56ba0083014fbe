"""The fast start: it answers only while nothing has changed, and then as the long way does."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from .fast_lab import Scripts, age, without_times
from .harness import BOTH_STOCK, Project, RunResult, World

LONG_WAY = {"BUILDKIT_FAST": "0"}

DODO = """
    import glob
    import json
    import os

    from doit import get_var

    import helper
    from pkg import part

    try:
        import maybe
    except ImportError:
        maybe = None

    with open('config.json') as file:
        CONFIG = json.load(file)

    def task_copy():
        for path in sorted(glob.glob('src/*.txt')):
            name = os.path.basename(path)
            yield {'name': name, 'file_dep': [path], 'targets': ['out/' + name],
                   'actions': [f'cat {path} > out/{name}', f'say copy-{name}']}

    def task_flavour():
        flavour = os.environ.get('FLAVOUR', 'plain') + part.SUFFIX
        return {'actions': [f'echo {flavour} > out/flavour', 'say flavour'],
                'file_dep': ['config.json'], 'targets': ['out/flavour']}

    def task_mode():
        mode = get_var('mode', 'debug')
        return {'actions': [f'echo {mode} {CONFIG["level"]} {maybe and maybe.VALUE} > out/mode', 'say mode'],
                'file_dep': ['src/a.txt'], 'targets': ['out/mode']}

    def task_python():
        return {'actions': [(helper.write, ['out/python', 'src/b.txt'])],
                'file_dep': ['src/b.txt'], 'targets': ['out/python']}

    if os.path.exists('flag'):
        def task_flag():
            return {'actions': ['say flag'], 'file_dep': ['src/a.txt']}
"""
HELPER = """
def write(target, source):
    import os
    with open(source) as given, open(target, 'w') as made:
        made.write(given.read().upper())
    os.system('say python')
"""


@dataclass
class Lab:
    """A project with a dodo.py that looks at many things while it is loaded."""

    project: Project
    env: dict[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()

    def begin(self) -> None:
        """Write the project; nothing in it was written a moment ago, as in real life."""
        project = self.project
        project.dodo(DODO)
        project.write("helper.py", HELPER)
        project.write("pkg/__init__.py", "")
        project.write("pkg/part.py", "SUFFIX = '!'\n")
        project.write("config.json", '{"level": 1}')
        for name in "abc":
            project.write(f"src/{name}.txt", f"{name}\n" * 5)
        project.path("out").mkdir()
        age(project)

    @property
    def pending(self) -> int:
        """How many bytes wait to be moved into the history: only the fast start writes there."""
        path = self.project.path(".buildkit/pending.jsonl")
        return path.stat().st_size if path.exists() else 0

    def run(self, **env: str) -> tuple[bool, RunResult]:
        """Run `buildkit`; return whether that was answered fast."""
        before = self.pending
        result = self.project._run("buildkit", self.arguments, {**self.env, **env}, ".", None, False)
        return self.pending > before, result

    def run_until_fast(self) -> RunResult:
        """Run as often as it takes at most: once to build, once for what changed while it was built."""
        for _ in range(3):
            fast, result = self.run()
            if fast:
                return result
        raise AssertionError(f"never answered fast: {self.reasons()}\n{result}")

    def reasons(self) -> str:
        """Return why nothing was kept."""
        found = sorted(self.project.path(".buildkit/snapshots").glob("*.reason"))
        return "\n".join(path.read_text() for path in found)

    def check(self) -> bool:
        """Return whether a run was answered fast; insist that the long way gives the same answer then."""
        fast, result = self.run()
        if fast:
            _, slow = self.run(**LONG_WAY)
            assert slow.ran == (), f"the fast start left out what had to run:\n{result}\n{slow}"
            assert result.stdout == slow.stdout
            assert result.exit_code == slow.exit_code
            assert without_times(result.stderr) == without_times(slow.stderr)
        return fast


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Return an empty project under buildkit."""
    if os.environ.get(BOTH_STOCK):
        pytest.skip("says what buildkit adds to doit")
    return Scripts(tmp_path, World.BUILDKIT)


@pytest.fixture
def lab(project: Project) -> Lab:
    """Return a project that has been built, and whose next run has nothing to do."""
    made = Lab(project)
    made.begin()
    made.run_until_fast()
    return made


def replace(name: str, old: str, new: str) -> Callable[[Lab], None]:
    """Return an edit of a file."""

    def edit(lab: Lab) -> None:
        text = lab.project.read(name)
        assert old in text
        lab.project.write(name, text.replace(old, new))

    return edit


def write(name: str, text: str) -> Callable[[Lab], None]:
    """Return the writing of a file."""
    return lambda lab: lab.project.write(name, text)


def edit_unseen(lab: Lab) -> None:
    """Change an input, keeping its size and its time of modification."""
    path = lab.project.path("src/a.txt")
    status = path.stat()
    path.write_text("b\n" * 5)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def shadow_tool(lab: Lab) -> None:
    """Put another `cat` in front of the one that was found."""
    tool = lab.project.base / "bin" / "cat"
    tool.write_text('#!/bin/sh\nexec /bin/cat "$@"\n')
    tool.chmod(0o755)


def edit_tool(lab: Lab) -> None:
    """Change a script that commands name."""
    tool = lab.project.base / "bin" / "say"
    tool.write_text(tool.read_text() + "# another version\n")


def set_variable(lab: Lab) -> None:
    """Set an environment variable that the dodo.py asks for."""
    lab.env["FLAVOUR"] = "mint"


CHANGES: dict[str, Callable[[Lab], object]] = {
    "dodo.py": replace("dodo.py", "say copy-", "say copied-"),
    "an imported module": replace("helper.py", "upper", "lower"),
    "a module of an imported package": replace("pkg/part.py", "!", "?"),
    "a file that loading reads": replace("config.json", "1", "2"),
    "a new file that a glob finds": write("src/new.txt", "new\n"),
    "a file less that a glob finds": lambda lab: lab.project.remove("src/c.txt"),
    "a module that could not be imported": write("maybe.py", "VALUE = 5\n"),
    "a module that hides another": write("json.py", "def load(file): return {'level': 7}\n"),
    "a file whose absence was asked for": write("flag", ""),
    "an environment variable": set_variable,
    "settings of buildkit": write("pyproject.toml", "[tool.buildkit]\ncache = false\n"),
    "settings of doit": write("pyproject.toml", "[tool.doit]\nverbosity = 2\n"),
    "doit.cfg": write("doit.cfg", "[GLOBAL]\nverbosity = 2\n"),
    "an input": replace("src/a.txt", "a", "x"),
    "an input, unseen by its times": edit_unseen,
    "the mode of an input": lambda lab: lab.project.path("src/a.txt").chmod(0o755),
    "an output": write("out/a.txt", "by hand"),
    "a missing output": lambda lab: lab.project.remove("out/b.txt"),
    "a tool": edit_tool,
    "another tool of that name": shadow_tool,
    "forget": lambda lab: lab.project.run("forget", "mode"),
    "ignore": lambda lab: lab.project.run("ignore", "mode"),
    "the record": lambda lab: lab.project.remove(".buildkit/state.db"),
    "a variable of the command line": lambda lab: setattr(lab, "arguments", ("mode=release",)),
    "other tasks": lambda lab: setattr(lab, "arguments", ("copy",)),
    "switched off": lambda lab: lab.env.update(BUILDKIT="0"),
}
NO_CHANGES: dict[str, Callable[[Lab], object]] = {
    "nothing": lambda lab: None,
    "a touched input": lambda lab: os.utime(lab.project.path("src/a.txt")),
    "an input written again": write("src/b.txt", "b\n" * 5),
    "a file that nobody asks for": write("notes.md", "notes"),
    "a variable that nobody asks for": lambda lab: lab.env.update(ELSE="1"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_not_answered_fast(lab: Lab, change: str) -> None:
    CHANGES[change](lab)
    fast, result = lab.run()
    assert not fast, result


@pytest.mark.parametrize("change", NO_CHANGES)
def test_what_no_task_depends_on_leaves_the_answer_fast(lab: Lab, change: str) -> None:
    NO_CHANGES[change](lab)
    assert lab.check()


@pytest.mark.parametrize("seed", range(3))
def test_fast_and_long_way_agree_over_random_histories(project: Project, seed: int) -> None:
    chance = random.Random(seed)
    lab = Lab(project)
    lab.begin()
    steps = [*CHANGES, *NO_CHANGES, *NO_CHANGES]
    fast = 0
    for _ in range(12):
        step = chance.choice(steps)
        try:
            {**CHANGES, **NO_CHANGES}[step](lab)
        except (AssertionError, FileNotFoundError):
            continue  # nothing is left that could be changed in this way
        fast += lab.check()
        fast += lab.check()
        if step == "a module that hides another":
            project.remove("json.py")
        lab.env.pop("BUILDKIT", None)
    assert fast > 0


REFUSED = {
    "process": ("import subprocess\nsubprocess.run(['true'])", "started a process"),
    "shell": ("import os\nos.system('true')", "started a process"),
    "network": ("import socket\nsocket.getaddrinfo('localhost', 80)", "used the network"),
    "clock": ("import time\nNOW = time.time()", "time"),
    "date": ("import datetime\nTODAY = datetime.date.today()", "date.today"),
    "chance": ("import random\nDICE = random.random()", "random"),
    "database": ("import sqlite3\nsqlite3.connect(':memory:')", "opened a database"),
    "writing": ("open('made', 'w').close()", "wrote"),
    "deleting": ("import os\nopen('made', 'a').close()\nos.remove('made')", "wrote"),
    "printing": ("print('hello')", "printed"),
    "arguments": ("import sys\nNAME = sys.argv[0]", "sys.argv"),
    "statistics": ("import os\nLOAD = os.getloadavg()", "getloadavg"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_loading_that_cannot_be_seen_again_is_never_answered_fast(project: Project, kind: str) -> None:
    code, reason = REFUSED[kind]
    lab = Lab(project)
    task = "def task_a():\n    return {'actions': ['say a'], 'file_dep': ['input']}\n"
    project.write("dodo.py", f"{code}\n\n\n{task}")
    project.write("input", "1")
    age(project)
    assert [lab.run()[0] for _ in range(3)] == [False] * 3
    assert reason in lab.reasons()


ALWAYS = {
    "no dependencies": "'uptodate': []",
    "a callable": "'file_dep': ['input'], 'uptodate': [lambda: True]",
    "a command": "'file_dep': ['input'], 'uptodate': ['true']",
    "a title": "'file_dep': ['input'], 'title': lambda task: 'title'",
}


@pytest.mark.parametrize("kind", ALWAYS)
def test_what_has_to_be_asked_each_time_is_asked(project: Project, kind: str) -> None:
    lab = Lab(project)
    project.write("dodo.py", f"def task_a():\n    return {{'actions': ['say a'], {ALWAYS[kind]}}}\n")
    project.write("input", "1")
    age(project)
    assert [lab.run()[0] for _ in range(3)] == [False] * 3


def test_doit_is_answered_fast_too(lab: Lab) -> None:
    before = lab.pending
    result = lab.project.run(check=0)
    assert lab.pending > before
    slow = lab.project.run(env=LONG_WAY, check=0)
    assert result.stdout == slow.stdout
    assert without_times(result.stderr) == without_times(slow.stderr)


@pytest.mark.parametrize("arguments", [("-n", "2"), ("-r", "executed-only"), ("-v", "2"), ("run", "copy")])
def test_options_are_answered_as_the_long_way_does(lab: Lab, arguments: tuple[str, ...]) -> None:
    lab.arguments = arguments
    lab.run_until_fast()
    assert lab.check()


@pytest.mark.parametrize(
    "arguments", [("-a",), ("-o", "report"), ("-r", "json"), ("--events", "events.jsonl")]
)
def test_runs_that_somebody_wants_to_see_are_runs(lab: Lab, arguments: tuple[str, ...]) -> None:
    lab.arguments = arguments
    assert [lab.run()[0] for _ in range(3)] == [False] * 3


def test_a_program_that_embeds_doit_does_not_get_the_answer_of_doit(lab: Lab) -> None:
    lab.project.write(
        "tools/doit",
        "import sys\n"
        "from doit.cmd_base import ModuleTaskLoader\n"
        "from doit.doit_cmd import DoitMain\n"
        "def task_other():\n    return {'actions': ['say other']}\n"
        "sys.exit(DoitMain(ModuleTaskLoader({'task_other': task_other})).run(sys.argv[1:]))\n",
    )
    assert lab.project.script("tools/doit").ran == ("other",)


def test_a_damaged_snapshot_is_as_good_as_none(lab: Lab) -> None:
    (path,) = lab.project.path(".buildkit/snapshots").glob("*.snapshot")
    content = path.read_bytes()
    for damaged in (b"", content[:30], content[: len(content) // 2], content[:-40] + b"\0" * 40):
        path.write_bytes(damaged)
        fast, result = lab.run()
        assert not fast
        assert result.exit_code == 0


def test_a_run_that_goes_on_is_not_overtaken(lab: Lab) -> None:
    lab.project.write(".buildkit/lock", '{"pid": 1, "argv": ["doit"], "started_at": 1.0}')
    assert not lab.run()[0]


def test_what_was_answered_fast_is_in_the_history(lab: Lab) -> None:
    lab.run()
    lab.run(**LONG_WAY)
    with sqlite3.connect(lab.project.path(".buildkit/state.db")) as connection:
        runs = connection.execute("SELECT argv, skipped, exit_code, wall_ns FROM runs ORDER BY id").fetchall()
    assert len(runs) >= 4
    assert all(exit_code == 0 and wall_ns > 0 for _argv, _skipped, exit_code, wall_ns in runs)
    assert [skipped for _argv, skipped, *_rest in runs[-2:]] == [6, 6]


def test_a_changed_record_is_no_longer_answered_fast_by_any_command_line(lab: Lab) -> None:
    lab.run_until_fast()
    lab.arguments = ("copy",)
    lab.run_until_fast()
    lab.project.run("forget", "copy:a.txt", check=0)
    fast, result = lab.run()
    assert not fast
    assert "copy:a.txt" in result.stdout
    lab.arguments = ()
    assert not lab.run()[0]


def test_a_buildkit_within_a_task_that_changes_the_record_is_seen(project: Project) -> None:
    lab = Lab(project)
    project.dodo("""
        def task_inner():
            return {'actions': ['say inner'], 'file_dep': ['input']}

        def task_outer():
            return {'actions': ['doit forget inner'], 'file_dep': ['input'], 'task_dep': ['inner']}
    """)
    project.write("input", "1")
    age(project)
    lab.run()
    fast, result = lab.run()
    assert not fast
    assert result.ran == ("inner",)


def test_check_plan_says_that_the_stored_plan_agrees(lab: Lab) -> None:
    lab.arguments = ("--check-plan",)
    _, result = lab.run()
    assert "the stored plan agrees with a fresh one: 6 lines in common" in result.stderr
    assert (result.exit_code, result.ran) == (0, ())


def test_check_plan_says_why_there_is_no_stored_plan(project: Project) -> None:
    lab = Lab(project, arguments=("--check-plan",))
    project.dodo("def task_a():\n    return {'actions': ['say a']}\n")
    _, result = lab.run()
    assert "a run executes 1 task even where nothing has changed: a" in result.stderr


def test_check_plan_finds_what_the_facts_do_not_show(project: Project) -> None:
    lab = Lab(project)
    # The entries of scandir bring sizes with them, which no fact holds: the limit that the docs name.
    project.dodo("""
        import os

        def task_size():
            size = next(os.scandir('data')).stat().st_size
            return {'actions': ['say size-%d' % size], 'file_dep': ['input']}
    """)
    project.write("data/file", "1")
    project.write("input", "1")
    age(project)
    lab.run_until_fast()
    project.write("data/file", "12345")
    lab.arguments = ("--check-plan",)
    _, result = lab.run()
    assert "the fast start would have been wrong: the long way says '.  size'" in result.stderr
    assert result.exit_code == 2
    assert result.ran == ("size-5",)


def test_some_runs_of_a_ci_job_check_themselves(project: Project) -> None:
    lab = Lab(project, env={"CI": "true"})
    lab.begin()
    lab.run_until_fast()
    answers = [lab.run()[0] for _ in range(5)]
    assert any(answers)


OURS = {
    "buildkit", "buildkit.cli", "buildkit.cli.fast", "buildkit.core", "buildkit.core.humanize",
    "buildkit.state", "buildkit.state.commit", "buildkit.state.facts", "buildkit.state.snapshot",
}  # fmt: skip
FROM_PYTHON = {"__future__", "_blake2", "_json", "_operator", "_struct", "fcntl", "itertools", "zlib"}
# Scripts that installers of before 2025 write import `re`; what that brings along is theirs.
OLD_SCRIPTS = {
    "re", "enum", "types", "operator", "keyword", "reprlib", "collections", "functools", "copyreg", "_sre",
    "_collections", "_functools", "re._compiler", "re._parser", "re._constants", "re._casefix",
}  # fmt: skip


def imported(lab: Lab, script: str, *arguments: str) -> set[str]:
    """Return the names of the modules that a script imports."""
    result = lab.project._run(script, arguments, {"PYTHONPROFILEIMPORTTIME": "1"}, ".", 0, False)
    lines = [line for line in result.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip() for line in lines[1:]}


def test_no_module_is_imported_that_a_fast_answer_does_without(lab: Lab) -> None:
    before = lab.pending
    through_buildkit = imported(lab, "buildkit") - imported(lab, "python", "-c", "pass")
    assert lab.pending > before
    assert through_buildkit - OLD_SCRIPTS <= OURS | FROM_PYTHON | {"buildkit.__main__"}


def test_doit_imports_few_modules_more_than_for_its_version(lab: Lab) -> None:
    before = lab.pending
    more = imported(lab, "doit") - imported(lab, "doit", "--version")
    assert lab.pending > before
    assert more <= OURS | FROM_PYTHON | {"buildkit.cli.plugin", "buildkit.cli.invocation"}


def test_explain_plan_says_what_is_stored_and_what_prevents_it(lab: Lab) -> None:
    lab.arguments = ("-r", "json")
    lab.run()
    told = lab.project.run("explain", "--plan", check=0).stdout
    assert "buildkit: stored (6 tasks, " in told
    assert "and nothing has changed since" in told
    assert "buildkit -r json: not stored; the reporter is another one than the console's" in told
    lab.project.write("src/a.txt", "other")
    assert "changed since: src/a.txt" in lab.project.run("explain", "--plan", check=0).stdout


def test_a_closed_pipe_ends_the_answer_as_it_ends_the_long_way(lab: Lab) -> None:
    def exit_code(**env: str) -> int:
        reading, writing = os.pipe()
        os.close(reading)
        try:
            return subprocess.run(
                lab.project._command("buildkit"),
                cwd=lab.project.root,
                env={**lab.project._environment(), **env},
                stdout=writing,
                stderr=subprocess.DEVNULL,
                check=False,
            ).returncode
        finally:
            os.close(writing)

    assert exit_code() == exit_code(**LONG_WAY)
