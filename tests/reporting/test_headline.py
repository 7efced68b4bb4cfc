import dataclasses

from primum.config import MARGINS_OF
from primum.reporting import wording as w
from primum.reporting.headline import banners, gains, headline
from primum.reporting.speed import cards
from primum.study.result import StudyResult
from primum.validation.verdict import Outcome


def test_only_margins_of_the_task_are_listed(all_results: dict[str, StudyResult]) -> None:
    assert w.defaults(all_results["ordinal"]) == MARGINS_OF[all_results["ordinal"].model.task]
    text = next(b.text for b in banners(all_results["ordinal"]) if b.word == "Margins")
    assert "Sensitivity and accuracy 2 pp" in text and "Ranked probability score 0.01" in text and "Kappa" in text
    for name in ("multiclass", "regression", "segmentation"):
        assert not w.defaults(all_results[name])


def test_a_margin_that_nobody_gave_and_that_has_no_default_is_said(all_results: dict[str, StudyResult]) -> None:
    banner = next(b for b in banners(all_results["unstated"]) if b.word == "No margin")
    assert banner.text.startswith("Mean absolute error: none was given")
    assert not any(b.word == "No margin" for b in banners(all_results["regression"]))
    assert "could not be assessed" in " ".join(headline(all_results["unstated"]).lead)


def test_the_speed_up_of_a_guarded_model_counts_its_deferrals(all_results: dict[str, StudyResult]) -> None:
    result = all_results["guarded"]
    assert result.speedup == result.final[result.winner.key].effective != result.final[result.winner.key].ratio
    assert gains(result).startswith(f"{result.speedup:.1f}× faster")
    (size,) = (card for card in cards(result) if card.title == "Size")
    assert size.detail.endswith("× larger with the original that it carries")


def test_what_is_inconclusive_comes_before_what_is_insufficient(all_results: dict[str, StudyResult]) -> None:
    result = all_results["multilabel"]
    verdict = result.verdict
    rare = [p.view for p in verdict.components if p.outcome is Outcome.INSUFFICIENT]
    assert set(rare) == {"Atelectasis"}
    assert not any(p.outcome is Outcome.INCONCLUSIVE for p in verdict.components)
    lead = " ".join(headline(result).lead)
    assert "with sex M would decide" in lead and "Atelectasis" not in lead
    whole = dataclasses.replace(verdict, subgroups=())
    lead = " ".join(headline(dataclasses.replace(result, verdict=whole)).lead)
    needed = verdict.component("sensitivity[Atelectasis]").n_would_decide
    ranking = verdict.component("auroc[Atelectasis]").n_would_decide
    assert f"at least {needed} cases with Atelectasis and at least {ranking:,} cases would decide" in lead
