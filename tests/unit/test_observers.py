from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from observe_rig import UID, S, Script, context, task

from buildkit.core.errors import UsageError
from buildkit.core.execution import Decision
from buildkit.engine import events
from buildkit.engine.loop import EventLoop
from buildkit.observe.chrome_trace import ChromeTrace
from buildkit.observe.context import TraceContext, parse_traceparent
from buildkit.observe.executions import Executions, FinishedRun
from buildkit.observe.files import AppendedFile, ReplacedFile
from buildkit.observe.forecast import Forecast
from buildkit.observe.jsonl import EventLines
from buildkit.observe.junit import write_junit
from buildkit.observe.observer import FanOut
from buildkit.observe.progress import Progress
from buildkit.observe.prometheus import write_metrics
from buildkit.observe.samples import MachineSampler
from buildkit.observe.status import StatusFile

TASKS = [task(name) for name in ("compile", "link", "test:unit", "docs", "old", "back")]
NASTY = 'it said "no" <&> \x1b[31m\x00 \\ and\nmore'


def play(script: Script) -> None:
    """Run one task after the other, with each kind of ending."""
    script.begin()
    script.skip("old")
    script.restore("back")
    script.start("compile")
    script.now_ns = S
    script.succeed("compile")
    script.start("docs")
    script.now_ns = 2 * S
    script.fail("docs", output=NASTY, message=NASTY, log_path=".buildkit/logs/docs.log")
    script.unmet("link")


@pytest.fixture
def script() -> Script:
    return Script(TASKS)


@pytest.fixture
def loop() -> Iterator[EventLoop]:
    with EventLoop() as loop:
        yield loop


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# --- JSON lines


@pytest.fixture
def written(tmp_path: Path, script: Script) -> list[dict[str, Any]]:
    path = tmp_path / "events.jsonl"
    script.observers = [EventLines(AppendedFile(str(path), "--events"), context(parent="c" * 16))]
    play(script)
    script.emit(events.Warned("careful"))
    script.observers[0].finish(1)
    return lines(path)


def test_every_line_names_version_run_task_and_trace(written: list[dict[str, Any]]) -> None:
    for line in written:
        assert (line["v"], line["run"], line["trace"]) == (1, UID, "a" * 32)
        assert "task" in line
        assert re.fullmatch("[0-9a-f]{16}", line["span"])
        assert isinstance(line["time"], float)


def test_lines_tell_the_run_in_order(written: list[dict[str, Any]]) -> None:
    assert [(line["event"], line["task"]) for line in written] == [
        ("run-started", None),
        ("task-finished", "old"),
        ("task-finished", "back"),
        ("task-started", "compile"),
        ("task-finished", "compile"),
        ("task-started", "docs"),
        ("task-finished", "docs"),
        ("task-finished", "link"),
        ("warning", None),
        ("run-finished", None),
    ]


def test_a_run_names_the_span_that_it_is_part_of(written: list[dict[str, Any]]) -> None:
    assert written[0]["parent_span"] == "c" * 16


def test_a_task_has_one_span_id_from_start_to_end(written: list[dict[str, Any]]) -> None:
    compile_spans = {line["span"] for line in written if line["task"] == "compile"}
    assert len(compile_spans) == 1
    assert len({line["span"] for line in written}) == 6


def test_a_finished_task_tells_decision_reason_and_cost(written: list[dict[str, Any]]) -> None:
    line = written[4]
    assert line["decision"] == "executed"
    assert line["reasons"] == [{"kind": "input changed", "names": ["src/a.c"]}]
    assert (line["wall_ns"], line["user_ns"], line["rss_bytes"], line["exit_code"]) == (S, S // 2, 1 << 20, 0)
    assert "signal" not in line


def test_a_failure_tells_why_and_where(written: list[dict[str, Any]]) -> None:
    line = written[6]
    assert line["failure"] == "failed"
    assert line["message"] == NASTY
    assert line["location"] == "dodo.py:3"
    assert line["log"] == ".buildkit/logs/docs.log"


def test_the_last_line_counts(written: list[dict[str, Any]]) -> None:
    assert written[-1]["exit_code"] == 1
    assert written[-1]["counts"] == {
        "skipped": 1,
        "restored": 1,
        "executed": 1,
        "failed": 1,
        "upstream-failed": 1,
    }


def test_events_are_there_as_they_happen_and_runs_follow_each_other(tmp_path: Path, script: Script) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"event":"an earlier run"}\n')
    script.observers = [EventLines(AppendedFile(str(path), "--events"), context())]
    script.begin()
    assert [line["event"] for line in lines(path)] == ["an earlier run", "run-started"]


