"""What a customer is about to buy."""

from __future__ import annotations

from dataclasses import dataclass, field

from shop.money import Money


@dataclass
class Cart:
    """Articles with their prices and how many of each."""

    lines: dict[str, tuple[Money, int]] = field(default_factory=dict)

    def add(self, article: str, price: Money, count: int = 1) -> None:
        """Put `count` more of an article into the cart.

        Raises ValueError if the count is not positive, or if the article is there at another price.
        """
        if count < 1:
            raise ValueError(f"count must be positive, not {count}")
        known_price, known_count = self.lines.get(article, (price, 0))
        if known_price != price:
            raise ValueError(f"{article} costs {known_price}, not {price}")
        self.lines[article] = (price, known_count + count)

    def total(self) -> Money:
        """Return the sum of all lines."""
        total = Money()
        for price, count in self.lines.values():
            total += price.times(count)
        return total
