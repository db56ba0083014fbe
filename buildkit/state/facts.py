"""Facts about the world that a stored answer depends on, each with the question that finds it out again.

What belongs here: one function for each kind of fact, used by the one who writes a snapshot and by the one
who trusts it, and the check of a whole snapshot. Builtin modules only, see `state/snapshot.py`.
"""

import os
import stat
import sys
import time

# The C halves of `operator` and `struct`; `array` would import `collections`.
from _operator import attrgetter
from _struct import pack, unpack
from itertools import islice

from buildkit.state.snapshot import DATABASE, LOCK, Snapshot, stamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

ABSENT, FILE, FOLDER, LINK, OTHER = range(5)

# What a reader of the whole environment cannot help seeing: bash puts the path of the program here.
NOISE = frozenset({"_"})
OURS = frozenset({".buildkit", "__pycache__"})
MODULES = (".py", ".pyc", ".so", ".pyd")

# As in core/fingerprint.py, which costs too much to import: a file written within a tick of the moment it
# was looked at can change again without its timestamps moving. A test keeps the two equal.
TICK_NS = 20_000_000
COARSE_TICK_NS = 2_000_000_000

# The mode and the device need not be there: nothing can change them without changing the ctime or the inode.
_signature_of = attrgetter("st_mtime_ns", "st_ctime_ns", "st_size", "st_ino")
_GONE = -1  # no signature: Python's hashes never are
_WORTH_SHARING = 2000  # so many files pay for a child process
_ASKED_AGAIN = 2  # parts after which a busy processor may have become idle
_PART = 500  # files of a folder that are looked at in one go
_WORTH_GOING = 8  # so many files in a folder pay for going there, which makes each path shorter
_COMPARED = 256  # signatures at once
_MANY = 100  # paths from which a table of all of them is cheaper than a search for each


def racy(status: os.stat_result, seen_at_ns: int) -> bool:
    """Return whether a file that was looked at then may have changed since, and its status not show it."""
    mtime_ns, ctime_ns = status.st_mtime_ns, status.st_ctime_ns
    whole = mtime_ns % 1_000_000_000 == 0 and ctime_ns % 1_000_000_000 == 0
    return max(mtime_ns, ctime_ns) > seen_at_ns - (COARSE_TICK_NS if whole else TICK_NS)


def signature(status: os.stat_result) -> int:
    """Return a 64-bit number that changes with any part of a file's stat signature.

    Python's hash of a tuple of numbers is no secret of the process, unlike that of texts, and mixes well
    (xxHash); the interpreter is part of the stamp. By mischance two signatures are equal once in 2**64.
    """
    return hash(_signature_of(status))


def signature_of_parts(mtime_ns: int, ctime_ns: int, size: int, inode: int) -> int:
    """Return the signature of a status with these parts."""
    return hash((mtime_ns, ctime_ns, size, inode))


def signatures_of(snapshot: Snapshot) -> bytes:
    """Return the packed signatures of all files; OSError as `stat` raises it.

    This is where the time of a run with nothing to do goes. Where there are many files and a processor is
    idle, a child looks at half of them, and only says what it saw where that is not as recorded.
    """
    names = snapshot.names.split(b"\0") if snapshot.names else []
    parts = []
    begin = 0
    for folder, count in snapshot.folders:
        end = begin + count
        parts += [(folder, names[first : min(first + _PART, end)]) for first in range(begin, end, _PART)]
        begin = end
    found: list[bytes] = []
    left, done = len(names), 0
    while left >= _WORTH_SHARING:
        if idle_processor():
            found.append(_look_by_two(parts[done:], left, snapshot.signatures))
            return b"".join(found)
        some = parts[done : done + _ASKED_AGAIN]
        found.append(_look(some))
        left -= sum(len(each) for _folder, each in some)
        done += len(some)
    found.append(_look(parts[done:]))
    return b"".join(found)


def _look_by_two(parts: "Sequence[tuple[bytes, list[bytes]]]", count: int, recorded: bytes) -> bytes:
    """Return the packed signatures of `count` files, the last of all, with the help of a child."""
    half = mine = 0
    while 2 * mine < count and half + 1 < len(parts):
        mine += len(parts[half][1])
        half += 1
    recorded = recorded[len(recorded) - 8 * (count - mine) :]
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)  # or who is not heard any more would write for ever
            seen = _look(parts[half:])
            view = memoryview(b"" if seen == recorded else seen)
            while view:
                view = view[os.write(writing, view) :]
            os._exit(0)
        finally:  # whatever happens, nothing else of this process may go on here
            os._exit(1)
    try:
        os.close(writing)
        found = _look(parts[:half])
        told = b"".join(iter(lambda: os.read(reading, 1 << 16), b""))
    finally:
        os.close(reading)  # ahead of waiting: the child may have more to say
        _, status = os.waitpid(child, 0)
    if status != 0:  # one of its files is gone, for instance: whoever asks has to be told
        told = _look(parts[half:])
    return found + (told or recorded)


