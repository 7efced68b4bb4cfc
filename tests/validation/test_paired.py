import dataclasses

import pytest

from primum.validation import paired

CALLS = {
    "tango_interval": ((20, 3, 2, 5),),
    "tango_noninferiority": ((20, 3, 2, 5, 0.1),),
    "newcombe_paired_interval": ((20, 3, 2, 5),),
    "mcnemar_midp": ((3, 2),),
    "wilson_interval": ((3, 9),),
    "clustered_mcnemar": (([[1, 1, 0, 0], [2, 0, 1, 1]],),),
    "power_noninferiority": ((50, 0.01, 0.01, 0.05),),
    "delong": (([0, 1, 0, 1, 1], [0.1, 0.3, 0.4, 0.8, 0.2], [0.3, 0.2, 0.1, 0.9, 0.4]),),
    "auc_mover_logit_interval": (([0, 1, 0, 1, 1], [0.1, 0.3, 0.4, 0.8, 0.2], [0.3, 0.2, 0.1, 0.9, 0.4]),),
    "brier_difference": (([0, 1, 1], [0.1, 0.3, 0.4], [0.3, 0.2, 0.1]),),
}
FIELDS = {
    "Interval": ("estimate", "lower", "upper"),
    "MeanDifference": ("estimate", "lower", "upper", "degenerate"),
    "MoverInterval": ("estimate", "lower", "upper", "degenerate"),
    "SignificanceTest": ("statistic", "p_value"),
    "ClusteredTest": ("statistic", "p_value"),
    "Power": ("power",),
    "AurocDifference": (
        "difference", "p_value", "auc_a", "auc_b", "standard_error", "lower", "upper", "covariance",
        "degenerate", "estimate", "statistic",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_public_names_return_frozen_results(name):
    result = getattr(paired, name)(*CALLS[name][0])
    for field in FIELDS[type(result).__name__]:
        assert hasattr(result, field)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(result, FIELDS[type(result).__name__][0], 0.0)


def test_everything_promised_is_there():
    assert all(hasattr(paired, name) for name in paired.__all__)
    assert isinstance(paired.required_positives(0.02), int)
