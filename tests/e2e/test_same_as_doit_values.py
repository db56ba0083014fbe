"""Values that tasks hand to each other (`getargs`, `result_dep`, `value_savers`, `save_out`)."""

from __future__ import annotations

import pytest

from .harness import Twins

PRODUCER = """
    import json
    from doit.tools import run_once

    def produce():
        say('produce')
        return json.load(open('numbers.json'))

    def task_produce():
        return {'actions': [produce], 'file_dep': ['numbers.json']}
"""


@pytest.fixture
def numbers(twins: Twins) -> Twins:
    twins.write("numbers.json", '{"x": 5, "y": [1, 2], "name": "ada"}')
    return twins


@pytest.mark.parametrize("width", ["0", "2"])
def test_getargs_of_one_value(numbers: Twins, width: str):
    numbers.dodo(
        PRODUCER
        + """
    def use(x, y):
        say(f'use {x} {y}')

    def task_use():
        return {'actions': [use, 'say shell %(name)s %(x)s'],
                'getargs': {'x': ('produce', 'x'), 'y': ('produce', 'y'), 'name': ('produce', 'name')}}
    """
    )
    assert numbers.run("-n", width, "use", order=True).ran == ["produce", "use 5 [1, 2]", "shell ada 5"]
    assert numbers.run("-n", width, "use", judged=["produce"]).ran == []
    numbers.write("numbers.json", '{"x": 6, "y": [], "name": "bob"}')
    assert numbers.run("-n", width, "produce").ran == ["produce"]
    pair = numbers.run("-n", width, "use", order=True)
    assert pair.ran == ["use 6 []", "shell bob 6"]


def test_getargs_of_the_whole_dict_and_of_a_group(numbers: Twins):
    numbers.dodo(
        PRODUCER
        + """
    def part(name):
        say(f'part {name}')
        return {'size': len(name), 'name': name}

    def task_parts():
        for name in ('a', 'bb', 'ccc'):
            yield {'name': name, 'actions': [(part, [name])], 'uptodate': [run_once]}

    def use(whole, sizes, dicts):
        say('whole ' + json.dumps(whole, sort_keys=True))
        say('sizes ' + json.dumps(sizes, sort_keys=True))
        say('dicts ' + json.dumps(dicts, sort_keys=True))

    def task_use():
        return {'actions': [use], 'getargs': {
            'whole': ('produce', None), 'sizes': ('parts', 'size'), 'dicts': ('parts', None)}}
    """
    )
    first = numbers.run("use", order=False)
    assert 'sizes {"a": 1, "bb": 2, "ccc": 3}' in first.ran
    assert 'whole {"name": "ada", "x": 5, "y": [1, 2]}' in first.ran
    judged = ["produce", "parts:a", "parts:bb", "parts:ccc"]
    assert numbers.run("use", judged=judged).ran == []


def test_getargs_of_a_value_that_nobody_saved(numbers: Twins):
    numbers.dodo(
        PRODUCER
        + """
    def task_use():
        return {'actions': ['say %(z)s'], 'getargs': {'z': ('produce', 'z')}}
    """
    )
    pair = numbers.run("use")
    assert pair.exit_code == 2
    assert pair.ran == ["produce"]


@pytest.mark.parametrize(
    "getargs",
    ["{'z': ('nosuch', 'z')}", "{'z': ('produce', 'x', 'y')}", "{'z': 'produce'}", "{'z': ['a']}", "7"],
)
def test_getargs_that_make_no_sense(numbers: Twins, getargs: str):
    numbers.dodo(
        PRODUCER
        + f"""
    def task_use():
        return {{'actions': ['say use'], 'getargs': {getargs}}}
    """
    )
    pair = numbers.run()
    assert pair.exit_code == 3
    assert pair.ran == []


def test_getargs_from_a_failing_task(twins: Twins):
    twins.dodo("""
        def task_produce():
            return {'actions': ['say produce; false']}

        def task_use():
            return {'actions': ['say %(x)s'], 'getargs': {'x': ('produce', 'x')}}
    """)
    pair = twins.run("use")
    assert pair.exit_code == 1
    assert pair.ran == ["produce"]


def test_saved_output_of_a_command(twins: Twins):
    twins.dodo("""
        from doit.action import CmdAction

        def task_version():
            return {'actions': [CmdAction('echo first', save_out='first'),
                                CmdAction('say version; cat version.txt', save_out='version')],
                    'file_dep': ['version.txt']}

        def show(version, first):
            say(repr((first, version)))

        def task_show():
            return {'actions': [show],
                    'getargs': {'version': ('version', 'version'), 'first': ('version', 'first')}}
    """)
    twins.write("version.txt", "1.0\n")
    assert twins.run("show").ran == ["version", r"('first\n', '1.0\n')"]
    twins.write("version.txt", "2.0\n")
    assert twins.run("version", "show").ran == ["version", r"('first\n', '2.0\n')"]
    assert twins.run("version", "show").ran == []


