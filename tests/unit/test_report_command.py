"""`doit report` on real histories."""

import json
import os
import subprocess
import sys

import pytest
from history_maker import append_run

from buildkit.cli.report import Report
from buildkit.core.execution import Cost, Decision, Execution, Reason, ReasonKind
from buildkit.state.database import database_path, open_database
from buildkit.state.history import History
from buildkit.state.lock import ProjectLock
from buildkit.state.runs import RunInfo, RunSummary, line_of_run

COMMAND = "import sys; from buildkit.cli.report import Report; sys.exit(Report().parse_execute(sys.argv[1:]))"


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)
    return str(tmp_path)


@pytest.fixture
def history(project):
    connection = open_database(project, warn=pytest.fail)
    yield History(connection)
    connection.close()


@pytest.fixture
def report(capsys):
    def run_report(*arguments):
        code = Report().parse_execute(list(arguments))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run_report


def record(history, *executions, skipped=(), finish=True, **info):
    run_id = history.begin_run(RunInfo(1_767_225_600.0, ("doit", "-n", "auto"), "/p", **info))
    history.add_executions(run_id, executions)
    if finish:
        history.finish_run(
            run_id,
            RunSummary(10**9, 0, executed=len(executions), skipped=len(skipped), skipped_tasks=skipped),
        )
    return run_id


def task_table(out):
    """Return the lines of the first table, without its head."""
    return out.split("\n\n")[1].splitlines()[2:]


def executed(task, wall_ns=10**9):
    reasons = (Reason(ReasonKind.INPUT_CHANGED, (f"{task}.c",)),)
    return Execution(task, Decision.EXECUTED, reasons, cost=Cost(wall_ns, 10**8, 10**7, 2**20))


def test_the_last_run_is_shown_with_its_tasks(history, report):
    record(history, executed("old"))
    run_id = record(history, executed("fast", 10**6), executed("slow"), skipped=["kept"])
    code, out, err = report()
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[0].startswith(f"Run {run_id}, ")
    assert lines[0].endswith(": doit -n auto (exit code 0)")
    assert lines[1] == "buildkit: 2 executed, 1 skipped in 1.00 s"
    assert [line.split()[:2] for line in task_table(out)] == [
        ["slow", "executed"],
        ["fast", "executed"],
        ["kept", "skipped"],
    ]


def test_json_holds_the_run_and_all_its_tasks(history, report):
    record(history, *(executed(f"t{i}") for i in range(40)), skipped=["kept"])
    code, out, _ = report("--json")
    document = json.loads(out)
    assert code == 0
    assert document["run"]["executed"] == 40
    assert document["run"]["state"] == "finished"
    assert document["run"]["argv"] == ["doit", "-n", "auto"]
    assert (len(document["tasks"]), document["hidden_tasks"]) == (41, 0)


def test_an_earlier_run_can_be_chosen(history, report):
    first = record(history, executed("old"))
    record(history, executed("new"))
    assert "old" in report("--run", str(first))[1]
    assert "new" in report("--run", "last")[1]


def test_tasks_can_be_chosen_and_sorted(history, report):
    record(history, executed("test:b"), executed("test:a", 10), executed("lint"))
    out = report("--task", "test:*", "--sort", "name")[1]
    assert [line.split()[0] for line in task_table(out)] == ["test:a", "test:b"]


@pytest.mark.parametrize(
    ("arguments", "rows", "note"),
    [
        ((), 30, "10 more tasks; --all shows them"),
        (("--limit", "39"), 39, "1 more task; --all shows it"),
        (("--all",), 40, None),
        (("--limit", "40"), 40, None),
    ],
)
def test_what_is_hidden_is_counted(history, report, arguments, rows, note):
    record(history, *(executed(f"t{i}") for i in range(40)))
    out = report(*arguments)[1]
    assert len(task_table(out)) == rows
    assert ("more task" in out) is (note is not None)
    assert note is None or f"\n\n{note}\n" in out


def test_json_can_be_limited_too(history, report):
    record(history, *(executed(f"t{i}") for i in range(5)))
    document = json.loads(report("--json", "--limit", "2")[1])
    assert (len(document["tasks"]), document["hidden_tasks"]) == (2, 3)


def test_an_empty_project_is_one_line_and_no_error(project, report):
    assert report() == (0, f"No runs are recorded in {project} yet.\n", "")
    assert os.listdir(project) == []


def test_an_empty_history_is_one_line_and_no_error(project, history, report):
    assert report() == (0, f"No runs are recorded in {project} yet.\n", "")


