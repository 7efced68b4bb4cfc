"""Which rung answers: quick down, slow up, never back and forth, whatever is seen."""

from itertools import pairwise
from math import inf, log2

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from primum.serving.ladder.ladder import Ladder, LadderSettings, Move, Release, Reopen, Seen, Why

RUNGS = 3
SETTINGS = LadderSettings()
TICK = 0.1


def seen(backlog=0.0, turned_away=0, load=1.0, capacities=(inf,) * RUNGS, is_open=(True,) * RUNGS, **more):
    return Seen(backlog, turned_away, load, tuple(capacities), tuple(is_open), **more)


class Machine:
    """A server in virtual time: its rungs are loaded and unloaded as the ladder says."""

    def __init__(self, ladder, capacities=(10.0, 40.0, 100.0), sizes=(0.3, 0.2, 0.1), base=0.2, failing=0):
        self.ladder, self.capacities, self.sizes, self.base = ladder, capacities, sizes, base
        self.open, self.backlog, self.now, self.failing = [True] * len(capacities), 0.0, 0.0, failing
        self.moves, self.acts, self.loading = [], [], None

    @property
    def memory(self):
        return self.base + sum(size for size, is_open in zip(self.sizes, self.open) if is_open)

    def run(self, load, seconds, learned=None):
        for _ in range(round(seconds / TICK)):
            self.step(load, learned)
        return self

    def step(self, load, learned):
        self.now += TICK
        rung = self.ladder.place
        capacity = self.capacities[rung] if self.open[rung] else 0.0
        self.backlog = max(0.0, self.backlog + TICK * (load - capacity) / max(capacity, 1.0))
        turned = self.backlog > 2
        self.backlog = min(self.backlog, 2.0)
        if self.loading is not None and self.now >= self.loading[1]:
            loaded = self.failing <= 0
            self.failing -= 1
            self.open[self.loading[0]] = loaded
            self.ladder.reopened(self.loading[0], loaded, self.now)
            self.loading = None
        act = self.ladder.look(
            Seen(
                self.backlog,
                int(turned),
                load,
                learned or self.capacities,
                tuple(self.open),
                self.memory,
                self.sizes,
            ),
            self.now,
        )
        if act is None:
            return
        self.acts.append((self.now, act))
        if isinstance(act, Move):
            self.moves.append(act)
        elif isinstance(act, Release):
            for rung in act.rungs:
                self.open[rung] = False
        else:
            self.loading = (act.rung, self.now + 0.5)


looks = st.lists(
    st.tuples(
        st.sampled_from([0.001, 0.05, 0.1, 0.1, 0.5, 7.0]),
        st.sampled_from([0.0, 0.02, 0.08, 0.2, 5.0, inf]),
        st.sampled_from([0, 0, 0, 3]),
        st.sampled_from([0.5, 5.0, 500.0]),
        st.sampled_from([None, 0.3, 0.85, 0.95]),
        st.sets(st.integers(0, RUNGS - 1)),
        st.sampled_from([None, None, None, 1, 2]),
        st.booleans(),
        st.sampled_from([1, 1, 4, 12]),
    ),
    max_size=60,
)


