"""The manager chooses by weights, machine, level and data; and a user's own manager takes part in a study."""

from dataclasses import replace

import pytest
import quantizable
import torch
from torch import nn

from primum.config import OptimizationConfig, OptimizationLevel, QuantizationConfig
from primum.errors import InputError, TrialError
from primum.hardware.machine import this_machine
from primum.techniques.quantization import CustomQuantization, QuantizationManager, WeightOnly
from primum.techniques.quantization.strategy import choose, weight_shares
from primum.techniques.quantization.weight_only import quantize_weights
from primum.techniques.registry import Context, apply_all, make, obstacle

MACHINE = replace(this_machine(), features=("avx2", "avx512", "vnni"), memory_bytes=2**34)


def conv_net() -> nn.Module:
    torch.manual_seed(0)
    return quantizable.settled(quantizable.Residual(64))


def linear_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 32)).eval()


def chosen(net: nn.Module, level=None, calibrated=False, machine=MACHINE, **settings: object) -> tuple[str, str]:
    found = choose(net, QuantizationConfig(**settings), level, machine, calibrated)
    return found.name, found.why


def test_shares_are_of_all_weights():
    shares = weight_shares(quantizable.recurrent())
    assert shares.recurrent > 0.9 and shares.recurrent + shares.linear == pytest.approx(1.0)
    assert weight_shares(conv_net()).convolution > 0.99
    assert weight_shares(linear_net()).parameter_bytes == 4 * sum(p.numel() for p in linear_net().parameters())


def test_the_choice_and_its_reason():
    assert chosen(conv_net(), calibrated=True)[0] == "static_int8"
    name, why = chosen(conv_net())
    assert name == "dynamic_int8" and "give a calibration_loader" in why
    assert chosen(nn.Sequential(nn.Conv2d(64, 128, 3)))[0] == "none"
    assert chosen(linear_net(), calibrated=True)[0] == "dynamic_int8"
    assert "INT8 in hardware" in chosen(linear_net())[1]
    assert "no VNNI" in chosen(linear_net(), machine=replace(MACHINE, features=("avx2",)))[1]
    name, why = chosen(quantizable.mlp())
    small = "2 kB of weights: too small for a saving to matter"
    assert (name, why) == ("none", f"{small}; a calibration_loader would tell whether they are used often")
    assert chosen(nn.Sequential(nn.Embedding(1000, 64)))[0] == "none"


def test_few_weights_that_are_used_many_times_are_not_too_small():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1)).eval()
    loader = (batch for batch in torch.rand(3, 4, 1, 48, 48))
    large = QuantizationManager(calibration_loader=loader, machine=MACHINE).quantize_model(net)
    assert large.original_bytes < 200_000 and large.strategy == "static_int8"
    small = QuantizationManager(calibration_loader=torch.rand(4, 1, 4, 4), machine=MACHINE).quantize_model(net)
    macs = 4 * 4 * 9 * 32 * (1 + 32)
    assert small.strategy == "none" and f"38 kB of weights and {macs:,} multiply-accumulates a case" in small.why


def test_four_bits_go_to_linear_weights_and_where_the_level_allows():
    assert chosen(linear_net(), quantization_type="int4")[0] == "weight_only_int4"
    assert chosen(linear_net(), OptimizationLevel.AGGRESSIVE, bits=4)[0] == "weight_only_int4"
    pytest.importorskip("bitsandbytes")
    assert chosen(linear_net(), load_in_4bit=True)[0] == "weight_only_nf4"
    for level in (OptimizationLevel.BALANCED, OptimizationLevel.MEDICAL_CRITICAL):
        name, why = chosen(linear_net(), level, quantization_type="int4")
        assert name == "dynamic_int8" and "INT8 in place of 4 bits" in why
    name, why = chosen(conv_net(), calibrated=True, quantization_type="int4")
    assert name == "static_int8" and "only 0% of the weights are in Linear layers" in why
    assert chosen(linear_net(), OptimizationLevel.MINIMAL)[0] == "none"


def test_a_machine_that_the_weights_nearly_fill_gets_four_bits():
    small = replace(MACHINE, memory_bytes=600_000)
    name, why = chosen(linear_net(), machine=small)
    assert name == "weight_only_int4" and "of this machine's memory" in why
    assert chosen(linear_net(), OptimizationLevel.MEDICAL_CRITICAL, machine=small)[0] == "dynamic_int8"


def test_a_result_says_what_was_done():
    net = conv_net()
    manager = QuantizationManager(calibration_loader=quantizable.inputs((1, 12, 12)), machine=MACHINE)
    result = manager.quantize_model(net)
    assert result.strategy == "static_int8" and "convolutions" in result.why
    assert 3 < result.compression_ratio < 4.1 and result.original_size_mb > result.quantized_size_mb
    assert result.compression_ratio == pytest.approx(result.original_bytes / result.quantized_bytes)
    x = torch.from_numpy(quantizable.inputs((1, 12, 12), 4))
    assert not torch.equal(result.model(x), net(x)) and any("not validated" in note for note in result.notes)

    plain = QuantizationManager(machine=MACHINE).quantize_model(net)
    assert {s.name for s in plain.skipped} == {"stem.0", "first", "second"}


