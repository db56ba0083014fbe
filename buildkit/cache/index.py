"""The index of the local cache: action results and when they were last used, in `index.db` (SQLite, WAL).

Rows are checked when they are read: a row carries a checksum over its key and its text, so that a flipped
bit is a miss and never another result. Blobs are not listed here, their digests are: a digest holds the
size, and what is really on disk is the business of `cas.py`.

Writes are buffered and go out in one short transaction (`flush`). This class raises sqlite3 errors as they
come, and `NewerIndex`; `local.py` decides what they mean for the run.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import suppress

from buildkit.cache.lock import FileLock
from buildkit.cache.result import ActionResult, blob_digests, decode_result, encode_result
from buildkit.core.digest import Digest, digest_bytes, digest_size
from buildkit.core.record import Record
from buildkit.state.database import telling_damage

SCHEMA = 1

# Names of counters.
BYTES = "bytes"  # of all blobs, about; exact after a collection
COLLECTED_AT = "collected_at"  # when the last collection ended, seconds since the epoch
HITS = "hits"
MISSES = "misses"

_BUSY_S = 10.0  # transactions last milliseconds; ten seconds mean that a process was stopped inside one
_MOST_KEYS = 500  # in one question
_USED_GRAIN_S = 60  # a use within the same minute is not written down again

_TABLES = """
CREATE TABLE IF NOT EXISTS action_result (
    key TEXT NOT NULL UNIQUE,
    used_at INTEGER NOT NULL,  -- seconds since the epoch
    blobs TEXT NOT NULL,       -- digests of all blobs that the result needs, separated by blanks
    body BLOB NOT NULL,        -- canonical JSON
    checksum TEXT NOT NULL     -- of key and body
);
CREATE INDEX IF NOT EXISTS action_result_used_at ON action_result (used_at);
CREATE TABLE IF NOT EXISTS counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""
_SELECT = "SELECT body, checksum, used_at FROM action_result WHERE key = ?"
_INSERT = (
    "INSERT INTO action_result (key, used_at, blobs, body, checksum) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT (key) DO UPDATE SET used_at = excluded.used_at, blobs = excluded.blobs,"
    " body = excluded.body, checksum = excluded.checksum"
)
_COUNT = (
    "INSERT INTO counter (name, value) VALUES (?, ?)"
    " ON CONFLICT (name) DO UPDATE SET value = value + excluded.value"
)


class NewerIndex(Exception):  # noqa: N818 - says what was found
    """The index was written by a newer buildkit, whose rules we do not know."""


class DamagedIndex(Exception):  # noqa: N818 - says what was found
    """The file is no index, or a broken one. `inode` says which file it was (see `set_aside`)."""

    def __init__(self, error: sqlite3.Error, inode: int) -> None:
        super().__init__(str(error))
        self.inode = inode


class IndexRow(Record):
    """What a collection needs to know of an action result."""

    key: str
    used_at: int
    blobs: tuple[Digest, ...]
    size: int  # bytes that the row itself takes, about


