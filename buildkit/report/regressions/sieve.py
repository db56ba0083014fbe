"""Which series may hold a regression at all: a cheap question before the dear one.

A verdict of the detector takes a millisecond, and a history may hold a million executions. What is asked here
takes microseconds: do the latest values of a series lie above those before them, by more than the smallest
effect that the detector looks for and by more than chance among so many would often make of noise? A series
that does not pass cannot be an alarm that sets in within the runs looked at; one that passes is judged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

LEAST = 11  # the detector learns from eight and wants three slower ones
_LEARNT = 8  # what the detector learns from at least
_LATEST = (3, 5, 8, 13, 21)  # how many of the latest values are held against those before them
_BEFORE = 40
_SHIFT = 0.04  # log; below the detector's smallest effect
_SURENESS = 3.0  # standard errors; an alarm of the detector takes about 3.3 of normal noise
_LEAST_SCALE = 0.005  # log; times are not steadier than that
_FIRST_LOOK = 16  # values that are taken for one level in any case
_BLOCK = 8


def sureness(values: Sequence[float]) -> float:
    """Return by how many standard errors the latest values stand out upwards; 0 where they do not.

    `values` are positive, oldest first.
    """
    if len(values) < LEAST:
        return 0.0
    best = 0.0
    # Slow drift: no step stands out, but the ends of the series differ.
    for count in (*_LATEST, len(values) // 3):
        before = values[max(0, len(values) - count - _BEFORE) : len(values) - count]
        if count == len(values) // 3:
            before = values[:count]
        if len(before) < 3:
            break
        ordered = sorted(before)
        middle = ordered[len(ordered) // 2]
        latest = sorted(values[-count:])[count // 2]
        if middle <= 0 or latest <= middle:
            continue
        shift = math.log(latest / middle)
        if shift < _SHIFT:
            continue
        # Half the width of the middle half of normal noise is 0.674 standard deviations.
        low, high = ordered[len(ordered) // 4], ordered[(3 * len(ordered)) // 4]
        scale = max(math.log(high / low) / 1.349 if low > 0 else 1.0, _LEAST_SCALE)
        error = scale * math.sqrt(1 / count + 1 / len(before))
        if shift > _SURENESS * error:
            best = max(best, shift / error)
    return best


def quiet_length(values: Sequence[float], judged: int) -> int:
    """Return how many of the first values lie on one level, the last `judged` not counted; at least 8.

    The detector may learn from those without a verdict on each: on series of `benchmarks/regressions.py` it
    then says the same of the last one in 369 of 370 cases, in a third of the time where nothing moves.
    """
    quiet = len(values) - judged
    for start in range(_FIRST_LOOK, quiet - _BLOCK + 1, _BLOCK):
        before = sorted(values[max(0, start - _BEFORE) : start])
        middle = before[len(before) // 2]
        low, high = before[len(before) // 4], before[(3 * len(before)) // 4]
        scale = max((high - low) / 1.349, _LEAST_SCALE * middle)
        block = sorted(values[start : start + _BLOCK])[_BLOCK // 2]
        error = scale * math.sqrt(1 / _BLOCK + 1 / len(before))
        if abs(block - middle) > max(_SURENESS * error, _SHIFT * middle):
            return max(_LEARNT, start - _BLOCK)
    return max(_LEARNT, quiet)
