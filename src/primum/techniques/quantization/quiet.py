"""The known warnings of the libraries below, silenced one by one; every other warning comes through."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator

_KNOWN = (
    r".*torch\.ao\.quantization is deprecated.*",
    r".*quantized tensor creation is deprecated.*",
    r".*[Qq]uantized tensors? (support )?.*deprecated.*",
    r".*TypedStorage is deprecated.*",
    r".*reduce_range will be deprecated.*",
    r".*must run observer before calling calculate_qparams.*",
    r".*[Cc]onstructing a quantized tensor.*",
    r".*isinstance\(treespec, LeafSpec\).*",
    r".*inputs will be cast from torch\.float32 to float16.*",
)
_LOGGED = {"bitsandbytes.backends.cpu.ops": "gemm_4bit_forward"}
"""By logger: that a kernel of the community, which is not needed, was not downloaded."""


@contextlib.contextmanager
def known_warnings_silenced() -> Iterator[None]:
    """Within, the deprecation notes of torch.ao.quantization and the notes of bitsandbytes are not shown."""
    loggers = [logging.getLogger(name) for name in _LOGGED]
    for logger in loggers:
        logger.addFilter(_unknown)
    try:
        with warnings.catch_warnings():
            for text in _KNOWN:
                warnings.filterwarnings("ignore", message=text)
            yield
    finally:
        for logger in loggers:
            logger.removeFilter(_unknown)


def _unknown(record: logging.LogRecord) -> bool:
    text = _LOGGED.get(record.name)
    return text is None or text not in record.getMessage()
