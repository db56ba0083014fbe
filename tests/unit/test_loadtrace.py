"""Watching Python code: what it asks is noted, what cannot be asked again is refused, all is put back."""

from __future__ import annotations

import glob
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.machinery import PathFinder
from pathlib import Path

import pytest

from buildkit.frontend.clockwatch import ClockWatch
from buildkit.frontend.loadtrace import LoadTrace
from buildkit.state import facts, snapshot


@pytest.fixture
def trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoadTrace]:
    """Return a trace that watches, in an empty folder that is the current one."""
    monkeypatch.chdir(tmp_path)
    watching = LoadTrace()
    watching.begin()
    yield watching
    watching.end()


def test_everything_is_put_back() -> None:
    stat, environ, write = os.stat, type(os.environ), sys.stdout.write
    find_spec = PathFinder.find_spec
    trace = LoadTrace()
    trace.begin()
    assert os.stat is not stat
    trace.end()
    assert os.stat is stat
    assert type(os.environ) is environ
    assert sys.stdout.write == write
    assert PathFinder.find_spec == find_spec
    assert os.stat in os.supports_follow_symlinks


def test_nothing_is_noted_within_a_pause_or_after_the_end(trace: LoadTrace, tmp_path: Path) -> None:
    with trace.pause():
        os.path.exists("in-pause")
    trace.end()
    os.path.exists("after")
    os.system("true")
    assert trace.refusals == []
    assert not any("in-pause" in path or "after" in path for path, _follow in trace.kinds)


QUESTIONS: dict[str, Callable[[], object]] = {
    "exists": lambda: os.path.exists("x"),
    "isfile": lambda: os.path.isfile("x"),
    "pathlib": lambda: pathlib.Path("x").exists(),
    "is_dir": lambda: pathlib.Path("x").is_dir(),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_about_a_path_is_a_fact_of_its_kind(
    trace: LoadTrace, question: str, tmp_path: Path
) -> None:
    QUESTIONS[question]()
    assert trace.kinds[str(tmp_path / "x"), True] == facts.ABSENT
    (tmp_path / "y").mkdir()
    os.path.isdir("y")
    assert trace.kinds[str(tmp_path / "y"), True] == facts.FOLDER


def test_a_time_that_is_asked_for_makes_the_whole_status_a_fact(trace: LoadTrace, tmp_path: Path) -> None:
    with trace.pause():
        (tmp_path / "x").write_text("")
    os.path.getmtime("x")
    assert str(tmp_path / "x") in trace.statuses


def test_reading_listing_and_looking_for_programs_are_facts(trace: LoadTrace, tmp_path: Path) -> None:
    with trace.pause():
        (tmp_path / "x").write_text("")
    with open("x") as file:
        file.read()
    glob.glob("*.txt")
    shutil.which("cp")
    assert str(tmp_path / "x") in trace.statuses
    assert any(path.rstrip("/.") == str(tmp_path) for path in trace.listings)
    assert any(path.endswith("/cp") and answer for (path, _mode), answer in trace.accesses.items())
    assert trace.refusals == []


def test_variables_are_noted_by_name_and_reading_all_of_them_too(trace: LoadTrace) -> None:
    os.environ.get("WHATEVER")
    assert "WHATEVER" in trace.variables
    assert not trace.whole_environment
    dict(os.environ)
    assert trace.whole_environment


def test_making_a_folder_that_is_there_is_a_fact_and_no_change(trace: LoadTrace, tmp_path: Path) -> None:
    os.makedirs("build", exist_ok=True)
    assert trace.kinds[str(tmp_path / "build"), True] == facts.FOLDER
    assert trace.refusals == []


def test_the_name_of_the_machine_may_be_asked_for(trace: LoadTrace) -> None:
    name = socket.gethostname()
    assert trace.refusals == []
    assert name in snapshot.stamp()[5], "or a snapshot could be taken for that of another machine"


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "process": (lambda: subprocess.run(["true"], check=True), "started a process (true)"),
    "shell": (lambda: os.system("true"), "started a process (true)"),
    "writing": (lambda: open("made", "w").close(), "it wrote '"),
    "network": (lambda: socket.getaddrinfo("localhost", 80), "used the network"),
    "printing": (lambda: sys.stdout.write(""), "printed"),
    "random": (lambda: open("/dev/urandom", "rb").close(), "random"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_seen_again_is_refused(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    trace = LoadTrace()
    with capfd.disabled():
        trace.begin()
        try:
            REFUSED[kind][0]()
        finally:
            trace.end()
    assert any(REFUSED[kind][1] in reason for reason in trace.refusals), trace.refusals


def run_watched(code: str, filename: str) -> list[str]:
    """Return what is refused when code of a project runs."""
    refused: list[str] = []
    watch = ClockWatch(refused.append)
    compiled = compile(code, filename, "exec")
    watch.about_to_run(compiled)
    try:
        exec(compiled, {})
    finally:
        watch.stop()
    return refused


@pytest.mark.skipif(sys.getprofile() is not None, reason="somebody else profiles")
def test_project_code_that_asks_for_the_time_is_refused(tmp_path: Path) -> None:
    dodo = str(tmp_path / "dodo.py")
    assert run_watched("import time\nNOW = time.time()", dodo)
    assert run_watched("import datetime\nNOW = datetime.datetime.now()", dodo)
    assert run_watched("from random import random\nDICE = random()", dodo)


@pytest.mark.skipif(sys.getprofile() is not None, reason="somebody else profiles")
def test_code_that_only_could_ask_for_the_time_is_not_refused(tmp_path: Path) -> None:
    dodo = str(tmp_path / "dodo.py")
    assert run_watched("import time\ndef action():\n    return time.time()", dodo) == []
    assert run_watched("x = sorted([2, 1])", dodo) == []
    assert run_watched("import time\nNOW = time.time()", time.__name__ + "/site-packages/lib.py") == []
    assert sys.getprofile() is None


def test_modules_do_not_keep_our_functions(trace: LoadTrace, tmp_path: Path) -> None:
    with trace.pause():
        (tmp_path / "taker_of_stat.py").write_text("from os import stat\n")
    sys.path.insert(0, str(tmp_path))
    try:
        import taker_of_stat  # type: ignore[import-not-found]

        assert taker_of_stat.stat is os.stat
        trace.give_back()
        assert taker_of_stat.stat is not os.stat
        trace.end()
        assert taker_of_stat.stat is os.stat
    finally:
        sys.path.remove(str(tmp_path))
        sys.modules.pop("taker_of_stat", None)
