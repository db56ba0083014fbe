"""Files that were touched since a snapshot: read again, without loading the dodo.py.

What belongs here: comparing content with the digests of the snapshot, and the snapshot with new signatures.
"""

import os
import stat

from xxhash import xxh3_128, xxh3_128_digest

from buildkit.state import facts, snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from buildkit.state.snapshot import Snapshot

_CHUNK_BYTES = 1 << 20
_PERMISSION_BITS = 0o777


def changed_content(found: "Snapshot", changed: "Sequence[int]") -> list[int] | None:
    """Return those of these files that are not regular files with the recorded content and mode any more.

    None where one is a file that loading looked at: what it stands for is not known here. Afterwards `found`
    holds the new signatures of the others.
    """
    if any(number >= found.tracked for number in changed):
        return None
    paths = facts.paths_of(found, changed)
    modes = memoryview(found.modes).cast("H")
    signatures = bytearray(found.signatures)
    digests = found.digests
    different = []
    for number, path in zip(changed, paths, strict=True):
        seen_at_ns = facts.now_ns()
        try:
            status, digest = _read(path)
        except OSError:
            different.append(number)
            continue
        if (
            digest != digests[16 * number : 16 * number + 16]
            or status.st_mode & _PERMISSION_BITS != modes[number]
            or not stat.S_ISREG(status.st_mode)
        ):
            different.append(number)
            continue
        signature = 0 if facts.racy(status, seen_at_ns) else facts.signature(status)
        signatures[8 * number : 8 * number + 8] = facts.packed([signature])
    found.signatures = bytes(signatures)
    return different


def _read(path: bytes) -> "tuple[os.stat_result, bytes]":
    """Return a file's status from before it was read, and the hash of its content.

    What is written to it in between shows in its status the next time.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        status = os.fstat(fd)
        # One byte more than there should be proves the end.
        content = os.read(fd, min(status.st_size, _CHUNK_BYTES) + 1)
        if len(content) <= _CHUNK_BYTES:
            return status, xxh3_128_digest(content)
        hasher = xxh3_128(content)
        while content:
            content = os.read(fd, _CHUNK_BYTES)
            hasher.update(content)
        return status, hasher.digest()
    finally:
        os.close(fd)


def refresh(found: "Snapshot", changed: "Sequence[int]", name: str) -> None:
    """Write the snapshot again, unless nothing is gained or somebody has thrown it away meanwhile."""
    signatures = facts.unpacked(found.signatures)
    if all(signatures[number] == 0 for number in changed):
        return
    import fcntl

    try:
        fd = os.open(snapshot.LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return  # the next run reads the files again
    try:
        # Who changes the record holds this lock, and has thrown the snapshot away before that. Without it
        # what was just forgotten could come back.
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if snapshot.exists("", name):
            snapshot.write("", name, found)
    except OSError:
        return
    finally:
        os.close(fd)
