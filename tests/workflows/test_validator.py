"""The spec's validator, its code examples among them."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import primum
from primum.config import ClinicalPolicy, Margins, ValidationConfig
from primum.errors import InputError
from primum.models.signature import Signature
from primum.task import Task
from primum.validation.spec_scores import ScoreStatus, ValidationMetric
from primum.validation.verdict import Outcome
from primum.workflows.validator import QuantizationValidator, infer_task


def network(outputs=1, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, outputs))


def data_for(net, n=900, seed=0, noise=1.0):
    """Inputs, and labels that follow the network's own logit with noise."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(0, 1, (n, 8)).astype(np.float32)
    with torch.inference_mode():
        logits = net(torch.from_numpy(inputs)).numpy()[:, 0]
    logits = (logits - logits.mean()) / logits.std()
    return inputs, (logits * 3 + rng.normal(0, noise, n) > 0).astype(int)


def trained(n=900):
    net = network()
    inputs, labels = data_for(net, n)
    with torch.inference_mode():  # centred and scaled, so that 0.5 is a sensible threshold
        logits = net(torch.from_numpy(inputs))
        net[2].weight *= 3 / logits.std()
        net[2].bias.copy_((net[2].bias - logits.mean()) * 3 / logits.std())
    return net, inputs, labels


def worse(net, factor):
    other = copy.deepcopy(net)
    with torch.inference_mode():
        other[0].weight += factor * torch.randn(other[0].weight.shape, generator=torch.Generator().manual_seed(1))
    return other


def test_the_examples_of_the_specification(capsys):
    from primum import QuantizationValidator, ValidationConfig, ValidationMetric

    original_model, quantized_model = network(), network()
    validator = QuantizationValidator(ValidationConfig())
    validation_report = validator.validate_quantization(
        original_model, quantized_model
    )  # fmt: skip
    print(f"Accuracy: {validation_report.overall_score:.3f}")
    validation_config = ValidationConfig(
        accuracy_threshold=0.98,        # Higher for medical
        medical_compliance_required=True
    )  # fmt: skip
    validator = QuantizationValidator(validation_config)
    report = validator.validate_quantization(original_model, quantized_model)
    validation_report = validator.validate_quantization(
        original_model, quantized_model,
        custom_metrics=[ValidationMetric.BIAS_SCORE]
    )  # fmt: skip
    print(f"Bias score: {validation_report.medical_compliance}")
    shown = capsys.readouterr().out
    assert "Accuracy: nan" in shown
    assert "Bias score: verdict NOT_ASSESSED; bias_score: NOT_ASSESSED" in shown
    assert "compliant" not in shown.lower()
    assert report.scores[0].threshold == 0.98 and len(validation_report.scores) == 1


def test_without_data_nothing_is_assessed_and_no_number_is_made_up():
    net = network()
    report = primum.QuantizationValidator().validate_quantization(net, net)
    assert np.isnan(report.overall_score) and report.verdict is None
    assert all(score.status is ScoreStatus.NOT_ASSESSED and np.isnan(score.value) for score in report.scores)
    assert report.impact.size_ratio == 1 and np.isnan(report.impact.speedup)
    assert all("no data" in text for text in list(report.threshold_comparisons.values())[:4])
    with pytest.raises(InputError, match="custom metrics need data"):
        QuantizationValidator().validate_quantization(net, net, custom_metrics=[lambda y, p: 0.0])


def test_a_torch_quantized_model_is_judged_with_its_scores():
    net, inputs, labels = trained(1500)
    quantized = torch.ao.quantization.quantize_dynamic(copy.deepcopy(net), {nn.Linear}, dtype=torch.qint8)
    margins = Margins(sensitivity=0.03, specificity=0.03, auroc=0.01, brier=0.01)
    report = QuantizationValidator().validate_quantization(
        net, quantized, data=(inputs, labels), policy=ClinicalPolicy(margins=margins)
    )
    assert report.verdict.outcome is Outcome.NON_INFERIOR
    known = [score.value for score in report.scores if not np.isnan(score.value)]
    assert report.overall_score == min(known) and len(report.scores) == 5
    assert report.metric_scores[ValidationMetric.MEDICAL_ACCURACY] > 0.97
    assert report.impact.size_ratio > 2 and report.impact.original_ms > 0
    assert "verdict NON_INFERIOR; medical_accuracy" in str(report.medical_compliance)
    assert any("in no ledger" in note for note in report.notes)


