"""Tokens of a POSIX shell text: words with what is expanded in them, operators, here-documents.

Knows quoting and expansion (POSIX.1-2017, Shell Command Language, 2.2, 2.3 and 2.6); grammar is in
`shellparse`. Only what every POSIX shell reads alike is accepted; anything else raises UnclearError.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum, auto

from buildkit.core.record import Record

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)\+?=")
_OPERATOR = re.compile(r"&&|\|\||;;&|;;|;&|\|&|&>>|&>|<<<|<<-|<<|<&|<>|>>|>&|>\||[;&|()<>\n]")
_REDIRECTIONS = frozenset({"&>>", "&>", "<<<", "<<-", "<<", "<&", "<>", ">>", ">&", ">|", "<", ">"})
_WORD_END = frozenset(" \t\n;&|()<>")
_PATTERN = frozenset("*?[")
_BRACES = re.compile(r"\{.*(?:,|\.\.).*\}", re.DOTALL)


class UnclearError(Exception):
    """The text is not certain to mean the same to every shell, or it is not shell."""


class Expansion(Enum):
    """What keeps a word from being known as text, worst last."""

    NONE = auto()  # its text is what the program gets
    VARIABLE = auto()  # it depends on a variable
    HOME = auto()  # it starts with ~
    PATTERN = auto()  # it matches file names
    SUBSTITUTION = auto()  # it depends on what another command prints


class Word(Record):
    """A word, without its quotes; expansions stand in `text` as they are written."""

    text: str
    quoted: bool
    expansion: Expansion
    assigns: str | None  # the variable, where the word has the form of an assignment

    @property
    def plain(self) -> bool:
        """Whether a shell may read the word as a reserved word or as the name of a function."""
        return not self.quoted and self.expansion is Expansion.NONE


class Operator(Record):
    """A control operator, a newline, or a redirection."""

    text: str

    @property
    def redirects(self) -> bool:
        """Whether a file name or a file descriptor follows."""
        return self.text in _REDIRECTIONS


class Lexer:
    """Reads tokens from `position` on.

    `reads` is told of each variable that is expanded; `nested` is given the text of a backquoted
    command; `substitution` parses a `$(` command from a position and returns where it ends.
    """

    def __init__(
        self,
        text: str,
        *,
        reads: Callable[[str], None],
        nested: Callable[[str], None],
        substitution: Callable[[int], int],
        position: int = 0,
    ) -> None:
        self.text = text
        self.position = position
        self._reads = reads
        self._nested = nested
        self._substitution = substitution
        self._documents: list[tuple[str, bool, bool]] = []  # delimiter, quoted, tabs are stripped

    def next(self) -> Word | Operator | None:
        """Return the next token; None at the end of the text."""
        self._skip_blanks()
        if self.position >= len(self.text):
            return None
        match = _OPERATOR.match(self.text, self.position)
        if match is None:
            return self._word()
        self.position = match.end()
        if match[0] in "<>" and self._peek() == "(":
            raise UnclearError("a process substitution")
        if match[0] == "\n":
            self._read_documents()
        return Operator(match[0])

    def at_parenthesis(self) -> bool:
        """Return whether `(` comes next, as after the name of a function that is defined."""
        self._skip_blanks()
        return self._peek() == "("

    def expect_document(self, delimiter: Word, strip_tabs: bool) -> None:
        """Note a here-document, whose body starts after the next newline."""
        if delimiter.expansion is Expansion.SUBSTITUTION or delimiter.expansion is Expansion.VARIABLE:
            raise UnclearError("a here-document with a computed end")
        self._documents.append((delimiter.text, delimiter.quoted, strip_tabs))

    def _peek(self, offset: int = 0) -> str:
        index = self.position + offset
        return self.text[index] if index < len(self.text) else ""

    def _skip_blanks(self) -> None:
        text = self.text
        while self.position < len(text):
            char = text[self.position]
            if char in " \t":
                self.position += 1
            elif text.startswith("\\\n", self.position):
                self.position += 2
            elif char == "#":
                end = text.find("\n", self.position)
                self.position = len(text) if end < 0 else end
            else:
                return

    def _word(self) -> Word | Operator | None:
        start = self.position
        parts: list[str] = []
        quoted = False
        found = {Expansion.NONE}
        while (char := self._peek()) and char not in _WORD_END:
            if char in "'\"\\":
                quoted = self._quote(char, parts, found) or quoted
            elif char in "$`":
                self._expand(parts, found)
            else:
                if char in _PATTERN:
                    found.add(Expansion.PATTERN)
                elif char == "~" and self.position == start:
                    found.add(Expansion.HOME)
                elif char == "\0" or (char.isspace() and char not in " \t\n"):
                    raise UnclearError("an unusual blank character")
                parts.append(char)
                self.position += 1
        text = "".join(parts)
        if char and char in "<>" and text.isdigit() and not quoted and found == {Expansion.NONE}:
            return self.next()  # the number of a file descriptor belongs to its redirection
        if self.text[start : self.position] == "[":
            found.discard(Expansion.PATTERN)  # the command of that name
        elif _BRACES.search(self.text, start, self.position):
            found.add(Expansion.PATTERN)  # for the shells that expand braces
        assignment = _ASSIGNMENT.match(self.text, start)
        worst = max(found, key=lambda item: item.value)
        return Word(text, quoted, worst, assignment[1] if assignment else None)

    def _quote(self, char: str, parts: list[str], found: set[Expansion]) -> bool:
        """Read one quotation; return whether it quotes anything (a continued line does not)."""
        if char == "\\":
            following = self._peek(1)
            self.position += 2
            if not following:
                raise UnclearError("a backslash at the end")
            if following == "\n":
                return False
            parts.append(following)
        elif char == "'":
            end = self.text.find("'", self.position + 1)
            if end < 0:
                raise UnclearError("a quotation without an end")
            parts.append(self.text[self.position + 1 : end])
            self.position = end + 1
        else:
            self.position += 1
            self._double_quoted(parts, found, '"')
        return True

    def _double_quoted(self, parts: list[str], found: set[Expansion], end: str) -> None:
        """Read to the closing quote; with `end` empty, to the end of a here-document's body."""
        while True:
            char = self._peek()
            if not char:
                if not end:
                    return
                raise UnclearError("a quotation without an end")
            if char == end:
                self.position += 1
                return
            if char == "\\":
                following = self._peek(1)
                parts.append(
                    "" if following == "\n" else following if following in '$`"\\' else char + following
                )
                self.position += 2
            elif char in "$`":
                self._expand(parts, found)
            else:
                parts.append(char)
                self.position += 1

    def _expand(self, parts: list[str], found: set[Expansion]) -> None:
        """Read what `$` or a backquote starts; its text goes into the word as written."""
        start = self.position
        text = self.text
        following = self._peek(1)
        kind = Expansion.VARIABLE
        if text[start] == "`":
            self._backquoted()
            kind = Expansion.SUBSTITUTION
        elif text.startswith("$((", start):
            self._arithmetic()
        elif following == "(":
            self.position = self._substitution(start + 2)
            kind = Expansion.SUBSTITUTION
        elif following == "{":
            kind = self._braced(found)
        elif (name := _NAME.match(text, start + 1)) is not None:
            self._reads(name[0])
            self.position = name.end()
        elif following and following in "@*#?-$!0123456789":
            self.position += 2
        elif following and following in "'\"[":
            raise UnclearError(f"'${following}', which shells read differently")
        else:
            self.position += 1
            kind = Expansion.NONE
        found.add(kind)
        parts.append(text[start : self.position])

    def _backquoted(self) -> None:
        position = self.position + 1
        inner: list[str] = []
        while position < len(self.text) and self.text[position] != "`":
            if self.text[position] == "\\" and self.text[position + 1 : position + 2] in ("`", "$", "\\"):
                position += 1
            inner.append(self.text[position : position + 1])
            position += 1
        if position >= len(self.text):
            raise UnclearError("a backquote without an end")
        self.position = position + 1
        self._nested("".join(inner))

    def _arithmetic(self) -> None:
        end = self.text.find("))", self.position)
        inner = self.text[self.position + 3 : end]
        if end < 0 or "(" in inner or ")" in inner or "$" in inner or "`" in inner:
            raise UnclearError("an arithmetic expansion that is not simple")
        for name in _NAME.findall(inner):
            self._reads(name)
        self.position = end + 2

    def _braced(self, found: set[Expansion]) -> Expansion:
        """Read `${name…}`; what follows the name is read like a word."""
        self.position += 2
        if self._peek() == "!":
            raise UnclearError("an indirect expansion")
        if self._peek() == "#" and self._peek(1) != "}":
            self.position += 1
        name = _NAME.match(self.text, self.position)
        if name is not None:
            self._reads(name[0])
            self.position = name.end()
        elif self._peek() and self._peek() in "@*#?-$!0123456789":
            self.position += 1
        else:
            raise UnclearError("an expansion that is not one of a variable")
        ignored: list[str] = []
        while (char := self._peek()) != "}":
            if not char:
                raise UnclearError("an expansion without an end")
            if char in "'\"\\":
                if char == "'":
                    raise UnclearError("a single quote inside an expansion, which shells read differently")
                self._quote(char, ignored, found)
            elif char in "$`":
                self._expand(ignored, found)
            else:
                self.position += 1
        self.position += 1
        return Expansion.VARIABLE

    def _read_documents(self) -> None:
        documents, self._documents = self._documents, []
        for delimiter, quoted, strip_tabs in documents:
            body: list[str] = []
            while self.position < len(self.text):
                line, newline, _ = self.text[self.position :].partition("\n")
                self.position += len(line) + len(newline)
                if (line.lstrip("\t") if strip_tabs else line) == delimiter:
                    break
                body.append(line + newline)
            else:
                raise UnclearError("a here-document without an end")
            if not quoted:
                self._scan_document("".join(body))

    def _scan_document(self, body: str) -> None:
        if "$(" in body:
            raise UnclearError("a command inside a here-document")
        scanner = Lexer(body, reads=self._reads, nested=self._nested, substitution=self._substitution)
        scanner._double_quoted([], set(), "")
