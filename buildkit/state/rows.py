"""Rows of the history's tables from records, and records from rows.

What belongs here: the one place that knows how an `Execution` or a run is spelt in columns. No SQL is run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from buildkit.core.execution import Cost, Execution, Reason, ReasonKind
from buildkit.state.database import storable
from buildkit.state.runs import INFO_FIELDS, SUMMARY_FIELDS, RunInfo, RunRecord, RunSummary
from buildkit.state.schema import DECISION_CODES

_encode = json.JSONEncoder(separators=(",", ":")).encode  # `json.dumps` would make one for each call
_DECISIONS = {code: decision for decision, code in DECISION_CODES.items()}
_KINDS = frozenset(kind.value for kind in ReasonKind)
_COUNTS = tuple(name for name in SUMMARY_FIELDS if name not in ("wall_ns", "exit_code"))

EXECUTION_COLUMNS = (
    "run_id", "task_id", "attempt", "decision", "reasons_id", "wall_ns", "started_ns", "queue_ns", "user_ns",
    "system_ns", "rss_bytes", "read_bytes", "write_bytes", "exit_code", "signal", "worker_id", "slot",
    "beside_milli", "load_milli", "bytes_restored", "bytes_stored", "saved_ns", "cacheable",
    "uncacheable_id", "log_path", "key_bits", "sla_ms",
)  # fmt: skip


def info_row(info: RunInfo) -> tuple[Any, ...]:
    """Return the columns `INFO_FIELDS` of a run."""
    values = [getattr(info, name) for name in INFO_FIELDS]
    values[INFO_FIELDS.index("argv")] = json.dumps(info.argv)
    return tuple(storable(value) if isinstance(value, str) else value for value in values)


def summary_row(summary: RunSummary) -> tuple[Any, ...]:
    """Return the columns `SUMMARY_FIELDS` of a run."""
    return tuple(getattr(summary, name) for name in SUMMARY_FIELDS)


def run_record(row: Mapping[str, Any]) -> RunRecord:
    """Return the run of a row of table `runs`."""
    info = {name: row[name] for name in INFO_FIELDS}
    info["argv"] = tuple(json.loads(info["argv"]))
    info["git_dirty"] = None if info["git_dirty"] is None else bool(info["git_dirty"])
    summary = None
    if row["wall_ns"] is not None:
        counts = {name: row[name] or 0 for name in _COUNTS}
        summary = RunSummary(
            wall_ns=row["wall_ns"],
            exit_code=row["exit_code"],
            skipped_tasks=row["skipped_ranges"] or "",
            critical_path=_critical_path(row["extra"]),
            **counts,
        )
    return RunRecord(row["id"], RunInfo(**info), summary)


def summary_extra(summary: RunSummary) -> str | None:
    """Return the column `extra` of a run: JSON of what has no column; None where there is nothing."""
    if not summary.critical_path:
        return None
    return storable(json.dumps({"critical_path": summary.critical_path}, separators=(",", ":")))


def _critical_path(extra: str | None) -> tuple[str, ...]:
    found = json.loads(extra) if extra else {}
    return tuple(found.get("critical_path", ()))


def reasons_text(reasons: tuple[Reason, ...]) -> str | None:
    """Return reasons as compact JSON: `[["input changed","a.py","b.py"]]`; None where there are none."""
    if not reasons:
        return None
    return _encode([[reason.kind.value, *reason.names] for reason in reasons])


def reasons_from_text(text: str | None) -> tuple[Reason, ...]:
    """Return the reasons in `reasons_text`, without those of a kind that only another release knows."""
    reasons = json.loads(text) if text else ()
    return tuple(Reason(ReasonKind(kind), tuple(names)) for kind, *names in reasons if kind in _KINDS)


def execution_row(
    run_id: int, task_id: int, reasons: str | None, execution: Execution, texts: Mapping[str, int]
) -> tuple[Any, ...]:
    """Return the columns `EXECUTION_COLUMNS`; `texts` holds the numbers of all texts that are kept once.

    What is zero and would say nothing is NULL, which takes no room.
    """
    cost = execution.cost
    return (
        run_id,
        task_id,
        execution.attempt,
        DECISION_CODES[execution.decision],
        None if reasons is None else texts[reasons],
        cost.wall_ns,
        execution.started_ns,
        execution.queue_ns,
        cost.user_ns,
        cost.system_ns,
        cost.rss_bytes,
        cost.read_bytes,
        cost.write_bytes,
        execution.exit_code,
        execution.signal,
        None if execution.worker is None else texts[execution.worker],
        execution.slot,
        _to_milli(execution.beside),
        _to_milli(execution.load),
        execution.bytes_restored or None,
        execution.bytes_stored or None,
        execution.saved_ns or None,
        int(execution.cacheable),
        None if execution.uncacheable_reason is None else texts[execution.uncacheable_reason],
        None if execution.log_path is None else storable(execution.log_path),
        None if execution.key is None else int(execution.key, 16),
        _to_milli(execution.sla_s),
    )


def execution(row: Mapping[str, Any]) -> Execution:
    """Return the execution of a row of `executions`, joined with its texts.

    Those are `task`, `reasons`, `worker`, and `why` (it is uncacheable).
    """
    return Execution(
        task=row["task"],
        decision=_DECISIONS[row["decision"]],
        reasons=reasons_from_text(row["reasons"]),
        started_ns=row["started_ns"],
        queue_ns=row["queue_ns"],
        cost=Cost(
            wall_ns=row["wall_ns"],
            user_ns=row["user_ns"],
            system_ns=row["system_ns"],
            rss_bytes=row["rss_bytes"],
            read_bytes=row["read_bytes"],
            write_bytes=row["write_bytes"],
        ),
        exit_code=row["exit_code"],
        signal=row["signal"],
        attempt=row["attempt"],
        worker=row["worker"],
        slot=row["slot"],
        beside=_from_milli(row["beside_milli"]),
        load=_from_milli(row["load_milli"]),
        bytes_restored=row["bytes_restored"] or 0,
        bytes_stored=row["bytes_stored"] or 0,
        saved_ns=row["saved_ns"] or 0,
        cacheable=bool(row["cacheable"]),
        uncacheable_reason=row["why"],
        log_path=row["log_path"],
        key=None if row["key_bits"] is None else f"{row['key_bits']:015x}",
        sla_s=_from_milli(row["sla_ms"]),
    )


def _to_milli(value: float | None) -> int | None:
    return None if value is None else round(value * 1000)


def _from_milli(value: int | None) -> float | None:
    return None if value is None else value / 1000
