"""primum optimize."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from primum.cli import options as o
from primum.level import OptimizationLevel

if TYPE_CHECKING:
    from primum.cli.console import Terminal
    from primum.config import OptimizationConfig
    from primum.study.claim import GuardResult
    from primum.study.result import StudyResult
    from primum.study.trial import Trial
    from primum.workflows.delivery import Delivery
    from primum.workflows.request import OptimizeRequest

NAME = "optimize"
NOT_ACCEPTED = 3
SHOWN_REASONS, SHOWN_LETTERS = 8, 240


def run(
    model: o.Model,
    data: o.Data,
    out: o.Out,
    checkpoint: o.Checkpoint = None,
    train_data: Annotated[
        Path | None, typer.Option(help="Training data, for methods that train; no patient of it may be judged.")
    ] = None,
    task: o.TaskName = None,
    classes: o.Classes = "",
    label_column: o.LabelColumn = "label",
    label_columns: o.LabelColumns = "",
    path_column: o.PathColumn = "path",
    feature_columns: o.FeatureColumns = "",
    id_column: o.IdColumn = None,
    patient_column: o.PatientColumn = None,
    group_columns: o.GroupColumns = "",
    image_root: o.ImageRoot = None,
    mask_root: o.MaskRoot = None,
    preprocessing: o.PreprocessingFile = None,
    config: Annotated[Path | None, typer.Option(help="YAML or TOML with the whole configuration; flags win.")] = None,
    level: Annotated[OptimizationLevel | None, typer.Option(help="How far the search may go.")] = None,
    margin: o.Margin = None,
    auroc_margin: o.AurocMargin = None,
    brier_margin: o.BrierMargin = None,
    kappa_margin: o.KappaMargin = None,
    dice_margin: o.DiceMargin = None,
    error_margin: o.ErrorMargin = None,
    tolerance: o.Tolerance = None,
    actions: o.Actions = None,
    hold_specificity: o.HoldSpecificity = None,
    hold_sensitivity: o.HoldSensitivity = None,
    threshold: Annotated[float | None, typer.Option(help="Decision threshold on P(positive); default 0.5.")] = None,
    positive_class: o.PositiveClass = None,
    waive_subgroups: Annotated[
        str, typer.Option(help="Subgroups (column=value,...) and classes (class=NAME) allowed to be too small.")
    ] = "",
    guard: o.Guard = None,
    guard_delta: o.GuardDelta = None,
    guard_overall: o.GuardOverall = False,
    guard_strict: o.GuardStrict = False,
    accept_inconclusive: Annotated[
        bool, typer.Option("--accept-inconclusive", help="Let an UNPROVEN candidate win.")
    ] = False,
    budget: Annotated[
        float | None,
        typer.Option(
            help="Minutes for trials, one at work included; the best so far is delivered. The same command again "
            "goes on for as many minutes more."
        ),
    ] = None,
    prune_ratio: Annotated[
        float | None, typer.Option(help="Largest share of channels that the search may remove; default: by level.")
    ] = None,
    training_minutes: Annotated[float | None, typer.Option(help="Of one training in the search; default: 10.")] = None,
    explore: Annotated[
        int | None, typer.Option(help="Recipes that Optuna may suggest after the search, beside it; default: none.")
    ] = None,
    objective: Annotated[
        Literal["latency", "size"] | None, typer.Option(help="What candidates are ranked by; default: latency.")
    ] = None,
    deliver: Annotated[
        list[str] | None,
        typer.Option(help="A runtime that gets a proven artifact of its own, in OUT/artifacts/; may be repeated."),
    ] = None,
    target: Annotated[str, typer.Option(help="Runtimes to try, separated by commas; default: all.")] = "",
    threads: Annotated[int | None, typer.Option(help="Threads of every candidate; default: all cores.")] = None,
    recipes: Annotated[Path | None, typer.Option(help="YAML with recipes to try beside the planner's.")] = None,
    activation: Annotated[str | None, typer.Option(help="sigmoid, softmax or identity; default: inferred.")] = None,
    independent: o.Independent = False,
    skip_bad_files: Annotated[
        bool, typer.Option("--skip-bad-files", help="Exclude (and list) unreadable files.")
    ] = False,
    plain_case_ids: Annotated[
        bool, typer.Option("--plain-case-ids", help="Evidence shows file names, not pseudonyms.")
    ] = False,
    seed: Annotated[int | None, typer.Option(help="Seed of shuffles; never moves a patient between parts.")] = None,
    join: Annotated[
        bool, typer.Option("--join", help="Run trials of the study that another process leads in --out.")
    ] = False,
    progress: Annotated[
        Path | None, typer.Option(help="File that is told stage and steps, as one JSON object a line.")
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Print parts and planned power, then stop.")] = False,
    json: o.Json = False,
) -> None:
    """Find the fastest artifact that is proven to be no worse than the model on these data, and seal it.

    Exit status: 0 accepted (with --accept-inconclusive also UNPROVEN); 3 a faster candidate was tried but none was
    accepted, so the lossless original is delivered; 2 bad input.
    """
    from dataclasses import asdict

    from primum.cli.console import Terminal, print_json
    from primum.cli.progress_file import ProgressFile
    from primum.data.options import DataOptions
    from primum.data.preprocessing_any import read_preprocessing
    from primum.errors import InputError
    from primum.models.reference import parse_model
    from primum.models.signature import Activation
    from primum.study.recipe import read_recipes
    from primum.workflows.optimize import describe_plan, notes, optimize, planned
    from primum.workflows.request import OptimizeRequest

    if activation is not None and activation not in list(Activation):
        raise InputError(f"--activation {activation!r}: choose sigmoid, softmax or identity")
    margins: dict[str, object] = {
        "sensitivity": margin,
        "specificity": margin,
        "auroc": auroc_margin,
        "brier": brier_margin,
        "kappa": kappa_margin,
        "dice": dice_margin,
        "error": error_margin,
    }
    o.demand_of_task(task, margins | {"tolerance": tolerance})
    margins["error"], error_margins = o.amounts("--error-margin", error_margin)
    tolerated, tolerances = o.amounts("--tolerance", tolerance)
    request = OptimizeRequest(
        model=parse_model(model, checkpoint),
        data=data,
        out=out,
        train_data=train_data,
        options=DataOptions(
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
        ),
        preprocessing=read_preprocessing(preprocessing) if preprocessing else None,
        positive_class=positive_class,
        activation=Activation(activation) if activation else None,
        config=_configure(
            config,
            {
                "level": level,
                "budget_minutes": budget,
                "threads": threads,
                "runtimes": o.listed(target) or None,
                "objective": objective,
                "deliver": tuple(deliver) if deliver else None,
                "seed": seed,
                "accept_inconclusive": accept_inconclusive or None,
                "guard": o.guard_policy(guard, guard_delta, guard_overall, guard_strict),
            },
            margins,
            {
                "threshold": threshold,
                "waived_subgroups": o.listed(waive_subgroups) or None,
                "tolerance": tolerated,
                "error_margins": error_margins or None,
                "tolerances": tolerances or None,
                "actions": o.read_actions(actions) if actions else None,
                "operating_point": o.operating_point(hold_specificity, hold_sensitivity),
            },
            {"largest_ratio": prune_ratio, "training_minutes": training_minutes, "explore": explore},
        ),
        recipes=read_recipes(recipes) if recipes else (),
        skip_bad_files=skip_bad_files,
        plain_case_ids=plain_case_ids,
        independent=independent,
    )
    with Terminal() as terminal:
        if join:
            _join(request, terminal, json)
            return
        if plan:
            prepared = planned(request, terminal)
            if json:
                power = {name or "all": asdict(found) for name, found in prepared.power.items()}
                parts = [asdict(p) for p in prepared.data.parts]
                excluded = [asdict(e) for e in prepared.data.excluded]
                print_json({"parts": parts, "power": power, "excluded": excluded, "notes": notes(prepared)})
            else:
                lines = [*describe_plan(prepared), *(f"note: {line}" for line in notes(prepared))]
                typer.echo("\n".join(lines))
            return
        if progress is None:
            delivery = optimize(request, terminal)
        else:
            with ProgressFile(progress, terminal) as listener:
                delivery = optimize(request, listener)
    if json:
        print_json(delivery.summary())
    else:
        show(delivery)
    raise typer.Exit(0 if delivery.result.accepted or delivery.result.unproven else NOT_ACCEPTED)


def _configure(
    path: Path | None,
    flags: dict[str, object],
    margins: dict[str, object],
    policy: dict[str, object],
    reduction: dict[str, object],
) -> OptimizationConfig:
    """The configuration file with the flags that were given laid over it. InputError on a value out of range."""
    from pydantic import ValidationError

    from primum.config import OptimizationConfig, explain
    from primum.errors import InputError

    read = OptimizationConfig.from_file(path) if path else OptimizationConfig()
    # Adjustments are told of what was given: defaults of a reduction stay defaults.
    raw = {**read.model_dump(), "reduction": read.reduction.model_dump(exclude_unset=True)}
    nested = ((raw["policy"], policy), (raw["policy"]["margins"], margins), (raw["reduction"], reduction))
    for target, given in ((raw, flags), *nested):
        target.update({k: v for k, v in given.items() if v is not None})
    try:
        return OptimizationConfig.model_validate(raw)
    except ValidationError as error:
        raise InputError(explain(error)) from error


def _join(request: OptimizeRequest, terminal: Terminal, json: bool) -> None:
    """Work for a study that another process leads, and say what was done."""
    from primum.cli.console import print_json
    from primum.workflows.joining import join

    done = join(request, terminal)
    if json:
        ran = [{"key": t.key, "recipe": t.recipe, "status": t.status.value} for t in done.ran]
        print_json({"worker": done.worker, "ran": ran, "ended": done.ended})
    else:
        typer.echo(f"worker {done.worker} ran {len(done.ran)} trial(s): {done.ended}")


def show(delivery: Delivery) -> None:
    """Trials as a table, then what was delivered and why."""
    from primum.artifact.manifest import UNPROVEN
    from primum.cli.console import print_table
    from primum.reporting.numbers import shorten

    result = delivery.result
    rows = [_row(trial, result) for trial in result.trials]
    print_table("", ["candidate", "speed-up", "median ms", "original ms", "MB", "on selection"], rows)
    final = result.final[result.winner.key]
    typer.echo("")
    if result.unproven:
        typer.echo(f"{UNPROVEN}.")
    typer.echo(f"verdict: {result.outcome.value} ({result.verdict_recipe})")
    for reason in result.reasons[:SHOWN_REASONS]:
        typer.echo(f"  {shorten(reason, SHOWN_LETTERS)}")
    if len(result.reasons) > SHOWN_REASONS:
        typer.echo(f"  and {len(result.reasons) - SHOWN_REASONS} more reasons, in the report")
    if result.earlier_openings:
        typer.echo(f"  not a first look: these cases were opened {len(result.earlier_openings)} time(s) before")
    for text in result.untold_openings:
        typer.echo(f"  {text}")
    typer.echo(f"delivered: {result.winner.recipe}, {gains(result)}")
    if result.guard is not None:
        typer.echo("\n          ".join(_guard_lines(result.guard)))
    if final.contended:
        typer.echo("the machine was busy while this was timed; primum benchmark times the artifact again")
    for line in _by_runtime(delivery):
        typer.echo(line)
    typer.echo(f"artifact: {delivery.artifact}")
    typer.echo(f"digest:   {delivery.digest} (primum verify --expect)")
    typer.echo(f"report:   {delivery.report}")


def _row(trial: Trial, result: StudyResult) -> list[str]:
    """Speed and milliseconds of one run: of a finalist the last, which is quoted below, else the candidate's own trial.

    On a busy machine runs differ more than candidates: the original's time is that of the same run.
    """
    figures = ["-"] * 4
    if (t := result.final.get(trial.key, trial.timings)) is not None:
        figures = [f"{t.ratio:.2f}x", f"{t.median:.3f}", f"{t.original_median:.3f}", f"{trial.size_bytes / 1e6:.2f}"]
    mark = "*" if trial.key == result.winner.key else " "
    return [f"{mark} {trial.recipe}", *figures, trial.outcome.value if trial.ok else trial.status.value]


def _by_runtime(delivery: Delivery) -> list[str]:
    """What each runtime got that an artifact was asked for."""
    result = delivery.result
    lines = []
    for claim in result.claims:
        if claim.runtime:
            told, verdict = result.told_from(claim), claim.own_verdict
            outcome = verdict.outcome.value if verdict is not None else "not assessed"
            said = "UNPROVEN" if claim.unproven else "lossless" if claim.winner.lossless else outcome
            lines.append(f"{claim.runtime}: {claim.winner.recipe}, {said}, {gains(told)}")
            lines.append(f"  {delivery.artifacts[claim.runtime]}, digest {delivery.digests[claim.runtime]}")
    return lines + [f"{item.runtime}: nothing is delivered: {item.reason}" for item in result.not_delivered]


def gains(result: StudyResult) -> str:
    """Speed with its interval, and size, of what was delivered against the original."""
    from primum.cli.console import times

    lower, upper = result.speedup_interval
    speed = times(result.speedup, "faster", "slower", "as fast")
    of = "" if speed.endswith("faster") else "speed-up "
    size = times(result.size_ratio, "smaller", "larger", "the same size")
    if result.winner.guard and result.winner.guard.reference_bytes:
        whole = times(result.size_ratio_with_reference, "smaller", "larger", "the same size")
        size += f" ({whole} with the original that it carries)"
    return f"{speed} ({of}{lower:.2f} to {upper:.2f}), {size}"


def _guard_lines(guard: GuardResult) -> list[str]:
    found, band = guard.outcome, guard.band
    value = band.value or 0.0
    line = (
        f"guard:    band {value:.4g} (epsilon {band.epsilon:.4g}), {found.deferred:.1%} of {guard.part} cases deferred"
        f"; decisions changed without it {found.flips_unguarded}, with it {found.flips_left}, of {found.n} cases"
    )
    return [line, *([band.note] if band.note else []), *guard.prior]
