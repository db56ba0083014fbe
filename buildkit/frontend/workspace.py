"""A project as a run or a command finds it: settings, state, cache, opened in the right order.

What belongs here: opening and closing. Reading commands open nothing that would have to be created.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import TYPE_CHECKING

from buildkit.cache.local import LocalCache
from buildkit.cache.location import cache_directory
from buildkit.core.config import Settings, load_settings
from buildkit.core.errors import StateError
from buildkit.core.fingerprint import FingerprintTable
from buildkit.core.plan import Plan
from buildkit.engine.host import Host
from buildkit.engine.judge import Judge
from buildkit.engine.log import TaskLog
from buildkit.engine.place import names_of_place
from buildkit.engine.values import ValueTable
from buildkit.state import snapshot
from buildkit.state.database import is_damage, is_full, open_database, set_aside_damaged, telling_damage
from buildkit.state.traces import TraceStore

if TYPE_CHECKING:
    from buildkit.engine.worker import Keep


class Workspace:
    """The state of the project at `root`, for one run or one command."""

    def __init__(
        self,
        root: str,
        environ: Mapping[str, str],
        *,
        read_only: bool,
        paths: Collection[str] | None = None,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        """Open the state; with `read_only` nothing on disk is created or changed.

        `paths`: only these files will be asked for, and only a few tasks, so that not all is read.
        ConfigError and StateError as they come from the settings and from the state.
        """
        self.root = root
        self.environ = environ
        self.warn = warn or warn_on_stderr
        self.settings: Settings = load_settings(root)
        self.connection: sqlite3.Connection | None
        if read_only:
            self.connection = open_database(root, warn=self.warn, read_only=True)
        else:
            self.connection = self._open_to_write()
        self._load(paths, read_only=read_only)
        self.cache: LocalCache | None = None
        if self.settings.cache:
            directory = cache_directory(environ, self.settings.cache_dir, root=root)
            self.cache = LocalCache.open(directory, warn=self.warn)

    def _open_to_write(self) -> sqlite3.Connection | None:
        """Open the state; on a full disk the build goes on without a record, and says so."""
        try:
            return open_database(self.root, warn=self.warn)
        except StateError as error:
            if not is_full(error):
                raise
            self.warn(f"{error} This run goes on without it; nothing of it is recorded.")
            return None

    def _load(self, paths: Collection[str] | None, *, read_only: bool) -> None:
        # What the fast start knows of a task is no longer true once its record changes.
        touch = partial(snapshot.touch, self.root)
        self.traces = TraceStore(
            self.connection, before_writing=touch, one_by_one=paths is not None, forgiving=read_only
        )
        try:
            with telling_damage():
                if paths is not None:
                    self.table = FingerprintTable(self.traces.fingerprints_of(paths))
                else:
                    self.table = FingerprintTable(self.traces.fingerprints())
                    self.traces.all()
        except sqlite3.DatabaseError as error:
            if not is_damage(error) or self.connection is None:
                raise
            if read_only:
                self.connection = None
            else:
                self.connection = set_aside_damaged(self.root, self.connection, error, warn=self.warn)
            self.traces = TraceStore(self.connection, before_writing=touch)
            self.table = FingerprintTable({})
        self.values = ValueTable(self.traces)

    def new_log(self) -> TaskLog:
        """Return an empty log, which keeps as much of one task's output as the settings say."""
        return TaskLog(max_bytes=self.settings.log_max_size)

    def keep_early(self) -> Keep:
        """Return what reads outputs, and stores them, in the workers that have made them."""
        from buildkit.cache.early import EarlyStore  # only where Python actions run

        if self.cache is None:
            return EarlyStore(None, self.root).keep
        return self.cache.early(root=self.root, marks=names_of_place(self.root, os.environ)).keep

    def judge(
        self, plan: Plan, host: Host, *, table: FingerprintTable | None = None, always: bool = False
    ) -> Judge:
        """Return who judges the tasks of a plan by what is recorded here."""
        return Judge(
            plan,
            table=self.table if table is None else table,
            traces=self.traces,
            values=self.values,
            host=host,
            environ=self.environ,
            root=self.root,
            always=always,
        )

    def close(self) -> None:
        """Write what is buffered and close everything."""
        if self.cache is not None:
            self.cache.close()
        if self.connection is not None:
            self.connection.close()


def warn_on_stderr(message: str) -> None:
    """Write one line of warning."""
    sys.stderr.write(f"buildkit: {message}\n")


def project_root() -> str:
    """Return the directory that task paths count from: where doit's loader has taken us."""
    return os.getcwd()
