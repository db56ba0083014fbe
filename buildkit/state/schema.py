"""The tables of a project's `state.db`, and how an older database becomes a current one.

`PRAGMA user_version` holds the schema's version. A migration is a function of a sqlite-utils database; the
list of them is append-only, and all that are missing run in one transaction. Plain reads and writes do not
belong here, and nothing here is imported on a run that finds a current database, except the version.
"""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING

from buildkit.core.execution import Decision

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlite_utils import Database

# What `executions.decision` holds; the table `decisions` repeats it for readers of plain SQL. Append only.
DECISION_CODES: dict[Decision, int] = {
    Decision.EXECUTED: 1,
    Decision.RESTORED: 2,
    Decision.SKIPPED: 3,
    Decision.FAILED: 4,
    Decision.UPSTREAM_FAILED: 5,
    Decision.IGNORED: 6,
    Decision.CANCELLED: 7,
}


def _create_all(database: Database) -> None:
    """Version 1: everything that the first release and its reports need."""
    # sqlite-utils has no WITHOUT ROWID, which saves the second tree where the key is all we look up by.
    database.execute(
        """
        CREATE TABLE IF NOT EXISTS fingerprints (
            path TEXT PRIMARY KEY, digest TEXT, mtime_ns INTEGER, ctime_ns INTEGER, size INTEGER,
            ino INTEGER, dev INTEGER, mode INTEGER, hashed_at_ns INTEGER
        ) WITHOUT ROWID
        """
    )
    database.create_table(
        "traces",
        {
            "task": str,
            "action_key": str,
            "components": str,  # JSON: what the key was made of
            "outputs": str,  # JSON
            "values": str,  # JSON: what `getargs` reads
            "result": str,  # JSON: what `result_dep` reads
            "status": str,  # 'ok', 'forgotten' or 'failed'
            "ignored": int,
            "extra": str,  # JSON: doit's other keys
            "recorded_at": float,
            "run_id": int,
            "wall_ns": int,
        },
        pk="task",
        if_not_exists=True,
    )
    database.create_table("meta", {"key": str, "value": str}, pk="key", if_not_exists=True)
    _create_history(database)
    _fill(database.execute)


def _create_history(database: Database) -> None:
    database.create_table(
        "tasks",
        {
            "id": int,
            "name": str,
            # The last five successful executions, oldest first, separated by spaces: predictions for all
            # tasks are then one scan of this table instead of one search per task.
            "recent_wall_ns": str,
            "recent_cpu_ns": str,
            "recent_rss_bytes": str,
        },
        pk="id",
        not_null={"name"},
        if_not_exists=True,
    )
    database.table("tasks").create_index(["name"], unique=True, if_not_exists=True)
    # Long texts that repeat from row to row (reasons, workers), kept once.
    database.create_table("texts", {"id": int, "text": str}, pk="id", not_null={"text"}, if_not_exists=True)
    database.table("texts").create_index(["text"], unique=True, if_not_exists=True)
    database.create_table("decisions", {"id": int, "name": str}, pk="id", if_not_exists=True)
    database.create_table(
        "runs",
        {
            "id": int,
            "uid": str,
            "started_at": float,  # Unix seconds
            "wall_ns": int,  # NULL: still running, or killed before it could say how it ended
            "argv": str,  # JSON
            "cwd": str,
            "exit_code": int,
            "width": int,
            "parallel": str,
            "machine": str,  # its class: runs of one class are comparable
            "cores": float,
            "python": str,
            "platform": str,
            "buildkit": str,
            "git_commit": str,
            "git_dirty": int,
            "ci": str,
            "lane": str,
            "pid": int,
            "executed": int,
            "restored": int,
            "skipped": int,
            "failed": int,
            "upstream_failed": int,
            "ignored": int,
            "cancelled": int,
            "saved_ns": int,
            "bytes_stored": int,
            "bytes_restored": int,
            "skipped_ranges": str,  # ids of `tasks`, see state/ranges.py
            "extra": str,  # JSON
        },
        pk="id",
        not_null={"uid", "started_at"},
        if_not_exists=True,
    )
    database.table("runs").create_index(["uid"], unique=True, if_not_exists=True)
    # Clustered by run, so that a run is read and dropped as one piece. Thousandths instead of REAL, and ids
    # instead of texts, halve a row: a thousand runs of a thousand tasks are a million of them.
    database.execute(
        """
        CREATE TABLE IF NOT EXISTS executions (
            run_id INTEGER NOT NULL, task_id INTEGER NOT NULL, attempt INTEGER NOT NULL,
            decision INTEGER NOT NULL, reasons_id INTEGER, wall_ns INTEGER, started_ns INTEGER,
            queue_ns INTEGER, user_ns INTEGER, system_ns INTEGER, rss_bytes INTEGER, read_bytes INTEGER,
            write_bytes INTEGER, exit_code INTEGER, signal INTEGER, worker_id INTEGER, slot INTEGER,
            beside_milli INTEGER, load_milli INTEGER, bytes_restored INTEGER, bytes_stored INTEGER,
            saved_ns INTEGER, cacheable INTEGER, uncacheable_id INTEGER, log_path TEXT, extra TEXT,
            PRIMARY KEY (run_id, task_id, attempt)
        ) WITHOUT ROWID
        """
    )
    database.table("executions").create_index(["task_id", "run_id"], if_not_exists=True)
    database.create_table(
        "accepted",
        {"id": int, "task": str, "reason": str, "at": float, "run_id": int},
        pk="id",
        if_not_exists=True,
    )


