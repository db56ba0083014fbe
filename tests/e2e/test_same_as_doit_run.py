"""A run as a whole: setup and teardown, failures and what they stop, the run's own options."""

from __future__ import annotations

import pytest

from .harness import Twins

WIDTHS = [
    pytest.param(["-n", "0"], id="sequential"),
    pytest.param(["-n", "2"], id="processes"),
    pytest.param(["-n", "2", "-P", "thread"], id="threads"),
]

SETUP = """
    def task_server():
        yield {'name': 'a', 'actions': ['say start:a'], 'teardown': ['say stop:a']}
        yield {'name': 'b', 'actions': ['say start:b'], 'teardown': ['say stop:b', (say, ['stopped:b'])],
               'setup': ['server:a']}

    def task_test():
        return {'actions': ['say test; ! grep -q fail in'], 'file_dep': ['in'], 'setup': ['server:b']}

    def task_other():
        return {'actions': ['say other'], 'teardown': ['say after:other']}
"""


@pytest.mark.parametrize("width", ["0", "1"])
def test_setup_and_teardown(twins: Twins, width: str):
    twins.write("in", "ok")
    twins.dodo(SETUP)
    pair = twins.run("-n", width, "test", order=True)
    assert pair.ran == ["start:a", "start:b", "test", "stop:b", "stopped:b", "stop:a"]
    assert twins.run("-n", width, "test").ran == []
    twins.write("in", "fail")
    pair = twins.run("-n", width, "test", "other", order=True)
    assert pair.exit_code == 1
    assert pair.ran == ["start:a", "start:b", "test", "stop:b", "stopped:b", "stop:a"]


@pytest.mark.parametrize("width", WIDTHS[:2])  # stock doit tears down once for each thread
def test_teardown_comes_last(twins: Twins, width: list[str]):
    twins.write("in", "fail")
    twins.dodo(SETUP)
    pair = twins.run(*width, "--continue", order=False)
    assert pair.exit_code == 1
    stops = [word for word in pair.ran if word.startswith(("stop", "after"))]
    assert pair.ran[-len(stops) :] == stops
    assert len(stops) == 4


def test_teardown_is_the_reverse_of_the_execution(twins: Twins):
    twins.dodo("""
        def task_unit():
            for name in ('a', 'b', 'c'):
                yield {'name': name, 'actions': [f'say {name}'], 'teardown': [f'say -{name}']}
    """)
    assert twins.run().ran == ["a", "b", "c", "-c", "-b", "-a"]


def test_teardown_of_a_failed_task_and_a_failing_teardown(twins: Twins):
    twins.dodo("""
        def task_first():
            return {'actions': ['say first'], 'teardown': ['say teardown:first']}

        def task_broken():
            return {'actions': ['say broken'], 'teardown': ['say teardown:broken; exit 1', 'say never']}

        def task_fails():
            return {'actions': ['say fails; exit 1'], 'teardown': ['say teardown:fails']}
    """)
    pair = twins.run()
    assert pair.ran == ["first", "broken", "fails", "teardown:fails", "teardown:broken", "teardown:first"]
    assert pair.exit_code == 1
    assert twins.run("broken").exit_code == 0


def test_teardown_of_tasks_that_did_not_run(twins: Twins):
    twins.dodo("""
        from doit.tools import run_once

        def task_once():
            return {'actions': ['say once'], 'teardown': ['say teardown'], 'uptodate': [run_once]}
    """)
    assert twins.run().ran == ["once", "teardown"]
    assert twins.run().ran == []


@pytest.mark.parametrize("width", WIDTHS[:2])  # stock doit tears down once for each thread
def test_failing_setup(twins: Twins, width: list[str]):
    twins.dodo("""
        def task_prepare():
            return {'actions': ['say prepare; exit 1'], 'teardown': ['say teardown:prepare']}

        def task_use():
            return {'actions': ['say use'], 'setup': ['prepare']}
    """)
    pair = twins.run(*width, "use", order=False)
    assert pair.exit_code == 1
    assert sorted(pair.ran) == ["prepare", "teardown:prepare"]


def test_setup_shared_by_several(twins: Twins):
    twins.dodo("""
        def task_prepare():
            return {'actions': ['say prepare']}

        def task_use():
            for name in ('a', 'b'):
                yield {'name': name, 'actions': [f'say {name}'], 'setup': ['prepare']}
    """)
    pair = twins.run("use", order=False)
    assert pair.ran[0] == "prepare"
    assert sorted(pair.ran[1:]) == ["a", "b"]


