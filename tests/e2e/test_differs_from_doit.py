"""The differences that buildkit means: each row of docs/reference/differences.md that a run can show."""

from __future__ import annotations

import os
import re

import pytest

from .harness import Project, Twins

COPY = """
    def task_copy():
        return {'actions': ['say copy && cp in out'], 'file_dep': ['in'], 'targets': ['out']}
"""


@pytest.fixture
def copying(project: Project) -> Project:
    project.write("in", "text")
    project.dodo(COPY)
    assert project.run(check=0).ran == ("copy",)
    assert project.run(check=0).ran == ()
    return project


# --- what the task does has changed ---


def test_changed_command_runs_again(copying: Project):
    copying.dodo(COPY.replace("cp in out", "cat in in > out"))
    assert copying.run(check=0).ran == ("copy",)
    assert copying.read("out") == "texttext"
    assert copying.run(check=0).ran == ()


def test_changed_list_of_actions_runs_again(copying: Project):
    copying.dodo(COPY.replace("'say copy && cp in out'", "'say copy && cp in out', ['say', 'more']"))
    assert copying.run(check=0).ran == ("copy", "more")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("'file_dep'", "'doc': 'a description', 'file_dep'"),
        ("'file_dep'", "'verbosity': 2, 'file_dep'"),
        ("'file_dep'", "'title': lambda task: 'a title', 'file_dep'"),
        ("'file_dep'", "'clean': True, 'file_dep'"),
        ("def task_copy", "# a comment\n\n    def task_copy"),
    ],
    ids=["doc", "verbosity", "title", "clean", "comment"],
)
def test_what_does_not_touch_the_result_does_not_run_again(copying: Project, old: str, new: str):
    copying.dodo(COPY.replace(old, new))
    assert copying.run(check=0).ran == ()


def test_added_output_runs_again(copying: Project):
    copying.dodo(
        COPY.replace("'targets': ['out']", "'targets': ['out', 'log']").replace("in out", "in out; : > log")
    )
    assert copying.run(check=0).ran == ("copy",)


PYTHON = """
    from helpers import decorate
    import settings

    UNUSED = 1
    SUFFIX = '!'

    def shorten(text):
        return text[:3]

    def make(targets, times):
        say('make')
        text = shorten(open('in').read()) * times
        open(targets[0], 'w').write(decorate(text) + SUFFIX + settings.END)

    def task_make():
        return {'actions': [(make, [], {'times': 2})], 'file_dep': ['in'], 'targets': ['out']}
"""
HELPERS = "def decorate(text):\n    return '<' + text + '>'\n\n\ndef unused():\n    return 1\n"
SETTINGS = "END = '.'\nOTHER = 1\n"


@pytest.fixture
def python_project(project: Project) -> Project:
    project.write("in", "abcdef")
    project.write("helpers.py", HELPERS)
    project.write("settings.py", SETTINGS)
    project.dodo(PYTHON)
    assert project.run(check=0).ran == ("make",)
    assert project.read("out") == "<abcabc>!."
    assert project.run(check=0).ran == ()
    return project


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        pytest.param(
            "dodo.py", "decorate(text) +", "decorate(text) * 2 +", "<abcabc><abcabc>!.", id="function"
        ),
        pytest.param("dodo.py", "text[:3]", "text[:2]", "<abab>!.", id="function that it calls"),
        pytest.param("dodo.py", "SUFFIX = '!'", "SUFFIX = '?'", "<abcabc>?.", id="constant"),
        pytest.param("dodo.py", "'times': 2", "'times': 1", "<abc>!.", id="argument"),
        pytest.param("helpers.py", "'<'", "'['", "[abcabc>!.", id="function of another module"),
        pytest.param("settings.py", "END = '.'", "END = ';'", "<abcabc>!;", id="constant of another module"),
    ],
)
def test_changed_python_code_runs_again(
    python_project: Project, file: str, old: str, new: str, expected: str
):
    text = python_project.read(file)
    assert old in text
    python_project.write(file, text.replace(old, new))
    assert python_project.run(check=0).ran == ("make",)
    assert python_project.read("out") == expected
    assert python_project.run(check=0).ran == ()


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        pytest.param("dodo.py", "UNUSED = 1", "UNUSED = 2", id="constant that nothing reads"),
        pytest.param("helpers.py", "return 1", "return 2", id="function that nothing calls"),
        pytest.param(
            "helpers.py", "def decorate", "# a comment\n\n\ndef decorate", id="comment and line numbers"
        ),
        pytest.param("settings.py", "OTHER = 1", "OTHER = 2", id="constant of another module"),
    ],
)
def test_python_code_that_is_not_reached_does_not_run_again(
    python_project: Project, file: str, old: str, new: str
):
    python_project.write(file, python_project.read(file).replace(old, new))
    assert python_project.run(check=0).ran == ()


