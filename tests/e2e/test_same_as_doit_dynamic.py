"""Tasks and dependencies that come to be while a run goes on: `create_after` and `calc_dep`."""

from __future__ import annotations

import pytest

from .harness import Twins

SPLIT = """
    import os
    from doit import create_after

    def task_split():
        return {'actions': ['say split && mkdir -p parts',
                            'for part in $(cat list); do echo $part > parts/$part.in; done'],
                'file_dep': ['list']}

    @create_after(executed='split', target_regex=r'.*\\.out')
    def task_convert():
        for name in sorted(os.listdir('parts')):
            base = name[:-3]
            yield {'name': base, 'actions': [f'say convert:{base} && cp parts/{name} {base}.out'],
                   'file_dep': [f'parts/{name}'], 'targets': [f'{base}.out']}
"""


@pytest.fixture
def split(twins: Twins) -> Twins:
    twins.write("list", "a b c")
    twins.dodo(SPLIT)
    return twins


@pytest.mark.parametrize("width", ["0", "2"])
def test_tasks_are_created_after_another_task(split: Twins, width: str):
    pair = split.run("-n", width, order=False)
    assert pair.exit_code == 0
    assert sorted(pair.ran) == ["convert:a", "convert:b", "convert:c", "split"]
    assert split.run("-n", width).ran == []
    split.write("list", "a b c d")
    assert sorted(split.run("-n", width, order=False).ran) == ["convert:d", "split"]


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        pytest.param(["convert"], ["convert:a", "convert:b", "convert:c"], id="basename"),
        pytest.param(["convert:b"], ["convert:b"], id="subtask"),
        pytest.param(["c.out"], ["convert:c"], id="target by regex"),
    ],
)
def test_selecting_what_is_not_there_yet(split: Twins, selection: list[str], expected: list[str]):
    pair = split.run(*selection, order=False, reporter=False)
    assert pair.exit_code == 0
    assert sorted(pair.ran) == [*expected, "split"]
    assert split.run(*selection, reporter=False).ran == []


def test_selecting_what_never_comes_to_be(split: Twins):
    """A target that matches the regular expression and that no created task makes."""
    pair = split.run("nosuch.out", reporter=False)
    assert pair.exit_code == 3
    assert split.run("nosuch.txt").exit_code == 3


def test_delayed_task_whose_predecessor_fails(split: Twins):
    split.remove("list")
    pair = split.run(order=False)
    assert pair.exit_code == 2
    assert pair.ran == []


def test_auto_delayed_regex(twins: Twins):
    twins.dodo("""
        from doit import create_after

        def task_first():
            return {'actions': ['say first']}

        @create_after(executed='first')
        def task_later():
            yield {'name': 'x', 'actions': ['say later && touch made'], 'targets': ['made']}
    """)
    assert twins.run("made").exit_code == 3
    assert twins.run("--auto-delayed-regex", "made", reporter=False).ran == ["first", "later"]


def test_created_tasks_with_other_names(twins: Twins):
    twins.dodo("""
        from doit import create_after

        def task_first():
            return {'actions': ['say first']}

        @create_after(executed='first', creates=['one', 'two'])
        def task_maker():
            yield {'basename': 'one', 'actions': ['say one']}
            yield {'basename': 'two', 'actions': ['say two']}
    """)
    assert twins.run().ran == ["first", "one", "two"]
    assert twins.run("two", reporter=False).ran == ["first", "two"]
    assert twins.run("list", "-q").same(lambda result: result.stdout.split()) == ["first", "one", "two"]


def test_delayed_without_predecessor_and_in_a_class(twins: Twins):
    twins.write(
        "makers.py",
        """
from doit import create_after

class Maker:
    word = 'method'

    @create_after()
    def task_delayed(self):
        return {'actions': [f'say {self.word}']}
""",
    )
    twins.dodo("""
        from doit import create_after
        import makers

        task_delayed = makers.Maker().task_delayed

        @create_after()
        def task_alone():
            return {'actions': ['say alone']}
    """)
    assert sorted(twins.run(order=False).ran) == ["alone", "method"]


def test_delayed_creator_with_parameters(twins: Twins):
    twins.dodo("""
        from doit import create_after, task_params

        def task_first():
            return {'actions': ['say first']}

        @create_after(executed='first')
        @task_params([{'name': 'count', 'long': 'count', 'type': int, 'default': 1}])
        def task_later(count):
            for number in range(count):
                yield {'name': str(number), 'actions': [f'say later:{number}']}
    """)
    assert twins.run().ran == ["first", "later:0"]
    assert twins.run("later", "--count", "2").ran == ["first", "later:0", "later:1"]


def test_delayed_python_actions_in_parallel(twins: Twins):
    """Closures that were made during the run, which no worker could have inherited."""
    twins.dodo("""
        from doit import create_after

        def task_first():
            return {'actions': ['say first']}

        def work(name):
            say(name)
            open(name, 'w').write(name)

        @create_after(executed='first')
        def task_later():
            for name in ('x', 'y', 'z'):
                yield {'name': name, 'actions': [(work, [name])], 'targets': [name]}
    """)
    assert sorted(twins.run("-n", "2").ran) == ["first", "x", "y", "z"]
    assert sorted(twins.run("-n", "2", "-P", "thread").ran) == ["first", "x", "y", "z"]


