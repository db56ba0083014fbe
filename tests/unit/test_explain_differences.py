"""Two keys line by line."""

import pytest

from buildkit.core.difference import Difference, PartKind, differences, parts_of
from buildkit.core.key import secret_digest


def test_an_input_tells_digest_and_mode():
    found = differences([], [("a", "xxh3:1:1", 0o644)], [], [("a", "xxh3:2:1", 0o755)])
    assert found == (Difference(PartKind.INPUT, "a", "xxh3:1:1 mode 644", "xxh3:2:1 mode 755"),)


def test_what_was_not_there_or_is_gone_has_no_value():
    found = differences(
        [("command:2", "rm x")],
        [("gone", "xxh3:1:1", 0o644)],
        [("output:b", "")],
        [("new", "xxh3:1:1", 0o644)],
    )
    assert [(one.kind, one.name, one.old, one.new) for one in found] == [
        (PartKind.INPUT, "gone", "xxh3:1:1 mode 644", None),
        (PartKind.INPUT, "new", None, "xxh3:1:1 mode 644"),
        (PartKind.COMMAND, "2", "rm x", None),
        (PartKind.OUTPUT, "b", None, ""),
    ]


def test_equal_keys_do_not_differ():
    same = ([("command:1", "x"), ("env:A", "unset")], [("a", "xxh3:1:1", 0o644)])
    assert differences(*same, *same) == ()


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (secret_digest("a"), secret_digest("b"), ("set", "set")),
        ("unset", secret_digest("b"), ("unset", "set")),
        (secret_digest("a"), "unset", ("set", "unset")),
    ],
)
def test_environment_values_are_never_told_not_even_as_digests(old, new, told):
    (found,) = differences([("env:TOKEN", old)], [], [("env:TOKEN", new)], [])
    assert (found.kind, found.name) == (PartKind.ENVIRONMENT, "TOKEN")
    assert (found.old, found.new) == told
    assert [part.value for part in parts_of([("env:TOKEN", new)], [])] == [told[1]]


def test_two_parts_of_one_name_are_both_compared():
    old = [("config:config_changed", "1"), ("config:config_changed", "2")]
    new = [("config:config_changed", "3"), ("config:config_changed", "2")]
    assert differences(old, [], new, []) == (Difference(PartKind.CONFIGURATION, "config_changed", "1", "3"),)


@pytest.mark.parametrize(
    ("label", "kind"),
    [
        ("command:1 cwd", PartKind.COMMAND),
        ("code:dodo.f", PartKind.CODE),
        ("argument:x", PartKind.ARGUMENT),
        ("option:level", PartKind.OPTION),
        ("env:CC (given)", PartKind.ENVIRONMENT),
        ("tool:gcc", PartKind.TOOL),
        ("config:config_changed", PartKind.CONFIGURATION),
        ("setting:x", PartKind.CONFIGURATION),
        ("upstream:gen value as x", PartKind.UPSTREAM),
        ("output:a.o", PartKind.OUTPUT),
        ("platform", PartKind.PLATFORM),
        ("platform:python", PartKind.PLATFORM),
        ("schema", PartKind.SCHEMA),
    ],
)
def test_every_label_has_a_kind(label, kind):
    (part,) = parts_of([(label, "x")], [])
    assert (part.kind, part.name) == (kind, label.partition(":")[2])


def test_parts_come_in_the_order_of_their_kinds_and_names():
    parts = parts_of([("tool:b", "1"), ("tool:a", "1"), ("command:1", "x")], [("z", "xxh3:1:1", 0o600)])
    assert [(part.kind.value, part.name) for part in parts] == [
        ("input file", "z"),
        ("command", "1"),
        ("tool", "a"),
        ("tool", "b"),
    ]
