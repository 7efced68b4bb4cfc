"""Distillation losses against the formulas of their papers, in numpy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from primum.errors import InputError
from primum.models.signature import Activation, Signature
from primum.task import Task
from primum.techniques.distillation import (
    DistillationLoss,
    HintLoss,
    bernoulli_kd_loss,
    decoupled_kd_loss,
    kd_loss,
    soft_loss,
    value_kd_loss,
)
from primum.techniques.distillation.losses import check_decoupled, decoupled_terms

SEEDS = st.integers(0, 10_000)
TEMPERATURES = st.sampled_from([0.7, 1.0, 4.0, 20.0])


def draw(*shape, seed=0):
    both = torch.randn(2, *shape, generator=torch.Generator().manual_seed(seed)) * 3
    return both[0].double(), both[1].double()


def softmax(z, axis=1):
    e = np.exp(z - z.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def numpy_kd(student, teacher, t):
    p, q = softmax(teacher.numpy() / t), softmax(student.numpy() / t)
    return t**2 * (p * np.log(p / q)).sum(axis=1).mean()


@settings(deadline=None)
@given(SEEDS, TEMPERATURES, st.integers(2, 6))
def test_hinton(seed, t, classes):
    student, teacher = draw(5, classes, seed=seed)
    assert float(kd_loss(student, teacher, t)) == pytest.approx(numpy_kd(student, teacher, t), rel=1e-4, abs=1e-5)


def test_hinton_is_the_specifications():
    student, teacher = draw(5, 4)
    spec = nn.functional.kl_div((student / 3).log_softmax(1), (teacher / 3).softmax(1), reduction="batchmean") * 9
    assert float(kd_loss(student, teacher, 3.0)) == pytest.approx(float(spec), rel=1e-5)


def test_every_pixel_counts_alike():
    student, teacher = draw(2, 3, 4, 5)
    flat = [x.permute(0, 2, 3, 1).reshape(-1, 3) for x in (student, teacher)]
    assert float(kd_loss(student, teacher, 2.0)) == pytest.approx(numpy_kd(*flat, 2.0), rel=1e-5)


@settings(deadline=None)
@given(SEEDS, TEMPERATURES)
def test_bernoulli(seed, t):
    student, teacher = draw(5, 3, seed=seed)
    p, q = (1 / (1 + np.exp(-x.numpy() / t)) for x in (teacher, student))
    expected = t**2 * np.mean(p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q)))
    assert float(bernoulli_kd_loss(student, teacher, t)) == pytest.approx(expected, rel=1e-4, abs=1e-5)


@settings(deadline=None)
@given(SEEDS, TEMPERATURES)
def test_one_logit_is_the_pair_of_zero_and_it(seed, t):
    student, teacher = draw(6, 1, seed=seed)
    pairs = [torch.cat([torch.zeros_like(x), x], dim=1) for x in (student, teacher)]
    assert float(bernoulli_kd_loss(student, teacher, t)) == pytest.approx(float(kd_loss(*pairs, t)), rel=1e-4, abs=1e-6)


@settings(deadline=None)
@given(SEEDS, TEMPERATURES, st.integers(3, 6))
def test_decoupled_terms_make_up_hinton(seed, t, classes):
    """Equation 6 of Zhao et al.: KD = TCKD + (1 - p of the target) NCKD, case by case."""
    student, teacher = draw(5, classes, seed=seed)
    labels = torch.from_numpy(np.random.default_rng(seed).integers(0, classes, 5))
    target, others = decoupled_terms(student, teacher, labels, t)
    p_rest = 1 - (teacher / t).softmax(1).gather(1, labels[:, None])[:, 0]
    assert float(t**2 * (target + p_rest * others).mean()) == pytest.approx(float(kd_loss(student, teacher, t)), 1e-3)


@settings(deadline=None)
@given(SEEDS, st.integers(3, 6))
def test_decoupled_by_hand(seed, classes):
    student, teacher = draw(5, classes, seed=seed)
    labels = np.random.default_rng(seed).integers(0, classes, 5)
    expected = []
    for z, known, y in zip(student.numpy() / 4, teacher.numpy() / 4, labels):
        p, q = (softmax(x[None])[0] for x in (known, z))
        tckd = p[y] * np.log(p[y] / q[y]) + (1 - p[y]) * np.log((1 - p[y]) / (1 - q[y]))
        p_hat, q_hat = (np.delete(x, y) / np.delete(x, y).sum() for x in (p, q))
        expected.append(16 * (1.5 * tckd + 8 * (p_hat * np.log(p_hat / q_hat)).sum()))
    found = decoupled_kd_loss(student, teacher, torch.from_numpy(labels), 4.0, 1.5, 8.0)
    assert float(found) == pytest.approx(np.mean(expected), rel=1e-3)


@pytest.mark.parametrize("loss", [kd_loss, bernoulli_kd_loss])
def test_gradients(loss):
    """KD's gradient is T (softmax(z / T) - softmax(v / T)) / N; for one logit the same of sigmoids."""
    student, teacher = draw(4, 3)
    z = student.float().requires_grad_()
    loss(z, teacher, 4.0).backward()
    if loss is kd_loss:
        expected = 4 * (softmax(student.numpy() / 4) - softmax(teacher.numpy() / 4)) / 4
    else:
        p, q = (1 / (1 + np.exp(-x.numpy() / 4)) for x in (teacher, student))
        expected = 4 * (q - p) / 12
    np.testing.assert_allclose(z.grad.numpy(), expected, atol=1e-6)


