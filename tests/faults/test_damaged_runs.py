"""Promise 5: flipped bits and cut ends in state and cache: never a wrong output, never a traceback."""

from __future__ import annotations

import os
import random
import sqlite3
from pathlib import Path

import pytest
from builds import Build, ended
from tally import tried
from test_killed_runs import mine


def spoil(path: Path, rng: random.Random) -> None:
    """Flip bits, overwrite a stretch, or cut the end."""
    path.chmod(0o600)
    content = bytearray(path.read_bytes())
    if not content:
        return
    how = rng.randrange(3)
    if how == 0:
        for _ in range(rng.randint(1, 8)):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    elif how == 1:
        start = rng.randrange(len(content))
        content[start : start + rng.randint(1, 5000)] = os.urandom(rng.randint(1, 5000))
    else:
        del content[rng.randrange(len(content)) :]
    path.write_bytes(bytes(content))


FILES = {
    "state": lambda build: list((build.root / ".buildkit").glob("state.db*")),
    "everything else in the state": lambda build: [
        path
        for path in (build.root / ".buildkit").rglob("*")
        if path.is_file() and not path.name.startswith("state.db") and path.name not in ("lock", ".gitignore")
    ],
    "index": lambda build: list((build.base / "cache").glob("index.db*")),
    "blobs": lambda build: [path for path in (build.base / "cache" / "cas").rglob("*") if path.is_file()],
}


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("what", FILES)
def test_damage_costs_time_and_never_an_output(tmp_path: Path, rounds: int, what: str) -> None:
    rng = random.Random(what)
    build = Build(tmp_path)
    build.assert_sound(build.run())
    for _ in range(10 * rounds):
        if rng.random() < 0.5:  # leaves a WAL behind
            build.change(rng)
            ended(build.start("-n", "2", prepare=mine(rng.randint(2000, 12000))), build.printed)
        files = FILES[what](build)
        for path in rng.sample(files, min(len(files), rng.randint(1, 5))):
            spoil(path, rng)
        if rng.random() < 0.7:
            build.change(rng)
        if rng.random() < 0.5:
            for path in (build.root / "out").iterdir():
                if path.is_file() and rng.random() < 0.5:
                    path.unlink()
        build.assert_sound(build.run("-n", rng.choice(["0", "2"])))
        tried()
    build.assert_sound(build.run())


def test_a_value_in_which_a_bit_was_flipped_reaches_nobody(tmp_path: Path) -> None:
    build = Build(tmp_path)
    build.assert_sound(build.run())
    connection = sqlite3.connect(build.root / ".buildkit" / "state.db")
    (values,) = connection.execute("""SELECT "values" FROM traces WHERE task = 'left'""").fetchone()
    digit = next(index for index, char in enumerate(values) if char.isdigit())
    flipped = values[:digit] + chr(ord(values[digit]) ^ 1) + values[digit + 1 :]
    connection.execute("""UPDATE traces SET "values" = ? WHERE task = 'left'""", (flipped,))
    connection.commit()
    connection.close()
    (build.root / "in3").write_bytes(b"new\n")  # the task that uses the value has to run
    build.assert_sound(build.run())