def test_harm_is_found_and_said():
    net, inputs, labels = trained()
    report = QuantizationValidator(ValidationConfig(accuracy_threshold=0.98)).validate_quantization(
        net, worse(net, 0.5), data=(inputs, labels)
    )
    assert report.verdict.outcome is Outcome.INFERIOR
    assert report.scores[0].status is ScoreStatus.NOT_MET and report.overall_score < 0.95
    assert any("higher precision" in str(item) for item in report.recommendations)


def test_training_mode_is_put_back_and_weights_are_left_alone():
    net, inputs, labels = trained(200)
    noisy = nn.Sequential(nn.Dropout(0.9), *net).train()
    before = [p.clone() for p in noisy.parameters()]
    report = QuantizationValidator().validate_quantization(net, noisy, data=(inputs, labels))
    assert report.verdict.agreement.flips == 0 and noisy.training and noisy[0].training
    assert all(torch.equal(a, b) for a, b in zip(before, noisy.parameters()))


def test_patients_and_groups_reach_the_verdict_and_small_groups_block_where_required():
    net, inputs, labels = trained(600)
    data = {
        "inputs": torch.from_numpy(inputs),
        "labels": labels,
        "patients": np.arange(600) // 2,
        "groups": {"sex": np.array(["f", "m"] * 300)},
    }
    near = worse(net, 0.002)
    loose = QuantizationValidator().validate_quantization(net, near, data=data)
    assert loose.verdict.unit == "patient" and loose.verdict.n_patients == 300
    assert {(g.column, g.value) for g in loose.verdict.subgroups} == {("sex", "f"), ("sex", "m")}
    assert loose.assessment.score(ValidationMetric.BIAS_SCORE).status is ScoreStatus.INSUFFICIENT
    assert not loose.policy.block_on_insufficient
    strict = QuantizationValidator(ValidationConfig(medical_compliance_required=True))
    assert strict.validate_quantization(net, near, data=data).policy.block_on_insufficient


def test_own_metrics_are_reported_for_both_with_an_interval():
    from sklearn.metrics import average_precision_score

    net, inputs, labels = trained(400)
    report = QuantizationValidator().validate_quantization(
        net, worse(net, 0.3), [average_precision_score, "safety_score"], (inputs, labels)
    )
    (own,) = report.custom
    assert own.name == "average_precision_score" and own.reference > own.candidate
    assert own.difference.lower < own.difference.estimate < own.difference.upper
    assert [score.name for score in report.scores] == [ValidationMetric.SAFETY_SCORE]
    assert report.overall_score == report.scores[0].value
    one = QuantizationValidator().validate_quantization(net, net, ["clinical_relevance"], (inputs, labels))
    assert one.overall_score == one.scores[0].value > one.assessment.overall
    named = QuantizationValidator().validate_quantization(net, net, {"mine": lambda y, p: p.mean()}, (inputs, labels))
    assert named.custom[0].name == "mine" and named.custom[0].difference.upper == 0 and len(named.scores) == 5
    with pytest.raises(InputError, match="no score"):
        QuantizationValidator().validate_quantization(net, net, ["speed"], (inputs, labels))


def test_functions_classes_labels_and_values():
    rng = np.random.default_rng(0)
    net = network(3)
    inputs = rng.normal(0, 1, (300, 8)).astype(np.float32)

    def answer(batch):
        with torch.inference_mode():
            return net(torch.from_numpy(batch)).numpy()

    labels = answer(inputs).argmax(axis=1)
    labels[:30] = (labels[:30] + 1) % 3
    validate = QuantizationValidator().validate_quantization
    report = validate(answer, lambda batch: answer(batch) + 1e-3 * batch[:, :3], data=(inputs, labels))
    assert report.verdict.n == 300 and len(report.assessment.calibration) == 3
    many = (answer(inputs) > 0).astype(int)
    report = validate(answer, answer, data=(inputs, many))
    assert len(report.assessment.operating) == 3 and report.assessment.concordance.actions == ("absent", "present")
    values = answer(inputs) + rng.normal(0, 0.1, (300, 3))
    margins = ClinicalPolicy(margins=Margins(error=0.1), tolerance=0.2)
    report = validate(
        answer, lambda b: answer(b) + 0.01, data=(inputs, values), policy=margins, classes=("a", "b", "c")
    )
    assert report.assessment.score(ValidationMetric.CLINICAL_RELEVANCE).status is ScoreStatus.MET


