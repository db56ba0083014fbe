"""Rows as a table that fits the terminal, by tabulate.

What belongs here: columns, and what gives way when there is not enough room. What the cells say is for the
report that fills them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from buildkit.core.errors import UsageError, did_you_mean

_GAP = 2  # tabulate's "simple" format puts two spaces between columns,
_TITLE_PADDING = 2  # and makes every column this much wider than its title
_ELLIPSIS = "…"


@dataclass(frozen=True, slots=True)
class Column:
    """A column, and how it behaves where room is short."""

    title: str
    align: Literal["left", "right"] = "left"
    # Cells may be cut down to this many characters; None: never cut.
    shrinks_to: int | None = None
    # Columns with a number are left out, lowest first, when shrinking is not enough; None: always shown.
    expendable: int | None = None


SIMPLE = "simple"
MARKDOWN = "pipe"
_PIPED = frozenset({MARKDOWN, "github"})  # formats that give `|` a meaning


def format_named(name: str) -> str:
    """Return `name` if tabulate has a format of that name; UsageError otherwise."""
    from tabulate import tabulate_formats  # 45 ms: only where a format is asked for

    if name not in tabulate_formats:
        guess = did_you_mean(name, tabulate_formats)
        raise UsageError(f"there is no table format '{name}'.{guess} Known: {', '.join(tabulate_formats)}.")
    return name


def render(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int | None, table_format: str = SIMPLE
) -> str:
    """Return the rows as a table at most `width` characters wide, as far as its columns allow.

    None is any width, and so is every format but the simple one: those are for documents. Columns that
    are empty in all rows are left out.
    """
    from tabulate import tabulate  # 45 ms: only where a table is printed

    shown = [index for index in range(len(columns)) if not rows or any(row[index] for row in rows)]
    widths = {index: _natural_width(columns[index], [row[index] for row in rows]) for index in shown}
    if width is not None and table_format == SIMPLE:
        shown = _drop(columns, shown, widths, width)
        _shrink(columns, shown, widths, width)
    cells = [[cut(row[index], widths[index]) for index in shown] for row in rows]
    if table_format in _PIPED:
        cells = [[cell.replace("|", "\\|") for cell in row] for row in cells]
    return tabulate(
        cells,
        headers=[cut(columns[index].title, widths[index] - _TITLE_PADDING) for index in shown],
        tablefmt=table_format,
        disable_numparse=True,  # a task may be called `1e5`
        colalign=[columns[index].align for index in shown] if cells else None,
    )


def cut(text: str, width: int) -> str:
    """Return `text` in at most `width` characters, an ellipsis standing for what is missing at its end."""
    if len(text) <= width:
        return text
    return text[: width - 1] + _ELLIPSIS if width > 0 else ""


def _natural_width(column: Column, cells: Sequence[str]) -> int:
    return max(len(column.title) + _TITLE_PADDING, *map(len, cells), 0)


def _drop(columns: Sequence[Column], shown: list[int], widths: dict[int, int], width: int) -> list[int]:
    """Return `shown` without the columns for which there is no room even when all others shrink."""

    def least(index: int) -> int:
        shrunk = columns[index].shrinks_to
        return widths[index] if shrunk is None else min(shrunk, widths[index])

    kept = list(shown)
    for number in sorted({number for index in shown if (number := columns[index].expendable) is not None}):
        if sum(map(least, kept)) + _GAP * (len(kept) - 1) <= width:
            break
        kept = [index for index in kept if columns[index].expendable != number]
    return kept


def _shrink(columns: Sequence[Column], shown: list[int], widths: dict[int, int], width: int) -> None:
    """Take what is too much from the widest column that may still shrink, again and again."""
    excess = sum(widths[index] for index in shown) + _GAP * (len(shown) - 1) - width
    while excess > 0:
        able = [index for index in shown if widths[index] > (columns[index].shrinks_to or widths[index])]
        if not able:
            return
        widest = max(able, key=widths.__getitem__)
        second = max((widths[index] for index in able if index != widest), default=0)
        least = columns[widest].shrinks_to or 0
        step = max(1, min(excess, widths[widest] - max(second, least)))
        widths[widest] -= step
        excess -= step
