"""Results that hold the place where they were made: good in this checkout, wrong in every other one.

What belongs here: how such a result is recognised, and under which key it is kept. Two kinds of task have
one: those whose outputs or values contain the path of the project (`pwd > log`, debug information), and
those without any input, whose key says too little to be good for another project.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from xxhash import xxh3_128

from buildkit.core.digest import Digest
from buildkit.core.key import ActionKey
from buildkit.core.plan import Task

# Such a path (`/`, `/w`) occurs by chance in everything.
_TELLING_LENGTH = 4


def place_key(key: ActionKey, root: str) -> Digest:
    """Return the key of a result that is good in the project at `root` only."""
    text = os.fsencode(f"{key}\n{root}")
    return Digest(f"xxh3:{xxh3_128(text).hexdigest()}")


def names_of_place(root: str, environ: Mapping[str, str]) -> tuple[bytes, ...]:
    """Return the texts that give away that something was made in `root`; links may give it several."""
    names = {root, os.path.realpath(root)}
    logical = environ.get("PWD", "")
    try:
        if logical.startswith("/") and os.path.samefile(logical, root):
            names.add(logical)
    except OSError:
        pass  # PWD is what a shell left there; it need not lead anywhere
    return tuple(os.fsencode(name) for name in sorted(names) if len(name) >= _TELLING_LENGTH)


def names_a_place(texts: tuple[str, ...], names: tuple[bytes, ...]) -> bool:
    """Return whether one of the texts holds a name of the place."""
    encoded = [text.encode("utf-8", "surrogateescape") for text in texts]
    return any(name in text for text in encoded for name in names)


def is_bound(task: Task) -> bool:
    """Return whether the key of a task says too little to be good in another project."""
    return not task.inputs


def lookup_keys(task: Task, key: ActionKey, root: str) -> tuple[Digest, ...]:
    """Return the keys under which a result of the task is good in the project at `root`, best first."""
    here = place_key(key, root)
    return (here,) if is_bound(task) else (Digest(key), here)
