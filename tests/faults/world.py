"""A tiny model of a build: random graphs, what can be done to a project, and what every output must be.

The model knows nothing of caches, times or records. `World.expected` says what a build from scratch gives,
and which executions no engine can avoid: those whose ingredients have never been together before.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

INPUTS = ("in0", "in1", "in2", "in3")
LINK = "link"  # a symbolic link to one of in0..in2; an input, too


class Kind(Enum):
    """What a task does; all of them copy their inputs, each in its own way."""

    COMMAND = "command"  # cat
    TOOL = "tool"  # a program of the project's own PATH
    VARIABLE = "variable"  # a variable of the environment is in it
    SCRIPT = "script"  # a file that the shell interprets, and that is no declared input
    ARGUMENT = "argument"  # a Python function with the salt as an argument
    DEFAULT = "default"  # ... as a default
    CLOSURE = "closure"  # ... in a closure
    GLOBAL = "global"  # ... in a constant
    HELPER = "helper"  # a function of another module, whose code changes
    FOLDER = "folder"  # the output is a directory with as many files as the first input has bytes, modulo 3
    GETARGS = "getargs"  # a value of the task before it is in it
    QUIET = "quiet"  # no output at all


PYTHON = frozenset(
    {Kind.ARGUMENT, Kind.DEFAULT, Kind.CLOSURE, Kind.GLOBAL, Kind.HELPER, Kind.FOLDER, Kind.GETARGS}
)


@dataclass
class Job:
    """One task of the graph."""

    name: str
    kind: Kind
    inputs: tuple[str, ...]  # input files and outputs of earlier jobs
    salt: int = 0
    source: str | None = None  # of GETARGS: which job has the value
    delayed: str | None = None  # created after that job

    @property
    def output(self) -> str | None:
        """Return the declared output."""
        return None if self.kind is Kind.QUIET else f"out/{self.name}"


@dataclass
class Verdict:
    """What a build has to come to."""

    files: dict[str, bytes] = field(default_factory=dict)  # all outputs that must be there, file by file
    executed: set[str] = field(default_factory=set)  # jobs that cannot be answered by an earlier execution
    failed: set[str] = field(default_factory=set)
    blocked: set[str] = field(default_factory=set)  # behind a failure


@dataclass
class World:
    """The project on disk and in the model."""

    root: Path
    jobs: list[Job]
    mode: int = 0  # value of $MODE
    tool: int = 0  # version of the program `mytool`
    helper: int = 0  # version of helper.py
    script: int = 0  # version of step.sh
    known: set[tuple[object, ...]] = field(default_factory=set)  # ingredients that were built once
    forgotten: set[str] = field(default_factory=set)
    cached: bool = True  # False: the cache is off, so only the last state counts

    # --- the project

    def write_all(self) -> None:
        """Write the project for the first time."""
        (self.root / "out").mkdir(parents=True)
        for number, name in enumerate(INPUTS):
            (self.root / name).write_bytes(b"%d\n" % number)
        (self.root / LINK).symlink_to("in0")
        self.write_code()

    def write_code(self) -> None:
        """Write dodo.py, helper.py, step.sh and the tool as they are now, where they differ."""
        tool = self.root / "bin" / "mytool"
        tool.parent.mkdir(exist_ok=True)
        _replace(tool, f'#!/bin/sh\necho "tool {self.tool}"\ncat "$@"\n')
        tool.chmod(0o755)
        _replace(self.root / "step.sh", f'echo "script {self.script}"\ncat "$@"\n')
        _replace(self.root / "helper.py", f"def stamp():\n    return 'helper {self.helper}'\n")
        _replace(self.root / "dodo.py", self._dodo())

    def _dodo(self) -> str:
        return "\n".join([_HEAD, *map(_definition, self.jobs)])

    def environment(self, base: Path) -> dict[str, str]:
        """Return the variables of a run."""
        return {
            "PATH": f"{self.root / 'bin'}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(base / "home"),
            "LANG": "C.UTF-8",
            "MODE": f"mode {self.mode}",
            "JOURNAL": str(base / "journal"),
            "BUILDKIT_CACHE_DIR": str(base / "cache"),
        }

    # --- the model

    def expected(self) -> Verdict:
        """Return what a build of the present state comes to, and remember what it will have built."""
        verdict = Verdict()
        values: dict[str, str] = {}
        for job in self.jobs:
            needs = {name for name in (job.source, job.delayed) if name is not None}
            needs |= {path.removeprefix("out/") for path in job.inputs if path.startswith("out/")}
            if needs & (verdict.failed | verdict.blocked):
                verdict.blocked.add(job.name)
                continue
            contents: list[tuple[str, bytes, int]] = []
            for path in sorted(job.inputs):
                if path.startswith("out/"):
                    contents.append((path, verdict.files[path], 0o644))
                    continue
                try:
                    mode = (self.root / path).stat().st_mode & 0o777
                    contents.append((path, (self.root / path).read_bytes(), mode))
                except OSError:
                    verdict.failed.add(job.name)
            if job.name in verdict.failed:
                continue
            extra = self._extra(job, values)
            ingredients = (job.name, job.kind, tuple(contents), extra)
            if job.name in self.forgotten or ingredients not in self.known:
                verdict.executed.add(job.name)
            self.forgotten.discard(job.name)
            if job.kind in (Kind.COMMAND, Kind.ARGUMENT) and any(b"FAIL" in text for _, text, _ in contents):
                verdict.failed.add(job.name)
                verdict.executed.add(job.name)
                continue
            self.known.add(ingredients)
            text = b"".join(text for _, text, _ in contents)
            values[job.name] = hashlib.sha1(text).hexdigest()
            self._make(job, text, extra, verdict)
        return verdict

    def _extra(self, job: Job, values: dict[str, str]) -> str:
        if job.kind is Kind.TOOL:
            return f"tool {self.tool}"
        if job.kind is Kind.VARIABLE:
            return f"mode {self.mode}"
        if job.kind is Kind.SCRIPT:
            return f"script {self.script}"
        if job.kind is Kind.HELPER:
            return f"helper {self.helper}"
        if job.kind is Kind.GETARGS:
            assert job.source is not None
            return values[job.source]
        return f"salt {job.salt}"

    def _make(self, job: Job, text: bytes, extra: str, verdict: Verdict) -> None:
        output = job.output
        if output is None:
            return
        if job.kind is Kind.FOLDER:
            for number in range(len(text) % 3 + 1):
                verdict.files[f"{output}/{number}"] = f"{extra} {number}\n".encode() + text
            return
        verdict.files[output] = f"{extra}\n".encode() + text

    def outputs_on_disk(self) -> dict[str, bytes]:
        """Return all files that the present outputs consist of."""
        found: dict[str, bytes] = {}
        for job in self.jobs:
            if job.output is None:
                continue
            path = self.root / job.output
            if path.is_dir():
                for entry in path.iterdir():
                    found[f"{job.output}/{entry.name}"] = entry.read_bytes()
            elif path.exists():
                found[job.output] = path.read_bytes()
        return found


_HEAD = """
import hashlib, os, shutil, helper
from doit import create_after
from doit.exceptions import TaskFailed

