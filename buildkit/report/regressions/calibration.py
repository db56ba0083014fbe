"""From log odds over the bar to a probability that comes true as often as it says.

The knots were read off development series (`benchmarks/regressions.py --calibration` prints the check),
weighted to one regression in 250 clean runs; docs/regressions.md says how.
"""

from __future__ import annotations

import math
from itertools import pairwise

# (log odds over the bar, log odds of being right)
KNOTS = (
    (-30.0, -5.5),
    (-16.0, -4.3),
    (-8.0, -2.7),
    (-5.0, -2.0),
    (-3.0, -1.0),
    (0.0, 0.7),
    (3.0, 2.6),
    (6.0, 4.6),
    (10.0, 6.0),
)
PER_RUN = 0.14  # log odds over the bar that each further run of an alarm counts for
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
