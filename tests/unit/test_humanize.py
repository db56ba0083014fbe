"""Numbers and texts as a person reads them."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildkit.core.humanize import change, duration, listed, plural, printable, size


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0.00 ms"),
        (50_000, "0.05 ms"),
        (12_340_000, "12.3 ms"),
        (999_400_000, "999 ms"),
        (999_600_000, "1.00 s"),
        (1_240_000_000, "1.24 s"),
        (9_996_000_000, "10.0 s"),
        (59_949_000_000, "59.9 s"),
        (59_960_000_000, "1 min 00 s"),
        (125_000_000_000, "2 min 05 s"),
        (3_599_400_000_000, "59 min 59 s"),
        (3_599_600_000_000, "1 h 00 min"),
        (3_720_000_000_000, "1 h 02 min"),
        (-1_240_000_000, "-1.24 s"),
    ],
)
def test_a_duration_has_three_digits_and_a_unit(nanoseconds, text):
    assert duration(nanoseconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.50 KiB"),
        (23 * 2**20, "23.0 MiB"),
        (2**20 - 1, "1.00 MiB"),
        (5 * 2**60, "5120 PiB"),
        (-1536, "-1.50 KiB"),
    ],
)
def test_a_size_has_three_digits_and_a_unit(count, text):
    assert size(count) == text


@given(st.integers(min_value=0, max_value=86_400 * 10**9), st.integers(min_value=0, max_value=10**16))
def test_durations_of_a_day_and_sizes_are_short(nanoseconds, count):
    assert len(duration(nanoseconds)) <= 11
    assert len(size(count)) <= 8


@pytest.mark.parametrize(
    ("ratio", "text"), [(1.0, "+0%"), (1.124, "+12%"), (0.5, "-50%"), (9.9, "+890%"), (12.3, "x12")]
)
def test_a_change_has_its_sign(ratio, text):
    assert change(ratio) == text


def test_a_count_agrees_with_its_noun():
    assert [plural(count, "task") for count in (0, 1, 2, 1000)] == [
        "0 tasks",
        "1 task",
        "2 tasks",
        "1,000 tasks",
    ]
    assert plural(2, "directory", "directories") == "2 directories"


def test_a_long_list_is_cut_with_a_count():
    assert listed(["a", "b", "c"]) == "a, b, c"
    assert listed(["a", "b", "c", "d"]) == "a, b, c and 1 more"


@given(st.text())
def test_nothing_that_steers_a_terminal_is_printed(text):
    assert printable(text).isprintable()


def test_readable_text_stays_and_the_rest_is_spelt_out():
    assert printable("Größe 日本") == "Größe 日本"
    assert printable("\x1b[31mred\n") == r"\x1b[31mred\n"
    assert printable(os.fsdecode(b"caf\xe9")) == r"caf\udce9"
