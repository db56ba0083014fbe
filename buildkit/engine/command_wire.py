"""What the engine and its command server say to each other: the messages, and how they are written.

A message is a tuple, written with marshal behind its length: both ends are the same program. What a message
makes happen: `command_server.py` and `served_commands.py`.
"""

from __future__ import annotations

import marshal
import os
import struct
from collections import deque
from enum import IntEnum
from typing import Any

from buildkit.core.execution import Cost
from buildkit.engine.job import Command, CommandJob, JobOutcome, JobStatus
from buildkit.engine.log import TaskLog

READ_BYTES = 256 * 1024
_LENGTH = struct.Struct("<Q")


class Ask(IntEnum):
    """The first field of what the engine says."""

    START = 0  # job id, job: a slot is free for it
    QUEUE = 1  # job id, job: to be started as soon as a job of this server leaves its slot
    RELEASE = 2  # job id: a slot is free for this queued job
    CANCEL = 3  # job id: end it, or take it out of the queue
    HURRY = 4  # kill what is being ended
    ENVIRONMENT = 5  # the environment that commands inherit from now on: a dict of bytes
    DIRECTORY = 6  # the current directory from now on
    END = 7  # grace in seconds: end everything, then yourself


class Tell(IntEnum):
    """The first field of what the server says."""

    OUTPUT = 0  # job id, stream, bytes
    ENDED = 1  # job id, outcome, id of the queued job that has its slot now (0: none), and when that began
    WITHDRAWN = 2  # job id: it will not be started


def encode(message: tuple[Any, ...]) -> bytes:
    """Return the bytes of a message; ValueError where a part of it is no plain data."""
    data = marshal.dumps(message)
    return _LENGTH.pack(len(data)) + data


class Inbox:
    """Bytes that arrive in pieces, as messages in their order."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._messages: deque[tuple[Any, ...]] = deque()

    def receive(self, fd: int) -> bool:
        """Read once what is there; False when the other side is gone."""
        try:
            data = os.read(fd, READ_BYTES)
        except BlockingIOError:
            return True
        except ConnectionResetError:
            return False
        buffer, size = self._buffer, _LENGTH.size
        buffer += data
        begin = 0
        while len(buffer) - begin >= size:
            end = begin + size + _LENGTH.unpack_from(buffer, begin)[0]
            if len(buffer) < end:
                break
            self._messages.append(marshal.loads(buffer[begin + size : end]))  # noqa: S302 - our own other half
            begin = end
        del buffer[:begin]
        return bool(data)

    def next(self) -> tuple[Any, ...] | None:
        """Return the first message that is whole, once; None: there is none."""
        return self._messages.popleft() if self._messages else None


def job_fields(job: CommandJob) -> tuple[Any, ...]:
    """Return a job as plain data."""
    commands = [
        (one.text, one.argv, one.cwd, None if one.env is None else dict(one.env), one.capture, one.save_out,
         one.encoding, one.decode_errors)
        for one in job.commands
    ]  # fmt: skip
    return commands, job.stdin, job.timeout_s, job.live


def job_of(fields: tuple[Any, ...]) -> CommandJob:
    """Return the job that `job_fields` wrote down."""
    commands, *rest = fields
    return CommandJob(tuple([Command(*one) for one in commands]), *rest)


def outcome_fields(outcome: JobOutcome) -> tuple[Any, ...]:
    """Return an outcome as plain data, without its log, which goes ahead of it as output."""
    cost = outcome.cost
    return (
        outcome.status.value, outcome.message, outcome.exit_code, outcome.signal, outcome.failed_action,
        outcome.outs, outcome.errs, outcome.values, outcome.result,
        (cost.wall_ns, cost.user_ns, cost.system_ns, cost.rss_bytes, cost.read_bytes, cost.write_bytes),
        outcome.worker, outcome.started_ns, outcome.ended_ns,
    )  # fmt: skip


def outcome_of(fields: tuple[Any, ...], log: TaskLog) -> JobOutcome:
    """Return the outcome that `outcome_fields` wrote down."""
    (status, message, exit_code, signum, failed_action, outs, errs, values, result, cost, worker,
     started_ns, ended_ns) = fields  # fmt: skip
    return JobOutcome(
        JobStatus(status), message, exit_code, signum, failed_action, log, outs, errs, values, result,
        Cost(*cost), None, worker, started_ns, ended_ns,
    )  # fmt: skip