def test_a_name_that_is_not_unicode_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    name = os.fsdecode(b"t\xff")
    script = Script([task(name)])
    script.observers = [EventLines(AppendedFile(str(path), "--events"), context())]
    script.skip(name)
    assert lines(path)[0]["task"] == name


# --- status.json


def status_file(script: Script, loop: EventLoop, root: Path) -> tuple[StatusFile, Path]:
    (root / ".buildkit").mkdir()
    progress = Progress(script.clock_ns)
    forecast = Forecast(
        script.scheduler, progress, width=2, pools={}, predicted=dict, clock_ns=script.clock_ns
    )
    status = StatusFile(context(str(root)), progress, forecast, loop, clock=lambda: script.now_ns / S)
    script.observers = [progress, status]
    return status, root / ".buildkit" / "status.json"


def test_status_tells_what_runs(tmp_path: Path, script: Script, loop: EventLoop) -> None:
    _, path = status_file(script, loop, tmp_path)
    script.begin()
    script.skip("old")
    script.start("compile")
    status = json.loads(path.read_text())
    assert (status["v"], status["state"], status["run"]) == (1, "running", UID)
    assert (status["done"], status["total"], status["counts"]) == (1, 6, {"skipped": 1})
    assert [(each["task"], each["slot"]) for each in status["running"]] == [("compile", 1)]
    assert "exit_code" not in status


def test_status_is_written_a_few_times_a_second_at_most(
    tmp_path: Path, script: Script, loop: EventLoop
) -> None:
    _, path = status_file(script, loop, tmp_path)
    script.begin()
    script.start("compile")
    script.now_ns = S // 10
    script.succeed("compile")
    assert json.loads(path.read_text())["done"] == 0
    script.start("docs")
    script.now_ns = S
    loop.run_until(lambda: json.loads(path.read_text())["done"] == 1, 5)
    assert json.loads(path.read_text())["running"][0]["task"] == "docs"


def test_status_says_how_the_run_ended(tmp_path: Path, script: Script, loop: EventLoop) -> None:
    status, path = status_file(script, loop, tmp_path)
    play(script)
    status.finish(2)
    last = json.loads(path.read_text())
    assert (last["state"], last["exit_code"], last["running"]) == ("finished", 2, [])
    assert last["done"] == 5


def test_a_run_that_starts_nothing_writes_no_status(tmp_path: Path, script: Script, loop: EventLoop) -> None:
    status, path = status_file(script, loop, tmp_path)
    script.begin()
    script.skip("old")
    status.finish(0)
    assert not path.exists()


def test_status_is_private_and_leaves_no_scratch_file(
    tmp_path: Path, script: Script, loop: EventLoop
) -> None:
    _, path = status_file(script, loop, tmp_path)
    play(script)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == ["status.json"]


# --- Chrome trace


class FixedSampler(MachineSampler):
    """Reads a /proc of two files."""

    def __init__(self, root: Path) -> None:
        super().__init__(str(root))
        (root / "proc").mkdir()
        (root / "proc" / "meminfo").write_text("MemTotal: 4096 kB\nMemFree: 1 kB\nMemAvailable: 1024 kB\n")
        self.tick(0)

    def tick(self, busy: int) -> None:
        Path(self._root, "proc", "stat").write_text(f"cpu {busy} 0 0 {1000 - busy} 0 0 0 0 0 0\ncpu0 1\n")


