"""Who may ask what: API keys from a file that holds their hashes alone, signed tokens (JWT), or the certificates that
clients show; and how often.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from primum.config import explain
from primum.errors import InputError, PrimumError
from primum.serving.security.tls import public_key as read_public_key

_PREFIX = "primum_"


class Scope(StrEnum):
    """What a caller may do."""

    INFER = "infer"
    METRICS = "metrics"
    OPTIMIZE = "optimize"
    ADMIN = "admin"


class AccessDenied(PrimumError):
    """Nobody known (`known` False), or somebody who may not do this, or not so often (`retry_after_s`)."""

    def __init__(self, text: str, known: bool, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.known, self.retry_after_s = known, retry_after_s


@dataclass(frozen=True)
class Caller:
    """Somebody who was recognised."""

    name: str
    scopes: frozenset[Scope]
    rate_per_s: float | None = None


ANYBODY = Caller("anybody", frozenset(Scope))
"""Where nobody is asked who they are."""


_CERTIFICATE = "certificate "
"""Before the name of one among the callers: hashes hold no space."""


class _Key(BaseModel):
    """Of a key, or of a certificate; `name` is who its holder is."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str | None = Field(None, min_length=1, max_length=100)
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    certificate: str | None = Field(None, min_length=1)
    scopes: tuple[Scope, ...] = (Scope.INFER,)
    rate_per_s: float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _check(self) -> _Key:
        if (self.sha256 is None) == (self.certificate is None):
            raise ValueError("give either the sha256 of a key or the name of a certificate")
        if self.certificate is None and self.name is None:
            raise ValueError("a key takes a name")
        return self

    @property
    def place(self) -> str:
        """Among the callers."""
        return self.sha256 or f"{_CERTIFICATE}{self.certificate}"

    @property
    def caller(self) -> Caller:
        return Caller(self.name or str(self.certificate)[:100], frozenset(self.scopes), self.rate_per_s)


class _Keys(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    keys: tuple[_Key, ...]


def new_key(name: str, scopes: tuple[Scope, ...] = (Scope.INFER,)) -> tuple[str, str]:
    """A new key, to be given to its holder, and its entry for the file of keys, which does not tell it."""
    key = _PREFIX + secrets.token_urlsafe(32)
    entry = {"name": name, "sha256": hashlib.sha256(key.encode()).hexdigest(), "scopes": [s.value for s in scopes]}
    return key, yaml.safe_dump({"keys": [entry]}, sort_keys=False)


def read_keys(path: Path) -> dict[str, Caller]:
    """Callers by the SHA-256 of their keys, or as `certificate NAME`; none where the last was taken out.

    Raises InputError.
    """
    try:
        raw = yaml.safe_load(path.read_text())
        found = _Keys.model_validate(raw)
    except OSError as error:
        raise InputError(f"cannot read the keys {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not valid YAML") from error
    except ValidationError as error:
        raise InputError(f"{path}: {explain(error)}") from error
    callers = {key.place: key.caller for key in found.keys}
    if len(callers) < len(found.keys) or len({caller.name for caller in callers.values()}) < len(found.keys):
        raise InputError(f"{path}: a name or a key is there twice")
    return callers


def lists_certificates(callers: Mapping[str, Caller]) -> bool:
    """Whether some of the callers of a file are known by their certificates."""
    return any(place.startswith(_CERTIFICATE) for place in callers)


class Tokens:
    """Signed tokens (RFC 7519): `sub` names the caller, `scope` lists scopes, `exp` is required.

    A token that names an audience is for nobody else: without `audience` it is refused (section 4.1.3).
    """

    def __init__(self, public_key: Path, audience: str | None = None, issuer: str | None = None) -> None:
        """`public_key`: PEM. Raises InputError."""
        self._key = read_public_key(public_key)
        self._algorithm = _algorithm(public_key, self._key)
        self._audience, self._issuer = audience, issuer

    def caller(self, token: str) -> Caller | None:
        """Whom the token names; None where it is not valid."""
        import jwt

        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._key,
                algorithms=[self._algorithm],
                audience=self._audience,
                issuer=self._issuer,
                options={"require": ["exp", "sub"], "verify_aud": True},
            )
        except (jwt.PyJWTError, ValueError):
            return None
        scopes = frozenset(s for s in Scope if s in str(claims.get("scope", "")).split())
        return Caller(str(claims["sub"])[:100], scopes)