def test_an_empty_project_is_an_empty_document(project, report):
    code, out, _ = report("--json")
    assert code == 0
    document = json.loads(out)
    assert (document["schema"], document["run"], document["tasks"]) == (2, None, [])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--run", "99"), "there is no run '99'. The history holds runs 1 to 1."),
        (("--run", ""), "there is no run ''"),
        (("--task", "tset:a"), "no task of run 1 matches 'tset:a'. Did you mean 'test:a'?"),
        (("--limit", "0"), "--limit 0"),
        (("--limit", "-3"), "--limit -3"),
        (("test:a",), "Did you mean --task 'test:a'?"),
        (("--dir", "nowhere"), "there is no directory 'nowhere'"),
    ],
)
def test_what_cannot_be_answered_is_said_once_with_code_3(history, report, arguments, message):
    record(history, executed("test:a"))
    code, out, err = report(*arguments)
    assert (code, out) == (3, "")
    assert err.startswith("ERROR: ")
    assert message in err
    assert err.count("\n") == 1


def test_another_directory_can_be_named(history, project, report, monkeypatch, tmp_path_factory):
    record(history, executed("a"))
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert "executed" in report("--dir", project)[1]
    assert "executed" in report("-d", project)[1]


@pytest.mark.parametrize("option", [{"cwdPath": "sub"}, {"dodoFile": "sub/dodo.py"}])
def test_options_before_the_command_name_the_project_too(tmp_path, project, capsys, option):
    os.mkdir("sub")
    record(History(open_database("sub", warn=pytest.fail)), executed("a"))
    assert Report(opt_vals=option).parse_execute([]) == 0
    assert "executed" in capsys.readouterr().out


def test_a_killed_run_is_shown_as_such(history, report):
    record(history, executed("a"), finish=False)
    out = report()[1]
    assert "did not finish" in out.splitlines()[0]
    assert "executed" in out
    assert json.loads(report("--json")[1])["run"]["state"] == "unfinished"


def test_a_run_that_still_runs_is_shown_as_such(project, history, report):
    lock = ProjectLock(project, environ={})
    lock.acquire(wait=False, on_wait=pytest.fail)
    record(history, executed("a"), finish=False)
    assert "still running" in report()[1].splitlines()[0]
    assert json.loads(report("--json")[1])["run"]["state"] == "running"
    lock.release()


def test_a_killed_run_is_not_taken_for_the_one_that_runs_now(project, history, report):
    with subprocess.Popen(["true"]) as ended:
        pass
    record(history, executed("a"), finish=False, pid=ended.pid)
    lock = ProjectLock(project, environ={})
    lock.acquire(wait=False, on_wait=pytest.fail)
    assert "did not finish" in report()[1].splitlines()[0]
    lock.release()


def test_runs_that_wait_in_their_file_are_included(project, history, report):
    record(history, executed("a"), skipped=["b"])
    summary = RunSummary(5_000_000, 0, skipped=2, skipped_tasks="1-2")
    append_run(project, line_of_run(RunInfo(1.0, ("doit",), "/p"), summary, history.database_uid()))
    out = report()[1]
    assert out.splitlines()[1] == "buildkit: 2 skipped in 5.00 ms"
    assert [line.split()[0] for line in task_table(out)] == ["a", "b"]


def test_a_history_of_a_newer_buildkit_is_refused(project, history, report):
    history_version = open_database(project, warn=pytest.fail)
    history_version.execute("PRAGMA user_version = 99")
    code, out, err = report()
    assert (code, out) == (3, "")
    assert "newer buildkit" in err


