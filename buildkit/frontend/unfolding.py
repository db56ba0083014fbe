"""The tasks of a loaded dodo.py, dynamic ones as far as they can be known without a run.

What belongs here: what tasks wait for and supply to each other, creating delayed tasks, and recorded values
of calc_deps. Nothing is judged, run or written.
"""

from __future__ import annotations

from buildkit.core.errors import PlanError
from buildkit.engine.host import HostError
from buildkit.frontend.inspect import Inspector
from buildkit.frontend.supplies import Makers, supplies


class Unfolding:
    """A plan that grows while one walks through it, each task after those that it waits for."""

    def __init__(self, inspector: Inspector) -> None:
        self._inspector = inspector
        self.plan = inspector.plan
        self.makers = Makers(inspector.plan.makers)
        self.errors: dict[str, str] = {}  # tasks that cannot be worked out now, and why
        self._calculators: dict[str, tuple[str, ...]] = {}  # tasks that calculated dependencies
        self._position = {task.name: number for number, task in enumerate(inspector.plan)}

    def waits(self, name: str, *, setup: bool = False) -> tuple[str, ...]:
        """Return what a task waits for, with what its calc_deps said the last time, and its `setup`."""
        task = self.plan[name]
        if task.calc_deps and name not in self.errors:
            self._calculators.setdefault(name, task.calc_deps)
            try:
                task = self._inspector.task(name)
            except (HostError, PlanError) as error:
                self.errors[name] = str(error)
        edges = {*task.calc_deps, *task.waits, *(task.setup if setup else ())}
        # Inputs are a set in doit; their tasks come in the order of the definition here.
        position, last = self._position, len(self._position)
        return tuple(sorted(edges, key=lambda edge: position.get(edge, last)))

    def suppliers(self, name: str) -> dict[str, list[str]]:
        """Return which tasks supply what the key of a task depends on, and what that is."""
        task = self.plan[name]
        edges = (*self.waits(name), *task.setup)
        return supplies(task, edges, self.makers, self._calculators.get(name, ()))

    def is_delayed(self, name: str) -> bool:
        """Whether a task is made by a creator that has not been asked yet."""
        task = self.plan[name]
        return task.dynamic and not task.calc_deps and name not in self.errors

    def create(self, name: str) -> bool:
        """Create a delayed task, as `doit list` would; return whether there is more to wait for now."""
        if not self.is_delayed(name):
            return False
        try:
            extension = self._inspector.host.extend(self.plan[name], {})
        except (HostError, PlanError) as error:
            self.errors[name] = str(error)  # its creator needs what only a run makes
            return False
        created = (*extension.added, extension.task._replace(dynamic=bool(extension.task.calc_deps)))
        self.plan.extend(created)
        self.makers.learn(created)
        return True
