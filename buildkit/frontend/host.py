"""The engine's questions, answered with doit's objects.

What belongs here: `Host` for a dodo.py that is loaded in this process. What doit's dispatcher does when a
task is delayed or calculates its dependencies happens here, on doit's own data.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from doit.control import TaskControl
from doit.exceptions import InvalidCommand, InvalidDodoFile, InvalidTask
from doit.loader import generate_tasks
from doit.task import DelayedLoaded, Stream
from doit.task import Task as DoitTask

from buildkit.core.errors import PlanError
from buildkit.core.plan import CheckKind, Task
from buildkit.engine.host import CheckAnswer, Extension, HostError
from buildkit.engine.job import JobOutcome, JobStatus
from buildkit.engine.values import values_of_checks
from buildkit.frontend.checks import ask_opaque
from buildkit.frontend.definitions import loading_error
from buildkit.frontend.planner import Planner, is_interactive
from buildkit.frontend.runner import Payload, TeardownPayload


class DoitHost:
    """Answers from the tasks of a `TaskControl`."""

    def __init__(
        self,
        control: TaskControl,
        planner: Planner,
        *,
        dependency: Any,
        stream: Stream,
        retire_workers: Callable[[], None],
    ) -> None:
        """`dependency` is what uptodate callables see as doit's dep_manager."""
        self._control = control
        self._planner = planner
        self._dependency = dependency
        self._stream = stream
        self._retire_workers = retire_workers
        self._calculated_by: dict[str, set[str]] = {}  # calc_deps that have been asked, by task

    @property
    def tasks(self) -> Mapping[str, DoitTask]:
        """All doit tasks by name; grows while delayed tasks are created."""
        tasks: Mapping[str, DoitTask] = self._control.tasks
        return tasks

    def plan(self, task: DoitTask) -> Task:
        """Return a doit task as data."""
        return self._planner.plan(task, known=self.tasks.get)

    def ask(self, task: Task) -> tuple[Task, Sequence[CheckAnswer]]:
        """Evaluate the opaque uptodate items as doit does, in this process."""
        doit_task = self.tasks[task.name]
        before = _dependencies(doit_task)
        try:
            answers = ask_opaque(doit_task, self._dependency, self.tasks)
        except Exception as error:
            raise PlanError(f"task '{task.name}': {told(error, 'an uptodate check')}") from None
        if _dependencies(doit_task) != before:
            task = self.replan(task)
        return task, answers

    def forget_code(self) -> None:
        """Read Python code anew from now on."""
        self._planner.forget_code()

    def replan(self, task: Task) -> Task:
        """Return a task with the key components that its definition gives now."""
        fresh = self.plan(self.tasks[task.name])
        return fresh._replace(waits=task.waits, calc_deps=task.calc_deps, dynamic=False)

    # --- dynamic tasks

    def extend(self, task: Task, values: Mapping[str, Mapping[str, object]]) -> Extension:
        """Take over calculated dependencies, then create delayed tasks, as doit's dispatcher does."""
        doit_task = self.tasks[task.name]
        try:
            if task.calc_deps:
                return self._calculated(task, doit_task, values)
            return self._created(doit_task)
        except (InvalidTask, InvalidDodoFile, InvalidCommand) as error:
            raise PlanError(str(error)) from None
        except PlanError:
            raise
        except Exception as error:
            raise PlanError(f"task '{task.name}': {told(error, 'its creator')}") from None

    def _calculated(
        self, task: Task, doit_task: DoitTask, values: Mapping[str, Mapping[str, object]]
    ) -> Extension:
        done = self._calculated_by.setdefault(task.name, set())
        done.update(task.calc_deps)
        for name in task.calc_deps:
            found = values[name]
            doit_task.update_deps(found)
            TaskControl.add_implicit_task_dep(self._control.targets, doit_task, found.get("file_dep", []))
        self._check_names(doit_task)
        more = doit_task.calc_dep - done
        planned = self.plan(doit_task)
        # Those that were asked are waited for already; only new ones can say something new.
        return Extension(
            planned._replace(
                waits=(*planned.waits, *sorted(done)),
                calc_deps=tuple(sorted(more)),
                dynamic=bool(more or doit_task.loader),
            )
        )

    def _check_names(self, doit_task: DoitTask) -> None:
        for name in (*doit_task.task_dep, *doit_task.setup_tasks, *doit_task.calc_dep):
            if name not in self.tasks:
                raise PlanError(f"{doit_task.name}. Task dependency '{name}' does not exist.")

    def _created(self, doit_task: DoitTask) -> Extension:
        loader = doit_task.loader
        if not loader:
            return Extension(self.plan(doit_task)._replace(dynamic=False))
        group = loader.regex_groups.get(doit_task.name)
        if group is not None and group.found:
            return Extension(Task(doit_task.name), drop=True)
        created = self._create(doit_task, loader)
        TaskControl.add_implicit_task_dep(self._control.targets, doit_task, doit_task.file_dep)
        if group is not None:
            # The placeholder only had to bring the tasks about; it need not make the target itself.
            doit_task.file_dep = set()
            if group.target in self._control.targets:
                group.found = True
            else:
                group.tasks.discard(loader.basename)
                if not group.tasks:
                    raise InvalidCommand(not_found=group.target)
        loader.created = True
        doit_task.loader = DelayedLoaded
        if created:
            self._retire_workers()
        real = self.tasks[doit_task.name]
        if real is not doit_task and real.loader is None:
            real.loader = DelayedLoaded
        added = tuple(self.plan(task) for task in created if task.name != doit_task.name)
        return Extension(self.plan(real)._replace(dynamic=bool(real.calc_dep)), added)

    def _create(self, doit_task: DoitTask, loader: Any) -> list[DoitTask]:
        to_load = loader.basename or doit_task.name
        this_loader = self.tasks[to_load].loader
        if not this_loader or this_loader.created:
            return []
        generated = loader.creator(**this_loader.kwargs) if this_loader.kwargs else loader.creator()
        created: list[DoitTask] = list(generate_tasks(to_load, generated, loader.creator.__doc__))
        TaskControl.set_implicit_deps(self._control.targets, created)
        for task in created:
            if not task.loader:
                task.loader = DelayedLoaded
            self._control.tasks[task.name] = task
        for task in created:
            self._check_names(task)
        this_loader.created = True
        return created

    # --- running

    def payload(self, task: Task, getargs: Mapping[str, object], changed: Sequence[str]) -> object:
        """Return what the runner needs to execute the task in a worker."""
        doit_task = self.tasks[task.name]
        if doit_task.params or doit_task.creator_params or doit_task.cfg_values:
            doit_task.init_options()
        elif doit_task.options is None:
            doit_task.options = {}  # the same, without a parser for nothing
        options: dict[str, Any] = doit_task.options
        options.update(getargs)
        return Payload(
            task=task.name,
            options=options,
            pos_arg_val=doit_task.pos_arg_val,
            changed=list(changed),
            file_dep=task.inputs,
            verbosity=self._stream.effective_verbosity(task.verbosity),
        )

    def runs_inline(self, task: Task) -> bool:
        """Whether one of the actions needs the terminal."""
        return any(is_interactive(action) for action in self.tasks[task.name].actions)

    def succeeded(
        self, task: Task, outcome: JobOutcome, results: Mapping[str, object]
    ) -> Mapping[str, object]:
        """Return the task's own values and those that its uptodate items save."""
        values = {**outcome.values, **values_of_checks(task.checks, results)}
        if any(check.kind is CheckKind.OPAQUE for check in task.checks):
            try:
                for saver in self.tasks[task.name].value_savers:
                    values.update(saver())
            except Exception as error:
                raise HostError(told(error, "a value saver")) from None
        return values

    def teardown_payload(self, task: Task) -> object:
        """Return what a worker needs to run the teardown actions of a task that it has executed."""
        return TeardownPayload(task.name, self._stream)

    def torn_down(self, task: Task, outcome: JobOutcome) -> str | None:
        """Pass on what the worker printed; doit decided there how much of it is shown."""
        for stream, texts in ((sys.stdout, outcome.outs), (sys.stderr, outcome.errs)):
            stream.write("".join(text for text in texts if text))
            stream.flush()
        if outcome.status is JobStatus.OK:
            return None
        return _teardown_message(task, outcome.message)

    def teardown(self, task: Task) -> str | None:
        """Run the teardown actions in this process."""
        doit_task = self.tasks[task.name]
        if doit_task.verbosity is None:
            doit_task.overwrite_verbosity(self._stream)
        doit_task.init_options()
        fail = doit_task.execute_teardown(self._stream)
        sys.stdout.flush()
        if fail is None:
            return None
        return _teardown_message(task, fail.get_msg())


def _teardown_message(task: Task, message: str) -> str:
    return f"ERROR: task '{task.name}' teardown action\n{message}"


def told(error: Exception, what: str) -> str:
    """Return one line for an exception that the user's code raised during the run."""
    return f"{what} raised an exception: {loading_error(error, os.getcwd())}"


def _dependencies(task: DoitTask) -> tuple[frozenset[str], tuple[str, ...]]:
    return frozenset(task.file_dep), tuple(task.targets)
