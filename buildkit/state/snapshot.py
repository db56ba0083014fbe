"""A run that had nothing to do, kept as facts: while all of them hold, the next such run has nothing to do.

What belongs here: the file, its names, and throwing all of them away. Nothing but builtin modules is
imported, because the fast answer pays for each import; that goes for `typing` and `__future__`, too. Which
facts there are, and whether they hold, is `state/facts.py`.
"""

import marshal
import os
import sys
from zlib import crc32

import buildkit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any

DIRECTORY = os.path.join(".buildkit", "snapshots")
DATABASE = os.path.join(".buildkit", "state.db")
LOCK = os.path.join(".buildkit", "lock")
PENDING = os.path.join(".buildkit", "pending.jsonl")
_TOUCHED = os.path.join(".buildkit", "touched")

_MEANING = 1  # raised when a field gets another meaning
STAMPED_PATH = 4  # where `sys.path` is in a stamp
_TOUCHED_ID = 16  # bytes that tell one file of touched tasks from another
_MOST_TOUCHED = 4 * 2**20  # bytes of it; then all snapshots go, and it begins anew
_KEPT = 64  # files, two for a command line; the oldest goes first
_KEPT_BYTES = 256 * 2**20  # of all of them together
_SUFFIX = ".snapshot"
_PLAN_SUFFIX = ".plan"
_PLAN_CHECKSUM = 8  # bytes behind it
_REASON_SUFFIX = ".reason"


class Snapshot:
    """The facts, what is printed while they hold, and what the history is told. See `fields`."""

    # No dataclass and no named tuple: their modules take longer to import than the whole file to read.
    fields = (
        "stamp",  # the interpreter, this machine, buildkit: see `stamp`
        "arguments",  # of the command line
        "database",  # device and inode of the state database
        "salt",  # of the digests of environment values
        "environment",  # ((name, digest or None), ...)
        "whole_environment",  # digest of all names and values where loading looked at all of them, or b""
        "kinds",  # ((path, whether links are followed, kind), ...): see `facts.kind_of`
        "links",  # ((path, where it leads), ...)
        "accesses",  # ((path, mode, answer), ...) of os.access
        "listings",  # ((path, signature, digest, names), ...): see `facts.listing_of`
        "folders",  # ((folder, how many of the names lie in it), ...)
        "names",  # of files, joined by NUL; the first `tracked` of them are inputs, outputs and tools
        "tracked",
        "signatures",  # one 64-bit number for each name, 0 for one that has to be read
        "digests",  # 16 bytes for each tracked name
        "modes",  # permission bits of each tracked name, two bytes each
        "stdout",  # what is printed
        "summary",  # what is printed on stderr, before and behind the duration
        "history",  # the line for `pending.jsonl`, without what changes from run to run
        "unfinished",  # names of tasks that have to be judged, because they failed the last time
        "touched",  # how far the list of touched tasks had come: see `touch`
    )
    __slots__ = fields

    stamp: tuple[object, ...]
    arguments: tuple[str, ...]
    database: tuple[int, int]
    salt: bytes
    environment: tuple[tuple[str, bytes | None], ...]
    whole_environment: bytes
    kinds: tuple[tuple[str, bool, int], ...]
    links: tuple[tuple[str, str], ...]
    accesses: tuple[tuple[str, int, bool], ...]
    listings: tuple[tuple[str, int, bytes, frozenset[str] | None], ...]
    folders: tuple[tuple[bytes, int], ...]
    names: bytes
    tracked: int
    signatures: bytes
    digests: bytes
    modes: bytes
    stdout: str
    summary: tuple[str, str]
    history: str
    unfinished: tuple[str, ...]
    touched: tuple[bytes, int]

    def __init__(self, values: "Iterable[object]") -> None:
        """Take the values of all fields, in their order."""
        for name, value in zip(self.fields, values, strict=True):
            setattr(self, name, value)

    def values(self) -> "tuple[Any, ...]":
        """Return the values of all fields, in their order."""
        return tuple([getattr(self, name) for name in self.fields])


# Another list of fields is another format, whatever the version of buildkit says while it is being changed.
_MAGIC = f"buildkit snapshot {_MEANING} {crc32(','.join(Snapshot.fields).encode()):08x}\n".encode()


