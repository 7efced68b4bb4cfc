"""How a model is called with a batch: what an input becomes, what it costs, and whose each output is."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from primum.batching.bucket import array_bucket, bucket_of
from primum.batching.request import Item
from primum.errors import InputError, OutputCountError


class Prepared(NamedTuple):
    """An input ready to join a batch."""

    payload: Any
    bucket: Hashable
    cost: int
    """Rows."""


@runtime_checkable
class ModelCall(Protocol):
    """What a driver of the batcher asks of whoever calls the model."""

    is_async: bool
    """`call` is a coroutine function."""

    @property
    def call(self) -> Callable[[Any], Any]:
        """The model, for what `gather` gives."""

    def prepare(self, value: Any) -> Prepared:
        """One input; InputError where it is none."""

    def split(self, values: Any, rows: int) -> list[Prepared]:
        """Many inputs, in order, in pieces of at most `rows` rows."""

    def gather(self, items: Sequence[Item]) -> Any:
        """The inputs of a batch, in order."""

    def share(self, items: Sequence[Item], outputs: Any) -> Sequence[Any]:
        """Each item's output; OutputCountError where they are not as many as the inputs."""

    def join(self, outputs: Sequence[Any]) -> Any:
        """Outputs of the pieces of many, in order, as one."""


class ListCall:
    """The model takes a list of inputs and returns one output for each."""

    def __init__(self, call: Callable[[Any], Any]) -> None:
        self.call = call
        self.is_async = _is_async(call)

    def prepare(self, value: Any) -> Prepared:
        """Any object; what may share a batch is told by `bucket_of`."""
        return Prepared(value, bucket_of(value), 1)

    def split(self, values: Any, rows: int) -> list[Prepared]:
        """One piece for each value."""
        return [self.prepare(value) for value in values]

    def gather(self, items: Sequence[Item]) -> list[Any]:
        """The inputs in order."""
        return [item.payload for item in items]

    def share(self, items: Sequence[Item], outputs: Any) -> Sequence[Any]:
        """Outputs in order."""
        return _counted(len(items), outputs)

    def join(self, outputs: Sequence[Any]) -> list[Any]:
        """Outputs in order."""
        return list(outputs)


class ArrayCall:
    """The model takes an array (N, *shape) and returns an array or sequence with one row for each."""

    def __init__(self, call: Callable[[Any], Any], check: Callable[[NDArray[Any]], NDArray[Any]] | None = None) -> None:
        self.call, self._check = call, check
        self.is_async = _is_async(call)

    def prepare(self, value: Any) -> Prepared:
        """One case as an array; InputError where it is none, or has another shape than the model takes."""
        return self._piece(_as_array(value)[None], one=True)

    def split(self, values: Any, rows: int) -> list[Prepared]:
        """Cases (N, *shape), in order, in pieces of at most `rows` rows."""
        values = _as_array(values)
        if not values.ndim or not len(values):
            raise InputError("many cases are an array (N, *shape) with at least one row")
        return [self._piece(values[start : start + rows], one=False) for start in range(0, len(values), rows)]

    def gather(self, items: Sequence[Item]) -> NDArray[Any]:
        """(rows of all items, *shape); the array itself where there is one item."""
        if len(items) == 1:
            return _rows(items[0])
        return np.concatenate([_rows(item) for item in items])

    def share(self, items: Sequence[Item], outputs: Any) -> Sequence[Any]:
        """The row of a single case, the rows (n, ...) of a piece of many."""
        total = sum(item.cost for item in items)
        outputs = _counted(total, outputs)
        if total == len(items):
            return [
                row if item.payload.one else outputs[k : k + 1] for k, (item, row) in enumerate(zip(items, outputs))
            ]
        shares, start = [], 0
        for item in items:
            shares.append(outputs[start] if item.payload.one else outputs[start : start + item.cost])
            start += item.cost
        return shares

    def join(self, outputs: Sequence[Any]) -> Any:
        """(N, ...)."""
        return np.concatenate(outputs)

    def _piece(self, rows: NDArray[Any], one: bool) -> Prepared:
        if self._check is not None:
            rows = self._check(rows)
        return Prepared(_Piece(rows, one), array_bucket(rows.dtype, rows.shape[1:]), len(rows))


class _Piece(NamedTuple):
    rows: NDArray[Any]
    one: bool
    """A single case: its answer is a row, not an array of rows."""


def call_of(model: Any, stacked: bool = False) -> ModelCall:
    """How to call `model`: by itself if it is a ModelCall, `predict_tensor` with an array, else `predict_batch` or
    itself with a list.

    `stacked`: itself (or `predict_batch`) with an array (N, *shape) instead of a list. Raises InputError for an object
    that has none of these.
    """
    if isinstance(model, ModelCall):
        return model
    whole = getattr(model, "predict_tensor", None)
    if callable(whole):
        return ArrayCall(whole, getattr(model, "checked", None))
    call = getattr(model, "predict_batch", model)
    if not callable(call):
        raise InputError(
            f"a {type(model).__name__} cannot be batched: give a callable that takes a list of inputs, or an object "
            "with predict_batch(list) or predict_tensor(array)"
        )
    return ArrayCall(call) if stacked else ListCall(call)


def _is_async(call: Any) -> bool:
    return inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(getattr(call, "__call__", None))  # noqa: B004


def _rows(item: Item) -> NDArray[Any]:
    rows: NDArray[Any] = item.payload.rows
    return rows


def _as_array(value: Any) -> NDArray[Any]:
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise InputError("an input is ragged: give arrays or nested lists of equal lengths") from error
    if array.dtype.kind not in "biufc":
        raise InputError(f"an input is no array of numbers (dtype {array.dtype})")
    return array


def _counted(expected: int, outputs: Any) -> Sequence[Any]:
    """`outputs` as something that can be indexed, of the expected length."""
    if isinstance(outputs, Iterable) and not hasattr(outputs, "__len__"):
        outputs = list(outputs)
    if isinstance(outputs, str | bytes | dict) or not hasattr(outputs, "__getitem__"):
        raise OutputCountError(expected, 1)
    if len(outputs) != expected:
        raise OutputCountError(expected, len(outputs))
    counted: Sequence[Any] = outputs
    return counted


Validate = Callable[[Any], None]
"""Raises InputError, ValueError or TypeError for an input that must not join a batch."""


def invalid(validate: Validate | None, cases: Sequence[Any]) -> Exception | None:
    """Why one of `cases` must not join a batch; None where all may. Anything else that `validate` raises is raised."""
    if validate is None:
        return None
    try:
        for case in cases:
            validate(case)
    except (InputError, ValueError, TypeError) as error:
        return error
    return None
