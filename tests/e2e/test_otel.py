"""Spans as a collector receives them, over real HTTP on loopback."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from .harness import Project

pytest.importorskip("opentelemetry.sdk.trace", reason="needs the extra 'otel'")
collector = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")

DODO = """
    def task_make():
        return {'actions': ['echo made > out'], 'targets': ['out'], 'uptodate': [True]}

    def task_fresh():
        return {'actions': ['true'], 'uptodate': [True]}

    def task_lint():
        return {'actions': ['exit 3']}

    def task_late():
        return {'actions': ['sleep 60'], 'meta': {'buildkit': {'timeout': 0.2}}}
"""


class Collector:
    """Takes requests for spans, and keeps them."""

    def __init__(self, status: int = 200) -> None:
        self.requests: list[Any] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                request = collector.ExportTraceServiceRequest()
                request.ParseFromString(self.rfile.read(int(self.headers["Content-Length"])))
                outer.requests.append((self.path, request))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_args: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.env = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.server.server_port}"}
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def spans(self) -> dict[str, Any]:
        return {
            span.name: span
            for _, request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        }

    @property
    def resource(self) -> dict[str, Any]:
        return attributes(self.requests[0][1].resource_spans[0].resource)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def attributes(thing: Any) -> dict[str, Any]:
    return {
        each.key: getattr(each.value, each.value.WhichOneof("value") or "string_value")
        for each in thing.attributes
    }


@pytest.fixture
def received() -> Iterator[Collector]:
    running = Collector()
    yield running
    running.close()


def test_a_run_is_a_span_with_its_tasks_below(project: Project, received: Collector):
    project.dodo(DODO)
    project.run("fresh", check=0)
    parent = f"00-{'a' * 32}-{'b' * 16}-01"
    project.run("-c", "-n", "2", env=received.env | {"TRACEPARENT": parent}, check=1)
    assert received.requests[0][0] == "/v1/traces"
    spans = received.spans
    assert set(spans) == {"RUN project", "make", "lint", "late"}  # 'fresh' was up to date: nothing happened
    run = spans.pop("RUN project")
    assert run.trace_id.hex() == "a" * 32
    assert run.parent_span_id.hex() == "b" * 16
    assert run.kind == run.SPAN_KIND_SERVER
    assert attributes(run)["cicd.pipeline.result"] == "failure"
    assert attributes(run)["error.type"] == "exit code 1"
    assert attributes(run)["buildkit.tasks.skipped"] == 1
    for span in spans.values():
        assert span.trace_id == run.trace_id
        assert span.parent_span_id == run.span_id
        assert span.kind == span.SPAN_KIND_INTERNAL
        assert run.start_time_unix_nano <= span.start_time_unix_nano < span.end_time_unix_nano
        assert span.end_time_unix_nano <= run.end_time_unix_nano
        assert attributes(span)["cicd.pipeline.task.run.id"] == span.span_id.hex()
    results = {name: attributes(span)["cicd.pipeline.task.run.result"] for name, span in spans.items()}
    assert results == {"make": "success", "lint": "failure", "late": "timeout"}
    assert attributes(spans["lint"])["process.exit.code"] == 3
    assert spans["lint"].status.code == spans["lint"].status.STATUS_CODE_ERROR


def test_the_resource_names_pipeline_run_and_commit(project: Project, received: Collector):
    project.dodo(DODO)
    project.write(".git/HEAD", "c0ffee\n")
    project.run("--otel", "--events", "e.jsonl", "make", env=received.env, check=0)
    assert received.resource["cicd.pipeline.name"] == "project"
    assert received.resource["service.name"] == "doit"
    assert received.resource["vcs.ref.head.revision"] == "c0ffee"
    assert received.resource["cicd.pipeline.run.id"] in project.read("e.jsonl")
    assert received.spans["make"].span_id.hex() in project.read("e.jsonl")


@pytest.mark.parametrize(
    "env",
    [
        {"OTEL_SDK_DISABLED": "true"},
        {"OTEL_TRACES_EXPORTER": "none"},
        {"TRACEPARENT": f"00-{'a' * 32}-{'b' * 16}-00"},
    ],
    ids=["disabled", "no exporter", "not sampled"],
)
def test_nothing_is_sent_where_nobody_wants_it(project: Project, received: Collector, env: dict[str, str]):
    project.dodo(DODO)
    project.run("make", env=received.env | env, check=0)
    assert received.requests == []


def test_a_collector_that_refuses_costs_one_warning(project: Project):
    refusing = Collector(status=400)
    try:
        project.dodo(DODO)
        result = project.run("--otel", "make", env=refusing.env, check=0)
    finally:
        refusing.close()
    warnings = [line for line in result.stderr.splitlines() if "OpenTelemetry" in line]
    assert warnings == ["buildkit: the OpenTelemetry trace cannot be written: the collector did not take it"]
    assert len(result.stderr.splitlines()) == 2  # with the closing line; the SDK says nothing itself
