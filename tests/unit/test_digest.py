"""The digest of a file is that of its bytes, however it is read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from buildkit.core.digest import SHA256, XXH3, digest_bytes, digest_fd, digest_file

_BUFFER = 256 * 1024


@pytest.mark.parametrize("function", [XXH3, SHA256])
@pytest.mark.parametrize("size", [0, 1, 100, _BUFFER - 1, _BUFFER, _BUFFER + 1, 3 * _BUFFER + 7])
def test_a_file_has_the_digest_of_its_bytes(tmp_path: Path, size: int, function: str) -> None:
    data = os.urandom(size)
    (tmp_path / "f").write_bytes(data)
    assert digest_file(str(tmp_path / "f"), function) == digest_bytes(data, function)


@pytest.mark.parametrize("said", [None, 0, 1, 999, 1000, 1001, _BUFFER, 10 * _BUFFER])
@pytest.mark.parametrize("size", [0, 1, 1000, _BUFFER, _BUFFER + 1])
def test_a_wrong_size_costs_a_read_and_never_the_digest(tmp_path: Path, size: int, said: int | None) -> None:
    data = os.urandom(size)
    (tmp_path / "f").write_bytes(data)
    fd = os.open(tmp_path / "f", os.O_RDONLY)
    try:
        assert digest_fd(fd, size=said) == digest_bytes(data)
    finally:
        os.close(fd)


def test_a_small_file_takes_one_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "f").write_bytes(b"x" * 1000)
    reads = []
    read = os.read

    def counted(fd: int, size: int) -> bytes:
        reads.append(size)
        return read(fd, size)

    monkeypatch.setattr(os, "read", counted)
    digest_file(str(tmp_path / "f"))
    assert reads == [1001]
