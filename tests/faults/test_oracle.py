"""Promise 1: whatever was done to a project, a build ends in the bytes of a build from scratch.

Random graphs, random histories; after each step every output is compared with the model, and the tasks that
ran with those that no engine could have spared (see `world.py`). Each run is a real one, in its own process.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import inprocess
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from tally import tried
from world import INPUTS, LINK, Job, Kind, World, edit_unseen, move_over, set_content

ROUNDS = max(1, int(os.environ.get("BUILDKIT_FAULT_ROUNDS", "1")))
STEPS = 15

CONTENTS = st.sampled_from([b"0\n", b"1\n", b"2\n", b"", b"longer\n", b"\xff\x00\n", b"FAIL\n"])
WIDTHS = st.sampled_from(["0", "1", "2", "8"])


@st.composite
def graphs(draw: st.DrawFn) -> list[Job]:
    """Chains, diamonds and islands of two to seven jobs."""
    jobs: list[Job] = []
    for number in range(draw(st.integers(2, 7))):
        name = f"t{number}"
        # What a delayed task makes is not known when dodo.py is loaded: in doit nobody can depend on it.
        plain = [job for job in jobs if job.delayed is None]
        files = [job.output for job in plain if job.output is not None and job.kind is not Kind.FOLDER]
        with_values = [job.name for job in plain if job.kind is not Kind.GETARGS]
        kinds = [kind for kind in Kind if kind is not Kind.GETARGS or with_values]
        kind = draw(st.sampled_from(kinds))
        choice = st.sampled_from([*INPUTS, LINK, *files, *files])
        inputs = tuple(sorted(set(draw(st.lists(choice, min_size=1, max_size=3)))))
        source = draw(st.sampled_from(with_values)) if kind is Kind.GETARGS else None
        delayed = draw(st.sampled_from([None, None, None, *[job.name for job in plain]]))
        jobs.append(Job(name, kind, inputs, 0, source, delayed))
    return jobs


class History(RuleBasedStateMachine):
    """A project, and everything that people do to one."""

    def __init__(self) -> None:
        super().__init__()
        self.base = Path(tempfile.mkdtemp(prefix="oracle-"))
        self.snapshots: list[dict[str, bytes]] = []

    @initialize(jobs=graphs())
    def begin(self, jobs: list[Job]) -> None:
        self.world = World(self.base / "project", jobs)
        self.world.root.mkdir()
        self.world.write_all()

    def teardown(self) -> None:
        shutil.rmtree(self.base, ignore_errors=True)

    # --- what people do

    @rule(name=st.sampled_from(INPUTS), content=CONTENTS)
    def edit(self, name: str, content: bytes) -> None:
        (self.world.root / name).write_bytes(content)

    @rule(name=st.sampled_from(INPUTS), digit=st.sampled_from([b"7\n", b"8\n", b"9\n"]))
    def edit_with_the_old_time(self, name: str, digit: bytes) -> None:
        path = self.world.root / name
        if path.exists():
            edit_unseen(path, digit)

    @rule(name=st.sampled_from(INPUTS), content=CONTENTS)
    def move_over(self, name: str, content: bytes) -> None:
        move_over(self.world.root / name, content)

    @rule(name=st.sampled_from(INPUTS), seconds=st.sampled_from([None, -86400, 86400]))
    def touch(self, name: str, seconds: int | None) -> None:
        path = self.world.root / name
        if path.exists():
            now = path.stat().st_mtime
            os.utime(path, None if seconds is None else (now, now + seconds))

    @rule(name=st.sampled_from(INPUTS), mode=st.sampled_from([0o644, 0o755, 0o600]))
    def chmod(self, name: str, mode: int) -> None:
        path = self.world.root / name
        if path.exists():
            path.chmod(mode)

    @rule(to=st.sampled_from(INPUTS[:3]))
    def retarget_link(self, to: str) -> None:
        link = self.world.root / LINK
        link.unlink()
        link.symlink_to(to)

    @rule(name=st.sampled_from(INPUTS))
    def delete_input(self, name: str) -> None:
        (self.world.root / name).unlink(missing_ok=True)

    @rule(pick=st.randoms(use_true_random=False))
    def delete_output(self, pick: object) -> None:
        path = self._output(pick)
        if path is not None and path.is_dir():
            shutil.rmtree(path)
        elif path is not None:
            path.unlink(missing_ok=True)

    @rule(pick=st.randoms(use_true_random=False), content=CONTENTS)
    def edit_output(self, pick: object, content: bytes) -> None:
        path = self._output(pick)
        if path is not None and path.exists():
            set_content(path, content)

    @rule(pick=st.randoms(use_true_random=False))
    def chmod_output(self, pick: object) -> None:
        path = self._output(pick)
        if path is not None and path.exists():
            path.chmod(0o700 if path.is_dir() else 0o600)

    @rule(pick=st.randoms(use_true_random=False))
    def replace_output_by_another_kind(self, pick: object) -> None:
        path = self._output(pick)
        if path is None or not path.exists():
            return
        if path.is_dir():
            shutil.rmtree(path)
            path.write_bytes(b"a file where a directory was")
        else:
            path.unlink()
            # Not to an input: a task that writes through it would change that, and rightly be believed.
            path.symlink_to("../elsewhere")
            (self.world.root / "elsewhere").write_bytes(b"what a link leads to")

    def _output(self, pick: object) -> Path | None:
        jobs = [job for job in self.world.jobs if job.output is not None]
        return self.world.root / pick.choice(jobs).output if jobs else None  # type: ignore[attr-defined]

    @rule()
    def stash(self) -> None:
        root = self.world.root
        self.snapshots.append({name: (root / name).read_bytes() for name in INPUTS if (root / name).exists()})

    @rule()
    def pop(self) -> None:
        if self.snapshots:
            for name, content in self.snapshots.pop().items():
                (self.world.root / name).write_bytes(content)

    @rule(pick=st.randoms(use_true_random=False), salt=st.integers(0, 2))
    def edit_dodo(self, pick: object, salt: int) -> None:
        pick.choice(self.world.jobs).salt = salt  # type: ignore[attr-defined]
        self.world.write_code()

    @rule(
        what=st.sampled_from(["mode", "tool", "helper", "script"]),
        value=st.integers(0, 2),
    )
    def change_surroundings(self, what: str, value: int) -> None:
        setattr(self.world, what, value)
        self.world.write_code()

    @rule(pick=st.randoms(use_true_random=False))
    def forget(self, pick: object) -> None:
        name = pick.choice(self.world.jobs).name  # type: ignore[attr-defined]
        done = self._doit("forget", name)
        assert done.code == 0, done.output
        self.world.forgotten.add(name)

    @rule()
    def lose_the_state(self) -> None:
        shutil.rmtree(self.world.root / ".buildkit", ignore_errors=True)
        self.world.forgotten.clear()

    # --- and the build after it

    @rule(width=WIDTHS, script=st.booleans())
    def build(self, width: str, script: bool) -> None:
        self._build(width, script)

    @rule(width=WIDTHS)
    def build_with_the_command(self, width: str) -> None:
        self._build(width, False)

    @rule(width=WIDTHS)
    def build_with_the_script(self, width: str) -> None:
        self._build(width, True)

    @rule(width=st.sampled_from(["2", "8"]), script=st.booleans())
    def build_side_by_side(self, width: str, script: bool) -> None:
        self._build(width, script, prepare=inprocess.restorers_at_once)

    @rule(width=WIDTHS)
    def build_twice(self, width: str) -> None:
        self._build(width, False)
        self._build(width, True)

    def _doit(
        self, *arguments: str, script: bool = False, prepare: Callable[[], None] | None = None
    ) -> inprocess.Finished:
        return inprocess.run(
            arguments,
            cwd=self.world.root,
            env=self.world.environment(self.base),
            output=self.base / "printed",
            script=script,
            prepare=prepare,
        )

    def _build(self, width: str, script: bool, *, prepare: Callable[[], None] | None = None) -> None:
        tried()
        journal = self.base / "journal"
        journal.unlink(missing_ok=True)
        verdict = self.world.expected()
        done = self._doit("run", "--continue", "-n", width, script=script, prepare=prepare)
        ran = journal.read_text().split() if journal.exists() else []
        note(f"{done.output}\nran: {ran}\n{self.world._dodo()}")
        bad = verdict.failed | verdict.blocked
        assert (done.code != 0) == bool(bad), f"exit code {done.code}, failed tasks: {sorted(bad)}"
        found = {
            path: content
            for path, content in self.world.outputs_on_disk().items()
            if path.split("/")[1] not in bad
        }
        assert found == verdict.files, "the outputs are not those of a build from scratch"
        assert sorted(ran) == sorted(verdict.executed), (
            f"ran {sorted(ran)}, a minimal build runs {sorted(verdict.executed)}"
        )


TestHistory = History.TestCase
TestHistory.settings = settings(
    max_examples=10 if ROUNDS == 1 else 75 * ROUNDS,
    stateful_step_count=STEPS,
    deadline=None,
    database=None,
    print_blob=True,
    phases=[
        Phase.explicit,
        Phase.generate,
        *([Phase.shrink] if os.environ.get("BUILDKIT_FAULT_SHRINK") else []),
    ],
    suppress_health_check=list(HealthCheck),
)
