"""primum validate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from primum.cli import options as o
from primum.errors import InputError

if TYPE_CHECKING:
    from primum.config import ClinicalPolicy
    from primum.data.options import DataOptions
    from primum.workflows.validate import Validation

NAME = "validate"
NOT_PROVEN = 3


def run(
    artifact: Annotated[Path | None, typer.Option("--artifact", "-a", help="Artifact folder.")] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", help="The original: module:factory (with --checkpoint), FILE.onnx, or a TorchScript FILE."
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", "-d", help="Labelled cases that neither model nor artifact has seen.")
    ] = None,
    checkpoint: o.Checkpoint = None,
    task: o.TaskName = None,
    classes: o.Classes = "",
    label_column: o.LabelColumn = "label",
    label_columns: o.LabelColumns = "",
    path_column: o.PathColumn = "path",
    feature_columns: o.FeatureColumns = "",
    id_column: o.IdColumn = None,
    patient_column: o.PatientColumn = None,
    independent: o.Independent = False,
    group_columns: o.GroupColumns = "",
    image_root: o.ImageRoot = None,
    mask_root: o.MaskRoot = None,
    positive_class: o.PositiveClass = None,
    threshold: Annotated[float | None, typer.Option(help="Decision threshold; default: the artifact's.")] = None,
    hold_specificity: o.HoldSpecificity = None,
    hold_sensitivity: o.HoldSensitivity = None,
    margin: o.Margin = None,
    auroc_margin: o.AurocMargin = None,
    brier_margin: o.BrierMargin = None,
    kappa_margin: o.KappaMargin = None,
    dice_margin: o.DiceMargin = None,
    error_margin: o.ErrorMargin = None,
    tolerance: o.Tolerance = None,
    actions: o.Actions = None,
    accuracy_threshold: Annotated[
        float, typer.Option(help="Share of the original's accuracy to be retained (the medical-accuracy score).")
    ] = 0.98,
    plan: Annotated[
        bool,
        typer.Option(
            "--plan", help="Sample sizes and power; needs neither artifact nor model, of the data labels alone."
        ),
    ] = False,
    loss: Annotated[float, typer.Option(help="--plan: assumed share of decisions lost.")] = 0.005,
    gain: Annotated[float, typer.Option(help="--plan: assumed share of decisions won.")] = 0.005,
    prevalence: Annotated[
        str, typer.Option(help="--plan: prevalences to recruit at, separated by commas, for example 0.05,0.2.")
    ] = "",
    guard: o.Guard = None,
    guard_delta: o.GuardDelta = None,
    previous: Annotated[
        Path | None, typer.Option(help="A previous report, validation or --json output to hold this one against.")
    ] = None,
    skip_bad_files: Annotated[
        bool, typer.Option("--skip-bad-files", help="Exclude (and list) unreadable files.")
    ] = False,
    plain_case_ids: Annotated[bool, typer.Option("--plain-case-ids", help="Show file names, not pseudonyms.")] = False,
    json: o.Json = False,
) -> None:
    """Judge an artifact against its original on new labelled cases; with --plan, say how many cases that takes.

    Exit status: 0 non-inferior; 3 not shown to be (inferior, inconclusive, not assessed), of a guarded artifact where
    its guard's bound is shown not to hold on these patients, or worse than --previous; 2 bad input.
    """
    from primum.data.options import DataOptions

    options = DataOptions(
        label_column=label_column,
        path_column=path_column,
        patient_column=patient_column,
        group_columns=o.listed(group_columns),
        image_root=image_root,
        task=task,
        classes=o.listed(classes),
        label_columns=o.listed(label_columns),
        feature_columns=o.listed(feature_columns),
        id_column=id_column,
        mask_root=mask_root,
    )

    def policy(at: float) -> ClinicalPolicy:
        found: ClinicalPolicy = o.policy(
            at,
            margin,
            auroc_margin,
            brier_margin,
            kappa_margin=kappa_margin,
            dice_margin=dice_margin,
            error_margin=error_margin,
            tolerance=tolerance,
            actions=actions,
            hold_specificity=hold_specificity,
            hold_sensitivity=hold_sensitivity,
        )
        return found

    of_task = {
        "sensitivity": margin,
        "auroc": auroc_margin,
        "brier": brier_margin,
        "kappa": kappa_margin,
        "dice": dice_margin,
        "error": error_margin,
        "tolerance": tolerance,
    }
    if plan:
        o.demand_of_task(task, of_task)
        chosen = policy(0.5 if threshold is None else threshold)
        _plan(chosen, data, options, positive_class, (loss, gain), prevalence, (guard, guard_delta), json)
        return
    if artifact is None or model is None or data is None:
        missing = [
            f"--{name}" for name, given in (("artifact", artifact), ("model", model), ("data", data)) if not given
        ]
        raise InputError(f"to judge, give {', '.join(missing)}; to plan without a model, add --plan")
    if guard is not None or prevalence or positive_class is not None:
        raise InputError("--guard, --prevalence and --positive-class belong to --plan: an artifact knows its own")
    _demand_of_artifact(artifact, of_task)
    if previous is not None:
        from primum.workflows.snapshot import read_snapshot

        read_snapshot(previous)  # what it is held against is sound, or nothing runs
    found = _judge(artifact, model, checkpoint, data, options, policy, threshold, accuracy_threshold,
                   skip_bad_files, plain_case_ids, independent)  # fmt: skip
    _finish(found, previous, json)


def _demand_of_artifact(artifact: Path, given: dict[str, float | str | None]) -> None:
    """InputError on what was given for another task than the artifact's."""
    from primum.artifact.manifest import read_manifest

    o.demand_of_task(read_manifest(artifact).signature.task, given)


