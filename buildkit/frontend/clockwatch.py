"""Whether project code asked for the time, for random numbers or for the process: nothing tells of that.

What belongs here: a profile function, which sees calls of builtin functions, and when to switch it on. It
makes Python slower, so it only runs once code has been found whose names sound like such a question.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

_CLOCKS = frozenset(
    {"time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "localtime",
     "gmtime", "ctime", "asctime", "strftime", "now", "utcnow", "today", "process_time", "getpid",
     "getppid", "urandom", "getrandom", "getloadavg", "random", "getrandbits", "seed", "uuid1", "uuid4",
     "token_hex", "token_bytes", "mkdtemp", "mkstemp"}
)  # fmt: skip
# Names that say it in the code of a project; `time` alone is often a field.
_SUSPICIOUS = (_CLOCKS - {"seed"}) | {
    "randint", "choice", "choices", "shuffle", "sample", "randrange", "uniform", "randbelow", "token_urlsafe",
    "uuid", "secrets", "tempfile", "arrow", "pendulum",
}  # fmt: skip
_STANDARD = os.path.dirname(os.__file__) + os.sep
_PACKAGES = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_PROGRAM = getattr(sys.modules.get("__main__"), "__file__", None)  # the script that called doit
_OWN = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


class ClockWatch:
    """Watches one thread from the first suspicious code on, until `stop`."""

    def __init__(self, refuse: Callable[[str], None]) -> None:
        self._refuse = refuse
        self._on = False

    def about_to_run(self, code: CodeType) -> None:
        """Take note of code that is going to be executed as a module."""
        if is_foreign(code.co_filename):
            return
        if "argv" in _names(code):
            self._refuse(f"{os.path.basename(code.co_filename)} looks at sys.argv")
        if self._on or not _names(code) & _SUSPICIOUS:
            return
        if sys.getprofile() is not None or threading.current_thread() is not threading.main_thread():
            self._refuse("a profiler runs, so it cannot be seen whether it asked for the time")
            return
        self._on = True
        sys.setprofile(self._called)

    def stop(self) -> None:
        """Watch no more."""
        if self._on:
            self._on = False
            sys.setprofile(None)

    def _called(self, frame: FrameType, event: str, function: Any) -> None:
        if event != "c_call" or function.__name__ not in _CLOCKS:
            return
        if _asked_by_project(frame):
            self._refuse(f"it called {function.__qualname__}(), whose answer is another one each time")


def is_foreign(filename: str) -> bool:
    """Whether code is Python's own, installed, or ours, rather than the project's."""
    return (
        filename.startswith(("<", _OWN, _STANDARD))
        or filename == _PROGRAM
        or any(part in filename for part in _PACKAGES)
    )


def _names(code: CodeType) -> frozenset[str]:
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= _names(constant)
    return frozenset(found)


def _asked_by_project(frame: FrameType | None) -> bool:
    """Whether project code asked, itself or through a library; not where a library only was imported."""
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith("<frozen importlib"):
            return False
        if not is_foreign(name):
            return True
        frame = frame.f_back
    return False
