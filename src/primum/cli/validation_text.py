"""What `primum validate` prints: the verdict with its scores, a plan, a comparison with a previous report."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING

import typer

from primum.cli.console import print_table

if TYPE_CHECKING:
    from primum.validation.assessment import Assessment
    from primum.validation.data_plan import DataPlan, LevelPlan, RateNeed
    from primum.validation.guard_check import GuardCheck
    from primum.validation.verdict import Verdict
    from primum.workflows.regression import Regression
    from primum.workflows.validate import Validation

_FLIPS_SHOWN = 20
_NONE = "none"


def show(found: Validation) -> None:
    """A broken promise first; endpoints, subgroups, flips, verdict; what the guard did; then scores, calibration,
    actions and recommendations."""
    from primum.artifact.manifest import UNPROVEN

    if found.guard is not None:
        for text in found.guard.findings:
            typer.echo(f"WARNING: the guard's bound DOES NOT HOLD on these patients: {text}")
    if found.manifest.unproven:
        typer.echo(f"{UNPROVEN}, by the cases of its own study")
    _show_verdict(found.verdict)
    if found.prior_openings:
        typer.echo(f"not a first look: these cases were looked at {len(found.prior_openings)} time(s) before")
    for text in (*found.prior_openings, *found.uncomparable_openings):
        typer.echo(f"  {text}")
    if found.guard is not None:
        _show_guard(found.guard)
    _show_assessment(found.assessment)
    for note in (*found.notes, *found.assessment.notes):
        typer.echo(f"note: {note}")
    for gone in found.excluded:
        typer.echo(f"excluded: {gone.case}: {gone.reason}")


def _show_verdict(verdict: Verdict) -> None:
    rows = [
        [
            part.name,
            _figure(part.reference),
            _figure(part.candidate),
            f"{part.difference:+.4f}",
            f"{part.lower:+.4f} to {part.upper:+.4f}",
            f"{part.margin:.3g}{'' if part.margin_given else ' (default)'}",
            str(part.n),
            part.outcome.value,
        ]
        for part in verdict.components
    ]
    columns = ["endpoint", "original", "artifact", "difference", "interval", "margin", "n", "outcome"]
    print_table("", columns, rows)
    for group in verdict.subgroups:
        typer.echo(f"subgroup {group.column}={group.value} (n={group.n}): {group.outcome.value} {group.reason}")
    counts = verdict.agreement
    typer.echo(
        f"decisions changed: {counts.flips} of {verdict.n} ({counts.harmful} harmful, {counts.beneficial} beneficial)"
    )
    for flip in verdict.flips[:_FLIPS_SHOWN]:
        kind = "harmful" if flip.harmful else "beneficial"
        typer.echo(
            f"  {flip.case_id}: label {flip.label}, {flip.reference_score:.3f} -> {flip.candidate_score:.3f}, {kind}"
        )
    if len(verdict.flips) > _FLIPS_SHOWN:
        typer.echo(f"  and {len(verdict.flips) - _FLIPS_SHOWN} more (--json lists all)")
    typer.echo(f"verdict: {verdict.outcome.value}, basis {verdict.basis.value}; unit of evidence: {verdict.unit}")
    for reason in verdict.reasons:
        typer.echo(f"  {reason}")


def _show_guard(check: GuardCheck) -> None:
    """What was promised, and what these patients say of it."""
    promise, found = check.promise, check.outcome
    strict = "; it bounds the change of the score" if promise.strict else ""
    typer.echo("")
    typer.echo(f"guard: epsilon {100 * promise.epsilon:.4g}% {promise}; band {promise.band:.4g}{strict}")
    if found is None:
        typer.echo(f"  not checked: {check.reason}")
        return
    typer.echo(
        f"  {found.deferred:.2%} of cases deferred; {found.flips_unguarded} of {found.n} decisions change without the "
        f"guard, {found.flips_left} with it"
    )
    rows = [
        [
            "all patients" if bound is check.bounds[0] else bound.leak.name,
            str(bound.leak.n_patients),
            str(bound.leak.patients_left),
            f"{bound.leak.lower:.2%} to {bound.leak.upper:.2%}" if bound.leak.n_patients else "-",
            bound.standing.value if bound.promised else "not promised",
        ]
        for bound in check.bounds
    ]
    # Short words: a terminal of 80 columns must not break one.
    print_table("", ["original calls", "patients", "undetected", f"interval ({found.confidence:.4g})", "bound"], rows)


def _show_assessment(found: Assessment) -> None:
    typer.echo("")
    rows = [
        [
            score.name.value,
            _figure(score.value),
            _figure(score.threshold),
            score.status.value,
            str(score.needed) if score.needed is not None else "",
        ]
        for score in found.scores
    ]
    print_table("", ["score", "bound", "threshold", "status", "patients needed"], rows)
    for score in found.scores:
        typer.echo(f"  {score.name.value}: {score.reason}")
    weakest = f" ({found.overall_of.value})" if found.overall_of else ""
    typer.echo(f"weakest score: {_figure(found.overall)}{weakest}")
    for pair in found.calibration:
        of = f" of {pair.name}" if pair.name else ""
        for name, one in (("original", pair.reference), ("artifact", pair.candidate)):
            typer.echo(
                f"calibration{of}, {name}: slope {_figure(one.slope)}, intercept {_figure(one.intercept)}, Brier "
                f"{_figure(one.brier)}, ECE {_figure(one.ece)} (calibrated: {_figure(one.ece_expected)} by chance)"
                f"{'; ' + one.reason if one.reason else ''}"
            )
    for item in found.recommendations:
        typer.echo(f"do: {item}")


def show_plan(found: DataPlan) -> None:
    """What it takes, then what the data at hand can show."""
    if found.sensitivity is not None and found.specificity is not None:
        _show_rates(found, (found.sensitivity, found.specificity))
    for note in found.notes:
        typer.echo(f"note: {note}")
    if found.levels:
        _show_levels(found)


def _show_rates(found: DataPlan, needs: tuple[RateNeed, RateNeed]) -> None:
    typer.echo(f"if {found.loss:.2%} of decisions are lost and {found.gain:.2%} won, each rate takes, in patients:")
    rows = [
        [
            need.name,
            f"{need.margin:g}{'' if need.margin_given else ' (default)'}",
            str(need.without_flip),
            _count(need.for_80),
            _count(need.for_90),
        ]
        for need in needs
    ]
    print_table("", ["rate", "margin", "with no flip", "80 % power", "90 % power"], rows)
    typer.echo("sensitivity counts patients with positives, specificity with negatives; the same in any one subgroup")
    for part in found.recruitment:
        typer.echo(
            f"at a prevalence of {part.prevalence:g}: {_count(part.for_80)} patients for 80 % power of each rate, "
            f"{_count(part.for_90)} for 90 % (enough of both classes with probability 0.95)"
        )
    if found.guard is not None:
        how = "on average" if found.guard.delta is None else f"with confidence {1 - found.guard.delta:g}"
        typer.echo(
            f"a guard of epsilon {found.guard.epsilon:g} {how}: {found.guard.patients} guard patients of each class "
            "that the original calls"
        )


def _show_levels(found: DataPlan) -> None:
    questions = any(level.question for level in found.levels)
    rows = [_level_row(level, questions) for level in found.levels]
    typer.echo("in patients (+ with positives, which sensitivity counts; - with negatives, which specificity counts):")
    # Short words: a terminal of 80 columns must not break one.
    columns = ["data at hand", *(["question"] if questions else []), "n", "n +", "n -",
               "power +", "power -", "missing +", "missing -", "needed for 80 %"]  # fmt: skip
    print_table("", columns, rows)


def _level_row(level: LevelPlan, questions: bool) -> list[str]:
    ends = level.power.sensitivity, level.power.specificity
    return [
        level.level,
        *([level.question] if questions else []),
        str(level.patients),
        *(str(end.n) for end in ends),
        *(f"{end.power:.0%}" if isfinite(end.power) else "-" for end in ends),
        _count(level.missing_positives),
        _count(level.missing_negatives),
        _count(level.patients_80),
    ]


def show_regression(found: Regression) -> None:
    """Item by item, what differs beside, and the sum."""
    typer.echo("")
    rows = [[item.kind, item.name, item.change.value, item.detail] for item in found.items]
    print_table("against the previous report", ["kind", "item", "change", "detail"], rows)
    for note in found.notes:
        typer.echo(f"note: {note}")
    untold = "none found" if found.compared else "quality could not be compared; of the rest none found"
    typer.echo("regression: " + ("yes" if found.regressed else untold))


def _figure(value: float) -> str:
    return f"{value:.4f}" if isfinite(value) else "-"


def _count(value: int | None) -> str:
    return str(value) if value is not None else _NONE
