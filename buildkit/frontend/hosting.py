"""What a run needs of a loaded dodo.py: answers to the engine's questions, and whoever runs Python actions.

What belongs here: putting these together for doit's objects. Runs that do without a dodo.py bring their own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import ClassVar, TextIO

from doit import action
from doit.action import Writer
from doit.control import TaskControl
from doit.task import Stream

from buildkit.engine.job import Executor, Pipeline
from buildkit.engine.log import TaskLog
from buildkit.engine.loop import EventLoop
from buildkit.engine.worker import Keep
from buildkit.frontend.dependency import BuildkitDependency
from buildkit.frontend.host import DoitHost
from buildkit.frontend.planner import Planner
from buildkit.frontend.runner import TaskRunner


class _KeptWriter(Writer):  # type: ignore[misc] # doit has no types
    """A stand-in that is not freed at once."""

    recent: ClassVar[deque[Writer]] = deque(maxlen=256)

    def __init__(self, *writers: TextIO) -> None:
        super().__init__(*writers)
        self.recent.append(self)


class DoitHosting:
    """The part of one run that knows doit's tasks."""

    def __init__(
        self,
        loop: EventLoop,
        after_fork: Callable[[], None],
        *,
        control: TaskControl,
        planner: Planner,
        dependency: BuildkitDependency,
        stream: Stream,
        parallel: str,
        width: int,
        grace_s: float,
        keep: Keep | None,
        new_log: Callable[[], TaskLog],
    ) -> None:
        """`parallel` is 'process', 'thread' or 'inline'; `after_fork` is called in each new worker."""
        from buildkit.engine.threads import InlineExecutor  # as below: not before something is to be run

        self._runner = TaskRunner(control.tasks)
        self._grace_s = grace_s
        self._new_log = new_log
        self._keep = keep
        self.inline: Executor = InlineExecutor(loop, self._runner.run, new_log=new_log)
        self._retire: Callable[[], None] | None = None
        self.pipeline: Pipeline | None = None
        self.python = self._python_executor(loop, after_fork, parallel, width)
        self.host = DoitHost(
            control,
            planner,
            dependency=dependency,
            stream=stream,
            retire_workers=self._retire_workers,
        )

    def _python_executor(
        self, loop: EventLoop, after_fork: Callable[[], None], parallel: str, width: int
    ) -> Executor:
        if parallel == "inline":
            return self.inline
        if parallel == "thread":
            from buildkit.engine.threads import ThreadExecutor

            _keep_writers()
            return ThreadExecutor(loop, self._runner.run, width, new_log=self._new_log)
        from buildkit.engine.workers import WorkerPool

        pool = WorkerPool(
            loop,
            self._runner.run,
            width,
            after_fork=after_fork,
            new_log=self._new_log,
            grace_s=self._grace_s,
            keep=self._keep,
        )
        self._retire = pool.retire_all
        self.pipeline = pool
        return pool

    def _retire_workers(self) -> None:
        if self._retire is not None:
            self._retire()

    def close(self) -> None:
        """Let go of what runs tasks; the run is over."""
        self._runner.close()


def _keep_writers() -> None:
    """Let doit's stand-ins for sys.stdout outlive the action that they were made for.

    Actions in threads take them away from each other, and `print` of CPython up to 3.12 holds the one that it
    writes to without counting that: the last reference could go in the middle of a line.
    """
    action.Writer = _KeptWriter
