"""Build one file that runs anywhere, and test both its parts and the file itself."""

import sys
from pathlib import Path

DOIT_CONFIG = {"default_tasks": ["build"]}

SOURCES = sorted(str(path) for path in Path("app").rglob("*.py"))
TESTS = sorted(str(path) for path in Path("tests").rglob("test_*.py"))
PROGRAM = "build/strength.pyz"


def task_build():
    """pack app/ into one executable file"""
    return {
        "file_dep": [*SOURCES, "tools/pack.py"],
        "targets": [PROGRAM],
        "actions": [[sys.executable, "tools/pack.py", PROGRAM, *SOURCES]],
        "clean": True,
    }


def task_test():
    """unit tests, and a call of the packed program"""
    for test in TESTS:
        yield {
            "name": Path(test).stem,
            "file_dep": [*SOURCES, test],
            "actions": [[sys.executable, "-B", test]],
        }
    yield {
        "name": "program",
        "file_dep": [PROGRAM],
        "actions": [[sys.executable, PROGRAM, "rain on the roof"]],
    }
