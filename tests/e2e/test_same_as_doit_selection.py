"""Which tasks a command line selects, with which options, is decided as stock doit decides it."""

from __future__ import annotations

import pytest

from .harness import Twins

PIPELINE = """
    from doit.tools import run_once

    DOIT_CONFIG = {'default_tasks': ['pack']}

    def task_compile():
        for name in ('one', 'two', 'three'):
            yield {
                'name': name,
                'actions': [f'say compile:{name} && cp {name}.c {name}.o'],
                'file_dep': [f'{name}.c'],
                'targets': [f'{name}.o'],
            }

    def task_pack():
        return {'actions': ['say pack && cat one.o two.o > all.a'],
                'file_dep': ['one.o', 'two.o'], 'targets': ['all.a']}

    def task_docs():
        return {'actions': ['say docs'], 'uptodate': [run_once]}

    def task_all():
        return {'actions': None, 'task_dep': ['docs', 'pack']}
"""


@pytest.fixture
def pipeline(twins: Twins) -> Twins:
    twins.dodo(PIPELINE)
    for name in ("one", "two", "three"):
        twins.write(f"{name}.c", f"source of {name}")
    return twins


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        pytest.param([], {"compile:one", "compile:two", "pack"}, id="default tasks"),
        pytest.param(["run"], {"compile:one", "compile:two", "pack"}, id="explicit run"),
        pytest.param(["docs"], {"docs"}, id="name"),
        pytest.param(["docs", "compile:two"], {"docs", "compile:two"}, id="two names"),
        pytest.param(["compile:one"], {"compile:one"}, id="subtask"),
        pytest.param(["compile"], {"compile:one", "compile:two", "compile:three"}, id="group of subtasks"),
        pytest.param(["all"], {"docs", "compile:one", "compile:two", "pack"}, id="group"),
        pytest.param(["three.o"], {"compile:three"}, id="target"),
        pytest.param(["all.a"], {"compile:one", "compile:two", "pack"}, id="target with inputs"),
        pytest.param(["compile:t*"], {"compile:two", "compile:three"}, id="glob"),
        pytest.param(
            ["*"], {"compile:one", "compile:two", "compile:three", "pack", "docs"}, id="glob of all"
        ),
        pytest.param(["nothing*"], set(), id="glob of nothing"),
        pytest.param(["docs", "docs", "docs"], {"docs"}, id="name said thrice"),
    ],
)
def test_selection(pipeline: Twins, selection: list[str], expected: set[str]):
    first = pipeline.run(*selection, order=False)
    assert first.exit_code == 0
    assert sorted(first.ran) == sorted(expected)
    assert pipeline.run(*selection, order=False).ran == []


def test_what_one_selection_did_counts_for_the_next(pipeline: Twins):
    pipeline.run("compile:one")
    pipeline.run("compile:three")
    assert pipeline.run().ran == ["compile:two", "pack"]
    pipeline.write("three.c", "another source")
    assert pipeline.run().ran == []
    assert pipeline.run("compile").ran == ["compile:three"]


def test_definition_order_and_selection_order_are_kept(twins: Twins):
    twins.dodo("""
        def task_zebra():
            return {'actions': ['say zebra']}

        def task_apple():
            return {'actions': ['say apple'], 'task_dep': ['mango']}

        def task_mango():
            return {'actions': ['say mango']}

        def task_fig():
            return {'actions': ['say fig']}
    """)
    assert twins.run().ran == ["zebra", "mango", "apple", "fig"]
    assert twins.run("fig", "apple", "zebra").ran == ["fig", "mango", "apple", "zebra"]


@pytest.mark.parametrize(
    "selection",
    [["nosuch"], ["pack:nosuch"], ["nosuch.o"], ["docs", "nosuch"], ["run", "nosuch"], ["--nosuch"], ["-Z"]],
    ids=" ".join,
)
def test_unknown_selection_runs_nothing(pipeline: Twins, selection: list[str]):
    pair = pipeline.run(*selection)
    assert pair.exit_code == 3
    assert pair.ran == []


def test_unknown_subtask_runs_nothing(pipeline: Twins):
    assert pipeline.run("compile:nosuch").exit_code == 3