class Index:
    """One connection to `index.db`; belongs to the thread that opened it."""

    def __init__(self, path: str, inode: int, connection: sqlite3.Connection) -> None:
        self.path = path
        self.inode = inode  # which file it is, should another take its name
        self._connection = connection
        self._puts: dict[str, tuple[str, int, str, bytes, str]] = {}
        self._uses: dict[str, int] = {}
        self._counts: dict[str, int] = {}
        self._fetched: dict[str, tuple[object, ...] | None] = {}  # rows ahead of `get`; None: there is none

    @classmethod
    def open(cls, path: str) -> Index:
        """Open the index, and create it first if it is new.

        Raises NewerIndex, DamagedIndex, and OSError or sqlite3.Error if the file cannot be reached.
        """
        try:
            connection, inode = _connect(path)
            if _version(connection, inode) == SCHEMA:
                return cls(path, inode, connection)
            connection.close()
        except (FileNotFoundError, sqlite3.OperationalError):
            pass  # not there yet, or just being replaced
        # All who make or replace the file do it under this lock, so it holds still now.
        with FileLock(path + ".lock"):
            # Private from birth; SQLite gives the WAL the same mode. An existing file is never opened here:
            # closing it would drop the locks that another connection of this process may hold on it (fcntl).
            with suppress(FileExistsError):
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            connection, inode = _connect(path)
            if _version(connection, inode) != SCHEMA:
                try:
                    with telling_damage():
                        _create(connection)
                except sqlite3.Error as error:
                    connection.close()
                    if is_damage(error):
                        raise DamagedIndex(error, inode) from error
                    raise
        return cls(path, inode, connection)

    def close(self) -> None:
        """Close the connection; what was not flushed is lost."""
        self._connection.close()

    # --- results

    def fetch(self, keys: Iterable[Digest]) -> None:
        """Read at once what `get` is going to be asked for; what an earlier call has read is forgotten."""
        self._fetched = dict.fromkeys(keys)
        wanted = list(self._fetched)
        for start in range(0, len(wanted), _MOST_KEYS):
            part = wanted[start : start + _MOST_KEYS]
            marks = ",".join("?" * len(part))
            query = f"SELECT key, body, checksum, used_at FROM action_result WHERE key IN ({marks})"  # noqa: S608 - only question marks
            for key, *row in self._connection.execute(query, part):
                self._fetched[key] = tuple(row)

    def get(self, key: Digest, now_s: float) -> ActionResult | None:
        """Return the result under `key`, or `None`; a row that is damaged is deleted."""
        pending = self._puts.get(key)
        if pending is not None:
            return decode_result(pending[3])
        if key in self._fetched:
            row = self._fetched.pop(key)
        else:
            row = self._connection.execute(_SELECT, (key,)).fetchone()
        if row is None:
            return None
        result = _sound_result(key, row)
        if result is None:
            self.delete([key])
            return None
        used_at = row[2]
        if not isinstance(used_at, int) or abs(now_s - used_at) >= _USED_GRAIN_S:
            self._uses[key] = int(now_s)
        return result

    def peek(self, key: Digest) -> ActionResult | None:
        """Return the result under `key`, or `None`; changes nothing, not even when it was used."""
        pending = self._puts.get(key)
        if pending is not None:
            return decode_result(pending[3])
        row = self._connection.execute(_SELECT, (key,)).fetchone()
        return None if row is None else _sound_result(key, row)

    def blobs_of(self, keys: Iterable[Digest]) -> dict[Digest, tuple[Digest, ...]]:
        """Return which blobs the results need, of those of the keys that have one; marks nothing as used."""
        wanted = list(keys)
        found = {key: self._puts[key][2] for key in wanted if key in self._puts}
        for start in range(0, len(wanted), _MOST_KEYS):
            part = wanted[start : start + _MOST_KEYS]
            marks = ",".join("?" * len(part))
            query = f"SELECT key, blobs FROM action_result WHERE key IN ({marks})"  # noqa: S608 - only question marks
            found.update((Digest(key), str(blobs)) for key, blobs in self._connection.execute(query, part))
        return {key: tuple(map(Digest, filter(_has_size, blobs.split()))) for key, blobs in found.items()}

    def put(self, key: Digest, result: ActionResult, now_s: float) -> None:
        """Buffer a result for the next flush."""
        body = encode_result(result)
        blobs = " ".join(dict.fromkeys(blob_digests(result)))
        self._puts[key] = (key, int(now_s), blobs, body, _checksum(key, body))
        self._fetched.pop(key, None)

    def count(self, name: str, number: int = 1) -> None:
        """Add to a counter, at the next flush."""
        self._counts[name] = self._counts.get(name, 0) + number

    @property
    def pending(self) -> int:
        """How many results wait for a flush."""
        return len(self._puts)

    def flush(self) -> None:
        """Write everything that is buffered in one transaction; keeps the buffer if that fails."""
        if not (self._puts or self._uses or self._counts):
            return
        with self._transaction():
            execute_many = self._connection.executemany
            execute_many(_INSERT, self._puts.values())
            execute_many(
                "UPDATE action_result SET used_at = ? WHERE key = ?",
                [(used_at, key) for key, used_at in self._uses.items()],
            )
            execute_many(_COUNT, self._counts.items())
        self.drop_buffer()

    def drop_buffer(self) -> None:
        """Forget what was not flushed."""
        self._puts.clear()
        self._uses.clear()
        self._counts.clear()

    def move_buffer_to(self, other: Index) -> None:
        """Hand what was not flushed to another index, which has replaced this one."""
        other._puts, other._uses, other._counts = self._puts, self._uses, self._counts

    # --- collecting

    def rows(self) -> list[IndexRow]:
        """Return all flushed rows, the most recently used first."""
        found = []
        query = (
            "SELECT key, used_at, blobs, length(body) FROM action_result ORDER BY used_at DESC, rowid DESC"
        )
        for key, used_at, blobs, size in self._connection.execute(query):
            if not (isinstance(key, str) and isinstance(used_at, int) and isinstance(blobs, str)):
                continue  # damaged; `get` deletes it if it is ever asked for, the next rebuild otherwise
            digests = tuple([Digest(digest) for digest in blobs.split() if _has_size(digest)])
            found.append(IndexRow(key, used_at, digests, (size or 0) + len(blobs) + 2 * len(key)))
        return found

    def results(self) -> Iterator[tuple[str, ActionResult | None]]:
        """Yield every key with its result, `None` where the row is damaged."""
        for key, body, checksum in self._connection.execute("SELECT key, body, checksum FROM action_result"):
            sound = isinstance(body, bytes) and _checksum(key, body) == checksum
            yield key, decode_result(body) if sound else None

    def delete(self, keys: Iterable[str]) -> None:
        """Delete results, at once."""
        doomed = [(key,) for key in keys]
        for (key,) in doomed:
            self._puts.pop(key, None)
            self._uses.pop(key, None)
            self._fetched.pop(key, None)
        with self._transaction():
            self._connection.executemany("DELETE FROM action_result WHERE key = ?", doomed)

    def delete_unused(self, keys: Iterable[tuple[str, int]]) -> int:
        """Delete results that were not used again since the given times; return how many."""
        before = self._connection.total_changes
        with self._transaction():
            self._connection.executemany(
                "DELETE FROM action_result WHERE key = ? AND used_at = ?", list(keys)
            )
        return self._connection.total_changes - before

    def delete_all(self) -> None:
        """Delete every result and every counter."""
        self.drop_buffer()
        self._fetched.clear()
        with self._transaction():
            self._connection.execute("DELETE FROM action_result")
            self._connection.execute("DELETE FROM counter WHERE name <> 'schema'")
        self.shrink()

    def shrink(self) -> None:
        """Give free pages back to the file system."""
        self._connection.execute("PRAGMA incremental_vacuum").fetchall()
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def counters(self) -> dict[str, int]:
        """Return all counters as they were last flushed."""
        return {
            str(name): int(value)
            for name, value in self._connection.execute("SELECT name, value FROM counter")
        }

    def set_counter(self, name: str, value: int) -> None:
        """Set a counter, at once."""
        with self._transaction():
            self._connection.execute(
                "INSERT OR REPLACE INTO counter (name, value) VALUES (?, ?)", (name, value)
            )

    def oldest_use(self) -> int | None:
        """Return when the least recently used result was used last."""
        value = self._connection.execute("SELECT min(used_at) FROM action_result").fetchone()[0]
        return value if isinstance(value, int) else None

    def _transaction(self) -> _Transaction:
        return _Transaction(self._connection)


