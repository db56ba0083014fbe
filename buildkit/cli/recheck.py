"""Files that were touched since a snapshot: read again, without loading the dodo.py.

What belongs here: comparing content with the digests of the snapshot, and the snapshot with new signatures.
"""

import os
from array import array

from buildkit.state import facts, snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from buildkit.state.snapshot import Snapshot

_CHUNK_BYTES = 1 << 20
_PERMISSION_BITS = 0o777


def same_content(found: "Snapshot", changed: "Sequence[int]") -> bool:
    """Return whether the files with these numbers are regular files with the recorded content and mode.

    Afterwards `found` holds their new signatures.
    """
    if any(number >= found.tracked for number in changed):
        return False  # a file that loading looked at: what it stands for is not known here
    from xxhash import xxh3_128

    paths = found.paths.split("\0")
    modes = array("H")
    modes.frombytes(found.modes)
    signatures = list(facts.unpacked(found.signatures))
    digests = memoryview(found.digests)
    for number in changed:
        path = paths[number]
        try:
            # The signature is taken ahead of the reading: what is written in between shows the next time.
            status = os.stat(path)
            if facts.kind_of_mode(status.st_mode) != facts.FILE:
                return False
            seen_at_ns = facts.now_ns()
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                content = os.read(fd, _CHUNK_BYTES)
                hasher = xxh3_128(content)
                while len(content) == _CHUNK_BYTES:
                    content = os.read(fd, _CHUNK_BYTES)
                    hasher.update(content)
            finally:
                os.close(fd)
        except OSError:
            return False
        if hasher.digest() != digests[16 * number : 16 * number + 16]:
            return False
        if status.st_mode & _PERMISSION_BITS != modes[number]:
            return False
        signatures[number] = 0 if facts.racy(status, seen_at_ns) else facts.signature(status)
    found.signatures = facts.packed(signatures)
    return True


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
