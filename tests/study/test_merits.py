"""What is minimised: logarithms of latency and size, expected harm, and what bars a candidate from delivery."""

from dataclasses import replace

import pytest

from primum.runtimes.base import Target
from primum.study.merits import merits_of, reference_of
from primum.study.recipe import Recipe
from primum.validation.verdict import Outcome


def test_halving_counts_alike_at_any_speed(make_trial):
    baseline = make_trial("base", 1.0, size=1000)
    steps = [
        merits_of(make_trial("t", speed, lost=0, size=size), baseline, 0.8) for speed, size in ((2, 500), (16, 62.5))
    ]
    assert [m.objectives for m in steps] == [(-1.0, -1.0, pytest.approx(0.2)), (-4.0, -4.0, pytest.approx(0.2))]
    assert [m.excess for m in steps] == [0.0, 0.0]


def test_of_those_that_are_barred_the_one_that_changes_fewer_decisions_is_nearer(make_trial):
    baseline = make_trial("base", 1.0)
    some, many = (merits_of(make_trial("t", 2.0, lost=lost), baseline, 0.0) for lost in (40, 80))
    assert 0 < some.excess < many.excess and many.excess == pytest.approx(80 / 600)
    silent = make_trial("t", 2.0, lost=40)
    verdict = replace(silent.verdict, agreement=replace(silent.verdict.agreement, churn=0.0))
    assert verdict.outcome is Outcome.INFERIOR
    assert merits_of(replace(silent, verdict=verdict), baseline, 0.0).excess > 0, "barred without a changed decision"


def test_the_reference_is_the_best_lossless_trial(make_trial):
    data = {"recipe_data": Recipe(Target(runtime="openvino")).to_dict()}
    baseline, fast = make_trial("base", 1.0, size=1000), replace(make_trial("fast", 4.0, size=1000), **data)
    lossy = make_trial("lossy", 9.0, lost=0, size=100)
    latency, size, harm = reference_of([baseline, fast, lossy])
    assert latency == -2.0 and 0 < size < 0.2 and harm == 1.0
    assert merits_of(lossy, baseline, 0.5).objectives < (latency, size, harm)