def _algorithm(path: Path, key: Any) -> str:
    """What a key's holder signs with. Raises InputError where that is not taken."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= 2048:
        return "RS256"
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return "ES256"
    if isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
        return "EdDSA"
    raise InputError(
        f"{path}: tokens are signed with RSA of at least 2048 bits, ECDSA on P-256 or EdDSA, by no other key"
    )


class Access:
    """Recognises callers and holds them to their rates. Where neither keys (`keys` None) nor tokens nor certificates
    are asked for everybody may do everything; with no key in `keys`, nobody anything.
    """

    def __init__(
        self,
        keys: dict[str, Caller] | None = None,
        tokens: Tokens | None = None,
        clock: Callable[[], float] = time.monotonic,
        certificates: bool = False,
    ) -> None:
        """`certificates`: callers show one, that an authority of ours signed. Who is not listed by it may infer; not
        where only keys are listed, or tokens are taken, which it is then shown beside.
        """
        self._clock, self._certificates = clock, certificates
        self.replace(keys, tokens)
        self._rates: dict[str, tuple[float, float]] = {}

    @property
    def open(self) -> bool:
        """Nobody is asked who they are."""
        return not (self._asks or self._certificates)

    def replace(self, keys: dict[str, Caller] | None, tokens: Tokens | None) -> None:
        """From now on these are recognised and no others. No keys left let nobody in; None: keys are not asked for."""
        self._keys, self._tokens = keys or {}, tokens
        self._asks = keys is not None or tokens is not None

    def admit(
        self, authorization: bytes | None, api_key: bytes | None, scope: Scope, certificate: str | None = None
    ) -> Caller:
        """The caller of a request with these headers, on a connection whose certificate names this, who may do this
        now. Raises AccessDenied.
        """
        if self.open:
            return ANYBODY
        caller = self._recognise(authorization, api_key, certificate)
        if caller is None:
            raise AccessDenied("say who you are: Authorization: Bearer KEY", known=False)
        if scope not in caller.scopes:
            raise AccessDenied(f"this caller lacks the scope {scope.value!r}", known=True)
        self._hold_to_rate(caller)
        return caller

    def _recognise(self, authorization: bytes | None, api_key: bytes | None, certificate: str | None) -> Caller | None:
        secret = api_key
        if authorization is not None and authorization[:7].lower() == b"bearer ":
            secret = authorization[7:].strip()
        if not secret:
            return self._holder(certificate) if certificate and self._certificates else None
        # By its hash: how long the look-up takes tells nothing of any key.
        caller = self._keys.get(hashlib.sha256(secret).hexdigest())
        if caller is None and self._tokens is not None and secret.count(b".") == 2:
            caller = self._tokens.caller(secret.decode("ascii", "replace"))
        return caller

    def _holder(self, certificate: str) -> Caller | None:
        listed = self._keys.get(_CERTIFICATE + certificate)
        if listed is not None:
            return listed
        known = not self._asks or lists_certificates(self._keys)
        return Caller(certificate[:100], frozenset({Scope.INFER})) if known else None

    def _hold_to_rate(self, caller: Caller) -> None:
        """A bucket that fills at the rate and holds one second of it, at least one request."""
        rate = caller.rate_per_s
        if rate is None:
            return
        now = self._clock()
        left, since = self._rates.get(caller.name, (max(rate, 1.0), now))
        left = min(max(rate, 1.0), left + (now - since) * rate)
        if left < 1:
            self._rates[caller.name] = (left, now)
            raise AccessDenied("too many requests of this caller", known=True, retry_after_s=(1 - left) / rate)
        self._rates[caller.name] = (left - 1, now)
