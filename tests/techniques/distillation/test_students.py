"""Students made of their teacher."""

import copy

import learning
import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from primum.errors import InputError, TrialError
from primum.models.signature import Activation, Signature
from primum.runtimes.export import export_onnx
from primum.task import Task
from primum.techniques import students
from primum.techniques.context import Context, TrainingData
from primum.techniques.distillation import Distill
from primum.techniques.distillation.cost import cost
from primum.techniques.distillation.depth import find_blocks, shorten
from primum.techniques.registry import Stage, apply_all, make, obstacle, technique_of
from primum.techniques.students import GivenStudent, Student, propose_students
from primum.techniques.training import TrainingConfig, task_loss, train

SIGNATURE = learning.stripes_signature()


def context(**more):
    return Context(seed=1, signature=SIGNATURE, **more)


class Encoder(nn.Module):
    """Tokens (N, 6, 8) through equal layers to two logits."""

    def __init__(self, own=False):
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        encoder = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
        self.layers = encoder.layers if own else encoder
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        if isinstance(self.layers, nn.ModuleList):
            for layer in self.layers:
                x = layer(src=x)
            return self.head(x.mean(1))
        return self.head(self.layers(x).mean(1))


class TestCost:
    def test_by_hand(self):
        net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Flatten(), nn.Linear(4 * 25, 3))
        found = cost(net, (1, 5, 5))
        assert found.parameters == 4 * 9 + 4 + 300 + 3
        assert found.macs == 25 * 4 * 9 + 300

    def test_an_encoder_is_counted(self):
        found = cost(Encoder().eval(), (6, 8))
        projections = 6 * (8 * 24 + 8 * 8 + 2 * 8 * 16)
        attention = 2 * 6 * 6 * 8
        assert found.macs == 4 * (projections + attention) + 8 * 2


class TestDepth:
    def test_residual_blocks_are_found(self):
        net = learning.small(blocks=4)
        blocks = find_blocks(net, torch.randn(4, 1, 16, 16))
        assert [b.name for b in blocks] == [f"blocks.{i}" for i in range(4)] and all(b.droppable for b in blocks)

    def test_the_block_that_does_least_goes(self):
        net = learning.small(blocks=4)
        with torch.no_grad():
            for block, scale in zip(net.blocks, (1.0, 0.5, 1e-4, 2.0)):
                block.bn2.weight.fill_(scale)
        x = torch.randn(8, 1, 16, 16)
        short = shorten(net, 0.75, x)
        assert short.dropped == ("blocks.2",) and short.blocks == 4
        with torch.inference_mode():
            assert torch.allclose(short.model(x), net(x), atol=1e-2)
            assert torch.equal(short.model.blocks[3].conv1.weight, net.blocks[3].conv1.weight)
        assert len(net.blocks) == 4 and not any(isinstance(m, nn.Identity) for m in net.modules())

    @pytest.mark.parametrize(("depth", "left"), [(0.75, 3), (0.5, 2), (0.01, 1)])
    def test_how_many_stay(self, depth, left):
        short = shorten(learning.small(blocks=4), depth, torch.randn(2, 1, 16, 16))
        assert sum(isinstance(m, learning.Block) for m in short.model.modules()) == left

    @pytest.mark.parametrize("own", [False, True])
    def test_encoder_layers(self, own):
        torch.manual_seed(0)
        net = Encoder(own).eval()
        x = torch.randn(4, 6, 8)
        short = shorten(net, 0.5, x)
        layers = short.model.layers if own else short.model.layers.layers
        assert len(layers) == 2 and len(short.dropped) == 2
        kept = [i for i in range(4) if not any(name.endswith(f".{i}") for name in short.dropped)]
        original = net.layers if own else net.layers.layers
        for mine, place in zip(layers, kept):
            assert torch.equal(mine.linear1.weight, original[place].linear1.weight)
        assert short.model(x).shape == (4, 2)

    def test_blocks_that_change_the_shape_stay(self):
        class Down(nn.Module):
            def __init__(self, a, b):
                super().__init__()
                self.net = nn.Sequential(nn.Conv2d(a, b, 3, stride=2, padding=1), nn.ReLU())

            def forward(self, x):
                return self.net(x)

        net = nn.Sequential(Down(1, 4), Down(4, 8), nn.Flatten(), nn.Linear(8 * 16, 2))
        with pytest.raises(TrialError, match="no block can be left out"):
            shorten(net, 0.5, torch.randn(2, 1, 16, 16))

    def test_a_block_that_runs_twice_stays(self):
        class Twice(learning.Small):
            def forward(self, x):
                x = self.stem(x)
                return self.head(torch.flatten(self.pool(self.blocks(self.blocks(x))), 1))

        assert not any(b.droppable for b in find_blocks(Twice(blocks=2).eval(), torch.randn(2, 1, 16, 16)))

    def test_a_network_that_counts_its_blocks(self):
        class Counting(learning.Small):
            def __init__(self):
                super().__init__()
                self.blocks = nn.ModuleList(self.blocks)

            def forward(self, x):
                x = self.stem(x)
                for i in range(3):
                    x = self.blocks[i](x)
                return self.head(torch.flatten(self.pool(x), 1))

        with pytest.raises(TrialError, match="does not run"):
            shorten(Counting().eval(), 0.5, torch.randn(2, 1, 16, 16))


