"""What became slower: the detector, asked about histories; targets of CI, and acceptance."""

import datetime

import pytest
from history_maker import HistoryMaker, executed, failed, noisy

from buildkit.core.config import Allowance
from buildkit.core.errors import UsageError
from buildkit.report.collect import Query, collect
from buildkit.report.data import Unit
from buildkit.report.gate import failures_of, parse_gate, with_allowances
from buildkit.report.regressions.sieve import sureness
from buildkit.state.history import Accepted

TODAY = datetime.date(2026, 3, 1)


@pytest.fixture
def maker(tmp_path):
    maker = HistoryMaker(str(tmp_path))
    yield maker
    maker.history.connection.close()


def regressions(maker, **query):
    return collect(maker.history, Query(**query), now=maker.at).regressions


def slower(maker, task="a", factor=1.5, before=30, after=6):
    maker.series(task, noisy(before, seed=1))
    return maker.series(task, noisy(after, level=factor, seed=2))[0]


def test_a_step_is_found_with_its_size_run_and_commit(maker):
    first = slower(maker)
    (found,) = regressions(maker)
    assert (found.task, found.unit, found.since_run) == ("a", Unit.WALL, first)
    assert found.effect == pytest.approx(1.5, rel=0.05)
    assert found.state in ("regressed", "confirmed")
    assert found.confidence > 0.9
    assert found.since_commit == maker.history.run_by_id(first).info.git_commit
    assert found.before_commit == maker.history.run_by_id(first - 1).info.git_commit
    assert found.after / found.before == pytest.approx(found.effect, rel=0.01)


def test_a_steady_task_is_not_named(maker):
    maker.series("a", noisy(60))
    assert regressions(maker, thorough=True) == ()


def test_too_little_history_says_nothing(maker):
    maker.series("a", [1.0] * 4 + [5.0] * 4)
    assert regressions(maker) == ()


def test_a_faster_task_is_not_named(maker):
    slower(maker, factor=0.5)
    assert regressions(maker) == ()


def test_another_class_of_machine_is_no_regression(maker):
    maker.series("a", noisy(30))
    for wall_s in noisy(6, level=3, seed=2):
        maker.run(executed("a", wall_s), machine="slow")
    assert regressions(maker) == ()


def test_failures_and_restores_are_not_judged(maker):
    maker.series("a", noisy(30))
    for _ in range(6):
        maker.run(failed("a", 9))
    maker.series("a", noisy(3, seed=3))
    assert regressions(maker) == ()


def test_more_memory_is_found_like_more_time(maker):
    for index, wall_s in enumerate(noisy(40)):
        maker.run(
            executed("a", wall_s, rss_bytes=int(2**26 * noisy(1, 2.0 if index >= 34 else 1.0, seed=index)[0]))
        )
    (found,) = regressions(maker)
    assert (found.unit, found.since_run) == (Unit.MEMORY, 35)
    assert found.effect == pytest.approx(2.0, rel=0.1)


def test_tasks_that_became_slower_together_are_told_together(maker):
    for index, wall_s in enumerate(noisy(36)):
        factor = 1.6 if index >= 30 else 1
        maker.run(executed("a", wall_s * factor), executed("b", wall_s * factor * 2), executed("c", wall_s))
    found = {one.task: one for one in regressions(maker)}
    assert set(found) == {"a", "b"}
    assert (found["a"].together, found["b"].together) == (("b",), ("a",))


def accept(maker, task, run_id):
    maker.history.accept(Accepted(task, "on purpose", maker.at, run_id))


def test_what_was_accepted_is_told_no_more(maker):
    slower(maker)
    accept(maker, "a", maker.history.last_run().id)
    assert regressions(maker) == ()
    maker.series("a", noisy(8, level=1.5, seed=4))
    assert regressions(maker) == ()


def test_what_comes_after_an_acceptance_is_compared_with_the_accepted_level(maker):
    slower(maker)
    accept(maker, "a", maker.history.last_run().id)
    maker.series("a", noisy(20, level=1.5, seed=4))
    first = maker.series("a", noisy(6, level=2.4, seed=5))[0]
    (found,) = regressions(maker)
    assert found.since_run == first
    assert found.effect == pytest.approx(1.6, rel=0.06)


def test_accepting_another_task_changes_nothing(maker):
    slower(maker)
    accept(maker, "b", maker.history.last_run().id)
    assert len(regressions(maker)) == 1


