"""`doit report --html` and `doit ui` from the command line: files, ports, and what can be wrong with them."""

from __future__ import annotations

import os
import re
import signal
import socket
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from .harness import Project

DODO = """
    def task_a():
        return {'actions': ['true']}
"""


@pytest.fixture
def built(project: Project) -> Project:
    """A project with one run behind it."""
    project.dodo(DODO)
    project.run(check=0)
    return project


def test_the_page_is_one_file_with_the_tasks_of_the_run(built: Project) -> None:
    result = built.run("report", "--html", "page.html", check=0)
    assert (result.stdout, result.stderr) == ("", "wrote page.html\n")
    page = built.read("page.html")
    assert page.startswith("<!doctype html>")
    assert '"name":["a"]' in page


def test_an_older_page_is_replaced_as_a_whole(built: Project) -> None:
    built.write("page.html", "old")
    before = built.path("page.html").stat().st_ino
    built.run("report", "--html", "page.html", check=0)
    assert built.path("page.html").stat().st_ino != before
    assert [path.name for path in built.root.iterdir() if "tmp" in path.name] == []


@pytest.mark.parametrize(
    ("file", "complaint"),
    [
        ("missing/page.html", "--html: 'missing/page.html' cannot be written: No such file or directory."),
        (".", "--html: '.' cannot be written"),
        ("/dev/full", "--html: '/dev/full' cannot be written: No space left on device."),
    ],
)
def test_a_file_that_cannot_be_written_is_one_line_and_exit_code_3(
    built: Project, file: str, complaint: str
) -> None:
    result = built.run("report", "--html", file, check=3)
    assert result.stderr.startswith(f"ERROR: {complaint}")
    assert result.stderr.count("\n") == 1


def test_a_page_that_may_not_be_changed_stays(built: Project) -> None:
    built.write("page.html", "old", mode=0o444)
    result = built.run("report", "--html", "page.html", check=3, obey_modes=True)
    assert "Permission denied" in result.stderr
    assert built.read("page.html") == "old"


def test_a_page_may_go_through_a_pipe(built: Project) -> None:
    assert built.run("report", "--html", "/dev/stdout", check=0).stdout.startswith("<!doctype html>")


def test_an_unknown_run_leaves_no_file(built: Project) -> None:
    result = built.run("report", "--html", "page.html", "--run", "77", check=3)
    assert "there is no run '77'" in result.stderr
    assert not built.path("page.html").exists()


def test_a_gate_judges_beside_the_page(built: Project) -> None:
    built.run("report", "--html", "page.html", "--fail-on", "regression,flaky", check=0)
    assert built.path("page.html").exists()


def test_ui_reads_and_writes_nothing(built: Project) -> None:
    before = built.everything()
    ui = built.start("ui", "--no-open")
    assert ui.stdout is not None
    address = ui.stdout.readline().decode().strip()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{32,}/", address)
    with urllib.request.urlopen(address) as answer:
        assert b'"name":["a"]' in answer.read()
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(address.rsplit("/", 2)[0])
    ui.send_signal(signal.SIGINT)
    said, _ = ui.communicate()
    assert (ui.returncode, said) == (0, b"Ctrl-C ends it.\n")

    def content(everything: dict[str, object]) -> dict[str, object]:
        return {
            path: state for path, state in everything.items() if not path.startswith(".buildkit/state.db-")
        }

    assert content(dict(built.everything())) == content(dict(before))


@pytest.mark.parametrize("signals", [signal.SIGINT, signal.SIGTERM])
def test_ui_gives_its_port_back(built: Project, signals: signal.Signals) -> None:
    ui = built.start("ui", "--no-open")
    assert ui.stdout is not None
    port = int(ui.stdout.readline().decode().split(":")[2].split("/")[0])
    ui.send_signal(signals)
    ui.communicate()
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_a_taken_port_is_one_line_and_exit_code_3(built: Project) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = built.run("ui", "--no-open", "--port", str(port), check=3)
    complaint = f"--port {port}: cannot listen on 127.0.0.1: Address already in use"
    assert result.stderr == f"ERROR: {complaint}; --port 0 takes any that is free.\n"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--port", "65536"], "--port 65536: give a number from 0"),
        (["--port", "-1"], "--port -1: give a number from 0"),
        (["--run", "77"], "there is no run '77'"),
        (["compile"], "ui takes no arguments; got 'compile'."),
        (["--dir", "missing"], "there is no directory 'missing'"),
    ],
)
def test_a_wrong_request_is_told_before_anything_is_served(
    built: Project, arguments: list[str], complaint: str
) -> None:
    result = built.run("ui", "--no-open", *arguments, check=3)
    assert complaint in result.stderr
    assert result.stdout == ""


def test_a_task_called_ui_still_runs(project: Project) -> None:
    project.dodo("def task_ui():\n    return {'actions': ['say ui']}\n")
    assert project.run("ui", check=0).ran == ("ui",)


def test_a_history_that_is_damaged_is_said_in_one_line(built: Project) -> None:
    database = Path(built.path(".buildkit/state.db"))
    database.write_bytes(b"\0" * os.path.getsize(database))
    result = built.run("report", "--html", "page.html", check=3)
    assert result.stderr.startswith("ERROR: ")
    assert result.stderr.count("\n") == 1
