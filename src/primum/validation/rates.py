"""Sensitivity and specificity: Tango's score interval decides, by patient."""

from __future__ import annotations

from math import sqrt
from typing import Any

from numpy.typing import NDArray

from primum.config import ClinicalPolicy, kind_of
from primum.validation.arrays import Bools, Floats, as_codes
from primum.validation.clustered import (
    cluster_tables,
    clustered_critical,
    clustered_mcnemar,
    collapse_to_patients,
    design_effect,
    discordant_clusters,
    effective_clusters,
)
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
Table = tuple[float, float, float, float]


def judge_rate(
    name: str, reference_right: Bools, candidate_right: Bools, units: NDArray[Any], policy: ClinicalPolicy
) -> Component:
    """Sensitivity or specificity from correctness (n,) on its class's cases, or "accuracy" on all; `units` (n,) are
    the patients.

    Where a patient has several of these cases, Tango's interval is computed on counts divided by the design effect,
    with Student's t. The effect is the estimated one, but no less than leaves what so many patients are worth
    (`effective_clusters`): from few discordant patients none can be estimated.
    """
    noun = _NOUNS.get(kind_of(name), "cases")
    n = int(reference_right.size)
    if n == 0:
        return not_assessed(name, policy, f"there are no {noun}")
    codes, patients = as_codes(units, n)
    tables = cluster_tables(candidate_right, reference_right, codes, patients)
    clustered = patients < n
    worth = effective_clusters(tables.sum(axis=1)) if clustered else float(n)
    effect = max(design_effect(tables), n / worth) if clustered else 1.0
    a, b, c, d = (float(count) / effect for count in tables.sum(axis=0))
    critical = clustered_critical(policy.confidence, worth) if clustered else two_sided_z(policy.confidence)
    interval = tango_interval_at(a, b, c, d, critical, policy.confidence)

    def would() -> int | None:
        margin, _ = margin_of(name, policy)
        return _needed((a, b, c, d), patients, worth if clustered else None, margin, policy.confidence)

    by_effect = "Tango score on counts divided by the design effect, t quantile"
    figures = {
        "reference": float(reference_right.mean()),
        "candidate": float(candidate_right.mean()),
        "method": by_effect if clustered else "Tango score",
        "n": n,
        "n_patients": patients,
        "design_effect": effect,
        "table": (a, b, c, d),
        "beside": _beside(tables, (a, b, c, d), policy.confidence),
    }
    return decided(name, policy, interval, would, f"patients with {noun}" if clustered else noun, figures)


def _needed(table: Table, units: int, worth: float | None, margin: float, confidence: float) -> int | None:
    """Units at which the same rates pass: Tango's z grows exactly with the square root of a table's scale; `worth` is
    what clustered units count for."""
    _, b, c, _ = table
    z = float(tango_z(b, c, sum(table), -margin))
    if not z > 0:
        return None

    def passes(count: int) -> bool:
        scale = count / units
        critical = two_sided_z(confidence) if worth is None else clustered_critical(confidence, worth * scale)
        return bool(z * sqrt(scale) > critical)

    return smallest_passing(passes, units)


def _beside(tables: Floats, table: Table, confidence: float) -> dict[str, float]:
    newcombe = newcombe_paired_interval(*table, confidence)
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
        beside["effective_patients"] = effective_clusters(tables.sum(axis=1))
        beside["discordant_patients"] = float(discordant_clusters(tables))
        beside["mcnemar_midp_patients"] = mcnemar_midp(patients_gained, patients_lost).p_value
        if len(tables) > 1:
            test = clustered_mcnemar(tables)
            beside["naive_mcnemar_statistic"] = test.naive_statistic
            beside["obuchowski_statistic"], beside["obuchowski_p"] = test.statistic, test.p_value
    return beside
