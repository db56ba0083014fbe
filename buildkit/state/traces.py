"""Traces: what each task was made from and made the last time that it succeeded.

What belongs here: reading and writing the tables `traces` and `fingerprints`. What a trace means for the
next run is decided in `core/decide.py`. Texts in JSON are opaque to this room.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Collection, Iterable

from xxhash import xxh3_64_hexdigest

from buildkit.core.fingerprint import Fingerprint
from buildkit.core.record import Record
from buildkit.state.database import UndecodableError, is_damage, transaction

OK = "ok"
FORGOTTEN = "forgotten"  # the record was removed on purpose: the cache is not asked either
FAILED = "failed"  # the last execution did not succeed; what is left of the record is doit's


_SELECT_TRACES = (
    'SELECT task, action_key, outputs, "values", result, status, ignored, wall_ns, extra FROM traces'
)
_SELECT_FINGERPRINTS = (
    "SELECT path, digest, mtime_ns, ctime_ns, size, ino, dev, mode, hashed_at_ns FROM fingerprints"
)
_SCAN_FROM = 1000  # paths from which one scan is cheaper than a search for each
_NO_VALUES, _NO_RESULT = "{}", "null"
_CHECKSUM = "buildkit.checksum"  # in `extra`, of values and result

Path = str | bytes  # file names that are not UTF-8 are kept as the bytes that they are


class Trace(Record):
    """The record of a task, without its components, which are only read to explain a difference."""

    action_key: str | None
    outputs: str  # JSON, see engine/outputs.py
    values: str  # JSON
    result: str  # JSON
    status: str
    ignored: bool
    wall_ns: int
    extra: str  # JSON: what doit's own objects keep beside values and result


class TraceRow(Record):
    """A trace to be written."""

    task: str
    action_key: str | None
    components: str
    outputs: str
    values: str
    result: str
    status: str
    ignored: bool
    extra: str
    recorded_at: float  # Unix seconds
    run_id: int | None
    wall_ns: int


class TraceStore:
    """Traces and fingerprints of one project; writes are buffered until `flush`."""

    def __init__(
        self,
        connection: sqlite3.Connection | None,
        *,
        before_writing: Callable[[Collection[str]], None] = lambda _tasks: None,
        one_by_one: bool = False,
        forgiving: bool = False,
    ) -> None:
        """Read from and write to `connection`; None stands for a project without any state.

        `before_writing` is called ahead of each transaction that changes what a next run would do, with the
        names of the tasks.
        `one_by_one`: few tasks will be asked for, and only their traces are read.
        `forgiving`: then what is damaged counts as not there; whoever opens the state to write tells of it.
        """
        self._connection = connection
        self._before_writing = before_writing
        self._one_by_one = one_by_one
        self._forgiving = forgiving
        self._traces: dict[str, Trace] = {}
        self._absent: set[str] = set()  # tasks that were looked for one by one, and have no trace
        self._complete = False  # whether all traces have been read
        self._pending: dict[str, TraceRow] = {}
        self._removed: set[str] = set()
        self._fingerprints: list[tuple[str, Fingerprint]] = []
        self._version: int | None = None  # when the traces were read, or last written by us

    def all(self) -> dict[str, Trace]:
        """Return every trace by task name, buffered writes included."""
        if not self._complete:
            self._complete = True
            known, removed = dict(self._traces), self._removed
            self._read("")
            for task in removed:
                self._traces.pop(task, None)
            self._traces.update(known)
        return self._traces

    def _read(self, where: str, *values: Path) -> None:
        if self._version is None:
            self._version = self._data_version()
        if self._connection is None:
            return
        rows = self._connection.execute(f"{_SELECT_TRACES} {where}", values)
        for task, key, outputs, saved, result, status, ignored, wall_ns, extra in rows:
            if not _intact(saved, result, extra):
                continue  # as if it had never run
            self._traces[_name(task)] = Trace(
                key, outputs or "[]", saved or "{}", result or "null", status or FAILED,
                bool(ignored), wall_ns or 0, extra or "{}",
            )  # fmt: skip

    def get(self, task: str) -> Trace | None:
        """Return the trace of a task, or None."""
        if self._complete or not self._one_by_one:
            return self.all().get(task)
        if task not in self._traces and task not in self._absent:
            try:
                self._read("WHERE task = ?", _stored(task))
            except sqlite3.DatabaseError as error:
                if not (self._forgiving and is_damage(error)):
                    raise
            if task not in self._traces:
                self._absent.add(task)
        return self._traces.get(task)

    def components(self, task: str) -> str | None:
        """Return the JSON text of what the recorded key was made of, or None."""
        pending = self._pending.get(task)
        if pending is not None:
            return pending.components
        if self._connection is None:
            return None
        row = self._connection.execute(
            "SELECT components FROM traces WHERE task = ?", (_stored(task),)
        ).fetchone()
        return row[0] if row else None

    def put(self, row: TraceRow) -> None:
        """Record a trace; it is on disk after the next `flush`."""
        if self._version is None:
            self._version = self._data_version()
        self._removed.discard(row.task)
        self._pending[row.task] = row
        self._traces[row.task] = Trace(
            row.action_key, row.outputs, row.values, row.result,
            row.status, row.ignored, row.wall_ns, row.extra,
        )  # fmt: skip

    def remove(self, task: str) -> None:
        """Drop the record of a task altogether."""
        self._pending.pop(task, None)
        self._traces.pop(task, None)
        self._absent.add(task)
        self._removed.add(task)

    def learn(self, fingerprints: Iterable[tuple[str, Fingerprint]]) -> None:
        """Record fingerprints; they are on disk after the next `flush`."""
        self._fingerprints.extend(fingerprints)

    def fingerprints(self) -> dict[str, Fingerprint]:
        """Return every recorded fingerprint by path."""
        return self._fingerprints_where("")

    def fingerprints_of(self, paths: Collection[str]) -> dict[str, Fingerprint]:
        """Return the recorded fingerprints of some paths, and maybe of others."""
        if len(paths) >= _SCAN_FROM:
            return self.fingerprints()
        found: dict[str, Fingerprint] = {}
        for path in paths:
            found |= self._fingerprints_where("WHERE path = ?", _stored(path))
        return found

    def _fingerprints_where(self, where: str, *values: Path) -> dict[str, Fingerprint]:
        if self._connection is None:
            return {}
        rows = self._connection.execute(f"{_SELECT_FINGERPRINTS} {where}", values)
        make = Fingerprint._make
        return {_name(row[0]): make(row[1:]) for row in rows}

    def let_go(self) -> None:
        """Forget what was read; it is read again where somebody asks after all."""
        if self.dirty:
            return
        self._traces.clear()
        self._absent.clear()
        self._complete = False

    @property
    def dirty(self) -> bool:
        """Whether something waits to be written."""
        return bool(self._pending or self._removed or self._fingerprints)

    def flush(self) -> None:
        """Write what is buffered in one transaction; sqlite3.Error and OSError as they come, nothing lost."""
        if self._connection is None or not self.dirty:
            return
        if self._pending or self._removed:
            self._before_writing({*self._pending, *self._removed})
        with transaction(self._connection):
            if self._version is not None and self._data_version() != self._version:
                self._yield_to_newer()
            self._connection.executemany(
                "DELETE FROM traces WHERE task = ?", [(_stored(task),) for task in self._removed]
            )
            self._connection.executemany(
                'INSERT OR REPLACE INTO traces (task, action_key, components, outputs, "values", result,'
                " status, ignored, extra, recorded_at, run_id, wall_ns) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
                [
                    (_stored(row.task), *row[1:8], _with_checksum(row), *row[9:])
                    for row in self._pending.values()
                ],
            )
            self._connection.executemany(
                "INSERT OR REPLACE INTO fingerprints VALUES (?,?,?,?,?,?,?,?,?)",
                [
                    (_stored(path), seen.digest, seen.mtime_ns, seen.ctime_ns, seen.size,
                     _signed(seen.inode), _signed(seen.device), seen.mode, seen.hashed_at_ns)
                    for path, seen in self._fingerprints
                ],
            )  # fmt: skip
        self._version = self._data_version()
        self._removed.clear()
        self._pending.clear()
        self._fingerprints.clear()

    def _data_version(self) -> int:
        """Return a number that changes when another connection has written (SQLite's data_version)."""
        if self._connection is None:
            return 0
        return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    def _yield_to_newer(self) -> None:
        """Drop buffered traces that another process has outdated: a `doit forget` within one of our tasks."""
        if self._connection is None or not self._pending:
            return
        oldest = min(row.recorded_at for row in self._pending.values())
        for task, recorded_at in self._connection.execute(
            "SELECT task, recorded_at FROM traces WHERE recorded_at > ?", (oldest,)
        ).fetchall():
            row = self._pending.get(_name(task))
            if row is not None and recorded_at > row.recorded_at:
                del self._pending[row.task]


def _stored(name: str) -> Path:
    try:
        name.encode()
    except UnicodeEncodeError:
        return os.fsencode(name)
    return name


def _name(stored: Path) -> str:
    if isinstance(stored, str):
        return stored
    if not isinstance(stored, bytes):
        raise UndecodableError("a name is no text")
    return os.fsdecode(stored)


def _checksum(values: str, result: str) -> str:
    return xxh3_64_hexdigest(f"{values}\n{result}".encode("utf-8", "surrogateescape"))


def _with_checksum(row: TraceRow) -> str:
    """Return the `extra` of a row that holds values: they reach other tasks, so a flipped bit must show."""
    if row.values == _NO_VALUES and row.result == _NO_RESULT:
        return row.extra
    return json.dumps({**json.loads(row.extra), _CHECKSUM: _checksum(row.values, row.result)})


def _intact(values: object, result: object, extra: object) -> bool:
    if values in (None, _NO_VALUES) and result in (None, _NO_RESULT):
        return True
    if not (isinstance(values, str) and isinstance(result, str) and isinstance(extra, str)):
        return False
    try:
        return bool(json.loads(extra)[_CHECKSUM] == _checksum(values, result))
    except (ValueError, KeyError, TypeError):
        return False


def _signed(number: int) -> int:
    """Return `number` as SQLite's 64 bits hold it; inode numbers of some file systems use all of them."""
    return number if number < 1 << 63 else number - (1 << 64)
