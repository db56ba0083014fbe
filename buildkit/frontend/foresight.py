"""What the cache would bring back, and what the project would look like then: for questions, not for runs.

What belongs here: asking the cache without leaving a trace in it, and telling the tables that everybody
judges by what a restored task would leave behind. Nothing on disk is touched.
"""

from __future__ import annotations

import json

from buildkit.cache.result import ActionResult, OutputKind
from buildkit.core.decide import Course
from buildkit.core.digest import digest_size
from buildkit.core.fingerprint import Fingerprint
from buildkit.core.plan import Task
from buildkit.engine.judge import Judgement
from buildkit.engine.place import lookup_keys
from buildkit.frontend.workspace import Workspace
from buildkit.report.explanation import CacheAnswer


class Foresight:
    """Asks the cache of a workspace; whoever judges with its tables afterwards sees what it foresaw."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._empty: bool | None = None

    def may_hold_something(self) -> bool:
        """Return whether there is anything in the cache, under whatever key."""
        if self._empty is None:
            self._empty = self._workspace.cache is None or self._workspace.cache.is_empty()
        return not self._empty

    def ask(self, task: Task, judgement: Judgement | None) -> tuple[CacheAnswer, ActionResult | None]:
        """Return what the cache can do for a task, and the result that it has, if any."""
        cache = self._workspace.cache
        if cache is None:
            return CacheAnswer.OFF, None
        if task.uncacheable is not None:
            return CacheAnswer.UNCACHEABLE, None
        if judgement is None or judgement.key is None:
            return CacheAnswer.NO_KEY, None
        if judgement.verdict.course is Course.RUN:
            return CacheAnswer.NOT_ASKED, None
        result = cache.foresee(lookup_keys(task, judgement.key, self._workspace.root))
        return (CacheAnswer.NO_RESULT if result is None else CacheAnswer.HAS_RESULT), result

    def pretend(self, task: Task, result: ActionResult) -> bool:
        """Take the outputs and values of a result for what there is; return whether that is all of them."""
        table = self._workspace.table
        whole = True
        for output in result.outputs:
            if output.kind is OutputKind.FILE and output.digest is not None:
                size = digest_size(output.digest)
                table.learn(output.path, Fingerprint(output.digest, 0, 0, size, 0, 0, output.mode, 0))
            elif output.kind is OutputKind.LINK:
                whole = False  # what it leads to is not all in the result
        try:
            values, own_result = json.loads(result.values_json), json.loads(result.result_json)
        except ValueError:
            return False
        self._workspace.values.saved(task.name, values, own_result)
        return whole
