"""Records that cost a program's start next to nothing: named tuples, and objects whose fields change.

`typing.NamedTuple` compiles each annotation and a constructor for each class while it is defined, 0.1 ms and
more, and a start defines seventy. Here the constructor is compiled when the first tuple of a class is made,
and annotations never are. Type checkers see `typing.NamedTuple`; so does who reads `class Point(Record):`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import NamedTuple as Record
else:
    from collections import namedtuple

    try:
        from _collections import _tuplegetter  # what makes the fields of named tuples fast
    except ImportError:
        from operator import itemgetter

        def _tuplegetter(index, doc):
            return property(itemgetter(index), doc=doc)

    class _Tuple(tuple):
        """What all records have in common: what `collections.namedtuple` documents."""

        __slots__ = ()

        @classmethod
        def _make(cls, values):
            made = tuple.__new__(cls, values)
            if len(made) != len(cls._fields):
                raise TypeError(f"Expected {len(cls._fields)} arguments, got {len(made)}")
            return made

        def _replace(self, /, **values):
            replaced = self._make(map(values.pop, self._fields, self))
            if values:
                raise TypeError(f"Got unexpected field names: {list(values)!r}")
            return replaced

        def _asdict(self):
            return dict(zip(self._fields, self, strict=True))

        def __repr__(self):
            fields = ", ".join(f"{name}={value!r}" for name, value in self._asdict().items())
            return f"{type(self).__name__}({fields})"

        def __getnewargs__(self):
            return tuple(self)

    def _made(cls, /, *values, **named):
        """Stand for the constructor until it is called for the first time."""
        owner = next(each for each in cls.__mro__ if "__new__" in vars(each))
        defaults = tuple(owner._field_defaults.values())
        make = namedtuple(owner.__name__, owner._fields, defaults=defaults).__new__
        owner.__new__ = staticmethod(make)
        return make(cls, *values, **named)

    class _Defining(type):
        """Makes a subclass of tuple out of what `class X(Record):` says; no class stays of this type."""

        def __new__(mcs, name, _bases, namespace):
            fields = tuple(namespace.get("__annotations__", ()))
            namespace["_field_defaults"] = {each: namespace[each] for each in fields if each in namespace}
            namespace["_fields"] = namespace["__match_args__"] = fields
            namespace["__slots__"] = ()
            namespace["__new__"] = _made
            for index, each in enumerate(fields):
                namespace[each] = _tuplegetter(index, None)
            return type.__new__(type, name, (_Tuple,), namespace)

    Record = type.__new__(_Defining, "Record", (), {})


class Fields:
    """An object that is its fields, `__slots__`: equal where all of them are. They change: it has no hash."""

    __slots__: tuple[str, ...] = ()

    def __eq__(self, other: object) -> bool:
        """Compare all fields."""
        return type(other) is type(self) and all(
            getattr(self, name) == getattr(other, name) for name in self.__slots__
        )

    __hash__ = None  # type: ignore[assignment]  # `object` is declared to have one


__all__ = ["Fields", "Record"]