def say(word):
    journal = os.open(os.environ["JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(journal, (word + "\\n").encode())
    os.close(journal)

def texts(dependencies):
    parts = []
    for path in sorted(dependencies):
        with open(path, "rb") as file:
            parts.append(file.read())
    return b"".join(parts)

def result(text):
    return {"v": hashlib.sha1(text).hexdigest()}

def write(name, extra, dependencies, targets):
    say(name)
    text = texts(dependencies)
    if os.path.lexists(targets[0]):
        os.unlink(targets[0])
    with open(targets[0], "wb") as file:
        file.write(extra.encode() + b"\\n" + text)
    return result(text)

def write_argument(name, extra, dependencies, targets):
    if b"FAIL" in texts(dependencies):
        say(name)
        return TaskFailed("told to")
    return write(name, extra, dependencies, targets)

def closure_over(name, extra):
    def act(dependencies, targets):
        return write(name, extra, dependencies, targets)
    return act

def folder(name, extra, dependencies, targets):
    say(name)
    text = texts(dependencies)
    if os.path.lexists(targets[0]) and not os.path.isdir(targets[0]):
        os.unlink(targets[0])
    shutil.rmtree(targets[0], ignore_errors=True)
    os.makedirs(targets[0])
    for number in range(len(text) % 3 + 1):
        with open(f"{targets[0]}/{number}", "wb") as file:
            file.write(f"{extra} {number}\\n".encode() + text)
    return result(text)

def with_helper(name, dependencies, targets):
    return write(name, helper.stamp(), dependencies, targets)

def with_value(name, value, dependencies, targets):
    return write(name, value, dependencies, targets)

def only_value(dependencies):
    return result(texts(dependencies))
"""


def _definition(job: Job) -> str:
    """Return the lines of dodo.py that define a job."""
    name, salt = job.name, f"salt {job.salt}"
    inputs = " ".join(sorted(job.inputs))
    # Away with what is there: writing into it would keep its mode, which is an input of others.
    say = f'echo {name} >> "$JOURNAL"' + (f"; rm -f {job.output}" if job.output else "")
    extras: dict[str, object] = {}
    before = ""
    shell: dict[Kind, str] = {
        Kind.COMMAND: (
            f"{say}; {{ echo {salt}; cat {inputs}; }} > {job.output} && ! grep -q FAIL {job.output}"
        ),
        Kind.TOOL: f"{say}; mytool {inputs} > {job.output}",
        Kind.VARIABLE: f'{say}; {{ echo "$MODE"; cat {inputs}; }} > {job.output}',
        Kind.SCRIPT: f"{say}; sh step.sh {inputs} > {job.output}",
        Kind.QUIET: f"{say}; cat {inputs} > /dev/null; : {salt}",
    }
    python: dict[Kind, Callable[[], str]] = {
        Kind.ARGUMENT: lambda: f"(write_argument, [{name!r}, {salt!r}])",
        Kind.DEFAULT: lambda: f"default_{name}",
        Kind.CLOSURE: lambda: f"closure_over({name!r}, {salt!r})",
        Kind.GLOBAL: lambda: f"global_{name}",
        Kind.HELPER: lambda: f"(with_helper, [{name!r}])",
        Kind.FOLDER: lambda: f"(folder, [{name!r}, {salt!r}])",
        Kind.GETARGS: lambda: f"(with_value, [{name!r}])",
    }
    if job.kind is Kind.DEFAULT:
        before = (
            f"def default_{name}(dependencies, targets, extra={salt!r}):\n"
            f"    return write({name!r}, extra, dependencies, targets)\n"
        )
    if job.kind is Kind.GLOBAL:
        before = (
            f"SALT_{name} = {salt!r}\n"
            f"def global_{name}(dependencies, targets):\n"
            f"    return write({name!r}, SALT_{name}, dependencies, targets)\n"
        )
    if job.kind is Kind.GETARGS:
        extras["getargs"] = {"value": (job.source, "v")}
    actions = f"[{python[job.kind]()}]" if job.kind in python else f"[{shell[job.kind]!r}, only_value]"
    fields = [f'"actions": {actions}', f'"file_dep": {sorted(job.inputs)!r}']
    if job.output is not None:
        fields.append(f'"targets": [{job.output!r}]')
    fields += [f"{key!r}: {value!r}" for key, value in extras.items()]
    if job.delayed is not None:
        before += f"@create_after(executed={job.delayed!r})\n"
    return f"{before}def task_{name}():\n    return {{{', '.join(fields)}}}\n"


def _replace(path: Path, text: str) -> None:
    """Write a file where it differs, in place, as an editor that overwrites does."""
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


# --- what can be done to a project: each returns a word for the failure message


def set_content(path: Path, content: bytes) -> None:
    """Overwrite in place, keeping the file's own times where the clock allows it."""
    if path.is_dir() and not path.is_symlink():
        for entry in path.iterdir():
            entry.write_bytes(content)
        return
    path.write_bytes(content)


def edit_unseen(path: Path, content: bytes) -> None:
    """Overwrite and put the old time back: an edit that stat's mtime does not show."""
    before = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def move_over(path: Path, content: bytes) -> None:
    """Rename another file over it, with the time of the old one."""
    before = path.stat() if path.exists() else None
    other = path.with_name(f".{path.name}.new")
    other.write_bytes(content)
    if before is not None:
        other.chmod(before.st_mode & 0o777)
        os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.rename(path)
