"""MODEL_CARD.md: the delivered model in the form of Hugging Face: front matter with a model index, then plain words.

Model cards after Mitchell et al., "Model Cards for Model Reporting" (FAT* 2019).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import isfinite
from typing import Any

import yaml

from primum.reporting import numbers as n
from primum.reporting import wording as w
from primum.reporting.delivered import Delivered, Measured, measured
from primum.reporting.guard import how_fixed, how_sure
from primum.reporting.headline import banners, headline
from primum.reporting.mlbom import limitations
from primum.study.result import StudyResult
from primum.task import Task
from primum.validation.verdict import Basis, Verdict

NAME = "MODEL_CARD.md"
_OWNER = "*To be filled in by the owner of the model.*"
_MARKUP = re.compile(r"([\\`*_{}\[\]#|~$])")
_TABLE_AXES, _IMAGE_AXES = 1, 3


def model_card(result: StudyResult, made: Delivered) -> bytes:
    """The card in UTF-8. Figures that are not finite are left out of the front matter and are dashes in the text."""
    front = yaml.safe_dump(_front(result, made), sort_keys=False, allow_unicode=True, width=1000)
    sections = [
        f"# {_text(result.model.name)}: {_text(w.readable(result.winner))}",
        *_loud(result),
        "## What it is",
        _what(result),
        "## Intended use",
        f"Users: {_OWNER}",
        f"Use: {_OWNER}",
        f"Out of scope: {_OWNER}",
        "The optimization changes no intended use: what holds for the original holds here, at most.",
        "## How it was made",
        _bullets(_making(result)),
        *_results(result, made),
        "## Changed decisions",
        _flips(made.verdict),
        "## Speed and size",
        _bullets(_speed(result)),
        *_guard(result),
        "## Limits",
        _bullets([*limitations(result, made), *result.model.notes, *result.data.notes]),
        "This card is evidence for a reviewer. It is not a clearance, an approval or a certificate.",
    ]
    return "\n\n".join([f"---\n{front}---", *sections, ""]).encode()


def _front(result: StudyResult, made: Delivered) -> dict[str, Any]:
    target = result.winner.recipe_data.get("target", {})
    words = ("medical", "primum", target.get("precision", ""), made.verdict.outcome.value if made.verdict else "")
    return {
        "license": "unknown",
        "library_name": n.clean(target.get("runtime", "primum")),
        "tags": [n.clean(word).lower() for word in (*words, *_loud_tags(result)) if word],
        "model-index": [{"name": n.clean(result.model.name), "results": _index(result, made)}],
    }


def _loud_tags(result: StudyResult) -> list[str]:
    return ["unproven"] * result.unproven + ["synthetic-data"] * result.data.synthetic


def _index(result: StudyResult, made: Delivered) -> list[dict[str, Any]]:
    """One result for all cases and one for each group: the delivered model's figures, with what they were judged by."""
    kind = _task(result.model.task, len(result.model.input_shape))
    by_group: dict[str, list[dict[str, Any]]] = {}
    for item in measured(made.verdict):
        by_group.setdefault(item.group, []).extend(_metric(item, made.verdict))
    return [
        {
            "task": {"type": kind},
            "dataset": {
                "type": "private",
                "name": n.clean(result.data.name),
                "config": n.clean(group) or "all cases",
                "split": made.part,
            },
            "metrics": metrics,
        }
        for group, metrics in by_group.items()
        if metrics
    ]


def _task(task: Task, axes: int) -> str:
    """The task as Hugging Face names it, by what goes in: a row of a table, an image, or something else."""
    if task is Task.SEGMENTATION:
        return "image-segmentation"
    if axes == _TABLE_AXES:
        return "tabular-regression" if task is Task.REGRESSION else "tabular-classification"
    return "image-classification" if axes == _IMAGE_AXES and task is not Task.REGRESSION else "other"


def _metric(item: Measured, verdict: Verdict | None) -> list[dict[str, Any]]:
    part = item.part
    if verdict is None or not isfinite(part.candidate):
        return []
    figures = {
        "original": part.reference,
        "difference": part.difference,
        "lower": part.lower,
        "upper": part.upper,
        "margin": part.margin,
        "confidence": verdict.confidence,
    }
    held: dict[str, Any] = {name: float(value) for name, value in figures.items() if isfinite(value)}
    held |= {"margin_confirmed": part.margin_given, "outcome": part.outcome.value, "cases": part.n}
    name = n.clean(part.name)
    return [{"type": name, "value": float(part.candidate), "name": f"{name} of the delivered model", "args": held}]


def _loud(result: StudyResult) -> list[str]:
    return [f"> **{banner.word}** {_text(banner.text)}" for banner in banners(result)]


def _what(result: StudyResult) -> str:
    head = headline(result)
    return " ".join(_text(sentence) for sentence in (f"{head.title}.", *head.lead))


def _making(result: StudyResult) -> list[str]:
    trial, model = result.winner, result.model
    techniques = [f"{name} {settings}" for t in trial.recipe_data.get("techniques", ()) for name, settings in t.items()]
    return [
        f"Original: {model.name}, {n.count(model.parameters)} parameters, SHA-256 {model.digest}",
        f"Recipe: {trial.recipe}",
        f"Techniques: {'; '.join(techniques) or 'none'}",
        f"Ran as: {trial.precision_proven or 'unknown precision'} on {trial.provider or 'unknown provider'}, "
        f"{n.plural(trial.threads, 'thread')}, read back from the runtime",
        f"Tools: primum {result.version}, "
        + ", ".join(f"{name} {version}" for name, version in result.machine.libraries.items()),
        *(f"Note: {note}" for note in trial.notes),
    ]


