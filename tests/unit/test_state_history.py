"""Runs and executions as the history keeps them, in a real database."""

import os
import sqlite3

import pytest
from history_maker import append_run

from buildkit.core.errors import UsageError
from buildkit.core.execution import Cost, Decision, Execution, Reason, ReasonKind
from buildkit.state.database import database_path, open_database
from buildkit.state.history import History
from buildkit.state.runs import RunInfo, RunSummary, line_of_run


@pytest.fixture
def project(tmp_path):
    return str(tmp_path)


@pytest.fixture
def connection(project):
    connection = open_database(project, warn=pytest.fail)
    yield connection
    connection.close()


@pytest.fixture
def history(connection):
    return History(connection)


def run_info(**fields):
    return RunInfo(
        **{"started_at": 1_767_225_600.0, "argv": ("doit",), "cwd": "/p", "machine": "m", **fields}
    )


def executed(task, wall_ns=1000, **fields):
    return Execution(task, Decision.EXECUTED, cost=Cost(wall_ns=wall_ns), **fields)


def record(history, *executions, machine="m", **summary):
    run_id = history.begin_run(run_info(machine=machine))
    history.add_executions(run_id, executions)
    history.finish_run(run_id, RunSummary(wall_ns=10, exit_code=0, **summary))
    return run_id


FULL = Execution(
    task="compile:a.c",
    decision=Decision.FAILED,
    reasons=(
        Reason(ReasonKind.INPUT_CHANGED, ("a.c", os.fsdecode(b"caf\xe9"))),
        Reason(ReasonKind.COMMAND_CHANGED),
    ),
    started_ns=5,
    queue_ns=6,
    cost=Cost(wall_ns=1, user_ns=2, system_ns=3, rss_bytes=4, read_bytes=5, write_bytes=6),
    exit_code=1,
    signal=9,
    attempt=2,
    worker="process:3",
    slot=3,
    beside=1.234,
    load=0.5,
    bytes_restored=7,
    bytes_stored=8,
    saved_ns=9,
    cacheable=False,
    uncacheable_reason="reads the clock",
    log_path="logs/a.txt",
)


@pytest.mark.parametrize("execution", [FULL, Execution("plain", Decision.RESTORED)], ids=["full", "defaults"])
def test_an_execution_comes_back_as_it_was_recorded(history, execution):
    run_id = record(history, execution)
    assert history.executions_of(run_id) == [execution]
    assert history.task_history(execution.task) == [(run_id, execution)]


def test_what_was_not_measured_stays_unknown_and_zero_stays_zero(history):
    run_id = record(history, executed("a", 0), Execution("b", Decision.EXECUTED, cost=Cost(0, 0, 0, 0, 0, 0)))
    unmeasured, zero = history.executions_of(run_id)
    assert (unmeasured.cost.user_ns, zero.cost.user_ns) == (None, 0)


def test_a_run_comes_back_as_it_was_recorded(history):
    info = run_info(
        argv=("doit", "-n", "4"), width=4, parallel="process", cores=1.5, git_dirty=True, lane="docs"
    )
    summary = RunSummary(5, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)
    run_id = history.begin_run(info)
    history.finish_run(run_id, summary)
    run = history.run_by_id(run_id)
    assert run.info == info
    assert run.summary == RunSummary(5, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, skipped_tasks="")
    assert [run.count(decision) for decision in Decision] == [2, 3, 4, 5, 6, 7, 8]


def test_a_run_that_never_finished_is_told_from_one_that_did(history):
    killed = history.begin_run(run_info())
    history.add_executions(killed, [executed("a")])
    run = history.last_run()
    assert run.id == killed
    assert run.summary is None
    assert run.count(Decision.EXECUTED) == 0
    assert [execution.task for execution in history.executions_of(killed)] == ["a"]


def test_skipped_tasks_are_known_by_name(history):
    names = [f"t{i}" for i in range(300)]
    record(history, executed("other"), skipped_tasks=names[:200])
    run_id = record(history, skipped_tasks=[*names[250:], "t7"])
    assert set(history.skipped_tasks_of(run_id)) == {*names[250:], "t7"}
    assert history.skipped_tasks_of(run_id + 1) == []


