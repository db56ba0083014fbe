"""The digest of what a Python callable's behaviour depends on, as lines of an action key.

Followed are the code itself, defaults, closures, arguments, and every function, class, constant and
module of the project that they reach, and the environment variables that they read by name. Not
followed: files that the function opens, programs that it starts. What cannot be put into a key soundly
is said, with the path to it. Each name is read once a run: a constant that changes during the run keeps
its first value here.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import FunctionType, MethodType, ModuleType

from buildkit.core.digest import digest_file, digest_text
from buildkit.core.pybytecode import CodeFacts
from buildkit.core.pyobject import ObjectEncoder
from buildkit.core.pyorigin import Origin, Origins, distributions_digest, namespace_of
from buildkit.core.pyreach import Reach, Target, Unit, Units
from buildkit.core.pyvalue import UnstableValueError, digest_encoding, type_name

_CO_VARKEYWORDS = 0x8


@dataclass(frozen=True, slots=True)
class CodeComponent:
    """One line of an action key: a function, a constant, a module, or an `argument <name>`."""

    name: str
    digest: str


@dataclass(frozen=True, slots=True)
class CodeFingerprint:
    """All lines that a callable adds to a key, sorted by name, or why it must not be in one."""

    components: tuple[CodeComponent, ...]
    unsound: str | None
    environment: tuple[str, ...] = ()  # variables that the code reads by name, sorted


@dataclass(frozen=True, slots=True, eq=False)
class _Node:
    """One target, encoded: its line, what it reaches, and what in it has no stable text."""

    component: CodeComponent
    targets: tuple[Target, ...]
    units: tuple[Unit, ...]
    sites: frozenset[str]
    reads_variables: bool
    unstable: str | None
    environment: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, eq=False)
class _Closure:
    """Everything that is reached from some starting points."""

    components: tuple[CodeComponent, ...]
    reads_variables: bool
    unsound: str | None
    environment: frozenset[str]
    held: tuple[object, ...]  # the starting points: their ids are the key of the memo


class CodeFingerprinter:
    """Fingerprints callables; what they share (code, helpers, constants, modules) is read once.

    `project_root` is the absolute path of the project; paths and text below it are made relative.
    """

    def __init__(self, project_root: str) -> None:
        self._origins = Origins()
        self._units = Units(self._origins)
        self._objects = ObjectEncoder(project_root, self._origins, self._units)
        self._nodes: dict[tuple[str, int], tuple[Target, _Node]] = {}
        self._closures: dict[tuple[int | str, ...], _Closure] = {}
        self._sites: dict[str, str] = {}
        # By the id of a function that is held here; thousands of tasks may share one.
        self._definitions: dict[int, tuple[object, str, Reach]] = {}
        self._without_arguments: dict[int, CodeFingerprint] = {}

    def fingerprint(
        self, function: Callable[..., object], args: Sequence[object], kwargs: Mapping[str, object]
    ) -> CodeFingerprint:
        """Return the lines for `function(*args, **kwargs)`; never raises for odd objects."""
        if args or kwargs:
            return self._fingerprint(function, args, kwargs)
        known = self._without_arguments.get(id(function))
        if known is None:
            known = self._fingerprint(function, args, kwargs)
            if id(function) in self._definitions:
                self._without_arguments[id(function)] = known
        return known

    def _fingerprint(
        self, function: Callable[..., object], args: Sequence[object], kwargs: Mapping[str, object]
    ) -> CodeFingerprint:
        name = _callable_name(function)
        reaches: list[Reach] = []
        lines: list[CodeComponent] = []
        try:
            digest, reach = self._definition(function)
            reaches.append(reach)
            lines.append(CodeComponent(name, digest))
            unsound = None
        except UnstableValueError as error:
            unsound = f"'{name}' holds {error.what}, which has no stable digest"
        for label, value in _labelled(function, args, kwargs):
            try:
                text, reach = self._objects.encode(value)
            except UnstableValueError as error:
                unsound = unsound or f"argument '{label}' of '{name}' ({error.what}) has no stable digest"
                continue
            lines.append(CodeComponent(f"argument {label}", digest_encoding(text)))
            if reach.units or reach.targets or reach.sites:
                reaches.append(reach)
        closure = self._closure(name, reaches)
        lines.extend(closure.components)
        if closure.reads_variables:
            lines.append(self._command_line_variables())
        return CodeFingerprint(_merged(lines), unsound or closure.unsound, tuple(sorted(closure.environment)))

    def _definition(self, function: Callable[..., object]) -> tuple[str, Reach]:
        """Return the digest of a callable's own definition, and what it reaches."""
        known = self._definitions.get(id(function))
        if known is None:
            text, reach = self._objects.encode_definition(function)
            known = (function, digest_encoding(text), reach)
            if type(function) is FunctionType:
                self._definitions[id(function)] = known
        return known[1], known[2]

    def _closure(self, name: str, reaches: list[Reach]) -> _Closure:
        """Return all that is reached, by name, breadth first; remembered for equal starting points."""
        units = [unit for reach in reaches for unit in reach.units.values()]
        targets = [target for reach in reaches for target in reach.targets.values()]
        sites = {site for reach in reaches for site in reach.sites}
        key = (
            name,
            *map(id, units),
            *[item for target in targets for item in (target.name, id(target.value))],
            *sorted(sites),
        )
        known = self._closures.get(key)
        if known is None:
            known = self._closures[key] = self._walk(name, reaches, units, targets, sites)
        return known

    def _walk(
        self, name: str, reaches: list[Reach], units: list[Unit], targets: list[Target], sites: set[str]
    ) -> _Closure:
        components: list[CodeComponent] = []
        reads = any(reach.reads_variables for reach in reaches)
        unsound = next((reach.unsound for reach in reaches if reach.unsound), None)
        environment: set[str] = set()
        seen: set[tuple[str, int]] = set()
        queue = [(name, target) for target in targets]
        todo = [(name, unit) for unit in units]
        position = 0
        while True:
            for user, unit in todo:
                sites |= unit.sites
                environment |= unit.environment
                reads = reads or unit.reads_variables
                unsound = unsound or unit.unsound
                queue += [(user, target) for target in unit.targets]
            todo = []
            if position == len(queue):
                break
            user, target = queue[position]
            position += 1
            key = (target.name, id(target.value) if not target.whole_module else 0)
            if key in seen:
                continue
            seen.add(key)
            node = self._node(target)
            if node.unstable is not None and unsound is None:
                unsound = _unstable_message(user, target, node.unstable)
            components.append(node.component)
            sites |= node.sites
            environment |= node.environment
            reads = reads or node.reads_variables
            shown = target.name.removesuffix(" (constant)")
            todo = [(shown, unit) for unit in node.units]
            queue += [(shown, item) for item in node.targets]
        if sites:
            components.append(self._distributions(sites))
        held = (*units, *(target.value for target in targets))
        return _Closure(tuple(components), reads, unsound, frozenset(environment), held)

    def _node(self, target: Target) -> _Node:
        key = (target.name, id(target.value) if not target.whole_module else 0)
        known = self._nodes.get(key)
        if known is not None:
            return known[1]
        if target.whole_module:
            node = self._module_node(target.name, str(target.value))
        elif isinstance(target.value, ModuleType):
            node = self._values_node(target.name, target.value)
        else:
            node = self._object_node(target)
        self._nodes[key] = (target, node)  # the target is held, so that the id in the key stays its own
        return node

    def _object_node(self, target: Target) -> _Node:
        try:
            text, reach = self._objects.encode_definition(target.value)
        except UnstableValueError as error:
            component = CodeComponent(target.name, digest_text("unstable"))
            return _Node(component, (), (), frozenset(), False, error.what)
        return _node(CodeComponent(target.name, digest_encoding(text)), reach, None)

    def _module_node(self, label: str, name: str) -> _Node:
        """Read a whole module: its file, and all of its imports from the project."""
        place = self._origins.find(name)
        if place is None:
            return _node(CodeComponent(label, digest_text("missing")), Reach(), None)
        reach = Reach()
        if place.origin is not Origin.PROJECT:
            reach.sites.update(filter(None, [place.site]))
            return _node(CodeComponent(label, digest_text(name)), reach, None)
        if place.file is None:  # a namespace package, or a module made by hand: see its values
            return _node(CodeComponent(label, digest_text("no file")), reach, None)
        try:
            digest = digest_file(place.file)
        except OSError as error:
            what = f"a source file that cannot be read ({error.strerror})"
            return _node(CodeComponent(label, digest_text("unreadable")), reach, what)
        environment: frozenset[str] = frozenset()
        if place.file.endswith(".py"):
            package = name if place.file.endswith("__init__.py") else name.rpartition(".")[0]
            namespace = {"__name__": name, "__package__": package}
            facts = self._source_facts(place.file)
            for item in facts.imports:
                self._units.imported(item, namespace, reach, name)
            environment = frozenset(facts.variables)
        return replace(_node(CodeComponent(label, digest), reach, None), environment=environment)

    def _source_facts(self, file: str) -> CodeFacts:
        try:
            with open(file, "rb") as stream:
                return self._units.facts(compile(stream.read(), file, "exec", dont_inherit=True))
        except (OSError, SyntaxError, ValueError, RecursionError):
            return CodeFacts("", (), ())  # its digest still counts; it cannot be imported

    def _values_node(self, label: str, module: ModuleType) -> _Node:
        """Read the data that loading a module left in it; how the rest was made, its source says."""
        reach = Reach()
        texts = []
        for name, value in sorted(namespace_of(module).items()):
            if name.startswith("__") or isinstance(value, FunctionType | type):
                continue
            if isinstance(value, ModuleType):
                texts.append(f"{name}={self._units.escaped(value, reach)}")
                continue
            try:
                text, reached = self._objects.encode(value)
            except UnstableValueError:
                continue
            texts.append(f"{name}={text}")
            _absorb(reach, reached)
        return _node(CodeComponent(label, digest_encoding("\n".join(texts))), reach, None)

    def _distributions(self, sites: set[str]) -> CodeComponent:
        for site in sites:
            if site not in self._sites:
                self._sites[site] = distributions_digest(site)
        text = "\n".join(sorted(self._sites[site] for site in sites))
        return CodeComponent("python distributions", digest_text(text))

    def _command_line_variables(self) -> CodeComponent:
        # Looked up, not imported: this layer does not know doit, but a dodo.py that calls get_var does.
        variables = getattr(sys.modules.get("doit.doit_cmd"), "_CMDLINE_VARS", None) or {}
        text = repr(sorted((str(key), str(value)) for key, value in variables.items()))
        return CodeComponent("command line variables", digest_encoding(text))


