"""Jobs and their outcomes, as data: what an executor is asked to do, and what it says happened.

What belongs here: the records that the scheduler and the executors exchange, and the two Protocols
between them. Nothing here knows of doit, of plans or of caches; nothing here starts a process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, Protocol

from buildkit.core.execution import Cost
from buildkit.core.record import Record
from buildkit.engine.log import TaskLog

if TYPE_CHECKING:
    from buildkit.cache.early import EarlyOutput

Stream = Literal[1, 2]  # the file descriptor that a job wrote to: standard output, standard error


class Command(Record):
    """One command action with everything expanded."""

    text: str  # what a person would type; only for messages
    argv: tuple[str, ...]  # what is executed; for a shell command ("/bin/sh", "-c", text)
    cwd: str | None = None
    env: Mapping[str, str] | None = None  # the whole environment; None: inherit ours
    capture: bool | None = True  # True: captured; False: writes to our own stdout and stderr; None: discarded
    save_out: str | None = None  # `values[save_out]` becomes the text of stdout
    encoding: str = "utf-8"
    decode_errors: str = "replace"


class CommandJob(Record):
    """Commands that run one after the other and stop at the first failure."""

    commands: tuple[Command, ...]
    stdin: Literal["inherit", "null"] = "null"
    timeout_s: float | None = None  # for all commands together
    live: bool = True  # what they write is shown at once, so that it comes in order with that of other jobs


class PythonJob(Record):
    """Something that the `run` function of an executor understands; picklable where workers are forked."""

    payload: object
    timeout_s: float | None = None
    keeps_worker: bool = False  # a later job has to find in its process what this one leaves there
    worker: str = ""  # the process that must run it, as `JobOutcome.worker` named it; "": any
    outputs: tuple[str, ...] = ()  # files that its worker may store at once when it has succeeded


Job = CommandJob | PythonJob


class JobStatus(StrEnum):
    """How a job ended."""

    OK = "ok"  # every action ran and said success
    FAILED = "failed"  # an action ended with exit code 1..125, or Python code said that it failed
    ERROR = "error"  # exit code above 125, an action that cannot be started, an exception
    SIGNALLED = "signalled"  # a signal that we did not send ended the command
    TIMED_OUT = "timed out"  # its time was over; the job and all its descendants were ended
    LOST = "lost"  # the worker process that ran it died; nobody knows how far it came
    CANCELLED = "cancelled"  # we were asked to end it; the job and all its descendants were ended


class RunnerReply:
    """What the `run` function of a Python executor returns when it wants to say more than "success".

    Any other object that it returns means OK and becomes `JobOutcome.extra`. `outs` and `errs` stay None
    where the runner did not collect them; the executor then fills in what the job wrote as a whole.
    """

    __slots__ = (
        "errs",
        "exit_code",
        "extra",
        "failed_action",
        "message",
        "outs",
        "result",
        "status",
        "values",
    )

    def __init__(
        self,
        status: JobStatus = JobStatus.OK,
        message: str = "",
        exit_code: int | None = None,
        failed_action: int | None = None,
        outs: list[str | None] | None = None,
        errs: list[str | None] | None = None,
        values: dict[str, object] | None = None,
        result: object = None,
        extra: object = None,
    ) -> None:
        self.status = status
        self.message = message
        self.exit_code = exit_code
        self.failed_action = failed_action
        self.outs = outs
        self.errs = errs
        self.values: dict[str, object] = {} if values is None else values
        self.result = result
        self.extra = extra


class JobOutcome:
    """What happened to a job. `started_ns` and `ended_ns` count on the monotonic clock."""

    __slots__ = (
        "cost",
        "ended_ns",
        "errs",
        "exit_code",
        "extra",
        "failed_action",
        "kept",
        "log",
        "message",
        "outs",
        "result",
        "signal",
        "started_ns",
        "status",
        "values",
        "worker",
    )

    def __init__(
        self,
        status: JobStatus,
        message: str = "",  # one sentence for the user; for an exception followed by its traceback
        exit_code: int | None = None,
        signal: int | None = None,
        failed_action: int | None = None,  # index of the action that did not succeed
        log: TaskLog | None = None,
        outs: list[str | None] | None = None,  # per action that ran; None: not captured
        errs: list[str | None] | None = None,
        values: dict[str, object] | None = None,
        result: object = None,  # commands: stdout + stderr of the last one, or its digest when it is too long
        cost: Cost | None = None,
        extra: object = None,  # what the runner of a Python job returned beside success
        worker: str = "",  # kind of executor, and which of its processes
        started_ns: int = 0,
        ended_ns: int = 0,
        kept: tuple[EarlyOutput, ...] = (),  # what its worker has stored of its outputs
    ) -> None:
        self.status = status
        self.message = message
        self.exit_code = exit_code
        self.signal = signal
        self.failed_action = failed_action
        self.log = TaskLog() if log is None else log
        self.outs: list[str | None] = [] if outs is None else outs
        self.errs: list[str | None] = [] if errs is None else errs
        self.values: dict[str, object] = {} if values is None else values
        self.result = result
        self.cost = Cost() if cost is None else cost
        self.extra = extra
        self.worker = worker
        self.started_ns = started_ns
        self.ended_ns = ended_ns
        self.kept = kept


class OutputSink(Protocol):
    """Who watches the output of running jobs."""

    def write(self, job_id: int, stream: Stream, data: bytes) -> None:
        """Take bytes as they arrive, not cut at lines; called in the thread of the loop."""


Done = Callable[[int, JobOutcome], None]
Began = Callable[[int, int], None]  # with the moment on the monotonic clock, in ns


class Executor(Protocol):
    """Runs jobs. `done` is called exactly once per job, by the event loop, never from within `start`."""

    def start(self, job_id: int, job: Job, sink: OutputSink | None, done: Done) -> None:
        """Begin a job. Whatever goes wrong with it arrives through `done`, not as an exception."""

    def cancel(self, job_id: int) -> None:
        """End a job and what descends from it; `done` follows. An unknown id is ignored."""

    def hurry(self) -> None:
        """Kill at once whatever is being ended with grace: the second Ctrl-C."""

    def shutdown(self, grace_s: float) -> None:
        """Cancel what still runs, wait until it is gone, give everything back. Not from a loop callback."""


class Pipeline(Protocol):
    """Takes jobs ahead of time: each begins when another one has ended, without a word in between."""

    def room_ahead(self) -> bool:
        """Whether `start_ahead` makes sense now."""

    def start_ahead(self, job_id: int, job: Job, sink: OutputSink | None, done: Done, began: Began) -> None:
        """Begin a job when another one has ended; `began` is then called, before `done`.

        A job that is cancelled before it began is done without that, and so is none else but one that
        cannot begin at all.
        """

    def spread(self, slots: int) -> None:
        """Begin up to so many jobs that wait behind others: there are slots that nothing else needs."""
