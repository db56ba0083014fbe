"""A test bed for the real `doit`: a project in a temporary folder, and two of them run side by side.

`Project` is one folder in one world (stock doit, or doit with buildkit). `Twins` holds the same
project in both worlds and fails as soon as what a user could see differs. What ran is not taken
from any reporter but from a journal, which the tasks' own actions append to. No assertion about
a certain feature belongs here.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TypeVar

LAUNCHER = Path(__file__).with_name("stock_doit.py")
BOTH_STOCK = "BUILDKIT_E2E_BOTH_STOCK"  # set to 1: compare stock with stock, which proves the harness
RUN_LIMIT_S = 100
T = TypeVar("T")

# Written below each dodo.py, so that line numbers stay those of the test's text.
EPILOGUE = """

def say(word):
    import os
    journal = os.open(os.environ['JOURNAL'], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(journal, (word + '\\n').encode())
    os.close(journal)
"""
SAY = '#!/bin/sh\necho "$*" >> "$JOURNAL"\n'

# What both worlds may keep for themselves: never part of a comparison of files.
PRIVATE = re.compile(r"^(\.doit\.db.*|\.buildkit|__pycache__)$")


class World(Enum):
    """Which engine runs the project."""

    STOCK = "stock"  # doit sees no plug-in of this environment
    BUILDKIT = "buildkit"  # doit as it is installed here


@dataclass(frozen=True)
class FileState:
    """What a user sees of one path: kind and permissions, and the bytes or where a link points."""

    mode: int
    content: bytes | None  # None for a directory


@dataclass(frozen=True)
class RunResult:
    """One finished command: what it returned, what it printed, and which actions ran."""

    args: tuple[str, ...]
    exit_code: int
    stdout: str
    stderr: str
    ran: tuple[str, ...]  # words that actions said, in the order in which they said them

    def lines(self, prefix: str) -> list[str]:
        """Return the rest of each line of standard output that begins with `prefix`."""
        return [line[len(prefix) :] for line in self.stdout.splitlines() if line.startswith(prefix)]

    @property
    def executed(self) -> list[str]:
        """Titles of the tasks that the console reporter calls executed."""
        return self.lines(".  ")

    @property
    def skipped(self) -> list[str]:
        """Titles of the tasks that the console reporter calls up to date."""
        return self.lines("-- ")

    @property
    def ignored(self) -> list[str]:
        """Titles of the tasks that the console reporter calls ignored."""
        return self.lines("!! ")

    @property
    def restored(self) -> list[str]:
        """Titles of the tasks that the console reporter calls restored."""
        ending = " (restored)"
        return [line.removesuffix(ending) for line in self.lines("== ") if line.endswith(ending)]

    @property
    def output(self) -> str:
        """Everything that was printed."""
        return self.stdout + self.stderr

    def __str__(self) -> str:
        """Show the command as a person would have met it."""
        return (
            f"$ {' '.join(self.args)}\n{self.stdout}{self.stderr}"
            f"[exit code {self.exit_code}, actions ran: {' '.join(self.ran) or 'none'}]"
        )


@dataclass
class Project:
    """A project folder in one world, with a home, a cache and a journal of its own beside it."""

    base: Path
    world: World
    env: dict[str, str] = field(default_factory=dict)  # variables of every run
    root: Path = field(init=False)
    cache: Path = field(init=False)
    journal: Path = field(init=False)

    def __post_init__(self) -> None:
        self.root = self.base / "project"
        self.cache = self.base / "cache"
        self.journal = self.base / "journal"
        for folder in (self.root, self.base / "home", self.base / "bin"):
            folder.mkdir(parents=True, exist_ok=True)
        say = self.base / "bin" / "say"
        say.write_text(SAY)
        say.chmod(0o755)

    def clone(self, name: str) -> Project:
        """Return a second, empty project folder that shares home and cache with this one."""
        other = Project(self.base, self.world, dict(self.env))
        other.root = self.base / name
        other.root.mkdir()
        return other

    # --- files ---

    def path(self, name: str | bytes) -> Path:
        """Return where a path of the project lies; bytes are a name that need not be UTF-8."""
        return self.root / os.fsdecode(name)

    def write(self, name: str | bytes, content: str | bytes, mode: int | None = None) -> None:
        """Write a file, and the folders above it."""
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        if mode is not None:
            path.chmod(mode)

    def dodo(self, text: str) -> None:
        """Write dodo.py, with a function `say(word)` that notes a word in the journal."""
        self.write("dodo.py", textwrap.dedent(text).lstrip("\n") + EPILOGUE)

    def read(self, name: str | bytes) -> str:
        """Return the text of a file."""
        return self.path(name).read_text()

    def remove(self, *names: str | bytes) -> None:
        """Delete files, links or whole folders."""
        for name in names:
            path = self.path(name)
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    def files(self) -> dict[str, FileState]:
        """Return what lies in the project folder, without what doit or buildkit keep there."""
        found: dict[str, FileState] = {}
        for folder, names, files in os.walk(self.root):
            names[:] = [name for name in names if not PRIVATE.match(name)]
            for name in [*names, *(file for file in files if not PRIVATE.match(file))]:
                path = os.path.join(folder, name)
                found[os.path.relpath(path, self.root)] = _file_state(path)
        return found

    def everything(self) -> dict[str, FileState]:
        """Return every path of the project folder, private ones too (bytecode excepted)."""
        return {
            os.path.relpath(path, self.root): _file_state(str(path))
            for path in self.root.rglob("*")
            if "__pycache__" not in path.parts
        }

    # --- runs ---

    def run(
        self,
        *args: str,
        env: Mapping[str, str] | None = None,
        cwd: str = ".",
        check: int | None = None,
        obey_modes: bool = False,
    ) -> RunResult:
        """Run `doit` with `args`; with `check`, insist on that exit code.

        With `obey_modes`, permissions of files count for root too.
        """
        return self._run("doit", args, env, cwd, check, obey_modes)

    def start(self, *args: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start `doit` and leave it running; the caller waits for it."""
        return subprocess.Popen(
            [*self._command("doit"), *args],
            cwd=self.root,
            env=self._environment() | self.env | dict(env or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def script(
        self, name: str, *args: str, env: Mapping[str, str] | None = None, check: int | None = None
    ) -> RunResult:
        """Run a Python program of the project that embeds doit."""
        return self._run(name, args, env, ".", check, False)

    def _run(
        self,
        program: str,
        args: Sequence[str],
        env: Mapping[str, str] | None,
        cwd: str,
        check: int | None,
        obey_modes: bool,
    ) -> RunResult:
        said_before = self._said()
        finished = subprocess.run(
            [*self._command(program), *args],
            cwd=self.root / cwd,
            env=self._environment() | self.env | dict(env or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=RUN_LIMIT_S,
            preexec_fn=_give_up_override if obey_modes and os.geteuid() == 0 else None,
            check=False,
        )
        result = RunResult(
            args=(program, *args),
            exit_code=finished.returncode,
            stdout=self._neutral(finished.stdout),
            stderr=self._neutral(finished.stderr),
            ran=tuple(self._said()[len(said_before) :]),
        )
        assert check is None or result.exit_code == check, f"exit code is not {check}:\n{result}"
        return result

    def _command(self, program: str) -> list[str]:
        if self.world is World.STOCK or os.environ.get(BOTH_STOCK):
            return [sys.executable, str(LAUNCHER), program]
        if program != "doit":
            return [sys.executable, program]
        beside = Path(sys.executable).with_name("doit")
        return [str(beside)] if beside.exists() else [sys.executable, "-m", "doit"]

    def _environment(self) -> dict[str, str]:
        """Return a small environment: nothing of the machine or of an outer build leaks in."""
        return {
            "PATH": f"{self.base / 'bin'}:{os.path.dirname(sys.executable)}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.base / "home"),
            "LANG": "C.UTF-8",
            "JOURNAL": str(self.journal),
            "BUILDKIT_CACHE_DIR": str(self.cache),
            # Python takes bytecode for current when the second and the size of its source are the
            # same: an edit of dodo.py in a quick test would not be seen, by either world.
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def _said(self) -> list[str]:
        return self.journal.read_text().splitlines() if self.journal.exists() else []

    def _neutral(self, printed: bytes) -> str:
        """Return printed text without what differs only because two folders differ."""
        text = printed.decode(errors="backslashreplace")
        return text.replace(str(self.root), "<project>").replace(str(self.base), "<base>")


@dataclass(frozen=True)
class Pair:
    """The same command in both worlds."""

    stock: RunResult
    buildkit: RunResult

    @property
    def ran(self) -> list[str]:
        """What actions said under buildkit."""
        return list(self.buildkit.ran)

    @property
    def exit_code(self) -> int:
        """The exit code under buildkit."""
        return self.buildkit.exit_code

    def same(self, view: Callable[[RunResult], T]) -> T:
        """Return what `view` makes of both results, and insist that it is the same."""
        stock, buildkit = view(self.stock), view(self.buildkit)
        assert stock == buildkit, f"stock: {stock!r}\nbuildkit: {buildkit!r}\n{self}"
        return buildkit

    def shows(self, text: str) -> bool:
        """Tell whether both worlds printed `text` on standard output, or neither."""
        return self.same(lambda result: text in result.stdout)

    def complains(self, text: str) -> bool:
        """Tell whether both worlds printed `text` anywhere, or neither."""
        return self.same(lambda result: text in result.output)

    def __str__(self) -> str:
        """Show both commands."""
        return f"--- stock\n{self.stock}\n--- buildkit\n{self.buildkit}"


@dataclass(frozen=True)
class Expected:
    """The differences from stock that a test names: words of actions, and titles of tasks."""

    restored: tuple[str, ...] = ()  # words that only stock says
    rerun: tuple[str, ...] = ()  # words that only buildkit says
    judged: tuple[str, ...] = ()  # titles that only buildkit prints, as up to date


class Twins:
    """One project, once under stock doit and once under buildkit; every step is done to both."""

    def __init__(self, base: Path) -> None:
        self.stock = Project(base / "stock", World.STOCK)
        self.buildkit = Project(base / "buildkit", World.BUILDKIT)
        self.both = (self.stock, self.buildkit)

    def write(self, name: str | bytes, content: str | bytes, mode: int | None = None) -> None:
        """Write the same file in both worlds."""
        for project in self.both:
            project.write(name, content, mode)

    def dodo(self, text: str) -> None:
        """Write the same dodo.py in both worlds."""
        for project in self.both:
            project.dodo(text)

    def remove(self, *names: str | bytes) -> None:
        """Delete the same paths in both worlds."""
        for project in self.both:
            project.remove(*names)

    def change(self, mutate: Callable[[Project], object]) -> None:
        """Do something else to both projects."""
        for project in self.both:
            mutate(project)

    def run(
        self,
        *args: str,
        env: Mapping[str, str] | None = None,
        cwd: str = ".",
        restored: Iterable[str] = (),
        rerun: Iterable[str] = (),
        judged: Iterable[str] = (),
        order: bool | None = None,
        reporter: bool = True,
        files: bool = True,
    ) -> Pair:
        """Run `doit` in both worlds and compare exit code, files, what ran, and the reporter's lines.

        Named differences: stock runs what is `restored` by buildkit, buildkit runs what is in
        `rerun` and stock does not, buildkit finds up to date what is `judged` and stock does not ask.
        The order of actions is compared unless the run is parallel; `order` overrides that.
        `reporter` and `files` turn a comparison off.
        """
        if order is None:
            order = not any(arg.startswith(("-n", "--process")) for arg in args)
        pair = self._in_both(lambda project: project.run(*args, env=env, cwd=cwd))
        expected = Expected(tuple(restored), tuple(rerun), tuple(judged))
        self._compare(pair, expected, order, reporter, files)
        return pair

    def script(
        self,
        name: str,
        *args: str,
        env: Mapping[str, str] | None = None,
        restored: Iterable[str] = (),
        reporter: bool = True,
    ) -> Pair:
        """Run a program that embeds doit in both worlds, and compare as `run` does."""
        pair = self._in_both(lambda project: project.script(name, *args, env=env))
        self._compare(pair, Expected(tuple(restored)), order=True, reporter=reporter, files=True)
        return pair

    def _in_both(self, start: Callable[[Project], RunResult]) -> Pair:
        with ThreadPoolExecutor(2) as threads:  # the two worlds share nothing: run them side by side
            stock, buildkit = threads.map(start, self.both)
        return Pair(stock, buildkit)

    def _compare(self, pair: Pair, expected: Expected, order: bool, reporter: bool, files: bool) -> None:
        if os.environ.get(BOTH_STOCK):
            expected = Expected()
        assert pair.stock.exit_code == pair.buildkit.exit_code, f"exit codes differ\n{pair}"
        wanted = [word for word in pair.stock.ran if word not in expected.restored]
        got = [word for word in pair.buildkit.ran if word not in expected.rerun]
        missing = set(expected.rerun) - set(pair.buildkit.ran)
        assert not missing, f"buildkit was expected to run {missing}\n{pair}"
        if not order:
            wanted, got = sorted(wanted), sorted(got)
        assert wanted == got, f"other actions ran: stock {wanted}, buildkit {got}\n{pair}"
        if reporter:
            self._compare_reporters(pair, expected)
        if files:
            self._compare_files(pair)

    @staticmethod
    def _compare_reporters(pair: Pair, expected: Expected) -> None:
        ignored = pair.same(lambda result: sorted(result.ignored))
        stock = Counter(pair.stock.executed + pair.stock.skipped)
        buildkit = Counter(pair.buildkit.executed + pair.buildkit.skipped + pair.buildkit.restored)
        buildkit -= Counter(expected.judged)
        assert stock == buildkit, f"the reporters name other tasks (ignored: {ignored})\n{pair}"
        if not (expected.restored or expected.rerun or expected.judged):
            pair.same(lambda result: sorted(result.executed))
            pair.same(lambda result: sorted(result.skipped))

    def _compare_files(self, pair: Pair) -> None:
        stock, buildkit = self.stock.files(), self.buildkit.files()
        for name in sorted(stock.keys() | buildkit.keys()):
            ours, theirs = buildkit.get(name), stock.get(name)
            assert ours == theirs, f"{name!r} differs: stock {theirs}, buildkit {ours}\n{pair}"


def _give_up_override() -> None:
    """Make permissions of files count for this process and its children, although they are root's.

    Dropped from the bounding set, a capability does not come back with exec (capabilities(7)).
    """
    import ctypes

    prctl_capbset_drop, cap_dac_override, cap_dac_read_search = 24, 1, 2
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in (cap_dac_override, cap_dac_read_search):
        if libc.prctl(prctl_capbset_drop, capability, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "cannot drop a capability")


def _file_state(path: str) -> FileState:
    """Return what a user sees of `path`."""
    mode = os.lstat(path).st_mode
    if stat.S_ISLNK(mode):
        return FileState(mode, os.fsencode(os.readlink(path)))
    if stat.S_ISDIR(mode):
        return FileState(mode, None)
    if not stat.S_ISREG(mode) or not os.access(path, os.R_OK):
        return FileState(mode, b"")
    with open(path, "rb") as file:
        return FileState(mode, file.read())
