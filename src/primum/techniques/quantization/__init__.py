"""Quantization of torch modules: dynamic, static, weight-only, trained; importing the package registers them."""

from primum.techniques.quantization.custom import CustomQuantization
from primum.techniques.quantization.dynamic import DynamicInt8
from primum.techniques.quantization.equalization import CrossLayerEqualization
from primum.techniques.quantization.faces import (
    DynamicQuantizer,
    StaticQuantizer,
    quantize_aware_training,
    quantize_dynamic,
    quantize_model,
    quantize_static,
)
from primum.techniques.quantization.folding import FoldBatchNorm
from primum.techniques.quantization.layers import Skipped
from primum.techniques.quantization.manager import QuantizationManager, QuantizationResult
from primum.techniques.quantization.qat import QuantizationAwareTraining
from primum.techniques.quantization.static import StaticInt8
from primum.techniques.quantization.weight_only import WeightOnly

__all__ = [
    "CrossLayerEqualization",
    "CustomQuantization",
    "DynamicInt8",
    "DynamicQuantizer",
    "FoldBatchNorm",
    "QuantizationAwareTraining",
    "QuantizationManager",
    "QuantizationResult",
    "Skipped",
    "StaticInt8",
    "StaticQuantizer",
    "WeightOnly",
    "quantize_aware_training",
    "quantize_dynamic",
    "quantize_model",
    "quantize_static",
]
