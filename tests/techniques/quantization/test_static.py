"""Static INT8 in torch: fused layers, integer additions, observers, bias correction."""

import pruning_nets
import pytest
import quantizable
import torch
from torch import nn

from primum.errors import InputError, TrialError
from primum.techniques.quantization.bias import mean_shifts
from primum.techniques.quantization.folding import fold_batch_norm
from primum.techniques.quantization.graph import copied
from primum.techniques.quantization.observers import activation_observer
from primum.techniques.quantization.static import StaticInt8, batches_of, quantize_static_int8
from primum.techniques.registry import Context, apply_all


def batches(shape: tuple[int, ...], count: int = 128) -> list[torch.Tensor]:
    return batches_of(quantizable.inputs(shape, count))


@pytest.mark.parametrize("observer", ["minmax", "entropy", "percentile"])
@pytest.mark.parametrize("per_channel", [True, False])
def test_a_residual_net_runs_in_integers(observer, per_channel):
    net, context = quantizable.residual(), Context(calibration=quantizable.inputs((1, 12, 12), 128))
    made = apply_all(net, (StaticInt8(observer=observer, per_channel=per_channel),), context)
    fused = [name for name, m in made.named_modules() if type(m).__name__ == "ConvReLU2d"]
    assert fused == ["stem.0", "first"] and "quantized.add_relu" in made.code
    scheme = made.first.weight().qscheme()
    assert scheme is (torch.per_channel_affine if per_channel else torch.per_tensor_affine)
    x = torch.from_numpy(quantizable.inputs((1, 12, 12), 32, seed=1))
    with torch.no_grad():
        exact, near = net(x), made(x)
    assert 0 < float((near - exact).abs().max()) < 0.1 * float(exact.abs().max())
    assert not [note for note in context.notes if "stays in FP32" in note]


def _conv(inputs: int, outputs: int) -> nn.Module:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


@pytest.mark.parametrize(
    ("make", "shape", "kept"),
    [
        (lambda: nn.Sequential(_conv(8, 16), nn.PReLU(), _conv(16, 2)), (8, 16, 16), None),
        (
            lambda: nn.Sequential(_conv(8, 16), nn.ReLU(), nn.ConvTranspose2d(16, 8, 2, 2), nn.ReLU(), _conv(8, 2)),
            (8, 16, 16),
            "ConvTranspose2d",
        ),
        (lambda: pruning_nets.UNet(2), (1, 16, 16), "ConvTranspose2d"),
        (lambda: pruning_nets.UNet(3), (1, 16, 16, 16), "ConvTranspose3d"),
    ],
    ids=["prelu", "transposed", "unet-2d", "unet-3d"],
)
def test_what_torchs_kernels_compute_wrongly_stays_in_floats(make, shape, kept):
    torch.manual_seed(0)
    net, x = make().eval(), torch.randn(4, *shape)
    made, skipped, _ = quantize_static_int8(net, [x])
    with torch.no_grad():
        exact, near = net(x), made(x)
    assert float((near - exact).norm() / exact.norm()) < 0.1
    assert kept is None or kept in {s.kind for s in skipped}


def test_an_encoder_has_its_attention_quantized_too():
    net = quantizable.encoder()
    made, skipped, _ = quantize_static_int8(net, batches((6, 8)))
    assert not [s for s in skipped if s.kind == "Linear"]
    assert "quantized" in type(made.encoder.layers.get_submodule("0").self_attn.query).__module__
    x = torch.from_numpy(quantizable.inputs((6, 8), seed=2))
    with torch.no_grad():
        assert float((made(x) - net(x)).abs().mean()) < 0.02


def test_scores_are_not_rounded_to_256_levels():
    net = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 1), nn.Sigmoid(), nn.Flatten()).eval()
    made, skipped, _ = quantize_static_int8(net, batches((8,)))
    with torch.no_grad():
        scores = made(torch.from_numpy(quantizable.inputs((8,), 4000)))
    assert not skipped and len(scores.unique()) > 1000
    mask = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 1)).eval()
    _, skipped, _ = quantize_static_int8(mask, batches((1, 12, 12)))
    assert [s.name for s in skipped] == ["2"] and "256 levels" in skipped[0].why


def test_layers_without_an_int8_form_are_named():
    _, skipped, _ = quantize_static_int8(quantizable.recurrent(), batches((6, 8)))
    assert [(s.name, s.kind) for s in skipped] == [("core", "LSTM")] and "dynamic" in skipped[0].why


def test_a_model_that_decides_by_values_is_refused():
    with pytest.raises(TrialError, match="torch.fx cannot trace Deciding"):
        quantize_static_int8(quantizable.settled(quantizable.Deciding()), batches((8,)))


def test_calibration_is_needed_in_some_form():
    for nothing in (None, [], torch.zeros(0, 8)):
        with pytest.raises(InputError, match="needs calibration data"):
            batches_of(nothing)
    with pytest.raises(InputError, match="not int"):
        batches_of(3)
    pairs = [(torch.zeros(4, 8), torch.zeros(4)), [torch.ones(2, 8).double(), None]]
    assert [tuple(b.shape) for b in batches_of(pairs)] == [(4, 8), (2, 8)]
    assert all(b.dtype is torch.float32 for b in batches_of(pairs))


def test_the_percentile_cuts_an_outlier_that_the_whole_range_keeps():
    values = torch.randn(100_000, generator=torch.Generator().manual_seed(0))
    values[7] = 1000.0
    scales = {}
    for kind in ("minmax", "percentile"):
        observer = activation_observer(kind, reduce_range=False)()
        for part in values.split(1000):
            observer(part)
        scales[kind] = float(observer.calculate_qparams()[0])
    assert scales["minmax"] == pytest.approx((1000 - float(values.min())) / 255, rel=1e-3)
    assert scales["percentile"] < 0.1


def test_bias_correction_brings_every_channels_mean_back():
    torch.manual_seed(0)
    net = quantizable.residual(width=16)
    with torch.no_grad():  # a coarse weight: one scale a tensor, one channel far wider than the others
        for conv in (net.first, net.second):
            conv.weight[0].mul_(40)
    data = batches((1, 12, 12))
    plain, *_ = quantize_static_int8(net, data, per_channel=False)
    corrected, _, notes = quantize_static_int8(net, data, per_channel=False, bias_correction=True)
    assert "biases of 4 layers corrected" in notes[-1]
    reference = copied(net)
    fold_batch_norm(reference)
    before, after = mean_shifts(reference, plain, data), mean_shifts(reference, corrected, data)
    assert list(before) == ["stem.0", "first", "second", "head"]
    for name in before:
        assert float(after[name].abs().max()) < 1e-3 * max(1.0, float(before[name].abs().max()))
    assert max(float(shift.abs().max()) for shift in before.values()) > 0.02


def test_reduced_range_keeps_activations_to_seven_bits_and_says_so():
    made, _, notes = quantize_static_int8(
        nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2)), batches((8,)), reduce_range=True
    )
    assert "7 bits" in notes[0]
    wide, _, none = quantize_static_int8(
        nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2)), batches((8,)), reduce_range=False
    )
    assert not none and made.get_submodule("0").scale > 1.5 * wide.get_submodule("0").scale
