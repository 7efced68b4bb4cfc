"""Channels are gone for good, the right ones, and the network that is left exports."""

import copy

import numpy as np
import onnxruntime
import pruning_nets as nets
import pytest
import torch
from torch import nn

from primum.errors import InputError, MissingExtra, TrialError
from primum.models.signature import Signature
from primum.runtimes.export import export_onnx
from primum.techniques.context import TrainingData
from primum.techniques.pruning import PruneChannels, prune_channels
from primum.techniques.pruning.remove import parameters
from primum.techniques.registry import Context, apply_all, make, obstacle, technique_of

pytest.importorskip("torch_pruning")

NETS = {
    "resnet": (nets.ResNet, (3, 32, 32)),
    "densenet": (nets.DenseNet, (1, 16, 16)),
    "mobilenet": (nets.MobileNet, (3, 32, 32)),
    "grouped": (nets.Grouped, (1, 16, 16)),
    "unet2d": (nets.UNet, (1, 32, 32)),
    "unet3d": (lambda: nets.UNet(3, affine=True), (1, 16, 16, 16)),
    "volume": (nets.Volume, (1, 8, 8, 8)),
    "convnext": (nets.ConvNext, (1, 16, 16)),
    "transformer": (nets.Transformer, (1, 16, 16)),
}


def _batch(shape: tuple[int, ...], n: int = 2, seed: int = 1) -> torch.Tensor:
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed))