def test_setup_with_dependencies_of_its_own(twins: Twins):
    twins.dodo("""
        def task_data():
            return {'actions': ['say data && cp in data'], 'file_dep': ['in'], 'targets': ['data']}

        def task_prepare():
            return {'actions': ['say prepare'], 'file_dep': ['data']}

        def task_use():
            return {'actions': ['say use'], 'file_dep': ['other'], 'setup': ['prepare']}
    """)
    twins.write("in", "1")
    twins.write("other", "1")
    assert twins.run("use").ran == ["data", "prepare", "use"]
    twins.write("other", "2")
    assert twins.run("use").ran == ["use"]
    twins.write("in", "2")
    assert twins.run("use").ran == []


FAILURES = """
    def task_a():
        return {'actions': ['say a; exit 1'], 'targets': ['made-by-a']}

    def task_needs_file():
        return {'actions': ['say needs_file'], 'file_dep': ['made-by-a']}

    def task_needs_task():
        return {'actions': ['say needs_task'], 'task_dep': ['a']}

    def task_needs_both():
        return {'actions': ['say needs_both'], 'task_dep': ['needs_task', 'b']}

    def task_b():
        return {'actions': ['say b']}

    def task_c():
        return {'actions': ['say c; exit 200']}

    def task_d():
        return {'actions': ['say d']}
"""


def test_first_failure_stops_the_run(twins: Twins):
    twins.dodo(FAILURES)
    pair = twins.run()
    assert pair.exit_code == 1
    assert pair.ran == ["a"]
    assert twins.run("b", "c", "d").ran == ["b", "c"]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("option", ["--continue", "-c"])
def test_continue_runs_what_does_not_depend_on_a_failure(twins: Twins, width: list[str], option: str):
    twins.dodo(FAILURES)
    pair = twins.run(*width, option, order=False)
    assert pair.exit_code == 2
    assert sorted(pair.ran) == ["a", "b", "c", "d"]


def test_exit_code_of_the_worst_failure(twins: Twins):
    twins.dodo(FAILURES)
    assert twins.run("-c", "a", "b", order=False).exit_code == 1
    assert twins.run("-c", "a", "needs_task", order=False).exit_code == 2
    assert twins.run("-c", "c", "a", order=False).exit_code == 2
    assert twins.run("b", "d").exit_code == 0


@pytest.mark.parametrize("option", ["-a", "--always-execute"])
@pytest.mark.parametrize("width", WIDTHS)
def test_always_execute(twins: Twins, option: str, width: list[str]):
    twins.write("in", "1")
    twins.dodo("""
        def task_one():
            return {'actions': ['say one && cp in mid'], 'file_dep': ['in'], 'targets': ['mid']}

        def task_two():
            return {'actions': ['say two && cp mid out'], 'file_dep': ['mid'], 'targets': ['out']}
    """)
    twins.run()
    assert twins.run(option, *width, order=True).ran == ["one", "two"]
    assert twins.run(option, *width, "one").ran == ["one"]
    assert twins.run(*width).ran == []


@pytest.mark.parametrize("option", ["-s", "--single"])
def test_single(twins: Twins, option: str):
    twins.dodo("""
        def task_before():
            return {'actions': ['say before']}

        def task_one():
            return {'actions': ['say one'], 'task_dep': ['before']}

        def task_group():
            yield {'name': 'x', 'actions': ['say x'], 'task_dep': ['before']}
            yield {'name': 'y', 'actions': ['say y']}
    """)
    assert twins.run(option, "one").ran == ["one"]
    assert twins.run(option, "group").ran == ["x", "y"]
    assert twins.run("one").ran == ["before", "one"]


DIAMOND = """
    def task_top():
        return {'actions': ['say top && cp in top'], 'file_dep': ['in'], 'targets': ['top']}

    def task_side():
        def make(name, targets):
            say(f'side:{name}')
            open(targets[0], 'w').write(name)
        for name in ('a', 'b', 'c', 'd'):
            yield {'name': name, 'actions': [f'cat top > {name}.tmp', (make, [name])], 'file_dep': ['top'],
                   'targets': [f'{name}.side', f'{name}.tmp']}

    def task_bottom():
        return {'actions': ['say bottom && cat a.side b.side c.side d.side > bottom'],
                'file_dep': [f'{name}.side' for name in 'abcd'], 'targets': ['bottom']}
"""


