"""Options that several commands share."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from math import inf
from pathlib import Path
from typing import Annotated, Any

import typer

from primum.errors import InputError
from primum.task import Task

_ACTIONS = "[{name: home, at: 0}, {name: clinic, at: 0.3}]"
_LIST = 'a,"b, c"'
_AMOUNTS = "NAME=NUMBER,…"
_OF_TASK = {
    "sensitivity": ("--margin", "a classification"),
    "specificity": ("--margin", "a classification"),
    "auroc": ("--auroc-margin", "a classification"),
    "brier": ("--brier-margin", "a classification"),
    "kappa": ("--kappa-margin", "an ordinal"),
    "dice": ("--dice-margin", "a segmentation"),
    "error": ("--error-margin", "a regression"),
    "tolerance": ("--tolerance", "a regression"),
}
"""Kind of a margin -> its flag, and whose it is."""

Model = Annotated[
    str, typer.Option("--model", "-m", help="module:factory (with --checkpoint), FILE.onnx, or a TorchScript FILE.")
]
Checkpoint = Annotated[Path | None, typer.Option(help="Weights: .safetensors, .pt, .pth, or a Lightning .ckpt.")]
Data = Annotated[
    Path,
    typer.Option(
        "--data",
        "-d",
        help="Folder of class folders (or .zip), CSV manifest of images, CSV or Parquet table of cases, .npz.",
    ),
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for the result; an unfinished study there goes on.")]
TaskName = Annotated[
    Task | None,
    typer.Option("--task", help="What the model decides; default: told from the labels (classes or findings only)."),
]
Classes = Annotated[
    str,
    typer.Option(
        help=f"Names in the order of the model's outputs, separated by commas, one that holds a comma in double "
        f"quotes ({_LIST}); default: sorted labels."
    ),
]
LabelColumn = Annotated[str, typer.Option(help="Column (or .npz key) with the label, or with the path of the mask.")]
LabelColumns = Annotated[str, typer.Option(help="Columns of several findings or numbers a case, separated by commas.")]
FeatureColumns = Annotated[
    str,
    typer.Option(help="Numeric columns of a table whose rows are the cases; a preprocessing of kind table names them."),
]
PathColumn = Annotated[str, typer.Option(help="Manifest column with the image path, or .npz key of the inputs.")]
IdColumn = Annotated[str | None, typer.Option(help="Column that names the case; default: its path, or row number.")]
PatientColumn = Annotated[str | None, typer.Option(help="Column that names the patient.")]
Independent = Annotated[
    bool, typer.Option("--independent", help="Declare that no patient has two cases; copies of one input count once.")
]
GroupColumns = Annotated[str, typer.Option(help="Columns of subgroups, separated by commas.")]
ImageRoot = Annotated[Path | None, typer.Option(help="Folder or .zip that manifest paths are relative to.")]
MaskRoot = Annotated[Path | None, typer.Option(help="Folder or .zip that mask paths are relative to.")]
PreprocessingFile = Annotated[
    Path | None,
    typer.Option("--preprocessing", help="YAML: kind image (color, size, crop, scale, mean, std), table or array."),
]
Threshold = Annotated[float, typer.Option(help="Decision threshold on P(positive).")]
PositiveClass = Annotated[str | None, typer.Option(help="Label of the diseased class; default: the second.")]


def _margin(flag: str, text: str, below: float = 1) -> Any:
    """An option that takes a margin; InputError on what is none (also NaN and infinity)."""

    def checked(value: float | None) -> float | None:
        if value is not None and not 0 < value < below:
            raise InputError(f"{flag} {value}: a margin must be a finite number greater than 0 and less than {below:g}")
        return value

    return typer.Option(flag, help=text, callback=checked)


Margin = Annotated[float | None, _margin("--margin", "Margin for sensitivity and specificity.")]
AurocMargin = Annotated[float | None, _margin("--auroc-margin", "Margin for the AUROC.")]
BrierMargin = Annotated[float | None, _margin("--brier-margin", "Margin for the Brier score.")]
KappaMargin = Annotated[float | None, _margin("--kappa-margin", "Margin for the weighted kappa (ordinal).", 2)]
DiceMargin = Annotated[float | None, _margin("--dice-margin", "Margin for the mean Dice (segmentation).")]
ErrorMargin = Annotated[
    str | None,
    typer.Option(
        help=f"Margin for the mean absolute error (regression), in units of the label; of several outputs {_AMOUNTS}."
    ),
]
Tolerance = Annotated[
    str | None,
    typer.Option(
        help=f"Difference between both models that changes no care (regression); of several outputs {_AMOUNTS}."
    ),
]
Actions = Annotated[
    Path | None,
    typer.Option(
        "--actions",
        help="YAML file with the list of clinical actions, mildest first, each with the score where it begins, the "
        f"first at 0: {_ACTIONS}.",
    ),
]
HoldSpecificity = Annotated[
    float | None, typer.Option(help="Freeze the threshold where the original has this specificity.")
]
HoldSensitivity = Annotated[
    float | None, typer.Option(help="Freeze the threshold where the original has this sensitivity.")
]
Guard = Annotated[
    str | None,
    typer.Option(help="Guarded prediction: the bound EPSILON on changed decisions a patient, 'smallest', or 'off'."),
]
GuardDelta = Annotated[
    str | None, typer.Option(help="The bound holds with confidence 1 - DELTA (default 0.05), or on 'average'.")
]
GuardOverall = Annotated[bool, typer.Option("--guard-overall", help="Hold the bound overall, not within each class.")]
GuardStrict = Annotated[
    bool, typer.Option("--guard-strict", help="Bound the change of the score, not of the decision.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def policy(
    threshold: float,
    margin: float | None,
    auroc_margin: float | None,
    brier_margin: float | None,
    waived: tuple[str, ...] = (),
    *,
    kappa_margin: float | None = None,
    dice_margin: float | None = None,
    error_margin: str | None = None,
    tolerance: str | None = None,
    actions: Path | None = None,
    hold_specificity: float | None = None,
    hold_sensitivity: float | None = None,
) -> Any:
    """A ClinicalPolicy from the flags; InputError on a value out of range."""
    from pydantic import ValidationError

    from primum.config import ClinicalPolicy, Margins, explain

    held = operating_point(hold_specificity, hold_sensitivity)
    error, error_margins = amounts("--error-margin", error_margin)
    tolerated, tolerances = amounts("--tolerance", tolerance)
    try:
        margins = Margins(
            sensitivity=margin,
            specificity=margin,
            auroc=auroc_margin,
            brier=brier_margin,
            kappa=kappa_margin,
            dice=dice_margin,
            error=error,
        )
        return ClinicalPolicy.model_validate(
            {
                "threshold": threshold,
                "margins": margins,
                "waived_subgroups": waived,
                "tolerance": tolerated,
                "error_margins": error_margins,
                "tolerances": tolerances,
                "actions": read_actions(actions) if actions else (),
                "operating_point": held,
            }
        )
    except ValidationError as error:
        raise InputError(explain(error)) from error


def demand_of_task(task: Task | None, given: Mapping[str, object]) -> None:
    """InputError on margins (by their kind) and a tolerance that were given and say nothing of the task.

    None: of classes or findings, which labels tell by themselves and which have the same margins.
    """
    from primum.config import MARGINS_OF

    own = {*MARGINS_OF[task or Task.BINARY], *(["tolerance"] if task is Task.REGRESSION else [])}
    for kind in [kind for kind, value in given.items() if value is not None and kind not in own]:
        flag, whose = _OF_TASK[kind]
        if task is None:
            raise InputError(f"{flag} is for {whose} task: give --task {whose.split()[1]}, or leave it out")
        raise InputError(f"{flag} is for {whose} task, not {task.value}: leave it out")


def operating_point(specificity: float | None, sensitivity: float | None) -> dict[str, float] | None:
    """What the hold flags ask, as the policy takes it; InputError where both are given."""
    if specificity is not None and sensitivity is not None:
        raise InputError("--hold-specificity and --hold-sensitivity exclude each other: a threshold holds one rate")
    if specificity is not None:
        return {"specificity": specificity}
    return {"sensitivity": sensitivity} if sensitivity is not None else None


def read_actions(path: Path) -> list[Any]:
    """The action map of a YAML file: a list of names with the score where each begins. InputError on anything else."""
    from pydantic import ValidationError

    from primum.config import ClinicalPolicy, explain, read_mapping

    shape = f"expected a list, mildest action first, for example {_ACTIONS}"
    try:
        found = read_mapping(path)
        ClinicalPolicy.model_validate({"actions": found})
    except OSError as error:
        raise InputError(f"--actions {path}: cannot be read: {error.strerror}; {shape}") from error
    except InputError as error:
        raise InputError(f"--actions {error}; {shape}") from error
    except ValidationError as error:
        raise InputError(f"--actions {path}: {explain(error)}; {shape}") from error
    if not isinstance(found, list) or not found:
        raise InputError(f"--actions {path}: holds no action; {shape}")
    return found


def listed(text: str) -> tuple[str, ...]:
    """Names separated by commas, as one line of CSV: one that holds a comma stands in double quotes. InputError on
    quotes that do not close."""
    try:
        parts = next(csv.reader([text], skipinitialspace=True, strict=True), [])
    except csv.Error as error:
        raise InputError(
            f"the list {text!r} cannot be read ({error}): separate names by commas, and put one that holds a comma in "
            f"double quotes: {_LIST}"
        ) from error
    return tuple(part.strip() for part in parts if part.strip())


def amounts(flag: str, text: str | None) -> tuple[float | None, dict[str, float]]:
    """A number for every output, and those of single ones: "2", "age=2,weight=0.5", or "2,weight=0.5". InputError on
    anything else, and on numbers that are not finite and greater than 0."""
    everyone, own = None, dict[str, float]()
    for part in listed(text or ""):
        name, named, number = part.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            value = 0.0
        if not 0 < value < inf:
            raise InputError(f"{flag} {part}: give a finite number greater than 0, of several outputs {_AMOUNTS}")
        if named and name.strip() not in own:
            own[name.strip()] = value
        elif not named and everyone is None:
            everyone = value
        else:
            raise InputError(f"{flag} {text}: one number for each output, and one for the others")
    if text is not None and everyone is None and not own:
        raise InputError(f"{flag}: give a finite number greater than 0, of several outputs {_AMOUNTS}")
    return everyone, own


def guard_policy(epsilon: str | None, delta: str | None, overall: bool, strict: bool) -> dict[str, Any] | str | None:
    """What the guard flags ask, as the configuration takes it; None where none was given. InputError on nonsense."""
    if epsilon is None and (delta is not None or overall or strict):
        raise InputError("--guard-delta, --guard-overall and --guard-strict belong to --guard: give an EPSILON")
    if epsilon is None or epsilon == "off":
        return epsilon
    return {
        "epsilon": None if epsilon == "smallest" else _number("--guard", epsilon, "'smallest' or 'off'"),
        "delta": None
        if delta == "average"
        else 0.05
        if delta is None
        else _number("--guard-delta", delta, "'average'"),
        "by_class": not overall,
        "strict": strict,
    }


def _number(flag: str, text: str, others: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise InputError(f"{flag} {text}: give a number, or {others}") from error


def numbers(flag: str, text: str) -> tuple[float, ...]:
    """Comma-separated numbers; InputError on anything else."""
    return tuple(_number(flag, part, "several, separated by commas") for part in listed(text))
