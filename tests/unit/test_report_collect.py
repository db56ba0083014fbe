"""What a report finds in a history: stages, efficiency, bottlenecks, targets, failures, advice."""

import pytest
from history_maker import SECOND, HistoryMaker, executed, failed

from buildkit.core.errors import UsageError
from buildkit.core.execution import Cost, Decision, Execution, Reason, ReasonKind
from buildkit.report.collect import Query, collect
from buildkit.report.data import SlaLevel


@pytest.fixture
def maker(tmp_path):
    maker = HistoryMaker(str(tmp_path))
    yield maker
    maker.history.connection.close()


def report(maker, **query):
    return collect(maker.history, Query(**query), now=maker.at)


def test_an_empty_history_is_an_empty_report(maker):
    data = report(maker)
    assert (data.run, data.rows, data.stages, data.notes) == (None, (), (), ())


def test_one_run_has_stages_and_no_past(maker):
    maker.run(executed("test:a", 3), executed("test:b", 1), executed("lint", 1))
    data = report(maker)
    assert [(stage.name, stage.tasks, stage.share) for stage in data.stages] == [
        ("test", 2, 0.8),
        ("lint", 1, 0.2),
    ]
    assert {(stage.median_ns, stage.change) for stage in data.stages} == {(None, None)}


def test_a_stage_is_compared_with_runs_that_executed_as_many_of_its_tasks(maker):
    for seconds in (1, 2, 3):
        maker.run(executed("test:a", seconds), executed("test:b", seconds))
        maker.run(executed("test:a", 100))
    maker.run(executed("test:a", 4), executed("test:b", 4))
    (stage,) = report(maker).stages
    assert stage.points == tuple(seconds * 2 * SECOND for seconds in (1, 2, 3, 4))
    assert (stage.median_ns, stage.change) == (4 * SECOND, 2.0)


def test_other_classes_of_machine_are_no_past(maker):
    for _ in range(5):
        maker.run(executed("a", 10), machine="slow")
    maker.run(executed("a", 1))
    data = report(maker)
    assert (data.stages[0].points, data.rows[0].change) == ((SECOND,), None)


def test_only_the_window_counts(maker):
    for _ in range(5):
        maker.run(executed("a", 1), hours=24)
    maker.run(executed("a", 1), hours=24)
    data = report(maker, since_s=2.5 * 86400)
    assert data.window.runs == 3
    assert len(data.stages[0].points) == 3


def test_a_clock_that_went_back_hides_no_run(maker):
    maker.run(executed("a", 1))
    late = maker.at
    maker.run(executed("a", 1), at=late + 400 * 86400)
    maker.run(executed("a", 1), at=late + 3600)
    maker.run(executed("a", 1), at=late + 7200)
    assert report(maker).window.runs == 4


def test_a_report_on_an_earlier_run_does_not_know_later_ones(maker):
    first = maker.run(executed("a", 1))
    maker.run(executed("a", 9))
    data = report(maker, run=str(first))
    assert (data.run.id, data.window.runs, data.trends[0].wall_ns) == (first, 1, (SECOND,))


def test_efficiency_of_two_slots(maker):
    maker.run(executed("a", 4), executed("b", 2), executed("c", 2), wall_s=5, width=2, path=["b", "c"])
    efficiency = report(maker).efficiency
    assert efficiency.task_ns == 8 * SECOND
    assert efficiency.utilisation == pytest.approx(0.8)
    assert efficiency.speed_up == pytest.approx(1.6)
    assert efficiency.parallel_efficiency == pytest.approx(0.8)  # 4 s would do
    assert (efficiency.critical_path, efficiency.critical_ns) == (("b", "c"), 4 * SECOND)
    assert efficiency.saved_by_parallel_ns == 3 * SECOND
    assert efficiency.success_rate == 1.0


def test_a_long_critical_path_is_no_loss_of_parallel_efficiency(maker):
    maker.run(executed("a", 4), executed("b", 1), wall_s=4, width=4, path=["a"])
    assert report(maker).efficiency.parallel_efficiency == pytest.approx(1.0)


def test_hits_are_restores_and_skips(maker):
    restored = Execution("r", Decision.RESTORED, cost=Cost(10))
    maker.run(executed("a"), restored, skipped=["s", "t"], saved_s=30)
    efficiency = report(maker).efficiency
    assert efficiency.hit_rate == 0.75
    assert efficiency.saved_by_history_ns == 30 * SECOND


