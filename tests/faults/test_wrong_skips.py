"""Promise 1, case by case: what was once skipped or restored wrongly, and must not be again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from e2e.harness import Project

COPY = "def task_t(): return {'actions': [%r], 'file_dep': ['a'], 'targets': ['o']}\n"


def copying(project: Project, command: str, content: str = "1") -> Project:
    """Write a project of one task `t` that makes `o` out of `a` with `command`."""
    project.write("dodo.py", COPY % command)
    project.write("a", content)
    return project


# --- what an action depends on, and nobody declared

PYTHON_BEFORE_AFTER = {
    "os.environ": "import os\ndef act(): open('o', 'w').write(os.environ['V'])",
    "os.environ.get": "import os\ndef act(): open('o', 'w').write(os.environ.get('V', '-'))",
    "os.getenv": "import os\ndef act(): open('o', 'w').write(os.getenv('V'))",
    "from os import environ": "from os import environ\ndef act(): open('o', 'w').write(environ['V'])",
    "in": "import os\ndef act(): open('o', 'w').write('V' in os.environ and os.environ['V'] or '')",
    "behind a helper": (
        "import os\ndef value(): return os.environ['V']\ndef act(): open('o', 'w').write(value())"
    ),
}


@pytest.mark.parametrize("how", PYTHON_BEFORE_AFTER)
def test_a_variable_that_python_code_reads_is_part_of_the_key(project: Project, how: str) -> None:
    project.write("a", "1")
    project.write(
        "dodo.py",
        PYTHON_BEFORE_AFTER[how]
        + "\ndef task_t(): return {'actions': [act], 'file_dep': ['a'], 'targets': ['o']}\n",
    )
    for value in ("one", "two", "one"):
        project.run(env={"V": value}, check=0)
        assert project.read("o") == value


@pytest.mark.parametrize(
    "command", ["printenv V > o", "echo $V > o", "python3 -c 'import os; print(os.environ[\"V\"])' > o"]
)
def test_a_variable_that_a_command_names_is_part_of_the_key(project: Project, command: str) -> None:
    copying(project, command)
    for value in ("one", "two", "one"):
        project.run(env={"V": value}, check=0)
        assert project.read("o") == f"{value}\n"


@pytest.mark.parametrize(
    ("script", "command"),
    [
        ("gen.sh", "sh gen.sh > o"),
        ("gen.sh", "bash -eu gen.sh > o"),
        ("gen.sh", "./gen.sh > o"),
        ("sub/gen.sh", "cd sub && ./gen.sh > ../o"),
        ("sub/gen.sh", "cd sub && sh gen.sh > ../o"),
        ("gen.py", "python3 gen.py > o"),
        ("gen.py", "python3 -u -W ignore gen.py > o"),
        ("gen.py", "env X=1 python3 gen.py > o"),
    ],
)
def test_a_script_that_a_command_runs_is_part_of_the_key(project: Project, script: str, command: str) -> None:
    copying(project, command)
    for word in ("one", "two"):
        text = f"print('{word}')\n" if script.endswith(".py") else f"#!/bin/sh\necho {word}\n"
        project.write(script, text, mode=0o755)
        project.run(check=0)
        assert project.read("o") == f"{word}\n"


def test_a_script_in_the_directory_of_the_command_is_part_of_the_key(project: Project) -> None:
    project.write("a", "1")
    project.write(
        "dodo.py",
        "from doit.action import CmdAction\n"
        "def task_t():\n"
        "    return {'actions': [CmdAction('./gen.sh', cwd='sub')], 'file_dep': ['a'],"
        " 'targets': ['sub/o']}\n",
    )
    for word in ("one", "two"):
        project.write("sub/gen.sh", f"#!/bin/sh\necho {word} > o\n", mode=0o755)
        project.run(check=0)
        assert project.read("sub/o") == f"{word}\n"


@pytest.mark.parametrize("load", ["importlib.import_module('helper')", "__import__('helper')"])
def test_a_module_that_is_imported_by_a_text_is_part_of_the_key(project: Project, load: str) -> None:
    project.write("a", "1")
    project.write(
        "dodo.py",
        f"import importlib\ndef act(): open('o', 'w').write({load}.WORD)\n"
        "def task_t(): return {'actions': [act], 'file_dep': ['a'], 'targets': ['o']}\n",
    )
    for word in ("one", "two"):
        project.write("helper.py", f"WORD = '{word}'\n")
        project.run(check=0)
        assert project.read("o") == word


@pytest.mark.parametrize("width", ["0", "2"])
def test_a_module_that_a_task_of_the_same_run_makes_is_part_of_the_key(project: Project, width: str) -> None:
    project.write("a", "1")
    project.write(
        "dodo.py",
        """
