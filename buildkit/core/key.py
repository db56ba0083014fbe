"""The action key: a digest of everything that a task's result may depend on.

What belongs here: how components become a key, and how two sets of components are compared line by
line. Where the components come from is the business of the planner and the judge.

A component is a label and a value. Labels are `kind` or `kind:name`; the kinds are the keys of
`_REASONS`. Values are digests or short texts; environment values and secrets only ever as digests.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NewType

from xxhash import xxh3_128

from buildkit.core.execution import Reason, ReasonKind

ActionKey = NewType("ActionKey", str)
Component = tuple[str, str]

# Raised whenever the meaning of a component changes: old keys then simply never match.
KEY_SCHEMA = "1"

_REASONS = {
    "schema": ReasonKind.SCHEMA_CHANGED,
    "platform": ReasonKind.PLATFORM_CHANGED,
    "command": ReasonKind.COMMAND_CHANGED,
    "code": ReasonKind.CODE_CHANGED,
    "argument": ReasonKind.ARGUMENT_CHANGED,
    "option": ReasonKind.ARGUMENT_CHANGED,
    "env": ReasonKind.ENVIRONMENT_CHANGED,
    "tool": ReasonKind.TOOL_CHANGED,
    "config": ReasonKind.CONFIG_CHANGED,
    "setting": ReasonKind.CONFIG_CHANGED,
    "upstream": ReasonKind.UPSTREAM_CHANGED,
    "output": ReasonKind.OUTPUT_LIST,
}


def action_key(components: Iterable[Component], inputs: Iterable[tuple[str, str, int]]) -> ActionKey:
    """Return the key of sorted `components` and sorted `inputs` (path, digest, permission bits).

    Every field is written with its length, so that no two different lists give the same text.
    """
    pieces = [KEY_SCHEMA]
    pieces += [f"{len(label)}:{label}{len(value)}:{value}" for label, value in components]
    pieces.append("inputs")
    pieces += [f"{len(path)}:{path}{mode:o}:{digest}" for path, digest, mode in inputs]
    text = "\n".join(pieces).encode("utf-8", "surrogateescape")
    return ActionKey(f"xxh3:{xxh3_128(text).hexdigest()}")


def secret_digest(value: str) -> str:
    """Return a digest of an environment value: a one-way hash, since the value may be a secret."""
    import hashlib  # milliseconds, for OpenSSL: only where a key holds a variable

    return hashlib.sha256(b"buildkit env\0" + value.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def compare(
    old: Sequence[Component],
    new: Sequence[Component],
    old_inputs: Mapping[str, tuple[str, int]],
    new_inputs: Mapping[str, tuple[str, int]],
) -> tuple[Reason, ...]:
    """Return why the keys of these two sets of components differ: one reason per kind, names sorted."""
    found: dict[ReasonKind, list[str]] = {}
    before, after = dict(old), dict(new)
    for label in sorted(before.keys() | after.keys()):
        if before.get(label) != after.get(label):
            kind, _, name = label.partition(":")
            found.setdefault(_REASONS.get(kind, ReasonKind.CONFIG_CHANGED), []).append(name)
    for path in sorted(old_inputs.keys() | new_inputs.keys()):
        was, is_now = old_inputs.get(path), new_inputs.get(path)
        if was == is_now:
            continue
        if was is None:
            kind_of_change = ReasonKind.INPUT_ADDED
        elif is_now is None:
            kind_of_change = ReasonKind.INPUT_REMOVED
        elif was[0] != is_now[0]:
            kind_of_change = ReasonKind.INPUT_CHANGED
        else:
            kind_of_change = ReasonKind.INPUT_MODE
        found.setdefault(kind_of_change, []).append(path)
    return tuple(Reason(kind, tuple(name for name in names if name)) for kind, names in found.items())