def _node(component: CodeComponent, reach: Reach, unstable: str | None) -> _Node:
    return _Node(
        component,
        tuple(reach.targets[name] for name in sorted(reach.targets)),
        tuple(sorted(reach.units.values(), key=lambda unit: unit.name)),
        frozenset(reach.sites),
        reach.reads_variables,
        unstable or ("a function that imports modules by computed name" if reach.unsound else None),
    )


def _absorb(into: Reach, other: Reach) -> None:
    into.units.update(other.units)
    for name, target in other.targets.items():
        into.targets.setdefault(name, target)
    into.sites |= other.sites
    into.reads_variables = into.reads_variables or other.reads_variables


def _merged(lines: list[CodeComponent]) -> tuple[CodeComponent, ...]:
    """Sort by name; lines of one name (two closures of one function) become one."""
    names = {line.name for line in lines}
    if len(names) == len(lines):
        return tuple(sorted(lines, key=_line_name))
    found: dict[str, set[str]] = {}
    for line in lines:
        found.setdefault(line.name, set()).add(line.digest)
    return tuple(
        CodeComponent(name, digests.pop() if len(digests) == 1 else digest_text(" ".join(sorted(digests))))
        for name, digests in sorted(found.items())
    )


def _line_name(line: CodeComponent) -> str:
    return line.name


