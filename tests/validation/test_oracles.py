"""Worked examples that belong to no one module, and the one that no module reproduces.

`open.ece.torchmetrics_binary` gives the calibration error in three norms; primum has the first alone (l1, read by
test_calibration.py), for l2 and max have no use in a verdict.
"""

from math import ceil, sqrt

import numpy as np
import pytest
from scipy.special import ndtri

from primum.config import ClinicalPolicy, Margins
from primum.validation.gate import judge
from primum.validation.paired import auc_mover_logit_interval, delong
from primum.validation.power import power_noninferiority, required_positives
from primum.validation.proportions import tango_z


def test_identical_scores_of_the_published_data_have_no_interval(oracles):
    items, datasets = oracles
    item = items["open.delong.identical"]
    data = datasets[item["inputs"]["dataset"]]
    labels, first, second = (np.array(data[key]) for key in ("y", item["inputs"]["first"], item["inputs"]["second"]))
    found, expected = delong(labels, first, second), item["expected"]
    got = (found.statistic, found.p_value, found.standard_error**2)
    assert got == pytest.approx(
        (expected["z"], expected["p_two_sided"], expected["variance_of_difference"]), abs=item["abs_tol"]
    )
    assert found.degenerate and np.isnan([found.lower, found.upper]).all(), "an interval without width proves nothing"
    assert auc_mover_logit_interval(labels, first, second).degenerate


def test_identical_rankings_pass_where_the_patients_suffice_for_the_margin_and_not_by_a_zero_width(oracles, make_cases):
    items, datasets = oracles
    data = datasets[items["open.delong.identical"]["inputs"]["dataset"]]
    labels, scores = np.array(data["y"]), np.array(data["wfns"]) / 5.5
    few = make_cases(labels)  # 41 patients of the rarer class
    nudged = scores + 1e-3 * scores**2  # lossy (scores move by up to 1e-3) with the very same ranking
    narrow = judge(few, scores, nudged, ClinicalPolicy()).component("auroc")
    assert narrow.outcome == "INCONCLUSIVE" and narrow.basis == "statistical" and narrow.difference == 0.0
    assert narrow.lower < -narrow.margin, "so few patients bound no loss of one point"
    many = make_cases(np.tile(labels, 10))
    for cases, given in ((few, -1.01 * narrow.lower), (many, narrow.margin)):
        times = len(cases) // len(few)
        policy = ClinicalPolicy(margins=Margins(auroc=given))
        wide = judge(cases, np.tile(scores, times), np.tile(nudged, times), policy).component("auroc")
        assert wide.outcome == "NON_INFERIOR" and -given < wide.lower < 0.0


def _candidates(rng, runs, k, n, losses, gains, sensitivity):
    """(lost, gained), each (runs, k): all candidates are judged on the same positives, which the original calls right
    or wrong once; of those it calls right a candidate loses some, of the others it gains some."""
    right = rng.binomial(n, sensitivity, (runs, 1))
    lost = rng.binomial(np.broadcast_to(right, (runs, k)), losses / sensitivity)
    return lost, rng.binomial(np.broadcast_to(n - right, (runs, k)), gains / (1 - sensitivity))


def _passes(lost, gained, n, margin, alpha):
    return tango_z(gained.astype(float), lost.astype(float), float(n), -margin) > ndtri(1 - alpha)


def test_the_best_of_many_candidates_is_flattered_and_confirmation_is_not(oracles):
    """k candidates that all lie exactly at the margin, judged by the rule that decides (Tango, one-sided 0.025)."""
    items, _ = oracles
    item = items["open.mc.winners_curse"]
    margin, losses, gains, sensitivity, n, runs = 0.02, 0.03, 0.01, 0.95, 400, 4000
    rng, expected = np.random.default_rng(0), item["expected"]
    for place, k in enumerate(item["inputs"]["k"]):
        given = (losses, gains, sensitivity)
        lost, gained = _candidates(rng, runs, k, n, *given)
        naive = _passes(lost, gained, n, margin, 0.025).any(axis=1).mean()
        bonferroni = _passes(lost, gained, n, margin, 0.025 / k).any(axis=1).mean()
        optimism = ((gained - lost) / n).max(axis=1).mean() + margin
        first = _candidates(rng, runs, k, n // 2, *given)
        second = _candidates(rng, runs, k, n // 2, *given)
        best = (first[1] - first[0]).argmax(axis=1)[:, None]
        fresh = [np.take_along_axis(counts, best, axis=1) for counts in second]
        confirmed = _passes(*fresh, n // 2, margin, 0.025).mean()
        found = {
            "p_any_pass_naive": naive,
            "p_any_pass_bonferroni": bonferroni,
            "p_pass_select_then_confirm_half": confirmed,
        }
        for name, share in found.items():
            wanted = expected[name][place]
            noise = 4 * sqrt(wanted * (1 - wanted) / runs)
            assert share == pytest.approx(wanted, abs=item["abs_tol"] + noise), (name, k)
        assert optimism == pytest.approx(expected["optimism_of_best_point_estimate"][place], abs=0.001), k
        assert confirmed < 0.03, "choosing among many does not raise the chance that a harmful one is confirmed"


def test_walds_sample_size_is_not_ours(oracles):
    """statpsych's number is Wald's formula for superiority by a margin. primum has no such formula, on purpose.

    Where a quarter of the decisions change, as in this example, Wald is near the truth (Tango's test has 0.91 power
    with its 227 pairs, and would need a few fewer). Where few change, as of primum's candidates, Wald promises power
    that Tango's test has not.
    """
    items, _ = oracles
    item = items["open.n.statpsych_supinf"]
    given = item["inputs"]
    alpha, power, p1, p2 = given["alpha_two_sided"], given["power"], given["p1"], given["p2"]
    joint = p1 * p2 + given["phi"] * sqrt(p1 * (1 - p1) * p2 * (1 - p2))
    gain, loss = p1 - joint, p2 - joint
    assert _wald(gain, loss, given["h"], alpha, power) == item["expected"]["n"]
    few = 0.0025
    walds = _wald(few, few, -0.02, 0.05, 0.8)
    assert walds < required_positives(0.02), "so few could not show it if nothing changed"
    assert power_noninferiority(walds, few, few, 0.02).power < 0.05
    assert power_noninferiority(2 * walds, few, few, 0.02).power < 0.8 < power_noninferiority(280, few, few, 0.02).power


def _wald(gain, loss, bound, alpha, power):
    """Pairs for H0: gain - loss <= bound, with Wald's variance of a paired difference."""
    variance = gain + loss - (gain - loss) ** 2
    return ceil((ndtri(1 - alpha / 2) + ndtri(power)) ** 2 * variance / (gain - loss - bound) ** 2)
