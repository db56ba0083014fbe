"""What is printed, and where: verbosity, capture, titles, reporters, the output file."""

from __future__ import annotations

import json

import pytest

from .harness import RunResult, Twins

TALK = """
    import sys

    def talk():
        print('py-stdout')
        print('py-stderr', file=sys.stderr)

    def task_talk():
        return {'actions': ['echo sh-stdout; echo sh-stderr >&2', talk]%s}
"""


def heard(result: RunResult) -> dict[str, str]:
    """Return where each of the four texts came out."""
    found = {}
    for text in ("sh-stdout", "sh-stderr", "py-stdout", "py-stderr"):
        places = [name for name in ("stdout", "stderr") if text in getattr(result, name)]
        found[text] = "+".join(places) or "nowhere"
    return found


NOTHING = {"sh-stdout": "nowhere", "sh-stderr": "nowhere", "py-stdout": "nowhere", "py-stderr": "nowhere"}
ERRORS = NOTHING | {"sh-stderr": "stderr", "py-stderr": "stderr"}
ALL = {"sh-stdout": "stdout", "sh-stderr": "stderr", "py-stdout": "stdout", "py-stderr": "stderr"}
HEARD = {0: NOTHING, 1: ERRORS, 2: ALL}


@pytest.mark.parametrize("width", [["-n", "0"], ["-n", "2"]], ids=" ".join)
@pytest.mark.parametrize("level", HEARD)
def test_verbosity_of_a_task(twins: Twins, level: int, width: list[str]):
    twins.dodo(TALK % f", 'verbosity': {level}")
    assert twins.run(*width).same(heard) == HEARD[level]


@pytest.mark.parametrize("level", HEARD)
def test_verbosity_of_the_command_line_and_the_configuration(twins: Twins, level: int):
    twins.dodo(TALK % "")
    assert twins.run().same(heard) == ERRORS
    assert twins.run("-v", str(level)).same(heard) == HEARD[level]
    twins.dodo(f"    DOIT_CONFIG = {{'verbosity': {level}}}\n" + TALK % "")
    assert twins.run().same(heard) == HEARD[level]


def test_verbosity_command_line_before_task_before_configuration(twins: Twins):
    twins.dodo("    DOIT_CONFIG = {'verbosity': 0}\n" + TALK % ", 'verbosity': 2")
    assert twins.run().same(heard) == ALL
    assert twins.run("-v", "1").same(heard) == ERRORS
    assert twins.run("--verbosity=0").same(heard) == NOTHING


@pytest.mark.parametrize("width", [["-n", "0"], ["-n", "2"], ["-n", "2", "-P", "thread"]], ids=" ".join)
@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_failure_shows_its_output(twins: Twins, level: int, width: list[str]):
    twins.dodo("""
        def task_fails():
            return {'actions': ['echo sh-stdout; echo sh-stderr >&2; exit 1']}
    """)
    pair = twins.run("-v", str(level), *width)
    assert pair.exit_code == 1
    assert pair.complains("sh-stdout")
    assert pair.complains("sh-stderr")


def test_a_failing_function_shows_its_traceback(twins: Twins):
    twins.dodo("""
        def broken():
            print('before the end')
            raise ValueError('the reason why')

        def task_fails():
            return {'actions': [broken]}
    """)
    for width in ("0", "2"):
        pair = twins.run("-n", width)
        assert pair.exit_code == 2
        assert pair.complains("ValueError: the reason why")
        assert pair.complains("in broken")
        assert pair.complains("before the end")


@pytest.mark.parametrize("level", ["0", "1", "2"])
def test_failure_verbosity(twins: Twins, level: str):
    twins.dodo("""
        def task_fails():
            return {'actions': ['echo sh-stdout; echo sh-stderr >&2; exit 1'], 'verbosity': 2}
    """)
    pair = twins.run("--failure-verbosity", level)
    assert pair.exit_code == 1
    assert pair.complains("sh-stdout")


def test_output_that_is_not_captured(twins: Twins):
    twins.dodo(TALK % ", 'io': {'capture': False}, 'verbosity': 2")
    assert twins.run().same(heard) == ALL