def test_gradient_of_decoupled_by_differences():
    student, teacher = draw(3, 4)
    labels = torch.tensor([0, 3, 1])
    z = student.float().requires_grad_()
    decoupled_kd_loss(z, teacher, labels, 2.0).backward()
    for i, j in [(0, 0), (1, 2), (2, 1)]:
        step = torch.zeros_like(student)
        step[i, j] = 1e-2
        up, down = (float(decoupled_kd_loss(student + s, teacher, labels, 2.0)) for s in (step, -step))
        assert float(z.grad[i, j]) == pytest.approx((up - down) / 2e-2, rel=2e-2, abs=1e-3)


@pytest.mark.parametrize("far", [50.0, 1e4])
def test_sure_teachers_give_finite_losses(far):
    student, teacher = torch.tensor([[-far, far, 0.0]]).requires_grad_(), torch.tensor([[far, -far, 0.0]])
    losses = (
        kd_loss(student, teacher, 1.0),
        bernoulli_kd_loss(student, teacher, 1.0),
        decoupled_kd_loss(student, teacher, torch.tensor([0]), 1.0),
    )
    sum(losses).backward()
    assert all(torch.isfinite(x) for x in losses) and torch.isfinite(student.grad).all()


def test_a_student_that_agrees_has_nothing_to_learn():
    _, teacher = draw(4, 3)
    labels = torch.tensor([0, 1, 2, 0])
    for loss in (kd_loss, bernoulli_kd_loss, value_kd_loss, lambda s, t: decoupled_kd_loss(s, t, labels)):
        assert abs(float(loss(teacher, teacher))) < 1e-6


def signature(task, outputs, activation, **more):
    names = tuple(f"c{i}" for i in range(max(outputs, 2 if task is Task.BINARY else 1)))
    return Signature(input_shape=(4,), outputs=outputs, task=task, classes=names, activation=activation, **more)


def test_each_task_has_its_loss():
    student, teacher = (x.float() for x in draw(6, 3))
    table = {
        Task.MULTICLASS: (Activation.SOFTMAX, kd_loss(student, teacher, 2.0)),
        Task.ORDINAL: (Activation.SOFTMAX, kd_loss(student, teacher, 2.0)),
        Task.MULTILABEL: (Activation.SIGMOID, bernoulli_kd_loss(student, teacher, 2.0)),
    }
    for task, (activation, expected) in table.items():
        assert float(soft_loss(signature(task, 3, activation), 2.0)(student, teacher)) == pytest.approx(float(expected))
    one = soft_loss(signature(Task.BINARY, 1, Activation.SIGMOID), 2.0)
    assert float(one(student[:, :1], teacher[:, :1])) == pytest.approx(
        float(bernoulli_kd_loss(student[:, :1], teacher[:, :1], 2.0))
    )
    values = np.random.default_rng(0).normal(0, [1, 10, 100], (50, 3))
    scaled = soft_loss(signature(Task.REGRESSION, 3, Activation.IDENTITY), 2.0, values)(student, teacher)
    expected = np.mean(((student - teacher).numpy() / values.std(0)) ** 2)
    assert float(scaled) == pytest.approx(expected, rel=1e-5)


