"""Trials that never ran, with verdicts of the real gate."""

import dataclasses
from collections.abc import Callable

import numpy as np

from primum.benchmark.timing import Timings
from primum.config import ClinicalPolicy, Margins
from primum.study.trial import Status, Trial
from primum.validation.gate import Cases, judge


def trial_maker() -> Callable[..., Trial]:
    """A trial with a real verdict: `lost` decisions lost among 300 positives and 300 negatives, or lossless."""
    labels = np.repeat([1, 0], 300)
    generator = np.random.default_rng(0)
    reference = np.clip(0.5 + 0.35 * np.where(labels == 1, 1, -1) + generator.normal(0, 0.17, 600), 0.01, 0.99)
    cases = Cases(labels, np.arange(600).astype(str), {}, np.arange(600).astype(str))
    policy = ClinicalPolicy(margins=Margins(sensitivity=0.03, specificity=0.03, auroc=0.02, brier=0.02))

    def make(key: str, speed: float, lost: int | None = None, size: int = 100, **more: object) -> Trial:
        candidate = reference.copy()
        if lost is not None:
            decided = reference >= 0.5
            moved = np.clip(reference + generator.normal(0, 1e-3, 600), 0, 1)
            candidate = np.where(decided, np.maximum(moved, 0.5), np.minimum(moved, 0.4999))
            candidate[np.flatnonzero(decided & (labels == 1))[:lost]] = 0.2
        figures = dict.fromkeys((f.name for f in dataclasses.fields(Timings)), 1.0)
        timings = Timings(
            **{
                **figures,
                "calls": 480,
                "peak_memory_bytes": 1,
                "batch": 1,
                "ratio": speed,
                "ratio_unhindered": speed,
                "contended": False,
            }
        )
        verdict = judge(cases, reference, candidate, policy, exported=bool(np.array_equal(reference, candidate)))
        return Trial(key, key, {}, "", Status.OK, timings=timings, verdict=verdict, size_bytes=size, **more)

    return make
