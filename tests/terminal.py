"""A terminal on paper: enough of one to see what a person would see. Unknown sequences are an error."""

from __future__ import annotations

import re

_SEQUENCE = re.compile(r"\x1b\[(\??)([0-9;]*)([A-Za-z])")


class Terminal:
    """Rows that scroll away are kept in `history`. With `reflow`, a narrower window wraps long rows."""

    def __init__(self, columns: int = 80, rows: int = 24, *, reflow: bool = False) -> None:
        self.columns, self.rows, self.reflow = columns, rows, reflow
        self.history: list[str] = []
        self.lines = [""]
        self.row = self.column = 0
        self.synchronized = False
        self.frames: list[list[str]] = []  # what could be seen between two updates
        self._rest = ""

    def feed(self, data: bytes) -> None:
        text = self._rest + data.decode()
        # A sequence may come in two pieces.
        cut = text.rfind("\x1b")
        if cut >= 0 and not _SEQUENCE.match(text, cut):
            text, self._rest = text[:cut], text[cut:]
        else:
            self._rest = ""
        at = 0
        while at < len(text):
            match = _SEQUENCE.match(text, at)
            if match:
                self._obey(*match.groups())
                at = match.end()
            else:
                self._put(text[at])
                at += 1
        if not self.synchronized:
            self.frames.append(self.seen())

    def _obey(self, private: str, number: str, letter: str) -> None:
        if private:
            assert number == "2026", "the cursor must not be hidden, nor anything else be switched"
            self.synchronized = letter == "h"
        elif letter == "A":
            self.row = max(0, self.row - int(number or 1))
        elif letter == "J":
            del self.lines[self.row + 1 :]
            self.lines[self.row] = self.lines[self.row][: self.column]
        elif letter == "K":
            self.lines[self.row] = self.lines[self.row][: self.column]
        else:
            assert letter == "m", f"unknown sequence: {letter}"

    def _put(self, character: str) -> None:
        if character == "\r":
            self.column = 0
        elif character == "\n":
            self._down()
        else:
            if self.column >= self.columns:
                self.column = 0
                self._down()
            line = self.lines[self.row].ljust(self.column)
            self.lines[self.row] = line[: self.column] + character + line[self.column + 1 :]
            self.column += 1

    def _down(self) -> None:
        self.row += 1
        if self.row == len(self.lines):
            self.lines.append("")
        if len(self.lines) > self.rows:
            self.history.append(self.lines.pop(0))
            self.row -= 1

    def resize(self, columns: int, rows: int) -> None:
        self.columns, self.rows = columns, rows
        if self.reflow:
            wrapped: list[str] = []
            row = 0
            for number, line in enumerate(self.lines):
                if number == self.row:
                    row = len(wrapped)
                wrapped += [line[i : i + columns] for i in range(0, max(len(line), 1), columns)]
            self.lines, self.row = wrapped, row
        while len(self.lines) > self.rows and self.row:
            self.history.append(self.lines.pop(0))
            self.row -= 1

    def seen(self) -> list[str]:
        """Return all lines, those that have scrolled away too, without empty ones at the end."""
        lines = [line.rstrip() for line in (*self.history, *self.lines)]
        while lines and not lines[-1]:
            lines.pop()
        return lines