class TestStudent:
    def test_half_the_width_keeps_weights_of_the_original(self):
        pytest.importorskip("torch_pruning")
        net = learning.small(channels=16)
        found = context()
        thin = apply_all(net, (Student(width=0.5),), found)
        assert thin.stem[0].out_channels == 8 and thin.head.in_features == 8 and thin.head.out_features == 2
        kept = {tuple(w.flatten().tolist()) for w in net.stem[0].weight.detach()}
        assert all(tuple(w.flatten().tolist()) in kept for w in thin.stem[0].weight.detach())
        assert thin(torch.zeros(3, 1, 16, 16)).shape == (3, 2)
        (note,) = (n for n in found.notes if n.startswith("student:"))
        whole, part = cost(net, (1, 16, 16)), cost(thin, (1, 16, 16))
        assert f"{part.parameters} of {whole.parameters} parameters" in note
        assert whole.parameters / part.parameters > 3 and whole.macs / part.macs > 3

    def test_thinner_and_shallower_then_taught_then_exported(self, tmp_path):
        pytest.importorskip("torch_pruning")
        data = learning.stripes(300)
        teacher = learning.small()
        train(teacher, task_loss(SIGNATURE), data, TrainingConfig(epochs=5, batch=16, learning_rate=5e-3), Context())
        found = context(teacher=teacher, train=data)
        recipe = (Student(width=0.5, depth=0.5), Distill(epochs=8, batch=16, learning_rate=5e-3))
        taught = apply_all(teacher, recipe, found)
        unseen = learning.stripes(seed=99)
        untaught = apply_all(teacher, recipe[:1], context(train=data))
        assert learning.accuracy(taught, unseen) > 0.85
        assert learning.accuracy(taught, unseen) > learning.accuracy(untaught, unseen) + 0.1
        assert any("left out" in note for note in found.notes)
        export_onnx(taught, (1, 16, 16), tmp_path / "student.onnx")
        session = onnxruntime.InferenceSession(tmp_path / "student.onnx")
        (out,) = session.run(None, {"input": unseen.inputs[:20]})
        with torch.inference_mode():
            np.testing.assert_allclose(out, taught(torch.from_numpy(unseen.inputs[:20])).numpy(), atol=1e-4)

    def test_ranked_on_noise_only_with_a_note(self):
        found = context()
        apply_all(learning.small(blocks=4), (Student(width=1, depth=0.5),), found)
        assert any("influence on noise" in note for note in found.notes)
        found = context(calibration=learning.stripes(40).inputs)
        apply_all(learning.small(blocks=4), (Student(width=1, depth=0.5),), found)
        assert not any("noise" in note for note in found.notes)

    def test_settings(self):
        with pytest.raises(InputError, match="the model itself"):
            make("student", {"width": 1})
        with pytest.raises(InputError):
            make("student", {"width": 0})
        assert make("student", {"depth": 0.5}) == Student(depth=0.5)
        known = technique_of(Student())
        assert known.reshapes and not known.trains and known.stage is Stage.DISTIL

    def test_without_the_extra(self, monkeypatch):
        monkeypatch.setattr(students, "installed", lambda name: None)
        assert "primum[prune]" in obstacle(Student(width=0.5), None)
        assert obstacle(Student(width=1, depth=0.5), None) is None


