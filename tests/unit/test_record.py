"""Records behave like the named tuples of the standard library."""

from __future__ import annotations

import copy
import pickle
from typing import NamedTuple

import pytest

from buildkit.core.record import Record


class Point(Record):
    """A point."""

    x: int
    y: int = 2
    label: str = ""

    @property
    def sum(self) -> int:
        """Both together."""
        return self.x + self.y

    @classmethod
    def origin(cls) -> Point:
        """Return the first of all points."""
        return cls(0, 0)

    def __str__(self) -> str:
        return f"({self.x}, {self.y})"


class Model(NamedTuple):
    """The same, of the standard library."""

    x: int
    y: int = 2
    label: str = ""


class Never(Record):
    """A record that nobody has made yet."""

    text: str


class Nothing(Record):
    """A record without fields."""


@pytest.mark.parametrize(
    ("values", "named"), [((1,), {}), ((1, 5), {}), ((1,), {"label": "here"}), ((), {"y": 3, "x": 4})]
)
def test_fields_and_defaults_are_those_of_a_named_tuple(values, named):
    made, model = Point(*values, **named), Model(*values, **named)
    assert made == model
    assert made._asdict() == model._asdict()
    assert (made.x, made.y, made.label) == (model.x, model.y, model.label)
    assert repr(made) == repr(model).replace("Model", "Point")
    assert hash(made) == hash(model)
    assert made._fields == model._fields
    assert made._field_defaults == model._field_defaults


@pytest.mark.parametrize("arguments", [{}, {"x": 1, "z": 2}, {"x": 1, "y": 2, "label": "", "more": 1}])
def test_wrong_arguments_are_refused_as_for_a_function(arguments):
    for shape in (Point, Model, Never):
        with pytest.raises(TypeError):
            shape(**arguments)


def test_a_record_cannot_be_changed():
    made = Point(1)
    with pytest.raises(AttributeError):
        made.x = 2
    with pytest.raises(AttributeError):
        made.other = 2
    assert made == (1, 2, "")


def test_a_field_is_replaced_in_a_copy():
    made = Point(1)
    assert made._replace(y=7, label="moved") == Point(1, 7, "moved")
    assert made == Point(1)
    with pytest.raises(TypeError, match="unexpected field names"):
        made._replace(z=1)


def test_a_record_is_made_of_as_many_values_as_it_has_fields():
    assert Point._make(iter((1, 2, "x"))) == Point(1, 2, "x")
    for values in ((1, 2), (1, 2, "x", 4)):
        with pytest.raises(TypeError, match="Expected 3 arguments"):
            Point._make(values)


def test_methods_properties_and_docstrings_stay():
    assert Point.origin() == (0, 0, "")
    assert type(Point.origin()) is Point
    assert Point(1).sum == 3
    assert str(Point(1)) == "(1, 2)"
    assert Point.__doc__ == "A point."


def test_records_are_pickled_and_copied_as_what_they_are():
    made = Point(1, label="x")
    for again in (pickle.loads(pickle.dumps(made)), copy.copy(made), copy.deepcopy(made)):
        assert again == made
        assert type(again) is Point


def test_a_record_without_fields_is_an_empty_tuple():
    assert Nothing() == ()
    assert repr(Nothing()) == "Nothing()"
    with pytest.raises(TypeError):
        Nothing(1)


def test_records_match_by_position():
    match Point(1, 5):
        case Point(x, y):
            assert (x, y) == (1, 5)
        case _:
            pytest.fail("no match")
