"""Which programs a shell text starts and which variables of the environment it reads.

A stack machine over the tokens of `shellwords`: it knows where a command begins, which words are
reserved there, and which programs start others. It over-reports variables rather than miss one, and
calls a text opaque rather than miss a program.
"""

from __future__ import annotations

import os
import re

from buildkit.core.interpreters import is_interpreter, script_of
from buildkit.core.record import Record
from buildkit.core.shellwords import Expansion, Lexer, Operator, UnclearError, Word

_CLOSERS = {"if": "fi", "while": "done", "until": "done", "for": "done", "case": "esac", "{": "}", "(": ")"}
_CONTINUERS = frozenset({"then", "else", "elif", "do", "!"})
_ENDERS = frozenset({"fi", "done", "esac", "}"})
_UNREADABLE = frozenset({"[[", "coproc", "select", "function", "namespace"})
_OPAQUE_BUILTINS = {
    "eval": "'eval' runs computed text",
    ".": "'.' runs another file",
    "source": "'source' runs another file",
    "alias": "'alias' changes what words mean",
    "trap": "'trap' runs text later",
    "enable": "'enable' changes what words mean",
    "builtin": "'builtin' changes what words mean",
    "hash": "'hash' changes what words mean",
    "fc": "'fc' runs text of a history",
    "complete": "'complete' runs text later",
    "mapfile": "'mapfile' can run text",
    "readarray": "'readarray' can run text",
}
_QUIET_BUILTINS = frozenset(
    {
        *(":", "[", "bg", "break", "cd", "chdir", "continue", "declare", "dirs", "disown", "echo", "exit"),
        *("export", "false", "fg", "getopts", "help", "history", "jobs", "kill", "let", "local", "logout"),
        *("popd", "printf", "pushd", "pwd", "read", "readonly", "return", "set", "shift", "shopt", "suspend"),
        *("test", "times", "true", "type", "typeset", "ulimit", "umask", "unalias", "unset", "wait"),
        *("bind", "caller", "compgen", "compopt"),
    }
)
_DECLARERS = frozenset({"export", "readonly", "local", "declare", "typeset"})
_SHELLS = frozenset({"sh", "bash", "dash", "ksh", "zsh"})
# Launchers: options without a value, options with one, and operands before the program. Others: unclear.
_LAUNCHERS: dict[str, tuple[frozenset[str], frozenset[str], int]] = {
    "env": (frozenset({"-i", "-", "--ignore-environment", "-0", "-v"}), frozenset({"-u", "--unset"}), 0),
    "nohup": (frozenset(), frozenset(), 0),
    "setsid": (frozenset({"-c", "-f", "-w", "--wait", "--fork"}), frozenset(), 0),
    "nice": (frozenset(), frozenset({"-n"}), 0),
    "ionice": (frozenset({"-t"}), frozenset({"-c", "-n"}), 0),
    "timeout": (
        frozenset({"--foreground", "--preserve-status", "-v", "--verbose"}),
        frozenset({"-k", "-s", "--signal", "--kill-after"}),
        1,
    ),
    "stdbuf": (frozenset(), frozenset({"-o", "-i", "-e"}), 0),
    "sudo": (frozenset({"-E", "-n", "-H", "-S", "-k"}), frozenset({"-u", "-g"}), 0),
    "doas": (frozenset({"-n"}), frozenset({"-u"}), 0),
    "time": (frozenset({"-p", "-v"}), frozenset({"-o", "-f"}), 0),
    "command": (frozenset({"-v", "-V"}), frozenset(), 0),
    "exec": (frozenset({"-c", "-l"}), frozenset({"-a"}), 0),
    "xargs": (
        frozenset({"-0", "--null", "-r", "--no-run-if-empty", "-t", "-x"}),
        frozenset({"-n", "-I", "-P", "-L", "-d", "-a", "-s", "-E"}),
        0,
    ),
}
# In a program that is given as text: `os.environ["X"]`, `os.getenv('X')`, `ENV["X"]`, `$ENV{X}`.
_READS_VARIABLE = re.compile(r"(?:environ|getenv|ENV)(?:\.get)?\s*[\[({]\s*['\"]?([A-Za-z_][A-Za-z0-9_]*)")
_ATTACHED = re.compile(r"-[a-zA-Z][A-Za-z0-9./{}%_\\]+|--[a-z-]+=.*")
_UNFOLLOWED = frozenset({"busybox", "parallel", "ssh", "chroot", "flock", "strace", "watch", "script", "su"})
_EXECUTORS = frozenset({"-exec", "-execdir", "-ok", "-okdir"})


