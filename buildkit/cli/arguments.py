"""Command lines as people write them: options may follow the names that they are about.

What belongs here: the order of arguments. What an option means is said by each command.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any


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


class OptionsAnywhere:
    """Mixin ahead of doit's `Command`: its own options may come after names of tasks."""

    cmdparser: Any
    cmd_options: Sequence[Mapping[str, Any]]

    def parse_execute(self, arguments: Sequence[str]) -> Any:
        """Parse and execute, as doit does."""
        own = {option["name"] for option in self.cmd_options}
        ordered = options_first(arguments, self.cmdparser, own)
        return super().parse_execute(ordered)  # type: ignore[misc] # Command.parse_execute
