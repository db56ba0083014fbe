"""Recorded outputs against the disk: are they what was recorded, and how they are written down."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Sequence

from buildkit.cache.result import OutputFile, OutputKind
from buildkit.core.digest import Digest
from buildkit.core.fingerprint import PERMISSION_BITS, FingerprintTable
from buildkit.core.record import Record


class OutputsSeen(Record):
    """How the outputs of a task differ from their record, by path."""

    missing: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()


AS_RECORDED = OutputsSeen()
_FILE = OutputKind.FILE
_KINDS = {str(kind): kind for kind in OutputKind}


# `json.dumps` would make an encoder of its own for each text.
_encode_json = json.JSONEncoder(separators=(",", ":")).encode


def encode_outputs(outputs: Iterable[OutputFile]) -> str:
    """Return outputs as the JSON text of a trace."""
    return _encode_json([(o.path, o.kind, o.digest, o.mode, o.link) for o in outputs])


def decode_outputs(text: str) -> list[OutputFile]:
    """Return the outputs of a trace; an unreadable text means: nothing is known of them."""
    try:
        return [
            OutputFile(path, _KINDS[kind], None if digest is None else Digest(digest), mode, link)
            for path, kind, digest, mode, link in json.loads(text)
        ]
    except (ValueError, TypeError, KeyError):
        return []


def is_directory(path: str) -> bool:
    """Whether a declared output is to be a directory, or is one."""
    # `access` takes a third of what `isdir` does where there is nothing yet.
    return path.endswith("/") or (os.access(path, os.F_OK) and os.path.isdir(path))


def are_as_recorded(declared: Sequence[str], text: str, table: FingerprintTable) -> bool:
    """Whether the text of a trace is what `encode_outputs` would make of the files that are there now.

    That is so for nearly every task that is up to date, and costs half as much as taking the text apart.
    False means nothing: directories, links and odd names are for `compare_outputs`.
    """
    said = []
    for path in declared:
        try:
            seen = table.current(path)
        except OSError:
            return False
        if seen is None or '"' in path or "\\" in path:
            return False
        said.append(f'["{path}","file","{seen.digest}",{seen.mode},null]')
    return text == f"[{','.join(said)}]"


def compare_outputs(
    declared: Iterable[str], recorded: list[OutputFile], table: FingerprintTable, root: str
) -> OutputsSeen:
    """Compare what was recorded with what is on disk; unknown files in directories do not count."""
    missing: list[str] = []
    changed: list[str] = []
    known = set()
    for output in recorded:
        known.add(output.path)
        if output.kind is _FILE:
            try:
                seen = table.current(output.path)
            except OSError:  # a directory by now, or nobody may read it
                changed.append(output.path)
                continue
            if seen is None:
                missing.append(output.path)
            elif seen.digest != output.digest or seen.mode != output.mode:
                changed.append(output.path)
        else:
            _compare_other(output, table, root, missing, changed)
    # A declared output without a record: the task did not make it the last time.
    missing.extend(path for path in declared if (path.rstrip("/") or path) not in known)
    if not missing and not changed:
        return AS_RECORDED
    return OutputsSeen(tuple(missing), tuple(changed))


def _compare_other(
    output: OutputFile, table: FingerprintTable, root: str, missing: list[str], changed: list[str]
) -> None:
    full = os.path.join(root, output.path)
    if output.kind is OutputKind.LINK:
        try:
            text = os.readlink(full)
        except FileNotFoundError:
            missing.append(output.path)
            return
        except OSError:
            changed.append(output.path)
            return
        if text != output.link:
            changed.append(output.path)
        elif output.digest is not None:
            try:
                seen = table.current(output.path)
            except OSError:
                seen = None
            if seen is None or seen.digest != output.digest:
                changed.append(output.path)
        return
    try:
        status = os.lstat(full)
    except OSError:
        missing.append(output.path)
        return
    if not stat.S_ISDIR(status.st_mode) or status.st_mode & PERMISSION_BITS != output.mode:
        changed.append(output.path)
