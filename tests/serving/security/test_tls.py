"""Keys and certificates that cannot be used end the start in one line that says what they are."""

import pytest
from served import build_artifact, server
from shell import primum

from primum.errors import InputError
from primum.serving.security.access import Tokens
from primum.serving.security.tls import Tls

trustme = pytest.importorskip("trustme")
from cryptography.hazmat.primitives import serialization as forms  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa, x25519  # noqa: E402

PEM, PUBLIC = forms.Encoding.PEM, forms.PublicFormat.SubjectPublicKeyInfo


def public(key, encoding=PEM):
    return key.public_key().public_bytes(encoding, PUBLIC)


def private(key, word=None):
    how = forms.BestAvailableEncryption(word) if word else forms.NoEncryption()
    return key.private_bytes(PEM, forms.PrivateFormat.PKCS8, how)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Keys and certificates by name, good ones and others."""
    folder, key, authority = tmp_path_factory.mktemp("keys"), ec.generate_private_key(ec.SECP256R1()), trustme.CA()
    made = authority.issue_cert("127.0.0.1")
    contents = {
        "garbage": b"hello\n",
        "binary": bytes(range(256)),
        "empty": b"",
        "der": public(key, forms.Encoding.DER),
        "private": private(key),
        "encrypted": private(key, b"word"),
        "short_rsa": public(rsa.generate_private_key(65537, 1024)),
        "dsa": public(dsa.generate_private_key(2048)),
        "curve": public(ec.generate_private_key(ec.SECP384R1())),
        "x25519": public(x25519.X25519PrivateKey.generate()),
        "torn": public(key)[:60],
        "ec": public(key),
        "rsa": public(rsa.generate_private_key(65537, 2048)),
        "ed": public(ed25519.Ed25519PrivateKey.generate()),
        "certificate": made.cert_chain_pems[0].bytes(),
        "key": made.private_key_pem.bytes(),
        "ca": authority.cert_pem.bytes(),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize(
    ("name", "said"),
    [
        *[(name, "no public key in PEM") for name in ("garbage", "binary", "empty", "der", "torn", "certificate")],
        *[(name, "holds a private key") for name in ("private", "encrypted")],
        *[(name, "RSA of at least 2048 bits") for name in ("short_rsa", "dsa", "curve", "x25519")],
        ("missing", "cannot read"),
    ],
)
def test_a_key_of_tokens_that_verifies_none_is_refused(files, name, said):
    with pytest.raises(InputError, match=said) as found:
        Tokens(files / name)
    assert str(files / name) in str(found.value)


@pytest.mark.parametrize("name", ["ec", "rsa", "ed"])
def test_the_kinds_of_keys_that_are_taken(files, name):
    assert Tokens(files / name).caller("a.b.c") is None


@pytest.mark.parametrize(
    ("certificate", "key", "ca", "said"),
    [
        ("garbage", "key", None, "garbage holds no certificate"),
        ("ec", "key", None, "ec holds no certificate"),
        ("certificate", "garbage", None, "garbage holds no private key"),
        ("certificate", "encrypted", None, "encrypted is encrypted"),
        ("certificate", "private", None, "is not the key of"),
        ("certificate", "key", "binary", "binary holds no certificate"),
        ("certificate", "missing", None, "cannot read"),
    ],
)
def test_files_that_make_no_server_are_refused(files, certificate, key, ca, said):
    with pytest.raises(InputError, match=said):
        Tls(files / certificate, files / key, None if ca is None else files / ca)


def test_good_files_make_one(files):
    assert Tls(files / "certificate", files / "key", files / "ca").pems.client_ca


@pytest.mark.parametrize(
    "given",
    [
        ["--jwt-key", "garbage"],
        ["--jwt-key", "private"],
        ["--tls-cert", "garbage", "--tls-key", "key"],
        ["--tls-cert", "certificate", "--tls-key", "encrypted"],
        ["--tls-cert", "certificate", "--tls-key", "key", "--client-ca", "garbage"],
    ],
)
def test_the_start_ends_in_one_line(files, tmp_path, given):
    artifact = build_artifact(tmp_path / "artifact")
    done = primum("serve", artifact, *(text if text.startswith("--") else files / text for text in given))
    assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_tokens_without_an_audience_are_warned_of_at_the_start(files, tmp_path):
    artifact = build_artifact(tmp_path / "artifact")
    for more, warned in ((["--jwt-audience", "primum"], False), ([], True)):
        with server(artifact, "--jwt-key", files / "ec", *more, give_process=True) as (_, process):
            process.terminate()
            assert ("give --jwt-audience" in process.stdout.read()) is warned
