"""The parts of a snapshot that change when tasks have run: signatures of files, and the summary.

What belongs here: what the long way and a run from the stored plan both write. Facts about loading are
`remember.py`'s.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable

from buildkit.core.fingerprint import Fingerprint, FingerprintTable, is_racy
from buildkit.core.humanize import duration
from buildkit.frontend.workspace import Workspace
from buildkit.report.summary import summary_line
from buildkit.state import facts
from buildkit.state.runs import RunSummary

_WALL_NS = 123_456_789  # stands for the duration where the summary is split


class WatchingTable(FingerprintTable):
    """The run's own table, which notes what is asked."""

    def __init__(self, inner: FingerprintTable) -> None:
        super().__init__({})
        self._look = inner.current
        self.seen: dict[str, Fingerprint | None] = {}

    def current(self, path: str) -> Fingerprint | None:
        """Ask the run's table."""
        found = self.seen[path] = self._look(path)
        return found


def signatures_of(paths: Iterable[str], seen: dict[str, Fingerprint]) -> tuple[bytes, bytes, bytes]:
    """Return signatures, digests and modes as a snapshot has them.

    A signature of 0 stands for a file that has to be read. The files are not looked at: one that is another
    one by now will not have the signature that it was judged under, and is read by the next run.
    """
    signatures, digests, modes = array("q"), bytearray(), array("H")
    signature_of_parts = facts.signature_of_parts
    for path in paths:
        digest, mtime_ns, ctime_ns, size, inode, _device, mode, hashed_at_ns = seen[path]
        if is_racy(mtime_ns, ctime_ns, hashed_at_ns):
            signatures.append(0)
        else:
            inode = inode if inode >= 0 else inode + (1 << 64)
            signatures.append(signature_of_parts(mtime_ns, ctime_ns, size, inode))
        digests += bytes.fromhex(digest.split(":", 2)[1])
        modes.append(mode)
    return signatures.tobytes(), bytes(digests), modes.tobytes()


def data_version(workspace: Workspace) -> int | None:
    """Return a number that changes when another connection writes to the database."""
    if workspace.connection is None:
        return None
    (version,) = workspace.connection.execute("PRAGMA data_version").fetchone()
    return int(version)


def split_summary(summary: RunSummary) -> tuple[str, str]:
    """Return the line at the end of a run, before and behind its duration."""
    before, middle, behind = summary_line(summary._replace(wall_ns=_WALL_NS)).partition(
        f" in {duration(_WALL_NS)}"
    )
    return before + middle[:4], behind


def skip_lines(names: Iterable[str]) -> str:
    """Return what is printed of tasks that are up to date: nothing where a name is a hidden one."""
    return "".join([f"-- {name}\n" for name in names if not name.startswith("_")])
