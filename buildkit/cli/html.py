"""`--html FILE` of `doit report`: the option, and what it does.

What belongs here: no more than the command needs to know before the page is asked for, which brings
templates and scripts along.
"""

from __future__ import annotations

import sys
from typing import Any

from buildkit.core.errors import UsageError
from buildkit.report.data import ReportData

OPTION_HTML: dict[str, Any] = {
    "name": "html",
    "long": "html",
    "type": str,
    "default": None,
    "metavar": "FILE",
    "help": "write the report as a page into FILE instead: one file that needs no network",
}


def write_html(project: str, data: ReportData, path: str) -> None:
    """Write the report as a page; UsageError where the file cannot be written."""
    from buildkit.cli.page import page_of  # templates, scripts, hashes
    from buildkit.observe.files import ReplacedFile

    if not path:
        raise UsageError("--html: give the name of a file.")
    file = ReplacedFile(path, "--html")
    try:
        file.write(page_of(project, data).encode())
    except OSError as error:
        raise UsageError(f"--html: '{path}' cannot be written: {error.strerror or error}.") from None
    sys.stderr.write(f"wrote {path}\n")
