"""The paired statistics under their public names: numpy and scipy only.

Tables are (a both correct, b first only, c second only, d neither); differences are first - second.
"""

from __future__ import annotations

from primum.validation.auroc import auc_interval, delong
from primum.validation.auroc_bounds import auc_mover_logit_interval
from primum.validation.clustered import clustered_mcnemar, collapse_to_patients, design_effect
from primum.validation.intervals import (
    AurocDifference,
    ClusteredTest,
    Interval,
    MeanDifference,
    MoverInterval,
    Power,
    SignificanceTest,
)
from primum.validation.means import brier_difference, paired_mean_interval
from primum.validation.multiclass import MarginalTest, bhapkar, stuart_maxwell
from primum.validation.multiplicity import HolmTests, holm
from primum.validation.ordinal import KappaDifference, kappa_difference
from primum.validation.power import power_noninferiority, required_positives, smallest_margin
from primum.validation.proportions import (
    clopper_pearson_interval,
    mcnemar_midp,
    newcombe_paired_interval,
    tango_interval,
    tango_noninferiority,
    wilson_interval,
)
from primum.validation.regression import LimitsOfAgreement, bland_altman
from primum.validation.segmentation import dice_scores

__all__ = [
    "AurocDifference",
    "ClusteredTest",
    "HolmTests",
    "Interval",
    "KappaDifference",
    "LimitsOfAgreement",
    "MarginalTest",
    "MeanDifference",
    "MoverInterval",
    "Power",
    "SignificanceTest",
    "auc_interval",
    "auc_mover_logit_interval",
    "bhapkar",
    "bland_altman",
    "brier_difference",
    "clopper_pearson_interval",
    "clustered_mcnemar",
    "collapse_to_patients",
    "delong",
    "design_effect",
    "dice_scores",
    "holm",
    "kappa_difference",
    "mcnemar_midp",
    "newcombe_paired_interval",
    "paired_mean_interval",
    "power_noninferiority",
    "required_positives",
    "smallest_margin",
    "stuart_maxwell",
    "tango_interval",
    "tango_noninferiority",
    "wilson_interval",
]
