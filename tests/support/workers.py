"""A worker of a study in a process of its own: `python workers.py lead|join OUT MANIFEST WEIGHTS [SETTINGS]`."""

import json
import sys
import time
from pathlib import Path

SUPPORT = Path(__file__).parent


def main(role: str, out: str, manifest: str, weights: str, settings: str = "{}") -> None:
    from studies import config

    import primum.study.runner
    import primum.workflows.optimize
    from primum.config import OptimizationConfig, ReductionConfig
    from primum.data.options import DataOptions
    from primum.data.preprocessing_any import read_preprocessing
    from primum.models.reference import parse_model
    from primum.workflows.joining import join
    from primum.workflows.optimize import optimize
    from primum.workflows.request import OptimizeRequest

    primum.study.runner.TIMED_ROUNDS = primum.workflows.optimize.FINAL_ROUNDS = 3
    primum.workflows.optimize.STAGE_IMAGES = 12
    asked = json.loads(settings)
    reduction = ReductionConfig(**asked.pop("reduction", {}))
    slow = asked.pop("slow", 0.0)
    if slow:
        hold(slow)
    train = asked.pop("train", None)
    chosen: OptimizationConfig = config(**{"runtimes": ("onnxruntime",), "reduction": reduction, **asked})
    request = OptimizeRequest(
        model=parse_model("nets:build", Path(weights)),
        data=Path(manifest),
        out=Path(out),
        train_data=Path(train) if train else None,
        options=DataOptions(patient_column="patient_id", group_columns=("sex",)),
        preprocessing=read_preprocessing(Path(manifest).parent / "preprocessing.yaml"),
        config=chosen,
    )
    if role == "lead":
        result = optimize(request).result
        print(
            json.dumps(
                {
                    "trials": [[t.key, t.recipe, t.status.value, t.why] for t in result.trials],
                    "left_out": [[i.what, i.why] for i in result.left_out],
                }
            )
        )
    else:
        done = join(request)
        print(json.dumps({"worker": done.worker, "ran": [t.key for t in done.ran], "ended": done.ended}))


def hold(seconds: float) -> None:
    """Every trial of this worker waits before it runs, so that a test can kill it in the middle of one."""
    from primum.study.runner import Runner

    attempt = Runner._attempt

    def slowly(self, proposal):
        if proposal.recipe.key != self.baseline_key:
            time.sleep(seconds)
        return attempt(self, proposal)

    Runner._attempt = slowly


if __name__ == "__main__":
    main(*sys.argv[1:])
