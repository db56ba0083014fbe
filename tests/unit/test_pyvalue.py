"""The canonical text of data is injective, and the same in every process."""

from __future__ import annotations

import datetime
import decimal
import fractions
import re
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildkit.core.pyobject import ObjectEncoder
from buildkit.core.pyorigin import Origins
from buildkit.core.pyreach import Units
from buildkit.core.pyvalue import UnstableValueError, ValueEncoder

hashable_atoms = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats(allow_nan=False)
    | st.sampled_from([0.0, -0.0, 1.0, 1j, 2**100])
    | st.text("a1:;[]\ud800", max_size=3)
    | st.binary(max_size=3)
)
hashables = st.recursive(
    hashable_atoms,
    lambda inner: st.tuples(inner) | st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=5,
)
values = st.recursive(
    hashables,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(hashables, inner, max_size=3)
        | st.sets(hashables, max_size=3)
        | st.tuples(inner, inner)
    ),
    max_leaves=8,
)


def same(one: object, other: object) -> bool:
    """Equality that tells types, signs of zero and dictionary orders apart."""
    if type(one) is not type(other):
        return False
    match one:
        case list() | tuple():
            return len(one) == len(other) and all(map(same, one, other))
        case dict():
            return same(list(one.items()), list(other.items()))
        case set() | frozenset():
            rest = list(other)
            for item in one:
                found = next((index for index, value in enumerate(rest) if same(item, value)), None)
                if found is None:
                    return False
                rest.pop(found)
            return not rest
        case float() | complex():
            return repr(one) == repr(other)
    return one == other


@settings(max_examples=300, deadline=None)
@given(values, values)
def test_texts_are_equal_exactly_when_values_are(one: object, other: object) -> None:
    assert (ValueEncoder().encode_whole(one) == ValueEncoder().encode_whole(other)) == same(one, other)


LOOKALIKES = [
    True, 1, 1.0, "1", b"1", (1,), [1], {1}, frozenset({1}), {1: None}, 1 + 0j,
    None, "None", "", b"", (), [], {},
    set(), frozenset(), 0, 0.0, -0.0, False, [[]], [()], ["a", "b"], ["ab"], ["a"], "a", ..., NotImplemented,
    float("nan"), float("inf"), 2**100_000,
]  # fmt: skip


def test_lookalikes_differ() -> None:
    assert len({ValueEncoder().encode_whole(value) for value in LOOKALIKES}) == len(LOOKALIKES)


STANDARD = [
    datetime.date(2024, 1, 1),
    datetime.datetime(2024, 1, 1),
    datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC),
    datetime.timedelta(1),
    decimal.Decimal("1.0"),
    decimal.Decimal("1.00"),
    fractions.Fraction(1),
    uuid.UUID(int=1),
    uuid.UUID(int=2),
    re.compile("a"),
    re.compile("a", re.IGNORECASE),
    range(1),
    range(2),
    slice(1),
]


def test_values_of_the_standard_library_differ() -> None:
    origins = Origins()
    encoder = ObjectEncoder("", origins, Units(origins))
    assert len({encoder.encode(value)[0] for value in STANDARD}) == len(STANDARD)


def test_a_value_inside_itself_is_a_reference() -> None:
    value: list[object] = [1]
    value.append(value)
    assert ValueEncoder().encode_whole(value) == "list2[i1;^0;]"


def test_objects_are_refused_without_a_hook() -> None:
    with pytest.raises(UnstableValueError, match="object"):
        ValueEncoder().encode_whole([object()])
