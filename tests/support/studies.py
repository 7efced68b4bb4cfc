"""One small study, as the tests of workflows run it."""

from pathlib import Path
from types import SimpleNamespace

import primum
from primum.config import ClinicalPolicy, Margins, OptimizationConfig, OptimizationLevel
from primum.runtimes.base import Target
from primum.study.recipe import Recipe

WIDE = Margins(sensitivity=0.08, specificity=0.08, auroc=0.05, brier=0.05)
RUNTIMES = ("onnxruntime", "openvino")
INT8 = {name: Recipe(Target(runtime=name, precision="int8", threads=1)) for name in RUNTIMES}
"""One lossy candidate; with MINIMAL the only one."""


def config(**changes: object) -> OptimizationConfig:
    policy = ClinicalPolicy(margins=WIDE)
    return OptimizationConfig(**{"runtimes": RUNTIMES[:1], "policy": policy, "threads": 1, **changes})


def run_int8(workshop: SimpleNamespace, out: Path, runtime: str = "onnxruntime", **changes: object):
    """The smallest study that opens the locked patients."""
    settings = config(runtimes=(runtime,), level=OptimizationLevel.MINIMAL)
    return run(workshop, out, config=settings, recipes=(INT8[runtime],), **changes)


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
