"""QuantizationConfig takes the keywords of both documents, refuses contradictions and freezes on use."""

import pytest
import torch
import yaml
from pydantic import ValidationError

from primum.config import OptimizationConfig, QuantizationConfig, QuantizationScheme, QuantizationType
from primum.errors import InputError


def test_both_documents_keywords_are_taken():
    first = QuantizationConfig(quantization_type=QuantizationType.INT8, load_in_8bit=True)
    assert first.weight_bits == 8 and first.quantization_type is QuantizationType.INT8
    second = QuantizationConfig(
        quantization_type="dynamic", dtype=torch.qint8, bits=8, quantize_weights=True, quantize_activations=False
    )
    assert second.quantization_type is QuantizationScheme.DYNAMIC and second.dtype == "qint8"
    assert QuantizationConfig().weight_bits == 8
    assert QuantizationConfig(quantization_type="int4").weight_bits == 4
    assert QuantizationConfig(load_in_4bit=True).weight_bits == 4


@pytest.mark.parametrize(
    "wrong",
    [
        {"load_in_4bit": True, "load_in_8bit": True},
        {"quantization_type": "int4", "bits": 8},
        {"quantization_type": "int4", "load_in_8bit": True},
        {"bits": 4, "load_in_8bit": True},
        {"quantize_weights": False},
        {"quantization_type": "dynamic", "quantize_activations": True},
        {"dtype": torch.float16},
        {"bits": 3},
    ],
)
def test_contradictions_are_refused(wrong):
    with pytest.raises(ValidationError):
        QuantizationConfig(**wrong)


def test_it_freezes_on_use_and_a_copy_in_eight_bits_is_free():
    config = QuantizationConfig(quantization_type="int4")
    config.bits = 4
    config.in_use()
    with pytest.raises(InputError, match="bits cannot change"):
        config.bits = None
    copy = config.in_eight_bits()
    assert copy.weight_bits == 8 and config.weight_bits == 4
    copy.bits = 4


def test_a_medical_model_gets_eight_bits_however_four_were_asked_for():
    for four in ({"bits": 4}, {"load_in_4bit": True}, {"quantization_type": "int4"}):
        resolved = OptimizationConfig(quantization=QuantizationConfig(**four).in_use()).resolve()
        assert resolved.config.quantization.weight_bits == 8
        assert any("INT8 in place of INT4" in note for note in resolved.adjustments)


def test_yaml_reads_back():
    config = OptimizationConfig(quantization=QuantizationConfig(quantization_type="static", dtype=torch.qint8).in_use())
    assert OptimizationConfig.model_validate(yaml.safe_load(config.to_yaml())) == config
