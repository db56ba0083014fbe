"""What a run does to doit's own objects."""

from __future__ import annotations

import io
import weakref

import pytest
from doit import action

from buildkit.frontend import hosting


def test_a_stand_in_for_stdout_outlives_its_action(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(action, "Writer", action.Writer)  # put back after the test
    hosting._keep_writers()
    writer = action.Writer(io.StringIO())
    seen = weakref.ref(writer)
    writer.write("text")
    assert writer.writers[0].getvalue() == "text"
    del writer
    assert seen() is not None
