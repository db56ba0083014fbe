"""Texts that the history keeps once and refers to by number: names of tasks, reasons, workers.

What belongs here: the two interned tables and their caches in memory. A number that was committed never
changes and is never used again, so what is cached stays true; for a transaction that is undone, see `forget`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Literal

from buildkit.state.database import storable, transaction

_SCAN_FROM = 64  # unknown names from which one scan of the table is cheaper than a search for each
_AT_ONCE = 500  # names in one search; SQLite before 3.32 takes 999


class Interned:
    """The numbers of the texts in one column of `table`, which grows by what is asked for."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        table: Literal["tasks", "texts"],
        column: Literal["name", "text"],
    ) -> None:
        self._connection = connection
        self._table = table
        self._column = column
        self._ids: dict[str, int] = {}
        self._scanned = False

    def find(self, texts: Iterable[str]) -> dict[str, int]:
        """Return the numbers of those of `texts` that have one."""
        wanted = set(texts)
        unknown = wanted.difference(self._ids)
        if len(unknown) >= _SCAN_FROM and not self._scanned:
            # Once: what is unknown after that is new, or was added by a run inside this one.
            self._scanned = True
            query = f"SELECT {self._column}, id FROM {self._table}"  # noqa: S608 two constants
            self._ids.update(self._connection.execute(query))
        else:
            self._search(unknown)
        for text in unknown.difference(self._ids):
            id_ = self._ids.get(storable(text))
            if id_ is not None:
                self._ids[text] = id_
        return {text: self._ids[text] for text in wanted if text in self._ids}

    def _search(self, unknown: Iterable[str]) -> None:
        stored = [storable(text) for text in unknown]
        for start in range(0, len(stored), _AT_ONCE):
            part = stored[start : start + _AT_ONCE]
            marks = ",".join("?" * len(part))
            query = f"SELECT {self._column}, id FROM {self._table} WHERE {self._column} IN ({marks})"  # noqa: S608
            self._ids.update(self._connection.execute(query, part))

    def number(self, texts: Iterable[str]) -> dict[str, int]:
        """Return the number of each of `texts`, giving one to those that have none."""
        wanted = set(texts)
        found = self.find(wanted)
        missing = wanted.difference(found)
        if missing:
            with transaction(self._connection):
                # OR IGNORE: a run inside this one may have added it meanwhile.
                self._connection.executemany(
                    f"INSERT OR IGNORE INTO {self._table} ({self._column}) VALUES (?)",  # noqa: S608 two constants
                    [(storable(text),) for text in sorted(missing)],
                )
                found.update(self.find(missing))
        return found

    def forget(self) -> None:
        """Empty the cache after a transaction was undone, whose numbers may be given again."""
        self._ids.clear()
        self._scanned = False
