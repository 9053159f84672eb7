"""Keys from a URL: which are taken, when they are fetched, and that an outage changes nothing. Over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa

from proxy import errors
from proxy.callers.caller import Caller
from proxy.callers.jwks import MAX_SAME_NAME, MAX_SET, KeySet
from proxy.callers.keys import KeyFault, suits, usable_keys
from proxy.callers.tokens import Tokens
from proxy.settings import JwtSettings
from tests.callers import caller_known
from tests.jwk_sets import ED, jwk, key_set
from tests.support import NOW, Clock, free_port, tcp_server

RSA = [rsa.generate_private_key(65_537, 2048) for _ in range(2)]
EC = ec.generate_private_key(ec.SECP256R1())
Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
ANN = Caller("jwt:ann", frozenset({"dogs"}))


def token(key: Any = RSA[0], kid: str | None = "one", algorithm: str = "RS256", **claims: Any) -> str:
    payload = {"iss": "me", "aud": "you", "exp": NOW + 600, "sub": "ann", "namespaces": ["dogs"], **claims}
    return jwt.encode(payload, key, algorithm, headers={} if kid is None else {"kid": kid})


ONE, TWO = key_set(jwk(RSA[0], kid="one")), key_set(jwk(RSA[1], kid="two"))
BOTH = key_set(jwk(RSA[0], kid="one"), jwk(RSA[1], kid="two"))


# Which keys are taken.

RIGHT: dict[str, tuple[str, dict[str, Any]]] = {
    "RSA": ("RS256", jwk(RSA[0])),
    "EC": ("ES256", jwk(EC)),
    "Ed25519": ("EdDSA", jwk(ED)),
    "all members": ("RS256", jwk(RSA[0], use="sig", alg="RS256", key_ops=["verify"], kid="k", x5t="?", x5c=["?"])),
    "may also sign": ("RS256", jwk(RSA[0], key_ops=["sign", "verify"])),
}
P384 = ec.generate_private_key(ec.SECP384R1())
SMALL = rsa.generate_private_key(65_537, 1024)
PRIVATE_JWK = dict(jwt.algorithms.RSAAlgorithm.to_jwk(RSA[0], as_dict=True))
WRONG: dict[str, tuple[str, object]] = {
    "EC for RS256": ("RS256", jwk(EC)),
    "RSA for ES256": ("ES256", jwk(RSA[0])),
    "EC for EdDSA": ("EdDSA", jwk(EC)),
    "a shared secret": ("RS256", {"kty": "oct", "k": "c2VjcmV0" * 8}),
    "a shared secret that says RS256": ("RS256", {"kty": "oct", "k": "c2VjcmV0" * 8, "alg": "RS256"}),
    "encryption": ("RS256", jwk(RSA[0], use="enc")),
    "another alg": ("RS256", jwk(RSA[0], alg="RS512")),
    "PSS": ("RS256", jwk(RSA[0], alg="PS256")),
    "only signs": ("RS256", jwk(RSA[0], key_ops=["sign"])),
    "no operations": ("RS256", jwk(RSA[0], key_ops=[])),
    "key_ops is a text": ("RS256", jwk(RSA[0], key_ops="verify")),
    "use is a list": ("RS256", jwk(RSA[0], use=["sig"])),
    "kid is a number": ("RS256", jwk(RSA[0], kid=1)),
    "1024 bits": ("RS256", jwk(SMALL)),
    "exponent 1": ("RS256", jwk(RSA[0], e="AQ")),
    "no exponent": ("RS256", jwk(RSA[0]) | {"e": None}),
    "modulus is a number": ("RS256", jwk(RSA[0], n=3)),
    "modulus is noise": ("RS256", jwk(RSA[0], n="!\u00e9")),
    "published private key": ("RS256", PRIVATE_JWK | {"key_ops": ["verify"]}),
    "no kty": ("RS256", {name: value for name, value in jwk(RSA[0]).items() if name != "kty"}),
    "P-384": ("ES256", jwk(P384)),
    "P-384 that says P-256": ("ES256", jwk(P384, crv="P-256")),
    "not on the curve": ("ES256", jwk(EC, y=jwk(EC)["x"])),
    "no y": ("ES256", {name: value for name, value in jwk(EC).items() if name != "y"}),
    "Ed448": ("EdDSA", jwk(ed448.Ed448PrivateKey.generate())),
    "X25519": ("EdDSA", jwk(ED, crv="X25519")),
    "cut off": ("EdDSA", jwk(ED, x="AAAA")),
    "null": ("RS256", None),
    "a list": ("RS256", [jwk(RSA[0])]),
    "deep": ("RS256", {"kty": "RSA", "more": [[[[]]]]}),
}


@pytest.mark.parametrize(("algorithm", "key"), RIGHT.values(), ids=RIGHT)
def test_keys_that_are_taken(algorithm: str, key: dict[str, Any]) -> None:
    [(kid, _)] = usable_keys(key_set(key), algorithm)
    assert kid == key.get("kid")


@pytest.mark.parametrize(("algorithm", "key"), WRONG.values(), ids=WRONG)
def test_keys_that_are_ignored(algorithm: str, key: object) -> None:
    assert usable_keys(key_set(key), algorithm) == ()
    good = {"RS256": jwk(RSA[1]), "ES256": jwk(EC), "EdDSA": jwk(ED)}[algorithm]
    assert len(usable_keys(key_set(key, good), algorithm)) == 1, "it spoils no other"


def test_a_key_suits_its_own_algorithm_only() -> None:
    """Also where no ``kty`` says what it is, as in a PEM (RFC 8725 §3.1)."""
    keys = {"RS256": RSA[0].public_key(), "ES256": EC.public_key(), "EdDSA": ED.public_key()}
    for own, key in keys.items():
        assert [algorithm for algorithm in (*keys, "HS256") if suits(key, algorithm)] == [own]


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"null", b"{}", b'{"keys": null}', b'{"keys": {}}', b"\xff", b"[" * 9999],
)
def test_what_is_no_set(body: bytes) -> None:
    with pytest.raises(KeyFault):
        usable_keys(body, "RS256")


# When they are fetched.


class Provider:
    """An identity provider on a socket: answers as the test says, and may hang until it is released."""

    def __init__(self) -> None:
        self.body, self.status, self.head = ONE, "200 OK", ""
        self.raw: bytes | None = None
        self.seen: list[str] = []
        self.asked = asyncio.Event()
        self.release = asyncio.Event()
        self.release.set()
        self.url = ""

    async def behave(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.seen.append((await reader.readuntil(b"\r\n\r\n")).decode())
        self.asked.set()
        await self.release.wait()
        head = f"HTTP/1.1 {self.status}\r\ncontent-length: {len(self.body)}\r\nconnection: close\r\n{self.head}\r\n"
        writer.write(head.encode() + self.body if self.raw is None else self.raw)
        await writer.drain()


@asynccontextmanager
async def listening(behave: Behaviour) -> AsyncIterator[str]:
    """A server that does to each connection what the test says; its URL. Ends when all connections have."""

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await behave(reader, writer)
        finally:
            writer.close()

    async with tcp_server(connection) as port:
        yield f"http://127.0.0.1:{port}/keys?of=us"


class Rig:
    """A verifier, its keys, their provider, and one clock for all of them."""

    def __init__(self, provider: Provider, clock: Clock, **settings: Any) -> None:
        given = {"algorithm": "RS256", "issuer": "me", "audience": "you", "jwks_url": provider.url, **settings}
        self.settings = JwtSettings(**given)
        self.provider, self.clock = provider, clock
        self.keys = KeySet(self.settings, clock=clock, timeout=5.0)
        self.tokens = Tokens(self.settings, keys=self.keys, clock=lambda: NOW)

    async def settled(self) -> None:
        """Let the fetch under way, if there is one, end."""
        await self.keys._flights.drain(10)

    async def refusal(self, text: str) -> str:
        with pytest.raises(errors.Unauthorized) as caught:
            await self.tokens.caller(text)
        return caught.value.detail


@asynccontextmanager
async def rig(**settings: Any) -> AsyncIterator[Rig]:
    provider = Provider()
    async with listening(provider.behave) as provider.url:
        it = Rig(provider, Clock(), **settings)
        try:
            yield it
        finally:
            provider.release.set()
            await it.tokens.aclose(10)


@pytest.mark.parametrize(("algorithm", "key"), [("RS256", RSA[0]), ("ES256", EC), ("EdDSA", ED)])
async def test_a_token_is_verified_with_a_fetched_key(algorithm: str, key: Any) -> None:
    async with rig(algorithm=algorithm) as it:
        it.provider.body = key_set(*(jwk(one, kid="one") for one in (RSA[0], EC, ED)))
        assert await it.tokens.caller(token(key, algorithm=algorithm)) == ANN
        assert await it.tokens.caller(token(key, algorithm=algorithm, jti="2")) == ANN
        assert it.keys.requests == 1


async def test_what_the_provider_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    async with rig(jwks_refresh=10.0) as it:
        it.provider.head = "set-cookie: a=b; path=/\r\n"
        await it.tokens.caller(token())
        it.clock.advance(10)
        it.keys.check_for_changes()
        await it.settled()
        for seen in it.provider.seen:
            line, *fields = seen.strip().lower().split("\r\n")
            assert line == "get /keys?of=us http/1.1"
            names = sorted(field.split(":")[0] for field in fields)
            assert names == ["accept", "accept-encoding", "connection", "host", "user-agent"]
        assert len(it.provider.seen) == 2


async def test_many_who_come_first_share_one_request() -> None:
    async with rig() as it:
        callers = await asyncio.gather(*(it.tokens.caller(token(jti=str(number))) for number in range(20)))
        assert callers == [ANN] * 20
        assert it.keys.requests == 1


async def test_who_leaves_does_not_end_the_fetch_of_others() -> None:
    async with rig() as it:
        it.provider.release.clear()
        first = asyncio.create_task(it.tokens.caller(token()))
        second = asyncio.create_task(it.tokens.caller(token()))
        await it.provider.asked.wait()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        it.provider.release.set()
        assert await second == ANN
        assert it.keys.requests == 1


async def test_an_old_set_is_renewed_while_the_old_keys_go_on() -> None:
    async with rig() as it:
        await it.tokens.caller(token())
        it.provider.body = BOTH
        it.provider.release.clear()
        it.provider.asked.clear()
        it.clock.advance(299)
        await it.tokens.caller(token(jti="2"))
        assert it.keys.requests == 1, "not old yet"
        it.clock.advance(1)
        assert caller_known(it.tokens, token(jti="2")) == ANN, "a remembered token is enough to notice"
        await it.provider.asked.wait()
        assert await it.tokens.caller(token(jti="3")) == ANN, "nobody waits"
        assert it.keys.requests == 2
        it.provider.release.set()
        await it.settled()
        assert await it.tokens.caller(token(RSA[1], "two")) == ANN
        assert it.keys.requests == 2


async def test_a_key_that_is_gone_ends_its_tokens_also_remembered_ones() -> None:
    async with rig() as it:
        await it.tokens.caller(token())
        it.provider.body = TWO
        it.clock.advance(300)
        it.keys.check_for_changes()
        await it.settled()
        assert caller_known(it.tokens, token()) is None
        assert "unknown" in await it.refusal(token())
        assert it.keys.generation == 2


async def test_a_set_that_nobody_needed_for_long_is_waited_for() -> None:
    """Else who comes first after a quiet time would be let in by a key that was withdrawn long before."""
    async with rig() as it:
        await it.tokens.caller(token())
        it.clock.advance(609)
        assert caller_known(it.tokens, token()) == ANN, "it was due, but not long ago"
        await it.settled()
        it.provider.body = TWO
        it.clock.advance(610)
        assert caller_known(it.tokens, token()) is None
        it.provider.release.clear()
        it.provider.asked.clear()
        first = asyncio.create_task(it.refusal(token(jti="2")))
        await it.provider.asked.wait()
        second = asyncio.create_task(it.refusal(token(jti="3")))
        await asyncio.sleep(0)
        it.provider.release.set()
        for refusal in (first, second):
            assert "unknown" in await refusal
        assert caller_known(it.tokens, token()) is None
        assert it.keys.requests == 3


@pytest.mark.parametrize("body", [key_set(), key_set(jwk(RSA[0], kid="one", use="enc"))], ids=["empty", "encryption"])
async def test_a_set_without_keys_withdraws_the_last_one(body: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """It is the provider's word, and no outage (RFC 7517 §5)."""
    caplog.set_level(logging.WARNING, "proxy")
    async with rig() as it:
        await it.tokens.caller(token())
        it.provider.body = body
        it.clock.advance(300)
        it.keys.check_for_changes()
        await it.settled()
        assert caller_known(it.tokens, token()) is None
        assert "unknown" in await it.refusal(token())
        assert "there is none" in await it.refusal(token(kid=None))
        assert "no key of the JWK set verifies" in caplog.text
        requests = it.keys.requests
        it.clock.advance(300)
        it.keys.check_for_changes()
        await it.settled()
        assert it.keys.requests == requests + 1, "an empty set grows old, too"
        it.provider.body = TWO
        it.clock.advance(10)
        assert await it.tokens.caller(token(RSA[1], "two")) == ANN


