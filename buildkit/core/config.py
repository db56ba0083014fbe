"""Settings: `[tool.buildkit]` of pyproject.toml, and a task's `meta={'buildkit': {...}}`.

What belongs here: names, types and defaults of settings, and the errors for wrong ones. doit's own
settings (`[tool.doit]`, doit.cfg, DOIT_CONFIG) are read by doit.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from buildkit.core.errors import ConfigError, did_you_mean
from buildkit.core.record import Record

if TYPE_CHECKING:
    import datetime

_SIZE_UNITS = {"": 1, "b": 1, "k": 10**3, "kb": 10**3, "kib": 2**10, "m": 10**6, "mb": 10**6, "mib": 2**20,
               "g": 10**9, "gb": 10**9, "gib": 2**30, "t": 10**12, "tb": 10**12, "tib": 2**40}  # fmt: skip
DEFAULT_SLA_S = 30.0
# More is a slip. What adds it to a moment, or keeps it in a database, would fail later, amid a run.
_MOST_SECONDS = 10**9
_MOST_COUNT = 10**9
_AGE_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


class Allowance(Record):
    """An entry of `allow` in `[tool.buildkit.report]`: what may be so for a while."""

    task: str  # a shell pattern
    until: datetime.date  # the last day on which it holds
    reason: str


class ReportSettings(Record):
    """`[tool.buildkit.report]`; every field is a key of that table."""

    allow: tuple[Allowance, ...] = ()  # tasks that `doit report --fail-on` lets pass


_NOTHING_ALLOWED = ReportSettings()


class Settings(Record):
    """`[tool.buildkit]`; every field is a key of that table."""

    enabled: bool = True
    cache: bool = True  # False: nothing is stored or restored; skipping by content goes on
    cache_dir: str | None = None  # relative paths count from the project
    cache_max_size: int = 10 * 2**30  # bytes
    cache_max_age: int = 30 * 86400  # seconds since last use
    log_max_size: int = 16 * 2**20  # bytes kept of one task's output
    grace: float = 2.0  # seconds between SIGTERM and SIGKILL
    pools: Mapping[str, int] = {}  # name -> how many tasks at once
    events: str | None = None  # file that each run appends its events to
    sla: float | None = None  # seconds that each task should stay below; None: no targets
    history_max_age: int = 30 * 86400  # seconds; older runs are left in daily totals alone
    history_max_runs: int = 1000  # likewise; runs that executed nothing are counted apart
    report: ReportSettings = _NOTHING_ALLOWED


class TaskSettings(Record):
    """A task's `meta={'buildkit': {...}}`; every field is a key of that dict."""

    cache: bool = True  # False: never stored, never restored; still skipped when up to date
    cache_log: bool = True  # False: the log is neither stored nor replayed
    env: tuple[str, ...] = ()  # environment variables that the result depends on
    tools: tuple[str, ...] = ()  # programs that the result depends on, beyond those its commands name
    timeout: float | None = None  # seconds
    priority: int = 0  # higher starts first
    pool: str | None = None
    sla: float | None = None  # seconds; 0: none, even where the project has a target for all tasks


DEFAULT_TASK_SETTINGS = TaskSettings()


def task_meta(
    *,
    cache: bool = True,
    cache_log: bool = True,
    env: tuple[str, ...] | list[str] = (),
    tools: tuple[str, ...] | list[str] = (),
    timeout: float | None = None,
    priority: int = 0,
    pool: str | None = None,
    sla: float | None = None,
) -> dict[str, dict[str, object]]:
    """Return the `meta` of a doit task with buildkit's settings, typed and checked.

    `def task_x(): return {'actions': [...], 'meta': task_meta(env=['CC'], timeout=60)}`
    """
    given = {"cache": cache, "cache_log": cache_log, "env": list(env), "tools": list(tools),
             "timeout": timeout, "priority": priority, "pool": pool, "sla": sla}  # fmt: skip
    parse_task_settings({"buildkit": given}, "task_meta()")
    return {"buildkit": given}


def parse_size(value: object) -> int:
    """Return bytes for `10485760`, `"500MB"`, `"10 GiB"`; ValueError for anything else."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str):
        text = value.strip().lower().replace("_", "")
        number = text.rstrip("abcdefghijklmnopqrstuvwxyz ")
        unit = text[len(number) :].strip()
        if unit in _SIZE_UNITS and number.replace(".", "", 1).isdigit():
            return int(float(number) * _SIZE_UNITS[unit])
    raise ValueError("a size such as 500MB or 10GiB")


def parse_age_s(value: object) -> int:
    """Return seconds for `3600`, `"12h"`, `"30d"`; ValueError for anything else."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str):
        text = value.strip().lower()
        if text[-1:] in _AGE_UNITS_S and text[:-1].strip().isdigit():
            return int(text[:-1]) * _AGE_UNITS_S[text[-1]]
    raise ValueError("an age such as 12h or 30d")


