"""Metrics of ladders and shadow sampling, read when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from primum.serving.ladder.ladder import Why
from primum.serving.ladder.line import Line
from primum.serving.ladder.shadow import Dropped, Shadow
from primum.serving.ladder.watch import Watch

_OF_TEST = ("model", "artifact")


class StandingCollector:
    """Of each model by name: its line, shadow and watch."""

    def __init__(self, models: Mapping[str, tuple[Line, Shadow, Watch]]) -> None:
        self._models = models

    def collect(self) -> Iterator[Metric]:
        """Every family, with a sample for each model."""
        yield from self._ladders()
        yield from self._shadows()
        yield from self._tests()

    def _ladders(self) -> Iterator[Metric]:
        rung = GaugeMetricFamily("primum_ladder_rung", "The rung that answers; 0: most trusted.", labels=["model"])
        moves = CounterMetricFamily("primum_ladder_moves", "Moves, by why.", labels=["model", "reason"])
        loaded = GaugeMetricFamily(
            "primum_ladder_rung_loaded", "1 where it takes requests.", labels=["model", "rung", "artifact"]
        )
        load = GaugeMetricFamily("primum_ladder_load", "Cases asked a second.", labels=["model"])
        memory = GaugeMetricFamily(
            "primum_memory_used_share", "Of the memory that may be used, in use.", labels=["model", "source"]
        )
        for model, (line, _, watch) in self._models.items():
            rung.add_metric([model], line.ladder.place)
            for why in Why:
                moves.add_metric([model, why.value], line.ladder.counts[why])
            for place, step in enumerate(line.steps):
                loaded.add_metric([model, str(place), step.rung.version], float(step.is_open))
            load.add_metric([model], watch.load)
            if watch.memory is not None:
                memory.add_metric([model, watch.memory.source], watch.memory.share)
        yield from (rung, moves, loaded, load, memory)

    def _shadows(self) -> Iterator[Metric]:
        sampled = CounterMetricFamily("primum_shadow_sampled", "Cases drawn to be compared.", labels=["model"])
        deferred = CounterMetricFamily(
            "primum_shadow_deferred", "Of those compared, answered by the original anyway.", labels=["model"]
        )
        dropped = CounterMetricFamily(
            "primum_shadow_dropped", "Of those drawn, not compared, by why.", labels=["model", "reason"]
        )
        failing = GaugeMetricFamily("primum_shadow_unsaved", "1 where records cannot be written.", labels=["model"])
        for model, (_, shadow, _) in self._models.items():
            sampled.add_metric([model], shadow.sampled)
            deferred.add_metric([model], shadow.deferred)
            for reason in Dropped:
                dropped.add_metric([model, reason.value], shadow.dropped[reason])
            failing.add_metric([model], float(bool(shadow.failure)))
        yield from (sampled, deferred, dropped, failing)

    def _tests(self) -> Iterator[Metric]:
        cases = GaugeMetricFamily("primum_flip_test_cases", "Cases compared.", labels=_OF_TEST)
        flips = GaugeMetricFamily("primum_flip_test_flips", "Of those, decided otherwise.", labels=_OF_TEST)
        most = GaugeMetricFamily("primum_flip_test_most", "Share of flips that is allowed.", labels=_OF_TEST)
        bound = GaugeMetricFamily(
            "primum_flip_test_bound", "Of the rate of flips, at all times at once.", labels=[*_OF_TEST, "side"]
        )
        evidence = GaugeMetricFamily(
            "primum_flip_test_log_evidence", "Against the allowed share; the limit is log(1/alpha).", labels=_OF_TEST
        )
        barred = GaugeMetricFamily("primum_artifact_barred", "1 where it answers no more.", labels=_OF_TEST)
        for model, (line, _, _) in self._models.items():
            for step in line.steps:
                test = step.test
                if test is None:
                    continue
                labels = [model, test.sha256[:12]]
                bounds = test.bounds
                cases.add_metric(labels, test.cases)
                flips.add_metric(labels, test.flips)
                most.add_metric(labels, test.most_flips)
                bound.add_metric([*labels, "lower"], bounds.lower)
                bound.add_metric([*labels, "upper"], bounds.upper)
                evidence.add_metric(labels, test.log_e)
                barred.add_metric(labels, float(test.barred is not None))
        yield from (cases, flips, most, bound, evidence, barred)
