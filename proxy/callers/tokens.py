"""JSON Web Tokens (RFC 7519) as one way to say who asks: a frontend's session, signed by whoever runs the frontend.

PyJWT does the cryptography, with the one algorithm that is set and never with what a token says of itself (RFC 8725
§3.1). Everything else about a token is decided here. An error's text helps the honest developer and never holds any
part of the token. A verified token is remembered until it expires or the keys change, so that it is verified once.
"""

from __future__ import annotations

import hashlib
import math
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

import jwt
from msgspec import Struct

from proxy.callers.caller import EVERY, Caller
from proxy.callers.jwks import KeySet
from proxy.callers.keys import FixedKey, Key, KeyFault, KeySource, load_key, read_key
from proxy.errors import Unauthorized
from proxy.hub.clients import url_is_usable
from proxy.secret import Secret
from proxy.settings import JwtSettings

MAX_TOKEN: Final = 8 * 1024
"""Characters of a token."""
MAX_REMEMBERED: Final = 10_000
"""Verified tokens that are remembered."""
MAX_NAME: Final = 128
"""Characters of a caller's name."""
_COMPACT: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*", re.ASCII)  # RFC 7515 §7.1
_SOURCES: Final = ("key", "key_file", "jwks_url")
_CLAIMS: Final[Any] = {"require": ["exp", "iss", "aud"], "verify_exp": False, "verify_nbf": False, "verify_iat": False}
_REFUSALS: Final[Mapping[type[jwt.PyJWTError], str]] = {  # a class stands before the one that it is derived from
    jwt.InvalidSignatureError: "The token's signature does not fit the key: it was changed, or signed with another.",
    jwt.InvalidAudienceError: "The token is for another audience (aud).",
    jwt.InvalidIssuerError: "The token is from another issuer (iss).",
    jwt.PyJWTError: "The token is malformed: its parts or its registered claims are not what RFC 7519 says.",
}


class Validity(Struct, frozen=True, gc=False):
    """For how long a token is valid: when it expires (Unix seconds), and the generation of keys that verified it."""

    exp: float
    generation: int


class Verified(Struct, frozen=True):
    """A token that was valid, and whose it is."""

    caller: Caller
    validity: Validity


