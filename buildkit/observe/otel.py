"""A run as OpenTelemetry spans, sent over OTLP when it is over: `--otel`.

What belongs here: the spans, with the semantic conventions for CI/CD
(https://opentelemetry.io/docs/specs/semconv/cicd/cicd-spans/), and the one place that imports the SDK. They
are made after the last task: the SDK's threads never meet the forks of a run, and a slow collector delays the
end, not the work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from buildkit.core.errors import UsageError
from buildkit.core.execution import Decision
from buildkit.core.humanize import first_line
from buildkit.engine.job import JobStatus
from buildkit.observe.context import RunContext
from buildkit.observe.executions import Ended, Executions, FinishedRun
from buildkit.observe.options import OBSERVING_VARIABLES

_PROTOCOL_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_TIMEOUT_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT")
_TIMEOUT_S = 3
_BATCH = 512  # spans in one request; what the SDK's own processor sends
_RESULTS = {
    Decision.EXECUTED: "success",
    Decision.RESTORED: "success",
    Decision.SKIPPED: "skip",
    Decision.UPSTREAM_FAILED: "skip",
    Decision.IGNORED: "skip",
    Decision.CANCELLED: "cancellation",
}


def sdk_installed() -> bool:
    """Return whether spans can be made and sent."""
    from importlib.util import find_spec  # only where somebody asks for spans

    try:
        exporter = find_spec("opentelemetry.exporter.otlp.proto")
        return exporter is not None and find_spec("opentelemetry.sdk.trace") is not None
    except ModuleNotFoundError:
        return False


def require_sdk() -> None:
    """Raise UsageError where the extra is missing."""
    if not sdk_installed():
        raise UsageError(
            "--otel needs the OpenTelemetry SDK, which is not installed. "
            "Install it with: pip install 'doit-buildkit[otel]'"
        )


def wanted_by_environment(environ: Mapping[str, str]) -> bool:
    """Return whether a collector is configured, and tracing is not switched off."""
    disabled = environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    off = environ.get("OTEL_TRACES_EXPORTER", "").lower() == "none"
    return not disabled and not off and any(environ.get(name) for name in OBSERVING_VARIABLES)


def send_spans(environ: Mapping[str, str], run: FinishedRun) -> None:
    """Make the spans of a run and send them; OSError where the collector does not take them."""
    if not run.context.trace.sampled:
        return  # whoever began the trace decided that nobody keeps it
    import logging  # here, because the SDK imports it anyway

    # Its complaints are one warning of ours.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    spans = _spans(run, environ)
    try:
        exporter = _exporter(environ)
    except ImportError as error:
        raise OSError(f"the exporter for the chosen protocol is not installed ({error.name})") from None
    try:
        for start in range(0, len(spans), _BATCH):
            result = exporter.export(spans[start : start + _BATCH])
            if result.name != "SUCCESS":
                raise OSError("the collector did not take it")
    finally:
        exporter.shutdown()


def _spans(run: FinishedRun, environ: Mapping[str, str]) -> Sequence[Any]:
    """Return the spans of the tasks, and last that of the run."""
    from opentelemetry import trace as otel  # 0.2 s, and it starts threads: only when the run is over

    context = run.context
    spans: list[Any] = []
    ids: list[str] = []  # of the span that is made next
    tracer = _tracer(context, environ, ids, spans)
    ids.append(context.trace.span_id)
    began_ns = int(context.started_at * 1e9)
    whole = tracer.start_span(
        f"RUN {context.project}",
        _outer(context),
        kind=otel.SpanKind.SERVER,
        attributes=run_attributes(context, run.executions, run.exit_code),
        start_time=began_ns,
    )
    inside = otel.set_span_in_context(whole)
    for each in run.executions.ended:
        execution = each.execution
        if execution.decision is Decision.SKIPPED:
            continue  # nothing happened that could have a length; the run's span counts them
        ids.append(context.trace.span_of(execution.task, execution.attempt))
        started_ns = began_ns + execution.started_ns
        span = tracer.start_span(
            execution.task,
            inside,
            kind=otel.SpanKind.INTERNAL,
            attributes=task_attributes(context, each),
            start_time=started_ns,
        )
        if each.failure is not None:
            span.set_status(otel.Status(otel.StatusCode.ERROR, first_line(each.failure.message)))
        span.end(started_ns + execution.cost.wall_ns)
    if run.exit_code:
        whole.set_status(otel.Status(otel.StatusCode.ERROR, f"exit code {run.exit_code}"))
    whole.end(began_ns + int(run.elapsed_s * 1e9))
    return spans


def _tracer(context: RunContext, environ: Mapping[str, str], ids: list[str], spans: list[Any]) -> Any:
    """Return a tracer that takes the ids of spans from `ids`, and puts those that end into `spans`."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
    from opentelemetry.sdk.trace.id_generator import IdGenerator
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON

    class GivenIds(IdGenerator):  # type: ignore[misc] # no types where the extra is not installed
        """The ids that the run's events have too."""

        def generate_span_id(self) -> int:
            return int(ids.pop(), 16)

        def generate_trace_id(self) -> int:
            return int(context.trace.trace_id, 16)

    class Collect(SpanProcessor):  # type: ignore[misc] # as above
        def on_end(self, span: Any) -> None:
            spans.append(span)

    provider = TracerProvider(
        resource=Resource.create(resource_attributes(context, environ)),
        id_generator=GivenIds(),
        sampler=ALWAYS_ON,
        shutdown_on_exit=False,
    )
    provider.add_span_processor(Collect())
    return provider.get_tracer("doit-buildkit", context.info.buildkit or "")


