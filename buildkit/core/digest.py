"""Digests: a hash, the name of its function, and the size of what was hashed, in one string.

A digest is written `<function>:<hex>:<size in bytes>`, for instance
`xxh3:99aa06d3014798d86001c324468d497f:0`. Equal strings mean equal content; digests of different
functions are never equal, so the two can never be mixed up. No file is read here except to hash it.
"""

from __future__ import annotations

import os
from typing import NewType, Protocol

from xxhash import xxh3_128

Digest = NewType("Digest", str)

XXH3 = "xxh3"  # xxh3-128: for everything that stays on this machine
SHA256 = "sha256"  # for entries that cross a trust boundary

_CHUNK_BYTES = 256 * 1024  # fits the second-level cache of the cores we know


class Hasher(Protocol):
    """What hashlib and xxhash objects have in common."""

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        """Add `data` to what is hashed."""

    def hexdigest(self) -> str:
        """Return the hash of all data so far, in lower-case hexadecimal."""


def new_hasher(function: str = XXH3) -> Hasher:
    """Return a fresh hasher of the named function; ValueError for an unknown name."""
    if function == XXH3:
        return xxh3_128()
    if function == SHA256:
        import hashlib  # only for entries of a shared cache

        return hashlib.sha256()
    raise ValueError(f"unknown hash function {function!r}")


def digest_bytes(data: bytes, function: str = XXH3) -> Digest:
    """Return the digest of `data`."""
    if function == XXH3:
        return Digest(f"xxh3:{xxh3_128(data).hexdigest()}:{len(data)}")
    hasher = new_hasher(function)
    hasher.update(data)
    return Digest(f"{function}:{hasher.hexdigest()}:{len(data)}")


def digest_text(text: str, function: str = XXH3) -> Digest:
    """Return the digest of `text` in UTF-8 (undecodable file names included)."""
    return digest_bytes(text.encode("utf-8", "surrogateescape"), function)


def digest_fd(fd: int, function: str = XXH3) -> Digest:
    """Return the digest of the bytes from the current position of `fd` to its end."""
    first = os.read(fd, _CHUNK_BYTES)
    if len(first) < _CHUNK_BYTES:
        # Most inputs are small: one more read proves the end without a buffer or a loop.
        rest = os.read(fd, _CHUNK_BYTES)
        if not rest:
            return digest_bytes(first, function)
        first += rest
    hasher = new_hasher(function)
    hasher.update(first)
    size = len(first)
    buffer = bytearray(_CHUNK_BYTES)
    view = memoryview(buffer)
    while True:
        count = os.readv(fd, [buffer])
        if not count:
            return Digest(f"{function}:{hasher.hexdigest()}:{size}")
        hasher.update(view[:count])
        size += count


def digest_file(path: str | bytes, function: str = XXH3) -> Digest:
    """Return the digest of a regular file's content, following links; OSError as `open` raises it."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return digest_fd(fd, function)
    finally:
        os.close(fd)


def digest_size(digest: Digest) -> int:
    """Return the number of bytes that were hashed."""
    return int(digest.rpartition(":")[2])


def digest_function(digest: Digest) -> str:
    """Return the name of the hash function of `digest`."""
    return digest.partition(":")[0]
