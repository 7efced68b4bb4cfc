"""The choice: what may win, what is worth confirming, and in which order."""

from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from primum.study.objective import LATENCY, SIZE
from primum.study.select import (
    LIKELY,
    LONGEST,
    bar,
    best_lossless,
    decisive,
    declare,
    of_runtime,
    pareto,
    worth_confirming,
)
from primum.study.trial import Guarded, Status, Trial
from primum.validation.conformal import Band
from primum.validation.verdict import Outcome


def test_the_front_holds_what_nothing_beats(make_trial):
    original, fast, slow, small = (
        make_trial("original", 1.0),
        make_trial("fast", 5.0, lost=0),
        make_trial("slow", 0.9, lost=0),
        make_trial("small", 2.0, lost=0, size=30),
    )
    assert pareto([original, fast, slow, small]) == {"original", "fast", "small"}


def test_failed_and_skipped_trials_are_never_chosen(make_trial):
    failed = Trial("failed", "failed", {}, "", Status.FAILED, reason="died")
    trials = [make_trial("original", 1.0), failed]
    assert pareto(trials) == {"original"} and not worth_confirming(trials)
    assert best_lossless(trials).key == "original" and decisive(trials) is None


def test_lossless_winners_that_load_alone_are_preferred(make_trial):
    eager, export = make_trial("eager", 4.0, self_contained=False), make_trial("export", 3.0)
    assert best_lossless([eager, export]).key == "export"
    assert best_lossless([eager]).key == "eager"


def test_a_lossy_candidate_must_be_faster_than_the_best_lossless_one(make_trial):
    trials = [make_trial("export", 3.0), make_trial("a", 3.01, lost=0), make_trial("b", 3.5, lost=0)]
    assert [t.key for t in worth_confirming(trials)] == ["b"]


def test_harmful_candidates_are_never_worth_confirming(make_trial):
    harmful = make_trial("harmful", 50.0, lost=60)
    assert harmful.outcome is Outcome.INFERIOR
    assert not worth_confirming([make_trial("original", 1.0), harmful])
    assert decisive([make_trial("original", 1.0), harmful]) is harmful


def test_the_sequence_runs_from_conservative_to_aggressive(make_trial):
    trials = [make_trial("original", 1.0)] + [
        make_trial(k, s, lost=0) for k, s in (("a", 3), ("b", 6), ("c", 9), ("d", 5))
    ]
    promise = {"a": 0.99, "b": 0.9, "c": 0.6, "d": 0.55}
    assert declare(trials, promise).keys == ("a", "b", "c"), "d is slower than b and no more likely"


def test_where_patients_are_too_few_to_promise_more_no_more_is_asked(make_trial):
    """A candidate that changes no decision has a chance of 40 % here: as good as any, and the fast one hardly worse."""
    trials = [make_trial("original", 1.0)] + [make_trial(k, s, lost=0) for k, s in (("a", 3), ("b", 9), ("c", 12))]
    promise, bars = {"a": 0.45, "b": 0.41, "c": 0.3}, dict.fromkeys("abc", 0.4)
    assert declare(trials, promise, bars=bars).keys == ("a", "b", "c")
    assert declare(trials[:-1], promise, bars=bars).keys == ("a", "b")
    assert declare(trials, promise).keys == ("a",), "where an even chance can be had, it is asked for"
    assert declare(trials, dict.fromkeys("abc", 0.01), bars=dict.fromkeys("abc", 0.001)).keys == ()


def test_a_much_better_candidate_may_follow_on_a_small_chance(make_trial):
    """In a fixed sequence it costs those before it nothing."""
    trials = [make_trial("original", 1.0)] + [make_trial(k, s, lost=0) for k, s in (("a", 3), ("b", 9), ("c", 20))]
    declared = declare(trials, {"a": 0.9, "b": 0.6, "c": 0.3})
    assert declared.keys == ("a", "b", "c") and "chance of 30%" in declared.reason
    assert declare(trials, {"a": 0.9, "b": 0.6, "c": 0.04}).keys == ("a", "b"), "hardly any chance"
    trials[-1] = make_trial("c", 10, lost=0)
    assert declare(trials, {"a": 0.9, "b": 0.6, "c": 0.3}).keys == ("a", "b"), "hardly better"


def test_the_bar_is_an_even_chance_at_most(make_trial):
    trial = make_trial("a", 3, lost=0)
    assert bar(trial, 100.0) == LIKELY > bar(trial, 0.2) > 0


def test_a_slower_candidate_is_left_out_where_a_faster_one_is_as_likely(make_trial):
    trials = [make_trial("original", 1.0), make_trial("a", 3, lost=0), make_trial("b", 6, lost=0)]
    assert declare(trials, {"a": 0.95, "b": 0.94}).keys == ("b",)


def test_no_more_than_three_are_declared_and_the_safest_is_among_them(make_trial):
    trials = [make_trial("original", 1.0)] + [make_trial(str(i), 2 + i, lost=0) for i in range(6)]
    promise = {str(i): 0.99 - 0.08 * i for i in range(6)}
    assert declare(trials, promise).keys == ("0", "4", "5")