def _look(parts: "Sequence[tuple[bytes, list[bytes]]]") -> bytes:
    """Return the packed signatures of files by folder.

    The loop is one of C functions, names are bytes, which need not be encoded, and counted from their
    folder, which shortens the way of the kernel.
    """
    here = os.open(".", os.O_RDONLY | os.O_CLOEXEC)
    found = []
    try:
        for folder, names in parts:
            if folder:
                os.chdir(folder)
            found.append(pack(f"{len(names)}q", *map(hash, map(_signature_of, map(os.stat, names)))))
            if folder:
                os.fchdir(here)
    finally:
        os.fchdir(here)
        os.close(here)
    return b"".join(found)


def idle_processor() -> bool:
    """Return whether a child would get a processor at once: Linux says how many threads want to run now."""
    threading = sys.modules.get("threading")
    if threading is not None and threading.active_count() > 1:
        return False  # a fork takes only one of them along, with the locks of all
    try:
        with open("/proc/loadavg", "rb", buffering=0) as file:
            running = int(file.read().split()[3].split(b"/")[0])
        return running < len(os.sched_getaffinity(0))
    except (OSError, ValueError, IndexError, AttributeError):
        return False


def by_folder(paths: "Iterable[str]") -> "tuple[list[str], list[tuple[bytes, int]]]":
    """Return the paths in another order, and how `signatures_of` may go through them."""
    folders: dict[str, list[str]] = {}
    for path in paths:
        folders.setdefault(path.rpartition("/")[0], []).append(path)
    ordered: list[str] = []
    counts = []
    single: list[str] = []
    for folder, members in folders.items():
        if folder and len(members) >= _WORTH_GOING:
            ordered += members
            counts.append((os.fsencode(folder), len(members)))
        else:
            single += members
    if single:
        counts.append((b"", len(single)))
    return ordered + single, counts


def names_of(paths: "Iterable[str]", folders: "Iterable[tuple[bytes, int]]") -> bytes:
    """Return the names of ordered paths as a snapshot keeps them."""
    rest = iter(paths)
    parts = [
        "\0".join([path.rpartition("/")[2] if folder else path for path in islice(rest, count)])
        for folder, count in folders
    ]
    return os.fsencode("\0".join(parts))


def paths_of(snapshot: Snapshot, numbers: "Sequence[int] | None" = None) -> list[bytes]:
    """Return all paths in their order, or those with these numbers."""
    names = snapshot.names.split(b"\0")
    if numbers is None or len(numbers) > _MANY:
        folders = [folder for folder, count in snapshot.folders for _ in range(count)]
        wanted = range(len(names)) if numbers is None else numbers
        return [os.path.join(folders[number], names[number]) for number in wanted]
    return [os.path.join(_folder_of(snapshot, number), names[number]) for number in numbers]


def _folder_of(snapshot: Snapshot, number: int) -> bytes:
    for folder, count in snapshot.folders:
        if number < count:
            return folder
        number -= count
    return b""


def numbers_of(snapshot: Snapshot, paths: "Collection[str]") -> dict[str, int]:
    """Return the numbers of those of these paths that are tracked."""
    if len(paths) > _MANY:
        numbers = {name: number for number, name in enumerate(paths_of(snapshot, range(snapshot.tracked)))}
        encoded = ((path, os.fsencode(path)) for path in paths)
        return {path: numbers[name] for path, name in encoded if name in numbers}
    names = snapshot.names.split(b"\0")[: snapshot.tracked]
    where: dict[bytes, list[tuple[int, int]]] = {}
    begin = 0
    for folder, count in snapshot.folders:
        where.setdefault(folder, []).append((begin, begin + count))
        begin += count
    found = {}
    for path in paths:
        full = os.fsencode(path)
        folder, name = os.path.split(full)
        for inside, sought in ((folder, name), (b"", full)):
            for first, end in where.get(inside, ()):
                try:
                    found[path] = names.index(sought, first, end)
                except ValueError:
                    continue
    return found


def packed(signatures: "Sequence[int]") -> bytes:
    """Return signatures as a snapshot keeps them."""
    return pack(f"{len(signatures)}q", *signatures)


def unpacked(signatures: bytes) -> "tuple[int, ...]":
    """Return what was packed."""
    return unpack(f"{len(signatures) // 8}q", signatures)


def kind_of(path: str, *, follow: bool = True) -> int:
    """Return what is at a path, as a question like `os.path.isdir` would find it."""
    try:
        mode = (os.stat(path) if follow else os.lstat(path)).st_mode
    except (OSError, ValueError):
        return ABSENT
    return kind_of_mode(mode)


def kind_of_mode(mode: int) -> int:
    """Return the kind for the mode of a stat result."""
    if stat.S_ISREG(mode):
        return FILE
    if stat.S_ISDIR(mode):
        return FOLDER
    return LINK if stat.S_ISLNK(mode) else OTHER