@pytest.fixture
def trace(tmp_path: Path, script: Script, loop: EventLoop) -> dict[str, Any]:
    path = tmp_path / "trace.json"
    (tmp_path / "machine").mkdir()
    observer = ChromeTrace(
        ReplacedFile(str(path), "--trace"),
        context(),
        loop,
        sampler=FixedSampler(tmp_path / "machine"),
        clock_ns=script.clock_ns,
    )
    script.observers = [observer]
    play(script)
    observer.finish(1)
    return dict(json.loads(path.read_text()))


def test_a_trace_has_the_form_that_viewers_read(trace: dict[str, Any]) -> None:
    assert isinstance(trace["traceEvents"], list)
    for event in trace["traceEvents"]:
        assert event["ph"] in "XMCi"
        assert isinstance(event["name"], str)
        assert isinstance(event["pid"], int)
        if event["ph"] != "M":
            assert event["ts"] >= 0
        if event["ph"] == "X":
            assert event["dur"] > 0
        if event["ph"] == "C":
            assert all(isinstance(value, int | float) for value in event["args"].values())


def test_a_trace_has_one_row_per_slot(trace: dict[str, Any]) -> None:
    rows = {e["tid"]: e["args"]["name"] for e in trace["traceEvents"] if e["name"] == "thread_name"}
    assert rows == {1: "slot 1", 0: "cache"}
    slices = {e["name"]: (e["tid"], e["cat"]) for e in trace["traceEvents"] if e["ph"] == "X"}
    assert slices == {"compile": (1, "executed"), "docs": (1, "failed"), "back": (0, "restored")}


def test_a_trace_places_tasks_in_microseconds(trace: dict[str, Any]) -> None:
    docs = next(event for event in trace["traceEvents"] if event["name"] == "docs")
    assert (docs["ts"], docs["dur"]) == (1e6, 1e6)


def test_a_trace_has_counters(trace: dict[str, Any]) -> None:
    counters = [e for e in trace["traceEvents"] if e["ph"] == "C"]
    assert {e["name"] for e in counters} == {"width", "running", "memory"}
    assert {e["args"]["MiB"] for e in counters if e["name"] == "memory"} == {3}
    running = [(e["ts"], e["args"]["tasks"]) for e in counters if e["name"] == "running"]
    assert running == [(0.0, 1), (1e6, 1), (2e6, 0)]


def test_processors_are_counted_between_two_samples(tmp_path: Path) -> None:
    sampler = FixedSampler(tmp_path)
    assert sampler.take().busy_cpus is None
    Path(tmp_path, "proc", "stat").write_text("cpu 500 0 0 1500 0 0 0 0 0 0\n")
    assert sampler.take().busy_cpus == pytest.approx(0.5 * (os.cpu_count() or 1))


def test_a_system_without_proc_has_no_samples(tmp_path: Path) -> None:
    sample = MachineSampler(str(tmp_path)).take()
    assert (sample.busy_cpus, sample.memory_used_bytes) == (None, None)


# --- JUnit


@pytest.fixture
def suites(tmp_path: Path, script: Script) -> ElementTree.Element:
    path = tmp_path / "junit.xml"
    executions = Executions()
    script.observers = [executions]
    play(script)
    write_junit(ReplacedFile(str(path), "--junit"), FinishedRun(context(), executions, 12.5, 1))
    return ElementTree.parse(path).getroot()


def test_junit_counts_what_it_lists(suites: ElementTree.Element) -> None:
    suite = suites.find("testsuite")
    assert suite is not None
    assert (suites.tag, suites.get("tests"), suites.get("failures"), suites.get("errors")) == (
        "testsuites",
        "5",
        "1",
        "0",
    )
    assert (suite.get("skipped"), suite.get("time"), suite.get("timestamp")) == (
        "1",
        "12.500",
        "2026-01-01T00:00:00",
    )
    assert len(suite.findall("testcase")) == 5
    assert len(suite.findall("testcase/failure")) == 1
    assert len(suite.findall("testcase/skipped")) == 1


