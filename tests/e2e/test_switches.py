"""Installing buildkit needs no configuration, switching it off leaves no trace, and `-n` takes new values."""

from __future__ import annotations

import pytest

from .harness import Project, World

TASKS = """
    def task_make():
        for name in ('a', 'b', 'c'):
            yield {'name': name, 'actions': [f'say {name}; cp in {name}'], 'file_dep': ['in'],
                   'targets': [name]}
"""


@pytest.fixture
def tasks(project: Project) -> Project:
    project.write("in", "1")
    project.dodo(TASKS)
    return project


@pytest.mark.parametrize("width", ["auto", "auto-1", "50%", "100%", "1", "3", "0"])
def test_widths(tasks: Project, width: str):
    assert sorted(tasks.run("-n", width, check=0).ran) == ["a", "b", "c"]
    assert tasks.run(f"-n{width}", check=0).ran == ()
    assert tasks.run("run", f"--process={width}", "make", check=0).ran == ()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pyproject.toml", '[tool.doit.commands.run]\nnum_process = "auto"\n'),
        ("pyproject.toml", '[tool.doit]\nnum_process = "50%"\n'),
        ("doit.cfg", "[run]\nnum_process = auto\n"),
        ("doit.cfg", "[GLOBAL]\nnum_process = auto-1\n"),
        ("dodo.py", "    DOIT_CONFIG = {'num_process': 'auto'}\n"),
        ("dodo.py", "    DOIT_CONFIG = {'num_process': 2}\n"),
    ],
)
def test_width_in_the_configuration(tasks: Project, name: str, text: str):
    if name == "dodo.py":
        tasks.dodo(text + TASKS)
    else:
        tasks.write(name, text)
    assert sorted(tasks.run(check=0).ran) == ["a", "b", "c"]
    assert tasks.run(check=0).ran == ()


OFF = {
    "environment": ({"BUILDKIT": "0"}, ""),
    "setting": ({}, "[tool.buildkit]\nenabled = false\n"),
}


@pytest.mark.parametrize("how", OFF)
def test_switched_off_it_leaves_no_trace(tasks: Project, stock: Project, how: str):
    env, settings = OFF[how]
    for project in (tasks, stock):
        project.write("in", "1")
        project.dodo(TASKS)
        project.write("pyproject.toml", settings)
    for arguments in (
        [],
        ["-n", "2"],
        ["list", "-s", "--all"],
        ["clean"],
        ["forget"],
        ["-n", "2"],
        ["ignore", "make"],
        [],
    ):
        ours, theirs = tasks.run(*arguments, env=env), stock.run(*arguments)
        assert ours.exit_code == theirs.exit_code
        assert sorted(ours.stdout.splitlines()) == sorted(theirs.stdout.splitlines())
        assert sorted(ours.ran) == sorted(theirs.ran)
    assert tasks.files() == stock.files()
    assert sorted(tasks.everything()) == sorted(stock.everything())
    assert not tasks.cache.exists()
    assert tasks.run("-n", "auto", env=env).exit_code == 3


@pytest.mark.parametrize("value", ["0", "no", "off", "false", "OFF"])
def test_words_that_switch_it_off(tasks: Project, value: str):
    tasks.run(env={"BUILDKIT": value}, check=0)
    assert not tasks.path(".buildkit").exists()


def test_environment_goes_before_the_setting(tasks: Project):
    tasks.write("pyproject.toml", "[tool.buildkit]\nenabled = false\n")
    tasks.run(env={"BUILDKIT": "1"}, check=0)
    assert tasks.path(".buildkit").exists()


def test_database_of_stock_doit_is_left_alone(tasks: Project):
    stock = Project(tasks.base, World.STOCK)  # the same folder in the other world
    assert stock.run(check=0).ran == ("a", "b", "c")
    before = {path.name: path.read_bytes() for path in tasks.root.glob(".doit.db*")}
    assert before
    tasks.write("in", "2")
    for arguments in (
        [],
        ["list", "-s"],
        ["clean"],
        ["forget"],
        ["ignore", "make:a"],
        ["-n", "2"],
        ["reset-dep"],
        ["dumpdb"],
    ):
        tasks.run(*arguments)
    assert {path.name: path.read_bytes() for path in tasks.root.glob(".doit.db*")} == before


def test_no_database_of_doit_is_made(tasks: Project):
    tasks.run(check=0)
    tasks.run("list", "-s", check=0)
    assert list(tasks.root.glob(".doit.db*")) == []
    assert tasks.path(".buildkit/state.db").exists()


def test_commands_that_read_create_nothing(tasks: Project):
    before = tasks.everything()
    for command in (["list"], ["list", "-s"], ["info", "make:a"], ["help"], ["tabcompletion"]):
        tasks.run(*command)
        assert tasks.everything() == before, command


def test_summary_is_one_honest_line(tasks: Project):
    def closing(*arguments: str) -> str:
        return tasks.run(*arguments, check=0).output.strip().splitlines()[-1]

    assert "3 executed" in closing()
    assert "3 skipped" in closing()
    tasks.remove("a")
    last = closing()
    assert "1 restored" in last
    assert "2 skipped" in last


def test_report_and_explain_answer(tasks: Project):
    tasks.run(check=0)
    report = tasks.run("report", check=0)
    assert "make:a" in report.stdout
    tasks.write("in", "2")
    explained = tasks.run("explain", "make:a", check=0)
    assert "in" in explained.stdout
    assert explained.ran == ()


@pytest.mark.parametrize("options", [("-n", "2"), ("-n", "2", "-P", "thread"), ("-n", "0")])
@pytest.mark.parametrize("action", ["'seq 100000; exit 1'", "(count,)"], ids=["command", "function"])
def test_setting_log_max_size(project: Project, action: str, options: tuple[str, ...]):
    project.write("pyproject.toml", "[tool.buildkit]\nlog_max_size = '1kB'\n")
    project.dodo(
        f"""
        def count():
            for number in range(1, 100001):
                print(number)
            return False

        def task_long():
            return {{'actions': [{action}], 'verbosity': 0}}
        """
    )
    project.run(*options, check=1)
    log = project.read(".buildkit/logs/long.log")
    assert log.startswith("1\n2\n")
    assert log.endswith("\n99999\n100000\n")
    assert len(log) < 70_000  # the limit, the last 64 KiB, and the mark between them


CLEANS_UP = """\
import signal, sys, time

def clean(*_):
    time.sleep(2.5)  # the work that takes longer than the default of two seconds
    open('cleaned', 'w').write('done')
    sys.exit(1)

signal.signal(signal.SIGTERM, clean)
open('ready', 'w').close()
time.sleep(60)
"""


@pytest.mark.parametrize("kind", ["command", "function"])
def test_setting_grace(project: Project, kind: str):
    project.write("pyproject.toml", "[tool.buildkit]\ngrace = 60\n")
    project.write("clean.py", CLEANS_UP)
    project.dodo(
        f"""
        import subprocess

        def clean():
            subprocess.run(['python', 'clean.py'])

        def task_slow():
            return {{'actions': [{"'python clean.py'" if kind == "command" else "clean"}],
                     'meta': {{'buildkit': {{'timeout': 2}}}}}}
        """
    )
    assert project.run("-n", "2").exit_code in (1, 2)
    assert project.read("ready") == ""
    assert project.read("cleaned") == "done"
