"""The tick of the clock that a series was measured with, as far as its numbers show it."""

from __future__ import annotations

import math

TICKS = (1.0, 0.1, 0.01, 0.001)


class Resolution:
    """Finds the coarsest decimal tick that all values so far are multiples of."""

    def __init__(self) -> None:
        self._ticks = list(TICKS)

    def update(self, value: float) -> float:
        """Take in a value; return the smallest duration that the clock can tell from zero."""
        self._ticks = [t for t in self._ticks if _is_multiple(value, t)]
        return max(self.tick / 2, 1e-9)

    @property
    def tick(self) -> float:
        """Return the tick in the unit of the series; 0 where none shows."""
        return self._ticks[0] if self._ticks else 0.0

    def error_at(self, level: float) -> float:
        """Return the standard deviation that rounding to a tick adds to log durations at log `level`."""
        return min(1.0, self.tick / math.sqrt(12) / math.exp(max(level, -50.0))) if self.tick else 0.0


def _is_multiple(value: float, tick: float) -> bool:
    """Return whether `value` is a multiple of `tick`, as far as a float can tell."""
    count = value / tick
    return math.isfinite(count) and abs(count - round(count)) < 1e-6
