"""`doit run`: doit's command, with our engine behind it.

What belongs here: doit's options, and the way from them to a session.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from doit import cmd_run
from doit.action import PythonAction
from doit.cmd_run import Run as DoitRun
from doit.control import TaskControl
from doit.exceptions import InvalidCommand
from doit.globals import Globals
from doit.reporter import ConsoleReporter
from doit.task import Stream

from buildkit.cli.tasks import TaskCommand, action_expansion, tell_wait
from buildkit.core.errors import StateError
from buildkit.core.plan import Plan
from buildkit.engine.machine import Machine, parse_width
from buildkit.engine.scheduler import refuse_cycles
from buildkit.frontend.console import BuildkitReporter
from buildkit.frontend.definitions import unknown_task
from buildkit.frontend.dependency import BuildkitDependency
from buildkit.frontend.planner import Planner
from buildkit.frontend.reporting import ReporterSink
from buildkit.frontend.session import Session, SessionOptions
from buildkit.frontend.workspace import Workspace, project_root, warn_on_stderr
from buildkit.state.lock import ProjectLock
from buildkit.state.traces import TraceStore

opt_num_process = {
    **cmd_run.opt_num_process,
    "type": str,
    "default": "0",
    "help": "how many tasks at once: auto (as wide as this machine allows), N, N%% of its cores, auto-1, "
    "0 for one after the other in this process [default: %(default)s]",
}

opt_no_wait = {
    "name": "no_wait",
    "short": "",
    "long": "no-wait",
    "type": bool,
    "default": False,
    "help": "fail at once when another run holds this project, instead of waiting for it",
}


class Run(TaskCommand, DoitRun):  # type: ignore[misc] # doit has no types
    """doit's `run` with content hashes, a cache and real parallelism."""

    name = "run"
    cmd_options = (
        *(option for option in DoitRun.cmd_options if option["name"] != "num_process"),
        opt_num_process,
        opt_no_wait,
    )

    def get_reporters(self) -> Any:
        """Return doit's reporters; the default one also tells of restores."""
        reporters = super().get_reporters()
        if reporters.get("console") is ConsoleReporter:
            reporters["console"] = BuildkitReporter
        return reporters

    def _open_dependency(self) -> BuildkitDependency:
        """Answer questions while the dodo.py loads from what is recorded; nothing is created yet."""
        try:
            return self._dependency_of(Workspace(project_root(), os.environ, read_only=True))
        except StateError:
            # The run opens the state again to write, and repairs it or says what is wrong with it.
            return BuildkitDependency(TraceStore(None), flush=lambda: None)

    def _execute(
        self,
        outfile: Any,
        verbosity: Any = None,
        always: bool = False,
        continue_: bool = False,
        reporter: Any = "console",
        num_process: Any = 0,
        par_type: str = "process",
        single: bool = False,
        auto_delayed_regex: bool = False,
        force_verbosity: bool = False,
        failure_verbosity: int = 0,
        pdb: Any = False,
        no_wait: bool = False,
    ) -> int:
        """Run the selected tasks; parameters are doit's options."""
        width = parse_width(str(num_process))
        if par_type not in ("process", "thread"):
            raise InvalidCommand(f"Invalid parallel type {par_type}")
        PythonAction.pm_pdb = pdb
        self.control = self._select(auto_delayed_regex)
        if single:
            self._drop_dependencies()
        root = project_root()
        machine = Machine.probe()
        slots = width.resolve(machine)
        options = SessionOptions(
            width=max(1, slots),
            parallel="inline" if slots == 0 or pdb else par_type,
            continue_=continue_,
            always=always,
        )
        stream = Stream(verbosity, force_verbosity)
        planner = Planner(
            root=root,
            environ=os.environ,
            expansion=action_expansion(),
            locate=self.definitions().locate,
        )
        # Everything that can be wrong with the definition is found before anything is written.
        tasks = self.control.tasks
        planned = [planner.plan(task, known=tasks.get) for task in tasks.values()]
        plan = Plan(planned, self.control.selected_tasks)
        refuse_cycles(plan)
        self._lock = ProjectLock(root)
        self._lock.acquire(wait=not no_wait, on_wait=tell_wait, argv=tuple(sys.argv))
        self._workspace = Workspace(root, os.environ, read_only=False)
        dependency = self._dependency_of(self._workspace)
        self._dependency = Globals.dep_manager = dependency
        outstream = open(outfile, "w", encoding="utf-8") if isinstance(outfile, str) else outfile  # noqa: SIM115
        self.outstream = outstream
        try:
            reporter_object = self._reporter(reporter, outstream, failure_verbosity)
            session = Session(
                self._workspace,
                self.control,
                plan,
                options=options,
                machine=machine,
                planner=planner,
                dependency=dependency,
                stream=stream,
                lock=self._lock,
                sink=lambda tasks: ReporterSink(
                    reporter_object,
                    tasks=tasks,
                    selected=self.control.selected_tasks,
                    stream=stream,
                    parallel=options.width > 1,
                    warn=warn_on_stderr,
                ),
            )
            totals = session.run()
        finally:
            if isinstance(outfile, str):
                outstream.close()
        if isinstance(reporter_object, BuildkitReporter):
            sys.stderr.write(session.summary + "\n")
        return totals.exit_code

    def _select(self, auto_delayed_regex: bool) -> TaskControl:
        control = TaskControl(self.task_list, auto_delayed_regex=auto_delayed_regex)
        try:
            control.process(self.sel_tasks)
        except InvalidCommand as error:
            raise unknown_task(error, control) from None
        return control

    def _drop_dependencies(self) -> None:
        """Do what `--single` says: only the named tasks, and the subtasks of named groups."""
        for name in self.control.selected_tasks:
            task = self.control.tasks[name]
            if task.has_subtask:
                for subtask in task.task_dep:
                    self.control.tasks[subtask].task_dep = []
            else:
                task.task_dep = []

    def _reporter(self, reporter: Any, outstream: Any, failure_verbosity: int) -> Any:
        chosen = self.reporters[reporter] if isinstance(reporter, str) else reporter
        if isinstance(chosen, type):
            return chosen(outstream, {"failure_verbosity": failure_verbosity})
        return chosen
