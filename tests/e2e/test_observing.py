"""What a run writes beside the console's lines: events, status, trace, reports, and what CI services read."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any
from xml.etree import ElementTree

import pytest

from .harness import Project

DODO = """
    def task_make():
        return {'actions': ['say make && cp in out && echo made'], 'file_dep': ['in'], 'targets': ['out']}

    def task_use():
        return {'actions': ['say use && cat out > used'], 'file_dep': ['out'], 'targets': ['used']}

    def task_lint():
        return {'actions': ['say lint; echo "in:1:2: error: not nice"; echo heard >&2; exit 1'],
                'file_dep': ['in']}
"""
ALL_FILES = ("--events=e.jsonl", "--trace=t.json", "--junit=j.xml", "--prometheus=p.prom")


@pytest.fixture
def made(project: Project) -> Project:
    project.dodo(DODO)
    project.write("in", "text\n")
    return project


def events(project: Project, name: str = "e.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in project.read(name).splitlines()]


def finished(lines: list[dict[str, Any]]) -> dict[str, str]:
    return {line["task"]: line["decision"] for line in lines if line["event"] == "task-finished"}


@pytest.mark.parametrize("width", ["0", "2"])
def test_events_of_a_run(made: Project, width: str):
    made.run("-n", width, "--events", "e.jsonl", "make", "use", check=0)
    lines = events(made)
    assert [line["event"] for line in lines] == [
        "run-started",
        "task-started",
        "task-finished",
        "task-started",
        "task-finished",
        "run-finished",
    ]
    assert finished(lines) == {"make": "executed", "use": "executed"}
    assert len({line["run"] for line in lines}) == 1
    assert lines[-1]["exit_code"] == 0


def test_events_of_a_run_with_nothing_to_do_and_of_a_restore(made: Project):
    made.run("make", "use", check=0)
    made.run("--events", "e.jsonl", "make", "use", check=0)
    assert finished(events(made)) == {"make": "skipped", "use": "skipped"}
    made.remove("out")
    made.run("--events", "f.jsonl", "make", "use", check=0)
    assert finished(events(made, "f.jsonl"))["make"] == "restored"


def test_events_of_every_run_by_setting(made: Project):
    made.write("pyproject.toml", '[tool.buildkit]\nevents = "logs.jsonl"\n')
    made.run("make", check=0)
    made.run("make", check=0)
    made.run("make", check=0)
    assert len({line["run"] for line in events(made, "logs.jsonl")}) == 3


def test_a_run_joins_the_trace_of_its_caller(made: Project):
    parent = f"00-{'a' * 32}-{'b' * 16}-01"
    made.run("--events", "e.jsonl", "make", env={"TRACEPARENT": parent}, check=0)
    lines = events(made)
    assert {line["trace"] for line in lines} == {"a" * 32}
    assert lines[0]["parent_span"] == "b" * 16


@pytest.mark.parametrize("width", ["0", "2"])
def test_tasks_of_a_traced_run_are_told_of_its_trace(project: Project, width: str):
    project.dodo("""
        import os

        def note():
            with open('python', 'w') as file:
                file.write(os.environ['TRACEPARENT'])

        def task_tell():
            return {'actions': ['echo $TRACEPARENT > command', note]}

        def task_command():
            return {'actions': ['echo $TRACEPARENT > plain']}
    """)
    project.run("-n", width, "--events", "e.jsonl", check=0)
    line = events(project)[0]
    wanted = f"00-{line['trace']}-{line['span']}-01"
    assert [project.read(name).strip() for name in ("command", "python", "plain")] == [wanted] * 3
    outer = f"00-{'a' * 32}-{'b' * 16}-01"
    project.run("-n", width, "-a", "command", env={"TRACEPARENT": outer}, check=0)
    assert project.read("plain").strip() == outer  # nothing is traced: nothing is changed


@pytest.mark.parametrize("option", ["--events", "--output-file"])
def test_a_file_that_the_run_itself_writes_is_not_laid_to_tasks(project: Project, option: str):
    project.dodo("""
        def task_one():
            return {'actions': ['say one']}

        def task_two():
            return {'actions': ['say two']}
    """)
    result = project.run(option, "written", check=0)
    assert project.path("written").exists()
    assert len(result.stderr.splitlines()) == 1, result


def test_standard_output_in_a_file_is_not_laid_to_tasks(project: Project):
    project.dodo("""
        def task_one():
            return {'actions': ['echo one'], 'verbosity': 2}

        def task_two():
            return {'actions': ['echo two'], 'verbosity': 2}
    """)
    with project.path("build.log").open("wb") as log:
        started = subprocess.run(
            project._command("doit"),
            cwd=project.root,
            env=project._environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            check=True,
        )
    assert started.returncode == 0
    assert [line for line in project.read("build.log").splitlines() if "write" in line] == []


def test_the_end_is_told_when_the_definition_proves_wrong(project: Project):
    project.dodo("""
        def task_calc():
            return {'actions': [lambda: {'task_dep': ['nosuch']}]}

        def task_uses():
            return {'actions': None, 'calc_dep': ['calc']}
    """)
    result = project.run("--events", "e.jsonl")
    assert result.exit_code == 3
    lines = events(project)
    assert lines[-1]["event"] == "run-finished"
    assert lines[-1]["exit_code"] == 3


def test_status_of_the_last_run(made: Project):
    made.run("-c", check=1)
    status = json.loads(made.read(".buildkit/status.json"))
    assert (status["state"], status["exit_code"], status["total"], status["done"]) == ("finished", 1, 3, 3)
    assert status["counts"] == {"executed": 2, "failed": 1}


def test_trace_junit_and_metrics_of_a_run(made: Project):
    made.run("-c", "-n", "2", *ALL_FILES, check=1)
    trace = json.loads(made.read("t.json"))
    assert {e["name"] for e in trace["traceEvents"] if e["ph"] == "X"} == {"make", "use", "lint"}
    assert trace["otherData"]["exit_code"] == 1
    suites = ElementTree.fromstring(made.read("j.xml"))
    assert (suites.get("tests"), suites.get("failures")) == ("3", "1")
    output = suites.findtext("testsuite/testcase[@name='lint']/system-out")
    assert output == "in:1:2: error: not nice\nheard"
    assert 'buildkit_run_tasks{project="project",decision="executed"} 2.0\n' in made.read("p.prom")


@pytest.mark.parametrize("option", ["--events", "--trace", "--junit", "--prometheus"])
def test_a_file_that_cannot_be_written_stops_the_run_before_its_first_task(made: Project, option: str):
    result = made.run(option, "nosuch/file", "make", check=3)
    assert result.ran == ()
    assert result.stderr == f"ERROR: {option}: 'nosuch/file' cannot be written: No such file or directory.\n"


def test_a_file_that_fails_during_the_run_costs_one_warning(made: Project):
    result = made.run("-n", "2", "--events", "/dev/full", "--junit", "/dev/full", "make", "use", check=0)
    assert result.ran == ("make", "use")
    warnings = [line for line in result.stderr.splitlines() if "cannot be written" in line]
    assert warnings == [
        "buildkit: the events file '/dev/full' cannot be written: No space left on device; the run goes on",
        "buildkit: the JUnit report '/dev/full' cannot be written: No space left on device",
    ]


def test_other_reporters_print_what_they_always_did(made: Project):
    plain = made.run("-r", "json", "-c", check=1)
    made.remove(".buildkit", "out", "used")
    watched = made.run(
        "-r", "json", "-c", *ALL_FILES, env={"GITHUB_ACTIONS": "true", "BUILDKIT_CACHE_DIR": "new"}, check=1
    )

    def tasks(text: str) -> list[tuple[str, str]]:
        return [(task["name"], task["result"]) for task in json.loads(text)["tasks"]]

    assert tasks(watched.stdout) == tasks(plain.stdout)


def test_spans_that_cannot_be_made_are_a_clear_error(made: Project):
    made.write("hide/opentelemetry/__init__.py", "")  # shadows the SDK where it is installed
    result = made.run("--otel", "make", env={"PYTHONPATH": str(made.path("hide"))}, check=3)
    assert result.ran == ()
    assert result.stderr == (
        "ERROR: --otel needs the OpenTelemetry SDK, which is not installed. "
        "Install it with: pip install 'doit-buildkit[otel]'\n"
    )


def test_a_configured_collector_alone_does_not_insist_on_the_sdk(made: Project):
    made.write("hide/opentelemetry/__init__.py", "")
    env = {"PYTHONPATH": str(made.path("hide")), "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    assert made.run("make", env=env, check=0).ran == ("make",)


# --- CI services

GITHUB = {"GITHUB_ACTIONS": "true", "CI": "true"}
GITLAB = {"GITLAB_CI": "true", "CI": "true"}


@pytest.mark.parametrize("width", ["0", "2"])
def test_github_gets_groups_annotations_and_a_summary(made: Project, width: str):
    env = GITHUB | {"GITHUB_STEP_SUMMARY": str(made.path("summary.md")), "GITHUB_WORKSPACE": str(made.base)}
    result = made.run("-c", "-n", width, env=env, check=1)
    assert "::group::lint: output\nheard\n::endgroup::\n" in result.stderr
    group = result.stdout.partition("::group::lint: output of the failed task\n")[2].partition(
        "::endgroup::"
    )[0]
    assert "in:1:2: error: not nice\n" in group
    assert "::error file=project/in,line=1,col=2,title=task lint::not nice\n" in result.stdout
    summary = made.read("summary.md")
    assert summary.startswith("### doit: project failed with exit code 1\n")
    assert "| lint | ❌ failed |" in summary


def test_gitlab_gets_sections(made: Project):
    result = made.run("-c", env=GITLAB, check=1)
    name = r"task_lint_\d"
    pattern = (
        rf"\x1b\[0Ksection_start:\d+:({name})\[collapsed=true\]\r\x1b\[0K.*?section_end:\d+:\1\r\x1b\[0K"
    )
    assert re.search(pattern, result.stdout, re.DOTALL)
    assert re.search(pattern, result.stderr, re.DOTALL)


@pytest.mark.parametrize("env", [GITHUB, GITLAB], ids=["github", "gitlab"])
def test_ci_services_only_add_to_the_output(made: Project, env: dict[str, str]):
    plain = made.run("-c", "-v", "2", check=1)
    made.remove(".buildkit", "out", "used")
    in_ci = made.run("-c", "-v", "2", env=env | {"BUILDKIT_CACHE_DIR": "new"}, check=1)
    left = iter(re.sub(r"\x1b\[0K", "", in_ci.stdout).splitlines())
    assert all(line in left for line in plain.stdout.splitlines()), in_ci.stdout


def test_an_annotation_at_the_definition_where_the_output_names_no_place(project: Project):
    project.dodo("""
        def task_no():
            return {'actions': ['exit 1']}
    """)
    result = project.run(env=GITHUB, check=1)
    assert "::error file=dodo.py,line=1,title=task no::Command failed: 'exit 1' returned 1\n" in result.stdout


def test_options_are_in_the_help(project: Project):
    text = project.run("help", "run", check=0).stdout
    for option in ("--events", "--trace", "--junit", "--prometheus", "--otel", "--live", "--no-live"):
        assert re.search(rf"{option}\b", text), option
