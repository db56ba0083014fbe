"""Explanations in words, for a terminal.

What belongs here: wording and layout. Nothing is looked up; what is not in the record is not told.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from buildkit.core.difference import UNSET, Difference, Part, PartKind
from buildkit.core.execution import Decision, Reason, ReasonKind
from buildkit.core.humanize import duration, ending, first_line, listed, plural, printable, size
from buildkit.report.explanation import (
    INTEREST,
    Brief,
    CacheAnswer,
    Explanation,
    LastTime,
    Upstream,
    Would,
    counts,
)
from buildkit.report.tables import Column, render

_NAMES = 10  # names in one line
_PER_KIND = 20  # differences of one kind
_INDENT = "  "
_DIGEST = re.compile(r"(?:[a-z0-9]{1,16}:)?([0-9a-f]{16,128})(?::(\d+))?")
_COLUMNS = (Column("Task", shrinks_to=10), Column("Would", expendable=1), Column("Why", shrinks_to=20))
_AS_TEXT = frozenset({PartKind.COMMAND, PartKind.OPTION})  # parts whose values say more than a digest


def table(briefs: Sequence[Brief], width: int | None, limit: int | None) -> str:
    """Return the tasks as a table, those that would act first, and a line that counts them."""
    rows = [brief for brief in briefs if brief.would is not Would.GROUP]
    if not rows:
        return "No tasks."
    rows.sort(key=lambda brief: INTEREST.index(brief.would))  # stable: in the order of a run otherwise
    shown = rows[:limit]
    cells = [[printable(brief.task), brief.would.value, printable(_why(brief))] for brief in shown]
    lines = [render(_COLUMNS, cells, width), ""]
    if len(shown) < len(rows):
        lines.append(f"{plural(len(rows) - len(shown), 'more task')}; --all shows all")
    lines.append(", ".join(f"{number:,} {would}" for would, number in counts(rows).items()))
    return "\n".join(lines)


def text(explanation: Explanation, *, width: int | None, parts: bool, limit: int | None) -> str:
    """Return one explanation; `parts` adds the whole key, `limit` shortens the table of a group."""
    brief = explanation.brief
    place = f" ({explanation.location})" if explanation.location else ""
    lines = [f"{printable(brief.task)}{place}: {brief.would}"]
    if brief.would is Would.GROUP:
        members = table(explanation.members, width, limit) if explanation.members else "It has no tasks."
        return "\n".join([*lines, *_indented(members.splitlines())])
    lines += _indented(_reasons(brief) + _soundness(explanation))
    if explanation.differences:
        lines += ["", f"{_INDENT}What differs from its last success:"]
        lines += _indented(_differences(explanation.differences), 2)
    if parts:
        lines += ["", f"{_INDENT}Its key{_short_key(explanation.key)}:"]
        lines += _indented([_part(part) for part in explanation.parts] or ["not known yet"], 2)
    lines += ["", *_indented(_circumstances(explanation))]
    return "\n".join(lines)


def reason_line(reason: Reason) -> str:
    """Return a reason with up to ten of its names."""
    if not reason.names:
        return str(reason.kind)
    return f"{reason.kind}: {listed([printable(name) for name in reason.names], _NAMES)}"


def _why(brief: Brief) -> str:
    if brief.message:
        return first_line(brief.message)
    if brief.would is Would.SKIP:
        return f"as long as {brief.awaited} leads to the same" if brief.awaited else ""
    return "; ".join(str(reason) for reason in brief.reasons)


def _reasons(brief: Brief) -> list[str]:
    lines = [reason_line(reason) for reason in brief.reasons if reason.kind is not ReasonKind.UP_TO_DATE]
    return lines + [printable(line) for line in brief.message.rstrip().splitlines()]


def _soundness(explanation: Explanation) -> list[str]:
    """Say what makes it right not to run the task; nothing for one that would run."""
    would = explanation.brief.would
    if would is Would.RESTORE:
        return [
            f"The cache has a result that was made under exactly this key: the same {_made_of(explanation)}.",
            *_brings_back(explanation.parts),
        ]
    if would is not Would.SKIP:
        return []
    if explanation.key is None or explanation.key != explanation.recorded_key:
        return ["Its uptodate checks say yes, and it has no inputs: doit needs no record of such a task."]
    outputs = [part for part in explanation.parts if part.kind is PartKind.OUTPUT]
    kept = f" Its {plural(len(outputs), 'output')} {'is' if len(outputs) == 1 else 'are'} as it left"
    kept = f"{kept} {'it' if len(outputs) == 1 else 'them'}." if outputs else ""
    return [f"Its key is that of its last success: the same {_made_of(explanation)}.{kept}"]


def _made_of(explanation: Explanation) -> str:
    """Return what the key is made of, counted: `3 input files, 1 command, 1 tool`."""
    told = (PartKind.OUTPUT, PartKind.PLATFORM, PartKind.SCHEMA)  # every key has these, or they say little
    counted = Counter(part.kind for part in explanation.parts if part.kind not in told)
    names = [_kind_counted(kind, counted[kind]) for kind in PartKind if counted[kind]]
    return listed(names, len(names)) or "definition"


def _kind_counted(kind: PartKind, count: int) -> str:
    if kind in (PartKind.CODE, PartKind.CONFIGURATION):  # no plural
        return f"{kind} ({count:,})"
    return plural(count, kind.value)


def _brings_back(parts: Sequence[Part]) -> list[str]:
    outputs = [printable(part.name) for part in parts if part.kind is PartKind.OUTPUT]
    if not outputs:
        return ["It has no outputs: its log and its values come back."]
    return [f"What comes back: {listed(outputs, _NAMES)}, its log and its values."]


# --- differences


def _differences(found: Sequence[Difference]) -> list[str]:
    lines: list[str] = []
    for kind in PartKind:
        alike = [one for one in found if one.kind is kind]
        for one in alike[:_PER_KIND]:
            lines += _difference(one)
        if len(alike) > _PER_KIND:
            lines.append(f"{len(alike) - _PER_KIND:,} more of kind '{kind}'; --json shows all")
    return lines


def _difference(one: Difference) -> list[str]:
    title = f"{one.kind} {printable(one.name)}".rstrip()
    if one.kind in _AS_TEXT:
        return [title, *_indented(_text_difference(one.old, one.new))]
    return [f"{title}: {_change(one)}"]


def _text_difference(old: str | None, new: str | None) -> list[str]:
    before = [] if old is None else old.splitlines()
    after = [] if new is None else new.splitlines()
    if len(before) > 1 and len(after) > 1:
        from difflib import unified_diff  # only for commands of several lines

        changed = list(unified_diff(before, after, n=1, lineterm=""))[2:]
    else:
        changed = ["-" + line for line in before] + ["+" + line for line in after]
    return [printable(line if line.startswith("@@") else f"{line[0]} {line[1:]}") for line in changed]


def _change(one: Difference) -> str:
    old, new = one.old, one.new
    if one.kind is PartKind.ENVIRONMENT:
        return _environment_change(old, new)
    if one.kind is PartKind.OUTPUT:
        return "declared since" if old is None else "no longer declared"
    if old is None or new is None:
        return "added" if old is None else "removed"
    if one.kind is PartKind.INPUT:
        return _input_change(old, new)
    return f"{_short(old)} -> {_short(new)}"


def _environment_change(old: str | None, new: str | None) -> str:
    """Say what became of a variable; its values are nobody's business."""
    if old is None:
        return "is looked at since"
    if new is None:
        return "is no longer looked at"
    if old == UNSET:
        return "was unset"
    return "is unset now" if new == UNSET else "changed"


