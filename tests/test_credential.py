"""The hub's token and its rotation."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import httpx
import pytest

from proxy.commands.check import run_checks
from proxy.hub.credential import MAX_TOKEN, Credential, Credentials, TokenFault, check_token, read_token
from proxy.secret import MASK, Secret
from proxy.settings import CredentialSettings, HubSettings
from proxy.simulator import Simulator
from tests.support import KEY, Clock, rig, still_world

HUB = "http://hub.test"


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("first\n")
    return path


def credential(path: Path) -> Credential:
    return Credential(HubSettings(api_key_file=str(path)), HUB)


def replace(path: Path, text: str) -> None:
    """As rotation does it: a new file under the old name."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.rename(path)


def test_a_secret_does_not_show_itself() -> None:
    secret = Secret("hunter2")
    shown = f"{secret} {secret!r}" + "%s %r" % (secret, secret)  # noqa: UP031
    assert "hunter2" not in shown
    assert MASK in shown
    assert "hunter2" not in repr(HubSettings(api_key=secret))
    assert secret.reveal() == "hunter2"
    assert secret == Secret("hunter2") != Secret("hunter3")
    assert secret != "hunter2"


def test_a_changed_file_is_read_again(token_file: Path) -> None:
    it = credential(token_file)
    before = it.id
    assert it.token() == Secret("first")
    replace(token_file, "second")
    assert it.token() == Secret("second")
    assert it.id != before


def test_a_change_in_place_is_seen_even_with_the_old_times(token_file: Path) -> None:
    """Same size, same inode, same times: only the hub's refusal shows it."""
    it = credential(token_file)
    times = token_file.stat()
    token_file.write_text("other\n")
    os.utime(token_file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert it.token() == Secret("first")
    assert it.refused(Secret("first"))
    assert it.token() == Secret("other")


def test_a_refused_token_without_another_is_not_tried_again(token_file: Path) -> None:
    assert not credential(token_file).refused(Secret("first"))
    assert not Credential(HubSettings(api_key=Secret("fixed")), HUB).refused(Secret("fixed"))


def test_after_a_refusal_a_token_that_somebody_else_has_read_is_tried(token_file: Path) -> None:
    it = credential(token_file)
    replace(token_file, "second")
    it.token()
    assert it.refused(Secret("first"))


@pytest.mark.parametrize("spoil", [Path.unlink, lambda p: p.write_text(""), lambda p: p.write_bytes(b"\xff\x00")])
def test_the_last_good_token_goes_on(token_file: Path, spoil: object, caplog: pytest.LogCaptureFixture) -> None:
    it = credential(token_file)
    assert callable(spoil)
    spoil(token_file)
    assert it.token() == Secret("first")
    assert len(caplog.records) == 1
    replace(token_file, "third")
    assert it.token() == Secret("third")


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "0 characters"),
        (b" \n", "0 characters"),
        (b"a b", "spaces"),
        (b"a\nb", "spaces"),
        (b"a\x00b", "control"),
        (b"\xff\xfe", "not ASCII"),
        (b"x" * (MAX_TOKEN + 1), "allowed are 1 to"),
    ],
)
def test_what_is_no_token_is_a_fault_that_does_not_show_it(tmp_path: Path, content: bytes, fault: str) -> None:
    path = tmp_path / "t"
    path.write_bytes(content)
    with pytest.raises(TokenFault, match=fault) as caught:
        read_token(path)
    assert content.decode("latin-1").strip()[:2] not in str(caught.value).replace(str(path), "") or not content.strip()


def test_a_missing_token_file_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(TokenFault, match="No such file"):
        credential(tmp_path / "absent")


def test_a_header_cannot_be_smuggled_in_a_token() -> None:
    with pytest.raises(TokenFault):
        check_token(Secret("a\r\nX-Evil: 1"))


# Several.


def several(**other: Any) -> Credentials:
    one = CredentialSettings(**{"name": "farm", "namespaces": ("bessie", "moo"), "api_key": Secret("k-farm"), **other})
    return Credentials(HubSettings(api_key=Secret("k-all"), credentials=(one,)))


@pytest.mark.parametrize(
    ("namespace", "name"), [(None, "default"), ("ox", "default"), ("moo", "farm"), ("Moo", "default")]
)
def test_a_namespace_has_its_credential_and_everything_else_the_default(namespace: str | None, name: str) -> None:
    assert several().serving(namespace).name == name


def test_credentials_do_not_share_pages() -> None:
    ids = {credential.id for credential in several().all}
    assert len(ids) == 2


class Tokens(httpx.AsyncBaseTransport):
    """A hub that knows two tokens, and refuses one of them as told."""

    def __init__(self, hub: Simulator) -> None:
        self._hub = httpx.ASGITransport(hub)
        self.refused: set[str] = set()
        self.asked: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        token = request.headers["authorization"].removeprefix("Bearer ")
        self.asked.append(token)
        request.headers["authorization"] = f"Bearer {'wrong' if token in self.refused else KEY}"
        return await self._hub.handle_async_request(request)


async def test_a_refused_token_does_not_take_others_down(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """It is said loudly, asked with again now and then only, and taken again when it is renewed."""
    clock = Clock()
    file = tmp_path / "farm"
    file.write_text("k-farm")
    farm = CredentialSettings(name="farm", namespaces=("bessie",), api_key_file=str(file))
    hub = Simulator(still_world(clock), api_key=KEY, clock=clock)
    tokens = Tokens(hub)
    tokens.refused.add("k-farm")
    async with rig(transport=tokens, simulator=hub, clock=clock, credentials=(farm,)) as it:
        for page in range(1, 6):
            refused = await it.get(f"namespace=bessie&page={page}")
            assert (refused.status_code, refused.json()["error"]["type"]) == (502, "hub_refused_credential")
            assert refused.headers["retry-after"] == "1"
            assert (await it.get(f"namespace=ox&page={page}")).status_code == 200
        assert tokens.asked == ["k-farm", *[KEY] * 5]
        ready = (await it.caller.get("/health/ready")).json()
        assert ready["credentials"] == {"default": "ok", "farm": "hub_refused_credential"}
        assert (ready["status"], ready["hub"]) == ("ready", "hub_refused_credential")
        loud = [record for record in caplog.records if record.levelno >= logging.ERROR]
        assert [record.getMessage() for record in loud] == ["the hub refuses the token of credential farm: renew it"]
        file.write_text("k-farm-renewed")
        assert (await it.get("namespace=bessie")).status_code == 200
        assert (await it.caller.get("/health/ready")).json()["hub"] == "ok"
        assert "k-farm" not in caplog.text


async def test_check_looks_at_each_token() -> None:
    clock = Clock()
    hub = Simulator(still_world(clock), api_key=KEY, clock=clock)
    tokens = Tokens(hub)
    tokens.refused.add("k-farm")
    said: list[str] = []
    farm = '[{"name": "farm", "namespaces": ["bessie"], "api_key": "k-farm"}]'
    environ = {"OXEN_HUB_URL": "http://hub.test", "OXEN_API_KEY": KEY, "PROXY_HUB_CREDENTIALS": farm}
    environ["PROXY_EVENTS_MODE"] = "off"  # ASGITransport has no streams
    assert not await run_checks(environ, None, say=lambda line: said.append(str(line)), transport=tokens)
    assert any(line.startswith("ok    credential ") for line in said)
    assert any(line.startswith("FAIL  farm: credential") for line in said)
    assert "namespace=bessie" in hub.journal.requests[-1].query
