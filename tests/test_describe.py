"""What operators are told of a Redis, and why it cannot be had. (Of all kinds of it: test_topologies.)"""

from __future__ import annotations

import re
import ssl
from pathlib import Path

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from proxy.redis.describe import describe, rehearse
from proxy.redis.reasons import kind
from proxy.secret import Secret
from tests.support import ROOT, RedisServer

NAME = "Hostname mismatch, certificate is not valid for 'h'"
ALL = ("~gp1:*", "&gp1:news*", "+@all")


def user(redis: RedisServer, *rights: str) -> Secret:
    redis.command("ACL", "SETUSER", "gp", "reset", "on", ">s3cr3t", *rights)
    return Secret(redis.url.replace("//", "//gp:s3cr3t@"))


@pytest.mark.parametrize(
    ("rights", "refused"),
    [
        (ALL, []),
        ((*ALL, "-evalsha"), ["NOPERM, missing is the right +evalsha"]),
        ((*ALL, "-eval"), ["NOPERM, missing is the right +eval"]),
        (
            (*ALL, "-zadd", "-@stream"),
            [f"NOPERM, missing is the right +{one}" for one in ("zadd", "xadd", "xrange", "xrevrange")],
        ),
        (("~other:*", "&*", "+@all"), ["NOPERM, missing is the right to keys ~gp1:*"]),
        ((*ALL, "-subscribe"), ["NOPERM, missing is the right +subscribe"]),
        ((*ALL, "-publish"), ["NOPERM, missing is the right +publish"]),
        (
            ("~gp1:*", "resetchannels", "+@all"),
            ["NOPERM, missing is the right to channels &gp1:news*"],
        ),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, tuple) else "",
)
async def test_what_a_user_lacks_is_named(own_redis: RedisServer, rights: tuple[str, ...], refused: list[str]) -> None:
    assert await rehearse(user(own_redis, *rights)) == refused
    assert own_redis.command("DBSIZE") == 0, "nothing is left"


async def test_a_redis_that_takes_no_writes_is_found_out(own_redis: RedisServer) -> None:
    own_redis.command("CONFIG", "SET", "maxmemory", "1")
    assert await rehearse(Secret(own_redis.url)) == ["OOM"]
    own_redis.command("CONFIG", "SET", "maxmemory", "0")
    own_redis.command("REPLICAOF", "127.0.0.1", "1")
    assert await rehearse(Secret(own_redis.url)) == ["READONLY"]


async def test_a_database_that_is_not_there_is_said(own_redis: RedisServer) -> None:
    with pytest.raises(ConnectionError, match="ResponseError: it has no database of that number"):
        await describe(Secret(own_redis.url.replace("/0", "/999")))


def test_each_command_of_the_scripts_is_tried() -> None:
    scripts = ROOT / "proxy" / "redis" / "lua"
    used = {one for script in scripts.glob("*.lua") for one in re.findall(r"call\('([A-Z]+)'", script.read_text())}
    assert used - set(re.findall(r"\{'([A-Z]+)'", (scripts / "rehearse.lua").read_text())) == set()


def fault(cause: Exception) -> Exception:
    """As redis-py raises it."""
    try:
        try:
            raise cause
        except OSError as error:
            raise RedisConnectionError(f"Error {error} connecting to s3cr3t") from None
    except RedisConnectionError as error:
        return error


def verification(message: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED]")
    error.verify_message = message
    return error


def handshake(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, "[SSL] s3cr3t")
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("cause", "said"),
    [
        (verification("certificate has expired"), "certificate has expired"),
        (verification("Hostname mismatch, certificate is not valid for 'h'."), NAME),
        (handshake("WRONG_VERSION_NUMBER"), "wrong version number"),
        (FileNotFoundError(2, "s3cr3t"), "No such file or directory"),
        (ConnectionRefusedError(111, "Connect call failed ('s3cr3t', 1)"), "Connection refused"),
    ],
)
def test_why_there_is_no_connection_is_said(cause: Exception, said: str) -> None:
    """redis-py says it in a text that names more; what caused its error tells it apart."""
    assert kind(fault(cause)) == f"ConnectionError: {said}"


async def test_a_certificate_file_that_is_none_is_said(own_redis: RedisServer, tmp_path: Path) -> None:
    tls = own_redis.url.replace("redis://", "rediss://")
    with pytest.raises(ConnectionError, match="No such file or directory"):
        await describe(Secret(f"{tls}?ssl_ca_certs={tmp_path}/none.pem"))
    (tmp_path / "no.pem").write_text("no certificate")
    with pytest.raises(ConnectionError, match="no certificate or crl found"):
        await describe(Secret(f"{tls}?ssl_ca_certs={tmp_path}/no.pem"))
