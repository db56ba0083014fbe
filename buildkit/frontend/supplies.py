"""What tasks give to each other: which task makes a path, and what a task gets from those before it.

What belongs here: reading that off the plan. Nothing is judged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from buildkit.core.plan import CheckKind, Task, TaskKind


class Makers:
    """Which task makes which path; kept apart from the plan's, which is made anew with each addition."""

    def __init__(self, makers: Mapping[str, str]) -> None:
        self._makers = dict(makers)

    def learn(self, tasks: Iterable[Task]) -> None:
        """Add the outputs of tasks that were created later."""
        self._makers.update((path, task.name) for task in tasks for path in task.outputs)

    def maker(self, path: str) -> str | None:
        """Return the task that makes a path, or the directory that it lies in."""
        while path:
            maker = self._makers.get(path) or self._makers.get(path + "/")
            if maker is not None:
                return maker
            path = path.rpartition("/")[0]
        return None


def supplies(
    task: Task, edges: Iterable[str], makers: Makers, calculators: Iterable[str] = ()
) -> dict[str, list[str]]:
    """Return which tasks supply what the key of a task depends on, and what that is.

    `edges` are the tasks that it waits for, `calculators` those that calculated dependencies. A group has
    all it waits for as suppliers: it passes on what they do.
    """
    before = set(edges)
    found: dict[str, list[str]] = {}
    for path in task.inputs:
        maker = makers.maker(path)
        if maker in before and maker is not None:
            found.setdefault(maker, []).append(path)
    for wanted in task.getargs:
        value = "its values" if wanted.key is None else f"value '{wanted.key}'"
        found.setdefault(wanted.task, []).append(value)
    for check in task.checks:
        if check.kind is CheckKind.RESULT:
            found.setdefault(check.value, []).append("its result")
    for name in calculators:
        found.setdefault(name, []).append("dependencies")
    if task.kind is TaskKind.GROUP:
        for name in edges:
            found.setdefault(name, [])
    return found
