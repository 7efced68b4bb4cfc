"""A share of the cases, once answered, is asked of a more trusted network too, and the decisions are compared.

Which cases is drawn at random, whatever is in them. They run in the background class, so that no patient waits for them
longer than for one call of one case. For a guarded artifact the rate of undetected flips among all cases is tested
against its epsilon, for a faster rung of a ladder the rate of flips against the first rung. A deferred case has the
original's decision and counts as no flip; it is asked all the same, because what is dropped under load must not depend
on what is in a case: the rate would be wrong. Where a test rejects, the artifact is barred.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from primum.batching.priority import Priority
from primum.errors import InputError, RequestExpired, RequestRejected, StorageError
from primum.serving.ladder.asking import Asking
from primum.serving.ladder.flip_test import FlipRecord, FlipTest
from primum.serving.ladder.line import Line, Step
from primum.serving.ladder.trust import TrustStore
from primum.task import Task

MOST_FLIPS = 0.02
"""Default for a ladder; confirmed by no clinician."""
ALPHA = 0.05
"""Of all tests of a model together; fixed before any case is seen."""
_MOST_PENDING = 64
_AFTER_S = 0.01
"""Until the answer has gone out."""
_TIMEOUT_S = 10.0
_SAVE_S = 10.0
_LOG = logging.getLogger("primum.serving")


@dataclass(frozen=True)
class ShadowOptions:
    """How much is sampled, and what is allowed."""

    share: float = 0.0
    """Of the cases."""
    most_flips: float | None = None
    """Share of cases that a faster rung may decide otherwise than the first; None: MOST_FLIPS."""
    seed: int | None = None
    """Of the draw; None: another one each time."""


class Dropped(StrEnum):
    """Why a sampled case was not compared."""

    BUSY = "busy"
    """As many as may wait did."""
    TURNED_AWAY = "turned_away"
    """The batcher had no room, or no time, for the background."""
    FAILED = "failed"
    """The more trusted network gave no finite answer."""
    NOT_LOADED = "not_loaded"
    """Memory was short, or the model was reloaded."""
    BARRED = "barred"
    """The artifact had been barred meanwhile."""
    STOPPED = "stopped"


class Shadow:
    """Samples, compares and tests for one model; belongs to one event loop once it is started."""

    def __init__(self, name: str, options: ShadowOptions, asking: Asking, store: TrustStore | None = None) -> None:
        """Raises InputError where an option is out of range."""
        for option, value, low in (("share", options.share, 0), ("most_flips", options.most_flips, None)):
            if value is not None and not (0 < value < 1 or value == low or (low == 0 and value == 1)):
                raise InputError(f"shadow sampling: {option} = {value} is no share")
        self._name, self.options, self._asking, self._store = name, options, asking, store
        self._rng = np.random.default_rng(options.seed)
        self.sampled = self.deferred = 0
        """Cases drawn; and of those compared, how many the original had answered anyway."""
        self.dropped: Counter[Dropped] = Counter()
        self.failure = ""
        """Why the records could not be written; empty where they were."""
        self.told: Callable[[FlipTest], None] | None = None
        """Called with each test that bars an artifact."""
        self._pending: set[asyncio.Task[None]] = set()
        self._saver: asyncio.Task[None] | None = None
        self._unsaved: dict[str, FlipTest] = {}
        self._tests: dict[str, FlipTest] = {}
        """By artifact, those of earlier lines too: a reload forgets no bar of an artifact that stays."""

    def prepare(self, line: Line) -> None:
        """Give each rung its test, as an earlier run left it. Raises InputError where there is nothing to compare, or a
        rung is barred and nothing more trusted can answer in its place.
        """
        tested = [k for k, rung in enumerate(line.rungs) if k or rung.reference is not None]
        if self.options.share:
            self._check(line, tested)
        for place, step in enumerate(line.steps):
            rung = step.rung
            record = self._known(rung.digest)
            if place not in tested:
                if record is not None and record.barred is not None:
                    raise self._nothing_else(record)
                continue
            guard = rung.manifest.guard
            against = rung.digest if guard is not None else line.rungs[0].digest
            most = guard.epsilon if guard is not None else self.options.most_flips or MOST_FLIPS
            step.test = FlipTest(rung.digest, rung.manifest.recipe, against, most, ALPHA / len(tested))
            if record is not None:
                step.test.resume(record)
            self._tests[rung.digest] = step.test
            if step.test.barred is not None:
                self._bar(line, place, 0.0)

    def offer(self, line: Line, step: Step, rows: NDArray[np.float32], answers: NDArray[np.float64]) -> None:
        """Cases that `step` has just answered, float32 (N, *input_shape) and rows of answers."""
        share, test = self.options.share, step.test
        if not share or test is None or test.barred is not None:
            return
        if len(rows) == 1:
            picked = np.zeros(int(self._rng.random() < share), np.intp)
        else:
            picked = np.flatnonzero(self._rng.random(len(rows)) < share)
        if not len(picked):
            return
        self.sampled += len(picked)
        for row in picked:
            if len(self._pending) >= _MOST_PENDING:
                self.dropped[Dropped.BUSY] += 1
                continue
            # Copies: the rows of a whole batch lie in one array.
            compare = self._compare(line, step, test, rows[row : row + 1].copy(), answers[row : row + 1].copy())
            task = asyncio.ensure_future(compare)
            self._pending.add(task)
            task.add_done_callback(self._pending.discard)

    async def start(self) -> None:
        """Write what is counted every few seconds."""
        if self._store is not None and self._saver is None:
            self._saver = asyncio.create_task(self._save_often())

    async def stop(self) -> None:
        """Compare no more, and write what was counted."""
        tasks = [*self._pending, *([] if self._saver is None else [self._saver])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.to_thread(self._save)

    async def settled(self) -> None:
        """Return once nothing waits to be compared."""
        while self._pending:
            await asyncio.wait(self._pending)

    def _known(self, sha256: str) -> FlipRecord | None:
        """What was found of an artifact before."""
        if (test := self._tests.get(sha256)) is not None:
            return test.record()
        return None if self._store is None else self._store.read(sha256)

    def _nothing_else(self, record: FlipRecord) -> InputError:
        settled = (
            "" if self._store is None else f" (or, where that is settled, remove {self._store.path(record.sha256)})"
        )
        return InputError(
            f"model {self._name!r}: the artifact {record.sha256[:12]} was barred on {record.barred}: it decided "
            f"{record.flips} of {record.cases} cases otherwise than a more trusted one; serve another{settled}"
        )

    def _check(self, line: Line, tested: list[int]) -> None:
        task = line.rungs[0].manifest.signature.task
        if task in (Task.REGRESSION, Task.SEGMENTATION):
            raise InputError(
                f"model {self._name!r}: shadow sampling compares a case's decisions, and {task.value} makes none"
            )
        if not tested:
            raise InputError(
                f"model {self._name!r}: shadow sampling compares with a more trusted network, and there is none: serve "
                "a guarded artifact, or a ladder of accepted artifacts (NAME=TRUSTED,FASTER)"
            )

    async def _compare(
        self, line: Line, step: Step, test: FlipTest, row: NDArray[np.float32], answer: NDArray[np.float64]
    ) -> None:
        # A rung may be loaded anew meanwhile; it is the same artifact, and its decisions are read in the same way.
        read = step.rung.answers
        try:
            await asyncio.sleep(_AFTER_S)
            given = await self._trusted(line, step, row)
        except asyncio.CancelledError:
            self.dropped[Dropped.STOPPED] += 1
            raise
        except (RequestRejected, RequestExpired):
            self.dropped[Dropped.TURNED_AWAY] += 1
            return
        # Whatever the model raised: the patient has been answered, and it is counted.
        except Exception:  # noqa: BLE001
            self.dropped[Dropped.FAILED] += 1
            return
        if given is None:
            self.dropped[Dropped.NOT_LOADED] += 1
        elif np.isnan(given[:, 0]).any():
            self.dropped[Dropped.FAILED] += 1
        elif test.barred is not None:
            self.dropped[Dropped.BARRED] += 1
        else:
            deferred = bool(read.deferred(answer)[0])
            self.deferred += deferred
            flipped = not deferred and bool((read.decisions(given) != read.decisions(answer)).any())
            self._add(line, step, test, flipped)

    async def _trusted(self, line: Line, step: Step, row: NDArray[np.float32]) -> NDArray[np.float64] | None:
        """The more trusted network's answer; None where it is not loaded."""
        other = step if step.rung.reference is not None else line.steps[0]
        if not other.is_open:
            return None
        other.users += 1
        try:
            original = other is step or other.distrusted
            return await self._asking.rung(other.rung, row, Priority.BACKGROUND, _TIMEOUT_S, original)
        finally:
            line.leave(other)

    def _add(self, line: Line, step: Step, test: FlipTest, flipped: bool) -> None:
        self._unsaved[test.sha256] = test
        if not test.add(flipped):
            return
        self._bar(line, line.steps.index(step), asyncio.get_running_loop().time())
        _LOG.error(
            "model %r: artifact %s (%s) is barred: it decided %d of %d sampled cases otherwise than a more trusted "
            "network, and at most %g of all cases is allowed",
            self._name,
            test.sha256[:12],
            test.recipe,
            test.flips,
            test.cases,
            test.most_flips,
        )
        self._save()
        if self.told is not None:
            self.told(test)

    def _bar(self, line: Line, place: int, now: float) -> None:
        if place == 0:
            line.steps[0].distrusted = True
        else:
            line.ladder.bar(place, line.is_open, now)

    async def _save_often(self) -> None:
        while True:
            await asyncio.sleep(_SAVE_S)
            await asyncio.to_thread(self._save)

    def _save(self) -> None:
        if self._store is None:
            return
        for digest, test in list(self._unsaved.items()):
            self._unsaved.pop(digest, None)
            try:
                self._store.write(test.record())
            except (StorageError, InputError) as error:
                self._unsaved[digest] = test
                if self.failure != str(error):
                    _LOG.error("model %r: records of flips: %s", self._name, error)
                self.failure = str(error)
                return
        self.failure = ""