def test_damage_in_the_middle_of_a_history_is_no_traceback(project, history, report):
    record(history, *(executed(f"task {i}") for i in range(3000)))
    history._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    history._connection.close()
    with open(database_path(project), "r+b") as file:
        size = file.seek(0, 2)
        file.seek(size // 3)
        file.write(b"\xff" * (size // 2))
    code, _, err = report()
    assert code == 3
    assert err.startswith("ERROR: ")
    assert database_path(project) in err


def test_eighty_columns_are_enough_for_the_reason(history, report, monkeypatch):
    record(history, executed("lint"), executed("compile:src/module_with_a_name.c"))
    monkeypatch.setenv("COLUMNS", "80")
    assert "input changed: " in report()[1]


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_the_table_fits_the_terminal(history, report, monkeypatch, columns):
    record(history, executed("a_rather_long_group_of_tasks:with/a/long/path/to/the/file"))
    monkeypatch.setenv("COLUMNS", str(columns))
    out = report()[1]
    assert max(map(len, out.splitlines())) <= columns
    assert "a_rather" in task_table(out)[0]
    assert "1.00 s" in task_table(out)[0]


def run_report_process(stdout, **environ):
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, "--all"],
        stdout=stdout,
        stderr=subprocess.PIPE,
        env={**os.environ, **environ},
    )


def test_a_reader_that_goes_away_is_no_error(history):
    record(history, *(executed(f"t{i}") for i in range(3000)))
    read_end, write_end = os.pipe()
    process = run_report_process(write_end)
    os.close(write_end)
    os.read(read_end, 1)
    os.close(read_end)
    assert process.communicate() == (None, b"")
    assert process.returncode == 0


def test_a_terminal_without_the_characters_gets_substitutes(history):
    record(history, executed("Größe"))
    process = run_report_process(subprocess.PIPE, PYTHONIOENCODING="ascii", COLUMNS="40")
    out, err = process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert b"Gr??e" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--since", "yesterday"), "--since yesterday: give an age such as 12h or 30d."),
        (("--since", "0"), "--since 0: give a time that is not 0"),
        (("--format", "simpel"), "there is no table format 'simpel'. Did you mean 'simple'?"),
        (("--json", "--csv"), "--json and --csv exclude each other."),
        (("--fail-on", "slow"), "there is no check 'slow'."),
        (("--compare", "1", "2", "3"), "--compare takes two runs"),
        (("--compare", "7"), "there is no run '7'"),
        (("--compare", "1", "--fail-on", "sla"), "goes with neither"),
        (("--output", "nowhere/report.txt"), "--output: 'nowhere/report.txt' cannot be written"),
        (("--output", "."), "cannot be written"),
        (("--html", "nowhere/report.html"), "--html: 'nowhere/report.html' cannot be written"),
    ],
)
def test_what_cannot_be_done_is_said_once_with_code_3(history, report, arguments, message):
    record(history, executed("a"))
    code, out, err = report(*arguments)
    assert (code, out) == (3, "")
    assert message in err
    assert err.count("\n") == 1


def test_options_may_follow_the_runs_that_are_compared(history, report):
    record(history, executed("a", 10**9))
    record(history, executed("a", 2 * 10**9))
    for arguments in (("--compare", "1", "2", "--json"), ("--json", "--compare", "1")):
        document = json.loads(report(*arguments)[1])
        assert document["tasks"][0]["difference_ns"] == 10**9


def test_a_report_goes_to_a_file_whole(history, report, tmp_path):
    record(history, executed("Größe"))
    assert report("--output", "report.txt") == (0, "", "")
    assert "Größe" in (tmp_path / "report.txt").read_text(encoding="utf-8")
    assert report("--csv", "-o", "report.csv") == (0, "", "")
    assert (tmp_path / "report.csv").read_text(encoding="utf-8").startswith("task,outcome,")


def test_the_page_is_written_without_a_report_on_the_terminal(history, report, tmp_path):
    record(history, executed("a"))
    code, out, _err = report("--html", "report.html")
    assert (code, out) == (0, "")
    assert "<html" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_gate_has_its_own_exit_code_and_says_why(history, report):
    record(history, executed("a"))
    assert report("--fail-on", "regression,sla,flaky")[::2] == (0, "")
    record(history, Execution("b", Decision.EXECUTED, cost=Cost(2 * 10**9), sla_s=1.0))
    code, out, err = report("--fail-on", "sla")
    assert code == 4
    assert "b" in out
    assert err == "buildkit: sla: 'b' took 2.00 s, its target is 1.00 s\n"


def test_the_allow_list_of_the_project_is_respected_until_its_day(history, report, tmp_path):
    record(history, Execution("b", Decision.EXECUTED, cost=Cost(2 * 10**9), sla_s=1.0))
    entry = '[tool.buildkit.report]\nallow = [{task = "b", until = "%s", reason = "issue 12"}]\n'
    (tmp_path / "pyproject.toml").write_text(entry % "2999-12-31", encoding="utf-8")
    assert report("--fail-on", "sla")[::2] == (0, "")
    (tmp_path / "pyproject.toml").write_text(entry % "2020-01-31", encoding="utf-8")
    code, out, _err = report("--fail-on", "sla")
    assert code == 4
    assert "the allowance for 'b' (issue 12) expired on 2020-01-31" in out


def test_a_full_disk_behind_standard_output_is_one_line(history):
    record(history, executed("a"))
    with open("/dev/full", "wb") as full:
        process = run_report_process(full)
        _, err = process.communicate()
    assert process.returncode == 3
    assert err == b"ERROR: standard output cannot be written: No space left on device.\n"


def test_a_history_that_is_being_written_can_be_read(project, history, report):
    record(history, executed("a"))
    with history._writing():
        history._connection.execute("UPDATE runs SET wall_ns = 5")
        code, out, err = report()
    assert (code, err) == (0, "")
    assert "1 executed in 1.00 s" in out
