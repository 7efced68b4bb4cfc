"""The server's certificate, its key, and the authorities of its clients' certificates, from files."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any, NamedTuple

from primum.errors import InputError


class Pems(NamedTuple):
    """What was read."""

    certificate: bytes
    key: bytes
    client_ca: bytes | None


class Tls:
    """Read and checked whole, so that what is wrong is told before a client meets it."""

    def __init__(self, certificate: Path, key: Path, client_ca: Path | None = None) -> None:
        """`client_ca`: clients must show a certificate that one of these authorities signed. Raises InputError."""
        self._certificate, self._key, self._client_ca = certificate, key, client_ca
        self.pems, self.context = self._read()
        self._newest = self.context
        self.context.sni_callback = self._meet

    def reread(self) -> None:
        """Who connects from now on is met with what the files hold now. Raises InputError, and then nothing changed."""
        self.pems, self._newest = self._read()

    def _meet(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        """Called at the beginning of each handshake, whether the client names the server or not."""
        connection.context = self._newest

    def _read(self) -> tuple[Pems, ssl.SSLContext]:
        pems = Pems(
            _certificates(self._certificate),
            _private_key(self._key),
            None if self._client_ca is None else _certificates(self._client_ca),
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self._certificate, self._key)
        except (ssl.SSLError, OSError) as error:
            raise InputError(f"{self._key} is not the key of the first certificate in {self._certificate}") from error
        if pems.client_ca is not None:
            context.load_verify_locations(cadata=pems.client_ca.decode("ascii"))
            context.verify_mode = ssl.CERT_REQUIRED
            # A connection resumed by ticket shows no certificate anew, though its authority may have gone.
            context.num_tickets, context.options = 0, context.options | ssl.OP_NO_TICKET
        return pems, context


def read_pem(path: Path) -> bytes:
    """A file's bytes. Raises InputError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error


def public_key(path: Path) -> Any:
    """The public key in a PEM file. Raises InputError, which says what the file is instead."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    raw = read_pem(path)
    if b"PRIVATE KEY-----" in raw:
        raise InputError(
            f"{path} holds a private key, which has no place on this server; give the public one: "
            "openssl pkey -in KEY -pubout"
        )
    try:
        return load_pem_public_key(raw)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError(f"{path} holds no public key in PEM (-----BEGIN PUBLIC KEY-----)") from error


def _certificates(path: Path) -> bytes:
    from cryptography.x509 import load_pem_x509_certificates

    raw = read_pem(path)
    try:
        load_pem_x509_certificates(raw)
        raw.decode("ascii")
    except ValueError as error:
        raise InputError(f"{path} holds no certificate in PEM (-----BEGIN CERTIFICATE-----)") from error
    return raw


def _private_key(path: Path) -> bytes:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    raw = read_pem(path)
    try:
        load_pem_private_key(raw, None)
    except TypeError as error:
        raise InputError(f"{path} is encrypted; a server starts without being asked for a passphrase") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError(f"{path} holds no private key in PEM (-----BEGIN PRIVATE KEY-----)") from error
    return raw
