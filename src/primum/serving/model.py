"""A served model: an artifact under a name, its tensors by the protocol, its requests through the batcher."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from primum.artifact.manifest import artifact_digest
from primum.artifact.predictor import Predictor
from primum.batching import DynamicBatcher
from primum.batching.stats import BatcherStats
from primum.config import BatchConfig
from primum.errors import InputError
from primum.runtimes.load import load
from primum.serving.tensors import datatype_of
from primum.task import Task

if TYPE_CHECKING:
    import torch

INPUT = "input"
_FLOAT = np.dtype("<f4")


class ServedModel:
    """Answers requests for one artifact; belongs to one event loop."""

    def __init__(
        self, name: str, folder: Path, config: BatchConfig, factory: Callable[[], torch.nn.Module] | None = None
    ) -> None:
        """Verify and load the artifact; raises as `primum.load`."""
        self.name, self.predictor = name, load(folder, factory)
        self.digest = artifact_digest(folder)
        """SHA-256 of the manifest, and through it of every file."""
        self.version = self.digest[:12]
        self._answers = _Answers(self.predictor)
        self.batcher = DynamicBatcher(self._answers, config=config, name=name)

    async def start(self) -> None:
        """Measure the model by synthetic cases, so that no patient's request teaches it how long it takes."""
        await self.batcher.start()
        shape = self.predictor.manifest.signature.input_shape
        await self.batcher.warm_up(np.zeros(shape, _FLOAT))

    async def stop(self) -> None:
        """Answer what is here, refuse what comes, release the model."""
        await self.batcher.stop()
        self.predictor.close()

    async def infer(
        self, inputs: Mapping[str, NDArray[Any]], priority: int, timeout_s: float | None
    ) -> dict[str, NDArray[Any]]:
        """Named outputs for named inputs. Raises InputError for inputs that the model does not take, else as
        DynamicBatcher.
        """
        rows = self._rows(inputs)
        if len(rows) == 1:
            answer = await self.batcher.predict(rows[0], priority=priority, timeout_s=timeout_s)
            return self._answers.named(answer[None])
        return self._answers.named(await self.batcher.predict_many(rows, priority=priority, timeout_s=timeout_s))

    def stats(self) -> BatcherStats:
        """What happened so far."""
        return self.batcher.stats()

    def metadata(self) -> dict[str, Any]:
        """Name, versions, platform and tensors, as the protocol lists them; the rest under properties."""
        manifest = self.predictor.manifest
        outputs = self._answers.named(np.zeros((1, self._answers.width)))
        return {
            "name": self.name,
            "versions": [self.version],
            "platform": f"primum_{manifest.target['runtime']}",
            "inputs": [{"name": INPUT, "datatype": "FP32", "shape": [-1, *manifest.signature.input_shape]}],
            "outputs": [
                {"name": name, "datatype": datatype_of(array), "shape": [-1, *array.shape[1:]]}
                for name, array in outputs.items()
            ],
            "properties": {
                "task": manifest.signature.task.value,
                "classes": ", ".join(manifest.signature.classes),
                "recipe": manifest.recipe,
                "verdict": manifest.verdict,
                "sha256": self.digest,
            },
        }

    def _rows(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        rows = inputs.get(INPUT)
        if rows is None or len(inputs) != 1:
            given = ", ".join(map(repr, inputs)) or "none"
            raise InputError(f"model {self.name!r} takes one input, {INPUT!r}; given: {given}")
        if rows.dtype != _FLOAT:
            raise InputError(f"input {INPUT!r} is FP32, not {datatype_of(rows)}")
        shape = self.predictor.manifest.signature.input_shape
        if rows.shape[1:] != shape:
            raise InputError(f"input {INPUT!r} has shape [-1, {', '.join(map(str, shape))}], not {list(rows.shape)}")
        return rows


class _Answers:
    """The artifact as the batcher calls it: each row of its result holds all that a case is answered."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        signature = predictor.manifest.signature
        columns = signature.outputs if signature.task is Task.SEGMENTATION else len(signature.classes)
        self._shape = (columns, *signature.spatial)
        self._values = signature.task is Task.REGRESSION
        self._decided = () if self._values else self._decision_shape(signature.task)
        self._columns = int(np.prod(self._shape))
        self._guarded = predictor.manifest.guard is not None
        self.width = self._columns + (0 if self._values else int(np.prod(self._decided))) + self._guarded

    def _decision_shape(self, task: Task) -> tuple[int, ...]:
        if task is Task.SEGMENTATION:
            return self._shape[1:]
        return self._shape if task is Task.MULTILABEL else ()

    def predict_tensor(self, batch: NDArray[np.float32]) -> NDArray[np.float64]:
        """(N, *input_shape) to (N, width): probabilities, decisions, and whether the original answered."""
        answered = self._predictor.predict_tensor_guarded(batch)
        count = len(batch)
        parts: list[NDArray[Any]] = [answered.probabilities.reshape(count, -1)]
        if not self._values:
            parts.append(self._predictor.decide(answered.probabilities).reshape(count, -1))
        if self._guarded:
            parts.append(answered.deferred.reshape(count, 1))
        return np.concatenate(parts, axis=1, dtype=np.float64)

    def named(self, rows: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        """Outputs by name of (N, width)."""
        count = len(rows)
        first = rows[:, : self._columns].reshape(count, *self._shape)
        if self._values:
            return {"values": first}
        named: dict[str, NDArray[Any]] = {"probabilities": first}
        last = self.width - self._guarded
        named["decision"] = rows[:, self._columns : last].astype(np.int64).reshape(count, *self._decided)
        if self._guarded:
            named["deferred"] = rows[:, -1].astype(np.bool_)
        return named