def test_probabilities_distil_like_their_logits():
    student, teacher = (x.float() for x in draw(6, 3))
    given = soft_loss(signature(Task.MULTICLASS, 3, Activation.IDENTITY), 3.0)(student.softmax(1), teacher.softmax(1))
    assert float(given) == pytest.approx(float(kd_loss(student, teacher, 3.0)), rel=1e-2)


@pytest.mark.parametrize("outputs", [1, 2])
def test_two_classes_cannot_be_decoupled(outputs):
    activation = Activation.SIGMOID if outputs == 1 else Activation.SOFTMAX
    with pytest.raises(InputError, match="give method kd"):
        check_decoupled(signature(Task.BINARY, outputs, activation))
    check_decoupled(signature(Task.MULTICLASS, 3, Activation.SOFTMAX))


class TestDistillationLoss:
    def test_weighs_teacher_and_labels(self):
        student, teacher = (x.float() for x in draw(6, 3))
        labels = torch.arange(6) % 3
        found = DistillationLoss(3.0, 0.3)(student, teacher, labels)
        hard = nn.functional.cross_entropy(student, labels)
        assert float(found) == pytest.approx(0.3 * float(kd_loss(student, teacher, 3.0)) + 0.7 * float(hard), rel=1e-5)
        assert float(DistillationLoss(3.0, 0.3)(student, teacher)) == pytest.approx(
            float(kd_loss(student, teacher, 3.0))
        )

    def test_findings_with_unknown_labels(self):
        student, teacher = (x.float() for x in draw(2, 2))
        labels = torch.tensor([[1, -1], [0, -1]])
        hard = nn.functional.binary_cross_entropy_with_logits(student[:, 0], labels[:, 0].float())
        found = DistillationLoss(2.0, 0.0, "bernoulli")(student, teacher, labels)
        assert float(found) == pytest.approx(float(hard), rel=1e-5)

    def test_decoupled_and_values(self):
        student, teacher = (x.float() for x in draw(6, 3))
        labels = torch.arange(6) % 3
        found = DistillationLoss(2.0, 1.0, "dkd", beta=3.0)(student, teacher, labels)
        assert float(found) == pytest.approx(
            float(decoupled_kd_loss(student, teacher, labels, 2.0, other_weight=3.0)), rel=1e-5
        )
        values = DistillationLoss(2.0, 0.5, "values")(student, teacher, torch.zeros(6, 3))
        expected = 0.5 * float((student - teacher).square().mean()) + 0.5 * float(student.square().mean())
        assert float(values) == pytest.approx(expected, rel=1e-5)

    def test_the_teacher_is_taught_nothing(self):
        student, teacher = (x.float().requires_grad_() for x in draw(6, 3))
        DistillationLoss()(student, teacher, torch.arange(6) % 3).backward()
        assert teacher.grad is None and student.grad is not None

    def test_what_does_not_fit_is_refused(self):
        student, teacher = (x.float() for x in draw(6, 3))
        with pytest.raises(InputError, match="the student gives"):
            DistillationLoss()(student[:, :2], teacher)
        with pytest.raises(InputError, match="needs labels"):
            DistillationLoss(kind="dkd")(student, teacher)
        with pytest.raises(InputError, match="temperature"):
            DistillationLoss(temperature=0)
        with pytest.raises(InputError, match="no distillation loss"):
            DistillationLoss(kind="magic")


