"""Ranking: the leading candidates timed side by side.

Trials are timed when they are built, minutes apart; on a shared machine that ranks the neighbours as much as the
candidates. What is chosen among is therefore timed once more, all in one interleaved run.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace

from primum.benchmark.timing import Timings, interleave, summarize
from primum.study.runner import Runner
from primum.study.select import of_runtime
from primum.study.trial import Trial
from primum.validation.verdict import Outcome

LEADERS = 6
NEAR = 0.6
"""A candidate takes part if its own trial showed at least this share of the fastest's speed-up."""
ROUNDS = 16
SAID = "ranked by a run beside the other leaders"


def leaders(trials: Sequence[Trial]) -> list[Trial]:
    """The fastest lossy candidates without shown harm, and the fastest lossless one; at most LEADERS."""
    hopeful = [t for t in trials if t.ok and t.guard is None and t.outcome is not Outcome.INFERIOR]
    lossy = sorted((t for t in hopeful if not t.lossless), key=lambda t: -t.speed)
    least = NEAR * lossy[0].speed if lossy else 0.0
    near = [t for t in lossy if t.speed >= least]
    equals = sorted((t for t in hopeful if t.lossless), key=lambda t: (-t.self_contained, -t.speed))
    # Beside lossy candidates it only matters which lossless one is the floor.
    kept = equals[: 2 if near else LEADERS]
    return [*near[: LEADERS - len(kept)], *kept]


def ranked(
    runner: Runner, trials: Sequence[Trial], claims: Sequence[str], announce: Callable[[str], None]
) -> list[Trial]:
    """`trials`, those of each claim's leaders with timings of one common run; the same run after a restart.

    `claims` are runtimes among which something is chosen, "" for all of them.
    """
    chosen = {t.key: t for name in claims for t in leaders(of_runtime(trials, name))}
    if len(chosen) < 2:
        return list(trials)
    keys = sorted(chosen)
    name = hashlib.sha256(" ".join(keys).encode()).hexdigest()[:12]
    timings = runner.store.ranking(name)
    if timings is None:
        announce(f"ranking {len(chosen)} leaders side by side")
        timings = side_by_side(runner, keys, ROUNDS)
        runner.store.keep_ranking(name, timings)
    return [
        replace(t, timings=timings[t.key], notes=tuple(dict.fromkeys((*t.notes, SAID)))) if t.key in timings else t
        for t in trials
    ]


def side_by_side(runner: Runner, keys: Sequence[str], rounds: int) -> dict[str, Timings]:
    """Timings of built candidates and of the original, of one interleaved run; each in a fresh process."""
    everyone = dict.fromkeys((runner.baseline_key, *keys))
    with contextlib.ExitStack() as stack:
        opened = {key: runner.session(key) for key in everyone}
        for process, _ in opened.values():
            stack.enter_context(process)
        sessions = {key: process for key, (process, _) in opened.items()}
        taken = interleave(sessions, runner.judging.data.path, runner.timed_rows(), rounds, runner.seed)
        baseline, own = runner.baseline_key, opened[runner.baseline_key][0]
        return {
            key: summarize(taken[key], taken[baseline], facts, process, own) for key, (process, facts) in opened.items()
        }
