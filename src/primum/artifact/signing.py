"""Signatures on artifacts, with a key of one's own: who made it, where the manifest only shows that it is unchanged.

The format is that of OpenSSF Model Signing (a Sigstore bundle over the SHA-256 of every file), so that
`model_signing verify key` reads it too. Key-based only: no network, no transparency log.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from primum.artifact.manifest import read_manifest
from primum.errors import InputError, IntegrityError, MissingExtra
from primum.files import write_bytes

SUFFIX = ".sig"
_KEYS = "an elliptic curve key (P-256, P-384 or P-521) in PEM without a password"


def signature_path(artifact: str | Path) -> Path:
    """Where the signature of an artifact lies: beside its folder, since the manifest lists every file inside."""
    folder = Path(artifact).resolve()
    return folder.with_name(folder.name + SUFFIX)


def sign(artifact: str | Path, private_key: str | Path) -> Path:
    """Sign an intact artifact, manifest included; returns the signature's path, beside the folder.

    Raises IntegrityError where the artifact was changed, InputError where the key cannot be used, MissingExtra
    where model-signing is not installed.
    """
    folder = Path(artifact)
    read_manifest(folder)
    signing = _library().signing.Config().set_hashing_config(_hashing())
    key = _existing(private_key)
    try:
        signing.use_elliptic_key_signer(private_key=key)
    # The library lets through whatever the parsers of keys raise, AttributeError for a key of another kind included.
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{key}: cannot sign; {_KEYS} is needed") from error
    with tempfile.TemporaryDirectory() as place:
        made = Path(place) / "signature"
        signing.sign(folder, made)
        target = signature_path(folder)
        write_bytes(target, made.read_bytes())
    return target


def verify_signature(artifact: str | Path, public_key: str | Path, signature: str | Path | None = None) -> None:
    """Check that the holder of the key signed exactly this artifact; `signature` defaults to the file beside it.

    Raises IntegrityError where the artifact or the signature was changed, or another key signed; InputError where
    key or signature cannot be read; MissingExtra where model-signing is not installed.
    """
    from_library = _library()
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

    folder, key = Path(artifact), _existing(public_key)
    found = _existing(signature if signature is not None else signature_path(folder))
    # The library ignores folders of git, and files that the signature says to ignore: the manifest knows neither.
    read_manifest(folder)
    verifying = from_library.verifying.Config().set_hashing_config(_hashing())
    try:
        verifying.use_elliptic_key_verifier(public_key=key)
    except (ValueError, TypeError, AttributeError, UnsupportedAlgorithm) as error:
        raise InputError(f"{key}: cannot verify; the public half of {_KEYS} is needed") from error
    try:
        verifying.verify(folder, found)
    except InvalidSignature as error:
        raise IntegrityError(f"{found}: was not made with this key, or was changed") from error
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError) as error:
        raise IntegrityError(
            f"{found}: does not fit {folder}: one of them was changed, or the key is another"
        ) from error


def _library() -> Any:
    try:
        import model_signing
    except ImportError as error:
        raise MissingExtra("signing artifacts", "signing") from error
    return model_signing


def _hashing() -> Any:
    """SHA-256 of every file, those of git included; a link is refused."""
    hashing = _library().hashing.Config().use_file_serialization(hashing_algorithm="sha256", max_workers=1)
    return hashing.set_ignored_paths(paths=(), ignore_git_paths=False)


def _existing(path: str | Path) -> Path:
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file")
    return Path(path)
