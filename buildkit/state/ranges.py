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
        parts.append(str(first) if first == number else f"{first}-{number}")
        start = index + 1
    return ",".join(parts)


def decode_ranges(text: str) -> Iterator[int]:
    """Yield the numbers of `encode_ranges` in ascending order; ValueError where the text is not such."""
    for part in text.split(",") if text else ():
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)
