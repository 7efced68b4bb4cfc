import numpy as np
import pytest
from scipy import stats

from primum.config import ClinicalPolicy, Margins
from primum.errors import InputError
from primum.task import Task
from primum.validation.gate import Cases, judge
from primum.validation.means import paired_mean_interval
from primum.validation.paired import clopper_pearson_interval, dice_scores
from primum.validation.verdict import Basis, Outcome

NAMES = ("background", "liver", "spleen")
GIVEN = ClinicalPolicy(margins=Margins(dice=0.01))


def cases(n, patients=None, **groups):
    own = np.arange(n) if patients is None else patients
    return Cases(np.zeros((n, 0)), own, groups, np.arange(n), task=Task.SEGMENTATION, classes=NAMES)


def dice(n, spread=0.02, seed=0, shift=0.0):
    rng = np.random.default_rng(seed)
    reference = rng.uniform(0.8, 0.95, (n, 2))
    return reference, (reference + shift + rng.normal(0, spread, (n, 2))).clip(0, 1)


def test_dice_of_masks():
    truth = np.array([[[1, 1], [0, 2]], [[0, 0], [0, 0]], [[0, 0], [0, 1]]])
    masks = np.array([[[1, 0], [0, 2]], [[0, 0], [0, 2]], [[0, 0], [0, 1]]])
    got = dice_scores(masks, truth, NAMES)
    # Absent from both: 1; found where there is none: 0.
    assert got == pytest.approx(np.array([[2 / 3, 1], [1, 0], [1, 1]]))
    soft = np.stack([masks == k for k in range(3)], axis=1).astype(float)
    assert np.array_equal(dice_scores(soft, truth, NAMES), got)
    soft[1, 0, 0, 0] = np.nan
    assert np.isnan(dice_scores(soft, truth, NAMES)[1]).all()
    assert np.isfinite(dice_scores(soft, truth, NAMES)[[0, 2]]).all()


def test_dice_is_f1_of_the_pixels():
    from sklearn.metrics import f1_score

    rng = np.random.default_rng(0)
    truth, masks = rng.integers(0, 3, (2, 4, 6, 5, 3))
    got = dice_scores(masks, truth, NAMES)
    for i in range(4):
        expected = f1_score(truth[i].ravel(), masks[i].ravel(), labels=[1, 2], average=None)
        assert got[i] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("masks", "truth", "names"),
    [
        (np.zeros((2, 4, 4), int), np.zeros((3, 4, 4), int), NAMES),
        (np.zeros((2, 2, 4, 4)), np.zeros((2, 4, 4), int), NAMES),
        (np.zeros((2, 4, 4), int), np.full((2, 4, 4), 3), NAMES),
        (np.full((2, 4, 4), -1), np.zeros((2, 4, 4), int), NAMES),
        (np.zeros((2, 4, 4)), np.zeros((2, 4, 4), int), NAMES),
        (np.zeros((2, 4, 4), int), np.zeros((2, 4, 4), int), NAMES[:1]),
    ],
)
def test_masks_that_do_not_fit_are_refused(masks, truth, names):
    with pytest.raises(InputError):
        dice_scores(masks, truth, names)


def test_is_the_paired_t_interval_by_structure():
    ref, new = dice(600)
    verdict = judge(cases(600), ref, new, GIVEN)
    assert [part.name for part in verdict.components] == ["dice[liver]", "dice[spleen]"]
    for c, part in enumerate(verdict.components):
        expected = stats.ttest_rel(new[:, c], ref[:, c]).confidence_interval(0.95)
        by_t = part.beside["seen_lower"]
        assert (by_t, part.upper) == pytest.approx((expected.low, expected.high), abs=1e-4)
        assert by_t <= expected.low + 1e-12 and part.upper >= expected.high - 1e-12
        assert part.lower == min(by_t, part.beside["unseen_lower"])
        lost = int((ref[:, c] - new[:, c] > 0.05).sum())
        assert part.beside["share_losing"] == lost / 600
        assert part.beside["share_losing_upper"] == clopper_pearson_interval(lost, 600).upper
    assert (verdict.outcome, verdict.n_positive, verdict.class_counts) == (Outcome.NON_INFERIOR, None, {})
    assert len(verdict.flips) == verdict.agreement.harmful > 0
    assert all(flip.harmful and flip.view in NAMES for flip in verdict.flips)