class _Transaction:
    """A write transaction that takes its lock at once, so that it can wait for it."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._connection.execute("COMMIT")
        elif self._connection.in_transaction:
            with suppress(sqlite3.Error):  # the error that brought us here says more
                self._connection.execute("ROLLBACK")


def is_damage(error: sqlite3.Error) -> bool:
    """Tell whether an error means that the file's content is wrong, rather than that it cannot be reached."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return False
    if code & 0xFF == sqlite3.SQLITE_ERROR:
        return str(error).startswith("no such")  # a table or a column that must be there
    return code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def is_passing(error: sqlite3.Error) -> bool:
    """Tell whether an error means that another process holds the lock just now."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def is_write_only(error: sqlite3.Error) -> bool:
    """Tell whether an error means that the index cannot be written, but may still be read."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY)


def set_aside(path: str, damaged_inode: int) -> str | None:
    """Rename a damaged index, its WAL with it; return the new name, or `None` if another process did it.

    The file is recognized by its inode: whoever comes second finds the new index under the old name and
    must not touch it. Processes that still have the old file open go on writing to it, into nothing;
    SQLite notices that the file was moved and leaves the new WAL alone.
    """
    with FileLock(path + ".lock"):
        try:
            if os.stat(path).st_ino != damaged_inode:
                return None
        except FileNotFoundError:
            return None
        number = 1
        while os.path.exists(f"{path}.damaged-{number}"):
            number += 1
        new_name = f"{path}.damaged-{number}"
        # The WAL first: a new database beside an old WAL would be damaged by it.
        for suffix in ("-wal", "-shm"):
            with suppress(FileNotFoundError):
                os.rename(path + suffix, new_name + suffix)
        os.rename(path, new_name)
        return new_name


