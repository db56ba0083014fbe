"""Amounts of money, exact to the cent."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

CENT = Decimal("0.01")


@dataclass(frozen=True, order=True)
class Money:
    """An amount in one currency, as whole cents."""

    cents: int = 0

    @classmethod
    def parse(cls, text: str) -> Money:
        """Return the amount that a text such as `12.5` stands for, rounded to the cent.

        Raises ValueError if the text is not a finite number.
        """
        try:
            amount = Decimal(text)
        except ArithmeticError as error:
            raise ValueError(f"not an amount of money: {text!r}") from error
        if not amount.is_finite():
            raise ValueError(f"not an amount of money: {text!r}")
        return cls(int(amount.quantize(CENT, rounding=ROUND_HALF_EVEN) * 100))

    def __add__(self, other: Money) -> Money:
        return Money(self.cents + other.cents)

    def times(self, count: int) -> Money:
        """Return the amount `count` times."""
        return Money(self.cents * count)

    def __str__(self) -> str:
        sign = "-" if self.cents < 0 else ""
        whole, cents = divmod(abs(self.cents), 100)
        return f"{sign}{whole}.{cents:02}"