def test_junit_keeps_what_xml_can_hold_of_any_output(suites: ElementTree.Element) -> None:
    failure = suites.find("testsuite/testcase/failure")
    assert failure is not None
    assert failure.get("message") == 'it said "no" <&> \ufffd[31m\ufffd \\ and'
    assert failure.text is not None
    assert failure.text.endswith("and\nmore")
    # The log is made harmless before it gets here.
    assert suites.findtext(
        "testsuite/testcase/system-out"
    ) == 'it said "no" <&> \x1b[31m \\ and\nmore'.replace("\x1b", "\ufffd")


def test_junit_places_a_case_in_the_dodo_file(suites: ElementTree.Element) -> None:
    case = suites.find("testsuite/testcase[@name='compile']")
    assert case is not None
    assert (case.get("classname"), case.get("time"), case.get("file"), case.get("line")) == (
        "compile",
        "1.000",
        "dodo.py",
        "3",
    )


# --- Prometheus


SAMPLE = re.compile(
    r"(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)"
    r'\{(?P<labels>(?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*",?)*)\} (?P<value>\S+)'
)


def metrics(path: Path) -> dict[tuple[str, str], float]:
    """Return samples by name and labels, and insist on the text format."""
    found = {}
    declared = ""
    for line in path.read_text().splitlines():
        if line.startswith("# HELP "):
            continue
        if line.startswith("# TYPE "):
            _, _, declared, kind = line.split()
            assert kind == "gauge"
            continue
        match = SAMPLE.fullmatch(line)
        assert match is not None, line
        assert match["name"] == declared, "samples of a metric stand together, below its type"
        assert (match["name"], match["labels"]) not in found, "a sample must not appear twice"
        found[match["name"], match["labels"]] = float(match["value"])
    return found


def test_prometheus_metrics_of_a_run(tmp_path: Path, script: Script) -> None:
    path = tmp_path / "doit.prom"
    executions = Executions()
    script.observers = [executions]
    play(script)
    write_metrics(ReplacedFile(str(path), "--prometheus"), FinishedRun(context(), executions, 12.5, 1))
    found = metrics(path)
    project = 'project="project"'
    assert found["buildkit_run_duration_seconds", project] == 12.5
    assert found["buildkit_run_exit_code", project] == 1
    assert found["buildkit_run_width", project] == 2
    assert found["buildkit_run_saved_seconds", project] == 5
    assert found["buildkit_run_restored_bytes", project] == 1000
    assert found["buildkit_run_tasks", f'{project},decision="failed"'] == 1
    assert found["buildkit_run_tasks", f'{project},decision="cancelled"'] == 0
    compile_labels = f'{project},task="compile",decision="executed"'
    assert found["buildkit_task_duration_seconds", compile_labels] == 1
    assert found["buildkit_task_cpu_seconds", compile_labels] == pytest.approx(0.6)
    assert found["buildkit_task_peak_memory_bytes", compile_labels] == 1 << 20


def test_prometheus_labels_are_escaped(tmp_path: Path) -> None:
    name = 'a "b" \\ c\nd'
    path = tmp_path / "doit.prom"
    script = Script([task(name)])
    executions = Executions()
    script.observers = [executions]
    script.start(name)
    script.succeed(name)
    write_metrics(ReplacedFile(str(path), "--prometheus"), FinishedRun(context(), executions, 1.0, 0))
    assert any('task="a \\"b\\" \\\\ c\\nd"' in labels for _, labels in metrics(path))


# --- files and failures


@pytest.mark.parametrize("kind", [AppendedFile, ReplacedFile])
def test_a_file_that_cannot_be_written_is_an_error_at_once(tmp_path: Path, kind: Any) -> None:
    with pytest.raises(UsageError, match=r"--x: '.*nowhere/file' cannot be written: No such file"):
        kind(str(tmp_path / "nowhere" / "file"), "--x")
    with pytest.raises(UsageError, match=r"cannot be written: [Ii]s a directory"):
        kind(str(tmp_path), "--x")


