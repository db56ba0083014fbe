"""What the cache holds, and what housekeeping did to it: in words, and as JSON.

What belongs here: wording. Counting and deleting is done in `buildkit/cache`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from buildkit.cache.collect import CacheStats, CollectReport, VerifyReport
from buildkit.core.humanize import plural, printable, size

_DAY_S = 86400


def stats_text(stats: CacheStats, *, max_bytes: int, max_age_s: float, used: bool) -> str:
    """Return what is in the cache, and its limits; `used` says whether this project keeps results."""
    location = printable(stats.location)
    if not (stats.entries or stats.blobs or stats.hits or stats.misses):
        lines = [("Cache", f"{location}: empty")]
    else:
        lines = [
            ("Cache", location),
            ("Results", f"{stats.entries:,}{_last_used(stats)}"),
            ("Blobs", f"{stats.blobs:,}, {size(stats.bytes)}{_share(stats.bytes, max_bytes)}"),
            ("Index", size(stats.index_bytes)),
            ("Hits", _hits(stats)),
        ]
    limits = f"{size(max_bytes)}; results not used for {age(max_age_s)} go"
    lines.append(("Limits", limits))
    if stats.collected_at is not None:
        lines.append(("Collected", _moment(stats.collected_at)))
    if not used:
        lines.append(("Note", "this project keeps nothing in it (cache = false)"))
    return _aligned(lines)


def hit_share(stats: CacheStats) -> float | None:
    """Return how many of the tasks that asked the cache got a result, from 0 to 1; None: nobody asked."""
    asked = stats.hits + stats.misses
    return stats.hits / asked if asked else None


def collect_text(report: CollectReport, location: str) -> str:
    """Return what a collection removed and what is left."""
    lines = [
        f"Removed {plural(report.entries_evicted, 'result')} and {plural(report.blobs_deleted, 'blob')}"
        f" ({size(report.bytes_deleted)}){_swept(report)} from {printable(location)}.",
        f"Left: {plural(report.entries_left, 'result')} and {plural(report.blobs_left, 'blob')}"
        f" ({size(report.bytes_left)}).",
    ]
    if report.blobs_young:
        lines.append(
            f"Not needed any more, but too young to go: {plural(report.blobs_young, 'blob')}"
            f" ({size(report.bytes_young)}). A build that is running now may be about to use them;"
            " a later gc takes them."
        )
    return "\n".join(lines)


def clear_text(report: CollectReport, location: str) -> str:
    """Return what emptying the cache removed."""
    if not (report.entries_evicted or report.blobs_deleted or report.temporaries_swept):
        return f"{printable(location)} was empty already."
    return (
        f"Removed {plural(report.entries_evicted, 'result')} and {plural(report.blobs_deleted, 'blob')}"
        f" ({size(report.bytes_deleted)}){_swept(report)} from {printable(location)}; nothing is left."
    )


def verify_text(report: VerifyReport, location: str) -> str:
    """Return what a verification read, and what it found wrong and removed."""
    read = (
        f"Read {plural(report.blobs_checked, 'blob')} ({size(report.bytes_checked)}) and"
        f" {plural(report.entries_checked, 'result')} in {printable(location)}."
    )
    if not (report.blobs_damaged or report.entries_removed):
        return f"{read}\nNothing is damaged."
    return (
        f"{read}\nRemoved {plural(report.blobs_damaged, 'damaged blob')} and"
        f" {plural(report.entries_removed, 'result')} that could not be restored any more;"
        " their tasks run again when they are next needed."
    )


def as_json(
    report: CacheStats | CollectReport | VerifyReport, location: str, more: Mapping[str, Any]
) -> dict[str, Any]:
    """Return all numbers of a report; sizes in bytes, moments in seconds since the epoch."""
    return {"location": location, **report._asdict(), **more}


def age(seconds: float) -> str:
    """Return an age limit: `30 days`, `12 hours`, `90 seconds`."""
    for unit, length in (("day", _DAY_S), ("hour", 3600), ("minute", 60)):
        if seconds >= length and seconds % length == 0:
            return plural(int(seconds // length), unit)
    return plural(int(seconds), "second")


def _last_used(stats: CacheStats) -> str:
    if stats.oldest_used_at is None or stats.newest_used_at is None:
        return ""
    oldest, newest = _moment(stats.oldest_used_at), _moment(stats.newest_used_at)
    return f", last used {newest}" if oldest == newest else f", last used between {oldest} and {newest}"


def _share(number: int, limit: int) -> str:
    return f" ({number / limit:.0%} of the limit)" if limit else ""


def _hits(stats: CacheStats) -> str:
    share = hit_share(stats)
    if share is None:
        return "nobody asked yet"
    return f"{stats.hits:,} of {plural(stats.hits + stats.misses, 'question')} ({share:.0%})"


def _swept(report: CollectReport) -> str:
    if not report.temporaries_swept:
        return ""
    return f" and {plural(report.temporaries_swept, 'leftover')} of killed processes"


def _moment(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _aligned(lines: Sequence[tuple[str, str]]) -> str:
    width = max(len(title) for title, _ in lines) + 1
    return "\n".join(f"{title + ':':<{width}} {text}" for title, text in lines)
