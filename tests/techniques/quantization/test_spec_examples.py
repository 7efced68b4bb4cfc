"""The specification's examples, with only the import line and the placeholders changed."""

import pytest
import quantizable
import torch
from torch.utils.data import DataLoader, TensorDataset

from primum.config import OptimizationConfig, OptimizationLevel, QuantizationConfig, QuantizationType
from primum.errors import InputError
from primum.runtimes.export import export_onnx
from primum.techniques.context import Context
from primum.techniques.precision import MixedPrecisionConverter, convert_to_mixed_precision
from primum.techniques.quantization import (
    DynamicQuantizer,
    QuantizationManager,
    StaticQuantizer,
    quantize_aware_training,
    quantize_dynamic,
    quantize_model,
    quantize_static,
)


@pytest.fixture
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    return quantizable.settled(quantizable.Residual(64))


@pytest.fixture
def calib_dataloader() -> DataLoader:
    data = quantizable.images(96, 0)
    return DataLoader(TensorDataset(torch.from_numpy(data.inputs), torch.from_numpy(data.labels)), batch_size=32)


def test_document_003_dynamic(capsys):
    model = torch.nn.Sequential(torch.nn.Linear(256, 256), torch.nn.ReLU(), torch.nn.Linear(256, 2))

    # Configure quantization
    config = QuantizationConfig(
        quantization_type="dynamic", dtype=torch.qint8, bits=8, quantize_weights=True, quantize_activations=False
    )

    # Create dynamic quantizer
    quantizer = DynamicQuantizer(model, config)

    # Quantize the model
    quantized_model = quantizer.optimize()

    # Get size reduction information
    size_info = quantizer.get_size_info()
    print(f"Model size reduced by {size_info['compression_ratio']}x")

    assert 3.5 < size_info["compression_ratio"] < 4
    assert size_info["original_size_mb"] / size_info["quantized_size_mb"] == pytest.approx(
        size_info["compression_ratio"]
    )
    assert quantized_model(torch.ones(1, 256)).shape == (1, 2)
    assert "Model size reduced by 3." in capsys.readouterr().out


def test_document_003_static(model, calib_dataloader):
    # Static quantization with calibration
    static_quantizer = StaticQuantizer(model, calibration_loader=calib_dataloader)

    # Optimize the model
    optimized_model = static_quantizer.optimize()

    x = torch.from_numpy(quantizable.inputs((1, 12, 12), 8))
    with torch.no_grad():
        assert (optimized_model(x) - model(x)).abs().max() < 0.1 * model(x).abs().max()
    assert static_quantizer.get_size_info()["compression_ratio"] > 3


def test_document_003_convenience(model, calib_dataloader):
    # Quick model optimization: the example gives no calibration data, which static quantization cannot do without.
    with pytest.raises(InputError, match="calibration_loader"):
        quantize_model(model, quantization_type="static", bits=8)
    quantized_model = quantize_model(model, quantization_type="static", bits=8, calibration_loader=calib_dataloader)
    mixed_precision_model = convert_to_mixed_precision(model, dtype=torch.float16)
    x = torch.from_numpy(quantizable.inputs((1, 12, 12), 2))
    for made in (quantized_model, mixed_precision_model):
        assert made(x).shape == (2, 3) and made(x).dtype is torch.float32


def test_document_003_mixed_precision(model):
    # Convert model to mixed precision
    converter = MixedPrecisionConverter(model, dtype=torch.float16, use_auto_cast=True)

    # Get mixed precision model
    mp_model = converter.convert_to_mixed_precision()

    assert mp_model.dtype in (torch.float16, torch.bfloat16, torch.float32)
    assert (mp_model.dtype is torch.float16) == (mp_model.fallback is None)


def test_document_000_quick_start(model, capsys):
    config = OptimizationConfig(level=OptimizationLevel.BALANCED, preserve_medical_accuracy=True)

    # 3. Model quantization
    quant_manager = QuantizationManager(QuantizationConfig())
    result = quant_manager.quantize_model(model)
    print(f"Compression: {result.compression_ratio:.1f}x")

    assert config.quantization == QuantizationConfig() and "Compression: 1.0x" in capsys.readouterr().out
    assert result.strategy == "dynamic_int8" and "calibration_loader" in result.why


def test_document_000_medical_configuration():
    # Conservative quantization for medical models
    quant_config = QuantizationConfig(
        quantization_type=QuantizationType.INT8,  # More conservative than INT4
        load_in_8bit=True,
    )
    assert quant_config.weight_bits == 8


def test_document_000_custom_strategy(model):
    config = QuantizationConfig()

    class CustomQuantizationManager(QuantizationManager):
        def _custom_quantization_logic(self, model):
            # Implement your custom quantization
            pass

    # Use custom manager
    custom_manager = CustomQuantizationManager(config)
    assert custom_manager.quantize_model(model).strategy == "dynamic_int8"


def test_document_000_accuracy_loss():
    config = OptimizationConfig()
    config.quantization.quantization_type = QuantizationType.INT8
    config.validation.accuracy_threshold = 0.98
    assert config.quantization.weight_bits == 8


def test_document_004(model, calib_dataloader, tmp_path):
    dynamic = quantize_dynamic(quantizable.recurrent(torch.nn.GRU))
    assert "quantized.dynamic" in type(dynamic.core).__module__
    calibration_data = [batch for batch, _ in calib_dataloader]
    static = quantize_static(model, calibration_data)
    assert static(calibration_data[0]).shape == (32, 3)
    train_loader = calib_dataloader
    trained = quantize_aware_training(model, train_loader, epochs=5)
    assert export_onnx(trained, (1, 12, 12), tmp_path / "m.onnx") == ()


def test_the_verb_of_training_lowers_the_loss_and_reports():
    data = quantizable.images(256, 1)
    loader = DataLoader(TensorDataset(torch.from_numpy(data.inputs), torch.from_numpy(data.labels)), batch_size=32)
    net, context = quantizable.fit(quantizable.residual(), data, steps=20), Context()
    made = quantize_aware_training(net, loader, epochs=6, learning_rate=5e-3, context=context)
    assert quantizable.accuracy(made, data) > quantizable.accuracy(net, data) + 0.1
    assert any("batch norms folded" in note for note in context.notes)
    for wrong in ([], [torch.zeros(2, 1, 12, 12)], 3):
        with pytest.raises(InputError, match="loader"):
            quantize_aware_training(net, wrong)


def test_what_a_verb_does_not_have_is_refused(model):
    for wrong in ({"quantization_type": "magic"}, {"bits": 3}, {"quantization_type": "dynamic", "bits": 4}):
        with pytest.raises(InputError):
            quantize_model(model, **wrong)
    with pytest.raises(InputError, match="asks for static"):
        DynamicQuantizer(model, QuantizationConfig(quantization_type="static"))
    with pytest.raises(InputError, match="activations"):
        StaticQuantizer(model, QuantizationConfig(quantization_type="static", quantize_activations=False))
    with pytest.raises(InputError, match="the class Residual"):
        quantize_dynamic(type(model))