def test_order_of_lines_within_a_task(twins: Twins):
    twins.dodo("""
        def task_count():
            return {'actions': ['for n in 1 2 3; do echo line $n; done', 'echo line 4',
                                lambda: print('line 5')], 'verbosity': 2}
    """)
    pair = twins.run()
    lines = ["line 1", "line 2", "line 3", "line 4", "line 5"]
    assert pair.same(lambda result: [line for line in result.stdout.splitlines() if "line" in line]) == lines


def test_titles(twins: Twins):
    twins.dodo("""
        from doit.tools import title_with_actions

        def task_own():
            return {'actions': ['say own'], 'title': lambda task: f'the title of {task.name}',
                    'uptodate': [True], 'targets': ['nosuch']}

        def task_tool():
            return {'actions': ['say tool'], 'title': title_with_actions}

        def task_group():
            return {'actions': None, 'task_dep': ['tool'], 'title': title_with_actions}
    """)
    pair = twins.run()
    assert pair.same(lambda result: result.executed) == ["the title of own", "tool => Cmd: say tool"]


STATES = """
    def task_fresh():
        return {'actions': ['say fresh && cp in out'], 'file_dep': ['in'], 'targets': ['out']}

    def task_runs():
        return {'actions': ['say runs; echo text of runs']}

    def task_group():
        return {'actions': None, 'task_dep': ['runs']}

    def task_ignored():
        return {'actions': ['say ignored']}

    def task_fails():
        return {'actions': ['say fails; echo text of fails; exit 1']}

    def task_waits():
        return {'actions': ['say waits'], 'task_dep': ['fails']}
"""


@pytest.fixture
def states(twins: Twins) -> Twins:
    """A project with a task in each state: up to date, to run, ignored, failing, behind a failure."""
    twins.write("in", "1")
    twins.dodo(STATES)
    twins.run("fresh")
    twins.run("ignore", "ignored")
    return twins


def marked(result: RunResult) -> dict[str, list[str]]:
    """Return the lines that name tasks, by their mark."""
    return {"executed": result.executed, "skipped": result.skipped, "ignored": result.ignored}


def test_console_reporter(states: Twins):
    pair = states.run("-c")
    assert pair.same(marked) == {
        "executed": ["runs", "fails"],
        "skipped": ["fresh"],
        "ignored": ["ignored"],
    }
    assert states.run("-c", "-r", "console").same(marked)["skipped"] == ["fresh"]


def test_executed_only_reporter(states: Twins):
    pair = states.run("-c", "-r", "executed-only")
    assert pair.same(marked) == {"executed": ["runs", "fails"], "skipped": [], "ignored": []}


def test_zero_reporter(states: Twins):
    pair = states.run("-c", "-r", "zero", "-v", "0")
    assert pair.exit_code == 2
    assert pair.same(lambda result: result.stdout) == ""


def test_error_only_reporter(states: Twins):
    pair = states.run("-c", "-r", "error-only", "-v", "0")
    assert pair.same(lambda result: "taskid:fails" in result.output)
    assert not pair.same(lambda result: "runs" in result.output)
    assert states.run("-r", "error-only", "runs", "fresh").same(lambda result: result.stdout) == ""


def results(result: RunResult) -> dict[str, tuple[str, str | None]]:
    """Return what the JSON reporter says about each task: its result, and its output."""
    tasks = json.loads(result.stdout)["tasks"]
    return {task["name"]: (task["result"], task["out"]) for task in tasks}


@pytest.mark.parametrize("width", ["0", "2"])
def test_json_reporter(states: Twins, width: str):
    pair = states.run("-n", width, "-c", "-r", "json", order=False)
    told = pair.same(lambda result: {name: said[0] for name, said in results(result).items() if said[0]})
    assert told["runs"] == "success"
    assert told["fails"] == "fail"
    assert told["fresh"] == "up-to-date"
    assert told["ignored"] == "ignore"
    assert pair.same(lambda result: results(result)["runs"][1]) == "text of runs\n"
    assert pair.same(lambda result: results(result)["fails"][1]) == "text of fails\n"
    assert pair.same(lambda result: sorted(json.loads(result.stdout))) == ["err", "out", "tasks"]


def test_reporter_that_does_not_exist(states: Twins):
    pair = states.run("-r", "nosuch")
    assert pair.exit_code == 3
    assert pair.ran == []


