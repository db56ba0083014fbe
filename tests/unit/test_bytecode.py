"""Compiled modules of a project are never older than their source."""

from __future__ import annotations

import importlib
import os
import sys
from importlib.util import cache_from_source
from pathlib import Path

import pytest

from buildkit.frontend.bytecode import fresh_modules


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    return tmp_path / "module_of_a_project.py"


def load(source: Path) -> int:
    sys.modules.pop(source.stem, None)
    importlib.invalidate_caches()
    with fresh_modules():
        return int(importlib.import_module(source.stem).VALUE)


def test_an_edit_that_keeps_time_and_size_is_loaded(module: Path):
    for value in range(4):
        module.write_text(f"VALUE = {value}\n")
        os.utime(module, (1_600_000_000, 1_600_000_000))
        assert load(module) == value


def test_an_edit_within_the_second_is_loaded(module: Path):
    for value in range(4):
        module.write_text(f"VALUE = {value}\n")
        assert load(module) == value


def test_a_module_that_has_been_at_rest_is_compiled_once(module: Path):
    module.write_text("VALUE = 1\n")
    os.utime(module, (1_600_000_000, 1_600_000_000))
    load(module)
    compiled = Path(cache_from_source(str(module)))
    later = os.stat(module).st_ctime + 10
    os.utime(compiled, (later, later))  # written long after the last change of the source
    before = compiled.stat().st_mtime_ns
    assert load(module) == 1
    assert compiled.stat().st_mtime_ns == before


def test_the_loader_is_left_as_it_was():
    from importlib.machinery import SourceFileLoader

    before = SourceFileLoader.path_stats, SourceFileLoader.set_data
    with pytest.raises(ZeroDivisionError), fresh_modules():
        raise ZeroDivisionError
    assert (SourceFileLoader.path_stats, SourceFileLoader.set_data) == before
