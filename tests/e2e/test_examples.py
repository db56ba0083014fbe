"""The example projects, used as a reader would use them: built, built again, cleaned, cloned."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from .harness import BOTH_STOCK, FileState, Project, RunResult, World

FOLDER = Path(__file__).parents[2] / "examples"
LEFT_BY_TOOLS = {"build", ".buildkit", "__pycache__", ".mypy_cache", ".ruff_cache"}

pytestmark = pytest.mark.skipif(
    os.environ.get(BOTH_STOCK) == "1", reason="says what buildkit adds to doit: restores"
)


@dataclass(frozen=True)
class Example:
    """One folder of examples/, and what is known about its tasks."""

    name: str
    tasks: tuple[str, ...]  # what a first run executes
    rebuilt: tuple[str, ...]  # those of them with outputs
    selection: tuple[str, ...] = ()  # arguments after `doit -n auto`
    needs: str | None = None  # a program that no Python package brings along
    outputs: tuple[str, ...] = field(default=())  # some of the files that a build leaves


SOURCES = ("main", "report", "table", "words")
C_PROGRAM = Example(
    "c-program",
    tasks=(
        *(f"{step}:{source}" for step in ("scan", "compile") for source in SOURCES),
        "link",
        "test:empty",
        "test:rain",
    ),
    rebuilt=(
        *(f"{step}:{source}" for step in ("scan", "compile") for source in SOURCES),
        "link",
        "test:empty",
        "test:rain",
    ),
    needs="gcc",
    outputs=("build/main.d", "build/words.o", "build/wordcount", "build/rain.out"),
)
DATA_PIPELINE = Example(
    "data-pipeline",
    tasks=("tidy", "split", "summary", "document"),
    rebuilt=("tidy", "split", "summary", "document"),
    outputs=("build/tidy.csv", "build/stations/mill-hill.csv", "build/report.md"),
)
QUALITY_GATES = Example(
    "quality-gates",
    tasks=("style", "format", "types", "tests:cart", "tests:money", "security"),
    rebuilt=(),
)
MAKE_AND_CI = Example(
    "make-and-ci",
    tasks=("build", "test:test_strength", "test:program"),
    rebuilt=("build",),
    selection=("build", "test"),
    outputs=("build/strength.pyz",),
)
EXAMPLES = (C_PROGRAM, DATA_PIPELINE, QUALITY_GATES, MAKE_AND_CI)


def copy(example: Example, target: Path) -> None:
    """Copy an example as a clone would bring it: only what belongs to the repository."""
    shutil.copytree(
        FOLDER / example.name,
        target,
        dirs_exist_ok=True,
        ignore=lambda _folder, names: [
            name for name in names if name in LEFT_BY_TOOLS or name.startswith(".doit.db")
        ],
    )


def new_project(example: Example, base: Path) -> Project:
    """Return a fresh copy of an example with a home and a cache of its own."""
    if example.needs and not shutil.which(example.needs):
        pytest.skip(f"{example.needs} is not installed on this machine")
    project = Project(base, World.BUILDKIT)
    copy(example, project.root)
    return project


def build(project: Project, example: Example) -> RunResult:
    """Run the example's main job, which has to succeed."""
    return project.run("-n", "auto", *example.selection, check=0)


def built_files(project: Project) -> dict[str, FileState]:
    """Return everything below build/."""
    return {name: state for name, state in project.files().items() if name.startswith("build")}


@dataclass(frozen=True)
class Life:
    """One example through five runs, and what lay in build/ after three of them."""

    example: Example
    first: RunResult
    second: RunResult
    after_clean: RunResult
    in_clone: RunResult
    cleaned: dict[str, FileState]
    files: dict[str, FileState]
    files_after_clean: dict[str, FileState]
    files_in_clone: dict[str, FileState]


