"""Two action keys line by line: every part by kind and name, and what became of it.

What belongs here: parts as data, and their comparison. The kinds of components are those of `core/key.py`.
Nothing here reveals an environment value: not even the digest of one leaves this room.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from itertools import zip_longest

from buildkit.core.key import Component


class PartKind(StrEnum):
    """What a part of a key is about, in the order in which parts are told."""

    INPUT = "input file"
    COMMAND = "command"
    CODE = "Python code"
    ARGUMENT = "argument"
    OPTION = "option"
    ENVIRONMENT = "environment variable"
    TOOL = "tool"
    CONFIGURATION = "configuration"
    UPSTREAM = "upstream task"
    OUTPUT = "output"
    PLATFORM = "platform"
    SCHEMA = "key schema"


_KINDS = {
    "command": PartKind.COMMAND,
    "code": PartKind.CODE,
    "argument": PartKind.ARGUMENT,
    "option": PartKind.OPTION,
    "env": PartKind.ENVIRONMENT,
    "tool": PartKind.TOOL,
    "upstream": PartKind.UPSTREAM,
    "output": PartKind.OUTPUT,
    "platform": PartKind.PLATFORM,
    "schema": PartKind.SCHEMA,
}  # all others (`config`, `setting`) are configuration
_ORDER = {kind: number for number, kind in enumerate(PartKind)}

SET = "set"  # stands for the value of an environment variable, whatever it is
UNSET = "unset"


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a key. The value is a digest or a short text, of an input with its mode in octal."""

    kind: PartKind
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Difference:
    """A part that is not what it was; None: it was not there, or is there no longer."""

    kind: PartKind
    name: str
    old: str | None
    new: str | None


def parts_of(components: Iterable[Component], inputs: Iterable[tuple[str, str, int]]) -> tuple[Part, ...]:
    """Return all parts of a key, with environment values hidden."""
    return tuple(Part(part.kind, part.name, _shown(part)) for part in _raw_parts(components, inputs))


def differences(
    old: Iterable[Component],
    old_inputs: Iterable[tuple[str, str, int]],
    new: Iterable[Component],
    new_inputs: Iterable[tuple[str, str, int]],
) -> tuple[Difference, ...]:
    """Return what differs between two keys, sorted by kind and name; inputs are (path, digest, mode)."""
    before, after = _grouped(_raw_parts(old, old_inputs)), _grouped(_raw_parts(new, new_inputs))
    found: list[Difference] = []
    for kind, name in sorted(before.keys() | after.keys(), key=lambda pair: (_ORDER[pair[0]], pair[1])):
        # A label may come more than once: two `config_changed` in one task are called alike.
        pairs = zip_longest(before.get((kind, name), ()), after.get((kind, name), ()))
        found.extend(
            Difference(kind, name, None if was is None else _shown(was), None if now is None else _shown(now))
            for was, now in pairs
            if was != now
        )
    return tuple(found)


def _raw_parts(components: Iterable[Component], inputs: Iterable[tuple[str, str, int]]) -> list[Part]:
    parts = [Part(PartKind.INPUT, path, f"{digest} mode {mode:o}") for path, digest, mode in inputs]
    for label, value in components:
        kind, _, name = label.partition(":")
        parts.append(Part(_KINDS.get(kind, PartKind.CONFIGURATION), name, value))
    parts.sort(key=lambda part: (_ORDER[part.kind], part.name))
    return parts


def _grouped(parts: Iterable[Part]) -> dict[tuple[PartKind, str], list[Part]]:
    groups: dict[tuple[PartKind, str], list[Part]] = {}
    for part in parts:
        groups.setdefault((part.kind, part.name), []).append(part)
    return groups


def _shown(part: Part) -> str:
    if part.kind is PartKind.ENVIRONMENT:
        return UNSET if part.value == UNSET else SET
    return part.value
