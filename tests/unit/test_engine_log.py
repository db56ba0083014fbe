from __future__ import annotations

import os
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildkit.engine.capture import Capture
from buildkit.engine.log import MEMORY_BYTES, TAIL_BYTES, TaskLog, sanitize

frames = st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=40)), max_size=30)


def filled(pieces: list[tuple[int, bytes]], **options: object) -> TaskLog:
    log = TaskLog(**options)  # type: ignore[arg-type]
    for stream, data in pieces:
        log.write(stream, data)
    return log


@given(frames)
def test_a_short_log_is_kept_in_order_and_whole(pieces: list[tuple[int, bytes]]) -> None:
    log = filled(pieces)
    assert log.data() == b"".join(data for _, data in pieces)
    assert log.data(1) == b"".join(data for stream, data in pieces if stream == 1)
    assert log.left_out_bytes == 0


def test_a_long_log_goes_to_a_file_without_a_name(tmp_path) -> None:
    log = filled([(1, b"x" * 50_000), (2, b"y" * 50_000)] * 10, spill_dir=str(tmp_path))
    assert log.data(2) == b"y" * 500_000
    assert len(log._buffer) <= MEMORY_BYTES
    assert os.listdir(tmp_path) == []


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([1, 2]), st.integers(1, 40_000)), min_size=1, max_size=30),
    st.integers(1_000, 200_000),
)
def test_above_its_limit_a_log_keeps_the_head_and_the_tail(sizes, limit: int) -> None:
    random.seed(5)
    pieces = [(stream, random.randbytes(size)) for stream, size in sizes]
    whole = b"".join(data for _, data in pieces)
    log = filled(pieces, max_bytes=limit)
    kept = [data for stream, data in log._stored_frames() if stream]
    if not log.left_out_bytes:
        assert b"".join(kept) == whole
        return
    head = whole[: log.kept_bytes]
    tail = whole[len(whole) - log._tail.data_bytes :]
    assert b"".join(kept) == head + tail
    assert limit - 1_000 <= log.kept_bytes + 5 * len(pieces) + 5
    assert len(tail) >= min(TAIL_BYTES - 20_000, len(whole) - len(head))
    marker = b"\n[buildkit: %d bytes of output left out]\n" % (len(whole) - len(head) - len(tail))
    assert log.data() == head + marker + tail


def test_a_flood_of_single_bytes_needs_no_more_memory_than_any_other() -> None:
    log = TaskLog(max_bytes=100_000)
    for _ in range(150_000):
        log.write(1, b"a")
        log.write(2, b"b")
    assert len(log._buffer) + len(log._tail.buffer) <= 100_000 + TAIL_BYTES
    assert log.total_bytes == 300_000


def test_a_full_disk_costs_the_middle_of_the_log_and_no_error(tmp_path) -> None:
    log = filled([(1, b"%06d\n" % n) for n in range(200_000)], spill_dir=str(tmp_path / "missing"))
    assert log.total_bytes == 1_400_000
    assert log.left_out_bytes > 0
    assert log.tail(1) == ["199999"]


@given(frames)
def test_a_log_survives_being_stored(pieces: list[tuple[int, bytes]]) -> None:
    log = filled(pieces)
    copy = TaskLog.from_bytes(log.to_bytes())
    assert list(copy.frames()) == list(log.frames())
    assert copy.to_bytes() == log.to_bytes()


def test_a_capped_log_survives_being_stored() -> None:
    log = filled([(1 + n % 2, b"%06d\n" % n) for n in range(100_000)], max_bytes=50_000)
    copy = TaskLog.from_bytes(log.to_bytes())
    assert copy.data() == log.data()
    assert copy.left_out_bytes == log.left_out_bytes > 0


def test_any_damaged_byte_of_a_stored_log_is_noticed() -> None:
    stored = filled([(1, b"hello\n"), (2, b"world\n")]).to_bytes()
    for at in range(len(stored)):
        broken = bytearray(stored)
        broken[at] ^= 0x10
        with pytest.raises(ValueError, match="stored log"):
            TaskLog.from_bytes(bytes(broken))
    for size in range(len(stored)):
        with pytest.raises(ValueError, match="stored log"):
            TaskLog.from_bytes(stored[:size])


def test_the_tail_is_the_last_lines_without_control_bytes() -> None:
    log = filled([(1, b"one\ntwo\n"), (2, b"\x1b[31mthree\x1b[0m\x1b[2J\r\n"), (1, b"fo"), (1, b"ur")])
    assert log.tail(2) == ["\x1b[31mthree\x1b[0m", "four"]
    assert log.tail(0) == TaskLog().tail(5) == []


def test_the_whole_log_can_be_written_to_a_file(tmp_path) -> None:
    log = filled([(1, b"x" * 300_000), (2, b"y" * 10)])
    with open(tmp_path / "log", "wb") as file:
        log.write_to(file.fileno())
    assert (tmp_path / "log").read_bytes() == b"x" * 300_000 + b"y" * 10


def test_a_closed_log_is_empty_and_gives_its_file_back() -> None:
    log = filled([(1, b"x" * 600_000)])
    fd = log._fd
    log.close()
    assert log.data() == b""
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(fd)


@pytest.mark.parametrize(
    ("raw", "harmless"),
    [
        (b"plain\ttext\r\n", b"plain\ttext\r\n"),
        (b"\x1b[1;31mred\x1b[0m", b"\x1b[1;31mred\x1b[0m"),
        (b"\x1b[2J\x1b[Hgone", b"gone"),
        (b"\x1b]0;title\x07text", b"text"),
        (b"\x1b]8;;http://x\x1b\\link", b"link"),
        (b"\x1b]0;never closed\nthe rest", b"0;never closed\nthe rest"),
        (b"\x1bP1$r\x1b\\dcs", b"dcs"),
        (b"\x1bc\x1b(0\x1b7reset", b"reset"),
        (b"bell\x07 back\x08 del\x7f nul\x00", b"bell back del nul"),
        ("c1 \x9b2J é".encode(), "c1 2J é".encode()),
        (b"\x1b\x1b[2Jtwice", b"twice"),
        (b"cut \x1b[", b"cut "),
    ],
)
def test_control_bytes_are_made_harmless_and_colours_stay(raw: bytes, harmless: bytes) -> None:
    assert sanitize(raw) == harmless


@given(st.binary(max_size=200))
def test_what_is_left_of_anything_is_text_and_colours(raw: bytes) -> None:
    left = sanitize(raw)
    assert sanitize(left) == left or b"\xc2" in left
    for at, byte in enumerate(left):
        if byte == 0x1B:
            assert left[at : at + 2] == b"\x1b["
            assert b"m" in left[at:]
        else:
            assert byte >= 0x20 or byte in b"\t\n\r"


def test_a_capture_above_its_limit_keeps_the_head_and_tells_outputs_apart() -> None:
    one, other, same = Capture(10), Capture(10), Capture(10)
    for capture, last in ((one, b"a"), (other, b"b"), (same, b"a")):
        for piece in (b"0123", b"456789xyz", last):
            capture.write(piece)
    assert one.text() == "0123456789\n[buildkit: 4 bytes of output left out]\n"
    assert one.identity() == same.identity() != other.identity()


def test_a_capture_within_its_limit_is_its_text() -> None:
    capture = Capture(10)
    capture.write("äöü".encode())
    assert capture.text() == capture.identity() == "äöü"
    with pytest.raises(UnicodeDecodeError):
        capture.text("ascii", "strict")
