"""The history of a project: every run, every execution, and what they foretell.

Written by the main process of a run, in batches; read by reports and by whoever must guess how long a task
will take. Only like is compared with like: predictions know successful executions alone, never restores.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from buildkit.core.errors import UsageError
from buildkit.core.execution import Decision, Execution, Reason
from buildkit.core.quantiles import whole_median
from buildkit.core.record import Record
from buildkit.state import pending, retention, rows
from buildkit.state.database import storable, transaction
from buildkit.state.names import Interned
from buildkit.state.ranges import decode_ranges, encode_ranges
from buildkit.state.runs import INFO_FIELDS, SUMMARY_FIELDS, RunInfo, RunRecord, RunSummary, run_from_line
from buildkit.state.schema import DECISION_CODES

_RECENT = 5  # the median of five predicts the next execution within 5%, the mean of all within 11%
_LAST_OF_ALL = 2**62  # no run has a higher id
_AT_ONCE = 500  # ids in one question; SQLite before 3.32 takes 999
_SCAN_FROM = 64  # tasks from which one scan is cheaper than a search for each


def _insert(table: str, columns: Sequence[str], conflict: str = "ABORT") -> str:
    marks = ", ".join("?" * len(columns))
    return f"INSERT OR {conflict} INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608 constants


# A task that was recorded twice in one run (its rows came again after an error) keeps the last word.
_INSERT_EXECUTION = _insert("executions", rows.EXECUTION_COLUMNS, "REPLACE")
_INSERT_RUN = _insert("runs", INFO_FIELDS)
_IMPORT_RUN = _insert("runs", (*INFO_FIELDS, *SUMMARY_FIELDS, "skipped_ranges"), "IGNORE")
_FINISHED = ", ".join(f"{column} = ?" for column in (*SUMMARY_FIELDS, "skipped_ranges", "extra"))
_FINISH_RUN = f"UPDATE runs SET {_FINISHED} WHERE id = ?"  # noqa: S608 constants
_UPDATE_RECENT = "UPDATE tasks SET recent_wall_ns = ?, recent_cpu_ns = ?, recent_rss_bytes = ? WHERE id = ?"
_SELECT_RUNS = f"SELECT id, skipped_ranges, extra, {', '.join(INFO_FIELDS + SUMMARY_FIELDS)} FROM runs"  # noqa: S608 constants
_SELECT_EXECUTIONS = f"""
    SELECT tasks.name AS task, reasons.text AS reasons, workers.text AS worker, uncacheable.text AS why,
           {", ".join(f"executions.{column}" for column in rows.EXECUTION_COLUMNS)}
    FROM executions JOIN tasks ON tasks.id = executions.task_id
    LEFT JOIN texts AS reasons ON reasons.id = reasons_id
    LEFT JOIN texts AS workers ON workers.id = worker_id
    LEFT JOIN texts AS uncacheable ON uncacheable.id = uncacheable_id
"""  # noqa: S608 constants


class Point(Record):
    """A successful execution, as far as trends are concerned."""

    run_id: int
    wall_ns: int
    cpu_ns: int | None
    rss_bytes: int | None
    beside: float | None  # see Execution


class Day(Record):
    """The totals of a day (UTC, counted from 1970-01-01) on one class of machine."""

    day: int
    machine: str  # "" where it is not known
    runs: int
    wall_ns: int
    task_ns: int
    executed: int
    bytes_stored: int


class Accepted(Record):
    """A person's word that the level of a task is right as it is."""

    task: str
    reason: str
    at: float  # Unix seconds
    run_id: int  # the last run before


