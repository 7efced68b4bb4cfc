"""The paired statistics under their public names: numpy and scipy only.

Tables are (a both correct, b first only, c second only, d neither); differences are first - second.
"""

from __future__ import annotations

from primum.validation.auroc import auc_interval, auc_mover_logit_interval, delong
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
from primum.validation.power import power_noninferiority, required_positives, smallest_margin
from primum.validation.proportions import (
    clopper_pearson_interval,
    mcnemar_midp,
    newcombe_paired_interval,
    tango_interval,
    tango_noninferiority,
    wilson_interval,
)

__all__ = [
    "AurocDifference",
    "ClusteredTest",
    "Interval",
    "MeanDifference",
    "MoverInterval",
    "Power",
    "SignificanceTest",
    "auc_interval",
    "auc_mover_logit_interval",
    "brier_difference",
    "clopper_pearson_interval",
    "clustered_mcnemar",
    "collapse_to_patients",
    "delong",
    "design_effect",
    "mcnemar_midp",
    "newcombe_paired_interval",
    "paired_mean_interval",
    "power_noninferiority",
    "required_positives",
    "smallest_margin",
    "tango_interval",
    "tango_noninferiority",
    "wilson_interval",
]
