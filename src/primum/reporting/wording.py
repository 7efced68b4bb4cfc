"""Plain words for outcomes, endpoints, recipes and numbers of cases."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import isfinite

from primum.config import MARGINS_OF, kind_of
from primum.reporting import numbers as n
from primum.reporting.blocks import Cell
from primum.study.result import StudyResult
from primum.study.trial import Trial
from primum.task import Task
from primum.validation.cases import PATIENT
from primum.validation.verdict import Basis, Component, Outcome, Verdict

DEFAULT = "default, not confirmed by a clinician"
ENDPOINTS = {
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "accuracy": "Accuracy",
    "auroc": "AUROC",
    "brier": "Brier score",
    "kappa": "Kappa, quadratic weights",
    "error": "Mean absolute error",
    "agreement": "Agreement with the original",
    "dice": "Dice",
}
GLYPHS = {
    Outcome.NON_INFERIOR: "✓",
    Outcome.INFERIOR: "✗",
    Outcome.INCONCLUSIVE: "?",
    Outcome.NOT_ASSESSED: "–",
    Outcome.INSUFFICIENT: "○",
}
WORDS = {
    Outcome.NON_INFERIOR: "Non-inferior",
    Outcome.INFERIOR: "Inferior",
    Outcome.INCONCLUSIVE: "Inconclusive",
    Outcome.NOT_ASSESSED: "Not assessed",
    Outcome.INSUFFICIENT: "Insufficient",
}
TONES = {
    Outcome.NON_INFERIOR: "good",
    Outcome.INFERIOR: "bad",
    Outcome.INCONCLUSIVE: "warn",
    Outcome.NOT_ASSESSED: "muted",
    Outcome.INSUFFICIENT: "bad",
}
RUNTIMES = {
    "torch": "PyTorch",
    "torchscript": "TorchScript",
    "inductor": "PyTorch compiled",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
}
_BASES = {
    Basis.STATISTICAL: "statistical",
    Basis.NUMERIC: "numeric (lossless)",
    Basis.IDENTITY: "identical decisions",
}
_MOST_NEEDED = 3
_GROUP = re.compile(r"subgroup .*?: [A-Z_]+: ")
_CLAUSES = 2
"""Reasons of one group that are said; report.json holds all."""


def decisions(verdict: Verdict) -> tuple[int, str]:
    """How many decisions (or values, or masks) the cases hold, and what one is called."""
    several = verdict.n * max(len(verdict.classes), 1)
    if verdict.task is Task.MULTILABEL:
        return several - int(verdict.beside.get("unknown_labels", 0)), "label decision"
    if verdict.task is Task.REGRESSION:
        return several, "value"
    if verdict.task is Task.SEGMENTATION:
        return verdict.n * len(verdict.components), "mask"
    return verdict.n, "case"


def outcome_cell(outcome: Outcome, note: str = "") -> Cell:
    """An outcome as glyph and word."""
    return Cell(f"{GLYPHS[outcome]}{n.NBSP}{WORDS[outcome]}", TONES[outcome], note)


def basis_word(basis: Basis) -> str:
    """What an outcome rests on."""
    return _BASES[basis]


def endpoint(name: str, task: Task = Task.BINARY) -> str:
    """An endpoint's name in a heading: "Sensitivity, class melanoma" of "sensitivity[melanoma]"."""
    kind, _, about = name.partition("[")
    word = ENDPOINTS.get(kind, kind)
    if kind == "brier" and task is Task.ORDINAL:
        word = "Ranked probability score"
    if not about:
        pooled = task is Task.MULTILABEL and kind != "auroc"
        return f"{word}, all labels together" if pooled else n.clean(word)
    return n.clean(f"{word}, {view(about.removesuffix(']'), task)}")


def said(reason: str, task: Task) -> str:
    """One of the gate's reasons with its endpoint's name readable."""
    group = _GROUP.match(reason)
    head, clauses = (group[0], reason[group.end() :].split("; ")) if group else ("", [reason])
    more = [f"and {len(clauses) - _CLAUSES} more"] if group and len(clauses) > _CLAUSES else []
    kept = clauses[:_CLAUSES] if group else clauses
    return n.clean(head + "; ".join([*(_readable_clause(clause, task) for clause in kept), *more]))


