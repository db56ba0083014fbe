"""Snapshots for tests, of a project in which there is nothing."""

from __future__ import annotations

from buildkit.state import snapshot


def snapshot_of(**values: object) -> snapshot.Snapshot:
    """Return a snapshot of an empty project; `values` replace fields."""
    plain: dict[str, object] = {
        "stamp": snapshot.stamp(),
        "arguments": ("-n", "2"),
        "database": (0, 0),
        "salt": b"salt",
        "environment": (),
        "whole_environment": b"",
        "kinds": (),
        "links": (),
        "accesses": (),
        "listings": (),
        "folders": (),
        "names": b"",
        "tracked": 0,
        "signatures": b"",
        "digests": b"",
        "modes": b"",
        "stdout": "-- a\n",
        "summary": ("buildkit: 1 skipped in ", ""),
        "history": "",
        "unfinished": (),
        "touched": (b"", 0),
    }
    plain.update(values)
    return snapshot.Snapshot(plain[name] for name in snapshot.Snapshot.fields)
