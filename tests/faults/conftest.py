"""What all fault tests share: the harness of the end-to-end tests, and how long they go on."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # tests/: for e2e.harness

import inprocess
from e2e.harness import Project, RunResult, World


class ForkedProject(Project):
    """A project whose runs are forked children of the test: real ones, at a fifth of the price."""

    def run(
        self,
        *args: str,
        env: Mapping[str, str] | None = None,
        cwd: str = ".",
        check: int | None = None,
        obey_modes: bool = False,
    ) -> RunResult:
        """Run `doit` with `args`; with `check`, insist on that exit code."""
        assert not obey_modes, "only a real subprocess can give up root's powers"
        before = self._said()
        done = inprocess.run(
            args,
            cwd=self.root / cwd,
            env=self._environment() | self.env | dict(env or {}),
            output=self.base / "printed",
        )
        printed = self._neutral(done.output.encode())
        result = RunResult(("doit", *args), done.code, printed, "", tuple(self._said()[len(before) :]))
        assert check is None or result.exit_code == check, f"exit code is not {check}:\n{result}"
        return result

    def clone(self, name: str) -> ForkedProject:
        """Return a second, empty project folder that shares home and cache with this one."""
        other = ForkedProject(self.base, self.world, dict(self.env))
        other.root = self.base / name
        other.root.mkdir()
        return other

    def _environment(self) -> dict[str, str]:
        # Bytecode is written, as for every user: that it is never stale is one of the promises.
        return {k: v for k, v in super()._environment().items() if k != "PYTHONDONTWRITEBYTECODE"}


def pytest_report_header() -> str:
    """Say how heavy this run is."""
    return f"fault rounds: {os.environ.get('BUILDKIT_FAULT_ROUNDS', '1')} (BUILDKIT_FAULT_ROUNDS)"


@pytest.fixture
def rounds() -> int:
    """How many times over a test should try; 1 is the short version."""
    return max(1, int(os.environ.get("BUILDKIT_FAULT_ROUNDS", "1")))


@pytest.fixture
def project(tmp_path: Path) -> ForkedProject:
    """An empty project under buildkit."""
    return ForkedProject(tmp_path, World.BUILDKIT)
