"""Compiled modules of the project are used only where they cannot be older than their source.

Python takes a `.pyc` for current when second and size of its source are the recorded ones. An edit within
the second, or one that keeps the time, runs the old code: a wrong skip before anything of ours is asked.
Installed modules are left to Python.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.machinery import SourceFileLoader
from importlib.util import cache_from_source
from typing import Any

_TICK_NS = 20_000_000  # within one tick of the file system, an order in time proves nothing
_SECOND_NS = 1_000_000_000
_UNLIKE_ANY = 0xFFFF_FFFF  # as the time of a source: no compiled module names it
_SITES = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


@contextmanager
def fresh_modules() -> Iterator[None]:
    """Load modules of the project from their source where their compiled form may be another one's.

    Hooks are the documented `path_stats` and `set_data` of source loaders; the layout is that of PEP 552.
    """
    stats_of, write = SourceFileLoader.path_stats, SourceFileLoader.set_data

    def path_stats(loader: SourceFileLoader, path: str) -> Mapping[str, Any]:
        stats = stats_of(loader, path)
        return stats if _is_installed(path) or _is_current(path) else {**stats, "mtime": _UNLIKE_ANY}

    def set_data(loader: SourceFileLoader, path: str, data: bytes, **options: Any) -> None:
        source = loader.path
        if path.endswith(".pyc") and isinstance(source, str) and not _is_installed(source):
            status = os.stat(source)
            if status.st_mtime_ns > time.time_ns() - 2 * _SECOND_NS:
                return  # an edit within this second would not show
            time_of_source = (int(status.st_mtime) & 0xFFFF_FFFF).to_bytes(4, "little")
            if data[4:8] == b"\0\0\0\0":
                data = data[:8] + time_of_source + data[12:]
        write(loader, path, data, **options)

    loader: Any = SourceFileLoader  # its methods are replaced, and put back
    loader.path_stats, loader.set_data = path_stats, set_data
    try:
        yield
    finally:
        loader.path_stats, loader.set_data = stats_of, write


def _is_installed(path: str) -> bool:
    return path.startswith((os.path.dirname(os.__file__), sys.prefix + os.sep)) or any(
        site in path for site in _SITES
    )


def _is_current(path: str) -> bool:
    """Whether the compiled form was written after the last change of its source's inode."""
    try:
        compiled = os.stat(cache_from_source(path))
        return os.stat(path).st_ctime_ns < compiled.st_mtime_ns - _TICK_NS
    except (OSError, NotImplementedError):
        return True  # there is none
