"""Olive's answer to one ONNX file; run by the Python of an environment that has Olive, with one JSON argument.

The argument: model, calibration (.npy), out (a folder), transformer (bool). Prints one JSON object, name of the
workflow to the file it made or the reason why not.
"""

import json
import sys
import tempfile
from pathlib import Path


def main() -> None:
    """Run every workflow."""
    asked = json.loads(sys.argv[1])
    results = {}
    for name, passes in workflows(asked["transformer"]).items():
        out = Path(asked["out"]) / name.replace(" ", "-")
        try:
            run(asked["model"], asked["calibration"], passes, out)
        # Olive fails in any way that its passes do; the reason is the result.
        except Exception as error:  # noqa: BLE001
            lines = str(error).strip().splitlines() or [""]
            results[name] = {"why": f"{type(error).__name__}: {lines[0][:200]}"}
            continue
        made = sorted(out.rglob("*.onnx"))
        results[name] = {"file": str(made[0])} if made else {"why": "Olive ended without an output model"}
    print("\n" + json.dumps(results))


def workflows(transformer: bool) -> dict[str, dict[str, dict[str, object]]]:
    """Name to passes. Static with its default types is S8S8; unsigned is the other choice of Olive's own search space;
    dynamic is what its command line does for INT8 where it is given no data."""
    prepare: dict[str, dict[str, object]] = {"peephole": {"type": "OnnxPeepholeOptimizer"}}
    if transformer:
        fusing = {"type": "OrtTransformersOptimization", "model_type": "bert", "num_heads": 12, "hidden_size": 384}
        prepare["fuse"] = {**fusing, "opt_level": 0}
    static = {"type": "OnnxStaticQuantization", "data_config": "calibration"}
    unsigned = {"precision": "uint8", "activation_type": "uint8"}
    return {
        "static": {**prepare, "quantize": static},
        "static unsigned": {**prepare, "quantize": {**static, **unsigned}},
        "dynamic": {**prepare, "quantize": {"type": "OnnxDynamicQuantization"}},
    }


def run(model: str, calibration: str, passes: dict[str, dict[str, object]], out: Path) -> None:
    """One workflow of Olive, its output model in `out`."""
    import numpy as np
    import onnx
    from olive.data.component.dataset import BaseDataset
    from olive.data.registry import Registry
    from olive.workflows import run as olive

    entry = onnx.load(model, load_external_data=False).graph.input[0].name

    @Registry.register_dataset("calibration_file")
    def dataset(path: str, **_: object) -> BaseDataset:
        return BaseDataset([({entry: case}, 0) for case in np.load(path)])

    loaded = {"type": "calibration_file", "params": {"path": calibration}}
    with tempfile.TemporaryDirectory() as cache:
        olive(
            {
                "input_model": {"type": "ONNXModel", "model_path": model},
                "data_configs": [
                    {"name": "calibration", "type": "DataContainer", "load_dataset_config": loaded}
                    | {"dataloader_config": {"type": "default_dataloader", "params": {"batch_size": 1}}}
                ],
                "passes": passes,
                "output_dir": str(out),
                "cache_dir": cache,
                "log_severity_level": 4,
            }
        )


if __name__ == "__main__":
    main()
