"""Run the parts of doit's own test-suite that speak of behaviour against buildkit's commands.

    python tests/compat/doit_suite.py [SOURCE]

SOURCE (or BUILDKIT_DOIT_SOURCE) is a checkout of doit or a bare repository of it; without one, the source
distribution of the installed version is asked for. Everything happens in a scratch folder.

How: the `Run` of the tests is buildkit's command, and the runner classes of doit are `CommandRunner`s,
which run the tasks of a test through that command. Programs that go through `DoitMain` find buildkit by its
entry points, as users do. What is left out is listed in `LEFT_OUT`, test by test, with the reason.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import unittest
from importlib import import_module
from pathlib import Path
from typing import Any

# Modules of doit's suite, and how they meet buildkit.
THROUGH_RUN = ("tests.test_cmd_run",)
THROUGH_RUNNER = (
    "tests.test_runner.TestRunnerRunTasks_Runner",
    "tests.test_runner.TestRunnerRunTasks_MThread",
    "tests.test_runner.TestRunnerRunTasks_MRunner",
)
THROUGH_ENTRY_POINTS = ("tests.test_doit_cmd", "tests.test___main__", "tests.test_api")
# Used by buildkit as they are: they must go on working with it installed.
OF_DOITS_OWN_CODE = (
    "tests.test_control",
    "tests.test_dependency",
    "tests.test_reporter",
    "tests.test_loader",
    "tests.test_task",
    "tests.test_action",
    "tests.test_cmd_list",
    "tests.test_cmd_base",
    "tests.test_tools",
)

_DOITS_DATABASE = "looks into doit's own database; buildkit keeps its record in .buildkit"
_INTERNAL = "asks for an attribute of doit's runner class"
LEFT_OUT = {
    "testMP_not_available": "buildkit forks its workers itself and has no warning to give",
    "test_updateDependencies": _DOITS_DATABASE,
    "test_continue_ignored_dep": _DOITS_DATABASE,
    "test_teardown": _INTERNAL + " (teardown_list); teardown is tested end to end",
    "test_result": "reads from the task object what an action printed, which happened in another process",
    "testActionModifiesFiledep": "an action cannot change its own task's definition while it runs",
    "testSystemExitRaises": "sys.exit in an action fails the task instead of ending the run",
    "test_interrupt": "Ctrl-C ends in one line and exit code 130 instead of an exception",
    "test_dependency_error_after_execution": "a missing input is found before the task runs, not after it",
}


def source_of(argument: str | None, scratch: Path) -> str | None:
    """Put doit's `tests` package into the scratch folder; return why not."""
    source = argument or os.environ.get("BUILDKIT_DOIT_SOURCE")
    if source is None:
        return _from_sdist(scratch)
    path = Path(source)
    if (path / "tests").is_dir():
        shutil.copytree(path / "tests", scratch / "tests")
        return None
    archive = subprocess.run(
        ["git", f"--git-dir={path}", "archive", "HEAD", "tests"], capture_output=True, check=False
    )
    if archive.returncode:
        return f"{source} is neither a checkout nor a repository of doit"
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extractall(scratch, filter="data")
    return None


def _from_sdist(scratch: Path) -> str | None:
    from importlib.metadata import version

    wanted = f"doit=={version('doit')}"
    done = subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:",
         "--no-build-isolation", "--dest", str(scratch / "sdist"), wanted],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    archives = list((scratch / "sdist").glob("*.tar.gz")) if (scratch / "sdist").is_dir() else []
    if done.returncode or not archives:
        return f"no source of {wanted} can be had here; set BUILDKIT_DOIT_SOURCE to a checkout"
    with tarfile.open(archives[0]) as tar:
        tar.extractall(scratch / "sdist", filter="data")
    found = next((scratch / "sdist").glob("*/tests/support.py"), None)
    if found is None:
        return f"the source distribution of {wanted} carries no tests; set BUILDKIT_DOIT_SOURCE to a checkout"
    shutil.copytree(found.parent, scratch / "tests")
    return None


