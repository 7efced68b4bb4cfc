"""The batcher: a state machine that knows no clock, no thread and no model. Faces tell it what happens, and when."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from math import inf

from primum.batching.admission import Admission
from primum.batching.forming import Forming
from primum.batching.latency import LatencyTables
from primum.batching.outcome import Outcome, Reason
from primum.batching.policy import BucketPlan
from primum.batching.priority import CLASSES
from primum.batching.queue import Queue
from primum.batching.recovery import Retries
from primum.batching.release import Failure, Release
from primum.batching.request import Batch, Item, ItemState
from primum.batching.settings import Settings
from primum.batching.stats import BatcherStats, BucketFacts, Quantiles, Recorder
from primum.config.batching import BatchStrategy
from primum.errors import InputError, OutputCountError


class Batcher:
    """Puts requests of one model into batches. Not thread-safe: a face serialises the calls.

    `now` is seconds of any clock that never goes back. After each call `take_finished` gives the items that have got
    their outcome. After `submit`, `complete` and `fail`, and at `next_wakeup`, call `next_batch` until it gives None.
    """

    def __init__(
        self, settings: Settings | None = None, *, model: str = "model", tables: LatencyTables | None = None
    ) -> None:
        self.settings = settings or Settings()
        self._model, self._tables = model, tables or LatencyTables(self.settings.latency_quantile)
        self._plans: dict[Hashable, BucketPlan] = {}
        self._queue, self._retries = Queue(), Retries()
        self._admission = Admission(self._queue, self._retries, self.plan, self.settings.executors)
        self._running: dict[int, Batch] = {}
        self._in_flight = 0
        self._expected: dict[Hashable, int] = {}
        self._held: dict[Hashable, float] = {}
        self._finished: list[Item] = []
        self._recorder = Recorder()
        self._batches = self._passed_over = 0
        self._freed = -inf
        self.draining = False

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing runs."""
        return not (self._queue.cost or self._retries.count or self._running)

    def plan(self, bucket: Hashable) -> BucketPlan:
        """What is known of a bucket."""
        plan = self._plans.get(bucket)
        if plan is None:
            plan = self._plans[bucket] = BucketPlan(self.settings, self._tables.of(self._model, bucket))
        return plan

    def submit(self, item: Item, now: float) -> None:
        """A new request: it joins the queue, or is finished at once as rejected."""
        if item.state is not ItemState.NEW:
            raise InputError(f"request {item.id!r} was submitted before: make a new one")
        self._recorder.submitted += 1
        item.enqueued = now
        rejection = self._refusal(item, now)
        if rejection is not None:
            self._finish(item, rejection, now)
            return
        self._queue.push(item)

    def refuse(self, item: Item, error: BaseException, now: float) -> None:
        """A new request that validation refused: it never joins."""
        self._recorder.submitted += 1
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
        self._expected[bucket] = self._expected.get(bucket, 0) + 1

    def settle(self, bucket: Hashable) -> None:
        """A request that was expected has come, or never will."""
        left = self._expected.get(bucket, 0) - 1
        if left > 0:
            self._expected[bucket] = left
        else:
            self._expected.pop(bucket, None)

    def next_batch(self, now: float) -> Batch | None:
        """What to run now; None where nothing is ready or no executor is free. Expires who can no longer be in time."""
        if self._queue.with_deadline or self._retries.count:
            self._expire(now)
        if len(self._running) >= self.settings.executors:
            return None
        if self._held:
            self._held.clear()
        if not self._queue.cost and not self._retries.count:
            return None
        starving = self._starving(now)
        batch = self._quota(starving, now) or self._by_class(starving, now)
        if batch is not None and starving is not None:
            self._passed_over = 0 if starving.state is ItemState.RUNNING else self._passed_over + 1
        return batch

    def next_wakeup(self, now: float) -> float | None:
        """When `next_batch` has something to do if nothing else happens before; None: never."""
        times = list(self._held.values()) if len(self._running) < self.settings.executors else []
        if self._queue.with_deadline:
            heads = (line.head() for lines in self._queue.lines for line in lines.values())
            times.extend(self._hopeless_at(item) for item in heads)
        if self._retries.count:
            times.extend(self._hopeless_at(item) for item in self._retries)
        first = min(times, default=inf)
        return None if first == inf else max(first, now)

    def complete(self, batch: Batch, outputs: Sequence[object], now: float, call_seconds: float | None = None) -> None:
        """A call returned `outputs`, one for each item in order; `call_seconds` (default: since release) in the model.

        With another number of outputs every item of the batch ends in OutputCountError: none gets another's answer.
        """
        if not self._returned(batch, now):
            return
        if len(outputs) != len(batch.items):
            error = OutputCountError(len(batch.items), len(outputs))
            self._fail_all(batch.items, Reason.OUTPUT_COUNT, error, now)
            return
        elapsed = now - batch.started
        plan = self.plan(batch.bucket)
        if batch.reason is Release.PROBE:
            plan.start_over()
        plan.answered(batch.size, elapsed, elapsed if call_seconds is None else call_seconds, now)
        self._recorder.service.append(elapsed)
        for item, value in zip(batch.items, outputs):
            if item.state is ItemState.RUNNING:
                self._in_flight -= 1
                self._finish(item, Outcome(Reason.ANSWERED, value), now)

    def fail(self, batch: Batch, error: BaseException, now: float, failure: Failure = Failure.ERROR) -> None:
        """A call failed. Its items run again in halves until the one at fault stands alone, unless the call hung."""
        if not self._returned(batch, now):
            return
        self._recorder.failures[failure] += 1
        if failure is Failure.OUT_OF_MEMORY:
            self.plan(batch.bucket).ran_out_of_memory(batch.size)
        left = [item for item in batch.items if item.state is ItemState.RUNNING]
        if failure is Failure.HUNG:
            self._fail_all(left, Reason.EXECUTOR_HUNG, error, now)
        elif len(batch.items) == 1 and left:
            out = failure is Failure.OUT_OF_MEMORY
            self._fail_all(left, Reason.OUT_OF_MEMORY if out else Reason.MODEL_ERROR, error, now)
        elif len(left) == 1:
            self._in_flight -= 1
            self._retries.add(left)
        elif left:
            self._in_flight -= len(left)
            self._retries.split(left)

    def drain(self) -> None:
        """Refuse what comes from now on; what is here is still answered, and held for nothing."""
        self.draining = True

    def abandon(self, now: float) -> None:
        """Turn away all that waits. Calls that run go on."""
        self.drain()
        waiting = [item for lines in self._queue.lines for line in lines.values() for item in line]
        for item in [*waiting, *self._retries]:
            self._end(item, Outcome(Reason.STOPPED), now)

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
            buckets=tuple(_facts(bucket, plan) for bucket, plan in self._plans.items()),
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

    def _hopeless_at(self, item: Item) -> float:
        """When it is certain, and a timer has surely fired, that even a batch of its own would be late."""
        alone = 0.0 if item.probe else self.plan(item.bucket).seconds(item.cost)
        return item.deadline - alone + self.settings.tick_s

    def _hopeless(self, item: Item, now: float) -> bool:
        alone = 0.0 if item.probe else self.plan(item.bucket).seconds(item.cost)
        return now + alone > item.deadline

    def _expire(self, now: float) -> None:
        for lines in self._queue.lines:
            for bucket in list(lines):
                while bucket in lines and self._hopeless(head := lines[bucket].head(), now):
                    self._end(head, Outcome(Reason.DEADLINE_PASSED), now)
                    self._queue.sweep(bucket)
        if self._retries.count:
            for item in [item for item in self._retries if self._hopeless(item, now)]:
                self._end(item, Outcome(Reason.DEADLINE_PASSED), now)

    def _starving(self, now: float) -> Item | None:
        """Who has waited longest, where that is too long: parts of failed batches before the queue."""
        group = self._retries.oldest() if self._retries.count else None
        oldest = group[0] if group else self._queue.oldest()
        return oldest if oldest is not None and now - oldest.enqueued >= self.settings.starvation_age_s else None

    def _quota(self, starving: Item | None, now: float) -> Batch | None:
        if starving is None or self._passed_over + 1 < self.settings.starvation_quota:
            return None
        if starving.state is ItemState.RETRYING:
            group = self._retries.oldest()
            return self._again(group, now) if group else None
        return self._form(starving.bucket, now, starving, lead=starving)

    def _by_class(self, starving: Item | None, now: float) -> Batch | None:
        for level in range(CLASSES):
            while (group := self._retries.first(level)) is not None:
                batch = self._again(group, now)
                if batch is not None:
                    return batch
            if self._queue.count_of[level]:
                for head in self._queue.heads(level):
                    if head.bucket in self._held:
                        continue
                    batch = self._form(head.bucket, now, starving)
                    if batch is not None:
                        return batch
        return None

    def _again(self, group: list[Item], now: float) -> Batch | None:
        """Run a part of a failed batch; those whom its size would make late run alone first."""
        self._retries.take(group)
        plan = self.plan(group[0].bucket)
        size = sum(item.cost for item in group)
        if len(group) > 1 and any(now + plan.seconds(size) > item.deadline for item in group):
            for item in sorted(group, key=lambda item: item.deadline):
                self._retries.add([item])
            return None
        self._in_flight += len(group)
        for item in group:
            item.state = ItemState.RUNNING
        return self._release(group, size, Release.RETRY, now, retry=True)

    def _form(self, bucket: Hashable, now: float, starving: Item | None, lead: Item | None = None) -> Batch | None:
        forming = Forming(self._queue, self.plan(bucket), bucket, now, starving)
        forming.fill(lead)
        for item, why in forming.dropped:
            self._end(item, Outcome(why), now)
        items = forming.items
        held_until = self._hold(forming, bucket, now) if items and lead is None else None
        if not items or (held_until is not None and now < held_until):
            if items and held_until is not None:
                self._held[bucket] = held_until
            self._queue.sweep(bucket)
            return None
        for item in items:
            self._queue.remove(item, ItemState.RUNNING)
            item.started = now
        self._in_flight += len(items)
        self._queue.sweep(bucket)
        reason = Release.STARVATION if lead is not None and lead is items[0] else self._why(forming, held_until, now)
        return self._release(items, forming.size, reason, now)

    def _hold(self, forming: Forming, bucket: Hashable, now: float) -> float | None:
        """Until when to hold an incomplete batch; None where it is not held at all."""
        settings = self.settings
        by_strategy = settings.strategy is BatchStrategy.TIMEOUT
        if self.draining or forming.reason is not None or not (by_strategy or self._expected.get(bucket)):
            return None
        if forming.size >= forming.limit.size:
            return None
        oldest = min(item.enqueued for item in forming.items)
        largest = self.plan(bucket).seconds(forming.limit.size)
        return min(oldest + settings.window_s, forming.due - largest - settings.tick_s)

    def _why(self, forming: Forming, held_until: float | None, now: float) -> Release:
        if forming.reason is not None:
            return forming.reason
        if forming.size >= forming.limit.size:
            return forming.limit.reason
        if held_until is not None:
            in_window = held_until >= min(item.enqueued for item in forming.items) + self.settings.window_s
            return Release.WINDOW if in_window else Release.DEADLINE
        if self.draining:
            return Release.DRAIN
        return Release.IDLE if forming.items[0].enqueued >= self._freed else Release.EXECUTOR_FREE

    def _release(self, items: list[Item], size: int, reason: Release, now: float, *, retry: bool = False) -> Batch:
        self._batches += 1
        batch = Batch(self._batches, items, size, reason, retry=retry)
        batch.started = now
        batch.expected_end = now + self.plan(batch.bucket).seconds(size)
        self._running[batch.id] = batch
        self._recorder.released(batch, now)
        return batch

    def _returned(self, batch: Batch, now: float) -> bool:
        """Free the executor of a batch; False where it has been freed before (a hung call came back)."""
        if self._running.pop(batch.id, None) is None:
            return False
        self._freed = now
        return True

    def _fail_all(self, items: list[Item], reason: Reason, error: BaseException, now: float) -> None:
        for item in items:
            if item.state is ItemState.RUNNING:
                self._in_flight -= 1
                self._finish(item, Outcome(reason, error=error), now)

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
