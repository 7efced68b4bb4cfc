"""Callers: recognised by key or token, held to scope and rate, and nobody else."""

import hashlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from primum.errors import InputError
from primum.serving.security.access import ANYBODY, Access, AccessDenied, Caller, Scope, Tokens, new_key, read_keys


@pytest.fixture
def keys(tmp_path):
    """One caller who may infer."""
    key, entry = new_key("ward-7")
    (tmp_path / "keys.yaml").write_text(entry)
    assert key not in entry
    return key.encode(), read_keys(tmp_path / "keys.yaml")


def test_a_key_names_its_holder_in_either_header(keys):
    key, callers = keys
    access = Access(callers)
    assert access.admit(b"Bearer " + key, None, Scope.INFER).name == "ward-7"
    assert access.admit(None, key, Scope.INFER).name == "ward-7"


@given(st.none() | st.binary(max_size=60))
def test_nothing_else_is_let_in(header):
    access = Access({hashlib.sha256(b"the key").hexdigest(): Caller("ward-7", frozenset({Scope.INFER}))})
    for authorization, api_key in ((header, None), (None, header), (b"Bearer " + (header or b""), None)):
        with pytest.raises(AccessDenied) as denied:
            access.admit(authorization, api_key, Scope.INFER)
        assert not denied.value.known


def test_the_hash_in_the_file_is_no_key(keys):
    _, callers = keys
    (hashed,) = callers
    with pytest.raises(AccessDenied):
        Access(callers).admit(None, hashed.encode(), Scope.INFER)


def test_a_scope_that_was_not_given_is_refused(keys):
    key, callers = keys
    with pytest.raises(AccessDenied, match="'metrics'") as denied:
        Access(callers).admit(None, key, Scope.METRICS)
    assert denied.value.known


def test_a_rate_lets_a_second_s_worth_through_and_then_fills_again(tmp_path):
    key, entry = new_key("ward-7")
    (tmp_path / "keys.yaml").write_text(entry + "  rate_per_s: 5\n")
    now = [100.0]
    access = Access(read_keys(tmp_path / "keys.yaml"), clock=lambda: now[0])
    for _ in range(5):
        access.admit(None, key.encode(), Scope.INFER)
    with pytest.raises(AccessDenied, match="too many") as denied:
        access.admit(None, key.encode(), Scope.INFER)
    assert denied.value.retry_after_s == pytest.approx(0.2)
    now[0] += 0.2
    access.admit(None, key.encode(), Scope.INFER)


def test_without_keys_everybody_may_do_everything():
    assert Access().open and Access().admit(None, None, Scope.ADMIN) is ANYBODY


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not valid YAML"),
        ("keys: 3", "keys"),
        ("keys: [{name: a, sha256: abc}]", "sha256"),
        (f"keys: [{{name: a, sha256: {'a' * 64}}}, {{name: a, sha256: {'b' * 64}}}]", "twice"),
        (f"keys: [{{name: a, sha256: {'a' * 64}, scopes: [root]}}]", "scopes"),
        (f"keys: [{{name: a, sha256: {'a' * 64}, certificate: b}}]", "either"),
        ("keys: [{name: a}]", "either"),
        (f"keys: [{{sha256: {'a' * 64}}}]", "name"),
        ("keys: [{certificate: a}, {certificate: a, scopes: [admin]}]", "twice"),
    ],
)
def test_a_file_of_keys_that_cannot_be_used_says_where(tmp_path, text, said):
    (tmp_path / "keys.yaml").write_text(text)
    with pytest.raises(InputError, match=said):
        read_keys(tmp_path / "keys.yaml")


LISTED = "keys: [{certificate: ris.example, scopes: [infer, admin], rate_per_s: 1}]"


def reads(folder, text):
    (folder / "keys.yaml").write_text(text)
    return read_keys(folder / "keys.yaml")


def test_a_certificate_may_do_what_the_file_lists_for_it(tmp_path):
    access = Access(reads(tmp_path, LISTED), certificates=True)
    caller = access.admit(None, None, Scope.ADMIN, "ris.example")
    assert caller.name == "ris.example" and caller.scopes == {Scope.INFER, Scope.ADMIN}
    with pytest.raises(AccessDenied, match="too many"):
        access.admit(None, None, Scope.INFER, "ris.example")


@pytest.mark.parametrize("text", [None, LISTED])
def test_a_certificate_that_is_not_listed_may_infer(tmp_path, text):
    access = Access(None if text is None else reads(tmp_path, text), certificates=True)
    assert not access.open
    assert access.admit(None, None, Scope.INFER, "pacs.example").name == "pacs.example"
    for scope in set(Scope) - {Scope.INFER}:
        with pytest.raises(AccessDenied, match="lacks the scope") as denied:
            access.admit(None, None, scope, "pacs.example")
        assert denied.value.known


