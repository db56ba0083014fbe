"""`doit history` and `doit accept` on real histories."""

import io
import json
import os

import pytest
from history_maker import HistoryMaker, executed

from buildkit.cli.accept import Accept
from buildkit.cli.history_command import History
from buildkit.state.database import database_path


@pytest.fixture
def maker(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)
    maker = HistoryMaker(str(tmp_path))
    yield maker
    maker.history.connection.close()


@pytest.fixture
def call(capsys):
    def run_command(command, *arguments):
        code = command().parse_execute(list(arguments))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run_command


def test_what_is_exported_can_be_imported_elsewhere(maker, call, tmp_path, monkeypatch):
    maker.run(executed("a"), executed("b"))
    code, out, _ = call(History, "export", "--jsonl")
    assert code == 0
    assert [json.loads(line)["kind"] for line in out.splitlines()] == [
        "header",
        "run",
        "execution",
        "execution",
    ]
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    monkeypatch.setattr("sys.stdin", io.StringIO(out))
    assert call(History, "import") == (0, "imported 1 run with 2 executions\n", "")
    assert call(History, "export")[1] == out


def test_an_export_may_go_to_a_file(maker, call, tmp_path):
    maker.run(executed("a"))
    assert call(History, "export", "-o", "history.jsonl") == (0, "", "")
    assert call(History, "import", "history.jsonl")[1].endswith("1 run known before\n")


def test_an_empty_history_exports_nothing(tmp_path, monkeypatch, call):
    monkeypatch.chdir(tmp_path)
    assert call(History, "export") == (0, "", "")
    code, out, _ = call(History, "prune")
    assert code == 0
    assert "No runs are recorded" in out


def test_lines_that_are_no_history_are_said(maker, call, tmp_path):
    (tmp_path / "x.jsonl").write_bytes(b"\xff\xfe nonsense\n{}\n")
    code, out, err = call(History, "import", "x.jsonl")
    assert (code, out) == (0, "imported 0 runs with 0 executions\n")
    assert err == "buildkit: 2 lines left out that could not be understood\n"


def test_pruning_makes_the_file_smaller(maker, call):
    for _ in range(20):
        maker.run(*(executed(f"task {number}") for number in range(300)))
    maker.history.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path = database_path(maker.project)
    before = os.path.getsize(path)
    code, out, _ = call(History, "prune", "--max-runs", "2", "--max-age", "9999d")
    assert code == 0
    assert out.startswith("forgot 18 runs, 2 left; ")
    assert os.path.getsize(path) < before / 2


def test_pruning_follows_the_settings(maker, call, tmp_path):
    for _ in range(5):
        maker.run(executed("a"), at=4e9)
    (tmp_path / "pyproject.toml").write_text("[tool.buildkit]\nhistory_max_runs = 3\n", encoding="utf-8")
    assert call(History, "prune")[1].startswith("forgot 2 runs, 3 left; ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "say what to do with the history: export, import, prune."),
        (("exprot",), "Did you mean 'export'?"),
        (("export", "x"), "history export does not take 'x'."),
        (("import", "missing.jsonl"), "'missing.jsonl' cannot be read: No such file or directory."),
        (("prune", "--max-age", "old"), "--max-age old: give an age such as 12h or 30d."),
        (("prune", "--max-runs", "0"), "--max-runs 0: give a whole number above 0"),
        (("export", "-o", "nowhere/x"), "'nowhere/x' cannot be written"),
    ],
)
def test_what_cannot_be_done_with_a_history_is_said(maker, call, arguments, message):
    code, out, err = call(History, *arguments)
    assert (code, out) == (3, "")
    assert message in err


def test_a_level_is_accepted_with_a_reason_and_listed(maker, call):
    maker.run(executed("test:a"), executed("test:b"), executed("lint"))
    assert call(Accept)[1] == "Nothing was accepted yet: doit accept TASK --reason REASON.\n"
    code, out, _ = call(Accept, "test", "lint", "--reason", "new fixtures")
    assert (code, out) == (
        0,
        "accepted test:a, test:b, lint: later runs are compared with those since the change\n",
    )
    lines = call(Accept)[1].splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["test:a", "test:b", "lint"]
    assert lines[2].endswith("new fixtures")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("lnit", "--reason", "x"), "the history knows no task 'lnit'. Did you mean 'lint'?"),
        (("lint",), "say why: --reason"),
        (("lint", "--reason", " "), "say why: --reason"),
        (("--reason", "x"), "say which task"),
    ],
)
def test_what_cannot_be_accepted_is_said(maker, call, arguments, message):
    maker.run(executed("lint"))
    code, out, err = call(Accept, *arguments)
    assert (code, out) == (3, "")
    assert message in err


def test_nothing_can_be_accepted_before_the_first_run(tmp_path, monkeypatch, call):
    monkeypatch.chdir(tmp_path)
    code, _, err = call(Accept, "a", "--reason", "x")
    assert code == 3
    assert "no runs are recorded" in err