def act():
    import gen
    open('o', 'w').write(gen.WORD)
def task_gen(): return {'actions': ['cp source gen.py'], 'file_dep': ['source'], 'targets': ['gen.py']}
def task_t(): return {'actions': [act], 'file_dep': ['a'], 'targets': ['o'], 'task_dep': ['gen']}
""",
    )
    for word in ("one", "two", "one", "two", "three", "one"):
        project.write("source", f"WORD = '{word}'\n")
        project.run("-n", width, check=0)
        assert project.read("o") == word


def test_an_edit_within_the_second_is_not_hidden_by_bytecode(project: Project) -> None:
    project.write("a", "1")
    project.write(
        "dodo.py",
        "import helper\n"
        "def task_t(): return {'actions': [helper.act], 'file_dep': ['a'], 'targets': ['o']}\n",
    )
    for number in range(5):
        project.write("helper.py", f"def act(): open('o', 'w').write('{number}')\n")
        os.utime(project.path("helper.py"), (1_600_000_000, 1_600_000_000))  # the worst clock there is
        project.run(check=0)
        assert project.read("o") == str(number)


# --- results that belong to another place

PLACE = """
import os
def where(): open('in_python', 'w').write(os.getcwd())
def value(): return {'d': os.getcwd()}
def use(d): open('by_value', 'w').write(d)
def task_command(): return {'actions': ['pwd > in_command'], 'file_dep': ['a'], 'targets': ['in_command']}
def task_python(): return {'actions': [where], 'file_dep': ['a'], 'targets': ['in_python']}
def task_tree(): return {'actions': ['mkdir -p d; pwd > d/f'], 'file_dep': ['a'], 'targets': ['d']}
def task_link(): return {'actions': ['ln -sfn "$(pwd)/a" l'], 'file_dep': ['a'], 'targets': ['l']}
def task_large():
    return {'actions': ['head -c 3000000 /dev/zero > big; pwd >> big'], 'file_dep': ['a'], 'targets': ['big']}
def task_value(): return {'actions': [value], 'file_dep': ['a']}
def task_use():
    return {'actions': [use], 'file_dep': ['a'], 'targets': ['by_value'], 'getargs': {'d': ('value', 'd')}}
