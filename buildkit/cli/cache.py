"""`doit cache`: what the cache of this machine holds, and keeping it within limits, whole, or empty.

What belongs here: options, and which question they ask. Counting and deleting is done in `buildkit/cache`,
wording in `report/cache_state.py`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from doit.cmd_base import Command

from buildkit.cache.collect import CollectReport
from buildkit.cache.local import LocalCache
from buildkit.cache.location import cache_directory
from buildkit.cli.arguments import OptionsAnywhere, age_s
from buildkit.cli.history import OPTION_DIR, project_of
from buildkit.cli.output import exit_code_of, print_result, print_warning
from buildkit.core.config import Settings, load_settings, parse_size
from buildkit.core.errors import StateError, UsageError, did_you_mean
from buildkit.report import cache_state

_JSON_SCHEMA = 1


class Deed(StrEnum):
    """What is to be done; the words of the command line."""

    STATS = "stats"
    GC = "gc"
    VERIFY = "verify"
    CLEAR = "clear"


_OPTIONS = (
    {
        "name": "cache_gc_size",
        "long": "max-size",
        "type": str,
        "default": "",
        "metavar": "SIZE",
        "help": "gc: keep at most that much, for instance 500MB (default: the setting cache_max_size)",
    },
    {
        "name": "cache_gc_age",
        "long": "max-age",
        "type": str,
        "default": "",
        "metavar": "AGE",
        "help": "gc: keep what was used that recently, for instance 7d (default: the setting cache_max_age)",
    },
    {"name": "cache_json", "long": "json", "type": bool, "default": False, "help": "print numbers as JSON"},
    OPTION_DIR,
)


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line asks for."""

    deed: Deed
    max_bytes: int | None  # None: as the settings say
    max_age_s: int | None
    json: bool

    @classmethod
    def of(cls, options: Mapping[str, Any], arguments: Sequence[str]) -> Request:
        """Return the request; UsageError where it makes no sense."""
        deeds = [deed.value for deed in Deed]
        if not arguments:
            raise UsageError(f"say what is to be done with the cache: {', '.join(deeds)}.")
        word, *more = arguments
        if word not in deeds:
            raise UsageError(
                f"cache knows no '{word}'.{did_you_mean(word, deeds)} It knows {', '.join(deeds)}."
            )
        if more:
            raise UsageError(f"cache {word} takes no further arguments; got '{more[0]}'.")
        deed = Deed(word)
        if deed is not Deed.GC:
            for name, long in (("cache_gc_size", "--max-size"), ("cache_gc_age", "--max-age")):
                if options[name]:
                    raise UsageError(f"{long} is an option of `cache gc`, not of `cache {word}`.")
        return cls(
            deed,
            _size("--max-size", options["cache_gc_size"]),
            age_s("--max-age", options["cache_gc_age"]) if options["cache_gc_age"] else None,
            options["cache_json"],
        )


def _size(option: str, text: str) -> int | None:
    if not text:
        return None
    try:
        return parse_size(text)
    except ValueError as error:
        raise UsageError(f"{option} {text}: give {error}.") from None


class Cache(OptionsAnywhere, Command):  # type: ignore[misc] # doit has no types
    """Look after the cache; needs no dodo.py."""

    name = "cache"
    doc_purpose = "show what the cache holds, keep it within limits, check it, or empty it"
    doc_usage = "stats|gc|verify|clear [--max-size SIZE] [--max-age AGE] [--json]"
    doc_description = (
        "stats: how much is in it, and how often it helped.\n"
        "gc: remove what was used least recently until the limits are kept.\n"
        "verify: read everything, and remove what is damaged.\n"
        "clear: remove everything.\n"
    )
    cmd_options = _OPTIONS

    def execute(self, opt_values: Mapping[str, Any], pos_args: Sequence[str]) -> int:
        """Do it, say what was done, and return the exit code."""
        return exit_code_of(lambda: print_result(_answer(opt_values, pos_args)))


def _answer(options: Mapping[str, Any], arguments: Sequence[str]) -> str:
    """Do what is asked for, and return what to say about it; StateError where the cache cannot be used."""
    request = Request.of(options, arguments)
    project = project_of(options)
    settings = load_settings(project)
    directory = cache_directory(os.environ, settings.cache_dir, root=project)
    if os.path.exists(directory):
        if not os.path.isdir(directory):
            raise UsageError(f"the cache directory {directory} is not a directory.")
        if not os.access(directory, os.R_OK | os.X_OK):
            raise StateError(f"the cache in {directory} cannot be read: Permission denied.")
    warnings: list[str] = []
    cache = LocalCache.open(directory, warn=warnings.append)
    try:
        told, numbers = _done(request, settings, cache)
        if cache.unanswered is not None:
            raise StateError(f"the cache in {directory} {cache.unanswered}.")
    finally:
        cache.close()
    for line in warnings:  # what was put right on the way: a damaged index that was set aside
        print_warning(line)
    if request.json:
        return json.dumps({"schema": _JSON_SCHEMA, "command": request.deed.value, **numbers}, indent=2)
    return told


def _done(request: Request, settings: Settings, cache: LocalCache) -> tuple[str, dict[str, Any]]:
    """Return what was found or done, in words and in numbers."""
    where = cache.directory
    max_bytes = settings.cache_max_size if request.max_bytes is None else request.max_bytes
    max_age_s = settings.cache_max_age if request.max_age_s is None else request.max_age_s
    limits = {"max_bytes": max_bytes, "max_age_s": max_age_s}
    match request.deed:
        case Deed.STATS:
            stats = cache.stats()
            text = cache_state.stats_text(
                stats, max_bytes=max_bytes, max_age_s=max_age_s, used=settings.cache
            )
            more = {"hit_share": cache_state.hit_share(stats), **limits}
            return text, cache_state.as_json(stats, where, more)
        case Deed.GC:
            collected = _collect(cache, max_bytes, max_age_s)
            return cache_state.collect_text(collected, where), cache_state.as_json(collected, where, limits)
        case Deed.VERIFY:
            verified = cache.verify()
            return cache_state.verify_text(verified, where), cache_state.as_json(verified, where, {})
        case Deed.CLEAR:
            cleared = cache.clear()
            return cache_state.clear_text(cleared, where), cache_state.as_json(cleared, where, {})


def _collect(cache: LocalCache, max_bytes: int, max_age_s: int) -> CollectReport:
    report = cache.collect(max_bytes=max_bytes, max_age_s=max_age_s, wait=False)
    if not report.busy:
        return report
    print_warning("waiting for another process that collects in this cache")
    return cache.collect(max_bytes=max_bytes, max_age_s=max_age_s)
