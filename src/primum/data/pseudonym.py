"""Case ids for evidence: keyed, so that only who holds the key (or the local list) can tell the case."""

from __future__ import annotations

import hashlib
import os
import secrets
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from primum.data.evaluation import Exclusion
from primum.data.ledger import state_folder
from primum.errors import IntegrityError
from primum.files import storage

_KEY_FILE = "pseudonym.key"
_KEY_BYTES = 32


def pseudonyms(names: NDArray[np.str_], key: bytes) -> NDArray[np.str_]:
    """`case-` and twelve hex digits for each name; equal names give equal pseudonyms under one key."""
    digests = (hashlib.blake2b(str(n).encode(), key=key, digest_size=6).hexdigest() for n in names)
    return np.array([f"case-{d}" for d in digests], dtype=np.str_)


def pseudonymous(excluded: Sequence[Exclusion], key: bytes) -> tuple[Exclusion, ...]:
    """Cases that were left out, under their pseudonyms."""
    names = pseudonyms(np.array([e.case for e in excluded], dtype=np.str_), key)
    return tuple(Exclusion(str(name), e.reason.replace(e.case, "").strip(": ")) for name, e in zip(names, excluded))


def local_key(folder: Path | None = None) -> bytes:
    """This user's key, made once and readable by the user alone.

    Raises IntegrityError where the key file is damaged.
    """
    path = (folder or state_folder()) / _KEY_FILE
    if not path.is_file():
        _make_key(path)
    key = path.read_bytes()
    if len(key) != _KEY_BYTES:
        raise IntegrityError(
            f"{path}: damaged (it holds {len(key)} bytes); restore it, or delete it for new pseudonyms"
        )
    return key


def _make_key(path: Path) -> None:
    """Write a new key, never readable by others; where another process was first, its key stays."""
    with storage(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(secrets.token_bytes(_KEY_BYTES))
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):
                os.link(temporary, path)
        finally:
            Path(temporary).unlink()