@settings(max_examples=200, deadline=None)
@given(looks)
def test_whatever_is_seen_it_moves_once_a_dwell_to_a_rung_that_is_loaded_and_not_barred(given_looks):
    ladder, now, moved = Ladder(RUNGS), 0.0, -inf
    looked = [look[:-1] for look in given_looks for _ in range(look[-1])]
    for step, backlog, turned, load, memory, closed, barred, loaded in looked:
        now += step
        is_open = tuple(k not in closed for k in range(RUNGS))
        if barred is not None:
            act = ladder.bar(barred, is_open, now)
            if act is not None:
                moved = now
                assert act.why is Why.BARRED and act.target not in ladder.barred
                assert is_open[act.target] or not any(is_open[k] for k in range(RUNGS) if k not in ladder.barred)
        before = ladder.place
        act = ladder.look(seen(backlog, turned, load, (10, 40, 100), is_open, memory=memory, sizes=(0.1,) * 3), now)
        assert ladder.place not in ladder.barred
        if isinstance(act, Move):
            assert now - moved >= SETTINGS.dwell_s and (act.origin, act.target) == (before, ladder.place)
            assert is_open[act.target] and ladder.moves[-1] is act
            moved = now
            if act.target < act.origin:
                assert act.why is Why.CALM and load <= 0.7 * (10, 40, 100)[act.target]
                assert backlog <= 0.025 and not turned and (memory is None or memory <= 0.9)
            elif act.why is Why.BACKLOG:
                assert backlog > 0.1
            elif act.why is Why.TURNED_AWAY:
                assert turned
            else:
                assert act.why is Why.MEMORY and memory > 0.9
        else:
            assert ladder.place == before
        if isinstance(act, Release):
            assert memory > 0.9 and all(is_open[k] and k < ladder.place for k in act.rungs)
        if isinstance(act, Reopen):
            assert not is_open[act.rung] and act.rung not in ladder.barred and act.rung <= ladder.place
            ladder.reopened(act.rung, loaded, now)
    assert len(ladder.moves) <= 64


@settings(max_examples=8, deadline=None)
@given(
    st.floats(0.1, 300),
    st.tuples(st.floats(1, 20), st.floats(1, 60), st.floats(1, 200)),
    st.tuples(st.floats(1, 20), st.floats(1, 60), st.floats(1, 200)),
    st.floats(0.0, 0.9),
)
def test_a_constant_load_ends_in_a_constant_rung_however_wrong_what_was_learned_is(load, capacities, learned, base):
    machine = Machine(Ladder(RUNGS), capacities, base=base).run(load, 2 * 3600, learned)
    # Each rung above the last is tried again `tries` times at most, each time after twice as long.
    most = (RUNGS - 1) * (2 * (SETTINGS.tries + 1) + 1)
    assert len(machine.moves) <= most
    assert all(move.when < 1.8 * 3600 for move in machine.moves)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.1, 300))
def test_where_what_was_learned_is_right_a_constant_load_ends_within_three_moves(load):
    machine = Machine(Ladder(RUNGS), base=0.0, sizes=(0.1,) * 3).run(load, 300)
    # What piled up before the first move may take it a rung further down than the load alone needs: corrected once.
    assert [move.target for move in machine.moves] == [1, 2, 1][: len(machine.moves)]
    if load > 12:
        assert machine.ladder.place > 0


def test_a_burst_goes_down_within_a_second_and_calm_brings_it_back():
    machine = Machine(Ladder(RUNGS), base=0.0, sizes=(0.1,) * 3).run(2.0, 5).run(30.0, 20)
    assert machine.moves[0].why is Why.BACKLOG and machine.moves[0].when - 5 < 1.0
    assert machine.ladder.place > 0
    machine.run(2.0, 60)
    assert machine.moves[-1].why is Why.CALM and machine.ladder.place == 0
    assert machine.moves[-1].when >= 25


def test_a_lasting_load_that_only_a_lower_rung_carries_keeps_it_there():
    machine = Machine(Ladder(RUNGS), base=0.0, sizes=(0.1,) * 3).run(80.0, 600)
    assert machine.ladder.place == 2 and [m.target for m in machine.moves] == [1, 2]


def test_a_moment_of_pressure_moves_nothing_and_refusals_that_last_do():
    ladder = Ladder(RUNGS)
    assert ladder.look(seen(5.0), 0.0) is None
    assert ladder.look(seen(), 0.1) is None
    assert ladder.look(seen(5.0), 2.0) is None
    for k in range(3):
        assert ladder.look(seen(0.0, 1), 10.0 + 0.1 * k) is None
    move = ladder.look(seen(0.0, 1), 10.31)
    assert isinstance(move, Move) and move.why is Why.TURNED_AWAY


