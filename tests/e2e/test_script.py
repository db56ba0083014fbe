"""The command `buildkit` as it is installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def test_the_script_imports_nothing_ahead_of_the_fast_start(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("buildkit")
    if not script.exists():
        pytest.skip("not installed beside this Python")
    lines = script.read_text().splitlines()
    assert [line for line in lines if "import" in line and not line.startswith('"""')] == [
        "import sys",
        "from buildkit.__main__ import main",
    ]
    done = subprocess.run([script, "--version"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout
