"""The regression detector: what it must find, what it must not, and that it never looks ahead."""

import math
import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildkit.report.regressions import Detector, Run, State, control_across, judge, judge_latest
from buildkit.report.regressions.series import Verdict


def timings(n, seed=1, cv=0.03, level=1.0):
    rng = random.Random(seed)
    return [level * math.exp(rng.gauss(0, cv)) for _ in range(n)]


def runs(walls, **same):
    return [Run(i, wall, **same) for i, wall in enumerate(walls)]


def stepped(factor, onset=60, n=100, seed=1, cv=0.03):
    return [w * factor if i >= onset else w for i, w in enumerate(timings(n, seed, cv))]


def episodes(verdicts):
    starts, before = [], False
    for verdict in verdicts:
        if verdict.regressed and not before:
            starts.append(verdict)
        before = verdict.regressed
    return starts


def false_episodes(make, count, **keywords):
    return sum(len(episodes(judge(make(seed, **keywords)))) for seed in range(count))


@pytest.mark.parametrize("factor", [1.2, 1.5, 2.0])
def test_a_step_is_found_within_five_runs(factor):
    first = episodes(judge(runs(stepped(factor))))[0]
    assert 60 <= first.i <= 64
    assert first.since == 60


@pytest.mark.parametrize("factor", [1.2, 1.5, 2.0])
def test_the_effect_of_a_step_is_the_ratio_of_the_levels_within_two_percent(factor):
    verdicts = [v for v in judge(runs(stepped(factor))) if v.regressed]
    assert verdicts[-1].effect == pytest.approx(factor, rel=0.02)


def test_a_step_stays_one_episode_and_then_becomes_the_known_level():
    verdicts = judge(runs(stepped(1.3, n=140)))
    assert len(episodes(verdicts)) == 1
    assert sum(v.regressed for v in verdicts) >= 20
    assert not verdicts[-1].regressed


def test_a_step_that_lasts_is_confirmed():
    states = [v.state for v in judge(runs(stepped(1.5)))]
    first = states.index(State.REGRESSED)
    assert State.CONFIRMED in states[first : first + 12]
    assert State.CONFIRMED not in states[:first]


def test_clean_runs_do_not_alarm_whatever_the_scale_of_the_noise():
    def make(seed):
        return runs(timings(150, seed, cv=(0.002, 0.02, 0.1, 0.3)[seed % 4]))

    assert false_episodes(make, 40) <= 3  # half of one in a thousand runs


def test_heavy_tails_and_lone_outliers_do_not_alarm():
    def make(seed):
        rng = random.Random(seed)
        return runs([w * (rng.uniform(2, 10) if rng.random() < 0.05 else 1.0) for w in timings(150, seed)])

    assert false_episodes(make, 8) == 0


def test_two_modes_of_a_machine_do_not_alarm():
    def make(seed):
        rng = random.Random(seed)
        return runs([w * (1.4 if rng.random() < 0.4 else 1.0) for w in timings(150, seed)])

    assert false_episodes(make, 8) == 0


def test_runs_that_resemble_the_one_before_do_not_alarm():
    def make(seed):
        rng, value, out = random.Random(seed), 0.0, []
        for _ in range(150):
            value = 0.5 * value + rng.gauss(0, 0.08)
            out.append(math.exp(value))
        return runs(out)

    assert false_episodes(make, 60) <= 9  # one in a thousand runs


def test_short_times_in_ticks_do_not_alarm():
    def make(seed):
        return runs([round(w, 2) for w in timings(150, seed, cv=0.15, level=0.014)])

    assert false_episodes(make, 20) <= 3  # one in a thousand runs


def test_a_doubled_short_time_in_ticks_is_found():
    walls = [0.01] * 50 + [0.02] * 10
    assert 50 <= episodes(judge(runs(walls)))[0].i <= 54


def test_a_faster_or_slower_machine_joining_is_no_regression():
    walls = [w * (1.6 if i >= 70 and i % 2 else 1.0) for i, w in enumerate(timings(140))]
    joined = [Run(i, w, worker="w9" if i >= 70 and i % 2 else "w1") for i, w in enumerate(walls)]
    assert not episodes(judge(joined))


def test_a_move_of_all_runs_to_an_unknown_machine_is_no_regression():
    walls = [w * (1.5 if i >= 70 else 1.0) for i, w in enumerate(timings(140))]
    assert not episodes(judge([Run(i, w, worker="w9" if i >= 70 else "w1") for i, w in enumerate(walls)]))


