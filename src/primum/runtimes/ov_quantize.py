"""8-bit and 4-bit graphs for OpenVINO, by NNCF."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from primum.errors import InputError, TrialError
from primum.hardware.machine import this_machine
from primum.runtimes.base import BuildSource, Target
from primum.runtimes.facts import BLOCK, graph_facts, infeasible
from primum.runtimes.folding import ALREADY, fold_rounded_weights
from primum.runtimes.nodes import before_layers, nodes_of, stems_from

if TYPE_CHECKING:
    import onnx

_OUTLIERS = 1e-4
"""Share of the values of one case that ranges="percentile" leaves out at either end."""
_LAYERS = (
    "Convolution",
    "GroupConvolution",
    "ConvolutionBackpropData",
    "GroupConvolutionBackpropData",
    "MatMul",
    "LSTMSequence",
    "GRUSequence",
    "RNNSequence",
)


def quantized_model(source: BuildSource, target: Target) -> tuple[Any, tuple[str, ...]]:
    """The export (openvino.Model) at the target's 8-bit or 4-bit precision, and notes.

    Raises InputError for an unknown name in `exclude`, TrialError where there is nothing to quantize or no NNCF.
    """
    import onnx

    assert source.onnx is not None
    export = onnx.load(source.onnx)
    facts = graph_facts(export)
    if why := infeasible(target, facts):
        raise TrialError(why)
    if facts.quantized:
        if target.exclude:
            raise InputError("exclude: the export is quantized already, layer by layer as it was trained")
        fold_rounded_weights(export)
        with tempfile.TemporaryDirectory(prefix="primum-") as folder:
            onnx.save(export, Path(folder) / "folded.onnx")
            return converted(Path(folder) / "folded.onnx", source), (ALREADY,)
    model = converted(source.onnx, source)
    with _quiet_nncf() as nncf:
        kept = _operations(model, [n.name or n.output[0] for n in nodes_of(export, target.exclude)], layers=True)
        if target.precision == "int8":
            return _calibrated(nncf, model, export, kept, source, target), ()
        return _compressed(nncf, model, kept, target)


def converted(export: Path, source: BuildSource) -> Any:
    """An ONNX file as openvino.Model with a free batch axis."""
    import openvino as ov

    return ov.convert_model(str(export), input=ov.PartialShape([-1, *source.signature.input_shape]))


@contextlib.contextmanager
def _quiet_nncf() -> Iterator[Any]:
    silent = io.StringIO()
    with contextlib.redirect_stdout(silent):
        try:
            import nncf
        except ImportError as error:
            raise TrialError("8-bit and 4-bit graphs for OpenVINO need NNCF: pip install 'primum[cpu]'") from error
        logging.getLogger("nncf").setLevel(logging.ERROR)
        yield nncf


def _operations(model: Any, names: list[str], layers: bool) -> list[str]:
    """Names of OpenVINO's operations that stem from the export's operators `names`; of layers, all must be found."""
    known = [(op.get_friendly_name(), op.get_type_name()) for op in model.get_ops()]
    found = []
    for name in names:
        own = [k for k, kind in known if stems_from(k, name) and (not layers or kind in _LAYERS)]
        if layers and not own:
            raise TrialError(f"OpenVINO merged the excluded layer {name} with another")
        found += own
    return found


def _calibrated(
    nncf: Any, model: Any, export: onnx.ModelProto, kept: list[str], source: BuildSource, target: Target
) -> Any:
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix

    cases = [np.ascontiguousarray(source.calibration[i : i + 1]) for i in range(len(source.calibration))]
    # NNCF's names: PERFORMANCE has ranges of activations around zero, MIXED has not.
    preset = nncf.QuantizationPreset.PERFORMANCE if target.symmetric else nncf.QuantizationPreset.MIXED
    preparing = _operations(model, [name for name in before_layers(export) if name], layers=False)
    return nncf.quantize(
        model,
        nncf.Dataset(cases),
        preset=preset,
        subset_size=max(len(cases), 1),
        ignored_scope=nncf.IgnoredScope(names=sorted({*kept, *preparing}), validate=False),
        advanced_parameters=AdvancedQuantizationParameters(
            disable_bias_correction=not target.bias_correction,
            # 7-bit weights in the first layer keep CPUs without VNNI from saturating.
            overflow_fix=OverflowFix.DISABLE if "vnni" in this_machine().features else OverflowFix.FIRST_LAYER,
            activations_range_estimator_params=_estimator(target.ranges),
        ),
    )


def _estimator(ranges: str) -> Any:
    from nncf.quantization.range_estimator import (
        AggregatorType,
        RangeEstimatorParameters,
        RangeEstimatorParametersSet,
        StatisticsCollectorParameters,
        StatisticsType,
    )

    if ranges == "percentile":
        ends = [
            StatisticsCollectorParameters(StatisticsType.QUANTILE, end, quantile_outlier_prob=_OUTLIERS)
            for end in (AggregatorType.MIN, AggregatorType.MAX)
        ]
        return RangeEstimatorParameters(*ends)
    named = {
        "minmax": RangeEstimatorParametersSet.MINMAX,
        "mean": RangeEstimatorParametersSet.MEAN_MINMAX,
        "histogram": RangeEstimatorParametersSet.HISTOGRAM,
    }
    return named[ranges]


def _compressed(nncf: Any, model: Any, kept: list[str], target: Target) -> tuple[Any, tuple[str, ...]]:
    modes = nncf.CompressWeightsMode
    mode = {"int8-weights": modes.INT8_SYM, "int4-weights": modes.INT4_SYM, "nf4-weights": modes.NF4}[target.precision]
    four = target.precision != "int8-weights"
    settings: dict[str, Any] = {}
    if four:
        fallback = nncf.AdvancedCompressionParameters(group_size_fallback_mode=nncf.GroupSizeFallbackMode.ADJUST)
        settings = {"group_size": BLOCK, "all_layers": True, "ratio": 1.0, "advanced_parameters": fallback}
    convolutions = [op.get_friendly_name() for op in model.get_ops() if op.get_type_name() in _LAYERS[:4]]
    scope = nncf.IgnoredScope(names=[*kept, *convolutions], validate=False)
    model = nncf.compress_weights(model, mode=mode, ignored_scope=scope, **settings)
    stored = sum(_is_stored(op, target.precision) for op in model.get_ops())
    if not stored:
        raise TrialError("NNCF compressed no matrix product of this graph")
    blocks = f", blocks of {BLOCK}" if four else ", one scale a row"
    return model, (f"{stored} weights stored in {'4' if four else '8'} bits{blocks}",)


def _is_stored(operation: Any, precision: str) -> bool:
    kinds = {"int8-weights": ("i8", "u8"), "int4-weights": ("i4", "u4"), "nf4-weights": ("nf4",)}[precision]
    return operation.get_type_name() == "Constant" and operation.get_output_element_type(0).get_type_name() in kinds
