"""Order and critical path of graphs of names."""

import itertools
import random

import pytest

from buildkit.core.graph import CycleFound, timeline, upstream_first


def order_of(roots, edges, **more):
    return list(upstream_first(roots, lambda name: edges.get(name, ()), **more))


def test_each_name_comes_once_and_after_what_it_waits_for():
    edges = {"d": ["b", "c"], "b": ["a"], "c": ["a"]}
    assert order_of(["d", "b"], edges) == ["a", "b", "c", "d"]


def test_only_what_the_roots_need_is_visited():
    assert order_of(["b"], {"b": ["a"], "x": ["y"]}) == ["a", "b"]


@pytest.mark.parametrize(
    ("edges", "cycle"),
    [
        ({"a": ["a"]}, ["a", "a"]),
        ({"a": ["b"], "b": ["c"], "c": ["b"]}, ["b", "c", "b"]),
    ],
)
def test_a_cycle_is_named_without_the_way_to_it(edges, cycle):
    with pytest.raises(CycleFound) as found:
        order_of(["a"], edges)
    assert found.value.names == cycle


def test_what_is_found_on_the_way_is_waited_for_too():
    edges = {"late": ["first"]}

    def settle(name):
        if name == "late" and len(edges["late"]) == 1:
            edges["late"] = ["first", "found"]
            return True
        return False

    assert order_of(["late"], edges, settle=settle) == ["first", "found", "late"]


def test_a_cycle_through_something_found_on_the_way_is_named():
    edges = {"a": ["late"], "late": []}

    def settle(name):
        if name == "late" and not edges["late"]:
            edges["late"] = ["a"]
            return True
        return False

    with pytest.raises(CycleFound) as found:
        order_of(["a"], edges, settle=settle)
    assert found.value.names == ["a", "late", "a"]


def test_the_longest_path_wins_over_the_one_with_more_steps():
    before = {"a": [], "b": ["a"], "c": ["b"], "long": [], "end": ["c", "long"]}
    found = timeline(list(before), before, {"a": 1, "b": 1, "c": 1, "long": 9, "end": 2})
    assert found.critical == ("long", "end")
    assert (found.length, found.work) == (11, 14)
    assert found.start["end"] == 9
    assert found.slack == {"a": 6, "b": 6, "c": 6, "long": 0, "end": 0}


def test_steps_that_cost_nothing_keep_a_path_together():
    before = {"a": [], "group": ["a"], "b": ["group"]}
    assert timeline(list(before), before, {"a": 5, "group": 0, "b": 1}).critical == ("a", "group", "b")


def test_nothing_has_no_path():
    found = timeline([], {}, {})
    assert (found.critical, found.length, found.work) == ((), 0, 0)


def longest(before, cost):
    """Every path, one by one."""
    ends = []

    def walk(name, so_far):
        ends.append(so_far + cost[name])
        for other in before[name]:
            walk(other, so_far + cost[name])

    for name in before:
        walk(name, 0)
    return max(ends)


@pytest.mark.parametrize("seed", range(30))
def test_length_and_slack_agree_with_trying_every_path(seed):
    dice = random.Random(seed)
    names = [f"t{i}" for i in range(9)]
    before = {
        name: dice.sample(names[:number], k=dice.randint(0, min(3, number)))
        for number, name in enumerate(names)
    }
    cost = {name: dice.randint(0, 5) for name in names}
    found = timeline(names, before, cost)
    assert found.length == longest(before, cost)
    assert sum(cost[name] for name in found.critical) == found.length
    assert all(first in before[second] for first, second in itertools.pairwise(found.critical))
    for name in names:
        slower = cost | {name: cost[name] + found.slack[name]}
        assert longest(before, slower) == found.length
        slower[name] += 1
        assert longest(before, slower) == found.length + 1


def test_a_chain_of_a_hundred_thousand_does_not_recurse():
    names = [f"t{i}" for i in range(100_000)]
    before = dict(zip(names, [[], *([name] for name in names)], strict=False))
    order = order_of([names[-1]], before)
    assert order == names
    found = timeline(order, before, dict.fromkeys(names, 1))
    assert found.length == found.work == 100_000
    assert found.critical == tuple(names)
