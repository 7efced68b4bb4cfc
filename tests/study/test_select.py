"""The choice: what may win, what is worth confirming, and in which order."""

from primum.study.select import best_lossless, decisive, declare, pareto, worth_confirming
from primum.study.trial import Status, Trial
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