class CommandRunner:
    """What doit's tests take for a runner: the tasks go through buildkit's `run` command."""

    width: Any = 0
    parallel = "process"
    teardown_list: tuple[Any, ...] = ()

    def __init__(self, dep_manager: Any, reporter: Any, **options: Any) -> None:
        self.dep_manager = dep_manager
        self.reporter = reporter
        self.options = options
        self.result = 0

    @staticmethod
    def available() -> bool:
        """Return whether doit's tests may use it."""
        return True

    def run_tasks(self, dispatcher: Any) -> None:
        """Run what a dispatcher of doit holds."""
        from doit.cmd_base import get_loader

        from buildkit.cli.run import Run

        command = Run(task_loader=get_loader(None, None, None), config=None, cmds=None)
        command.task_list = list(dispatcher.tasks.values())
        command.sel_tasks = list(dispatcher.selected_tasks)
        command.sel_default_tasks = False
        self.result = command._execute(
            io.StringIO(),
            reporter=self.reporter,
            num_process=self.width,
            par_type=self.parallel,
            continue_=self.options.get("continue_", False),
            always=self.options.get("always_execute", False),
        )

    def finish(self) -> int:
        """Return the result of the run."""
        return int(self.result)


class ThreadRunner(CommandRunner):
    """In threads."""

    width, parallel = 1, "thread"


class ProcessRunner(CommandRunner):
    """In forked workers."""

    width = 1


class FreshState(unittest.TextTestResult):
    """No test finds what another one has left."""

    def startTest(self, test: unittest.TestCase) -> None:
        """Begin without a record and without a cache."""
        for folder in (".buildkit", os.environ["BUILDKIT_CACHE_DIR"]):
            shutil.rmtree(folder, ignore_errors=True)
        super().startTest(test)


def _flat(suite: Any) -> list[Any]:
    if isinstance(suite, unittest.TestSuite):
        return [test for part in suite for test in _flat(part)]
    return [suite]


def run_part(kind: str) -> int:
    """Run one part, in the scratch folder; return an exit code."""
    sys.path.insert(0, os.getcwd())
    from doit import runner

    names = {"run": THROUGH_RUN, "runner": THROUGH_RUNNER, "entry": THROUGH_ENTRY_POINTS}.get(
        kind, OF_DOITS_OWN_CODE
    )
    if kind == "run":
        from buildkit.cli.run import Run

        module = import_module("tests.test_cmd_run")
        module.Run = Run  # type: ignore[attr-defined]
    if kind == "runner":
        runner.Runner, runner.MThreadRunner, runner.MRunner = CommandRunner, ThreadRunner, ProcessRunner
    suite = unittest.TestSuite()
    for name in names:
        for test in _flat(unittest.defaultTestLoader.loadTestsFromName(name)):
            if kind != "own" and test._testMethodName in LEFT_OUT:
                continue
            suite.addTest(test)
    outcome = unittest.TextTestRunner(resultclass=FreshState, verbosity=0).run(suite)
    return 0 if outcome.wasSuccessful() else 1


def main(argument: str | None = None) -> int:
    """Run all parts; print what was run, and what was left out and why."""
    with tempfile.TemporaryDirectory(prefix="doit-suite-") as folder:
        scratch = Path(folder)
        problem = source_of(argument, scratch)
        if problem is not None:
            print(f"doit's test-suite: skipped: {problem}")
            return 77
        env = os.environ | {"BUILDKIT_CACHE_DIR": str(scratch / "cache"), "PYTHONPATH": ""}
        bad = 0
        (scratch / "dodo.py").write_text("def task_any(): return {'actions': ['true']}\n")
        for kind, what in (
            ("run", "through our run command"),
            ("runner", "through our engine in place of doit's runners"),
            ("entry", "through entry points"),
            ("own", "doit's own code, with buildkit installed"),
        ):
            (scratch / "tests" / "data").mkdir(exist_ok=True)
            done = subprocess.run(
                [sys.executable, str(Path(__file__).resolve()), "--part", kind],
                cwd=scratch, env=env, capture_output=True, text=True, check=False, timeout=300,
            )  # fmt: skip
            lines = [line for line in done.stderr.splitlines() if line.startswith(("Ran ", "OK", "FAILED"))]
            print(f"{what}: {' '.join(lines)}")
            if done.returncode:
                bad += 1
                print(done.stderr)
        for test, reason in LEFT_OUT.items():
            print(f"left out: {test}: {reason}")
        print("left out: all other tests of doit: they call functions inside doit, not its behaviour")
        return 1 if bad else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--part"]:
        sys.exit(run_part(sys.argv[2]))
    sys.exit(main(*sys.argv[1:2]))
