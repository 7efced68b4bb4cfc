"""torch's kernels for INT8: which of its engines this machine has, chosen within a block only."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

_BY_PREFERENCE = ("x86", "onednn", "fbgemm", "qnnpack")


def best_engine() -> str | None:
    """Name of the best engine that this torch was built with; None where it has none."""
    import torch

    present = torch.backends.quantized.supported_engines
    return next((name for name in _BY_PREFERENCE if name in present), None)


def missing_engine() -> str | None:
    """Why INT8 cannot run in torch here, or None."""
    return None if best_engine() else "this torch was built without INT8 kernels"


@contextlib.contextmanager
def engine_in_use() -> Iterator[str]:
    """Within, weights are packed for the best engine; the setting of the process is put back afterwards.

    Raises TrialError where there is none.
    """
    import torch

    from primum.errors import TrialError

    engine = best_engine()
    if engine is None:
        raise TrialError(str(missing_engine()))
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = engine
    try:
        yield engine
    finally:
        torch.backends.quantized.engine = before
