"""What a command text says: whether it needs a shell, which programs it starts, which variables it reads.

Pure analysis of text that doit would hand to `/bin/sh -c`. Nothing is claimed that is not certain for
every POSIX shell; what cannot be known makes the text opaque. Words are read in `shellwords`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from buildkit.core.interpreters import script_of
from buildkit.core.record import Record

_PLAIN = r"[A-Za-z0-9_./,:@+\-]"
# A first word with `=` may be an assignment, and one with `%` or `^` a job or old pipe symbol.
_PLAIN_TEXT = re.compile(rf"[ \t]*{_PLAIN}++(?:[ \t]++[A-Za-z0-9_./,:@+\-=%^!]++)*+[ \t]*")

_RESERVED = frozenset(
    {
        *("!", "{", "}", "[[", "]]", "case", "coproc", "do", "done", "elif", "else", "esac", "fi", "for"),
        *("function", "if", "in", "namespace", "select", "then", "time", "until", "while"),
    }
)
_BUILTINS = frozenset(
    {
        *(".", ":", "[", "alias", "bg", "bind", "break", "builtin", "caller", "cd", "chdir", "command"),
        *("compgen", "complete", "compopt", "continue", "declare", "dirs", "disown", "echo", "enable"),
        *("eval", "exec", "exit", "export", "false", "fc", "fg", "getopts", "hash", "help", "history"),
        *("jobs", "kill", "let", "local", "logout", "mapfile", "popd", "printf", "pushd", "pwd", "read"),
        *("readarray", "readonly", "return", "set", "shift", "shopt", "source", "suspend", "test"),
        *("times", "trap", "true", "type", "typeset", "ulimit", "umask", "unalias", "unset", "wait"),
    }
)
_SHELL_ONLY = _RESERVED | _BUILTINS
# Programs that start another one: their arguments have to be looked at.
_LAUNCHERS = frozenset(
    {
        *("bash", "busybox", "dash", "env", "find", "ionice", "ksh", "nice", "nohup", "parallel", "printenv"),
        *(
            "setsid",
            "sh",
            "ssh",
            "stdbuf",
            "sudo",
            "doas",
            "timeout",
            "xargs",
            "zsh",
            "chroot",
            "flock",
            "strace",
        ),
    }
)


class CommandAnalysis(Record):
    """What is certain about a command text.

    `argv`: the words, where executing them directly does exactly what a shell would do. (Two things
    remain for the caller: a program that is not found is exit code 127, one that cannot be executed 126,
    and a script without a shebang, ENOEXEC, is run by `sh`.) `programs`: first words of simple commands,
    as written; one that starts with `$` is a variable to be resolved. `variables`: what it reads from the
    environment. `scripts`: files that interpreters are told to run. `opaque`: why `programs` may be
    incomplete, or None when it is complete.
    """

    argv: tuple[str, ...] | None
    programs: tuple[str, ...]
    variables: tuple[str, ...]
    opaque: str | None
    scripts: tuple[str, ...] = ()


def analyze(text: str) -> CommandAnalysis:
    """Return what is certain about a command text."""
    if _PLAIN_TEXT.fullmatch(text):
        argv = text.split()
        first = argv[0]
        if first not in _SHELL_ONLY and first.rpartition("/")[2] not in _LAUNCHERS:
            return CommandAnalysis((*argv,), (first,), (), None, scripts_of(argv))
    return _analyze_shell_text(text)


@lru_cache(maxsize=4096)
def _analyze_shell_text(text: str) -> CommandAnalysis:
    # Many projects have no command that needs them.
    from buildkit.core.quoting import quoted_words
    from buildkit.core.shellparse import parse

    argv = quoted_words(text)
    if argv and (not re.fullmatch(rf"{_PLAIN}+", argv[0]) or argv[0] in _SHELL_ONLY):
        argv = None
    parsed = parse(text)
    return CommandAnalysis(argv or None, parsed.programs, parsed.variables, parsed.opaque, parsed.scripts)


def scripts_of(words: Sequence[str]) -> tuple[str, ...]:
    """Return the file that an interpreter is told to run by these words, as a path with a slash."""
    script = script_of(words)
    if script is None:
        return ()
    path = os.path.normpath(script)
    return (path if "/" in path else f"./{path}",)


def seen_from(names: Iterable[str], directory: str | None) -> list[str]:
    """Return names of programs as the project sees them, for a command that runs in `directory`."""
    if directory is None:
        return list(names)
    return [os.path.normpath(os.path.join(directory, name)) if "/" in name else name for name in names]


def fill_placeholders(text: str, expansion: str, values: Mapping[str, object]) -> str:
    """Return a command text with doit's placeholders filled; raises what `%` and `format` raise.

    `expansion` is doit's action_string_formatting: old (`%(name)s`), new (`{name}`), both, or "" for none.
    """
    if expansion in ("new", "both"):
        text = text.format(**values)
    return text % values if expansion in ("old", "both") else text
