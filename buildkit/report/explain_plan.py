"""`doit explain --plan`: which command lines the fast start can answer, and what prevents it for the others.

What belongs here: words. What a fact is, and whether it holds, is said in `state/facts.py`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from buildkit.core.humanize import plural, printable
from buildkit.state import facts, snapshot


@dataclass(frozen=True, slots=True)
class StoredPlan:
    """What is known of one command line. `why_not` says why nothing is stored, or what has changed since."""

    command: str
    stored: bool
    why_not: str | None = None
    tasks: int = 0
    files: int = 0
    to_run: int = 0  # tasks that run even where nothing has changed


def stored_plans(environ: Mapping[str, str]) -> list[StoredPlan]:
    """Return what is stored for the project that is the current directory, the last one first."""
    plans = [
        StoredPlan(
            " ".join(("buildkit", *found.arguments)),
            True,
            _changed(found, environ),
            found.stdout.count("\n"),
            found.tracked,
            len(found.unfinished),
        )
        for found in snapshot.kept("")
    ]
    return plans + [StoredPlan(command, False, reason) for command, reason in snapshot.reasons("")]


def plan_text(plans: list[StoredPlan]) -> str:
    """Return one line for each command line."""
    if not plans:
        return "No run of this project has had the chance to store a plan yet."
    return "\n".join(f"{printable(plan.command)}: {_told(plan)}" for plan in plans)


def _told(plan: StoredPlan) -> str:
    if not plan.stored:
        return f"not stored; {printable(plan.why_not or '')}"
    about = f"{plural(plan.tasks, 'task')}, {plural(plan.files, 'file')}"
    if plan.to_run:
        about += f"; {plan.to_run} more to run each time"
    if plan.why_not is None:
        return f"stored ({about}), and nothing has changed since"
    return f"stored ({about}); changed since: {printable(plan.why_not)}"


def _changed(found: snapshot.Snapshot, environ: Mapping[str, str]) -> str | None:
    # A dodo.py that was loaded in this process may have changed the path for modules: taken for unchanged.
    path = found.stamp[snapshot.STAMPED_PATH]
    assert isinstance(path, tuple)  # noqa: S101 - as it was written
    changed = facts.what_changed(found, found.arguments, environ, path=path)
    if changed is not None:
        return changed
    numbers = facts.files_changed(found)
    if numbers is None:
        return "a file is gone"
    return os.fsdecode(facts.paths_of(found)[numbers[0]]) if numbers else None
