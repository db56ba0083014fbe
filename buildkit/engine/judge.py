"""Judges a task: builds its action key, compares record and disk, and hands the facts to the rule.

What belongs here: collecting facts, with as little reading as possible. The rule is in
`core/decide.py`; acting on the verdict is the business of the run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence

from buildkit.core.decide import Course, Facts, RecordStatus, Verdict, decide
from buildkit.core.digest import digest_text
from buildkit.core.errors import did_you_mean
from buildkit.core.execution import Reason, ReasonKind
from buildkit.core.fingerprint import Fingerprint, FingerprintTable, NotRegularFileError
from buildkit.core.key import ActionKey, Component, action_key, compare, secret_digest
from buildkit.core.plan import CheckKind, Plan, Task, TaskKind
from buildkit.core.tools import ToolResolver
from buildkit.engine.expansion import analyzed, has_open_texts
from buildkit.engine.host import CheckAnswer, Host
from buildkit.engine.outputs import AS_RECORDED, OutputsSeen, are_as_recorded, compare_outputs, decode_outputs
from buildkit.engine.values import ValueMissingError, ValueTable
from buildkit.state.traces import FAILED, FORGOTTEN, OK, Trace, TraceStore

_encode_json = json.JSONEncoder(separators=(",", ":")).encode  # `json.dumps` makes a new one for each text
_STATUS = {OK: RecordStatus.OK, FAILED: RecordStatus.FAILED, FORGOTTEN: RecordStatus.FORGOTTEN}

# Looking for a name like a missing one takes time for each file there is: a folder of thousands that is gone
# must not cost the square of that.
_SUGGESTIONS = 20


class JudgeError(Exception):
    """A task cannot be judged: an input is missing. The message is for the user."""

    def __init__(self, message: str, *, maker: str | None = None) -> None:
        super().__init__(message)
        self.maker = maker  # the task that makes the missing input, if any does


class Judgement:
    """A verdict, and what the run needs to act upon it."""

    __slots__ = ("components", "inputs", "key", "task", "trace", "verdict")

    def __init__(
        self,
        task: Task,  # as its checks left it
        verdict: Verdict,
        key: ActionKey | None,  # None: a value that it depends on does not exist yet
        components: tuple[Component, ...],
        inputs: list[tuple[str, Fingerprint]],
        trace: Trace | None,
    ) -> None:
        self.task = task
        self.verdict = verdict
        self.key = key
        self.components = components
        self.inputs = inputs
        self.trace = trace

    @property
    def cacheable(self) -> bool:
        """Whether the cache may be asked."""
        return self.verdict.course is Course.REUSE and self.key is not None


class Judge:
    """Judges the tasks of one run against the state it began with and what has happened since."""

    def __init__(
        self,
        plan: Plan,
        *,
        table: FingerprintTable,
        traces: TraceStore,
        values: ValueTable,
        host: Host,
        environ: Mapping[str, str],
        root: str,
        always: bool = False,
    ) -> None:
        self._plan = plan
        self._table = table
        self._traces = traces
        self._values = values
        self._host = host
        self._environ = environ
        self._root = root
        self._always = always
        self._ambient: dict[tuple[tuple[str, ...], tuple[str, ...]], tuple[Component, ...]] = {}
        self.tools: set[str] = set()  # files that were taken for programs
        self._tools = self._resolver()
        self._tools_at_risk = set(map(os.path.basename, plan.programs))
        self._code_at_risk = False
        self._suggestions = _SUGGESTIONS

    def _resolver(self) -> ToolResolver:
        return ToolResolver(
            self._digest_of_tool,
            path=self._environ.get("PATH", "/usr/bin:/bin"),
            cwd=self._root,
            project_root=self._root,
        )

    def _digest_of_tool(self, path: str) -> str:
        self.tools.add(path)
        seen = self._table.current(path)
        if seen is None:
            raise FileNotFoundError(path)
        return seen.digest

    def files_may_have_changed(self) -> None:
        """Look again at every file: a task has run, and may have written more than it declares."""
        self._table.look_again()

    def code_may_have_changed(self) -> None:
        """Read Python code again for tasks from now on: a task has made a module that actions may import."""
        self._code_at_risk = True
        self._host.forget_code()

    def tools_may_have_changed(self) -> None:
        """Resolve programs again: a task has made a file that commands may name."""
        self._ambient.clear()
        self._tools = self._resolver()

    def tasks_were_added(self, tasks: Iterable[Task]) -> None:
        """Take note of the programs that new tasks name."""
        self._tools_at_risk.update(os.path.basename(name) for task in tasks for name in task.programs)

    def files_were_made(self, paths: Sequence[str], *, only_files: bool = False) -> None:
        """Look again at programs and code where these outputs may be such; `only_files`: no directories."""
        if any([path.rpartition("/")[2] in self._tools_at_risk for path in paths]):
            self.tools_may_have_changed()
        holds_code = any([path.endswith(".py") for path in paths])
        if holds_code or (not only_files and any(map(os.path.isdir, paths))):
            self.code_may_have_changed()

    def judge(self, task: Task) -> Judgement:
        """Return what is to be done with a task whose waits are over.

        JudgeError where an input is missing or is no file; BuildkitError from the user's own checks.
        """
        answers: Sequence[CheckAnswer] = ()
        if self._code_at_risk and task.kind is TaskKind.HOSTED:
            task = self._host.replan(task)
        failed: tuple[str, ...] = ()
        opinions = False
        if task.checks:
            if _has_opaque(task):
                task, answers = self._host.ask(task)
            failed, opinions = self._ask_checks(task, answers)
        vouched = opinions and not failed and not task.inputs and _needs_no_record(task)
        trace = self._traces.get(task.name)
        status = RecordStatus.NONE if trace is None or trace.action_key is None else RecordStatus.OK
        if trace is not None and trace.status != OK:
            status = _STATUS.get(trace.status, RecordStatus.NONE)
        inputs = self._inputs(task)
        task = self._analyzed(task)
        components = self._components(task)
        key = None
        if components is not None:
            key = action_key(components, [(path, seen.digest, seen.mode) for path, seen in inputs])
        same = trace is not None and key is not None and trace.action_key == key
        seen_outputs = AS_RECORDED
        differences: tuple[Reason, ...] = ()
        if status is RecordStatus.OK and trace is not None:
            if not are_as_recorded(task.outputs, trace.outputs, self._table):
                recorded = decode_outputs(trace.outputs)
                seen_outputs = compare_outputs(task.outputs, recorded, self._table, self._root)
            if not same:
                differences = self._differences(task, components, inputs)
        elif vouched and task.outputs:
            absent = [path for path in task.outputs if not os.path.exists(path)]
            seen_outputs = OutputsSeen(missing=tuple(absent))
        facts = Facts(
            status=status,
            key_is_recorded=same,
            differences=differences,
            outputs_missing=seen_outputs.missing,
            outputs_changed=seen_outputs.changed,
            failed_checks=failed,
            has_dependencies=bool(task.inputs or opinions or task.kind is TaskKind.GROUP),
            always=self._always,
            outputs_are_the_users=not task.inputs and _only_says_once(task),
            vouched=vouched,
        )
        return Judgement(task, decide(facts), key, components or (), inputs, trace)

    def rekey(self, task: Task, judgement: Judgement) -> None:
        """Build the key again: setup tasks have run since, and their values may be new."""
        task = judgement.task = self._analyzed(task)
        components = self._components(task)
        if components is None:
            return
        judgement.components = components
        judgement.key = action_key(
            components, [(path, seen.digest, seen.mode) for path, seen in judgement.inputs]
        )

    def _analyzed(self, task: Task) -> Task:
        if not has_open_texts(task):
            return task
        try:
            getargs = {wanted.name: self._values.argument(self._plan, wanted) for wanted in task.getargs}
        except ValueMissingError:
            return task  # it has no key yet; `rekey` comes back to it
        return analyzed(task, getargs)

    def _inputs(self, task: Task) -> list[tuple[str, Fingerprint]]:
        found: list[tuple[str, Fingerprint]] = []
        current = self._table.current
        for path in task.inputs:
            try:
                seen = current(path)
            except NotRegularFileError:
                raise JudgeError(
                    f"Dependent file '{path}' is not a file; directories cannot be inputs.{_place(task)}"
                ) from None
            except OSError as error:
                raise JudgeError(
                    f"Dependent file '{path}' cannot be read: {error.strerror}.{_place(task)}"
                ) from None
            if seen is None:
                raise JudgeError(self._missing(task, path), maker=self._plan.makers.get(path))
            found.append((path, seen))
        return found

    def _missing(self, task: Task, path: str) -> str:
        maker = self._plan.makers.get(path)
        if maker is not None:
            return f"Dependent file '{path}' does not exist: task '{maker}' did not make it.{_place(task)}"
        return f"Dependent file '{path}' does not exist.{_place(task)}{self._suggest(path)}"

    def _suggest(self, path: str) -> str:
        if self._suggestions == 0:
            return ""
        self._suggestions -= 1
        directory = os.path.dirname(path)
        try:
            siblings = os.listdir(os.path.join(self._root, directory))
        except OSError:
            siblings = []
        near = [os.path.join(directory, name) for name in siblings]
        return did_you_mean(path, [*near, *self._plan.makers])

    def _ask_checks(self, task: Task, answers: Sequence[CheckAnswer]) -> tuple[tuple[str, ...], bool]:
        """Return the checks that say no, and whether any check has an opinion."""
        failed: list[str] = []
        opinions = False
        for check in task.checks:
            if check.kind is CheckKind.OPAQUE:
                continue
            opinions = True
            if check.kind is CheckKind.CONSTANT:
                if check.value == "0":
                    failed.append(check.name)
            elif check.kind is CheckKind.RESULT and self._values.result_of(self._plan, check.value) is None:
                failed.append(f"{check.name}: that task has no result")
        for answer in answers:
            if answer.value is None:
                continue
            opinions = True
            if not answer.value:
                failed.append(answer.name)
        return tuple(failed), opinions

    def _components(self, task: Task) -> tuple[Component, ...] | None:
        """Return all components of the key but the inputs; None where a value is still missing."""
        components = task.parts
        if task.environment or task.programs:
            pair = (task.environment, task.programs)
            ambient = self._ambient.get(pair)
            if ambient is None:
                ambient = self._ambient[pair] = self._ambient_components(*pair)
            components += ambient
        if task.getargs or task.checks:
            upstream = self._upstream(task)
            if upstream is None:
                return None
            components += upstream
        return components

    def _ambient_components(
        self, environment: tuple[str, ...], programs: tuple[str, ...]
    ) -> tuple[Component, ...]:
        found: list[Component] = []
        for name in environment:
            value = self._environ.get(name)
            found.append(("env:" + name, "unset" if value is None else secret_digest(value)))
        resolve = self._tools.resolve
        found.extend(("tool:" + name, resolve(self._substitute(name)).digest) for name in programs)
        return tuple(found)

    def _substitute(self, program: str) -> str:
        """Return the program that `$CC` or `${CC}` names; what it reads is part of the key by itself."""
        if not program.startswith("$"):
            return program
        value = self._environ.get(program[1:].strip("{}"), "")
        return value.split()[0] if value.strip() else program

    def _upstream(self, task: Task) -> tuple[Component, ...] | None:
        found: list[Component] = []
        for wanted in task.getargs:
            try:
                value = self._values.argument(self._plan, wanted)
            except ValueMissingError:
                return None
            label = f"upstream:{wanted.task}" + (f" {wanted.key}" if wanted.key else "")
            found.append((f"{label} as {wanted.name}", _digest_of_value(value)))
        for check in task.checks:
            if check.kind is CheckKind.RESULT:
                result = self._values.result_of(self._plan, check.value)
                found.append((f"upstream:{check.value}", _digest_of_value(result)))
        return tuple(found)

    def _differences(
        self,
        task: Task,
        components: tuple[Component, ...] | None,
        inputs: list[tuple[str, Fingerprint]],
    ) -> tuple[Reason, ...]:
        recorded = decode_components(self._traces.components(task.name))
        if recorded is None:
            return ()
        if components is None:
            return (Reason(ReasonKind.UPSTREAM_CHANGED, tuple(arg.task for arg in task.getargs)),)
        old, old_inputs = recorded
        return compare(old, components, old_inputs, {path: (seen.digest, seen.mode) for path, seen in inputs})

    def changed_inputs(self, task: Task, inputs: list[tuple[str, Fingerprint]]) -> list[str]:
        """Return which inputs differ from the record: all of them where there is no usable record."""
        trace = self._traces.get(task.name)
        recorded = decode_components(self._traces.components(task.name)) if trace is not None else None
        if trace is None or trace.status != OK or recorded is None:
            return [path for path, _seen in inputs]
        if any(output.digest is not None and self._table.current(output.path) is None
               for output in decode_outputs(trace.outputs)):  # fmt: skip
            return [path for path, _seen in inputs]
        old = recorded[1]
        return [path for path, seen in inputs if old.get(path) != (seen.digest, seen.mode)]


def encode_components(components: tuple[Component, ...], inputs: list[tuple[str, Fingerprint]]) -> str:
    """Return the JSON text of what a key was made of."""
    return _encode_json([components, [(path, seen.digest, seen.mode) for path, seen in inputs]])


def decode_components(
    text: str | None,
) -> tuple[list[Component], dict[str, tuple[str, int]]] | None:
    """Return components and inputs of a recorded key, or None for an unreadable text."""
    try:
        components, inputs = json.loads(text or "")
        return (
            [(str(label), str(value)) for label, value in components],
            {path: (digest, mode) for path, digest, mode in inputs},
        )
    except (ValueError, TypeError):
        return None


def _has_opaque(task: Task) -> bool:
    return any(check.kind is CheckKind.OPAQUE for check in task.checks)


def _only_says_once(task: Task) -> bool:
    """Whether the user alone says when this task runs: an output edited by hand is then the user's."""
    return (
        bool(task.checks)
        and not task.getargs
        and all(
            check.kind is CheckKind.ONCE or (check.kind is CheckKind.CONSTANT and check.value == "1")
            for check in task.checks
        )
    )


def _needs_no_record(task: Task) -> bool:
    """Whether the user's checks can vouch for a task that never ran; values from elsewhere forbid it."""
    return not task.getargs and all(
        check.kind in (CheckKind.CONSTANT, CheckKind.OPAQUE) for check in task.checks
    )


def _place(task: Task) -> str:
    return f" ({task.location})" if task.location else ""


def _digest_of_value(value: object) -> str:
    try:
        return digest_text(json.dumps(value, sort_keys=True, default=repr))
    except (TypeError, ValueError):  # keys that cannot be sorted among each other
        return digest_text(repr(value))
