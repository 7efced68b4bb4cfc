"""Results of studies that never ran: the verdicts come from the real gate, the rest is made up."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from math import nan
from typing import Any

import numpy as np
import pytest

from primum.benchmark.timing import Timings
from primum.config import ClinicalPolicy, GuardPolicy, Margins, OptimizationLevel
from primum.data.evaluation import Exclusion
from primum.hardware.machine import Machine
from primum.study.claim import Claim, Confirmation, GuardPoint, GuardResult, Judged, NotDelivered
from primum.study.planner import LeftOut
from primum.study.result import DataSummary, ModelSummary, PartSummary, StudyResult
from primum.study.trial import Guarded, Parity, Status, Trial
from primum.task import Task
from primum.validation.cases import Cases
from primum.validation.conformal import fit_band
from primum.validation.decisions import Rule
from primum.validation.gate import judge
from primum.validation.guard_curve import assess_guard, guard_curve
from primum.validation.planning import plan
from primum.validation.verdict import Outcome, Verdict

from . import studies

PARTS = ("calibration", "selection", "guard", "confirmation")
STATED = Margins(sensitivity=0.02, specificity=0.02, auroc=0.01, brier=0.01)
HOSTILE = "<script>alert(1)</script>\"'&$x_1$\x1b[31m\u202e"


@dataclasses.dataclass
class Scores:
    labels: np.ndarray
    reference: np.ndarray
    candidate: np.ndarray


def scores(n: int, flips: int = 0, noise: float = 0.002, seed: int = 1, loss: float = 0.5) -> Scores:
    """P(positive) of a good original and of a candidate that decides `flips` cases differently."""
    generator = np.random.default_rng(seed)
    labels = (generator.random(n) < 0.45).astype(np.int64)
    logits = generator.normal(0, 1.1, n) + np.where(labels == 1, 2.3, -2.3)
    reference = 1 / (1 + np.exp(-logits))
    reference = np.where(abs(reference - 0.5) < 0.01, reference + 0.02 * np.sign(reference - 0.5), reference)
    candidate = np.clip(reference + generator.uniform(-noise, noise, n), 0, 1)
    right = np.flatnonzero((reference >= 0.5) == labels)
    wrong = np.flatnonzero((reference >= 0.5) != labels)
    harmful = generator.choice(right, round(flips * loss), replace=False)
    lucky = generator.choice(wrong, min(flips - len(harmful), len(wrong)), replace=False)
    changed = np.concatenate([harmful, lucky]).astype(int)
    candidate[changed] = np.where(reference[changed] >= 0.5, 0.43, 0.57)
    return Scores(labels, reference, candidate)


def verdict_of(
    made: Scores, policy: ClinicalPolicy, groups: dict[str, np.ndarray] | None = None, prefix: str = "case"
) -> Verdict:
    n = len(made.labels)
    ids = np.array([f"{prefix}-{i:05d}" for i in range(n)])
    patients = np.array([f"p{i:05d}" for i in range(n)])
    same = bool(np.array_equal(made.reference, made.candidate))
    cases = Cases(made.labels, patients, groups or {}, ids)
    return judge(cases, made.reference, made.candidate, policy, exported=same)


def timings(ms: float, ratio: float, p99: float = nan, ratio_upper: float | None = None) -> Timings:
    return Timings(
        calls=480,
        mean=ms * 1.04, median=ms, p50=ms, p95=ms * 1.2, p99=p99, min=ms * 0.9, max=ms * 2, stddev=ms / 8,
        ratio=ratio, ratio_lower=ratio * 0.96, ratio_upper=ratio_upper or ratio * 1.05,
        effective=ratio * 0.98, effective_lower=ratio * 0.93, effective_upper=ratio * 1.02,
        ratio_unhindered=ratio, contended=False,
        load_ms=ms * 20, first_ms=ms * 3,
        peak_memory_bytes=int(3.1e8),
    )  # fmt: skip


def trial(runtime: str, precision: str, ratio: float, size: float, verdict: Verdict | None, **more: Any) -> Trial:
    target = {"runtime": runtime, "precision": precision, "channels_last": False, "threads": None}
    fields = {
        "key": f"{runtime}-{precision}",
        "recipe": f"{runtime}[{precision}]",
        "recipe_data": {"techniques": [], "target": target},
        "why": "lossless: the graph in another runtime" if precision == "fp32" else "lower precision",
        "status": Status.OK,
        "size_bytes": int(size * 1e6),
        "build_s": 4.2,
        "parity": Parity(2.1e-6, 3.3e-7 if precision == "fp32" else 0.021, 1e-3 if precision == "fp32" else 0.6, True),
        "precision_proven": precision,
        "provider": "CPU",
        "threads": 2,
        "timings": timings(31.0 / ratio, ratio),
        "verdict": verdict,
    }
    return Trial(**{**fields, **more})


def stages(total: float, own: float) -> dict[str, Any]:
    def of(ms: float) -> dict[str, Any]:
        return {
            "mean": ms * 1.05, "median": ms, "p50": ms, "p95": ms * 1.3, "p99": nan,
            "min": ms * 0.9, "max": ms * 1.9, "stddev": ms / 9, "count": 120,
        }  # fmt: skip

    return {
        "original": {
            "preprocessing": of(3.1), "feature_extraction": of(total - 3.5),
            "classification": of(0.4), "total": of(total),
        },
        "delivered": {
            "preprocessing": of(3.1), "feature_extraction": of(own - 3.15),
            "classification": of(0.05), "total": of(own),
        },
    }  # fmt: skip


def study(
    confirmed: Scores,
    policy: ClinicalPolicy,
    groups: dict[str, np.ndarray] | None = None,
    **changes: Any,
) -> StudyResult:
    """A study of six recipes whose INT8 candidate has `confirmed` scores on the confirmation cases."""
    selection = scores(420, seed=7)
    lossless = verdict_of(Scores(selection.labels, selection.reference, selection.reference), policy)
    close = verdict_of(scores(420, 4, seed=7), policy)
    harmful = verdict_of(scores(420, 40, seed=7, loss=1.0), policy)
    verdict = verdict_of(confirmed, policy, groups)
    baseline = trial("torch", "fp32", 1.0, 44.8, lossless, threads=2)
    winner = trial("openvino", "int8", 9.21, 11.5, close, notes=("ranges from 104 cases",))
    failed = Trial(
        key="inductor-fp32", recipe="inductor[fp32, channels_last]", recipe_data={}, why="lossless: compiled kernels",
        status=Status.FAILED, reason="no C++ compiler was found on this machine",
    )  # fmt: skip
    trials = (
        trial("onnxruntime", "fp32", 2.2, 44.7, lossless),
        trial("openvino", "fp32", 3.4, 44.6, lossless),
        winner,
        trial("onnxruntime", "int8", 4.1, 11.6, close),
        trial("onnxruntime", "fp16", 1.9, 22.4, harmful),
        failed,
    )
    n = len(confirmed.labels)
    positives = int(confirmed.labels.sum())
    fields: dict[str, Any] = {
        "created": "2026-07-14 09:30 UTC",
        "version": "0.1.0",
        "machine": Machine(
            "Intel(R) Xeon(R) Platinum 8481C", "x86_64", ("amx", "avx2", "avx512", "bf16", "vnni"), 2, 17_179_869_184,
            "Linux 6.1", "3.11.9", {"torch": "2.13.0", "onnxruntime": "1.31.1", "openvino": "2026.4.1"},
        ),
        "level": OptimizationLevel.BALANCED,
        "adjustments": ("accuracy threshold: 98% in place of 95% (medical model)",),
        "policy": policy,
        "model": ModelSummary(
            "chest-xray-resnet18", "9f2c51d07ab3", 11_177_538, 44_710_152, (3, 224, 224), ("normal", "pneumonia"),
            "pneumonia", ("the prefix model. was removed from every key of the checkpoint",),
        ),
        "data": DataSummary(
            "pneumonia-2026.csv", 2 * n + 400, 2 * n + 400, "patient",
            tuple(PartSummary(p, n, n, {"normal": n - positives, "pneumonia": positives}) for p in PARTS),
            {"sex": {"F": 610, "M": 655}}, (Exclusion("case-00017", "truncated PNG"),), (),
        ),
        "power": {"": plan(positives, n - positives, policy.margins)},
        "baseline": baseline,
        "trials": trials,
        "left_out": (LeftOut("torch[bf16, channels_last]", "this CPU has no BF16 arithmetic: it would be slower"),),
        "front": frozenset({"openvino-int8", "openvino-fp32"}),
        "declared": ("openvino-int8",),
        "declared_reason": "faster in every step, from conservative to aggressive",
        "confirmations": (Confirmation("openvino-int8", winner.recipe, verdict),),
        "prior_openings": (),
        "winner": winner,
        "accepted": True,
        "unproven": False,
        "verdict": verdict,
        "verdict_recipe": winner.recipe,
        "reasons": verdict.reasons,
        "final": {baseline.key: timings(31.2, 1.0), winner.key: timings(3.39, 9.2), "openvino-fp32": timings(9.2, 3.4)},
        "stages": stages(35.0, 6.6),
        "judged": Judged("confirmation", confirmed.labels, confirmed.reference, confirmed.candidate),
        "harmed": (("onnxruntime[fp16]", harmful),),
    }  # fmt: skip
    return StudyResult(**{**fields, **changes})


def levels(n: int, seed: int = 3) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    sex = generator.choice(["F", "M"], n)
    age = generator.choice(["under 40", "40 to 64", "65 and over"], n, p=[0.05, 0.45, 0.5])
    return {"sex": sex, "age": age}


def make_proven() -> StudyResult:
    made = scores(2400, 8)
    return study(made, ClinicalPolicy(margins=STATED), levels(2400))


def make_inconclusive() -> StudyResult:
    """Too few cases: the lossless original stands in; margins are defaults."""
    policy = ClinicalPolicy()
    made = scores(140, 2)
    base = study(made, policy, levels(140))
    assert base.verdict.outcome is Outcome.INCONCLUSIVE
    stand_in = base.trials[1]
    return dataclasses.replace(
        base,
        winner=stand_in,
        accepted=False,
        judged=Judged("selection", made.labels, made.reference, made.reference),
        prior_openings=("opened for openvino[fp16] in another study",),
        harmed=(),
    )


def make_unproven() -> StudyResult:
    """Synthetic, delivered on request."""
    made = scores(150, 3)
    base = study(made, ClinicalPolicy())
    return dataclasses.replace(base, accepted=False, unproven=True, data=dataclasses.replace(base.data, synthetic=True))


def make_hostile() -> StudyResult:
    """Hundreds of flips, thirty groups, and names that try to break out."""
    policy = ClinicalPolicy(margins=STATED)
    made = scores(3000, 400, seed=5, loss=0.7)
    groups = {
        f"site {HOSTILE}": np.array([f"{i % 28}{HOSTILE}" for i in range(3000)]),
        "label": np.array(["=1+1", "b"] * 1500),
    }
    verdict = verdict_of(made, policy, groups, prefix=f"=cmd {HOSTILE}")
    base = study(made, policy)
    long = f"round_weights(bits=3) -> prune({HOSTILE * 4}) -> openvino[int8]"
    winner = dataclasses.replace(base.trials[1], recipe=f"openvino[fp32]{HOSTILE}", notes=(HOSTILE,), provider=HOSTILE)
    odd = dataclasses.replace(base.trials[2], recipe=long, recipe_data={}, key="odd")
    return dataclasses.replace(
        base,
        model=dataclasses.replace(base.model, name=HOSTILE, classes=(HOSTILE, "normal"), positive=HOSTILE),
        data=dataclasses.replace(base.data, name=HOSTILE, excluded=(Exclusion(HOSTILE, HOSTILE),) * 30),
        winner=winner,
        trials=(*base.trials[:1], winner, odd, *base.trials[3:]),
        accepted=False,
        verdict=verdict,
        verdict_recipe=long,
        reasons=verdict.reasons,
        confirmations=(),
        declared=(),
        declared_reason=HOSTILE,
        harmed=((long, verdict),),
    )


def make_bare() -> StudyResult:
    """Nothing but a lossless winner: no groups, no flips, no confirmation, NaN figures."""
    policy = ClinicalPolicy(margins=STATED)
    made = scores(420, 0, noise=0, seed=7)
    base = study(made, policy)
    lossless = base.trials[1]
    blank = dataclasses.replace(timings(nan, nan), ratio_lower=nan, ratio_upper=nan)
    return dataclasses.replace(
        base, winner=lossless, verdict=verdict_of(made, policy), verdict_recipe=lossless.recipe, confirmations=(),
        declared=(), declared_reason="no lossy candidate is both unharmful so far and faster", harmed=(), stages={},
        final={base.baseline.key: blank, lossless.key: blank}, trials=(lossless,), left_out=(),
        reasons=(), adjustments=(),
    )  # fmt: skip


def make_unassessed() -> StudyResult:
    """The original gave a NaN, so that nothing could be judged."""
    base = make_inconclusive()
    broken = scores(140, 0)
    broken.reference[3] = nan
    verdict = verdict_of(broken, base.policy)
    judged = Judged("selection", broken.labels, broken.reference, broken.candidate)
    return dataclasses.replace(base, verdict=verdict, judged=judged, confirmations=(), reasons=verdict.reasons)


def make_guarded() -> StudyResult:
    """An INT8 candidate whose eight changed decisions a guard catches; the refused one was set by too few patients."""
    policy, asked = ClinicalPolicy(margins=STATED), GuardPolicy(epsilon=0.01, by_class=False)
    rule = Rule(Task.BINARY, (policy.threshold,))
    set_on, fresh = scores(900, 30, seed=11), scores(2400, 60)
    classes = ("normal", "pneumonia")
    units, others = (np.array([f"p{i}" for i in range(k)]) for k in (900, 2400))
    band = fit_band(rule, classes, set_on.candidate, set_on.reference, units, asked)
    outcome = assess_guard(rule, classes, fresh.candidate, fresh.reference, others, band.value)
    kept = np.abs(fresh.candidate - 0.5) > band.value
    made = Scores(fresh.labels, fresh.reference, np.where(kept, fresh.candidate, fresh.reference))
    base = study(made, policy, levels(2400))
    curve = guard_curve(
        rule, classes, set_on.candidate, set_on.reference, units, fresh.candidate, fresh.reference, others,
        (0.002, 0.005, 0.01, 0.02, 0.05), asked,
    )  # fmt: skip
    fast, slow = timings(3.39, 9.2), timings(9.2, 3.4)
    guard = GuardResult(
        "confirmation", band, outcome, tuple(GuardPoint(p, 1 / (1 / 9.2 + p.deferred / 3.4)) for p in curve), fast, slow
    )
    held = Guarded(base.winner.key, "openvino-fp32", band, outcome.deferred, int(44.6e6), 7.4)
    winner = dataclasses.replace(
        base.winner, key="openvino-int8-guarded", recipe=f"{base.winner.recipe} guarded", guard=held
    )
    reason = "no band: 40 of 299 patients needed in class pneumonia"
    refused = dataclasses.replace(
        base.trials[3], key="x", recipe="onnxruntime[int8] guarded", status=Status.FAILED, reason=reason, verdict=None
    )
    final = {**base.final, winner.key: timings(3.5, 9.0), "openvino-int8": fast}
    return dataclasses.replace(
        base, winner=winner, trials=(*base.trials, winner, refused), guard=guard, final=final,
        verdict_recipe=winner.recipe, confirmations=(Confirmation(winner.key, winner.recipe, base.verdict),),
        declared=(winner.key,),
    )  # fmt: skip


def make_several() -> StudyResult:
    """One artifact for OpenVINO, proven; the lossless original for ONNX Runtime; nothing for TorchScript."""
    made = scores(2400, 8)
    base = study(made, ClinicalPolicy(margins=STATED, confidence=1 - 0.05 / 3), levels(2400), runtime="openvino")
    harmful = base.harmed[0][1]
    ort = base.trials[0]
    refused = f"onnxruntime[fp16] was not accepted (INFERIOR); the original is delivered in {ort.recipe}"
    stand_in = claim_of(
        base, runtime="onnxruntime", winner=ort, accepted=False, declared=(), confirmations=(),
        declared_reason="no lossy candidate is faster", verdict=harmful, verdict_recipe="onnxruntime[fp16]",
        reasons=(refused, *harmful.reasons),
    )  # fmt: skip
    absent = NotDelivered("torchscript", "nothing ran there: torchscript[fp32]: tracing failed")
    final = {**base.final, ort.key: timings(14.1, 2.2)}
    claims = (claim_of(base), stand_in)
    return dataclasses.replace(base, claims=claims, overall="openvino", not_delivered=(absent,), final=final)


def claim_of(result: StudyResult, **changes: Any) -> Claim:
    """The claim that a result is told from, changed."""
    return Claim(**{**{f.name: getattr(result, f.name) for f in dataclasses.fields(Claim)}, **changes})


def of_task(make: Callable[[StudyResult], StudyResult]) -> Callable[[], StudyResult]:
    """A maker that starts from the proven study."""
    return lambda: make(make_proven())


TASKS = {
    "assessed": studies.make_assessed,
    "multiclass": studies.make_multiclass,
    "crowded": studies.make_crowded,
    "ordinal": studies.make_ordinal,
    "multilabel": studies.make_multilabel,
    "regression": studies.make_regression,
    "unstated": studies.make_unstated,
    "segmentation": studies.make_segmentation,
}
MAKERS: dict[str, Callable[[], StudyResult]] = {
    "proven": make_proven,
    "inconclusive": make_inconclusive,
    "unproven": make_unproven,
    "hostile": make_hostile,
    "bare": make_bare,
    "unassessed": make_unassessed,
    "guarded": make_guarded,
    "several": make_several,
}
ALL = {**MAKERS, **{name: of_task(make) for name, make in TASKS.items()}}


@pytest.fixture(scope="session", params=list(MAKERS))
def any_result(request: pytest.FixtureRequest) -> StudyResult:
    return MAKERS[request.param]()


@pytest.fixture(scope="session")
def results() -> dict[str, StudyResult]:
    return {name: make() for name, make in MAKERS.items()}


@pytest.fixture(scope="session")
def all_results(results: dict[str, StudyResult]) -> dict[str, StudyResult]:
    """Those, and one of every task."""
    return {**results, **{name: ALL[name]() for name in TASKS}}
