"""`make bench`: how long runs take, most with little or nothing to do, against ninja, make and stock doit.

    python -m benchmarks [--turns N] [--large] [--folder DIR] [--json FILE] [--svg FILE] [SCENARIO ...]

Prints a table, and writes the same numbers as JSON and as a picture. Only ratios mean anything; they are
taken between medians of interleaved runs on the same graph.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.graphs import Graph, chain, fan_in, flat, functions, layered, write
from benchmarks.hashing import large_hashed
from benchmarks.interleaved import Contender, measure, run
from benchmarks.picture import bars
from benchmarks.restoring import all_restored, large_restored

WIDTH = "-n2"
NO_CACHE = "[tool.buildkit]\ncache = false\n"


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    scenario: str
    contender: str
    wall_s: float
    fastest_s: float
    cpu_s: float
    rss_bytes: int
    ratio: float  # of the medians, to the first contender of the scenario


@dataclass(frozen=True)
class Bench:
    """Where things are: the folder of the graphs, and the programs."""

    folder: Path
    turns: int

    @property
    def env(self) -> dict[str, str]:
        """Return what the programs see beside our own environment."""
        return {"BUILDKIT_CACHE_DIR": str(self.folder / "cache")}

    def tool(self, name: str) -> str | None:
        """Return the path of a program, ours from beside this Python."""
        beside = Path(sys.executable).with_name(name)
        return str(beside) if beside.exists() else shutil.which(name)

    def contender(self, name: str, *command: str, **env: str) -> Contender:
        """Return a contender; its program is looked for."""
        program = self.tool(command[0])
        if program is None:
            raise FileNotFoundError(command[0])
        return Contender(name, [program, *command[1:]], {**self.env, **env})

    def built(self, graph: Graph) -> Path:
        """Return the folder of a graph that each tool has built."""
        folder = self.folder / "".join(char if char.isalnum() else "-" for char in graph.name)
        if not (folder / ".built").exists():
            print(f"building: {graph.name}", file=sys.stderr)
            write(graph, folder)
            for name, *arguments in (["ninja"], ["doit", WIDTH]):
                program = self.tool(name)
                if program is not None:
                    run([program, *arguments], folder, self.env)
            (folder / ".built").touch()
        for _ in range(2):  # the second one is answered fast, unless something changed since
            run([str(self.tool("buildkit")), WIDTH], folder, self.env)
        return folder

    def rivals(self, graph: Graph) -> Iterator[Contender]:
        """Yield those that are installed, ninja first: it is the anchor of all ratios."""
        if self.tool("ninja"):
            yield self.contender("ninja", "ninja")
        if self.tool("make") and len(graph.copies) <= 10_000:
            yield self.contender("make", "make", "-s")
        if len(graph.copies) <= 10_000:
            yield self.contender("stock doit", "doit", "--db-file", ".stock.db", BUILDKIT="0")


def nothing_to_do(bench: Bench, graph: Graph) -> list[Contender]:
    """Measure a run with nothing to do."""
    folder = bench.built(graph)
    contenders = [
        *bench.rivals(graph),
        bench.contender("buildkit", "buildkit", WIDTH),
        bench.contender("doit", "doit", WIDTH),
        bench.contender("doit --version", "doit", "--version"),
        bench.contender("buildkit, long way", "buildkit", WIDTH, BUILDKIT_FAST="0"),
    ]
    measure(contenders, folder, bench.turns)
    return contenders


def touched(bench: Bench, graph: Graph) -> list[Contender]:
    """Measure a run after each input got a new time, and the same content."""
    folder = bench.built(graph)

    def touch() -> None:
        for path in graph.sources:
            os.utime(folder / path)

    contenders = [
        bench.contender("buildkit, nothing touched", "buildkit", WIDTH),
        bench.contender("buildkit, all inputs touched", "buildkit", WIDTH),
    ]
    contenders[1].before = touch
    measure(contenders, folder, bench.turns)
    return contenders


def edited(bench: Bench, graph: Graph) -> list[Contender]:
    """Measure a run after one input got other content."""
    folder = bench.built(graph)
    count = iter(range(1_000_000))

    def edit() -> None:
        (folder / graph.sources[0]).write_text(f"edit {os.getpid()} {next(count)}\n")

    contenders = [
        *([bench.contender("ninja", "ninja")] if bench.tool("ninja") else []),
        bench.contender("buildkit", "buildkit", WIDTH),
        bench.contender("doit", "doit", WIDTH),
    ]
    for contender in contenders:
        contender.before = edit
    measure(contenders, folder, bench.turns)
    return contenders


def in_fresh_folders(bench: Bench, graph: Graph) -> Callable[..., Contender]:
    """Return what lets a contender do everything, each time in a folder where nothing was before.

    To delete the outputs and make them again in the same folder would measure how ext4 looks for free inodes.
    """

    def in_fresh_folder(contender: Contender, settings: str = "") -> Contender:
        def prepare() -> None:
            if contender.folder is not None:
                shutil.rmtree(contender.folder.parent)
            base = Path(tempfile.mkdtemp(prefix="cold ", dir=bench.folder))
            contender.folder = base / "project"
            contender.env = {**contender.env, "BUILDKIT_CACHE_DIR": str(base / "cache")}
            write(graph, contender.folder)
            (contender.folder / "pyproject.toml").write_text(settings)

        contender.before = prepare
        return contender

    return in_fresh_folder


def cold(bench: Bench, graph: Graph) -> list[Contender]:
    """Measure a run that has everything to do."""
    in_fresh_folder = in_fresh_folders(bench, graph)
    contenders = [
        *([in_fresh_folder(bench.contender("ninja -j2", "ninja", "-j2"))] if bench.tool("ninja") else []),
        in_fresh_folder(bench.contender("doit -n2, cache off", "doit", WIDTH), NO_CACHE),
        in_fresh_folder(bench.contender("doit -n2", "doit", WIDTH)),
        in_fresh_folder(bench.contender("stock doit", "doit", BUILDKIT="0")),
    ]
    measure(contenders, bench.folder, min(bench.turns, 3))
    return contenders


def python_actions(bench: Bench, graph: Graph) -> list[Contender]:
    """Measure a run that has many Python actions to do, against stock doit with as many processes."""
    in_fresh_folder = in_fresh_folders(bench, graph)
    contenders = [
        in_fresh_folder(bench.contender("stock doit -n2", "doit", WIDTH, BUILDKIT="0")),
        in_fresh_folder(bench.contender("doit -n2, cache off", "doit", WIDTH), NO_CACHE),
        in_fresh_folder(bench.contender("doit -n2", "doit", WIDTH)),
    ]
    measure(contenders, bench.folder, bench.turns)
    return contenders


def sleeping(bench: Bench, graph: Graph) -> list[Contender]:
    """Measure 400 tasks that sleep for 0.05 s each, eight at a time: 2.5 s are the ideal."""
    folder = bench.folder / graph.name
    folder.mkdir(exist_ok=True)
    (folder / "dodo.py").write_text(
        "def task_s():\n    for i in range(400):\n        yield {'name': str(i), 'actions': ['sleep 0.05']}\n"
    )
    rule = "rule s\n  command = sleep 0.05\n"
    (folder / "build.ninja").write_text(rule + "".join(f"build never/{i}: s\n" for i in range(400)))
    contenders = [
        *([bench.contender("ninja -j8", "ninja", "-j8")] if bench.tool("ninja") else []),
        bench.contender("doit -n8", "doit", "-n8"),
        bench.contender("buildkit -n8", "buildkit", "-n8"),
        bench.contender("buildkit -n8, long way", "buildkit", "-n8", BUILDKIT_FAST="0"),
    ]
    measure(contenders, folder, min(bench.turns, 3))
    return contenders


SCENARIOS: dict[str, tuple[Callable[[Bench, Graph], list[Contender]], Callable[[], Graph]]] = {
    "no-op, flat 1,000": (nothing_to_do, lambda: flat(1000)),
    "no-op, flat 10,000": (nothing_to_do, lambda: flat(10_000)),
    "no-op, flat 100,000": (nothing_to_do, lambda: flat(100_000)),
    "no-op, layered, 30,000 edges": (nothing_to_do, lambda: layered(10, 1000)),
    "no-op, one task, 20,000 inputs": (nothing_to_do, lambda: fan_in(20_000)),
    "no-op, chain 5,000": (nothing_to_do, lambda: chain(5000)),
    "touch of 10,000 inputs": (touched, lambda: flat(10_000)),
    "one input of 1,000 edited": (edited, lambda: flat(1000)),
    "one input of 10,000 edited": (edited, lambda: flat(10_000)),
    "cold, flat 1,000": (cold, lambda: flat(1000)),
    "cold, flat 10,000": (cold, lambda: flat(10_000)),
    "2,000 Python actions": (python_actions, lambda: functions(2000)),
    "400 tasks that sleep": (sleeping, lambda: Graph("sleep", ())),
    "restored, 10,000 outputs": (all_restored, lambda: flat(10_000)),
    "restored, one output of 1 GB": (large_restored, lambda: flat(1)),
    "hashed, one input of 1 GB": (large_hashed, lambda: flat(1)),
}
LARGE = {"no-op, flat 100,000", "cold, flat 10,000", "restored, 10,000 outputs"}


def rows_of(scenario: str, contenders: Sequence[Contender]) -> list[Row]:
    """Return the lines of one scenario."""
    anchor = contenders[0].wall_s
    return [
        Row(scenario, one.name, one.wall_s, one.fastest_s, one.cpu_s, one.rss_bytes, one.wall_s / anchor)
        for one in contenders
    ]


def show(rows: Sequence[Row]) -> None:
    """Print the lines of one scenario."""
    print(f"\n{rows[0].scenario}")
    for row in rows:
        print(
            f"  {row.contender:30} {row.wall_s * 1e3:9.1f} ms  x{row.ratio:5.2f}"
            f"   fastest {row.fastest_s * 1e3:9.1f} ms   cpu {row.cpu_s * 1e3:9.1f} ms"
            f"   {row.rss_bytes / 1e6:6.0f} MB"
        )
    sys.stdout.flush()


def machine() -> str:
    """Return one line on what it was measured on."""
    return (
        f"{platform.system()} {platform.release()} {platform.machine()}, {os.cpu_count()} processors, "
        f"load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}"
    )


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("scenario", nargs="*", help="words; scenarios that contain one of them are measured")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument(
        "--large", action="store_true", help="also 100,000 tasks, which take minutes to build"
    )
    parser.add_argument("--folder", help="where graphs are built and kept [a temporary one]")
    parser.add_argument("--json", default="build/bench.json")
    parser.add_argument("--svg", default="build/bench.svg")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        bench = Bench(Path(options.folder or temporary).resolve(), options.turns)
        bench.folder.mkdir(parents=True, exist_ok=True)
        print(machine())
        rows: list[Row] = []
        for name, (scenario, graph) in SCENARIOS.items():
            if options.scenario and not any(word in name for word in options.scenario):
                continue
            if name in LARGE and not (options.large or options.scenario):
                continue
            found = rows_of(name, scenario(bench, graph()))
            show(found)
            rows += found
    for path in (options.json, options.svg):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(options.json).write_text(
        json.dumps({"machine": machine(), "rows": [vars(row) for row in rows]}, indent=1) + "\n"
    )
    Path(options.svg).write_text(bars([(row.scenario, row.contender, row.ratio) for row in rows], machine()))
    print(f"\nwritten: {options.json}, {options.svg}")


if __name__ == "__main__":
    main()
