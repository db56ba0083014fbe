"""Runs of the real `doit` in forked children: a process of its own for each, without the price of imports."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Finished:
    """How a run ended, and what it printed."""

    code: int
    output: str


def start(
    arguments: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    output: Path,
    script: bool = False,
    prepare: Callable[[], None] | None = None,
) -> int:
    """Start `doit` (with `script`: the `buildkit` script) in a forked child; return its process id.

    `prepare` runs in the child before anything else: limits, clocks, mines.
    """
    import doit.doit_cmd  # noqa: F401 - imported once, for all children
    from doit import cmd_run

    import buildkit.cli.run  # noqa: F401

    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        os.setpgid(0, 0)
        fd = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        null = os.open(os.devnull, os.O_RDONLY)
        for target, source in ((0, null), (1, fd), (2, fd)):
            os.dup2(source, target)
        sys.stdin, sys.stdout, sys.stderr = (
            os.fdopen(0, "r", closefd=False),
            os.fdopen(1, "w", buffering=1, closefd=False),
            os.fdopen(2, "w", buffering=1, closefd=False),
        )
        cmd_run.opt_outfile["default"] = sys.stdout  # doit took it when it was imported
        os.chdir(cwd)
        for name in set(os.environ) - {"PATH"}:
            del os.environ[name]
        os.environ.update(env)
        if prepare is not None:
            prepare()
        sys.argv = ["buildkit" if script else "doit", *arguments]
        code = _main(script)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code or 0)


def restorers_at_once() -> None:
    """Have few results restored beside the run, as many are: a `prepare`."""
    from buildkit.engine import restoring

    restoring._FORK_S, restoring._FEW, restoring._BATCH = 0.0, 1, 2


def _main(script: bool) -> int:
    if script:
        from buildkit.__main__ import main

        return main()
    from doit.doit_cmd import DoitMain

    return int(DoitMain().run(sys.argv[1:]) or 0)


def wait(pid: int) -> int:
    """Return the exit code of a child, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def run(
    arguments: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    output: Path,
    script: bool = False,
    prepare: Callable[[], None] | None = None,
) -> Finished:
    """Run to the end."""
    output.unlink(missing_ok=True)
    code = wait(start(arguments, cwd=cwd, env=env, output=output, script=script, prepare=prepare))
    return Finished(code, output.read_text(errors="backslashreplace") if output.exists() else "")
