"""Slow drift: a rise too slow for any step to show, seen over blocks of runs.

Blocks of ten runs are ranked against each other (Mann 1945, Kendall 1975); where they rise all along, a hinge
"flat, then rising" is fitted to find where the rise began.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from buildkit.report.regressions.evidence import quantile

BLOCK = 10
FEWEST_BLOCKS = 5
SMALLEST_RISE = 0.08  # log, from the first blocks to the last
ERRORS = 3.5  # rise over the standard error that the noise gives it
SIGNIFICANCE = 3.2  # standard deviations of Kendall's S
STEADINESS = 4.0  # rise over the scatter of the blocks about the hinge


def onset(values: Sequence[float], scale: float) -> int | None:
    """Return the index at which `values` began to rise slowly, or None if they do not.

    Oldest value first; `scale` is that of the noise of one run, correlation of following runs included.
    """
    count = len(values) // BLOCK
    if count < FEWEST_BLOCKS:
        return None
    rest = len(values) - count * BLOCK
    # Modes count, lone outliers do not: what lies beyond the tenths is drawn in.
    ordered = sorted(values)
    low, high = quantile(ordered, 0.1) - scale, quantile(ordered, 0.9) + scale
    clipped = [min(high, max(low, v)) for v in values[rest:]]
    parts = [clipped[k * BLOCK : (k + 1) * BLOCK] for k in range(count)]
    blocks = [sum(part) / BLOCK for part in parts]
    rise = 0.5 * (blocks[-1] + blocks[-2] - blocks[0] - blocks[1])
    # Of two modes the noise may know one alone: by how much runs of the same block differ counts too.
    within = sum((v - mean) ** 2 for part, mean in zip(parts, blocks, strict=True) for v in part)
    spread = max(scale, math.sqrt(within / (count * (BLOCK - 1))))
    error = 1.2 * spread / math.sqrt(BLOCK)  # of the difference of two pairs of blocks, with a margin
    if rise < max(SMALLEST_RISE, ERRORS * error):
        return None
    for start in range(count - FEWEST_BLOCKS + 1):
        part = blocks[start:]
        if _kendall(part) >= min(SIGNIFICANCE, _highest(len(part)) - 1e-9):
            break
    else:
        return None
    knot, scatter = _hinge(blocks)
    if rise < STEADINESS * scatter:
        return None
    return rest + knot * BLOCK + BLOCK // 2


def _kendall(blocks: Sequence[float]) -> float:
    """Return Kendall's S in standard deviations, with the correction for continuity."""
    n = len(blocks)
    s = sum((b > a) - (b < a) for k, a in enumerate(blocks) for b in blocks[k + 1 :])
    return (s - 1) / math.sqrt(n * (n - 1) * (2 * n + 5) / 18) if s > 0 else 0.0


def _highest(n: int) -> float:
    """Return the value of `_kendall` for `n` blocks of which each is above the one before."""
    return (n * (n - 1) / 2 - 1) / math.sqrt(n * (n - 1) * (2 * n + 5) / 18)


def _hinge(blocks: Sequence[float]) -> tuple[int, float]:
    """Return the knot of the best fit "level, then from the knot a line", and the scatter about it."""
    n, best = len(blocks), (math.inf, 0)
    for knot in range(n - 2):
        xs = [max(0, k - knot) for k in range(n)]
        mx, my = sum(xs) / n, sum(blocks) / n
        power = sum((x - mx) ** 2 for x in xs)
        slope = sum((x - mx) * (y - my) for x, y in zip(xs, blocks, strict=True)) / power
        error = sum((y - my - slope * (x - mx)) ** 2 for x, y in zip(xs, blocks, strict=True))
        best = min(best, (error, knot))
    return best[1], math.sqrt(best[0] / max(1, n - 3))
