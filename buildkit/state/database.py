"""The project's one database: opened, created, migrated, set aside when damaged.

Promises: a connection that is returned has the current schema; a file that a newer buildkit wrote is never
touched; a damaged file costs history, never a build. What the tables mean lives with their readers.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, overload

from buildkit.core.errors import StateError
from buildkit.state import schema
from buildkit.state.directory import FULL, ensure_state_directory, state_directory, unusable

DATABASE_NAME = "state.db"
_BUSY_TIMEOUT_S = 30.0  # another run in this project writes for milliseconds at a time

Warn = Callable[[str], None]

# Primary result codes that mean: the bytes of the file are wrong. The low byte of an extended code is its
# primary code (https://sqlite.org/rescode.html).
_DAMAGED_CODES = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
# Without room SQLite cannot even map the index of its WAL, and calls that an I/O error.
_NO_ROOM_CODES = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR})


def database_path(project: str) -> str:
    """Return the path of the project's database; it need not exist."""
    return os.path.join(state_directory(project), DATABASE_NAME)


class UndecodableError(sqlite3.DatabaseError):
    """Bytes of the file, or SQLite's message about them, are no UTF-8; sqlite3 has no error for that."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT


@contextmanager
def telling_damage() -> Iterator[None]:
    """Turn what Python's sqlite3 raises for undecodable bytes into the database error that it is."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise UndecodableError(str(error)) from error


def is_damage(error: sqlite3.Error) -> bool:
    """Tell whether `error` says that the database file is damaged, not merely busy, full or forbidden."""
    if str(error).startswith("Could not decode to UTF-8"):
        return True  # a text column; Python's sqlite3 gives it no code
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED_CODES


def is_full(error: StateError) -> bool:
    """Tell whether the state could not be opened because a disk is full: a build can go on without it."""
    cause = error.__cause__
    if isinstance(cause, sqlite3.Error):
        return getattr(cause, "sqlite_errorcode", 0) & 0xFF in _NO_ROOM_CODES
    return isinstance(cause, OSError) and cause.errno in FULL


@overload
def open_database(project: str, *, warn: Warn, read_only: Literal[False] = False) -> sqlite3.Connection: ...


@overload
def open_database(project: str, *, warn: Warn, read_only: Literal[True]) -> sqlite3.Connection | None: ...


def open_database(project: str, *, warn: Warn, read_only: bool = False) -> sqlite3.Connection | None:
    """Return a connection to the database of the project at `project`, in autocommit mode.

    Creates and migrates what is missing, with private modes (directory 0700, files 0600). A damaged file
    is set aside beside the new one and `warn` gets one line. With `read_only` nothing on disk is created
    or changed, and None says that there is nothing to read yet.

    Raises StateError where the state cannot be used: not writable, or written by a newer buildkit.
    """
    if read_only:
        return _open_read_only(project)
    path = os.path.join(ensure_state_directory(project), DATABASE_NAME)
    try:
        with telling_damage():
            return _open_writable(path)
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise _explain(path, error) from error
        _set_aside(path, str(error), warn)
    try:
        return _open_writable(path)
    except sqlite3.DatabaseError as error:
        raise _explain(path, error) from error


def set_aside_damaged(
    project: str, connection: sqlite3.Connection, error: sqlite3.Error, *, warn: Warn
) -> sqlite3.Connection:
    """Replace a database that proved damaged while in use, and return a connection to the new one.

    For damage that opening cannot see (only some pages of the file are wrong): the caller catches
    `sqlite3.DatabaseError`, asks `is_damage`, and goes on with what this returns.
    """
    connection.close()
    _set_aside(database_path(project), str(error), warn)
    return open_database(project, warn=warn)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Write everything inside the block or nothing; inside another such block, be part of that one."""
    if connection.in_transaction:
        yield
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        # SQLite itself may have rolled back (disk full); then there is nothing left to undo.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def storable(text: str) -> str:
    """Return `text` as SQLite can keep it: a byte of a file name that is not UTF-8 becomes an escape."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text


