"""Runs from the stored plan: few commands run again, without doit, and all else is as on the long way."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from .fast_lab import Scripts, age
from .harness import BOTH_STOCK, Project, RunResult, World

LONG_WAY = {"BUILDKIT_FAST": "0"}
TELLS_IMPORTS = {"PYTHONPROFILEIMPORTTIME": "1"}

DODO = """
    from doit.action import CmdAction
    from doit.tools import config_changed

    from helper import shout

    def task_upper():
        for name in 'abc':
            yield {'name': name, 'file_dep': [f'src/{name}.txt'], 'targets': [f'out/{name}.up'],
                   'actions': [f'tr a-z A-Z < src/{name}.txt > out/{name}.up', f'say upper-{name}']}

    def task_size():
        return {'file_dep': ['out/a.up', 'out/b.up'], 'targets': ['out/size'],
                'actions': ['cat %(dependencies)s | wc -l > %(targets)s', 'say size']}

    def task_double():
        return {'file_dep': ['out/size'], 'targets': ['out/double'],
                'actions': ['cat out/size out/size > out/double', 'echo doubled', 'say double'],
                'verbosity': 2}

    def task_words():
        count = CmdAction('wc -w < src/c.txt | tr -d "\\n"', save_out='words')
        return {'file_dep': ['src/c.txt'], 'actions': [count, 'say words']}

    def task_told():
        return {'getargs': {'words': ('words', 'words')}, 'targets': ['out/told'],
                'actions': ['echo %(words)s > out/told', 'say told']}

    def task_settings():
        return {'file_dep': ['src/settings'], 'targets': ['out/settings'], 'uptodate': [config_changed('x')],
                'actions': ['cp src/settings out/settings', 'say settings']}

    def task_checked():
        return {'file_dep': ['src/checked'], 'actions': ['grep -q good src/checked', 'say checked']}

    def task__hidden():
        return {'file_dep': ['src/b.txt'], 'targets': ['out/hidden'],
                'actions': ['cp src/b.txt out/hidden', 'say hidden']}

    def task_python():
        return {'file_dep': ['src/python'], 'targets': ['out/python'],
                'actions': [(shout, ['src/python', 'out/python'])]}

    def task_tool():
        return {'file_dep': ['src/c.txt', 'tool.sh'], 'targets': ['out/tool'],
                'actions': ['./tool.sh < src/c.txt > out/tool', 'say tool']}

    def task_all():
        return {'actions': None, 'task_dep': ['upper', 'double']}
"""
HELPER = """
import subprocess

