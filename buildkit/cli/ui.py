"""`doit ui`: the page of a project in a browser, live while a run goes on.

What belongs here: options, the browser, and the end. Who gets an answer is decided in `ui_server.py`, what
it is in `page.py`.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from doit.cmd_base import Command

from buildkit.cli.arguments import OptionsAnywhere
from buildkit.cli.history import OPTION_DIR, project_of
from buildkit.cli.output import exit_code_of, print_result
from buildkit.core.config import load_settings
from buildkit.core.errors import UsageError

_HIGHEST_PORT = 65535

_OPTIONS = (
    {
        "name": "port",
        "long": "port",
        "short": "p",
        "type": int,
        "default": 0,
        "metavar": "N",
        "help": "the port on 127.0.0.1 to listen on (default: any that is free)",
    },
    {
        "name": "open",
        "long": "open",
        "inverse": "no-open",
        "type": bool,
        "default": True,
        "help": "open the page in the browser; --no-open only prints its address",
    },
    {
        "name": "run",
        "long": "run",
        "type": str,
        "default": "last",
        "help": "the run to show: last, its number, or the first digits of its uid",
    },
    OPTION_DIR,
)


class Ui(OptionsAnywhere, Command):  # type: ignore[misc]  # doit has no type hints
    """Serve the page of the project on loopback; needs no dodo.py."""

    name = "ui"
    doc_purpose = "show the report as a page in the browser, live while a run goes on"
    doc_usage = "[--port N] [--no-open] [--run RUN]"
    doc_description = None
    cmd_options = _OPTIONS

    def execute(self, opt_values: Mapping[str, Any], pos_args: Sequence[str]) -> int:
        """Serve until Ctrl-C, which is the way to end it and no error."""
        return exit_code_of(lambda: _serve(opt_values, pos_args))


def _serve(options: Mapping[str, Any], arguments: Sequence[str]) -> None:
    if arguments:
        raise UsageError(f"ui takes no arguments; got '{arguments[0]}'.")
    serve(project_of(options), options["run"], options["port"], browse=options["open"])


def serve(project: str, run: str, port: int, *, browse: bool) -> None:
    """Serve the page until the user interrupts; BuildkitError where that cannot be."""
    from buildkit.cli.page import LivePage  # these bring http.server and all of the report along
    from buildkit.cli.report_data import report_data
    from buildkit.cli.ui_server import ADDRESS, UiServer
    from buildkit.report.collect import Query

    if not 0 <= port <= _HIGHEST_PORT:
        raise UsageError(f"--port {port}: give a number from 0 (any that is free) to {_HIGHEST_PORT}.")
    settings = load_settings(project)
    live = LivePage(project, lambda: report_data(project, Query(run=run), settings))
    live.json()  # whatever is wrong with the history or the run is said here, not in the browser
    try:
        server = UiServer(port, page=live.html, data=live.json, version=live.version)
    except OSError as error:
        hint = "--port 0 takes any that is free" if port else "is there no loopback network?"
        raise UsageError(
            f"--port {port}: cannot listen on {ADDRESS}: {error.strerror or error}; {hint}."
        ) from None
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        print_result(f"{server.url}\nCtrl-C ends it.")
        if browse and _has_display():
            import webbrowser  # 10 ms, and only where there is one

            webbrowser.open(server.url)
        thread.join()
    except KeyboardInterrupt:
        sys.stderr.write("\n" if sys.stderr.isatty() else "")  # behind the terminal's ^C
    finally:
        server.stop()


def _has_display() -> bool:
    """Whether there may be a browser with a window. One within the terminal would take the terminal."""
    if sys.platform == "darwin":
        return "SSH_CONNECTION" not in os.environ
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
