import pytest

from shop import Cart, Money


def test_total_counts_every_piece() -> None:
    cart = Cart()
    cart.add("apple", Money(30), count=3)
    cart.add("pear", Money(45))
    cart.add("apple", Money(30))
    assert cart.total() == Money(4 * 30 + 45)


def test_an_empty_cart_costs_nothing() -> None:
    assert Cart().total() == Money(0)


def test_count_must_be_positive() -> None:
    with pytest.raises(ValueError, match="positive"):
        Cart().add("apple", Money(30), count=0)


def test_one_article_has_one_price() -> None:
    cart = Cart()
    cart.add("apple", Money(30))
    with pytest.raises(ValueError, match=r"costs 0\.30, not 0\.35"):
        cart.add("apple", Money(35))
