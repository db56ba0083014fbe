"""What does and what does not change the fingerprint of a Python callable."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import functools
import importlib
import logging
import os
import pathlib
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from buildkit.core.pycode import CodeFingerprint, CodeFingerprinter

MODULES = ("dodo_x", "helpers_x", "pkg_x", "pkg_x.inner", "pkg_x.other")


class Project:
    """A project in a folder, loaded afresh after each edit."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, **sources: str) -> None:
        for name, source in sources.items():
            path = self.root / (name.replace("_in_", "/") + ".py")
            path.parent.mkdir(exist_ok=True)
            path.write_text(textwrap.dedent(source))

    def load(self, name: str = "dodo_x") -> Any:
        forget_modules()
        importlib.invalidate_caches()
        return importlib.import_module(name)

    def take(self, *args: object, function: str = "build", **kwargs: object) -> CodeFingerprint:
        module = self.load()
        return CodeFingerprinter(str(self.root)).fingerprint(getattr(module, function), args, kwargs)

    def changed(self, before: str, after: str, module: str = "dodo_x") -> set[str]:
        """Return the names of the lines that differ once `before` reads `after` in a module."""
        path = self.root / (module.replace("_in_", "/") + ".py")
        old = self.take()
        text = path.read_text()
        assert before in text
        path.write_text(text.replace(before, after))
        new = self.take()
        assert old.unsound is None and new.unsound is None, (old.unsound, new.unsound)
        return differing(old, new)


def differing(old: CodeFingerprint, new: CodeFingerprint) -> set[str]:
    return {line.name for line in set(old.components) ^ set(new.components)}


def forget_modules() -> None:
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # edits within one second must be seen
    project = Project(tmp_path)
    project.write(
        helpers_x="""
            LIMIT = 3

            def render(text):
                return clean(text)[:LIMIT]

            def clean(text):
                return text.strip()

            def unused():
                return 1
        """,
        dodo_x='''
            import functools
            import helpers_x
            from helpers_x import LIMIT as WIDTH

            SETTINGS = {"depth": 1}

            def logged(function):
                @functools.wraps(function)
                def wrapper(*args, **kwargs):
                    print("start")
                    return function(*args, **kwargs)
                return wrapper

            class Base:
                """A base."""
                level = 1
                def area(self):
                    return 2

            class Shape(Base):
                sides = 4
                def corners(self):
                    return self.sides

            @logged
            def build(name="x", *, deep=False):
                """Build it."""
                # a comment
                return helpers_x.render(name) + str(SETTINGS) + str(Shape().corners())
        ''',
    )
    yield project
    forget_modules()


@pytest.mark.parametrize(
    ("before", "after", "module", "names"),
    [
        (
            "return helpers_x.render(name) +",
            "return '' + helpers_x.render(name) +",
            "dodo_x",
            {"dodo_x.build"},
        ),
        ('print("start")', 'print("begin")', "dodo_x", {"dodo_x.build"}),
        ('name="x"', 'name="y"', "dodo_x", {"dodo_x.build"}),
        ("deep=False", "deep=True", "dodo_x", {"dodo_x.build"}),
        ('{"depth": 1}', '{"depth": 2}', "dodo_x", {"dodo_x.SETTINGS (constant)"}),
        ("sides = 4", "sides = 5", "dodo_x", {"dodo_x.Shape"}),
        ("return self.sides", "return -self.sides", "dodo_x", {"dodo_x.Shape.corners"}),
        ("level = 1", "level = 2", "dodo_x", {"dodo_x.Base"}),
        ("return 2", "return 3", "dodo_x", {"dodo_x.Base.area"}),
        ("text.strip()", "text.lstrip()", "helpers_x", {"helpers_x.clean"}),
        ("clean(text)[:LIMIT]", "clean(text)[LIMIT:]", "helpers_x", {"helpers_x.render"}),
        ("LIMIT = 3", "LIMIT = 4", "helpers_x", {"helpers_x.LIMIT (constant)"}),
    ],
)
def test_an_edit_changes_the_line_that_names_it(
    project: Project, before: str, after: str, module: str, names: set[str]
) -> None:
    assert project.changed(before, after, module) == names


