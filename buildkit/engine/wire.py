"""What the parent and a worker say to each other: pickles with a head before them, cut into packets.

The line between them keeps packets apart where the system can do that. A request that fits into one packet
is then either with the worker or still in the line as a whole, and can be taken back from there.
"""

from __future__ import annotations

import os
import pickle
import struct
from enum import IntFlag
from typing import TYPE_CHECKING, cast

from buildkit.cache.early import EarlyOutput
from buildkit.core.execution import Cost
from buildkit.engine.job import JobStatus, RunnerReply

if TYPE_CHECKING:
    import socket

PACKET_BYTES = 32 * 1024  # well below the send buffer of a socket, which a packet must fit into

# A worker has so many pairs of output pipes at most: jobs that follow each other use different ones.
MOST_LANES = 8

_HEAD = struct.Struct("<QB")  # of each message: how many bytes follow, and flags


class Flag(IntFlag):
    """What the head of a message says beside its length."""

    NONE = 0
    AFTER_SUCCESS = 2  # of a request: to be begun only if the job before it succeeded
    FAILED = 4  # of an answer: the job did not succeed
    NOT_BEGUN = 8  # of an answer: the job was not begun, because the one before it failed
    SILENT = 16  # of an answer: nothing that the job wrote is still in its pipes
    LANE = 32  # of a request, times a number below `MOST_LANES`: which pipes the job writes to


Request = tuple[str, object, tuple[str, ...]]  # mark, payload, outputs to store
# Status, message, exit code, failed action, outs, errs, values, result, extra; the six numbers of the cost;
# when it began on the monotonic clock; what was stored of its outputs. Plain tuples are pickled
# in a third of the time of dataclasses.
Answer = tuple[tuple[object, ...], tuple[int | None, ...], int, tuple[tuple[object, ...], ...]]


def socket_pair() -> tuple[int, socket.socket, bool]:
    """Return both ends of a new line, and whether it keeps packets apart."""
    import socket  # only runs with Python actions need it

    keeps_packets = True
    try:
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    except OSError:  # macOS
        near, far = socket.socketpair()
        keeps_packets = False
    return near.detach(), far, keeps_packets


def pickled(message: object) -> bytes:
    """Return the body of a message; raises whatever pickling it raises."""
    return pickle.dumps(message, pickle.HIGHEST_PROTOCOL)


def framed(body: bytes, flags: int = 0) -> bytes:
    """Return a message as it is sent."""
    return _HEAD.pack(len(body), flags) + body


def is_whole(received: bytes | bytearray) -> bool:
    """Whether what was received so far is a whole message."""
    size = len(received) - _HEAD.size
    return size >= 0 and size >= _HEAD.unpack_from(received)[0]


def flags_of(received: bytes | bytearray) -> int:
    """Return the flags of a message."""
    return received[_HEAD.size - 1]


def decode(received: bytes | bytearray) -> object:
    """Return what a whole message says; raises whatever unpickling it raises."""
    # From our own parent or worker, over a private socket.
    return pickle.loads(memoryview(received)[_HEAD.size :])  # noqa: S301 - our own other half


def answer_of(reply: RunnerReply, cost: Cost, started_ns: int, kept: tuple[EarlyOutput, ...] = ()) -> bytes:
    """Return the body of an answer; raises whatever pickling the reply raises."""
    failed = reply.status is not JobStatus.OK
    said = (
        reply.status.value if failed else None, reply.message, reply.exit_code, reply.failed_action,
        reply.outs, reply.errs, reply.values, reply.result, reply.extra,
    )  # fmt: skip
    took = (
        cost.wall_ns, cost.user_ns, cost.system_ns, cost.rss_bytes, cost.read_bytes, cost.write_bytes,
    )  # fmt: skip
    return pickled((said, took, started_ns, tuple(map(tuple, kept))))


def decode_answer(
    received: bytes | bytearray,
) -> tuple[RunnerReply, Cost, int, tuple[EarlyOutput, ...]]:
    """Return the reply, what it took, when the job began on the monotonic clock, and what was stored."""
    answer = cast(Answer, decode(received))
    (status, *rest), took, started_ns, kept = answer
    reply = RunnerReply(JobStatus.OK if status is None else JobStatus(str(status)), *rest)  # type: ignore[arg-type] # as `answer_of` has put them
    return reply, Cost(*took), started_ns, tuple([EarlyOutput(*one) for one in kept])  # type: ignore[arg-type] # the same


def send(fd: int, data: bytes) -> bytes:
    """Write packets until all is sent or the line is full; return what is left."""
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(fd, view[:PACKET_BYTES]) :]
    except BlockingIOError:
        pass
    return bytes(view)


def receive(fd: int) -> bytes | None:
    """Wait for a message and return it; None when the other side is gone."""
    try:
        data = os.read(fd, PACKET_BYTES)
        if data and not is_whole(data):
            more = bytearray(data)
            while data and not is_whole(more):
                data = os.read(fd, PACKET_BYTES)
                more += data
            return bytes(more) if data else None
    except ConnectionResetError:
        return None
    return data or None