def test_the_set_stays_closed_where_it_could_not_decide(make_trial):
    trials = [make_trial("original", 1.0), make_trial("a", 3, lost=0)]
    declared = declare(trials, {"a": 0.01})
    assert declared.keys == () and "too small" in declared.reason
    assert declare(trials, {"a": 0.2}).keys == ("a",)
    assert declare(trials[:1], {}).keys == ()


def in_runtime(trial, name):
    return replace(trial, recipe_data={"target": {"runtime": name, "precision": "int8"}})


def test_trials_of_one_runtime_are_told_apart(make_trial):
    here, there = in_runtime(make_trial("a", 2.0), "openvino"), in_runtime(make_trial("b", 2.0), "onnxruntime")
    assert of_runtime([here, there], "openvino") == [here] and of_runtime([here, there], "") == [here, there]


def test_by_size_the_best_lossless_is_the_smallest_that_is_not_slower(make_trial):
    original, small, smallest = (
        make_trial("original", 1.0, size=100),
        make_trial("small", 1.5, size=60),
        make_trial("smallest", 0.8, size=40),
    )
    assert best_lossless([original, small, smallest], SIZE).key == "small"
    assert best_lossless([original, small, smallest]).key == "small"
    assert best_lossless([smallest], SIZE).key == "smallest", "where there is nothing else"
    faster = make_trial("faster", 3.0, size=61)
    assert best_lossless([original, small, faster], SIZE).key == "faster", "sizes within 2 % are alike"


def test_by_size_a_lossy_candidate_must_be_two_percent_smaller(make_trial):
    lossless = make_trial("lossless", 1.0, size=1000)
    near, enough, slow = (
        make_trial("near", 9.0, lost=0, size=985),
        make_trial("enough", 1.1, lost=0, size=980),
        make_trial("slow", 0.9, lost=0, size=100),
    )
    assert [t.key for t in worth_confirming([lossless, near, enough, slow], SIZE)] == ["enough"]


def test_by_size_the_sequence_runs_to_the_smallest(make_trial):
    trials = [make_trial("original", 1.0, size=100)] + [
        make_trial(k, v, lost=0, size=z) for k, v, z in (("half", 9, 50), ("quarter", 3, 25), ("eighth", 2, 12))
    ]
    declared = declare(trials, {"half": 0.99, "quarter": 0.9, "eighth": 0.6}, SIZE)
    assert declared.keys == ("half", "quarter", "eighth") and "smaller in every step" in declared.reason


def test_by_size_the_faster_of_two_alike_is_declared(make_trial):
    slow, fast = make_trial("slow", 2.0, lost=0, size=250), make_trial("fast", 7.0, lost=0, size=252)
    trials = [make_trial("original", 1.0, size=1000), slow, fast]
    assert declare(trials, {"slow": 0.9, "fast": 0.9}, SIZE).keys == ("fast",)
    assert declare(trials, {"slow": 0.9, "fast": 0.6}, SIZE).keys == ("slow",), "a less likely one is not preferred"


def test_by_size_what_does_not_count_is_said(make_trial):
    original = make_trial("original", 1.0, size=100)
    slow = make_trial("slow", 0.5, lost=0, size=10)
    assert "1 slower than the original" in declare([original, slow], {}, SIZE).reason
    guarded = replace(slow, guard=Guarded("slow", "original", Band.__new__(Band), 0.1, 100, 2.0))
    assert "carries the original" in declare([original, guarded], {}, SIZE).reason
    assert "slower" not in declare([original, slow], {"slow": 0.9}).reason


@given(
    drawn=st.lists(
        st.tuples(st.floats(0.3, 12), st.sampled_from((None, 0, 3, 60)), st.integers(5, 120), st.floats(0, 1)),
        max_size=9,
    ),
    objective=st.sampled_from((LATENCY, SIZE)),
)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_every_sequence_is_monotone_and_holds_nothing_harmful(make_trial, drawn, objective):
    trials = [make_trial("original", 1.0, size=100)]
    trials += [make_trial(str(i), speed, lost=lost, size=size) for i, (speed, lost, size, _) in enumerate(drawn)]
    promise = {str(i): chance for i, (*_, chance) in enumerate(drawn)}
    by_key = {t.key: t for t in trials}
    chosen = [by_key[key] for key in declare(trials, promise, objective).keys]
    merits, floor = [objective.merit(t) for t in chosen], best_lossless(trials, objective)
    assert merits == sorted(set(merits)), "each better than the one before"
    assert [promise[t.key] for t in chosen] == sorted((promise[t.key] for t in chosen), reverse=True)
    assert len(chosen) <= LONGEST and all(t.outcome is not Outcome.INFERIOR and not t.lossless for t in chosen)
    assert all(objective.merit(t) > 1.02 * objective.merit(floor) for t in chosen)
    if objective is SIZE:
        assert floor.speed >= 1 and all(t.speed >= 1 for t in chosen)
