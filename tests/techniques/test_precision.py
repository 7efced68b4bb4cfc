"""Mixed precision: what hardware does, what stays FP32, what is reported, and that it still computes the same."""

from dataclasses import replace

import pytest
import quantizable
import torch
from torch import nn

from primum.errors import InputError
from primum.hardware.machine import this_machine
from primum.techniques.precision import (
    GradientScaling,
    MixedPrecisionConverter,
    MixedPrecisionWrapper,
    choose_precision,
    convert_to_mixed_precision,
)
from primum.techniques.registry import Context, apply_all, make, obstacle

WITH = replace(this_machine(), features=("avx2", "bf16"))
WITHOUT = replace(this_machine(), features=("avx2",))
NETS = {
    "mlp": (quantizable.mlp, (8,)),
    "residual": (quantizable.residual, (1, 12, 12)),
    "lstm": (quantizable.recurrent, (6, 8)),
    "encoder": (quantizable.encoder, (6, 8)),
}


def test_a_cpu_without_bf16_stays_in_fp32_and_says_so():
    for dtype in (torch.float16, torch.bfloat16):
        chosen = choose_precision(dtype, "cpu", WITHOUT)
        assert chosen.dtype is torch.float32 and "neither" in chosen.fallback
        wrapped = MixedPrecisionWrapper(quantizable.mlp(), dtype, machine=WITHOUT)
        assert wrapped.dtype is torch.float32 and wrapped.fallback == chosen.fallback
        x = torch.randn(4, 8)
        assert torch.equal(wrapped(x), quantizable.mlp()(x))


def test_float16_on_a_cpu_with_bf16_becomes_bf16_and_says_so():
    chosen = choose_precision(torch.float16, "cpu", WITH)
    assert chosen.dtype is torch.bfloat16 and "in place of float16" in chosen.fallback
    assert choose_precision(torch.bfloat16, "cpu", WITH).fallback is None
    assert choose_precision(torch.bfloat16, "mps").dtype is torch.float16
    assert choose_precision(torch.float16, "cuda").fallback is None
    assert choose_precision(torch.float16, "xla").dtype is torch.float32
    with pytest.raises(InputError, match="not torch.float64"):
        choose_precision(torch.float64, "cpu")


@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize("auto", [True, False])
def test_outputs_are_near_and_in_the_dtype_of_the_inputs(kind, auto):
    if kind == "lstm" and auto and "avx512" not in this_machine().features:
        pytest.skip("PyTorch runs no LSTM in BF16 on a CPU without AVX-512")
    make_net, shape = NETS[kind]
    net, x = make_net(), torch.from_numpy(quantizable.inputs(shape))
    wrapped = MixedPrecisionConverter(net, torch.bfloat16, auto, machine=WITH).convert_to_mixed_precision()
    with torch.inference_mode():
        exact, near = net(x), wrapped.eval()(x)
        assert near.dtype is torch.float32 and not torch.equal(exact, near), "computed in FP32 after all"
        torch.testing.assert_close(near, exact, atol=0.05, rtol=0.05)
        assert torch.equal(net(x), exact), "the original was changed"


def test_stored_weights_are_halved_but_for_norms():
    net = quantizable.encoder()
    wrapped = MixedPrecisionConverter(net, torch.bfloat16, False, machine=WITH).convert_to_mixed_precision()
    kinds = {type(m).__name__: next(m.parameters()).dtype for m in wrapped.modules() if list(m.parameters(False))}
    assert kinds["LayerNorm"] is torch.float32 and kinds["Linear"] is torch.bfloat16
    kept = MixedPrecisionConverter(net, torch.bfloat16, True, machine=WITH).convert_to_mixed_precision()
    assert {p.dtype for p in kept.parameters()} == {torch.float32}


@pytest.mark.parametrize("auto", [True, False])
def test_norms_and_softmax_see_fp32(auto):
    seen = {}

    class Watched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.norm, self.softmax = nn.Linear(8, 8), nn.LayerNorm(8), nn.Softmax(-1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.softmax(self.norm(self.linear(x)))

    wrapped = MixedPrecisionWrapper(Watched(), torch.bfloat16, auto, machine=WITH)
    for name in ("linear", "norm", "softmax"):
        module = wrapped.model.get_submodule(name)
        module.register_forward_hook(lambda _m, i, o, name=name: seen.__setitem__(name, (i[0].dtype, o.dtype)))
    wrapped(torch.randn(2, 8))
    assert seen["linear"][1] is torch.bfloat16
    assert seen["norm"][0] is torch.float32 and seen["softmax"][0] is torch.float32


def test_nested_outputs_come_back_wide():
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> dict[str, object]:
            y = self.linear(x)
            return {"a": [y, (y + 1, torch.arange(2))]}

    made = MixedPrecisionWrapper(Two(), torch.bfloat16, machine=WITH)(torch.randn(2, 4, dtype=torch.float64).float())
    assert made["a"][0].dtype is torch.float32 and made["a"][1][1].dtype is torch.int64


def test_gradient_scaling_trains_and_skips_a_step_that_overflows():
    torch.manual_seed(0)
    net, x = nn.Linear(8, 1), torch.randn(64, 8)
    y = x.sum(1, keepdim=True)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    scaling = GradientScaling(torch.bfloat16, machine=WITH)
    assert scaling.scale == 1.0 and scaling.precision.fallback is None
    losses = []
    for _ in range(40):
        with scaling.autocast():
            loss = (net(x).float() - y).square().mean()
        losses.append(loss.item())
        assert scaling.step(loss, optimizer, max_norm=10.0)
    assert losses[-1] < 0.05 * losses[0] and scaling.skipped == 0

    half = GradientScaling(torch.bfloat16, machine=WITH)
    half._scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    before = net.weight.detach().clone()
    assert not half.step((net(x) * torch.tensor(float("inf"))).sum(), optimizer)
    assert half.skipped == 1 and half.scale == 512.0 and torch.equal(net.weight, before)


def test_techniques_know_the_machine_and_the_verb_refuses_what_is_no_model():
    if not torch.cuda.is_available():
        assert "no CPU" in obstacle(make("float16", {}), WITH)
        assert "no BF16" in obstacle(make("bfloat16", {}), WITHOUT)
    assert obstacle(make("bfloat16", {}), WITH) is None
    context = Context()
    made = apply_all(quantizable.mlp(), (make("bfloat16", {}),), context)
    assert made.dtype in (torch.bfloat16, torch.float32) and context.notes
    with pytest.raises(InputError, match="torch module"):
        convert_to_mixed_precision("model.pt")


@pytest.mark.parametrize("training", [True, False])
def test_the_wrapper_starts_in_the_mode_of_its_model(training):
    model = nn.Sequential(nn.Linear(2, 2)).train(training)
    assert MixedPrecisionConverter(model).convert_to_mixed_precision().training is training
