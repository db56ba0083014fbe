"""Where tasks are defined, and errors of a dodo.py told with their place.

What belongs here: file and line of task creators, and the one clear message for whatever goes wrong
while a dodo.py is loaded.
"""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Mapping
from types import CodeType
from typing import Any

from doit.exceptions import InvalidCommand

from buildkit.core.errors import PlanError, did_you_mean


class Definitions:
    """The task creators of a loaded namespace, by the base name of their tasks."""

    def __init__(self, namespace: Mapping[str, Any] | None, root: str) -> None:
        self._root = root
        self._codes: dict[str, CodeType] = {}
        self._places: dict[str, str] = {}
        for name, value in (namespace or {}).items():
            creator = getattr(value, "create_doit_tasks", None) if not name.startswith("task_") else value
            code = getattr(getattr(creator, "__func__", creator), "__code__", None)
            if code is not None:
                base = name.removeprefix("task_") if creator is value else getattr(creator, "basename", name)
                self._codes[base] = code

    def locate(self, task: str) -> str:
        """Return `dodo.py:14` for a task, or an empty text where it cannot be known."""
        base = task.split(":", 1)[0]
        place = self._places.get(base)
        if place is None:
            code = self._codes.get(base)
            place = self._places[base] = "" if code is None else self._place(code)
        return place

    def _place(self, code: CodeType) -> str:
        return f"{_short(code.co_filename, self._root)}:{code.co_firstlineno}"

    def with_places(self, message: str) -> str:
        """Return the message with the places of the tasks that it names."""
        places = []
        for word in re.findall(r"[\w.:-]+", message):
            place = self.locate(word.rstrip(".:"))
            if place and place not in places:
                places.append(place)
        return f"{message} ({', '.join(places)})" if places else message


class UnknownTaskError(InvalidCommand):  # type: ignore[misc] # doit has no types
    """doit's error for a name that is neither task nor target, with the closest name that there is."""

    def __init__(self, not_found: str, suggestion: str) -> None:
        super().__init__(not_found=not_found)
        self._suggestion = suggestion

    def __str__(self) -> str:
        """Return doit's text and the suggestion."""
        text = super().__str__().rstrip()
        return f"{text.removesuffix('.')}.{self._suggestion}" if self._suggestion else text


def unknown_task(error: InvalidCommand, control: Any) -> InvalidCommand:
    """Return the error with a suggestion, where it is about an unknown name."""
    if error.not_found is None:
        return error
    known = [*control.tasks, *control.targets]
    return UnknownTaskError(error.not_found, did_you_mean(error.not_found, known))


def loading_error(error: BaseException, root: str) -> PlanError:
    """Return one clear message for an exception that loading a dodo.py raised."""
    if isinstance(error, SyntaxError) and error.filename:
        text = (error.text or "").strip()
        shown = f": {text}" if text else ""
        return PlanError(
            f"{_short(error.filename, root)}:{error.lineno}: {type(error).__name__}: {error.msg}{shown}"
        )
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if _is_own(frame.filename, root)]
    frame = (own or frames)[-1] if frames else None
    if frame is None or frame.filename.startswith("<frozen importlib"):
        return PlanError(f"{type(error).__name__}: {error}")  # the file itself cannot be had
    name = "" if frame.name == "<module>" else f", in {frame.name}"
    return PlanError(f"{_short(frame.filename, root)}:{frame.lineno}{name}: {type(error).__name__}: {error}")


def _is_own(filename: str, root: str) -> bool:
    path = os.path.abspath(filename)
    return path.startswith(root.rstrip(os.sep) + os.sep) and "site-packages" not in path


def _short(filename: str, root: str) -> str:
    relative = os.path.relpath(filename, root)
    return filename if relative.startswith("..") else relative