def test_ten_thousand_skipped_tasks_take_one_short_text(history, connection):
    names = [f"t{i:05}" for i in range(10_000)]
    run_id = record(history, skipped_tasks=names)
    assert connection.execute("SELECT skipped_ranges FROM runs WHERE id = ?", [run_id]).fetchone() == (
        "1-10000",
    )


def test_ranges_are_taken_as_they_are(history):
    first = record(history, skipped_tasks=["a", "b", "c"])
    ranges = history.run_by_id(first).summary.skipped_tasks
    assert history.skipped_tasks_of(record(history, skipped_tasks=ranges)) == ["a", "b", "c"]


def test_the_prediction_is_the_median_of_the_last_five_successes(history):
    for wall_ns in (900_000, 10, 50, 30, 20, 40):
        record(history, executed("a", wall_ns))
    record(history, Execution("a", Decision.FAILED, cost=Cost(wall_ns=5_000)))
    record(history, Execution("a", Decision.RESTORED, cost=Cost(wall_ns=1)))
    assert history.expected_wall_ns(["a", "never seen"]) == {"a": 30}


def test_the_prediction_of_few_and_of_many_tasks_agree(history):
    names = [f"t{i}" for i in range(150)]
    for run in range(2):
        record(history, *(executed(name, 10 * i + run) for i, name in enumerate(names)))
    many = history.expected_wall_ns(names)
    assert many == {name: 10 * i for i, name in enumerate(names)}
    assert history.expected_wall_ns(names[:3]) == {name: many[name] for name in names[:3]}


def test_cpu_time_and_memory_are_predicted_where_they_were_measured(history):
    cost = Cost(wall_ns=9, user_ns=3, system_ns=4, rss_bytes=100)
    record(history, Execution("measured", Decision.EXECUTED, cost=cost), executed("unmeasured"))
    both = ["measured", "unmeasured"]
    assert history.expected_cpu_ns(both) == {"measured": 7}
    assert history.expected_rss_bytes(both) == {"measured": 100}


@pytest.mark.parametrize("count", [1, 100], ids=["few", "many"])
def test_names_that_are_not_utf8_are_recorded_and_predicted(history, connection, count):
    names = [os.fsdecode(b"caf\xe9%d" % i) for i in range(count)]
    for _ in range(2):
        record(history, *(executed(name, 7) for name in names), skipped_tasks=names)
    assert History(connection).expected_wall_ns(names) == dict.fromkeys(names, 7)
    assert len(history.task_history(names[0])) == 2


def test_earlier_times_count_only_successes_of_earlier_runs_on_the_same_machine(history):
    record(history, executed("a", 1))
    record(history, executed("a", 2))
    record(history, executed("a", 3), machine="other")
    record(history, Execution("a", Decision.FAILED, cost=Cost(wall_ns=4)))
    now = history.run_by_id(record(history, executed("a", 5)))
    record(history, executed("a", 6))
    assert history.earlier_wall_ns(now, ["a", "unknown"]) == {"a": [2, 1]}
    assert history.earlier_wall_ns(now, ["a"], limit=1) == {"a": [2]}


def test_a_user_finds_a_run_by_id_by_uid_and_as_the_last(history):
    first = history.begin_run(run_info(uid="abcd1234abcd1234"))
    second = history.begin_run(run_info(uid="abcd999900000000"))
    assert history.find_run("last").id == second
    assert history.find_run(str(first)).id == first
    assert history.find_run("abcd12").id == first
    with pytest.raises(UsageError, match="more than one"):
        history.find_run("abcd")
    for unknown in ("77", "abcdef", "abc", "ab%", "", "²"):
        with pytest.raises(UsageError, match=r"no run '.*'. The history holds runs 1 to 2"):
            history.find_run(unknown)


def test_an_empty_history_has_no_run(history):
    assert history.last_run() is None
    with pytest.raises(UsageError, match="history is empty"):
        history.find_run("last")


