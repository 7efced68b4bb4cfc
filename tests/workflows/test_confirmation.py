"""What is chosen from a sequence and its openings, without any study: pure functions of trials."""

from dataclasses import replace

import made
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from primum.config import OptimizationConfig
from primum.data.ledger import Opening
from primum.study.claim import Confirmation
from primum.study.objective import objective_of
from primum.study.select import declare
from primum.validation.verdict import Outcome
from primum.workflows.confirmation import SLOWER, choose
from primum.workflows.looks import uncomparable

CONFIG = OptimizationConfig()
SIZE = OptimizationConfig(objective="size")


@pytest.fixture(scope="session")
def make_trial():
    return made.trial_maker()


def chosen(trials, config=CONFIG, promise=0.9, passes=lambda trial: trial.outcome is Outcome.NON_INFERIOR):
    """Declare, open in turn up to the first that does not pass, choose; the openings judge as selection did."""
    declared = declare(trials, {t.key: promise for t in trials}, objective_of(config.objective))
    by_key, opened = {t.key: t for t in trials}, []
    for key in declared.keys:
        opened.append(Confirmation(key, key, by_key[key].verdict))
        if not passes(by_key[key]):
            break
    return choose(trials, declared, opened, config)


def test_without_a_lossless_form_only_what_passed_is_chosen(make_trial):
    proven, harmful = make_trial("proven", 3.0, lost=0), make_trial("harmful", 9.0, lost=60)
    assert chosen([proven, harmful]).winner is proven
    assert chosen([harmful]) is None and chosen([]) is None


def test_without_a_lossless_form_an_unproven_one_is_chosen_on_request_alone(make_trial):
    doubtful = make_trial("doubtful", 3.0, lost=6)
    assert doubtful.outcome is Outcome.INCONCLUSIVE
    assert chosen([doubtful]) is None
    asked = chosen([doubtful], OptimizationConfig(accept_inconclusive=True))
    assert asked.winner is doubtful and asked.reasons[0].startswith("UNPROVEN")


def test_by_size_a_stand_in_that_is_slower_says_so(make_trial):
    slow = make_trial("slow", 0.7, size=40)
    assert chosen([slow], SIZE).reasons[0] == SLOWER
    assert SLOWER not in chosen([slow]).reasons
    original = make_trial("original", 1.0, size=44)
    found = chosen([slow, original], SIZE)
    assert found.winner is original and SLOWER not in found.reasons


def test_by_size_the_smallest_that_passed_is_chosen(make_trial):
    trials = [
        make_trial("original", 1.0, size=100),
        make_trial("half", 9.0, lost=0, size=50),
        make_trial("tiny", 2.0, lost=0, size=10),
        make_trial("tiny but harmful", 20.0, lost=60, size=2),
        make_trial("tiny but slow", 0.5, lost=0, size=5),
    ]
    assert chosen(trials, SIZE).winner.key == "tiny" and chosen(trials).winner.key == "half"


@given(
    drawn=st.lists(st.tuples(st.floats(0.3, 12), st.sampled_from((None, 0, 6, 60)), st.integers(5, 120)), max_size=7),
    objective=st.sampled_from(("latency", "size")),
    unproven=st.booleans(),
    original=st.booleans(),
)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_nothing_inferior_is_ever_delivered(make_trial, drawn, objective, unproven, original):
    config = OptimizationConfig(objective=objective, accept_inconclusive=unproven)
    trials = [make_trial("original", 1.0, size=100)] if original else []
    trials += [make_trial(str(i), speed, lost=lost, size=size) for i, (speed, lost, size) in enumerate(drawn)]
    found = chosen(trials, config)
    if found is None:
        assert not any(t.lossless for t in trials), "the lossless original is always something to deliver"
        return
    winner = found.winner
    assert winner.outcome is not Outcome.INFERIOR
    assert winner.outcome is Outcome.NON_INFERIOR or (unproven and found.reasons[0].startswith("UNPROVEN"))
    if objective == "size" and original:
        assert winner.speed >= 1, "nothing slower than the original where there is something else"


def test_a_winner_that_is_refused_on_confirmation_gives_way(make_trial):
    original, good = make_trial("original", 1.0), make_trial("good", 5.0, lost=0)
    bad = replace(good, verdict=make_trial("bad", 5.0, lost=60).verdict)
    declared = declare([original, good], {"good": 0.9})
    found = choose([original, good], declared, [Confirmation("good", "good", bad.verdict)], CONFIG)
    assert found.winner is original and found.verdict.outcome is Outcome.INFERIOR and "not accepted" in found.reasons[0]


def test_openings_of_an_older_kind_are_told_once_with_their_dates(tmp_path):
    old = [Opening(f"2026-0{month}-02T03:04:05+00:00", "x", ("a",), "h", key="") for month in (1, 3)]
    (text,) = uncomparable(old)
    assert text.startswith("2 openings") and "2026-01-02" in text and "2026-03-02" in text
    assert "cannot be compared" in text
    assert uncomparable([]) == () and "1 opening " in uncomparable(old[:1])[0]
