"""Promise 11: doit's own test-suite, and programs that embed doit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SKIPPED = 77


def run(script: str) -> None:
    done = subprocess.run(
        [sys.executable, HERE / script], capture_output=True, text=True, check=False, timeout=900
    )
    if done.returncode == SKIPPED:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(900)
def test_doits_own_tests_pass_through_our_commands() -> None:
    if "BUILDKIT_DOIT_SOURCE" not in os.environ and "BUILDKIT_FAULT_ROUNDS" not in os.environ:
        pytest.skip("needs doit's source: set BUILDKIT_DOIT_SOURCE, or run make faults")
    run("doit_suite.py")


@pytest.mark.timeout(900)
def test_nikola_builds_the_same_site() -> None:
    if "BUILDKIT_NIKOLA_PYTHON" not in os.environ and "BUILDKIT_FAULT_ROUNDS" not in os.environ:
        pytest.skip("takes a minute and a package index: set BUILDKIT_NIKOLA_PYTHON, or run make faults")
    run("nikola_site.py")
