from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from observe_rig import S, Script, context, task

from buildkit.core.plan import Task
from buildkit.engine.loop import EventLoop
from buildkit.frontend.ci import ci_service
from buildkit.frontend.folding import Fold, Folding, GitHubFolding, GitLabFolding
from buildkit.frontend.github import annotation_lines, summary, write_for_github
from buildkit.frontend.heartbeat import Heartbeat
from buildkit.frontend.observing import ConsoleMode, console_mode
from buildkit.observe.diagnostics import find_diagnostics
from buildkit.observe.executions import Executions, FinishedRun
from buildkit.observe.forecast import Forecast
from buildkit.observe.progress import Progress

ROOT = "/home/me/project"


def found(text: str, *files: str) -> list[tuple[str, int, int | None, str, str]]:
    """Return what is recognised where exactly these files exist."""
    paths = {f"{ROOT}/{name}" for name in files}
    return [
        (each.path, each.line, each.column, str(each.severity), each.message)
        for each in find_diagnostics(text, ROOT, is_file=lambda path: path in paths)
    ]


# --- places in the output of tools

RUSTC = """\
error[E0425]: cannot find value `x` in this scope
 --> src/main.rs:2:5
  |
2 |     x
"""
TRACEBACK = """\
Traceback (most recent call last):
  File "/home/me/project/src/app.py", line 10, in main
    run()
  File "src/app.py", line 3, in run
    raise ValueError("no")
ValueError: no
"""


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("src/a.c:3:5: error: expected ';'", ("src/a.c", 3, 5, "error", "expected ';'")),
        ("src/a.c:3:5: warning: unused", ("src/a.c", 3, 5, "warning", "unused")),
        ("src/a.c:3:5: fatal error: x.h: No such file", ("src/a.c", 3, 5, "error", "x.h: No such file")),
        ("src/a.c:3: note: declared here", ("src/a.c", 3, None, "note", "declared here")),
        ("./src/a.c:3:5: undefined: y", ("src/a.c", 3, 5, "error", "undefined: y")),
        (f"{ROOT}/src/a.c:7:1: E501 too long", ("src/a.c", 7, 1, "error", "E501 too long")),
        ("src/a.c:12: AssertionError", ("src/a.c", 12, None, "error", "AssertionError")),
        ("src/a.c(3,5): error TS2304: no name", ("src/a.c", 3, 5, "error", "TS2304: no name")),
        ("src/a.c:3:5 - error TS2304: no name", ("src/a.c", 3, 5, "error", "TS2304: no name")),
        (
            "src/a.c: line 4: frob: command not found",
            ("src/a.c", 4, None, "error", "frob: command not found"),
        ),
        ("  src/a.c:3:5: indented", ("src/a.c", 3, 5, "error", "indented")),
    ],
)
def test_formats_of_tools(text: str, place: tuple[object, ...]) -> None:
    assert found(text, "src/a.c") == [place]


def test_the_message_above_an_arrow() -> None:
    assert found(RUSTC, "src/main.rs") == [
        ("src/main.rs", 2, 5, "error", "cannot find value `x` in this scope")
    ]


def test_a_traceback_is_placed_at_its_last_frame_with_the_exception() -> None:
    assert found(TRACEBACK, "src/app.py") == [("src/app.py", 3, None, "error", "ValueError: no")]


@pytest.mark.parametrize(
    "text",
    [
        "12:30:45 starting",
        "http://localhost:8080: refused",
        "/etc/passwd:1: outside of the project",
        "../other/src/a.c:3:5: error: outside of the project",
        "src/gone.c:3:5: error: no such file",
        "x" * 100_000 + "src/a.c:3:5: error: far to the right",
    ],
)
def test_what_only_looks_like_a_place(text: str) -> None:
    assert found(text, "src/a.c") == []


def test_a_place_is_told_once() -> None:
    assert len(found("src/a.c:3:5: error: no\n" * 3 + "src/a.c:4:5: error: no\n", "src/a.c")) == 2


def test_hostile_output_is_searched_in_no_time() -> None:
    assert found(":".join("a" * 40 for _ in range(20)) * 1000, "src/a.c") == []
    assert found("\n".join(["a" * 999] * 2000), "src/a.c") == []


# --- folds


