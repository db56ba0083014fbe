"""Canonical text of Python data: equal texts mean equal values of equal types, in any process.

Injective: `True`, `1`, `1.0`, `"1"` and `b"1"` all differ, and so do `[1]` and `(1,)`. Sets are encoded
in the order of their members' texts. Dictionaries are encoded in insertion order, because a program
that iterates over one sees that order. What is not plain data goes to a hook (see `pyobject`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import partial
from types import EllipsisType, NotImplementedType

from buildkit.core.digest import Digest, digest_bytes

# Deeper nesting is refused, not followed: three frames a level have to fit the recursion limit.
MAX_DEPTH = 100
# A value of more nodes would take seconds to read for every fingerprint.
MAX_NODES = 2_000_000


class UnstableValueError(Exception):
    """A value has no text that is the same in another process.

    `what` names it for the user, `where` the innermost variable or attribute that holds it.
    """

    def __init__(self, what: str, where: str | None = None) -> None:
        super().__init__(what)
        self.what = what if where is None else f"{what} in {where}"
        self._placed = where is not None

    def within(self, where: str) -> UnstableValueError:
        """Return the error with the place of the value, unless an inner place is known."""
        return self if self._placed else UnstableValueError(self.what, where)


def digest_encoding(text: str) -> Digest:
    """Return the digest of an encoding; unlike file names, it may hold any lone surrogate."""
    return digest_bytes(text.encode("utf-8", "surrogatepass"))


def type_name(kind: type) -> str:
    """Return `module.qualname` of a class without running code of its metaclass."""
    module = type.__dict__["__module__"].__get__(kind)
    qualname = type.__dict__["__qualname__"].__get__(kind)
    return str(qualname) if module == "builtins" else f"{module}.{qualname}"


def _refuse(value: object, _: ValueEncoder) -> str:
    raise UnstableValueError(type_name(type(value)))


class ValueEncoder:
    """Encodes values one after the other; `objects` encodes what is not plain data.

    Text and paths below `root` are encoded relative to it, so that a constant such as
    `Path(__file__).parent` does not tie a key to one checkout.
    """

    def __init__(self, root: str = "", objects: Callable[[object, ValueEncoder], str] = _refuse) -> None:
        self._root = root
        self._below_root = root + os.sep
        self._objects = objects
        self._open: dict[int, int] = {}  # id of each value that is being encoded → its depth
        self._nodes = 0

    def encode_whole(self, value: object) -> str:
        """Return the text of a value that is part of no other; raises only UnstableValueError."""
        return self.guarded(value, partial(self.encode, value))

    def guarded(self, value: object, body: Callable[[], str]) -> str:
        """Run `body`; whatever a hostile object makes it raise becomes UnstableValueError."""
        self._nodes = 0
        self._open.clear()
        try:
            return body()
        except UnstableValueError:
            raise
        except RecursionError:
            raise UnstableValueError("a value nested too deeply") from None
        except Exception as error:
            name = type_name(type(value))
            raise UnstableValueError(f"{name}: {type(error).__name__} while reading it") from error

    def encode(self, value: object) -> str:
        """Return the text of a value, which may be part of another; may raise what the value raises."""
        kind = type(value)
        if kind is str:
            return self._text(value)  # type: ignore[arg-type] # its type was just compared
        atom = _ATOMS.get(kind)
        if atom is not None:
            return atom(value)
        if kind is list or kind is tuple:
            return self.nested(value, partial(self.sequence, kind.__name__, value))  # type: ignore[arg-type] # as above
        if kind is dict:
            return self.nested(value, partial(self.mapping, value))  # type: ignore[arg-type] # as above
        if kind is set or kind is frozenset:
            return self.nested(value, partial(self.members, kind.__name__, value))  # type: ignore[arg-type] # as above
        return self._objects(value, self)

    def nested(self, value: object, body: Callable[[], str]) -> str:
        """Run `body` with `value` marked as open; a value inside itself is a reference to its depth."""
        identity = id(value)
        depth = self._open.get(identity)
        if depth is not None:
            return f"^{depth};"
        if len(self._open) >= MAX_DEPTH:
            raise UnstableValueError(f"a value nested more than {MAX_DEPTH} levels deep")
        self._open[identity] = len(self._open)
        try:
            return body()
        finally:
            self._open.pop(identity, None)

    def sequence(self, tag: str, items: Iterable[object]) -> str:
        """Return the text of items in their order."""
        encode = self.encode
        texts = [encode(item) for item in items]
        self._count(len(texts))
        return f"{tag}{len(texts)}[{''.join(texts)}]"

    def members(self, tag: str, items: Iterable[object]) -> str:
        """Return the text of items whose order does not matter."""
        encode = self.encode
        texts = sorted([encode(item) for item in items])
        self._count(len(texts))
        return f"{tag}{len(texts)}[{''.join(texts)}]"

    def mapping(self, items: dict[object, object]) -> str:
        """Return the text of a dictionary in insertion order."""
        encode = self.encode
        texts = [encode(key) + encode(value) for key, value in dict.items(items)]
        self._count(len(texts))
        return f"dict{len(texts)}[{''.join(texts)}]"

    def _count(self, nodes: int) -> None:
        # Counted on the way out too: shared sub-values of a compact object can multiply without end.
        self._nodes += nodes + 1
        if self._nodes > MAX_NODES:
            raise UnstableValueError(f"a value of more than {MAX_NODES} parts")

    def _text(self, value: str) -> str:
        if self._root and value.startswith(self._root):
            if len(value) == len(self._root):
                return "root;"
            if value.startswith(self._below_root):
                return f"r{len(value) - len(self._below_root)}:{value[len(self._below_root) :]}"
        return f"s{len(value)}:{value}"


def _bytes(value: object) -> str:
    data: bytes = value  # type: ignore[assignment] # called for bytes only
    return f"b{len(data)}:{data.decode('latin-1')}"


# Exact types only: subclasses may behave differently and go to the hook. int: hexadecimal, because
# decimal text of huge numbers is limited; float: repr round-trips and keeps the sign of zero.
_ATOMS: dict[type, Callable[[object], str]] = {
    type(None): lambda _: "none;",
    bool: lambda value: "true;" if value else "false;",
    int: lambda value: f"i{value:x};",
    float: lambda value: f"f{value!r};",
    complex: lambda value: f"c{value.real!r},{value.imag!r};",  # type: ignore[attr-defined] # complex only
    bytes: _bytes,
    EllipsisType: lambda _: "ellipsis;",
    NotImplementedType: lambda _: "notimplemented;",
}
