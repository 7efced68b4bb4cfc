"""What holds whatever happens: random arrivals, shapes, cancellations, faults and drains in virtual time."""

from collections import Counter
from math import inf

import pytest
from batching_world import Arrival, World, arrivals, oracle, settings
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from primum.batching.outcome import FOR_LOAD, OutcomeKind, Reason
from primum.batching.priority import Priority
from primum.batching.release import Release
from primum.batching.request import ItemState
from primum.batching.settings import Settings
from primum.config.batching import BatchStrategy

many = hypothesis_settings(max_examples=50, deadline=None)
worlds = st.builds(
    World,
    arrivals=arrivals(poison=True, lethal=True),
    settings=settings(),
    memory_holds=st.sampled_from([3, 10, 10**9]),
    drain_at=st.none() | st.integers(0, 30),
    kills=st.frozensets(st.integers(1, 40), max_size=4),
    known=st.booleans(),
)


def _adds_up(world):
    stats = world.core.stats()
    assert stats.submitted == len(world.items) == sum(stats.outcomes.values()) + stats.pending
    assert stats.pending == sum(item.outcome is None for item in world.items)
    assert stats.running == sum(item.state == 2 for item in world.items)
    assert stats.retrying == sum(item.state == 3 for item in world.items)
    assert stats.queued == {
        level: sum(item.state == 1 and item.priority is level for item in world.items) for level in Priority
    }
    assert stats.queued_cost == sum(item.cost for item in world.waiting) <= world.settings.max_queue_size


def _one_bucket_within_the_cap(world, batch):
    assert len({item.bucket for item in batch.items}) == 1
    assert batch.size == sum(item.cost for item in batch.items) <= world.settings.max_batch_size


@many
@given(worlds)
def test_every_request_ends_exactly_once_and_the_counts_add_up_at_every_step(world):
    world.checks = (_adds_up,)
    world.run()
    assert Counter(item.id for _, item in world.ended) == Counter(item.id for item in world.items)
    assert all(item.outcome is not None for item in world.items)
    stats = world.core.stats()
    by_kind = Counter(item.outcome.kind for item in world.items)
    assert {kind: n for kind, n in stats.outcomes.items() if n} == by_kind


@many
@given(worlds)
def test_answers_are_those_of_a_batch_of_one_and_batches_keep_bucket_and_cap(world):
    world.releases = (_one_bucket_within_the_cap,)
    world.run()
    for item in world.items:
        if item.outcome.kind is OutcomeKind.RESULT:
            assert item.outcome.value == oracle(item.payload)
            assert not item.payload[1]


@many
@given(
    arrivals(deadlines=False, poison=True, cancels=False),
    settings(max_queue_size=10**6),
    st.sampled_from([1, 3, 10**9]),
)
def test_a_bad_item_changes_nobody_elses_outcome(requests, setting, memory):
    world = World([Arrival(**vars(a) | {"cost": 1}) for a in requests], setting, memory_holds=memory).run()
    for item in world.items:
        expected = Reason.MODEL_ERROR if item.payload[1] else Reason.ANSWERED
        assert item.outcome.reason is expected


@many
@given(arrivals(deadlines=False, costs=False), settings(max_queue_size=10**6))
def test_cancelling_changes_only_its_own_outcome(requests, setting):
    world = World(requests, setting).run()
    for item, request in zip(world.items, requests):
        if request.cancel_after is None:
            assert item.outcome.reason is Reason.ANSWERED
        else:
            assert item.outcome.reason in (Reason.ANSWERED, Reason.BY_CALLER)
            if item.outcome.reason is Reason.BY_CALLER:
                assert item.finished == pytest.approx(item.enqueued + request.cancel_after)


@many
@given(worlds)
def test_nothing_is_released_that_would_be_late(world):
    def in_time(world, batch):
        late = world.now + world.core.plan(batch.bucket).seconds(batch.size)
        assert batch.reason is Release.PROBE or all(late <= item.deadline for item in batch.items)

    world.releases = (in_time,)
    world.run()


@many
@given(worlds)
def test_expired_answers_come_by_deadline_and_a_tick_however_busy_the_executors(world):
    def none_overdue(world):
        for item in world.items:
            assert item.state not in (1, 3) or world.now <= item.deadline + world.settings.tick_s + 1e-9

    world.checks = (none_overdue,)
    world.run()
    for at, item in world.ended:
        # Who had its deadline pass inside a call that failed learns of it when the call ends.
        if item.outcome.kind is OutcomeKind.EXPIRED and item.started == inf:
            assert at <= item.deadline + world.settings.tick_s + 1e-9


@many
@given(worlds)
def test_known_latencies_leave_no_answer_late(world):
    world.known, world.memory_holds = True, 10**9
    world.run()
    assert all(
        item.finished <= item.deadline + 1e-9
        for item in world.items
        if item.outcome.kind is OutcomeKind.RESULT and not item.probe
    )