def test_changed_tool_runs_again(project: Project):
    """A program that the command names: on PATH, and in the project."""
    tool = project.base / "bin" / "mytool"
    tool.write_text("#!/bin/sh\necho one > $1\n")
    tool.chmod(0o755)
    project.write("tool.sh", "#!/bin/sh\necho one > $1\n", mode=0o755)
    project.dodo("""
        def task_path():
            return {'actions': ['say path', 'mytool a'], 'file_dep': ['in'], 'targets': ['a']}

        def task_local():
            return {'actions': ['say local', './tool.sh b'], 'file_dep': ['in'], 'targets': ['b']}
    """)
    project.write("in", "1")
    assert project.run(check=0).ran == ("path", "local")
    assert project.run(check=0).ran == ()
    tool.write_text("#!/bin/sh\necho two > $1\n")
    assert project.run(check=0).ran == ("path",)
    project.write("tool.sh", "#!/bin/sh\necho two > $1\n", mode=0o755)
    assert project.run(check=0).ran == ("local",)
    assert project.read("a") == project.read("b") == "two\n"


def test_changed_variable_that_the_command_names_runs_again(project: Project):
    project.dodo("""
        def task_use():
            return {'actions': ['say use; echo $FLAGS > out'], 'file_dep': ['in'], 'targets': ['out']}
    """)
    project.write("in", "1")
    assert project.run(env={"FLAGS": "a"}).ran == ("use",)
    assert project.run(env={"FLAGS": "a", "OTHER": "x"}).ran == ()
    assert project.run(env={"FLAGS": "b"}).ran == ("use",)
    assert project.read("out") == "b\n"


# --- files ---


@pytest.mark.parametrize("content", ["other", "TEXT", ""], ids=["longer", "same size", "empty"])
def test_output_altered_by_hand_comes_back(copying: Project, content: str):
    copying.write("out", content)
    result = copying.run(check=0)
    assert result.ran == ()
    assert result.restored == ["copy"]
    assert copying.read("out") == "text"


def test_output_altered_by_hand_is_made_again_when_there_is_no_cache(copying: Project):
    copying.write("pyproject.toml", "[tool.buildkit]\ncache = false\n")
    copying.write("out", "other")
    assert copying.run(check=0).ran == ("copy",)
    assert copying.read("out") == "text"


def test_edit_with_the_same_size_under_the_same_time_runs_again(copying: Project):
    before = os.stat(copying.path("in"))
    copying.write("in", "TEXT")
    os.utime(copying.path("in"), ns=(before.st_atime_ns, before.st_mtime_ns))
    assert copying.run(check=0).ran == ("copy",)
    assert copying.read("out") == "TEXT"