def inline(text: str, task: Task) -> str:
    """A sentence with the names of endpoints in it readable: "sensitivity of class melanoma"."""

    def readable_name(found: re.Match[str]) -> str:
        return f"{found[1]} of {view(found[2], task)}" if found[1] in ENDPOINTS else found[0]

    return n.clean(re.sub(r"\b([a-z]+)\[([^\[\]]+)\]", readable_name, text))


def _readable_clause(clause: str, task: Task) -> str:
    name, colon, rest = clause.partition(": ")
    known = colon and kind_of(name) in ENDPOINTS and (name == kind_of(name) or name.endswith("]"))
    return f"{endpoint(name, task)}: {rest}" if known else clause


def view(name: str, task: Task) -> str:
    """A class, cut, label, output or structure as one names it in a sentence."""
    if task is Task.ORDINAL:
        return n.clean(f"at least {name.removeprefix('>= ')}")
    return n.clean(f"class {name}" if task is Task.MULTICLASS else name)


def readable(trial: Trial) -> str:
    """A recipe in words: "OpenVINO INT8"; the recipe's own line where it is not of the known kind."""
    target = trial.recipe_data.get("target")
    if not isinstance(target, dict) or "runtime" not in target:
        return n.clean(trial.recipe)
    words = f"{RUNTIMES.get(target['runtime'], target['runtime'])} {str(target.get('precision', '')).upper()}"
    if target.get("channels_last"):
        words += ", channels last"
    if target.get("threads"):
        words += f", {n.plural(int(target['threads']), 'thread')}"
    steps = [next(iter(t)) for t in trial.recipe_data.get("techniques", ()) if t]
    if trial.recipe.endswith(" guarded"):
        words += ", guarded"
    return n.clean(" + ".join([*(str(s).replace("_", " ") for s in steps), words.strip()]))


def name_of(result: StudyResult, recipe: str) -> str:
    """The readable name of a recipe's line or key."""
    for trial in (result.baseline, *result.trials, result.winner):
        if recipe in (trial.recipe, trial.key):
            return readable(trial)
    return n.clean(recipe)


def delivered_verdict(result: StudyResult) -> Verdict | None:
    """What is known of the artifact that is delivered: the deciding verdict where it is its own."""
    return result.own_verdict


def standing(result: StudyResult, trial: Trial) -> tuple[Verdict | None, str]:
    """What a trial's outcome is in the end, and on which part: confirmation where it was opened for it."""
    for opened in result.openings:
        if opened.recipe == trial.recipe:
            return opened.verdict, "confirmation"
    return trial.verdict, "selection"


def part_judged(result: StudyResult) -> str:
    """The part of the data that the deciding verdict rests on."""
    return "confirmation" if any(c.recipe == result.verdict_recipe for c in result.confirmations) else "selection"


def units(verdict: Verdict) -> str:
    """For example "843 patients"; where no patient is named, the cases that are not copies of one another."""
    if verdict.unit == PATIENT:
        return n.plural(verdict.n_patients, PATIENT)
    return n.plural(verdict.n_patients, "distinct case" if verdict.copies else "case")


def units_title(verdict: Verdict) -> str:
    """The title of a column that counts what `units` does."""
    return "#Patients" if verdict.unit == PATIENT else "#Distinct"


def cases_of(verdict: Verdict) -> str:
    """For example "900 cases of 843 patients"; where no patient is named "900 cases, 843 of them distinct"."""
    cases = n.plural(verdict.n, "case")
    if verdict.unit == PATIENT:
        return f"{cases} of {n.plural(verdict.n_patients, PATIENT)}"
    return f"{cases}, {n.count(verdict.n_patients)} of them distinct" if verdict.copies else cases


