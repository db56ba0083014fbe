"""Whether this process is the plain command line: `doit` or `buildkit`, nothing in between.

What belongs here: the one question. Programs that use doit as a library, with loaders or settings of their
own, look the same from inside, and must not get the answer to another question.
"""

from __future__ import annotations

import os
import sys
from typing import Any

_PROGRAMS = ("doit", "buildkit", "__main__.py")


def plain_arguments() -> list[str] | None:
    """Return the arguments of the command line if it asks for a run of the dodo.py and nothing else.

    doit tells neither plug-ins nor commands who asks, so its frame has to be looked for.
    """
    if os.path.basename(sys.argv[0]) not in _PROGRAMS:
        return None
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "run" and _is_plain(frame.f_locals):
            return sys.argv[1:]
        frame = frame.f_back  # type: ignore[assignment] # None ends the loop
    return None


def _is_plain(called: Any) -> bool:
    from doit.cmd_base import DodoTaskLoader
    from doit.doit_cmd import DoitMain

    return (
        type(called.get("self")) is DoitMain
        and type(called.get("task_loader")) is DodoTaskLoader
        and called.get("cmd_name") == "run"
        and called.get("all_args") == sys.argv[1:]
    )
