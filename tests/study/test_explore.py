"""What is explored: informed, deterministic, within what works, and ended for a reason."""

from dataclasses import replace

import numpy as np
import pytest

from primum.runtimes.base import Target
from primum.study import explore
from primum.study.explore import Ended, Explorer, Suggestion
from primum.study.leases import Leases
from primum.study.merits import Bounds, merits_of, reference_of
from primum.study.recipe import Recipe
from primum.study.space import EPOCHS, Space
from primum.study.trial import Status, Trial
from primum.techniques.registry import make

PLAIN = Space(("onnxruntime", "openvino"), ("onnxruntime", "openvino"), 1, False, 0.85, 10.0)
FULL = replace(PLAIN, trains=True)
LOST = 60
"""Of 300 decisions: INFERIOR by any margin here."""


class World:
    """Trials on disk, without anything being run: pruned beyond `holds` harms; speed as `speed` has it."""

    def __init__(self, make_trial, folder, space, limit, seed=0, holds=0.5, worker="one", speed=None):
        self.make, self.holds, self.space = make_trial, holds, space
        self.speed = speed or (lambda r: (3.0 if r.target.precision == "int8" else 1.0) / (1 - ratio_of(r)) ** 2)
        self.records: dict[str, Trial] = {}
        self.start = [self.run(Recipe(Target(runtime=n, threads=1))) for n in ("onnxruntime", "openvino")]
        self.start += [self.run(Recipe(Target(runtime=n, precision="int8", threads=1))) for n in space.integers]
        self.obstacles: dict[str, str] = {}
        self.leases = Leases(folder / "leases", worker)
        self.bounds = Bounds(limit, seed, reference_of(self.start))
        self.explorer = Explorer(
            folder,
            space,
            self.bounds,
            self.leases,
            self.records.get,
            lambda t: merits_of(t, self.start[0], 0.9),
            lambda r: next((why for part, why in self.obstacles.items() if part in str(r)), None),
        )

    def run(self, recipe, **changes):
        lost = {} if recipe.exact else {"lost": LOST if ratio_of(recipe) > self.holds else 0}
        size = round(1000 * (1 - ratio_of(recipe)) / (4 if recipe.target.precision == "int8" else 1))
        made = self.make(recipe.key, self.speed(recipe), size=size, **lost)
        trial = replace(made, recipe=str(recipe), recipe_data=recipe.to_dict(), **changes)
        self.records[recipe.key] = trial
        return trial

    def go(self, most=200):
        """Run what is suggested; returns the recipes and why it ended."""
        recipes = []
        while isinstance(found := self.explorer.next(), Suggestion):
            recipes.append(found.proposal.recipe)
            self.explorer.tell(found, self.run(found.proposal.recipe))
            assert len(recipes) < most
        return recipes, found.reason


def ratio_of(recipe):
    return next((t.ratio for t in recipe.techniques if hasattr(t, "ratio")), 0.0)


def keys(recipes):
    return [r.key for r in recipes]


def test_one_worker_with_one_seed_suggests_the_same_whenever_it_is_killed(make_trial, tmp_path):
    whole, reason = World(make_trial, tmp_path / "a", FULL, 14).go()
    assert len(whole) == 14 and "14 recipes" in reason and len(set(keys(whole))) == 14
    # The same again, the process replaced after every suggestion, one of them in the middle of its trial.
    records, broken = {}, []
    for step in range(14):
        world = World(make_trial, tmp_path / "b", FULL, 14)
        world.records.update(records)
        if not step:
            world.explorer.inform([])
        found = world.explorer.next()
        if step == 6:
            world.leases.release(found.proposal.recipe.key)  # as the kernel does at a kill
            found = World(make_trial, tmp_path / "b", FULL, 14).explorer.next()
        broken.append(found.proposal.recipe)
        world.explorer.tell(found, world.run(found.proposal.recipe))
        records = world.records
    assert keys(broken) == keys(whole)
    assert keys(World(make_trial, tmp_path / "c", FULL, 14, seed=1).go()[0]) != keys(whole)