def test_a_report_without_a_gate_judges_what_stands_out_most_and_counts_the_rest(maker, monkeypatch):
    monkeypatch.setattr("buildkit.report.trends.QUICK_VERDICTS", 1)
    for index, wall_s in enumerate(noisy(36)):
        factor = 1 if index < 30 else 2
        maker.run(executed("a", wall_s * (1.3 if index >= 30 else 1)), executed("b", wall_s * factor))
    quick = collect(maker.history, Query(), now=maker.at)
    assert [one.task for one in quick.regressions] == ["b"]
    assert "1 series of times" in quick.notes[0]
    thorough = collect(maker.history, Query(thorough=True), now=maker.at)
    assert {one.task for one in thorough.regressions} == {"a", "b"}
    assert thorough.notes == ()


def test_the_screen_lets_steps_and_drift_pass_and_little_else():
    steady, noise = [sureness(noisy(60, seed=seed)) for seed in range(200)], 0.03
    assert sum(value > 0 for value in steady) < 30
    for factor in (1.1, 1.5, 3.0):
        assert all(
            sureness(noisy(40, seed=seed, noise=noise) + noisy(5, factor, seed + 1000, noise)) > 0
            for seed in range(50)
        )
    drift = [1.01**i * wall for i, wall in enumerate(noisy(60))]
    assert sureness(drift) > 0
    assert sureness([0] * 20) == sureness([1.0] * 5) == 0


@pytest.mark.parametrize(
    ("text", "checks", "confidence", "effect"),
    [
        ("regression", {"regression"}, 0.95, 1.2),
        ("regression,sla,flaky", {"regression", "sla", "flaky"}, 0.95, 1.2),
        ("regression:confidence=0.99,effect=1.5,sla", {"regression", "sla"}, 0.99, 1.5),
        ("sla, regression:effect=2", {"regression", "sla"}, 0.95, 2.0),
    ],
)
def test_what_a_gate_can_be_asked_for(text, checks, confidence, effect):
    gate = parse_gate(text)
    assert (gate.checks, gate.confidence, gate.effect) == (checks, confidence, effect)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("regresion", "Did you mean 'regression'"),
        ("", "there is no check ''"),
        ("sla:confidence=0.9", "'confidence=0.9' is no setting"),
        ("regression:sureness=1", "'sureness=1' is no setting"),
        ("regression:confidence=95", "between 0 and 1"),
        ("regression:effect=0.5", "1 or more"),
        ("regression:effect=much", "1 or more"),
        ("confidence=0.9", "is no setting"),
    ],
)
def test_what_a_gate_cannot_be_asked_for(text, message):
    with pytest.raises(UsageError, match=message):
        parse_gate(text)


def gate(maker, text, *allow):
    data = collect(maker.history, Query(thorough=True), now=maker.at)
    data = with_allowances(data, allow, TODAY)
    return failures_of(data, parse_gate(text), allow, TODAY), data


def test_the_gate_fails_on_a_regression_that_is_sure_and_large_enough(maker):
    slower(maker, factor=1.5, after=8)
    (line,) = gate(maker, "regression")[0]
    assert line.startswith("regression: 'a' is slower by +5")
    assert gate(maker, "regression:effect=1.8")[0] == []
    assert gate(maker, "regression:confidence=0.99999")[0] == []
    assert gate(maker, "sla,flaky")[0] == []


def test_the_gate_fails_on_broken_targets_of_this_run_only(maker):
    maker.run(executed("a", 3, sla_s=2.0), executed("b", 1, sla_s=2.0))
    assert gate(maker, "sla")[0] == ["sla: 'a' took 3.00 s, its target is 2.00 s"]
    maker.run(executed("b", 1, sla_s=2.0), skipped=["a"])
    assert gate(maker, "sla")[0] == []


def test_the_gate_fails_on_flaky_tasks_that_ran(maker):
    maker.run(failed("a", key="0" * 15))
    maker.run(executed("a", key="0" * 15))
    assert gate(maker, "flaky")[0] == ["flaky: 'a' failed in 1 of 2 executions with nothing changed"]
    maker.run(executed("b"))
    assert gate(maker, "flaky")[0] == []


def test_what_is_allowed_for_a_while_passes_and_is_told(maker):
    slower(maker, task="test:a", after=8)
    allowance = Allowance("test:*", TODAY, "issue 12")
    lines, data = gate(maker, "regression", allowance)
    assert lines == []
    assert data.regressions[0].allowed == "issue 12, until 2026-03-01"
    assert data.notes == ()


def test_an_expired_allowance_counts_no_more_and_is_told(maker):
    slower(maker, task="test:a", after=8)
    allowance = Allowance("test:*", TODAY - datetime.timedelta(days=1), "issue 12")
    lines, data = gate(maker, "regression", allowance)
    assert len(lines) == 1
    assert data.notes == ("the allowance for 'test:*' (issue 12) expired on 2026-02-28",)
