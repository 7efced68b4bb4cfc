import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from primum.config import ClinicalPolicy, Margins
from primum.errors import InputError
from primum.task import Task
from primum.validation.gate import Cases, judge
from primum.validation.means import skewed_mean_interval
from primum.validation.paired import auc_mover_logit_interval, stuart_maxwell, tango_interval
from primum.validation.verdict import Basis, Outcome

NAMES = ("naevus", "keratosis", "melanoma")
LOOSE = Margins(sensitivity=0.05, specificity=0.05, auroc=0.05, brier=0.05, kappa=0.1)
POLICY = ClinicalPolicy(margins=LOOSE)


def classes(task, labels, patients=None, names=NAMES, independent=False, **groups):
    own = np.arange(len(labels)) if patients is None else np.asarray(patients)
    return Cases(labels, own, groups, np.arange(len(labels)), independent, task, names)


def softmax(scores):
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def answered(counts, noise=0.05, seed=0, gain=3.0):
    """Labels of so many cases a class, and the probabilities of two models that mostly agree."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    raw = rng.normal(0, 1, (labels.size, len(counts)))
    raw[np.arange(labels.size), labels] += gain
    return labels, softmax(raw), softmax(raw + rng.normal(0, noise, raw.shape))


def labelled(n=600, share=(0.4, 0.3, 0.01), unknown=0.1, noise=0.005, seed=0):
    rng = np.random.default_rng(seed)
    labels = (rng.random((n, 3)) < share).astype(int)
    reference = 1 / (1 + np.exp(-(rng.normal(0, 1, (n, 3)) + 4 * labels - 2)))
    labels[rng.random((n, 3)) < unknown] = -1
    return labels, reference, (reference + rng.normal(0, noise, (n, 3))).clip(0, 1)


def test_multiclass_pooled_and_per_class():
    labels, ref, new = answered([300, 200, 150])
    verdict = judge(classes(Task.MULTICLASS, labels), ref, new, POLICY)
    assert [part.name for part in verdict.components[:2]] == ["accuracy", "brier"]
    assert [part.name for part in verdict.components[2:5]] == [
        f"{k}[naevus]" for k in ("sensitivity", "specificity", "auroc")
    ]
    right = [s.argmax(1) == labels for s in (ref, new)]
    table = [
        int(x.sum()) for x in (right[1] & right[0], right[1] & ~right[0], ~right[1] & right[0], ~right[1] & ~right[0])
    ]
    accuracy = verdict.component("accuracy")
    assert accuracy.table == tuple(map(float, table))
    assert (accuracy.lower, accuracy.margin) == (tango_interval(*table).lower, 0.05)
    truth = np.eye(3)[labels]
    losses = [((s - truth) ** 2).sum(axis=1) / 2 for s in (ref, new)]
    brier = verdict.component("brier")
    assert (brier.reference, brier.beside["seen_lower"]) == pytest.approx(
        (losses[0].mean(), skewed_mean_interval(losses[0] - losses[1]).lower)
    )
    assert brier.lower == brier.beside["unseen_lower"] < brier.beside["seen_lower"]
    mel = labels == 2
    part = verdict.component("sensitivity[melanoma]")
    assert (part.n, part.reference, part.view) == (150, pytest.approx((ref.argmax(1) == 2)[mel].mean()), "melanoma")
    assert verdict.component("auroc[melanoma]").beside["seen_lower"] == pytest.approx(
        auc_mover_logit_interval(mel.astype(int), new[:, 2], ref[:, 2]).lower
    )
    assert (verdict.outcome, verdict.task, verdict.n_positive) == (Outcome.NON_INFERIOR, Task.MULTICLASS, None)
    assert verdict.class_counts == dict(zip(NAMES, (300, 200, 150)))
    crossed = np.bincount(3 * ref.argmax(1) + new.argmax(1), minlength=9).reshape(3, 3)
    assert verdict.beside["stuart_maxwell_p"] == pytest.approx(stuart_maxwell(crossed).p_value)
    assert verdict.beside["macro_auroc_lower"] < verdict.beside["macro_auroc_difference"]


def test_harm_to_one_class_fails_a_candidate_that_passes_on_all():
    labels, ref, new = answered([2000, 500, 120])
    found = np.flatnonzero((labels == 2) & (ref.argmax(1) == 2))[:30]
    new[found] = [0.9, 0.05, 0.05]
    verdict = judge(classes(Task.MULTICLASS, labels), ref, new, POLICY)
    assert verdict.component("accuracy").outcome is Outcome.NON_INFERIOR
    assert verdict.component("sensitivity[melanoma]").outcome is verdict.outcome is Outcome.INFERIOR
    assert verdict.reasons[0].startswith("sensitivity[melanoma]")
    assert verdict.agreement.harmful >= 30
    flip = next(f for f in verdict.flips if f.case_id == str(found[0]))
    assert (flip.label, flip.harmful, flip.reference_decision, flip.candidate_decision) == (
        2,
        True,
        "melanoma",
        "naevus",
    )
    assert (flip.reference_score, flip.candidate_score) == (ref[found[0], 2], 0.05)


def test_a_rare_class_is_insufficient_named_and_waivable():
    labels, ref, new = answered([400, 300, 10])
    cases = classes(Task.MULTICLASS, labels)
    verdict = judge(cases, ref, new, POLICY)
    part = verdict.component("sensitivity[melanoma]")
    assert (part.outcome, part.n_would_decide) == (Outcome.INSUFFICIENT, 73)
    assert verdict.insufficient == ("class=melanoma",)
    assert verdict.outcome is Outcome.NON_INFERIOR
    assert any("melanoma" in reason and "73" in reason for reason in verdict.reasons)
    blocked = judge(cases, ref, new, POLICY.model_copy(update={"block_on_insufficient": True}))
    assert blocked.outcome is Outcome.INCONCLUSIVE
    assert "blocks" in blocked.reasons[0]
    waiver = {"block_on_insufficient": True, "waived_subgroups": ("class=melanoma",)}
    waived = judge(cases, ref, new, POLICY.model_copy(update=waiver))
    assert waived.outcome is Outcome.NON_INFERIOR
    assert waived.component("sensitivity[melanoma]").waived
    assert any("waived by class=melanoma" in reason for reason in waived.reasons)


@pytest.mark.parametrize(("lost", "outcome"), [(1, Outcome.INSUFFICIENT), (9, Outcome.INFERIOR)])
def test_harm_to_a_rare_class_shows_in_spite_of_its_size(lost, outcome):
    labels, ref, new = answered([900, 700, 12], gain=6)
    new[np.flatnonzero((labels == 2) & (ref.argmax(1) == 2))[:lost]] = [0.9, 0.05, 0.05]
    verdict = judge(classes(Task.MULTICLASS, labels), ref, new, POLICY)
    assert verdict.component("sensitivity[melanoma]").outcome is outcome
    assert (verdict.outcome is Outcome.INFERIOR) == (outcome is Outcome.INFERIOR)


def test_a_class_without_a_case_is_insufficient_one_class_alone_not_assessed():
    labels, ref, new = answered([300, 300, 0])
    verdict = judge(classes(Task.MULTICLASS, labels), ref, new, POLICY)
    assert {verdict.component(f"{k}[melanoma]").outcome for k in ("sensitivity", "auroc")} == {Outcome.INSUFFICIENT}
    assert verdict.outcome is Outcome.NON_INFERIOR
    labels, ref, new = answered([300, 0, 0])
    alone = judge(classes(Task.MULTICLASS, labels), ref, new, POLICY)
    assert alone.outcome is Outcome.NOT_ASSESSED
    assert alone.component("accuracy").outcome is Outcome.NON_INFERIOR


def test_where_every_class_is_rare_it_is_said():
    labels, ref, new = answered([40, 40, 40], noise=0.001, gain=9)
    policy = ClinicalPolicy(margins=Margins(sensitivity=0.04, specificity=0.04, auroc=0.01, brier=0.02))
    verdict = judge(classes(Task.MULTICLASS, labels), ref, new, policy)
    outcomes = {part.outcome for part in verdict.components if part.name.startswith("s")}
    assert outcomes == {Outcome.INSUFFICIENT}
    if {part.outcome for part in verdict.components if part.view} == {Outcome.INSUFFICIENT}:
        assert any("each class by itself is too rare" in reason for reason in verdict.reasons)


def test_what_is_not_finite_is_wrong_in_every_endpoint():
    for task in (Task.MULTICLASS, Task.ORDINAL):
        labels, ref, new = answered([200, 200, 200])
        new[0, 1] = np.nan  # one class of the case is enough
        new[-1] = np.inf
        verdict = judge(classes(task, labels), ref, new, POLICY)
        assert verdict.agreement.not_finite == 2
        assert verdict.component("brier").n == verdict.component("accuracy").n == 600
        worst = np.where(np.isfinite(new).all(axis=1, keepdims=True), new, 0.0)
        worst[0], worst[-1] = [0, 0, 1], [1, 0, 0]
        calls = judge(classes(task, labels), ref, worst, POLICY)
        for name in ("accuracy", "brier"):
            assert verdict.component(name).lower == pytest.approx(calls.component(name).lower)
        if task is Task.ORDINAL:
            assert verdict.component("kappa").lower == pytest.approx(calls.component("kappa").lower)
        case = np.flatnonzero(np.isfinite(new).all(axis=1))
        ranked = np.where(np.isin(np.arange(600), case), new[:, 2], np.where(labels == 2, -1.0, 2.0))
        last = verdict.component("auroc[melanoma]" if task is Task.MULTICLASS else "auroc[>= melanoma]")
        expected = auc_mover_logit_interval((labels == 2).astype(int), ranked, ref[:, 2]).lower
        assert last.beside["seen_lower"] == pytest.approx(expected)
        assert {"0", "599"} <= {flip.case_id for flip in verdict.flips if flip.candidate_decision == "(none)"}
        assert judge(classes(task, labels), new, ref, POLICY).outcome is Outcome.NOT_ASSESSED
    broken = judge(classes(task, labels), ref, np.full(ref.shape, np.nan), POLICY)
    assert broken.outcome is Outcome.INFERIOR


def test_ordinal_has_kappa_and_cuts():
    labels, ref, new = answered([300, 200, 150])
    verdict = judge(classes(Task.ORDINAL, labels), ref, new, POLICY)
    assert [part.name for part in verdict.components[:3]] == ["accuracy", "kappa", "brier"]
    assert [part.view for part in verdict.components[3:]] == [">= keratosis"] * 3 + [">= melanoma"] * 3
    part = verdict.component("sensitivity[>= keratosis]")
    assert (part.n, part.reference) == (350, pytest.approx((ref.argmax(1) >= 1)[labels >= 1].mean()))
    assert verdict.outcome is Outcome.NON_INFERIOR
    assert verdict.component("kappa").margin == 0.1
    reached = [s[:, 1:].sum(axis=1) for s in (new, ref)]
    expected = auc_mover_logit_interval((labels >= 1).astype(int), *reached)
    assert verdict.component("auroc[>= keratosis]").beside["seen_lower"] == pytest.approx(expected.lower)
    same = judge(classes(Task.ORDINAL, labels), ref, np.sqrt(ref) / np.sqrt(ref).sum(1, keepdims=True), POLICY)
    assert (same.component("kappa").basis, same.component("accuracy").basis) == (Basis.IDENTITY, Basis.STATISTICAL)


def test_kappa_sees_distance_where_accuracy_does_not():
    labels, ref, new = answered([400, 400, 400], noise=0.0, gain=5)
    wrong = np.flatnonzero((labels == 0) & (ref.argmax(1) == 0))[:40]
    near, far = new.copy(), new.copy()
    near[wrong], far[wrong] = [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]
    one, two = (judge(classes(Task.ORDINAL, labels), ref, s, POLICY) for s in (near, far))
    assert one.component("accuracy").difference == two.component("accuracy").difference
    assert two.component("kappa").difference < 3 * one.component("kappa").difference < 0
    assert two.component("brier").difference < one.component("brier").difference


def test_multilabel_pools_known_pairs_by_patient():
    labels, ref, new = labelled()
    verdict = judge(classes(Task.MULTILABEL, labels), ref, new, POLICY)
    assert [part.name for part in verdict.components[:3]] == ["sensitivity", "specificity", "brier"]
    part = verdict.component("sensitivity")
    positives = labels == 1
    assert (part.n, part.n_patients) == (positives.sum(), positives.any(axis=1).sum())
    assert part.reference == pytest.approx((ref >= 0.5)[positives].mean())
    known = labels >= 0
    assert verdict.component("brier").reference == pytest.approx(((ref - labels) ** 2)[known].mean())
    assert verdict.component("brier").n == known.sum()
    one = verdict.component("brier[keratosis]")
    assert (one.n, one.reference) == (known[:, 1].sum(), pytest.approx(((ref - labels) ** 2)[known[:, 1], 1].mean()))
    assert verdict.beside["unknown_labels"] == (~known).sum()
    assert any(f"{(~known).sum()} of 1800 labels are not known" in reason for reason in verdict.reasons)
    assert verdict.insufficient == ("class=melanoma",)
    assert verdict.class_counts["naevus"] == positives[:, 0].sum()


def test_unknown_labels_never_count():
    labels, ref, new = labelled()
    first = judge(classes(Task.MULTILABEL, labels), ref, new, POLICY)
    # Whatever the candidate says there, even nothing at all.
    changed = np.where(labels < 0, np.nan, new)
    second = judge(classes(Task.MULTILABEL, labels), ref, changed, POLICY)
    assert first.components == second.components
    assert first.flips == second.flips
    assert second.agreement.not_finite == 0
    empty = judge(classes(Task.MULTILABEL, np.full((9, 3), -1)), ref[:9], new[:9], POLICY)
    assert empty.outcome is Outcome.NOT_ASSESSED


def test_labels_have_their_own_thresholds():
    labels, ref, new = labelled(unknown=0)
    policy = POLICY.model_copy(update={"thresholds": {"naevus": 0.9}})
    verdict = judge(classes(Task.MULTILABEL, labels), ref, new, policy)
    assert verdict.component("sensitivity[naevus]").reference == pytest.approx(
        (ref[:, 0] >= 0.9)[labels[:, 0] == 1].mean()
    )
    assert all(flip.view in NAMES for flip in verdict.flips)
    with pytest.raises(InputError, match="no label"):
        judge(classes(Task.MULTILABEL, labels), ref, new, POLICY.model_copy(update={"thresholds": {"other": 0.9}}))


def test_a_broken_label_leaves_the_others_alone():
    labels, ref, new = labelled(unknown=0)
    broken = new.copy()
    broken[:, 0] = np.nan
    verdict = judge(classes(Task.MULTILABEL, labels), ref, broken, POLICY)
    whole = judge(classes(Task.MULTILABEL, labels), ref, new, POLICY)
    assert verdict.component("sensitivity[naevus]").outcome is Outcome.INFERIOR
    assert verdict.component("auroc[naevus]").candidate == 0.0
    assert verdict.component("brier[naevus]").candidate == 1.0
    assert verdict.component("auroc[keratosis]") == whole.component("auroc[keratosis]")


@pytest.mark.parametrize("task", [Task.MULTICLASS, Task.ORDINAL, Task.MULTILABEL])
def test_lossless_passes_whatever_the_number(task):
    labels, ref, _ = answered([2, 2, 2]) if task is not Task.MULTILABEL else labelled(6)
    near = ref.copy()
    near[0, 0] += 1e-6
    verdict = judge(classes(task, labels), ref, near, ClinicalPolicy(), exported=True)
    assert (verdict.outcome, verdict.basis) == (Outcome.NON_INFERIOR, Basis.NUMERIC)
    assert verdict.reasons[0].startswith("lossless")
    near[0, 0] += 1e-4
    assert judge(classes(task, labels), ref, near, ClinicalPolicy(), exported=True).outcome is not Outcome.NON_INFERIOR


@pytest.mark.parametrize("task", [Task.MULTICLASS, Task.ORDINAL, Task.MULTILABEL])
def test_four_copies_within_a_patient_know_no_more_than_one(task):
    labels, ref, new = answered([60, 60, 60], noise=0.6) if task is not Task.MULTILABEL else labelled(180, noise=0.1)
    once = judge(classes(task, labels), ref, new, POLICY)
    four = judge(classes(task, *(np.repeat(x, 4, axis=0) for x in (labels, np.arange(180)))),
                 *(np.repeat(s, 4, axis=0) for s in (ref, new)), POLICY)  # fmt: skip
    assert four.clustered and not once.clustered
    for one, other in zip(once.components, four.components, strict=True):
        assert other.lower <= one.lower + 2e-3, one.name
        assert other.n_patients == one.n_patients


def test_levels_are_judged_on_pooled_and_class_endpoints():
    labels, ref, new = answered([600, 600, 600], gain=6)
    site = np.tile(["A", "B", "C"], 600)
    found = np.flatnonzero((site == "B") & (labels == 2) & (ref.argmax(1) == 2))[:40]
    new[found] = [0.9, 0.05, 0.05]
    site[:4] = ""
    for task, pooled in ((Task.MULTICLASS, 2), (Task.ORDINAL, 3)):
        verdict = judge(classes(task, labels, site=site), ref, new, POLICY)
        a, b, c, missing = verdict.subgroups
        assert (a.outcome, b.outcome, c.outcome) == (Outcome.NON_INFERIOR, Outcome.INFERIOR, Outcome.NON_INFERIOR)
        assert len(a.components) == pooled + 2 * (3 if task is Task.MULTICLASS else 2)
        assert (missing.value, missing.outcome) == ("(missing)", Outcome.INSUFFICIENT)
        assert (b.harmed, a.harmed) == (True, False)
        assert verdict.outcome is Outcome.INFERIOR


def test_a_class_waived_is_waived_in_every_level():
    labels, ref, new = answered([300, 300, 10], gain=6)
    update = {"block_on_insufficient": True, "waived_subgroups": ("class=melanoma",)}
    cases = classes(Task.MULTICLASS, labels, site=np.full(610, "A"))
    verdict = judge(cases, ref, new, POLICY.model_copy(update=update))
    assert verdict.subgroups[0].outcome is Outcome.INSUFFICIENT
    assert verdict.outcome is Outcome.NON_INFERIOR


def test_a_level_of_unknown_labels_is_insufficient():
    labels, ref, new = labelled()
    labels[:50] = -1
    verdict = judge(classes(Task.MULTILABEL, labels, site=np.repeat(["A", "B"], [50, 550])), ref, new, POLICY)
    assert verdict.subgroups[0].outcome is Outcome.INSUFFICIENT


def test_bad_scores_are_refused():
    labels, ref, new = answered([5, 5, 5])
    for task in (Task.MULTICLASS, Task.ORDINAL):
        for bad in (new[:, :2], new[:4], 2 * new, new / 2, new - 0.5, new[:, 0]):
            with pytest.raises(InputError):
                judge(classes(task, labels), ref, bad, POLICY)
    marks, ref, new = labelled(15)
    for bad in (new[:, :2], new + 1, -new - 1):
        with pytest.raises(InputError):
            judge(classes(Task.MULTILABEL, marks), ref, bad, POLICY)


@pytest.mark.parametrize(
    ("task", "labels"),
    [
        (Task.MULTICLASS, [0.0, np.nan, 1.0]),
        (Task.MULTICLASS, [0, 3, 1]),
        (Task.ORDINAL, [0, -1, 1]),
        (Task.MULTILABEL, [[0, 1, 2], [0, 0, 0]]),
        (Task.MULTILABEL, [0, 1]),
    ],
)
def test_bad_labels_are_refused(task, labels):
    with pytest.raises(InputError):
        classes(task, np.asarray(labels))


def test_repeated_class_names_are_refused():
    with pytest.raises(InputError, match="unique"):
        classes(Task.MULTICLASS, [0, 1], names=("a", "a"))


def test_no_cases_are_not_assessed():
    for task, width in ((Task.MULTICLASS, ()), (Task.ORDINAL, ()), (Task.MULTILABEL, (3,))):
        verdict = judge(classes(task, np.zeros((0, *width), int)), [], [], POLICY)
        assert (verdict.outcome, verdict.reasons) == (Outcome.NOT_ASSESSED, ("there are no cases",))


@given(st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_the_order_of_cases_changes_nothing(seed):
    rng = np.random.default_rng(seed)
    labels, ref, new = answered([30, 20, 10], noise=0.5, seed=seed)
    patients, site = rng.integers(0, 40, 60), rng.choice(["A", "B"], 60)
    order = rng.permutation(60)

    def run(rows):
        cases = Cases(labels[rows], patients[rows], {"site": site[rows]}, rows, False, Task.ORDINAL, NAMES)
        return judge(cases, ref[rows], new[rows], POLICY)

    one, other = run(np.arange(60)), run(order)
    assert one.outcome is other.outcome
    for first, second in zip(one.components, other.components, strict=True):
        assert (first.lower, first.upper) == pytest.approx((second.lower, second.upper), abs=1e-9, nan_ok=True)


@pytest.mark.parametrize(("before", "after"), [(0.1, 0.49), (0.49, 0.1)])
@pytest.mark.parametrize("jitter", [0.0, 0.01])
@pytest.mark.parametrize("owners", [1, 20])
def test_what_cannot_be_assessed_counts_a_loss_as_a_loss(before, after, jitter, owners):
    """A label that twenty cases of one patient have: its Brier score has no interval, and blocks where it got worse."""
    rng = np.random.default_rng(3)
    labels = (rng.random((3000, 2)) < 0.4).astype(int)
    reference = (labels * 0.7 + 0.15 + rng.normal(0, 0.05, labels.shape)).clip(0, 1)
    labels[:, 1], labels[:20, 1] = -1, 0
    candidate, patients = reference.copy(), np.arange(3000)
    reference[:20, 1], candidate[:20, 1] = before, after - rng.random(20) * jitter
    patients[:20] %= owners
    verdict = judge(classes(Task.MULTILABEL, labels, patients, ("x", "y")), reference, candidate, POLICY)
    brier = verdict.component("brier[y]")
    assert brier.outcome is Outcome.INSUFFICIENT or (after < before and owners > 1)
    assert brier.difference == pytest.approx(brier.reference - brier.candidate)
    blocked = any(reason.startswith("brier[y]") and "more was lost" in reason for reason in verdict.reasons)
    assert blocked == (after > before)
