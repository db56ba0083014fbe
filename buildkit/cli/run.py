"""`doit run`: doit's command, with our engine behind it.

What belongs here: doit's options, and the way from them to a session.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from typing import Any, TextIO

from doit import cmd_run
from doit.action import PythonAction
from doit.cmd_run import Run as DoitRun
from doit.control import TaskControl
from doit.exceptions import InvalidCommand
from doit.globals import Globals
from doit.reporter import ConsoleReporter, ErrorOnlyReporter, ExecutedOnlyReporter, ZeroReporter
from doit.task import Stream

from buildkit.cli.epilogue import tell_end
from buildkit.cli.fast import fast_start_wanted
from buildkit.cli.invocation import plain_arguments
from buildkit.cli.tasks import TaskCommand, action_expansion
from buildkit.cli.waiting import end_what_was_left, tell_wait
from buildkit.core.errors import ExitCode, StateError, UsageError
from buildkit.core.plan import Plan, Task
from buildkit.engine.machine import Machine, parse_width
from buildkit.engine.parts import RunTotals
from buildkit.engine.scheduler import refuse_cycles
from buildkit.frontend.console import BuildkitReporter
from buildkit.frontend.dependency import BuildkitDependency
from buildkit.frontend.hosting import DoitHosting
from buildkit.frontend.lean import make_lean
from buildkit.frontend.observing import Observing, console_mode
from buildkit.frontend.planner import Planner
from buildkit.frontend.remember import Console, Memory
from buildkit.frontend.reporting import ReporterSink
from buildkit.frontend.session import Session, SessionOptions
from buildkit.frontend.task_output import LIVE
from buildkit.frontend.workspace import Workspace, project_root, warn_on_stderr
from buildkit.observe.options import EVENTS_SETTING, ObserveOptions
from buildkit.state.lock import ProjectLock
from buildkit.state.stored_plan import Request
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

opt_sla_strict = {
    "name": "sla_strict",
    "short": "",
    "long": "sla-strict",
    "type": bool,
    "default": False,
    "help": "fail the run, with exit code 1, when a task takes longer than its target",
}

_CONSOLES = (ConsoleReporter, BuildkitReporter, ExecutedOnlyReporter, ZeroReporter, ErrorOnlyReporter)

opt_events = {
    "name": "events",
    "short": "",
    "long": "events",
    "type": str,
    "default": None,
    "help": "append what happens to FILE as JSON lines",
}

opt_trace = {
    "name": "trace",
    "short": "",
    "long": "trace",
    "type": str,
    "default": None,
    "help": "write the run to FILE as a Chrome trace, which Perfetto opens",
}

opt_junit = {
    "name": "junit",
    "short": "",
    "long": "junit",
    "type": str,
    "default": None,
    "help": "write the run to FILE as JUnit XML, one test case per task",
}

opt_prometheus = {
    "name": "prometheus",
    "short": "",
    "long": "prometheus",
    "type": str,
    "default": None,
    "help": "write metrics of the run to FILE for node_exporter's textfile collector",
}

opt_otel = {
    "name": "otel",
    "short": "",
    "long": "otel",
    "type": bool,
    "default": False,
    "help": "send the run as OpenTelemetry spans; needs the extra 'otel'",
}

opt_live = {
    "name": "live",
    "short": "",
    "long": "live",
    "inverse": "no-live",
    "type": bool,
    "default": True,
    "help": "show what runs on a terminal [default: %(default)s]",
}


class Run(TaskCommand, DoitRun):  # type: ignore[misc] # doit has no types
    """doit's `run` with content hashes, a cache and real parallelism."""

    name = "run"
    cmd_options = (
        *(option for option in DoitRun.cmd_options if option["name"] != "num_process"),
        opt_num_process,
        opt_no_wait,
        opt_sla_strict,
        opt_live,
        # Each of these needs a run to observe: see Observing.wants_every_run.
        opt_events,
        opt_trace,
        opt_junit,
        opt_prometheus,
        opt_otel,
    )

    def get_reporters(self) -> Any:
        """Return doit's reporters; the default one also tells of restores."""
        reporters = super().get_reporters()
        if reporters.get("console") is ConsoleReporter:
            reporters["console"] = BuildkitReporter
        return reporters

    _memory: Memory | None = None

    def execute(self, params: Any, args: Any) -> Any:
        """Run, and let the fast start watch from before the dodo.py is loaded."""
        arguments = plain_arguments()
        if arguments is not None and fast_start_wanted(os.environ):
            self._memory = Memory(arguments)
        try:
            return super().execute(params, args)
        finally:
            if self._memory is not None:
                self._memory.close()

    def _open_dependency(self) -> BuildkitDependency:
        """Answer questions while the dodo.py loads from what is recorded; nothing is created yet."""
        try:
            with self._memory.pause() if self._memory is not None else nullcontext():
                return self._dependency_of(Workspace(project_root(), os.environ, read_only=True, paths=()))
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
        sla_strict: bool = False,
        live: bool = True,
        events: Any = None,
        trace: Any = None,
        junit: Any = None,
        prometheus: Any = None,
        otel: bool = False,
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
        stream = Stream(verbosity, force_verbosity)
        planner = Planner(
            root=root,
            environ=os.environ,
            expansion=action_expansion(),
            locate=self.definitions().locate,
        )
        # Everything that can be wrong with the definition is found before anything is written.
        plan = Plan(self._planned(planner), self.control.selected_tasks)
        refuse_cycles(plan)
        if self._memory is not None:
            self._memory.loaded(len(plan))
        machine = Machine.probe()
        slots = width.resolve(machine)
        options = SessionOptions(
            width=max(1, slots),
            parallel="inline" if slots == 0 or pdb else par_type,
            continue_=continue_,
            always=always,
            live=lambda task: stream.effective_verbosity(task.verbosity) >= LIVE,
            sla_strict=sla_strict,
        )
        self._lock = ProjectLock(root)
        self._lock.acquire(wait=not no_wait, on_wait=tell_wait, argv=tuple(sys.argv))
        end_what_was_left(self._lock)
        self._workspace = Workspace(root, os.environ, read_only=False)
        if self._memory is not None:
            self._memory.opened(self._workspace)
        dependency = self._dependency_of(self._workspace)
        self._dependency = Globals.dep_manager = dependency
        outstream = _opened(outfile) if isinstance(outfile, str) else outfile
        self.outstream = outstream
        observing = None
        try:
            observing = Observing(
                ObserveOptions(
                    events=events or self._workspace.settings.events,
                    events_from="--events" if events else EVENTS_SETTING,
                    trace=trace,
                    junit=junit,
                    prometheus=prometheus,
                    otel=otel,
                ),
                os.environ,
                mode=console_mode(
                    os.environ,
                    ours=self._is_console(reporter),
                    terminal=os.isatty(2),
                    inline=options.parallel == "inline",
                    live=live,
                ),
                threads=options.parallel == "thread",
            )
            if observing.screen is not None:
                outstream = observing.screen.stream(outstream)
            reporter_object = self._reporter(reporter, outstream, failure_verbosity)
            if isinstance(reporter_object, BuildkitReporter):
                reporter_object.folding = observing.folding
            sink = ReporterSink(
                reporter_object,
                tasks=self.control.tasks,
                selected=self.control.selected_tasks,
                stream=stream,
                parallel=options.width > 1,
                warn=warn_on_stderr,
                voice=observing.voice,
                folding=observing.folding,
            )
            session = Session(
                self._workspace,
                plan,
                options=options,
                machine=machine,
                hosting=partial(
                    DoitHosting,
                    control=self.control,
                    planner=planner,
                    dependency=dependency,
                    stream=stream,
                    parallel=options.parallel,
                    width=options.width,
                    grace_s=self._workspace.settings.grace,
                    new_log=self._workspace.new_log,
                    keep=self._workspace.keep_early(),
                ),
                lock=self._lock,
                sink=sink,
                observers=observing.observers,
                own_files=[1, 2, *observing.open_files, *([outfile] if isinstance(outfile, str) else [])],
            )
            totals = session.run()
        finally:
            if observing is not None:
                observing.close()
            if isinstance(outfile, str):
                outstream.close()
        tell_end(session.summary if isinstance(reporter_object, BuildkitReporter) else None, totals)
        if self._memory is not None and _came_to_its_end(totals) and not (always or self._lock.nested):
            self._memory.finish(
                self._workspace,
                plan,
                sequential=options.width <= 1,
                console=_console(
                    reporter_object,
                    plain=outfile is sys.stdout and not observing.wants_every_run,
                ),
                ignored=session.is_ignored,
                info=session.info,
                doit_tasks=self.control.tasks,
                ran_here=session.ran_here,
                command=" ".join([self.bin_name, *sys.argv[1:]]),
                request=Request(
                    width=str(num_process),
                    parallel=par_type,
                    continue_=continue_,
                    verbosity=stream.verbosity,
                    force_verbosity=stream.force_global,
                    failure_verbosity=failure_verbosity,
                    sla_strict=sla_strict,
                    live=live,
                )
                if type(reporter_object) is BuildkitReporter
                else None,
            )
        return int(totals.exit_code)  # programs that embed doit print it

    def _planned(self, planner: Planner) -> Iterator[Task]:
        tasks = self.control.tasks
        for task in tasks.values():
            planned = planner.plan(task, known=tasks.get)
            if self._memory is not None:  # else it may belong to a program that uses doit as a library
                make_lean(task, planned)
            yield planned

    def _select(self, auto_delayed_regex: bool) -> TaskControl:
        if self._memory is not None:
            self._memory.created()
        return self.select(auto_delayed_regex=auto_delayed_regex)

    def _drop_dependencies(self) -> None:
        """Do what `--single` says: only the named tasks, and the subtasks of named groups."""
        for name in self.control.selected_tasks:
            task = self.control.tasks[name]
            if task.has_subtask:
                for subtask in task.task_dep:
                    self.control.tasks[subtask].task_dep = []
            else:
                task.task_dep = []

    def _is_console(self, reporter: Any) -> bool:
        """Whether the lines that are printed are ours, and may have company."""
        chosen = self.reporters[reporter] if isinstance(reporter, str) else reporter
        return isinstance(chosen, BuildkitReporter) or (
            isinstance(chosen, type) and issubclass(chosen, BuildkitReporter)
        )

    def _reporter(self, reporter: Any, outstream: Any, failure_verbosity: int) -> Any:
        chosen = self.reporters[reporter] if isinstance(reporter, str) else reporter
        if isinstance(chosen, type):
            return chosen(outstream, {"failure_verbosity": failure_verbosity})
        return chosen


def _opened(path: str) -> TextIO:
    """Return the file of `--output-file`; UsageError where it cannot be written."""
    try:
        return open(path, "w", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--output-file: '{path}' cannot be written: {error.strerror or error}.") from None


def _came_to_its_end(totals: RunTotals) -> bool:
    """Whether nobody ended the run: what has failed is known then, and will be tried again."""
    return totals.exit_code in (0, ExitCode.TASK_FAILED, ExitCode.TASK_ERROR)


def _console(reporter: Any, *, plain: bool) -> Console:
    """Return what the reporter prints of tasks that are up to date, where that is known here."""
    return Console(
        plain and type(reporter) in _CONSOLES,
        lines=type(reporter) in (ConsoleReporter, BuildkitReporter),
        summary=isinstance(reporter, BuildkitReporter),
    )