def shout(source, target):
    with open(source) as given, open(target, 'w') as made:
        made.write(given.read().upper())
    subprocess.run(['say', 'python'])
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Return a project under buildkit whose next run has nothing to do."""
    if os.environ.get(BOTH_STOCK):
        pytest.skip("says what buildkit adds to doit")
    return made(tmp_path)


def made(base: Path) -> Project:
    """Write the project, and build it until nothing is left to do."""
    project = Scripts(base, World.BUILDKIT)
    project.dodo(DODO)
    project.write("helper.py", HELPER)
    for name in "abc":
        project.write(f"src/{name}.txt", f"{name}\n" * 3)
    for name, text in (("settings", "s"), ("checked", "good"), ("python", "python")):
        project.write(f"src/{name}", text)
    project.write("tool.sh", "#!/bin/sh\nsort\n", mode=0o755)
    project.path("out").mkdir()
    age(project)
    for _ in range(2):
        buildkit(project)
    return project


def buildkit(project: Project, *args: str, **env: str) -> RunResult:
    """Run `buildkit`."""
    return project._run("buildkit", args, env, ".", None, False)


def planned(project: Project, *args: str) -> RunResult:
    """Run `buildkit`, and insist that it did not load the dodo.py."""
    result = buildkit(project, *args, **TELLS_IMPORTS)
    assert "buildkit.cli.planned_run" in result.stderr, result.stdout
    assert "buildkit.cli.run" not in imports(result), result.stdout
    return result


def long_way(project: Project, *args: str) -> RunResult:
    """Run `buildkit`, and insist that it loaded the dodo.py, without being told to."""
    result = buildkit(project, *args, **TELLS_IMPORTS)
    assert "buildkit.cli.run" in imports(result), result.stdout
    return result


def imports(result: RunResult) -> set[str]:
    """Return the modules that a run has imported, which told of its imports."""
    return {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}


def answered(project: Project, *args: str) -> None:
    """Insist that there is nothing to do, and that the fast start knows."""
    result = buildkit(project, *args, **TELLS_IMPORTS)
    assert "buildkit.cli.planned_run" not in result.stderr, result
    assert "buildkit.cli.run" not in imports(result), result
    assert result.ran == ()


def test_only_what_depends_on_a_change_runs(project: Project) -> None:
    project.write("src/a.txt", "a\nb\nc\nd\n")
    result = planned(project)
    assert result.ran == ("upper-a", "size", "double")
    assert result.executed == ["upper:a", "size", "double"]
    assert project.read("out/a.up") == "A\nB\nC\nD\n"
    assert project.read("out/double").split() == ["7", "7"]
    answered(project)


def test_what_comes_out_the_same_ends_the_chain(project: Project) -> None:
    project.write("src/a.txt", "x\ny\nz\n")
    result = planned(project)
    assert result.ran == ("upper-a", "size")
    assert "double" in result.skipped
    answered(project)


def test_a_missing_output_comes_back_from_the_cache(project: Project) -> None:
    project.remove("out/a.up")
    result = planned(project)
    assert result.ran == ()
    assert result.restored == ["upper:a"]
    assert project.read("out/a.up") == "A\nA\nA\n"
    answered(project)


def test_an_output_that_was_edited_is_made_again(project: Project) -> None:
    project.write("out/b.up", "by hand")
    result = planned(project)
    assert result.restored == ["upper:b"]
    assert project.read("out/b.up") == "B\nB\nB\n"
    answered(project)


def test_a_change_that_is_taken_back_is_restored(project: Project) -> None:
    project.write("src/c.txt", "other words here\n")
    assert "upper-c" in planned(project).ran
    project.write("src/c.txt", "c\n" * 3)
    result = planned(project)
    assert "upper:c" in result.restored
    assert project.read("out/c.up") == "C\nC\nC\n"
    answered(project)


def test_a_value_reaches_the_task_that_asks_for_it(project: Project) -> None:
    project.write("src/c.txt", "one two three four\n")
    planned(project)
    assert project.read("out/told").strip() == "4"
    answered(project)


def test_a_failure_is_told_as_on_the_long_way_and_tried_again(project: Project, tmp_path: Path) -> None:
    other = made(tmp_path / "other")
    for one in (project, other):
        one.write("src/checked", "bad")
    result, expected = buildkit(project), buildkit(other, **LONG_WAY)
    assert result.exit_code == expected.exit_code == 1
    assert result.stdout == expected.stdout
    for one in (result, expected):
        assert "buildkit: 8 skipped, 1 failed (checked)" in one.stderr
    again = planned(project)
    assert again.exit_code == 1
    assert again.stdout == result.stdout
    project.write("src/checked", "good again")
    assert planned(project).ran == ("checked",)
    answered(project)


def test_a_missing_source_is_an_error_of_the_long_way(project: Project) -> None:
    project.remove("src/a.txt")
    result = buildkit(project)
    assert result.exit_code == 2
    assert "'src/a.txt' does not exist" in result.output
    project.write("src/a.txt", "back\n")
    assert buildkit(project).exit_code == 0
    assert project.read("out/a.up") == "BACK\n"


def test_python_actions_and_tools_take_the_long_way(project: Project) -> None:
    project.write("src/python", "snake")
    assert long_way(project).ran == ("python",)
    assert project.read("out/python") == "SNAKE"
    project.write("tool.sh", "#!/bin/sh\nsort -r\n", mode=0o755)
    assert long_way(project).ran == ("tool",)


@pytest.mark.parametrize("arguments", [(), ("-n", "2"), ("-v", "2"), ("upper", "size"), ("--continue",)])
def test_lines_are_those_of_the_long_way(
    project: Project, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    other = made(tmp_path / "other")
    for one, env in ((project, {}), (other, LONG_WAY)):
        buildkit(one, *arguments, **env)
        one.write("src/a.txt", "a\n" * 9)
        one.write("src/b.txt", "b\n" * 2)
        # In parallel, what else has ended by the time of a failure is chance.
        one.write("src/checked", "good again" if "-n" in arguments else "bad")
    result, expected = planned(project, *arguments), buildkit(other, *arguments, **LONG_WAY)
    order: Callable[[list[str]], list[str]] = sorted if "-n" in arguments else list
    assert order(result.stdout.splitlines()) == order(expected.stdout.splitlines())
    assert result.ran == expected.ran or "-n" in arguments
    assert result.exit_code == expected.exit_code


def test_the_history_tells_of_all_tasks(project: Project) -> None:
    answered(project)
    project.write("src/a.txt", "a\n" * 9)
    summary = planned(project).stderr
    assert "3 executed, 9 skipped" in summary, summary
    with sqlite3.connect(project.path(".buildkit/state.db")) as database:
        rows = database.execute("SELECT executed, skipped, skipped_ranges FROM runs ORDER BY id").fetchall()
        names = dict(database.execute("SELECT id, name FROM tasks"))
    executed, skipped, ranges = rows[-1]
    assert (executed, skipped) == (3, 9)
    skipped_ids = {
        number
        for first, _, last in (part.partition("-") for part in ranges.split(","))
        for number in range(int(first), int(last or first) + 1)
    }
    assert {names[number] for number in skipped_ids} == {
        "upper:b", "upper:c", "words", "told", "settings", "checked", "_hidden", "python", "tool",
    }  # fmt: skip


def test_what_is_forgotten_runs(project: Project) -> None:
    project.run("forget", "size")
    assert planned(project).ran == ("size",)
    answered(project)


def test_what_is_ignored_takes_the_long_way(project: Project) -> None:
    project.run("ignore", "size")
    project.write("src/a.txt", "a\n" * 9)
    assert "!! size" in long_way(project).stdout


def test_other_command_lines_keep_their_plans(project: Project) -> None:
    for _ in range(2):
        buildkit(project, "upper")
    answered(project)
    answered(project, "upper")
    project.write("src/a.txt", "other\n")
    assert planned(project, "upper").ran == ("upper-a",)
    assert planned(project).ran == ("size", "double")
    assert planned(project, "upper").ran == ()
    answered(project)
    answered(project, "upper")


def test_a_failure_on_another_command_line_is_tried_again(project: Project) -> None:
    project.write("pyproject.toml", "[tool.buildkit]\ncache = false\n")
    age(project)
    for _ in range(2):
        buildkit(project)
        buildkit(project, "checked")
    project.write("src/checked", "bad")
    assert planned(project, "checked").exit_code == 1
    project.write("src/checked", "good")  # as the other snapshot knows it, and it is not up to date
    assert planned(project).ran == ("checked",)


def test_a_new_result_on_another_command_line_reaches_who_asks_for_it(project: Project) -> None:
    project.write(
        "dodo.py",
        """
