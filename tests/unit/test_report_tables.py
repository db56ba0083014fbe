"""Tables that fit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildkit.report.tables import Column, cut, render

COLUMNS = (
    Column("Task", shrinks_to=10),
    Column("Reason", shrinks_to=8, expendable=1),
    Column("Wall", "right"),
    Column("Memory", "right", expendable=2),
)
ROW = ("compile:src/a_long_name.c", "input changed: src/a_long_name.c", "1.24 s", "12.3 MiB")


def widest(table):
    return max(map(len, table.splitlines()))


def test_with_room_nothing_is_cut():
    assert render(COLUMNS, [ROW], None).splitlines() == [
        "Task                       Reason                              Wall    Memory",
        "-------------------------  --------------------------------  ------  --------",
        "compile:src/a_long_name.c  input changed: src/a_long_name.c  1.24 s  12.3 MiB",
    ]


def test_in_eighty_columns_the_widest_texts_shrink():
    table = render(COLUMNS, [ROW], 70)
    assert widest(table) == 70
    assert "1.24 s" in table
    assert "12.3 MiB" in table
    assert "…" in table


def test_in_forty_columns_what_matters_least_is_left_out():
    table = render(COLUMNS, [ROW], 32)
    assert widest(table) <= 32
    assert table.splitlines()[0].split() == ["Task", "Wall", "Memory"]


@given(st.integers(18, 120), st.lists(st.tuples(*[st.text("ab ", min_size=1, max_size=40)] * 2), min_size=1))
def test_a_table_never_exceeds_its_width(width, texts):
    rows = [(task.strip() or "a", reason, "1.24 s", "12 MiB") for task, reason in texts]
    assert widest(render(COLUMNS, rows, width)) <= width


def test_columns_without_content_are_left_out():
    assert "Memory" not in render(COLUMNS, [("a", "b", "c", "")], None)


def test_names_that_look_like_numbers_stay_as_they_are():
    assert "1e5 " in render(COLUMNS, [("1e5", "0007", "x", "")], None)


def test_a_table_without_rows_has_its_titles():
    assert "Task" in render(COLUMNS, [], None)


@pytest.mark.parametrize(("width", "text"), [(5, "abcde"), (4, "abc…"), (1, "…"), (0, "")])
def test_a_cut_text_shows_that_it_was_cut(width, text):
    assert cut("abcde", width) == text
