"""DistillationTrainer and apply_distillation, as the specification writes them."""

from types import SimpleNamespace

import learning
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from primum.config import ReductionConfig
from primum.errors import InputError, TrialError
from primum.task import Task
from primum.techniques.context import Context
from primum.techniques.distillation import Distillation, DistillationTrainer, apply_distillation
from primum.techniques.reducer import ModelReducer
from primum.techniques.training import TrainingConfig, task_loss, train


@pytest.fixture(scope="module")
def teacher():
    model = learning.small()
    config = TrainingConfig(epochs=5, batch=16, learning_rate=5e-3)
    train(model, task_loss(learning.stripes_signature()), learning.stripes(300, seed=7), config, Context(seed=1))
    return model


def loader(count=240, batch=16):
    data = learning.stripes(count)
    return DataLoader(TensorDataset(torch.from_numpy(data.inputs), torch.from_numpy(data.labels)), batch)


class TestTrainer:
    def test_the_loss_of_the_specification(self):
        torch.manual_seed(0)
        student, teacher, labels = torch.randn(8, 5), torch.randn(8, 5), torch.arange(8) % 5
        soft_targets = functional.softmax(teacher / 4.0, dim=1)
        soft_student = functional.log_softmax(student / 4.0, dim=1)
        soft = functional.kl_div(soft_student, soft_targets, reduction="batchmean") * 4.0**2
        expected = 0.3 * soft + 0.7 * functional.cross_entropy(student, labels)
        trainer = DistillationTrainer(nn.Linear(1, 1), nn.Linear(1, 1), temperature=4.0, alpha=0.3)
        found = trainer.distillation_loss(student, teacher, labels)
        assert float(found) == pytest.approx(float(expected), rel=1e-5)

    def test_defaults(self, teacher):
        trainer = DistillationTrainer(teacher, learning.small())
        assert (trainer.temperature, trainer.alpha) == (3.0, 0.5)

    def test_a_step_trains_the_student_alone(self, teacher):
        student = learning.small(channels=8)
        watched = teacher.train()
        modes = []
        hook = watched.register_forward_hook(lambda m, i, o: modes.append((m.training, o.requires_grad)))
        trainer = DistillationTrainer(watched, student)
        watched.train()
        x, y = next(iter(loader()))
        changing = watched.register_forward_pre_hook(lambda m, args: (args[0].mul_(0.5),))
        before = x.clone()
        loss = trainer.train_step(x, y)
        assert torch.equal(x, before), "a teacher that changes its input changes a copy"
        hook.remove()
        changing.remove()
        loss.backward()
        assert modes == [(False, False)] and student.training and not watched.training
        assert all(p.grad is None for p in teacher.parameters())
        assert all(p.grad is not None for p in student.parameters())

    def test_it_teaches(self, teacher):
        student = learning.small(channels=8, seed=5)
        result = DistillationTrainer(teacher, student, temperature=4.0).train(loader(), epochs=6, learning_rate=5e-3)
        assert len(result.losses) == 6 and result.losses[-1] < 0.5 * result.losses[0] and result.steps == 90
        assert learning.accuracy(student, learning.stripes(seed=99)) > 0.85 and not student.training

    def test_outputs_and_batches_as_hugging_face_has_them(self, teacher):
        class Wrapped(nn.Module):
            def __init__(self, inner):
                super().__init__()
                self.inner = inner

            def forward(self, pixel_values, scale=None):
                return SimpleNamespace(logits=self.inner(pixel_values), hidden_states=None)

        student = learning.small(channels=8, seed=5)
        x, y = next(iter(loader()))
        plain = DistillationTrainer(teacher, student.eval()).train_step(x, y)
        trainer = DistillationTrainer(Wrapped(teacher), Wrapped(student))
        torch.manual_seed(0)
        by_name = trainer.train_step({"pixel_values": x}, y)
        assert by_name.requires_grad and plain.shape == by_name.shape
        before = student.head.weight.clone()
        trainer.train([{"pixel_values": x, "labels": y}], epochs=1)
        assert not torch.equal(before, student.head.weight)

    def test_hidden_states_are_no_logits(self, teacher):
        class Encoder(nn.Module):
            def forward(self, x):
                return SimpleNamespace(last_hidden_state=x)

        with pytest.raises(InputError, match="take the class with a head"):
            DistillationTrainer(Encoder(), learning.small()).train_step(*next(iter(loader())))

    def test_one_logit_and_findings(self):
        trainer = DistillationTrainer(nn.Linear(3, 1), nn.Linear(3, 1), alpha=0.0)
        z, y = torch.randn(6, 1), torch.tensor([0, 1, 1, 0, 1, 0])
        expected = functional.binary_cross_entropy_with_logits(z[:, 0], y.float())
        assert float(trainer.distillation_loss(z, z, y)) == pytest.approx(float(expected), rel=1e-5)
        z, y = torch.randn(6, 3), torch.randint(0, 2, (6, 3))
        expected = functional.binary_cross_entropy_with_logits(z, y.float())
        assert float(trainer.distillation_loss(z, z, y)) == pytest.approx(float(expected), rel=1e-5)

    def test_what_cannot_be_trained(self, teacher):
        trainer = DistillationTrainer(teacher, learning.small())
        with pytest.raises(InputError, match="no batch in epoch 1"):
            trainer.train([], epochs=2)
        with pytest.raises(InputError, match="no batch in epoch 2"):
            trainer.train(iter([next(iter(loader()))]), epochs=2)
        x, y = next(iter(loader()))
        with pytest.raises(TrialError, match="loss is nan"):
            trainer.train([(x * float("nan"), y)])


