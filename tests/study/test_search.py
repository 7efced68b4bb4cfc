"""What is tried next: the largest share that holds is found, nothing is paid for twice or after a stage that failed."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from primum.config import MEDICAL_PRUNE_RATIO, OptimizationConfig, OptimizationLevel, ReductionConfig
from primum.runtimes.base import Target
from primum.study.recipe import Recipe, recipe_of
from primum.study.search import RATIOS, SEEDS, Search, SearchSpace, repeats

FLOAT, INT8 = Target(runtime="openvino"), Target(runtime="openvino", precision="int8")


class World:
    """Shares up to `floats` hold in FP32, up to `integers` in INT8, up to `aware` in INT8 that was trained for."""

    def __init__(self, make_trial, floats, integers, aware=0.0, floor=0.0, level=OptimizationLevel.AGGRESSIVE, **more):
        self.make, self.floats, self.integers, self.aware, self.floor = make_trial, floats, integers, aware, floor
        config = OptimizationConfig(level=level, **more)
        self.search = Search(SearchSpace(config, trained=True, minutes=5.0), lambda t: True)
        self.trials = [self.trial(Recipe(FLOAT)), self.trial(Recipe(INT8))]

    def trial(self, recipe):
        names = [type(t).__name__ for t in recipe.techniques]
        ratio = getattr(recipe.techniques[0], "ratio", 0.0) if recipe.techniques else 0.0
        integer = recipe.target.precision == "int8"
        limit = self.floats if not integer else self.aware if "QuantizationAware" in str(names) else self.integers
        holds = not ratio or ("Distill" in names and ratio <= limit)
        time = max((1 - ratio) ** 2, self.floor) / (3 if integer else 1)
        lossless = {} if not recipe.techniques and not integer else {"lost": 0 if holds else 60}
        made = self.make(recipe.key, 1 / time, **lossless)
        return replace(made, recipe=str(recipe), recipe_data=recipe.to_dict())

    def run(self):
        proposals = []
        while (proposal := self.search.next(self.trials)) is not None:
            again = Search(self.search.space, self.search.likely, self.search.possible).next(list(self.trials))
            assert again == proposal, "the same trials, the same proposal"
            proposals.append(proposal.recipe)
            self.trials.append(self.trial(proposal.recipe))
            assert len(proposals) < 40
        return proposals


def ratio_of(recipe):
    return recipe.techniques[0].ratio


@given(floats=st.sampled_from((0.0, *RATIOS)), integers=st.sampled_from((0.0, *RATIOS)))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_the_largest_share_that_holds_is_found(make_trial, floats, integers):
    world = World(make_trial, floats, integers)
    proposals = world.run()
    assert len({r.key for r in proposals}) == len(proposals), "nothing is paid for twice"
    best = min(floats, integers)
    delivered = [r for r in proposals if r.target == INT8 and ratio_of(r) <= best and not r.seed]
    assert max((ratio_of(r) for r in delivered), default=0.0) == best
    trained = {ratio_of(r) for r in proposals if r.trains and not r.seed}
    assert len(trained) <= 3, "bisection of seven shares"
    assert all(ratio_of(r) <= floats for r in proposals if r.target == INT8), "INT8 follows a stage that held"


def test_int8_is_tried_of_a_network_that_may_yet_be_confirmed_and_no_more_is_removed(make_trial):
    world = World(make_trial, floats=1.0, integers=1.0)
    world.search.likely = lambda trial: not recipe_of(trial).techniques
    assert not [r for r in world.run() if r.target == INT8]
    world = World(make_trial, floats=0.5, integers=0.5)
    world.search.likely = lambda trial: not recipe_of(trial).techniques
    world.search.possible = lambda trial: True
    proposals = world.run()
    bold = [r for r in proposals if r.target == INT8]
    assert bold and all(ratio_of(r) <= 0.5 for r in bold), "never of one that is harmed"
    assert max(ratio_of(r) for r in proposals) == RATIOS[len(RATIOS) // 2]
    assert {r.seed for r in bold} == {0, *SEEDS}, "what may be delivered is told over three seeds"


def test_labels_weigh_more_where_following_the_original_is_not_enough(make_trial):
    world = World(make_trial, floats=0.5, integers=0.5)

    def likely(trial):
        weights = [settings.get("alpha") for step in trial.recipe_data["techniques"] for settings in step.values()]
        return 1.0 not in weights

    world.search.likely = likely
    proposals = world.run()
    taught = [r for r in proposals if r.target == FLOAT and ratio_of(r) == 0.5 and r.trains and not r.seed]
    assert [r.techniques[1].alpha for r in taught] == [1.0, 0.5]
    assert all(r.techniques[1].alpha == 0.5 for r in proposals if r.target == INT8)
    assert max(ratio_of(r) for r in proposals if r.target == INT8) == 0.5


def test_training_for_int8_is_tried_where_rounding_alone_harms(make_trial):
    world = World(make_trial, floats=0.85, integers=0.0, aware=0.85)
    last = [r for r in world.run() if r.target == INT8 and not r.seed][-1]
    assert ratio_of(last) == 0.85 and len(last.techniques) == 3


def test_the_best_training_is_repeated_with_other_seeds_and_these_are_told_apart(make_trial):
    world = World(make_trial, floats=0.5, integers=0.5)
    repeated = [r for r in world.run() if r.seed]
    assert [r.seed for r in repeated] == list(SEEDS) and {ratio_of(r) for r in repeated} == {0.5}
    assert sum(repeats(t) for t in world.trials) == len(SEEDS)


def test_it_ends_where_less_network_is_no_faster(make_trial):
    world = World(make_trial, floats=0.85, integers=0.85, floor=0.25)
    shares = {ratio_of(r) for r in world.run()}
    assert max(shares) < max(RATIOS)
    assert any("hardly faster" in item.why for item in world.search.left_out)


def test_medical_critical_removes_little_and_a_given_share_is_a_limit(make_trial):
    critical = World(make_trial, 0.85, 0.85, level=OptimizationLevel.MEDICAL_CRITICAL)
    assert max(ratio_of(r) for r in critical.run()) == MEDICAL_PRUNE_RATIO
    given = World(make_trial, 0.85, 0.85, reduction=ReductionConfig(largest_ratio=0.5))
    assert max(ratio_of(r) for r in given.run()) == 0.5


@pytest.mark.parametrize("level", [OptimizationLevel.MINIMAL, OptimizationLevel.BALANCED])
def test_below_aggressive_nothing_is_searched(make_trial, level):
    assert World(make_trial, 0.85, 0.85, level=level).run() == []


def test_without_training_data_the_reason_is_said(make_trial):
    world = World(make_trial, 0.85, 0.85)
    search = Search(SearchSpace(world.search.space.config, trained=False, minutes=5.0), lambda t: True)
    assert search.next(world.trials) is None
    assert any("--train-data" in item.why for item in search.left_out)


def test_a_chance_below_even_does_not_count_as_holding(make_trial):
    world = World(make_trial, 0.85, 0.85)
    world.search.likely = lambda trial: False
    proposals = []
    while (proposal := world.search.next(world.trials)) is not None:
        proposals.append(proposal.recipe)
        world.trials.append(world.trial(proposal.recipe))
    assert not any(r.target == INT8 for r in proposals)


def test_every_claim_is_searched_and_repeats_come_last(make_trial):
    world = World(make_trial, 0.85, 0.85, deliver=("openvino", "onnxruntime"))
    world.trials += [world.trial(Recipe(Target(runtime="onnxruntime", precision=p))) for p in ("fp32", "int8")]
    proposals = world.run()
    explored = [r for r in proposals if not r.seed]
    for runtime in ("openvino", "onnxruntime"):
        mine = [r for r in explored if r.target.runtime == runtime and r.target.precision == "int8"]
        assert max(ratio_of(r) for r in mine) == 0.85
    trained = {(r.techniques, r.seed) for r in proposals if r.trains}
    assert len(trained) < sum(r.trains for r in proposals), "the second runtime takes networks that are there"
    assert all(r.seed for r in proposals[len(explored) :])


def test_by_size_it_goes_on_where_less_network_is_no_faster_but_smaller(make_trial):
    class Shrinking(World):
        def trial(self, recipe):
            ratio = getattr(recipe.techniques[0], "ratio", 0.0) if recipe.techniques else 0.0
            whole = 25_000 if recipe.target.precision == "int8" else 100_000
            return replace(super().trial(recipe), size_bytes=round(whole * (1 - ratio) ** 2))

    small = Shrinking(make_trial, 0.85, 0.85, floor=0.25, objective="size")
    assert max(ratio_of(r) for r in small.run()) == max(RATIOS)


def beyond(world, **more):
    space = world.search.space
    world.search = Search(replace(space, **more), world.search.likely)
    return world.run()


def test_shallower_students_are_taught_then_quantized_and_smaller_ones_follow_what_held(make_trial):
    shapes = ((1.0, 0.5), (0.5, 0.5))
    world = World(make_trial, 0.3, 0.3)
    made = [str(r) for r in beyond(world, students=shapes) if "student" in str(r) and not r.seed]
    whole, half = (
        f"student(width={w}, depth=0.5) -> distill(epochs=75, mixup=1.0, max_minutes=5.0, temperature=16.0, alpha=1.0)"
        for w in (1.0, 0.5)
    )
    assert made == [f"{x} -> {t}" for x in (whole, half) for t in (FLOAT, INT8)]
    harmful = World(make_trial, 0.3, 0.3)
    usual = harmful.trial
    harmful.trial = lambda r: (
        replace(harmful.make(r.key, 3.0, lost=60), recipe=str(r), recipe_data=r.to_dict())
        if "student" in str(r)
        else usual(r)
    )
    assert sum("student" in str(r) for r in beyond(harmful, students=shapes)) == 1, "a smaller one would hold even less"
    critical = World(make_trial, 0.3, 0.3, level=OptimizationLevel.MEDICAL_CRITICAL)
    assert not any("student" in str(r) for r in beyond(critical, students=shapes))


def test_a_measured_latency_is_aimed_at_where_removed_channels_lead(make_trial):
    (made,) = [r for r in beyond(World(make_trial, 0.5, 0.5), to_latency=True) if "latency" in str(r) and not r.seed]
    assert made.target == INT8 and made.techniques[0].scope == "global"
    assert made.techniques[0].speedup == round(1.15 / 0.5**2, 1)
    nothing = beyond(World(make_trial, 0.0, 0.0), to_latency=True)
    assert not any("latency" in str(r) for r in nothing), "no share of channels could go"
    small = beyond(World(make_trial, 0.5, 0.5, objective="size"), to_latency=True)
    assert not any("latency" in str(r) for r in small)


@pytest.mark.parametrize("method", ["dkd", "hints"])
def test_a_third_way_to_teach_is_tried_where_two_nearly_held(make_trial, method):
    world = World(make_trial, floats=0.5, integers=0.5)

    def likely(trial):
        ways = [settings.get("method") for step in trial.recipe_data["techniques"] for settings in step.values()]
        return "kd" not in ways

    world.search.likely = likely
    proposals = beyond(world, method=method)
    taught = [r for r in proposals if r.target == FLOAT and ratio_of(r) == 0.5 and r.trains and not r.seed]
    assert [(r.techniques[1].method, r.techniques[1].alpha) for r in taught] == [
        ("kd", 1.0),
        ("kd", 0.5),
        (method, 0.5),
    ]
    assert {r.techniques[1].method for r in proposals if r.target == INT8} == {method}
