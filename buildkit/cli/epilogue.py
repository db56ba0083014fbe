"""What is said on stderr when a run is over.

What belongs here: the summary, the targets that were missed, and the reader who has gone away.
"""

from __future__ import annotations

import sys
from contextlib import suppress

from buildkit.cli.output import UNREAD, discard_output, terminal_width
from buildkit.engine.parts import RunTotals


def tell_end(summary: str | None, totals: RunTotals) -> None:
    """Say what the run came to, and which tasks came near to their targets, or broke them."""
    if summary is not None:
        with suppress(OSError):  # the terminal may be gone
            sys.stderr.write(summary + "\n")
            _tell_targets(totals)
    if totals.exit_code == UNREAD:
        discard_output()  # what is buffered would fail again, and loudly, when the process ends


def _tell_targets(totals: RunTotals) -> None:
    if not totals.targeted:
        return
    from buildkit.report.sections import sla_section  # only where there are targets
    from buildkit.report.targets import rows_of_run

    section = sla_section(rows_of_run(totals.targeted), history=False).shortened("doit report --all")
    sys.stderr.write(f"\n{section.text(terminal_width())}\n")