def test_it_starts_from_the_trials_that_there_are(make_trial, tmp_path, monkeypatch):
    """Told that INT8 is faster and that more than 30 % of channels harm, TPE looks near there at once."""
    monkeypatch.setattr(explore, "PATIENCE", 100)
    integer = Target(runtime="openvino", precision="int8", threads=1)
    steps = [Recipe(integer, trained(percent / 100)) for percent in range(10, 80, 5)]
    near = {}
    for informed in (True, False):
        found = []
        for seed in range(3):
            world = World(make_trial, tmp_path / f"{informed}{seed}", FULL, 8, seed, holds=0.3)
            if informed:
                known = [*world.start, *[world.run(r) for r in steps]]
                assert world.explorer.inform(known) == len(known)
                assert world.explorer.inform(known) == 0, "told once"
            found += world.go()[0]
        near[informed] = np.mean([0.2 <= ratio_of(r) <= 0.3 for r in found])
    assert near[True] > 0.25 > 0.1 > near[False], near


def trained(ratio):
    return make("prune_channels", {"ratio": ratio}), make("distill", {"max_minutes": 10.0, "epochs": EPOCHS})


def test_what_may_not_be_delivered_is_a_violated_constraint(make_trial, tmp_path):
    world = World(make_trial, tmp_path, FULL, 6, holds=0.0)
    world.explorer.inform([*world.start, world.run(Recipe(Target(runtime="openvino", threads=1), trained(0.5)))])
    world.go()
    for found in world.explorer._trials():
        trial = world.records.get(found.user_attrs.get("key"))
        if found.state.name == "COMPLETE":
            harmed = trial.outcome.value == "INFERIOR"
            assert (found.constraints["harm"] > 0) == harmed
            assert not harmed or found.constraints["harm"] == pytest.approx(LOST / 600)
    assert any(t.constraints.get("harm", 0) > 0 for t in world.explorer._trials())
    # What is barred from delivery covers nothing, whatever its speed.
    barred = [t for t in world.explorer._trials() if t.constraints.get("harm", 0) > 0]
    assert world.explorer._covered(barred) == 0.0


def test_what_cannot_work_is_never_run_and_said(make_trial, tmp_path):
    world = World(make_trial, tmp_path, FULL, 10)
    world.obstacles = {"prune_channels": "no training today"}
    recipes, _ = world.go()
    assert recipes and not any(ratio_of(r) for r in recipes)
    refused = world.explorer.refused()
    assert refused and all(why == "no training today" and "prune_channels" in what for what, why in refused)
    assert len({what for what, _ in refused}) == len(refused), "each once"


def test_it_ends_when_a_small_space_is_spent(make_trial, tmp_path):
    world = World(make_trial, tmp_path, PLAIN, 100, speed=lambda r: 1.0 + int(r.key, 16) % 97)
    world.explorer.inform(world.start)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(explore, "PATIENCE", 100)
        recipes, reason = world.go()
    assert len(recipes) == 10 and reason == "every one of the 14 recipes of its space was tried"


def test_what_draws_leave_of_a_small_space_is_tried_too(make_trial, tmp_path, monkeypatch):
    monkeypatch.setattr(explore, "PATIENCE", 100)
    monkeypatch.setattr(explore, "DRAWS", 2)
    world = World(make_trial, tmp_path, PLAIN, 100, speed=lambda r: 1.0 + int(r.key, 16) % 97)
    world.explorer.inform(world.start)
    recipes, reason = world.go()
    assert len(recipes) == 10 and "every one of the 14" in reason
    assert any("had left" in str(t.user_attrs.get("why")) for t in world.explorer._trials())


def test_what_another_worker_runs_for_another_reason_is_not_suggested(make_trial, tmp_path):
    first = World(make_trial, tmp_path / "a", FULL, 3).explorer.next().proposal.recipe
    world = World(make_trial, tmp_path / "b", FULL, 3)
    other = Leases(tmp_path / "b" / "leases", "other")
    assert other.take(first.key)
    recipes, _ = world.go()
    assert len(recipes) == 3 and first.key not in keys(recipes)


