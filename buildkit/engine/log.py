"""The output of one task: ordered, bounded in memory and on disk, and storable without pickle.

A log is a sequence of frames (stream, bytes). Up to `MEMORY_BYTES` stay in memory, more goes to an
anonymous file; above `max_bytes` only the last `TAIL_BYTES` are kept, and a marker says what is missing.
What a log means, and who sees it, does not belong here.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Iterator

MEMORY_BYTES = 256 * 1024
TAIL_BYTES = 64 * 1024
MAX_BYTES = 16 * 1024 * 1024

_FRAME = struct.Struct("<BI")  # stream, length of the data that follows
_GAP = 0  # pseudo stream: the data is a count of bytes that were left out here
_COUNT = struct.Struct("<Q")
_HEADER = struct.Struct("<4sQI")  # magic with version, length and CRC-32 of the frames
_MAGIC = b"BKL\x01"
_EMPTY = _HEADER.pack(_MAGIC, 0, 0)
_TAIL_FRAME_BYTES = 4096  # small frames merge up to this size in the tail


class TaskLog:
    """What a task wrote, in the order in which it arrived."""

    __slots__ = (
        "_buffer",
        "_dir",
        "_fd",
        "_last",
        "_max_bytes",
        "_spilled",
        "_tail",
        "kept_bytes",
        "total_bytes",
    )

    def __init__(self, spill_dir: str | None = None, max_bytes: int = MAX_BYTES) -> None:
        """`spill_dir`: where the anonymous file of a long log is made; None: the system's place."""
        self._dir = spill_dir
        self._max_bytes = max_bytes
        self._buffer = bytearray()  # encoded frames that are not in the file
        self._last = -1  # offset in the buffer of the frame that may still grow
        self._fd = -1
        self._spilled = 0  # bytes of encoded frames in the file
        self._tail: _Tail | None = None
        self.kept_bytes = 0  # in the head
        self.total_bytes = 0

    def write(self, stream: int, data: bytes) -> None:
        """Append `data`; never raises for lack of space, but counts what could not be kept."""
        if not data:
            return
        self.total_bytes += len(data)
        if self._tail is not None:
            self._tail.write(stream, data)
            return
        room = self._max_bytes - self._spilled - len(self._buffer) - _FRAME.size
        if len(data) > room:
            self._append(stream, data[: max(room, 0)])
            self._tail = _Tail()
            self._tail.write(stream, data[max(room, 0) :])
            return
        self._append(stream, data)

    def _append(self, stream: int, data: bytes) -> None:
        if not data:
            return
        buffer = self._buffer
        if self._last >= 0 and buffer[self._last] == stream:
            _, length = _FRAME.unpack_from(buffer, self._last)
            _FRAME.pack_into(buffer, self._last, stream, length + len(data))
        else:
            self._last = len(buffer)
            buffer += _FRAME.pack(stream, len(data))
        buffer += data
        self.kept_bytes += len(data)
        if len(buffer) > MEMORY_BYTES:
            self._spill()

    def _spill(self) -> None:
        try:
            if self._fd < 0:
                self._fd = _anonymous_file(self._dir)
            _write_at(self._fd, self._buffer, self._spilled)
        except OSError:
            # A full disk must not fail a task that only talks much: the head ends at what was saved.
            self._tail = _Tail()
            for stream, data in _decode(bytes(self._buffer)):
                self._tail.write(stream, data)
                self.kept_bytes -= len(data)
        else:
            self._spilled += len(self._buffer)
        self._buffer.clear()
        self._last = -1

    @property
    def left_out_bytes(self) -> int:
        """Return how many bytes were written and are neither in the head nor in the tail."""
        return self.total_bytes - self.kept_bytes - (self._tail.data_bytes if self._tail else 0)

    def frames(self) -> Iterator[tuple[int, bytes]]:
        """Yield (stream, bytes) in order; a gap appears as a line that says how much is missing."""
        for stream, data in self._stored_frames():
            yield (2, _gap_line(data)) if stream == _GAP else (stream, data)

    def data(self, stream: int | None = None) -> bytes:
        """Return the bytes of one stream, or of both in order, with the marker of a gap."""
        return b"".join(data for frame, data in self.frames() if stream is None or frame == stream)

    def tail(self, lines: int, encoding: str = "utf-8") -> list[str]:
        """Return the last lines as harmless text without line ends."""
        if lines <= 0:
            return []
        last: list[bytes] = []
        size = 0
        for _, data in self.frames():  # only the end matters: older pieces are dropped on the way
            last.append(data)
            size += len(data)
            while size - len(last[0]) > TAIL_BYTES:
                size -= len(last.pop(0))
        text = sanitize(b"".join(last)[-TAIL_BYTES:]).decode(encoding, "replace")
        return [line.rstrip("\r") for line in text.rstrip("\n").split("\n")][-lines:] if text.strip() else []

    def write_to(self, fd: int) -> None:
        """Write the raw bytes of both streams to a file descriptor."""
        for _, data in self.frames():
            _write_all(fd, data)

    def to_bytes(self) -> bytes:
        """Return the log in the format that `from_bytes` reads."""
        if not self.total_bytes:
            return _EMPTY
        body = b"".join(_FRAME.pack(stream, len(data)) + data for stream, data in self._stored_frames())
        return _HEADER.pack(_MAGIC, len(body), zlib.crc32(body)) + body

    @classmethod
    def from_bytes(cls, data: bytes) -> TaskLog:
        """Return the log that `to_bytes` wrote; ValueError when a byte of it is wrong or missing."""
        if len(data) < _HEADER.size:
            raise ValueError("a stored log is shorter than its header")
        magic, length, crc = _HEADER.unpack_from(data)
        body = data[_HEADER.size :]
        if magic != _MAGIC:
            raise ValueError("a stored log has an unknown format or version")
        if len(body) != length or zlib.crc32(body) != crc:
            raise ValueError("a stored log is damaged")
        log = cls(max_bytes=max(MAX_BYTES, 2 * len(data)))
        for stream, piece in _decode(body):
            if stream == _GAP:
                log._tail = _Tail()
                log.total_bytes += _COUNT.unpack(piece)[0]
            else:
                log.write(stream, piece)
        return log

    def _stored_frames(self) -> Iterator[tuple[int, bytes]]:
        if self._fd >= 0:
            yield from _decode_file(self._fd, self._spilled)
        yield from _decode(bytes(self._buffer))
        if self._tail is not None:
            if self.left_out_bytes:
                yield _GAP, _COUNT.pack(self.left_out_bytes)
            yield from _decode(bytes(self._tail.buffer))

    def close(self) -> None:
        """Give the file back; the log is empty afterwards."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._spilled = 0
        self._buffer.clear()
        self._last = -1
        self._tail = None
        self.kept_bytes = self.total_bytes = 0

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) >= 0:
            os.close(self._fd)
            self._fd = -1


class _Tail:
    """The last `TAIL_BYTES` of encoded frames."""

    __slots__ = ("_last", "buffer", "data_bytes")

    def __init__(self) -> None:
        self.buffer = bytearray()
        self._last = -1
        self.data_bytes = 0

    def write(self, stream: int, data: bytes) -> None:
        data = data[-TAIL_BYTES:]
        buffer = self.buffer
        last = self._last
        length = _FRAME.unpack_from(buffer, last)[1] if last >= 0 else 0
        if last >= 0 and buffer[last] == stream and length + len(data) <= _TAIL_FRAME_BYTES:
            _FRAME.pack_into(buffer, last, stream, length + len(data))
        else:
            self._last = len(buffer)
            buffer += _FRAME.pack(stream, len(data))
        buffer += data
        self.data_bytes += len(data)
        if len(buffer) > TAIL_BYTES:
            self._trim()

    def _trim(self) -> None:
        """Drop bytes from the front until the limit holds; the frame that is cut keeps its end."""
        excess = len(self.buffer) - TAIL_BYTES
        while excess > 0:
            stream, length = _FRAME.unpack_from(self.buffer)
            if length + _FRAME.size <= excess:
                cut, dropped = length + _FRAME.size, length
            else:
                cut = dropped = min(excess, length - 1)
                _FRAME.pack_into(self.buffer, cut, stream, length - cut)
                if not cut:
                    cut, dropped = length + _FRAME.size, length
            del self.buffer[:cut]
            self._last -= cut
            self.data_bytes -= dropped
            excess = len(self.buffer) - TAIL_BYTES
        if self._last < 0:
            self._last = 0 if self.buffer else -1


def _decode(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the frames of a buffer; ValueError where it is not made of whole frames."""
    at = 0
    while at < len(data):
        try:
            stream, length = _FRAME.unpack_from(data, at)
        except struct.error as error:
            raise ValueError("a log ends within the head of a frame") from error
        at += _FRAME.size
        piece = data[at : at + length]
        if stream > 2 or len(piece) != length or (stream == _GAP and length != _COUNT.size):
            raise ValueError("a log holds a frame that makes no sense")
        yield stream, piece
        at += length


