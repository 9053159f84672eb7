"""Tokens: who is let in, who is not and what they are told; every forgery that the RFCs warn of is a row."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal
from unittest.mock import MagicMock

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from proxy import errors
from proxy.callers import tokens
from proxy.callers.caller import Caller
from proxy.callers.keys import FixedKey
from proxy.callers.tokens import MAX_TOKEN, Tokens, jwt_faults
from proxy.secret import Secret
from proxy.settings import JwtSettings
from tests.callers import caller_known
from tests.support import NOW, Clock

Algorithm = Literal["HS256", "RS256", "ES256", "EdDSA"]
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
ISSUER = "https://id.test"
AUDIENCE = "generations"
NAME = "ann-of-accounts"
SECRET = "a shared secret of 32 bytes or so"


def pem(key: PrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def private_pem(key: PrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


RSA = rsa.generate_private_key(65_537, 2048)
OTHER_RSA = rsa.generate_private_key(65_537, 2048)
WEAK_RSA = rsa.generate_private_key(65_537, 1024)
EC = ec.generate_private_key(ec.SECP256R1())
P384 = ec.generate_private_key(ec.SECP384R1())
ED = ed25519.Ed25519PrivateKey.generate()
PRIVATE: Final[dict[Algorithm, PrivateKey | str]] = {"HS256": SECRET, "RS256": RSA, "ES256": EC, "EdDSA": ED}
PUBLIC: Final[dict[Algorithm, str]] = {"HS256": SECRET, "RS256": pem(RSA), "ES256": pem(EC), "EdDSA": pem(ED)}
ALGORITHMS: Final[list[Algorithm]] = list(PRIVATE)
ANN = Caller(f"jwt:{NAME}", frozenset({"dogs", "cats"}))


def settings(algorithm: Algorithm = "RS256", **changes: Any) -> JwtSettings:
    given = {"key": Secret(PUBLIC[algorithm]), "issuer": ISSUER, "audience": AUDIENCE, **changes}
    return JwtSettings(algorithm=algorithm, **given)


def verifier(algorithm: Algorithm = "RS256", *, clock: Clock | None = None, **changes: Any) -> Tokens:
    return Tokens(settings(algorithm, **changes), clock=clock or Clock())


def claims(*without: str, **changes: Any) -> dict[str, Any]:
    given = {"iss": ISSUER, "aud": AUDIENCE, "exp": NOW + 600, "sub": NAME, "namespaces": ["dogs", "cats"], **changes}
    return {name: value for name, value in given.items() if name not in without}


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def compact(header: object, payload: object, signature: Callable[[bytes], bytes] | None = None) -> str:
    """A token that no honest library would make; strings and bytes stand for themselves. Signed by the right key."""
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, payload)]
    signed = ".".join(b64(part) for part in parts)
    return f"{signed}.{b64((signature or rs256)(signed.encode()))}"


def rs256(data: bytes, key: rsa.RSAPrivateKey = RSA) -> bytes:
    return bytes(jwt.get_algorithm_by_name("RS256").sign(data, key))


def hs256(secret: bytes) -> Callable[[bytes], bytes]:
    return lambda data: hmac.digest(secret, data, hashlib.sha256)


def signed(payload: object = None, **header: Any) -> str:
    return compact({"alg": "RS256", "typ": "JWT", **header}, claims() if payload is None else payload)


def by_other(data: bytes) -> bytes:
    return rs256(data, OTHER_RSA)


def jwk_of(key: rsa.RSAPrivateKey) -> dict[str, Any]:
    return dict(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True))


GOOD = signed()
HEAD, BODY, SIGNATURE = GOOD.split(".")
MALFORMED, ALGORITHM, WRONG_SIGNATURE, LACKS, TIMES = "malformed", "algorithm", "signature", "lacks", "seconds"
BARE_HEADER = b'{"alg":"RS256"}'
PEM_BYTES = pem(RSA).encode()
DER_BYTES = RSA.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
FORGED_HEADERS = {
    "none": (compact({"alg": "none"}, claims(), lambda _: b""), ALGORITHM),
    "None": (compact({"alg": "None"}, claims(), lambda _: b""), ALGORITHM),
    "nOnE with a signature": (compact({"alg": "nOnE"}, claims()), ALGORITHM),
    "no alg": (compact({"typ": "JWT"}, claims()), ALGORITHM),
    "alg null": (compact({"alg": None}, claims()), ALGORITHM),
    "alg is a list": (compact({"alg": ["RS256"]}, claims()), ALGORITHM),
    "alg in lower case": (compact({"alg": "rs256"}, claims()), ALGORITHM),
    "HS256 with the PEM as secret": (compact({"alg": "HS256"}, claims(), hs256(PEM_BYTES)), ALGORITHM),
    "HS256 with the stripped PEM": (compact({"alg": "HS256"}, claims(), hs256(PEM_BYTES.strip())), ALGORITHM),
    "HS256 with the DER as secret": (compact({"alg": "HS256"}, claims(), hs256(DER_BYTES)), ALGORITHM),
    "RS256 said, HS256 made": (compact({"alg": "RS256"}, claims(), hs256(PEM_BYTES)), WRONG_SIGNATURE),
    "RS512 by the right key": (jwt.encode(claims(), RSA, "RS512"), ALGORITHM),
    "PS256 by the right key": (jwt.encode(claims(), RSA, "PS256"), ALGORITHM),
    "ES256": (jwt.encode(claims(), EC, "ES256"), ALGORITHM),
    "EdDSA": (jwt.encode(claims(), ED, "EdDSA"), ALGORITHM),
    "another key": (compact({"alg": "RS256"}, claims(), by_other), WRONG_SIGNATURE),
    "the forger's key in jwk": (compact({"alg": "RS256", "jwk": jwk_of(OTHER_RSA)}, claims(), by_other), "signature"),
    "the forger's key at jku": (compact({"alg": "RS256", "jku": "http://evil.test/"}, claims(), by_other), "signature"),
    "the forger's key at x5u": (compact({"alg": "RS256", "x5u": "http://evil.test/"}, claims(), by_other), "signature"),
    "the forger's key in x5c": (compact({"alg": "RS256", "x5c": ["MIIB"]}, claims(), by_other), WRONG_SIGNATURE),
    "crit": (signed(crit=["exp"]), MALFORMED),
    "crit that is there": (signed(crit=["evil"], evil=1), MALFORMED),
    "crit empty": (signed(crit=[]), MALFORMED),
    "crit no list": (signed(crit="exp"), MALFORMED),
    "crit b64, which PyJWT knows": (signed(crit=["b64"], b64=True), MALFORMED),
    "b64": (signed(b64=True), MALFORMED),
    "unencoded payload": (signed(crit=["b64"], b64=False), MALFORMED),
    "kid is a number": (signed(kid=1), MALFORMED),
    "kid is null": (signed(kid=None), MALFORMED),
    "header is a list": (compact(["RS256"], claims()), MALFORMED),
    "header is no JSON": (compact(b"{alg:RS256}", claims()), MALFORMED),
    "header is no UTF-8": (compact(b'{"alg":"\xff"}', claims()), MALFORMED),
    "header is deep": (compact(b"[" * 2000, claims()), MALFORMED),
}
FORGED_SEGMENTS = {
    "empty": ("", MALFORMED),
    "a word": ("hunter2", MALFORMED),
    "two parts": (f"{HEAD}.{BODY}", MALFORMED),
    "four parts": (f"{GOOD}.{SIGNATURE}", MALFORMED),
    "five parts, as if encrypted": (f"{HEAD}.{BODY}.{BODY}.{BODY}.{SIGNATURE}", MALFORMED),
    "twice the whole": (f"{GOOD}.{GOOD}", MALFORMED),
    "twice the payload": (f"{HEAD}.{BODY}.{BODY}.{SIGNATURE}", MALFORMED),
    "no header": (f".{BODY}.{SIGNATURE}", MALFORMED),
    "no payload": (f"{HEAD}..{SIGNATURE}", MALFORMED),
    "no signature": (f"{HEAD}.{BODY}.", WRONG_SIGNATURE),
    "a signature of one letter": (f"{HEAD}.{BODY}.A", MALFORMED),
    "half a signature": (f"{HEAD}.{BODY}.{SIGNATURE[:172]}", WRONG_SIGNATURE),
    "a longer signature": (f"{GOOD}AAAA", MALFORMED + "|" + WRONG_SIGNATURE),
    "another token's signature": (f"{HEAD}.{BODY}.{signed(claims(sub='eve')).split('.')[2]}", WRONG_SIGNATURE),
    "another payload": (f"{HEAD}.{b64(json.dumps(claims(namespaces=['*'])).encode())}.{SIGNATURE}", WRONG_SIGNATURE),
    "another header": (f"{b64(BARE_HEADER)}.{BODY}.{SIGNATURE}", WRONG_SIGNATURE),
    "padding": (f"{GOOD}==", MALFORMED),
    "a line feed": (f"{GOOD}\n", MALFORMED),
    "a space before": (f" {GOOD}", MALFORMED),
    "the scheme": (f"Bearer {GOOD}", MALFORMED),
    "two tokens": (f"{GOOD},{GOOD}", MALFORMED),
    "the other base64": (GOOD.replace("-", "+").replace("_", "/") + "+/", MALFORMED),
    "a NUL": (f"{GOOD}\x00", MALFORMED),
    "digits of another script": (f"{GOOD}\u0661", MALFORMED),
    "half a character": (f"{GOOD}\udcff", MALFORMED),
    "too long": (signed(claims(more="x" * MAX_TOKEN)), "longer than 8192"),
    "garbage, too long": ("." * (MAX_TOKEN + 1), "longer than 8192"),
    "payload is a list": (signed([claims()]), MALFORMED),
    "payload is no JSON": (signed(b"iss=me"), MALFORMED),
    "payload is a token": (signed(GOOD.encode()), MALFORMED),
    "payload is no UTF-8": (signed(b'{"iss":"\xff"}'), MALFORMED),
    "payload is deep": (signed(b'{"a":' + b"[" * 3000), MALFORMED),
    "payload with a number of 5000 digits": (signed(b'{"exp":' + b"9" * 5000 + b"}"), MALFORMED),
}
WRONG_CLAIMS = {
    "no exp": (claims("exp"), LACKS),
    "exp null": (claims(exp=None), LACKS),
    "exp is a text": (claims(exp=str(NOW + 600)), TIMES),
    "exp is true": (claims(exp=True), TIMES),
    "exp is a list": (claims(exp=[NOW + 600]), TIMES),
    "exp is NaN": (claims(exp=float("nan")), TIMES),
    "exp is infinite": (claims(exp=float("inf")), TIMES),
    "exp long ago": (claims(exp=0), "expired"),
    "exp before there was time": (claims(exp=-(10**400)), "expired"),
    "nbf is a text": (claims(nbf="0"), TIMES),
    "nbf null": (claims(nbf=None), TIMES),
    "nbf in milliseconds": (claims(nbf=NOW * 1000), "not yet valid"),
    "nbf beyond floats": (claims(nbf=10**400), "not yet valid"),
    "iat is a text": (claims(iat="0"), TIMES),
    "iat in an hour": (claims(iat=NOW + 3600), "not yet valid"),
    "no iss": (claims("iss"), LACKS),
    "iss null": (claims(iss=None), LACKS),
    "another's iss": (claims(iss="https://evil.test"), "issuer"),
    "iss with a slash": (claims(iss=f"{ISSUER}/"), "issuer"),
    "iss in capitals": (claims(iss=ISSUER.upper()), "issuer"),
    "iss is a list": (claims(iss=[ISSUER]), "issuer"),
    "no aud": (claims("aud"), LACKS),
    "another's aud": (claims(aud="billing"), "audience"),
    "aud begins alike": (claims(aud=f"{AUDIENCE}-admin"), "audience"),
    "aud of others": (claims(aud=["billing", "mail"]), "audience"),
    "aud is empty": (claims(aud=[]), LACKS),
    "aud is a number": (claims(aud=7), "audience"),
    "aud with a number": (claims(aud=[AUDIENCE, 7]), "audience"),
    "aud is an object": (claims(aud={AUDIENCE: 1}), "audience"),
    "no name": (claims("sub"), LACKS),
    "name is a number": (claims(sub=7), "malformed"),
    "name is empty": (claims(sub=""), "1 to 128"),
    "name is too long": (claims(sub="n" * 129), "1 to 128"),
    "name with a line feed": (claims(sub="ann\nGET /"), "1 to 128"),
    "name with half a character": (claims(sub="ann\ud800"), "1 to 128"),
    "name turns the writing": (claims(sub="ann\u202egpj"), "1 to 128"),
    "no namespaces": (claims("namespaces"), LACKS),
    "namespaces null": (claims(namespaces=None), "neither a list"),
    "namespaces is a number": (claims(namespaces=1), "neither a list"),
    "namespaces is true": (claims(namespaces=True), "neither a list"),
    "namespaces is an object": (claims(namespaces={"*": 1}), "neither a list"),
    "namespaces with a number": (claims(namespaces=["dogs", 1]), "neither a list"),
    "namespaces with a list": (claims(namespaces=[["*"]]), "neither a list"),
}


async def refusal(token: str, it: Tokens | None = None) -> str:
    """What is said of a token that is not accepted, which is never anything of the token."""
    it = it or verifier()
    with pytest.raises(errors.Unauthorized) as caught:
        await it.caller(token)
    assert caller_known(it, token) is None
    shown = repr(caught.value) + caught.value.detail
    assert not any(part in shown for part in (*token.split("."), NAME, ISSUER, "evil", "dogs") if len(part) > 3)
    assert caught.value.__cause__ is None, "no text of the library goes into a log"
    return caught.value.detail


@pytest.mark.parametrize(("token", "said"), FORGED_HEADERS.values(), ids=FORGED_HEADERS)
async def test_a_forged_header_is_refused_by_its_fault(token: str, said: str) -> None:
    assert said in await refusal(token)


@pytest.mark.parametrize(("token", "said"), FORGED_SEGMENTS.values(), ids=FORGED_SEGMENTS)
async def test_a_forged_segment_is_refused_by_its_fault(token: str, said: str) -> None:
    detail = await refusal(token)
    assert any(one in detail for one in said.split("|"))


@pytest.mark.parametrize(("payload", "said"), WRONG_CLAIMS.values(), ids=WRONG_CLAIMS)
async def test_wrong_claims_are_refused_by_their_fault(payload: dict[str, Any], said: str) -> None:
    assert said in await refusal(signed(payload))


@pytest.mark.parametrize("accepted", ALGORITHMS)
@pytest.mark.parametrize("used", ALGORITHMS)
async def test_only_the_algorithm_that_is_set_is_accepted(accepted: Algorithm, used: Algorithm) -> None:
    token = jwt.encode(claims(), PRIVATE[used], used)
    it = verifier(accepted)
    if accepted == used:
        assert await it.caller(token) == ANN
    else:
        assert ALGORITHM in await refusal(token, it)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_another_key_of_the_same_kind_is_refused(algorithm: Algorithm) -> None:
    others: dict[Algorithm, PrivateKey | str] = {
        "HS256": SECRET[::-1],
        "RS256": OTHER_RSA,
        "ES256": ec.generate_private_key(ec.SECP256R1()),
        "EdDSA": ed25519.Ed25519PrivateKey.generate(),
    }
    token = jwt.encode(claims(), others[algorithm], algorithm)
    assert WRONG_SIGNATURE in await refusal(token, verifier(algorithm))


@pytest.mark.parametrize(
    ("payload", "header"),
    [
        (claims(), {"kid": "any", "jku": "http://evil.test/", "x5u": "http://evil.test/", "jwk": jwk_of(OTHER_RSA)}),
        (claims(), {"typ": "at+jwt"}),
        (claims(exp=NOW + 0.5), {}),
        (claims(exp=10**400), {}),
        (claims(aud=["mail", AUDIENCE]), {}),
        (claims(nbf=NOW, iat=int(NOW), jti="7"), {}),
        (claims(namespaces="dogs cats"), {}),
        (claims(namespaces=" cats  dogs "), {}),
        (claims(namespaces=["dogs", "cats", "dogs"]), {}),
    ],
)
async def test_a_signed_token_is_accepted_whatever_else_it_says(
    payload: dict[str, Any], header: dict[str, Any]
) -> None:
    assert await verifier().caller(signed(payload, **header)) == ANN


@pytest.mark.parametrize(
    ("granted", "namespaces", "unnamed"),
    [
        ([], set(), False),
        ("", set(), False),
        (["*"], {"*"}, True),
        ("*", {"*"}, True),
        ("dogs *", {"dogs", "*"}, True),
        ("**", {"**"}, False),
        (["dogs *"], {"dogs *"}, False),
        (["dogs cats"], {"dogs cats"}, False),
        ("dogs\tcats", {"dogs\tcats"}, False),
    ],
)
async def test_namespaces_are_granted_as_the_claim_lists_them(
    granted: object, namespaces: set[str], unnamed: bool
) -> None:
    caller = await verifier().caller(signed(claims(namespaces=granted)))
    assert (set(caller.namespaces), caller.unnamed) == (namespaces, unnamed)


async def test_the_claims_may_have_other_names() -> None:
    it = verifier(name_claim="https://names.test/email", namespaces_claim="scope")
    payload = claims("namespaces", **{"https://names.test/email": "ann@id.test", "scope": "*"})
    assert await it.caller(signed(payload)) == Caller("jwt:ann@id.test", frozenset({"*"}), unnamed=True)
    assert LACKS in await refusal(GOOD, it)


@pytest.mark.parametrize("name", ["n", "n" * 128, "Ann Ölçer", "用户"])
async def test_a_caller_is_called_what_its_token_says(name: str) -> None:
    assert (await verifier().caller(signed(claims(sub=name)))).name == f"jwt:{name}"


@pytest.mark.parametrize(
    ("claim", "offset", "refused"),
    [
        ("exp", -31, "expired"),
        ("exp", -30, "expired"),  # "on or after" (RFC 7519 §4.1.4)
        ("exp", -29.99, None),
        ("exp", 0, None),
        ("nbf", 30, None),
        ("nbf", 30.01, "not yet valid"),
        ("iat", 30, None),
        ("iat", 30.01, "not yet valid"),
    ],
)
async def test_times_count_to_the_edge_of_the_leeway(claim: str, offset: float, refused: str | None) -> None:
    token = signed(claims(**{claim: NOW + offset}))
    if refused:
        assert refused in await refusal(token, verifier(leeway=30.0))
    else:
        assert await verifier(leeway=30.0).caller(token) == ANN


@pytest.mark.parametrize(("claim", "good", "bad"), [("exp", 1, 0), ("nbf", 0, 1), ("iat", 0, 1)])
async def test_without_leeway_times_count_to_the_second(claim: str, good: int, bad: int) -> None:
    assert await verifier(leeway=0.0).caller(signed(claims(**{claim: NOW + good}))) == ANN
    await refusal(signed(claims(**{claim: NOW + bad})), verifier(leeway=0.0))


# What is remembered.


async def test_a_verified_token_costs_no_cryptography_again(monkeypatch: pytest.MonkeyPatch) -> None:
    it = verifier()
    assert caller_known(it, GOOD) is None
    assert await it.caller(GOOD) == ANN
    monkeypatch.delattr(jwt, "decode")
    monkeypatch.delattr(jwt, "get_unverified_header")
    assert caller_known(it, GOOD) == await it.caller(GOOD) == ANN


async def test_what_is_remembered_ends_with_the_token() -> None:
    clock = Clock()
    it = verifier(clock=clock, leeway=30.0)
    await it.caller(GOOD)
    clock.advance(599.5)
    assert caller_known(it, GOOD) == ANN
    clock.advance(0.5)
    assert caller_known(it, GOOD) is None
    assert await it.caller(GOOD) == ANN, "within the leeway it is verified each time"
    assert not it._remembered
    clock.advance(30)
    assert "expired" in await refusal(GOOD, it)


async def test_what_is_refused_is_not_remembered_and_does_not_displace() -> None:
    it = verifier()
    await it.caller(GOOD)
    for token, _ in FORGED_HEADERS.values():
        await refusal(token, it)
    assert len(it._remembered) == 1


async def test_the_least_recently_used_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "MAX_REMEMBERED", 2)
    it = verifier()
    first, second, third = (signed(claims(sub=f"n{number}")) for number in range(3))
    await it.caller(first)
    await it.caller(second)
    assert caller_known(it, first)
    await it.caller(third)
    assert (caller_known(it, first) is None, caller_known(it, second) is None, caller_known(it, third) is None) == (
        False,
        True,
        False,
    )


async def test_only_digests_of_tokens_are_kept() -> None:
    it = verifier()
    await it.caller(GOOD)
    assert list(it._remembered) == [hashlib.sha256(GOOD.encode()).digest()]


# Keys in files.


async def test_whether_a_key_file_has_changed_is_looked_at_once_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, monotonic, looks = tmp_path / "key.pem", Clock(0.0), MagicMock(return_value=False)
    path.write_text(pem(RSA))
    key = FixedKey(settings(key=None, key_file=str(path)), clock=monotonic)
    monkeypatch.setattr(key._file, "reload_if_changed", looks)
    counted = []
    for _ in range(8):
        monotonic.advance(0.25)
        key.check_for_changes()
        counted.append(looks.call_count)
    assert counted == [0, 0, 0, 1, 1, 1, 1, 2]


def test_a_key_that_is_in_no_file_stays_as_it_is() -> None:
    monotonic = Clock(0.0)
    key = FixedKey(settings(), clock=monotonic)
    monotonic.advance(2)
    key.check_for_changes()
    assert key.generation == 0


async def test_a_changed_key_file_ends_what_was_verified(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "key.pem"
    path.write_text(f"\n{pem(RSA)}\n")
    given = settings(key=None, key_file=str(path))
    monotonic = Clock()
    it = Tokens(given, keys=FixedKey(given, clock=monotonic), clock=Clock())
    assert await it.caller(GOOD) == ANN

    path.write_text("no key at all, and it is logged once")
    for _ in range(3):
        monotonic.advance(1)
        assert caller_known(it, GOOD) == ANN, "the last good key goes on"
    assert len(caplog.records) == 1
    assert "at all" not in caplog.text

    path.write_text(f"# grown\n{pem(OTHER_RSA)}")
    assert caller_known(it, GOOD) == ANN, "looked at once a second"
    monotonic.advance(1)
    assert caller_known(it, GOOD) is None
    assert WRONG_SIGNATURE in await refusal(GOOD, it)
    assert await it.caller(jwt.encode(claims(), OTHER_RSA, "RS256")) == ANN

    path.unlink()
    monotonic.advance(1)
    assert await it.caller(jwt.encode(claims(jti="2"), OTHER_RSA, "RS256")) == ANN


async def test_a_secret_from_a_file_is_without_the_space_around_it(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(f"{SECRET}\n")
    it = verifier("HS256", key=None, key_file=str(path))
    assert await it.caller(jwt.encode(claims(), SECRET, "HS256")) == ANN
    await it.aclose()


# Settings.

WRONG_KEYS: Final[dict[str, tuple[Algorithm, str, str]]] = {
    "short": ("HS256", "s" * 31, "at least 32 bytes"),
    "empty": ("HS256", "", "at least 32 bytes"),
    "PEM as a secret": ("HS256", pem(RSA), "no PEM"),
    "JWK as a secret": ("HS256", json.dumps(jwk_of(RSA)), "no JWK"),
    "no PEM": ("RS256", "key" * 20, "the PEM of an RSA"),
    "EC for RSA": ("RS256", pem(EC), "the PEM of an RSA"),
    "weak": ("RS256", pem(WEAK_RSA), "2048 bits"),
    "private": ("RS256", private_pem(RSA), "private key"),
    "private EC": ("ES256", private_pem(EC), "private key"),
    "another curve": ("ES256", pem(P384), "P-256"),
    "RSA for EC": ("ES256", pem(RSA), "P-256"),
    "RSA for Ed25519": ("EdDSA", pem(RSA), "Ed25519"),
    "cut off": ("EdDSA", pem(ED)[:60], "Ed25519"),
}


@pytest.mark.parametrize(("algorithm", "key", "fault"), WRONG_KEYS.values(), ids=WRONG_KEYS)
def test_a_key_that_cannot_verify_is_a_fault_that_does_not_show_it(
    tmp_path: Path, algorithm: Algorithm, key: str, fault: str
) -> None:
    path = tmp_path / "key"
    path.write_text(key)
    [by_text] = jwt_faults(settings(algorithm, key=Secret(key)))
    [by_file] = jwt_faults(settings(algorithm, key=None, key_file=str(path)))
    assert by_text.startswith("PROXY_JWT_KEY: ")
    assert by_file.startswith("PROXY_JWT_KEY_FILE: ")
    for said in (by_text, by_file):
        assert fault in said
        assert not key or key[:9] not in said.replace(str(path), "")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_each_algorithm_has_a_key_that_is_accepted(algorithm: Algorithm) -> None:
    assert jwt_faults(settings(algorithm)) == []
    assert SECRET not in repr(settings(algorithm))


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (JwtSettings(), []),
        (JwtSettings(algorithm="RS256"), ["ISSUER", "AUDIENCE", "KEY"]),
        (JwtSettings(issuer=ISSUER, key=Secret(SECRET)), ["ALGORITHM"]),
        (settings(issuer=None), ["ISSUER"]),
        (settings(audience=None), ["AUDIENCE"]),
        (settings(key=None), ["KEY"]),
        (settings(jwks_url="https://id.test/keys"), ["JWKS_URL"]),
        (settings(key_file="/nowhere", jwks_url="ftp://id.test"), ["KEY_FILE", "JWKS_URL", "KEY_FILE", "JWKS_URL"]),
        (settings("HS256", key=None, jwks_url="https://id.test/keys"), ["JWKS_URL"]),
        (settings(key=None, jwks_url="https://id.test:8443/keys?of=us"), []),
        (settings(key=None, jwks_url="https://me:hunter2@id.test/keys"), ["JWKS_URL"]),
        (settings(key=None, jwks_url="https://id.test/keys#hunter2"), ["JWKS_URL"]),
        *[(settings(key=None, jwks_url=f"https://id.test/{path}"), ["JWKS_URL"]) for path in ("#", "?", "../x", "a b")],
        (settings(key=None, jwks_url=" https://id.test/keys"), ["JWKS_URL"]),
        (settings(key=None, jwks_url="https:///keys"), ["JWKS_URL"]),
        (settings(key=None, jwks_url="https://id.test:99999/"), ["JWKS_URL"]),
        (settings(key=None, jwks_url="file:///etc/passwd"), ["JWKS_URL"]),
        (settings(key=None, key_file="/nowhere"), ["KEY_FILE"]),
    ],
)
def test_all_faults_of_the_settings_are_told_at_once(given: JwtSettings, names: list[str]) -> None:
    faults = jwt_faults(given)
    assert [fault.split(":")[0] for fault in faults] == [f"PROXY_JWT_{name}" for name in names]
    assert not any(secret in "".join(faults) for secret in ("hunter2", SECRET))


@pytest.mark.parametrize("given", [JwtSettings(), JwtSettings(algorithm="RS256")])
def test_there_is_no_verifier_where_settings_have_faults(given: JwtSettings) -> None:
    with pytest.raises(ValueError, match="PROXY_JWT_"):
        Tokens(given)


# Whatever else somebody may try.

LETTERS = "ABCXYZabcxyz0189-_.=+/ \n\u00e9"


@examples(deadline=None)
@given(data=st.data(), algorithm=st.sampled_from(ALGORITHMS))
def test_no_mutation_is_accepted_as_anything_else(data: st.DataObject, algorithm: Algorithm) -> None:
    token = jwt.encode(claims(), PRIVATE[algorithm], algorithm)
    for _ in range(data.draw(st.integers(1, 3), "changes")):
        at = data.draw(st.integers(0, len(token)), "at")
        until = data.draw(st.integers(at, min(at + 3, len(token))), "until")
        token = token[:at] + data.draw(st.text(LETTERS, max_size=3), "instead") + token[until:]
    it = verifier(algorithm)
    try:
        assert asyncio.run(it.caller(token)) == ANN
    except errors.Unauthorized:
        assert caller_known(it, token) is None


@examples(deadline=None)
@given(token=st.text() | st.lists(st.binary(max_size=40).map(b64), min_size=3, max_size=3).map(".".join))
def test_noise_is_refused_by_name(token: str) -> None:
    with pytest.raises(errors.Unauthorized):
        asyncio.run(verifier().caller(token))


@examples(deadline=None)
@given(
    payload=st.dictionaries(
        st.sampled_from([*claims(), "nbf", "iat"]), st.none() | st.floats() | st.text() | st.lists(st.text())
    )
)
def test_signed_noise_is_refused_or_harmless(payload: dict[str, Any]) -> None:
    """Whatever the issuer signs: an answer or a refusal, never another exception."""
    try:
        caller = asyncio.run(verifier().caller(signed({**claims(), **payload})))
    except errors.Unauthorized:
        return
    assert caller.name.isprintable()
