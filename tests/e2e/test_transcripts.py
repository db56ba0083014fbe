"""The tutorial and the README show what really happens: their commands are run, and their output compared.

In a page, a block ```python whose first line is `# NAME` is a file (or its end, with `# NAME (appended)`),
and a block ```console is a session: lines with `$ ` are commands, the others what they print. A line `...`
stands for any lines. Times, sizes and folders may differ, and so may the order of lines, since tasks run
side by side.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from .harness import BOTH_STOCK
from .test_examples import C_PROGRAM, copy

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# What differs from run to run or from machine to machine.
MEASURED = re.compile(
    r"\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\b|\b\d+(?:\.\d+)?(?: (?:ms|s|min|h|[KMG]i?B|B)\b|%)|[-+]\d+%"
)

pytestmark = pytest.mark.skipif(os.environ.get(BOTH_STOCK) == "1", reason="says what buildkit adds to doit")


@dataclass(frozen=True)
class File:
    """A file that the reader is told to write, or what comes to its end."""

    name: str
    text: str
    appended: bool

    def write(self, folder: Path) -> None:
        """Do as the reader does."""
        with open(folder / self.name, "a" if self.appended else "w", encoding="utf-8") as file:
            file.write(self.text)


@dataclass(frozen=True)
class Command:
    """A command that the reader is told to type, and what it prints."""

    text: str
    printed: tuple[str, ...]


def steps(page: Path) -> Iterator[File | Command]:
    """Yield the files and commands of a page, in the order in which a reader meets them."""
    for language, block in BLOCK.findall(page.read_text(encoding="utf-8")):
        if language == "console":
            for session in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                command, *printed = session.splitlines()
                yield Command(command, tuple(printed))
        elif heading := re.match(r"# (\S+\.\w+)( \(appended\))?\n", block):
            yield File(heading[1], block, appended=heading[2] is not None)


def comparable(line: str) -> str:
    """Return a line without what is measured, and without what lays out a table."""
    line = re.sub(r"; saved .+ of task time$", "", line)  # said only where there was something to save
    return re.sub(r" {2,}|-{3,}|\S*/bin/", " ", MEASURED.sub("N", line)).strip()


def assert_printed(command: Command, output: str) -> None:
    """Insist that the output is what the page shows, but for times, sizes and order."""
    shown = [comparable(line) for line in command.printed]
    got = Counter(comparable(line) for line in output.splitlines())
    missing = Counter(line for line in shown if line not in ("", "...")) - got
    got.pop("", None)
    added = Counter() if "..." in shown else got - Counter(shown)
    assert (missing, added) == (Counter(), Counter()), f"$ {command.text}\n{output}"


def environment(base: Path) -> dict[str, str]:
    """Return the environment of a reader who has just installed doit-buildkit."""
    home = base / "home"
    home.mkdir()
    return {
        "PATH": os.pathsep.join([os.path.dirname(sys.executable), "/usr/local/bin", "/usr/bin", "/bin"]),
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def follow(page: Path, folder: Path, env: dict[str, str]) -> int:
    """Do what a page says, in `folder`; return the number of commands."""
    count = 0
    for step in steps(page):
        if isinstance(step, File):
            step.write(folder)
            continue
        if step.text.startswith(("pip install ", "python -m pip install ", "cd ", "make")):
            continue
        finished = subprocess.run(
            ["bash", "-c", step.text],
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        assert_printed(step, finished.stdout)
        count += 1
    return count


def test_the_tutorial_shows_what_happens(tmp_path: Path) -> None:
    folder = tmp_path / "book"
    folder.mkdir()
    assert follow(ROOT / "docs" / "tutorial.md", folder, environment(tmp_path)) > 10


def test_the_readme_shows_what_happens(tmp_path: Path) -> None:
    if not shutil.which("gcc"):
        pytest.skip("gcc is not installed on this machine")
    folder = tmp_path / "c-program"
    copy(C_PROGRAM, folder)
    assert follow(ROOT / "README.md", folder, environment(tmp_path)) > 4