async def test_a_provider_that_has_no_keys_yet() -> None:
    async with rig() as it:
        it.provider.body = key_set()
        assert "unknown" in await it.refusal(token())
        it.provider.body = ONE
        it.clock.advance(10)
        assert await it.tokens.caller(token()) == ANN


async def test_keys_of_one_name_are_all_tried() -> None:
    """They SHOULD have different ones (RFC 7517 §4.5), and do not always."""
    async with rig() as it:
        it.provider.body = key_set(*(jwk(key, kid="one") for key in RSA))
        for key in RSA:
            assert await it.tokens.caller(token(key, "one")) == ANN
        other = rsa.generate_private_key(65_537, 2048)
        assert "signature" in await it.refusal(token(other, "one"))
        assert "expired" in await it.refusal(token(RSA[1], "one", exp=NOW - 600)), "what is wrong is said"
        it.provider.body = key_set(*(jwk(RSA[0], kid="one") for _ in range(MAX_SAME_NAME)), jwk(RSA[1], kid="one"))
        it.clock.advance(300)
        it.keys.check_for_changes()
        await it.settled()
        assert await it.tokens.caller(token(RSA[0], "one")) == ANN
        assert "signature" in await it.refusal(token(RSA[1], "one")), "not so many that each forged token costs much"


