"""A large input hashed, against the hash function itself reading the same file on one core."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from xxhash import xxh3_128

from benchmarks.graphs import Graph
from benchmarks.interleaved import Contender, sample_of
from benchmarks.restoring import large_file

if TYPE_CHECKING:
    from benchmarks.__main__ import Bench

_BUFFER_BYTES = 1 << 20


def large_hashed(bench: Bench, graph: Graph) -> list[Contender]:
    """Measure the fingerprint of one large file."""
    from buildkit.core.fingerprint import read_fingerprint

    path = large_file(bench, graph) / graph.sources[0]
    steps: dict[str, Callable[[], object]] = {
        "xxh3-128, a buffer of 1 MiB": lambda: _in_a_loop(path),
        "xxh3-128, mapped": lambda: _mapped(path),
        "buildkit": lambda: read_fingerprint(str(path)),
    }
    contenders = [Contender(name, []) for name in steps]
    for turn in range(bench.turns + 1):
        for contender in contenders:
            sample = sample_of(steps[contender.name])
            if turn:
                contender.samples.append(sample)
    return contenders


def _in_a_loop(path: Path) -> None:
    hasher, buffer = xxh3_128(), bytearray(_BUFFER_BYTES)
    view = memoryview(buffer)
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(buffer):
            hasher.update(view[:count])


def _mapped(path: Path) -> None:
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as content:
        hasher = xxh3_128()
        hasher.update(content)
