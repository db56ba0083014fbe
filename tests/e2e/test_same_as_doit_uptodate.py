"""When a task is up to date, as far as stock doit's answer is the right one."""

from __future__ import annotations

import os

import pytest

from .harness import Project, Twins

ALWAYS_AND_NEVER = """
    from doit.tools import run_once

    def yes():
        return True

    def no():
        return False

    def nothing():
        return None

    def is_there(path, suffix=''):
        import os
        return os.path.exists(path + suffix)

    class Checker:
        def check(self, task, values):
            return task.name == 'check:bound_method'

    def task_check():
        checks = {
            'no_checks': [],
            'none_only': [None],
            'true_only': [True],
            'false_only': [False],
            'true_and_false': [True, False],
            'true_and_none': [None, True],
            'shell_true': ['true'],
            'shell_false': ['exit 1'],
            'callable_true': [yes],
            'callable_false': [no],
            'callable_none': [nothing],
            'tuple_true': [(is_there, ['dodo.py'])],
            'tuple_false': [(is_there, ['dodo'], {'suffix': '.txt'})],
            'bound_method': [Checker().check],
            'run_once': [run_once],
        }
        for name, uptodate in checks.items():
            yield {'name': name, 'actions': [f'say {name}'], 'uptodate': uptodate}
            yield {'name': name + '_in', 'actions': [f'say {name}_in'], 'uptodate': uptodate,
                   'file_dep': ['in']}
            yield {'name': name + '_out', 'actions': [f'say {name}_out; cp in {name}'], 'uptodate': uptodate,
                   'file_dep': ['in'], 'targets': [name]}
"""


@pytest.mark.parametrize("width", ["0", "2"])
def test_all_kinds_of_checks(twins: Twins, width: str):
    twins.write("in", "1")
    twins.dodo(ALWAYS_AND_NEVER)
    first = twins.run("-n", width)
    assert first.exit_code == 0
    assert {"true_only_in", "run_once", "tuple_false", "no_checks"} <= set(first.ran)
    second = twins.run("-n", width)
    assert {"no_checks", "none_only", "false_only_in", "shell_false_out", "tuple_false_in"} <= set(second.ran)
    assert not {"true_only_in", "run_once_out", "none_only_in", "bound_method"} & set(second.ran)
    twins.write("in", "2")
    third = twins.run("-n", width)
    assert "true_only_in" in third.ran


def test_uptodate_without_a_record(twins: Twins):
    """doit believes `uptodate: [True]` of a task that never ran."""
    twins.dodo("""
        def task_trusted():
            return {'actions': ['say trusted'], 'uptodate': [True]}

        def task_makes():
            return {'actions': ['say makes; touch made'], 'uptodate': [True], 'targets': ['made']}
    """)
    assert twins.run().ran == ["makes"]
    assert twins.run().ran == []


def test_shell_check_sees_the_project(twins: Twins):
    twins.dodo("""
        def task_build():
            return {'actions': ['say build; touch stamp'], 'uptodate': ['test -e stamp']}
    """)
    assert twins.run().ran == ["build"]
    assert twins.run().ran == []
    twins.remove("stamp")
    assert twins.run().ran == ["build"]


@pytest.mark.parametrize(
    ("first", "second"),
    [("'text'", "'other'"), ("{'a': 1, 'b': [2]}", "{'a': 1, 'b': [3]}")],
    ids=["text", "dict"],
)
def test_config_changed(twins: Twins, first: str, second: str):
    twins.dodo("""
        from doit.tools import config_changed

        CONFIG = eval(open('config').read())

        def task_use():
            return {'actions': ['say use && cp in out'], 'uptodate': [config_changed(CONFIG)],
                    'file_dep': ['in'], 'targets': ['out']}

        def task_check():
            return {'actions': ['say check'], 'uptodate': [config_changed(CONFIG)]}
    """)
    twins.write("in", "1")
    twins.write("config", first)
    assert twins.run().ran == ["use", "check"]
    assert twins.run().ran == []
    twins.write("config", second)
    assert twins.run().ran == ["use", "check"]
    assert twins.run().ran == []


