"""Ranges of activations by least Kullback-Leibler divergence, computed apart from ONNX Runtime's `quantize_static`.

That function has no way to set the number of bins: at its own 128, as many as there are levels, nothing is ever cut.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

BINS = 2048
_LEVELS = 128
_A_BIN = 4
"""Values a bin, at least: a histogram of fewer is mostly empty, and its divergence names ranges by chance."""


def save_ranges(prepared: str, reader: Any, op_types: list[str] | None, cache: Path) -> tuple[str, ...]:
    """Write, for `quantize_static`, the range of each tensor of a prepared graph; returns notes.

    `reader`: a CalibrationDataReader; `op_types` None: all that static quantization knows. Raises ValueError where
    numpy refuses a histogram.
    """
    from onnxruntime.quantization import CalibrationMethod, create_calibrator
    from onnxruntime.quantization.calibrate import TensorsData, save_tensors_data
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    with tempfile.TemporaryDirectory(prefix="primum-") as folder, contextlib.redirect_stdout(io.StringIO()):
        calibrator = create_calibrator(
            Path(prepared),
            op_types or sorted({*QLinearOpsRegistry, *QDQRegistry}),
            augmented_model_path=str(Path(folder) / "augmented.onnx"),
            calibrate_method=CalibrationMethod.Entropy,
            extra_options={"num_bins": BINS, "num_quantized_bins": _LEVELS},
        )
        calibrator.collect_data(reader)
        seen = calibrator.collector.histogram_dict
        sparse = {name for name, (counts, *_) in seen.items() if counts.sum() < _A_BIN * BINS}
        extremes = {name: (np.asarray(seen[name][2]), np.asarray(seen[name][3])) for name in sparse}
        for name in sparse:
            del seen[name]
        cut = {name: data.range_value for name, data in calibrator.compute_data().items()} if seen else {}
    # As if they were extremes: histograms, which the cache would keep too, are of no further use.
    save_tensors_data(TensorsData(CalibrationMethod.MinMax, {**extremes, **cut}), cache)
    total = len(extremes) + len(cut)
    return (f"ranges of {len(sparse)} of {total} tensors are their extremes: too few values to cut",) if sparse else ()
