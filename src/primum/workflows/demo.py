"""The main job on made-up data: phantoms, a small network, the whole study, in a few minutes and with no download."""

from __future__ import annotations

import shutil
from pathlib import Path

from primum.config import ClinicalPolicy, Margins, OptimizationConfig
from primum.data.preprocessing import Preprocessing
from primum.data.readers import DataOptions
from primum.models.reference import ModelReference
from primum.progress import Progress, Silent
from primum.runtimes.base import Target
from primum.study.recipe import Recipe
from primum.techniques.registry import make
from primum.workflows.delivery import Delivery
from primum.workflows.optimize import optimize
from primum.workflows.phantoms import make_phantoms
from primum.workflows.request import OptimizeRequest

FACTORY = "primum.workflows.demo_network:build"
PREPROCESSING = Preprocessing(size=(64, 64), scale=1 / 255, mean=(0.5,), std=(0.25,))
TRAINING_PATIENTS, JUDGING_PATIENTS = 700, 1800
MARGIN = 0.05
"""Of both rates and the AUROC. Declared from the planned power: about 180 patients of each class, of both sexes, can
support it with a few losses."""
BRIER_MARGIN = 0.02
"""Some 350 patients exclude a loss that none of them shows down to 0.011."""
TRAINING_SECONDS = 40.0


def demo(out: Path, progress: Progress | None = None, seed: int = 0) -> Delivery:
    """Make phantoms, train on some, optimize on others. Everything is written below `out`; an earlier run goes on.

    A candidate harmed on purpose (weights rounded to 2 bits) takes part, to show that the gate rejects harm.
    """
    progress = progress or Silent()
    training = _phantoms(out / "training", TRAINING_PATIENTS, seed, progress)
    judging = _phantoms(out / "judging", JUDGING_PATIENTS, seed + 1, progress)
    weights = out / "weights.safetensors"
    if not weights.exists():
        from primum.workflows.demo_network import train

        progress.stage("Training a small network")
        facts = train(training, out, seed, TRAINING_SECONDS, progress.say)
        progress.say(f"AUROC on training patients held out: {facts['held_out_auroc']:.3f} (synthetic phantoms)")
    margins = Margins(sensitivity=MARGIN, specificity=MARGIN, auroc=MARGIN, brier=BRIER_MARGIN)
    request = OptimizeRequest(
        model=ModelReference(factory=FACTORY, checkpoint=weights),
        data=judging,
        out=out,
        options=DataOptions(patient_column="patient_id", group_columns=("sex",)),
        preprocessing=PREPROCESSING,
        config=OptimizationConfig(policy=ClinicalPolicy(margins=margins), seed=seed),
        recipes=(Recipe(Target(runtime="onnxruntime"), (make("round_weights", {"bits": 2}),)),),
        synthetic=True,
    )
    return optimize(request, progress)


def _phantoms(folder: Path, patients: int, seed: int, progress: Progress) -> Path:
    manifest = folder / "manifest.csv"
    if not manifest.exists():
        shutil.rmtree(folder, ignore_errors=True)
        progress.stage(f"Making {patients} synthetic patients")
        make_phantoms(folder, patients, seed)
    return manifest