OWN_REPORTER = """
class Own:
    desc = 'writes each call'

    def __init__(self, outstream, options):
        self.outstream = outstream
        self.note('options', type('T', (), {'name': sorted(options)}))

    def note(self, event, task):
        self.outstream.write(f'own {event} {task.name}\\n')

    def initialize(self, tasks, selected_tasks):
        self.outstream.write(f'own initialize {sorted(tasks)} {sorted(selected_tasks)}\\n')

    def get_status(self, task):
        self.note('get_status', task)

    def execute_task(self, task):
        self.note('execute_task', task)

    def add_failure(self, task, fail):
        self.note('add_failure ' + fail.get_name(), task)

    def add_success(self, task):
        self.note('add_success', task)

    def skip_uptodate(self, task):
        self.note('skip_uptodate', task)

    def skip_ignore(self, task):
        self.note('skip_ignore', task)

    def cleanup_error(self, exception):
        self.outstream.write('own cleanup_error ' + exception.get_name() + '\\n')

    def runtime_error(self, message):
        self.outstream.write('own runtime_error\\n')

    def teardown_task(self, task):
        self.note('teardown_task', task)

    def complete_run(self):
        self.outstream.write('own complete_run\\n')
"""


@pytest.mark.parametrize("width", ["0", "2"])
@pytest.mark.parametrize("how", ["class in DOIT_CONFIG", "plug-in in doit.cfg"])
def test_own_reporter(states: Twins, how: str, width: str):
    states.write("own_reporter.py", OWN_REPORTER)
    # A teardown that fails in a worker process may kill stock doit.
    teardown = f"""
    def task_cleans():
        return {{'actions': ['say cleans'], 'teardown': ['exit {1 if width == "0" else 0}']}}
    """
    config = "    import own_reporter\n    DOIT_CONFIG = {'reporter': own_reporter.Own}\n"
    if how == "plug-in in doit.cfg":
        config = ""
        states.write("doit.cfg", "[GLOBAL]\nreporter = own\n\n[REPORTER]\nown = own_reporter:Own\n")
    states.dodo(config + STATES + teardown)
    pair = states.run("-n", width, "-c", order=False, env={"PYTHONPATH": "."})
    calls = pair.same(lambda result: sorted(result.lines("own ")))
    assert "add_failure TaskFailed fails" in calls
    assert "add_failure UnmetDependency waits" in calls
    assert "skip_uptodate fresh" in calls
    assert "skip_ignore ignored" in calls
    assert "add_success runs" in calls
    assert "teardown_task cleans" in calls
    assert width == "2" or "cleanup_error SetupError" in calls
    assert "complete_run" in calls


def test_reporter_that_extends_the_console(states: Twins):
    states.dodo(
        """
    from doit.reporter import ConsoleReporter

    class Loud(ConsoleReporter):
        def execute_task(self, task):
            self.outstream.write('LOUD ' + task.title() + '\\n')

        def complete_run(self):
            super().complete_run()
            self.write('LOUD end\\n')

    DOIT_CONFIG = {'reporter': Loud}
    """
        + STATES
    )
    pair = states.run("-c")
    assert pair.same(lambda result: result.lines("LOUD ")) == ["runs", "group", "fails", "end"]
    assert pair.same(lambda result: result.skipped) == ["fresh"]


def test_output_file(states: Twins):
    pair = states.run("-c", "-o", "../report.txt", reporter=False)
    assert pair.same(marked) == {"executed": [], "skipped": [], "ignored": []}

    def told(text: str) -> list[str]:
        return [line for line in text.splitlines() if line.startswith((".  ", "-- ", "!! "))]

    lines = told((states.buildkit.base / "report.txt").read_text())
    assert lines == [".  runs", "-- fresh", "!! ignored", ".  fails"] or sorted(lines) == sorted(
        told((states.stock.base / "report.txt").read_text())
    )


def test_output_file_of_the_json_reporter(states: Twins):
    states.run("-c", "-r", "json", "--output-file", "../report.json", reporter=False)
    for project in states.both:
        report = json.loads((project.base / "report.json").read_text())
        assert {task["name"] for task in report["tasks"]} >= {"fresh", "runs", "fails"}


def test_unicode_output(twins: Twins):
    twins.dodo("""
        def task_say():
            return {'actions': ['echo "größe 日本"', lambda: print('naïve ☃')], 'verbosity': 2}
    """)
    for width in ("0", "2"):
        pair = twins.run("-n", width)
        assert pair.shows("größe 日本")
        assert pair.shows("naïve ☃")
