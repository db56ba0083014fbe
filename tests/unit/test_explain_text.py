"""What `doit explain` says, from records alone."""

from __future__ import annotations

import pytest

from buildkit.core.difference import Difference, Part, PartKind
from buildkit.core.execution import Cost, Decision, Execution, Reason, ReasonKind
from buildkit.report.explain_text import table, text
from buildkit.report.explanation import Brief, CacheAnswer, Explanation, LastTime, Upstream, Would

KEY = "xxh3:0123456789abcdef0123456789abcdef"
PARTS = (
    Part(PartKind.INPUT, "in", "xxh3:99aa06d3014798d86001c324468d497f:2048 mode 644"),
    Part(PartKind.COMMAND, "1", "cp in out"),
    Part(PartKind.CODE, "dodo.f", "xxh3:99aa06d3014798d86001c324468d497f:1"),
    Part(PartKind.OUTPUT, "out", ""),
    Part(PartKind.PLATFORM, "", "linux"),
)


def told(explanation: Explanation, *, parts: bool = False) -> list[str]:
    return text(explanation, width=None, parts=parts, limit=None).splitlines()


def would(what: Would, *kinds: ReasonKind, **more: object) -> Explanation:
    brief = Brief("t", what, tuple(Reason(kind) for kind in kinds))
    return Explanation(brief, **more)  # type: ignore[arg-type] # fields of Explanation


def test_a_skip_says_why_it_is_right():
    lines = told(would(Would.SKIP, ReasonKind.UP_TO_DATE, parts=PARTS, key=KEY, recorded_key=KEY))
    assert lines[:2] == [
        "t: up to date",
        "  Its key is that of its last success: the same 1 input file, 1 command, Python code (1)."
        " Its 1 output is as it left it.",
    ]


def test_a_skip_without_a_record_says_who_vouches_for_it():
    lines = told(would(Would.SKIP, ReasonKind.UP_TO_DATE, parts=PARTS, key=KEY))
    assert lines[1].startswith("  Its uptodate checks say yes, and it has no inputs")


def test_a_restore_says_why_it_is_right_and_what_comes_back():
    lines = told(would(Would.RESTORE, ReasonKind.OUTPUT_MISSING, parts=PARTS, key=KEY))
    assert lines[1:4] == [
        "  output missing",
        "  The cache has a result that was made under exactly this key: the same 1 input file, 1 command,"
        " Python code (1).",
        "  What comes back: out, its log and its values.",
    ]
    nothing = told(would(Would.RESTORE, ReasonKind.NEVER_RUN, parts=PARTS[:2], key=KEY))
    assert "  It has no outputs: its log and its values come back." in nothing


@pytest.mark.parametrize(
    ("difference", "lines"),
    [
        (
            Difference(
                PartKind.INPUT, "in", PARTS[0].value, "xxh3:11aa06d3014798d86001c324468d497f:3 mode 755"
            ),
            ["input file in: 99aa06d3 (2.00 KiB) -> 11aa06d3 (3 B), mode 644 -> 755"],
        ),
        (Difference(PartKind.INPUT, "in", None, PARTS[0].value), ["input file in: added"]),
        (Difference(PartKind.INPUT, "in", PARTS[0].value, None), ["input file in: removed"]),
        (Difference(PartKind.COMMAND, "1", "a", "b"), ["command 1", "  - a", "  + b"]),
        (
            Difference(PartKind.COMMAND, "1", "a\nb\nc", "a\nB\nc"),
            ["command 1", "  @@ -1,3 +1,3 @@", "    a", "  - b", "  + B", "    c"],
        ),
        (Difference(PartKind.ENVIRONMENT, "CC", "set", "set"), ["environment variable CC: changed"]),
        (Difference(PartKind.ENVIRONMENT, "CC", "unset", "set"), ["environment variable CC: was unset"]),
        (Difference(PartKind.ENVIRONMENT, "CC", "set", "unset"), ["environment variable CC: is unset now"]),
        (
            Difference(PartKind.ENVIRONMENT, "CC", None, "set"),
            ["environment variable CC: is looked at since"],
        ),
        (Difference(PartKind.OUTPUT, "out", "", None), ["output out: no longer declared"]),
        (Difference(PartKind.PLATFORM, "python", "3.11.7", "3.12.0"), ["platform python: 3.11.7 -> 3.12.0"]),
    ],
)
def test_differences_name_old_and_new(difference: Difference, lines: list[str]):
    found = told(would(Would.RUN, ReasonKind.INPUT_CHANGED, differences=(difference,), key=KEY))
    start = found.index("  What differs from its last success:") + 1
    assert found[start : start + len(lines)] == [f"    {line}" for line in lines]