def test_file_moved_over_the_input_with_its_old_time_runs_again(copying: Project):
    before = os.stat(copying.path("in"))
    copying.write("new", "TEXT")
    os.utime(copying.path("new"), ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(copying.path("new"), copying.path("in"))
    assert copying.run(check=0).ran == ("copy",)


def test_touched_file_is_no_change_for_the_timestamp_checker_either(twins: Twins):
    twins.write("in", "text")
    twins.dodo("    DOIT_CONFIG = {'check_file_uptodate': 'timestamp'}\n" + COPY)
    twins.run()
    twins.change(lambda project: os.utime(project.path("in"), (5000, 5000)))
    assert twins.stock.run(check=0).ran == ("copy",)
    if "BUILDKIT_E2E_BOTH_STOCK" not in os.environ:
        assert twins.buildkit.run(check=0).ran == ()


@pytest.mark.parametrize("width", ["0", "2"])
def test_removed_input_is_one_clear_error(copying: Project, width: str):
    copying.remove("in")
    copying.write("inn", "similar")
    result = copying.run("-n", width, check=2)
    assert result.ran == ()
    assert "Traceback" not in result.output
    assert "copy" in result.output
    assert "'in'" in result.output
    assert re.search(r"dodo\.py:1\b", result.output), result
    copying.write("in", "text")
    assert copying.run("-n", width, check=0).ran == ()


@pytest.mark.parametrize("width", ["0", "2"])
def test_input_that_changes_while_its_task_runs_is_not_recorded(project: Project, width: str):
    project.write("in", "1")
    project.dodo("""
        def task_edits():
            return {'actions': ['say edits && cp in out && echo more >> in'], 'file_dep': ['in'],
                    'targets': ['out']}
    """)
    result = project.run("-n", width, check=0)
    assert "'in'" in result.output or " in " in result.output, result
    assert project.read("out") == "1"
    assert project.run("-n", width, check=0).ran == ("edits",)
    project.remove("out")
    assert project.run("-n", width, check=0).ran == ("edits",)


# --- order and failures ---


@pytest.mark.parametrize("width", ["0", "2"])
def test_source_of_getargs_is_judged_before_its_user(project: Project, width: str):
    project.write("in", "1")
    project.dodo("""
        def task_source():
            return {'actions': [lambda: {'x': open('in').read()}], 'file_dep': ['in']}

        def task_use():
            return {'actions': ['say use %(x)s'], 'getargs': {'x': ('source', 'x')}}
    """)
    assert project.run("-n", width, "use", check=0).ran == ("use 1",)
    assert project.run("-n", width, "use", check=0).ran == ()
    project.write("in", "2")
    assert project.run("-n", width, "use", check=0).ran == ("use 2",)


def test_value_that_changed_under_an_equal_result(project: Project):
    """Stock doit compares the result of the last action; what the user gets is the value."""
    project.write("in", "1")
    project.dodo("""
        def task_source():
            return {'actions': [lambda: {'x': open('in').read()}, 'echo the same'], 'file_dep': ['in']}

        def task_use():
            return {'actions': ['say use %(x)s'], 'getargs': {'x': ('source', 'x')}}
    """)
    assert project.run(check=0).ran == ("use 1",)
    project.write("in", "2")
    assert project.run(check=0).ran == ("use 2",)


@pytest.mark.parametrize("width", ["0", "2"])
def test_program_that_does_not_exist_fails_its_task(project: Project, width: str):
    """Stock doit dies of it, with a traceback and without asking the other tasks."""
    project.dodo("""
        def task_missing():
            return {'actions': [['nosuchprogram', 'argument']]}

        def task_other():
            return {'actions': ['say other']}
    """)
    result = project.run("-n", width, "--continue", check=2)
    assert result.ran == ("other",)
    assert "nosuchprogram" in result.output
    assert "Traceback" not in result.output


def test_uptodate_callable_that_raises_is_one_clear_error(project: Project):
    """Stock doit dies of it with a traceback; the exit code for a wrong dodo.py is the same."""
    project.dodo("""
        def broken():
            raise ValueError('this check is broken')

        def task_broken():
            return {'actions': ['say broken'], 'uptodate': [broken]}

        def task_other():
            return {'actions': ['say other']}
    """)
    result = project.run("--continue", check=3)
    assert "Traceback" not in result.output
    assert "'broken'" in result.output
    assert "this check is broken" in result.output
    assert "dodo.py" in result.output


def test_delayed_task_behind_a_failure_is_not_created(project: Project):
    """Stock doit calls the creator although what it waits for failed, and dies of what is not there."""
    project.dodo("""
        from doit import create_after

        def task_first():
            return {'actions': ['say first; exit 1'], 'targets': ['list']}

        @create_after(executed='first')
        def task_later():
            for name in open('list'):
                yield {'name': name, 'actions': ['say later']}
    """)
    result = project.run("--continue", check=2)
    assert result.ran == ("first",)
    assert "Traceback" not in result.output


def test_action_of_a_task_that_was_not_asked_for_is_checked_too(project: Project):
    """Stock doit finds it when that task's turn has come."""
    project.dodo("""
        def task_wrong():
            return {'actions': [5]}

        def task_right():
            return {'actions': ['say right']}
    """)
    assert project.run("right").exit_code == 3


def test_teardown_happens_once_with_threads(project: Project):
    project.dodo("""
        def task_server():
            return {'actions': ['say start'], 'teardown': ['say stop']}

        def task_use():
            for name in ('a', 'b', 'c'):
                yield {'name': name, 'actions': ['say use'], 'setup': ['server']}
    """)
    assert project.run("-n", "2", "-P", "thread", "use", check=0).ran == (
        "start",
        "use",
        "use",
        "use",
        "stop",
    )


def test_failure_shows_command_code_and_log(project: Project):
    project.dodo("""
        def task_fails():
            return {'actions': ['say first', 'for n in $(seq 100); do echo line $n; done; exit 7']}
    """)
    result = project.run(check=1)
    assert "fails" in result.output
    assert "seq 100" in result.output
    assert re.search(r"\b7\b", result.output)
    assert "line 100" in result.output


def test_failure_by_a_signal_names_the_signal(project: Project):
    project.dodo("""
        def task_fails():
            return {'actions': ['kill -SEGV $$']}
    """)
    assert "SIGSEGV" in project.run(check=1).output


# --- two at a time ---


TALKING = """
    def task_talk():
        yield {'name': 'a', 'verbosity': %(level)d,
               'actions': ['echo a1; echo go > to-b; cat to-a > got-a; echo a2']}
        yield {'name': 'b', 'verbosity': %(level)d,
               'actions': ['cat to-b > got-b; echo b1; echo go > to-a; echo b2']}
"""


def test_output_of_parallel_tasks_is_grouped(project: Project):
    """Each task waits for the other in the middle of its output; still their lines stay together."""
    project.dodo(TALKING.replace("echo a", "echo >&2 a").replace("echo b", "echo >&2 b") % {"level": 1})
    for pipe in ("to-a", "to-b"):
        os.mkfifo(project.path(pipe))
    lines = [
        line
        for line in project.run("-n", "2", check=0).output.splitlines()
        if line in ("a1", "a2", "b1", "b2")
    ]
    assert lines in (["a1", "a2", "b1", "b2"], ["b1", "b2", "a1", "a2"])


def test_output_of_parallel_tasks_is_live_with_verbosity_2(project: Project):
    project.dodo(TALKING % {"level": 2})
    for pipe in ("to-a", "to-b"):
        os.mkfifo(project.path(pipe))
    lines = [
        line
        for line in project.run("-n", "2", check=0).stdout.splitlines()
        if line in ("a1", "a2", "b1", "b2")
    ]
    assert sorted(lines) == ["a1", "a2", "b1", "b2"]
    assert lines.index("a1") < lines.index("b1")


def test_second_run_in_one_project_waits_or_fails_at_once(project: Project):
    project.write("in", "1")
    for pipe in ("started", "go-on"):
        os.mkfifo(project.path(pipe))
    project.dodo("""
        def task_slow():
            return {'actions': ['say slow; echo yes > started; cat go-on > out'], 'file_dep': ['in'],
                    'targets': ['out']}
    """)
    first = project.start()
    try:
        assert project.read("started") == "yes\n"  # opening the pipe waits for the task
        refused = project.run("--no-wait")
        assert refused.exit_code == 3
        assert str(first.pid) in refused.stderr
        second = project.start()
        assert second.stdout is not None
        told = second.stdout.readline().decode()  # the first thing that it says is whom it waits for
        assert str(first.pid) in told
        project.path("go-on").write_text("done")
        assert first.wait() == 0
        assert second.wait() == 0
        second.stdout.close()
    finally:
        first.kill()
        first.communicate()
    assert project.read("out") == "done"
    assert project.journal.read_text().split() == ["slow"]


def test_many_commands_side_by_side_give_what_they_give_one_by_one(project: Project):
    """Beyond the first few, commands are started by a thread."""
    project.write("in", "1")
    project.dodo("""
        def task_many():
            for n in range(60):
                yield {'name': f'{n:02}', 'file_dep': ['in'], 'targets': [f'out/{n}'],
                       'actions': ['mkdir -p out', f'echo line {n}; echo {n} > out/{n}'], 'verbosity': 2}

        def task_missing():
            return {'actions': ['nosuchprogram'], 'task_dep': ['many']}

        def task_values():
            yield {'name': 'make', 'actions': [lambda: {'x': 1}], 'task_dep': ['many']}
            yield {'name': 'use', 'actions': ['say got %(x)s'], 'getargs': {'x': ('values:make', 'x')}}
    """)
    result = project.run("-n", "3", "--continue", check=2)
    lines = [line for line in result.stdout.splitlines() if line.startswith("line ")]
    assert sorted(lines) == sorted(f"line {n}" for n in range(60))
    assert all(project.read(f"out/{n}") == f"{n}\n" for n in range(60))
    assert "nosuchprogram: not found" in result.output
    assert result.ran == ("got 1",)
    project.remove("out")
    again = project.run("-n", "3", "many", check=0)
    assert len(again.restored) == 60
