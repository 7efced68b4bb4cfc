import base64
import builtins
import json
import socket
import subprocess
import sys

import pytest

from primum.artifact.manifest import artifact_digest, read_manifest, write_manifest
from primum.artifact.signing import sign, signature_path, verify_signature
from primum.errors import InputError, IntegrityError, MissingExtra

pytest.importorskip("model_signing", reason="needs primum[signing]")

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)


def write_keys(folder, name, key, password=None):
    lock = BestAvailableEncryption(password) if password else NoEncryption()
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


@pytest.fixture
def keys(tmp_path):
    return write_keys(tmp_path, "key", ec.generate_private_key(ec.SECP256R1()))


def test_a_signed_artifact_is_still_an_artifact_and_its_signature_holds(artifact, keys):
    private, public = keys
    made = sign(artifact, private)
    assert made == signature_path(artifact) == artifact.parent / "artifact.sig" and made.is_file()
    read_manifest(artifact)
    verify_signature(artifact, public)
    payload = json.loads(made.read_bytes())["dsseEnvelope"]
    assert payload["payloadType"] == "application/vnd.in-toto+json"


def test_every_file_is_signed_those_of_git_included(artifact, keys, make_manifest):
    (artifact / ".gitattributes").write_text("* binary")
    write_manifest(artifact, make_manifest())
    envelope = json.loads(sign(artifact, keys[0]).read_bytes())["dsseEnvelope"]
    statement = json.loads(base64.b64decode(envelope["payload"]))
    signed = {item["name"]: item["digest"] for item in statement["predicate"]["resources"]}
    manifest = read_manifest(artifact)
    assert signed == {**manifest.files, "manifest.json": artifact_digest(artifact)}
    verify_signature(artifact, keys[1])


@pytest.mark.parametrize("curve", [ec.SECP384R1(), ec.SECP521R1()])
def test_the_longer_curves(artifact, tmp_path, curve):
    private, public = write_keys(tmp_path, "long", ec.generate_private_key(curve))
    sign(artifact, private)
    verify_signature(artifact, public)


def test_another_key_did_not_sign_it(artifact, keys, tmp_path):
    sign(artifact, keys[0])
    _, other = write_keys(tmp_path, "other", ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(IntegrityError, match=r"artifact\.sig"):
        verify_signature(artifact, other)


def test_a_forger_who_seals_anew_is_found(artifact, keys, make_manifest):
    """The manifest alone cannot tell: whoever can change the folder can change the manifest too."""
    sign(artifact, keys[0])
    (artifact / "model" / "model.onnx").write_bytes(b"another graph")
    with pytest.raises(IntegrityError, match="SHA-256"):
        verify_signature(artifact, keys[1])
    write_manifest(artifact, make_manifest())
    read_manifest(artifact)
    with pytest.raises(IntegrityError, match="does not fit"):
        verify_signature(artifact, keys[1])


@pytest.mark.parametrize("name", [".gitattributes", ".git/hook", "model/extra.bin"])
def test_an_added_file_is_found_even_where_git_would_hide_it(artifact, keys, make_manifest, name):
    sign(artifact, keys[0])
    (artifact / name).parent.mkdir(exist_ok=True)
    (artifact / name).write_bytes(b"more")
    write_manifest(artifact, make_manifest())
    with pytest.raises(IntegrityError, match="does not fit"):
        verify_signature(artifact, keys[1])


def test_a_changed_artifact_is_not_signed(artifact, keys):
    (artifact / "golden.npz").write_bytes(b"other numbers")
    with pytest.raises(IntegrityError, match="SHA-256"):
        sign(artifact, keys[0])
    assert not signature_path(artifact).exists()


def test_a_signature_goes_with_the_content_and_not_with_the_name(artifact, keys, tmp_path):
    made = sign(artifact, keys[0])
    moved = artifact.rename(tmp_path / "moved")
    with pytest.raises(InputError, match=r"moved\.sig: no such file"):
        verify_signature(moved, keys[1])
    verify_signature(moved, keys[1], made)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda b: b"",
        lambda b: b"[]",
        lambda b: b"{}",
        lambda b: b"\xff\xfe",
        lambda b: b[: len(b) // 2],
        lambda b: json.dumps({**json.loads(b), "dsseEnvelope": {}}).encode(),
        lambda b: b.replace(b'"payload":"', b'"payload":"AAAA', 1).replace(b'"payload": "', b'"payload": "AAAA', 1),
        lambda b: json.dumps(
            {**json.loads(b), "verificationMaterial": {"publicKey": {"hint": "0"}, "tlogEntries": []}}
        ).encode(),
    ],
)
def test_a_damaged_signature_is_refused(artifact, keys, spoil):
    made = sign(artifact, keys[0])
    damaged = spoil(made.read_bytes())
    assert damaged != made.read_bytes()
    made.write_bytes(damaged)
    with pytest.raises(IntegrityError, match=r"artifact\.sig"):
        verify_signature(artifact, keys[1])


def test_keys_that_cannot_be_used(artifact, keys, tmp_path):
    sign(artifact, keys[0])
    rsa_keys = write_keys(tmp_path, "rsa", rsa.generate_private_key(65537, 2048))
    koblitz = write_keys(tmp_path, "koblitz", ec.generate_private_key(ec.SECP256K1()))
    locked = write_keys(tmp_path, "locked", ec.generate_private_key(ec.SECP256R1()), b"secret")
    junk = tmp_path / "junk"
    junk.write_bytes(b"no key")
    for private in (rsa_keys[0], koblitz[0], locked[0], junk, keys[1]):
        with pytest.raises(InputError, match=r"cannot sign; an elliptic curve key \(P-256"):
            sign(artifact, private)
    for public in (rsa_keys[1], koblitz[1], junk, keys[0]):
        with pytest.raises(InputError, match="cannot verify"):
            verify_signature(artifact, public)
    for call in (sign, verify_signature):
        with pytest.raises(InputError, match="nowhere: no such file"):
            call(artifact, tmp_path / "nowhere")


def test_opens_no_socket(artifact, keys, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    sign(artifact, keys[0])
    verify_signature(artifact, keys[1])


def test_the_library_s_own_command_reads_and_writes_the_same(artifact, keys):
    command = [sys.executable, "-m", "model_signing"]
    made = sign(artifact, keys[0])
    arguments = ["--signature", str(made), str(artifact)]
    subprocess.run([*command, "verify", "key", "--public_key", str(keys[1]), *arguments], check=True)
    made.unlink()
    subprocess.run([*command, "sign", "key", "--private_key", str(keys[0]), *arguments], check=True)
    verify_signature(artifact, keys[1])


def test_without_the_library_the_extra_is_named(artifact, keys, monkeypatch):
    found = builtins.__import__

    def missing(name, *rest, **more):
        if name.startswith("model_signing"):
            raise ImportError(name)
        return found(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    for call, key in ((sign, keys[0]), (verify_signature, keys[1])):
        with pytest.raises(MissingExtra, match=r"pip install 'primum\[signing\]'"):
            call(artifact, key)