@many
@given(worlds)
def test_no_executor_idles_while_work_is_ready_beyond_the_hold(world):
    def busy_or_held(world):
        stats = world.core.stats()
        if stats.running_batches < world.settings.executors:
            again = [item for item in world.items if item.state is ItemState.RETRYING]
            assert all(item.priority is Priority.BACKGROUND for item in again)
            held = world.settings.strategy is BatchStrategy.TIMEOUT and not world.core.draining
            patients = [item for item in world.waiting if item.priority is not Priority.BACKGROUND]
            assert not patients or held
            assert patients or not (world.waiting or again) or stats.running_batches
            oldest = [min(i.enqueued for i in patients if i.bucket == b) for b in {i.bucket for i in patients}]
            assert all(world.now < at + world.settings.window_s for at in oldest)

    world.checks = (busy_or_held,)
    world.run()


@many
@given(
    arrivals(deadlines=False, costs=False),
    settings(starvation_age_s=1e9, strategy=BatchStrategy.LATENCY_AWARE, max_queue_size=10**6),
)
def test_a_higher_class_never_waits_for_a_lower_that_is_not_yet_released(requests, setting):
    def highest_first(world, batch):
        waiting = [i.level for i in world.waiting]
        assert not waiting or min(i.level for i in batch.items) <= min(waiting)
        same = [i.level for i in world.waiting if i.bucket == batch.bucket]
        assert not same or max(i.level for i in batch.items) <= min(same)

    World(requests, setting, releases=(highest_first,)).run()


@many
@given(arrivals(deadlines=True, costs=False), settings(strategy=BatchStrategy.LATENCY_AWARE))
def test_past_the_quota_too_the_lead_is_of_the_highest_class_or_starving(requests, setting):
    def led_rightly(world, batch):
        higher = [i for i in world.waiting if i.level < min(m.level for m in batch.items)]
        starved = batch.reason is Release.STARVATION
        assert not higher or starved
        if starved:
            assert world.now - batch.items[0].enqueued >= setting.starvation_age_s

    World(requests, setting, releases=(led_rightly,)).run()


@many
@given(arrivals(costs=False, cancels=False), settings(max_queue_size=10**6))
def test_who_has_no_deadline_is_released_within_the_bound_of_the_quota(requests, setting):
    """A starving request is passed over by fewer than `quota` batches for each one that came before it."""
    ahead = {}

    def count(world, batch):
        for item in batch.items:
            ahead.pop(item.id, None)
        for item in world.waiting:
            if item.priority is Priority.BACKGROUND:
                continue
            if world.now - item.enqueued >= setting.starvation_age_s:
                before = sum(i.enqueued <= item.enqueued and i.id != item.id for i in world.items)
                ahead[item.id] = ahead.get(item.id, 0) + 1
                assert ahead[item.id] <= setting.starvation_quota * (before + 1)

    World(requests, setting, releases=(count,)).run()


@many
@given(worlds)
def test_the_background_runs_alone_while_no_patient_waits_and_displaces_nobody(world):
    def alone(world, batch):
        if any(item.priority is Priority.BACKGROUND for item in batch.items):
            assert len(batch.items) == 1 and batch.reason in (Release.BACKGROUND, Release.PROBE, Release.RETRY)
            stats = world.core.stats()
            assert stats.running_batches == 1 and not stats.retrying
            assert all(item.priority is Priority.BACKGROUND for item in world.waiting)

    world.releases = (alone,)
    world.run()
    background = Counter(i.outcome.reason for i in world.items if i.priority is Priority.BACKGROUND)
    stats = world.core.stats()
    assert stats.background == background
    assert stats.latency.n == stats.reasons.get(Reason.ANSWERED, 0) - background[Reason.ANSWERED]
    patients = [i for i in world.items if i.priority is not Priority.BACKGROUND]
    assert world.core.backlog(world.now) == (0.0, sum(i.outcome.reason in FOR_LOAD for i in patients))


def test_the_background_is_turned_away_first():
    fill = [Arrival(0.0)] + [Arrival(0.0, priority=level) for level in (Priority.BACKGROUND, Priority.ROUTINE)] * 2
    world = World([*fill, Arrival(0.0)], Settings(max_queue_size=4, max_batch_size=1)).run()
    ended = {item.id: item.outcome.reason for item in world.items}
    assert ended == {0: "answered", 1: "answered", 2: "answered", 3: "evicted", 4: "answered", 5: "answered"}
    assert [ids[0] for _, _, _, ids in world.batches] == [0, 2, 4, 5, 1]


def test_a_patient_is_not_promised_a_later_answer_for_what_waits_in_the_background():
    core = World([Arrival(0.0, priority=Priority.BACKGROUND) for _ in range(50)] + [Arrival(0.0)], known=True)
    core.run()
    patient = core.items[-1]
    assert patient.finished == pytest.approx(2 * core.service(1))