def listing_of(path: str, names: "frozenset[str] | None") -> bytes:
    """Return a digest of the names in a folder; b"" where it cannot be listed.

    With `names` only what an import of one of these names could find there counts.
    """
    try:
        found = os.listdir(path)
    except OSError:
        return b""
    if names is None:
        wanted = [name for name in found if name not in OURS]
    else:
        wanted = [name for name in found if name.endswith(MODULES) or name.partition(".")[0] in names]
    return digest("\0".join(sorted(wanted)).encode("utf-8", "surrogateescape"), b"listing")


def digest(content: bytes, salt: bytes) -> bytes:
    """Return a salted one-way digest of 16 bytes: what is digested may be a secret."""
    try:
        from _blake2 import blake2b  # hashlib spends milliseconds on loading OpenSSL
    except ImportError:
        from hashlib import blake2b

    return blake2b(content, digest_size=16, key=salt).digest()


def variable_digest(environ: "Mapping[str, str]", name: str, salt: bytes) -> bytes | None:
    """Return the digest of an environment variable's value, None where it is not set."""
    value = environ.get(name)
    return None if value is None else digest(value.encode("utf-8", "surrogateescape"), salt)


def environment_digest(environ: "Mapping[str, str]", salt: bytes) -> bytes:
    """Return the digest of all names and values but `NOISE`."""
    lines = sorted(f"{name}={value}" for name, value in environ.items() if name not in NOISE)
    return digest("\0".join(lines).encode("utf-8", "surrogateescape"), salt)


def what_changed(
    snapshot: Snapshot,
    arguments: "Iterable[str]",
    environ: "Mapping[str, str]",
    *,
    path: "Sequence[str] | None" = None,
) -> str | None:
    """Return which fact does not hold any more, None where all do; files are left to `files_changed`.

    The project is the current directory. `path` is `sys.path` as it was when the process began, for those
    who ask later.
    """
    if snapshot.arguments != tuple(arguments):
        return "the command line"
    if snapshot.stamp != stamp(path):
        return "Python, buildkit or the machine"
    if _busy():
        return "another run holds the project"
    try:
        database = os.stat(DATABASE)
    except OSError:
        return "the record of the project"
    if (database.st_dev, database.st_ino) != snapshot.database:
        return "the record of the project"
    return _environment_changed(snapshot, environ) or _places_changed(snapshot)


def _busy() -> bool:
    """Whether a run holds the lock: only then, or after a kill, the file says who that is."""
    try:
        return os.stat(LOCK).st_size > 0
    except OSError:
        return False


def _environment_changed(snapshot: Snapshot, environ: "Mapping[str, str]") -> str | None:
    salt = snapshot.salt
    for name, seen in snapshot.environment:
        if variable_digest(environ, name, salt) != seen:
            return f"environment variable {name}"
    if snapshot.whole_environment and environment_digest(environ, salt) != snapshot.whole_environment:
        return "the environment"
    return None


def _places_changed(snapshot: Snapshot) -> str | None:
    for path, follow, kind in snapshot.kinds:
        if kind_of(path, follow=follow) != kind:
            return path
    for path, text in snapshot.links:
        try:
            if os.readlink(path) != text:
                return path
        except OSError:
            return path
    for path, mode, answer in snapshot.accesses:
        if os.access(path, mode) != answer:
            return path
    for path, seen, listed, names in snapshot.listings:
        try:
            status = os.stat(path)
        except OSError:
            if listed:
                return path
            continue
        if signature(status) != seen and listing_of(path, names) != listed:
            return path
    return None


def files_changed(snapshot: Snapshot) -> list[int] | None:
    """Return the numbers of the paths whose signature is not the recorded one, also of those that are gone.

    None where that cannot be told.
    """
    try:
        found = signatures_of(snapshot)
    except FileNotFoundError:
        found = _look_one_by_one(snapshot)
    except (OSError, ValueError):
        return None
    if found == snapshot.signatures:
        return []
    if len(found) != len(snapshot.signatures):
        return None
    different: list[int] = []
    for begin in range(0, len(found), 8 * _COMPARED):  # most parts are the same, and then nothing is unpacked
        now, then = found[begin : begin + 8 * _COMPARED], snapshot.signatures[begin : begin + 8 * _COMPARED]
        if now != then:
            pairs = enumerate(zip(unpacked(now), unpacked(then), strict=True), begin // 8)
            different += [number for number, (one, other) in pairs if one != other]
    return different


def _look_one_by_one(snapshot: Snapshot) -> bytes:
    """Return the packed signatures of all files, `_GONE` for each that is not there."""
    found = []
    for path in paths_of(snapshot):
        try:
            found.append(signature(os.stat(path)))
        except (OSError, ValueError):
            found.append(_GONE)
    return packed(found)


def now_ns() -> int:
    """Return the wall clock that file timestamps are compared with."""
    return time.time_ns()
