"""The tables of a new `state.db`, as text: what all migrations together come to.

Making them through sqlite-utils takes 30 ms, most of it the import; a first run in a project, and each run of
a fresh CI job, would pay for that. The migrations are the truth: a test holds this text to them.
"""

from __future__ import annotations

VERSION = 2  # of the schema that `TABLES` makes

TABLES = """
CREATE TABLE fingerprints (
    path TEXT PRIMARY KEY, digest TEXT, mtime_ns INTEGER, ctime_ns INTEGER, size INTEGER, ino INTEGER,
    dev INTEGER, mode INTEGER, hashed_at_ns INTEGER
) WITHOUT ROWID;
CREATE TABLE traces (
    task TEXT PRIMARY KEY, action_key TEXT, components TEXT, outputs TEXT, "values" TEXT, result TEXT,
    status TEXT, ignored INTEGER, extra TEXT, recorded_at REAL, run_id INTEGER, wall_ns INTEGER
);
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT);
CREATE TABLE tasks (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, recent_wall_ns TEXT, recent_cpu_ns TEXT,
    recent_rss_bytes TEXT
);
CREATE UNIQUE INDEX idx_tasks_name ON tasks (name);
CREATE TABLE texts (id INTEGER PRIMARY KEY, text TEXT NOT NULL);
CREATE UNIQUE INDEX idx_texts_text ON texts (text);
CREATE TABLE decisions (id INTEGER PRIMARY KEY, name TEXT);
CREATE TABLE runs (
    id INTEGER PRIMARY KEY, uid TEXT NOT NULL, started_at REAL NOT NULL, wall_ns INTEGER, argv TEXT,
    cwd TEXT, exit_code INTEGER, width INTEGER, parallel TEXT, machine TEXT, cores REAL, python TEXT,
    platform TEXT, buildkit TEXT, git_commit TEXT, git_dirty INTEGER, ci TEXT, lane TEXT, pid INTEGER,
    executed INTEGER, restored INTEGER, skipped INTEGER, failed INTEGER, upstream_failed INTEGER,
    ignored INTEGER, cancelled INTEGER, saved_ns INTEGER, bytes_stored INTEGER, bytes_restored INTEGER,
    skipped_ranges TEXT, extra TEXT
);
CREATE UNIQUE INDEX idx_runs_uid ON runs (uid);
CREATE TABLE executions (
    run_id INTEGER NOT NULL, task_id INTEGER NOT NULL, attempt INTEGER NOT NULL, decision INTEGER NOT NULL,
    reasons_id INTEGER, wall_ns INTEGER, started_ns INTEGER, queue_ns INTEGER, user_ns INTEGER,
    system_ns INTEGER, rss_bytes INTEGER, read_bytes INTEGER, write_bytes INTEGER, exit_code INTEGER,
    signal INTEGER, worker_id INTEGER, slot INTEGER, beside_milli INTEGER, load_milli INTEGER,
    bytes_restored INTEGER, bytes_stored INTEGER, saved_ns INTEGER, cacheable INTEGER,
    uncacheable_id INTEGER, log_path TEXT, extra TEXT, key_bits INTEGER, sla_ms INTEGER,
    PRIMARY KEY (run_id, task_id, attempt)
) WITHOUT ROWID;
CREATE INDEX idx_executions_task_id_run_id ON executions (task_id, run_id);
CREATE TABLE accepted (id INTEGER PRIMARY KEY, task TEXT, reason TEXT, at REAL, run_id INTEGER);
CREATE TABLE daily_tasks (
    day INTEGER NOT NULL, task_id INTEGER NOT NULL, machine_id INTEGER NOT NULL, executed INTEGER,
    failed INTEGER, restored INTEGER, wall_ns INTEGER, median_wall_ns INTEGER, p95_wall_ns INTEGER,
    cpu_ns INTEGER, rss_bytes INTEGER, PRIMARY KEY (day, task_id, machine_id)
) WITHOUT ROWID;
CREATE TABLE daily_runs (
    day INTEGER NOT NULL, machine_id INTEGER NOT NULL, runs INTEGER, failed_runs INTEGER, wall_ns INTEGER,
    task_ns INTEGER, executed INTEGER, restored INTEGER, skipped INTEGER, failed INTEGER, saved_ns INTEGER,
    bytes_stored INTEGER, bytes_restored INTEGER, PRIMARY KEY (day, machine_id)
) WITHOUT ROWID;
"""