def would_decide(part: Component, verdict: Verdict) -> str:
    """For example "about 189 positives", "" where no number is known."""
    if part.n_would_decide is None:
        return ""
    about = "at least" if part.outcome is Outcome.INSUFFICIENT else "about"
    one, many = _noun(part, verdict.task)
    if verdict.clustered:
        unit = PATIENT if verdict.unit == PATIENT else "distinct case"
        one = unit if one == "case" else f"{unit} with a {one}"
        many = one.replace(unit, f"{unit}s", 1)
    return f"{about} {n.plural(part.n_would_decide, one, many)}"


def _noun(part: Component, task: Task) -> tuple[str, str]:
    """What the endpoint counts, one and many."""
    kind = kind_of(part.name)
    if kind == "auroc" and "smaller class" in part.method:
        return "case of the smaller class", "cases of the smaller class"
    if kind not in ("sensitivity", "specificity"):
        return "case", "cases"
    holds = kind == "sensitivity"
    if not part.view:
        one = "positive" if holds else "negative"
        return (f"{one} case", f"{one} cases") if task is Task.MULTILABEL else (one, f"{one}s")
    name = n.clean(part.view.removeprefix(">= "))
    of = {
        Task.MULTICLASS: f"of class {name}" if holds else f"of another class than {name}",
        Task.ORDINAL: f"of at least {name}" if holds else f"below {name}",
    }.get(task, f"with {name}" if holds else f"without {name}")
    return f"case {of}", f"cases {of}"


def defaults(result: StudyResult) -> tuple[str, ...]:
    """Endpoints judged at a margin that nobody stated."""
    margins = result.policy.margins
    return tuple(k for k in MARGINS_OF[result.model.task] if not margins.given(k) and isfinite(margins.value(k)))


def unstated(result: StudyResult) -> tuple[str, ...]:
    """Endpoints without any margin, which nothing can pass."""
    policy = result.policy
    kinds = [k for k in MARGINS_OF[result.model.task] if not (k == "error" and policy.error_margins)]
    return tuple(k for k in kinds if not isfinite(policy.margins.value(k)))


def margin_name(kind: str, task: Task) -> str:
    """The kind of endpoint that a margin is for; the accuracy of several classes has the sensitivity's."""
    several = task in (Task.MULTICLASS, Task.ORDINAL) and kind == "sensitivity"
    word = "Ranked probability score" if kind == "brier" and task is Task.ORDINAL else ENDPOINTS[kind]
    return f"{word} and accuracy" if several else word


def most_needed(parts: Sequence[Component], verdict: Verdict) -> list[str]:
    """What would decide these endpoints, by kind of case the largest number; of many kinds the largest three."""
    largest: dict[str, Component] = {}
    for part in parts:
        if part.n_would_decide is not None:
            noun = _noun(part, verdict.task)[0]
            held = largest.get(noun)
            if held is None or (held.n_would_decide or 0) < part.n_would_decide:
                largest[noun] = part
    ranked = sorted(largest.values(), key=lambda p: -(p.n_would_decide or 0))
    others = len(ranked) - _MOST_NEEDED
    each = "each of " if others > 1 else ""
    kinds = n.plural(others, "other kind", "other kinds")
    more = [f"at most the smallest of these numbers for {each}{kinds} of case"] if others > 0 else []
    return [*(would_decide(p, verdict) for p in verdict_order(ranked[:_MOST_NEEDED])), *more]


def verdict_order(parts: Sequence[Component]) -> list[Component]:
    """By kind of endpoint, so that positives come before negatives."""
    order = list(ENDPOINTS)
    return sorted(parts, key=lambda p: order.index(kind_of(p.name)) if kind_of(p.name) in order else len(order))


def times(value: float, more: str, less: str, same: str) -> str:
    """For example "9.2× faster"."""
    if not isfinite(value) or value <= 0:
        return f"not known whether {more}"
    if f"{value:.2f}" == "1.00":
        return same
    return f"{n.ratio(value)} {more}" if value > 1 else f"{n.ratio(1 / value)} {less}"


def sentence(text: str) -> str:
    """With a capital letter."""
    return text[:1].upper() + text[1:]
