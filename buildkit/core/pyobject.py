"""Canonical text of Python objects that are more than data: functions, classes, instances.

What a module of the project binds to its own name is written as that name and noted as reached; what
has no such name (closures, lambdas, local classes) is written out in place.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import (
    BuiltinFunctionType,
    ClassMethodDescriptorType,
    FunctionType,
    GenericAlias,
    GetSetDescriptorType,
    MappingProxyType,
    MemberDescriptorType,
    MethodDescriptorType,
    MethodType,
    MethodWrapperType,
    ModuleType,
    SimpleNamespace,
    UnionType,
    WrapperDescriptorType,
)
from typing import Any

from buildkit.core.pyorigin import Origin, Origins, is_canonical
from buildkit.core.pyreach import Reach, Units, class_name
from buildkit.core.pyvalue import UnstableValueError, ValueEncoder, type_name

_SLOT_BYTES = tuple.__itemsize__  # one pointer
# What the machinery of classes puts into a class, and what says nothing about its behaviour.
_CLASS_NOISE = frozenset(
    {
        "__module__",
        "__qualname__",
        "__doc__",
        "__dict__",
        "__weakref__",
        "__firstlineno__",
        "__static_attributes__",
        "__annotations__",
        "__annotate__",
        "__annotate_func__",
        "__annotations_cache__",
        "__annotations_dict__",
        "__abstractmethods__",
        "_abc_impl",
        "__dataclass_fields__",
        "__dataclass_params__",
        "__match_args__",
        "__parameters__",
        "__orig_bases__",
        "__classdictcell__",
        "__classcell__",
    }
)
# Standard types whose __reduce_ex__ is their whole value.
_REDUCED = frozenset(
    {
        "builtins.range",
        "builtins.slice",
        "collections.deque",
        "datetime.date",
        "datetime.datetime",
        "datetime.time",
        "datetime.timedelta",
        "datetime.timezone",
        "decimal.Decimal",
        "fractions.Fraction",
        "uuid.UUID",
        "zoneinfo.ZoneInfo",
        "operator.itemgetter",
        "operator.attrgetter",
        "operator.methodcaller",
        "ipaddress.IPv4Address",
        "ipaddress.IPv6Address",
        "ipaddress.IPv4Network",
        "ipaddress.IPv6Network",
    }
)
# Standard objects that only carry text to the outside, or the environment: known by name, not by state.
_NAMED = frozenset(
    {
        *("os._Environ", "typing.TypeVar", "typing.ParamSpec", "typing.NewType", "builtins.object"),
        *("dataclasses._HAS_DEFAULT_FACTORY_CLASS", "dataclasses._MISSING_TYPE"),
    }
)
# Builtin types that a class may extend, and how an instance's own content is read past overrides.
_CONTENT: dict[type, Callable[[object], object]] = {
    dict: lambda value: dict(dict.items(value)),  # type: ignore[arg-type] # chosen by the class's bases
    list: lambda value: list.__getitem__(value, slice(None)),  # type: ignore[call-overload] # as above
    tuple: lambda value: tuple(tuple.__iter__(value)),  # type: ignore[arg-type] # as above
    str: str.__str__,
    int: int.__index__,  # type: ignore[dict-item] # as above
    float: float.__float__,  # type: ignore[dict-item] # as above
    bytes: lambda value: bytes(memoryview(value)),  # type: ignore[arg-type] # as above
}
# Standard types by name, so that none is imported here, and how their value is read.
_STANDARD: dict[str, Callable[[Any], object]] = {
    "re.Pattern": lambda value: (value.pattern, value.flags),
    "logging.Logger": lambda value: value.name,  # what it writes is no result
    "logging.RootLogger": lambda value: value.name,
    "functools._lru_cache_wrapper": lambda value: value.__wrapped__,  # what it remembers changes no result
    "functools.cached_property": lambda value: value.func,
    "functools.singledispatchmethod": lambda value: value.func,
    "functools.partialmethod": lambda value: (value.func, value.args, value.keywords),
    "collections.OrderedDict": lambda value: dict(dict.items(value)),
    "collections.Counter": lambda value: dict(dict.items(value)),
    "collections.defaultdict": lambda value: (value.default_factory, dict(dict.items(value))),
    "argparse.Namespace": vars,
    "string.Template": lambda value: value.template,
    "array.array": lambda value: (value.typecode, value.tobytes()),
    "_collections._tuplegetter": lambda value: value.__reduce__()[1][0],  # the position of a field
}


class ObjectEncoder:
    """Encodes objects and notes in `reach` what they reach; one for a run, one `reach` for a value."""

    def __init__(self, root: str, origins: Origins, units: Units) -> None:
        self._origins = origins
        self._units = units
        self._reach = Reach()
        self._values = ValueEncoder(root, self._object)
        exact: dict[type, Callable[[object], str]] = {
            FunctionType: self._function,
            MethodType: self._method,
            BuiltinFunctionType: self._builtin,
            MethodWrapperType: self._builtin,
            ModuleType: self._module,
            staticmethod: self._wrapped,
            classmethod: self._wrapped,
            property: self._property,
            partial: self._partial,
            MappingProxyType: lambda value: "proxy" + self._values.encode(dict(value)),  # type: ignore[call-overload] # exact type
            SimpleNamespace: lambda value: "namespace" + self._values.encode(vars(value)),
            bytearray: lambda value: "bytearray" + self._values.encode(bytes(value)),  # type: ignore[call-overload] # exact type
            GenericAlias: lambda value: f"typing<{value!r}>",
            UnionType: lambda value: f"typing<{value!r}>",
        }
        methods: tuple[type, ...] = (MethodDescriptorType, WrapperDescriptorType, ClassMethodDescriptorType)
        slots: tuple[type, ...] = (GetSetDescriptorType, MemberDescriptorType)
        exact.update(dict.fromkeys(methods, self._descriptor))
        exact.update(dict.fromkeys(slots, lambda value: f"slot<{value.__name__}>"))  # type: ignore[attr-defined] # exact types
        self._exact = exact

    def encode(self, value: object) -> tuple[str, Reach]:
        """Return the text of a value and what it reaches; raises UnstableValueError only."""
        reach = self._reach = Reach()
        return self._values.encode_whole(value), reach

    def encode_definition(self, value: object) -> tuple[str, Reach]:
        """Like `encode`, but write a function or class out even where it has a name of its own."""
        reach = self._reach = Reach()
        if type(value) is FunctionType:
            return self._values.guarded(value, partial(self._function_body, value)), reach
        if isinstance(value, type):
            return self._values.guarded(value, partial(self._class_body, value)), reach
        return self._values.encode_whole(value), reach

    def _object(self, value: object, _: ValueEncoder) -> str:
        kind = type(value)
        exact = self._exact.get(kind)
        if exact is not None:
            return exact(value)
        if issubclass(kind, type):
            return self._class(value)  # type: ignore[arg-type] # an instance of a metaclass is a class
        if issubclass(kind, ModuleType):
            return self._module(value)
        return self._values.nested(value, partial(self._instance, value, kind))

    # Functions

    def _function(self, value: object) -> str:
        function: FunctionType = value  # type: ignore[assignment] # exact type
        owner = str(function.__globals__.get("__name__"))
        if is_canonical(function, owner, function.__qualname__):
            return f"<{self._units.bind(owner, function.__qualname__, function, self._reach)}>"
        return self._values.nested(function, partial(self._function_body, function))

    def _function_body(self, function: FunctionType) -> str:
        """Code, defaults, closure and attributes. Annotations and the documentation do not count."""
        place = self._origins.of_globals(function.__globals__)
        encode = self._values.encode
        if place.origin is Origin.PROJECT:
            unit = self._units.unit(function.__code__, function.__globals__)
            self._reach.units[id(unit)] = unit
            text = unit.digest
            if function.__defaults__:
                text += " defaults " + encode(function.__defaults__)
            if function.__kwdefaults__:
                text += " keywords " + encode(function.__kwdefaults__)
        else:
            self._units.note(place.site, function, self._reach)
            text = f"{function.__globals__.get('__name__')}.{function.__qualname__}"
        if function.__closure__:
            text += " closure " + self._closure(function)
        if function.__dict__:
            text += " attributes " + encode(function.__dict__)
        return f"function<{text}>"

    def _closure(self, function: FunctionType) -> str:
        texts = []
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            try:
                value = cell.cell_contents
            except ValueError:  # not bound yet
                texts.append(f"{name}=empty;")
                continue
            try:
                texts.append(f"{name}={self._values.encode(value)}")
            except UnstableValueError as error:
                raise error.within(f"closure variable '{name}'") from None
        return "".join(texts)

    def _method(self, value: object) -> str:
        method: MethodType = value  # type: ignore[assignment] # exact type
        return f"method<{self._values.encode(method.__func__)}{self._values.encode(method.__self__)}>"

    def _builtin(self, value: object) -> str:
        """Encode a function written in C, or a builtin method bound to a value."""
        function: BuiltinFunctionType = value  # type: ignore[assignment] # or a method-wrapper: same attributes
        owner = function.__self__
        if owner is None or isinstance(owner, ModuleType):
            module = getattr(function, "__module__", None) or getattr(owner, "__name__", "builtins")
            return f"builtin<{self._foreign(str(module))}.{function.__qualname__}>"
        return f"builtin<{function.__name__} {self._values.encode(owner)}>"

    def _descriptor(self, value: object) -> str:
        owner: type = value.__objclass__  # type: ignore[attr-defined] # exact type
        return f"descriptor<{self._class(owner)}.{value.__name__}>"  # type: ignore[attr-defined] # exact type

    def _wrapped(self, value: object) -> str:
        function = value.__func__  # type: ignore[attr-defined] # staticmethod or classmethod
        return f"{type(value).__name__}<{self._values.encode(function)}>"

    def _property(self, value: object) -> str:
        parts = (value.fget, value.fset, value.fdel)  # type: ignore[attr-defined] # exact type
        return "property" + self._values.encode(parts)

    def _partial(self, value: object) -> str:
        call: partial[object] = value  # type: ignore[assignment] # exact type
        return "partial" + self._values.nested(
            call, partial(self._values.sequence, "", (call.func, call.args, call.keywords, call.__dict__))
        )

    def _module(self, value: object) -> str:
        return f"module<{self._units.escaped(value, self._reach)}>"  # type: ignore[arg-type] # a module

    def _foreign(self, module: str) -> str:
        """Note the module of something that is not written in Python, and return its name."""
        place = self._origins.of_name(module)
        if place.origin is Origin.PROJECT:
            return self._reach.add_module(module)
        self._units.note(place.site, None, self._reach)
        return module

    # Classes

    def _class(self, kind: type) -> str:
        owner, qualname = class_name(kind)
        if self._origins.of_name(owner).origin is not Origin.PROJECT or is_canonical(kind, owner, qualname):
            return f"<{self._units.bind(owner, qualname, kind, self._reach)}>"
        return self._values.nested(kind, partial(self._class_body, kind))

    def _class_body(self, kind: type) -> str:
        """Bases, metaclass, methods by name, other attributes in the order of their definition."""
        owner, qualname = class_name(kind)
        place = self._origins.of_name(owner)
        if place.origin is not Origin.PROJECT:
            return self._units.bind(owner, qualname, kind, self._reach)
        if place.file is not None and not place.file.endswith((".py", ".pyw")):
            return self._reach.add_module(owner) + qualname
        namespace: Mapping[str, object] = type.__dict__["__dict__"].__get__(kind)
        bases = "".join(self._class(base) for base in type.__dict__["__bases__"].__get__(kind))
        methods: list[str] = []
        attributes: list[str] = []
        is_enum = _is_enum(kind)
        for name, value in namespace.items():
            if name in _CLASS_NOISE or (is_enum and name.startswith("_") and not _is_code(value)):
                continue
            if is_enum and type(value) is kind:
                continue
            text = f"{name}={self._attribute(name, value)}\n"
            (methods if _is_code(value) else attributes).append(text)
        if is_enum:
            members = namespace["_member_map_"]
            attributes.append(
                self._values.encode([(name, item._value_) for name, item in members.items()])  # type: ignore[attr-defined] # an enum's
            )
        annotations = namespace.get("__annotations__")
        if isinstance(annotations, dict):
            attributes.append("annotations " + "".join(map(_annotation, annotations.items())))
        attributes.append(self._dataclass(namespace))
        meta = "" if type(kind) is type else self._class(type(kind))
        return f"class<{bases}|{meta}|{''.join(sorted(methods))}|{''.join(attributes)}>"

    def _attribute(self, name: str, value: object) -> str:
        try:
            return self._values.encode(value)
        except UnstableValueError as error:
            raise error.within(f"attribute '{name}'") from None

    def _dataclass(self, namespace: Mapping[str, object]) -> str:
        """Return what a dataclass knows of its fields beyond its generated methods."""
        fields = namespace.get("__dataclass_fields__")
        if not isinstance(fields, dict):
            return ""
        texts = ["fields "]
        missing = sys.modules["dataclasses"].MISSING
        for name, field in fields.items():
            flags = (field.init, field.repr, field.hash, field.compare, bool(field.kw_only))
            texts.append(f"{name} {flags} ")
            values = (field.default, field.default_factory)
            texts += ["missing;" if value is missing else self._values.encode(value) for value in values]
            texts.append(self._values.encode(dict(field.metadata)))
        return "".join(texts)

    # Instances

    def _instance(self, value: object, kind: type) -> str:
        name = _full_name(kind)
        if name in _NAMED or name.startswith("typing._"):
            return f"named<{name} {value!r}>" if name.startswith("typing.") else f"named<{name}>"
        if _is_enum(kind):
            return f"enum<{self._class(kind)}.{value._name_}>"  # type: ignore[attr-defined] # an enum's
        known = self._standard_instance(value, kind, name)
        if known is not None:
            return known
        owner, _ = class_name(kind)
        place = self._origins.of_name(owner)
        namespace: Mapping[str, object] = type.__dict__["__dict__"].__get__(kind)
        readable = "__dataclass_fields__" in namespace or _is_namedtuple(kind)
        if place.origin is not Origin.PROJECT and not readable:
            raise UnstableValueError(type_name(kind))
        return self._plain_instance(value, kind)

    def _standard_instance(self, value: object, kind: type, name: str) -> str | None:
        """Objects of the standard library (and arrays) that are values or wrap a function."""
        encode = self._values.encode
        if name in _REDUCED:
            return f"{name}<{encode(tuple(value.__reduce_ex__(2)[1:3]))}{self._rest(value, name)}>"
        if name.startswith("pathlib."):
            return f"{name}<{encode(str(value))}>"
        read = _STANDARD.get(name)
        if read is None:
            return self._array(value, kind, name)
        return f"{name}<{encode(read(value))}>"

    def _rest(self, value: object, name: str) -> str:
        return self._values.encode(list(value)) if name == "collections.deque" else ""  # type: ignore[call-overload] # by name

    def _array(self, value: object, kind: type, name: str) -> str | None:
        """Encode an array in the manner of numpy: kind of its elements, shape, and bytes."""
        if not all(_defines(kind, attribute) for attribute in ("tobytes", "dtype", "shape")):
            return None
        dtype = value.dtype  # type: ignore[attr-defined] # just looked up
        if getattr(dtype, "hasobject", True):
            raise UnstableValueError(f"{name} of objects")
        self._class(kind)
        content = (str(dtype), tuple(value.shape), value.tobytes())  # type: ignore[attr-defined] # just looked up
        return f"{name}<{self._values.encode(content)}>"

    def _plain_instance(self, value: object, kind: type) -> str:
        """Class, content of the builtin type that it extends, attributes in the order they were set."""
        mro: tuple[type, ...] = type.__dict__["__mro__"].__get__(kind)
        content = next((base for base in mro if base in _CONTENT), None)
        slots = {
            f"{base.__qualname__}.{name}": member
            for base in mro
            for name, member in type.__dict__["__dict__"].__get__(base).items()
            if type(member) is MemberDescriptorType
        }
        # A class written in C may keep state that cannot be seen; its instances are larger than expected.
        # (copyreg and object.__reduce_ex__ compare sizes for the same reason.)
        expected = (content or object).__basicsize__ + _SLOT_BYTES * (
            len(slots) + (kind.__dictoffset__ > 0) + (kind.__weakrefoffset__ > 0)
        )
        if kind.__basicsize__ > expected or (kind.__itemsize__ and content is None):
            raise UnstableValueError(type_name(kind))
        text = self._class(kind)
        if content is not None:
            text += self._values.encode(_CONTENT[content](value))
        for name, member in slots.items():
            try:
                text += f" {name}={self._values.encode(member.__get__(value, kind))}"
            except AttributeError:  # a slot that is not set
                continue
        attributes = _instance_dict(value, mro)
        if attributes:
            text += self._values.encode(attributes)
        return f"instance<{text}>"


def _full_name(kind: type) -> str:
    owner, qualname = class_name(kind)
    return f"pathlib.{qualname}" if owner.startswith("pathlib.") else f"{owner}.{qualname}"


def _is_enum(kind: type) -> bool:
    return any(_full_name(base) == "enum.Enum" for base in type.__dict__["__mro__"].__get__(kind)[:-1])


def _is_namedtuple(kind: type) -> bool:
    return issubclass(kind, tuple) and _defines(kind, "_fields")


def _defines(kind: type, name: str) -> bool:
    """Return whether a class has an attribute, without asking the class."""
    bases: Iterator[type] = iter(type.__dict__["__mro__"].__get__(kind))
    return any(name in type.__dict__["__dict__"].__get__(base) for base in bases)


def _is_code(value: object) -> bool:
    return isinstance(value, FunctionType | staticmethod | classmethod | property)


def _annotation(item: tuple[object, object]) -> str:
    name, value = item
    if isinstance(value, type):
        return f"{name}: {type_name(value)}\n"
    return f"{name}: {value}\n" if isinstance(value, str) else f"{name}: {type_name(type(value))}\n"


def _instance_dict(value: object, mro: tuple[type, ...]) -> dict[object, object] | None:
    """Return an instance's own dictionary even where its class hides it behind a property."""
    for base in mro:
        descriptor = type.__dict__["__dict__"].__get__(base).get("__dict__")
        if type(descriptor) is GetSetDescriptorType:
            found = descriptor.__get__(value)
            return found if type(found) is dict else None
    return None