from doit.tools import result_dep

def task_source():
    return {'actions': ['cat unsaid', 'say source']}

def task_user():
    return {'actions': ['say user'], 'uptodate': [result_dep('source')]}

def task_asker():
    return {'actions': ['echo %(text)s > text', 'say asker'], 'file_dep': ['file'], 'targets': ['text'],
            'getargs': {'text': ('kept', 'text')}}

def task_kept():
    from doit.action import CmdAction
    return {'actions': [CmdAction('tr -d "\\n" < unsaid', save_out='text')], 'file_dep': ['file']}
""",
    )
    project.write("pyproject.toml", "[tool.buildkit]\ncache = false\n")
    project.write("file", "")
    project.write("unsaid", "1\n")
    age(project)
    for _ in range(3):
        buildkit(project, "user", "asker")
    for _ in range(2):
        buildkit(project, "source", "kept")
    project.write("unsaid", "2\n")
    assert buildkit(project, "-a", "source", "kept").exit_code == 0
    result = buildkit(project, "user", "asker")
    assert {"user", "asker"} <= set(result.ran)
    assert project.read("text") == "2\n"


@pytest.mark.parametrize("damage", ["cut", "flip", "gone", "old"])
def test_a_plan_that_cannot_be_read_takes_the_long_way(project: Project, damage: str) -> None:
    (path,) = project.path(".buildkit/snapshots").glob("*.plan")
    content = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif damage == "gone":
        path.unlink()
    else:  # of another snapshot
        kept = bytes(content)
        project.write("src/python", "snake")
        long_way(project)
        path.write_bytes(kept)
    project.write("src/a.txt", "a\n" * 9)
    assert long_way(project).ran == ("upper-a", "size", "double")


def test_a_run_that_was_killed_leaves_nothing_wrong(project: Project) -> None:
    project.write("dodo.py", project.read("dodo.py").replace("'say size'", "'sleep 0.4', 'say size'"))
    for _ in range(2):
        buildkit(project)
    project.write("src/a.txt", "a\n" * 9)
    process = subprocess.Popen(
        project._command("buildkit"),
        cwd=project.root,
        env=project._environment(),
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line == b".  size\n":
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert buildkit(project).exit_code == 0
    assert project.read("out/double").split() == ["12", "12"]
    assert buildkit(project, **LONG_WAY).ran == ()


def test_a_command_that_mends_the_output_of_another_keeps_it(project: Project) -> None:
    project.write(
        "dodo.py",
        """
