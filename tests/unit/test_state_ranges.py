"""Sets of task ids as text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildkit.state.ranges import count_of, decode_ranges, encode_ranges, union, without


@given(st.sets(st.integers(min_value=0, max_value=10**9)) | st.sets(st.integers(0, 60)))
def test_any_set_of_ids_comes_back_in_ascending_order(numbers):
    assert list(decode_ranges(encode_ranges(numbers))) == sorted(numbers)


@given(st.lists(st.integers(0, 60)))
def test_the_text_does_not_depend_on_order_or_repeats(numbers):
    assert encode_ranges(numbers) == encode_ranges(sorted(set(numbers)))


def test_neighbours_share_a_range():
    assert encode_ranges([9002, *range(1, 9001)]) == "1-9000,9002"


def test_the_empty_set_is_an_empty_text():
    assert encode_ranges([]) == ""
    assert list(decode_ranges("")) == []


def test_a_text_that_is_no_ranges_is_refused():
    with pytest.raises(ValueError, match="x"):
        list(decode_ranges("1-x"))


@given(st.sets(st.integers(0, 60)), st.lists(st.integers(0, 70)))
def test_ranges_change_as_sets_do(numbers: set[int], others: list[int]) -> None:
    text = encode_ranges(numbers)
    assert count_of(text) == len(numbers)
    assert without(text, others) == encode_ranges(numbers - set(others))
    assert union(text, others) == encode_ranges(numbers | set(others))