def folded(folding: Folding, *pieces: tuple[int, bytes]) -> list[tuple[int, bytes]]:
    out: list[tuple[int, bytes]] = []
    fold = Fold(folding, "test:unit", "test:unit: output", lambda stream, data: out.append((stream, data)))
    for stream, data in pieces:
        fold.write(stream, data)
    fold.close()
    return out


def test_output_in_a_group_of_github() -> None:
    assert folded(GitHubFolding(), (2, b"one\n"), (2, b"two")) == [
        (2, b"::group::test:unit: output\n"),
        (2, b"one\n"),
        (2, b"two"),
        (2, b"\n::endgroup::\n"),
    ]


def test_output_in_a_section_of_gitlab() -> None:
    out = folded(GitLabFolding(clock=lambda: 1_767_225_600.9), (1, b"one\n"))
    assert out[0][1] == (
        b"\x1b[0Ksection_start:1767225600:task_test_unit_1[collapsed=true]\r\x1b[0Ktest:unit: output\n"
    )
    assert out[-1][1] == b"\x1b[0Ksection_end:1767225600:task_test_unit_1\r\x1b[0K\n"


def test_sections_of_one_task_have_names_of_their_own() -> None:
    folding = GitLabFolding(clock=lambda: 0.0)
    names = {folding.begin("t", "t").partition("[collapsed")[0] for _ in range(2)}
    assert len(names) == 2


def test_a_task_that_prints_nothing_has_no_group() -> None:
    assert folded(GitHubFolding(), (1, b"")) == []


# --- GitHub


def failed(tmp_path: Path, output: str, message: str = "Command failed: 'x' returned 1") -> Executions:
    script = Script([task("lint"), task("docs")])
    executions = Executions()
    script.observers = [executions]
    script.begin()
    script.skip("docs")
    script.fail("lint", output, message)
    return executions