class TestProposals:
    def test_they_cost_less_and_can_be_made(self):
        pytest.importorskip("torch_pruning")
        net = learning.small(channels=32, blocks=4)
        before = copy.deepcopy(net.state_dict())
        found = propose_students(net, SIGNATURE)
        whole = cost(net, (1, 16, 16))
        assert {(s.student.width, s.student.depth) for s in found} == set(students._PROPOSED)
        assert all(s.parameters < whole.parameters and s.macs < whole.macs for s in found)
        assert [s.macs for s in found] == sorted((s.macs for s in found), reverse=True)
        for proposal in found[:2]:
            made = apply_all(net, (proposal.student,), context())
            assert (proposal.parameters, proposal.macs) == (
                cost(made, (1, 16, 16)).parameters, cost(made, (1, 16, 16)).macs,
            )  # fmt: skip
        assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())

    def test_students_of_one_cost_are_one(self):
        pytest.importorskip("torch_pruning")
        net = nn.Sequential(nn.Flatten(), nn.Linear(256, 2), nn.ReLU(), nn.Linear(2, 2))
        (only,) = propose_students(net, SIGNATURE)
        assert only.student.width == 0.5 and only.parameters == 256 + 1 + 2 + 2

    def test_what_cannot_be_made_is_said(self, monkeypatch):
        found = context()
        net = nn.Sequential(nn.Flatten(), nn.Linear(256, 32), nn.ReLU(), nn.Linear(32, 2))
        widths = propose_students(net, SIGNATURE, found)
        assert widths and all(s.student.depth == 1 for s in widths)
        assert any("depth 0.5: no block can be left out" in note for note in found.notes)
        monkeypatch.setattr(students, "installed", lambda name: None)
        found = context()
        assert propose_students(net, SIGNATURE, found) == ()
        assert any("primum[prune]" in note for note in found.notes)


def own():
    return learning.small(channels=4, blocks=1)


def random_head():
    return learning.Small(channels=4, blocks=1)


def three():
    return learning.small(outputs=3)


class TestGiven:
    NAME = "test_students_own"

    @pytest.fixture(autouse=True)
    def importable(self, monkeypatch):
        import sys

        monkeypatch.setitem(sys.modules, self.NAME, sys.modules[__name__])

    def test_it_takes_the_originals_place(self):
        found = context()
        given = apply_all(learning.small(), (GivenStudent(factory=f"{self.NAME}:own"),), found)
        assert given.stem[0].out_channels == 4 and any(f"student {self.NAME}:own" in note for note in found.notes)

    def test_fresh_weights_follow_the_seed(self):
        config = GivenStudent(factory=f"{self.NAME}:random_head")
        original = learning.small()
        torch.manual_seed(3)
        one = apply_all(original, (config,), context())
        torch.manual_seed(4)
        two = apply_all(original, (config,), context())
        other = apply_all(original, (config,), Context(seed=2, signature=SIGNATURE))
        assert torch.equal(one.head.weight, two.head.weight) and not torch.equal(one.head.weight, other.head.weight)

    def test_with_weights(self, tmp_path):
        from safetensors.torch import save_file

        trained = random_head()
        save_file(trained.state_dict(), tmp_path / "w.safetensors")
        config = GivenStudent(factory=f"{self.NAME}:random_head", checkpoint=str(tmp_path / "w.safetensors"))
        given = apply_all(learning.small(), (config,), context())
        assert torch.equal(given.head.weight, trained.head.weight)
        with pytest.raises(InputError, match="no such file"):
            missing = config.model_copy(update={"checkpoint": "nowhere.safetensors"})
            apply_all(learning.small(), (missing,), context())

    def test_what_does_not_fit(self):
        with pytest.raises(InputError, match="gives outputs"):
            apply_all(learning.small(), (GivenStudent(factory=f"{self.NAME}:three"),), context())
        with pytest.raises(InputError, match="no callable"):
            apply_all(learning.small(), (GivenStudent(factory=f"{self.NAME}:nobody"),), context())
        with pytest.raises(InputError):
            make("given_student", {"factory": "no colon"})


def test_an_encoder_can_be_shortened_and_taught():
    torch.manual_seed(0)
    source = np.random.default_rng(0)
    x = source.normal(size=(200, 6, 8)).astype(np.float32)
    labels = (x[:, :, 0].mean(1) > 0).astype(np.int64)
    data = TrainingData(x, labels, np.arange(200).astype(str))
    signature = Signature(
        input_shape=(6, 8), outputs=2, task=Task.BINARY, classes=("a", "b"), activation=Activation.SOFTMAX
    )
    teacher = Encoder().eval()
    train(teacher, task_loss(signature), data, TrainingConfig(epochs=10, learning_rate=5e-3), Context())
    found = Context(signature=signature, teacher=teacher, train=data)
    recipe = (Student(width=1, depth=0.5), Distill(method="hints", epochs=10, learning_rate=5e-3))
    taught = apply_all(teacher, recipe, found)
    assert learning.accuracy(taught, data) > 0.9 and len(taught.layers.layers) == 2
