"""distill and fine_tune as techniques of a recipe."""

import copy

import learning
import numpy as np
import pytest
import torch
from torch import nn

from primum.errors import InputError
from primum.models.signature import Activation, Signature
from primum.task import Task
from primum.techniques.context import Context, TrainingData
from primum.techniques.distillation import Distill, FineTune
from primum.techniques.distillation.distill import _distill
from primum.techniques.distillation.features import Features, pair_layers
from primum.techniques.registry import Stage, apply_all, make, technique_of
from primum.techniques.training import TrainingConfig, task_loss, train


@pytest.fixture(scope="module")
def teacher():
    model = learning.small()
    config = TrainingConfig(epochs=6, batch=16, learning_rate=5e-3, validation=0)
    train(model, task_loss(learning.stripes_signature()), learning.stripes(400, seed=7), config, Context(seed=1))
    assert learning.accuracy(model, learning.stripes(seed=99)) > 0.93
    return model


def context(teacher, data=None, signature=None, **more):
    data = learning.stripes(240) if data is None else data
    return Context(seed=1, signature=signature or learning.stripes_signature(), train=data, teacher=teacher, **more)


def gap(one, other, data=None):
    """Mean difference of probabilities on unseen cases."""
    x = torch.from_numpy((data or learning.stripes(seed=99)).inputs)
    with torch.inference_mode():
        return float((one.eval()(x).softmax(1) - other.eval()(x).softmax(1)).abs().mean())


@pytest.mark.parametrize("method", ["kd", "hints"])
def test_a_student_learns_to_answer_as_its_teacher(teacher, method):
    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    student = learning.small(channels=8, blocks=2, seed=5)
    untaught = gap(student, teacher)
    found = context(teacher)
    config = Distill(method=method, epochs=8, batch=16, learning_rate=5e-3, augment=False)
    taught = apply_all(student, (config,), found)
    assert gap(taught, teacher) < 0.35 * untaught
    assert learning.accuracy(taught, learning.stripes(seed=99)) > 0.85
    assert all(torch.equal(before[k], v) for k, v in teacher.state_dict().items())
    assert any(note.startswith("distill: trained 8 epoch(s)") for note in found.notes)
    assert any("hints from the layers" in note for note in found.notes) == (method == "hints")
    assert set(taught.state_dict()) == set(student.state_dict()) and not any(m._forward_hooks for m in taught.modules())
    assert all(p.requires_grad for p in teacher.parameters()) and not any(m._forward_hooks for m in teacher.modules())


def test_the_teacher_teaches_even_what_labels_deny(teacher):
    """With alpha 1 wrong labels do no harm: the teacher is asked, not the labels."""
    data = learning.stripes(240)
    wrong = TrainingData(data.inputs, 1 - data.labels, data.units)
    config = Distill(epochs=6, batch=16, learning_rate=5e-3, alpha=1.0)
    taught = apply_all(learning.small(channels=8, seed=5), (config,), context(teacher, wrong))
    assert learning.accuracy(taught, learning.stripes(seed=99)) > 0.85
    config = Distill(epochs=6, batch=16, learning_rate=5e-3, alpha=0.0)
    misled = apply_all(learning.small(channels=8, seed=5), (config,), context(teacher, wrong))
    assert learning.accuracy(misled, learning.stripes(seed=99)) < 0.3


@pytest.mark.parametrize("config", [Distill(alpha=0.3), FineTune()])
def test_a_student_answers_at_the_odds_of_its_teacher(config):
    """A teacher of weighted classes answers at other odds than those of its labels; its threshold is frozen there."""
    data, unseen = learning.stripes(600, noise=4.0, seed=7), learning.stripes(600, noise=4.0, seed=99)
    weighted = learning.small()
    taught = TrainingConfig(epochs=4, batch=16, learning_rate=5e-3, validation=0)
    weights = torch.tensor([1.8, 0.2])
    train(weighted, lambda out, y: nn.functional.cross_entropy(out, y, weights), data, taught, Context(seed=1))

    def answer(model):
        with torch.inference_mode():
            return float(model.eval()(torch.from_numpy(unseen.inputs)).softmax(1)[:, 1].mean())

    assert answer(weighted) < unseen.labels.mean() - 0.15
    config = config.model_copy(update={"epochs": 4, "batch": 16, "learning_rate": 5e-3, "augment": False})
    found = context(weighted, data, calibration=learning.stripes(200, noise=4.0, seed=50).inputs)
    student = apply_all(learning.small(channels=8, blocks=2, seed=5), (config,), found)
    assert answer(student) == pytest.approx(answer(weighted), abs=0.04)
    assert any("odds matched to the original's on 200 calibration inputs" in note for note in found.notes)


