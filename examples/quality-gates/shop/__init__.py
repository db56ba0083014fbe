"""A very small shop: money, and a cart that adds it up."""

from shop.cart import Cart
from shop.money import Money

__all__ = ["Cart", "Money"]