def _connect(path: str) -> tuple[sqlite3.Connection, int]:
    """Connect to an existing file; FileNotFoundError if there is none. The first query says what it is."""
    # Before SQLite opens it: if the file is replaced in between, the inode is that of the older one, and
    # nobody can take the new one for damaged.
    inode = os.stat(path).st_ino
    escaped = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    uri = f"file:{escaped}?mode=rw"  # never create: that would happen with the umask's mode
    connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_S, isolation_level=None)
    # A damaged text must be a row that does not fit, not an exception in the middle of a query.
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
    return connection, inode


def _version(connection: sqlite3.Connection, inode: int) -> int:
    try:
        with telling_damage():
            connection.execute("PRAGMA synchronous = NORMAL")
            return int(connection.execute("PRAGMA user_version").fetchone()[0])
    except sqlite3.Error as error:
        connection.close()
        if is_damage(error):
            raise DamagedIndex(error, inode) from error
        raise


def _create(connection: sqlite3.Connection) -> None:
    """Build the tables in a new file. NewerIndex or a damage (see `is_damage`) for one that is not new."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        # A newer index says its version twice; a flipped bit says it once.
        written_by = None
        with suppress(sqlite3.DatabaseError):
            row = connection.execute("SELECT value FROM counter WHERE name = 'schema'").fetchone()
            written_by = row[0] if row else None
        if version > SCHEMA and written_by == version:
            connection.close()
            raise NewerIndex(f"schema {version}, this buildkit knows {SCHEMA}")
        connection.execute("SELECT value FROM this_is_no_index_of_ours")
    # Pages of deleted rows can be given back only if this is said before the first table.
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL").fetchall()
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement in _TABLES.split(";\n"):
            connection.execute(statement)
        connection.execute("INSERT OR REPLACE INTO counter (name, value) VALUES ('schema', ?)", (SCHEMA,))
        connection.execute(f"PRAGMA user_version = {SCHEMA}")
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def _sound_result(key: str, row: tuple[object, ...]) -> ActionResult | None:
    """Return the result in a row of `_SELECT`, `None` where the row is damaged."""
    body, checksum = row[:2]
    return decode_result(body) if isinstance(body, bytes) and _checksum(key, body) == checksum else None


def _checksum(key: str, body: bytes) -> str:
    return digest_bytes(key.encode("utf-8", "surrogateescape") + b"\n" + body)


def _has_size(digest: str) -> bool:
    try:
        return digest_size(Digest(digest)) >= 0
    except ValueError:
        return False