def test_after_a_run_of_skips_the_last_one_that_executed_something_is_named(maker):
    worked = maker.run(executed("a"))
    maker.run(skipped=["a"])
    assert report(maker).notes == (
        f"nothing was executed; the last run that did so is {worked}: --run {worked}",
    )


def test_a_run_that_did_not_end_has_no_efficiency(maker):
    maker.run(executed("a"), finish=False)
    data = report(maker)
    assert (data.run.state, data.efficiency) == ("unfinished", None)
    assert data.rows[0].execution.task == "a"


def test_bottlenecks_are_the_three_longest_above_one_and_a_half_times_the_mean(maker):
    tasks = [executed(f"t{i}", 1) for i in range(20)]
    maker.run(
        *tasks, executed("big", 10), executed("huge", 20), executed("b3", 6), executed("b4", 5), width=1
    )
    found = report(maker).bottlenecks
    assert [one.task for one in found] == ["huge", "big", "b3"]
    assert found[0].gain_ns == 10 * SECOND


def test_a_bottleneck_off_the_critical_path_gains_nothing(maker):
    maker.run(
        executed("a", 10),
        executed("b", 8),
        executed("c", 1),
        executed("d", 1),
        wall_s=10,
        width=4,
        path=["a"],
    )
    found = {one.task: one for one in report(maker).bottlenecks}
    assert (found["a"].critical, found["a"].gain_ns) == (True, 5 * SECOND)
    assert (found["b"].critical, found["b"].gain_ns) == (False, 0)


def test_evenly_long_tasks_are_no_bottleneck(maker):
    maker.run(*(executed(f"t{i}", 1 + i / 100) for i in range(10)))
    data = report(maker)
    assert (data.bottlenecks, data.spreads) == ((), ())


def test_an_uneven_group_is_named(maker):
    maker.run(executed("test:a", 1), executed("test:b", 1), executed("test:c", 7))
    (spread,) = report(maker).spreads
    assert (spread.stage, spread.longest, spread.ratio) == ("test", "test:c", 7.0)


def test_targets_are_told_by_level_worst_first(maker):
    maker.run(executed("a", 7.9, sla_s=10.0), executed("b", 8, sla_s=10.0), executed("c", 10, sla_s=10.0))
    rows = report(maker).slas
    assert [(row.task, row.level) for row in rows] == [
        ("c", SlaLevel.VIOLATION),
        ("b", SlaLevel.WARNING),
        ("a", SlaLevel.OK),
    ]


def test_violations_of_the_past_are_counted(maker):
    for seconds in (12, 3, 11, 2):
        maker.run(executed("a", seconds, sla_s=10.0))
    (row,) = report(maker).slas
    assert (row.violations, row.executions, row.level) == (2, 4, SlaLevel.OK)


def test_failing_and_succeeding_under_one_key_is_flaky(maker):
    maker.run(failed("a", key="0" * 15))
    maker.run(executed("a", key="0" * 15))
    maker.run(executed("a", key="0" * 15))
    (flaky,) = report(maker).flaky
    assert (flaky.task, flaky.failed, flaky.succeeded, flaky.rate) == ("a", 1, 2, pytest.approx(1 / 3))


def test_failing_until_something_changes_is_not_flaky(maker):
    maker.run(failed("a", key="0" * 15))
    maker.run(executed("a", key="1" * 15))
    assert report(maker).flaky == ()


def test_failures_are_grouped_by_how_they_ended(maker):
    error = (Reason(ReasonKind.ERROR, ("Dependent file 'x' does not exist.",)),)
    for _ in range(2):
        maker.run(failed("a"), failed("b", exit_code=None, signal=9))
    maker.run(failed("c", 0, exit_code=None, reasons=error), failed("a"))
    groups = {group.reason: (group.count, group.tasks) for group in report(maker).failures}
    assert groups == {
        "exit code 1": (3, ("a",)),
        "killed by SIGKILL": (2, ("b",)),
        "could not start: Dependent file 'x' does not exist.": (1, ("c",)),
    }


def advice(maker):
    return {one.kind: one for one in report(maker).advice}


def test_busy_slots_of_few_cores_used_advise_more_workers(maker):
    maker.run(*(executed(f"t{i}", 1) for i in range(8)), wall_s=8, width=1, cores=4.0)
    found = advice(maker)["more-workers"]
    assert "-n 4" in found.text
    assert found.gain_ns == 6 * SECOND