def _judge(
    artifact: Path,
    model: str,
    checkpoint: Path | None,
    data: Path,
    options: DataOptions,
    policy: Any,
    threshold: float | None,
    accuracy_threshold: float,
    skip_bad_files: bool,
    plain_case_ids: bool,
    independent: bool,
) -> Validation:
    from pydantic import ValidationError

    from primum.artifact.manifest import read_manifest
    from primum.cli.console import Terminal
    from primum.config import ValidationConfig, explain
    from primum.models.reference import parse_model
    from primum.workflows.validate import validate, with_own_thresholds

    manifest = read_manifest(artifact)
    chosen = policy(manifest.threshold if threshold is None else threshold)
    if threshold is None:
        chosen = with_own_thresholds(chosen, manifest)
    try:
        config = ValidationConfig(accuracy_threshold=accuracy_threshold)
    except ValidationError as error:
        raise InputError(explain(error)) from error
    with Terminal() as terminal:
        reference = parse_model(model, checkpoint)
        return validate(
            artifact,
            reference,
            data,
            options,
            chosen,
            skip_bad_files,
            plain_case_ids,
            terminal,
            config,
            independent,
        )


def _finish(found: Validation, previous: Path | None, json: bool) -> None:
    """Print, compare, and leave with the status."""
    from primum.cli.console import print_json
    from primum.cli.validation_text import show, show_regression
    from primum.reporting.data import plain
    from primum.workflows.regression import compare_reports

    data = found.as_data()
    regression = compare_reports(previous, data) if previous is not None else None
    if json:
        print_json(data | ({"regression": plain(regression)} if regression else {}))
    else:
        show(found)
        if regression:
            show_regression(regression)
    proven = found.passed and not (regression and regression.regressed)
    raise typer.Exit(0 if proven else NOT_PROVEN)


def _plan(
    policy: ClinicalPolicy,
    data: Path | None,
    options: DataOptions,
    positive_class: str | None,
    discordance: tuple[float, float],
    prevalence: str,
    guard: tuple[str | None, str | None],
    json: bool,
) -> None:
    from primum.cli.console import print_json
    from primum.cli.validation_text import show_plan
    from primum.reporting.data import plain
    from primum.workflows.plan_validation import plan_validation

    asked = o.guard_policy(*guard, False, False)
    if asked in ("off", None):
        band = None
    elif isinstance(asked, dict) and asked["epsilon"] is not None:
        band = (asked["epsilon"], asked["delta"])
    else:
        raise InputError("--plan needs a number for --guard: the smallest epsilon follows from the patients there are")
    found = plan_validation(
        policy, data, options, positive_class, *discordance, o.numbers("--prevalence", prevalence), band
    )
    if json:
        print_json(plain(found))
    else:
        show_plan(found)