async def test_the_same_set_again_forgets_nothing() -> None:
    async with rig() as it:
        await it.tokens.caller(token())
        it.clock.advance(300)
        it.keys.check_for_changes()
        await it.settled()
        assert it.keys.requests == 2
        assert caller_known(it.tokens, token()) == ANN
        assert it.keys.generation == 1


async def test_an_unknown_key_is_fetched_and_waited_for() -> None:
    async with rig() as it:
        await it.tokens.caller(token())
        it.provider.body = BOTH
        it.clock.advance(10)
        assert await it.tokens.caller(token(RSA[1], "two")) == ANN
        assert it.keys.requests == 2


async def test_a_flood_of_invented_keys_costs_one_request() -> None:
    async with rig() as it:
        await it.tokens.caller(token())
        it.clock.advance(10)
        await asyncio.gather(*(it.refusal(token(RSA[1], f"forged-{number}")) for number in range(50)))
        assert it.keys.requests == 2
        it.clock.advance(9.9)
        assert "unknown" in await it.refusal(token(RSA[1], "forged"))
        assert it.keys.requests == 2
        it.clock.advance(0.1)
        assert "unknown" in await it.refusal(token(RSA[1], "forged"))
        assert it.keys.requests == 3


async def test_a_forged_signature_costs_no_request() -> None:
    async with rig() as it:
        await it.tokens.caller(token())
        it.clock.advance(100)
        assert "signature" in await it.refusal(token(RSA[1], "one"))
        assert it.keys.requests == 1