def test_a_change_of_the_mixture_of_machines_is_no_regression():
    rng, out = random.Random(3), []
    for i, w in enumerate(timings(160)):
        slow = rng.random() < (0.2 if i < 80 else 0.8)
        out.append(Run(i, w * (1.5 if slow else 1.0), worker="slow" if slow else "fast"))
    assert not episodes(judge(out))


def test_a_step_in_a_mixture_of_machines_is_found():
    rng, out = random.Random(3), []
    for i, w in enumerate(timings(100)):
        slow = rng.random() < 0.5
        step = 1.3 if i >= 70 else 1.0
        out.append(Run(i, w * step * (1.5 if slow else 1.0), worker="slow" if slow else "fast"))
    assert 70 <= episodes(judge(out))[0].i <= 74


def test_workers_with_names_of_their_own_do_not_blind_the_detector():
    named = [Run(i, w, worker=f"runner-{i}") for i, w in enumerate(stepped(1.5))]
    assert 60 <= episodes(judge(named))[0].i <= 64


@pytest.mark.parametrize("widths", [8, 16])
def test_many_widths_and_loads_do_not_blind_the_detector(widths):
    rng, out = random.Random(6), []
    for i, w in enumerate(stepped(1.5)):
        load = rng.uniform(0, 2)
        worker, jobs = rng.choice("abcd"), rng.randint(1, widths)
        out.append(Run(i, w * (1 + 0.2 * load), worker=worker, load=load, jobs=jobs))
    assert 60 <= episodes(judge(out))[0].i <= 66


def test_a_busier_machine_is_no_regression():
    rng = random.Random(5)
    busy = [
        Run(i, w * (rng.uniform(1.4, 1.7) if i >= 60 else 1.0), cpu=0.9 * w, load=1.5 if i >= 60 else 0.0)
        for i, w in enumerate(timings(140))
    ]
    assert not episodes(judge(busy))


def test_cpu_time_vetoes_an_alarm_on_a_machine_that_grows_busier_by_degrees():
    creeping = [
        Run(i, w * (1.4 if i >= 60 else 1.0), cpu=0.9 * w, load=0.45 if i >= 60 else 0.2 * (i % 2))
        for i, w in enumerate(timings(90))
    ]
    assert not episodes(judge(creeping))


def test_cpu_time_helps_where_wall_time_is_noisy():
    rng = random.Random(7)
    quiet = timings(80, seed=8, cv=0.01)
    noisy = [
        Run(
            i,
            w * (1.25 if i >= 60 else 1.0) * math.exp(rng.gauss(0, 0.15)),
            cpu=w * (1.25 if i >= 60 else 1.0),
        )
        for i, w in enumerate(quiet)
    ]
    assert 60 <= episodes(judge(noisy))[0].i <= 64


def test_more_cpu_time_alone_is_no_regression_of_wall_time():
    runs_ = [Run(i, w, cpu=0.3 * (1.5 if i >= 60 else 1.0)) for i, w in enumerate(timings(100))]
    assert not episodes(judge(runs_))


def test_an_improvement_is_no_regression_and_becomes_the_known_level():
    walls = [w * (0.6 if i >= 50 else 1.0) for i, w in enumerate(timings(120))]
    assert not episodes(judge(runs(walls)))


def test_an_improvement_taken_back_is_a_regression():
    walls = [w * (0.6 if 50 <= i < 80 else 1.0) for i, w in enumerate(timings(100))]
    first = episodes(judge(runs(walls)))[0]
    assert 80 <= first.i <= 84
    assert first.effect == pytest.approx(1 / 0.6, rel=0.05)


def test_slow_drift_is_found_and_dated():
    walls = [w * 1.005 ** max(0, i - 60) for i, w in enumerate(timings(160, cv=0.05))]
    found = [v for v in judge(runs(walls)) if v.regressed]
    assert found and 60 <= found[0].i <= 110
    assert 50 <= found[0].since <= 105


def test_very_slow_drift_is_found_by_the_blocks():
    walls = [w * 1.0015 ** max(0, i - 40) for i, w in enumerate(timings(160, cv=0.02))]
    assert any(v.regressed and v.i > 40 for v in judge(runs(walls)))