CONFIG = Distillation(epochs=6, batch=16, learning_rate=5e-3, augment=False)


class TestApply:
    def test_as_the_specification_writes_it(self, teacher):
        student = learning.small(channels=8, seed=5)
        data = loader()
        result = apply_distillation(
            teacher_model=teacher, student_model=student, distillation_data=data, config=CONFIG
        )  # fmt: skip
        parameters = [sum(p.numel() for p in m.parameters()) for m in (teacher, student)]
        assert result.compression_ratio == pytest.approx(parameters[0] / parameters[1]) and result.compression_ratio > 3
        assert 0.85 < result.accuracy_retention < 1.15 and result.student_model is student is result.model
        assert result.accuracy_retention == pytest.approx(result.student_accuracy / result.teacher_accuracy)
        assert any("no patients were given" in note for note in result.notes)
        assert 35 <= result.held_back <= 60

    def test_model_reducer_as_the_specification_writes_it(self, teacher):
        data = learning.stripes(64)
        result = ModelReducer(ReductionConfig(prune_ratio=0.3, prune_method="magnitude")).apply_distillation(
            teacher_model=teacher,
            student_model=learning.small(channels=8),
            distillation_data=(data.inputs, data.labels),
        )
        assert f"{result.compression_ratio:.1f}x" == "3.9x" and f"{result.accuracy_retention:.3f}" != "nan"

    def test_the_stated_accuracy_is_that_of_patients_never_trained_on(self, teacher):
        """Recomputed from the rows that the student never saw in fitting or validation."""
        data, seen = learning.stripes(240), []
        student = learning.small(channels=8, seed=5)
        hook = student.register_forward_pre_hook(lambda m, x: seen.append(x[0].clone()))
        result = apply_distillation(
            teacher, student, (data.inputs, data.labels), units=data.units,
            config=CONFIG.model_copy(update={"mixup": 0.0, "epochs": 2}),
        )  # fmt: skip
        hook.remove()
        # The last forward passes measure; all before belong to training.
        measured = int(np.ceil(result.held_back / 64))
        trained = {x.numpy().tobytes() for batch in seen[:-measured] for x in batch}
        never = np.array([x.tobytes() not in trained for x in data.inputs])
        assert never.sum() == result.held_back
        assert not set(data.units[never]) & set(data.units[~never])
        with torch.inference_mode():
            right = student(torch.from_numpy(data.inputs[never])).argmax(1).numpy() == data.labels[never]
        assert right.mean() == pytest.approx(result.student_accuracy)

    @pytest.mark.parametrize("form", ["loader", "pairs", "arrays", "tensors"])
    def test_data_in_any_form_gives_the_same(self, teacher, form):
        data = learning.stripes(64)
        tensors = torch.from_numpy(data.inputs), torch.from_numpy(data.labels)
        given = {
            "loader": DataLoader(TensorDataset(*tensors), 10),
            "pairs": list(zip(tensors[0].split(7), tensors[1].split(7))),
            "arrays": (data.inputs, data.labels),
            "tensors": tensors,
        }[form]
        students = [learning.small(channels=8, seed=5) for _ in range(2)]
        quick = CONFIG.model_copy(update={"epochs": 1})
        results = [
            apply_distillation(teacher, s, d, config=quick)
            for s, d in zip(students, (given, (data.inputs, data.labels)))
        ]
        assert torch.equal(students[0].head.weight, students[1].head.weight)
        assert results[0].accuracy_retention == results[1].accuracy_retention

    def test_a_worse_student_retains_less(self, teacher):
        quick = CONFIG.model_copy(update={"epochs": 1, "learning_rate": 1e-9, "keep_initial": False})
        data = learning.stripes(240)
        result = apply_distillation(teacher, learning.small(channels=8), (data.inputs, data.labels), config=quick)
        assert result.student_accuracy < 0.75 < 0.9 < result.teacher_accuracy
        assert result.accuracy_retention == pytest.approx(result.student_accuracy / result.teacher_accuracy)
        assert result.accuracy_retention < 0.85 and result.agreement < 0.8

    @pytest.mark.parametrize("form", ["array", "batches"])
    def test_without_labels_accuracy_is_not_known(self, teacher, form):
        data = learning.stripes(240)
        given = data.inputs if form == "array" else [(x,) for x in torch.from_numpy(data.inputs).split(16)]
        student = learning.small(channels=8, seed=5)
        result = apply_distillation(teacher, student, given, config=CONFIG)
        assert np.isnan(result.accuracy_retention) and np.isnan(result.student_accuracy)
        assert result.agreement > 0.85 and learning.accuracy(student, learning.stripes(seed=99)) > 0.85
        assert any("no labels" in note for note in result.notes)

    @pytest.mark.parametrize(
        ("outputs", "labels", "task"),
        [
            (1, lambda y: y, Task.BINARY),
            (1, lambda y: y.astype(np.float32)[:, None], Task.BINARY),
            (3, lambda y: np.stack([y, 1 - y, y], axis=1).astype(np.float64), Task.MULTILABEL),
            (2, lambda y: np.stack([40.0 + y, 3.0 - 0.5 * y], axis=1), Task.REGRESSION),
        ],
    )
    def test_the_task_is_inferred(self, outputs, labels, task):
        data = learning.stripes(80)
        teacher, student = learning.small(outputs), learning.small(outputs, channels=8, seed=5)
        quick = CONFIG.model_copy(update={"epochs": 1})
        result = apply_distillation(teacher, student, (data.inputs, labels(data.labels)), config=quick)
        assert np.isnan(result.accuracy_retention) == (task is Task.REGRESSION)
        assert np.isnan(result.agreement) == (task is Task.REGRESSION)

    def test_masks(self):
        torch.manual_seed(0)
        teacher, student = (nn.Conv2d(1, 2, k, padding=k // 2) for k in (5, 3))
        x = torch.randn(30, 1, 16, 16)
        labels = (x[:, 0] > 0).to(torch.uint8)
        result = apply_distillation(teacher, student, (x, labels), config=CONFIG)
        assert 0 < result.student_accuracy <= 1 and not np.isnan(result.accuracy_retention)

    def test_what_cannot_be_used(self, teacher):
        data = learning.stripes(20)
        for given, why in [
            ([], "gave nothing"),
            ("file.npz", "give a DataLoader"),
            ((data.inputs, data.labels[:-1]), "20 inputs and 19 labels"),
            ([({"x": 1}, 2)], "inputs of one array"),
            ((np.zeros((20, 5), np.int64), data.labels), "token ids"),
            ((data.inputs, data.labels + 5), "training labels"),
        ]:
            with pytest.raises(InputError, match=why):
                apply_distillation(teacher, learning.small(channels=8), given, config=CONFIG)
        with pytest.raises(InputError, match="3 units"):
            apply_distillation(teacher, learning.small(), (data.inputs, data.labels), units=np.array(["a", "b", "c"]))

    def test_probabilities_are_understood(self, teacher):
        """A teacher that gives probabilities teaches one that does too."""
        first, second = (nn.Sequential(m, nn.Softmax(1)) for m in (teacher, learning.small(channels=8, seed=5)))
        result = apply_distillation(first, second, loader(), config=CONFIG)
        assert result.accuracy_retention > 0.85