@pytest.mark.parametrize(
    ("before", "after", "module"),
    [
        ("# a comment", "# another comment\n    # of two lines", "dodo_x"),
        ('"""Build it."""', '"""Build it well."""', "dodo_x"),
        ('    """Build it."""\n', "", "dodo_x"),
        ('"""A base."""', '"""The base."""', "dodo_x"),
        ('name="x"', 'name: str="x"', "dodo_x"),
        ("SETTINGS =", "\n\n\nSETTINGS =", "dodo_x"),
        ("LIMIT = 3", "UNUSED = 5\nLIMIT = 3", "helpers_x"),
        ("return 1", "return 2", "helpers_x"),  # a function that nobody reaches
    ],
)
def test_an_edit_that_changes_no_behaviour_changes_nothing(
    project: Project, before: str, after: str, module: str
) -> None:
    assert project.changed(before, after, module) == set()


def test_a_name_bound_to_another_function_changes_its_user(project: Project) -> None:
    project.write(
        dodo_x="""
            from helpers_x import clean as step
            import helpers_x
            def build():
                return step("x"), helpers_x.clean, helpers_x.unused
        """
    )
    assert project.changed("clean as step", "unused as step") == {"dodo_x.build"}


def test_imports_inside_a_function_are_followed(project: Project) -> None:
    project.write(dodo_x="def build():\n    from helpers_x import render\n    return render('x')\n")
    assert project.changed("text.strip()", "text", "helpers_x") == {"module helpers_x"}


def test_a_module_imported_whole_inside_a_function_counts_by_its_source(project: Project) -> None:
    project.write(dodo_x="def build():\n    import helpers_x\n    return helpers_x\n")
    assert project.changed("return 1", "return 2", "helpers_x") == {"module helpers_x"}


def test_a_module_that_is_not_loaded_counts_by_its_source_and_imports(project: Project) -> None:
    project.write(
        pkg_x_in___init__="",
        pkg_x_in_inner="from . import other\n",
        pkg_x_in_other="A = 1\n",
        dodo_x="def build():\n    from pkg_x import inner\n    return inner\n",
    )
    assert project.changed("A = 1", "A = 2", "pkg_x_in_other") == {"module pkg_x.other"}


def test_relative_imports_of_a_loaded_package_are_followed(project: Project) -> None:
    project.write(
        pkg_x_in___init__="",
        pkg_x_in_inner="def run():\n    from .other import A\n    return A\n",
        pkg_x_in_other="A = 1\n",
        dodo_x="import pkg_x.inner, pkg_x.other\ndef build():\n    return pkg_x.inner.run()\n",
    )
    assert project.changed("A = 1", "A = 2", "pkg_x_in_other") == {"module pkg_x.other"}


def test_whether_a_module_is_loaded_already_does_not_show(project: Project) -> None:
    project.write(dodo_x="def build():\n    from helpers_x import render\n    return render('x')\n")
    before = project.take()
    module = project.load()
    importlib.import_module("helpers_x")
    assert CodeFingerprinter(str(project.root)).fingerprint(module.build, [], {}) == before


def test_values_that_loading_left_in_an_escaped_module_count(project: Project) -> None:
    project.write(dodo_x="import helpers_x\ndef build():\n    return vars(helpers_x)\n")
    module = project.load()
    before = CodeFingerprinter(str(project.root)).fingerprint(module.build, [], {})
    module.helpers_x.LIMIT = 99
    after = CodeFingerprinter(str(project.root)).fingerprint(module.build, [], {})
    assert differing(before, after) == {"module helpers_x (values)"}


def test_a_module_reached_by_getattr_counts_whole(project: Project) -> None:
    project.write(
        dodo_x="import helpers_x\ndef build(name='unused'):\n    return getattr(helpers_x, name)()\n"
    )
    assert project.changed("return 1", "return 2", "helpers_x") == {"module helpers_x"}


def test_eval_counts_the_whole_module_of_the_function(project: Project) -> None:
    project.write(dodo_x="def secret():\n    return 1\ndef build():\n    return eval('secret()')\n")
    assert project.changed("return 1", "return 2") == {"module dodo_x"}


def test_line_moves_do_not_change_a_class_inside_a_function(project: Project) -> None:
    project.write(
        dodo_x='def build():\n    class Local:\n        """Doc."""\n        x = 5\n    return Local\n'
    )
    assert project.changed("def build", "\n\n\ndef build") == set()
    assert project.changed('"""Doc."""', '"""Other."""') == set()
    assert project.changed("x = 5", "x = 6") == {"dodo_x.build"}