async def test_a_token_that_names_no_key() -> None:
    async with rig(jwks_refresh=10.0) as it:
        assert await it.tokens.caller(token(kid=None)) == ANN, "there is one key"
        assert "unknown" in await it.refusal(token(kid=""))
        it.provider.body = BOTH
        it.clock.advance(10)
        it.keys.check_for_changes()
        await it.settled()
        requests = it.keys.requests
        assert "names no key" in await it.refusal(token(kid=None))
        assert it.keys.requests == requests, "to ask again would not help"


async def test_a_key_without_a_name_is_not_found_by_any() -> None:
    async with rig() as it:
        it.provider.body = key_set(jwk(RSA[0]))
        assert "unknown" in await it.refusal(token(kid="one"))
        assert await it.tokens.caller(token(kid=None)) == ANN


# Outages.

BROKEN: dict[str, dict[str, Any]] = {
    "HTML": {"body": b"<html>maintenance</html>"},
    "empty": {"body": b""},
    "500": {"status": "500 Oops"},
    "404": {"status": "404 Gone"},
    "204": {"status": "204 Nothing", "body": b""},
    "redirect": {"status": "302 Found", "head": "location: http://127.0.0.1:1/evil\r\n"},
    "huge": {"body": TWO + b" " * MAX_SET},
    "encoded": {"head": "content-encoding: gzip\r\n", "body": gzip.compress(TWO)},
    "cut off": {"raw": b"HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n{"},
    "no HTTP": {"raw": b"SSH-2.0-OpenSSH\r\n\r\n"},
    "closed": {"raw": b""},
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
async def test_the_last_good_keys_outlive_an_outage(broken: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "proxy")
    async with rig() as it:
        await it.tokens.caller(token())
        before = dict(vars(it.provider))
        vars(it.provider).update(broken)
        for number in range(3):
            it.clock.advance(86_400)
            assert await it.tokens.caller(token(jti=str(number))) == ANN
            await it.settled()
        assert caller_known(it.tokens, token()) == ANN
        await it.settled()
        assert "unknown" in await it.refusal(token(RSA[1], "two"))
        assert (it.keys.generation, len(caplog.records)) == (1, 1), "one line for one outage"
        assert "the last good keys go on" in caplog.text

        vars(it.provider).update({name: before[name] for name in broken}, body=TWO)
        it.clock.advance(10)
        assert await it.tokens.caller(token(RSA[1], "two")) == ANN
        vars(it.provider).update(broken)
        it.clock.advance(300)
        it.keys.check_for_changes()
        await it.settled()
        assert len(caplog.records) == 2, "another outage, another line"


async def test_a_redirect_is_not_followed() -> None:
    async with rig() as it, rig() as evil:
        it.provider.status, it.provider.head = "302 Found", f"location: {evil.provider.url}\r\n"
        with pytest.raises(errors.KeysUnavailable):
            await it.tokens.caller(token())
        assert not evil.provider.seen


async def test_during_an_outage_the_provider_is_asked_now_and_then() -> None:
    async with rig() as it:
        await it.tokens.caller(token())
        it.provider.status = "500 Oops"
        it.clock.advance(300)
        for _ in range(100):
            it.keys.check_for_changes()
            await it.settled()
        assert it.keys.requests == 2
        it.clock.advance(10)
        it.keys.check_for_changes()
        await it.settled()
        assert it.keys.requests == 3


async def test_before_the_first_success_nobody_is_let_in() -> None:
    async with rig() as it:
        it.provider.status = "500 Oops"
        for kid in ("one", "two", None):
            with pytest.raises(errors.KeysUnavailable, match="may be valid") as caught:
                await it.tokens.caller(token(kid=kid))
            assert caught.value.retry_after == 10, "jwks_min_interval"
        assert it.keys.requests == 1, "also then it is asked now and then only"
        it.provider.status = "200 OK"
        it.clock.advance(10)
        assert await it.tokens.caller(token()) == ANN


async def test_nobody_listens(caplog: pytest.LogCaptureFixture) -> None:
    async with rig(jwks_url=f"http://127.0.0.1:{free_port()}/") as it:
        with pytest.raises(errors.KeysUnavailable):
            await it.tokens.caller(token())
        assert "ConnectError" in caplog.text


# In real time, as httpx knows no other.


def be_patient(keys: KeySet) -> None:
    """Have it wait for what comes, also on a machine that is busy."""
    keys._timeout = 5.0
    keys._client.timeout = httpx.Timeout(5.0)


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n"])
async def test_a_provider_that_hangs_is_given_up(sent: bytes) -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        while await reader.read(1024):
            pass

    async with listening(hang) as url:
        keys = KeySet(JwtSettings(algorithm="RS256", jwks_url=url), timeout=0.1)
        with pytest.raises(errors.KeysUnavailable, match="could not be fetched"):
            await keys.find("one")
        await keys.aclose(10)


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nx-slow: ", b"HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n"])
async def test_a_provider_that_drips_is_given_up(head: bytes) -> None:
    """Each byte is in time for httpx, the whole is not; and the next fetch does not wait for it."""
    slow = True

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if not slow:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(ONE), ONE))
            return
        writer.write(head)
        while not released.is_set():
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.02)

    released = asyncio.Event()
    clock = Clock()
    async with listening(drip) as url:
        keys = KeySet(JwtSettings(algorithm="RS256", jwks_url=url), clock=clock, timeout=0.5)
        try:
            with pytest.raises(errors.KeysUnavailable, match="could not be fetched"):
                await keys.find("one")
            slow = False
            be_patient(keys)
            clock.advance(10)
            assert await keys.find("one") == [RSA[0].public_key()]
            assert await keys._detached.drain(10) == 0, "what drips is left when the deadline is over"
        finally:
            released.set()
            await keys.aclose(10)