def test_values_of_several_actions_are_merged(twins: Twins):
    twins.dodo("""
        import json

        def task_source():
            return {'actions': [lambda: {'a': 1, 'b': 1}, 'true', lambda: {'b': 2, 'c': None}]}

        def task_use():
            return {'actions': [(lambda whole: say(json.dumps(whole, sort_keys=True)))],
                    'getargs': {'whole': ('source', None)}}
    """)
    assert twins.run("use").ran == ['{"a": 1, "b": 2, "c": null}']


RESULT = """
    from doit.tools import result_dep

    def task_source():
        return {'actions': ['say source; cat in'], 'uptodate': [False]}

    def task_user():
        return {'actions': ['say user'], 'uptodate': [result_dep('source')]}
"""


@pytest.mark.parametrize("width", ["0", "2"])
def test_result_of_a_command(twins: Twins, width: str):
    twins.write("in", "one")
    twins.dodo(RESULT)
    assert twins.run("-n", width, "user", order=True).ran == ["source", "user"]
    assert twins.run("-n", width, "user").ran == ["source"]
    twins.write("in", "two")
    assert twins.run("-n", width, "user", order=True).ran == ["source", "user"]


@pytest.mark.parametrize(
    ("first", "second"), [("'text'", "'other text'"), ("{'x': 1}", "{'x': 2}")], ids=["text", "dict"]
)
def test_result_of_a_python_action(twins: Twins, first: str, second: str):
    twins.dodo("""
        from doit.tools import result_dep

        def source():
            say('source')
            return eval(open('in').read())

        def task_source():
            return {'actions': [source], 'file_dep': ['in']}

        def task_user():
            return {'actions': ['say user'], 'uptodate': [result_dep('source')]}
    """)
    twins.write("in", first)
    assert twins.run("user").ran == ["source", "user"]
    assert twins.run("user").ran == []
    twins.write("in", first + " ")
    assert twins.run("user").ran == ["source"]
    twins.write("in", second)
    assert twins.run("user").ran == ["source", "user"]


def test_result_of_a_group(twins: Twins):
    twins.dodo("""
        from doit.tools import result_dep

        def task_parts():
            for name in ('a', 'b'):
                yield {'name': name, 'actions': [f'say {name}; cat {name}'], 'file_dep': [name]}

        def task_user():
            return {'actions': ['say user'], 'uptodate': [result_dep('parts')]}
    """)
    twins.write("a", "1")
    twins.write("b", "1")
    assert twins.run("user").ran == ["a", "b", "user"]
    assert twins.run("user").ran == []
    twins.write("b", "2")
    assert twins.run("user").ran == ["b", "user"]


def test_result_of_a_setup_task(twins: Twins):
    twins.dodo("""
        from doit.tools import result_dep

        def task_source():
            return {'actions': ['say source; cat in'], 'uptodate': [False]}

        def task_user():
            return {'actions': ['say user'], 'uptodate': [result_dep('source', setup_dep=True)],
                    'file_dep': ['other']}
    """)
    twins.write("in", "1")
    twins.write("other", "1")
    assert twins.run("user").ran == ["source", "user"]
    assert twins.run("user").ran == []
    twins.write("other", "2")
    assert twins.run("user").ran == ["source", "user"]


def test_value_savers_of_an_own_uptodate(twins: Twins):
    """The way that doit's documentation tells to write a check: compare with what was saved."""
    twins.dodo("""
        def check_version(task, values, where):
            version = open(where).read()
            task.value_savers.append(lambda: {'version': version})
            return values.get('version') == version

        class Remembers:
            def configure_task(self, task):
                task.value_savers.append(lambda: {'seen': open('other').read()})

            def __call__(self, task, values):
                return values.get('seen') == open('other').read()

        def task_build():
            return {'actions': ['say build'], 'uptodate': [(check_version, ['version']), Remembers()]}

        def task_show():
            return {'actions': ['say show %(version)s %(seen)s'], 'getargs': {
                'version': ('build', 'version'), 'seen': ('build', 'seen')}}
    """)
    twins.write("version", "1")
    twins.write("other", "x")
    assert twins.run("show").ran == ["build", "show 1 x"]
    assert twins.run("build").ran == []
    twins.write("version", "2")
    assert twins.run("build").ran == ["build"]
    twins.write("other", "y")
    assert twins.run("build").ran == ["build"]
    assert twins.run("build").ran == []


def test_getargs_of_a_task_created_later(twins: Twins):
    twins.dodo("""
        from doit import create_after

        def task_first():
            return {'actions': ['say first']}

        @create_after(executed='first', creates=['source'])
        def task_maker():
            yield {'basename': 'source', 'actions': [lambda: {'x': 7}]}

        @create_after(executed='source')
        def task_use():
            return {'actions': ['say %(x)s'], 'getargs': {'x': ('source', 'x')}}
    """)
    assert twins.run().ran == ["first", "7"]
