"""doit's other commands work on the same tasks, and tell the truth about the engine's own state."""

from __future__ import annotations

import pytest

from .harness import Project, RunResult, Twins

TASKS = '''
    from doit.tools import run_once

    DOIT_CONFIG = {'default_tasks': ['build']}

    def task_gen():
        """make the sources"""
        for name in ('one', 'two'):
            yield {'name': name, 'doc': f'source {name}', 'file_dep': [f'{name}.in'],
                   'actions': [f'say gen:{name} && cp {name}.in {name}.c'], 'targets': [f'{name}.c'],
                   'clean': True}

    def cleaner(dryrun, targets):
        say(f'clean build {dryrun} {targets}')

    def task_build():
        """build everything

        More text that no list shows.
        """
        # task_dep gives the two an order; that of file_dep is random in stock doit
        return {'actions': ['say build && cat one.c two.c > all'], 'file_dep': ['one.c', 'two.c'],
                'task_dep': ['gen:one', 'gen:two'], 'targets': ['all'],
                'clean': ['say cleaning build', cleaner, 'rm -f all'],
                'params': [{'name': 'level', 'short': 'l', 'type': int, 'default': 3, 'help': 'how much'}],
                'verbosity': 2, 'meta': {'note': 'text'}}

    def task_once():
        return {'actions': ['say once'], 'uptodate': [run_once]}

    def task_always():
        return {'actions': ['say always']}

    def task__hidden():
        return {'actions': ['say hidden'], 'uptodate': [run_once]}
'''


@pytest.fixture
def tasks(twins: Twins) -> Twins:
    twins.write("one.in", "1")
    twins.write("two.in", "2")
    twins.dodo(TASKS)
    return twins


def whole(result: RunResult) -> str:
    return result.stdout


def lines(result: RunResult) -> list[str]:
    return sorted(result.stdout.splitlines())


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--all"],
        ["-q"],
        ["-p", "--all"],
        ["--sort", "definition", "--all"],
        ["--template", "{name}!{doc}"],
        ["gen"],
        ["--all", "gen", "build"],
        ["always", "--template", "{name}"],
        ["nosuch"],
        ["--sort", "nosuch"],
    ],
    ids=" ".join,
)
def test_list(tasks: Twins, options: list[str]):
    pair = tasks.run("list", *options)
    assert pair.same(whole) or pair.exit_code == 3


def test_list_of_dependencies(tasks: Twins):
    pair = tasks.run("list", "--deps", "--all")
    assert " -  one.in" in pair.same(lines)


def status(project: Twins, *args: str) -> dict[str, str]:
    """Return the letter that `doit list --status` gives to each task, the same in both worlds."""
    pair = project.run("list", "-s", "-p", "--all", "--template", "{status} {name}", *args)
    return {name: letter for letter, name in (line.split() for line in pair.same(whole).splitlines())}


def test_list_status_is_true(tasks: Twins):
    fresh = status(tasks)
    assert fresh == {
        "_hidden": "R",
        "always": "R",
        "build": "R",
        "gen": "R",
        "gen:one": "R",
        "gen:two": "R",
        "once": "R",
    }
    tasks.run()
    tasks.run("once")
    assert status(tasks) == {**fresh, "build": "U", "gen:one": "U", "gen:two": "U", "once": "U"}
    tasks.write("two.in", "22")
    assert status(tasks, "gen", "build") == {"build": "U", "gen": "R", "gen:one": "U", "gen:two": "R"}
    tasks.run("ignore", "gen:one")
    assert status(tasks)["gen:one"] == "I"
    tasks.run("forget", "gen:one", "once")
    assert status(tasks)["gen:one"] == "R"
    assert status(tasks)["once"] == "R"


def test_list_changes_nothing(tasks: Twins):
    tasks.run()
    before = tasks.buildkit.files()
    tasks.run("list", "-s")
    assert tasks.run("list").ran == []
    assert tasks.run().ran == []
    assert tasks.buildkit.files() == before


def state_line(result: RunResult) -> list[str]:
    return [line for line in result.stdout.splitlines() if line.startswith("status")]


def test_info(tasks: Twins):
    pair = tasks.run("info", "gen:one")
    assert pair.exit_code == 1
    assert pair.same(state_line) == ["status     : run"]
    for text in ("gen:one", "source one", " - one.in", " - one.c"):
        assert pair.shows(text)
    tasks.run()
    pair = tasks.run("info", "gen:one")
    assert pair.exit_code == 0
    assert pair.same(state_line) == ["status     : up-to-date"]
    tasks.write("one.in", "11")
    pair = tasks.run("info", "gen:one")
    assert pair.exit_code == 1
    assert pair.shows("one.in")
    pair = tasks.run("info", "--no-status", "build")
    assert pair.exit_code == 0
    assert pair.same(state_line) == []
    assert pair.shows("'note': 'text'")
    assert tasks.run("info").exit_code == 3
    assert tasks.run("info", "gen", "build").exit_code == 3


