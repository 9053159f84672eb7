"""A JWK, a set of them, and a key to make one of."""

from __future__ import annotations

import json
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

ED = ed25519.Ed25519PrivateKey.generate()


def jwk(key: Any, **members: object) -> dict[str, Any]:
    """The key's public half as a JWK; a member that is None is left out."""
    rsa_or_ec = "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"
    kind = rsa_or_ec if isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) else "EdDSA"
    made = dict(jwt.get_algorithm_by_name(kind).to_jwk(key.public_key(), as_dict=True))
    return {name: value for name, value in {**made, **members}.items() if value is not None}


def key_set(*keys: object) -> bytes:
    return json.dumps({"keys": keys}).encode()
