"""What a code object says: a digest of its behaviour, and the names and imports that it mentions.

Read from the bytecode alone; nothing is executed and nothing is looked up. Line numbers, file names,
docstrings and the layout of the constant table do not count, so moving a function or rewriting its
comments changes nothing. Which objects the names stand for is decided in `pyreach`.
"""

from __future__ import annotations

import opcode
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType

from buildkit.core.pyvalue import ValueEncoder, digest_encoding

# LOAD_GLOBAL keeps a flag in its lowest bit; LOAD_ATTR does so since 3.12.
_ATTR_SHIFT = 1 if sys.version_info >= (3, 12) else 0
_CACHE = 0
_EXTENDED_ARG = opcode.EXTENDED_ARG
_CONST_OPS = frozenset(opcode.hasconst)
_NAME_OPS = frozenset(opcode.hasname)
_OP = opcode.opmap
_LOAD_CONST = _OP["LOAD_CONST"]
_LOAD_SMALL_INT = _OP.get("LOAD_SMALL_INT", -1)  # since 3.14
_IMPORT_NAME = _OP["IMPORT_NAME"]
_STORE_NAME = _OP["STORE_NAME"]
_CHAIN_OPS = frozenset(_OP[name] for name in ("LOAD_ATTR", "LOAD_METHOD") if name in _OP)
# Operations with a name that is not looked up in the globals.
_OTHER_NAME_OPS = _CHAIN_OPS | {
    _OP[name]
    for name in ("STORE_ATTR", "DELETE_ATTR", "IMPORT_NAME", "IMPORT_FROM", "LOAD_SUPER_ATTR", "STORE_NAME")
    if name in _OP
}
_ENVIRONMENT_NAMES = frozenset({"environ", "getenv"})
_DYNAMIC_IMPORTS = frozenset({"import_module", "__import__"})
_MODULE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
_BETWEEN = frozenset({"LOAD_ATTR", "LOAD_METHOD", "PUSH_NULL"})
_CO_OPTIMIZED = 0x1  # set for functions, not for class bodies and modules
# What the compiler stores in a class body and what says nothing about behaviour.
_CLASS_NOISE = frozenset({"__doc__", "__qualname__", "__firstlineno__"})


@dataclass(frozen=True, slots=True)
class GlobalName:
    """A global name and the attributes that are read from it at once: `pkg.mod.f` is `pkg`, (`mod`, `f`)."""

    name: str
    attributes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ImportedName:
    """An import statement: dots before the module, the module, and the names taken `from` it."""

    level: int
    module: str
    names: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class CodeFacts:
    """What one code object, with all code nested in it, does and mentions."""

    digest: str
    globals: tuple[GlobalName, ...]
    imports: tuple[ImportedName, ...]
    variables: tuple[str, ...] = ()  # of the environment, where the code spells their names out
    named: tuple[str, ...] = ()  # texts that may be names of modules, where it imports by computed name


def read_code(code: CodeType) -> CodeFacts:
    """Return the facts of `code`, nested functions, classes and comprehensions included."""
    globals_: dict[GlobalName, None] = {}
    imports: dict[ImportedName, None] = {}
    text = _read(code, globals_, imports)
    variables: dict[str, None] = {}
    named: dict[str, None] = {}
    _read_names(code, variables, named)
    return CodeFacts(
        digest_encoding(text), tuple(globals_), tuple(imports), tuple(sorted(variables)), tuple(named)
    )


def _read_names(code: CodeType, variables: dict[str, None], named: dict[str, None]) -> None:
    """Collect variables of the environment and names of modules that the code spells out."""
    mentioned = set(code.co_names)
    if mentioned & _ENVIRONMENT_NAMES:
        instructions = list(_instructions(code))
        for position, instruction in enumerate(instructions):
            if instruction.op in _NAME_OPS and _name_of(code, instruction) in _ENVIRONMENT_NAMES:
                name = _constant_beside(code, instructions, position)
                if name is not None:
                    variables[name] = None
    if mentioned & _DYNAMIC_IMPORTS:
        named.update(
            (value, None)
            for value in code.co_consts
            if isinstance(value, str) and _MODULE_NAME.fullmatch(value)
        )
    for value in code.co_consts:
        if isinstance(value, CodeType):
            _read_names(value, variables, named)


def _constant_beside(code: CodeType, instructions: list[_Instruction], position: int) -> str | None:
    """Return the name in `environ["X"]`, `environ.get("X")`, `getenv("X")` or `"X" in environ`."""
    after = position + 1
    while after < len(instructions) and opcode.opname[instructions[after].op] in _BETWEEN:
        after += 1
    if after >= len(instructions):
        return None
    before = position - 1
    if opcode.opname[instructions[after].op] == "CONTAINS_OP":
        while before >= 0 and instructions[before].op in _NAME_OPS:
            before -= 1  # `os` of `os.environ`
        after = before
    if after < 0 or instructions[after].op != _LOAD_CONST:
        return None
    value = code.co_consts[instructions[after].arg]
    return value if isinstance(value, str) and value else None