def _add_keys_targets_and_days(database: Database) -> None:
    """Version 2: what flaky tasks, targets and forecasts need."""
    columns = {row[1] for row in database.execute("PRAGMA table_info(executions)")}
    for column in ("key_bits", "sla_ms"):
        if column not in columns:
            database.execute(f"ALTER TABLE executions ADD COLUMN {column} INTEGER")
    # Aggregates of whole days (UTC, counted from 1970-01-01), kept long after the executions themselves.
    database.execute(
        """
        CREATE TABLE IF NOT EXISTS daily_tasks (
            day INTEGER NOT NULL, task_id INTEGER NOT NULL, machine_id INTEGER NOT NULL, executed INTEGER,
            failed INTEGER, restored INTEGER, wall_ns INTEGER, median_wall_ns INTEGER, p95_wall_ns INTEGER,
            cpu_ns INTEGER, rss_bytes INTEGER, PRIMARY KEY (day, task_id, machine_id)
        ) WITHOUT ROWID
        """
    )
    database.execute(
        """
        CREATE TABLE IF NOT EXISTS daily_runs (
            day INTEGER NOT NULL, machine_id INTEGER NOT NULL, runs INTEGER, failed_runs INTEGER,
            wall_ns INTEGER, task_ns INTEGER, executed INTEGER, restored INTEGER, skipped INTEGER,
            failed INTEGER, saved_ns INTEGER, bytes_stored INTEGER, bytes_restored INTEGER,
            PRIMARY KEY (day, machine_id)
        ) WITHOUT ROWID
        """
    )


# Append only: entry n makes version n+1 out of version n.
MIGRATIONS: tuple[Callable[[Database], None], ...] = (_create_all, _add_keys_targets_and_days)
VERSION = len(MIGRATIONS)


def _is_empty(connection: sqlite3.Connection) -> bool:
    (count,) = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    return read_version(connection) == 0 and count == 0


def _create_current(connection: sqlite3.Connection) -> None:
    """Make all tables of a new database; within the caller's transaction."""
    from buildkit.state import fresh  # as below: there is a database in all runs but the first

    for statement in filter(None, map(str.strip, fresh.TABLES.split(";"))):
        connection.execute(statement)
    _fill(connection.execute)


def _fill(execute: Callable[[str, list[object]], object]) -> None:
    """Write the rows that a new database begins with."""
    execute("INSERT OR IGNORE INTO meta VALUES ('uid', ?)", [os.urandom(8).hex()])
    for decision, code in DECISION_CODES.items():
        execute("INSERT OR IGNORE INTO decisions VALUES (?, ?)", [code, decision.value])


def read_version(connection: sqlite3.Connection) -> int:
    """Return the schema version of an open database; 0 for an empty one."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the database to the current version in one transaction, all or nothing.

    `connection` must be in autocommit mode and at an older version. Two processes may try at once: the
    second waits for the first and then finds nothing to do.
    """
    from buildkit.state import fresh

    connection.execute("BEGIN IMMEDIATE")
    try:
        if fresh.VERSION == VERSION and _is_empty(connection):
            _create_current(connection)
        else:
            import sqlite_utils  # 77 ms: only when the schema must change

            database = sqlite_utils.Database(connection, recursive_triggers=False, execute_plugins=False)
            for migration in MIGRATIONS[read_version(connection) :]:
                migration(database)
        connection.execute(f"PRAGMA user_version = {VERSION:d}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