@pytest.mark.parametrize(
    "width",
    [["-n", "0"], ["-n", "1"], ["-n", "2"], ["-n4"], ["--process", "4"], ["-n", "4", "-P", "thread"]],
    ids=" ".join,
)
def test_widths_and_kinds_of_workers(twins: Twins, width: list[str]):
    twins.write("in", "1")
    twins.dodo(DIAMOND)
    pair = twins.run(*width)
    assert pair.exit_code == 0
    assert pair.ran[0] == "top"
    assert sorted(pair.ran[1:-1]) == ["side:a", "side:b", "side:c", "side:d"]
    assert pair.ran[-1] == "bottom"
    assert twins.run(*width).ran == []


def test_parallel_type_that_does_not_exist(twins: Twins):
    twins.dodo(DIAMOND)
    twins.write("in", "1")
    pair = twins.run("-n", "2", "-P", "nosuch")
    assert pair.exit_code == 3
    assert pair.ran == []


CONFIGURED = """
    def task_fails():
        return {'actions': ['say fails; echo to-stdout; exit 1']}

    def task_works():
        return {'actions': ['say works; echo to-stdout']}
"""


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("doit.cfg", "[GLOBAL]\ncontinue = True\nverbosity = 2\n"),
        ("doit.cfg", "[run]\ncontinue = True\nverbosity = 2\n"),
        ("pyproject.toml", "[tool.doit]\ncontinue = true\nverbosity = 2\n"),
        ("pyproject.toml", "[tool.doit.commands.run]\ncontinue = true\nverbosity = 2\n"),
        ("pyproject.toml", "[tool.doit.commands.run]\ncontinue = true\nverbosity = 2\nnum_process = 2\n"),
        ("doit.cfg", "[run]\ncontinue = True\nverbosity = 2\nnum_process = 2\npar_type = thread\n"),
    ],
)
def test_options_from_files(twins: Twins, name: str, text: str):
    twins.write(name, text)
    twins.dodo(CONFIGURED)
    pair = twins.run(order=False)
    assert pair.exit_code == 1
    assert sorted(pair.ran) == ["fails", "works"]
    assert pair.shows("to-stdout")
    assert twins.run("--no-continue", "-n", "0").ran == ["fails"]


@pytest.mark.parametrize(
    "config", ["{'continue': True, 'verbosity': 2}", "{'continue': True, 'num_process': 2}"]
)
def test_options_from_dodo(twins: Twins, config: str):
    twins.dodo(f"    DOIT_CONFIG = {config}\n" + CONFIGURED)
    pair = twins.run(order=False)
    assert sorted(pair.ran) == ["fails", "works"]
    assert twins.run("--no-continue", "-n", "0").ran == ["fails"]


@pytest.mark.parametrize(
    "config",
    ["'text'", "['list']", "{'minversion': '99.0.0'}", "{'action_string_formatting': 'nosuch'}"],
)
def test_configuration_that_is_wrong(twins: Twins, config: str):
    twins.dodo(f"    DOIT_CONFIG = {config}\n" + CONFIGURED)
    pair = twins.run()
    assert pair.exit_code == 3
    assert pair.ran == []


def test_minversion_that_is_met(twins: Twins):
    twins.dodo("    DOIT_CONFIG = {'minversion': '0.20.0'}\n" + CONFIGURED)
    assert twins.run("works").exit_code == 0


@pytest.mark.parametrize("backend", ["dbm", "json", "sqlite3"])
def test_backend_and_database_file_of_doit(twins: Twins, backend: str):
    """An option that has nothing left to choose must still be accepted."""
    twins.dodo(
        f"""
    DOIT_CONFIG = {{'backend': '{backend}', 'dep_file': '.doit.db.own'}}

    def task_copy():
        return {{'actions': ['say copy && cp in out'], 'file_dep': ['in'], 'targets': ['out']}}
    """
    )
    twins.write("in", "1")
    assert twins.run().ran == ["copy"]
    assert twins.run().ran == []
    assert twins.run("--backend", backend, "--db-file", ".doit.db.own").ran == []


