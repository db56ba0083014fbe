"""After a task: are its inputs still what they were, what did it make, and what of it is kept.

What belongs here: capture into the cache, restore from it, and the trace of either. Nothing here decides
whether a task runs.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from buildkit.cache.capture import Capture, OutputEntry
from buildkit.cache.errors import CaptureError, OutputMissing, OutputUnstorable, RestoreError
from buildkit.cache.local import LocalCache
from buildkit.cache.result import ActionResult, OutputFile, OutputKind
from buildkit.core.digest import Digest, digest_text
from buildkit.core.execution import Cost
from buildkit.core.fingerprint import Fingerprint, FingerprintTable, Movement
from buildkit.core.plan import Plan, Task
from buildkit.core.record import Record
from buildkit.engine.judge import Judgement, encode_components
from buildkit.engine.log import TaskLog
from buildkit.engine.outputs import decode_outputs, encode_outputs
from buildkit.engine.parts import Brought, Order
from buildkit.engine.place import is_bound, lookup_keys, names_a_place, names_of_place, place_key
from buildkit.engine.values import ValueTable
from buildkit.engine.writes import WriteWatch
from buildkit.engine.written import WrittenOutputs
from buildkit.state.traces import FAILED, OK, Trace, TraceRow, TraceStore

if TYPE_CHECKING:
    from buildkit.cache.early import EarlyOutput

_NOTE = "buildkit.rewritten"  # in a trace's `extra`: see `_note_of`


class UnsavableValuesError(Exception):
    """A task returned values that cannot be saved; the message is for the user."""


class Kept(Record):
    """What became of a result."""

    recorded: bool  # the next run may skip the task
    stored_bytes: int = 0  # put into the cache
    uncacheable: str | None = None
    only_files: bool = False  # each of its outputs is there, and is a file


class _Made(Record):
    """What was found of the outputs of a task that ran."""

    entries: tuple[OutputEntry, ...]
    trouble: str | None = None  # what forbids to record them
    unstorable: str | None = None  # what forbids to store them
    holds_place: bool = False  # the project's path is in one of them
    only_files: bool = False  # see `Kept`


class Found(Record):
    """A result that the cache has for a task, and what a restore of it takes."""

    key: Digest  # under which it was found
    outputs: str  # as a trace has them
    only_files: bool  # no output is a directory or a link
    order: Order


class CameBack(Record):
    """What a restore brought."""

    log: TaskLog | None
    size: int
    saved_ns: int  # what the recorded execution took
    only_files: bool  # no output is a directory or a link
    started_ns: int  # on the monotonic clock
    wall_ns: int


class Recorder:
    """Keeps results of one run."""

    def __init__(
        self,
        plan: Plan,
        *,
        table: FingerprintTable,
        traces: TraceStore,
        values: ValueTable,
        cache: LocalCache | None,
        root: str,
        warn: Callable[[str], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._plan = plan
        self._table = table
        self._traces = traces
        self._values = values
        self._cache = cache
        self._root = root
        self._warn = warn
        self._clock = clock
        self._place = names_of_place(root, os.environ)
        self.writes = WriteWatch(plan, root)
        self.run_id: int | None = None
        self.written = WrittenOutputs(table)

    # --- running

    def before(self, task: Task, *, look: bool = True) -> dict[str, tuple[int, int, int]]:
        """Return what is in the directories that are outputs of `task` already: path -> stat signature.

        To be asked right before its actions start; or any time before, without `look`, where no output is a
        directory.
        """
        self.writes.begin(task)
        seen: dict[str, tuple[int, int, int]] = {}
        if not look:
            return seen
        for path in task.outputs:
            full = os.path.join(self._root, path)
            if os.path.isdir(full) and not os.path.islink(full.rstrip("/")):
                _scan(full, path.rstrip("/"), seen)
        return seen

    def early_outputs(self, task: Task, judgement: Judgement) -> tuple[str, ...]:
        """Return the outputs that the worker which runs a task may read at once, and store."""
        outputs = task.outputs
        if not outputs:
            return ()
        if self._cache is not None and (
            task.uncacheable is not None or judgement.key is None or not self._cache.takes_early()
        ):
            return ()
        if len(outputs) == 1:
            return () if outputs[0].endswith("/") else outputs
        return tuple([path for path in outputs if not path.endswith("/")])

    def not_begun(self, task: Task) -> None:
        """Take note that a task that was about to start did not."""
        self.writes.end(task)

    def succeeded(
        self,
        task: Task,
        judgement: Judgement,
        *,
        before: Mapping[str, tuple[int, int, int]],
        values: Mapping[str, object],
        result: object,
        log: TaskLog,
        cost: Cost,
        kept: tuple[EarlyOutput, ...] = (),
    ) -> Kept:
        """Record a task whose actions ran, and store its result where that is sound.

        `kept` is what its worker has stored already, see `early_outputs`.
        UnsavableValuesError where the values are no JSON: the task then counts as failed.
        """
        self.writes.end(task)
        kept_result = _kept_result(result)
        values_json = _as_json(task, values)
        result_json = "null" if kept_result is None else json.dumps(kept_result, default=repr)
        self._values.saved(task.name, values, kept_result)
        movement, moved = self._moved_inputs(judgement)
        made = self._capture(task, judgement, before, kept, store=movement is Movement.NONE)
        only_files = made.only_files
        for entry in made.entries:
            self._learn(task, entry.output.path, entry.fingerprint)
        outputs = tuple([entry.output for entry in made.entries])
        self._accept_changes_of(task)
        trouble, note = made.trouble, None
        if movement is not Movement.NONE:
            note = _note_of(movement, judgement, outputs)
            if note is None or note != _last_note(judgement):
                how = "changed" if movement is Movement.CHANGED else "was written, with the same content,"
                trouble = (
                    f"task '{task.name}': input '{moved}' {how} while the task ran; the result stays, "
                    "but is not recorded, and the next run executes the task again"
                )
        texts = (values_json, result_json)
        if trouble is not None:
            self._warn(trouble)
            self._put(task, None, "[]", judgement, *texts, cost.wall_ns, note=note)
            return Kept(False, uncacheable=trouble, only_files=only_files)
        self._put(task, judgement.key, encode_outputs(outputs), judgement, *texts, cost.wall_ns, note=note)
        if made.unstorable is not None or judgement.key is None:
            return Kept(True, uncacheable=made.unstorable, only_files=only_files)
        if note is not None:
            return Kept(True, 0, f"its input '{moved}' is written while it runs", only_files)
        bound = is_bound(task) or made.holds_place or names_a_place((*texts, str(result)), self._place)
        key = place_key(judgement.key, self._root) if bound else Digest(judgement.key)
        return self._store(task, key, outputs, *texts, log, cost)._replace(only_files=only_files)

    def _moved_inputs(self, judgement: Judgement) -> tuple[Movement, str]:
        """Return the worst that became of an input since the task was judged, and which one it was."""
        worst, where = Movement.NONE, ""
        for path, seen in judgement.inputs:
            movement = self._table.movement(path, seen)
            if movement is Movement.NONE:
                continue
            self._table.forget(path)
            worst, where = movement, path
            if movement is Movement.CHANGED:
                break
        return worst, where

    def _capture(
        self,
        task: Task,
        judgement: Judgement,
        before: Mapping[str, tuple[int, int, int]],
        kept_early: tuple[EarlyOutput, ...],
        *,
        store: bool,
    ) -> _Made:
        """Read the outputs, and store their bytes where the result may be stored."""
        reason = self._why_not_stored(task)
        declared: Sequence[str] = task.outputs
        if not declared:
            return _Made((), unstorable=reason)
        early = self._accept_early(kept_early) if kept_early else {}
        if early and len(early) == len(declared) and not before:
            marked = any([one.marked for one in kept_early])
            return _Made(tuple(early.values()), None, reason, marked, True)
        storing = self._cache is not None and store and judgement.key is not None
        absent = [
            path
            for path in declared
            if path not in early and not os.path.lexists(os.path.join(self._root, path))
        ]
        if absent:
            reason = f"it did not make {absent[0]!r}"
            declared = [path for path in declared if path not in absent]
        entries: list[OutputEntry] = []
        holds_place = False
        for path in declared:
            if path in early:
                entries.append(early[path])
                holds_place = holds_place or any(one.marked for one in kept_early if one.path == path)
                continue
            try:
                captured = self._read(path, storing and reason is None)
            except OutputUnstorable as error:
                reason = str(error)
                continue
            except OutputMissing as error:
                reason = str(error)
                continue
            except CaptureError as error:
                trouble = f"task '{task.name}': {error}; the result is not recorded"
                return _Made(tuple(entries), trouble, reason)
            if not captured.stored:
                reason = reason or "the cache could not store it"
            holds_place = holds_place or captured.marked
            entries.extend(captured.entries)
        kept, leftover = self._ours(task, entries, before)
        if leftover is not None:
            reason = reason or f"its output directory held '{leftover}' before it ran"
        found = [entry.output.path for entry in entries if entry.output.kind is OutputKind.FILE]
        only_files = found == list(task.outputs)
        return _Made(tuple(kept), unstorable=reason, holds_place=holds_place, only_files=only_files)

    def _why_not_stored(self, task: Task) -> str | None:
        """Return what is known, before its outputs are looked at, to forbid storing a result."""
        reason = task.uncacheable
        if self._cache is None:
            reason = reason or "the cache is switched off"
        undeclared = self.writes.undeclared(task.name)
        if undeclared is not None and (not task.outputs or self.writes.foreign(task.name)):
            # To restore it would not bring that about.
            reason = reason or f"it wrote {undeclared!r}, which is not among its targets"
        return reason

    def _read(self, path: str, storing: bool) -> Capture:
        """Read an output, and store its bytes where that is wanted; raises CaptureError."""
        if storing and self._cache is not None:
            return self._cache.capture([path], root=self._root, marks=self._place)
        from buildkit.cache.capture import capture  # with the cache off it still does the hashing

        return capture([path], root=self._root, store=None, on_store_error=_ignore)

    def _accept_early(self, kept: tuple[EarlyOutput, ...]) -> dict[str, OutputEntry]:
        """Return what a worker has read of outputs that are still the same."""
        from buildkit.cache.early import accepted  # has been imported then

        found: dict[str, OutputEntry] = {}
        for one in kept:
            if self._cache is not None:
                entry = self._cache.accept_early(one, root=self._root)
            else:
                entry = accepted(one, self._root)
            if entry is not None:
                found[one.path] = entry
        return found

    def _ours(
        self, task: Task, entries: list[OutputEntry], before: Mapping[str, tuple[int, int, int]]
    ) -> tuple[list[OutputEntry], str | None]:
        """Leave out of directory outputs what belongs to other tasks, or was there before and not ours.

        An entry that was there before and did not change may still be ours from an earlier run: it is kept,
        but nobody can tell whether a build from scratch would make it. Also returns the first file that
        was there before, whosoever: with one, the result may be recorded, but not stored.
        """
        roots = {path.rstrip("/") or path for path in task.outputs}
        if all(entry.output.path in roots for entry in entries) and not before:
            return entries, None
        makers = self._plan.makers
        trace = self._traces.get(task.name)
        recorded = {output.path for output in decode_outputs(trace.outputs)} if trace is not None else set()
        kept: list[OutputEntry] = []
        leftover: str | None = None
        others = [path for path in makers if makers[path] != task.name and _below_any(path, roots)]
        for entry in entries:
            path = entry.output.path
            if path in roots:
                kept.append(entry)
            elif any(path == other or path.startswith(other + "/") or other.startswith(path + "/")
                     for other in others):  # fmt: skip
                continue
            else:
                untouched = path in before and before[path] == _signature(entry.status)
                if untouched and entry.output.kind is not OutputKind.DIR:
                    leftover = leftover or path
                if not untouched or path in recorded:
                    kept.append(entry)
        return kept, leftover

    def _learn(self, task: Task, path: str, fingerprint: Fingerprint | None) -> None:
        if fingerprint is not None:
            self._table.learn(path, fingerprint)
            self.written.add(path, task.name, fingerprint)
        else:
            self._table.forget(path)
            self.written.remove(path)

    def _store(
        self,
        task: Task,
        key: Digest,
        outputs: tuple[OutputFile, ...],
        values_json: str,
        result_json: str,
        log: TaskLog,
        cost: Cost,
    ) -> Kept:
        assert self._cache is not None  # noqa: S101 - the caller has looked
        log_digest, log_size = None, 0
        if task.settings.cache_log and log.total_bytes:
            data = log.to_bytes()
            log_digest, log_size = self._cache.put_bytes(data), len(data)
            if log_digest is None:
                return Kept(True, uncacheable="the cache could not store it")
        result = ActionResult(
            task=task.name,
            roots=tuple(dict.fromkeys(path.rstrip("/") or path for path in task.outputs)),
            outputs=outputs,
            log=log_digest,
            log_size=log_size,
            values_json=values_json,
            result_json=result_json,
            wall_ns=cost.wall_ns,
            user_ns=cost.user_ns,
            system_ns=cost.system_ns,
            rss_bytes=cost.rss_bytes,
            created_at=self._clock(),
        )
        self._cache.put(key, result)
        return Kept(True, stored_bytes=sum(_size(output) for output in outputs) + log_size)

    def _accept_changes_of(self, task: Task) -> None:
        """Take outputs of tasks ahead of this one for what it has made of them.

        A task that fills a database, signs or strips a file in place changes what a task that it waits for
        made, and does not declare it. To restore the earlier output would undo that, and nothing would do
        it again: this one is up to date. Where the file is an input, it would not be (see `_moved_inputs`).
        """
        for path in self.writes.foreign(task.name):
            maker = self._plan.makers.get(path)
            if maker is None or path in task.inputs or not _is_behind(self._plan, task, maker):
                continue
            trace = self._traces.get(maker)
            outputs = decode_outputs(trace.outputs) if trace is not None else []
            try:
                self._table.forget(path)
                seen = self._table.current(path)
            except OSError:
                continue
            if trace is None or seen is None or not any(output.path == path for output in outputs):
                continue
            now = [
                output._replace(digest=seen.digest, mode=seen.mode) if output.path == path else output
                for output in outputs
            ]
            self._traces.put(
                TraceRow(
                    maker,
                    trace.action_key,
                    self._traces.components(maker) or "",
                    encode_outputs(now),
                    trace.values,
                    trace.result,
                    trace.status,
                    trace.ignored,
                    trace.extra,
                    self._clock(),
                    self.run_id,
                    trace.wall_ns,
                )
            )

    # --- restoring

    def look_ahead(self, judgements: Iterable[Judgement]) -> None:
        """Ask the cache at once what `find` is going to ask it for each of these."""
        keys = [
            key
            for judgement in judgements
            if judgement.key is not None and judgement.task.uncacheable is None
            for key in lookup_keys(judgement.task, judgement.key, self._root)
        ]
        if keys and self._cache is not None:
            self._cache.fetch(keys)

    def find(self, task: Task, judgement: Judgement) -> Found | None:
        """Return what the cache has under the key of this judgement; None when the task has to run."""
        if self._cache is None or task.uncacheable is not None or not judgement.cacheable:
            return None
        assert judgement.key is not None  # noqa: S101 - or it would not be cacheable
        found = self._cache.get_first(lookup_keys(task, judgement.key, self._root))
        if found is None:
            return None
        key, result = found
        outputs = encode_outputs(result.outputs)
        only_files = all([output.kind is OutputKind.FILE for output in result.outputs])
        previous = _left_over(judgement.trace, outputs, only_files=only_files)
        size = sum(map(_size, result.outputs)) + result.log_size
        order = Order(result, task.outputs, previous, size)
        return Found(key, outputs, only_files, order)

    def restore(self, task: Task, judgement: Judgement, found: Found) -> CameBack | None:
        """Bring back what was found; None when the task has to run all the same."""
        assert self._cache is not None  # noqa: S101 - or nothing would have been found
        started_ns = time.monotonic_ns()
        try:
            restored = self._cache.restore(
                found.key,
                found.order.result,
                root=self._root,
                declared=found.order.declared,
                expected_previous=found.order.previous,
            )
        except RestoreError:
            self._came_to_nothing(task)
            return None
        seen = tuple([entry.fingerprint for entry in restored.entries])
        took_ns = time.monotonic_ns() - started_ns
        brought = Brought(restored.log, restored.size, seen, started_ns, took_ns)
        return self.brought_back(task, judgement, found, brought)

    def bringing_back(self, task: Task) -> None:
        """Take note that somebody else writes the outputs of a task from now on, until he is done."""
        self.writes.restoring(task)

    def brought_back(
        self, task: Task, judgement: Judgement, found: Found, brought: Brought | None
    ) -> CameBack | None:
        """Record what came back, if anything did; None when the task has to run, or be tried again."""
        self.writes.restored(task)
        if brought is None:
            self._came_to_nothing(task)
            return None
        result = found.order.result
        try:
            log = TaskLog.from_bytes(brought.log) if brought.log is not None else None
            values, task_result = _from_json(result.values_json), _from_json(result.result_json)
        except ValueError:
            self._came_to_nothing(task)
            return None
        for output, seen in zip(result.outputs, brought.seen, strict=True):
            self._learn(task, output.path, seen)
        self._values.saved(task.name, values, task_result)
        texts = (result.values_json, result.result_json)
        self._put(task, judgement.key, found.outputs, judgement, *texts, result.wall_ns)
        return CameBack(
            log, brought.size, result.wall_ns, found.only_files, brought.started_ns, brought.wall_ns
        )

    def _came_to_nothing(self, task: Task) -> None:
        for path in task.outputs:
            self._table.forget(path)

    # --- the trace

    def failed(self, task: Task) -> None:
        """Record that the last execution did not succeed; what it had saved before is gone, as in doit."""
        self.writes.end(task)
        for path in task.outputs:
            self._table.forget(path)
        self._values.saved(task.name, {}, None)
        now = self._clock()
        self._traces.put(
            TraceRow(task.name, None, "", "[]", "{}", "null", FAILED, False, "{}", now, self.run_id, 0)
        )

    def _put(
        self,
        task: Task,
        key: str | None,
        outputs_json: str,
        judgement: Judgement,
        values_json: str,
        result_json: str,
        wall_ns: int,
        *,
        note: str | None = None,
    ) -> None:
        """Record a task, unless that is what its record says already."""
        extra = judgement.trace.extra if judgement.trace is not None else "{}"
        if note is not None or _NOTE in extra:
            extra = json.dumps({**json.loads(extra), _NOTE: note})
        if judgement.trace == (key, outputs_json, values_json, result_json, OK, False, wall_ns, extra):
            return
        self._traces.put(
            TraceRow(
                task.name,
                key,
                encode_components(judgement.components, judgement.inputs) if key is not None else "",
                outputs_json,
                values_json,
                result_json,
                OK,
                False,
                extra,
                self._clock(),
                self.run_id,
                wall_ns,
            )
        )


def _is_behind(plan: Plan, task: Task, other: str) -> bool:
    """Whether `task` waits for `other`, at first or at any remove."""
    pending, known = [*task.waits, *task.setup], {task.name}
    while pending:
        name = pending.pop()
        if name == other:
            return True
        found = plan.get(name)
        if found is not None and name not in known:
            known.add(name)
            pending += (*found.waits, *found.setup)
    return False


def _note_of(movement: Movement, judgement: Judgement, outputs: tuple[OutputFile, ...]) -> str | None:
    """Return what to remember of an execution whose input was rewritten under it, to compare the next with.

    Its content may have been another one in between (edited, read by the task, edited back), so one such
    execution proves nothing. A task that rewrites its own input does so every time; when a second one
    comes to the same outputs, they are what this key stands for.
    """
    if movement is not Movement.REWRITTEN or judgement.key is None:
        return None
    return str(digest_text(f"{judgement.key}\n{encode_outputs(outputs)}"))


def _last_note(judgement: Judgement) -> str | None:
    if judgement.trace is None or _NOTE not in judgement.trace.extra:
        return None
    note = json.loads(judgement.trace.extra).get(_NOTE)
    return note if isinstance(note, str) else None


def _left_over(trace: Trace | None, outputs_json: str, *, only_files: bool) -> tuple[str, ...]:
    """Return the outputs of an earlier state, as far as others are to come in their place."""
    if trace is None or (only_files and trace.outputs == outputs_json):
        return ()
    return tuple([output.path for output in decode_outputs(trace.outputs)])


def _from_json(text: str) -> Any:
    """Return what a text stands for, at no cost for those of tasks that saved nothing."""
    return {} if text == "{}" else None if text == "null" else json.loads(text)


def _ignore(error: OSError) -> None:
    """Take an error of a store that is not there."""


def _as_json(task: Task, values: Mapping[str, object]) -> str:
    if not values:
        return "{}"
    try:
        return json.dumps(values)
    except (TypeError, ValueError) as error:
        raise UnsavableValuesError(
            f"task '{task.name}': the values that it returned cannot be saved as JSON: {error}."
        ) from None


def _kept_result(result: object) -> object:
    """Return a result as doit saves it: falsy ones not at all, texts by their hash."""
    if not result:
        return None
    if isinstance(result, dict):
        return result
    import hashlib  # milliseconds, for OpenSSL: only where a task has a result

    text = str(result).encode("utf-8", "surrogateescape")
    return hashlib.md5(text, usedforsecurity=False).hexdigest()


def _size(output: OutputFile) -> int:
    return int(output.digest.rpartition(":")[2]) if output.digest is not None else 0


def _signature(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _scan(full: str, path: str, seen: dict[str, tuple[int, int, int]]) -> None:
    pending = [(full, path)]
    while pending:
        directory, shown = pending.pop()
        try:
            entries = list(os.scandir(directory))
        except OSError:
            continue  # the capture after the run says what is wrong with it
        for entry in entries:
            name = f"{shown}/{entry.name}"
            try:
                seen[name] = _signature(entry.stat(follow_symlinks=False))
                if entry.is_dir(follow_symlinks=False):
                    pending.append((entry.path, name))
            except OSError:
                continue


def _below_any(path: str, roots: Iterable[str]) -> bool:
    return any(path.startswith(root + "/") for root in roots)