def test_it_ends_when_draws_give_nothing_new_and_stays_ended(make_trial, tmp_path):
    world = World(make_trial, tmp_path, FULL, 100)
    world.obstacles = {"openvino": "out", "onnxruntime": "out"}
    assert world.go() == ([], "50 draws in a row gave no recipe that can work and was not tried")
    asked = len(world.explorer._trials())
    assert isinstance(world.explorer.next(), Ended) and len(world.explorer._trials()) == asked


def test_it_ends_when_the_front_no_longer_grows(make_trial, tmp_path):
    world = World(make_trial, tmp_path, FULL, 100, speed=lambda r: 1.0 if r.exact else 0.5)
    recipes, reason = world.go()
    assert len(recipes) == explore.PATIENCE and "Pareto front" in reason
    # Each a fifth faster than all before it: then it goes on to the last.
    pace = iter(1.2**k for k in range(1, 1000))
    growing = World(make_trial, tmp_path / "growing", FULL, 20, speed=lambda r: 1.0 if r.exact else next(pace))
    recipes, reason = growing.go()
    assert len(recipes) == 20 and "asked for" in reason


def test_a_failed_recipe_counts_and_a_skipped_one_is_open_again(make_trial, tmp_path):
    world = World(make_trial, tmp_path, FULL, 2)
    first = world.explorer.next()
    key = first.proposal.recipe.key
    skipped = replace(world.run(first.proposal.recipe), status=Status.SKIPPED, verdict=None, timings=None)
    del world.records[key]
    world.explorer.tell(first, skipped)
    assert world.explorer.explored() == []
    second = world.explorer.next()
    failed = world.run(second.proposal.recipe, status=Status.FAILED, reason="no", verdict=None, timings=None)
    world.explorer.tell(second, failed)
    assert world.explorer.explored() == [second.proposal.recipe.key]
    recipes, _ = world.go()
    assert len(recipes) == 1


def test_workers_share_one_exploration_and_none_runs_what_another_has(make_trial, tmp_path):
    one, two = (World(make_trial, tmp_path, FULL, 5, worker=name) for name in ("one", "two"))
    two.records = one.records
    two.explorer._known = one.records.get
    mine, theirs = one.explorer.next(), two.explorer.next()
    assert mine.proposal.recipe != theirs.proposal.recipe
    assert not one.leases.take(theirs.proposal.recipe.key)
    two.explorer.tell(theirs, two.run(theirs.proposal.recipe))
    rest, reason = [], two.explorer.next()
    while isinstance(reason, Suggestion):
        rest.append(reason.proposal.recipe)
        two.explorer.tell(reason, two.run(reason.proposal.recipe))
        reason = two.explorer.next()
    assert len(rest) == 3 and reason is None, "one is still at work: nothing is said to be over"
    # The first is killed: the kernel frees its lease, the second takes its recipe over under the same number.
    one.leases.release(mine.proposal.recipe.key)
    taken = two.explorer.next()
    assert taken.proposal == mine.proposal and taken.number == mine.number
    two.explorer.tell(taken, two.run(taken.proposal.recipe))
    assert isinstance(two.explorer.next(), Ended)
    alone = World(make_trial, tmp_path / "alone", FULL, 5).go()[0]
    assert set(two.explorer.explored()) == set(keys(alone)), "while drawn at random, the set hangs on no worker"


def test_a_worker_killed_after_its_record_was_written_is_settled_from_it(make_trial, tmp_path):
    world = World(make_trial, tmp_path, FULL, 1)
    found = world.explorer.next()
    world.run(found.proposal.recipe)
    world.leases.release(found.proposal.recipe.key)
    assert isinstance(world.explorer.next(), Ended)
    assert world.explorer.explored() == [found.proposal.recipe.key]


def test_a_missing_library_is_named(make_trial, tmp_path, monkeypatch):
    monkeypatch.setattr(explore, "installed", lambda name: None)
    with pytest.raises(explore.MissingExtra, match=r"primum\[search\]"):
        explore.require_optuna()