class TestHintLoss:
    def test_half_the_mean_square(self):
        mine, known = (x.float() for x in draw(2, 3, 4, 4))
        found = HintLoss([mine], [known])([mine], [known])
        assert float(found) == pytest.approx(0.5 * float((known - mine).square().mean()), rel=1e-5)

    @pytest.mark.parametrize(
        ("mine", "known", "kind"),
        [
            ((2, 3, 4, 4), (2, 5, 4, 4), nn.Conv2d),
            ((2, 3, 4, 4), (2, 5, 8, 8), nn.Conv2d),
            ((2, 3, 9), (2, 5, 12), nn.Conv1d),
            ((2, 7, 3), (2, 7, 5), nn.Linear),
            ((2, 3), (2, 5), nn.Linear),
            ((2, 3, 4, 4, 2), (2, 5, 4, 4, 4), nn.Conv3d),
        ],
    )
    def test_regressors_are_made_for_the_shapes(self, mine, known, kind):
        student, teacher = torch.randn(mine), torch.randn(known)
        loss = HintLoss([student], [teacher])
        assert isinstance(loss.regressors[0], kind)
        loss([student], [teacher]).backward()
        assert all(p.grad is not None and p.grad.any() for p in loss.parameters())

    def test_a_regressor_can_learn_what_is_linear(self):
        torch.manual_seed(0)
        student = torch.randn(16, 4, 3, 3)
        teacher = nn.functional.conv2d(student, torch.randn(6, 4, 1, 1))
        loss = HintLoss([student], [teacher])
        optimizer = torch.optim.Adam(loss.parameters(), 0.05)
        first = float(loss([student], [teacher]))
        for _ in range(150):
            optimizer.zero_grad()
            value = loss([student], [teacher])
            value.backward()
            optimizer.step()
        assert float(value) < 0.02 * first

    def test_other_axes_are_refused(self):
        with pytest.raises(InputError, match="as many axes"):
            HintLoss([torch.zeros(2, 3)], [torch.zeros(2, 3, 4, 4)])
        with pytest.raises(InputError, match="give pairs"):
            HintLoss([], [])


@pytest.mark.parametrize("kind", ["kd", "dkd"])
def test_unknown_labels_teach_nothing(kind):
    student, teacher = draw(6, 4)
    labels = torch.tensor([0, -1, 3, -1, 2, 1])
    loss, known = DistillationLoss(3.0, 0.4, kind), labels >= 0
    found = loss(student, teacher, labels)
    part = loss(student[known], teacher[known], labels[known])
    soft = loss.soft(student, teacher, labels)
    if kind == "kd":
        assert float(soft) == pytest.approx(numpy_kd(student, teacher, 3.0), rel=1e-4), "the teacher teaches every case"
        hard = loss.hard(student[known].float(), labels[known])
        assert float(found) == pytest.approx(0.4 * float(soft) + 0.6 * float(hard), rel=1e-5)
    else:
        assert float(found) == pytest.approx(float(part), rel=1e-5)
    nothing = loss(student, teacher, torch.full((6,), -1))
    expected = 0.4 * numpy_kd(student, teacher, 3.0) if kind == "kd" else 0.0
    assert float(nothing) == pytest.approx(expected, rel=1e-4)


def test_unknown_pixels_teach_nothing():
    student, teacher = draw(2, 3, 4, 5)
    labels = torch.randint(0, 3, (2, 4, 5), generator=torch.Generator().manual_seed(0))
    labels[0] = -1
    loss = DistillationLoss(2.0, 0.0)
    expected = nn.functional.cross_entropy(student[1:].float(), labels[1:])
    assert float(loss(student, teacher, labels)) == pytest.approx(float(expected), rel=1e-5)


def test_decoupled_distillation_of_two_classes_is_refused_while_planning():
    from primum.techniques.registry import make, unfit

    two = Signature(input_shape=(3,), outputs=2, classes=("a", "b"), activation="softmax")
    assert "needs one of three classes or more" in str(unfit(make("distill", {"method": "dkd"}), two))
    assert unfit(make("distill", {"method": "kd"}), two) is None
    assert unfit(make("prune_channels", {}), two) is None
