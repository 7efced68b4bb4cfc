"""Case ids for evidence: keyed, so that only who holds the key (or the local list) can tell the case."""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from primum.data.ledger import state_folder
from primum.files import write_bytes

_KEY_FILE = "pseudonym.key"


def pseudonyms(names: NDArray[np.str_], key: bytes) -> NDArray[np.str_]:
    """`case-` and twelve hex digits for each name; equal names give equal pseudonyms under one key."""
    digests = (hashlib.blake2b(str(n).encode(), key=key, digest_size=6).hexdigest() for n in names)
    return np.array([f"case-{d}" for d in digests], dtype=np.str_)


def local_key(folder: Path | None = None) -> bytes:
    """This user's key, made once and readable by the user alone."""
    path = (folder or state_folder()) / _KEY_FILE
    if not path.is_file():
        write_bytes(path, secrets.token_bytes(32))
        path.chmod(0o600)
    return path.read_bytes()
