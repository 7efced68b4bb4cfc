"""Why decisions changed: of the candidate that a reader asks about, which layers and which patients."""

from __future__ import annotations

from collections.abc import Sequence

from primum.errors import TrialError
from primum.runtimes.isolated import Isolated
from primum.study.claim import Confirmation, Why
from primum.study.layers import LayerReport, cases_to_explain
from primum.study.recipe import Recipe
from primum.study.runner import Runner
from primum.study.trial import Trial
from primum.validation.flip_causes import flip_causes
from primum.validation.verdict import Outcome, Verdict


def explain(runner: Runner, trials: Sequence[Trial], confirmations: Sequence[Confirmation], decided: str) -> Why | None:
    """Explain the candidate of the deciding verdict (key `decided`), without its guard, where it changes decisions;
    else the fastest that was found INFERIOR. None where nothing changed, or nothing is decided.
    """
    by_key = {t.key: t for t in trials}
    opened = {c.key for c in confirmations} | {g.of for c in confirmations if (g := by_key[c.key].guard)}
    found = _subject(by_key, decided)
    rule = runner.rule
    if found is None or rule is None:
        return None
    part = "confirmation" if found.key in opened else "selection"
    reference, candidate = runner.scores(runner.baseline_key, part), runner.scores(found.key, part)
    cases = runner.cases(part)
    causes = flip_causes(cases, reference, candidate, rule, runner.judging.policy.confidence)
    chosen = cases_to_explain(reference, candidate, rule)
    rows = runner.judging.split.parts()[part][chosen]
    try:
        with Isolated(runner.timeout) as process:
            layers: LayerReport = process.call(
                "primum.study.layers:explain_layers",
                original=runner.original,
                recipe=Recipe.from_dict(found.recipe_data),
                workshop=runner.workshop,
                rows=rows,
                candidate=candidate[chosen],
                rule=rule,
            )
    except TrialError as error:
        layers = LayerReport(found.recipe, reason=str(error))
    return Why(found.recipe, part, layers, causes)


def _subject(by_key: dict[str, Trial], decided: str) -> Trial | None:
    """The fast model whose changed decisions matter most to a reader."""
    first = by_key[decided]
    if first.guard is not None:
        first = by_key[first.guard.of]
    if _changes(first.verdict):
        return first
    harmful = [t for t in by_key.values() if t.ok and t.guard is None and t.outcome is Outcome.INFERIOR]
    return max((t for t in harmful if _changes(t.verdict)), key=lambda t: t.speed, default=None)


def _changes(verdict: Verdict | None) -> bool:
    return verdict is not None and bool(verdict.flips)
