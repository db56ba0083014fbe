"""Outputs that come back from the cache, against the build that made them, and against `cp`.

What belongs here: what is measured, and what is done ahead of each run. Files are moved away rather than
deleted where the deletion would be felt: ext4 without a journal makes new files slowly for minutes after it.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.graphs import Graph, write
from benchmarks.interleaved import Contender, measure, run, sample_of

if TYPE_CHECKING:
    from benchmarks.__main__ import Bench

LARGE_BYTES = 1_000_000_000
_CHUNK_BYTES = 1 << 24
_COLD_TURNS = 3


def all_restored(bench: Bench, graph: Graph) -> list[Contender]:
    """Measure a cold build, and runs that restore all outputs of it."""
    folder = bench.built(graph)
    cold_cache = folder / "cold-cache"
    away = _away(folder)

    def outputs_away() -> None:
        away(folder / "out")
        (folder / "out").mkdir()

    def everything_away() -> None:
        outputs_away()
        away(folder / ".buildkit")
        away(cold_cache)

    def outputs_deleted() -> None:
        for path in (folder / "out").iterdir():
            path.unlink()

    contenders = [
        bench.contender("buildkit, cold", "buildkit", "-n2", BUILDKIT_CACHE_DIR=str(cold_cache)),
        bench.contender("buildkit, all outputs moved away", "buildkit", "-n2"),
        bench.contender("buildkit, all outputs deleted", "buildkit", "-n2"),
    ]
    contenders[0].before = everything_away
    contenders[1].before = outputs_away
    contenders[2].before = outputs_deleted
    measure(contenders, folder, min(bench.turns, _COLD_TURNS))
    return contenders


def large_restored(bench: Bench, graph: Graph) -> list[Contender]:
    """Measure the restoring of one large output, alone and in a run, against `cp --reflink=auto`."""
    from buildkit.cache.local import LocalCache
    from buildkit.cache.result import ActionResult
    from buildkit.core.digest import digest_text

    folder = large_file(bench, graph)
    output, source = folder / graph.copies[0].output, folder / graph.copies[0].inputs[0]
    for _ in range(2):
        run([str(bench.tool("buildkit")), "-n2"], folder, bench.env)
    cache = LocalCache.open(str(folder / "step-cache"), warn=print)
    captured = cache.capture([graph.copies[0].output], root=str(folder))
    result = ActionResult(task="t", roots=captured.roots, outputs=captured.outputs)
    contenders = [
        Contender("cp --reflink=auto", []),
        Contender("buildkit, the restoring alone", []),
        Contender("buildkit, the whole run", []),
    ]
    steps: list[Callable[[], object]] = [
        lambda: subprocess.run(["cp", "--reflink=auto", source, output], check=True),
        lambda: cache.restore(digest_text("t"), result, root=str(folder)),
        lambda: run([str(bench.tool("buildkit")), "-n2"], folder, bench.env),
    ]
    for turn in range(bench.turns + 1):
        for contender, step in zip(contenders, steps, strict=True):
            output.unlink()
            sample = sample_of(step)
            if turn:
                contender.samples.append(sample)
    cache.close()
    return contenders


def large_file(bench: Bench, graph: Graph) -> Path:
    """Return the folder of a graph whose one source is large, and in memory."""
    folder = bench.folder / "large"
    source = folder / graph.sources[0]
    if not source.exists():
        write(graph, folder)
        with source.open("wb") as file:
            for begin in range(0, LARGE_BYTES, _CHUNK_BYTES):
                file.write(os.urandom(min(_CHUNK_BYTES, LARGE_BYTES - begin)))
    with source.open("rb") as file:
        while file.read(_CHUNK_BYTES):
            pass
    return folder


def _away(folder: Path) -> Callable[[Path], None]:
    """Return what takes a file or a folder out of sight without deleting it."""
    spent = folder / "spent"
    spent.mkdir(exist_ok=True)

    def away(path: Path) -> None:
        if path.exists():
            path.rename(spent / f"{path.name}-{len(os.listdir(spent))}")

    return away
