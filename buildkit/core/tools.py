"""Which executable a program name stands for, and the digest that stands for it in an action key.

The digest of most tools is that of their content. A Python program is more than its file: what is
installed in its environment counts too. No process is started here, and no path of this machine enters
a digest: equal tools in different places are equal.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable

from buildkit.core.digest import digest_text
from buildkit.core.record import Record

MISSING = "missing"

_PYTHON_NAME = r"(?:python|pypy)(?:\d+(?:\.\d+)*)?(?:\.exe)?"
_LIBRARY_NAME = r"(?:python|pypy)\d+(?:\.\d+)*"
_SHEBANG_BYTES = 4096
# Scripts that installers write where a path does not fit a shebang: `/bin/sh`, then `'''exec' <python> …`.
_SHELL_TRAMPOLINE = r"(?m:^)'''exec'\s+(?:\"([^\"]+)\"|(\S+))"


class Tool(Record):
    """A program as a command names it, where it was found, and the digest that stands for it."""

    name: str
    path: str | None  # links not followed; None: not found
    digest: str


class ToolResolver:
    """Resolves program names as `execvp` does; remembers the answers for one run.

    `digest_file` returns the digest of a file's content; `path` is the search path; `cwd` is where
    relative names and relative parts of the search path start. `project_root` is where version managers
    look for the version that a project wants.
    """

    def __init__(self, digest_file: Callable[[str], str], *, path: str, cwd: str, project_root: str) -> None:
        self._digest_file = digest_file
        self._folders = [os.path.join(cwd, folder) for folder in path.split(os.pathsep)] if path else []
        self._cwd = cwd
        self._project_root = project_root
        self._tools: dict[str, Tool] = {}
        self._digests: dict[str, str] = {}
        self._environments: dict[str, str] = {}

    def resolve(self, name: str) -> Tool:
        """Return the tool that `name` stands for; one that is not found has the digest `missing`."""
        tool = self._tools.get(name)
        if tool is None:
            path = self._find(name)
            digest = MISSING if path is None else self._digest(path, ())
            tool = self._tools[name] = Tool(name, path, digest)
        return tool

    def _find(self, name: str) -> str | None:
        if not name or "\0" in name:
            return None
        if "/" in name:
            path = os.path.join(self._cwd, name)
            return path if os.path.isfile(path) else None  # a script of an interpreter need not be executable
        return next(filter(_is_executable, (os.path.join(folder, name) for folder in self._folders)), None)

    def _digest(self, path: str, users: tuple[str, ...]) -> str:
        """Return the digest of the executable at `path`, which the scripts `users` led to."""
        known = self._digests.get(path)
        if known is None:
            try:
                known = self._read(path, users)
            except OSError:
                # It may be run but not read (a sudo without read permission): its stat has to stand for it.
                status = os.stat(path)
                known = digest_text(f"unreadable {status.st_size} {status.st_mtime_ns}")
            if not users:
                self._digests[path] = known
        return known

    def _read(self, path: str, users: tuple[str, ...]) -> str:
        content = self._digest_file(path)
        if os.path.basename(os.path.dirname(path)) == "shims":
            return digest_text(f"shim {content}\n{self._managed(os.path.dirname(os.path.dirname(path)))}")
        if _is_python(path):
            return digest_text(f"python {content}\n{self._environment(path)}")
        interpreter, argument = _interpreter(path)
        if interpreter is None or path in users:
            return content
        if os.path.basename(interpreter) == "env" and argument is not None:
            found = self._find(argument)
            interpreter = found if found is not None else interpreter
        if not interpreter.startswith("/"):
            interpreter = os.path.join(self._cwd, interpreter)
        if interpreter in users or not _is_executable(interpreter):
            return digest_text(f"script {_without_shebang(path)}\n{MISSING}")
        used = self._digest(interpreter, (*users, path))
        if _is_python(interpreter):
            # The first line of an installed script holds the path of its environment: not a part of it.
            content = _without_shebang(path)
        return digest_text(f"script {content}\n{used}")

    def _managed(self, manager: str) -> str:
        """Return the digest of all that a version manager (pyenv, asdf) may start, and how it chooses.

        Its shims are equal for all versions, and what they start is decided when they run.
        """
        known = self._environments.get(manager)
        if known is not None:
            return known
        chosen = [os.path.join(manager, "version")]
        for folder in (self._cwd, self._project_root):
            chosen += [os.path.join(folder, name) for name in (".python-version", ".tool-versions")]
        lines = [self._digest_file(path) if os.path.isfile(path) else MISSING for path in chosen]
        versions = os.path.join(manager, "versions")
        for name in sorted(os.listdir(versions)) if os.path.isdir(versions) else ():
            lines += [name, _environment_lines(os.path.join(versions, name))]
        self._environments[manager] = digest_text("\n".join(lines))
        return self._environments[manager]

    def _environment(self, python: str) -> str:
        """Return the digest of what is installed for an interpreter, and of its version."""
        prefix = os.path.dirname(os.path.dirname(python))
        if not os.path.isfile(os.path.join(prefix, "pyvenv.cfg")):
            # A system Python: a link such as /usr/bin/python3 may lead to another prefix.
            prefix = os.path.dirname(os.path.dirname(os.path.realpath(python)))
        known = self._environments.get(prefix)
        if known is None:
            known = self._environments[prefix] = self._read_environment(prefix)
        return known

    def _read_environment(self, prefix: str) -> str:
        lines = [_environment_lines(prefix)]
        settings = _read_settings(os.path.join(prefix, "pyvenv.cfg"))
        if settings:
            lines.append(settings.get("version", settings.get("version_info", "")))
            home = settings.get("home")
            if settings.get("include-system-site-packages", "").lower() == "true" and home:
                lines.append(_environment_lines(os.path.dirname(home)))
        return digest_text("\n".join(lines))


def _is_python(path: str) -> bool:
    name = os.path.basename(path)
    # The first question spares most runs the compiling of the pattern.
    return name.startswith(("python", "pypy")) and re.fullmatch(_PYTHON_NAME, name) is not None


def _is_executable(path: str) -> bool:
    return os.access(path, os.X_OK) and os.path.isfile(path)


def _interpreter(path: str) -> tuple[str | None, str | None]:
    """Return a script's interpreter and, after `env`, the program that it starts."""
    with open(path, "rb") as stream:
        head = stream.read(_SHEBANG_BYTES)
    if not head.startswith(b"#!"):
        return None, None
    text = os.fsdecode(head)
    words = text[2:].partition("\n")[0].split()
    if not words:
        return None, None
    trampoline = re.search(_SHELL_TRAMPOLINE, text)
    if trampoline is not None and os.path.basename(words[0]) in ("sh", "bash", "dash"):
        return trampoline.group(1) or trampoline.group(2), None
    program = next((word for word in words[1:] if not word.startswith("-") and "=" not in word), None)
    return words[0], program


