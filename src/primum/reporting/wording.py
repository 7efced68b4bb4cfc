"""Plain words for outcomes, recipes and the headline."""

from __future__ import annotations

from math import isfinite

from primum.reporting import numbers as n
from primum.reporting.blocks import Banner, Cell, Headline
from primum.study.result import StudyResult
from primum.study.trial import Trial
from primum.validation.verdict import Basis, Component, Outcome, SubgroupVerdict, Verdict

DEFAULT = "default, not confirmed by a clinician"
ENDPOINTS = {"sensitivity": "Sensitivity", "specificity": "Specificity", "auroc": "AUROC", "brier": "Brier score"}
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
_RUNTIMES = {
    "torch": "PyTorch",
    "torchscript": "TorchScript",
    "inductor": "PyTorch compiled",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
}
_NOUNS = {"sensitivity": "positive", "specificity": "negative", "auroc": "case", "brier": "case"}
_BASES = {
    Basis.STATISTICAL: "statistical",
    Basis.NUMERIC: "numeric (lossless)",
    Basis.IDENTITY: "identical ranking",
}
_HEAD_REASONS = 3


def outcome_cell(outcome: Outcome, note: str = "") -> Cell:
    """An outcome as glyph and word."""
    return Cell(f"{GLYPHS[outcome]}{n.NBSP}{WORDS[outcome]}", TONES[outcome], note)


def basis_word(basis: Basis) -> str:
    """What an outcome rests on."""
    return _BASES[basis]


def endpoint(name: str) -> str:
    """An endpoint's name in a heading: "Sensitivity, melanoma" of "sensitivity[melanoma]"."""
    kind, _, about = name.partition("[")
    word = ENDPOINTS.get(kind, kind)
    return n.clean(f"{word}, {about.removesuffix(']')}" if about else word)


def readable(trial: Trial) -> str:
    """A recipe in words: "OpenVINO INT8"; the recipe's own line where it is not of the known kind."""
    target = trial.recipe_data.get("target")
    if not isinstance(target, dict) or "runtime" not in target:
        return n.clean(trial.recipe)
    words = f"{_RUNTIMES.get(target['runtime'], target['runtime'])} {str(target.get('precision', '')).upper()}"
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
    return result.verdict if result.verdict_recipe == result.winner.recipe else result.winner.verdict


def standing(result: StudyResult, trial: Trial) -> tuple[Verdict | None, str]:
    """What a trial's outcome is in the end, and on which part: confirmation where it was opened for it."""
    for opened in result.confirmations:
        if opened.recipe == trial.recipe:
            return opened.verdict, "confirmation"
    return trial.verdict, "selection"


def part_judged(result: StudyResult) -> str:
    """The part of the data that the deciding verdict rests on."""
    return "confirmation" if any(c.recipe == result.verdict_recipe for c in result.confirmations) else "selection"


def units(verdict: Verdict) -> str:
    """For example "843 patients"."""
    if verdict.unit == "patient":
        return n.plural(verdict.n_patients, "patient")
    return n.plural(verdict.n, "case")


def would_decide(part: Component, clustered: bool) -> str:
    """For example "about 189 positives", "" where no number is known."""
    if part.n_would_decide is None:
        return ""
    about = "at least" if part.outcome is Outcome.INSUFFICIENT else "about"
    noun = _NOUNS.get(part.name, "case")
    if clustered:
        noun = "patients" if noun == "case" else f"patients with a {noun} case"
        return f"{about} {n.count(part.n_would_decide)} {noun}"
    return f"{about} {n.plural(part.n_would_decide, noun)}"


def defaults(result: StudyResult) -> tuple[str, ...]:
    """Endpoints judged at a margin that nobody stated."""
    return tuple(name for name in ENDPOINTS if not result.policy.margins.given(name))


def banners(result: StudyResult) -> tuple[Banner, ...]:
    """What no reader may miss."""
    out = []
    if result.data.synthetic:
        text = "These cases were made by a program. Nothing here says anything about real patients."
        out.append(Banner("bad", "SYNTHETIC DATA", text))
    if result.unproven:
        text = (
            "This model was asked for although it was not shown to be no worse than the original. "
            "It may harm; these data cannot tell."
        )
        out.append(Banner("bad", "UNPROVEN", text))
    names = defaults(result)
    if names:
        listed = ", ".join(f"{endpoint(e)} {n.margin(e, result.policy.margins.value(e))}" for e in names)
        plural = "Margins" if len(names) > 1 else "Margin"
        out.append(Banner("warn", plural, f"{listed}: {DEFAULT}."))
    return tuple(out)


