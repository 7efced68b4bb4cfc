"""primum validate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from primum.cli import options as o

if TYPE_CHECKING:
    from primum.workflows.validate import Validation

NAME = "validate"
NOT_PROVEN = 3


def run(
    artifact: Annotated[Path, typer.Option("--artifact", "-a", help="Artifact folder.")],
    model: o.Model,
    data: o.Data,
    checkpoint: o.Checkpoint = None,
    label_column: o.LabelColumn = "label",
    path_column: o.PathColumn = "path",
    patient_column: o.PatientColumn = None,
    group_columns: o.GroupColumns = "",
    image_root: o.ImageRoot = None,
    threshold: Annotated[float | None, typer.Option(help="Decision threshold; default: the artifact's.")] = None,
    margin: o.Margin = None,
    auroc_margin: o.AurocMargin = None,
    brier_margin: o.BrierMargin = None,
    skip_bad_files: Annotated[
        bool, typer.Option("--skip-bad-files", help="Exclude (and list) unreadable files.")
    ] = False,
    plain_case_ids: Annotated[bool, typer.Option("--plain-case-ids", help="Show file names, not pseudonyms.")] = False,
    json: o.Json = False,
) -> None:
    """Judge an artifact against its original on new labelled cases.

    Exit status: 0 non-inferior; 3 not shown to be (inferior, inconclusive, not assessed); 2 bad input.
    """
    from primum.artifact.manifest import read_manifest
    from primum.cli.console import Terminal, print_json
    from primum.data.readers import DataOptions
    from primum.models.reference import parse_model
    from primum.study.trial import verdict_to_data
    from primum.validation.verdict import Outcome
    from primum.workflows.validate import validate

    chosen = threshold if threshold is not None else read_manifest(artifact).threshold
    with Terminal() as terminal:
        outcome = validate(
            artifact,
            parse_model(model, checkpoint),
            data,
            DataOptions(label_column, path_column, patient_column, o.listed(group_columns), image_root),
            o.policy(chosen, margin, auroc_margin, brier_margin),
            skip_bad_files,
            plain_case_ids,
            terminal,
        )
    if json:
        excluded = [{"case": e.case, "reason": e.reason} for e in outcome.excluded]
        print_json({"verdict": verdict_to_data(outcome.verdict), "excluded": excluded})
    else:
        _show(outcome)
    raise typer.Exit(0 if outcome.verdict.outcome is Outcome.NON_INFERIOR else NOT_PROVEN)


def _show(outcome: Validation) -> None:
    from primum.cli.console import print_table

    verdict = outcome.verdict
    rows = [
        [
            part.name,
            f"{part.reference:.4f}",
            f"{part.candidate:.4f}",
            f"{part.difference:+.4f}",
            f"{part.lower:+.4f} to {part.upper:+.4f}",
            f"{part.margin:.3f}{'' if part.margin_given else ' (default)'}",
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
    for flip in verdict.flips[:20]:
        kind = "harmful" if flip.harmful else "beneficial"
        typer.echo(
            f"  {flip.case_id}: label {flip.label}, {flip.reference_score:.3f} -> {flip.candidate_score:.3f}, {kind}"
        )
    typer.echo(f"verdict: {verdict.outcome.value}, basis {verdict.basis.value}")
    for reason in verdict.reasons:
        typer.echo(f"  {reason}")
    for gone in outcome.excluded:
        typer.echo(f"excluded: {gone.case}: {gone.reason}")