def _built(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    torch.manual_seed(0)
    build, shape = NETS[name]
    return nets.ready(build()), shape


@pytest.mark.parametrize("name", NETS)
def test_pruned_network_is_smaller_runs_and_exports(name, tmp_path):
    net, shape = _built(name)
    before = copy.deepcopy(net.state_dict())
    removal = prune_channels(net, PruneChannels(ratio=0.5), Context(), _batch(shape))
    x = _batch(shape)
    with torch.inference_mode():
        was, now = net(x), removal.model(x)
    assert now.shape == was.shape
    assert parameters(removal.model) == removal.parameters_after < 0.6 * removal.parameters_before
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items()), "the caller's model changed"
    export_onnx(removal.model, shape, tmp_path / "m.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {"input": x.numpy()})
    np.testing.assert_allclose(got, now.numpy(), atol=1e-4 * max(1.0, float(now.abs().max())))


@pytest.mark.parametrize("name", ["resnet", "densenet", "mobilenet", "unet2d", "unet3d", "volume"])
def test_dead_channels_are_found_by_activation_and_nothing_else_changes(name):
    """Every other channel made to carry zeros: exactly those must go, whatever the graph looks like."""
    net, shape = _built(name)
    last = [m for m in net.modules() if isinstance(m, (nn.modules.conv._ConvNd, nn.Linear))][-1]
    with torch.no_grad():
        for module in net.modules():
            if getattr(module, "running_mean", None) is not None:
                module.running_mean.zero_()
            if getattr(module, "bias", None) is not None and module is not last:
                module.bias.zero_()
            if isinstance(module, (nn.modules.conv._ConvNd, nn.Linear)) and module is not last:
                transposed = getattr(module, "transposed", False)
                (module.weight.transpose(0, 1) if transposed else module.weight)[::2] = 0
    x = _batch(shape)
    config = PruneChannels(ratio=0.5, importance="activation", round_to=1)
    removal = prune_channels(net, config, Context(calibration=x.numpy()))
    assert sum(c.before - c.after for c in removal.changes) * 2 == sum(c.before for c in removal.changes)
    with torch.inference_mode():
        torch.testing.assert_close(removal.model(x), net(x), atol=1e-5, rtol=1e-4)


def test_embedded_small_network_is_recovered():
    torch.manual_seed(0)
    small, big = nets.ready(nets.ResNet(8)), nets.ready(nets.ResNet(16))
    with torch.no_grad():
        for (name, wide), (_, narrow) in zip(big.state_dict().items(), small.state_dict().items(), strict=True):
            if wide.ndim:
                part = tuple(slice(0, n) for n in narrow.shape)
                wide.zero_() if "running_var" not in name else wide.fill_(1.0)
                wide[part] = narrow
    x = _batch((3, 32, 32))
    pruned = prune_channels(big, PruneChannels(ratio=0.5), Context(), x).model
    assert {k: v.shape for k, v in pruned.state_dict().items()} == {k: v.shape for k, v in small.state_dict().items()}
    with torch.inference_mode():
        torch.testing.assert_close(pruned(x), small(x))


@pytest.mark.parametrize("kind", ["magnitude", "taylor"])
def test_scores_are_those_of_torch_pruning(kind):
    import torch_pruning

    from primum.techniques.pruning import importance
    from primum.techniques.pruning.graph import Graph

    net = nets.ready(nets.ResNet(norm=nn.Identity))
    x = _batch((3, 32, 32))
    graph = Graph(net, x[:1])
    net(x).square().sum().backward()
    theirs = torch_pruning.importance
    reference = {
        "magnitude": theirs.GroupMagnitudeImportance(p=2, normalizer=None),
        "taylor": theirs.GroupTaylorImportance(normalizer=None),
    }[kind]
    score = getattr(importance, kind)
    checked = 0
    for found in graph.sets():
        module = dict(net.named_modules())[found.name]
        channels = list(range(found.channels))
        group = graph._graph.get_pruning_group(
            module, graph._graph.get_pruner_of_module(module).prune_out_channels, channels
        )
        np.testing.assert_allclose(score(graph.members(found.name)), reference(group).detach().numpy(), rtol=1e-4)
        checked += 1
    assert checked >= 4


def test_taylor_keeps_what_the_loss_depends_on():
    torch.manual_seed(0)
    net = nets.ready(nets.ResNet())
    with torch.no_grad():
        net.head.weight[:, :16] = 0
        net.head.weight[:, 16:] *= 0.01
    inputs = _batch((3, 32, 32), 16).numpy()
    labels = np.arange(16) % 3
    signature = Signature(
        input_shape=(3, 32, 32), outputs=3, task="multiclass", classes=("a", "b", "c"), activation="softmax"
    )
    train = TrainingData(inputs, labels, np.arange(16).astype(str))
    with pytest.raises(InputError, match="train-data"):
        prune_channels(net, PruneChannels(importance="taylor"), Context(signature=signature))
    removal = prune_channels(
        net, PruneChannels(ratio=0.5, importance="taylor"), Context(signature=signature, train=train)
    )
    assert removal.model.head.in_features == 16
    assert float(removal.model.head.weight.detach().abs().min()) > 0, "a channel that the head reads was removed"
    assert all(p.grad is None for p in removal.model.parameters())


def test_taylor_uses_the_gradient_of_the_loss():
    from primum.techniques.pruning.gradients import accumulate

    torch.manual_seed(0)
    net, reference = nn.Linear(4, 1), nn.Linear(4, 1)
    reference.load_state_dict(net.state_dict())
    inputs, labels = _batch((4,), 50), torch.arange(50) % 2
    signature = Signature(input_shape=(4,), outputs=1, classes=("a", "b"))
    train = TrainingData(inputs.numpy(), labels.numpy(), np.arange(50).astype(str))
    accumulate(net, Context(signature=signature, train=train))
    loss = nn.functional.binary_cross_entropy_with_logits
    loss(reference(inputs)[:, 0], labels.float(), reduction="sum").backward()
    torch.testing.assert_close(net.weight.grad, reference.weight.grad)


def test_output_layers_stay_and_what_stays_is_told():
    torch.manual_seed(0)
    net = nets.ready(nets.Awkward())
    removal = prune_channels(net, PruneChannels(ratio=0.5), Context(), _batch((2, 8, 8)))
    reasons = {layer: u.reason for u in removal.unpruned for layer in u.layers}
    assert "GRU recurrent" in reasons["third.0"]
    assert "second.0" in reasons, "a mean over channels depends on every one of them"
    assert not {"mid", "head"} & set(reasons)
    assert [c.layers for c in removal.changes] == [("first.0", "first.1", "first.2")]
    assert removal.model.second[0].in_channels == 10, "two channels of the input and eight of the first layer"
    for now, was in zip(removal.model(_batch((2, 8, 8))), net(_batch((2, 8, 8)))):
        assert now.shape == was.shape
    assert any("second.0" in note for note in removal.notes)


def test_ignored_layers_keep_their_channels():
    net, shape = _built("resnet")
    config = PruneChannels(ratio=0.5, ignored=("stages.0",))
    removal = prune_channels(net, config, Context(), _batch(shape))
    assert removal.model.stages[0].conv1.out_channels == 16
    assert removal.model.stages[1].conv1.out_channels == 16 < net.stages[1].conv1.out_channels
    with pytest.raises(InputError, match="no module 'stages.9'"):
        prune_channels(net, PruneChannels(ignored=("stages.9",)), Context(), _batch(shape))


def test_narrow_layers_are_rounded_to_fewer_and_it_is_told():
    torch.manual_seed(0)
    net = nets.ready(nets.ResNet(8))
    removal = prune_channels(net, PruneChannels(ratio=0.5), Context(), _batch((3, 32, 32)))
    assert {c.rounding for c in removal.changes if c.before == 8} == {4}
    assert any("too narrow" in note and "(to 4)" in note for note in removal.notes)


def test_attention_gate_of_one_channel_does_not_hold_the_rest():
    class Gate(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features, self.gate = nn.Conv2d(1, 16, 3, 1, 1), nn.Conv2d(1, 16, 3, 1, 1)
            self.psi = nn.Sequential(nn.Conv2d(16, 1, 1), nn.BatchNorm2d(1), nn.Sigmoid())
            self.out = nn.Conv2d(16, 1, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.features(x)
            return self.out(y * self.psi(torch.relu(y + self.gate(x))))

    removal = prune_channels(nets.ready(Gate()), PruneChannels(ratio=0.5), Context(), _batch((1, 8, 8)))
    assert removal.model.features.out_channels == removal.model.gate.out_channels == 8
    assert removal.model.psi[0].out_channels == 1


@pytest.mark.parametrize(
    "norm", [lambda c: nn.GroupNorm(4, c), lambda c: nn.InstanceNorm2d(c, track_running_stats=True)]
)
def test_norms_follow(norm):
    torch.manual_seed(0)
    net = nets.ready(nets.ResNet(norm=norm))
    x = _batch((3, 32, 32))
    pruned = prune_channels(net, PruneChannels(ratio=0.5, scope="global", layer_limit=0.6), Context(), x).model
    assert parameters(pruned) < parameters(net)
    for module in pruned.modules():
        if isinstance(module, nn.GroupNorm):
            assert module.num_groups == 4 and module.num_channels % 4 == 0 and len(module.weight) == module.num_channels
        if isinstance(module, nn.InstanceNorm2d):
            assert len(module.running_mean) == module.num_features
    assert torch.isfinite(pruned(x)).all()


def test_gate_constant_and_features_side_by_side():
    """What a concatenation holds is known from its tensors, not guessed from the last operand of an operation."""

    class Beside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features, self.psi = nn.Conv2d(1, 16, 3, 1, 1), nn.Conv2d(1, 1, 3, 1, 1)
            self.more, self.out = nn.Conv2d(1, 8, 3, 1, 1), nn.Conv2d(27, 2, 1)
            self.register_buffer("grid", torch.linspace(-1, 1, 3 * 64).reshape(1, 3, 8, 8))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            gated = self.features(x) * torch.sigmoid(self.psi(x))
            grid = self.grid.expand(len(x), -1, -1, -1)
            return self.out(torch.cat((grid, gated, self.more(x)), dim=1))

    net = nets.ready(Beside())
    removal = prune_channels(net, PruneChannels(ratio=0.5), Context(), _batch((1, 8, 8)))
    assert (removal.model.features.out_channels, removal.model.more.out_channels) == (8, 4)
    assert removal.model.out.in_channels == 3 + 8 + 4
    assert torch.equal(removal.model.out.weight[:, :3], net.out.weight[:, :3])


class InPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.out = nn.Conv2d(1, 16, 3), nn.InstanceNorm2d(16, affine=True), nn.Conv2d(16, 2, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(nn.functional.relu(self.norm(self.conv(x)), inplace=True)).flatten(1)


def test_in_place_on_what_a_layer_returns_as_a_view():
    pruned = prune_channels(nets.ready(InPlace()), PruneChannels(ratio=0.5), Context(), _batch((1, 8, 8))).model
    assert (pruned.conv.out_channels, pruned.norm.num_features, pruned.out.in_channels) == (8, 8, 8)
    tokens = nets.ready(nn.Sequential(nn.Linear(4, 16), nn.ReLU(inplace=True), nn.Linear(16, 2)))
    pruned = prune_channels(tokens, PruneChannels(ratio=0.5), Context(), _batch((6, 4))).model
    assert (pruned[0].out_features, pruned[2].in_features) == (8, 8)
    assert pruned[1].inplace and tokens[1].inplace


def test_layer_norm_over_channels_and_space():
    net = nets.ready(
        nn.Sequential(nn.Conv2d(1, 16, 3, 1, 1), nn.LayerNorm((16, 8, 8)), nn.ReLU(), nn.Conv2d(16, 2, 8), nn.Flatten())
    )
    pruned = prune_channels(net, PruneChannels(ratio=0.5), Context(), _batch((1, 8, 8))).model
    assert pruned[1].normalized_shape == (8, 8, 8) == tuple(pruned[1].weight.shape)


def test_groups_behind_a_concatenation_are_left_alone():
    torch.manual_seed(0)
    net = nets.ready(nets.DenseNet(norm=lambda c: nn.GroupNorm(8, c)))
    with pytest.raises(TrialError, match="8 groups over more channels"):
        prune_channels(net, PruneChannels(ratio=0.5), Context(), _batch((1, 16, 16)))


def test_as_a_technique_it_notes_what_it_did():
    net, shape = _built("unet2d")
    context = Context(calibration=_batch(shape).numpy())
    config = make("prune_channels", {"ratio": 0.25})
    pruned = apply_all(net, (config,), context)
    assert parameters(pruned) < parameters(net)
    assert any("channels removed" in note for note in context.notes)
    assert technique_of(config).reshapes and obstacle(config, None) is None


def test_frozen_weights_training_mode_and_shared_prelu():
    act = nn.PReLU()
    net = nn.Sequential(nn.Conv2d(1, 8, 3), act, nn.Conv2d(8, 16, 3), act, nn.Conv2d(16, 1, 4)).train()
    net.requires_grad_(False)
    pruned = prune_channels(net, PruneChannels(ratio=0.5), Context(), _batch((1, 8, 8))).model
    assert (pruned[0].out_channels, pruned[2].out_channels) == (4, 8)
    assert pruned.training and not any(p.requires_grad for p in pruned.parameters())
    assert "forward" not in vars(act) and "forward" not in vars(pruned[1])


def test_what_cannot_be_pruned_is_said():
    script = torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2))
    with pytest.raises(InputError, match="TorchScript"):
        prune_channels(script, PruneChannels(), Context(), torch.zeros(1, 2))
    with pytest.raises(TrialError, match="only the output layer"):
        prune_channels(nn.Linear(4, 2), PruneChannels(), Context(), torch.zeros(1, 4))
    with pytest.raises(InputError, match="batch"):
        prune_channels(nets.ResNet(), PruneChannels(), Context(), torch.zeros(3))


def test_without_torch_pruning_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch_pruning", None)
    with pytest.raises(MissingExtra, match=r"primum\[prune\]"):
        prune_channels(nn.Linear(4, 2), PruneChannels(), Context(), torch.zeros(1, 4))


def test_channels_that_a_pixel_shuffle_rearranges_stay():
    class Upscaling(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.wide = nn.Conv2d(1, 32, 3, padding=1), nn.Conv2d(32, 32, 3, padding=1)
            self.shuffle, self.last = nn.PixelShuffle(2), nn.Conv2d(8, 1, 1)

        def forward(self, x):
            return self.last(self.shuffle(self.wide(self.first(x).relu())))

    example = torch.randn(1, 1, 16, 16)
    found = prune_channels(Upscaling(), PruneChannels(ratio=0.3), example_inputs=example)
    assert found.model.first.out_channels < 32 and found.model.wide.out_channels == 32
    assert found.model(example).shape == (1, 1, 32, 32)