def gains(result: StudyResult) -> str:
    """For example "9.2× faster, 3.9× smaller"."""
    timings = result.final.get(result.winner.key)
    speed = "speed not measured" if timings is None else times(timings.ratio, "faster", "slower", "as fast")
    return f"{speed}, {times(result.size_ratio, 'smaller', 'larger', 'the same size')}"


def headline(result: StudyResult) -> Headline:
    """The verdict in plain words, for somebody who reads nothing else."""
    name = readable(result.winner)
    if result.unproven:
        tone, glyph, title = "bad", "!", f"Delivered on request, UNPROVEN: {name}"
        lead = [f"{sentence(gains(result))}. {_not_shown(result)}"]
    elif result.accepted:
        tone, glyph, title = "good", "✓", f"Delivered: {name}"
        lead = [f"{sentence(gains(result))}, {_proof(result)}."]
    else:
        tone, glyph, title = "warn", "=", _stand_in(result)
        lead = [f"Delivered: {name}. {sentence(gains(result))}{_same_answers(result)}."]
        if result.verdict_recipe != result.winner.recipe:
            lead.append(f"The best candidate was {name_of(result, result.verdict_recipe)}. {_not_shown(result)}")
    # The margins have a banner of their own.
    said = [n.clean(r) for r in result.reasons if not r.startswith("default margins")]
    if len(said) > _HEAD_REASONS:
        more = len(said) - _HEAD_REASONS
        said = [*said[:_HEAD_REASONS], f"and {more} more: see “How it was judged”"]
    return Headline(tone, glyph, title, tuple(lead), tuple(said))


def meaning(verdict: Verdict) -> str:
    """What the word non-inferior means, once."""
    return (
        f"Non-inferior means: with {verdict.confidence:.0%} confidence, the new model is not worse than the original "
        "by more than the margin, both judged on the same cases."
    )


def _proof(result: StudyResult) -> str:
    verdict = delivered_verdict(result)
    if verdict is None:
        return "not assessed"
    if verdict.basis is Basis.NUMERIC:
        return f"the same answers on {units(verdict)} (lossless: no decision changed)"
    return f"proven no worse by more than the margins (non-inferior) on {units(verdict)}"


def _same_answers(result: StudyResult) -> str:
    return ", and it gives the same answers" if result.winner.lossless else ""


def _stand_in(result: StudyResult) -> str:
    if result.winner.key == result.baseline.key:
        return "Nothing was accepted: the original is delivered as it is"
    faster = "faster, " if isfinite(result.winner.speed) and result.winner.speed > 1 else ""
    return f"Nothing lossy was accepted: the original is delivered in a {faster}lossless runtime"


def _not_shown(result: StudyResult) -> str:
    """Why the deciding verdict is not a pass, and how many cases would decide."""
    verdict = result.verdict
    if verdict.outcome is Outcome.INFERIOR:
        return f"It was worse than the original by more than the margin on {units(verdict)}."
    if verdict.outcome is Outcome.NOT_ASSESSED:
        return "It could not be assessed."
    if verdict.outcome is Outcome.NON_INFERIOR:
        return f"It was non-inferior on the {part_judged(result)} cases, and was not confirmed."
    needed = [would_decide(p, verdict.clustered) for p in verdict.components if p.outcome is Outcome.INCONCLUSIVE]
    if not any(needed):
        small = (s for s in verdict.subgroups if s.outcome in (Outcome.INCONCLUSIVE, Outcome.INSUFFICIENT))
        needed = [_of_level(s, verdict.clustered) for s in small][:1]
    known = " and ".join(text for text in needed if text)
    tail = f": {known} would decide" if known else ""
    return f"{sentence(units(verdict))} cannot show whether it is worse{tail}."


def _of_level(level: SubgroupVerdict, clustered: bool) -> str:
    text = " and ".join(t for p in level.components if (t := would_decide(p, clustered)))
    return f"{text} with {n.clean(level.column)} {n.clean(level.value)}" if text else ""


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
