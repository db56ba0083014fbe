"""Options may follow names."""

from __future__ import annotations

import pytest
from doit.cmdparse import CmdOption, CmdParse

from buildkit.cli.arguments import options_first, with_values

PARSER = CmdParse(
    [
        CmdOption({"name": "json", "long": "json", "type": bool, "default": False}),
        CmdOption({"name": "all", "long": "all", "short": "a", "type": bool, "default": False}),
        CmdOption({"name": "run", "long": "run", "type": str, "default": ""}),
        CmdOption({"name": "dodo", "long": "file", "short": "f", "type": str, "default": ""}),
    ]
)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["t", "--json"], ["--json", "t"]),
        (["t", "--run", "last", "u"], ["--run", "last", "t", "u"]),
        (["t", "--run=last", "-a"], ["--run=last", "-a", "t"]),
        (["t", "--level", "3", "--json"], ["--json", "t", "--level", "3"]),
        (["t", "-f", "x"], ["t", "-f", "x"]),
        (["t", "--", "--json"], ["t", "--", "--json"]),
        (["t", "--run"], ["--run", "t"]),
        (["t", "-", "--"], ["t", "-", "--"]),
        ([], []),
    ],
)
def test_our_options_come_to_the_front(given: list[str], expected: list[str]):
    assert options_first(given, PARSER, {"json", "all", "run"}) == expected


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["report", "--run", "a=b"], ["--run", "a=b"]),
        (["report", "--run", "a=b", "--json"], ["--run", "a=b", "--json"]),
        (["report", "--json", "a=b", "t"], ["--json", "t"]),
        (["x=1", "-f", "d.py", "report", "y=2", "t", "--run", "a=b", "z=3"], ["t", "--run", "a=b"]),
        (["report", "--run=a=b"], ["--run=a=b"]),
        (["report", "t", "--run"], ["t", "--run"]),
        (["report"], []),
    ],
)
def test_values_of_options_are_no_variables(typed: list[str], expected: list[str]):
    kept = [word for word in typed if word.startswith("-") or "=" not in word]
    assert with_values(kept[kept.index("report") + 1 :], typed, PARSER) == expected


def test_arguments_from_elsewhere_stay_as_they_are():
    assert with_values(["--run", "last"], ["pytest", "a=b", "-x"], PARSER) == ["--run", "last"]