def _results(result: StudyResult, made: Delivered) -> list[str]:
    verdict = made.verdict
    if verdict is None:
        return ["## Results", "Not assessed."]
    intro = (
        f"Original against delivered on the same cases of the {made.part} part: {w.cases_of(verdict)}. "
        f"Outcome: **{verdict.outcome.value}**, "
        f"basis {w.basis_word(verdict.basis)}. A negative difference is worse; intervals at "
        f"{n.confidence(verdict.confidence)}."
    )
    if verdict.basis is Basis.NUMERIC:
        intro += " It passes because it gives the same answers; the table says what these cases alone would show."
    overall = [_row(w.endpoint(i.part.name, verdict.task), i) for i in measured(verdict) if i.level is None]
    in_groups = [i for i in measured(verdict) if i.level is not None]
    groups = [_row(f"{i.group}: {w.endpoint(i.part.name, verdict.task)}", i) for i in in_groups]
    out = ["## Results", intro, _table(overall), "## Results by group"]
    out.append(_table(groups) if groups else "The data name no groups, so nothing is known of any.")
    if verdict.insufficient:
        listed = ", ".join(_text(name) for name in verdict.insufficient)
        out.append(f"**INSUFFICIENT**, too few cases to decide, which is never a pass: {listed}.")
    return out


def _row(name: str, item: Measured) -> list[str]:
    part = item.part
    margin = n.margin(part.name, part.margin) + ("" if part.margin_given else f" ({w.DEFAULT})")
    return [
        name,
        n.level(part.name, part.reference),
        n.level(part.name, part.candidate),
        n.difference(part.name, part.difference),
        n.interval(part.name, part.lower, part.upper),
        margin,
        n.count(part.n),
        part.outcome.value,
    ]


def _flips(verdict: Verdict | None) -> str:
    if verdict is None:
        return "Not known."
    found = verdict.agreement
    told = (
        f"{n.count(found.flips)} of {n.plural(verdict.n, 'case')} are decided differently from the original: "
        f"{n.count(found.harmful)} harmful (the original was right), {n.count(found.beneficial)} beneficial."
    )
    listed = " flips.csv lists each." if found.flips else ""
    broken = f" {n.plural(found.not_finite, 'output')} not a number, counted as wrong." if found.not_finite else ""
    return told + listed + broken


def _guard(result: StudyResult) -> list[str]:
    """What the guard was set to and what it does; without these figures nobody can repeat or contest its bound."""
    guard = result.guard
    if guard is None:
        return []
    band, found = guard.band, guard.outcome
    mode = "on average over draws of guard patients (no delta)" if band.delta is None else f"delta {band.delta:g}"
    rows = [
        f"Bound: epsilon {band.epsilon:.4g}, {mode}: at most {n.percent(band.epsilon)} of patients have an undetected "
        f"change, {how_sure(band)}",
        f"By class: {'yes, within each class that the original calls' if band.by_class else 'no, over all patients'}",
        f"Strict: {'yes, the score itself is bounded' if band.strict else 'no, the decision is bounded'}",
        f"Band: {n.small(band.value or 0.0)} from a decision boundary, set on "
        f"{n.plural(band.n_patients, 'guard patient')}",
        f"Deferred to the original: {n.percent(found.deferred)} of the {n.plural(found.n, 'case')} of the {guard.part} "
        f"part, on which {n.count(found.flips_left)} of {n.plural(found.flips_unguarded, 'changed decision')} are left",
        how_fixed(guard),
    ]
    return ["## Guard", _bullets(rows)]


def _speed(result: StudyResult) -> list[str]:
    new, old = result.final.get(result.winner.key), result.final.get(result.baseline.key)
    out = [
        f"Size: {n.size(result.baseline.size_bytes)} → {n.size(result.winner.size_bytes)}",
        f"Machine: {result.machine.cpu}, {n.plural(result.machine.cores, 'core')}",
    ]
    if new is None or old is None:
        return ["Speed: not measured", *out]
    return [
        f"Median latency of one case: {n.milliseconds(old.p50)} → {n.milliseconds(new.p50)}",
        f"Speed-up: {n.ratio(result.speedup)}, interval {n.span(*result.speedup_interval)}",
        *(["The machine was busy while it was timed: measure again"] if new.contended else []),
        *out,
    ]


def _table(rows: Sequence[Sequence[str]]) -> str:
    titles = ("Endpoint", "Original", "Delivered", "Difference", "Interval", "Margin", "Cases", "Outcome")
    lines = [titles, ["---"] + ["---:"] * 3 + ["---"] * 2 + ["---:", "---"]]
    lines += [[_text(cell) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _bullets(items: Sequence[str]) -> str:
    return "\n".join(f"- {_text(item)}" for item in items)


def _text(text: str) -> str:
    """As plain text in Markdown: a name can neither mark up, link nor break out of its cell."""
    escaped = n.clean(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKUP.sub(r"\\\1", escaped)