def test_forget_one_task(tasks: Twins):
    tasks.run()
    assert tasks.run("forget", "gen:one").same(whole) == "forgetting gen:one\n"
    assert tasks.run().ran == ["gen:one"]
    assert tasks.run().ran == []


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param([], ["build"], id="default tasks"),
        pytest.param(["gen"], ["gen:one", "gen:two"], id="group"),
        pytest.param(["-s", "build"], ["build", "gen:one", "gen:two"], id="follow dependencies"),
        pytest.param(["--all"], ["build", "gen:one", "gen:two"], id="all"),
        pytest.param(["--disable-default"], [], id="nothing"),
    ],
)
def test_forget(tasks: Twins, options: list[str], expected: list[str]):
    tasks.run()
    assert tasks.run("forget", *options).same(lines)
    pair = tasks.run(order=False)
    assert sorted(pair.ran) == expected


def test_forget_what_is_no_task(tasks: Twins):
    tasks.run()
    assert tasks.run("forget", "nosuch").exit_code == 3
    assert tasks.run().ran == []


def test_forget_really_runs_although_the_cache_knows_the_answer(tasks: Twins):
    tasks.run()
    tasks.run("forget", "build")
    tasks.remove("all")
    assert tasks.run().ran == ["build"]


def test_ignore(tasks: Twins):
    assert tasks.run("ignore", "gen:one").same(whole) == "ignoring gen:one\n"
    pair = tasks.run()
    assert pair.same(lambda result: result.ignored) == ["gen:one", "build"]
    assert pair.ran == ["gen:two"]
    assert tasks.run("-a").ran == ["gen:two"]
    assert tasks.run("forget", "gen:one").exit_code == 0
    assert tasks.run().ran == ["gen:one", "build"]


def test_ignore_a_group_nothing_and_what_is_no_task(tasks: Twins):
    assert len(tasks.run("ignore", "gen").same(lines)) == 3
    assert tasks.run("build").ran == []
    assert tasks.run("ignore").same(whole)
    assert tasks.run("ignore", "nosuch").exit_code == 3
    tasks.run("forget", "--all")
    assert tasks.run("build").ran == ["gen:one", "gen:two", "build"]


def test_ignored_up_to_date_task(tasks: Twins):
    tasks.run()
    tasks.run("ignore", "build")
    tasks.write("one.in", "11")
    assert tasks.run().same(lambda result: result.ignored) == ["build"]


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["build"],
        ["gen"],
        ["gen:one"],
        ["gen:*"],
        ["-c", "build"],
        ["--clean-dep", "build", "once"],
        ["-a"],
        ["--clean-all"],
        ["-n"],
        ["--dry-run", "-a"],
        ["nosuch"],
    ],
    ids=" ".join,
)
def test_clean(tasks: Twins, options: list[str]):
    tasks.run()
    pair = tasks.run("clean", *options)
    assert pair.same(whole) or pair.exit_code == 3


def test_clean_then_run(tasks: Twins):
    """What is cleaned is there again after the next run; buildkit may take it from its cache."""
    tasks.run()
    tasks.run("clean", "-a")
    assert not tasks.buildkit.path("all").exists()
    tasks.run(restored=["gen:one", "gen:two", "build"])
    assert tasks.buildkit.read("all") == "12"


def test_clean_and_forget(tasks: Twins):
    tasks.run()
    tasks.run("clean", "-a", "--forget")
    assert tasks.run().ran == ["gen:one", "gen:two", "build"]
    tasks.run("clean", "-a", "--forget", "--dry-run")
    assert tasks.run().ran == []


def test_clean_removes_folders_only_when_empty(twins: Twins):
    twins.dodo("""
        def task_make():
            return {'actions': ['mkdir -p empty full && touch full/file single'],
                    'targets': ['empty', 'full', 'single'], 'clean': True}
    """)
    twins.run()
    assert twins.run("clean").same(whole)
    assert twins.buildkit.path("full/file").exists()
    assert not twins.buildkit.path("empty").exists()


