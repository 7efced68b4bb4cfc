"""What is known of each bucket, of so many at most: inputs of ever new shapes must not fill the memory."""

from __future__ import annotations

from collections.abc import Hashable

from primum.batching.latency import LatencyTables
from primum.batching.policy import BucketPlan
from primum.batching.settings import Settings

MOST_BUCKETS = 1024
"""Of one model. A network of fixed inputs has one; one of sequences as many as there are lengths."""
_SHARE = 8


class Plans(dict[Hashable, BucketPlan]):
    """By bucket, made when first asked for. Beyond the most, the eighth whose batches ran least often is forgotten: a
    bucket that comes again is learned again.
    """

    def __init__(self, settings: Settings, model: str, tables: LatencyTables) -> None:
        super().__init__()
        self._settings, self._model, self._tables = settings, model, tables
        self.forgotten = 0
        """Buckets that had to make room."""

    def __missing__(self, bucket: Hashable) -> BucketPlan:
        if len(self) >= MOST_BUCKETS:
            for idle in sorted(self, key=lambda known: self[known].table.calls)[: max(1, MOST_BUCKETS // _SHARE)]:
                self.forget(idle)
                self.forgotten += 1
        plan = self[bucket] = BucketPlan(self._settings, self._tables.of(self._model, bucket))
        return plan

    def forget(self, bucket: Hashable) -> None:
        """Let go of what was learned of a bucket."""
        self.pop(bucket, None)
        self._tables.forget(self._model, bucket)