def test_paths_below_the_project_do_not_tie_a_key_to_one_checkout(tmp_path: Path) -> None:
    def build(path: object) -> object:
        return path

    def take(root: str, value: object) -> CodeFingerprint:
        return CodeFingerprinter(root).fingerprint(build, [value], {})

    assert take("/a", "/a/src") == take("/b", "/b/src")
    assert take("/a", pathlib.PurePosixPath("/a/src")) == take("/b", pathlib.PurePosixPath("/b/src"))
    assert take("/a", "/ab/src") != take("/b", "/bb/src")
    assert take("/a", "/a/src") != take("/a", "src")


def fingerprint(function: Callable[..., object], *args: object, **kwargs: object) -> CodeFingerprint:
    return CodeFingerprinter(os.path.dirname(__file__)).fingerprint(function, args, kwargs)


def closure_over(value: object) -> Callable[[], object]:
    return lambda: value


def identity(value: object = None, **options: object) -> object:
    return value


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Slotted:
    __slots__ = ("a", "b")

    def __init__(self, a: object) -> None:
        self.a = a

    def method(self) -> object:
        return self.a


class Plain:
    def __init__(self, **values: object) -> None:
        self.__dict__.update(values)

    def __call__(self) -> object:
        return self

    @classmethod
    def make(cls) -> Plain:
        return cls()

    @staticmethod
    def static() -> int:
        return 1


class Numbers(list):  # type: ignore[type-arg]
    pass


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 2),
        (Colour.RED, Colour.BLUE),
        (Slotted(1), Slotted(2)),
        (Plain(a=1), Plain(a=2)),
        (Numbers([1]), Numbers([2])),
        (Numbers([1]), [1]),
        (pathlib.PurePath("a"), pathlib.PurePath("b")),
        (pathlib.PurePath("a"), "a"),
        (functools.partial(identity, 1), functools.partial(identity, 2)),
        (functools.partial(identity), identity),
        (Slotted(1).method, Slotted(2).method),
        (Plain.make, Plain.static),
        (str.upper, str.lower),
        (len, max),
        (range(3), range(4)),
        (int, str),
        (Plain, Slotted),
        (lambda: 1, lambda: 2),
        (closure_over(1), closure_over(2)),
        (closure_over(closure_over(1)), closure_over(closure_over(2))),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (os, sys),
    ],
)
def test_values_that_differ_have_different_fingerprints(one: object, other: object) -> None:
    first, second = fingerprint(identity, one), fingerprint(identity, other)
    assert first.unsound is None and second.unsound is None
    assert "argument value" in differing(first, second)
    assert fingerprint(closure_over(one)) != fingerprint(closure_over(other))
    assert fingerprint(identity, one) == first


@pytest.mark.parametrize(
    "function", [Plain(a=1), Plain.make, Plain.static, Slotted(3).method, print, Plain, "x".join]
)
def test_every_kind_of_callable_has_a_fingerprint(function: Callable[..., object]) -> None:
    found = fingerprint(function)
    assert found.unsound is None
    assert found.components


@pytest.mark.parametrize(
    "value",
    [sqlite3.connect(":memory:"), threading.Lock(), (item for item in ()), iter([])],
)
def test_values_without_a_stable_text_are_named(value: object) -> None:
    kind = type(value).__qualname__
    assert kind in (fingerprint(identity, value).unsound or "")
    assert kind in (fingerprint(identity, [{"x": value}]).unsound or "")
    assert "closure variable 'value'" in (fingerprint(closure_over(value)).unsound or "")
    assert kind in (fingerprint(identity, Plain(conn=value)).unsound or "")


def test_the_reason_names_the_path_to_the_value(project: Project) -> None:
    project.write(
        helpers_x="import sqlite3\nCONN = sqlite3.connect(':memory:')\ndef query():\n    return CONN\n",
        dodo_x="import helpers_x\ndef build():\n    return helpers_x.query()\n",
    )
    assert project.take().unsound == (
        "'helpers_x.query' reaches 'CONN' (sqlite3.Connection), which has no stable digest"
    )


def test_imports_by_computed_name_are_unsound(project: Project) -> None:
    project.write(dodo_x="import importlib\ndef build(name='x'):\n    return importlib.import_module(name)\n")
    assert "by computed name" in (project.take().unsound or "")


class Pair(NamedTuple):
    first: int
    second: int = 2


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    items: list[int] = dataclasses.field(default_factory=list)


