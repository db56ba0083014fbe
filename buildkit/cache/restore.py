"""The cache onto disk: the outputs of one action result, all of them or none.

A restore goes through these steps, and whatever stops it before the third leaves the outputs untouched:

1. look: refuse if something that is not ours stands where an output belongs, or if a symbolic link would
   carry us out of the project;
2. write every file, verified, where nobody sees it: to a file that has no name yet, or to a temporary one
   beside its target;
3. remove what an earlier state of the same outputs left in the way, and give everything its name.

Never a hard link into the store: an in-place edit of an output would damage the blob.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TypeVar

from buildkit.cache.birthplace import Birthplaces
from buildkit.cache.capture import SMALL_BYTES, OutputEntry
from buildkit.cache.errors import RestoreFailed, RestoreMiss, RestoreRefused
from buildkit.cache.protocols import BlobStore
from buildkit.cache.result import ActionResult, OutputFile, OutputKind, blob_digests, lies_below
from buildkit.cache.scratch import Scratch
from buildkit.cache.transfer import copy_file, write_all
from buildkit.cache.unnamed import give_name
from buildkit.core.digest import Digest, digest_file, digest_function, digest_size
from buildkit.core.fingerprint import PERMISSION_BITS, TICK_NS
from buildkit.core.record import Record

_Blob = TypeVar("_Blob")

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_MOST_UNNAMED = 16  # in one restore: each takes a descriptor


class Restored(Record):
    """What came back: the outputs as they are on disk now, and the log to replay."""

    entries: tuple[OutputEntry, ...]
    log: bytes | None
    size: int  # bytes of all files together


def restore(
    result: ActionResult,
    *,
    store: BlobStore,
    scratch: Scratch,
    root: str,
    declared: Iterable[str] | None = None,
    expected_previous: Iterable[str] = (),
    birthplaces: Birthplaces | None = None,
) -> Restored:
    """Put the outputs of `result` back, relative to `root` (an absolute path), with their modes.

    `declared` are the outputs that the task declares now: a result that names others is a miss, so an entry
    of the cache can never choose where to write. `expected_previous` names entries that an earlier state of
    the same directory outputs had: they are ours to delete where the new state does not have them. Anything
    else found in a directory output stays.

    Raises RestoreMiss and RestoreRefused (nothing was touched) or RestoreFailed.
    """
    if declared is not None and {path.rstrip("/") or path for path in declared} != set(result.roots):
        raise RestoreMiss(f"the recorded outputs of {result.task!r} are not the declared ones", stale=False)
    work = _Restore(result, store, scratch, root, expected_previous, birthplaces or Birthplaces())
    try:
        return work.run()
    except RestoreMiss as error:
        if work.touched:  # a blob was lost after it had been verified
            raise RestoreFailed(str(error)) from error
        raise
    except OSError as error:
        raise RestoreFailed(f"outputs of {result.task!r} cannot be restored: {error}") from error
    finally:
        work.clean_up()


class Restorer:
    """Restores into one project; needs no index, so that another process can do it."""

    def __init__(self, store: BlobStore, scratch: Scratch, root: str, birthplaces: Birthplaces) -> None:
        self._store = store
        self._scratch = scratch
        self._root = root
        self._birthplaces = birthplaces

    def restore(
        self, result: ActionResult, declared: Iterable[str] | None, expected_previous: Iterable[str]
    ) -> Restored:
        """Put the outputs of `result` back, see `restore`."""
        return restore(
            result,
            store=self._store,
            scratch=self._scratch,
            root=self._root,
            declared=declared,
            expected_previous=expected_previous,
            birthplaces=self._birthplaces,
        )

    def close(self) -> None:
        """Remove what this process needed for it; no restore is under way any more."""
        self._scratch.close()


class _Restore:
    """One restore under way."""

    def __init__(
        self,
        result: ActionResult,
        store: BlobStore,
        scratch: Scratch,
        root: str,
        expected_previous: Iterable[str],
        birthplaces: Birthplaces,
    ) -> None:
        self._result = result
        self._store = store
        self._scratch = scratch
        self._root = root
        self._birthplaces = birthplaces
        self._previous = frozenset(expected_previous)
        self._sound_directories: set[str] = set()
        self._in_the_way: list[str] = []  # absolute; deleted before anything is put into place
        self._made_directories: list[str] = []  # absolute, parents first
        self._absent: set[str] = set()  # absolute; where nothing stood when we looked
        self._temporaries: dict[str, str | None] = {}  # absolute target: file beside it; None: unnamed
        self._unnamed: dict[str, int] = {}  # absolute target: descriptor of the file that it becomes
        self._set_back: dict[str, int] = {}  # absolute target: the mtime that it was given before its name
        self._size = 0
        self.touched = False  # whether an output may differ from what it was before

    def run(self) -> Restored:
        """Do all steps; see the module's docstring."""
        hashed_at_ns = time.time_ns()
        result = self._result
        log = self._read_log()
        for output in result.outputs:
            self._look(output)
        if self._in_the_way:
            # What is in the way has to go before temporary files can be written: verify everything now.
            self._verify_blobs()
            self._clear_the_way()
        elif len(result.outputs) > 1:
            self._check_presence()
        for output in result.outputs:
            if output.kind is OutputKind.FILE:
                self._write_file(output)
            elif output.kind is OutputKind.LINK:
                self._write_link(output)
            else:
                self._make_directories(self._full(output.path))
        self._check_links()
        self._put_into_place()
        if self._previous:
            self._remove_stale()
        self._set_directory_modes()
        entries = tuple([self._entry(output, hashed_at_ns) for output in result.outputs])
        self._close_files()
        return Restored(entries, log, self._size)

    def clean_up(self) -> None:
        """Remove what an unfinished restore has written; nothing is left to remove after a finished one."""
        for fd in self._unnamed.values():
            with suppress(OSError):
                os.close(fd)
        for temporary in self._temporaries.values():
            if temporary is not None:
                with suppress(OSError):
                    os.unlink(temporary)
        for directory in reversed(self._made_directories):
            with suppress(OSError):  # not empty: a sibling of ours was put into place
                os.rmdir(directory)

    def _full(self, path: str) -> str:
        # What os.path.join does, at a fifth of its price.
        return path if path.startswith("/") else f"{self._root}/{path}"

    # --- looking

    def _read_log(self) -> bytes | None:
        digest = self._result.log
        if digest is None:
            return None
        try:
            log = self._store.read(digest)
        except OSError as error:
            raise RestoreMiss(f"the log of {self._result.task!r} cannot be read", stale=False) from error
        if log is None:
            raise RestoreMiss(f"the log of {self._result.task!r} is not in the cache", stale=True)
        return log

    def _look(self, output: OutputFile) -> None:
        """Check what stands at the path of an output and above it."""
        path = output.path
        parent = path.rpartition("/")[0]
        if parent not in self._sound_directories:
            self._look_at_parents(path, parent)
        full = self._full(path)
        if self._in_the_way and full.startswith(tuple([f"{going}/" for going in self._in_the_way])):
            return  # all that is seen there will be gone; it may even be seen through a link
        try:
            mode = os.lstat(full).st_mode
        except FileNotFoundError:
            self._absent.add(full)
            return
        is_directory = stat.S_ISDIR(mode)
        if output.kind is OutputKind.DIR:
            if not is_directory:
                if path not in self._result.roots and path not in self._previous:
                    raise RestoreRefused(f"{path!r} is in the way of a directory and is not known")
                self._in_the_way.append(full)
        elif is_directory:
            self._plan_removal(path, full)

    def _look_at_parents(self, path: str, parent: str) -> None:
        """Follow the directories from the project's root down to `parent`, and refuse to be led out.

        Paths that are declared absolute, or upwards out of the project, were meant to be there.
        """
        if parent == "" or path.startswith("/") or path.startswith("../"):
            self._look_below_root_output(path, parent)
            return
        current = self._root
        for part in parent.split("/"):
            current = f"{current}/{part}"
            try:
                mode = os.lstat(current).st_mode
            except FileNotFoundError:
                break  # to be made
            if stat.S_ISDIR(mode):
                continue
            if current in self._in_the_way:
                break
            if not stat.S_ISLNK(mode):
                raise RestoreRefused(f"{current!r} is not a directory, and {path!r} belongs below it")
            self._check_inside(current, path)
        self._sound_directories.add(parent)

    def _look_below_root_output(self, path: str, parent: str) -> None:
        """Below a directory output that lies outside the project, no link may lead elsewhere either."""
        link = self._link_on_the_way(path)
        if link is not None and link not in self._in_the_way:
            raise RestoreRefused(f"{link!r} is a symbolic link, and {path!r} belongs below it")
        self._sound_directories.add(parent)

    def _link_on_the_way(self, path: str) -> str | None:
        """Return the first symbolic link between the directory output that holds `path` and `path` itself."""
        for declared in self._result.roots:
            if path.startswith(declared + "/"):
                current = self._full(declared)
                if os.path.islink(current):
                    return current
                for part in path[len(declared) + 1 :].split("/")[:-1]:
                    current = f"{current}/{part}"
                    if os.path.islink(current):
                        return current
        return None

    def _check_inside(self, link: str, path: str) -> None:
        inside = os.path.realpath(self._root)
        led_to = os.path.realpath(link)
        if led_to != inside and not led_to.startswith(inside.rstrip("/") + "/"):
            raise RestoreRefused(
                f"{path!r} would be written outside the project: {link!r} leads to {led_to!r}"
            )
        if not os.path.isdir(led_to):
            raise RestoreRefused(f"{link!r} does not lead to a directory, and {path!r} belongs below it")

    def _plan_removal(self, path: str, full: str) -> None:
        """Plan to delete a directory that stands where a file belongs: it must be empty, or all ours."""
        found = [full]
        for directory, directories, names in os.walk(full, onerror=_raise):
            for name in directories + names:
                if f"{path}{directory[len(full) :]}/{name}" not in self._previous:
                    raise RestoreRefused(f"{path!r} is a directory with something in it that is not known")
                found.append(f"{directory}/{name}")
        self._in_the_way.extend(sorted(found, reverse=True))

    def _clear_the_way(self) -> None:
        self.touched = True
        for full in self._in_the_way:
            if os.path.isdir(full) and not os.path.islink(full):
                os.rmdir(full)
            else:
                os.unlink(full)

    # --- verifying

    def _miss(self, digest: Digest, output: OutputFile) -> RestoreMiss:
        self._store.discard(digest)
        return RestoreMiss(f"the content of {output.path!r} is not in the cache, or damaged", stale=True)

    def _blob(self, ask: Callable[[Digest], _Blob | None], digest: Digest, output: OutputFile) -> _Blob:
        """Return the content of an output as `ask` gets it from the store."""
        try:
            found = ask(digest)
        except OSError as error:
            raise RestoreMiss(f"the content of {output.path!r} cannot be read", stale=False) from error
        if found is None:
            raise self._miss(digest, output)
        return found

    def _check_presence(self) -> None:
        """Find the cheap misses (no blob, wrong size) before the first byte is written."""
        for digest in blob_digests(self._result):
            if not self._store.contains(digest):
                raise RestoreMiss(f"a blob of {self._result.task!r} is not in the cache", stale=True)

    def _verify_blobs(self) -> None:
        for output in self._result.outputs:
            digest = output.digest
            if digest is None or output.kind is not OutputKind.FILE:
                continue
            try:
                sound = self._store.verify(digest)
            except OSError as error:
                raise RestoreMiss(f"the content of {output.path!r} cannot be read", stale=False) from error
            if not sound:
                raise self._miss(digest, output)

    def _check_links(self) -> None:
        """Check that a link that stands for a file's content will lead to the same content again."""
        restored: dict[str, Digest | None] | None = None
        for output in self._result.outputs:
            if output.kind is not OutputKind.LINK or output.digest is None:
                continue
            assert output.link is not None, "the codec lets no link without a text through"  # noqa: S101
            if restored is None:
                restored = {
                    os.path.realpath(self._full(o.path)): o.digest
                    for o in self._result.outputs
                    if o.kind is OutputKind.FILE
                }
            directory = os.path.dirname(self._full(output.path))
            leads_to = os.path.realpath(os.path.join(directory, output.link))
            found = restored.get(leads_to)
            if found is None:
                with suppress(OSError):
                    found = digest_file(leads_to, digest_function(output.digest))
            if found != output.digest:
                raise RestoreMiss(f"{output.path!r} would lead to other content than it did", stale=False)

    # --- writing

    def _make_directories(self, full: str) -> None:
        missing = []
        while full and not os.path.isdir(full):
            missing.append(full)
            full = os.path.dirname(full)
        for directory in reversed(missing):
            try:
                os.mkdir(directory)
            except FileExistsError:
                if not os.path.isdir(directory):
                    raise
            else:  # or another restore has just made it
                self._made_directories.append(directory)

    def _create(self, target: str, mode: int) -> int:
        """Open the new file that will be `target`, one without a name if that can be had."""
        directory = target.rpartition("/")[0] or "/"
        while True:
            try:
                if self._may_be_unnamed(target, directory):
                    fd = self._birthplaces.create(directory, mode, self._scratch.path_beside)
                    if fd is not None:
                        self._unnamed[target] = fd
                        self._temporaries[target] = None
                        return fd
                temporary = self._scratch.path_beside(target)
                fd = os.open(temporary, _CREATE, 0o600)
            except FileExistsError:
                continue  # left by a process that had our pid before us
            except FileNotFoundError:
                self._make_directories(directory)
                continue
            self._temporaries[target] = temporary
            return fd

    def _may_be_unnamed(self, target: str, directory: str) -> bool:
        # Where something stands, a file without a name would need a temporary one at last.
        worth_it = target in self._absent or self._birthplaces.elsewhere(directory)
        return worth_it and len(self._unnamed) < _MOST_UNNAMED

    def _write_file(self, output: OutputFile) -> None:
        digest = output.digest
        assert digest is not None, "the codec lets no file without a digest through"  # noqa: S101
        target = self._full(output.path)
        fd = self._create(target, output.mode)
        if target in self._unnamed:  # open until it has its name
            began_ns = time.time_ns()
            self._fill(fd, output, digest)
            if time.time_ns() - began_ns > 2 * TICK_NS:  # a large one
                with suppress(OSError):
                    os.utime(fd, ns=(began_ns, began_ns))
                    self._set_back[target] = os.fstat(fd).st_mtime_ns
            return
        try:
            self._fill(fd, output, digest)
            os.fchmod(fd, output.mode)
        finally:
            os.close(fd)

    def _fill(self, fd: int, output: OutputFile, digest: Digest) -> None:
        """Write the verified content of an output to a new file."""
        size = digest_size(digest)
        if size <= SMALL_BYTES:
            write_all(fd, self._blob(self._store.read, digest, output))
        else:
            blob_fd = self._blob(self._store.open, digest, output)
            try:
                if copy_file(blob_fd, fd, digest_function(digest), source_is_final=True) != digest:
                    raise self._miss(digest, output)
            finally:
                os.close(blob_fd)
        self._size += size

    def _write_link(self, output: OutputFile) -> None:
        assert output.link is not None, "the codec lets no link without a text through"  # noqa: S101
        target = self._full(output.path)
        while True:
            temporary = self._scratch.path_beside(target)
            try:
                os.symlink(output.link, temporary)
            except FileExistsError:
                continue  # left by a process that had our pid before us
            except FileNotFoundError:
                self._make_directories(os.path.dirname(target))
                continue
            self._temporaries[target] = temporary
            return

    def _put_into_place(self) -> None:
        self.touched = True
        for target in list(self._temporaries):
            if self._temporaries[target] is not None or not self._give_name(target, target):
                os.rename(self._temporaries[target] or self._name_beside(target), target)
            del self._temporaries[target]
        self._made_directories.clear()

    def _give_name(self, target: str, name: str) -> bool:
        try:
            return give_name(self._unnamed[target], name)
        except OSError:
            self._birthplaces.refused(target.rpartition("/")[0] or "/")
            raise

    def _name_beside(self, target: str) -> str:
        """Give a file a name to be renamed from: something has come into its place since we looked."""
        while True:
            name = self._scratch.path_beside(target)
            if self._give_name(target, name):
                self._temporaries[target] = name
                return name

    def _remove_stale(self) -> None:
        """Delete what the earlier state had and the new one has not, children before their directories."""
        current = {output.path for output in self._result.outputs}
        for path in sorted(self._previous - current, reverse=True):
            full = self._full(path)
            if not lies_below(path, self._result.roots) or self._link_on_the_way(path) is not None:
                continue
            try:
                if stat.S_ISDIR(os.lstat(full).st_mode):
                    with suppress(OSError):  # the user has put something into it
                        os.rmdir(full)
                else:
                    os.unlink(full)
            except (FileNotFoundError, NotADirectoryError):
                pass  # gone already

    def _set_directory_modes(self) -> None:
        # Children first: a directory may become unsearchable for us.
        for output in reversed(self._result.outputs):
            if output.kind is OutputKind.DIR:
                full = self._full(output.path)
                mode = stat.S_IMODE(os.stat(full).st_mode)
                if mode & PERMISSION_BITS != output.mode:
                    # A set-gid bit that the directory has from its parent is not ours to take away.
                    os.chmod(full, mode & ~PERMISSION_BITS | output.mode)

    def _entry(self, output: OutputFile, hashed_at_ns: int) -> OutputEntry:
        full = self._full(output.path)
        fd = self._unnamed.get(full)
        if fd is not None:
            status = os.fstat(fd)
            if status.st_mode & PERMISSION_BITS != output.mode:  # the umask took some away
                os.fchmod(fd, output.mode)
                status = os.fstat(fd)
            hashed_at_ns = self._known_until(full, status) or hashed_at_ns
        elif output.kind is OutputKind.LINK and output.digest is not None:
            status = os.stat(full)
        else:
            status = os.lstat(full)
        return OutputEntry(output, status, hashed_at_ns)

    def _known_until(self, full: str, status: os.stat_result) -> int | None:
        """Return when a file that was just given its name still was as we wrote it; None: nobody can tell.

        Nobody else can have written to it before it had the name, which its ctime says. Whoever does since
        then moves its mtime past that: where it is still the one that we have set, from before, the file need
        not be read again to be sure of it.
        """
        mtime_ns, ctime_ns = status.st_mtime_ns, status.st_ctime_ns
        untouched = self._set_back.get(full) == mtime_ns and ctime_ns - mtime_ns > TICK_NS
        return ctime_ns + TICK_NS if untouched else None

    def _close_files(self) -> None:
        """Close what has its name now; some file systems tell only then that it could not be written."""
        while self._unnamed:
            os.close(self._unnamed.popitem()[1])


def _raise(error: OSError) -> None:
    raise error
