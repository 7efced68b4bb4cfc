"""Who joins a batch, and who is given up."""

import pytest

from primum.batching.forming import Forming
from primum.batching.latency import LatencyTable
from primum.batching.outcome import Reason
from primum.batching.policy import BucketPlan
from primum.batching.priority import Priority
from primum.batching.queue import Queue
from primum.batching.release import Release
from primum.batching.request import Item
from primum.batching.settings import Settings


def forming(items, target=0.1, starving=None, lead=None, cap=32):
    """A batch at time 0 with service times 6 + 4n ms."""
    plan = BucketPlan(Settings(target_s=target, max_batch_size=cap), LatencyTable())
    for n in range(1, cap + 1):
        plan.answered(n, 0.006 + 0.004 * n, 0.006 + 0.004 * n, 0.0)
    queue = Queue()
    for item in items:
        queue.push(item)
    made = Forming(queue, plan, None, 0.0, starving)
    made.fill(lead)
    return made


def test_overload_gives_up_the_head_rather_than_shrink_the_batch():
    """Twenty wait, n* is 11: the two whose deadlines allow 5 are given up, or every later batch would be small too."""
    items = [Item(k, deadline=0.027 if k < 2 else 0.0501) for k in range(20)]
    made = forming(items)
    assert [item.id for item, reason in made.dropped if reason is Reason.DROPPED_EARLY] == [0, 1]
    assert [item.id for item in made.items] == list(range(2, 13))
    assert made.reason is Release.TARGET


def test_without_overload_the_batch_shrinks_and_nobody_is_given_up():
    items = [Item(k, deadline=0.027 if k < 2 else 1.0) for k in range(20)]
    made = forming(items)
    assert not made.dropped and len(made.items) == 5 and made.reason is Release.DEADLINE


def test_who_cannot_be_in_time_even_alone_is_dropped():
    made = forming([Item(0, deadline=0.009), Item(1, deadline=0.02)])
    assert made.dropped == [(made.dropped[0][0], Reason.DEADLINE_PASSED)] and made.dropped[0][0].id == 0
    assert [item.id for item in made.items] == [1]


def test_a_lower_class_fills_what_time_the_higher_leaves_and_never_displaces_it():
    emergencies = [Item(k, priority=Priority.EMERGENCY, deadline=0.0221) for k in range(2)]
    made = forming([*[Item(10 + k) for k in range(8)], *emergencies])
    assert [item.id for item in made.items] == [0, 1, 10, 11] and not made.dropped


def test_a_filler_that_this_batch_would_make_late_waits_and_others_may_join():
    emergencies = [Item(k, priority=Priority.EMERGENCY) for k in range(3)]
    tight, loose = Item(8, deadline=0.012), Item(9)
    made = forming([tight, loose, *emergencies])
    assert [item.id for item in made.items] == [0, 1, 2, 9] and not made.dropped


def test_the_starving_request_goes_first_in_its_own_class():
    routine = [Item(k, deadline=1.0 + k) for k in range(20)]
    starving = Item(99)
    urgent = Item(50, priority=Priority.URGENT)
    made = forming([*routine, starving, urgent], starving=starving)
    assert [item.id for item in made.items][:3] == [50, 99, 0]
    led = forming([*routine, Item(50, priority=Priority.URGENT), other := Item(98)], starving=other, lead=other)
    assert [item.id for item in led.items][:3] == [98, 50, 0]


def test_a_request_larger_than_the_limit_runs_alone():
    made = forming([Item(0, cost=20), Item(1)])
    assert [item.id for item in made.items] == [0] and made.size == 20


@pytest.mark.parametrize("deadline", [float("inf"), 5.0])
def test_costs_add_up_to_the_limit(deadline):
    made = forming([Item(k, cost=3, deadline=deadline) for k in range(10)], target=None, cap=8)
    assert made.size == 6 and made.reason is Release.FULL