def test_a_second_rise_during_an_alarm_sets_in_anew():
    walls = [w * (1.3 if i >= 60 else 1.0) * (1.5 if i >= 72 else 1.0) for i, w in enumerate(timings(90))]
    verdicts = judge(runs(walls))
    assert verdicts[62].since is None or verdicts[64].since == 60
    assert any(v.since == 72 and v.regressed for v in verdicts[72:77])


def test_a_repaired_regression_ends_the_alarm_soon():
    walls = [w * (1.5 if 60 <= i < 75 else 1.0) for i, w in enumerate(timings(110))]
    verdicts = judge(runs(walls))
    assert verdicts[74].regressed and not verdicts[80].regressed
    assert len(episodes(verdicts)) == 1


def test_accepting_the_level_ends_the_alarm():
    detector = Detector()
    verdicts = [detector.update(run) for run in runs(stepped(1.5, n=66))]
    assert verdicts[-1].regressed
    detector.accept()
    after = [detector.update(Run(66 + k, 1.5 * w)) for k, w in enumerate(timings(20, seed=9))]
    assert not any(v.regressed for v in after)


def test_a_verdict_uses_no_later_run():
    rng = random.Random(4)
    mixed = [
        Run(
            i,
            w,
            cpu=0.8 * w,
            worker=rng.choice(["a", "b"]),
            load=rng.choice([0.0, 1.0]),
            ok=rng.random() > 0.05,
        )
        for i, w in enumerate(stepped(1.4, onset=50, n=90, cv=0.08))
    ]
    whole = judge(mixed)
    for cut in (10, 30, 52, 55, 70):
        prefix = judge(mixed[:cut])
        assert prefix == whole[: len(prefix)]


def test_hits_and_failures_get_no_verdict_and_change_none():
    plain = runs(stepped(1.5))
    mixed = []
    for run in plain:
        mixed.append(Run(3 * run.i, run.wall))
        mixed.append(Run(3 * run.i + 1, 50.0, ok=False))
        mixed.append(Run(3 * run.i + 2, 0.001, cache="hit"))
    verdicts = judge(mixed)
    assert [v.i for v in verdicts] == [3 * i for i in range(100)]
    assert [v.regressed for v in verdicts] == [v.regressed for v in judge(plain)]


def test_the_order_is_that_of_i_and_a_repeated_run_counts_once():
    plain = runs(stepped(1.5))
    shuffled = plain[:]
    random.Random(1).shuffle(shuffled)
    assert judge([*shuffled, *plain[:10]]) == judge(plain)


def test_a_clock_that_goes_back_changes_nothing():
    plain = runs(stepped(1.5))
    back = [Run(r.i, r.wall, t=1e9 - 100.0 * r.i) for r in plain]
    assert judge(back) == judge(plain)


def test_the_first_runs_are_never_regressed_and_say_that_they_are_learning():
    early = judge(runs([1.0, 9.0, 1.0, 9.0, 9.0, 9.0, 9.0, 9.0]))
    assert {v.state for v in early} == {State.LEARNING}
    assert all(not v.regressed and v.confidence == 0.0 for v in early)


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
def test_a_value_that_is_no_duration_repeats_the_verdict_before(value):
    walls = stepped(1.5, n=80)
    detector = Detector()
    verdicts = [detector.update(run) for run in runs(walls)]
    odd = detector.update(Run(80, value))
    assert (odd.regressed, odd.since) == (verdicts[-1].regressed, verdicts[-1].since)


def test_peak_memory_is_judged_like_time():
    walls = [round(w * 512 * 2**20) for w in stepped(1.3, cv=0.004)]
    first = episodes(judge(runs(walls)))[0]
    assert 60 <= first.i <= 64
    assert first.effect == pytest.approx(1.3, rel=0.02)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.floats(), st.sampled_from([0.0, 0.01, 1.0, 1e-300, 1e300])),
            st.one_of(st.none(), st.floats()),
            st.sampled_from([None, "a", "b", "c"]),
            st.one_of(st.none(), st.floats(), st.sampled_from([0.0, 0.5, 2.0])),
            st.sampled_from([None, 1, 8]),
        ),
        max_size=60,
    )
)
def test_any_input_gets_a_sane_verdict_for_each_judged_run(items):
    made = [
        Run(i, wall, cpu, worker=w, load=load, jobs=jobs)
        for i, (wall, cpu, w, load, jobs) in enumerate(items)
    ]
    verdicts = judge(made)
    assert [v.i for v in verdicts] == list(range(len(made)))
    for verdict in verdicts:
        assert 0.0 <= verdict.confidence <= 1.0
        assert math.isfinite(verdict.effect) and verdict.effect > 0
        assert verdict.since is None or verdict.since <= verdict.i


