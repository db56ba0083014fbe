"""Where Python code comes from: the project, the standard library, or an installed distribution.

Project code is read; the standard library is covered by the version of Python; of an installed
distribution, its name and version stand for it. Nothing is imported here: modules that are not loaded
are only located.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from enum import Enum, auto
from types import CodeType, ModuleType

from buildkit.core.digest import Digest, digest_text
from buildkit.core.record import Record

# Their own behaviour is covered by the schema of the key and by their distributions.
_ENGINES = frozenset({"doit", "buildkit"})
_SITE_FOLDERS = frozenset({"site-packages", "dist-packages"})
_METADATA_SUFFIXES = (".dist-info", ".egg-info", ".egg-link")


class Origin(Enum):
    """Who answers for a piece of code."""

    PROJECT = auto()  # its source belongs to the key
    STANDARD = auto()  # the version of Python stands for it
    INSTALLED = auto()  # the list of installed distributions stands for it


class Place(Record):
    """The origin of a module, its file where it has one, and its site directory if it is installed."""

    origin: Origin
    file: str | None = None
    site: str | None = None


def distributions_digest(site: str) -> Digest:
    """Return the digest of the names and versions of what is installed in a site directory."""
    try:
        entries = os.listdir(site)
    except OSError:
        entries = []
    return digest_text("\n".join(sorted(name for name in entries if name.endswith(_METADATA_SUFFIXES))))


class Origins:
    """Answers where modules come from; remembers the answers for one run."""

    def __init__(self) -> None:
        standard = os.path.dirname(os.__file__)
        self._standard = tuple({standard + os.sep, os.path.realpath(standard) + os.sep})
        self._files: dict[str, Place] = {}
        self._globals: dict[int, tuple[Mapping[str, object], Place]] = {}
        self._modules: dict[str, Place] = {}
        self._found: dict[str, Place | None] = {}

    def of_file(self, file: str) -> Place:
        """Return the place of a source file or extension module."""
        place = self._files.get(file)
        if place is None:
            place = self._files[file] = self._locate(os.path.abspath(file))
        return place

    def of_globals(self, namespace: Mapping[str, object]) -> Place:
        """Return the place of the module that a function's globals belong to."""
        known = self._globals.get(id(namespace))
        if known is not None:
            return known[1]
        name = namespace.get("__name__")
        place = self._named(name if isinstance(name, str) else "", namespace)
        self._globals[id(namespace)] = (namespace, place)  # held, so that its id stays its own
        return place

    def of_module(self, module: ModuleType) -> Place:
        """Return the place of a loaded module."""
        return self.of_globals(namespace_of(module))

    def of_name(self, name: str) -> Place:
        """Return the place of the module that is called `name`, loaded or not."""
        module = sys.modules.get(name)
        if isinstance(module, ModuleType):
            return self.of_module(module)
        place = self._modules.get(name)
        if place is None:
            place = self._modules[name] = self._named(name, {})
        return place

    def find(self, name: str) -> Place | None:
        """Return the place that `import name` would load from, without importing; None if nowhere."""
        if name not in self._found:
            file = locate_module(name)
            if file is not None and os.path.isabs(file):
                self._found[name] = self._named(name, {"__file__": file})
            elif name.partition(".")[0] in sys.stdlib_module_names:
                self._found[name] = Place(Origin.STANDARD)
            else:
                module = sys.modules.get(name)  # made by hand, or by an import hook
                self._found[name] = self.of_module(module) if isinstance(module, ModuleType) else None
        return self._found[name]

    def _named(self, name: str, namespace: Mapping[str, object]) -> Place:
        top = name.partition(".")[0]
        file = namespace.get("__file__")
        if not isinstance(file, str):
            spec = namespace.get("__spec__")
            origin = getattr(spec, "origin", None) if spec is not None else None
            file = origin if isinstance(origin, str) and os.path.isabs(origin) else None
        place = self.of_file(file) if file is not None else None
        if place is None:
            standard = top in sys.stdlib_module_names and name != "__main__"
            place = Place(Origin.STANDARD if standard else Origin.PROJECT)
        if top in _ENGINES and place.origin is Origin.PROJECT:
            return Place(Origin.INSTALLED, place.file)
        return place

    def _locate(self, file: str) -> Place:
        folder = file
        while True:
            parent, name = os.path.split(folder)
            if name in _SITE_FOLDERS:
                return Place(Origin.INSTALLED, file, folder)
            if parent == folder:
                break
            folder = parent
        if file.startswith(self._standard):
            return Place(Origin.STANDARD, file)
        return Place(Origin.PROJECT, file)


def namespace_of(module: ModuleType) -> dict[str, object]:
    """Return a module's own names, without asking a lazy module for more."""
    namespace: dict[str, object] = object.__getattribute__(module, "__dict__")
    return namespace


def locate_module(name: str) -> str | None:
    """Return the file that `import name` would load, without importing anything; None if there is none."""
    from importlib.machinery import PathFinder  # only for modules that are named but not loaded

    path = None
    spec = None
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        spec = PathFinder.find_spec(".".join(parts[:count]), path)
        if spec is None:
            return None
        path = spec.submodule_search_locations
        if path is None and count < len(parts):
            return None
    return spec.origin if spec is not None else None


def absolute_name(level: int, module: str, namespace: Mapping[str, object]) -> str:
    """Return the absolute name of the module in `from <dots><module> import …`."""
    if not level:
        return module
    package = namespace.get("__package__")
    if not isinstance(package, str) or not package:
        name = namespace.get("__name__")
        package = name if isinstance(name, str) else ""
        if "__path__" not in namespace:
            package = package.rpartition(".")[0]
    for _ in range(level - 1):
        package = package.rpartition(".")[0]
    return ".".join(part for part in (package, module) if part)


def is_canonical(value: object, module: str, qualname: str) -> bool:
    """Return whether `value` is what its own module binds to its own qualified name."""
    found: object = sys.modules.get(module)
    if found is None or "<" in qualname:
        return False
    for part in qualname.split("."):
        try:
            found = vars(found).get(part)  # vars: no lazy attributes, no descriptors
        except TypeError:
            return False
    return found is value


def code_name(code: CodeType, namespace: Mapping[str, object]) -> str:
    """Return `module.qualname` of a function by its code."""
    return f"{namespace.get('__name__', '?')}.{code.co_qualname}"