def task_build():
    return {'file_dep': ['src/a.txt'], 'targets': ['lib'], 'actions': ['cp src/a.txt lib', 'say build']}

def task_sign():
    return {'file_dep': ['src/b.txt'], 'task_dep': ['build'], 'actions': ['echo signed >> lib', 'say sign']}
""",
    )
    for _ in range(3):
        buildkit(project)
    project.write("src/b.txt", "another key\n")
    assert buildkit(project).ran == ("sign",)
    assert buildkit(project).ran == ()
    assert project.read("lib").count("signed") == 2


def test_a_module_that_a_command_makes_takes_the_long_way(project: Project) -> None:
    project.write("made.py", "VALUE = 1\n")
    project.write(
        "dodo.py",
        """
import made

def task_make():
    return {'file_dep': ['src/a.txt'], 'targets': ['made.py'],
            'actions': ['echo VALUE = $(wc -l < src/a.txt) > made.py']}

def task_use():
    return {'actions': [f'echo {made.VALUE} > out/value'], 'file_dep': ['src/b.txt'],
            'targets': ['out/value']}
""",
    )
    for _ in range(4):
        buildkit(project)
    project.write("src/a.txt", "a\n" * 7)
    long_way(project)
    buildkit(project)
    assert project.read("out/value").strip() == "7"


COMMANDS: list[tuple[str, ...]] = [
    *[()] * 8, ("upper",), ("upper",), ("double", "words"), ("-a", "size"),
    ("-c", "checked", "told"), ("forget", "size"), ("forget", "words"), ("reset-dep", "upper:b"),
]  # fmt: skip
EDITS: dict[str, Callable[[Project, random.Random], object]] = {
    "a source": lambda p, r: p.write(
        f"src/{r.choice('abc')}.txt", f"{r.choice('abcxyz')}\n" * r.randint(1, 4)
    ),
    "a check": lambda p, r: p.write("src/checked", r.choice(["good", "bad", "good and more"])),
    "settings": lambda p, r: p.write("src/settings", r.choice("rstu")),
    "python": lambda p, r: p.write("src/python", r.choice(["adder", "viper"])),
    "an output": lambda p, r: p.write(f"out/{r.choice('abc')}.up", "by hand"),
    "an output less": lambda p, r: remove(p, f"out/{r.choice(['a.up', 'size', 'double', 'told', 'hidden'])}"),
    "the tool": lambda p, r: p.write("tool.sh", f"#!/bin/sh\nsort {r.choice(['', '-r'])}\n", mode=0o755),
    "the dodo.py": lambda p, r: p.write("dodo.py", p.read("dodo.py") + f"# {r.random()}\n"),
    "nothing": lambda p, r: None,
    "a touch": lambda p, r: os.utime(p.path(f"src/{r.choice('abc')}.txt")),
}


def remove(project: Project, name: str) -> None:
    """Delete a file, if it is there."""
    project.path(name).unlink(missing_ok=True)


@pytest.mark.parametrize("seed", range(4))
def test_planned_runs_and_the_long_way_agree_over_random_histories(
    project: Project, tmp_path: Path, seed: int
) -> None:
    other = made(tmp_path / "other")
    shutil.rmtree(other.path(".buildkit/snapshots"), ignore_errors=True)
    ways = 0
    for step in range(20):
        chance = random.Random(f"{seed} {step}")
        names = [chance.choice([*EDITS, "a source"]) for _ in range(chance.randint(1, 2))]
        for one in (project, other):
            edits = random.Random(f"{seed} {step}")
            for name in names:
                EDITS[name](one, edits)
        command = chance.choice(COMMANDS)
        result = buildkit(project, *command, **TELLS_IMPORTS)
        expected = buildkit(other, *command, **LONG_WAY)
        ways += imports(result) & {"buildkit.cli.planned_run", "buildkit.cli.run"} == {
            "buildkit.cli.planned_run"
        }
        # Inputs are a set in doit: in which order the tasks behind them come differs from run to run.
        order = sorted if command else list
        assert result.exit_code == expected.exit_code, (command, names)
        assert order(result.stdout.splitlines()) == order(expected.stdout.splitlines()), (command, names)
        assert order(result.ran) == order(expected.ran), (command, names)
        mine, its = project.files(), other.files()
        assert {path: state.content for path, state in mine.items()} == {
            path: state.content for path, state in its.items()
        }, names
    assert ways > 2


def test_two_at_once_both_end_well(project: Project) -> None:
    project.write("dodo.py", project.read("dodo.py").replace("'say size'", "'sleep 0.3', 'say size'"))
    for _ in range(2):
        buildkit(project)
    project.write("src/a.txt", "a\n" * 9)
    before = len(project._said())
    first, second = (
        subprocess.Popen(
            project._command("buildkit"),
            cwd=project.root,
            env=project._environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(2)
    )
    assert (first.wait(), second.wait()) == (0, 0)
    assert sorted(project._said()[before:]) == ["double", "size", "upper-a"]
    assert buildkit(project, **LONG_WAY).ran == ()


def test_doit_takes_the_stored_plan_too(project: Project) -> None:
    project.run()
    project.run()
    project.write("src/a.txt", "a\n" * 9)
    result = project.run(env=TELLS_IMPORTS, check=0)
    assert "buildkit.cli.planned_run" in imports(result)
    assert "buildkit.cli.run" not in imports(result)
    assert result.ran == ("upper-a", "size", "double")


def test_a_run_of_commands_is_in_the_record_of_reports(project: Project) -> None:
    project.write("src/a.txt", "a\n" * 9)
    planned(project)
    report = project.run("report", "--json", check=0)
    assert "upper:a" in report.stdout


def test_a_task_that_always_runs_needs_no_dodo(project: Project) -> None:
    project.dodo("""
        def task_always():
            return {'actions': ['say always']}

        def task_made():
            return {'actions': ['cp src/a.txt out/made', 'say made'],
                    'file_dep': ['src/a.txt'], 'targets': ['out/made']}
    """)
    for _ in range(2):
        buildkit(project)
    result = planned(project)
    assert (result.ran, result.executed, result.skipped) == (("always",), ["always"], ["made"])
    project.write("src/a.txt", "more\n")
    assert planned(project).ran == ("always", "made")
    assert project.read("out/made") == "more\n"
    assert planned(project).ran == ("always",)


def test_a_failure_of_the_long_way_is_tried_again_without_it(project: Project) -> None:
    project.write("dodo.py", project.read("dodo.py") + "# changed\n")
    project.write("src/checked", "bad")
    assert long_way(project).exit_code == 1
    result = planned(project)
    assert (result.exit_code, result.ran) == (1, ())
    project.write("src/checked", "good again")
    assert planned(project).ran == ("checked",)
    answered(project)


def test_in_sequence_a_task_sees_what_an_earlier_one_did_unsaid(project: Project) -> None:
    project.dodo("""
        def task_generate():
            return {'actions': ['cat src/a.txt > generated', 'say generate'], 'file_dep': ['src/a.txt']}

        def task_use():
            return {'actions': ['cp generated out/used', 'say use'],
                    'file_dep': ['generated'], 'targets': ['out/used']}

        def task_after():
            return {'actions': ['cp out/used out/after', 'say after'],
                    'file_dep': ['out/used'], 'targets': ['out/after']}
    """)
    project.write("generated", "")
    for _ in range(3):
        buildkit(project)
    answered(project)
    project.write("src/a.txt", "new text\n")
    result = planned(project)
    assert result.ran == ("generate", "use", "after")
    assert result.executed == ["generate", "use", "after"]
    assert project.read("out/after") == "new text\n"
    assert "3 executed in" in result.stderr
    answered(project)


def test_what_a_python_action_reads_unsaid_takes_the_long_way_after_all(project: Project) -> None:
    project.dodo("""
        from helper import shout

        def task_generate():
            return {'actions': ['cat src/a.txt > generated', 'say generate'], 'file_dep': ['src/a.txt']}

        def task_use():
            return {'actions': [(shout, ['generated', 'out/used'])],
                    'file_dep': ['generated'], 'targets': ['out/used']}
    """)
    project.write("generated", "")
    for _ in range(3):
        buildkit(project)
    project.write("src/a.txt", "new text\n")
    result = buildkit(project)
    assert (result.exit_code, result.ran) == (0, ("generate", "python"))
    assert project.read("out/used") == "NEW TEXT\n"


def test_explain_plan_tells_what_runs_each_time(project: Project) -> None:
    project.dodo("def task_always():\n    return {'actions': ['say always']}\n")
    buildkit(project)
    assert "1 more to run each time" in project.run("explain", "--plan", check=0).stdout