class History:
    """The runs and executions in one open database (see `open_database`)."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._tasks = Interned(connection, "tasks", "name")
        self._texts = Interned(connection, "texts", "text")

    @property
    def connection(self) -> sqlite3.Connection:
        """The database, for those who move all of it."""
        return self._connection

    def database_uid(self) -> str:
        """Return what tells this database from one made anew: ids of tasks mean nothing in another."""
        (uid,) = self._connection.execute("SELECT value FROM meta WHERE key = 'uid'").fetchone()
        return str(uid)

    # Writing

    def begin_run(self, info: RunInfo) -> int:
        """Record that a run began, at once and durably, and return its id."""
        with self._writing():
            cursor = self._connection.execute(_INSERT_RUN, rows.info_row(info))
        if cursor.lastrowid is None:
            raise AssertionError("SQLite gave no id to a new run")
        return cursor.lastrowid

    def add_executions(self, run_id: int, executions: Iterable[Execution]) -> None:
        """Record how tasks ended in a run, in one transaction. Skipped tasks belong to `finish_run`."""
        batch = list(executions)
        with self._writing():
            tasks = self._tasks.number(execution.task for execution in batch)
            # Hundreds of tasks at once have the same reasons.
            written = {reasons: rows.reasons_text(reasons) for reasons in {one.reasons for one in batch}}
            reasons = [written[execution.reasons] for execution in batch]
            texts = self._texts.number(
                text
                for execution, reason in zip(batch, reasons, strict=True)
                for text in (reason, execution.worker, execution.uncacheable_reason)
                if text is not None
            )
            batch_rows = [
                rows.execution_row(run_id, tasks[execution.task], reason, execution, texts)
                for execution, reason in zip(batch, reasons, strict=True)
            ]
            batch_rows.sort(key=lambda row: row[:3])  # in the order of the tree, which fills its pages better
            self._connection.executemany(_INSERT_EXECUTION, batch_rows)
            self._remember_recent(tasks, batch)

    def finish_run(self, run_id: int, summary: RunSummary, *, git_dirty: bool | None = None) -> None:
        """Record how a run ended, and whether tracked files differed from the commit where that is known."""
        with self._writing():
            ranges = self.skipped_ranges(summary.skipped_tasks)
            row = (*rows.summary_row(summary), ranges, rows.summary_extra(summary), run_id)
            self._connection.execute(_FINISH_RUN, row)
            if git_dirty is not None:
                self._connection.execute("UPDATE runs SET git_dirty = ? WHERE id = ?", (git_dirty, run_id))

    def retire(self, *, max_age_s: float, max_runs: int, at_once: int | None = None) -> int:
        """Forget runs that are too old or too many, but for their days' totals; return how many it were.

        With `at_once`, at most so many, the oldest. See `state/retention.py`.
        """
        with self._writing():
            return retention.retire(
                self._connection, self._texts, max_age_s=max_age_s, max_runs=max_runs, at_once=at_once
            )

    def skipped_ranges(self, tasks: Sequence[str] | str) -> str:
        """Return the ids of `tasks` as ranges, numbering new names; a text is taken for such ranges."""
        return tasks if isinstance(tasks, str) else encode_ranges(self._tasks.number(tasks).values())

    def drain_pending(self, project: str) -> int:
        """Move the runs that had nothing to do from their file into the history; return their number."""
        return pending.drain(project, self.import_runs)

    def import_runs(self, runs: Iterable[Mapping[str, Any]]) -> None:
        """Add finished runs that were kept elsewhere; one that is known or not understood is left out."""
        uid = self.database_uid()
        with self._writing():
            for run in runs:
                try:
                    info, summary = run_from_line(run, uid)
                    row = (*rows.info_row(info), *rows.summary_row(summary), summary.skipped_tasks)
                    self._connection.execute(_IMPORT_RUN, row)
                except (KeyError, TypeError, ValueError, sqlite3.InterfaceError):
                    continue

    def _remember_recent(self, tasks: Mapping[str, int], batch: Iterable[Execution]) -> None:
        executed = [execution for execution in batch if execution.decision is Decision.EXECUTED]
        recent = self._recent({tasks[execution.task] for execution in executed})
        for execution in executed:
            cost = execution.cost
            wall, cpu, rss = recent[tasks[execution.task]]
            wall.append(cost.wall_ns)
            if cost.cpu_ns is not None:
                cpu.append(cost.cpu_ns)
            if cost.rss_bytes is not None:
                rss.append(cost.rss_bytes)
        self._connection.executemany(
            _UPDATE_RECENT,
            [
                (*(" ".join(map(str, values[-_RECENT:])) for values in lists), id_)
                for id_, lists in recent.items()
            ],
        )

    def learn_again(self) -> None:
        """Work out anew what the last executions of each task foretell: runs have come between others."""
        names = self.task_names()
        rows = []
        for id_, name in names.items():
            points = self.points(name, _LAST_OF_ALL, _RECENT)
            lists = (
                [point.wall_ns for point in points],
                [point.cpu_ns for point in points if point.cpu_ns is not None],
                [point.rss_bytes for point in points if point.rss_bytes is not None],
            )
            rows.append((*(" ".join(map(str, values)) for values in lists), id_))
        with self._writing():
            self._connection.executemany(_UPDATE_RECENT, rows)

    def _recent(self, ids: Collection[int]) -> dict[int, tuple[list[int], list[int], list[int]]]:
        # A scan of all tasks at each flush would make a run of a hundred thousand take twice as long.
        query = "SELECT id, recent_wall_ns, recent_cpu_ns, recent_rss_bytes FROM tasks WHERE id IN"
        found: dict[int, tuple[list[int], list[int], list[int]]] = {}
        wanted = sorted(ids)
        for start in range(0, len(wanted), _AT_ONCE):
            part = wanted[start : start + _AT_ONCE]
            cursor = self._connection.execute(f"{query} ({','.join('?' * len(part))})", part)
            found.update(
                (id_, (_numbers(wall), _numbers(cpu), _numbers(rss))) for id_, wall, cpu, rss in cursor
            )
        return found

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            with transaction(self._connection):
                yield
        except BaseException:
            self._tasks.forget()
            self._texts.forget()
            raise

    # Foretelling

    def expected_wall_ns(self, tasks: Collection[str]) -> dict[str, int]:
        """Return the median wall time of the last five successful executions of each of `tasks`.

        Tasks without one are left out.
        """
        return self._expected("recent_wall_ns", tasks)

    def expected_cpu_ns(self, tasks: Collection[str]) -> dict[str, int]:
        """Return, like `expected_wall_ns`, the user and system CPU time together."""
        return self._expected("recent_cpu_ns", tasks)

    def expected_rss_bytes(self, tasks: Collection[str]) -> dict[str, int]:
        """Return, like `expected_wall_ns`, the peak memory."""
        return self._expected("recent_rss_bytes", tasks)

    def _expected(self, column: str, tasks: Collection[str]) -> dict[str, int]:
        if len(tasks) < _SCAN_FROM:
            query = f"SELECT {column} FROM tasks WHERE name = ?"  # noqa: S608 from the three callers above
            found = ((task, self._connection.execute(query, [storable(task)]).fetchone()) for task in tasks)
            return {task: whole_median(_numbers(row[0])) for task, row in found if row and row[0]}
        query = f"SELECT name, {column} FROM tasks WHERE {column} <> ''"  # noqa: S608 from the three callers above
        kept = dict(self._connection.execute(query))
        expected = {}
        for task in tasks:
            numbers = kept.get(task) or kept.get(storable(task))
            if numbers:
                expected[task] = whole_median(_numbers(numbers))
        return expected

    # Reading

    def last_run(self) -> RunRecord | None:
        """Return the run that was recorded last, None where there is none."""
        return next(iter(self.runs(limit=1)), None)

    def runs(self, limit: int = 1000) -> list[RunRecord]:
        """Return the last `limit` runs, newest first."""
        cursor = self._connection.execute(f"{_SELECT_RUNS} ORDER BY id DESC LIMIT ?", [limit])
        return [rows.run_record(row) for row in _mappings(cursor)]

    def run_by_id(self, run_id: int) -> RunRecord | None:
        """Return the run with that id, None where there is none."""
        cursor = self._connection.execute(f"{_SELECT_RUNS} WHERE id = ?", [run_id])
        return next((rows.run_record(row) for row in _mappings(cursor)), None)

    def find_run(self, reference: str) -> RunRecord:
        """Return the run that a user means: `last`, its id, or the first digits of its uid (four or more).

        Raises UsageError where no run or more than one is meant.
        """
        if reference == "last":
            found = self.runs(limit=1)
        else:
            by_id = self.run_by_id(int(reference)) if _is_id(reference) else None
            found = [by_id] if by_id else self._runs_by_uid(reference)
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(f"'{reference}' is the beginning of more than one run; give more of its digits.")
        (first, last) = self._connection.execute("SELECT min(id), max(id) FROM runs").fetchone()
        known = f"The history holds runs {first} to {last}." if last else "The history is empty."
        raise UsageError(f"there is no run '{reference}'. {known}")

    def executions_of(self, run_id: int) -> list[Execution]:
        """Return what the run recorded of its tasks, skipped ones excepted, in the order they started."""
        query = f"{_SELECT_EXECUTIONS} WHERE executions.run_id = ? ORDER BY started_ns, task_id"
        return [rows.execution(row) for row in _mappings(self._connection.execute(query, [run_id]))]

    def task_ids(self, names: Sequence[str]) -> list[int]:
        """Return the numbers of tasks, giving one to new names."""
        numbers = self._tasks.number(names)
        return [numbers[name] for name in names]

    def text_ids(self, texts: Sequence[str]) -> list[int]:
        """Return the numbers of texts, giving one to new ones."""
        numbers = self._texts.number(texts)
        return [numbers[text] for text in texts]

    def samples(self, first: int, last: int) -> Iterator[tuple[Any, ...]]:
        """Yield what was executed, restored or failed in the runs from `first` to `last`, by run.

        A row is (task id, run id, decision code, wall_ns, rss_bytes, key bits, target in ms, id of the
        reasons' text, exit code, signal, cacheable): a report reads tens of thousands, and records would
        take longer than all the rest of it.
        """
        return self._connection.execute(
            "SELECT task_id, run_id, decision, wall_ns, rss_bytes, key_bits, sla_ms, reasons_id, exit_code, "
            "signal, cacheable FROM executions WHERE run_id BETWEEN ? AND ?",
            [first, last],
        )

    def days(self) -> list[Day]:
        """Return the totals of the days that are over, oldest first; one for each class of machine."""
        return [
            Day._make(row)
            for row in self._connection.execute(
                "SELECT day, text, runs, wall_ns, task_ns, executed, bytes_stored FROM daily_runs "
                "JOIN texts ON texts.id = machine_id ORDER BY day, text"
            )
        ]

    def task_days(self, first: int, last: int, machine: str | None) -> list[tuple[int, str, int]]:
        """Return (day, task, median wall_ns) of what was executed from day `first` to `last`, by day."""
        cursor = self._connection.execute(
            "SELECT day, name, median_wall_ns FROM daily_tasks JOIN tasks ON tasks.id = task_id "
            "WHERE day BETWEEN ? AND ? AND executed > 0 "
            "AND machine_id = (SELECT id FROM texts WHERE text = ?) ORDER BY day",
            [first, last, machine or ""],
        )
        return list(cursor)

    def points(self, task: str, last: int, limit: int) -> list[Point]:
        """Return the last `limit` successful executions of a task up to run `last`, oldest first."""
        number = self._tasks.find([task]).get(task)
        cursor = self._connection.execute(
            "SELECT run_id, wall_ns, user_ns + system_ns, rss_bytes, beside_milli / 1000.0 FROM executions "
            "WHERE task_id = ? AND run_id <= ? AND decision = ? ORDER BY run_id DESC LIMIT ?",
            [number, last, DECISION_CODES[Decision.EXECUTED], limit],
        )
        return [Point._make(row) for row in cursor][::-1]

    def accept(self, accepted: Accepted) -> None:
        """Record that a person takes the present level of a task for the right one."""
        with self._writing():
            self._connection.execute(
                "INSERT INTO accepted (task, reason, at, run_id) VALUES (?, ?, ?, ?)",
                (storable(accepted.task), storable(accepted.reason), accepted.at, accepted.run_id),
            )

    def accepted(self) -> list[Accepted]:
        """Return what was accepted, oldest first."""
        rows_of_table = self._connection.execute("SELECT task, reason, at, run_id FROM accepted ORDER BY id")
        return [Accepted(*row) for row in rows_of_table]

    def task_names(self) -> dict[int, str]:
        """Return the names of all tasks by id."""
        return dict(self._connection.execute("SELECT id, name FROM tasks"))

    def reasons_texts(self, ids: Collection[int]) -> dict[int, tuple[Reason, ...]]:
        """Return the reasons that are kept under these ids of texts."""
        found = {}
        for id_ in ids:
            row = self._connection.execute("SELECT text FROM texts WHERE id = ?", [id_]).fetchone()
            if row is not None:
                found[id_] = rows.reasons_from_text(row[0])
        return found

    def skipped_tasks_of(self, run_id: int) -> list[str]:
        """Return the names of the tasks that the run skipped, in the order of their ids."""
        row = self._connection.execute("SELECT skipped_ranges FROM runs WHERE id = ?", [run_id]).fetchone()
        ids = set(decode_ranges(row[0])) if row and row[0] else set()
        if not ids:
            return []
        return [name for id_, name in self._connection.execute("SELECT id, name FROM tasks") if id_ in ids]

    def task_history(self, task: str, limit: int = 100) -> list[tuple[int, Execution]]:
        """Return the last `limit` recorded executions of a task with the ids of their runs, newest first."""
        number = self._tasks.find([task]).get(task)
        query = (
            f"{_SELECT_EXECUTIONS} WHERE task_id = ? ORDER BY executions.run_id DESC, attempt DESC LIMIT ?"
        )
        cursor = self._connection.execute(query, [number, limit])
        return [(row["run_id"], rows.execution(row)) for row in _mappings(cursor)]

    def earlier_wall_ns(
        self, run: RunRecord, tasks: Collection[str], limit: int = 20
    ) -> dict[str, list[int]]:
        """Return wall times of up to `limit` successful executions of each task before `run`, newest first.

        Only runs on the same class of machine count.
        """
        query = """
            SELECT executions.wall_ns FROM executions JOIN runs ON runs.id = run_id
            WHERE task_id = ? AND run_id < ? AND decision = ? AND machine IS ?
            ORDER BY run_id DESC LIMIT ?
        """
        rest = (run.id, DECISION_CODES[Decision.EXECUTED], run.info.machine, limit)
        return {
            task: [wall_ns for (wall_ns,) in self._connection.execute(query, (number, *rest))]
            for task, number in self._tasks.find(tasks).items()
        }

    def _runs_by_uid(self, beginning: str) -> list[RunRecord]:
        if len(beginning) < 4:
            return []
        query = f"{_SELECT_RUNS} WHERE substr(uid, 1, ?) = ? LIMIT 2"
        cursor = self._connection.execute(query, [len(beginning), storable(beginning)])
        return [rows.run_record(row) for row in _mappings(cursor)]


def _mappings(cursor: sqlite3.Cursor) -> Iterator[dict[str, Any]]:
    names = [column[0] for column in cursor.description]
    return (dict(zip(names, row, strict=True)) for row in cursor)


def _numbers(text: str | None) -> list[int]:
    return [int(number) for number in text.split()] if text else []


def _is_id(reference: str) -> bool:
    return reference.isascii() and reference.isdigit() and len(reference) < 16
