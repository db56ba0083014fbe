"""Four quality gates, side by side: style, types, tests, security. None of them writes a file that counts."""

import sys
from pathlib import Path

DOIT_CONFIG = {"continue": True, "verbosity": 2}  # see every complaint in one go

CONFIG = "pyproject.toml"
PACKAGE = sorted(str(path) for path in Path("shop").rglob("*.py"))
TESTS = sorted(str(path) for path in Path("tests").rglob("*.py"))


def tool(*command):
    """Return the action that runs a tool of the environment that doit itself runs in."""
    return [sys.executable, "-m", *command]


def task_style():
    """ruff: style and common mistakes"""
    return {
        "file_dep": [*PACKAGE, *TESTS, CONFIG],
        "actions": [tool("ruff", "check", "--quiet", *PACKAGE, *TESTS)],
    }


def task_format():
    """ruff: layout"""
    return {
        "file_dep": [*PACKAGE, *TESTS, CONFIG],
        "actions": [tool("ruff", "format", "--check", "--quiet", *PACKAGE, *TESTS)],
    }


def task_types():
    """mypy: types, strictly"""
    return {
        "file_dep": [*PACKAGE, *TESTS, CONFIG],
        "actions": [tool("mypy")],
    }


def task_tests():
    """pytest, one task per test file, so that they run side by side and each is remembered by itself"""
    for test in TESTS:
        yield {
            "name": Path(test).stem.removeprefix("test_"),
            "file_dep": [*PACKAGE, test, CONFIG],
            # Without its cache folder pytest writes nothing, so two of them cannot get into each other's way.
            "actions": [tool("pytest", "-q", "-p", "no:cacheprovider", test)],
        }


def task_security():
    """bandit: risky calls in the package"""
    return {
        "file_dep": PACKAGE,
        "actions": [tool("bandit", "--quiet", *PACKAGE)],
    }
