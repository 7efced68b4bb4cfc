"""Where a model's networks run is chosen by what a call takes, and said."""

import asyncio

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from served import FEATURES

from primum.config import BatchConfig
from primum.errors import InputError, PrimumError
from primum.serving.executor.in_process import InProcess
from primum.serving.executor.isolation import Isolation
from primum.serving.executor.placement import Hosting
from primum.serving.executor.processes import Processes
from primum.serving.model import INPUT, ServedModel
from primum.serving.observability.metrics import exposition
from primum.serving.repository import Repository

ROWS = np.random.default_rng(0).normal(0, 1, (20, FEATURES)).astype(np.float32)


def placed(artifact, ask, *given, **config):
    """What `ask` returns of a started model."""

    async def live():
        model = ServedModel("risk", [artifact], BatchConfig(**config), hosting=Hosting(*given))
        await model.start()
        try:
            return await ask(model)
        finally:
            await model.stop()

    return asyncio.run(live())


async def told(model):
    answers = await asyncio.gather(*[model.infer({INPUT: row[None]}, 0, None) for row in ROWS])
    probabilities = np.concatenate([answer.outputs["probabilities"] for answer in answers])
    return probabilities, type(model._executor), model.metadata()["properties"]["isolation"], model


@pytest.mark.parametrize(
    ("given", "config", "kind", "said"),
    [
        ((Isolation.NEVER,), {}, InProcess, "none (as asked for)"),
        ((Isolation.ALWAYS,), {}, Processes, "process (as asked for)"),
        ((Isolation.AUTO,), {"inline_below_us": 50_000}, InProcess, "less than 50000 us)"),
        ((Isolation.AUTO,), {"inline_below_us": 0.0}, Processes, "us, 0 us or more)"),
        ((Isolation.AUTO, 700), {"inline_below_us": 50_000}, Processes, "process (a limit on memory is asked for)"),
    ],
)
def test_the_same_answers_wherever(artifact, given, config, kind, said):
    answers, found, isolation, _ = placed(artifact, told, *given, **config)
    assert found is kind and isolation.endswith(said)
    np.testing.assert_allclose(answers, placed(artifact, told)[0], atol=1e-7)


def test_a_slow_network_is_measured_as_slow(artifact):
    _, found, isolation, model = placed(artifact, told, Isolation.AUTO, None, "executor_doubles:slow")
    assert found is Processes
    assert 1000 <= int(isolation.split("takes ")[1].split()[0]) < 20_000
    # Profiled at start by synthetic cases, over the way to the process.
    assert model.stats().buckets[0].latency_s[1] > 0.001 and model.stats().submitted == len(ROWS)


def test_what_contradicts_itself_or_cannot_be_opened_leaves_no_process(artifact):
    with pytest.raises(InputError, match="takes processes"):
        Hosting(Isolation.NEVER, 100)
    with pytest.raises(PrimumError):
        placed(artifact / "none", told, Isolation.ALWAYS)


def test_a_reload_in_processes_serves_the_new_artifact(artifact):
    async def ask(model):
        first = model.rung.program
        assert not await model.reload()
        return first is model.rung.program, len(model._executor._wanted)

    assert placed(artifact, ask, Isolation.ALWAYS) == (True, 1)


def test_metrics_tell_processes_and_restarts(artifact):
    async def ask(model):
        return exposition(Repository([model]).families()).decode()

    text = placed(artifact, ask, Isolation.ALWAYS, executors=2)
    found = {
        (sample.name, sample.labels.get("reason")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert found["primum_executors", None] == found["primum_executors_wanted", None] == 2
    for reason in ("died", "hung", "out_of_memory"):
        assert found["primum_executor_restarts_total", reason] == 0
    assert "primum_executors{" not in placed(artifact, ask)
