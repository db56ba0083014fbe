"""`doit graph`: tasks, what they wait for, and the chain that decides how long a run takes.

What belongs here: options, and printing. The graph is read in `frontend/graph.py`, and put into words in
`report/`.
"""

from __future__ import annotations

import json
import sqlite3

from doit.cmd_base import DoitCmdBase

from buildkit.cli.arguments import OptionsAnywhere
from buildkit.cli.output import print_result, terminal_width
from buildkit.cli.tasks import TaskCommand
from buildkit.core.errors import ExitCode, StateError
from buildkit.frontend.graph import nodes_of, sinks
from buildkit.report.graph_formats import dot, mermaid
from buildkit.report.graph_text import text
from buildkit.report.task_graph import graph_json as as_json
from buildkit.report.task_graph import task_graph
from buildkit.state.history import History

_LINES = 40
_JSON_SCHEMA = 1
_FORMATS = ("text", "dot", "mermaid", "json")

_OPTIONS = (
    {
        "name": "graph_format",
        "long": "format",
        "type": str,
        "default": "text",
        "choices": [(name, "") for name in _FORMATS],
        "help": "how to write the graph; dot is for Graphviz [default: %(default)s]",
    },
    {
        "name": "graph_json",
        "long": "json",
        "type": bool,
        "default": False,
        "help": "the same as --format json",
    },
    {
        "name": "graph_all",
        "long": "all",
        "type": bool,
        "default": False,
        "help": f"show all lines of the text (otherwise {_LINES})",
    },
)


class Graph(OptionsAnywhere, TaskCommand, DoitCmdBase):  # type: ignore[misc] # doit has no types
    """Show the graph of the tasks; changes nothing on disk."""

    name = "graph"
    doc_purpose = "show tasks, what they wait for, and the critical path"
    doc_usage = "[TASK ...] [--format text|dot|mermaid|json] [--all]"
    doc_description = (
        "Without a task: all tasks that doit would look at.\n"
        "Times are predicted from history. * marks the critical path."
    )
    cmd_options = _OPTIONS
    execute_tasks = True  # a creator that needs what only a run makes must not end the command

    def _execute(self, graph_format: str = "text", graph_json: bool = False, graph_all: bool = False) -> int:
        """Show the graph of the selected tasks; parameters are the options."""
        control = self.select()
        selected = list(dict.fromkeys(control.selected_tasks))
        nodes = nodes_of(self.inspect(control), selected)
        connection = self._workspace.connection if self._workspace is not None else None
        names = [node.task for node in nodes if not node.group]
        try:
            wall_ns = History(connection).expected_wall_ns(names) if connection is not None else {}
        except sqlite3.Error as error:  # damage that opening did not see
            raise StateError(f"cannot read the history of this project: {error}.") from error
        graph = task_graph(nodes, selected, wall_ns)
        if graph_json or graph_format == "json":
            print_result(json.dumps({"schema": _JSON_SCHEMA, **as_json(graph)}, indent=2))
        elif graph_format == "text":
            tops = sinks(nodes) if self.sel_default_tasks else selected
            limit = None if graph_all else _LINES
            print_result(text(graph, tops, width=terminal_width(), limit=limit))
        else:
            print_result(dot(graph) if graph_format == "dot" else mermaid(graph))
        return int(ExitCode.OK)
