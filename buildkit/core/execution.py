"""What happened to a task in a run: the decision, its reason, and what it cost.

What belongs here: the enums and records that the engine writes and every report reads.
How a decision is reached lives in `core/decide.py`; how it is stored, in `state/history.py`.
"""

from __future__ import annotations

from enum import StrEnum

from buildkit.core.record import Fields, Record


class Decision(StrEnum):
    """How a task ended in a run."""

    EXECUTED = "executed"  # its actions ran and succeeded
    RESTORED = "restored"  # outputs, log and values came back from the cache; nothing ran
    SKIPPED = "skipped"  # its action key and its outputs are what was recorded; nothing was touched
    FAILED = "failed"  # an action failed, or the task could not be started
    UPSTREAM_FAILED = "upstream-failed"  # a task that it waits for failed; it was not started
    IGNORED = "ignored"  # the user said `doit ignore`, for it or for a task that it waits for
    CANCELLED = "cancelled"  # the run ended before it could finish


class ReasonKind(StrEnum):
    """Why a task had to run, was restored or was skipped. `Reason.names` says which ones."""

    UP_TO_DATE = "up to date"  # key and outputs equal the record
    NEVER_RUN = "never run"  # there is no record of a success
    FORGOTTEN = "forgotten"  # `doit forget`: the record was removed on purpose, the cache is not asked
    FAILED_BEFORE = "failed last time"  # the last execution did not succeed
    ALWAYS = "always-execute"  # `doit -a`
    NO_DEPENDENCIES = "no dependencies"  # neither inputs nor uptodate checks: never up to date in doit
    NOT_UPTODATE = "uptodate check"  # names: the checks that said no
    INPUT_CHANGED = "input changed"  # names: paths
    INPUT_ADDED = "input added"  # names: paths
    INPUT_REMOVED = "input removed"  # names: paths
    INPUT_MODE = "input mode changed"  # names: paths
    OUTPUT_MISSING = "output missing"  # names: paths
    OUTPUT_CHANGED = "output changed"  # names: paths altered since they were made
    OUTPUT_LIST = "outputs declared differently"  # names: paths added or removed
    COMMAND_CHANGED = "command changed"  # names: numbers of the actions
    CODE_CHANGED = "code changed"  # names: functions and modules
    ARGUMENT_CHANGED = "argument changed"  # names: parameters of a Python action
    ENVIRONMENT_CHANGED = "environment changed"  # names: variables
    TOOL_CHANGED = "tool changed"  # names: tools
    CONFIG_CHANGED = "configuration changed"  # names: keys of config_changed, options, meta
    UPSTREAM_CHANGED = "upstream changed"  # names: tasks whose result or values differ
    PLATFORM_CHANGED = "platform changed"  # names: what differs
    SCHEMA_CHANGED = "buildkit changed"  # the key's schema is another one
    UPSTREAM = "upstream failed"  # names: tasks that failed
    IGNORED = "ignored"  # names: tasks that the user ignores
    ERROR = "error"  # names: one message: the task could not be started


class Reason(Record):
    """One cause, as data: what kind, and the names of the things that it is about."""

    kind: ReasonKind
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the reason as a short phrase for a table."""
        if not self.names:
            return str(self.kind)
        shown = ", ".join(self.names[:3])
        more = f" and {len(self.names) - 3} more" if len(self.names) > 3 else ""
        return f"{self.kind}: {shown}{more}"

    def as_json(self) -> dict[str, object]:
        """Return the reason as all of our JSON spells it."""
        return {"kind": self.kind.value, "names": list(self.names)}


class Cost(Fields):
    """What one execution took. `None` means: not measured, never zero by default."""

    __slots__ = ("read_bytes", "rss_bytes", "system_ns", "user_ns", "wall_ns", "write_bytes")

    def __init__(
        self,
        wall_ns: int = 0,
        user_ns: int | None = None,
        system_ns: int | None = None,
        # Peak resident set of the process tree: of its largest process, or, where it was seen while it ran
        # (every quarter of a second), of all together.
        rss_bytes: int | None = None,
        read_bytes: int | None = None,  # block input
        write_bytes: int | None = None,  # block output
    ) -> None:
        self.wall_ns = wall_ns
        self.user_ns = user_ns
        self.system_ns = system_ns
        self.rss_bytes = rss_bytes
        self.read_bytes = read_bytes
        self.write_bytes = write_bytes

    @property
    def cpu_ns(self) -> int | None:
        """User and system time together; None where not measured."""
        return None if self.user_ns is None or self.system_ns is None else self.user_ns + self.system_ns


class Execution(Fields):
    """One task in one run, as the history keeps it. Offsets count from the start of the run."""

    __slots__ = (
        "attempt",
        "beside",
        "bytes_restored",
        "bytes_stored",
        "cacheable",
        "cost",
        "decision",
        "exit_code",
        "key",
        "load",
        "log_path",
        "queue_ns",
        "reasons",
        "saved_ns",
        "signal",
        "sla_s",
        "slot",
        "started_ns",
        "task",
        "uncacheable_reason",
        "worker",
    )

    def __init__(
        self,
        task: str,
        decision: Decision,
        reasons: tuple[Reason, ...] = (),
        started_ns: int = 0,  # offset of the first action (or of the restore)
        queue_ns: int = 0,  # from ready to started
        cost: Cost | None = None,
        exit_code: int | None = None,
        signal: int | None = None,
        attempt: int = 1,
        worker: str | None = None,  # which kind of executor, and which of its processes
        slot: int | None = None,
        beside: float | None = None,  # mean number of other tasks that ran at the same time
        load: float | None = None,  # one-minute load average per core at the start
        bytes_restored: int = 0,
        bytes_stored: int = 0,
        saved_ns: int = 0,  # wall time that the recorded execution took, where this one did not run
        cacheable: bool = True,
        uncacheable_reason: str | None = None,
        log_path: str | None = None,  # of a failure: where the whole log is
        # 15 hexadecimal digits of the action key: between equal ones nothing had changed
        key: str | None = None,
        sla_s: float | None = None,  # the target that it was held to
    ) -> None:
        self.task = task
        self.decision = decision
        self.reasons = reasons
        self.started_ns = started_ns
        self.queue_ns = queue_ns
        self.cost = Cost() if cost is None else cost
        self.exit_code = exit_code
        self.signal = signal
        self.attempt = attempt
        self.worker = worker
        self.slot = slot
        self.beside = beside
        self.load = load
        self.bytes_restored = bytes_restored
        self.bytes_stored = bytes_stored
        self.saved_ns = saved_ns
        self.cacheable = cacheable
        self.uncacheable_reason = uncacheable_reason
        self.log_path = log_path
        self.key = key
        self.sla_s = sla_s
