"""One stream of one action: its text as long as it is short, its digest when it is not.

Ordering between streams is the business of `log.py`.
"""

from __future__ import annotations

from buildkit.core.digest import Hasher, new_hasher

CAPTURE_BYTES = 1024 * 1024


class Capture:
    """Bytes of a stream up to a limit; above it, the number and the hash of all of them."""

    __slots__ = ("_hasher", "_kept", "_limit", "total_bytes")

    def __init__(self, limit: int = CAPTURE_BYTES) -> None:
        self._limit = limit
        self._kept = bytearray()
        self._hasher: Hasher | None = None
        self.total_bytes = 0

    def write(self, data: bytes) -> None:
        """Append what arrived."""
        self.total_bytes += len(data)
        if self._hasher is not None:
            self._hasher.update(data)
            return
        if self.total_bytes > self._limit:
            self._hasher = new_hasher()
            self._hasher.update(self._kept)
            self._hasher.update(data)
            data = data[: self._limit - len(self._kept)]
        self._kept += data

    @property
    def kept_bytes(self) -> int:
        """Return how many bytes are in memory."""
        return len(self._kept)

    @property
    def overflowed(self) -> bool:
        """Return whether more was written than is kept."""
        return self._hasher is not None

    def text(self, encoding: str = "utf-8", errors: str = "replace") -> str:
        """Return the kept text, with a marker line when something is missing.

        Raises what decoding raises: UnicodeDecodeError for a strict codec, LookupError for an unknown one.
        """
        if self._hasher is None:
            return self._kept.decode(encoding, errors)
        missing = self.total_bytes - len(self._kept)
        # The cut may lie within a character: that one must not raise.
        return f"{self._kept.decode(encoding, 'replace')}\n[buildkit: {missing} bytes of output left out]\n"

    def identity(self, encoding: str = "utf-8", errors: str = "replace") -> str:
        """Return the text where it is whole, else a short text that differs whenever the output differs."""
        if self._hasher is None:
            return self._kept.decode(encoding, errors)
        return f"[buildkit: {self.total_bytes} bytes of output, xxh3 {self._hasher.hexdigest()}]"
