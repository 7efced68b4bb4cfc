"""What a reader who reads nothing else must know: the verdict in plain words, and the banners above it."""

from __future__ import annotations

from math import inf, isfinite

from primum.config import ClinicalPolicy
from primum.reporting import numbers as n
from primum.reporting import wording as w
from primum.reporting.blocks import Banner, Headline
from primum.reporting.guard import how_fixed
from primum.study.result import StudyResult
from primum.validation.cases import NO_PATIENTS, unit_without_patients
from primum.validation.gate import why_blocks
from primum.validation.sufficiency import NO_RANKING, is_ranked
from primum.validation.verdict import Basis, Outcome, SubgroupVerdict, Verdict

_HEAD_REASONS = 3
_LONGEST_REASON = 320


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
    if result.earlier_openings:
        count = n.plural(len(result.earlier_openings), "time")
        text = (
            f"The confirmation cases were opened {count} before, for other candidates or judgements: the proof is "
            "weaker for it."
        )
        out.append(Banner("warn", "Not a first look", text))
    if result.guard is not None and (result.guard.prior or result.guard.chosen_among):
        out.append(Banner("warn", "Guard patients not fresh", how_fixed(result.guard)))
    if result.data.unit == unit_without_patients(False):
        text = f"{w.sentence(NO_PATIENTS)}. Where this report counts patients, it counts distinct inputs."
        out.append(Banner("warn", "No patient named", text))
    for text in result.untold_openings:
        out.append(Banner("warn", "Older openings", f"{text}."))
    names = w.defaults(result)
    if names:
        task = result.model.task
        listed = ", ".join(f"{w.margin_name(e, task)} {n.margin(e, result.policy.margins.value(e))}" for e in names)
        plural = "Margins" if len(names) > 1 else "Margin"
        out.append(Banner("warn", plural, f"{listed}: {w.DEFAULT}."))
    if missing := w.unstated(result):
        listed = ", ".join(w.margin_name(e, result.model.task) for e in missing)
        text = f"{listed}: none was given and there is no default, so nothing can be shown to be non-inferior."
        out.append(Banner("warn", "No margin", text))
    for item in result.not_delivered:
        name = w.RUNTIMES.get(item.runtime, n.clean(item.runtime))
        out.append(Banner("warn", f"No artifact for {name}", f"{n.shorten(item.reason, _LONGEST_REASON)}."))
    return tuple(out)


def gains(result: StudyResult) -> str:
    """For example "9.2× faster, 3.9× smaller"."""
    timed = result.winner.key in result.final
    speed = w.times(result.speedup, "faster", "slower", "as fast") if timed else "speed not measured"
    return f"{speed}, {w.times(result.size_ratio, 'smaller', 'larger', 'the same size')}"


def headline(result: StudyResult) -> Headline:
    """The verdict in plain words, for somebody who reads nothing else."""
    name = w.readable(result.winner)
    if result.unproven:
        tone, glyph, title = "bad", "!", f"Delivered on request, UNPROVEN: {name}"
        lead = [f"{w.sentence(gains(result))}. {_not_shown(result)}"]
    elif result.accepted:
        tone, glyph, title = "good", "✓", f"Delivered: {name}"
        lead = [f"{w.sentence(gains(result))}, {_proof(result)}."]
    else:
        tone, glyph, title = "warn", "=", _stand_in(result)
        lead = [f"Delivered: {name}. {w.sentence(gains(result))}{_same_answers(result)}."]
        if result.verdict_recipe != result.winner.recipe:
            lead.append(f"The best candidate was {w.name_of(result, result.verdict_recipe)}. {_not_shown(result)}")
    if len(result.claims) > 1:
        names = " and ".join(w.RUNTIMES.get(c.runtime, c.runtime) for c in result.claims)
        lead.append(f"There is an artifact for {names} each: see “Delivered, by runtime”.")
    # The margins have a banner of their own.
    kept = [r for r in result.reasons if not r.startswith("default margins")]
    said = [n.shorten(w.said(r, result.model.task), _LONGEST_REASON) for r in kept]
    if len(said) > _HEAD_REASONS:
        more = len(said) - _HEAD_REASONS
        said = [*said[:_HEAD_REASONS], f"and {more} more: see “How it was judged”"]
    return Headline(tone, glyph, title, tuple(lead), tuple(said))


def meaning(verdict: Verdict) -> str:
    """What the word non-inferior means, once."""
    return (
        f"Non-inferior means: with {n.confidence(verdict.confidence)} confidence, the new model is not worse than the "
        "original by more than the margin, both judged on the same cases."
    )


def _proof(result: StudyResult) -> str:
    verdict = w.delivered_verdict(result)
    if verdict is None:
        return "not assessed"
    if verdict.basis is Basis.NUMERIC:
        return f"the same answers on {w.units(verdict)} (lossless: no decision changed)"
    return f"proven no worse by more than the margins (non-inferior) on {w.units(verdict)}"


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
        return f"It was worse than the original by more than the margin on {w.units(verdict)}."
    if verdict.outcome is Outcome.NOT_ASSESSED:
        return "It could not be assessed."
    if verdict.outcome is Outcome.NON_INFERIOR:
        return f"It was non-inferior on the {w.part_judged(result)} cases, and was not confirmed."
    needed = _first_needed(verdict, result.policy)
    known = " and ".join(text for text in needed if text)
    tail = f": {known} would decide" if known else ""
    return f"{w.sentence(w.units(verdict))} cannot show whether it is worse{tail}."


def _first_needed(verdict: Verdict, policy: ClinicalPolicy) -> list[str]:
    """What would decide: what is inconclusive in all cases or blocks, then in a group; only then the insufficient."""
    blocking = {p.name: why for p in verdict.components if (why := why_blocks(p, verdict.components, policy))}
    rankings = [p for p in verdict.components if blocking.get(p.name) == NO_RANKING]
    # One class whose ranking is shown will do: of those that the original ranks the one that takes the fewest.
    ranked = [p for p in rankings if is_ranked(p, verdict.confidence)]
    fewest = min(ranked, key=lambda p: p.n_would_decide or inf, default=None)
    for outcome in (Outcome.INCONCLUSIVE, Outcome.INSUFFICIENT):
        first = outcome is Outcome.INCONCLUSIVE
        parts = [p for p in verdict.components if p.outcome is outcome or (first and p.name in blocking)]
        needed = w.most_needed([p for p in parts if p not in rankings or p is fewest], verdict)
        if needed:
            return needed
        for level in verdict.subgroups:
            if text := _of_level(level, outcome, verdict):
                return [text]
    return []


def _of_level(level: SubgroupVerdict, outcome: Outcome, verdict: Verdict) -> str:
    text = " and ".join(w.most_needed([p for p in level.components if p.outcome is outcome], verdict))
    return f"{text} with {n.clean(level.column)} {n.clean(level.value)}" if text else ""
