"""Texts that use no more of the shell's syntax than quotes: their words.

What belongs here: what can be said without reading the language of the shell. All else is `shellwords`'.
"""

from __future__ import annotations

import re

# Inside quotes any ASCII character but NUL stands for itself; in double quotes not $, ` and backslash.
_QUOTED_WORD = re.compile(
    r"""(?:[A-Za-z0-9_./,:@+\-=%^!]|'[\x01-\x26\x28-\x7e]*'|"[^"$`\\\x00\x7f-\U0010ffff]*")++"""
)
_BLANKS = re.compile(r"[ \t]*")
_QUOTES = re.compile(r"""'([^']*)'|"([^"]*)\"""")


def quoted_words(text: str) -> tuple[str, ...] | None:
    """Split words as a shell does where quotes are all the syntax that they use; else None."""
    words: list[str] = []
    position = _end_of_blanks(text, 0)
    while position < len(text):
        match = _QUOTED_WORD.match(text, position)
        if match is None:
            return None
        words.append(_QUOTES.sub(lambda quoted: quoted[1] or quoted[2] or "", match[0]))
        position = _end_of_blanks(text, match.end())
        if position == match.end() and position < len(text):
            return None  # a character that the shell might treat as syntax
    return tuple(words)


def _end_of_blanks(text: str, position: int) -> int:
    match = _BLANKS.match(text, position)
    return match.end() if match is not None else position
