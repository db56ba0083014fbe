"""A project's tasks and targets come before our commands of the same names, as if we were not there."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest

from buildkit.cli.precedence import OUR_COMMANDS

from .harness import EPILOGUE, Project, Twins

PLAIN = """
    def task_make():
        return {'actions': ['say make && cp in out'], 'file_dep': ['in'], 'targets': ['out']}
"""
SHADOWED = (
    PLAIN
    + """
    def task_report():
        '''write the report'''
        return {'actions': ['say report %(level)s'], 'verbosity': 2,
                'params': [{'name': 'level', 'short': 'l', 'long': 'level', 'default': 'low',
                            'help': 'how much'}]}
"""
)


@pytest.fixture
def plain(project: Project) -> Project:
    project.write("in", "1")
    project.dodo(PLAIN)
    return project


@pytest.fixture
def shadowed(twins: Twins) -> Twins:
    twins.write("in", "1")
    twins.dodo(SHADOWED)
    return twins


def test_every_added_command_gives_way():
    """What is no command of doit, and an entry point of ours, must be among the names that give way."""
    import tomllib

    from doit.doit_cmd import DoitMain

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    entry_points = set(project["entry-points"]["doit.COMMAND"])
    assert entry_points - {command.get_name() for command in DoitMain.DOIT_CMDS} == OUR_COMMANDS


def test_without_such_a_task_the_name_is_our_command(plain: Project):
    plain.run(check=0)
    assert plain.run("report", check=0).stdout.startswith("Run 1, ")
    assert "1 up to date" in plain.run("explain", check=0).stdout
    assert "1 task, 0 edges" in plain.run("graph", check=0).stdout
    assert "Results:" in plain.run("cache", "stats", check=0).stdout


def test_options_of_a_task_are_not_taken_for_ours(shadowed: Twins):
    assert shadowed.run("report", "--level", "high").ran == ["report high"]
    assert shadowed.run("report", "-l", "high", "make").ran == ["report high", "make"]
    assert shadowed.run("x=1", "report").ran == ["report low"]


def test_a_mistake_behind_the_name_of_a_task_is_told_as_doit_does(shadowed: Twins):
    pair = shadowed.run("report", "nosuch")
    assert pair.exit_code == 3
    assert pair.complains('Invalid parameter: "nosuch". Must be a command, task, or a target.')


def test_a_target_comes_first_too(twins: Twins):
    twins.write("in", "1")
    twins.dodo(
        """
        def task_make():
            return {'actions': ['say make && cp in report'], 'file_dep': ['in'], 'targets': ['report']}
        """
    )
    assert twins.run("report").ran == ["make"]


def test_a_target_that_a_delayed_task_promises_comes_first_too(twins: Twins):
    twins.write("in", "1")
    twins.dodo(
        """
        from doit import create_after

        @create_after(target_regex='gra.*')
        def task_late():
            yield {'name': 'x', 'actions': ['say late && cp in graph'], 'targets': ['graph']}
        """
    )
    assert twins.run("graph").ran == ["late"]


def test_help_tells_of_the_task(shadowed: Twins, plain: Project):
    pair = shadowed.run("help", "report")
    assert pair.shows("write the report")
    assert pair.shows("--level")
    assert "--sort" in plain.run("help", "report", check=0).stdout
    plain.remove("dodo.py")
    assert "--sort" in plain.run("help", "report", check=0).stdout
    assert plain.run("help", check=0).stdout.count("doit report ") == 1


def test_the_script_buildkit_takes_the_name_for_the_command(plain: Project):
    plain.dodo(SHADOWED)
    plain.write(
        "buildkit.py",
        "import sys\nsys.path.pop(0)\nsys.argv[0] = 'buildkit'\n"
        "from buildkit.__main__ import main\nsys.exit(main())\n",
    )
    plain.run("make", check=0)
    result = plain.script("buildkit.py", "report", check=0)
    assert result.ran == ()
    assert "Run 1, " in result.stdout


def test_what_a_dodo_prints_does_not_get_into_json(plain: Project):
    plain.dodo("    print('loading')\n" + PLAIN)
    plain.run(check=0)
    result = plain.run("report", "--json", check=0)
    assert json.loads(result.stdout)["run"]["id"] == 1
    assert "loading" in result.stderr


def test_what_a_dodo_prints_is_printed_where_doit_would(twins: Twins):
    twins.write("in", "1")
    twins.dodo("    print('loading')\n" + SHADOWED)
    assert twins.run("report").shows("loading")


@pytest.mark.parametrize("place", [["-f", "below/dodo.py"], ["--dir", "below", "-f", "below/dodo.py"]])
def test_a_project_elsewhere(project: Project, place: list[str]):
    project.write("below/in", "1")
    project.write("below/dodo.py", "def task_make():\n    return {'actions': ['true'], 'file_dep': ['in']}\n")
    assert "1 would run" in project.run(*place, "explain", check=0).stdout
    assert "1 task" in project.run(*place, "graph", "make", check=0).stdout
    assert not (project.root / "below" / ".buildkit").exists()


def test_without_a_dodo_the_history_can_still_be_read(plain: Project):
    plain.run(check=0)
    plain.remove("dodo.py")
    assert plain.run("report", check=0).stdout.startswith("Run 1, ")
    assert plain.run("explain", "--run", "last", check=0).stdout.startswith("Run 1, ")
    assert "Could not find dodo file" in plain.run("explain", check=3).stderr


BROKEN = "    raise RuntimeError('broken')\n"


def test_a_broken_dodo_that_may_have_such_a_task_is_an_error(twins: Twins):
    twins.dodo(SHADOWED + "\n" + BROKEN)
    assert twins.run("report").exit_code == 3


def test_a_broken_dodo_that_does_not_speak_of_the_name_hides_no_history(plain: Project):
    plain.run(check=0)
    plain.dodo(PLAIN + "\n" + BROKEN)
    assert plain.run("report", check=0).stdout.startswith("Run 1, ")
    assert "broken" in plain.run("explain", check=3).stderr


def test_the_tasks_are_created_once(plain: Project):
    plain.dodo("    def task_make():\n        say('created')\n        return {'actions': ['true']}\n")
    for command in ("explain", "graph", "report"):
        assert plain.run(command, check=0).ran == ("created",)


@pytest.mark.parametrize("name", sorted(OUR_COMMANDS))
def test_switched_off_the_name_means_what_it_means_in_doit(twins: Twins, name: str):
    twins.write("in", "1")
    twins.dodo(PLAIN)
    off = {"BUILDKIT": "0"}
    pair = twins.run(name, env=off)
    assert pair.exit_code == 3
    assert pair.complains(f'Invalid parameter: "{name}". Must be a command, task, or a target.')
    twins.dodo(SHADOWED.replace("task_report", f"task_{name}"))
    assert twins.run(name, "-l", "high", env=off).ran == ["report high"]
    assert twins.run("list", "-q", env=off).same(lambda result: result.stdout.split()) == sorted(
        ["make", name]
    )
    for command in ("help", "tabcompletion"):
        assert twins.run(command, env=off).same(lambda result: result.stdout)
    assert twins.run("help", name, env=off).shows("write the report")


PROGRAM = """
    import sys
    from doit.cmd_base import Command, ModuleTaskLoader
    from doit.doit_cmd import DoitMain

    class Hello(Command):
        doc_purpose = 'say hello'

        def execute(self, opt_values, pos_args):
            print('hello')

    class Own(DoitMain):
        DOIT_CMDS = [*DoitMain.DOIT_CMDS, Hello]

    def task_report():
        return {'actions': ['say report']}

    def task_graph():
        return {'actions': ['say graph'], 'task_dep': ['report']}

    if __name__ == '__main__':
        sys.exit(Own(ModuleTaskLoader(dict(globals()))).run(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("arguments", "ran"),
    [
        (["report"], ["report"]),
        (["graph"], ["report", "graph"]),
        (["run", "graph"], ["report", "graph"]),
        ([], ["report", "graph"]),
        (["list", "-q"], []),
        (["hello"], []),
        (["cache"], []),
    ],
    ids=" ".join,
)
def test_a_program_with_commands_of_its_own_has_none_of_ours(
    twins: Twins, arguments: list[str], ran: list[str]
):
    twins.write("own.py", textwrap.dedent(PROGRAM) + EPILOGUE)
    pair = twins.script("own.py", *arguments)
    assert pair.ran == ran
    pair.same(lambda result: (result.stdout, result.stderr))