def test_masks():
    rng = np.random.default_rng(0)
    inputs = rng.normal(0, 1, (120, 1, 8, 8)).astype(np.float32)
    labels = (inputs[:, 0] > 0).astype(np.uint8)

    def answer(batch):
        return np.concatenate([-batch, batch], axis=1) * 3

    def other(batch):
        return answer(batch) + 0.05 * np.sign(np.roll(batch, 1, axis=2))

    report = QuantizationValidator().validate_quantization(answer, other, data=(inputs, labels))
    assert report.assessment.retention.what == "mean Dice" and report.verdict.n == 120


@pytest.mark.parametrize(
    ("labels", "task"),
    [
        (np.array([0, 1, 1]), Task.BINARY),
        (np.array([0.0, 1.0]), Task.BINARY),
        (np.array([0, 3, 1]), Task.MULTICLASS),
        (np.array([[0, 1], [-1, 1]]), Task.MULTILABEL),
        (np.array([0.5, 1.0]), Task.REGRESSION),
        (np.array([[0.5, 2.0]]), Task.REGRESSION),
        (np.zeros((2, 4, 4), int), Task.SEGMENTATION),
    ],
)
def test_the_task_is_told_from_the_labels(labels, task):
    assert infer_task(labels) is task


def test_bad_input_is_refused():
    net, inputs, labels = trained(60)
    validate = QuantizationValidator().validate_quantization
    for data, why in (
        ((inputs,), "must be"),
        ({"inputs": inputs, "label": labels}, "label"),
        ((inputs, labels[:-1]), "60 inputs and 59 labels"),
        ((inputs[:, :5], labels), "does not take"),
        ((inputs, np.arange(60)), "say whether"),
    ):
        with pytest.raises(InputError, match=why):
            validate(net, net, data=data)
    with pytest.raises(InputError, match="not one task"):
        validate(net, network(3), data=(inputs, labels))
    with pytest.raises(InputError, match="no model"):
        validate(net, 3, data=(inputs, labels))
    with pytest.raises(InputError, match="not one array"):
        validate(lambda b: {"out": b}, net, data=(inputs, labels))
    with pytest.raises(InputError, match="answers to"):
        validate(lambda b: np.zeros((1, 1)), net, data=(inputs, labels))
    with pytest.raises(InputError, match="no number"):
        validate(net, net, {"bad": lambda y, p: "high"}, (inputs, labels))


def test_a_waiver_of_nothing_is_refused():
    net, inputs, labels = trained(200)
    data = {"inputs": inputs, "labels": labels, "groups": {"sex": np.where(labels, "f", "m")}}
    validator = QuantizationValidator()
    validator.validate_quantization(net, net, data=data, policy=ClinicalPolicy(waived_subgroups=("sex=f",)))
    with pytest.raises(InputError, match="nothing is called 'sex=q'.*sex=f, sex=m"):
        validator.validate_quantization(net, net, data=data, policy=ClinicalPolicy(waived_subgroups=("sex=q",)))


def test_classes_are_counted_by_their_own_names_whichever_is_positive(tmp_path):
    from served import FEATURES, build_artifact

    signature = Signature(input_shape=(FEATURES,), outputs=1, classes=("ill", "well"), positive=0)
    artifact = build_artifact(tmp_path / "a", signature=signature)
    inputs = np.random.default_rng(0).normal(0, 1, (60, FEATURES)).astype(np.float32)
    labels = np.array(["ill"] * 20 + ["well"] * 40)
    found = QuantizationValidator().validate_quantization(artifact, artifact, data=(inputs, labels))
    assert found.verdict.class_counts == {"ill": 20, "well": 40} and found.verdict.n_positive == 20


def exchanged(answer):
    return lambda batch: answer(batch)[:, [1, 0, 2]]


def test_labels_of_other_classes_than_the_outputs_are_not_judged():
    net, inputs, labels = trained(300)
    validate = QuantizationValidator().validate_quantization
    with pytest.raises(InputError, match="the original ranks 'positive' below 'negative'.*labels"):
        validate(net, net, data=(inputs, 1 - labels))
    few = validate(net, net, data=(inputs[:8], 1 - labels[:8]))
    assert any("too few to tell" in note for note in few.notes)

    def three(batch):
        return 3 * batch[:, :3]

    classes = three(inputs).argmax(axis=1)
    for data in ((inputs, classes), (inputs, (three(inputs) > 0).astype(int))):
        assert validate(three, three, data=data).verdict.n == 300
        with pytest.raises(InputError, match="in their order, 1, 0, 2 .*the place of its output"):
            validate(exchanged(three), exchanged(three), data=data)
    values = (inputs, 60 - inputs[:, :1])
    turned = validate(lambda b: b[:, :1], lambda b: b[:, :1], data=values, task="regression")
    assert any("falls where the labels rise" in note for note in turned.notes)


