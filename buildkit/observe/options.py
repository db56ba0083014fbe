"""Which observers a run was asked for.

What belongs here: names. Imported where the loading of a dodo.py is watched, so nothing heavy is.
"""

from __future__ import annotations

from buildkit.core.record import Record

# With one of these in the environment, spans are expected of every run.
OBSERVING_VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

EVENTS_SETTING = "the setting 'events'"


class ObserveOptions(Record):
    """What the command line, or the settings, ask for; paths count from the directory of the dodo.py."""

    events: str | None = None
    trace: str | None = None
    junit: str | None = None
    prometheus: str | None = None
    otel: bool = False
    events_from: str = "--events"  # who asks for the events, for the error where that cannot be
