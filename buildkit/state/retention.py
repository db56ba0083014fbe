"""Which runs the history keeps, and what is left of those that it lets go: totals of each day.

Runs leave from the oldest on. Days are counted in UTC from 1970-01-01. The totals of a day are made once,
when it is over, from what is still there of its runs; those that go by age do so afterwards.
"""

from __future__ import annotations

import sqlite3
import time

from buildkit.core.execution import Decision
from buildkit.state.names import Interned
from buildkit.state.schema import DECISION_CODES

DAY_S = 86400
_KEPT_DAYS = 365  # of totals
_SLACK_S = DAY_S  # a run may be kept this much longer: days then leave as a whole, and not in every run
_EXECUTED = DECISION_CODES[Decision.EXECUTED]
_FAILED = DECISION_CODES[Decision.FAILED]
_RESTORED = DECISION_CODES[Decision.RESTORED]


def retire(
    connection: sqlite3.Connection,
    texts: Interned,
    *,
    max_age_s: float,
    max_runs: int,
    at_once: int | None = None,
    now: float | None = None,
) -> int:
    """Make the totals of finished days, forget what is too old or too many; return the number of runs.

    Too many are those beyond `max_runs`, counted from the newest; runs in which nothing was executed,
    restored or failed are counted apart, so that they cannot push out the others. With `at_once`, at most so
    many runs leave that have executions, and one day is made. A clock that went back only keeps runs for
    longer. The caller has a transaction open.
    """
    now = time.time() if now is None else now
    leaving = _leaving(connection, now - max_age_s - (0 if at_once is None else _SLACK_S), max_runs)
    today = int(now // DAY_S)
    days = _unmade_days(connection, today)
    if at_once is not None:
        # Those that did nothing have no executions to remove, and may come by the thousand.
        working = [run_id for run_id, idle in leaving if not idle][:at_once]
        leaving = [(run_id, idle) for run_id, idle in leaving if idle or run_id in working]
        days = days[:1]
    for day in days:
        _make_day(connection, texts, day)
    if leaving:
        ids = [(run_id,) for run_id, _idle in leaving]
        connection.executemany("DELETE FROM executions WHERE run_id = ?", ids)
        connection.executemany("DELETE FROM runs WHERE id = ?", ids)
    for table in ("daily_tasks", "daily_runs"):
        connection.execute(f"DELETE FROM {table} WHERE day < ?", [today - _KEPT_DAYS])  # noqa: S608 constants
    return len(leaving)


def _leaving(connection: sqlite3.Connection, oldest: float, max_runs: int) -> list[tuple[int, bool]]:
    """Return which runs have to go, oldest first, and whether each did nothing. The last of all stays."""
    cutoffs = []
    for idle in (0, 1):
        row = connection.execute(
            "SELECT id FROM runs WHERE (coalesce(executed, 1) + restored + failed = 0) IS ? "
            "ORDER BY id DESC LIMIT 1 OFFSET ?",
            [idle, max_runs],
        ).fetchone()
        cutoffs.append(row[0] if row else -1)
    query = """
        SELECT id, coalesce(executed, 1) + restored + failed = 0 FROM runs
        WHERE (started_at < ? OR id <= iif(coalesce(executed, 1) + restored + failed = 0, ?, ?))
              AND id < (SELECT max(id) FROM runs)
        ORDER BY id
    """
    rows = connection.execute(query, [oldest, cutoffs[1], cutoffs[0]])
    return [(run_id, bool(idle)) for run_id, idle in rows]


def _unmade_days(connection: sqlite3.Connection, today: int) -> list[int]:
    """Return the days before `today` that have runs and no totals, in ascending order."""
    days = connection.execute(
        "SELECT DISTINCT CAST(started_at / ? AS INTEGER) FROM runs WHERE started_at < ?",
        [DAY_S, today * DAY_S],
    )
    made = {day for (day,) in connection.execute("SELECT DISTINCT day FROM daily_runs")}
    return sorted(day for (day,) in days if day not in made)


def _make_day(connection: sqlite3.Connection, texts: Interned, day: int) -> None:
    runs = connection.execute(
        "SELECT id, coalesce(machine, ''), exit_code, wall_ns, executed, restored, skipped, failed, "
        "saved_ns, bytes_stored, bytes_restored FROM runs WHERE started_at >= ? AND started_at < ?",
        [day * DAY_S, (day + 1) * DAY_S],
    ).fetchall()
    machines = texts.number({run[1] for run in runs})
    machine_of = {run[0]: machines[run[1]] for run in runs}
    totals: dict[int, list[int]] = {}
    for _id, machine, exit_code, *numbers in runs:
        total = totals.setdefault(machines[machine], [0] * 10)
        for index, number in enumerate((1, int(bool(exit_code)), *numbers)):
            total[index] += number or 0
    task_ns = _make_day_of_tasks(connection, day, machine_of)
    connection.executemany(
        "INSERT OR REPLACE INTO daily_runs (day, machine_id, task_ns, runs, failed_runs, wall_ns, executed, "
        "restored, skipped, failed, saved_ns, bytes_stored, bytes_restored) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [(day, machine, task_ns.get(machine, 0), *total) for machine, total in totals.items()],
    )


def _make_day_of_tasks(
    connection: sqlite3.Connection, day: int, machine_of: dict[int, int]
) -> dict[int, int]:
    """Make the totals of tasks, and return the time of all executions by machine."""
    walls: dict[tuple[int, int], list[int]] = {}
    others: dict[tuple[int, int], list[int]] = {}  # failed, restored, CPU time, peak memory
    for run_id, machine in machine_of.items():
        for task, decision, wall_ns, cpu_ns, rss_bytes in connection.execute(
            "SELECT task_id, decision, wall_ns, user_ns + system_ns, rss_bytes FROM executions "
            "WHERE run_id = ? AND decision IN (?, ?, ?)",
            [run_id, _EXECUTED, _FAILED, _RESTORED],
        ):
            other = others.setdefault((task, machine), [0, 0, 0, 0])
            if decision == _EXECUTED:
                walls.setdefault((task, machine), []).append(wall_ns)
                other[2] += cpu_ns or 0
                other[3] = max(other[3], rss_bytes or 0)
            else:
                other[0 if decision == _FAILED else 1] += 1
    rows = []
    task_ns: dict[int, int] = {}
    for (task, machine), (failed, restored, cpu_ns, rss_bytes) in others.items():
        times = sorted(walls.get((task, machine), ()))
        task_ns[machine] = task_ns.get(machine, 0) + sum(times)
        median = times[len(times) // 2] if times else None
        p95 = times[min(len(times) - 1, int(len(times) * 0.95))] if times else None
        rows.append((day, task, machine, len(times), failed, restored, sum(times), median, p95, cpu_ns,
                     rss_bytes))  # fmt: skip
    connection.executemany(f"INSERT OR REPLACE INTO daily_tasks VALUES ({', '.join('?' * 11)})", sorted(rows))  # noqa: S608 constants
    return task_ns