def test_task_options(twins: Twins):
    twins.dodo("""
        def show(count, loud, colour, items):
            say(f'{count + 1} {loud} {colour} {items}')

        def task_show():
            return {
                'actions': [show, 'say %(count)s-%(colour)s'],
                'params': [
                    {'name': 'count', 'short': 'c', 'long': 'count', 'type': int, 'default': 5},
                    {'name': 'loud', 'short': 'l', 'long': 'loud', 'type': bool, 'default': False,
                     'inverse': 'quiet'},
                    {'name': 'colour', 'long': 'colour', 'default': 'red',
                     'choices': (('red', ''), ('blue', ''))},
                    {'name': 'items', 'short': 'i', 'type': list, 'default': []},
                ],
            }

        def task_other():
            return {'actions': ['say other']}
    """)
    assert twins.run("show").ran == ["6 False red []", "5-red"]
    assert twins.run("show", "-c", "8", "-l", "--colour", "blue").ran == ["9 True blue []", "8-blue"]
    assert twins.run("show", "-i", "x", "-i", "y", "--count=1", "other").ran == [
        "2 False red ['x', 'y']",
        "1-red",
        "other",
    ]
    assert twins.run("show", "-l", "--quiet").ran == ["6 False red []", "5-red"]
    assert twins.run("show", "-c", "many").exit_code == 3
    assert twins.run("show", "--colour", "green").exit_code == 3


def test_task_options_from_the_configuration(twins: Twins):
    twins.dodo("""
        def task_show():
            return {'actions': ['say %(count)s'],
                    'params': [{'name': 'count', 'long': 'count', 'type': int, 'default': 5}]}
    """)
    twins.write("pyproject.toml", '[tool.doit.tasks.show]\ncount = "7"\n')
    assert twins.run().ran == ["7"]
    assert twins.run("show", "--count", "9").ran == ["9"]
    twins.remove("pyproject.toml")
    twins.write("doit.cfg", "[task:show]\ncount = 8\n")
    assert twins.run().ran == ["8"]


def test_positional_arguments(twins: Twins):
    twins.dodo("""
        def show(words, prefix):
            for word in words or []:
                say(prefix + word)

        def task_show():
            return {'actions': [show, 'for w in %(words)s; do say "sh $w"; done'], 'pos_arg': 'words',
                    'params': [{'name': 'prefix', 'short': 'p', 'default': 'py '}]}

        def task_other():
            return {'actions': ['say other']}
    """)
    assert twins.run("show", "a", "b").ran == ["py a", "py b", "sh a", "sh b"]
    assert twins.run("show", "-p", ">", "other").ran == [">other", "sh other"]
    assert twins.run("other").ran == ["other"]


def test_command_line_variables(twins: Twins):
    twins.dodo("""
        from doit import get_var

        NAME = get_var('name', 'nobody')

        def greet():
            say('python ' + get_var('name', 'nobody'))

        def task_greet():
            return {'actions': [f'say "shell {NAME}"', greet]}
    """)
    assert twins.run().ran == ["shell nobody", "python nobody"]
    assert twins.run("name=ada").ran == ["shell ada", "python ada"]
    assert twins.run("greet", "name=x=y").ran == ["shell x=y", "python x=y"]


def test_task_params_make_tasks(twins: Twins):
    twins.dodo("""
        from doit import task_params

        def work(howmany):
            say(f'work {howmany}')

        @task_params([{'name': 'howmany', 'long': 'howmany', 'type': int, 'default': 2}])
        def task_many(howmany):
            for number in range(howmany):
                yield {'name': str(number), 'actions': [f'say {number}/{howmany}']}

        @task_params([{'name': 'howmany', 'long': 'howmany', 'type': int, 'default': 1}])
        def task_one(howmany):
            return {'actions': [work, 'say %(howmany)s'], 'doc': f'{howmany} of it'}
    """)
    assert twins.run("many").ran == ["0/2", "1/2"]
    assert twins.run("many", "--howmany", "3").ran == ["0/3", "1/3", "2/3"]
    assert twins.run("one", "--howmany", "4").ran == ["work 4", "4"]
    twins.write("doit.cfg", "[task:one]\nhowmany = 6\n")
    assert twins.run("one").ran == ["work 6", "6"]


def test_group_without_subtasks_and_task_without_actions(twins: Twins):
    twins.dodo("""
        def task_empty():
            return
            yield

        def task_nothing():
            return None

        def task_described():
            yield {'name': None, 'doc': 'a group that says what it is for'}

        def task_bare():
            return {'actions': []}

        def task_after():
            return {'actions': ['say after'], 'task_dep': ['empty', 'described', 'bare']}
    """)
    assert twins.run("empty").exit_code == 0
    assert twins.run().ran == ["after"]


def test_private_tasks_run_but_are_not_shown(twins: Twins):
    twins.dodo("""
        def task__prepare():
            return {'actions': ['say prepare']}

        def task_work():
            return {'actions': ['say work'], 'task_dep': ['_prepare']}
    """)
    pair = twins.run("work")
    assert pair.ran == ["prepare", "work"]
    assert pair.same(lambda result: result.executed) == ["work"]
    assert twins.run("_prepare").ran == ["prepare"]


