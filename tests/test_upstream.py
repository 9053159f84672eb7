"""How the hub is said to fare: in ``state``, of which health and the gauge are made, and in the log."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from proxy import errors
from proxy.admission.gate import Allowance
from proxy.admission.gates import Gates
from proxy.admission.shield import Shield
from proxy.hub.client import Hub
from proxy.hub.credential import Credential
from proxy.questions.query import ListQuery
from proxy.questions.question import page_question
from proxy.secret import Secret
from proxy.settings import HubSettings
from proxy.upstream import Upstream
from tests.support import KEY, Clock

QUESTION = page_question("c", ListQuery())
PAGE = {"count": 0, "generations": [], "page_number": 1, "page_size": 50, "total_pages": 1}
BODY = json.dumps({**PAGE, "total_entries": 0, "total_cost": None}).encode()


class Asked:
    """An upstream before a hub whose next answer is set: a status, or what the connection ends in."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.answer: int | Exception = 200
        self.retry_after: str | None = None
        self.hub = Hub(SETTINGS, Credential(SETTINGS), transport=httpx.MockTransport(self._answer), clock=self.clock)
        gates = Gates(Allowance(1e6, 1e6, 8), None, gate_name=lambda: "gp1:{g}", clock=self.clock)
        self.upstream = Upstream(self.hub, Shield(gates, clock=self.clock), clock=self.clock)

    def _answer(self, _: httpx.Request) -> httpx.Response:
        if isinstance(self.answer, Exception):
            raise self.answer
        headers = {} if self.retry_after is None else {"retry-after": self.retry_after}
        return httpx.Response(self.answer, headers=headers, stream=httpx.ByteStream(BODY))

    async def ask(self, answer: int | Exception = 200, *, after: float = 0.0) -> errors.ProxyError | None:
        """What it came to."""
        self.answer = answer
        self.clock.advance(after)
        try:
            until = asyncio.get_running_loop().time() + 5
            await self.upstream.ask(QUESTION, until, ahead=False, turn=None)
        except errors.ProxyError as error:
            return error
        return None


SETTINGS = HubSettings(url="http://hub.test", api_key=Secret(KEY))


@asynccontextmanager
async def asked() -> AsyncIterator[Asked]:
    it = Asked()
    yield it
    await it.upstream.shield.drain(5)
    await it.hub.aclose()


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """What the log was told of the hub."""
    return [(one.levelname, one.getMessage()) for one in caplog.records if one.name == "proxy.hub"]


async def test_a_403_of_one_namespace_is_no_refused_token(caplog: pytest.LogCaptureFixture) -> None:
    """No operator is called, and the caller is not told that one has to renew the token, which is good."""
    async with asked() as it:
        error = await it.ask(403)
        assert isinstance(error, errors.HubRefusedCredential)
        assert error.detail == "The hub answered 403: its token may not see this."
        assert it.upstream.state == "ok"
        await it.ask(200)
    assert lines(caplog) == []


@pytest.mark.parametrize("status", [200, 400, 403, 404, 422])
async def test_a_refused_token_is_taken_again_with_any_answer_to_a_question(status: int) -> None:
    async with asked() as it:
        await it.ask(401)
        assert it.upstream.state == "hub_refused_credential"
        await it.ask(status, after=61)
        assert it.upstream.state == "ok"
