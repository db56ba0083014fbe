"""Command lines as people write them: options may follow the names that they are about, values may hold `=`.

What belongs here: the order of arguments, and values that several commands take. What an option means is said
by each command.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Container, Mapping, Sequence
from typing import Any

from doit.cmdparse import CmdParseError

from buildkit.core.config import parse_age_s
from buildkit.core.errors import UsageError, did_you_mean


def options_first(arguments: Sequence[str], parser: Any, own: Container[str]) -> list[str]:
    """Return the arguments with those options of `parser` (doit's CmdParse) in front that `own` names.

    doit stops looking for a command's options at the first name of a task, since options of that task may
    follow it; all that are not in `own` stay where they are, and so does everything behind `--`.
    """
    options: list[str] = []
    rest: list[str] = []
    position = 0
    while position < len(arguments):
        argument = arguments[position]
        position += 1
        if argument == "--":
            rest += arguments[position - 1 :]
            break
        name, equals, _value = argument.partition("=")
        option, _inverse = parser.get_option(name) if name.strip("-") else (None, None)
        if option is None or option.name not in own:
            rest.append(argument)
            continue
        options.append(argument)
        if option.type is not bool and not equals and position < len(arguments):
            options.append(arguments[position])
            position += 1
    return options + rest


def with_values(arguments: Sequence[str], typed: Sequence[str], parser: Any) -> list[str]:
    """Return the arguments with those values of options that doit took for variables of the command line.

    doit removes each word with a `=` in it before a command sees its arguments: `--reason a=b` loses its
    value. `typed` is the whole command line; where the arguments do not come from it, they stay as they are.
    """
    kept = [word for word in typed if not _is_variable(word)]
    before = len(kept) - len(arguments)
    if len(kept) == len(typed) or before < 0 or kept[before:] != list(arguments):
        return list(arguments)
    found: list[str] = []
    value_follows = False
    for word in typed:
        variable = _is_variable(word)
        if before > 0:  # the program's own options, and the name of the command
            before -= not variable
        elif value_follows:
            found.append(word)
            value_follows = False
        elif not variable:
            found.append(word)
            name, equals, _value = word.partition("=")
            option, _inverse = parser.get_option(name) if name.strip("-") else (None, None)
            value_follows = option is not None and option.type is not bool and not equals
    return found


def age_s(option: str, text: str) -> int:
    """Return the seconds that `3600`, `12h` or `30d` stand for; UsageError names the option."""
    try:
        return parse_age_s(int(text) if text.isascii() and text.isdigit() else text)
    except ValueError as error:
        raise UsageError(f"{option} {text}: give {error}.") from None


def _is_variable(word: str) -> bool:
    return not word.startswith("-") and "=" in word


def option_error(message: str, parser: Any) -> str:
    """Return what doit says of a wrong option in one line: the nearest option instead of a dump of all."""
    told = " ".join(message.partition(" (parsing options:")[0].split())
    told = told.removeprefix("Error parsing Command: ")
    unknown = re.fullmatch(r"option (--[\w-]+) not recognized", told)
    if unknown is None:
        return told
    return f"{told}.{did_you_mean(unknown[1], [f'--{option.long}' for option in parser.options])}"


class ReadableOptions:
    """Mixin ahead of doit's `Command`: what is wrong with an option is told in one line."""

    cmdparser: Any

    def parse_execute(self, arguments: Sequence[str]) -> Any:
        """Parse and execute, as doit does."""
        try:
            return super().parse_execute(arguments)  # type: ignore[misc] # Command.parse_execute
        except CmdParseError as error:
            raise CmdParseError(option_error(str(error), self.cmdparser)) from None


class OptionsAnywhere(ReadableOptions):
    """Mixin ahead of doit's `Command`: its own options may come after names of tasks."""

    cmd_options: Sequence[Mapping[str, Any]]

    def parse_execute(self, arguments: Sequence[str]) -> Any:
        """Parse and execute, as doit does."""
        own = {option["name"] for option in self.cmd_options}
        whole = with_values(arguments, sys.argv[1:], self.cmdparser)
        ordered = options_first(whole, self.cmdparser, own)
        return super().parse_execute(ordered)
