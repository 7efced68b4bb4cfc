"""Each test of the delivered artifact: what was tested, against which criterion, with which result, shown where."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from primum.reporting.delivered import Delivered, measured
from primum.study.result import StudyResult
from primum.validation.gate import LOSSLESS
from primum.validation.verdict import Basis, Component


def tests_of(result: StudyResult, made: Delivered) -> Iterator[dict[str, Any]]:
    """Each test of the delivered artifact. It is tested whole, so that each test bears on every modification."""
    parity = result.winner.parity
    if parity is not None:
        yield {
            "what": "raw outputs against the original's (relative difference)",
            "criterion": f"at most {parity.tolerance:g}",
            "result": parity.relative,
            "outcome": "passed" if parity.passed else "failed",
            "evidence": "report.json",
        }
    lossless = made.verdict is not None and made.verdict.basis is Basis.NUMERIC
    if made.verdict is not None:
        agreement = made.verdict.agreement
        yield {
            "what": f"same answers, {made.part} part",
            "criterion": f"largest difference at most {LOSSLESS:g}, no decision changed" if lossless else "described",
            "result": agreement.max_abs_difference,
            "outcome": "passed" if lossless else f"{agreement.flips} changed, {agreement.harmful} harmful",
            "evidence": "flips.csv",
        }
    for item in measured(made.verdict):
        yield {
            "what": f"{item.part.name}, {item.group or 'all cases'}, {made.part} part",
            "criterion": _criterion(item.part),
            "result": item.part.lower,
            "outcome": item.part.outcome.value,
            "evidence": "validation.json",
        }
    if result.guard is not None:
        left, bound = result.guard.outcome, result.guard.band.epsilon
        yield {
            "what": f"share of patients with a changed decision that the guard left, {result.guard.part} part",
            "criterion": f"at most {bound:g}, promised by the band",
            "result": left.patients_left / left.n_patients,
            "outcome": f"{left.flips_left} of {left.flips_unguarded} left, upper bound {left.upper:.2g}",
            "evidence": "report.json",
        }
    timed = result.final.get(result.winner.key)
    if timed is not None:
        yield {
            "what": "speed-up over the original, one case a call",
            "criterion": "described",
            "result": result.speedup,
            "outcome": "measured on a busy machine" if timed.contended else "measured",
            "evidence": "benchmark.json",
        }


def _criterion(part: Component) -> str:
    return f"lower bound above {-part.margin:g}" + ("" if part.margin_given else " (default margin)")