def test_the_backlog_is_the_time_of_what_patients_wait_for():
    seen = []
    arrivals = [Arrival(0.0) for _ in range(9)] + [Arrival(0.0, priority=Priority.BACKGROUND) for _ in range(20)]
    setting = Settings(max_batch_size=4, target_s=None)
    world = World(arrivals, setting, known=True, checks=(lambda world: seen.append(world.core.backlog(world.now)),))
    world.run()
    # One runs alone at once, eight wait: two batches of four. Then only the background is left.
    at_first = world.service(1) + 2 * world.service(4)
    assert seen[len(arrivals) - 1].seconds == pytest.approx(at_first)
    assert max(look.seconds for look in seen) == pytest.approx(at_first)


@many
@given(arrivals(costs=False), settings())
def test_first_come_first_served_inside_a_class_and_deadline(requests, setting):
    fixed = [Arrival(**vars(a) | {"slack": None}) for a in requests]
    world = World(fixed, setting).run()
    started = {}
    for item in world.items:
        if item.started < inf:
            key = (item.bucket, item.level)
            assert started.get(key, 0.0) <= item.started
            started[key] = item.started


@many
@given(worlds)
def test_gauges_return_to_zero_and_what_comes_after_a_drain_is_refused(world):
    world.run()
    stats = world.core.stats()
    assert stats.pending == stats.queued_cost == stats.running_batches == stats.retrying == 0
    assert world.core.idle and not world.core.waiting
    assert world.core.next_wakeup(world.now) is None
    if world.drain_at is not None:
        for item in world.items[world.drain_at :]:
            assert item.outcome.reason is Reason.DRAINING
        assert all(item.outcome.reason is not Reason.DRAINING for item in world.items[: world.drain_at])


@many
@given(worlds)
def test_the_same_seed_gives_the_same_schedule(world):
    again = World(
        world.arrivals,
        world.settings,
        memory_holds=world.memory_holds,
        drain_at=world.drain_at,
        kills=world.kills,
        known=world.known,
    ).run()
    assert again.batches == world.run().batches


@many
@given(
    arrivals(deadlines=False, lethal=True, cancels=False, costs=False),
    settings(max_queue_size=10**6),
    st.frozensets(st.integers(1, 60), max_size=12),
)
def test_a_killed_process_loses_no_answer_and_who_kills_it_ends_alone(requests, setting, kills):
    """Only two deaths that an item met alone end it: of two it cannot be innocent for all that is known."""
    world = World(requests, setting, kills=kills).run()
    met_alone = Counter(
        ids[0] for number, (*_, ids) in enumerate(world.batches, 1) if number in kills and len(ids) == 1
    )
    for item in world.items:
        if requests[item.id].lethal:
            assert item.outcome.reason is Reason.EXECUTOR_DIED
        elif item.outcome.reason is Reason.EXECUTOR_DIED:
            assert met_alone[item.id] == 2
        else:
            assert item.outcome.value == oracle(item.payload)
    runs = Counter(k for *_, ids in world.batches for k in ids if len(ids) == 1)
    assert all(runs[item.id] <= 2 for item in world.items)


def test_all_of_this_is_reached():
    """The scenarios above do reach retries, evictions, early drops, starvation and holds."""
    seen = Counter()

    @hypothesis_settings(max_examples=150, deadline=None, derandomize=True, database=None)
    @given(worlds)
    def collect(world):
        world.run()
        stats = world.core.stats()
        seen.update(stats.reasons)
        seen.update(stats.releases)

    collect()
    for wanted in (
        Reason.EVICTED,
        Reason.QUEUE_FULL,
        Reason.DEADLINE_UNMEETABLE,
        Reason.DEADLINE_PASSED,
        Reason.MODEL_ERROR,
        Reason.OUT_OF_MEMORY,
        Reason.EXECUTOR_DIED,
        Reason.BY_CALLER,
        Reason.DRAINING,
        Reason.TOO_LARGE,
        Release.RETRY,
        Release.STARVATION,
        Release.WINDOW,
        Release.DEADLINE,
        Release.FULL,
        Release.MEMORY,
        Release.BACKGROUND,
    ):
        assert seen[wanted], f"never reached: {wanted}"


def test_a_routine_request_under_a_flood_of_emergencies_is_released_by_the_quota():
    at_once = [Arrival(0.0, priority=level) for level in (Priority.EMERGENCY, Priority.ROUTINE, Priority.EMERGENCY)]
    flood = at_once + [Arrival(0.005, priority=Priority.EMERGENCY) for _ in range(200)]
    setting = Settings(max_batch_size=1, starvation_age_s=0.05, starvation_quota=4, max_queue_size=10**6)
    world = World(flood, setting).run()
    order = [ids[0] for _, _, _, ids in world.batches]
    led = [reason for _, reason, _, _ in world.batches].index(Release.STARVATION)
    assert order[led] == 1
    assert world.items[1].started <= 0.05 + 4 * world.service(1)


def test_draining_ends_a_hold():
    world = World(
        [Arrival(0.0), Arrival(0.001)], Settings(strategy=BatchStrategy.TIMEOUT, window_s=10.0), drain_at=1
    ).run()
    assert world.batches[0][0] == pytest.approx(0.001)
    assert world.batches[0][1] == Release.DRAIN
