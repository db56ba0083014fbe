"""`--html FILE` of `doit report`: the option, and what it does.

What belongs here: no more than the command needs to know before the page is asked for, which brings much
of the report along.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from buildkit.core.errors import ExitCode

OPTION_HTML: dict[str, Any] = {
    "name": "html",
    "long": "html",
    "type": str,
    "default": None,
    "metavar": "FILE",
    "help": "write the report as a page into FILE instead: one file that needs no network",
}


def write_html(project: str, options: Mapping[str, Any]) -> int:
    """Write the page that the options of `doit report` ask for, and return the exit code."""
    from buildkit.cli.page import write_page  # the whole report, templates and scripts
    from buildkit.report.collect import SINCE_S, Query

    path = options["html"]
    since_s = options.get("since_s", SINCE_S)
    write_page(project, Query(run=options["run"], since_s=since_s, task=options["task"]), path)
    sys.stderr.write(f"wrote {path}\n")
    return int(ExitCode.OK)
