"""The history as lines of JSON: to keep it elsewhere, to look at it with other tools, and to bring it back.

Each line is an object with a `kind`. `header` comes first and says which schema the lines are in. `run` and
`execution` carry the fields of `RunInfo`, `RunSummary` and `Execution` as they are named there; an execution
names its run by uid and follows it. `accepted`, `day` and `task_day` are what is left. What is null is left
out.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from buildkit.core.execution import Cost, Decision, Execution, Reason, ReasonKind
from buildkit.state.database import transaction
from buildkit.state.history import Accepted, History
from buildkit.state.runs import INFO_FIELDS, SUMMARY_FIELDS, RunInfo, RunRecord, RunSummary

SCHEMA = 1
_BATCH = 5000  # executions that are written at once


def _fields(shape: type) -> dict[str, str]:
    """Return the names and annotations of what makes such a record, in their order."""
    kinds: dict[str, str] = (shape if issubclass(shape, tuple) else shape.__init__).__annotations__
    return {name: kind for name, kind in kinds.items() if name != "return"}


_COST_FIELDS = tuple(_fields(Cost))
_PLAIN_FIELDS = tuple(name for name in _fields(Execution) if name not in ("decision", "reasons", "cost"))
_DAY_COLUMNS = ("day", "runs", "failed_runs", "wall_ns", "task_ns", "executed", "restored", "skipped",
                "failed", "saved_ns", "bytes_stored", "bytes_restored")  # fmt: skip
_TASK_DAY_COLUMNS = ("day", "executed", "failed", "restored", "wall_ns", "median_wall_ns", "p95_wall_ns",
                     "cpu_ns", "rss_bytes")  # fmt: skip


class OtherSchemaError(ValueError):
    """The lines were written by a release that spells them differently."""


# What SQLite can keep, and what dates and durations can be.
_CHECKS: dict[str, Callable[[Any], bool]] = {
    "int": lambda value: type(value) is int and -(2**31) < value < 2**62,
    "float": lambda value: type(value) in (int, float) and 0 <= value < 4e10,
    "str": lambda value: type(value) is str,
    "bool": lambda value: type(value) is bool,
}


@dataclass(slots=True)
class Imported:
    """What an import came to."""

    runs: int = 0
    executions: int = 0
    known: int = 0  # runs that were there already
    unread: int = 0  # lines that are no part of a history


def export_lines(connection: sqlite3.Connection) -> Iterator[str]:
    """Yield the whole history, oldest run first."""
    history = History(connection)
    yield _line("header", {"schema": SCHEMA})
    for run in reversed(history.runs(limit=-1)):
        yield _line("run", _run_fields(run, history))
        for execution in history.executions_of(run.id):
            yield _line("execution", {"run": run.info.uid, **_execution_fields(execution)})
    uids = {run.id: run.info.uid for run in history.runs(limit=-1)}
    for accepted in history.accepted():
        yield _line("accepted", {**accepted._asdict(), "run": uids.get(accepted.run_id), "run_id": None})
    for kind, table, columns, task in (
        ("day", "daily_runs", _DAY_COLUMNS, "NULL"),
        ("task_day", "daily_tasks", _TASK_DAY_COLUMNS, "(SELECT name FROM tasks WHERE id = task_id)"),
    ):
        names = (*columns, "(SELECT text FROM texts WHERE id = machine_id)", task)
        for row in connection.execute(f"SELECT {', '.join(names)} FROM {table}"):  # noqa: S608 constants
            yield _line(kind, dict(zip((*columns, "machine", "task"), row, strict=True)))


def _line(kind: str, values: Mapping[str, Any]) -> str:
    filled = {name: value for name, value in values.items() if value is not None}
    return json.dumps({"kind": kind, **filled}, separators=(",", ":"))


def _run_fields(run: RunRecord, history: History) -> dict[str, Any]:
    values = {name: getattr(run.info, name) for name in INFO_FIELDS}
    if run.summary is not None:
        values.update({name: getattr(run.summary, name) for name in SUMMARY_FIELDS})
        values["critical_path"] = list(run.summary.critical_path) or None
        values["skipped_tasks"] = history.skipped_tasks_of(run.id) or None
    return values


def _execution_fields(execution: Execution) -> dict[str, Any]:
    values = {name: getattr(execution, name) for name in _PLAIN_FIELDS}
    values.update({name: getattr(execution.cost, name) for name in _COST_FIELDS})
    values["decision"] = execution.decision.value
    values["reasons"] = [[reason.kind.value, *reason.names] for reason in execution.reasons]
    return values


def import_lines(connection: sqlite3.Connection, lines: Iterable[str]) -> Imported:
    """Add what `export_lines` gave, all of it or nothing; runs that are known by their uid are left alone.

    Afterwards runs are in the order in which they began, whichever history they come from.
    """
    importer = _Importer(connection)
    with transaction(connection):
        for line in lines:
            importer.take(line)
        importer.finish()
    return importer.imported


def _kinds(*shapes: type) -> dict[str, str]:
    """Return the kind of each field that has a simple one: the first word of its annotation."""
    found = {name: kind.split(" ", 1)[0] for shape in shapes for name, kind in _fields(shape).items()}
    return {name: kind for name, kind in found.items() if kind in _CHECKS}


_EXECUTION_KINDS = _kinds(Execution, Cost)
_RUN_KINDS = _kinds(RunInfo, RunSummary)
_ACCEPTED_KINDS = {"task": "str", "reason": "str", "at": "float", "run": "str"}


def _checked(values: Mapping[str, Any], kinds: Mapping[str, str]) -> dict[str, Any]:
    """Return those of `values` that `kinds` names; ValueError for one that could not have been exported."""
    found = {}
    for name, kind in kinds.items():
        value = values.get(name)
        if value is None:
            continue
        if not _CHECKS[kind](value):
            raise ValueError(f"{name} is no {kind}")
        found[name] = value
    return found


class _Importer:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._history = History(connection)
        self._known = dict(connection.execute("SELECT uid, id FROM runs"))
        self._new: dict[str, int] = {}
        self._batch: list[Execution] = []
        self._batch_run = 0
        self._takers = {
            "header": self._header,
            "run": self._run,
            "execution": self._execution,
            "accepted": self._accepted,
            "day": self._day,
            "task_day": self._task_day,
        }
        self.imported = Imported()

    def take(self, line: str) -> None:
        if not line.strip():
            return
        try:
            values = json.loads(line)
            kind = values.pop("kind")
            self._takers[kind](values)
        except OtherSchemaError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError):
            self.imported.unread += 1

    def _header(self, values: dict[str, Any]) -> None:
        if values["schema"] != SCHEMA:
            raise OtherSchemaError(
                f"these lines are of schema {values['schema']}; this release reads {SCHEMA}"
            )

    def _run(self, values: dict[str, Any]) -> None:
        self._flush()
        checked = _checked(values, _RUN_KINDS)
        uid = checked["uid"]
        if uid in self._known or uid in self._new:
            self.imported.known += 1
            return
        info = {name: checked[name] for name in INFO_FIELDS if name in checked}
        info["argv"] = tuple(map(str, values["argv"]))
        summary = None
        if "wall_ns" in checked:
            summary = RunSummary(
                **{name: checked.get(name, 0) for name in SUMMARY_FIELDS},
                skipped_tasks=tuple(map(str, values.get("skipped_tasks", ()))),
                critical_path=tuple(map(str, values.get("critical_path", ()))),
            )
        run_id = self._history.begin_run(RunInfo(**info))
        if summary is not None:
            self._history.finish_run(run_id, summary)
        self._new[uid] = run_id
        self.imported.runs += 1

    def _execution(self, values: dict[str, Any]) -> None:
        uid = str(values.pop("run"))
        if uid in self._known:
            return
        run_id = self._new[uid]
        if run_id != self._batch_run or len(self._batch) >= _BATCH:
            self._flush()
            self._batch_run = run_id
        checked = _checked(values, _EXECUTION_KINDS)
        if not 0 <= int(checked.get("key", "0"), 16) < 2**60:
            raise ValueError("key is no beginning of an action key")
        execution = Execution(
            decision=Decision(values["decision"]),
            reasons=tuple(
                Reason(ReasonKind(kind), tuple(map(str, names))) for kind, *names in values["reasons"]
            ),
            cost=Cost(**{name: checked[name] for name in _COST_FIELDS if name in checked}),
            **{name: checked[name] for name in _PLAIN_FIELDS if name in checked},
        )
        self._batch.append(execution)
        self.imported.executions += 1

    def _flush(self) -> None:
        if self._batch:
            self._history.add_executions(self._batch_run, self._batch)
            self._batch = []

    def _accepted(self, values: dict[str, Any]) -> None:
        checked = _checked(values, _ACCEPTED_KINDS)
        run_id = self._new[checked["run"]]
        self._history.accept(Accepted(checked["task"], checked["reason"], checked["at"], run_id))

    def _day(self, values: dict[str, Any]) -> None:
        (machine,) = self._history.text_ids([str(values["machine"])])
        self._insert("daily_runs", {"machine_id": machine}, _DAY_COLUMNS, values)

    def _task_day(self, values: dict[str, Any]) -> None:
        (machine,) = self._history.text_ids([str(values["machine"])])
        (task,) = self._history.task_ids([str(values["task"])])
        self._insert("daily_tasks", {"machine_id": machine, "task_id": task}, _TASK_DAY_COLUMNS, values)

    def _insert(
        self, table: str, key: dict[str, int], columns: Iterable[str], values: dict[str, Any]
    ) -> None:
        row = {**key, **_checked(values, dict.fromkeys(columns, "int"))}
        if "day" not in row:
            raise ValueError("a day without a date")
        marks = ", ".join("?" * len(row))
        query = f"INSERT OR IGNORE INTO {table} ({', '.join(row)}) VALUES ({marks})"  # noqa: S608 constants
        self._connection.execute(query, tuple(row.values()))

    def finish(self) -> None:
        """Write what waits, and put all runs in the order in which they began."""
        self._flush()
        if self._known and self._new:
            _put_in_order(self._connection)
            self._history.learn_again()


def _put_in_order(connection: sqlite3.Connection) -> None:
    """Give the runs new numbers, by when they began, and those numbers to all that names a run."""
    ids = [id_ for (id_,) in connection.execute("SELECT id FROM runs ORDER BY id")]
    ordered = [id_ for (id_,) in connection.execute("SELECT id FROM runs ORDER BY started_at, id")]
    moved = [(new, old) for new, old in zip(ids, ordered, strict=True) if new != old]
    tables = (("runs", "id"), ("executions", "run_id"), ("accepted", "run_id"), ("traces", "run_id"))
    # Out of the way first, and then to their places: two runs must never have one number in between.
    for table, column in tables:
        connection.executemany(
            f"UPDATE {table} SET {column} = ? WHERE {column} = ?",  # noqa: S608 constants
            [(-new, old) for new, old in moved],
        )
        connection.execute(f"UPDATE {table} SET {column} = -{column} WHERE {column} < 0")  # noqa: S608 constants