@pytest.fixture(scope="module", params=EXAMPLES, ids=lambda example: example.name)
def life(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Life:
    """Build, build again, clean and build, then build in a clone that has only the cache."""
    example: Example = request.param
    project = new_project(example, tmp_path_factory.mktemp(example.name))
    first, second = build(project, example), build(project, example)
    files = built_files(project)
    project.run("clean", "--clean-all", check=0)
    cleaned = {name: state for name, state in built_files(project).items() if state.content is not None}
    after_clean = build(project, example)
    files_after_clean = built_files(project)
    clone = project.clone("clone")
    copy(example, clone.root)
    in_clone = build(clone, example)
    return Life(
        example,
        first,
        second,
        after_clean,
        in_clone,
        cleaned,
        files,
        files_after_clean,
        built_files(clone),
    )


def test_first_run_executes_every_task(life: Life) -> None:
    assert sorted(life.first.executed) == sorted(life.example.tasks), life.first


def test_first_run_leaves_the_outputs(life: Life) -> None:
    assert life.files.keys() >= set(life.example.outputs), life.first


def test_second_run_executes_nothing(life: Life) -> None:
    assert (life.second.executed, life.second.restored) == ([], []), life.second
    assert sorted(life.second.skipped) == sorted(life.example.tasks), life.second


def test_doit_clean_removes_every_output(life: Life) -> None:
    assert life.cleaned == {}


def test_deleted_outputs_come_back_by_restore(life: Life) -> None:
    assert life.after_clean.executed == [], life.after_clean
    assert sorted(life.after_clean.restored) == sorted(life.example.rebuilt), life.after_clean


def test_restored_outputs_have_the_same_bytes_and_modes(life: Life) -> None:
    assert life.files_after_clean == life.files


def test_a_clone_with_only_the_cache_executes_nothing(life: Life) -> None:
    assert life.in_clone.executed == [], life.in_clone
    assert sorted(life.in_clone.restored) == sorted(life.example.tasks), life.in_clone
    assert life.files_in_clone == life.files


@pytest.fixture
def c_program(tmp_path: Path) -> Project:
    """The C program, built."""
    project = new_project(C_PROGRAM, tmp_path)
    build(project, C_PROGRAM)
    return project


def compiled(result: RunResult) -> list[str]:
    """Return the tasks that made objects or programs, in alphabetical order."""
    return sorted(task for task in result.executed if not task.startswith("scan:"))


def test_an_edited_header_compiles_what_includes_it_and_nothing_else(c_program: Project) -> None:
    header = c_program.read("include/settings.h")
    c_program.write("include/settings.h", header + "/* a comment */\n")
    assert compiled(build(c_program, C_PROGRAM)) == ["compile:main", "compile:words"]


def test_an_edit_that_matters_reaches_the_tests(c_program: Project) -> None:
    header = c_program.read("include/settings.h")
    c_program.write("include/settings.h", header.replace("LENGTH 32", "LENGTH 3"))
    result = c_program.run("-n", "auto", check=1)
    assert {"compile:main", "compile:words", "link", "test:rain"} <= set(compiled(result)), result
    assert "-   1 asks\n" in result.output, result


def test_a_header_can_go_away(c_program: Project) -> None:
    words = c_program.read("include/words.h")
    c_program.write("include/words.h", words.replace('#include "settings.h"', "#define MAX_WORD_LENGTH 32"))
    c_program.remove("include/settings.h")
    assert compiled(build(c_program, C_PROGRAM)) == ["compile:main", "compile:words"]
    assert build(c_program, C_PROGRAM).executed == []


def test_a_header_that_is_missing_is_named_by_the_compiler(c_program: Project) -> None:
    c_program.remove("include/settings.h")
    result = c_program.run("-n", "auto", check=1)
    assert "settings.h: No such file or directory" in result.output, result


def test_a_changed_and_reverted_setting_of_the_pipeline_is_restored(tmp_path: Path) -> None:
    project = new_project(DATA_PIPELINE, tmp_path)
    build(project, DATA_PIPELINE)
    before, dodo = built_files(project), project.read("dodo.py")

    project.write("dodo.py", dodo.replace("WET_MM = 1.0", "WET_MM = 5.0"))
    changed = build(project, DATA_PIPELINE)
    assert sorted(changed.executed) == ["document", "summary"], changed

    project.write("dodo.py", dodo)
    reverted = build(project, DATA_PIPELINE)
    assert (reverted.executed, sorted(reverted.restored)) == ([], ["document", "summary"]), reverted
    assert built_files(project) == before


def test_an_edited_helper_function_runs_the_step_that_uses_it(tmp_path: Path) -> None:
    project = new_project(DATA_PIPELINE, tmp_path)
    build(project, DATA_PIPELINE)
    module = project.read("pipeline.py")
    project.write("pipeline.py", module.replace("amount >= 0", "amount >= 0.1"))
    result = build(project, DATA_PIPELINE)
    assert sorted(result.executed) == ["document", "split", "summary", "tidy"], result


def test_an_edited_test_file_leaves_the_other_gates_alone(tmp_path: Path) -> None:
    project = new_project(QUALITY_GATES, tmp_path)
    build(project, QUALITY_GATES)
    test = project.read("tests/test_cart.py")
    project.write("tests/test_cart.py", test.replace("count=3)", "count=3)  # apples"))
    result = build(project, QUALITY_GATES)
    assert sorted(result.executed) == ["format", "style", "tests:cart", "types"], result


def make(project: Project, *arguments: str) -> str:
    """Run `make` in the project as CI does: the cache beside the state, in .buildkit."""
    if not shutil.which("make"):
        pytest.skip("make is not installed on this machine")
    beside = os.path.dirname(sys.executable)
    finished = subprocess.run(
        ["make", *arguments],
        cwd=project.root,
        env={
            "PATH": os.pathsep.join([beside, "/usr/local/bin", "/usr/bin", "/bin"]),
            "HOME": str(project.base / "home"),
            "BUILDKIT_CACHE_DIR": ".buildkit/cache",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def test_make_builds_and_tests_through_doit(tmp_path: Path) -> None:
    project = new_project(MAKE_AND_CI, tmp_path)
    assert ".  build\n" in make(project, "build")
    printed = make(project, "test")
    assert "-- build\n" in printed
    assert ".  test:program\n" in printed


def test_the_folder_that_ci_keeps_is_enough_for_a_fresh_clone(tmp_path: Path) -> None:
    project = new_project(MAKE_AND_CI, tmp_path)
    make(project, "test")
    clone = project.clone("next-job")
    copy(MAKE_AND_CI, clone.root)
    shutil.copytree(project.path(".buildkit"), clone.path(".buildkit"))

    printed = make(clone, "test")

    assert "== build (restored)\n" in printed
    assert ".  " not in printed
    assert built_files(clone) == built_files(project)


@pytest.mark.parametrize("file", [".github/workflows/ci.yml", ".gitlab-ci.yml"])
def test_the_ci_files_keep_the_state_and_the_cache_in_one_folder(file: str) -> None:
    text = (FOLDER / MAKE_AND_CI.name / file).read_text()
    assert "BUILDKIT_CACHE_DIR: .buildkit/cache\n" in text
    assert "path: .buildkit\n" in text or "- .buildkit/\n" in text
    assert "make build\n" in text
    assert "make test\n" in text
