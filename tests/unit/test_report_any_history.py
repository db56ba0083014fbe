"""Whatever a history holds, a report can be made of it, in every form and at every width."""

import datetime
import json
import random

import pytest
from history_maker import START, HistoryMaker

from buildkit.core.execution import Cost, Decision, Execution, Reason, ReasonKind
from buildkit.report.collect import Query, collect
from buildkit.report.gate import failures_of, parse_gate, with_allowances
from buildkit.report.writing import Style, Writing, csv_of, json_of, text_of

TODAY = datetime.date(2026, 3, 1)
NAMES = ("a", "b:1", "b:2", "b:", ":", "ü|\x1b[1m", "a very long name of a task " * 4, "=cmd()")


def maybe(rng, value):
    return value if rng.random() < 0.7 else None


def any_execution(rng, task):
    decision = rng.choice([*Decision, Decision.EXECUTED, Decision.EXECUTED, Decision.FAILED])
    wall_ns = rng.choice([0, 1, 10**6, 10**9, 10**13])
    return Execution(
        task,
        decision,
        tuple(
            Reason(rng.choice(list(ReasonKind)), ("x", "\n")[: rng.randrange(3)])
            for _ in range(rng.randrange(3))
        ),
        started_ns=rng.randrange(10**9),
        queue_ns=rng.randrange(10**9),
        cost=Cost(wall_ns, *(maybe(rng, rng.choice([0, 1, 10**9, 2**40])) for _ in range(5))),
        exit_code=maybe(rng, rng.choice([0, 1, 255])),
        signal=maybe(rng, rng.choice([9, 64, 200])),
        attempt=rng.choice([1, 1, 2]),
        worker=maybe(rng, "process"),
        slot=maybe(rng, 1),
        beside=maybe(rng, rng.random() * 4),
        load=maybe(rng, rng.random()),
        saved_ns=rng.choice([0, 10**9]),
        cacheable=rng.random() < 0.5,
        uncacheable_reason=maybe(rng, "reads the clock"),
        key=maybe(rng, f"{rng.randrange(3):015x}"),
        sla_s=maybe(rng, rng.choice([0.001, 1.0, 10000.0])),
    )


def any_history(maker, rng):
    for _ in range(rng.choice([1, 2, 20])):
        maker.run(
            *(any_execution(rng, name) for name in rng.sample(NAMES, rng.randrange(len(NAMES)))),
            skipped=rng.sample(NAMES, rng.randrange(3)),
            finish=rng.random() < 0.9,
            at=maybe(rng, START + rng.uniform(-(10**8), 10**8)),
            path=rng.sample(NAMES, rng.randrange(3)),
            wall_s=maybe(rng, 0.0),
            machine=maybe(rng, "m"),
            cores=maybe(rng, rng.choice([0.5, 4.0])),
            width=maybe(rng, rng.choice([1, 8])),
            git_commit=maybe(rng, "c" * 40),
            git_dirty=maybe(rng, True),
        )


@pytest.mark.parametrize("seed", range(60))
def test_a_report_can_be_made_of_any_history(tmp_path, seed):
    rng = random.Random(seed)
    maker = HistoryMaker(str(tmp_path))
    any_history(maker, rng)
    data = collect(maker.history, Query(thorough=True), now=maker.at)
    maker.history.connection.close()
    for style in (Style.TEXT, Style.MARKDOWN):
        for width in (None, 20, 40, 80):
            text = text_of(data, Writing(style=style, width=width, everything=rng.random() < 0.5))
            assert "\x1b" not in text
    assert json.loads(json_of(data, Writing()))["run"]["id"] == data.run.id
    assert csv_of(data, Writing()).startswith("task,")
    data = with_allowances(data, [], TODAY)
    assert all("\n" not in line for line in failures_of(data, parse_gate("regression,sla,flaky"), [], TODAY))