def test_names_outside_ascii(twins: Twins):
    twins.dodo("""
        def task_größe():
            yield {'name': '日本', 'actions': ['say "größe 日本" && cp ein.txt ausgäbe.txt'],
                   'file_dep': ['ein.txt'], 'targets': ['ausgäbe.txt']}
            yield {'name': 'with space', 'actions': ['say space']}
    """)
    twins.write("ein.txt", "ß")
    assert twins.run("größe:日本").ran == ["größe 日本"]
    assert twins.run("ausgäbe.txt").ran == []
    assert twins.run("größe:with space").ran == ["space"]
    assert twins.run().same(lambda result: result.skipped) == ["größe:日本"]


def test_task_dep_with_wildcards(twins: Twins):
    twins.dodo("""
        def task_check():
            for name in ('lint', 'types', 'other'):
                yield {'name': name, 'actions': [f'say {name}']}

        def task_some():
            return {'actions': ['say some'], 'task_dep': ['check:l*', 'check:t*']}

        def task_none():
            return {'actions': ['say none'], 'task_dep': ['nosuch*']}
    """)
    assert twins.run("some").ran == ["lint", "types", "some"]
    assert twins.run("none").ran == ["none"]


def test_ways_to_define_tasks(twins: Twins):
    """Objects with `create_doit_tasks`, bound methods, basenames, nested generators, Task objects."""
    twins.write(
        "makers.py",
        """
class Tool:
    def __init__(self, word, say):
        self.word = word
        self.say = say

    def create_doit_tasks(self):
        return {'basename': self.word, 'actions': [(self.work, ['method'])]}

    def work(self, suffix):
        self.say(f'{self.word} {suffix}')

    def task_bound(self):
        return {'actions': [f'say bound {self.word}']}
""",
    )
    twins.dodo("""
        from pathlib import Path
        from doit.task import Task
        import makers

        hammer = makers.Tool('hammer', lambda word: say(word))
        task_bound = makers.Tool('saw', None).task_bound

        def decorated():
            return {'actions': ['say decorated']}
        decorated.create_doit_tasks = decorated
        decorated.basename = 'renamed'

        def nested(level):
            if level < 3:
                yield {'basename': f'level{level}', 'actions': [f'say level{level}']}
                yield nested(level + 1)

        def task_nested():
            yield nested(1)

        def task_object():
            return Task('object', ['say object'])

        def task_based():
            yield {'basename': 'elsewhere', 'name': 'sub', 'actions': ['say elsewhere:sub']}

        def task_path():
            return {'actions': ['say path && cp in.txt out.txt'],
                    'file_dep': [Path('in.txt')], 'targets': [Path('out.txt')]}
    """)
    twins.write("in.txt", "in")
    names = ["hammer", "bound", "renamed", "level1", "level2", "object", "elsewhere:sub", "path"]
    words = ["hammer method", "bound saw", "decorated", "level1", "level2", "object", "elsewhere:sub", "path"]
    assert sorted(twins.run(order=False).ran) == sorted(words)
    assert twins.run(*names).ran == words[:-1]


def test_imported_task_creators(twins: Twins):
    twins.write("shared.py", "def task_shared():\n    return {'actions': ['say shared']}\n")
    twins.dodo("""
        from shared import task_shared

        def task_own():
            return {'actions': ['say own']}
    """)
    assert sorted(twins.run().ran) == ["own", "shared"]


def test_another_file_another_folder_and_a_parent_folder(twins: Twins):
    twins.write("build.py", "def task_file():\n    return {'actions': ['say file && touch made']}\n")
    twins.write("sub/below/keep", "")
    assert twins.run("-f", "build.py").ran == ["file"]
    assert twins.run("-f", "build.py", "--dir", "sub").ran == ["file"]
    assert twins.run("-f", "../build.py", cwd="sub").ran == ["file"]
    twins.dodo("""
        def task_parent():
            return {'actions': ['say parent && touch here']}
    """)
    assert twins.run("-k", cwd="sub/below").ran == ["parent"]
    assert twins.run("--seek-file", "parent", cwd="sub").ran == ["parent"]
    assert twins.run(cwd="sub").exit_code == 3


def test_initial_workdir(twins: Twins):
    twins.dodo("""
        import os
        import doit

        def task_where():
            return {'actions': [(say, [os.path.relpath(doit.get_initial_workdir())])]}
    """)
    twins.write("sub/keep", "")
    assert twins.run("-k", cwd="sub").ran == ["sub"]


@pytest.mark.parametrize("width", ["0", "2"])
def test_chain_of_5000_tasks(twins: Twins, width: str):
    twins.dodo("""
        LENGTH = 5000

        def task_link():
            yield {'name': '0', 'actions': ['say first']}
            for number in range(1, LENGTH):
                yield {'name': str(number), 'actions': None, 'task_dep': [f'link:{number - 1}']}

        def task_last():
            return {'actions': ['say last'], 'task_dep': [f'link:{LENGTH - 1}']}
    """)
    assert twins.run("-n", width, "last", reporter=False).ran == ["first", "last"]
