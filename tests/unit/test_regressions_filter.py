"""The filter: JSON lines in, JSON lines out, whatever the lines are."""

import io
import json
import subprocess
import sys

from buildkit.report.regressions.filter import main

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


def test_a_line_that_is_no_series_is_reported_and_the_others_are_judged():
    code, found, problems = run_filter("{\n[1]\n" + line(RUNS) + '\n{"runs": [3]}\n')
    assert code == 1
    assert len(found) == 40
    assert "line 1" in problems and "line 2" in problems and "line 5" in problems


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
