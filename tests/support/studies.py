"""One small study, as the tests of workflows run it."""

from pathlib import Path
from types import SimpleNamespace

import primum
from primum.config import ClinicalPolicy, Margins, OptimizationConfig

WIDE = Margins(sensitivity=0.08, specificity=0.08, auroc=0.05, brier=0.05)
RUNTIMES = ("onnxruntime", "openvino")


def config(**changes: object) -> OptimizationConfig:
    policy = ClinicalPolicy(margins=WIDE)
    return OptimizationConfig(**{"runtimes": RUNTIMES[:1], "policy": policy, "threads": 1, **changes})


def run(workshop: SimpleNamespace, out: Path, data: str = "many", **changes: object):
    manifest: Path = getattr(workshop, data)
    return primum.optimize(
        "nets:build",
        manifest,
        out,
        checkpoint=workshop.weights,
        patient_column="patient_id",
        preprocessing=manifest.parent / "preprocessing.yaml",
        **{"config": config(), "group_columns": ("sex",), **changes},
    )