def test_a_batch_that_fails_leaves_nothing_and_the_next_one_is_right(history, connection):
    run_id = history.begin_run(run_info())
    broken = Execution("new task", Decision.EXECUTED, cost=Cost(wall_ns=object()))
    with pytest.raises(sqlite3.Error):
        history.add_executions(run_id, [executed("also new"), broken])
    assert history.executions_of(run_id) == []
    history.add_executions(run_id, [executed("third")])
    history.add_executions(run_id, [executed("new task")])
    assert {execution.task for execution in history.executions_of(run_id)} == {"third", "new task"}


def test_a_batch_that_is_recorded_twice_counts_once(history):
    run_id = history.begin_run(run_info())
    for _ in range(2):
        history.add_executions(run_id, [executed("a")])
    assert len(history.executions_of(run_id)) == 1


def test_each_attempt_is_kept(history):
    run_id = record(history, Execution("a", Decision.FAILED, attempt=1), executed("a", attempt=2))
    assert [(e.attempt, e.decision.value) for e in history.executions_of(run_id)] == [
        (1, "failed"),
        (2, "executed"),
    ]


def test_a_run_inside_the_run_may_add_the_same_names(project, history):
    other_connection = open_database(project, warn=pytest.fail)
    inner = History(other_connection)
    record(history, executed("a"))
    record(inner, executed("b"), executed("c"))
    last = record(history, executed("b"))
    assert [execution.task for execution in history.executions_of(last)] == ["b"]
    other_connection.close()


def test_runs_without_work_come_in_from_their_file_once(project, history):
    record(history, skipped_tasks=["a", "b"])
    info, summary = run_info(uid="feed"), RunSummary(3, 0, skipped=2, skipped_tasks="1-2")
    line = line_of_run(info, summary, history.database_uid())
    append_run(project, line)
    append_run(project, line)
    assert history.drain_pending(project) == 2
    run = history.last_run()
    assert (run.info, run.summary) == (info, summary)
    assert history.skipped_tasks_of(run.id) == ["a", "b"]
    assert len(history.runs()) == 2


def test_ranges_of_a_lost_database_name_no_tasks_of_this_one(project, history):
    record(history, executed("a"))
    line = line_of_run(run_info(), RunSummary(3, 0, skipped=1, skipped_tasks="1"), "uid of another database")
    append_run(project, line)
    history.drain_pending(project)
    run = history.last_run()
    assert run.count(Decision.SKIPPED) == 1
    assert history.skipped_tasks_of(run.id) == []


def test_lines_that_are_no_runs_are_left_out(project, history):
    good = line_of_run(run_info(), RunSummary(3, 0), history.database_uid())
    for line in ({}, {**good, "wall_ns": "soon"}, {**good, "argv": 3}, {**good, "started_at": None}, good):
        append_run(project, line)
    history.drain_pending(project)
    assert [run.info.uid for run in history.runs()] == [good["uid"]]


def test_reasons_of_another_release_are_left_out(history, connection):
    run_id = record(history, Execution("a", Decision.EXECUTED, (Reason(ReasonKind.ALWAYS),)))
    connection.execute("""UPDATE texts SET text = '[["from the future","x"],["always-execute"]]'""")
    assert history.executions_of(run_id)[0].reasons == (Reason(ReasonKind.ALWAYS),)


def test_an_execution_takes_little_room(project, history, connection):
    for run in range(100):
        record(
            history,
            *(
                Execution(
                    f"compile:src/module_{task:03}.c",
                    Decision.EXECUTED,
                    (Reason(ReasonKind.INPUT_CHANGED, (f"src/module_{task:03}.c",)),),
                    started_ns=task * 987_654_321,
                    queue_ns=task * 1_234_567,
                    cost=Cost(
                        3_456_789_012 + run, 2_345_678_901 + task, 345_678_901, 345_678_901, 40960, 8192000
                    ),
                    exit_code=0,
                    worker=f"process:{task % 8}",
                    slot=task % 8,
                    beside=task / 17,
                    load=run / 19,
                    bytes_stored=345_678,
                )
                for task in range(100)
            ),
        )
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    # A thousand runs of a thousand tasks have to stay below 150 MB.
    assert os.path.getsize(database_path(project)) / 10_000 < 140
