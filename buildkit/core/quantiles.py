"""Middles and quantiles of a few numbers. `statistics` brings decimal and random along, which take longer."""

from __future__ import annotations

from collections.abc import Sequence


def median(values: Sequence[float]) -> float:
    """Return the median of at least one number; of two in the middle, their mean."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else 0.5 * (ordered[middle - 1] + ordered[middle])


def whole_median(values: Sequence[int]) -> int:
    """Return the median of whole numbers as one: rounded down where it lies between two."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) // 2


def quantile(values: Sequence[int], share: float) -> int:
    """Return the smallest of at least one number that `share` of them do not exceed (nearest rank)."""
    ordered = sorted(values)
    rank = -int(-share * len(ordered) // 1)  # rounded up
    return ordered[min(max(rank, 1), len(ordered)) - 1]
