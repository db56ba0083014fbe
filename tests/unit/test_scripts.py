"""Scripts that a command runs by an interpreter, and variables that code reads by name."""

from __future__ import annotations

import os

import pytest

from buildkit.core.command import analyze, scripts_of, seen_from
from buildkit.core.pybytecode import read_code


@pytest.mark.parametrize(
    ("text", "scripts"),
    [
        ("python gen.py", ("./gen.py",)),
        ("python3.12 tools/gen.py --flag in", ("tools/gen.py",)),
        ("python -u -W error gen.py", ("./gen.py",)),
        ("python -c 'print(1)' gen.py", ()),
        ("python -m pytest tests", ()),
        ("python", ()),
        ("python -E -s gen.py", ("./gen.py",)),
        ("python -Sc 'print(1)' x", ()),
        ("perl -pe 's/a/b/' in", ()),
        ("perl -w x.pl in", ("./x.pl",)),
        ("node -e 'x' in", ()),
        ("python $SCRIPT", ()),
        ("sh build.sh a b", ("./build.sh",)),
        ("bash -eu scripts/build.sh", ("scripts/build.sh",)),
        ("cd sub && python gen.py", ("sub/gen.py",)),
        ("cd sub && ./gen", ("sub/gen",)),
        ("cd $DIR && python gen.py", ()),
        ("cd a && cd b && python gen.py", ()),
        ("env X=1 perl x.pl | ruby y.rb", ("./x.pl", "./y.rb")),
        ("cat a.py", ()),
        ("/usr/bin/python3 /opt/gen.py", ("/opt/gen.py",)),
    ],
)
def test_scripts_of_a_command(text: str, scripts: tuple[str, ...]):
    assert analyze(text).scripts == scripts


def test_scripts_of_words():
    assert scripts_of(["python3", "gen.py"]) == ("./gen.py",)
    assert scripts_of(["gcc", "a.c"]) == ()
    assert scripts_of([]) == ()


def test_names_are_seen_from_where_the_command_runs():
    assert seen_from(["gcc", "./gen", "/bin/x"], "sub") == ["gcc", "sub/gen", "/bin/x"]
    assert seen_from(["./gen"], None) == ["./gen"]


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("printenv MODE", ("MODE",)),
        ("python -c \"import os; os.environ['MODE']; os.getenv('OTHER')\"", ("MODE", "OTHER")),
    ],
)
def test_variables_that_a_command_spells_out(text: str, variables: tuple[str, ...]):
    assert analyze(text).variables == variables


def subscript():
    return os.environ["ONE"]


def get():
    return os.environ.get("TWO", "NOT_THIS")


def getenv():
    return os.getenv("THREE")


def contains():
    return "FOUR" in os.environ


def nested():
    return [os.environ["FIVE"] for _ in range(2)], (lambda: os.environ["SIX"])


def computed(name):
    return os.environ[name]


def none():
    return "SEVEN", os.sep


@pytest.mark.parametrize(
    ("function", "variables"),
    [
        (subscript, ("ONE",)),
        (get, ("TWO",)),
        (getenv, ("THREE",)),
        (contains, ("FOUR",)),
        (nested, ("FIVE", "SIX")),
        (computed, ()),
        (none, ()),
    ],
)
def test_variables_that_code_reads_by_name(function, variables: tuple[str, ...]):
    assert read_code(function.__code__).variables == variables