def test_teacher_and_student_see_the_same_view(teacher):
    seen = {"teacher": [], "student": []}
    student = learning.small(channels=8)
    watched = copy.deepcopy(teacher)
    student.register_forward_pre_hook(lambda m, x: seen["student"].append(x[0].clone()))
    watched.register_forward_pre_hook(lambda m, x: seen["teacher"].append(x[0].clone()))
    # A teacher that centres its input in place changes its own copy.
    watched.register_forward_pre_hook(lambda m, x: (x[0].sub_(5.0).add_(5.0 + 1e-3),))
    _distill(student, Distill(epochs=1, batch=16, mixup=0.5), context(watched))
    # What the student is validated on after the epoch, the teacher was asked before: it is not asked again.
    assert len(seen["student"]) > len(seen["teacher"]) > 10
    assert all(torch.equal(a, b) for a, b in zip(seen["teacher"], seen["student"]))
    raw = torch.from_numpy(learning.stripes(240).inputs)
    changed = [x for x in seen["student"] if not any(bool((raw == one).all((1, 2, 3)).any()) for one in x)]
    assert len(changed) >= 10, "fitting sees augmented and mixed views"


@pytest.mark.parametrize("method", ["kd", "dkd"])
def test_three_classes(method):
    signature = learning.stripes_signature(3)
    data = learning.stripes(300, classes=3, noise=0.3)
    teacher = learning.small(outputs=3)
    train(teacher, task_loss(signature), data, TrainingConfig(epochs=6, batch=16, learning_rate=5e-3), Context())
    student = learning.small(outputs=3, channels=8, seed=5)
    config = Distill(method=method, epochs=6, batch=16, learning_rate=5e-3)
    taught = apply_all(student, (config,), context(teacher, data, signature))
    unseen = learning.stripes(150, classes=3, noise=0.3, seed=99)
    assert learning.accuracy(student, unseen) < 0.6 < 0.85 < learning.accuracy(taught, unseen)


def task_of(task, outputs, labels, spatial=()):
    activation = {Task.REGRESSION: Activation.IDENTITY, Task.MULTILABEL: Activation.SIGMOID}.get(task)
    single = Activation.SIGMOID if outputs == 1 else Activation.SOFTMAX
    count = max(outputs, 2) if task in (Task.BINARY, Task.SEGMENTATION) else outputs
    return Signature(
        input_shape=(1, 16, 16) if spatial else (6,), outputs=outputs, task=task, spatial=spatial,
        classes=tuple(f"c{i}" for i in range(count)), activation=activation or single,
    ), labels  # fmt: skip


def tables():
    source = np.random.default_rng(0)
    x = source.normal(size=(200, 6)).astype(np.float32)
    score = x @ source.normal(size=(6, 3))
    findings = (score > 0).astype(np.int64)
    findings[source.random((200, 3)) < 0.3] = -1
    grades = np.digitize(score[:, 0], [-1, 0, 1]).astype(np.int64)
    return x, [
        task_of(Task.BINARY, 1, (score[:, 0] > 0).astype(np.int64)),
        task_of(Task.BINARY, 2, (score[:, 0] > 0).astype(np.int64)),
        task_of(Task.MULTILABEL, 3, findings),
        task_of(Task.ORDINAL, 4, grades),
        task_of(Task.REGRESSION, 2, 50 + 20 * score[:, :2]),
    ]


@pytest.mark.parametrize("place", range(5))
@pytest.mark.parametrize("technique", ["distill", "fine_tune"])
def test_every_task_of_tables(place, technique):
    x, tasks = tables()
    signature, labels = tasks[place]
    data = TrainingData(x, labels, np.arange(200).astype(str))
    torch.manual_seed(0)
    teacher = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, signature.outputs))
    config = TrainingConfig(epochs=20, learning_rate=2e-2)
    train(teacher, task_loss(signature, labels), data, config, Context(signature=signature))
    student = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, signature.outputs))
    found = context(teacher, data, signature)
    taught = apply_all(student, (make(technique, {"epochs": 20, "learning_rate": 2e-2}),), found)
    loss = task_loss(signature, labels)
    with torch.inference_mode():
        before, after = (float(loss(m(torch.from_numpy(x)), torch.from_numpy(labels))) for m in (student, taught))
    assert after < 0.7 * before and any("trained 20 epoch(s)" in note for note in found.notes)


