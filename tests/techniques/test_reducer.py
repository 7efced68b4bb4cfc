"""ModelReducer.apply_pruning, as the specification calls it."""

import math

import nets
import pytest
import torch

from primum.config import PruningMethod, ReductionConfig
from primum.errors import InputError
from primum.techniques.reducer import ModelReducer

CASES = torch.randn(16, 1, 32, 32, generator=torch.Generator().manual_seed(0))


def test_the_examples_of_document_000():
    model = nets.build()
    model_reducer = ModelReducer(ReductionConfig(prune_ratio=0.3, prune_method="magnitude"))
    seen = []

    def medical_accuracy_validator(model, test_data):
        seen.append((model, test_data))
        return float((model(test_data) > 0).float().mean())

    pruning_result = model_reducer.apply_pruning(
        model, pruning_ratio=0.2, validation_function=medical_accuracy_validator, test_data=CASES
    )
    assert [m for m, _ in seen] == [model, pruning_result.model] and all(d is CASES for _, d in seen)
    assert pruning_result.accuracy_impact == pruning_result.accuracy_after - pruning_result.accuracy_before
    assert pruning_result.sparsity == pytest.approx(0.2, abs=1e-3)
    assert (pruning_result.compression_ratio, pruning_result.pruning_ratio) == (1.0, 0.2)
    assert any("compressed" in note for note in pruning_result.notes)


def test_without_a_function_nothing_is_claimed():
    result = ModelReducer().apply_pruning(nets.build())
    assert math.isnan(result.accuracy_before) and math.isnan(result.accuracy_impact)
    assert result.sparsity == pytest.approx(0.3, abs=1e-3) and any("not measured" in note for note in result.notes)


def test_structured_is_really_smaller():
    pytest.importorskip("torch_pruning")
    reducer = ModelReducer(ReductionConfig(prune_ratio=0.5, prune_method=PruningMethod.STRUCTURED))
    result = reducer.apply_pruning(nets.build(), example_inputs=CASES)
    assert result.compression_ratio > 3 and result.parameters_after * 3 < result.parameters_before
    assert result.model(CASES).shape == (16, 1)
    assert reducer.apply_pruning(nets.build(), method="gradual").method is PruningMethod.GRADUAL


def test_a_function_that_gives_no_number():
    with pytest.raises(InputError, match="must return a number"):
        ModelReducer().apply_pruning(nets.build(), validation_function=lambda model, data: None)
    with pytest.raises(ValueError, match="prune_method"):
        ReductionConfig(prune_method="luck")
