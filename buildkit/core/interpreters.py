"""Programs that run scripts, and which one they are told to run.

What belongs here: that much about Python, Perl and their like, for words that have been taken apart. It is
needed for each command, also for those that no shell has to read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_INTERPRETER = r"(?:python|pypy)[0-9.]*|perl|ruby|nodejs?|Rscript|php|lua"
_BEGINNINGS = ("python", "pypy", "perl", "ruby", "node", "Rscript", "php", "lua")
# Options after which an interpreter runs no script: a text or a module, also at the end of joined flags.
_NO_SCRIPT_PYTHON = r"-[A-Za-z]*[cm]"
_NO_SCRIPT = r"-[A-Za-z0-9]*[eE]|-[prm]|--(?:eval|print|require)(?:=.*)?"
_INTERPRETER_VALUED = frozenset({"-W", "-X", "-I"})


def is_interpreter(name: str) -> bool:
    """Whether a program of that name runs scripts."""
    # The first question spares most runs the compiling of the pattern.
    return name.startswith(_BEGINNINGS) and re.fullmatch(_INTERPRETER, name) is not None


def script_of(words: Sequence[str]) -> str | None:
    """Return the file that an interpreter is told to run by these words, or None."""
    if not words or not is_interpreter(words[0].rpartition("/")[2]):
        return None
    is_python = words[0].rpartition("/")[2].startswith(("python", "pypy"))
    no_script = _NO_SCRIPT_PYTHON if is_python else _NO_SCRIPT
    index = 1
    while index < len(words) and words[index].startswith("-"):
        if re.fullmatch(no_script, words[index]):
            return None
        index += 2 if words[index] in _INTERPRETER_VALUED else 1
    return words[index] if index < len(words) and words[index] else None
