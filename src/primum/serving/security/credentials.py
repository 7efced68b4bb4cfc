"""What callers are recognised by, from the files that the operator names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from primum.errors import InputError
from primum.serving.security.access import Caller, Tokens, lists_certificates, read_keys


@dataclass(frozen=True)
class Credentials:
    """`certificates`: clients show one. `alone`: one server sees all requests, so that it can hold callers to rates."""

    keys: Path | None = None
    jwt_key: Path | None = None
    jwt_audience: str | None = None
    certificates: bool = False
    alone: bool = True

    def read(self) -> tuple[dict[str, Caller] | None, Tokens | None]:
        """The files' callers, and what recognises tokens. Raises InputError."""
        tokens = None if self.jwt_key is None else Tokens(self.jwt_key, self.jwt_audience)
        keys = None if self.keys is None else read_keys(self.keys)
        if keys is not None and lists_certificates(keys) and not self.certificates:
            raise InputError(f"{self.keys} lists certificates, which clients are asked for only with --client-ca")
        if keys is not None and not self.alone and any(one.rate_per_s is not None for one in keys.values()):
            raise InputError(f"{self.keys} holds callers to rates, for which one server must see all their requests")
        return keys, tokens
