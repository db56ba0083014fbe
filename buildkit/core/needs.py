"""What the commands of a task depend on beside its inputs: programs, scripts, environment variables.

What belongs here: collecting that from command texts and words, and what stays unknown. Programs are looked
up in `core/tools.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set

from buildkit.core.command import analyze, scripts_of, seen_from


class Needs:
    """Grows while actions are read; each name is kept once, each doubt as well."""

    __slots__ = ("_doubts", "_environment", "_programs", "_scripts")

    def __init__(
        self, environment: Iterable[str] = (), programs: Iterable[str] = (), doubts: Iterable[str] = ()
    ) -> None:
        self._environment: dict[str, None] = dict.fromkeys(environment) if environment else {}
        self._programs: dict[str, None] = dict.fromkeys(programs) if programs else {}
        self._scripts: dict[str, None] = {}
        self._doubts: dict[str, None] = dict.fromkeys(doubts) if doubts else {}

    def add_variables(self, names: Iterable[str]) -> None:
        """Note environment variables."""
        self._environment.update(dict.fromkeys(names))

    def add_program(self, name: str) -> None:
        """Note a program that is started under this very name."""
        self._programs[name] = None

    def add_words(self, words: Sequence[str], directory: str | None) -> None:
        """Note the program of a command that no shell sees, and the script that it is told to run."""
        self._programs.update(dict.fromkeys(seen_from(words[:1], directory)))
        self._scripts.update(dict.fromkeys(seen_from(scripts_of(words), directory)))

    def add_text(self, text: str, directory: str | None) -> None:
        """Note what a command line for the shell depends on; what cannot be told is a doubt."""
        found = analyze(text)
        for name in found.programs if directory is None else seen_from(found.programs, directory):
            self._programs[name] = None
        if found.scripts:
            self._scripts.update(dict.fromkeys(seen_from(found.scripts, directory)))
        if found.variables:
            self._environment.update(dict.fromkeys(found.variables))
        if found.opaque:
            self.doubt(f"its programs are not known: {found.opaque}")

    def doubt(self, reason: str) -> None:
        """Note why the result cannot be kept under its key."""
        self._doubts[reason] = None

    @property
    def environment(self) -> tuple[str, ...]:
        """The variables, sorted."""
        return tuple(sorted(self._environment)) if self._environment else ()

    def programs(self, inputs: Set[str] = frozenset()) -> tuple[str, ...]:
        """Return all programs and scripts, sorted; a script that is an input counts as one already."""
        if not self._scripts:
            return tuple(sorted(self._programs))
        known = {path if "/" in path else f"./{path}" for path in inputs}
        return tuple(sorted({*self._programs, *(self._scripts.keys() - known)}))

    @property
    def uncacheable(self) -> str | None:
        """All doubts in one text, None where there are none."""
        return "; ".join(self._doubts) if self._doubts else None
