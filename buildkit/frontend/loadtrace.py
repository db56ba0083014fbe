"""What Python code looked at while it ran: files, folders, questions about paths, the environment, imports.

What belongs here: watching, and what was seen as data. It is used while a dodo.py is loaded and while its
tasks are judged, so that the result may be kept for as long as everything that was seen stays the same.
What cannot be seen again later (a process, a socket, the clock) is noted as a reason why it may not.

Three ways of watching: audit events (open, listing, import, processes, sockets), functions of `os` that
raise none (stat, access, readlink), and a class for `os.environ` that takes note of what is read.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import PathFinder
from types import CodeType, FrameType
from typing import Any

from buildkit.frontend.clockwatch import ClockWatch, is_foreign
from buildkit.observe.options import OBSERVING_VARIABLES
from buildkit.state import facts

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_IMPORT_FILES = ("<frozen importlib._bootstrap_external>", "<frozen importlib._bootstrap>")
# Functions that ask only what is at a path, whoever asks the file system for them.
_QUESTIONS = frozenset(
    {"exists", "lexists", "isfile", "isdir", "islink", "ismount", "realpath", "_joinrealpath",
     "is_file", "is_dir", "is_symlink", "is_mount", "is_fifo", "is_socket", "is_block_device"}
)  # fmt: skip
_STARTS_PROCESS = frozenset(
    {"subprocess.Popen", "os.system", "os.posix_spawn", "os.fork", "os.forkpty", "os.exec", "os.spawn",
     "pty.spawn", "os.startfile"}
)  # fmt: skip
_CHANGES = {
    "os.remove": "deleted", "os.rename": "renamed", "os.rmdir": "deleted", "os.symlink": "linked",
    "os.link": "linked", "os.truncate": "cut", "os.chmod": "changed the mode of", "os.chown": "gave away",
    "os.utime": "touched", "os.mkfifo": "made",
}  # fmt: skip
_ALWAYS_READ = (
    # By Python when it starts, by doit ahead of the dodo.py, and by us: what they decide shows in no file.
    "BUILDKIT", "BUILDKIT_CACHE_DIR", "DOIT_FILE", "DOIT_SEEK_FILE", "PATH", "HOME", "LANG", "LANGUAGE",
    "LC_ALL", "LC_CTYPE", "TZ", "PYTHONPATH", "PYTHONHOME", "PYTHONUTF8", "PYTHONHASHSEED", "TERM",
    "NO_COLOR", "FORCE_COLOR", "COLUMNS",
    "CI", "GITHUB_ACTIONS", "GITLAB_CI", "BUILDKITE", *OBSERVING_VARIABLES,
)  # fmt: skip
# A socket that nothing is done with, and the name of this machine, which is in every stamp.
_HARMLESS_SOCKETS = frozenset({"socket.__new__", "socket.gethostname"})


@dataclass(frozen=True, slots=True)
class _Call:
    """One call of a watched function: by whom, with what, and what it returned (None: it raised)."""

    frame: FrameType
    path: Any
    found: Any
    arguments: tuple[Any, ...]
    options: dict[str, Any]


_listening: list[LoadTrace] = []
_ASKER = 4  # frames from where an event is noted to the code that raised it
_hooked = False


def _hook_audit_events() -> bool:
    """Have audit events told to those who listen; False where another hook forbids it.

    Python calls a hook for the rest of the process, so there is only one.
    """
    global _hooked  # noqa: PLW0603 - as is what it tells of
    if not _hooked:
        try:
            sys.addaudithook(_tell)
        except RuntimeError:
            return False
        _hooked = True
    return True


def _tell(event: str, arguments: tuple[Any, ...]) -> None:
    for trace in _listening:
        trace.heard(event, arguments)


class LoadTrace:
    """Watches this process between `begin` and `end`; may begin again. Facts are kept as they were then."""

    def __init__(self) -> None:
        self.began_at_ns = time.time_ns()
        self.environ = {**os.environ}  # before the dodo.py changes it
        self.path = list(sys.path)
        self.variables: set[str] = set(_ALWAYS_READ)
        self.whole_environment = False
        self.kinds: dict[tuple[str, bool], int] = {}  # (path, links followed) -> kind
        # Of files that were read or looked at closely, and when; None for one that is not there.
        self.statuses: dict[str, tuple[os.stat_result | None, int]] = {}
        self.links: dict[str, str] = {}
        self.accesses: dict[tuple[str, int], bool] = {}
        self.listings: dict[str, bytes] = {}
        self.import_folders: set[str] = set()
        self.names: set[str] = set()  # last parts of the names of modules that were looked for
        self.refusals: list[str] = []
        self._active = False
        self._watching = False
        self._clock = ClockWatch(self.refuse)
        self._notes: dict[str, Callable[..., None]] = {
            "open": self._opened,
            "os.listdir": self._listed,
            "os.scandir": self._listed,
            "import": self._imported,
            "exec": self._executed,
            "os.mkdir": self._made_folder,
            "sqlite3.connect": self._opened_database,
            "builtins.input": self._asked_user,
        }
        self._undo: list[Callable[[], None]] = []
        self._stand_ins: dict[int, tuple[Any, Any]] = {}  # id of our function -> it, and the real one

    # --- on and off

    def begin(self) -> None:
        """Watch from now on."""
        if not _hook_audit_events():
            self.refuse("this Python cannot be watched")
        _listening.append(self)
        self._watch_os()
        self._watch_finder()
        self._watch_environment()
        self._watch_streams()
        self._active = self._watching = True

    def end(self) -> None:
        """Watch no more, and put everything back."""
        self._active = self._watching = False
        if self in _listening:
            _listening.remove(self)
        self._clock.stop()
        while self._undo:
            self._undo.pop()()

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Within, nothing is noted: what we do for ourselves is no question of the dodo.py."""
        before, self._active = self._active, False
        try:
            yield
        finally:
            self._active = before and self._watching

    def refuse(self, reason: str) -> None:
        """Note why nothing may be kept; the first reason is the one to show."""
        if reason not in self.refusals:
            self.refusals.append(reason)

    def give_back(self) -> None:
        """Put the real functions where modules have taken ours with `from os import stat`.

        Else they would be part of the code of these modules, which is digested next. The project's own code
        has run by now, so nobody asks for the time any more either.
        """
        self._clock.stop()
        for module in list(sys.modules.values()):
            if module is os:
                continue
            names = getattr(module, "__dict__", {})
            for name, value in list(names.items()):
                stand_in = self._stand_ins.get(id(value))
                if stand_in is not None and stand_in[0] is value:
                    names[name] = stand_in[1]

    # --- audit events

    def heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Note an audit event of Python."""
        if not self._active:
            return
        self._active = False  # what is done here raises events, too
        try:
            self._note_event(event, arguments)
        except Exception as error:  # what a hook raises would end the user's own call
            self.refuse(f"the event {event} could not be understood: {error!r}")
        finally:
            self._active = self._watching

    def _note_event(self, event: str, arguments: tuple[Any, ...]) -> None:
        note = self._notes.get(event)
        if note is not None:
            note(*arguments)
        elif event in _STARTS_PROCESS:
            self.refuse(f"it started a process ({_shown(arguments[0] if arguments else event)})")
        elif event in _CHANGES:
            path = self._full(arguments[0])
            if path is not None:
                self.refuse(f"it {_CHANGES[event]} '{path}'")
        elif event.startswith("socket.") and event not in _HARMLESS_SOCKETS:
            self.refuse(f"it used the network ({event})")

    def _imported(self, name: Any, *_rest: Any) -> None:
        self.names.add(str(name).rpartition(".")[2])

    def _executed(self, code: Any) -> None:
        if isinstance(code, CodeType):
            self._clock.about_to_run(code)

    def _made_folder(self, raw: Any, *_rest: Any) -> None:
        path = self._full(raw)
        if path is not None:  # also told where it is there already
            self.kinds[path, True] = facts.FOLDER

    def _opened_database(self, name: Any) -> None:
        self.refuse(f"it opened a database ({_shown(name)})")

    def _asked_user(self, *_prompt: Any) -> None:
        self.refuse("it asked the user")

    def _opened(self, raw: Any, _mode: Any, flags: Any) -> None:
        path = self._full(raw)
        if path is None:
            return
        if path.startswith(("/proc/", "/sys/")):
            if not _within_import(sys._getframe(_ASKER)):
                self.refuse(f"it read '{path}', which may be another the next time")
        elif path.startswith("/dev/"):
            if path in ("/dev/random", "/dev/urandom"):
                self.refuse("it asked for random numbers")
        elif isinstance(flags, int) and flags & _WRITING:
            self.refuse(f"it wrote '{path}'")
        else:
            self._looked(path)

    def _looked(self, path: str) -> None:
        if path not in self.statuses:
            seen_at_ns = time.time_ns()
            try:
                self.statuses[path] = self._real_stat(path), seen_at_ns
            except OSError:
                self.statuses[path] = None, seen_at_ns

    def _listed(self, raw: Any) -> None:
        path = self._full("." if raw is None else raw)
        if path is None:
            return
        if sys._getframe(_ASKER).f_code.co_filename in _IMPORT_FILES:
            self.import_folders.add(path)
        elif path not in self.listings:
            self.listings[path] = facts.listing_of(path, None)

    # --- functions that raise no audit event

    def _watch_os(self) -> None:
        self._real_stat = os.stat
        for name, note in (
            ("stat", self._note_stat),
            ("lstat", self._note_lstat),
            ("access", self._note_access),
            ("readlink", self._note_link),
        ):
            self._wrap(name, getattr(os, name), note)

    def _wrap(self, name: str, real: Any, note: Callable[[_Call], None]) -> None:
        def watched(path: Any, *args: Any, **kwargs: Any) -> Any:
            if not self._active:
                return real(path, *args, **kwargs)
            self._active = False
            try:
                found = None
                try:
                    found = real(path, *args, **kwargs)
                    return found
                finally:
                    self._note_call(name, note, _Call(sys._getframe(1), path, found, args, kwargs))
            finally:
                self._active = self._watching

        # shutil and pathlib ask these sets what the platform can do, with the function itself.
        sets = [known for known in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks,
                                    os.supports_effective_ids) if real in known]  # fmt: skip
        for known in sets:
            known.add(watched)
        setattr(os, name, watched)
        watched.__name__ = watched.__qualname__ = name
        self._stand_ins[id(watched)] = watched, real

        def undo() -> None:
            for known in sets:
                known.discard(watched)
            if getattr(os, name) is watched:
                setattr(os, name, real)

        self._undo.append(undo)

    def _note_call(self, name: str, note: Callable[[_Call], None], call: _Call) -> None:
        try:
            note(call)
        except Exception as error:  # as in `_heard`
            self.refuse(f"a call of os.{name} could not be understood: {error!r}")

    def _note_stat(self, call: _Call) -> None:
        self._note_status(call, follow=call.options.get("follow_symlinks", True))

    def _note_lstat(self, call: _Call) -> None:
        self._note_status(call, follow=False)

    def _note_status(self, call: _Call, *, follow: bool) -> None:
        path, found = self._full(call.path, call.options), call.found
        if path is None:
            return
        question = call.frame.f_code.co_name
        if question in ("stat", "lstat") and call.frame.f_back is not None:  # of pathlib
            question = call.frame.f_back.f_code.co_name
        if found is None or question in _QUESTIONS:
            kind = facts.ABSENT if found is None else facts.kind_of_mode(found.st_mode)
            self.kinds.setdefault((path, follow), kind)
        elif follow or facts.kind_of_mode(found.st_mode) != facts.LINK:
            self.statuses.setdefault(path, (found, time.time_ns()))
        else:
            self.refuse(f"it looked at the times of the link '{path}'")

    def _note_access(self, call: _Call) -> None:
        path = self._full(call.path, call.options)
        if path is not None:
            mode = call.arguments[0] if call.arguments else call.options.get("mode", os.F_OK)
            self.accesses.setdefault((path, int(mode)), bool(call.found))

    def _note_link(self, call: _Call) -> None:
        path = self._full(call.path, call.options)
        if path is None:
            return
        if call.found is None:
            self.kinds.setdefault((path, False), facts.kind_of(path, follow=False))
        else:
            self.links.setdefault(path, os.fsdecode(call.found))

    def _full(self, raw: Any, kwargs: Any = None) -> str | None:
        """Return the absolute path of what was asked about; None for what does not count."""
        if isinstance(raw, int) or raw is None:
            return None
        if kwargs and kwargs.get("dir_fd") is not None:
            self.refuse("it looked for files by a folder's descriptor")
            return None
        path = os.path.join(os.getcwd(), os.fsdecode(raw))
        if path.endswith(".pyc") or ".pyc." in path or f"{os.sep}.buildkit{os.sep}" in path:
            return None
        if path.endswith("__pycache__") or "\0" in path:
            return None
        return path

    def _watch_finder(self) -> None:
        """Note names of modules that are looked for without being imported."""
        plain = PathFinder.__dict__["find_spec"]
        trace = self

        def find_spec(cls: Any, name: str, *args: Any, **kwargs: Any) -> Any:
            trace.names.add(name.rpartition(".")[2])
            return plain.__get__(None, cls)(name, *args, **kwargs)

        setattr(PathFinder, "find_spec", classmethod(find_spec))  # noqa: B010 - mypy forbids the statement

        def undo() -> None:
            setattr(PathFinder, "find_spec", plain)  # noqa: B010

        self._undo.append(undo)

    # --- the environment, and what is printed

    def _watch_environment(self) -> None:
        for variables in {id(v): v for v in (os.environ, getattr(os, "environb", os.environ))}.values():
            plain = type(variables)
            if plain is not os._Environ:
                self.refuse("os.environ is not Python's own")
                continue
            variables.__class__ = self._recording(plain)

            def undo(variables: Any = variables, plain: Any = plain) -> None:
                variables.__class__ = plain

            self._undo.append(undo)

    def _recording(self, plain: Any) -> Any:
        trace = self

        class RecordingEnviron(plain):  # type: ignore[misc] # a class that is only known here
            """`os.environ` that takes note of what is read."""

            def __getitem__(self, name: Any) -> Any:
                if trace._active and isinstance(name, (str, bytes)):
                    trace.variables.add(os.fsdecode(name))
                return super().__getitem__(name)

            def __iter__(self) -> Any:
                if trace._active:
                    trace.whole_environment = True
                return super().__iter__()

            def __len__(self) -> int:
                if trace._active:
                    trace.whole_environment = True
                return int(super().__len__())

        return RecordingEnviron

    def _watch_streams(self) -> None:
        for stream in (sys.stdout, sys.stderr):
            real = getattr(stream, "write", None)
            if real is None:
                continue

            attributes = getattr(stream, "__dict__", {})
            before = attributes.get("write")  # of somebody who listens, too

            def write(text: str, real: Any = real) -> Any:
                if self._active:
                    self.refuse("it printed something")
                return real(text)

            try:
                stream.write = write  # type: ignore[method-assign] # put back by `end`
            except AttributeError:
                self.refuse("what it prints cannot be watched")
                continue

            def undo(attributes: Any = attributes, before: Any = before) -> None:
                attributes.pop("write", None)
                if before is not None:
                    attributes["write"] = before

            self._undo.append(undo)


def _within_import(frame: FrameType | None) -> bool:
    """Whether the call came from a library that was being imported, rather than from the project's code."""
    while frame is not None:
        name = frame.f_code.co_filename
        if name in _IMPORT_FILES:
            return True
        if not is_foreign(name):
            return False
        frame = frame.f_back
    return False


def _shown(value: Any) -> str:
    text = os.fsdecode(value) if isinstance(value, (bytes, os.PathLike)) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
