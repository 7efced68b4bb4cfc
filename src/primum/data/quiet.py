"""Libraries that decode files are not heard meanwhile: what they warn of quotes the file, and so may name a patient."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

_LOGGERS = ("pydicom", "PIL")


class _Hush:
    """Held by every thread that decodes: the first makes the process quiet, the last lets it speak again.

    Filters of warnings and levels of loggers are the process's. If each thread kept and restored them, one that is
    done would let another's library speak, or leave all of them quiet for good.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders = 0
        self._before = ExitStack()

    def take(self) -> None:
        with self._lock:
            self._holders += 1
            if self._holders == 1:
                self._before.enter_context(warnings.catch_warnings())
                warnings.simplefilter("ignore")
                for name in _LOGGERS:
                    logger = logging.getLogger(name)
                    self._before.callback(logger.setLevel, logger.level)
                    logger.setLevel(logging.CRITICAL + 1)

    def give(self) -> None:
        with self._lock:
            self._holders -= 1
            if not self._holders:
                self._before.close()


_HUSH = _Hush()


@contextmanager
def quiet() -> Iterator[None]:
    """While any thread is in here, no warning is shown and the decoders' loggers say nothing, in all threads."""
    _HUSH.take()
    try:
        yield
    finally:
        _HUSH.give()
