"""What has to be true of this repository, as tasks. `make` runs the default ones, `doit list` names all."""

import re
import sys
from pathlib import Path

DOIT_CONFIG = {
    "default_tasks": ["lint", "format", "types", "layers", "docs", "wheel", "unit"],
    "continue": True,  # show all complaints in one go
}

GENERATED = {"__pycache__", "build", ".buildkit", ".mypy_cache", ".ruff_cache", ".pytest_cache"}


def files(*folders, pattern="*"):
    """Return the files below `folders`, sorted, without what tools and builds leave there."""
    return sorted(
        str(path)
        for folder in folders
        for path in Path(folder).rglob(pattern)
        if path.is_file() and GENERATED.isdisjoint(path.parts)
    )


CONFIG = "pyproject.toml"
PACKAGE = files("buildkit")
BENCHMARKS = files("benchmarks", pattern="*.py")
TESTS = files("tests", pattern="*.py")
EXAMPLES = files("examples")
DOCS = [*files("docs"), "README.md", "CHANGELOG.md"]
EVERYTHING = [*PACKAGE, *BENCHMARKS, *TESTS, *EXAMPLES, *DOCS, "dodo.py", "Makefile", "LICENSE", CONFIG]
MODULES = [path for path in PACKAGE if path.endswith(".py")]
CODE = ["buildkit", "tests", "benchmarks", "dodo.py"]  # what ruff looks at: the inputs of its tasks
# What several test files share, and their data: a change of it runs them all.
SHARED = [path for path in files("tests") if not Path(path).match("test_*.py")]


def module(*words):
    """Return the action that runs a module of the environment that doit itself runs in."""
    return [sys.executable, "-m", *words]


def task_lint():
    """ruff: mistakes, style, docstrings, complexity."""
    return {
        "file_dep": [*MODULES, *TESTS, *BENCHMARKS, "dodo.py", CONFIG],
        "actions": [module("ruff", "check", "--quiet", *CODE)],
    }


def task_format():
    """ruff: layout."""
    return {
        "file_dep": [*MODULES, *TESTS, *BENCHMARKS, "dodo.py", CONFIG],
        "actions": [module("ruff", "format", "--check", "--quiet", *CODE)],
    }


def task_types():
    """mypy: types, strictly."""
    return {
        "file_dep": [*PACKAGE, CONFIG],
        "actions": [module("mypy")],
        "verbosity": 2,
    }


def task_layers():
    """import-linter: each layer imports only from those below it."""
    lint_imports = str(Path(sys.executable).with_name("lint-imports"))
    return {
        "file_dep": [*MODULES, CONFIG],
        "actions": [[lint_imports, "--no-cache"]],
    }


def pytest_task(name, tests, more_inputs=()):
    """Return the task that runs `tests`; its log ends with pytest's closing line."""
    return {
        "name": name,
        "file_dep": [*PACKAGE, *SHARED, *tests, *more_inputs, CONFIG],
        # Without its cache folder pytest writes nothing that another of these tasks writes, too.
        "actions": [module("pytest", "-p", "no:cacheprovider", *tests)],
        "verbosity": 2,
    }


def pytest_tasks(folder, inputs_of=None):
    """Yield one task per test file: they run side by side, and each is remembered by itself."""
    for test in files(folder, pattern="test_*.py"):
        name = Path(test).stem.removeprefix("test_")
        if test not in DOC_TESTS:
            yield pytest_task(name, [test], (inputs_of or {}).get(name, ()))


DOC_TESTS = ["tests/unit/test_docs.py"]


def task_docs():
    """pytest: links resolve, and every option, setting and key is in the reference."""
    task = pytest_task("docs", DOC_TESTS, [*DOCS, *files("examples", pattern="*.md")])
    return {key: value for key, value in task.items() if key != "name"}


def task_unit():
    """pytest: unit tests."""
    yield from pytest_tasks("tests/unit")


def task_e2e():
    """pytest: real projects, the real doit, real processes."""
    yield from pytest_tasks("tests/e2e", {"examples": EXAMPLES})


def task_faults():
    """pytest: kills, full disks, damaged bytes, racing runs; `make faults` runs the long version."""
    yield from pytest_tasks("tests/faults")


def task_wheel():
    """build: the wheel and the source distribution."""
    version = re.search(r'__version__ = "(.+)"', Path("buildkit/__init__.py").read_text()).group(1)
    return {
        "file_dep": EVERYTHING,
        "targets": [f"dist/doit_buildkit-{version}-py3-none-any.whl", f"dist/doit_buildkit-{version}.tar.gz"],
        # The build backend is in this environment, so no second one is made for it.
        "actions": [module("build", "--no-isolation", "--outdir", "dist", ".")],
        "clean": True,
    }
