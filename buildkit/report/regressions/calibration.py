"""From log odds over the bar to a probability that comes true as often as it says.

The knots were read off development series (`benchmarks/regressions.py --calibration` prints the check),
weighted to one regression in 250 clean runs; docs/regressions.md says how.
"""

from __future__ import annotations

import math
from itertools import pairwise

# (log odds over the bar, log odds of being right)
KNOTS = (
    (-29.25, -6.0),
    (-10.75, -5.1),
    (-9.25, -3.4),
    (-5.25, -2.9),
    (-3.75, -2.5),
    (-2.75, -1.9),
    (-1.75, -0.8),
    (-0.75, -0.2),
    (0.25, 0.4),
    (1.25, 1.3),
    (2.25, 2.3),
    (3.75, 3.1),
    (5.75, 4.3),
    (7.75, 5.5),
    (12.75, 6.9),
)
HIGHEST = 0.999
LOWEST = round(1 / (1 + math.exp(-KNOTS[0][1])), 4)  # of a run that does not stand out at all


def probability(margin: float) -> float:
    """Return the probability of a regression for log odds that are `margin` above the bar."""
    margin = min(KNOTS[-1][0], max(KNOTS[0][0], margin))
    for (x0, y0), (x1, y1) in pairwise(KNOTS):
        if margin <= x1:
            value = y0 + (y1 - y0) * (margin - x0) / (x1 - x0)
            return round(min(HIGHEST, 1 / (1 + math.exp(-value))), 4)
    return HIGHEST
