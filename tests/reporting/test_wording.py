import dataclasses

import pytest

from primum.reporting import wording as w
from primum.study.result import StudyResult
from primum.task import Task
from primum.validation.verdict import Outcome


@pytest.mark.parametrize(
    ("name", "task", "expected"),
    [
        ("sensitivity", Task.BINARY, "Sensitivity"),
        ("sensitivity[S]", Task.MULTICLASS, "Sensitivity, class S"),
        ("auroc[>= severe]", Task.ORDINAL, "AUROC, at least severe"),
        ("brier", Task.ORDINAL, "Ranked probability score"),
        ("sensitivity", Task.MULTILABEL, "Sensitivity, all labels together"),
        ("specificity[Mass [left]]", Task.MULTILABEL, "Specificity, Mass [left]"),
        ("error[wall, cm]", Task.REGRESSION, "Mean absolute error, wall, cm"),
        ("dice[liver]", Task.SEGMENTATION, "Dice, liver"),
    ],
)
def test_endpoints_are_readable(name: str, task: Task, expected: str) -> None:
    assert w.endpoint(name, task) == expected


def test_what_would_decide_names_the_kind_of_case(all_results: dict[str, StudyResult]) -> None:
    def needed(name: str, endpoint: str) -> str:
        verdict = all_results[name].verdict
        part = dataclasses.replace(verdict.component(endpoint), n_would_decide=73, outcome=Outcome.INCONCLUSIVE)
        return w.would_decide(part, verdict)

    assert needed("assessed", "sensitivity") == "about 73 positives"
    assert needed("multiclass", "sensitivity[fusion]") == "about 73 patients with a case of class fusion"
    assert needed("multiclass", "accuracy") == "about 73 patients"
    assert needed("crowded", "specificity[tissue of the kind number 0, long]").startswith("about 73 cases of another")
    assert needed("ordinal", "specificity[>= severe]") == "about 73 patients with a case below severe"
    assert needed("multilabel", "specificity[Mass]") == "about 73 cases without Mass"
    assert needed("multilabel", "specificity") == "about 73 negative cases"
    assert needed("segmentation", "dice[liver]") == "about 73 cases"


def test_most_needed_gives_the_largest_number_of_each_kind(all_results: dict[str, StudyResult]) -> None:
    verdict = all_results["multilabel"].verdict
    names = ["sensitivity[Mass]", "specificity[Mass]", "auroc[Mass]", "brier[Mass]", "sensitivity[Nodule]"]
    parts = [
        dataclasses.replace(verdict.component(name), n_would_decide=100 * (i + 1), outcome=Outcome.INCONCLUSIVE)
        for i, name in enumerate(names)
    ]
    assert w.most_needed(parts, verdict) == [
        "about 500 cases with Nodule", "about 200 cases without Mass", "about 400 cases",
        "at most the smallest of these numbers for 1 other kind of case",
    ]  # fmt: skip
    parts.append(
        dataclasses.replace(verdict.component("specificity[Nodule]"), n_would_decide=20, outcome=Outcome.INCONCLUSIVE)
    )
    assert (
        w.most_needed(parts, verdict)[-1] == "at most the smallest of these numbers for each of 2 other kinds of case"
    )


def test_reasons_name_endpoints_and_leave_out_what_is_long() -> None:
    reason = "subgroup sex=F: INFERIOR: sensitivity[S]: lost; specificity[S]: a; auroc[S]: b; brier: c"
    expected = "subgroup sex=F: INFERIOR: Sensitivity, class S: lost; Specificity, class S: a; and 2 more"
    assert w.said(reason, Task.MULTICLASS) == expected
    assert w.said("lossless: no decision changed", Task.BINARY) == "lossless: no decision changed"
    assert w.inline("Collect 73 for sensitivity[>= mild] (x[1])", Task.ORDINAL) == (
        "Collect 73 for sensitivity of at least mild (x[1])"
    )


def test_decisions_are_counted_as_the_task_makes_them(all_results: dict[str, StudyResult]) -> None:
    verdict = all_results["multilabel"].verdict
    known = int((all_results["multilabel"].judged.labels >= 0).sum())
    assert w.decisions(verdict) == (known, "label decision") and known < 900 * 13
    assert w.decisions(all_results["unstated"].verdict) == (800, "value")
    assert w.decisions(all_results["segmentation"].verdict) == (780, "mask")
    assert w.decisions(all_results["multiclass"].verdict) == (2000, "case")


def test_where_no_patient_is_named_nothing_speaks_of_patients(results: dict[str, StudyResult]) -> None:
    verdict = dataclasses.replace(
        results["proven"].verdict, unit="distinct case (no patient named)", copies=200, n=900, n_patients=700
    )
    assert w.units(verdict) == "700 distinct cases" and w.cases_of(verdict) == "900 cases, 700 of them distinct"
    alone = dataclasses.replace(verdict, copies=0, n_patients=900)
    assert w.units(alone) == "900 cases" == w.cases_of(alone)
    part = dataclasses.replace(verdict.component("sensitivity"), n_would_decide=73, outcome=Outcome.INCONCLUSIVE)
    clustered = dataclasses.replace(verdict, clustered=True)
    assert w.would_decide(part, clustered) == "about 73 distinct cases with a positive"
