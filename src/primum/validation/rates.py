"""Sensitivity and specificity: Tango's score interval decides, by patient."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from primum.config import ClinicalPolicy, kind_of
from primum.validation.arrays import Bools, Floats, as_codes
from primum.validation.clustered import (
    cluster_tables,
    clustered_mcnemar,
    collapse_to_patients,
    design_effect,
    discordant_clusters,
)
from primum.validation.intervals import Interval
from primum.validation.means import t_quantile
from primum.validation.outcomes import decided, margin_of, not_assessed, smallest_passing
from primum.validation.proportions import (
    mcnemar_midp,
    newcombe_paired_interval,
    tango_interval_at,
    tango_z,
    two_sided_z,
)
from primum.validation.verdict import Component

RATES = (("sensitivity", 1, "positives"), ("specificity", 0, "negatives"))
"""Each rate with the label of its class and the plural of its cases."""
_NOUNS = {rate: plural for rate, _, plural in RATES}
MIN_DISCORDANT_PATIENTS = 5
"""With fewer, a cluster-robust variance of the difference means nothing."""


@dataclass(frozen=True, slots=True)
class _Reading:
    """One way to read a clustered table: effective counts, their interval, the design effect, and whether its
    critical value is Student's t (else the normal one)."""

    table: tuple[float, float, float, float]
    interval: Interval
    design_effect: float
    method: str
    student: bool = False


def judge_rate(
    name: str, reference_right: Bools, candidate_right: Bools, units: NDArray[Any], policy: ClinicalPolicy
) -> Component:
    """Sensitivity or specificity from correctness (n,) on its class's cases, or "accuracy" on all; `units` (n,) are
    the patients.

    Where a patient has several of these cases, Tango's interval is computed on counts divided by the design
    effect, with the t quantile of G - 1 patients, for so many estimate that effect. With fewer than five discordant
    patients it is computed on patients, any lost case making a loss; where there is any discordance then, the design
    effect is tried too, and the lower of the lower bounds and the higher of the upper bounds stand: a patient with
    many lost cases must not shrink to a single loss.
    """
    noun = _NOUNS.get(kind_of(name), "cases")
    n = int(reference_right.size)
    if n == 0:
        return not_assessed(name, policy, f"there are no {noun}")
    codes, patients = as_codes(units, n)
    tables = cluster_tables(candidate_right, reference_right, codes, patients)
    readings = _readings(tables, n, policy.confidence)
    chosen = min(readings, key=lambda reading: reading.interval.lower)
    upper = max(reading.interval.upper for reading in readings)
    interval = Interval(chosen.interval.estimate, chosen.interval.lower, upper, policy.confidence)

    def would() -> int | None:
        margin, _ = margin_of(name, policy)
        needed = [_needed(reading, patients, margin, policy.confidence) for reading in readings]
        return None if None in needed else max(count for count in needed if count is not None)

    figures = {
        "reference": float(reference_right.mean()),
        "candidate": float(candidate_right.mean()),
        "method": chosen.method,
        "n": n,
        "n_patients": patients,
        "design_effect": chosen.design_effect,
        "table": chosen.table,
        "beside": _beside(tables, chosen, policy.confidence),
    }
    return decided(name, policy, interval, would, noun if patients == n else f"patients with {noun}", figures)


def _readings(tables: Floats, n: int, confidence: float) -> list[_Reading]:
    """The tables as independent pairs, by design effect, or (few discordant patients) collapsed too."""
    raw = tables.sum(axis=0)
    if len(tables) == n:
        return [_read(raw, 1.0, "Tango score", confidence)]
    effect = design_effect(tables)
    method = "Tango score on counts divided by the design effect"
    by_effect = _read(raw / effect, effect, method, confidence, len(tables))
    discordant = discordant_clusters(tables)
    if discordant >= MIN_DISCORDANT_PATIENTS:
        return [by_effect]
    patients = np.array(collapse_to_patients(tables))
    collapsed = _read(patients, n / len(tables), "Tango score on patients, any loss a loss", confidence)
    return [collapsed, by_effect] if discordant else [collapsed]


def _read(table: Floats, effect: float, method: str, confidence: float, clusters: int | None = None) -> _Reading:
    a, b, c, d = (float(count) for count in table)
    student = clusters is not None
    critical = _critical(confidence, clusters) if clusters is not None else two_sided_z(confidence)
    method += ", t quantile" if student else ""
    return _Reading((a, b, c, d), tango_interval_at(a, b, c, d, critical, confidence), effect, method, student)


def _critical(confidence: float, clusters: int) -> float:
    """Student's t of G - 1 degrees of freedom; of one patient, who has no variance, that of one degree."""
    return t_quantile(confidence, max(1, clusters - 1))


def _needed(reading: _Reading, units: int, margin: float, confidence: float) -> int | None:
    """Units at which the same rates pass: Tango's z grows exactly with the square root of a table's scale."""
    _, b, c, _ = reading.table
    z = float(tango_z(b, c, sum(reading.table), -margin))
    if not z > 0:
        return None

    def passes(count: int) -> bool:
        critical = _critical(confidence, count) if reading.student else two_sided_z(confidence)
        return bool(z * sqrt(count / units) > critical)

    return smallest_passing(passes, units)


def _beside(tables: Floats, chosen: _Reading, confidence: float) -> dict[str, float]:
    newcombe = newcombe_paired_interval(*chosen.table, confidence)
    n = float(tables.sum())
    _, gained, lost, _ = (float(count) for count in tables.sum(axis=0))
    beside = {
        "newcombe_lower": newcombe.lower,
        "newcombe_upper": newcombe.upper,
        "mcnemar_midp": mcnemar_midp(gained, lost).p_value,
    }
    if len(tables) < n:
        _, patients_gained, patients_lost, _ = collapse_to_patients(tables)
        beside["case_difference"] = (gained - lost) / n
        beside["discordant_patients"] = float(discordant_clusters(tables))
        beside["mcnemar_midp_patients"] = mcnemar_midp(patients_gained, patients_lost).p_value
        if len(tables) > 1:
            test = clustered_mcnemar(tables)
            beside["naive_mcnemar_statistic"] = test.naive_statistic
            beside["obuchowski_statistic"], beside["obuchowski_p"] = test.statistic, test.p_value
    return beside
