"""`doit explain`: would a task run now, and why; or what happened to it in a run, and why.

What belongs here: options, and which question they ask. The answers are made in `frontend/explain.py` and
put into words in `report/`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from doit.cmd_base import DoitCmdBase

from buildkit.cli.arguments import OptionsAnywhere
from buildkit.cli.history import history_of, project_of
from buildkit.cli.output import exit_code_of, print_result, terminal_width
from buildkit.cli.tasks import TaskCommand
from buildkit.core.errors import ExitCode, StateError, UsageError
from buildkit.report.explanation import brief_json, counts, explanation_json
from buildkit.state.runs import RunRecord

_ROWS = 30
_JSON_SCHEMA = 1

_OPTIONS = (
    {
        "name": "explain_run",
        "long": "run",
        "type": str,
        "default": "",
        "metavar": "RUN",
        "help": "tell what happened in a run: last, its number, or the first digits of its uid",
    },
    {
        "name": "explain_plan",
        "long": "plan",
        "type": bool,
        "default": False,
        "help": "tell which command lines are answered without loading the dodo.py, and what prevents it",
    },
    {
        "name": "explain_parts",
        "short": "c",
        "long": "all-components",
        "type": bool,
        "default": False,
        "help": "list everything that the key of the task is made of",
    },
    {
        "name": "explain_all",
        "long": "all",
        "type": bool,
        "default": False,
        "help": f"show all rows of a table (otherwise {_ROWS})",
    },
    {
        "name": "explain_json",
        "long": "json",
        "type": bool,
        "default": False,
        "help": "print everything as JSON",
    },
)


class Explain(OptionsAnywhere, TaskCommand, DoitCmdBase):  # type: ignore[misc] # doit has no types
    """Say what would become of tasks, and why; changes nothing on disk."""

    name = "explain"
    doc_purpose = "say whether tasks would run now, and why; or why they ran"
    doc_usage = "[TASK ...] [--run RUN] [--plan] [--all-components] [--all] [--json]"
    doc_description = (
        "Without a task: all tasks that doit would look at, in one table.\n"
        "With --run: what happened to them in that run; needs no dodo.py.\n"
        "With --plan: what is stored for runs that have nothing to do."
    )
    cmd_options = _OPTIONS
    execute_tasks = True  # delayed tasks are created here only where a run would create them right away

    def execute(self, params: Any, args: Any) -> Any:
        """Answer from the history, or load the tasks and judge them; return the exit code."""
        as_json = params["explain_json"]
        if params["explain_run"]:
            limit = None if params["explain_all"] else _ROWS
            return exit_code_of(
                lambda: print_result(
                    explain_run(project_of(params), params["explain_run"], args, limit=limit, as_json=as_json)
                )
            )
        if params["explain_plan"]:
            return exit_code_of(lambda: print_result(explain_plan(project_of(params), as_json=as_json)))
        return super().execute(params, args)

    def _execute(
        self, explain_parts: bool = False, explain_all: bool = False, explain_json: bool = False
    ) -> int:
        """Explain the selected tasks; parameters are the options."""
        from buildkit.frontend.explain import Explainer  # needs the whole front end, --run does not

        control = self.select()
        inspector = self.inspect(control)
        if self._workspace is None:
            raise AssertionError("the state is opened before tasks are loaded")
        explainer = Explainer(inspector, self._workspace)
        selected = list(dict.fromkeys(control.selected_tasks))
        limit = None if explain_all else _ROWS
        if self.sel_default_tasks:
            print_result(self._table(explainer, selected, limit, explain_json))
        else:
            explanations = [explainer.explain(name) for name in selected]
            if explain_json:
                tasks = [explanation_json(one, parts=explain_parts) for one in explanations]
                print_result(json.dumps({"schema": _JSON_SCHEMA, "tasks": tasks}, indent=2))
            else:
                from buildkit.report.explain_text import text  # not for JSON

                width = terminal_width()
                told = [text(one, width=width, parts=explain_parts, limit=limit) for one in explanations]
                print_result("\n\n".join(told))
        return int(ExitCode.OK)

    @staticmethod
    def _table(explainer: Any, selected: list[str], limit: int | None, as_json: bool) -> str:
        briefs = explainer.survey(selected)
        if as_json:
            document = {
                "schema": _JSON_SCHEMA,
                "counts": {would.value: number for would, number in counts(briefs).items()},
                "tasks": [brief_json(brief) for brief in briefs],
            }
            return json.dumps(document, indent=2)
        from buildkit.report.explain_text import table  # not for JSON

        return table(briefs, terminal_width(), limit)


def explain_plan(project: str, *, as_json: bool) -> str:
    """Return what the fast start knows of the project."""
    from buildkit.report.explain_plan import plan_text, stored_plans  # only for --plan

    os.chdir(project)  # facts are looked up as a run would
    try:
        plans = stored_plans(os.environ)
    except OSError as error:
        raise StateError(f"cannot read the stored plans of this project: {error}.") from None
    if as_json:
        return json.dumps({"schema": _JSON_SCHEMA, "plans": [asdict(plan) for plan in plans]}, indent=2)
    return plan_text(plans)


def explain_run(
    project: str, reference: str, names: Sequence[str], *, limit: int | None, as_json: bool
) -> str:
    """Return what happened to the named tasks (all for none) in a run of the project."""
    from buildkit.report.explain_run import chosen, headline, run_table, run_text  # only for --run
    from buildkit.report.last_run import Order, ordered, rows_of
    from buildkit.report.last_run import as_json as row_json

    with history_of(project) as history:
        if history is None or history.last_run() is None:
            if names or reference != "last":
                raise UsageError(f"no runs are recorded in {project} yet.")
            empty = f"No runs are recorded in {project} yet."
            return _run_document(None, []) if as_json else empty
        run = history.find_run(reference)
        rows = chosen(ordered(rows_of(history, run), Order.INTEREST), names, run.id)
    if as_json:
        return _run_document(run, [row_json(row) for row in rows])
    told = [run_text(row) for row in rows] if names else [run_table(rows, terminal_width(), limit)]
    return "\n\n".join([headline(run), *told])


def _run_document(run: RunRecord | None, tasks: list[dict[str, Any]]) -> str:
    about: dict[str, Any] | None = None
    if run is not None:
        about = {
            "id": run.id,
            "uid": run.info.uid,
            "argv": list(run.info.argv),
            "started_at_unix_s": run.info.started_at,
            "exit_code": run.summary.exit_code if run.summary else None,
        }
    return json.dumps({"schema": _JSON_SCHEMA, "run": about, "tasks": tasks}, indent=2)
