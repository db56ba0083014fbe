"""The comparison of detectors: it runs as docs/regressions.md says, and its histories are what they claim."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "regressions.py"


@pytest.mark.parametrize("option", ["--unseen", "--calibration", "--by-family"])
def test_the_benchmark_runs_from_the_command_line(option):
    done = subprocess.run(
        [sys.executable, str(BENCHMARK), "--series", "2", "--only", "buildkit", option],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert "seed 90001" in done.stdout
    assert len(done.stdout.splitlines()) > 4


def test_recorded_durations_are_judged_as_they_are_and_with_steps(tmp_path):
    recorded = tmp_path / "recorded.json"
    recorded.write_text(str([[1.0 + 0.01 * (k % 7) for k in range(80)]]))
    done = subprocess.run(
        [sys.executable, str(BENCHMARK), "--recorded", str(recorded), "--only", "buildkit"],
        capture_output=True,
        text=True,
        check=True,
    )
    row = next(line for line in done.stdout.splitlines() if line.startswith("| buildkit"))
    precision, false_alarms, _, *steps = [cell.strip() for cell in row.strip("| ").split("|")][1:7]
    assert (precision, false_alarms) == ("1.000", "0.00")
    assert steps == ["1.00", "1.00", "1.00"]