class ParsedText(Record):
    """Programs in order, variables sorted, and why the programs may be incomplete."""

    programs: tuple[str, ...]
    variables: tuple[str, ...]
    opaque: str | None
    scripts: tuple[str, ...] = ()  # files that interpreters are told to run, as paths with a slash


class _Found:
    """What all parts of one text have in common."""

    __slots__ = ("assigned", "directory", "functions", "moved", "opaque", "programs", "scripts", "variables")

    def __init__(self) -> None:
        self.programs: dict[str, None] = {}
        self.scripts: dict[str, None] = {}
        self.variables: set[str] = set()
        self.assigned: set[str] = set()
        self.functions: set[str] = set()
        self.opaque: str | None = None
        self.moved = False  # `cd` came before: relative names of programs start elsewhere
        self.directory: str | None = ""  # where they start, if that is certain

    def unclear(self, reason: str) -> None:
        """Keep the first reason."""
        self.opaque = self.opaque or reason

    def script(self, name: str) -> None:
        """Note a file that is run, where it is certain which one that is."""
        if self.directory is not None or name.startswith("/"):
            path = os.path.normpath(os.path.join(self.directory or "", name))
            self.scripts[path if "/" in path else f"./{path}"] = None

    def read(self, name: str) -> None:
        """Note a variable that is expanded."""
        if name not in self.assigned:
            self.variables.add(name)


def parse(text: str) -> ParsedText:
    """Return what is known of a shell text; a text that is not clear is opaque, never an error."""
    found = _Found()
    _parse_part(text, found, 0)
    return ParsedText(
        tuple(found.programs), tuple(sorted(found.variables)), found.opaque, tuple(found.scripts)
    )


def _parse_part(text: str, found: _Found, depth: int) -> None:
    try:
        if depth > 20:
            raise UnclearError("commands nested too deeply")
        _Parser(text, 0, found, depth).run()
    except (UnclearError, RecursionError) as error:
        found.unclear(f"not certain to mean the same to every shell: {error}")


class _Frame:
    """A text, or a compound command inside it: what was assigned in it holds to its end."""

    __slots__ = ("conditional", "opener", "scoped", "started")

    def __init__(self, opener: str) -> None:
        self.opener = opener
        self.scoped: set[str] = set()
        self.conditional = False  # the next simple command may be passed over
        self.started = False  # a command of it was read


