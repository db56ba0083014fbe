"""What a function reaches: its global names and imports, resolved to objects and modules.

One level only: a unit lists the direct targets of one code object in one namespace. `pycode` follows
them; `pyobject` encodes what they are.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import CodeType, FunctionType, ModuleType

from buildkit.core.pybytecode import CodeFacts, GlobalName, ImportedName, read_code
from buildkit.core.pyorigin import Origin, Origins, absolute_name, code_name, is_canonical, namespace_of
from buildkit.core.pyvalue import digest_encoding

# With these a function reaches names that cannot be read from its code: its whole module counts.
_REFLECTION = frozenset({"globals", "eval", "exec", "vars", "compile"})
# With these it reaches modules that cannot be known.
_DYNAMIC_IMPORTS = frozenset({"__import__", "importlib.import_module", "runpy.run_path", "runpy.run_module"})
_DYNAMIC_MODULES = frozenset({"importlib", "runpy"})
# Facts about the module, not values: they differ between machines, or say nothing.
_MODULE_FACTS = frozenset({"__builtins__", "__cached__", "__loader__", "__name__", "__package__", "__spec__"})


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """Something that code reaches, with the name under which it enters a key."""

    name: str
    value: object
    whole_module: bool = False  # `value` is a module's name; its source counts, and what it imports


@dataclass(frozen=True, slots=True, eq=False)
class Unit:
    """One code object in one namespace: digest of both, and what it reaches directly."""

    name: str
    digest: str
    targets: tuple[Target, ...]
    sites: frozenset[str]  # directories of installed distributions
    reads_variables: bool  # calls doit.get_var
    unsound: str | None
    environment: frozenset[str] = frozenset()  # variables that it reads by name


@dataclass(slots=True)
class Reach:
    """Collects what one value or unit reaches while it is read."""

    units: dict[int, Unit] = field(default_factory=dict)
    targets: dict[str, Target] = field(default_factory=dict)
    sites: set[str] = field(default_factory=set)
    reads_variables: bool = False
    unsound: str | None = None

    def add(self, name: str, value: object) -> str:
        """Note an object and return the name that stands for it."""
        self.targets.setdefault(name, Target(name, value))
        return name

    def add_module(self, name: str) -> str:
        """Note a whole module and return the name that stands for it."""
        key = f"module {name}"
        self.targets.setdefault(key, Target(key, name, whole_module=True))
        return key


class Units:
    """Resolves code objects; remembers them for one run."""

    def __init__(self, origins: Origins) -> None:
        self._origins = origins
        self._facts: dict[int, tuple[CodeType, CodeFacts]] = {}
        self._units: dict[tuple[int, int], tuple[CodeType, Mapping[str, object], Unit]] = {}

    def facts(self, code: CodeType) -> CodeFacts:
        """Return what a code object says."""
        known = self._facts.get(id(code))  # by id: code objects hash and compare by content, slowly
        if known is None:
            known = self._facts[id(code)] = (code, read_code(code))
        return known[1]

    def unit(self, code: CodeType, namespace: dict[str, object]) -> Unit:
        """Return what `code` reaches when it runs with `namespace` as its globals."""
        key = (id(code), id(namespace))
        known = self._units.get(key)
        if known is None:
            known = self._units[key] = (code, namespace, self._resolve(code, namespace))
        return known[2]

    def _resolve(self, code: CodeType, namespace: dict[str, object]) -> Unit:
        facts = self.facts(code)
        reach = Reach()
        name = code_name(code, namespace)
        bindings = [self._global(item, namespace, reach, name) for item in facts.globals]
        bindings += [self.imported(item, namespace, reach, name) for item in facts.imports]
        for module in facts.named:
            place = self._origins.find(module)
            if place is not None and place.origin is Origin.PROJECT:
                reach.add_module(module)
        text = facts.digest + "\n" + "\n".join(sorted(set(bindings)))
        return Unit(
            name,
            digest_encoding(text),
            tuple(reach.targets[key] for key in sorted(reach.targets)),
            frozenset(reach.sites),
            reach.reads_variables,
            reach.unsound,
            frozenset(facts.variables),
        )

    def _global(self, item: GlobalName, namespace: dict[str, object], reach: Reach, user: str) -> str:
        """Note what a global name stands for and return the binding as text."""
        label = ".".join((item.name, *item.attributes))
        if item.name not in namespace:
            if item.name in _DYNAMIC_IMPORTS:
                reach.unsound = f"'{user}' imports modules by computed name ('{item.name}')"
            elif item.name in _REFLECTION:
                return f"{label} -> {self._own_module(namespace, reach)}"
            return f"{item.name} -> builtin"
        if item.name in _MODULE_FACTS:
            return f"{item.name} -> module"
        value = namespace[item.name]
        if isinstance(value, ModuleType):
            return f"{label} -> {self._attribute(value, item.attributes, reach, user)}"
        return f"{item.name} -> {self.bind(str(namespace.get('__name__')), item.name, value, reach)}"

    def _own_module(self, namespace: Mapping[str, object], reach: Reach) -> str:
        name = str(namespace.get("__name__"))
        module = sys.modules.get(name)
        return self.escaped(module, reach) if isinstance(module, ModuleType) else reach.add_module(name)

    def _attribute(self, module: ModuleType, attributes: tuple[str, ...], reach: Reach, user: str) -> str:
        """Follow attributes from a module to the first thing that is not a module."""
        for position, attribute in enumerate(attributes):
            namespace = namespace_of(module)
            if attribute not in namespace:
                break
            value = namespace[attribute]
            if not isinstance(value, ModuleType):
                return self._member(module, attribute, value, reach, user)
            module = value
            if position == len(attributes) - 1:
                break
        return self.escaped(module, reach)

    def _member(self, module: ModuleType, attribute: str, value: object, reach: Reach, user: str) -> str:
        name = f"{module.__name__}.{attribute}"
        place = self._origins.of_module(module)
        if name in _DYNAMIC_IMPORTS:
            reach.unsound = f"'{user}' imports modules by computed name ('{name}')"
        if place.origin is not Origin.PROJECT:
            self.note(place.site, value, reach)
            return name
        return self.bind(module.__name__, attribute, value, reach)

    def escaped(self, module: ModuleType, reach: Reach) -> str:
        """Note a module that is used as a value: anything in it may be reached."""
        place = self._origins.of_module(module)
        name = str(namespace_of(module).get("__name__"))
        if place.origin is Origin.PROJECT:
            reach.add(f"module {name} (values)", module)
            return reach.add_module(name)
        self.note(place.site, None, reach)
        if name.partition(".")[0] == "doit":
            reach.reads_variables = True
        return name

    def bind(self, module: str, name: str, value: object, reach: Reach) -> str:
        """Note what a module binds to a name, and return what stands for it in the binding's user."""
        if isinstance(value, ModuleType):
            return self.escaped(value, reach)
        if isinstance(value, FunctionType):
            owner, qualname = str(value.__globals__.get("__name__")), value.__qualname__
            place = self._origins.of_globals(value.__globals__)
            bare = not value.__closure__ and not value.__dict__
        elif isinstance(value, type):
            owner, qualname = class_name(value)
            place = self._origins.of_name(owner)
            bare = True
        else:
            return reach.add(f"{module}.{name} (constant)", value)
        if f"{owner}.{qualname}" in _DYNAMIC_IMPORTS:
            reach.unsound = f"'{module}.{name}' imports modules by computed name"
        if place.origin is not Origin.PROJECT and bare:
            self.note(place.site, value, reach)
            return f"{owner}.{qualname}"
        if is_canonical(value, owner, qualname):
            return reach.add(f"{owner}.{qualname}", value)
        return reach.add(f"{module}.{name}", value)

    def note(self, site: str | None, value: object, reach: Reach) -> None:
        """Note the use of something that is installed."""
        if site is not None:
            reach.sites.add(site)
        if value is not None and value is getattr(sys.modules.get("doit.doit_cmd"), "get_var", None):
            reach.reads_variables = True

    def imported(self, item: ImportedName, namespace: Mapping[str, object], reach: Reach, user: str) -> str:
        """Note what an import statement inside a function brings in, and return it as text.

        Modules count by their source, loaded or not: whether another action happened to import one
        before in the same process must not show in a key.
        """
        name = absolute_name(item.level, item.module, namespace)
        wanted = {f"{name}.{attribute}" for attribute in item.names or ()}
        if wanted & _DYNAMIC_IMPORTS or (item.names is None and name in _DYNAMIC_MODULES):
            reach.unsound = f"'{user}' imports modules by computed name ('{name}')"
        place = self._origins.find(name)
        if place is not None and place.origin is not Origin.PROJECT:
            self.note(place.site, None, reach)
            if name == "doit" or name.startswith("doit."):
                reach.reads_variables = True
            return f"import {name} {item.names}"
        parts = name.split(".")
        for count in range(1, len(parts) + 1):  # importing a.b.c runs a, a.b and a.b.c
            reach.add_module(".".join(parts[:count]))
        for submodule in sorted(wanted):
            if self._origins.find(submodule) is not None:
                reach.add_module(submodule)
        return f"import {name} {item.names}"


def class_name(kind: type) -> tuple[str, str]:
    """Return module and qualified name of a class without running code of its metaclass."""
    owner = type.__dict__["__module__"].__get__(kind)
    return str(owner), str(type.__dict__["__qualname__"].__get__(kind))