def test_an_annotation_stands_where_the_tool_complains(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a,b.py").write_text("")
    ended = failed(tmp_path, "a,b.py:3:5: error: 100% wrong").ended[-1]
    assert annotation_lines(ended, str(tmp_path / "sub"), str(tmp_path)) == [
        "::error file=sub/a%2Cb.py,line=3,col=5,title=task lint::100%25 wrong\n"
    ]


def test_a_failure_without_a_place_is_annotated_at_the_definition(tmp_path: Path) -> None:
    ended = failed(tmp_path, "it just failed", "Command failed:\nsecond line").ended[-1]
    assert annotation_lines(ended, str(tmp_path), str(tmp_path)) == [
        "::error file=dodo.py,line=3,title=task lint::Command failed:%0Asecond line\n"
    ]


def test_errors_come_before_warnings_and_there_are_ten_at_most(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("")
    output = "\n".join(
        f"a.py:{line}:1: {'error' if line > 15 else 'warning'}: message" for line in range(1, 21)
    )
    lines = annotation_lines(failed(tmp_path, output).ended[-1], str(tmp_path), str(tmp_path))
    assert [line.split()[0] for line in lines] == ["::error"] * 5 + ["::warning"] * 5


def test_a_message_cannot_become_a_command_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("")
    ended = failed(tmp_path, "a.py:1: error: x\r::set-env name=PATH::/evil").ended[-1]
    for line in annotation_lines(ended, str(tmp_path), str(tmp_path)):
        assert line.count("\n") == 1
        assert "\r" not in line


def test_the_summary_tells_failures_first_and_what_was_saved(tmp_path: Path) -> None:
    text = summary(failed(tmp_path, ""), "my_project", 12.5, 1)
    assert "### doit: my&#95;project failed with exit code 1" in text
    assert "1 skipped, 1 failed in 12.5 s; saved 2.00 s of task time" in text
    assert "| lint | ❌ failed | 1.00 s | 600 ms | Command failed: 'x' returned 1 |" in text


def test_the_summary_of_a_run_with_nothing_to_tell_has_no_table() -> None:
    assert "|" not in summary(Executions(), "project", 0.1, 0)


def test_text_in_the_summary_is_no_markup(tmp_path: Path) -> None:
    text = summary(failed(tmp_path, "", "a | b <img> `c`\nmore"), "p", 1.0, 1)
    assert "a &#124; b &#60;img&#62; &#96;c&#96; |" in text


def test_the_summary_is_added_to_what_other_steps_wrote(tmp_path: Path) -> None:
    path = tmp_path / "summary.md"
    path.write_text("before\n")
    log: list[str] = []
    environ = {"GITHUB_STEP_SUMMARY": str(path)}
    write_for_github(environ, log.append, FinishedRun(context(str(tmp_path)), failed(tmp_path, ""), 1.0, 1))
    assert path.read_text().startswith("before\n### doit: ")
    assert "".join(log).startswith("::error file=")


def test_a_summary_beyond_githubs_limit_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "summary.md"
    path.write_text("x" * 1024 * 1024)
    environ = {"GITHUB_STEP_SUMMARY": str(path)}
    write_for_github(environ, print, FinishedRun(context(str(tmp_path)), Executions(), 1.0, 0))
    assert path.stat().st_size == 1024 * 1024


# --- where we are


@pytest.mark.parametrize(
    ("environ", "service"),
    [
        ({}, None),
        ({"CI": "false"}, None),
        ({"CI": "true"}, "ci"),
        ({"CI": "true", "GITHUB_ACTIONS": "true"}, "github"),
        ({"CI": "1", "GITLAB_CI": "true"}, "gitlab"),
    ],
)
def test_which_ci_service(environ: dict[str, str], service: str | None) -> None:
    assert ci_service(environ) == service


TERMINAL = {"TERM": "xterm"}


@pytest.mark.parametrize(
    ("environ", "facts", "mode"),
    [
        (TERMINAL, {}, ConsoleMode.LIVE),
        (TERMINAL, {"ours": False}, ConsoleMode.NOTHING),
        (TERMINAL, {"terminal": False}, ConsoleMode.LINES),
        (TERMINAL | {"CI": "true"}, {}, ConsoleMode.LINES),
        (TERMINAL, {"inline": True}, ConsoleMode.TERMINAL),
        (TERMINAL, {"live": False}, ConsoleMode.TERMINAL),
        ({"TERM": "dumb"}, {}, ConsoleMode.TERMINAL),
        ({}, {}, ConsoleMode.TERMINAL),
    ],
)
def test_what_the_console_shows(environ: dict[str, str], facts: dict[str, bool], mode: ConsoleMode) -> None:
    usual = {"ours": True, "terminal": True, "inline": False, "live": True}
    assert console_mode(environ, **(usual | facts)) is mode


# --- a sign of life


class Quiet:
    """A run whose tasks say nothing."""

    def __init__(self, loop: EventLoop, tasks: list[Task], known: dict[str, int]) -> None:
        self.script = Script(tasks)
        self.lines: list[str] = []
        self.spoke_s = 0.0
        progress = Progress()
        forecast = Forecast(self.script.scheduler, progress, width=2, pools={}, predicted=lambda: known)
        self.beat = Heartbeat(
            progress,
            forecast,
            loop,
            spoke_s=lambda: self.spoke_s,
            silence_s=30,
            clock=lambda: self.script.now_ns / S,
            write=self.lines.append,
        )
        self.script.observers = [progress, self.beat]
        self.script.begin()

    def look_at(self, second: int) -> None:
        self.script.now_ns = second * S
        self.beat._look()


@pytest.fixture
def loop() -> Iterator[EventLoop]:
    with EventLoop() as loop:
        yield loop


def test_silence_is_broken_after_half_a_minute_and_again(loop: EventLoop) -> None:
    quiet = Quiet(loop, [task("link"), task("test")], {"link": 60 * S})
    quiet.script.start("link")
    quiet.look_at(29)
    assert quiet.lines == []
    quiet.look_at(30)
    assert len(quiet.lines) == 1
    quiet.look_at(31)
    assert len(quiet.lines) == 1
    quiet.look_at(60)
    assert len(quiet.lines) == 2
    assert quiet.lines[0].startswith("buildkit: 0 of 2 done")
    assert "running: link (" in quiet.lines[0]
    assert " of about 1 min 00 s)\n" in quiet.lines[0]


def test_a_task_that_talks_needs_no_sign_of_life(loop: EventLoop) -> None:
    quiet = Quiet(loop, [task("link")], {})
    quiet.script.start("link")
    quiet.spoke_s = 20.0
    quiet.look_at(30)
    assert quiet.lines == []


def test_nothing_is_said_when_nothing_runs(loop: EventLoop) -> None:
    quiet = Quiet(loop, [task("link")], {})
    quiet.look_at(100)
    assert quiet.lines == []
