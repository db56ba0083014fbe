"""Several consumers of one run's events, and what happens when one of them cannot go on.

What belongs here: the contract of an observer, and passing events on. What an observer makes of them is in
a module of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from buildkit.engine.events import Event, EventSink

Handler = Callable[[Any], None]  # takes an event of the class that it is listed under


class Observer(Protocol):
    """Consumes events of one run. OSError from any of its methods means that it cannot go on."""

    @property
    def what(self) -> str:
        """Return what it writes, for a warning: `events file 'x.jsonl'`."""

    @property
    def handlers(self) -> Mapping[type, Handler]:
        """Return who takes which class of events; others are not passed on. Asked once."""

    def finish(self, exit_code: int, /) -> None:
        """Write what is left; the run is over and its exit code is known."""


class FanOut:
    """An `EventSink` that passes each event to a reporter's sink first, then to observers.

    An observer that fails is told of once and left out from then on: a full disk must not fail a build.
    """

    def __init__(self, first: EventSink, observers: Sequence[Observer], warn: Callable[[str], None]) -> None:
        self._first = first
        self._observers = list(observers)
        self._warn = warn
        self._table: dict[type, list[tuple[Observer, Handler]]] = {}
        for observer in observers:
            for kind, handler in observer.handlers.items():
                self._table.setdefault(kind, []).append((observer, handler))

    def handle(self, event: Event) -> None:
        """Pass one event on."""
        self._first.handle(event)
        interested = self._table.get(type(event))
        if interested is None:
            return
        for observer, handler in interested:
            try:
                handler(event)
            except OSError as error:
                self._leave_out(observer)
                self._warn(f"{_complaint(observer, error)}; the run goes on")

    def finish(self, exit_code: int) -> None:
        """Tell all observers that the run is over."""
        for observer in list(self._observers):
            try:
                observer.finish(exit_code)
            except OSError as error:
                self._warn(_complaint(observer, error))

    def _leave_out(self, observer: Observer) -> None:
        self._observers = [other for other in self._observers if other is not observer]
        # New lists: the one that is being gone through stays as it is.
        self._table = {
            kind: [entry for entry in entries if entry[0] is not observer]
            for kind, entries in self._table.items()
        }


def _complaint(observer: Observer, error: OSError) -> str:
    return f"the {observer.what} cannot be written: {error.strerror or error}"