def test_masks_of_the_background_are_not_judged():
    inputs = np.random.default_rng(0).normal(0, 1, (40, 1, 8, 8)).astype(np.float32)
    labels = (inputs[:, 0] > 0).astype(np.uint8)

    def answer(batch):
        return np.concatenate([-batch, batch], axis=1) * 3

    with pytest.raises(InputError, match="fits the true masks far better"):
        QuantizationValidator().validate_quantization(answer, answer, data=(inputs, 1 - labels))
    blind = QuantizationValidator().validate_quantization(
        lambda b: answer(-np.abs(b)), answer, data=(inputs, labels)
    )  # fmt: skip
    assert any("mean Dice of '1' is 0.000" in note for note in blind.notes)


def test_a_single_metric_needs_no_list():
    net, inputs, labels = trained(100)
    validate = QuantizationValidator().validate_quantization
    for given in ("safety_score", ValidationMetric.SAFETY_SCORE):
        assert [s.name for s in validate(net, net, given, (inputs, labels)).scores] == [ValidationMetric.SAFETY_SCORE]

    def mean_score(labels, scores):
        return scores.mean()

    assert validate(net, net, mean_score, (inputs, labels)).custom[0].name == "mean_score"
    for given in ("speed", 3, b"safety_score"):
        with pytest.raises(InputError, match="no score"):
            validate(net, net, given, (inputs, labels))


def test_without_positives_there_is_no_safety_score():
    net, inputs, labels = trained(100)
    report = QuantizationValidator().validate_quantization(net, net, data=(inputs, labels * 0))
    safety = next(s for s in report.scores if s.name is ValidationMetric.SAFETY_SCORE)
    assert np.isnan(safety.value) and safety.status is ScoreStatus.NOT_ASSESSED
    known = [s.value for s in report.scores if not np.isnan(s.value)]
    assert report.overall_score == min(known) > 0
    assert "safety_score: NOT_ASSESSED" in str(report.medical_compliance)


class Shifting(nn.Module):
    """A broken export: it changes its input in place, and answers at random."""

    def forward(self, x):
        return x.sub_(5.0)[:, :1] * 0.1 + x[:, 1:2]


def test_a_model_that_changes_its_inputs_is_judged_on_the_same_cases():
    net, inputs, labels = trained(400)
    kept, counted = inputs.copy(), labels.copy()
    validate = QuantizationValidator().validate_quantization
    report = validate(net, Shifting(), data=(inputs, labels))
    assert report.verdict.outcome is Outcome.INFERIOR and (inputs == kept).all()

    class First(nn.Module):
        def forward(self, x):
            return net(x.clone()) + 0 * x.sub_(5.0)[:, :1]

    assert validate(First(), net, data=(torch.from_numpy(inputs), labels)).verdict.agreement.flips == 0
    assert (inputs == kept).all()

    def greedy(truth, scores):
        truth[:], scores[:] = 0, 0
        return 1.0

    found = validate(net, net, {"greedy": greedy, "mean": lambda y, p: y.mean() + p.mean()}, (inputs, labels))
    assert (labels == counted).all() and found.custom[1].reference > 0.1


def metric_of(power):
    def score(labels, scores):
        return float((scores**power).mean())

    return score


def test_two_metrics_of_one_name_are_refused():
    net, inputs, labels = trained(60)
    validate = QuantizationValidator().validate_quantization
    for pair in ([metric_of(1), metric_of(2)], [lambda y, p: 0.0, lambda y, p: 1.0]):
        with pytest.raises(InputError, match="two custom metrics are called .*custom_metrics={name: function"):
            validate(net, net, pair, (inputs, labels))
    mean = metric_of(1)
    assert len(validate(net, net, [mean, mean], (inputs, labels)).custom) == 1
    named = validate(net, net, {"mean": mean, "square": metric_of(2)}, (inputs, labels))
    assert [own.name for own in named.custom] == ["mean", "square"]