def test_a_choice_that_fails_falls_back_and_says_so():
    class Hidden(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(1, 256, 16, 4), nn.Linear(256, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.conv(x if float(x.sum()) < 1e9 else x / 2).mean((2, 3)))

    data = quantizable.inputs((1, 20, 20), 8)
    result = QuantizationManager(calibration_loader=data, machine=MACHINE).quantize_model(Hidden().eval())
    assert result.strategy == "dynamic_int8" and "static_int8 was chosen" in result.why and "failed" in result.why
    static = QuantizationManager(QuantizationConfig(quantization_type="static"), calibration_loader=data)
    with pytest.raises(TrialError, match="torch.fx cannot"):
        static.quantize_model(Hidden().eval())


def test_what_is_missing_is_said():
    with pytest.raises(InputError, match="calibration"):
        QuantizationManager(QuantizationConfig(quantization_type="static")).quantize_model(conv_net())
    with pytest.raises(InputError, match="labelled data"):
        QuantizationManager(QuantizationConfig(quantization_type="qat")).quantize_model(conv_net())
    with pytest.raises(InputError, match="not str"):
        QuantizationManager().quantize_model("model.pt")


def test_the_configuration_freezes_on_use_and_the_level_comes_along():
    config = OptimizationConfig(level=OptimizationLevel.MINIMAL)
    manager = QuantizationManager(config)
    assert manager.level is OptimizationLevel.MINIMAL
    assert manager.quantize_model(linear_net()).strategy == "none"
    with pytest.raises(InputError, match="in use"):
        config.quantization.bits = 4


class Halving(QuantizationManager):
    """Someone's own: the last layer at half its weight."""

    def __init__(self, config=None, factor: float = 0.5, **rest: object) -> None:
        super().__init__(config, **rest)
        self.factor = factor

    def _custom_quantization_logic(self, model: nn.Module) -> nn.Module:
        with torch.no_grad():
            model[-1].weight.mul_(self.factor)
            model[-1].bias.mul_(self.factor)
        return model


class Undecided(QuantizationManager):
    def _custom_quantization_logic(self, model: nn.Module) -> None:
        pass


class Wrong(QuantizationManager):
    def _custom_quantization_logic(self, model: nn.Module) -> str:
        return "done"


class Broken(QuantizationManager):
    def _custom_quantization_logic(self, model: nn.Module) -> nn.Module:
        raise KeyError("no such layer")


def test_an_own_manager_is_used_and_the_original_is_not_changed():
    net, x = linear_net(), torch.randn(4, 256)
    before = net(x)
    result = Halving(QuantizationConfig()).quantize_model(net)
    assert result.strategy == "custom" and "Halving" in result.why
    assert any("not validated" in note for note in result.notes), "as those of built-in strategies"
    torch.testing.assert_close(result.model(x), before / 2)
    torch.testing.assert_close(net(x), before)
    assert Undecided(QuantizationConfig(), machine=MACHINE).quantize_model(net).strategy == "dynamic_int8"
    with pytest.raises(TrialError, match="returned str"):
        Wrong().quantize_model(net)
    with pytest.raises(TrialError, match="failed: 'no such layer'"):
        Broken().quantize_model(net)


def test_an_own_manager_is_a_technique(monkeypatch):
    import sys
    import types

    module = types.ModuleType("their_managers")
    module.Halving, module.Undecided, module.Number = Halving, Undecided, 3
    monkeypatch.setitem(sys.modules, "their_managers", module)
    config = make("custom_quantization", {"manager": "their_managers:Halving", "settings": {"factor": 0.25}})
    assert config == CustomQuantization(manager="their_managers:Halving", settings={"factor": 0.25})
    net, x, context = linear_net(), torch.randn(4, 256), Context()
    torch.testing.assert_close(apply_all(net, (config,), context)(x), net(x) / 4)
    assert "their_managers:Halving" in context.notes[0]
    machine = this_machine()
    assert obstacle(config, machine) is None
    for wrong, why in (
        ({"manager": "their_managers:Nobody"}, "cannot be imported"),
        ({"manager": "no_such_module:Halving"}, "cannot be imported"),
        ({"manager": "their_managers:Number"}, "no subclass"),
        ({"manager": "their_managers:Halving", "settings": {"shade": 1}}, "does not take"),
    ):
        assert why in obstacle(make("custom_quantization", wrong), machine)
    with pytest.raises(TrialError, match="returned no model"):
        apply_all(net, (CustomQuantization(manager="their_managers:Undecided"),), Context())
    with pytest.raises(InputError):
        make("custom_quantization", {"manager": "Halving"})


def test_the_manager_and_the_technique_do_the_same():
    pytest.importorskip("torchao")
    net, x = linear_net(), torch.randn(4, 256)
    by_manager = QuantizationManager(QuantizationConfig(quantization_type="weight_only")).quantize_model(net)
    by_technique = apply_all(net, (WeightOnly(),), Context())
    assert by_manager.strategy == "weight_only_int8"
    assert torch.equal(by_manager.model(x), by_technique(x)) and torch.equal(
        by_technique(x), quantize_weights(net)[0](x)
    )