def stamp(path: "Sequence[str] | None" = None) -> tuple[object, ...]:
    """Return what has to be the same for a snapshot to mean anything: program, interpreter, machine, user.

    To be asked before a dodo.py is loaded, which may change `sys.path`, or with what that was before.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    return (
        buildkit.__version__,
        sys.version,
        sys.executable,
        tuple(sys.flags),
        tuple(sys.path if path is None else path),
        tuple(os.uname()),
        os.getuid(),
        len(affinity(0)) if affinity is not None else os.cpu_count(),
    )


def name_of(arguments: "Iterable[str]") -> str:
    """Return the name of the file for a command line; what stands in the file decides, not its name."""
    terminals = f"{os.isatty(1):d}{os.isatty(2):d}"  # what is printed may depend on them
    text = "\0".join((terminals, *arguments))
    return f"{crc32(text.encode('utf-8', 'surrogateescape')):08x}"


def read(project: str, name: str) -> Snapshot | None:
    """Return the snapshot of that name, None where there is none that this program understands."""
    try:
        with open(os.path.join(project, DIRECTORY, name + _SUFFIX), "rb", buffering=0) as file:
            content = file.read()
    except OSError:
        return None
    start = len(_MAGIC) + 4
    if content[: len(_MAGIC)] != _MAGIC:
        return None
    body = memoryview(content)[start:]
    # Bytes that are not what was written must not reach `marshal`, which may crash on them.
    if crc32(body).to_bytes(4, "little") != content[len(_MAGIC) : start]:
        return None
    try:
        return Snapshot(marshal.loads(body))  # noqa: S302 - checked above, and written by this account
    except (ValueError, TypeError, EOFError):
        return None


def read_plan(project: str, name: str) -> "memoryview | None":
    """Return what was written with the snapshot of that name as its plan; None where there is none."""
    try:
        with open(os.path.join(project, DIRECTORY, name + _PLAN_SUFFIX), "rb", buffering=0) as file:
            content = memoryview(file.read())
    except OSError:
        return None
    plan = content[:-_PLAN_CHECKSUM]
    return plan if _plan_checksum(plan) == content[-_PLAN_CHECKSUM:] else None


def _plan_checksum(plan: "bytes | memoryview") -> bytes:
    from xxhash import xxh3_64_digest  # plans are megabytes, which takes `crc32` a millisecond

    return xxh3_64_digest(plan)


def keep_plan(project: str, name: str, plan: "bytes | memoryview") -> None:
    """Have the plan of that name, which is this one, be among the newest; OSError as it comes."""
    try:
        os.utime(os.path.join(project, DIRECTORY, name + _PLAN_SUFFIX))
    except FileNotFoundError:  # somebody has thrown all away meanwhile
        _write_plan(project, name, (plan,))


def _write_plan(project: str, name: str, parts: "Iterable[bytes | memoryview]") -> None:
    from xxhash import xxh3_64

    hasher = xxh3_64()

    def content() -> "Iterator[bytes | memoryview]":
        for part in parts:
            hasher.update(part)
            yield part
        yield hasher.digest()

    _replace(project, name + _PLAN_SUFFIX, content())


def identity(project: str, name: str) -> tuple[int, int, int] | None:
    """Return what tells the present file of a snapshot from others of its name; None where there is none."""
    try:
        status = os.stat(os.path.join(project, DIRECTORY, name + _SUFFIX))
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def exists(project: str, name: str) -> bool:
    """Return whether there is a snapshot of that name."""
    return os.path.exists(os.path.join(project, DIRECTORY, name + _SUFFIX))


def write(
    project: str, name: str, snapshot: Snapshot, plan: "Iterable[bytes | memoryview] | None" = None
) -> None:
    """Put a snapshot in the place of the one of that name, and its plan, given in parts.

    OSError as it comes, and whatever making the parts raises.
    """
    if plan is not None:
        _write_plan(project, name, plan)
    body = marshal.dumps(snapshot.values())
    _replace(project, name + _SUFFIX, (_MAGIC + crc32(body).to_bytes(4, "little"), body))
    _remove(project, name + _REASON_SUFFIX)
    _keep_the_newest(project)


def write_reason(project: str, name: str, command: str, reason: str) -> None:
    """Say why there is no snapshot for a command line; OSError as it comes."""
    _remove(project, name + _SUFFIX)
    content = f"{command}\n{reason}\n".encode("utf-8", "backslashreplace")
    _replace(project, name + _REASON_SUFFIX, (content,))
    _keep_the_newest(project)


def reason(project: str, name: str) -> str | None:
    """Return why there is no snapshot of that name, None where nobody has said."""
    try:
        with open(os.path.join(project, DIRECTORY, name + _REASON_SUFFIX), encoding="utf-8") as file:
            return file.read().partition("\n")[2].strip()
    except OSError:
        return None


def reasons(project: str) -> list[tuple[str, str]]:
    """Return command lines that have no snapshot, each with the reason, the last one first."""
    found = []
    for path, _size in _newest_first(project):
        if path.endswith(_REASON_SUFFIX):
            with open(path, encoding="utf-8", errors="replace") as file:
                command, _, reason = file.read().partition("\n")
            found.append((command, reason.strip()))
    return found


def kept(project: str) -> list[Snapshot]:
    """Return all snapshots of a project, the last one first."""
    paths = [path for path, _size in _newest_first(project) if path.endswith(_SUFFIX)]
    found = [read(project, os.path.basename(path)[: -len(_SUFFIX)]) for path in paths]
    return [one for one in found if one is not None]


def drop(project: str, name: str) -> None:
    """Throw one snapshot away, if that can be done: it is of no more use, but not wrong."""
    try:
        _remove(project, name + _SUFFIX)
    except OSError:
        return


def discard(project: str) -> None:
    """Throw all snapshots away; OSError where that is impossible."""
    directory = os.path.join(project, DIRECTORY)
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return
    for name in names:
        if name.endswith((_SUFFIX, _PLAN_SUFFIX)):
            try:
                os.unlink(os.path.join(directory, name))
            except FileNotFoundError:
                continue


def touch(project: str, tasks: "Iterable[str]") -> None:
    """Have all snapshots look again at tasks whose record changes in a way that the facts do not show.

    To be done before it is written. OSError where that is impossible: then nothing may be written.
    """
    try:
        _append_touched(project, tasks)
    except OSError:  # the disk is full: throwing away is possible even then
        discard(project)


def _append_touched(project: str, tasks: "Iterable[str]") -> None:
    # A NUL ahead of all ends a name that a full disk may have cut short.
    names = b"\0".join([b"", *[task.encode("utf-8", "surrogateescape") for task in tasks], b""])
    path = os.path.join(project, _TOUCHED)
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(fd).st_size
        if not _TOUCHED_ID <= size < _MOST_TOUCHED:
            discard(project)
            os.ftruncate(fd, 0)
            names = os.urandom(_TOUCHED_ID) + names
        while names:
            names = names[os.write(fd, names) :]
    finally:
        os.close(fd)


def touched_so_far(project: str) -> tuple[bytes, int]:
    """Return how far the list of touched tasks has come."""
    try:
        with open(os.path.join(project, _TOUCHED), "rb", buffering=0) as file:
            return file.read(_TOUCHED_ID), os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        _append_touched(project, ())
        return touched_so_far(project)


def touched_since(project: str, mark: tuple[bytes, int]) -> tuple[str, ...] | None:
    """Return the tasks that were touched since `touched_so_far` returned `mark`; None where nobody knows."""
    try:
        with open(os.path.join(project, _TOUCHED), "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if file.read(_TOUCHED_ID) != mark[0] or size < mark[1]:
                return None
            if size == mark[1]:
                return ()
            file.seek(mark[1])
            names = file.read()
    except OSError:
        return None
    return tuple({name.decode("utf-8", "surrogateescape"): None for name in names.split(b"\0") if name})


def append_line(path: str, line: bytes) -> int:
    """Add a line to a file that many processes write, and return its size.

    The leading newline ends a line that a full disk or a kill may have cut short.
    """
    import fcntl  # there is none on Windows, and this is only called where there is one

    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        # Shared: writers do not disturb each other (O_APPEND), but must not write between the reading
        # and the truncating of `pending.drain`.
        fcntl.flock(fd, fcntl.LOCK_SH)
        os.write(fd, b"\n" + line + b"\n")
        return os.fstat(fd).st_size
    finally:
        os.close(fd)


def _replace(project: str, name: str, parts: "Iterable[bytes | memoryview]") -> None:
    directory = os.path.join(project, DIRECTORY)
    os.makedirs(directory, mode=0o700, exist_ok=True)
    path = os.path.join(directory, name)
    temporary = f"{path}.{os.getpid()}.new"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb", buffering=0) as file:
            for part in parts:
                view = memoryview(part)
                while view:
                    view = view[file.write(view) :]
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _remove(project: str, name: str) -> None:
    try:
        os.unlink(os.path.join(project, DIRECTORY, name))
    except FileNotFoundError:
        return


def _newest_first(project: str) -> list[tuple[str, int]]:
    """Return the paths of all files and their sizes."""
    found = []
    try:
        with os.scandir(os.path.join(project, DIRECTORY)) as entries:
            for entry in entries:
                try:
                    status = entry.stat()
                except FileNotFoundError:
                    continue
                found.append((status.st_mtime_ns, entry.path, status.st_size))
    except FileNotFoundError:
        return []
    return [(path, size) for _, path, size in sorted(found, reverse=True)]


def _keep_the_newest(project: str) -> None:
    total = 0
    for number, (path, size) in enumerate(_newest_first(project)):
        total += size
        if number == 0 or (number < _KEPT and total <= _KEPT_BYTES):
            continue
        try:
            os.unlink(path)
        except FileNotFoundError:
            continue