def _without_shebang(path: str) -> str:
    with open(path, "rb") as stream:
        first = stream.readline()
        if os.path.basename(first.split()[0] if first.split() else b"") in (b"sh", b"#!sh"):
            stream.readline()  # the trampoline's own line holds the path
        rest = stream.read()
    return digest_text(os.fsdecode(rest))


def _environment_lines(prefix: str) -> str:
    """List the library folders below a prefix by name, each with the digest of its distributions."""
    from buildkit.core.pyorigin import distributions_digest  # only for Python programs

    lines = []
    # `local` is where Debian and Homebrew's Python on Linux let pip install.
    for base in ("lib", "lib64", os.path.join("local", "lib")):
        folder = os.path.join(prefix, base)
        if base == "lib64" and os.path.islink(folder):
            continue  # of a virtual environment: the same folder again
        try:
            names = sorted(os.listdir(folder))
        except OSError:
            continue
        for name in names:
            if not re.fullmatch(_LIBRARY_NAME, name):
                continue
            for site in ("site-packages", "dist-packages"):
                path = os.path.join(folder, name, site)
                if os.path.isdir(path):
                    lines.append(f"{base} {name} {site} {distributions_digest(path)}")
    return "\n".join(lines)


def _read_settings(path: str) -> dict[str, str]:
    """Read a pyvenv.cfg (PEP 405): `key = value` lines."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as stream:
            pairs = [line.partition("=") for line in stream]
    except OSError:
        return {}
    return {key.strip().lower(): value.strip() for key, separator, value in pairs if separator}
