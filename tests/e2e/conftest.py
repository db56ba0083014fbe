"""Fixtures of the end-to-end tests: a project under buildkit, or the same one in both worlds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .harness import BOTH_STOCK, Project, Twins, World


@pytest.fixture
def twins(tmp_path: Path) -> Twins:
    """One empty project under stock doit, and one under buildkit."""
    return Twins(tmp_path)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An empty project under buildkit."""
    if os.environ.get(BOTH_STOCK):
        pytest.skip("says what buildkit adds to doit")
    return Project(tmp_path, World.BUILDKIT)


@pytest.fixture
def stock(tmp_path: Path) -> Project:
    """An empty project under stock doit."""
    return Project(tmp_path / "stock", World.STOCK)
