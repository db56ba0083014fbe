"""Sets of small numbers as a short text: `1-9000,9002`.

A build with nothing to do skips thousands of tasks; a row for each would cost more than the build. The ids
of tasks are dense, so the set of the skipped ones is nearly always a handful of ranges.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def encode_ranges(numbers: Iterable[int]) -> str:
    """Return the set of `numbers` (not negative, any order, repeats allowed) as ascending ranges."""
    parts: list[str] = []
    ordered = sorted(set(numbers))
    start = 0
    for index, number in enumerate(ordered):
        if index + 1 < len(ordered) and ordered[index + 1] == number + 1:
            continue
        first = ordered[start]
        parts.append(_part(first, number))
        start = index + 1
    return ",".join(parts)


def decode_ranges(text: str) -> Iterator[int]:
    """Yield the numbers of `encode_ranges` in ascending order; ValueError where the text is not such."""
    for first, last in _pairs(text):
        yield from range(first, last + 1)


def count_of(text: str) -> int:
    """Return how many numbers there are; ValueError as `decode_ranges` raises it."""
    return sum(last - first + 1 for first, last in _pairs(text))


def holds(text: str, number: int) -> bool:
    """Return whether a number is in the ranges."""
    return any(first <= number <= last for first, last in _pairs(text))


def without(text: str, numbers: Iterable[int]) -> str:
    """Return the ranges without these numbers, in time that grows with the ranges and not with the set."""
    gone = sorted(numbers)
    at, parts = 0, []
    for first, last in _pairs(text):
        while at < len(gone) and gone[at] <= last:
            if first < gone[at]:
                parts.append(_part(first, gone[at] - 1))
            first = max(first, gone[at] + 1)  # noqa: PLW2901 - what is left of the range
            at += 1
        if first <= last:
            parts.append(_part(first, last))
    return ",".join(parts)


def union(text: str, numbers: Iterable[int]) -> str:
    """Return the ranges with these numbers, in time like that of `without`."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted([*_pairs(text), *((number, number) for number in numbers)]):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return ",".join(_part(first, last) for first, last in merged)


def _part(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"


def _pairs(text: str) -> Iterator[tuple[int, int]]:
    for part in text.split(",") if text else ():
        first, _, last = part.partition("-")
        yield int(first), int(last or first)