def test_common_library_constructs_have_a_fingerprint() -> None:
    @contextlib.contextmanager
    def opened() -> Iterator[None]:
        yield

    @functools.lru_cache
    def cached() -> int:
        return 1

    log = logging.getLogger("x")

    async def build() -> object:
        with opened():
            log.info("x")
        return Pair(1), Record(), cached()

    assert fingerprint(build, Pair(1), Record([1])).unsound is None
    assert fingerprint(build, Pair(1)) != fingerprint(build, Pair(2))
    assert fingerprint(build, Record([1])) != fingerprint(build, Record([2]))


def test_imports_by_computed_name_are_found_inside_of_constants(project: Project) -> None:
    project.write(
        dodo_x="from importlib import import_module\nS = [import_module]\ndef build():\n    return S\n"
    )
    assert "computed name" in (project.take().unsound or "")


def test_cycles_end() -> None:
    cyclic: list[object] = []
    cyclic.append(cyclic)
    node = Plain()
    node.__dict__["me"] = node
    function = closure_over(None)
    function.itself = function  # type: ignore[attr-defined]
    for value in (cyclic, node, function):
        assert fingerprint(identity, value).unsound is None


def test_deep_nesting_is_refused_not_followed() -> None:
    deep: object = []
    for _ in range(5_000):
        deep = [deep]
    assert "nested" in (fingerprint(identity, deep).unsound or "")


def test_shared_values_that_multiply_are_refused() -> None:
    wide: object = [1]
    for _ in range(60):
        wide = [wide, wide]
    assert "parts" in (fingerprint(identity, wide).unsound or "")


class Hostile:
    __slots__ = ()

    def __getattribute__(self, name: str) -> object:
        raise RuntimeError(name)

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("eq")

    def __hash__(self) -> int:
        raise RuntimeError("hash")

    def __repr__(self) -> str:
        raise RuntimeError("repr")


def test_hostile_objects_do_not_raise() -> None:
    from unittest import mock

    for value in (Hostile(), [Hostile()], mock.MagicMock(), mock.Mock, mock):
        fingerprint(identity, value)
        fingerprint(closure_over(value))
    assert fingerprint(mock.MagicMock()).unsound is not None


def test_instances_with_hidden_state_are_unsound() -> None:
    class Connection(sqlite3.Connection):
        pass

    assert "Connection" in (fingerprint(identity, Connection(":memory:")).unsound or "")


def test_specialised_bytecode_is_the_same_code() -> None:
    def hot(values: list[int]) -> int:
        total = 0
        for value in values:
            total += value * 2
        return total

    cold = fingerprint(hot)
    for _ in range(200):
        hot([1, 2, 3])
    assert fingerprint(hot) == cold


def test_command_line_variables_count_where_get_var_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    doit_cmd = pytest.importorskip("doit.doit_cmd")
    import doit

    def by_module() -> object:
        return doit.get_var("x")

    def by_import() -> object:
        from doit import get_var

        return get_var("x")

    for function in (by_module, by_import, closure_over(doit.get_var)):
        monkeypatch.setattr(doit_cmd, "_CMDLINE_VARS", {"x": "1"})
        before = fingerprint(function)
        monkeypatch.setattr(doit_cmd, "_CMDLINE_VARS", {"x": "2"})
        assert differing(before, fingerprint(function)) == {"command line variables"}


def test_installed_distributions_stand_for_installed_code() -> None:
    def uses() -> object:
        return pytest.fail

    found = fingerprint(uses)
    assert "python distributions" in {line.name for line in found.components}
    assert not any(line.name.startswith(("pytest.", "_pytest.")) for line in found.components)


SEEDED = """
import os, sys, functools
sys.path.insert(0, {folder!r})
from buildkit.core.pycode import CodeFingerprinter
import dodo_x
args = [{{"a", "b", "c"}}, frozenset(["x", "y", (1, 2)]), {{"k": {{1.5, None, "z"}}}}]
print(CodeFingerprinter({folder!r}).fingerprint(dodo_x.build, args, {{}}))
"""


def test_the_hash_seed_does_not_matter(project: Project) -> None:
    script = SEEDED.format(folder=str(project.root))
    found = {
        subprocess.run(
            [sys.executable, "-B", "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "4711")
    }
    assert len(found) == 1
    assert b"unsound=None" in found.pop()