def _decode_file(fd: int, size: int) -> Iterator[tuple[int, bytes]]:
    """Yield the frames of the spill file in pieces of bounded size."""
    at = 0
    while at < size:
        stream, length = _FRAME.unpack(os.pread(fd, _FRAME.size, at))
        at += _FRAME.size
        end = at + length
        while at < end:
            piece = os.pread(fd, min(MEMORY_BYTES, end - at), at)
            if not piece:
                return  # the file was cut behind our back; what is left is still a log
            yield stream, piece
            at += len(piece)


def _gap_line(count: bytes) -> bytes:
    return b"\n[buildkit: %d bytes of output left out]\n" % _COUNT.unpack(count)[0]


def _anonymous_file(directory: str | None) -> int:
    """Return a descriptor of a file without a name."""
    import tempfile  # only when a log is long

    fd, path = tempfile.mkstemp(prefix="log-", dir=directory)
    os.unlink(path)
    return fd


def _write_at(fd: int, data: bytearray, offset: int) -> None:
    view = memoryview(data)
    try:
        while view:
            count = os.pwrite(fd, view, offset)
            offset += count
            view = view[count:]
    finally:
        view.release()  # a bytearray with a living view cannot be cleared


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


# What a terminal obeys: escape sequences, other C0 controls, DEL, and C1 controls in their UTF-8 form.
# A string sequence counts only with its terminator: one that never ends must not hide the rest of a log.
_CONTROL = (  # compiled when the first output is shown
    rb"(\x1b\[[0-9;:]*m)"  # SGR: colours and weights, kept
    rb"|\x1b\[[0-?]*[ -/]*[@-~]"
    rb"|\x1b[]PX^_][^\x07\x1b]{0,4096}(?:\x07|\x1b\\)"
    rb"|\x1b(?:[ -/]*[0-~])?"
    rb"|[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f]"
    rb"|\xc2[\x80-\x9f]"
)


def sanitize(data: bytes) -> bytes:
    """Return `data` without what a terminal would obey, except colours, tab, newline and carriage return."""
    return re.sub(_CONTROL, lambda match: match.group(1) or b"", data)
