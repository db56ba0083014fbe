"""The same graph for doit, ninja and make: every task copies its first input to its output.

What belongs here: shapes of graphs, as lists of tasks, and how they are written down for each tool.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_DODO = """\
import json

with open('tasks.json') as file:
    TASKS = json.load(file)


def task_c():
    for output, inputs in TASKS:
        yield {'name': output, 'actions': [f'cp {inputs[0]} {output}'],
               'file_dep': inputs, 'targets': [output]}
"""
_FLAT_DODO = """\
def task_c():
    for i in range(%d):
        yield {'name': str(i), 'actions': [f'cp in/{i} out/{i}'],
               'file_dep': [f'in/{i}'], 'targets': [f'out/{i}']}
"""
_PYTHON_DODO = """\
def copy(dependencies, targets):
    with open(dependencies[0]) as source:
        text = source.read()
    with open(targets[0], 'w') as target:
        target.write(text)


def task_c():
    for i in range(%d):
        yield {'name': str(i), 'actions': [copy], 'file_dep': [f'in/{i}'], 'targets': [f'out/{i}']}
"""


@dataclass(frozen=True)
class Copy:
    """One task: what it makes, from what."""

    output: str
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class Graph:
    """A graph by name."""

    name: str
    copies: tuple[Copy, ...]

    @property
    def sources(self) -> list[str]:
        """Return the files that no task makes."""
        made = {copy.output for copy in self.copies}
        return list(dict.fromkeys(path for copy in self.copies for path in copy.inputs if path not in made))


def flat(count: int) -> Graph:
    """Return `count` tasks with one input each that do not know each other."""
    return Graph(f"flat {count:,}", tuple(Copy(f"out/{i}", (f"in/{i}",)) for i in range(count)))


def functions(count: int) -> Graph:
    """Return the same as `flat`, with a Python function in the place of `cp`."""
    return Graph(f"functions {count:,}", flat(count).copies)


def layered(layers: int, width: int) -> Graph:
    """Return layers of tasks with three inputs each from the layer before."""
    copies = [
        Copy(
            f"l{layer}/{i}",
            tuple(f"l{layer - 1}/{(i + step) % width}" for step in range(3)),
        )
        for layer in range(1, layers + 1)
        for i in range(width)
    ]
    return Graph(f"layered {layers}x{width}, fan-in 3", tuple(copies))


def fan_in(count: int) -> Graph:
    """Return one task with `count` inputs."""
    return Graph(f"one task, {count:,} inputs", (Copy("out/all", tuple(f"in/{i}" for i in range(count))),))


def chain(count: int) -> Graph:
    """Return `count` tasks, each of which waits for the one before."""
    return Graph(f"chain {count:,}", tuple(Copy(f"out/{i + 1}", (f"out/{i}",)) for i in range(count)))


def write(graph: Graph, folder: Path) -> None:
    """Write sources and the files of all three tools."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [path for copy in graph.copies for path in (copy.output, *copy.inputs)]
    for name in {path.rpartition("/")[0] for path in paths}:
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number, source in enumerate(graph.sources):
        (folder / source).write_text(f"{number}\n" * 10)
    for writer in (_write_dodo, _write_ninja, _write_make):
        writer(graph, folder)


def _write_dodo(graph: Graph, folder: Path) -> None:
    if graph.name.startswith("functions"):
        (folder / "dodo.py").write_text(_PYTHON_DODO % len(graph.copies))
        return
    if graph.name.startswith("flat"):
        (folder / "dodo.py").write_text(_FLAT_DODO % len(graph.copies))
        return
    import json

    (folder / "tasks.json").write_text(json.dumps([(copy.output, copy.inputs) for copy in graph.copies]))
    (folder / "dodo.py").write_text(_DODO)


def _write_ninja(graph: Graph, folder: Path) -> None:
    lines = ["rule cp", "  command = cp $in $out"]
    for copy in graph.copies:
        more = f" | {' '.join(copy.inputs[1:])}" if len(copy.inputs) > 1 else ""
        lines.append(f"build {copy.output}: cp {copy.inputs[0]}{more}")
    (folder / "build.ninja").write_text("\n".join(lines) + "\n")


def _write_make(graph: Graph, folder: Path) -> None:
    lines = [f"all: {' '.join(copy.output for copy in graph.copies)}"]
    for copy in graph.copies:
        lines += [f"{copy.output}: {' '.join(copy.inputs)}", f"\tcp {copy.inputs[0]} {copy.output}"]
    (folder / "Makefile").write_text("\n".join(lines) + "\n")


Shape = Callable[[], Graph]