def test_slots_beyond_the_cores_advise_fewer_workers(maker):
    maker.run(*(executed(f"t{i}", 4) for i in range(8)), wall_s=8, width=16, cores=2.0)
    assert "-n 2" in advice(maker)["fewer-workers"].text


def test_an_uncacheable_task_is_named_with_its_reason(maker):
    slow = executed("a", 5, cacheable=False, uncacheable_reason="reads the clock")
    maker.run(slow, executed("b", 1))
    found = advice(maker)["uncacheable"]
    assert (found.task, found.gain_ns) == ("a", 5 * SECOND)
    assert "reads the clock" in found.evidence


def test_an_input_that_changes_in_nearly_every_run_is_named(maker):
    stamp = (Reason(ReasonKind.INPUT_CHANGED, ("build/stamp",)),)
    for i in range(10):
        if i == 4:
            maker.run(executed("other", 0.01), skipped=["a"])
        else:
            maker.run(executed("a", 10, reasons=stamp), executed("b", 0.1))
    found = advice(maker)["volatile-input"]
    assert "'build/stamp'" in found.text
    assert "9 of 10 runs (90%)" in found.evidence
    assert found.gain_ns == 9 * SECOND


def test_results_that_were_there_once_advise_a_larger_cache(maker):
    for key in ("1", "2", "1", "2", "1"):
        maker.run(executed("a", 10, key=key * 15))
    found = advice(maker)["cache-size"]
    assert found.gain_ns == 6 * SECOND


def test_tasks_that_are_always_executed_do_not_advise_a_larger_cache(maker):
    always = (Reason(ReasonKind.ALWAYS),)
    for _ in range(5):
        maker.run(executed("a", 10, key="1" * 15, reasons=always))
    assert "cache-size" not in advice(maker)


def test_a_good_run_gets_no_advice(maker):
    for i in range(6):
        same = (Reason(ReasonKind.INPUT_CHANGED, (f"{i}.c",)),)
        tasks = [executed(f"t{number}", 1, reasons=same, key=f"{i:015x}") for number in range(4)]
        maker.run(*tasks, wall_s=1, width=4, path=["t0"])
    assert report(maker).advice == ()


def test_a_pattern_leaves_only_its_tasks(maker):
    maker.run(executed("test:a", 9), executed("lint", 1), executed("test:b", 1), failed("lint2"))
    data = report(maker, task="test:*")
    assert {row.execution.task for row in data.rows} == {"test:a", "test:b"}
    assert [stage.name for stage in data.stages] == ["test:a", "test:b"]  # tasks instead of their group
    assert {trend.task for trend in data.trends} == {"test:a", "test:b"}
    assert data.failures == ()


def test_a_task_of_the_past_alone_can_be_chosen(maker):
    maker.run(executed("old"))
    maker.run(executed("new"))
    data = report(maker, task="old")
    assert (data.rows, [trend.task for trend in data.trends]) == ((), ["old"])


def test_an_unknown_pattern_is_an_error_with_a_guess(maker):
    maker.run(executed("test:a"))
    with pytest.raises(UsageError, match=r"no task of run 1 matches 'tset:a'. Did you mean 'test:a'\?"):
        report(maker, task="tset:a")


def test_what_was_too_much_to_read_is_said(maker, monkeypatch):
    monkeypatch.setattr("buildkit.report.samples.SAMPLE_LIMIT", 5)
    monkeypatch.setattr("buildkit.report.samples.LEAST_RUNS", 0)
    for _ in range(4):
        maker.run(executed("a"), executed("b"))
    data = report(maker)
    assert (data.window.complete, data.window.sampled_from, len(data.runs)) == (False, 3, 4)
    assert "runs 3 to 4" in data.notes[0]


@pytest.mark.parametrize(("least", "most", "read"), [(3, 100, 3), (3, 4, 2), (1, 100, 2)])
def test_of_large_runs_a_few_are_read_all_the_same(maker, monkeypatch, least, most, read):
    monkeypatch.setattr("buildkit.report.samples.SAMPLE_LIMIT", 5)
    monkeypatch.setattr("buildkit.report.samples.LEAST_RUNS", least)
    monkeypatch.setattr("buildkit.report.samples.HARD_LIMIT", most)
    for _ in range(6):
        maker.run(executed("a"), executed("b"))
    assert len(report(maker).trends[0].wall_ns) == read
