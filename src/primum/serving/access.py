"""Who may ask what: API keys from a file that holds their hashes alone, or signed tokens (JWT); and how often."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from primum.config import explain
from primum.errors import InputError, PrimumError

ALGORITHMS = ("RS256", "ES256", "EdDSA")
"""Signatures that are taken; all of them leave the server without a secret."""
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


class _Key(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str = Field(min_length=1, max_length=100)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    scopes: tuple[Scope, ...] = (Scope.INFER,)
    rate_per_s: float | None = Field(None, gt=0)


class _Keys(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    keys: tuple[_Key, ...]


def new_key(name: str, scopes: tuple[Scope, ...] = (Scope.INFER,)) -> tuple[str, str]:
    """A new key, to be given to its holder, and its entry for the file of keys, which does not tell it."""
    key = _PREFIX + secrets.token_urlsafe(32)
    entry = {"name": name, "sha256": hashlib.sha256(key.encode()).hexdigest(), "scopes": [s.value for s in scopes]}
    return key, yaml.safe_dump({"keys": [entry]}, sort_keys=False)


def read_keys(path: Path) -> dict[str, Caller]:
    """Callers by the SHA-256 of their keys. Raises InputError."""
    try:
        raw = yaml.safe_load(path.read_text())
        found = _Keys.model_validate(raw)
    except OSError as error:
        raise InputError(f"cannot read the keys {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not valid YAML") from error
    except ValidationError as error:
        raise InputError(f"{path}: {explain(error)}") from error
    if not found.keys:
        raise InputError(f"{path} holds no key: add an entry of `primum serve --new-key NAME`, or leave --keys out")
    names = [key.name for key in found.keys]
    if len(set(names)) < len(names) or len({key.sha256 for key in found.keys}) < len(names):
        raise InputError(f"{path}: a name or a key is there twice")
    return {key.sha256: Caller(key.name, frozenset(key.scopes), key.rate_per_s) for key in found.keys}


class Tokens:
    """Signed tokens (RFC 7519): `sub` names the caller, `scope` lists scopes, `exp` is required."""

    def __init__(self, public_key: Path, audience: str | None = None, issuer: str | None = None) -> None:
        """`public_key`: PEM. Raises InputError."""
        try:
            self._key = public_key.read_text()
        except OSError as error:
            raise InputError(f"cannot read {public_key}: {error.strerror}") from error
        self._audience, self._issuer = audience, issuer

    def caller(self, token: str) -> Caller | None:
        """Whom the token names; None where it is not valid."""
        import jwt

        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._key,
                algorithms=list(ALGORITHMS),
                audience=self._audience,
                issuer=self._issuer,
                options={"require": ["exp", "sub"], "verify_aud": self._audience is not None},
            )
        except (jwt.PyJWTError, ValueError):
            return None
        scopes = frozenset(s for s in Scope if s in str(claims.get("scope", "")).split())
        return Caller(str(claims["sub"])[:100], scopes)


class Access:
    """Recognises callers and holds them to their rates. Where neither keys nor tokens are asked for (`keys` None)
    everybody may do everything; with no key in `keys`, nobody anything.
    """

    def __init__(
        self,
        keys: dict[str, Caller] | None = None,
        tokens: Tokens | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keys, self._tokens, self._clock = keys or {}, tokens, clock
        self._open = keys is None and tokens is None
        self._rates: dict[str, tuple[float, float]] = {}

    @property
    def open(self) -> bool:
        """Nobody is asked who they are."""
        return self._open

    def admit(self, authorization: bytes | None, api_key: bytes | None, scope: Scope) -> Caller:
        """The caller of a request with these headers, who may do this now. Raises AccessDenied."""
        if self.open:
            return ANYBODY
        caller = self._recognise(authorization, api_key)
        if caller is None:
            raise AccessDenied("say who you are: Authorization: Bearer KEY", known=False)
        if scope not in caller.scopes:
            raise AccessDenied(f"this caller lacks the scope {scope.value!r}", known=True)
        self._hold_to_rate(caller)
        return caller

    def _recognise(self, authorization: bytes | None, api_key: bytes | None) -> Caller | None:
        secret = api_key
        if authorization is not None and authorization[:7].lower() == b"bearer ":
            secret = authorization[7:].strip()
        if not secret:
            return None
        # By its hash: how long the look-up takes tells nothing of any key.
        caller = self._keys.get(hashlib.sha256(secret).hexdigest())
        if caller is None and self._tokens is not None and secret.count(b".") == 2:
            caller = self._tokens.caller(secret.decode("ascii", "replace"))
        return caller

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