class _Parser:
    """Parses one list of commands: a whole text, or the inside of a `$(`, which ends at its `)`."""

    def __init__(self, text: str, position: int, found: _Found, depth: int) -> None:
        self._found = found
        self._depth = depth
        self._lexer = Lexer(
            text,
            reads=found.read,
            nested=lambda inner: _parse_part(inner, found, depth + 1),
            substitution=self._substitution,
            position=position,
        )
        self._outer = _Frame("")
        self._stack: list[_Frame] = []  # compound commands that are not closed
        self._command: list[Word] = []  # the simple command that is being read
        self._assignments: list[Word] = []
        self._at_start = True  # of a command: reserved words count
        self._complete = False  # a compound command was closed: only operators and redirections may follow

    def _substitution(self, position: int) -> int:
        if self._depth > 20:
            raise UnclearError("commands nested too deeply")
        parser = _Parser(self._lexer.text, position, self._found, self._depth + 1)
        return parser.run(nested=True)

    def run(self, nested: bool = False) -> int:
        """Parse to the end (or to the closing parenthesis) and return the position behind it."""
        while (token := self._lexer.next()) is not None:
            if isinstance(token, Word):
                self._word(token)
            elif token.redirects:
                self._redirection(token)
            elif token.text == ")" and nested and not self._stack:
                break
            else:
                self._operator(token.text)
        self._end_command(";")
        if self._stack or (nested and token is None):
            raise UnclearError("a command without its end")
        self._found.assigned -= self._outer.scoped
        return self._lexer.position

    @property
    def _frame(self) -> _Frame:
        return self._stack[-1] if self._stack else self._outer

    def _close(self, word: str) -> None:
        if not self._stack or _CLOSERS[self._stack[-1].opener] != word:
            raise UnclearError(f"'{word}' without its beginning")
        self._found.assigned -= self._stack.pop().scoped
        self._complete, self._at_start = True, False

    def _assign(self, names: set[str]) -> None:
        self._frame.scoped |= names - self._found.assigned
        self._found.assigned |= names

    def _forget_branch(self) -> None:
        """Another branch begins: what the one before assigned, it may not have."""
        self._found.assigned -= self._frame.scoped
        self._frame.scoped.clear()
        self._frame.conditional = False

    def _word(self, word: Word) -> None:
        if self._complete:
            raise UnclearError(f"'{word.text}' after a compound command")
        if self._at_start and not self._assignments and word.plain and self._reserved(word.text):
            return
        if self._at_start and word.assigns is not None:
            self._assignments.append(word)
            return
        if self._at_start and word.plain and self._lexer.at_parenthesis():
            self._function(word.text)
            return
        self._at_start = False
        self._command.append(word)

    def _reserved(self, text: str) -> bool:
        """Act on a reserved word; return whether it was one."""
        if text in _UNREADABLE:
            raise UnclearError(f"'{text}'")
        if text in ("if", "while", "until", "{"):
            self._stack.append(_Frame(text))
        elif text == "for":
            self._for()
        elif text == "case":
            self._case()
        elif text in _ENDERS:
            self._close(text)
        elif text in _CONTINUERS:
            if text != "!" and not self._stack:
                raise UnclearError(f"'{text}' without its beginning")
            if text in ("else", "elif"):
                self._forget_branch()
        else:
            return False
        return True

    def _for(self) -> None:
        variable = self._lexer.next()
        if not isinstance(variable, Word) or not variable.plain:
            raise UnclearError("'for' without a variable")
        token = self._lexer.next()
        if isinstance(token, Word) and token.plain and token.text == "in":
            token = self._lexer.next()
            while isinstance(token, Word):
                token = self._lexer.next()
        begins = isinstance(token, Word) and token.plain and token.text == "do"
        if not begins and not (isinstance(token, Operator) and token.text in (";", "\n")):
            raise UnclearError("'for' without a list")
        self._stack.append(_Frame("for"))
        # Inside the loop only: where the list is empty, the variable keeps its value.
        self._assign({variable.text})

    def _case(self) -> None:
        subject = self._lexer.next()
        keyword = self._skip_newlines()
        if not isinstance(subject, Word) or not isinstance(keyword, Word) or keyword.text != "in":
            raise UnclearError("'case' without 'in'")
        self._stack.append(_Frame("case"))
        self._pattern()

    def _pattern(self) -> None:
        """Read `pattern | pattern )`, or the end of the `case`."""
        self._forget_branch()
        token = self._skip_newlines()
        if isinstance(token, Word) and token.plain and token.text == "esac":
            self._close("esac")
            return
        if isinstance(token, Operator) and token.text == "(":
            token = self._lexer.next()
        while isinstance(token, Word):
            token = self._lexer.next()
            if isinstance(token, Operator) and token.text == ")":
                self._at_start, self._complete = True, False
                return
            if isinstance(token, Operator) and token.text == "|":
                token = self._lexer.next()
        raise UnclearError("a pattern of 'case' without ')'")

    def _skip_newlines(self) -> Word | Operator | None:
        token = self._lexer.next()
        while isinstance(token, Operator) and token.text == "\n":
            token = self._lexer.next()
        return token

    def _function(self, name: str) -> None:
        self._lexer.next()
        closing = self._lexer.next()
        if not isinstance(closing, Operator) or closing.text != ")":
            raise UnclearError(f"'{name}('")
        if self._stack or self._outer.conditional or self._depth:
            raise UnclearError("a function that is defined under a condition")
        self._found.functions.add(name)
        token = self._skip_newlines()
        if isinstance(token, Word) and token.plain and token.text == "{":
            self._stack.append(_Frame("{"))
        elif isinstance(token, Operator) and token.text == "(":
            self._stack.append(_Frame("("))
        else:
            raise UnclearError("a function without a body in braces")

    def _redirection(self, operator: Operator) -> None:
        target = self._lexer.next()
        if not isinstance(target, Word):
            raise UnclearError(f"'{operator.text}' without a file")
        if operator.text in ("<<", "<<-"):
            self._lexer.expect_document(target, operator.text == "<<-")

    def _operator(self, text: str) -> None:
        if text == "(":
            if self._command or self._assignments or not self._at_start:
                raise UnclearError("'(' inside a command")
            self._stack.append(_Frame("("))
            return
        empty = not self._command and not self._assignments and not self._complete
        if empty and text in ("&&", "||", "|", "|&", "&"):
            raise UnclearError(f"'{text}' without a command")
        self._end_command(text)
        if text == ")":
            self._close(")")
        elif text in (";;", ";;&", ";&"):
            if self._frame.opener != "case":
                raise UnclearError(f"'{text}' outside of 'case'")
            self._pattern()

    def _end_command(self, operator: str) -> None:
        command, assignments = self._command, self._assignments
        self._command, self._assignments = [], []
        self._at_start, self._complete = True, False
        for word in assignments:
            if word.assigns == "PATH":
                self._found.unclear("it changes PATH")
        if command:
            _Simple(command, self._found, self._depth).analyze()
        frame = self._frame
        if not frame.conditional and operator not in ("|", "|&", "&"):
            words = assignments if not command else _declared(command)
            self._assign({word.assigns for word in words if word.assigns is not None})
        if command and frame.opener == "while" and not frame.started:
            self._assign(_read_names(command))
        frame.started = frame.started or bool(command or assignments)
        if operator in ("&&", "||", "|", "|&"):
            frame.conditional = True
        elif operator in (";", "\n", "&"):
            frame.conditional = False


