"""Whom a client's certificate names. That an authority signed it was checked when the connection was made."""

from __future__ import annotations

import asyncio
from functools import lru_cache

PEM = b"-----BEGIN"


def shown(transport: asyncio.BaseTransport) -> str | None:
    """Whom the certificate names that was shown on a connection; None where none was."""
    connection = transport.get_extra_info("ssl_object")
    certificate = None if connection is None else connection.getpeercert(binary_form=True)
    return None if certificate is None else holder(certificate)


@lru_cache(4096)
def holder(certificate: bytes) -> str:
    """The common name of the subject of a certificate (DER or PEM), else its first alternative name; else empty, as
    where an authority signed what cannot be read here.
    """
    from cryptography import x509

    load = x509.load_pem_x509_certificate if certificate.startswith(PEM) else x509.load_der_x509_certificate
    try:
        read = load(certificate)
        if common := read.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME):
            return str(common[0].value)
        names = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (
        *(ValueError, x509.ExtensionNotFound, x509.DuplicateExtension),
        *(x509.InvalidVersion, x509.UnsupportedGeneralNameType),
    ):
        return ""
    told = (x509.RFC822Name, x509.DNSName, x509.UniformResourceIdentifier, x509.IPAddress)
    return next((str(name.value) for name in names if isinstance(name, told)), "")