@pytest.mark.parametrize(("outputs", "technique"), [(1, "distill"), (3, "distill"), (3, "fine_tune")])
def test_masks(outputs, technique):
    source = np.random.default_rng(0)
    masks = np.zeros((60, 16, 16), np.uint8)
    for i, (top, left) in enumerate(source.integers(0, 8, (60, 2))):
        masks[i, top : top + 7, left : left + 7] = 1 + (i % 2 if outputs > 1 else 0)
    x = (masks + 0.15 * source.normal(size=masks.shape)).astype(np.float32)[:, None]
    signature, _ = task_of(Task.SEGMENTATION, outputs, masks, (16, 16))
    data = TrainingData(x, masks, np.arange(60).astype(str))

    def net(width):
        return nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, outputs, 3, padding=1))

    torch.manual_seed(0)
    teacher, student = net(16), net(8)
    train(teacher, task_loss(signature), data, TrainingConfig(epochs=40, learning_rate=2e-2, batch=10), Context())
    config = make(technique, {"epochs": 40, "learning_rate": 2e-2, "batch": 10, "mixup": 0})
    taught = apply_all(student, (config,), context(teacher, data, signature))
    with torch.inference_mode():
        decided = signature.class_map(taught(torch.from_numpy(x)).numpy())
    structure = decided[masks > 0] == masks[masks > 0]
    assert structure.mean() > 0.8 and (decided == masks).mean() > 0.9


class TestWhatIsMissing:
    def test_training_data(self, teacher):
        with pytest.raises(InputError, match="--train-data"):
            _distill(learning.small(), Distill(), Context(signature=learning.stripes_signature(), teacher=teacher))

    def test_teacher(self):
        with pytest.raises(InputError, match="teacher"):
            _distill(learning.small(), Distill(), context(None))

    def test_other_outputs(self, teacher):
        with pytest.raises(InputError, match="the student gives"):
            _distill(learning.small(outputs=3), Distill(epochs=1), context(teacher))

    def test_other_labels(self, teacher):
        data = learning.stripes()
        with pytest.raises(InputError, match="training labels"):
            wrong = TrainingData(data.inputs, data.labels + 1, data.units)
            _distill(learning.small(), Distill(epochs=1), context(teacher, wrong))

    def test_decoupling_of_two_classes(self, teacher):
        with pytest.raises(InputError, match="give method kd"):
            _distill(learning.small(), Distill(method="dkd"), context(teacher))

    def test_an_unknown_layer(self, teacher):
        with pytest.raises(InputError, match="no layer 'nowhere'"):
            _distill(learning.small(), Distill(method="hints", hints=("nowhere",), epochs=1), context(teacher))

    def test_settings(self):
        for settings in ({"alpha": 1.5}, {"temperature": 0}, {"method": "magic"}, {"nonsense": 1}):
            with pytest.raises(InputError, match="technique distill"):
                make("distill", settings)


def test_named_hints(teacher):
    student = learning.small(channels=8, blocks=1)
    found = context(teacher)
    _distill(student, Distill(method="hints", hints=("blocks.0=blocks.2", "stem"), epochs=1, batch=16), found)
    assert any("layers blocks.2, stem" in note for note in found.notes)


def test_layers_are_paired_by_name_and_size(teacher):
    example = torch.zeros(2, 1, 16, 16)
    names = pair_layers(learning.small(channels=8, blocks=2), teacher, example)
    assert names and all(name.startswith(("stem", "blocks")) for name in names)
    plain = pair_layers(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)),
                        nn.Sequential(nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 2)), torch.zeros(2, 4))  # fmt: skip
    assert "2" not in plain and set(plain) <= {"0", "1"}
    with pytest.raises(InputError, match="name them"):
        pair_layers(nn.Linear(4, 2), nn.Linear(4, 2), torch.zeros(2, 4))


def test_features_are_taken_once_and_hooks_go(teacher):
    model = copy.deepcopy(teacher)
    with Features(model, ("stem", "pool")) as features:
        model(torch.zeros(2, 1, 16, 16))
        shapes = [tuple(x.shape) for x in features.take()]
        with pytest.raises(InputError, match="did not run"):
            features.take()
    assert shapes == [(2, 16, 8, 8), (2, 16, 1, 1)] and not any(m._forward_hooks for m in model.modules())


def test_they_come_after_pruning_and_train():
    for config in (Distill(), FineTune()):
        known = technique_of(config)
        assert known.trains and known.stage is Stage.DISTIL and not known.reshapes


def test_a_killed_distillation_goes_on(teacher, tmp_path):
    config = Distill(epochs=2, batch=16)
    one = apply_all(learning.small(channels=8), (config,), context(teacher, work=tmp_path))
    (file,) = tmp_path.glob("distill-*.pt")
    again = context(teacher, work=tmp_path)
    two = apply_all(learning.small(channels=8), (config,), again)
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values()))
    assert any("taken up again after epoch 2" in note for note in again.notes)
    other = copy.deepcopy(teacher)
    with torch.no_grad():
        other.head.bias += 1
    apply_all(learning.small(channels=8), (config,), context(other, work=tmp_path))
    assert len(list(tmp_path.glob("distill-*.pt"))) == 2 and file.exists()