def _read_names(command: list[Word]) -> set[str]:
    """`while read name`: the loop's body runs only after the variable was set."""
    if not command[0].plain or command[0].text != "read":
        return set()
    return {word.text for word in command[1:] if word.plain and not word.text.startswith("-")}


def _declared(command: list[Word]) -> list[Word]:
    return command[1:] if command[0].plain and command[0].text in _DECLARERS else []


class _Simple:
    """One simple command: which programs its words start."""

    def __init__(self, words: list[Word], found: _Found, depth: int) -> None:
        self._words = words
        self._found = found
        self._depth = depth

    def analyze(self, start: int = 0, launched: bool = False) -> None:
        """Note the program at `start` and those that it launches; `launched`: not by the shell itself."""
        if start >= len(self._words):
            return
        word = self._words[start]
        name = word.text
        if self._is_unknown(word):
            return
        if word.expansion is Expansion.NONE and not launched:
            if name in self._found.functions:
                return
            if name in _OPAQUE_BUILTINS:
                self._found.unclear(_OPAQUE_BUILTINS[name])
                return
            if name in _QUIET_BUILTINS:
                self._builtin(name, start)
                return
        if launched or name not in ("command", "exec", "time"):
            self._found.programs[name] = None
        if word.expansion is not Expansion.NONE:
            return
        if "/" in name and not name.startswith("/") and self._found.moved:
            self._found.unclear(f"'{name}' after 'cd'")
            self._found.script(name)
        self._launch(name.rpartition("/")[2], start)

    def _is_unknown(self, word: Word) -> bool:
        reason = {
            Expansion.SUBSTITUTION: "is what another command prints",
            Expansion.PATTERN: "is a pattern",
            Expansion.HOME: "is in the home directory",
        }.get(word.expansion)
        if reason is not None:
            self._found.unclear(f"the program '{word.text}' {reason}")
        elif not word.text:
            self._found.unclear("the program is an empty word")
        elif word.expansion is Expansion.VARIABLE and not _is_environment(word.text, self._found):
            self._found.unclear(f"the program '{word.text}' is computed")
        else:
            return False
        return True

    def _builtin(self, name: str, start: int) -> None:
        arguments = self._words[start + 1 :]
        if name in ("cd", "chdir", "pushd", "popd"):
            certain = name == "cd" and not self._found.moved and len(arguments) == 1 and not self._depth
            plain = certain and arguments[0].expansion is Expansion.NONE
            self._found.directory = arguments[0].text if plain and arguments[0].text[:1] != "-" else None
            self._found.moved = True
        setters = name in _DECLARERS or name in ("read", "unset", "getopts", "printf")
        if setters and any("PATH" in (word.assigns, word.text) for word in arguments):
            self._found.unclear("it changes PATH")

    def _launch(self, name: str, start: int) -> None:
        if name == "printenv":
            for word in self._words[start + 1 :]:
                if word.plain and not word.text.startswith("-"):
                    self._found.read(word.text)
        elif is_interpreter(name):
            self._interpreter(name, start)
        elif name in _SHELLS:
            self._shell(start)
        elif name == "find":
            for index in range(start + 1, len(self._words)):
                if self._words[index].text in _EXECUTORS:
                    self.analyze(index + 1, launched=True)
        elif name in _UNFOLLOWED:
            self._found.unclear(f"what '{name}' starts is not known")
        elif name in _LAUNCHERS:
            self._launcher(name, start)

    def _launcher(self, name: str, start: int) -> None:
        flags, valued, operands = _LAUNCHERS[name]
        index = start + 1
        while index < len(self._words):
            word = self._words[index]
            if word.expansion is not Expansion.NONE and word.assigns is None:
                # It may become options, assignments, or several words.
                self._found.unclear(f"what '{name}' starts is computed")
                return
            if word.text == "--":
                index += 1
                break
            if name in ("env", "sudo", "doas") and word.assigns is not None:
                if word.assigns == "PATH":
                    self._found.unclear("it changes PATH")
            elif word.text in valued:
                index += 1
            elif word.text in flags or _is_attached(name, word.text, valued):
                pass
            elif word.text.startswith("-"):
                self._found.unclear(f"the option '{word.text}' of '{name}' is not known here")
                return
            else:
                break
            index += 1
        self.analyze(index + operands, launched=name not in ("time", "command"))

    def _interpreter(self, name: str, start: int) -> None:
        words = self._words[start + 1 :]
        known = next(
            (at for at, word in enumerate(words) if word.expansion is not Expansion.NONE), len(words)
        )
        for word in words:
            for variable in _READS_VARIABLE.findall(word.text):
                self._found.read(variable)
        script = script_of([name, *(word.text for word in words[:known])])
        if script is not None:
            self._found.script(script)

    def _shell(self, start: int) -> None:
        """Read the text that a shell is given; one that reads commands from its input is opaque."""
        for index in range(start + 1, len(self._words)):
            word = self._words[index]
            if word.expansion is not Expansion.NONE and word.text.startswith("$"):
                self._found.unclear("a shell with computed arguments")
                return
            if re.fullmatch(r"[-+][a-z]*c[a-z]*", word.text):
                inner = self._words[index + 1] if index + 1 < len(self._words) else None
                if inner is None or inner.expansion is not Expansion.NONE:
                    self._found.unclear("a shell with a computed text")
                else:
                    _parse_part(inner.text, self._found, self._depth + 1)
                return
            if not word.text.startswith(("-", "+")):
                if word.expansion is Expansion.NONE:
                    self._found.script(word.text)
                return
            if word.text not in ("-e", "-u", "-x", "-eu", "-ex", "-eux", "-f"):
                break
        self._found.unclear("a shell that reads commands from its input")


def _is_attached(launcher: str, option: str, valued: frozenset[str]) -> bool:
    """Return whether an option holds its value itself: `-n1`, `--signal=9`, `nice -5`."""
    if launcher == "nice" and re.fullmatch(r"-\d+", option):
        return True
    known = option[:2] in valued or option.partition("=")[0] in valued
    return known and _ATTACHED.fullmatch(option) is not None


def _is_environment(text: str, found: _Found) -> bool:
    """Return whether a computed word is one variable of the environment, or holds none but such."""
    names = re.findall(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)", text)
    simple = re.fullmatch(
        r"(?:[^$`]|\$[A-Za-z_][A-Za-z0-9_]*|\$\{[A-Za-z_][A-Za-z0-9_]*(?::?-[^${}`]*)?\})*", text
    )
    return bool(names) and simple is not None and not any(name in found.assigned for name in names)