def test_hand_example(oracles):
    item = oracles[0]["open.dice"]
    ref, new = (np.array(item["inputs"][k])[:, None] for k in ("ref_dice", "new_dice"))
    one = Cases(np.zeros((5, 0)), np.arange(5), {}, np.arange(5), task=Task.SEGMENTATION, classes=("liver",))
    part = judge(one, ref, new, GIVEN).components[0]
    assert part.difference == pytest.approx(item["expected"]["mean_diff"], abs=item["abs_tol"])
    plain = paired_mean_interval(new[:, 0] - ref[:, 0]).lower
    assert plain == pytest.approx(item["expected"]["lower_one_sided_975_t"], abs=item["abs_tol"])
    assert part.beside["seen_lower"] < plain, "the gate's bound moves out for skewness"


def test_a_loss_is_inferior_and_patients_are_the_unit():
    ref, new = dice(200, shift=-0.05)
    assert judge(cases(200), ref, new, GIVEN).outcome is Outcome.INFERIOR
    ref, new = dice(40)
    once = judge(cases(40), ref, new, GIVEN).components[0]
    twice = judge(cases(80, np.arange(80) % 40), np.tile(ref, (2, 1)), np.tile(new, (2, 1)), GIVEN).components[0]
    assert (twice.lower, twice.n_patients) == pytest.approx((once.lower, 40))
    assert twice.beside["share_losing_upper"] == once.beside["share_losing_upper"]


def test_lost_masks_have_no_dice_left():
    ref, new = dice(60)
    new[:2, 0] = np.nan, np.inf
    verdict = judge(cases(60), ref, new, GIVEN)
    zeroed = np.where(np.isfinite(new), new, 0.0)
    assert verdict.component("dice[liver]").candidate == pytest.approx(zeroed[:, 0].mean())
    assert verdict.agreement.not_finite == 2
    assert {"0", "1"} <= {flip.case_id for flip in verdict.flips}
    ref[3, 1] = np.nan
    assert judge(cases(60), ref, new, GIVEN).outcome is Outcome.NOT_ASSESSED


def test_lossless_is_relative_to_the_spread():
    ref, _ = dice(10)
    near = judge(cases(10), ref, ref + 1e-8, GIVEN, exported=True)
    assert (near.outcome, near.basis) == (Outcome.NON_INFERIOR, Basis.NUMERIC)
    assert judge(cases(10), ref, ref - 1e-5, GIVEN, exported=True).basis is Basis.STATISTICAL
    flat = np.full((10, 2), 0.9)
    moved = flat.copy()
    moved[0, 0] -= 1e-9
    assert judge(cases(10), flat, moved, GIVEN, exported=True).basis is Basis.STATISTICAL
    assert judge(cases(10), flat, flat, GIVEN, exported=True).basis is Basis.NUMERIC


def test_levels_too_small_even_for_no_difference():
    ref, new = dice(600)
    new[595:] = ref[595:] - np.linspace(-0.03, 0.04, 10).reshape(5, 2)
    site = np.where(np.arange(600) < 595, "A", "B")
    site[599] = ""
    verdict = judge(cases(600, site=site), ref, new, GIVEN)
    assert [(s.value, s.outcome) for s in verdict.subgroups] == [
        ("A", Outcome.NON_INFERIOR), ("B", Outcome.INSUFFICIENT), ("(missing)", Outcome.INSUFFICIENT),
    ]  # fmt: skip
    assert verdict.subgroups[1].components[0].n_would_decide > 4
    assert "one patient" in verdict.subgroups[2].reason
    assert verdict.outcome is Outcome.NON_INFERIOR


@pytest.mark.parametrize("bad", [np.full((5, 2), 1.5), np.zeros((5, 4)), np.zeros(5), np.zeros((4, 2))])
def test_bad_scores_are_refused(bad):
    with pytest.raises(InputError):
        judge(cases(5), np.full((5, 2), 0.9), bad, GIVEN)
