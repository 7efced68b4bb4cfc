"""The batcher: a state machine that knows no clock, no thread and no model. Faces tell it what happens, and when."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from math import inf

from primum.batching.admission import Admission, Backlog
from primum.batching.latency import LatencyTables
from primum.batching.outcome import Outcome, Reason
from primum.batching.plans import Plans
from primum.batching.policy import BucketPlan
from primum.batching.queue import Queue
from primum.batching.recovery import Retries
from primum.batching.release import Failure, Release
from primum.batching.request import Batch, Item, ItemState
from primum.batching.schedule import Schedule
from primum.batching.settings import Settings
from primum.batching.stats import BatcherStats, BucketFacts, Quantiles, Recorder
from primum.errors import ExecutorDied, InputError, OutputCountError


class Batcher:
    """Puts requests of one model into batches. Not thread-safe: a face serialises the calls.

    `now` is seconds of any clock that never goes back. After each call `take_finished` gives the items that have got
    their outcome. After `submit`, `complete` and `fail`, and at `next_wakeup`, call `next_batch` until it gives None.
    """

    def __init__(
        self, settings: Settings | None = None, *, model: str = "model", tables: LatencyTables | None = None
    ) -> None:
        self.settings = settings or Settings()
        self._plans = Plans(self.settings, model, tables or LatencyTables(self.settings.latency_quantile))
        self._queue, self._retries = Queue(), Retries()
        self._schedule = Schedule(self.settings, self._queue, self._retries, self.plan, self._end)
        self._admission = Admission(self._queue, self._retries, self.plan, self.settings.executors)
        self._running: dict[int, Batch] = {}
        self._in_flight = 0
        self._finished: list[Item] = []
        self._recorder = Recorder()
        self._batches = 0

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing runs."""
        return not (self._queue.cost or self._retries.count or self._running)

    @property
    def draining(self) -> bool:
        """New requests are refused."""
        return self._schedule.draining

    @property
    def waiting(self) -> bool:
        """Somebody waits."""
        return bool(self._queue.cost or self._retries.count)

    def plan(self, bucket: Hashable) -> BucketPlan:
        """What is known of a bucket."""
        return self._plans[bucket]

    def submit(self, item: Item, now: float) -> None:
        """A new request: it joins the queue, or is finished at once as rejected."""
        if item.state is not ItemState.NEW:
            raise InputError(f"request {item.id!r} was submitted before: make a new one")
        self._recorder.submitted_at(now)
        item.enqueued = now
        rejection = self._refusal(item, now)
        if rejection is not None:
            self._finish(item, rejection, now)
            return
        self._queue.push(item)

    def refuse(self, item: Item, error: BaseException, now: float) -> None:
        """A new request that validation refused: it never joins."""
        self._recorder.submitted_at(now)
        item.enqueued = now
        self._finish(item, Outcome(Reason.INVALID, error=error), now)

    def cancel(self, item: Item, now: float) -> bool:
        """End a request without an answer; False where it has ended already. A running call goes on without it."""
        if item.state is ItemState.DONE or item.state is ItemState.NEW:
            return False
        self._end(item, Outcome(Reason.BY_CALLER), now)
        return True

    def expect(self, bucket: Hashable) -> None:
        """A request of `bucket` is being decoded: an incomplete batch is held for it, at most for the window."""
        self._schedule.expect(bucket)

    def settle(self, bucket: Hashable) -> None:
        """A request that was expected has come, or never will."""
        self._schedule.settle(bucket)

    def next_batch(self, now: float) -> Batch | None:
        """What to run now; None where nothing is ready or no executor is free. Expires who can no longer be in time."""
        schedule = self._schedule
        schedule.held.clear()
        if self._queue.with_deadline or self._retries.count:
            schedule.expire(now)
        if len(self._running) >= self.settings.executors or not (self._queue.cost or self._retries.count):
            return None
        choice = schedule.choose(now)
        if choice is None and not self._running and not schedule.held:
            choice = schedule.background(now)
        if choice is None:
            return None
        self._batches += 1
        batch = Batch(self._batches, choice.items, choice.size, choice.reason)
        batch.started = now
        batch.expected_end = now + self.plan(batch.bucket).seconds(batch.size)
        self._running[batch.id] = batch
        self._in_flight += len(batch.items)
        self._recorder.released(batch, now)
        return batch

    def next_wakeup(self, now: float) -> float | None:
        """When `next_batch` has something to do if nothing else happens before; None: never."""
        first = self._schedule.next_expiry()
        if self._schedule.held and len(self._running) < self.settings.executors:
            first = min(first, *self._schedule.held.values())
        return None if first == inf else max(first, now)

    def expire(self, now: float) -> None:
        """End those who can no longer be in time, without releasing a batch."""
        self._schedule.expire(now)

    def complete(self, batch: Batch, outputs: Sequence[object], now: float, call_seconds: float | None = None) -> None:
        """A call returned `outputs`, one for each item in order; `call_seconds` (default: since release) in the model.

        With another number of outputs every item of the batch ends in OutputCountError: none gets another's answer.
        """
        if len(outputs) != len(batch.items):
            self.fail(batch, OutputCountError(len(batch.items), len(outputs)), now, Failure.OUTPUT_COUNT)
            return
        if not self._returned(batch, now):
            return
        elapsed = now - batch.started
        plan = self.plan(batch.bucket)
        if batch.reason is Release.PROBE:
            plan.start_over()
        in_model = elapsed if call_seconds is None else call_seconds
        plan.answered(batch.size, elapsed, in_model, now)
        self._recorder.served(elapsed, in_model)
        for item, value in zip(batch.items, outputs):
            if item.state is ItemState.RUNNING:
                self._in_flight -= 1
                self._finish(item, Outcome(Reason.ANSWERED, value), now)

    def fail(self, batch: Batch, error: BaseException, now: float, failure: Failure = Failure.ERROR) -> None:
        """A call failed; `failure` says what becomes of its items. A batch that was ended before stays as it is."""
        if not self._returned(batch, now):
            return
        self._recorder.failures[failure] += 1
        left = [item for item in batch.items if item.state is ItemState.RUNNING]
        self._in_flight -= len(left)
        if failure is Failure.OUT_OF_MEMORY or (isinstance(error, ExecutorDied) and error.out_of_memory):
            self.plan(batch.bucket).ran_out_of_memory(batch.size)
        alone = len(batch.items) == 1
        if failure is Failure.DIED and alone and left and not left[0].bereft:
            left[0].bereft = True
            self._retries.first_of_all([left])
        elif alone or failure in _AS_ONE:
            for item in left:
                self._finish(item, Outcome(_REASON_OF[failure], error=error), now)
        elif len(left) > 1:
            self._retries.split(left)
        elif left:
            self._retries.first_of_all([left])

    def drain(self) -> None:
        """Refuse what comes from now on; what is here is still answered, and held for nothing."""
        self._schedule.draining = True

    def abandon(self, now: float) -> None:
        """Turn away all that waits. Calls that run go on."""
        self.drain()
        waiting = [item for lines in self._queue.lines for line in lines.values() for item in line]
        for item in [*waiting, *self._retries]:
            self._end(item, Outcome(Reason.STOPPED), now)

    def backlog(self, now: float) -> Backlog:
        """How much is asked of the model, without a walk over who waits."""
        return Backlog(self._admission.until_cleared(self._running.values(), now), self._recorder.turned_away)

    def forget(self, bucket: Hashable) -> None:
        """Let go of what was learned of a bucket that will not be asked again."""
        self._plans.forget(bucket)

    def take_finished(self) -> list[Item]:
        """Items that got their outcome since the last call."""
        finished = self._finished
        if finished:
            self._finished = []
        return finished

    def stats(self) -> BatcherStats:
        """A snapshot of what happened so far."""
        recorder, queue = self._recorder, self._queue
        return BatcherStats(
            submitted=recorder.submitted,
            outcomes=recorder.outcomes(),
            reasons=dict(recorder.reasons),
            background=dict(recorder.background),
            late=recorder.late,
            releases=dict(recorder.releases),
            batch_sizes=dict(recorder.sizes),
            failures=dict(recorder.failures),
            queued=queue.by_class(),
            queued_cost=queue.cost,
            retrying=self._retries.count,
            running=self._in_flight,
            running_batches=len(self._running),
            waits=recorder.waits(),
            service=Quantiles.of(recorder.service),
            latency=Quantiles.of(recorder.sojourns),
            throughput=recorder.throughput,
            buckets=tuple(_facts(bucket, plan) for bucket, plan in self._plans.items()),
            waited_s=recorder.waited_s,
            served_s=recorder.served_s,
            forgotten_buckets=self._plans.forgotten,
        )

    def _refusal(self, item: Item, now: float) -> Outcome | None:
        settings = self.settings
        if self.draining:
            return Outcome(Reason.DRAINING)
        if not 1 <= item.cost <= settings.max_batch_size:
            return Outcome(Reason.TOO_LARGE)
        if item.deadline < inf:
            plan = self.plan(item.bucket)
            excess = now + self._admission.until_answered(item, plan, self._running.values(), now) - item.deadline
            if excess > 0:
                if now > item.deadline or not self.idle or not plan.probe_due(now):
                    return Outcome(Reason.DEADLINE_UNMEETABLE, retry_after_s=excess)
                item.probe = True
        if self._queue.cost + item.cost > settings.max_queue_size:
            victims = self._admission.victims(item, settings.max_queue_size)
            if victims is None:
                wait = self._admission.until_cleared(self._running.values(), now)
                return Outcome(Reason.QUEUE_FULL, retry_after_s=wait)
            for victim in victims:
                wait = self._admission.until_cleared(self._running.values(), now)
                self._end(victim, Outcome(Reason.EVICTED, retry_after_s=wait), now)
        return None

    def _returned(self, batch: Batch, now: float) -> bool:
        """Free the executor of a batch; False where it has been freed before (a hung call came back)."""
        if self._running.pop(batch.id, None) is None:
            return False
        self._schedule.freed = now
        return True

    def _end(self, item: Item, outcome: Outcome, now: float) -> None:
        """Give an item its outcome, wherever it is."""
        if item.state is ItemState.QUEUED:
            self._queue.remove(item, ItemState.DONE)
        elif item.state is ItemState.RETRYING:
            self._retries.remove(item)
        elif item.state is ItemState.RUNNING:
            self._in_flight -= 1
        self._finish(item, outcome, now)

    def _finish(self, item: Item, outcome: Outcome, now: float) -> None:
        item.state = ItemState.DONE
        item.outcome = outcome
        item.finished = now
        self._recorder.finished(item, outcome.reason, now)
        self._finished.append(item)


_AS_ONE = (Failure.OUTPUT_COUNT, Failure.HUNG)
_REASON_OF = {
    Failure.ERROR: Reason.MODEL_ERROR,
    Failure.OUT_OF_MEMORY: Reason.OUT_OF_MEMORY,
    Failure.OUTPUT_COUNT: Reason.OUTPUT_COUNT,
    Failure.HUNG: Reason.EXECUTOR_HUNG,
    Failure.DIED: Reason.EXECUTOR_DIED,
}


def _facts(bucket: Hashable, plan: BucketPlan) -> BucketFacts:
    limit, table = plan.limit(), plan.table
    return BucketFacts(
        bucket=bucket,
        limit=limit.size,
        limited_by=limit.reason,
        memory_cap=plan.memory_cap,
        target_unattainable=plan.target_unattainable,
        calls=table.calls,
        latency_s={size: table.upper(size) for size in table.sizes},
        overhead_s=plan.overhead,
    )
