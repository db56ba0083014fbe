"""One worker process as its parent sees it: how it is forked, written to and read from.

A worker has a line, over which requests go out and answers come in, and for each lane two pipes for what
jobs write. The parent keeps the worker's end of the line open, too: a request that the worker has not taken
yet can be taken back there. What jobs are, and who gets which, does not belong here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from socket import MSG_DONTWAIT, socket
from typing import NoReturn

from buildkit.engine.job import Stream
from buildkit.engine.loop import EventLoop
from buildkit.engine.procfs import die_with_parent
from buildkit.engine.wire import PACKET_BYTES, is_whole, send, socket_pair

STREAMS: tuple[Stream, Stream] = (1, 2)

Output = tuple[int, Stream]  # lane, stream


@dataclass(slots=True, eq=False)
class Line:
    """A worker's line, both ends of it."""

    near: int  # -1 once it is closed
    far: socket
    keeps_packets: bool
    inbox: bytearray = field(default_factory=bytearray)
    outbox: bytes = b""

    def send(self, message: bytes) -> bool:
        """Send a message, and return whether all of it went; OSError where the worker is gone."""
        self.outbox = send(self.near, message)
        return not self.outbox

    def send_more(self) -> bool:
        """Go on with a message that did not go at once; return whether that is all of it now."""
        try:
            self.outbox = send(self.near, self.outbox)
        except OSError:
            self.outbox = b""  # the worker died: its exit tells the rest
        return not self.outbox

    @property
    def takes_ahead(self) -> bool:
        """Whether a message of one packet that is sent now can be taken back."""
        return self.keeps_packets and not self.outbox

    def take_back(self) -> list[bytes]:
        """Take back all packets that the worker has not taken, and return them in their order."""
        packets: list[bytes] = []
        while self.near >= 0:
            try:
                # Not by the descriptor's own mode: the worker has the same one, and waits at it.
                packet = self.far.recv(PACKET_BYTES, MSG_DONTWAIT)
            except OSError:  # BlockingIOError: that is all
                break
            if not packet:
                break
            packets.append(packet)
        return packets

    def close(self) -> None:
        """Close both ends; a worker that waits for work ends then."""
        os.close(self.near)
        self.far.close()
        self.near = -1

    def receive(self) -> bytes | None:
        """Return the next message from the worker, or None while there is no whole one."""
        while self.near >= 0:
            try:
                data = os.read(self.near, PACKET_BYTES)
            except OSError:  # BlockingIOError: nothing there; ConnectionResetError: its exit tells the rest
                return None
            if not data:
                return None
            if not self.inbox and is_whole(data):
                return data
            self.inbox += data
            if is_whole(self.inbox):
                message = bytes(self.inbox)
                self.inbox.clear()
                return message
        return None


def fork_worker(
    siblings: Iterable[Line],
    quiesce: Callable[[], AbstractContextManager[object]],
    serve: Callable[[int, list[tuple[int, int]]], NoReturn],
    loop: EventLoop,
    lanes: int,
) -> tuple[int, Line, dict[Output, int]]:
    """Return pid, line and outputs of a new worker, in which `serve` is called with its ends of them.

    Raises OSError when the system has no room for it.
    """
    line = Line(*socket_pair())
    ours: list[int] = [line.near]
    theirs: list[int] = []
    pairs: list[tuple[int, int]] = []
    outputs: dict[Output, int] = {}
    try:
        for lane in range(lanes):
            for stream in STREAMS:
                reader, writer = os.pipe()
                ours.append(reader)
                theirs.append(writer)
                outputs[lane, stream] = reader
            pairs.append((theirs[-2], theirs[-1]))
        for text in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):
                text.flush()  # else both processes would write what is buffered
        parent = os.getpid()
        with quiesce(), loop.forking():
            pid = os.fork()
            if not pid:
                die_with_parent(parent)
                _become_worker(line, pairs, ours, siblings, serve, loop)
    except OSError:
        line.far.close()
        for fd in ours:
            os.close(fd)
        raise
    finally:
        for fd in theirs:
            os.close(fd)
    with suppress(OSError):  # the child does the same; who comes first does not matter
        os.setpgid(pid, pid)
    for fd in ours:
        os.set_blocking(fd, False)
    return pid, line, outputs


def _become_worker(
    line: Line,
    pairs: list[tuple[int, int]],
    ours: list[int],
    siblings: Iterable[Line],
    serve: Callable[[int, list[tuple[int, int]]], NoReturn],
    loop: EventLoop,
) -> NoReturn:
    """Turn the forked child into a worker."""
    try:
        os.setpgid(0, 0)
        loop.abandon_in_child()
        for fd in ours:
            os.close(fd)
        for sibling in siblings:
            sibling.far.close()
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        serve(line.far.detach(), pairs)
    finally:
        os._exit(70)
