"""From log odds over the bar to a probability that comes true as often as it says."""

from __future__ import annotations

import math

SLOPE, INTERCEPT = 0.5, 2.2


def probability(margin: float) -> float:
    """Return the probability of a regression for log odds that are `margin` above the bar."""
    x = SLOPE * margin + INTERCEPT
    x = max(-30.0, min(30.0, x))
    return round(min(0.999, 1 / (1 + math.exp(-x))), 4)
