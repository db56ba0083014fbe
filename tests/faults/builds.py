"""A fixed graph with one task of each kind, for tests that break something while it is built."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import inprocess
from world import INPUTS, Job, Kind, Verdict, World


def every_kind() -> list[Job]:
    """A chain, a diamond and islands; delayed tasks and values are among them."""
    return [
        Job("base", Kind.COMMAND, ("in0", "in1")),
        Job("left", Kind.ARGUMENT, ("out/base", "in2")),
        Job("right", Kind.TOOL, ("out/base",)),
        Job("join", Kind.CLOSURE, ("out/left", "out/right")),
        Job("tree", Kind.FOLDER, ("out/join", "in3")),
        Job("value", Kind.GETARGS, ("in3",), source="left"),
        Job("later", Kind.HELPER, ("out/right", "in1"), delayed="join"),
        Job("quiet", Kind.QUIET, ("out/join",)),
        Job("script", Kind.SCRIPT, ("in2", "link")),
        Job("variable", Kind.VARIABLE, ("in3",)),
    ]


@dataclass
class Build:
    """A project of the model on disk, and runs of it."""

    base: Path
    folder: str = "project"
    jobs: list[Job] = field(default_factory=every_kind)
    world: World = field(init=False)

    def __post_init__(self) -> None:
        self.world = World(self.base / self.folder, self.jobs)
        if not self.world.root.exists():
            self.world.root.mkdir(parents=True)
        self.world.write_all()

    @property
    def root(self) -> Path:
        """The project's folder."""
        return self.world.root

    @property
    def printed(self) -> Path:
        """Where runs print to."""
        return self.base / f"{self.folder}.printed"

    def change(self, rng: random.Random) -> None:
        """Edit one input or one thing around the project."""
        if rng.random() < 0.7:
            (self.root / rng.choice(INPUTS)).write_bytes(b"%d\n" % rng.randrange(10))
        else:
            setattr(self.world, rng.choice(["mode", "tool", "helper", "script"]), rng.randrange(3))
            self.world.write_code()

    def start(self, *arguments: str, prepare: Callable[[], None] | None = None) -> int:
        """Start a run; return its process id."""
        env = self.world.environment(self.base)
        return inprocess.start(arguments, cwd=self.root, env=env, output=self.printed, prepare=prepare)

    def run(self, *arguments: str, prepare: Callable[[], None] | None = None) -> inprocess.Finished:
        """Run to the end."""
        env = self.world.environment(self.base)
        return inprocess.run(arguments, cwd=self.root, env=env, output=self.printed, prepare=prepare)

    def assert_sound(self, done: inprocess.Finished, expected: Verdict | None = None) -> None:
        """Insist that a run succeeded, without a traceback, with the outputs of a build from scratch."""
        expected = expected or self.world.expected()
        assert done.code == 0, done.output
        assert "Traceback" not in done.output, done.output
        assert self.world.outputs_on_disk() == expected.files, done.output

    def leftovers(self) -> list[str]:
        """Return temporary files of restores in the project."""
        return [str(path) for path in self.root.rglob(".*.bk-*.tmp")]


def ended(pid: int, printed: Path) -> inprocess.Finished:
    """Wait for a started run."""
    return inprocess.Finished(inprocess.wait(pid), printed.read_text(errors="backslashreplace"))