def test_config_changed_with_an_encoder(twins: Twins):
    twins.dodo("""
        import json
        from pathlib import Path
        from doit.tools import config_changed

        class PathEncoder(json.JSONEncoder):
            def default(self, value):
                return str(value) if isinstance(value, Path) else super().default(value)

        def task_use():
            config = {'where': Path(open('where').read())}
            return {'actions': ['say use'], 'uptodate': [config_changed(config, encoder=PathEncoder)]}
    """)
    twins.write("where", "here")
    assert twins.run().ran == ["use"]
    assert twins.run().ran == []
    twins.write("where", "there")
    assert twins.run().ran == ["use"]


def test_timeout(twins: Twins):
    twins.dodo("""
        import datetime
        from doit.tools import timeout

        def task_expire():
            yield {'name': 'at_once', 'actions': ['say at_once'], 'uptodate': [timeout(0)]}
            yield {'name': 'late', 'actions': ['say late'], 'uptodate': [timeout(10_000)]}
            yield {'name': 'delta', 'actions': ['say delta'],
                   'uptodate': [timeout(datetime.timedelta(hours=5))]}
            yield {'name': 'files', 'actions': ['say files && cp in out'], 'uptodate': [timeout(0)],
                   'file_dep': ['in'], 'targets': ['out']}
    """)
    twins.write("in", "1")
    assert twins.run().ran == ["at_once", "late", "delta", "files"]
    assert twins.run().ran == ["at_once", "files"]


def test_check_timestamp_unchanged(twins: Twins):
    twins.dodo("""
        import operator
        from doit.tools import check_timestamp_unchanged

        def task_watch():
            yield {'name': 'eq', 'actions': ['say eq'], 'uptodate': [check_timestamp_unchanged('watched')]}
            yield {'name': 'ge', 'actions': ['say ge'],
                   'uptodate': [check_timestamp_unchanged('watched', 'mtime', operator.ge)]}
            yield {'name': 'folder', 'actions': ['say folder'],
                   'uptodate': [check_timestamp_unchanged('folder')]}
    """)
    twins.write("watched", "1")
    twins.write("folder/file", "1")
    assert twins.run().ran == ["eq", "ge", "folder"]
    assert twins.run().ran == []
    twins.change(lambda project: os.utime(project.path("watched"), (1000, 1000)))
    assert twins.run().ran == ["eq"]
    twins.write("folder/other", "1")
    assert twins.run().ran == ["folder"]
    twins.remove("watched")
    assert twins.run("watch:folder").ran == []


def test_an_uptodate_callable_may_change_its_task(twins: Twins):
    twins.dodo("""
        def more_inputs(task):
            task.file_dep.add('extra')

        def task_use():
            return {'actions': ['say use'], 'uptodate': [more_inputs], 'file_dep': ['in']}
    """)
    twins.write("in", "1")
    twins.write("extra", "1")
    assert twins.run().ran == ["use"]
    assert twins.run().ran == []
    twins.write("extra", "2")
    assert twins.run().ran == ["use"]


COPY = """
    def task_copy():
        return {'actions': ['say copy && cat a b > out'], 'file_dep': ['a', 'b'], 'targets': ['out']}
"""


@pytest.fixture
def copying(twins: Twins) -> Twins:
    twins.write("a", "a")
    twins.write("b", "b")
    twins.dodo(COPY)
    assert twins.run().ran == ["copy"]
    return twins


def test_changed_input(copying: Twins):
    copying.write("b", "longer")
    assert copying.run().ran == ["copy"]
    assert copying.run().ran == []


def test_touched_input_with_the_same_content(copying: Twins):
    copying.change(lambda project: os.utime(project.path("a"), (5000, 5000)))
    assert copying.run().ran == []


def test_input_written_anew_with_the_same_content(copying: Twins):
    def rewrite(project: Project) -> None:
        project.write("a.new", "a")
        os.replace(project.path("a.new"), project.path("a"))

    copying.change(rewrite)
    assert copying.run().ran == []


def test_input_added_and_removed_in_the_definition(copying: Twins):
    copying.write("c", "c")
    copying.dodo(COPY.replace("'file_dep': ['a', 'b']", "'file_dep': ['a', 'b', 'c']"))
    assert copying.run().ran == ["copy"]
    copying.dodo(COPY.replace("'file_dep': ['a', 'b']", "'file_dep': ['b']"))
    assert copying.run().ran == ["copy"]
    assert copying.run().ran == []


