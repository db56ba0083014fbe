"""Which observers a run was asked for, and what forbids answering it without the engine.

What belongs here: names. Imported by the fast answer to a build with nothing to do, so nothing else is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# Options of `doit run` that need a run to observe: the fast answer must not be given with any of them.
OBSERVING_OPTIONS = frozenset({"events", "trace", "junit", "prometheus", "otel"})
# The same for the environment: with one of these set, spans are expected of every run.
OBSERVING_VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


@dataclass(frozen=True, slots=True)
class ObserveOptions:
    """What the command line asks for; paths count from the directory of the dodo.py."""

    events: str | None = None
    trace: str | None = None
    junit: str | None = None
    prometheus: str | None = None
    otel: bool = False


def must_be_observed(options: Mapping[str, object], environ: Mapping[str, str], events: str | None) -> bool:
    """Return whether a run has to go through the engine, because somebody wants to know of it.

    `options` are those of the command line by name, `events` is the setting of `[tool.buildkit]`.
    """
    return bool(
        events
        or any(options.get(name) for name in OBSERVING_OPTIONS)
        or any(environ.get(name) for name in OBSERVING_VARIABLES)
    )
