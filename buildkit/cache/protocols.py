"""The two seams of the cache: where bytes are, and what is known about actions.

A shared or remote cache is one more implementation of both. Whether entries cross a trust boundary shows
in their digests, which carry the name of the hash function; nothing behind these seams chooses one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from buildkit.cache.result import ActionResult
from buildkit.core.digest import Digest


class BlobStore(Protocol):
    """Content-addressed storage: digest to bytes. OSError when the storage fails."""

    function: str  # name of the hash function that new blobs are addressed by

    def contains(self, digest: Digest) -> bool:
        """Return whether a blob of the digest's size is there; its bytes are not looked at."""

    def add(self, data: bytes, digest: Digest) -> None:
        """Store `data`, whose digest the caller has computed."""

    def add_file(self, fd: int) -> Digest:
        """Store a copy of the open file, from its start to its end, and return the copy's digest."""

    def open(self, digest: Digest) -> int | None:
        """Return a descriptor at the start of the blob, or `None`. The caller verifies and closes."""

    def read(self, digest: Digest) -> bytes | None:
        """Return the bytes, verified, or `None`; a damaged blob is discarded."""

    def verify(self, digest: Digest) -> bool:
        """Return whether the blob is there and right; a damaged one is discarded."""

    def discard(self, digest: Digest) -> None:
        """Delete a blob that is damaged; no error if it is gone already."""


class ActionCache(Protocol):
    """Action key to action result. What is put may be visible to others only after `flush`."""

    def get(self, key: Digest) -> ActionResult | None:
        """Return the result of the action, or `None`."""

    def has_many(self, keys: Iterable[Digest]) -> set[Digest]:
        """Return those of the keys that have a result."""

    def put(self, key: Digest, result: ActionResult) -> None:
        """Remember the result of an action; replaces an older one."""

    def discard(self, key: Digest) -> None:
        """Forget a result, for instance because its blobs are gone."""

    def flush(self) -> None:
        """Make everything durable that was put so far."""