def _outer(context: RunContext) -> Any:
    """Return the span that this run is part of, None where it began the trace."""
    from opentelemetry import trace as otel

    if context.trace.parent_id is None:
        return None
    remote = otel.SpanContext(
        int(context.trace.trace_id, 16),
        int(context.trace.parent_id, 16),
        is_remote=True,
        trace_flags=otel.TraceFlags(otel.TraceFlags.SAMPLED),
    )
    return otel.set_span_in_context(otel.NonRecordingSpan(remote))


def _exporter(environ: Mapping[str, str]) -> Any:
    protocol = next((environ[name] for name in _PROTOCOL_VARIABLES if environ.get(name)), "http/protobuf")
    # The SDK's own ten seconds are long for somebody who waits for a build; None: the user has chosen.
    chosen = any(environ.get(name) for name in _TIMEOUT_VARIABLES)
    timeout_s = None if chosen else _TIMEOUT_S
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as Grpc

        return Grpc(timeout=timeout_s)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as Http

    return Http(timeout=timeout_s)


def resource_attributes(context: RunContext, environ: Mapping[str, str]) -> dict[str, str]:
    """Return what the spans are about: the pipeline, the run, the commit."""
    attributes = {
        "service.name": environ.get("OTEL_SERVICE_NAME") or "doit",
        "cicd.pipeline.name": context.project,
        "cicd.pipeline.run.id": context.info.uid,
        "vcs.ref.head.revision": context.info.git_commit,
        "cicd.pipeline.run.url.full": run_url(environ),
    }
    return {name: value for name, value in attributes.items() if value}


def run_url(environ: Mapping[str, str]) -> str | None:
    """Return where the CI service shows the job that this run is part of."""
    if environ.get("CI_JOB_URL"):
        return environ["CI_JOB_URL"]
    names = ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")
    if all(environ.get(name) for name in names):
        server, repository, run = (environ[name] for name in names)
        return f"{server}/{repository}/actions/runs/{run}"
    return None


def run_attributes(context: RunContext, executions: Executions, exit_code: int) -> dict[str, Any]:
    """Return the attributes of the span of a run."""
    attributes: dict[str, Any] = {
        "cicd.pipeline.action.name": "RUN",
        "cicd.pipeline.result": _run_result(executions, exit_code),
        "buildkit.width": executions.width,
        "buildkit.exit_code": exit_code,
    }
    if exit_code:
        attributes["error.type"] = f"exit code {exit_code}"
    for decision in Decision:
        if executions.count(decision):
            attributes[f"buildkit.tasks.{decision.name.lower()}"] = executions.count(decision)
    if context.info.machine:
        attributes["cicd.worker.name"] = context.info.machine
    return attributes


def _run_result(executions: Executions, exit_code: int) -> str:
    if exit_code == 0:
        return "success"
    if exit_code > 128:
        return "cancellation"
    failed = any(each.execution.decision is Decision.FAILED for each in executions.ended)
    return "failure" if failed else "error"


def task_attributes(context: RunContext, each: Ended) -> dict[str, Any]:
    """Return the attributes of the span of a task."""
    execution = each.execution
    cost = execution.cost
    attributes: dict[str, Any] = {
        "cicd.pipeline.task.name": execution.task,
        "cicd.pipeline.task.run.id": context.trace.span_of(execution.task, execution.attempt),
        "cicd.pipeline.task.run.result": _task_result(each),
        "buildkit.decision": str(execution.decision),
        "buildkit.reasons": [str(reason) for reason in execution.reasons],
        "buildkit.queue_ns": execution.queue_ns,
        "buildkit.slot": execution.slot,
        "buildkit.user_ns": cost.user_ns,
        "buildkit.system_ns": cost.system_ns,
        "buildkit.rss_bytes": cost.rss_bytes,
        "process.exit.code": execution.exit_code,
    }
    if each.failure is not None:
        attributes["error.type"] = str(each.status or each.failure.kind)
    return {name: value for name, value in attributes.items() if value is not None}


def _task_result(each: Ended) -> str:
    if each.execution.decision is not Decision.FAILED:
        return _RESULTS[each.execution.decision]
    if each.status is JobStatus.TIMED_OUT:
        return "timeout"
    return "failure" if each.status in (JobStatus.FAILED, JobStatus.SIGNALLED) else "error"