"""


def test_an_output_that_holds_the_path_of_its_project_is_not_restored_elsewhere(project: Project) -> None:
    other = project.clone("other")
    for place in (project, other):
        place.write("dodo.py", PLACE)
        place.write("a", "1")
        place.run(check=0)
        for name in ("in_command", "in_python", "d/f", "by_value"):
            assert place.read(name).strip() == str(place.root)
        assert os.readlink(place.path("l")) == str(place.path("a"))
        assert place.path("big").read_bytes().endswith(f"{place.root}\n".encode())


def test_an_output_that_holds_the_path_of_its_project_is_restored_there(project: Project) -> None:
    copying(project, "pwd > o; cat a >> o")
    project.run(check=0)
    project.remove("o")
    assert "== t (restored)" in project.run(check=0).stdout


@pytest.mark.parametrize("check", ["True", "config_changed('1')", "run_once"])
def test_a_task_without_inputs_is_never_answered_by_another_project(project: Project, check: str) -> None:
    text = (
        "from doit.tools import config_changed, run_once\n"
        "def task_t(): return {'actions': ['cat undeclared > o'], 'targets': ['o'],"
        f" 'uptodate': [{check}]}}\n"
    )
    other = project.clone("other")
    for word, place in (("one", project), ("two", other)):
        place.write("dodo.py", text)
        place.write("undeclared", word)
        place.run(check=0)
        assert place.read("o") == word


def test_a_task_of_which_nothing_says_what_it_depends_on_is_not_restored(project: Project) -> None:
    project.write(
        "dodo.py", "def task_t(): return {'actions': ['cat x > o'], 'targets': ['o'], 'uptodate': [True]}\n"
    )
    for word in ("one", "two"):
        project.write("x", word)
        project.path("o").unlink(missing_ok=True)
        project.run(check=0)
        assert project.read("o") == word


def test_two_tasks_that_do_the_same_without_outputs_both_do_it(project: Project) -> None:
    project.write("a", "1")
    project.dodo(
        """
        def task_x(): return {'actions': ['say hello'], 'file_dep': ['a']}
        def task_y(): return {'actions': ['say hello'], 'file_dep': ['a']}
        """
    )
    assert project.run(check=0).ran == ("hello", "hello")


def test_what_an_earlier_run_left_in_a_directory_is_not_restored_elsewhere(project: Project) -> None:
    text = """
        def act():
            import os
            os.makedirs('out', exist_ok=True)
            for name in open('list').read().split():
                if not os.path.exists(f'out/{name}'):
                    open(f'out/{name}', 'w').write(name)
        def task_t(): return {'actions': [act], 'file_dep': ['list'], 'targets': ['out']}
        """
    project.dodo(text)
    for names in ("a b", "c"):
        project.write("list", names)
        project.run(check=0)
    other = project.clone("other")
    other.dodo(text)
    other.write("list", "c")
    other.run(check=0)
    assert os.listdir(other.path("out")) == ["c"]


# --- what changes during a run


def test_a_file_that_an_earlier_task_of_the_run_rewrote_is_seen(project: Project) -> None:
    project.write(
        "dodo.py",
        """
def task_a(): return {'actions': ['cat x > oa'], 'file_dep': ['x'], 'targets': ['oa']}
def task_b(): return {'actions': ['cat y > x'], 'file_dep': ['y']}
def task_c(): return {'actions': ['cat x > oc'], 'file_dep': ['x'], 'targets': ['oc'], 'task_dep': ['b']}
""",
    )
    project.write("x", "1")
    project.write("y", "1")
    project.run(check=0)
    project.run(check=0)
    project.write("y", "2")
    project.run(check=0)
    assert project.read("oc") == "2"


def test_an_input_that_was_edited_and_edited_back_while_its_task_ran_proves_nothing(project: Project) -> None:
    copying(
        project,
        "test -e once || { touch once; cp a keep; echo 2 > a; cat a > o; mv keep a; exit 0; }; cat a > o",
    )
    first = project.run(check=0)
    assert project.read("o") == "2\n"
    assert "'a' was written" in first.output
    project.run(check=0)
    assert project.read("o") == "1"


def test_a_task_that_rewrites_its_own_input_comes_to_rest(project: Project) -> None:
    copying(project, "cat a > b; cat b > a; cp a o")
    states = ["-- t" in project.run(check=0).stdout for _ in range(4)]
    assert states == [False, False, True, True]


def test_a_directory_output_that_a_link_replaced_is_made_again(project: Project) -> None:
    project.write("a", "1")
    project.write(
        "dodo.py",
        "def task_t(): return {'actions': ['mkdir -p d; cp a d/f'], 'file_dep': ['a'], 'targets': ['d']}\n",
    )
    project.run(check=0)
    Path(project.path("d")).rename(project.path("elsewhere"))
    project.path("d").symlink_to("elsewhere")
    project.run(check=0)
    assert not project.path("d").is_symlink()
    assert project.read("d/f") == "1"


def test_tools_that_were_replaced_or_come_earlier_on_the_path_count(project: Project) -> None:
    copying(project, "mytool > o")
    early = project.base / "early"
    early.mkdir()
    path = f"{early}:{project.base / 'bin'}:/usr/bin:/bin"
    for word, folder in (("one", "bin"), ("two", "bin"), ("three", "early")):
        tool = project.base / folder / "mytool"
        tool.write_text(f"#!/bin/sh\necho {word}\n")
        tool.chmod(0o755)
        project.run(env={"PATH": path}, check=0)
        assert project.read("o") == f"{word}\n"
