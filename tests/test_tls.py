"""Whom the proxy believes over TLS: the usual authorities, and a company's own where it is named."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from proxy import errors
from proxy.callers.jwks import KeySet
from proxy.callers.keys import KeyFault
from proxy.commands.check import run_checks
from proxy.commands.sockets import LOOPBACK
from proxy.config.sources import SettingsError, load
from proxy.hub.client import Hub
from proxy.hub.credential import Credential
from proxy.hub.stream import EVENTS_PATH, HubStream
from proxy.hub.tls import tls_context
from proxy.secret import Secret
from proxy.settings import HubSettings, JwtSettings
from tests.jwk_sets import ED, jwk, key_set
from tests.redis_servers import Certificates, certificates
from tests.support import KEY, LIST, tcp_server

UNTRUSTED = r"unable to get (local )?issuer certificate|self-signed certificate"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates(tmp_path_factory.mktemp("certificates"))


@asynccontextmanager
async def company(made: Certificates) -> AsyncIterator[str]:
    """The URL of a server that answers everything, with a certificate of the company's own authority."""
    keys = key_set(jwk(ED))
    answers = {LIST: b"application/json\r\n\r\n{}", EVENTS_PATH: b"text/event-stream\r\n\r\n"}

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
        rest = answers.get(path, b"application/json\r\n\r\n" + keys)
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: " + rest)
        writer.close()

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(made.certificate, made.key)
    async with tcp_server(answer, ssl=context) as port:
        yield f"https://{LOOPBACK}:{port}"


async def test_the_hub_is_asked_where_its_authority_is_known(made: Certificates) -> None:
    async with company(made) as url:
        for ca_file in (None, str(made.stranger), str(made.authority)):
            settings = HubSettings(url=url, api_key=Secret(KEY), ca_file=ca_file)
            hub = Hub(settings, Credential(settings, url))
            stream = HubStream(settings, Credential(settings, url), silence=1.0)
            if ca_file == str(made.authority):
                assert await hub.get(LIST, "") == b"{}"
                await (await stream.open()).aclose()
            else:
                for asking in (hub.get(LIST, ""), stream.open()):
                    with pytest.raises(errors.HubUnreachable) as caught:
                        await asking
                    assert re.fullmatch(UNTRUSTED, caught.value.cause)
            await hub.aclose()


@pytest.mark.parametrize(
    ("certificate", "ca_file", "cause"),
    [("certificate", "certificate", ""), ("lax", "authority", "Missing Authority Key Identifier")],
)
async def test_every_python_holds_certificates_to_the_rules_of_the_newest(
    certificate: str, ca_file: str, cause: str, made: Certificates
) -> None:
    """One that is named is trusted though it is no authority's; one that breaks RFC 5280 is not, whoever signed it."""
    async with company(replace(made, certificate=getattr(made, certificate))) as url:
        settings = HubSettings(url=url, api_key=Secret(KEY), ca_file=str(getattr(made, ca_file)))
        hub = Hub(settings, Credential(settings, url))
        if cause:
            with pytest.raises(errors.HubUnreachable) as caught:
                await hub.get(LIST, "")
            assert caught.value.cause == cause
        else:
            assert await hub.get(LIST, "") == b"{}"
        await hub.aclose()


async def test_keys_are_fetched_where_their_authority_is_known(made: Certificates) -> None:
    async with company(made) as url:
        for ca_file in (None, str(made.authority)):
            keys = KeySet(JwtSettings(algorithm="EdDSA", jwks_url=f"{url}/keys", jwks_ca_file=ca_file))
            if ca_file:
                assert len(await keys.fetch()) == 1
            else:
                with pytest.raises(KeyFault, match=f"ConnectError: ({UNTRUSTED})"):
                    await keys.fetch()
            await keys.aclose()


def test_the_usual_authorities_are_trusted_all_the_same(made: Certificates) -> None:
    usual = tls_context(None).cert_store_stats()["x509_ca"]
    assert usual > 50
    assert tls_context(str(made.authority)).cert_store_stats()["x509_ca"] == usual + 1


async def test_check_says_that_the_hub_is_not_trusted(made: Certificates) -> None:
    said: list[str] = []
    async with company(made) as url:
        environ = {"OXEN_API_KEY": KEY, "OXEN_HUB_URL": url, "PROXY_EVENTS_MODE": "off"}
        assert not await run_checks(environ, None, say=said.append)
    (line,) = (line for line in said if line.startswith("FAIL"))
    assert re.search(rf"No connection to the hub could be made: ({UNTRUSTED})\. Is OXEN_HUB_URL right", line)


@pytest.mark.parametrize(
    ("content", "fault"),
    [(None, "No such file or directory"), ("", "no certificate or crl found"), ("text", "no certificate or crl found")],
)
@pytest.mark.parametrize("variable", ["PROXY_HUB_CA_FILE", "PROXY_JWT_JWKS_CA_FILE"])
def test_a_file_without_a_certificate_is_a_fault_at_the_start(
    variable: str, content: str | None, fault: str, tmp_path: Path
) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SettingsError) as caught:
        load({variable: str(path)})
    (said,) = caught.value.faults
    assert said.startswith(f"{variable}: {path} cannot be used: {fault}; allowed: ")