EXIT_3 = {
    "no dodo.py": None,
    "syntax error": "def task_x(:\n",
    "exception": "1 / 0\n",
    "unknown module": "import nosuchmodule\n",
    "exception in a creator": "def task_x():\n    raise ValueError('no')\n",
    "creator returns a number": "def task_x():\n    return 5\n",
    "creator yields a number": "def task_x():\n    yield 5\n",
    "no actions": "def task_x():\n    return {'file_dep': []}\n",
    "unknown field": "def task_x():\n    return {'actions': [], 'nosuch': 1}\n",
    "file_dep is text": "def task_x():\n    return {'actions': [], 'file_dep': 'in'}\n",
    "file_dep holds a number": "def task_x():\n    return {'actions': [], 'file_dep': [5]}\n",
    "targets hold None": "def task_x():\n    return {'actions': [], 'targets': [None]}\n",
    "actions is text": "def task_x():\n    return {'actions': 'ls'}\n",
    "verbosity is 5": "def task_x():\n    return {'actions': [], 'verbosity': 5}\n",
    "uptodate holds a number": "def task_x():\n    return {'actions': [], 'uptodate': [5]}\n",
    "title is text": "def task_x():\n    return {'actions': [], 'title': 'text'}\n",
    "name in a returned task": "def task_x():\n    return {'actions': [], 'name': 'y'}\n",
    "subtask without a name": "def task_x():\n    yield {'actions': []}\n",
    "two subtasks of one name": (
        "def task_x():\n    yield {'name': 'n', 'actions': []}\n    yield {'name': 'n', 'actions': []}\n"
    ),
    "equals sign in a name": "def task_x():\n    yield {'name': 'a=b', 'actions': []}\n",
    "task named like a command": "def task_run():\n    return {'actions': []}\n",
    "unknown task_dep": "def task_x():\n    return {'actions': [], 'task_dep': ['nosuch']}\n",
    "unknown setup": "def task_x():\n    return {'actions': [], 'setup': ['nosuch']}\n",
    "one target of two tasks": (
        "def task_x():\n    return {'actions': ['say x'], 'targets': ['t']}\n"
        "def task_y():\n    return {'actions': ['say y'], 'targets': ['t']}\n"
    ),
    "unknown default task": "DOIT_CONFIG = {'default_tasks': ['nosuch']}\ndef task_x():\n    return None\n",
    "params is text": "def task_x():\n    return {'actions': [], 'params': 'x'}\n",
}


@pytest.mark.parametrize("case", EXIT_3)
def test_exit_code_3_before_anything_runs(twins: Twins, case: str):
    text = EXIT_3[case]
    if text is not None:
        twins.write("dodo.py", text)
    pair = twins.run(reporter=False)
    assert pair.exit_code == 3
    assert pair.ran == []


@pytest.mark.parametrize("width", WIDTHS)
def test_missing_input_is_an_error_of_its_task(twins: Twins, width: list[str]):
    twins.dodo("""
        def task_use():
            return {'actions': ['say use'], 'file_dep': ['nosuch']}

        def task_other():
            return {'actions': ['say other']}
    """)
    pair = twins.run(*width, "use")
    assert pair.exit_code == 2
    assert pair.ran == []
    assert pair.complains("nosuch")
    pair = twins.run(*width, "-c", order=False)
    assert pair.exit_code == 2
    assert pair.ran == ["other"]


def test_no_output_is_made_where_it_was_declared(twins: Twins):
    """doit does not ask whether a declared output was really made."""
    twins.dodo("""
        def task_lazy():
            return {'actions': ['say lazy'], 'file_dep': ['in'], 'targets': ['never']}
    """)
    twins.write("in", "1")
    assert twins.run().exit_code == 0
    assert twins.run().ran == ["lazy"]


@pytest.mark.parametrize("width", ["0", "2"])
def test_teardown_finds_what_its_task_has_left_in_memory(twins: Twins, width: str):
    twins.dodo("""
        import os
        left = {}

        def serve(name):
            left[name] = os.getpid()

        def stop(name):
            say(f'stop {name} {left.get(name) == os.getpid()}')

        def task_serve():
            for name in ('a', 'b', 'c'):
                yield {'name': name, 'actions': [(serve, [name])], 'teardown': [(stop, [name])]}
    """)
    pair = twins.run("-n", width, order=False)
    assert sorted(pair.ran) == ["stop a True", "stop b True", "stop c True"]