INCLUDES = """
    def find_includes(dependencies):
        say('find')
        names = []
        for path in dependencies:
            names += [line.split()[1] for line in open(path) if line.startswith('include')]
        return {'file_dep': names}

    def task_includes():
        return {'actions': [find_includes], 'file_dep': ['main.src']}

    def task_compile():
        return {'actions': ['say compile && cat $(ls *.src *.inc | sort) > out'], 'file_dep': ['main.src'],
                'calc_dep': ['includes'], 'targets': ['out']}
"""


@pytest.mark.parametrize("width", ["0", "2"])
def test_calculated_file_dependencies(twins: Twins, width: str):
    twins.write("main.src", "include a.inc\ninclude b.inc\n")
    twins.write("a.inc", "a")
    twins.write("b.inc", "b")
    twins.dodo(INCLUDES)
    assert twins.run("-n", width, order=True).ran == ["find", "compile"]
    assert twins.run("-n", width).ran == []
    twins.write("b.inc", "bb")
    assert twins.run("-n", width).ran == ["compile"]
    twins.write("main.src", "include a.inc\n")
    assert twins.run("-n", width, order=True).ran == ["find", "compile"]
    twins.write("b.inc", "bbb")
    assert twins.run("-n", width).ran == []
    twins.remove("a.inc")
    assert twins.run("-n", width).exit_code == 2


def test_calculated_dependency_on_a_target(twins: Twins):
    """A calculated input that another task makes: that task runs before."""
    twins.dodo("""
        def task_use():
            return {'actions': ['say use && cp made used'], 'calc_dep': ['deps'], 'targets': ['used']}

        def task_make():
            return {'actions': ['say make && echo made > made'], 'targets': ['made'], 'file_dep': ['in']}

        def task_deps():
            return {'actions': [lambda: {'file_dep': ['made']}], 'uptodate': [False]}
    """)
    twins.write("in", "1")
    assert twins.run("use").ran == ["make", "use"]
    assert twins.run("use").ran == []


def test_calculated_task_dependencies_uptodate_and_more_calculations(twins: Twins):
    twins.dodo("""
        from doit.tools import run_once

        def first():
            say('first')
            return {'task_dep': ['other'], 'calc_dep': ['second']}

        def second():
            say('second')
            return {'uptodate': [open('current').read() == 'yes']}

        def task_first():
            return {'actions': [first]}

        def task_second():
            return {'actions': [second]}

        def task_other():
            return {'actions': ['say other']}

        def task_use():
            return {'actions': ['say use'], 'uptodate': [run_once], 'calc_dep': ['first']}
    """)
    twins.write("current", "yes")
    assert sorted(twins.run("use", order=False).ran) == ["first", "other", "second", "use"]
    assert sorted(twins.run("use", order=False).ran) == ["first", "other", "second"]
    twins.write("current", "no")
    assert sorted(twins.run("use", order=False).ran) == ["first", "other", "second", "use"]


def test_calculated_dependencies_are_remembered(twins: Twins):
    """An up-to-date calculation gives the values that it saved."""
    twins.dodo("""
        def task_deps():
            return {'actions': [(say, ['deps']), lambda: {'file_dep': ['x']}], 'file_dep': ['list']}

        def task_use():
            return {'actions': ['say use $(cat x)'], 'calc_dep': ['deps']}
    """)
    twins.write("list", "x")
    twins.write("x", "1")
    assert twins.run("use").ran == ["deps", "use 1"]
    twins.write("x", "2")
    assert twins.run("use").ran == ["use 2"]
    assert twins.run("use").ran == []


def test_failing_calculation_stops_its_user(twins: Twins):
    twins.dodo("""
        def task_deps():
            return {'actions': ['say deps; exit 1']}

        def task_use():
            return {'actions': ['say use'], 'calc_dep': ['deps']}

        def task_other():
            return {'actions': ['say other']}
    """)
    assert twins.run("use").ran == ["deps"]
    assert twins.run("--continue").ran == ["deps", "other"]


def test_uptodate_that_reads_the_files_of_the_run(twins: Twins):
    """A dodo.py whose tasks depend on what is on disk: a new file is a new task at the next run."""
    twins.dodo("""
        import glob

        def task_copy():
            for name in sorted(glob.glob('*.txt')):
                yield {'name': name, 'actions': [f'say {name} && cp {name} {name}.out'],
                       'file_dep': [name], 'targets': [name + '.out']}
    """)
    twins.write("a.txt", "a")
    assert twins.run().ran == ["a.txt"]
    twins.write("b.txt", "b")
    assert twins.run().ran == ["b.txt"]
    twins.remove("a.txt")
    assert twins.run().ran == []
