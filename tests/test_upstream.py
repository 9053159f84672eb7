"""How the hub is said to fare: in ``state``, of which health and the gauge are made, and in the log."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import format_datetime
from unittest.mock import AsyncMock

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
from proxy.rows.reading import read_window
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
        self.body = BODY
        self.headers: dict[str, str] = {}
        self.hub = Hub(
            SETTINGS, Credential(SETTINGS, SETTINGS.url), transport=httpx.MockTransport(self._answer), clock=self.clock
        )
        gates = Gates(Allowance(1e6, 1e6, 8), None, gate_name=lambda: "gp1:{g}", clock=self.clock)
        self.upstream = Upstream(self.hub, Shield(gates, clock=self.clock), deadline=60.0, clock=self.clock)

    def _answer(self, _: httpx.Request) -> httpx.Response:
        if isinstance(self.answer, Exception):
            raise self.answer
        headers = self.headers if self.retry_after is None else {"retry-after": self.retry_after}
        return httpx.Response(self.answer, headers=headers, stream=httpx.ByteStream(self.body))

    async def ask(self, answer: int | Exception = 200, *, after: float = 0.0) -> errors.ProxyError | None:
        """What it came to."""
        self.answer = answer
        self.clock.advance(after)
        try:
            until = asyncio.get_running_loop().time() + 5
            await self.upstream.ask(QUESTION, until, ahead=False, turn=None)
        except errors.ProxyError as error:
            return error
        finally:
            await self.upstream.shield.drain(5)  # what it says of the hub is known from here on
        return None


SETTINGS = HubSettings(url="http://hub.test", api_key=Secret(KEY))


@asynccontextmanager
async def asked() -> AsyncIterator[Asked]:
    it = Asked()
    yield it
    await it.upstream.shield.drain(5)
    await it.hub.aclose()


@pytest.fixture(autouse=True)
def from_info_on(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "proxy.hub")


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """What the log was told of the hub, since this was last asked."""
    found = [(one.levelname, one.getMessage()) for one in caplog.records if one.name == "proxy.hub"]
    caplog.clear()
    return found


def refused_connection() -> httpx.ConnectError:
    """As of httpx: the system's word is two exceptions below, and one for each address of the name."""
    system = ExceptionGroup("", [OSError(errno.ENETUNREACH, "quoted"), OSError(errno.ECONNREFUSED, "quoted")])
    error = httpx.ConnectError("All connection attempts failed")
    error.__cause__ = OSError("All connection attempts failed")
    error.__cause__.__cause__ = system
    return error


async def test_a_request_has_no_longer_than_the_deadline_however_long_who_asks_may_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else an answer that drips would hold its slot for as long."""
    async with asked() as it:
        ask = AsyncMock(wraps=it.hub.ask)
        monkeypatch.setattr(it.hub, "ask", ask)
        assert await it.ask() is None
        assert 0 < ask.call_args.kwargs["deadline"] <= 5.0
        it.upstream._deadline = 1.0
        assert await it.ask() is None
        assert ask.call_args.kwargs["deadline"] == 1.0


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


UNREACHABLE = "hub_unreachable: No connection to the hub could be made"


async def test_that_the_hub_fails_is_said_once_with_its_cause_and_that_it_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with asked() as it:
        await it.ask()
        assert lines(caplog) == []
        for _ in range(2):
            error = await it.ask(refused_connection())
            assert error is not None
            assert error.detail == "No connection to the hub could be made.", "no word of the system's for callers"
        said = (
            f"the hub fails, asked with credential default: {UNREACHABLE}: Network is unreachable, Connection refused"
        )
        assert lines(caplog) == [("WARNING", said)]
        await it.ask(after=90)
        assert lines(caplog) == [("INFO", "the hub answers credential default again, after 90 s")]
        await it.ask(refused_connection())
        assert lines(caplog) == [("WARNING", said)], "a minute has gone"


async def test_that_the_hub_is_left_alone_is_said_with_for_how_long(caplog: pytest.LogCaptureFixture) -> None:
    async with asked() as it:
        it.retry_after = "30"
        for _ in range(3):
            await it.ask(429)
        [(level, said)] = lines(caplog)
        assert level == "WARNING"
        assert said.endswith(": hub_rate_limited: The hub answered 429; asked again in 30 s")
        it.retry_after = None
        await it.ask(after=61)
        lines(caplog)
        for _ in range(8):
            await it.ask(500)
        first, fifth = (said for _, said in lines(caplog))
        assert first.endswith("default: hub_failed: The hub answered 500")
        assert "hub_failed: The hub answered 500; asked again in " in fifth, "those that it turns away are nothing new"
        assert it.upstream.state == "hub_failed", "of which more can be learned than that it rests"


async def test_a_process_that_meets_a_pause_of_others_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """It has failed at nothing itself, but turns its callers away."""
    async with asked() as it:
        for _ in range(5):
            with contextlib.suppress(errors.HubFailed):
                async with it.upstream.shield.turn(1.0):
                    raise errors.HubFailed("of another")
        await it.ask()
        assert it.upstream.state == "hub_resting"
        assert [level for level, _ in lines(caplog)] == ["WARNING"]


async def test_a_hub_that_fails_now_and_then_is_no_line_for_each_time(caplog: pytest.LogCaptureFixture) -> None:
    async with asked() as it:
        for _ in range(4):
            await it.ask(418, after=1)
            await it.ask(after=1)
        assert [level for level, _ in lines(caplog)] == ["WARNING", "INFO"]
        for _ in range(4):
            await it.ask(418, after=20)
        assert [level for level, _ in lines(caplog)] == ["WARNING"], "said again if it goes on after a minute"


async def test_a_refused_token_is_an_error_in_the_log_also_where_the_hub_failed_before(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with asked() as it:
        await it.ask(500)
        lines(caplog)
        await it.ask(401)
        await it.ask(httpx.ReadTimeout("x"), after=61)
        refused, timeout = lines(caplog)
        assert refused == ("ERROR", "the hub refuses the token of credential default: renew it")
        assert timeout[0] == "WARNING", "and not that it takes the token again"


# Whose clock.


@pytest.mark.parametrize("off", [-7200, -30, 0, 30, 7200])
async def test_links_are_judged_by_the_clock_of_the_hub_that_signed_them(off: int) -> None:
    """A replica whose clock was off while it asked kept dead links for all, long after it had been put right."""
    async with asked() as it:
        now = datetime.fromtimestamp(it.clock.now - off, UTC)
        link = f"https://b.example/k.png?X-Amz-Date={now:%Y%m%dT%H%M%SZ}&X-Amz-Expires=20"
        rows = [{"generation_id": "a", "result_url": link}, {"generation_id": "b", "result_url": None}]
        it.body = json.dumps({**PAGE, "count": 2, "generations": rows, "total_entries": 2, "total_cost": None}).encode()
        it.headers = {"date": format_datetime(now, usegmt=True)}
        until = asyncio.get_running_loop().time() + 5
        page, _ = await it.upstream.ask(QUESTION, until, ahead=False, turn=None)
        first, second = read_window(QUESTION, page).rows
        assert page.dead_at is not None
        assert 14 <= page.dead_at - it.clock.now <= 16.5
        assert (first.dead_at, second.dead_at) == (page.dead_at, None)