async def test_providers_that_drip_take_no_connection_for_good() -> None:
    """However often it is asked: else some heads that never end would end the fetching of keys for good."""
    slow, begun, ended = True, 0, 0

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal begun, ended
        begun += 1
        try:
            await reader.readuntil(b"\r\n\r\n")
            if not slow:
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(ONE), ONE))
                return
            writer.write(b"HTTP/1.1 200 OK\r\nx-slow: ")
            while not reader.at_eof():
                writer.write(b" ")
                await writer.drain()  # raises where the connection was reset, which is no end of file
                await asyncio.sleep(0.005)
        finally:
            ended += 1

    clock = Clock()
    async with listening(drip) as url:
        keys = KeySet(JwtSettings(algorithm="RS256", jwks_url=url), clock=clock, timeout=0.05)
        for _ in range(6):
            with pytest.raises(errors.KeysUnavailable, match="could not be fetched"):
                await keys.find("one")
            clock.advance(10)
        assert await keys._detached.drain(10) == 0
        slow = False
        be_patient(keys)
        assert await keys.find("one") == [RSA[0].public_key()]
        assert begun > 1
        async with asyncio.timeout(5):
            while ended < begun - 1:  # the last may be used again
                await asyncio.sleep(0.005)
        await keys.aclose(10)