def _boolean(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise ValueError("true or false")


def _text(value: object) -> str | None:
    if value is None or (isinstance(value, str) and value):
        return value
    raise ValueError("a text that is not empty")


def _names(value: object) -> tuple[str, ...]:
    if isinstance(value, (list, tuple)) and all(isinstance(name, str) and name for name in value):
        return tuple(value)
    raise ValueError("a list of names")


def _seconds(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= _MOST_SECONDS:
        return float(value)
    raise ValueError(f"a number of seconds above 0, at most {_MOST_SECONDS:,}")


def _target(value: object) -> float | None:
    return 0.0 if value == 0 and not isinstance(value, bool) else _seconds(value)


def _target_of_all(value: object) -> float | None:
    """Return seconds; `true` switches targets on without saying which."""
    if isinstance(value, bool):
        return DEFAULT_SLA_S if value else None
    return _seconds(value)


def parse_count(value: object) -> int:
    """Return a number of things; ValueError for anything else."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MOST_COUNT:
        return value
    raise ValueError(f"a whole number above 0, at most {_MOST_COUNT:,}")


def _report(value: object) -> ReportSettings:
    if not isinstance(value, Mapping) or not set(value) <= set(ReportSettings._fields):
        raise ValueError("a table with the key 'allow'")
    entries = value.get("allow", [])
    if not isinstance(entries, list):
        raise ValueError("a table whose 'allow' is a list")
    return ReportSettings(tuple(_allowance(entry) for entry in entries))


def _allowance(entry: object) -> Allowance:
    import datetime  # only where there is such an entry

    wanted = (
        'a table whose \'allow\' has entries such as {task = "build", until = "2026-12-31", reason = "…"}'
    )
    if not isinstance(entry, Mapping) or set(entry) != set(Allowance._fields):
        raise ValueError(wanted)
    task, until, reason = (entry[name] for name in Allowance._fields)
    if isinstance(until, str):
        try:
            until = datetime.date.fromisoformat(until)
        except ValueError:
            raise ValueError(f"{wanted}; '{until}' is no date") from None
    if not (
        isinstance(until, datetime.date) and isinstance(task, str) and isinstance(reason, str) and reason
    ):
        raise ValueError(wanted)
    return Allowance(task, until, reason)


def _whole(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError("a whole number")


def _pools(value: object) -> Mapping[str, int]:
    if isinstance(value, Mapping) and all(
        isinstance(limit, int) and not isinstance(limit, bool) and limit > 0 for limit in value.values()
    ):
        return dict(value)
    raise ValueError("a table of names with whole numbers above 0")


_Parser = Callable[[object], Any]
_SETTINGS: dict[str, _Parser] = {
    "enabled": _boolean,
    "cache": _boolean,
    "cache_dir": _text,
    "cache_max_size": parse_size,
    "cache_max_age": parse_age_s,
    "log_max_size": parse_size,
    "grace": _seconds,
    "pools": _pools,
    "events": _text,
    "sla": _target_of_all,
    "history_max_age": parse_age_s,
    "history_max_runs": parse_count,
    "report": _report,
}
_TASK_SETTINGS: dict[str, _Parser] = {
    "cache": _boolean,
    "cache_log": _boolean,
    "env": _names,
    "tools": _names,
    "timeout": _seconds,
    "priority": _whole,
    "pool": _text,
    "sla": _target,
}
assert set(_SETTINGS) == set(Settings._fields)  # noqa: S101 - a broken table must not start
assert set(_TASK_SETTINGS) == set(TaskSettings._fields)  # noqa: S101 - a broken table must not start


def _parse(table: Mapping[str, object], parsers: Mapping[str, _Parser], where: str) -> dict[str, Any]:
    parsed: dict[str, Any] = {}
    for key, value in table.items():
        parser = parsers.get(key)
        if parser is None:
            raise ConfigError(
                f"{where}: unknown key '{key}'.{did_you_mean(str(key), parsers)}"
                f" Known keys: {', '.join(sorted(parsers))}."
            )
        try:
            parsed[key] = parser(value)
        except ValueError as error:
            raise ConfigError(f"{where}: '{key}' must be {error}; got {value!r}.") from None
    return parsed


def parse_settings(table: object, where: str = "[tool.buildkit] in pyproject.toml") -> Settings:
    """Return the settings of a parsed `[tool.buildkit]` table; ConfigError names what is wrong."""
    if not isinstance(table, Mapping):
        raise ConfigError(f"{where}: must be a table; got {table!r}.")
    return Settings(**_parse(table, _SETTINGS, where))


def load_settings(directory: str) -> Settings:
    """Return the settings of the pyproject.toml in `directory`, or the defaults where there is none.

    Raises ConfigError where it cannot be read, or a setting is wrong.
    """
    path = os.path.join(directory, "pyproject.toml")
    try:
        with open(path, "rb") as file:
            text = file.read()
    except (FileNotFoundError, NotADirectoryError):
        return Settings()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}.") from None
    if b"buildkit" not in text:
        return Settings()  # spares the TOML parser, which costs more than the whole look
    import tomllib  # only where the file speaks of us

    try:
        document = tomllib.loads(text.decode("utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path}: is not valid TOML: {error}") from None
    tool = document.get("tool", {})
    return parse_settings(tool.get("buildkit", {}) if isinstance(tool, Mapping) else {})


def parse_task_settings(meta: Mapping[str, object] | None, where: str) -> TaskSettings:
    """Return the settings in a task's `meta`; `where` names the task and its place for the error."""
    if not meta or "buildkit" not in meta:
        return DEFAULT_TASK_SETTINGS
    table = meta["buildkit"]
    if not isinstance(table, Mapping):
        raise ConfigError(f"{where}: meta['buildkit'] must be a dict; got {table!r}.")
    return TaskSettings(**_parse(table, _TASK_SETTINGS, f"{where}: meta['buildkit']"))


def switched_off(environ: Mapping[str, str], directory: str) -> bool:
    """Return whether the user turned buildkit off: `BUILDKIT=0`, or `enabled = false` in pyproject.toml."""
    choice = environ.get("BUILDKIT", "").strip().lower()
    if choice:
        return choice in ("0", "no", "off", "false")
    return not load_settings(directory).enabled