def _labelled(
    function: object, args: Sequence[object], kwargs: Mapping[str, object]
) -> list[tuple[str, object]]:
    """Give each argument the name of its parameter, or its position where there is none."""
    if not args and not kwargs:
        return []
    code = None
    skipped = 0
    if isinstance(function, MethodType):
        function = function.__func__
        skipped = 1
    if isinstance(function, FunctionType):
        code = function.__code__
    names = code.co_varnames[skipped : code.co_argcount] if code is not None else ()
    labelled = [
        (names[position] if position < len(names) else f"#{position + 1}", value)
        for position, value in enumerate(args)
    ]
    labelled += [(str(name), value) for name, value in kwargs.items()]
    if len(kwargs) > 1 and (code is None or code.co_flags & _CO_VARKEYWORDS):
        labelled.append(("order", tuple(kwargs)))  # a function can see it through its **kwargs
    return labelled


def _callable_name(function: object) -> str:
    """Return `module.qualname` of what is called, for the user."""
    while isinstance(function, functools.partial):
        function = function.func
    if isinstance(function, MethodType):
        function = function.__func__
    if isinstance(function, FunctionType):
        return f"{function.__globals__.get('__name__', '?')}.{function.__qualname__}"
    return type_name(function if isinstance(function, type) else type(function))


def _unstable_message(user: str, target: Target, what: str) -> str:
    shown = target.name.removesuffix(" (constant)")
    module = user.partition(".")[0]
    short = shown.removeprefix(module + ".")
    if what == type_name(type(target.value)):
        return f"'{user}' reaches '{short}' ({what}), which has no stable digest"
    return f"'{user}' reaches '{short}', which holds {what}: it has no stable digest"
