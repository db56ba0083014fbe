"""Where the time of a run with nothing to do goes, part by part.

    python benchmarks/no_op_parts.py FOLDER [ARGUMENT ...]

FOLDER is a project that `buildkit ARGUMENT ...` has just answered fast. Each part is measured many times in
turns; the median and the shortest time are printed.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

TURNS = 21
IMPORTS = (
    "import buildkit.__main__, buildkit.cli.fast, buildkit.core.humanize, buildkit.state.commit, fcntl, _json"
)


def seconds(action: Callable[[], object]) -> float:
    """Return how long one call takes."""
    before_s = time.perf_counter()
    action()
    return time.perf_counter() - before_s


def python(*arguments: str) -> Callable[[], object]:
    """Return a call that starts this Python."""
    return lambda: subprocess.run([sys.executable, *arguments], check=True)


def main() -> None:
    """Measure and print."""
    os.chdir(sys.argv[1])
    arguments = sys.argv[2:]
    from buildkit.state import facts, snapshot

    (found,) = [one for one in snapshot.kept("") if list(one.arguments) == arguments][:1]
    (path,) = [
        path
        for path in Path(snapshot.DIRECTORY).glob("*.snapshot")
        if snapshot.read("", path.stem).arguments == found.arguments  # type: ignore[union-attr]
    ][:1]
    names = found.names.split(b"\0")
    idle = facts.idle_processor
    parts: dict[str, Callable[[], object]] = {
        "Python itself, without site": python("-I", "-S", "-c", "pass"),
        "Python with site": python("-c", "pass"),
        "the same, ended without taking it apart": python("-c", "import os; os._exit(0)"),
        "the same, with our imports": python("-c", f"{IMPORTS}; import os; os._exit(0)"),
        "reading the snapshot": lambda: snapshot.read("", path.stem),
        "facts other than files": lambda: facts.what_changed(
            found, arguments, os.environ, path=found.stamp[4]
        ),  # type: ignore[arg-type]
        f"{len(names):,} files, one process": lambda: facts.signatures_of(found),
        f"{len(names):,} files, two processes": lambda: facts.signatures_of(found),
        "adding a line for the history": lambda: snapshot.append_line(os.devnull, b"x" * 600),
    }
    samples: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(TURNS):
        for name, action in parts.items():
            facts.idle_processor = (lambda: True) if "two processes" in name else (lambda: False)
            samples[name].append(seconds(action))
    facts.idle_processor = idle
    for name, times in samples.items():
        print(f"{name:44} {statistics.median(times) * 1e3:8.2f} ms   shortest {min(times) * 1e3:8.2f} ms")


if __name__ == "__main__":
    main()