def test_a_verdict_costs_less_than_two_milliseconds():
    many = [
        Run(i, w, cpu=w, worker="ab"[i % 2], load=0.5 * (i % 3)) for i, w in enumerate(timings(300, cv=0.1))
    ]
    start = time.process_time()
    judge(many)
    assert (time.process_time() - start) / len(many) < 0.002


def test_a_series_of_ten_thousand_runs_costs_no_more_each_and_keeps_no_more():
    detector = Detector()
    start = time.process_time()
    for i, wall in enumerate(timings(10_000, cv=0.1)):
        detector.update(Run(i, wall, worker=f"w{i % 7}", load=(i % 5) / 4))
        kept = len(detector._history) + len(detector._recent)
        assert kept <= 250
    assert (time.process_time() - start) / 10_000 < 0.002


def test_the_latest_verdict_is_that_of_judging_each_run():
    for onset in (60, 97, 150):
        walls = stepped(1.3, onset=onset, n=100, cv=0.05)
        latest, whole = judge_latest(runs(walls)), judge(runs(walls))[-1]
        assert (latest.i, latest.regressed) == (whole.i, whole.regressed)


def test_the_latest_verdict_of_runs_in_any_order_is_of_the_highest_i():
    walls = runs(stepped(1.5, onset=92))
    shuffled = [*walls, Run(100, 50.0, ok=False), Run(101, 0.1, cache="hit")]
    random.Random(2).shuffle(shuffled)
    latest = judge_latest(shuffled)
    assert (latest.i, latest.regressed, latest.since) == (99, True, 92)


@pytest.mark.parametrize(
    ("made", "state"),
    [
        ([], None),
        ([Run(0, 1.0, ok=False)], None),
        ([Run(0, math.nan)], None),
        ([Run(0, 1.0)], State.LEARNING),
        ([Run(i, 0.0) for i in range(30)], State.STEADY),
        ([Run(i, 1.0) for i in range(9)], State.STEADY),
    ],
)
def test_the_latest_verdict_of_little_is_little(made, state):
    latest = judge_latest(made)
    assert (latest.state if latest else None) == state


def test_a_report_asks_about_two_hundred_runs_of_a_task_in_a_millisecond():
    many = [runs(timings(200, seed)) for seed in range(100)]
    start = time.process_time()
    for one in many:
        judge_latest(one)
    assert (time.process_time() - start) / len(many) < 0.002  # on a slow day; docs/regressions.md says more


def verdict(confidence, since=10, regressed=True):
    return Verdict(20, regressed, confidence, 1.5, since, State.REGRESSED)


def test_across_tasks_the_expected_share_of_false_alarms_is_kept():
    verdicts = {f"sure{k}": verdict(0.99, since=k) for k in range(5)}
    verdicts |= {f"weak{k}": verdict(0.6, since=50 + k) for k in range(20)}
    control = control_across(verdicts, alarm_rate=0.05)
    assert sorted(control.kept) == [f"sure{k}" for k in range(5)]
    assert len(control.doubted) == 20
    assert control.expected_false <= 0.05 * len(control.kept)


def test_across_tasks_alarms_are_grouped_by_the_build_where_they_set_in():
    control = control_across({"a": verdict(0.97, 7), "b": verdict(0.98, 7), "c": verdict(0.99, 9)})
    assert {onset.build: set(onset.tasks) for onset in control.onsets} == {7: {"a", "b"}, 9: {"c"}}


def test_across_tasks_alarms_of_one_build_speak_for_each_other():
    alone = control_across({"a": verdict(0.93, 7), "b": verdict(0.93, 8)}, alarm_rate=0.05)
    together = control_across({"a": verdict(0.93, 7), "b": verdict(0.93, 7)}, alarm_rate=0.05)
    assert not alone.kept
    assert set(together.kept) == {"a", "b"}


def test_across_tasks_steady_ones_are_no_alarms():
    control = control_across({"a": verdict(0.3, None, regressed=False)})
    assert (control.kept, control.doubted, control.onsets) == ((), (), ())


@pytest.mark.parametrize("rate", [0.0, 1.0, -1.0])
def test_an_alarm_rate_that_is_no_rate_is_refused(rate):
    with pytest.raises(ValueError, match="alarm_rate"):
        control_across({}, rate)
