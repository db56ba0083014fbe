"""The filter: JSON lines in, JSON lines out, whatever the lines are."""

import io
import json
import math
import random
import subprocess
import sys

import pytest

from buildkit.report.regressions import judge_latest
from buildkit.report.regressions.filter import main, parse

RUNS = [
    {"i": i, "t": 1.0 * i, "wall": 1.0 + 0.01 * (i * 7 % 5), "cpu": 0.9, "ok": True, "cache": "miss"}
    for i in range(40)
]


def line(runs, name="s1"):
    return json.dumps({"series": name, "unit": "s", "runs": runs}) + "\n"


def run_filter(text, *arguments):
    out, problems = io.StringIO(), io.StringIO()
    code = main(list(arguments), io.StringIO(text), out, problems)
    return code, [json.loads(found) for found in out.getvalue().splitlines()], problems.getvalue()


def test_each_judged_run_gets_a_line_with_the_agreed_fields():
    slower = [dict(run, wall=run["wall"] * (1.5 if run["i"] >= 30 else 1.0)) for run in RUNS]
    code, found, _ = run_filter(line(slower))
    assert code == 0
    assert [item["i"] for item in found] == list(range(40))
    assert found[-1]["regressed"] is True
    assert found[-1]["series"] == "s1"
    assert found[-1]["since"] == 30
    assert 0 < found[-1]["confidence"] <= 1
    assert abs(found[-1]["effect"] - 1.5) < 0.03


def test_restored_and_failed_runs_get_no_line():
    runs = [dict(run, cache="hit") if run["i"] % 4 == 0 else dict(run, ok=run["i"] % 4 != 1) for run in RUNS]
    _, found, _ = run_filter(line(runs))
    assert [item["i"] for item in found] == [i for i in range(40) if i % 4 > 1]


def test_fields_that_are_missing_or_of_the_wrong_type_are_unknown():
    runs = [
        {"i": 0},
        {"wall": "x"},
        {"i": 2, "wall": None, "load": "?"},
        {"i": 3, "wall": 1, "jobs": 2.0, "cpu": True},
    ]
    code, found, _ = run_filter(line(runs))
    assert code == 0
    assert [item["i"] for item in found] == [0, 1, 2, 3]


def test_nan_in_the_input_is_not_in_the_output():
    odd = '[{"i": 0, "wall": NaN}, {"i": 1, "wall": -Infinity}, {"i": 2, "wall": 1e999}]'
    text = f'{{"series": 7, "runs": {odd}}}\n'
    out = io.StringIO()
    assert main([], io.StringIO(text), out, io.StringIO()) == 0
    assert "NaN" not in out.getvalue()
    assert len(out.getvalue().splitlines()) == 3


def test_a_line_that_is_no_series_is_told_with_its_number_and_the_others_are_judged():
    code, found, problems = run_filter("{\n[1]\n" + line(RUNS) + '\n{"runs": [3]}\n')
    assert code == 3
    assert len(found) == 40
    assert [told.split(":")[1].strip() for told in problems.splitlines()] == ["line 1", "line 2", "line 5"]


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "null", '{"series": "s"}', '{"runs": {}}', '{"runs": [null]}', "\udcff", '"']
)
def test_no_line_ends_in_a_traceback(text):
    code, found, problems = run_filter(text + "\n")
    assert (code, found) == (3, [])
    assert problems.startswith("regressions: line 1: ")
    assert len(problems.splitlines()) == 1


def test_a_series_of_one_run_gets_one_verdict_that_says_it_is_learning():
    code, found, _ = run_filter(line(RUNS[:1]))
    assert (code, [item["state"] for item in found]) == (0, ["learning"])


def test_runs_are_taken_in_the_order_of_i_and_a_repeated_i_counts_once():
    slower = [dict(run, wall=run["wall"] * (1.5 if run["i"] >= 30 else 1.0)) for run in RUNS]
    failed_first = [dict(slower[5], ok=False), *slower]
    mixed = failed_first[20:] + failed_first[:20] + [dict(slower[3], wall=99.0)]
    assert run_filter(line(mixed)) == run_filter(line(slower))


def test_numbers_of_runs_may_be_as_large_as_nanoseconds_since_1970():
    start = 1_767_225_600_000_000_000
    _, found, _ = run_filter(line([dict(run, i=start + run["i"]) for run in RUNS]))
    assert [item["i"] - start for item in found] == list(range(40))


def test_bytes_that_are_no_text_pass_through_in_the_name():
    done = subprocess.run(
        [sys.executable, "-m", "buildkit.regressions"],
        input=b'{"series": "\xff", "runs": [{"i": 0, "wall": 1}]}\n',
        capture_output=True,
        check=True,
    )
    assert json.loads(done.stdout)["i"] == 0


ODD = [None, 0, -1, 1.5, 1e308, 1e-320, 10**400, "x", "", [], {}, True, False, math.nan, math.inf, -0.0]


@pytest.mark.parametrize("seed", range(30))
def test_odd_values_anywhere_give_sane_verdicts_on_all_judged_runs(seed):
    rng = random.Random(seed)
    runs = [
        {
            field: rng.choice(ODD) if field != "i" and rng.random() < 0.05 else value
            for field, value in {
                **run,
                "wall": rng.lognormvariate(0, 0.1),
                "worker": rng.choice("ab"),
                "load": rng.random(),
                "jobs": 2,
            }.items()
            if rng.random() > 0.02
        }
        for run in RUNS * 2
    ]
    for i, run in enumerate(runs):
        run["i"] = i
    code, found, problems = run_filter(line(runs))
    assert (code, problems) == (0, "")
    assert found
    for item in found:
        assert 0 <= item["confidence"] <= 1
        assert item["effect"] > 0
        assert item["since"] is None or item["since"] <= item["i"]
        assert all(math.isfinite(value) for value in item.values() if isinstance(value, float))
    assert judge_latest(parse(line(runs))[1]) is not None


def test_empty_input_gives_empty_output():
    assert run_filter("") == (0, [], "")


def test_an_argument_is_answered_with_the_usage():
    code, _, problems = run_filter("", "series.jsonl")
    assert code == 3
    assert "usage:" in problems


def test_the_module_runs_as_a_filter_without_numpy_and_stops_quietly_when_the_reader_goes():
    script = "import sys, runpy; runpy.run_module('buildkit.regressions', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-m", "buildkit.regressions"],
        input=line(RUNS) * 3,
        text=True,
        capture_output=True,
        check=True,
    )
    assert len(done.stdout.splitlines()) == 120
    reader = subprocess.Popen(["head", "-n", "1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    writer = subprocess.run(
        [sys.executable, "-c", script],
        input=line(RUNS) * 200,
        text=True,
        stdout=reader.stdin,
        stderr=subprocess.PIPE,
        check=False,
    )
    reader.stdin.close()
    assert reader.stdout.read().count("\n") == 1
    reader.wait()
    assert (writer.returncode, writer.stderr) == (0, "")
    listed = subprocess.run(
        [sys.executable, "-c", "import sys, buildkit.regressions; print('numpy' in sys.modules)"],
        text=True,
        capture_output=True,
        check=True,
    )
    assert listed.stdout.strip() == "False"
