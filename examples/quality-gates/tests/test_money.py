import pytest

from shop import Money


@pytest.mark.parametrize(
    ("text", "cents"), [("0", 0), ("12.5", 1250), ("0.105", 10), ("-3", -300), (" 1.00 ", 100)]
)
def test_parse_rounds_to_the_cent(text: str, cents: int) -> None:
    assert Money.parse(text) == Money(cents)


@pytest.mark.parametrize("text", ["", "ten", "1,50", "NaN", "Infinity"])
def test_parse_refuses_what_is_not_an_amount(text: str) -> None:
    with pytest.raises(ValueError, match="not an amount of money"):
        Money.parse(text)


@pytest.mark.parametrize(("cents", "text"), [(0, "0.00"), (1234, "12.34"), (-5, "-0.05")])
def test_money_prints_two_places(cents: int, text: str) -> None:
    assert str(Money(cents)) == text
