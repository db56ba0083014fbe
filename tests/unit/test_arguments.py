"""Options may follow names."""

from __future__ import annotations

import pytest
from doit.cmdparse import CmdOption, CmdParse

from buildkit.cli.arguments import options_first

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