def test_control_characters_reach_no_terminal():
    evil = "\x1b[31mred"
    explanation = Explanation(
        Brief(evil, Would.RUN, (Reason(ReasonKind.INPUT_CHANGED, (evil,)),), message=evil),
        differences=(Difference(PartKind.COMMAND, evil, evil, evil + "x"),),
        parts=(Part(PartKind.COMMAND, evil, evil),),
        uncacheable=None,
        waits=(Upstream(evil, Would.SKIP, (evil,)),),
    )
    assert "\x1b" not in "\n".join(told(explanation, parts=True))
    assert "\x1b" not in table([explanation.brief], None, None)


def test_what_a_task_waits_for_is_listed_with_what_would_act_first():
    waits = (Upstream("a", Would.SKIP, ("x",)), Upstream("b", Would.RUN), Upstream("c", Would.SKIP))
    found = told(would(Would.RUN, ReasonKind.NEVER_RUN, waits=waits))
    start = found.index("  Waits for:")
    assert found[start + 1 :] == [
        "    b: would run; order only",
        "    a: up to date; supplies x",
        "    c: up to date; order only",
    ]


def test_a_long_list_is_cut():
    waits = tuple(Upstream(str(number), Would.SKIP) for number in range(30))
    assert told(would(Would.SKIP, waits=waits))[-1] == "    and 20 more tasks; --json shows all"


@pytest.mark.parametrize(
    ("execution", "line"),
    [
        (
            Execution("t", Decision.FAILED, exit_code=2, log_path=".buildkit/logs/t.log"),
            "  Last time: failed in run 7, exit code 2, log: .buildkit/logs/t.log",
        ),
        (Execution("t", Decision.FAILED, signal=9), "  Last time: failed in run 7, killed by SIGKILL"),
        (
            Execution("t", Decision.EXECUTED, cost=Cost(1_500_000_000)),
            "  Last time: executed in run 7 in 1.50 s",
        ),
    ],
)
def test_what_became_of_it_the_last_time(execution: Execution, line: str):
    assert line in told(would(Would.RUN, ReasonKind.FAILED_BEFORE, last=LastTime(7, execution)))


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (CacheAnswer.OFF, "is switched off"),
        (CacheAnswer.UNCACHEABLE, "does not keep its results: it is interactive"),
        (CacheAnswer.HAS_RESULT, "has a result for this key (01234567)"),
        (CacheAnswer.NOT_ASKED, "is not asked, since what makes the task due is not in its key"),
        (CacheAnswer.NO_KEY, "cannot be asked yet: what the key is made of does not exist yet"),
    ],
)
def test_what_the_cache_can_do(answer: CacheAnswer, line: str):
    found = told(would(Would.RUN, cache=answer, key=KEY, uncacheable="it is interactive"))
    assert f"  Cache: {line}" in found


def test_a_table_counts_and_cuts():
    briefs = [Brief(f"s{number}", Would.SKIP) for number in range(3)]
    briefs.append(Brief("r", Would.RUN, (Reason(ReasonKind.INPUT_CHANGED, ("a", "b", "c", "d")),)))
    lines = table(briefs, None, 2).splitlines()
    assert lines[2].split(maxsplit=3) == ["r", "would", "run", "input changed: a, b, c and 1 more"]
    assert lines[-2:] == ["2 more tasks; --all shows all", "1 would run, 3 up to date"]
    assert table([], None, None) == "No tasks."
