"""Whom a certificate names."""

import pytest

from primum.serving.security.certificates import holder

trustme = pytest.importorskip("trustme")


@pytest.mark.parametrize(
    ("identities", "common", "name"),
    [
        (("ris.example",), "Dr House", "Dr House"),
        (("ris@hospital.example", "ris.example"), None, "ris@hospital.example"),
        (("10.1.2.3",), None, "10.1.2.3"),
    ],
)
def test_the_common_name_or_the_first_other(identities, common, name):
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    pem = trustme.CA().issue_cert(*identities, common_name=common).cert_chain_pems[0].bytes()
    assert holder(pem) == name
    assert holder(x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)) == name


def test_what_cannot_be_read_names_nobody():
    assert holder(b"hello") == holder(b"-----BEGIN CERTIFICATE-----") == ""