def test_a_rung_that_was_left_again_under_the_same_load_is_tried_ever_later_and_then_no_more():
    """What was learned says that the first rung carries the load; it does not."""
    wrong = (1000.0,) * 3
    machine = Machine(Ladder(2), (10.0, 100.0), (0.1, 0.1), 0.0).run(20.0, 5400, wrong[:2])
    up = [m.when for m in machine.moves if m.why is Why.CALM]
    waits = [later - earlier for earlier, later in pairwise(up)]
    assert len(up) == SETTINGS.tries and all(b > 1.7 * a for a, b in pairwise(waits))
    assert machine.ladder.place == 1
    # Less load: it is worth another try.
    machine.run(5.0, 1000, wrong[:2])
    assert machine.ladder.place == 0
    assert log2(waits[-1] / waits[0]) == pytest.approx(len(waits) - 1, abs=0.3)


def test_memory_pressure_moves_down_unloads_what_is_above_and_loads_it_again_before_going_up():
    machine = Machine(Ladder(2), sizes=(0.3, 0.1), capacities=(100.0, 100.0), base=0.55).run(1.0, 30)
    kinds = [type(act).__name__ for _, act in machine.acts]
    assert kinds == ["Move", "Release"] and machine.moves[0].why is Why.MEMORY
    assert machine.acts[1][0] - machine.acts[0][0] == pytest.approx(TICK)
    assert machine.open == [False, True] and machine.memory == pytest.approx(0.65)
    machine.run(1.0, 300)
    assert len(machine.acts) == 2, "there is no room yet"
    machine.base = 0.2
    machine.run(1.0, 300)
    assert [type(act).__name__ for _, act in machine.acts[2:]] == ["Reopen", "Move"]
    assert machine.ladder.place == 0 and all(machine.open)


def test_a_rung_that_cannot_be_loaded_is_tried_again_ever_later():
    machine = Machine(Ladder(2), sizes=(0.3, 0.1), capacities=(100.0, 100.0), base=0.55, failing=3).run(1.0, 30)
    machine.base = 0.1
    machine.run(1.0, 300)
    times = [when for when, act in machine.acts if isinstance(act, Reopen)]
    assert len(times) == 4 and machine.ladder.place == 0
    assert [round(b - a) for a, b in pairwise(times)] == pytest.approx([10, 20, 40], abs=1.2)


def test_a_barred_rung_gives_way_at_once_to_the_next_more_trusted_that_is_loaded():
    everything, ladder = (True,) * RUNGS, Ladder(RUNGS)
    assert ladder.bar(2, everything, 0.0) is None
    ladder = Machine(Ladder(RUNGS), base=0.0, sizes=(0.1,) * 3).run(80.0, 60).ladder
    assert ladder.place == 2
    move = ladder.bar(2, (True, False, True), 61.0)
    assert (move.origin, move.target, move.why) == (2, 0, Why.BARRED)
    lonely = Ladder(2)
    lonely.place = 1
    assert lonely.bar(1, (False, True), 0.0).target == 0
    assert lonely.look(seen(capacities=(inf, inf), is_open=(False, True)), 0.1) == Reopen(0)


def test_a_barred_rung_is_passed_over_on_the_way_down():
    ladder = Ladder(RUNGS)
    ladder.bar(1, (True,) * RUNGS, 0.0)
    machine = Machine(ladder, base=0.0, sizes=(0.1,) * 3).run(30.0, 20)
    assert [m.target for m in machine.moves] == [2]


def test_under_lasting_pressure_it_goes_down_a_rung_at_a_time():
    ladder = Ladder(RUNGS)
    moves = [act for k in range(60) if (act := ladder.look(seen(9.0), TICK * k)) is not None]
    assert [move.target for move in moves] == [1, 2]
    assert moves[0].when == pytest.approx(SETTINGS.hold_s, abs=0.11)
    assert moves[1].when - moves[0].when == pytest.approx(SETTINGS.dwell_s, abs=0.11)