def _input_change(old: str, new: str) -> str:
    (old_digest, _, old_mode), (new_digest, _, new_mode) = old.partition(" "), new.partition(" ")
    told = []
    if old_digest != new_digest:
        told.append(f"{_file(old_digest)} -> {_file(new_digest)}")
    if old_mode != new_mode:
        told.append(f"{old_mode} -> {new_mode.removeprefix('mode ')}")
    return ", ".join(told)


def _file(digest: str) -> str:
    match = _DIGEST.fullmatch(digest)
    if match is None or match[2] is None:
        return _short(digest)
    return f"{match[1][:8]} ({size(int(match[2]))})"


def _short(value: str) -> str:
    match = _DIGEST.fullmatch(value)
    return match[1][:8] if match else printable(value)


def _part(part: Part) -> str:
    title = f"{part.kind} {printable(part.name)}".rstrip()
    if part.kind is PartKind.INPUT:
        digest, _, mode = part.value.partition(" ")
        return f"{title}: {_file(digest)}, {mode}"
    return f"{title}: {_short(part.value)}" if part.value else title


def _short_key(key: str | None) -> str:
    return "" if key is None else f" {_short(key)}"


# --- circumstances


def _circumstances(explanation: Explanation) -> list[str]:
    lines = [f"Cache: {_cache(explanation)}"]
    if explanation.last is not None:
        lines.append(f"Last time: {_last(explanation.last)}")
    if explanation.waits:
        lines += ["Waits for:", *_indented(_upstream(explanation.waits))]
    if explanation.setup:
        lines += ["Runs first if it has to run:", *_indented(_upstream(explanation.setup))]
    if explanation.may_change:
        names = [printable(name) for name in explanation.may_change]
        one = len(names) == 1
        lines.append(f"The answer may change when {listed(names, _NAMES)} {'has' if one else 'have'} run.")
    return lines


def _cache(explanation: Explanation) -> str:
    answer = explanation.cache
    if answer is CacheAnswer.UNCACHEABLE:
        return f"does not keep its results: {explanation.uncacheable}"
    if answer in (CacheAnswer.HAS_RESULT, CacheAnswer.NO_RESULT):
        return f"{answer} for this key ({_short(explanation.key or '')})"
    if answer is CacheAnswer.NOT_ASKED:
        return f"{answer}, since what makes the task due is not in its key"
    if answer is CacheAnswer.NO_KEY:
        return f"{answer}: what the key is made of does not exist yet"
    return str(answer)


def _last(last: LastTime) -> str:
    execution = last.execution
    told = f"{execution.decision} in run {last.run_id}"
    if execution.cost.wall_ns:
        told += f" in {duration(execution.cost.wall_ns)}"
    if execution.decision is Decision.FAILED:
        how = ending(execution.exit_code, execution.signal)
        told += f", {how}" if how else ""
        if execution.log_path:
            told += f", log: {printable(execution.log_path)}"
    return told


def _upstream(found: Sequence[Upstream]) -> list[str]:
    ordered = sorted(found, key=lambda one: not one.would.acts)
    lines = [_one_upstream(one) for one in ordered[:_NAMES]]
    if len(ordered) > _NAMES:
        lines.append(f"and {plural(len(ordered) - _NAMES, 'more task')}; --json shows all")
    return lines


def _one_upstream(one: Upstream) -> str:
    supplies = f"; supplies {listed(list(one.supplies))}" if one.supplies else "; order only"
    return printable(f"{one.task}: {one.would}{supplies}")


def _indented(lines: Iterable[str], depth: int = 1) -> list[str]:
    return [f"{_INDENT * depth}{line}" if line else "" for line in lines]