class Tokens:
    """Tells from a token who asks.

    Raises:
        ValueError: on construction, if ``jwt_faults`` finds any, or tokens are not accepted at all.
    """

    def __init__(
        self, settings: JwtSettings, *, keys: KeySource | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        faults = jwt_faults(settings)
        if faults or settings.algorithm is None:
            raise ValueError("\n".join(faults) or "PROXY_JWT_ALGORITHM: not set; JWTs are not accepted")
        self._settings = settings
        self._keys = keys or (KeySet(settings) if settings.jwks_url else FixedKey(settings))
        self._clock = clock
        self._remembered: OrderedDict[bytes, Verified] = OrderedDict()

    def verified(self, token: str) -> Verified | None:
        """Return what is remembered of a token that was verified before and is still valid; None says nothing of it."""
        if not self._keys.check_for_changes() or len(token) > MAX_TOKEN:
            return None
        digest = _digest(token)
        found = self._remembered.get(digest)
        if found is None:
            return None
        if not self.valid(found.validity):
            del self._remembered[digest]
            return None
        self._remembered.move_to_end(digest)
        return found

    def valid(self, validity: Validity) -> bool:
        """Whether a token that was verified is still valid."""
        current = self._keys.check_for_changes()
        return current and validity.generation == self._keys.generation and self._clock() < validity.exp

    async def caller(self, token: str) -> Caller:
        """Return who asks.

        Raises:
            Unauthorized: the token is not valid.
            KeysUnavailable: it cannot be verified yet.
        """
        if (found := self.verified(token)) is not None:
            return found.caller
        keys = await self._keys.find(_kid(token, self._settings.algorithm))
        claims = self._claims(token, keys)
        now = self._clock()
        exp = _check_times(claims, now, self._settings.leeway)
        caller = _caller(claims, self._settings)
        if exp > now:
            self._remembered[_digest(token)] = Verified(caller, Validity(exp, self._keys.generation))
            if len(self._remembered) > MAX_REMEMBERED:
                self._remembered.popitem(last=False)
        return caller

    async def aclose(self, timeout: float = 0.0) -> None:
        """Wait at most ``timeout`` seconds for what is under way, then close connections."""
        await self._keys.aclose(timeout)

    def _claims(self, token: str, keys: Sequence[Key]) -> dict[str, Any]:
        """The claims of a token with the right signature, issuer and audience (RFC 8725 §3.8, §3.9).

        Keys of the same name are tried in turn: a name SHOULD be one key's, but need not be (RFC 7517 §4.5).
        """
        refusal = ""
        for key in keys:
            try:
                return self._decode(token, key)
            except jwt.MissingRequiredClaimError as error:
                raise Unauthorized(f"The token lacks the claim {error.claim!r}.") from None
            except jwt.PyJWTError as error:
                refusal = next(text for kind, text in _REFUSALS.items() if isinstance(error, kind))
                if not isinstance(error, jwt.InvalidSignatureError):
                    break
        raise Unauthorized(refusal)

    def _decode(self, token: str, key: Key) -> dict[str, Any]:
        settings = self._settings
        return jwt.decode(
            token,
            key.encoded() if isinstance(key, Secret) else key,
            algorithms=[cast("str", settings.algorithm)],
            options=_CLAIMS,
            issuer=settings.issuer,
            audience=settings.audience,
        )


def jwt_faults(settings: JwtSettings) -> list[str]:
    """What contradicts itself or is missing, one line each, which begins with the variable's name; no secrets."""
    given = [name for name in _SOURCES if getattr(settings, name) is not None]
    claims = [name for name in ("issuer", "audience") if getattr(settings, name) is None]
    if settings.algorithm is None:
        idle = [name for name in (*_SOURCES, "issuer", "audience") if getattr(settings, name) is not None]
        named = ", ".join(_variable(name) for name in idle)
        return [f"PROXY_JWT_ALGORITHM: not set, and {named} would do nothing; set it or none of them"] if idle else []
    faults = [f"{_variable(name)}: not set; tokens of and for others would pass without it" for name in claims]
    if not given:
        faults.append("PROXY_JWT_KEY: not set; set it, PROXY_JWT_KEY_FILE or PROXY_JWT_JWKS_URL")
    faults += [f"{_variable(name)}: {_variable(given[0])} is set too; set one of them" for name in given[1:]]
    return faults + [f"{_variable(name)}: {fault}" for name in given if (fault := _source_fault(settings, name))]


def _source_fault(settings: JwtSettings, name: str) -> str | None:
    algorithm = cast("str", settings.algorithm)
    try:
        if name == "key":
            load_key(settings.key, algorithm)
        elif name == "key_file":
            read_key(Path(settings.key_file or ""), algorithm)
        elif algorithm == "HS256":
            return "a JWK set is public, and HS256 needs a shared secret; set PROXY_JWT_KEY or PROXY_JWT_KEY_FILE"
        elif not url_is_usable(settings.jwks_url or ""):
            return "not a usable URL; allowed: http(s)://host[:port]/path, without user or fragment"
    except KeyFault as fault:
        return str(fault)
    return None


def _variable(name: str) -> str:
    return f"PROXY_JWT_{name.upper()}"


def _kid(token: str, algorithm: str | None) -> str | None:
    """The name of the token's key, if its header is one that is understood.

    Nothing else in it is heeded, least of all where it says to fetch keys (jku, x5u: RFC 8725 §3.10).
    """
    if len(token) > MAX_TOKEN:
        raise Unauthorized(f"The token is longer than {MAX_TOKEN} characters.")
    if not _COMPACT.fullmatch(token):
        raise Unauthorized("The token is malformed: a JWT has three parts of base64url, joined by dots.")
    try:
        header = jwt.get_unverified_header(token)
    except jwt.PyJWTError:
        raise Unauthorized("The token is malformed: its header is not what RFC 7515 says.") from None
    if header.get("alg") != algorithm:
        raise Unauthorized("The token is not signed with the algorithm (alg) that is accepted here.")
    if "crit" in header or "b64" in header:
        # RFC 7515 §4.1.11: no extension is understood.
        raise Unauthorized("The token is malformed: its header wants extensions (crit, b64) that are not understood.")
    kid: str | None = header.get("kid")
    return kid


def _check_times(claims: Mapping[str, Any], now: float, leeway: float) -> float:
    """Return when the token expires, if it has not yet and is valid already (RFC 7519 §4.1.4 to §4.1.6)."""
    exp = _numeric_date(claims, "exp", 0)
    if now - leeway >= exp:
        raise Unauthorized("The token is expired (exp).")
    for name in ("nbf", "iat"):
        if _numeric_date(claims, name, now) > now + leeway:
            raise Unauthorized(f"The token is not yet valid ({name}); the clocks may disagree.")
    return exp


def _numeric_date(claims: Mapping[str, Any], name: str, default: float) -> float:
    value = claims.get(name, default)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or (isinstance(value, float) and not math.isfinite(value)):
        raise Unauthorized(f"The token's claim {name!r} is not a number of seconds.")
    return cast("float", value)


def _caller(claims: Mapping[str, Any], settings: JwtSettings) -> Caller:
    for claim in (settings.name_claim, settings.namespaces_claim):
        if claim not in claims:
            raise Unauthorized(f"The token lacks the claim {claim!r}.")
    name, granted = claims[settings.name_claim], claims[settings.namespaces_claim]
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME or not name.isprintable():
        raise Unauthorized(f"The token's claim {settings.name_claim!r} is not a text of 1 to {MAX_NAME} characters.")
    if isinstance(granted, str):
        granted = [part for part in granted.split(" ") if part]
    if not isinstance(granted, list) or not all(isinstance(namespace, str) for namespace in granted):
        raise Unauthorized(f"The token's claim {settings.namespaces_claim!r} is neither a list of texts nor a text.")
    return Caller(f"jwt:{name}", frozenset(granted), unnamed=EVERY in granted)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