def test_looking_whether_a_file_can_be_written_leaves_it_alone(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.write_text("old")
    ReplacedFile(str(old), "--x")
    ReplacedFile(str(tmp_path / "new"), "--x")
    assert sorted(os.listdir(tmp_path)) == ["old"]
    assert old.read_text() == "old"


def test_a_replaced_file_that_is_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    ReplacedFile(str(tmp_path / "link"), "--x").write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_a_device_is_written_to_and_not_replaced() -> None:
    ReplacedFile("/dev/null", "--x").write(b"new")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


class Broken:
    """An observer whose disk is full from the second task on."""

    what = "broken file"

    def __init__(self) -> None:
        self.calls = 0
        self.handlers = {events.Started: self.take}

    def take(self, _event: events.Started) -> None:
        self.calls += 1
        if self.calls > 1:
            raise OSError(28, "No space left on device")

    def finish(self, _exit_code: int) -> None:
        raise AssertionError("it was left out")


class Reporter:
    """The reporter's sink."""

    def __init__(self) -> None:
        self.seen: list[events.Event] = []

    def handle(self, event: events.Event) -> None:
        self.seen.append(event)


def test_an_observer_that_fails_costs_one_warning_and_the_others_go_on(script: Script) -> None:
    reporter, broken, progress, warnings = Reporter(), Broken(), Progress(), list[str]()
    fan = FanOut(reporter, [broken, progress], warnings.append)
    for slot in range(4):
        fan.handle(events.Started(TASKS[slot], slot))
    fan.finish(0)
    assert warnings == ["the broken file cannot be written: No space left on device; the run goes on"]
    assert len(reporter.seen) == 4
    assert len(progress.running) == 4
    assert broken.calls == 2


def test_a_failure_at_the_end_is_a_warning_too(tmp_path: Path) -> None:
    class FullAtTheEnd(Broken):
        def finish(self, _exit_code: int) -> None:
            raise OSError(28, "No space left on device")

    warnings: list[str] = []
    FanOut(Reporter(), [FullAtTheEnd()], warnings.append).finish(0)
    assert len(warnings) == 1


# --- traces


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "00-short-00f067aa0ba902b7-01",
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-{'a' * 32}-{'0' * 16}-01",
        f"ff-{'a' * 32}-{'b' * 16}-01",
        f"00-{'a' * 32}-{'b' * 16}-01-more",
        f"00-{'A' * 32}-{'b' * 16}-01",
    ],
)
def test_an_invalid_traceparent_begins_a_new_trace(text: str | None) -> None:
    assert parse_traceparent(text) is None
    assert TraceContext.begin(text).parent_id is None


def test_a_run_joins_the_trace_that_it_is_given() -> None:
    trace = TraceContext.begin(f"00-{'a' * 32}-{'b' * 16}-01")
    assert (trace.trace_id, trace.parent_id, trace.sampled) == ("a" * 32, "b" * 16, True)
    assert trace.span_id != trace.parent_id
    assert parse_traceparent(trace.traceparent()) == ("a" * 32, trace.span_id, True)


def test_a_later_version_of_traceparent_is_understood_as_far_as_it_goes() -> None:
    assert parse_traceparent(f"01-{'a' * 32}-{'b' * 16}-00-more") == ("a" * 32, "b" * 16, False)


def test_each_run_has_its_own_spans() -> None:
    first, second = (TraceContext.begin(f"00-{'a' * 32}-{'b' * 16}-01") for _ in range(2))
    assert first.span_of("t") == first.span_of("t")
    assert len({first.span_of("t"), first.span_of("u"), first.span_of("t", 2), second.span_of("t")}) == 4


def test_progress_counts_and_measures(script: Script) -> None:
    progress = Progress(script.clock_ns)
    script.observers = [progress]
    play(script)
    assert progress.count(Decision.FAILED) == 1
    assert progress.done == 5
    assert not progress.running
    assert [(each.task, each.wall_ns) for each in progress.finished] == [("compile", S)]