def test_a_certificate_that_names_nobody_is_nobody():
    for shown in ("", None):
        with pytest.raises(AccessDenied) as denied:
            Access(certificates=True).admit(None, None, Scope.INFER, shown)
        assert not denied.value.known


def test_beside_keys_a_certificate_alone_opens_nothing(keys):
    """The file lists keys and no certificate: whoever wrote it wanted both."""
    key, callers = keys
    access = Access(callers, certificates=True)
    with pytest.raises(AccessDenied):
        access.admit(None, None, Scope.INFER, "pacs.example")
    assert access.admit(None, key, Scope.INFER, "pacs.example").name == "ward-7"


def test_a_wrong_key_is_refused_whatever_the_certificate(tmp_path):
    with pytest.raises(AccessDenied):
        Access(reads(tmp_path, LISTED), certificates=True).admit(b"Bearer wrong", None, Scope.INFER, "ris.example")


def test_the_name_of_a_certificate_is_no_key(tmp_path):
    access = Access(reads(tmp_path, LISTED), certificates=True)
    for sent in (b"ris.example", b"certificate ris.example"):
        with pytest.raises(AccessDenied):
            access.admit(None, sent, Scope.INFER)


@pytest.fixture
def signer(tmp_path):
    """Signs tokens, and the public key's file."""
    jwt = pytest.importorskip("jwt")
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    private = ec.generate_private_key(ec.SECP256R1())
    public = tmp_path / "public.pem"
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    public.write_bytes(private.public_key().public_bytes(serialization.Encoding.PEM, form))

    def sign(**changes):
        claims = {"sub": "ris", "scope": "infer", "exp": time.time() + 60, "aud": "primum", **changes}
        return jwt.encode({k: v for k, v in claims.items() if v is not None}, private, algorithm="ES256").encode()

    return sign, public


def test_a_token_names_its_subject_and_scopes(signer):
    sign, public = signer
    access = Access(tokens=Tokens(public, audience="primum"))
    assert access.admit(b"Bearer " + sign(scope="infer other"), None, Scope.INFER).name == "ris"
    with pytest.raises(AccessDenied, match="lacks the scope"):
        access.admit(b"Bearer " + sign(scope=""), None, Scope.INFER)


def test_without_an_audience_of_its_own_it_takes_no_token_that_names_one(signer):
    sign, public = signer
    access = Access(tokens=Tokens(public))
    assert access.admit(b"Bearer " + sign(aud=None), None, Scope.INFER).name == "ris"
    for audience in ("primum", ["primum", "pacs"]):
        with pytest.raises(AccessDenied):
            access.admit(b"Bearer " + sign(aud=audience), None, Scope.INFER)


def test_tokens_that_are_expired_forged_or_for_others_are_refused(signer):
    import jwt

    sign, public = signer
    access = Access(tokens=Tokens(public, audience="primum"))
    good = sign()
    forged = good[:-6] + (b"AAAAAA" if good[-6:] != b"AAAAAA" else b"BBBBBB")
    secret = public.read_text().replace("-----BEGIN PUBLIC KEY-----", "")
    shared = jwt.encode({"sub": "ris", "scope": "infer", "exp": time.time() + 60, "aud": "primum"}, secret, "HS256")
    nobody = jwt.encode({"sub": "ris", "scope": "infer", "exp": time.time() + 60, "aud": "primum"}, None, "none")
    for token in (sign(exp=time.time() - 5), sign(aud="other"), sign(exp=None), sign(sub=None), forged, shared, nobody):
        token = token if isinstance(token, bytes) else token.encode()
        with pytest.raises(AccessDenied):
            access.admit(b"Bearer " + token, None, Scope.INFER)


@pytest.mark.parametrize("written", ["keys:\n", "", "keys: [{name: a}]\n", "[]\n"])
def test_a_file_of_keys_that_lets_nobody_in_is_refused(tmp_path, written):
    (tmp_path / "keys.yaml").write_text(written)
    with pytest.raises(InputError, match=r"keys\.yaml"):
        read_keys(tmp_path / "keys.yaml")


def test_where_the_last_key_was_taken_out_a_certificate_opens_nothing_either():
    access = Access({"0" * 64: ANYBODY}, certificates=True)
    access.replace({}, None)
    with pytest.raises(AccessDenied):
        access.admit(None, None, Scope.INFER, certificate="ris.example")


def test_no_key_left_lets_nobody_in(tmp_path):
    (tmp_path / "keys.yaml").write_text("keys: []\n")
    access = Access(read_keys(tmp_path / "keys.yaml"))
    assert not access.open
    for header in (None, b"", b"Bearer x"):
        with pytest.raises(AccessDenied):
            access.admit(header, None, Scope.INFER)