@dataclass(frozen=True, slots=True)
class _Instruction:
    op: int
    arg: int


def _instructions(code: CodeType) -> Iterator[_Instruction]:
    # co_code is the code as compiled: specialised and instrumented instructions do not show in it.
    raw = code.co_code
    extended = 0
    for index in range(0, len(raw), 2):
        op = raw[index]
        if op == _CACHE:
            continue
        arg = raw[index + 1] | extended
        extended = arg << 8 if op == _EXTENDED_ARG else 0
        if op != _EXTENDED_ARG:
            yield _Instruction(op, arg)


def _name_of(code: CodeType, instruction: _Instruction) -> str:
    op, arg = instruction.op, instruction.arg
    index = arg
    if op == _OP["LOAD_GLOBAL"]:
        index = arg >> 1
    elif op == _OP["LOAD_ATTR"]:
        index = arg >> _ATTR_SHIFT
    elif opcode.opname[op] == "LOAD_SUPER_ATTR":
        index = arg >> 2
    return code.co_names[index]


def _flags_of(instruction: _Instruction) -> int:
    """Return what an operation keeps beside the index of its name."""
    op, arg = instruction.op, instruction.arg
    if op == _OP["LOAD_GLOBAL"]:
        return arg & 1
    if op == _OP["LOAD_ATTR"]:
        return arg & _ATTR_SHIFT
    return arg & 3 if opcode.opname[op] == "LOAD_SUPER_ATTR" else 0


def _read(code: CodeType, globals_: dict[GlobalName, None], imports: dict[ImportedName, None]) -> str:
    """Collect names and imports, and return a text that is equal for equal behaviour."""
    instructions = list(_instructions(code))
    constants = [_constant(value, globals_, imports) for value in code.co_consts]
    used = {0} if code.co_consts and isinstance(code.co_consts[0], str | None) else set()  # the docstring
    class_body = not code.co_flags & _CO_OPTIMIZED
    parts = [
        f"code {code.co_name} {code.co_argcount} {code.co_posonlyargcount} {code.co_kwonlyargcount}",
        f" {code.co_flags & 0xFFFF:x} {code.co_varnames} {code.co_cellvars} {code.co_freevars}\n",
    ]
    for position, instruction in enumerate(instructions):
        op, arg = instruction.op, instruction.arg
        if op in _CONST_OPS:
            used.add(arg)
            noise = class_body and _stores_noise(code, instructions, position + 1)
            parts.append(f"{op}=" + ("noise" if noise else constants[arg]) + "\n")
        elif op == _LOAD_SMALL_INT and class_body and _stores_noise(code, instructions, position + 1):
            parts.append(f"{op}=noise\n")
        elif op in _NAME_OPS:
            name = _name_of(code, instruction)
            parts.append(f"{op} {name} {_flags_of(instruction)}\n")
            if op == _IMPORT_NAME:
                imports[_imported(code, instructions, position, name)] = None
            elif op not in _OTHER_NAME_OPS:
                globals_[GlobalName(name, _attributes(code, instructions, position + 1))] = None
        else:
            parts.append(f"{op} {arg}\n")
    parts += [text for index, text in enumerate(constants) if index not in used]
    parts.append(code.co_exceptiontable.hex())
    return "".join(parts)


def _constant(value: object, globals_: dict[GlobalName, None], imports: dict[ImportedName, None]) -> str:
    if isinstance(value, CodeType):
        return digest_encoding(_read(value, globals_, imports))
    return ValueEncoder().encode(value)


def _stores_noise(code: CodeType, instructions: list[_Instruction], position: int) -> bool:
    if position >= len(instructions) or instructions[position].op != _STORE_NAME:
        return False
    return code.co_names[instructions[position].arg] in _CLASS_NOISE


def _attributes(code: CodeType, instructions: list[_Instruction], position: int) -> tuple[str, ...]:
    names: list[str] = []
    while position < len(instructions) and instructions[position].op in _CHAIN_OPS:
        names.append(_name_of(code, instructions[position]))
        position += 1
    return tuple(names)


def _imported(code: CodeType, instructions: list[_Instruction], position: int, name: str) -> ImportedName:
    """Return the import at `position`: the compiler puts level and list of names right before it."""
    level = _loaded(code, instructions[position - 2])
    names = _loaded(code, instructions[position - 1])
    return ImportedName(
        level if isinstance(level, int) else 0,
        name,
        tuple(str(item) for item in names) if isinstance(names, tuple) else None,
    )


def _loaded(code: CodeType, instruction: _Instruction) -> object:
    return instruction.arg if instruction.op == _LOAD_SMALL_INT else code.co_consts[instruction.arg]
