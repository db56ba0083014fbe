"""At the end of a run its outputs are looked at once more: who else has changed them is told of."""

from __future__ import annotations

import pytest

from .harness import Project

CHANGED = "was changed by something else"


@pytest.mark.parametrize("way", ["mkdir out; cp src out/file", "ln -s src out"], ids=["directory", "link"])
def test_an_output_that_is_no_file_any_more_was_not_changed_by_something_else(
    project: Project, way: str
) -> None:
    project.write("src", "x")
    dodo = """
        def task_make():
            return {'actions': ['rm -rf out; %s'], 'file_dep': ['src'], 'targets': ['out']}
    """
    project.dodo(dodo % "cp src out")
    assert project.run("-n", "2").exit_code == 0
    project.dodo(dodo % way)
    ran = project.run("-n", "2")
    assert ran.exit_code == 0
    assert CHANGED not in ran.stderr