def test_clean_actions_that_fail(twins: Twins):
    twins.dodo("""
        def task_make():
            return {'actions': ['true'], 'clean': ['say first; exit 1', 'say second']}
    """)
    assert twins.run("clean").ran == ["first", "second"]


def test_reset_dep(tasks: Twins):
    tasks.run()
    tasks.write("one.in", "11")
    pair = tasks.run("reset-dep", "gen:one", "gen:two")
    assert pair.same(whole) == "processed gen:one\nskip gen:two\n"
    assert tasks.run().ran == []
    tasks.write("one.in", "111")
    assert tasks.run().ran == ["gen:one", "build"]


def test_reset_dep_of_a_project_that_was_built_by_hand(tasks: Twins):
    for name, content in (("one.c", "1"), ("two.c", "2"), ("all", "12")):
        tasks.write(name, content)
    pair = tasks.run("reset-dep")
    assert "processed build" in pair.same(lines)
    assert tasks.run().ran == []


def test_reset_dep_of_a_missing_input_and_of_no_task(tasks: Twins):
    tasks.remove("one.in")
    assert tasks.run("reset-dep", "gen:one").same(whole).startswith("failed gen:one")
    assert tasks.run("reset-dep", "nosuch").exit_code == 3


def test_dumpdb(tasks: Twins):
    """Stock doit's own answer depends on the kind of dbm that the machine has."""
    tasks.buildkit.run()
    assert tasks.buildkit.run("dumpdb").exit_code == 0 or tasks.stock.run("dumpdb").exit_code == 3


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_tab_completion(tasks: Twins, shell: str):
    pair = tasks.run("tabcompletion", "--shell", shell)
    assert pair.exit_code == 0
    assert pair.shows("doit list")
    pair = tasks.run("tabcompletion", "--shell", shell, "--hardcode-tasks")
    assert pair.exit_code == 0
    assert pair.shows("build")


@pytest.mark.parametrize(
    "arguments",
    [["help"], ["help", "run"], ["help", "list"], ["help", "task"], ["help", "build"], ["--help"]],
    ids=" ".join,
)
def test_help(tasks: Twins, arguments: list[str]):
    pair = tasks.run(*arguments)
    assert pair.exit_code == 0
    assert pair.stock.stdout


def test_help_of_a_task_shows_its_options(tasks: Twins):
    assert tasks.run("help", "build").shows("how much")


def test_help_of_run_names_all_of_its_options(tasks: Twins):
    pair = tasks.run("help", "run")
    options = {word.split("=")[0] for word in pair.stock.stdout.split() if word.startswith("--")}
    assert len(options) > 15
    assert [option for option in sorted(options) if option not in pair.buildkit.stdout] == []


def test_version(tasks: Twins):
    pair = tasks.run("--version")
    assert pair.exit_code == 0
    assert pair.same(lambda result: result.stdout.splitlines()[0]).startswith("0.")


def test_own_command_that_uses_tasks(twins: Twins):
    """A plug-in of the project itself, as doit's documentation tells to write one."""
    twins.write(
        "own_commands.py",
        """
from doit.cmd_base import Command, DoitCmdBase

class Count(DoitCmdBase):
    doc_purpose = 'count tasks'
    cmd_options = ({'name': 'extra', 'short': 'x', 'long': 'extra', 'type': int, 'default': 0},)

    def _execute(self, extra, pos_args=None):
        print(f'{len(self.task_list) + extra} tasks')
        return 0

class Plain(Command):
    doc_purpose = 'say hello'

    def execute(self, opt_values, pos_args):
        print('hello', pos_args)
        return 5
""",
    )
    twins.write("doit.cfg", "[COMMAND]\ncount = own_commands:Count\nplain = own_commands:Plain\n")
    twins.dodo(TASKS)
    here = {"PYTHONPATH": "."}
    assert twins.run("count", "-x", "10", env=here).shows("17 tasks")
    pair = twins.run("plain", "a", env=here)
    assert pair.exit_code == 5
    assert pair.shows("hello ['a']")


def test_unknown_command_is_taken_for_a_task(tasks: Twins):
    pair = tasks.run("nosuchcommand")
    assert pair.exit_code == 3
    assert "nosuchcommand" in pair.buildkit.stderr


def test_state_is_per_project_folder(tasks: Twins):
    def copy_project(project: Project) -> None:
        for name in ("dodo.py", "one.in", "two.in"):
            project.write(f"copy/{name}", project.path(name).read_bytes())

    tasks.run()
    tasks.change(copy_project)
    pair = tasks.run(cwd="copy", restored=["gen:one", "gen:two", "build"])
    assert pair.exit_code == 0
