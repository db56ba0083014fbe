"""An action result as data, and its canonical JSON.

What belongs here: what a task made, and how that is written as bytes and read back with suspicion. A text
that does not describe a well-formed result decodes to `None`; nothing in it is trusted to name a path
outside the outputs that it declares.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Set
from enum import StrEnum
from typing import Any

from buildkit.core.digest import Digest
from buildkit.core.fingerprint import PERMISSION_BITS
from buildkit.core.record import Record

_DIGEST = r"[a-z0-9]{1,16}:[0-9a-f]{16,128}:(?:0|[1-9][0-9]{0,18})"  # compiled once it is needed


class OutputKind(StrEnum):
    """What an output entry is on disk."""

    FILE = "file"  # a regular file; `digest` is of its bytes
    LINK = "link"  # a symbolic link with the text `link`; `digest` is of the regular file it leads to, if any
    DIR = "dir"  # a directory with a mode; what it holds are entries of their own


class OutputFile(Record):
    """One output entry. Paths are as declared: relative to the project's root, or absolute."""

    path: str
    kind: OutputKind
    digest: Digest | None
    mode: int  # permission bits only: set-uid, set-gid and sticky are never recorded, so never restored
    link: str | None = None


class ActionResult(Record):
    """What an action made and what it cost, under the action key that it was made for.

    `roots` are the declared outputs, without trailing slashes; `outputs` holds each of them, and below
    each directory its entries, a directory always before what is in it.
    """

    task: str
    roots: tuple[str, ...] = ()
    outputs: tuple[OutputFile, ...] = ()
    log: Digest | None = None
    log_size: int = 0
    values_json: str = "{}"
    result_json: str = "null"
    wall_ns: int = 0
    user_ns: int | None = None
    system_ns: int | None = None
    rss_bytes: int | None = None
    created_at: float = 0.0  # seconds since the epoch
    exit_code: int = 0


def blob_digests(result: ActionResult) -> Iterator[Digest]:
    """Yield the digest of every blob that the result needs, repetitions included."""
    for output in result.outputs:
        if output.digest is not None and output.kind is OutputKind.FILE:
            yield output.digest
    if result.log is not None:
        yield result.log


# ASCII only, so that file names that are not UTF-8 (lone surrogates) survive as escapes.
_encode_json = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), allow_nan=False).encode


def encode_result(result: ActionResult) -> bytes:
    """Return the canonical JSON of a result: equal results give equal bytes, all of them ASCII."""
    return _encode_json(
        {
            "created_at": result.created_at,
            "exit_code": result.exit_code,
            "log": result.log,
            "log_size": result.log_size,
            "outputs": [[o.path, o.kind, o.digest, o.mode, o.link] for o in result.outputs],
            "result": result.result_json,
            "roots": result.roots,
            "rss_bytes": result.rss_bytes,
            "system_ns": result.system_ns,
            "task": result.task,
            "user_ns": result.user_ns,
            "values": result.values_json,
            "wall_ns": result.wall_ns,
        }
    ).encode("ascii")


def decode_result(text: bytes) -> ActionResult | None:
    """Return the result that `text` describes, or `None` if it is not a well-formed one."""
    try:
        data = json.loads(text.decode("ascii"))
        roots = tuple([_text(root) for root in data["roots"]])
        known_roots = frozenset(roots)
        result = ActionResult(
            task=_text(data["task"]),
            roots=roots,
            outputs=tuple([_output(row, known_roots) for row in data["outputs"]]),
            log=None if data["log"] is None else _digest(data["log"]),
            log_size=_number(data["log_size"]),
            values_json=_text(data["values"]),
            result_json=_text(data["result"]),
            wall_ns=_number(data["wall_ns"]),
            user_ns=_optional_number(data["user_ns"]),
            system_ns=_optional_number(data["system_ns"]),
            rss_bytes=_optional_number(data["rss_bytes"]),
            created_at=float(data["created_at"]),
            exit_code=_number(data["exit_code"]),
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return result


_KINDS = {str(kind): kind for kind in OutputKind}


def _output(row: Any, roots: Set[str]) -> OutputFile:
    path, kind_name, digest, mode, link = row
    kind = _KINDS[kind_name]
    if path not in roots and not lies_below(_text(path), roots):
        raise ValueError("an entry outside the declared outputs")
    if "\0" in path or type(mode) is not int or mode & ~PERMISSION_BITS:
        raise ValueError("a path or a mode that cannot be")
    if kind is OutputKind.FILE or digest is not None:
        _digest(digest)
    if (kind is OutputKind.LINK) != isinstance(link, str):
        raise ValueError("a link without text, or a text without link")
    return OutputFile(path, kind, digest, mode, link)


def lies_below(path: str, roots: Iterable[str]) -> bool:
    """Tell whether `path` is a plain descendant of a declared output: no empty, `.` or `..` component."""
    for root in roots:
        if path.startswith(root + "/"):
            return all(part not in ("", ".", "..") for part in path[len(root) + 1 :].split("/"))
    return False


def _digest(value: Any) -> Digest:
    # A digest becomes a path in the store: anything but hexadecimal must not get that far.
    if not re.fullmatch(_DIGEST, value):
        raise ValueError("not a digest")
    return Digest(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _number(value: Any) -> int:
    if type(value) is not int:
        raise TypeError("not a whole number")
    return value


def _optional_number(value: Any) -> int | None:
    return None if value is None else _number(value)
