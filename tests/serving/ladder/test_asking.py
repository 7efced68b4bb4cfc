"""The guard under overload: deferred cases wait in the same queue, and what is answered is answered in time."""

import heapq

import numpy as np

from primum.batching.core import Batcher
from primum.batching.outcome import Reason
from primum.batching.request import Item
from primum.batching.settings import Settings
from primum.serving.ladder.asking import reserved_for_original

FAST, REFERENCE = "fast", "reference"
SHARE = 0.1
DEADLINE = 0.25


def seconds(bucket, rows):
    return 0.002 + 0.0005 * rows if bucket == FAST else 0.010 + 0.005 * rows


class Guarded:
    """Requests at random moments in virtual time; a tenth ask the original after the fast network, by one deadline."""

    def __init__(self, rate, until, reserve=True, seed=0):
        self.core = Batcher(Settings(max_batch_size=32, target_s=0.1))
        for bucket in (FAST, REFERENCE):
            for size in (1, 2, 4, 8, 16, 32):
                for _ in range(3):
                    self.core.plan(bucket).table.observe(size, seconds(bucket, size))
        rng = np.random.default_rng(seed)
        at = np.cumsum(rng.exponential(1 / rate, int(rate * until)))
        self.defers = rng.random(len(at)) < SHARE
        self.events = [(moment, k, "come", k) for k, moment in enumerate(at)]
        heapq.heapify(self.events)
        self.order, self.now, self.until = len(at), 0.0, at[-1]
        self.late, self.answered = 0, {True: 0, False: 0}
        batches = (seconds(bucket, self.core.plan(bucket).limit().size) for bucket in (FAST, REFERENCE))
        self.reserved = reserved_for_original(DEADLINE, *batches) if reserve else 0.0

    def run(self):
        wake = None
        while self.events or wake is not None:
            if wake is not None and (not self.events or wake < self.events[0][0]):
                self.now = max(self.now, wake)
            else:
                self.now, _, kind, what = heapq.heappop(self.events)
                if kind == "come":
                    self.ask(what, FAST, self.now + DEADLINE - self.reserved)
                else:
                    self.core.complete(what, [None] * len(what.items), self.now)
            self.settle()
            while (batch := self.core.next_batch(self.now)) is not None:
                self.order += 1
                took = seconds(batch.bucket, batch.size)
                heapq.heappush(self.events, (self.now + took, self.order, "return", batch))
            self.settle()
            wake = self.core.next_wakeup(self.now)
        return self

    def ask(self, k, bucket, deadline):
        self.core.submit(Item(k, bucket=bucket, deadline=deadline), self.now)

    def settle(self):
        while finished := self.core.take_finished():
            for item in finished:
                if item.outcome.reason is not Reason.ANSWERED:
                    continue
                defers = bool(self.defers[item.id])
                if item.bucket == FAST and defers:
                    self.ask(item.id, REFERENCE, item.deadline + self.reserved)
                else:
                    self.answered[defers] += 1
                    self.late += item.finished > item.deadline + self.reserved


def capacity():
    """Cases a second, full batches of both networks."""
    return 1 / (seconds(FAST, 32) / 32 + SHARE * seconds(REFERENCE, 16) / 16)


def test_below_the_capacity_deferred_cases_are_answered_like_the_others():
    run = Guarded(0.9 * capacity(), 20).run()
    assert run.late == 0
    assert run.answered[True] > 0.93 * run.defers.sum() and run.answered[False] > 0.98 * (~run.defers).sum()
    # Without time kept for them they are the first to go unanswered.
    without = Guarded(0.9 * capacity(), 20, reserve=False).run()
    assert without.answered[True] < 0.85 * run.defers.sum()


def test_above_the_capacity_goodput_holds_and_nobody_is_answered_late():
    for load in (1.2, 2.0):
        run = Guarded(load * capacity(), 10).run()
        assert run.late == 0
        assert sum(run.answered.values()) / run.until > 0.95 * capacity()


def test_half_of_the_time_at_most_is_kept():
    assert reserved_for_original(1.0, 0.1, 0.2) == 0.1 + 0.2
    assert reserved_for_original(0.2, 0.1, 0.2) == 0.1