def _open_writable(path: str) -> sqlite3.Connection:
    _require_writable(path)
    connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None)
    try:
        version = schema.read_version(connection)
        _refuse_newer(path, version)
        if version < schema.VERSION:
            connection.execute("PRAGMA journal_mode = WAL")
            schema.migrate(connection)
        # NORMAL: a power cut may take the last transactions of a WAL database, and can never damage it.
        connection.execute("PRAGMA synchronous = NORMAL")
        # Reads the schema, and with it finds a file that only begins like a database.
        connection.execute("SELECT value FROM meta WHERE key = 'uid'").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _require_writable(path: str) -> None:
    """Raise StateError unless the database and its directory can be written; create the file with 0600."""
    try:
        # O_EXCL: an existing file must not be opened and closed here, because closing any descriptor of it
        # would drop the locks that another connection of this process holds (POSIX locks work that way).
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        for needed in (path, os.path.dirname(path)):
            if not os.access(needed, os.W_OK):
                raise unusable(needed, _why_not_writable(needed)) from None
    except OSError as error:
        raise unusable(path, error) from error


def _why_not_writable(path: str) -> OSError:
    on_read_only_system = os.statvfs(path).f_flag & os.ST_RDONLY
    code = errno.EROFS if on_read_only_system else errno.EACCES
    return OSError(code, os.strerror(code))


def _open_read_only(project: str) -> sqlite3.Connection | None:
    path = database_path(project)
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:  # a directory that may not be looked into does not say that there is nothing
        raise StateError(
            f"cannot read the state of this project: {path}: {error.strerror or error}."
        ) from error
    try:
        with telling_damage():
            connection = _connect_read_only(path)
            version = schema.read_version(connection)
            _refuse_newer(path, version)
            if version == 0:  # created, and killed before the first table was there
                connection.close()
                return None
            if version < schema.VERSION:
                connection = _migrated_copy(connection)
            connection.execute("SELECT value FROM meta WHERE key = 'uid'").fetchone()
    except sqlite3.DatabaseError as error:
        if is_damage(error):
            raise StateError(
                f"the history in {path} is damaged ({error}). The next run sets it aside and starts anew."
            ) from error
        raise _explain(path, error) from error
    return connection


def _connect_read_only(path: str) -> sqlite3.Connection:
    uri = "file:" + _uri_path(path)
    connection = sqlite3.connect(f"{uri}?mode=ro", uri=True, timeout=_BUSY_TIMEOUT_S, isolation_level=None)
    try:
        schema.read_version(connection)
    except sqlite3.OperationalError:
        # A WAL database in a directory that cannot be written has no place for its shared memory. Without
        # a log beside it nobody is writing, and the file can be read as it is.
        connection.close()
        if os.path.exists(f"{path}-wal"):
            raise
        return sqlite3.connect(f"{uri}?immutable=1", uri=True, isolation_level=None)
    return connection


def _uri_path(path: str) -> str:
    """Return an absolute path with the three characters escaped that mean something in a URI."""
    return os.path.abspath(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _migrated_copy(connection: sqlite3.Connection) -> sqlite3.Connection:
    """Return the database as a current one in memory: a report of an older file need not change it."""
    copy = sqlite3.connect(":memory:", isolation_level=None)
    connection.backup(copy)
    connection.close()
    schema.migrate(copy)
    return copy


def _refuse_newer(path: str, version: int) -> None:
    if version > schema.VERSION:
        raise StateError(
            f"{path} was written by a newer buildkit (schema {version}; this one knows {schema.VERSION}). "
            f"Upgrade buildkit, or move the file away to start a new history."
        )


def _set_aside(path: str, why: str, warn: Warn) -> None:
    """Rename the database and its log to the first free `.damaged-N`, and say so in one line."""
    number = 1
    while os.path.exists(f"{path}.damaged-{number}"):
        number += 1
    aside = f"{path}.damaged-{number}"
    for suffix in ("-wal", "-shm", ""):
        try:
            os.rename(path + suffix, aside + suffix)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise unusable(path + suffix, error) from error
    warn(f"{path} is damaged ({why}); it was set aside as {os.path.basename(aside)}, history starts anew")


def _explain(path: str, error: sqlite3.Error) -> StateError:
    return StateError(
        f"cannot use the state of this project: {path}: {error}. "
        f"Make it usable, or set BUILDKIT=0 to run stock doit."
    )
