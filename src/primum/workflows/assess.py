"""What the delivered artifact's cases say beside the verdict, with where each record of the study lies."""

from __future__ import annotations

from primum.config import OptimizationConfig
from primum.study.runner import Runner
from primum.study.trial import Trial
from primum.validation.assessment import Assessment, assess
from primum.validation.checklist import Record
from primum.validation.gate import judge
from primum.validation.operating import FrozenThreshold

_RECORDS = {
    Record.MODIFICATION: "evidence/modification_record.json",
    Record.TIMINGS: "evidence/benchmark.json",
    Record.HASHES: "manifest.json",
    Record.TOOLS: "evidence/mlbom.cdx.json",
    Record.ML_BOM: "evidence/mlbom.cdx.json",
}


def assess_delivered(
    runner: Runner,
    winner: Trial,
    part: str,
    config: OptimizationConfig,
    frozen: FrozenThreshold | None,
    declared_first: bool,
    plain_case_ids: bool,
) -> Assessment:
    """Assess the delivered `winner` on `part`; `declared_first`: the sequence was fixed before the set was opened."""
    cases, policy = runner.cases(part), runner.judging.policy
    reference, candidate = runner.scores(runner.baseline_key, part), runner.scores(winner.key, part)
    records = dict(_RECORDS)
    if declared_first:
        records |= {Record.CRITERIA: "evidence/modification_record.json", Record.OPENINGS: "the ledger, by its hashes"}
    if not plain_case_ids:
        records[Record.PSEUDONYMS] = "evidence/flips.csv"
    verdict = judge(cases, reference, candidate, policy, exported=winner.lossless)
    return assess(cases, reference, candidate, policy, verdict, config.validation, records, frozen, config.seed)
