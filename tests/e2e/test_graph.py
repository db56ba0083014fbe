"""`doit graph` shows tasks, edges and the critical path, in four formats."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import Any

import pytest

from .harness import Project

GRAPH = """
    from doit import create_after

    def numbers():
        return {'count': 3}

    def task_numbers():
        return {'actions': [numbers], 'file_dep': ['in']}

    def task_slow():
        return {'actions': ['sleep 0.3; cp in slow'], 'file_dep': ['in'], 'targets': ['slow']}

    def task_fast():
        return {'actions': ['cp in fast'], 'file_dep': ['in'], 'targets': ['fast']}

    def task_prepare():
        return {'actions': ['true']}

    def task_join():
        return {'actions': ['cat slow fast > join; echo %(count)s'], 'file_dep': ['slow', 'fast'],
                'targets': ['join'], 'getargs': {'count': ('numbers', 'count')}, 'task_dep': ['prepare'],
                'setup': ['server']}

    def task_server():
        return {'actions': ['true']}

    def task_sub():
        yield {'name': 'a', 'actions': ['true'], 'file_dep': ['join']}
        yield {'name': 'b "quoted"', 'actions': ['true'], 'file_dep': ['join']}
"""


@pytest.fixture
def graph(project: Project) -> Project:
    project.write("in", "1")
    project.dodo(GRAPH)
    return project


def document(project: Project, *arguments: str) -> dict[str, Any]:
    before = project.everything()
    found: dict[str, Any] = json.loads(project.run("graph", "--format", "json", *arguments, check=0).stdout)
    if not (project.root / ".buildkit").exists():
        assert project.everything() == before
    found["tasks"] = {task["task"]: task for task in found["tasks"]}
    return found


def test_edges_say_why_a_task_waits(graph: Project):
    join = document(graph)["tasks"]["join"]
    assert {edge["task"]: (edge["kind"], edge["via"]) for edge in join["waits"]} == {
        "numbers": ("supplies", ["value 'count'"]),
        "slow": ("supplies", ["slow"]),
        "fast": ("supplies", ["fast"]),
        "prepare": ("order", []),
        "server": ("setup", []),
    }
    members = document(graph)["tasks"]["sub"]["waits"]
    assert [(edge["task"], edge["kind"]) for edge in members] == [
        ("sub:a", "member"),
        ('sub:b "quoted"', "member"),
    ]


def test_only_what_is_selected_and_what_it_waits_for_is_shown(graph: Project):
    found = document(graph, "join")
    assert found["selected"] == ["join"]
    assert set(found["tasks"]) == {"numbers", "slow", "fast", "prepare", "server", "join"}
    assert set(document(graph, "slow")["tasks"]) == {"slow"}
    assert document(graph, "sub:*")["selected"] == ["sub:a", 'sub:b "quoted"']


def test_a_target_stands_for_its_task(graph: Project):
    graph.dodo(GRAPH.replace("'targets': ['join']", "'targets': ['made']").replace("> join", "> made"))
    assert document(graph, "made")["selected"] == ["join"]


def test_without_history_the_path_counts_tasks(graph: Project):
    found = document(graph)
    assert found["critical_path_ns"] is None
    assert len([name for name in found["critical_path"] if name != "sub"]) == 3
    text = graph.run("graph", check=0).stdout
    assert "counted in tasks since none of them has a history" in text
    assert "~" not in text


def test_with_history_the_path_is_the_slowest_chain(graph: Project):
    graph.run(check=0)
    found = document(graph)
    assert [name for name in found["critical_path"] if name != "sub"][:2] == ["slow", "join"]
    assert found["critical_path_ns"] >= found["tasks"]["slow"]["expected_ns"] >= 300_000_000
    assert found["tasks"]["slow"]["slack_ns"] == 0 < found["tasks"]["fast"]["slack_ns"]
    assert {task["expected_from"] for task in found["tasks"].values()} == {"history", "nothing"}
    text = graph.run("graph", "join", check=0).stdout
    assert re.search(r"^  slow  ~3\d\d ms  \d+%$", text, re.MULTILINE)
    assert "~ is predicted from history" in text


def test_a_task_that_never_ran_is_guessed_and_marked(graph: Project):
    graph.run("slow", "fast", check=0)
    found = document(graph, "join")
    assert found["tasks"]["join"]["expected_from"] == "guess"
    text = graph.run("graph", "join", check=0).stdout
    assert re.search(r"^join  ~\S+ m?s\?  \*$", text, re.MULTILINE)
    assert "? is a guess: 4 tasks never ran here" in text


def test_the_text_is_a_tree_that_tells_each_task_once(graph: Project):
    text = graph.run("graph", "sub", check=0).stdout
    lines = text[text.index("\nsub") :].strip().splitlines()
    assert lines[0].startswith("sub")
    assert lines[1].startswith("  sub:a")
    assert lines[2].startswith("    join")
    assert sum(line.strip().startswith("slow") for line in lines) == 1
    assert any("prepare" in line and "(order only)" in line for line in lines)
    assert any("server" in line and "(setup)" in line for line in lines)
    assert "(see above)" in lines[-1]


def test_dot_is_accepted_by_graphviz_or_at_least_well_formed(graph: Project):
    graph.run(check=0)
    text = graph.run("graph", "--format", "dot", check=0).stdout
    assert text.startswith("digraph tasks {") and text.rstrip().endswith("}")
    assert '"slow" -> "join" [penwidth=3];' in text
    assert '"prepare" -> "join" [style=dashed];' in text
    assert '"server" -> "join" [style=dotted];' in text
    assert '"sub:b \\"quoted\\""' in text
    if shutil.which("dot"):
        subprocess.run(["dot", "-Tsvg"], input=text.encode(), check=True, capture_output=True)


def test_mermaid_quotes_what_means_something_to_it(graph: Project):
    graph.run(check=0)
    lines = graph.run("graph", "--format", "mermaid", check=0).stdout.splitlines()
    assert lines[0] == "flowchart LR"
    ids = {match[2]: match[1] for line in lines if (match := re.match(r'  (t\d+)\["([^<"]+)', line))}
    assert "sub:b #34;quoted#34;" in ids
    assert f"  {ids['slow']} ==> {ids['join']}" in lines
    assert f"  {ids['prepare']} -.-> {ids['join']}" in lines
    assert any(line.startswith("  class ") for line in lines)


def test_what_is_created_later_is_shown_where_it_can_be_created(project: Project):
    project.write("in", "1")
    project.dodo(
        """
        from doit import create_after

        def task_make():
            return {'actions': ['cp in made'], 'file_dep': ['in'], 'targets': ['made']}

        @create_after(executed='make')
        def task_late():
            for number in open('made').read().split():
                yield {'name': number, 'actions': ['true'], 'file_dep': ['made']}

        def deps():
            return {'file_dep': ['made']}

        def task_deps():
            return {'actions': [deps]}

        def task_calculated():
            return {'actions': ['true'], 'calc_dep': ['deps']}
        """
    )
    found = document(project)["tasks"]
    assert found["late"]["undecided"]
    assert found["calculated"]["waits"] == [
        {"task": "deps", "kind": "supplies", "via": ["dependencies"]},
    ]
    assert "(more is known when it runs)" in project.run("graph", check=0).stdout
    project.run(check=0)
    found = document(project)["tasks"]
    assert not found["late"]["undecided"]
    assert [edge["task"] for edge in found["late:1"]["waits"]] == ["make"]
    assert [edge["task"] for edge in found["calculated"]["waits"]] == ["make", "deps"]


def test_ten_thousand_tasks_in_one_chain(project: Project):
    project.write("in", "1")
    project.dodo(
        """
        def task_chain():
            for number in range(10_000):
                yield {'name': str(number), 'actions': ['true'], 'targets': [f'out/{number}'],
                       'file_dep': [f'out/{number - 1}' if number else 'in']}
        """
    )
    found = document(project, "chain:9999")
    assert len(found["tasks"]) == len(found["critical_path"]) == 10_000
    text = project.run("graph", "chain:9999", check=0).stdout
    assert len(text.splitlines()) < 70
    assert "9,960 more lines; --all shows all" in text
    everything = project.run("graph", "chain:9999", "--all", check=0).stdout.splitlines()
    assert everything[-1].split()[:2] == ["[9999]", "chain:0"]
    assert max(map(len, everything)) < 80


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nosuch"], 'invalid parameter: "nosuch"'),
        (["jion"], "Did you mean 'join'?"),
        (["--format", "svg"], "svg"),
        (["--nosuch"], "nosuch"),
    ],
    ids=" ".join,
)
def test_a_mistake_is_one_message_and_creates_nothing(graph: Project, arguments: list[str], message: str):
    before = graph.everything()
    result = graph.run("graph", *arguments, check=3)
    assert result.stdout == ""
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert graph.everything() == before


def test_a_cycle_is_named(project: Project):
    project.dodo(
        """
        def task_a():
            return {'actions': ['true'], 'task_dep': ['b']}

        def task_b():
            return {'actions': ['true'], 'task_dep': ['a']}
        """
    )
    for command in ("graph", "explain"):
        assert "in a circle: a -> b -> a" in project.run(command, check=3).stderr


def test_a_project_without_tasks(project: Project):
    project.dodo("x = 1\n")
    assert project.run("graph", check=0).stdout == "No tasks.\n"
    assert project.run("explain", check=0).stdout == "No tasks.\n"
    assert document(project)["tasks"] == {}
