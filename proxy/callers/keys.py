"""The keys that verify tokens: which are strong enough for an algorithm, and how they are read from text or a file.

A key of another type than the algorithm's is refused before a token comes (RFC 8725 §3.1), so that none can be
mistaken for a shared secret.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, Protocol, TypeAlias

import jwt
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from msgspec import UNSET, Struct, UnsetType

from proxy import secret_file
from proxy.secret import Secret
from proxy.secret_file import Reloaded
from proxy.settings import JwtSettings

PublicKey: TypeAlias = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey
Key: TypeAlias = Secret | PublicKey
"""A shared secret, or a public key."""
NamedKeys: TypeAlias = tuple[tuple[str | None, PublicKey], ...]
"""Keys, each with its ``kid`` if it has one."""
MIN_RSA: Final = 2048
"""Bits of an RSA key (RFC 7518 §3.3)."""
MIN_SECRET: Final = 32
"""Bytes of a shared secret (RFC 7518 §3.2)."""
MAX_FILE: Final = 16 * 1024
"""Bytes of a file that holds a key."""
_NEEDED: Final = {
    "HS256": f"a secret of at least {MIN_SECRET} bytes that is no PEM and no JWK",
    "RS256": f"the PEM of an RSA public key of at least {MIN_RSA} bits",
    "ES256": "the PEM of a P-256 public key",
    "EdDSA": "the PEM of an Ed25519 public key",
}
_MEMBERS: Final = {"RS256": ("RSA", "n", "e"), "ES256": ("EC", "crv", "x", "y"), "EdDSA": ("OKP", "crv", "x")}
"""The ``kty`` that an algorithm needs, and the members that make up such a public key (RFC 7518 §6, RFC 8037 §2)."""
_log: Final = logging.getLogger("proxy.keys")


class KeyFault(ValueError):
    """A key, or a set of keys, cannot be used; the text never shows it."""


class KeySource(Protocol):
    """Where keys come from. ``generation`` grows whenever they change."""

    generation: int

    def check_for_changes(self) -> bool:
        """Notice that the keys may have changed; nobody waits. Return whether those that are known count meanwhile."""

    async def find(self, kid: str | None) -> Sequence[Key]:
        """Return the keys named ``kid``, or raise Unauthorized."""

    async def aclose(self, timeout: float = 0.0) -> None:
        """Close what is open."""


class FixedKey:
    """The one key of a setting, or of a file, which is read again when it changes, as the hub's token is.

    Raises:
        KeyFault: on construction, if there is no usable key.
    """

    def __init__(self, settings: JwtSettings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._algorithm = settings.algorithm or ""
        read = partial(read_key, algorithm=self._algorithm)
        self._file = Reloaded(Path(settings.key_file), read, "key", _log) if settings.key_file else None
        self._clock = clock
        self._looked_at = clock()
        self._key = self._file.value if self._file else load_key(settings.key, self._algorithm)
        self.generation = 0

    def check_for_changes(self) -> bool:
        """Read the file again if it changed, at most once a second; the last good key outlives a bad file."""
        now = self._clock()
        if self._file is not None and now - self._looked_at >= 1:
            self._looked_at = now
            if self._file.reload_if_changed():
                self._key = self._file.value
                self.generation += 1
        return True

    async def find(self, kid: str | None) -> Sequence[Key]:  # noqa: ARG002  whatever the token calls it, there is one
        """Return the key."""
        return (self._key,)

    async def aclose(self, timeout: float = 0.0) -> None:
        """Do nothing: nothing is open."""


def load_key(text: Secret | None, algorithm: str) -> Key:
    """Return the key that a text is.

    Raises:
        KeyFault: it is none for ``algorithm``.
    """
    secret = text or Secret("")
    raw = secret.encoded()
    try:
        if algorithm == "HS256":
            key: object = jwt.get_algorithm_by_name(algorithm).prepare_key(raw)
        else:
            key = load_pem_public_key(raw)
    except (jwt.InvalidKeyError, UnsupportedAlgorithm, ValueError):
        key = None
    if isinstance(key, bytes) and len(key) >= MIN_SECRET:
        return secret
    if not isinstance(key, PublicKey) or not suits(key, algorithm):
        private = ", and a private key has no business here" if b"PRIVATE KEY-----" in raw else ""
        raise KeyFault(f"is not {_NEEDED[algorithm]}{private}")
    return key


def read_key(path: Path, algorithm: str) -> Key:
    """Read a key from a file, without the white space around it.

    Raises:
        KeyFault: the file cannot be read, or holds none for ``algorithm``.
    """
    try:
        raw = secret_file.read(path, MAX_FILE)
    except ValueError as fault:
        raise KeyFault(str(fault)) from None
    try:
        return load_key(Secret(raw.decode("utf-8", "surrogateescape").strip()), algorithm)
    except KeyFault as fault:
        raise KeyFault(f"the content of {str(path)!r} {fault}") from None


def suits(key: object, algorithm: str) -> bool:
    """Whether this public key verifies signatures of ``algorithm``, and is not too weak for it (RFC 7518 §3)."""
    match key:
        case RSAPublicKey():
            return algorithm == "RS256" and key.key_size >= MIN_RSA
        case EllipticCurvePublicKey():
            return algorithm == "ES256" and isinstance(key.curve, SECP256R1)
        case _:
            return algorithm == "EdDSA" and isinstance(key, Ed25519PublicKey)


class _JwkSet(Struct, frozen=True):
    keys: list[msgspec.Raw]


class _Jwk(Struct, frozen=True):
    kty: str
    kid: str | None = None
    use: str | None = None
    alg: str | None = None
    key_ops: list[str] | None = None
    crv: str | None = None
    n: str | None = None
    e: str | None = None
    x: str | None = None
    y: str | None = None
    d: msgspec.Raw | UnsetType = UNSET


def usable_keys(body: bytes, algorithm: str) -> NamedKeys:
    """Return the keys of a JWK set that verify ``algorithm``; whatever else is in it is ignored (RFC 7517 §5).

    There may be none: so the last key is withdrawn.

    Raises:
        KeyFault: it is no JWK set.
    """
    try:
        raws = msgspec.json.decode(body, type=_JwkSet).keys
    except (msgspec.MsgspecError, RecursionError, ValueError):
        raise KeyFault("the answer is not a JWK set") from None
    return tuple(found for raw in raws if (found := _usable(raw, algorithm)) is not None)


def _usable(raw: msgspec.Raw, algorithm: str) -> tuple[str | None, PublicKey] | None:
    try:
        jwk = msgspec.json.decode(raw, type=_Jwk)
        kty, *members = _MEMBERS[algorithm]
        if jwk.kty != kty or jwk.use not in (None, "sig") or jwk.alg not in (None, algorithm):
            return None
        # A private key that is published verifies nothing: anybody can sign with it.
        if (jwk.key_ops is not None and "verify" not in jwk.key_ops) or jwk.d is not UNSET:
            return None
        public = {"kty": kty, **{name: getattr(jwk, name) for name in members}}
        key = jwt.PyJWK(public, algorithm).key
    except (msgspec.MsgspecError, jwt.PyJWTError, UnsupportedAlgorithm, ValueError, TypeError, OverflowError):
        return None
    return (jwk.kid, key) if suits(key, algorithm) else None
