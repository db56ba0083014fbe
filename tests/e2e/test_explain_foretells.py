"""Random graphs and random edits: whatever `doit explain` is sure of, the next run does."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from .harness import Project

TASKS = 8
STEPS = 6
MEANS = {
    "up to date": {"skipped"},
    "would run": {"executed"},
    "would be restored": {"restored"},
}
FUNCTIONS = """
def value(dependencies):
    return {'v': ''.join(open(path).read() for path in sorted(dependencies))[:3]}

def join(dependencies, targets):
    with open(targets[0], 'w') as file:
        file.write('P' + ''.join(open(path).read() for path in sorted(dependencies)))
"""


@dataclass
class Made:
    """A task of a random graph."""

    kind: str
    inputs: list[str]
    after: list[str]
    argument: str | None  # a task whose value it takes
    word: str = ""  # part of its command

    def definition(self, name: str) -> str:
        """Return the function of the dodo.py that makes the task."""
        task: dict[str, object] = {"file_dep": self.inputs, "task_dep": self.after}
        files = " ".join(sorted(self.inputs))
        word = self.word
        if self.argument is not None and self.kind not in ("value", "join", "always"):
            task["getargs"] = {"w": (self.argument, "v")}
            word += "%(w)s"
        if self.kind in ("value", "join"):
            actions = f"[{self.kind}]"
        elif self.kind == "always":
            task, actions = {"task_dep": self.after}, "['true']"
        elif self.kind == "tree":
            actions = repr([f"mkdir -p {name} && cat {files} > {name}/leaf; : {word}"])
            task["targets"] = [f"{name}/"]
        else:
            text = "constant" if self.kind == "same" else f"$(cat {files}){word}"
            actions = repr([f"echo {text} > {name}; : {word}"])
        if self.kind in ("copy", "same", "join", "private"):
            task["targets"] = [name]
        if self.kind == "private":
            task["meta"] = {"buildkit": {"cache": False}}
        return f"def task_{name}():\n    task = {task!r}\n    task['actions'] = {actions}\n    return task\n"

    def output(self, name: str) -> str | None:
        """Return the path that other tasks may read."""
        if self.kind in ("value", "always"):
            return None
        return f"{name}/leaf" if self.kind == "tree" else name


@dataclass
class World:
    """A project with a random graph, and what can happen to it."""

    project: Project
    dice: random.Random
    tasks: dict[str, Made] = field(default_factory=dict)

    def begin(self) -> None:
        """Make the graph: later tasks may read what earlier ones make."""
        kinds = ("copy", "copy", "join", "same", "value", "private", "tree", "always")
        for number in range(TASKS):
            earlier = self.dice.sample(list(self.tasks), min(len(self.tasks), self.dice.randint(0, 3)))
            outputs = [self.tasks[name].output(name) for name in earlier[:2]]
            inputs = [path for path in outputs if path is not None] or [self.dice.choice(["in0", "in1"])]
            values = [name for name, task in self.tasks.items() if task.kind == "value"]
            argument = self.dice.choice([None, *values])
            self.tasks[f"t{number}"] = Made(self.dice.choice(kinds), inputs, earlier, argument)
        self.inputs_as_they_were()
        self.write_dodo()

    def write_dodo(self) -> None:
        functions = "\n".join(task.definition(name) for name, task in self.tasks.items())
        self.project.write("dodo.py", FUNCTIONS + "\n" + functions)

    def inputs_as_they_were(self) -> None:
        self.project.write("in0", "0")
        self.project.write("in1", "1")

    def edit(self) -> None:
        self.project.write(self.dice.choice(["in0", "in1"]), str(self.dice.randrange(4)))

    def lose_outputs(self) -> None:
        for name in self.dice.sample(list(self.tasks), 3):
            if self.project.path(name).exists():
                self.project.remove(name)

    def alter_output(self) -> None:
        files = [name for name in self.tasks if self.project.path(name).is_file()]
        if files:
            self.project.write(self.dice.choice(files), "altered")

    def change_command(self) -> None:
        self.dice.choice(list(self.tasks.values())).word = self.dice.choice(["", "x", "y"])
        self.write_dodo()

    def forget(self) -> None:
        self.project.run("forget", self.dice.choice(list(self.tasks)), check=0)

    def start_anew(self) -> None:
        for name in (".buildkit", *self.tasks):
            if self.project.path(name).exists():
                self.project.remove(name)

    def something_happens(self) -> str:
        """Do one of the above; return what it was."""
        events: tuple[Callable[[], None], ...] = (
            self.edit,
            self.edit,
            self.inputs_as_they_were,
            self.lose_outputs,
            self.alter_output,
            self.change_command,
            self.forget,
            self.start_anew,
        )
        event = self.dice.choice(events)
        event()
        return event.__name__


@pytest.mark.parametrize("seed", [1, 2])
def test_what_explain_is_sure_of_happens(project: Project, seed: int):
    world = World(project, random.Random(seed))
    world.begin()
    happened = ["begin"]
    for _ in range(STEPS):
        foretold = json.loads(project.run("explain", "--json", check=0).stdout)["tasks"]
        project.run("-n", "2", check=0)
        rows = json.loads(project.run("explain", "--run", "last", "--json", check=0).stdout)["tasks"]
        outcome = {row["task"]: row["outcome"] for row in rows}
        for task in foretold:
            if task["would"] in MEANS and task["awaits"] is None:
                assert outcome[task["task"]] in MEANS[task["would"]], (seed, happened, task)
        happened.append(world.something_happens())