def test_missing_output_is_made_again(copying: Twins):
    copying.remove("out")
    pair = copying.run(restored=["copy"])
    assert pair.exit_code == 0
    assert copying.buildkit.read("out") == "ab"
    assert copying.run().ran == []


def test_changed_names_what_changed(twins: Twins):
    twins.dodo("""
        def show(changed, dependencies):
            say('python ' + ' '.join(sorted(changed)) + ' of ' + ' '.join(sorted(dependencies)))

        def task_show():
            return {'actions': ['say shell $(echo %(changed)s | tr " " "\\\\n" | sort)', show],
                    'file_dep': ['a', 'b', 'c']}
    """)
    for name in "abc":
        twins.write(name, name)
    assert twins.run().ran == ["shell a b c", "python a b c of a b c"]
    twins.write("b", "bb")
    assert twins.run().ran == ["shell b", "python b of a b c"]
    twins.write("a", "aa")
    twins.write("c", "cc")
    assert twins.run().ran == ["shell a c", "python a c of a b c"]


def test_a_failure_is_tried_again(twins: Twins):
    twins.dodo("""
        def task_test():
            return {'actions': ['say test; test -e fixed'], 'file_dep': ['in']}
    """)
    twins.write("in", "1")
    assert twins.run().exit_code == 1
    assert twins.run().ran == ["test"]
    twins.write("fixed", "")
    assert twins.run().exit_code == 0
    assert twins.run().ran == []


def test_a_failure_forgets_an_earlier_success(twins: Twins):
    twins.dodo("""
        def task_test():
            return {'actions': ['say test; grep -q good in'], 'file_dep': ['in']}
    """)
    twins.write("in", "good")
    assert twins.run().exit_code == 0
    twins.write("in", "bad")
    assert twins.run().exit_code == 1
    assert twins.run().ran == ["test"]


def test_edit_that_keeps_the_size(twins: Twins):
    twins.dodo("""
        def task_count():
            return {'actions': ['say count && cp in out && wc -c < in > size'], 'file_dep': ['in'],
                    'targets': ['out', 'size']}

        def task_reads_both():
            return {'actions': ['say both && cat out size > both'], 'file_dep': ['out', 'size'],
                    'targets': ['both']}
    """)
    twins.write("in", "12345")
    assert twins.run("both").ran == ["count", "both"]
    twins.write("in", "54321")
    assert twins.run("both").ran == ["count", "both"]


def test_early_cutoff(twins: Twins):
    """A task that makes the same bytes again does not wake up the tasks behind it."""
    twins.dodo("""
        def task_strip():
            return {'actions': ['say strip && grep -v "^#" in > stripped'], 'file_dep': ['in'],
                    'targets': ['stripped']}

        def task_use():
            return {'actions': ['say use && cp stripped used'], 'file_dep': ['stripped'], 'targets': ['used']}
    """)
    twins.write("in", "# one\ncode\n")
    assert twins.run().ran == ["strip", "use"]
    twins.write("in", "# another comment\ncode\n")
    assert twins.run().ran == ["strip"]


@pytest.mark.parametrize("checker", ["md5", "timestamp"])
def test_choice_of_a_checker(twins: Twins, checker: str):
    twins.dodo(
        f"""
        DOIT_CONFIG = {{'check_file_uptodate': '{checker}'}}
        """
        + COPY.replace("\n    ", "\n        ")
    )
    twins.write("a", "a")
    twins.write("b", "b")
    assert twins.run().ran == ["copy"]
    assert twins.run().ran == []
    twins.write("b", "other")
    assert twins.run().ran == ["copy"]
    assert twins.run("--check_file_uptodate", "nosuch").exit_code == 3


def test_own_checker_class(twins: Twins):
    twins.dodo("""
        from doit.dependency import FileChangedChecker

        class SizeChecker(FileChangedChecker):
            def check_modified(self, file_path, file_stat, state):
                return file_stat.st_size != state

            def get_state(self, dep, current_state):
                import os
                return os.path.getsize(dep)

        DOIT_CONFIG = {'check_file_uptodate': SizeChecker}

        def task_use():
            return {'actions': ['say use'], 'file_dep': ['in']}
    """)
    twins.write("in", "1")
    assert twins.run().ran == ["use"]
    assert twins.run().ran == []
    twins.write("in", "longer")
    assert twins.run().ran == ["use"]
