"""The example of a page of another origin (deploy/examples/browser.html), in a real browser, over real sockets."""

from __future__ import annotations

import os
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
import pytest

from proxy.commands.sockets import LOOPBACK, listen, serving, url_of
from proxy.secret import Secret
from proxy.settings import CacheSettings, CorsSettings, JwtSettings, Settings
from proxy.simulator.faults import Fault
from tests.chromium import PATIENCE, PLAYWRIGHT, SHARED, browser
from tests.listening import EVENTS
from tests.support import LIST, ROOT, SocketRig, socket_rig, until

if PLAYWRIGHT:
    from playwright.async_api import Browser, Page, Request, Response, expect

pytestmark = [pytest.mark.slow, SHARED]
__all__ = ["browser"]  # the fixture

EXAMPLE = ROOT / "deploy" / "examples" / "browser.html"
KEY = "s" * 32
ISSUER, AUDIENCE = "https://login.test", "proxy"
HOSTILE = """<img src=x onerror="globalThis.ran = 1"><script>globalThis.ran = 1</script>&lt;b&gt; "'"""
CORS_REFUSAL = re.compile("blocked by CORS policy|net::ERR_FAILED")


def failed(status: int) -> re.Pattern[str]:
    """What the console says of an answer with this status."""
    return re.compile(rf"the server responded with a status of {status} ")


def token(*, lasts: float = 300, namespaces: tuple[str, ...] = ("ox",)) -> str:
    exp = int(time.time() + lasts)
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "namespaces": list(namespaces), "exp": exp}
    return jwt.encode(claims, KEY, "HS256")


async def page_server(scope: Mapping[str, Any], receive: Any, send: Any) -> None:
    """Serve the example, as any server of files would."""
    if scope["type"] == "lifespan":
        for event in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{event}.complete"})
        return
    found = scope["path"] == "/browser.html"
    headers = [(b"content-type", b"text/html; charset=utf-8")]
    await send({"type": "http.response.start", "status": 200 if found else 404, "headers": headers})
    await send({"type": "http.response.body", "body": EXAMPLE.read_bytes() if found else b""})


@dataclass
class Tab:
    """The page in a browser, the proxy that it asks, and everything that the browser did and said."""

    page: Page
    proxy: SocketRig
    origin: str
    expected: list[re.Pattern[str]] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    responses: list[Response] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    async def open(self, given: str | None = None, namespace: str = "ox") -> None:
        """Open the page as a link with a fragment does, or without one."""
        fragment = {"proxy": self.proxy.proxy_url, "namespace": namespace, "token": given}
        await self.page.goto(f"{self.origin}/browser.html" + (f"#{urlencode(fragment)}" if given else ""))

    async def shows(self, selector: str, text: str | re.Pattern[str]) -> None:
        await expect(self.page.locator(selector)).to_contain_text(text)

    async def shows_rows(self, count: int) -> None:
        await expect(self.page.locator("#rows tr")).to_have_count(count)

    async def column(self, name: str) -> list[str]:
        return await self.page.locator(f"#rows td.{name}").all_text_contents()

    def asked(self) -> list[Request]:
        """The page's questions; no preflights."""
        return [request for request in self.requests if LIST in request.url and request.method == "GET"]

    def between(self) -> float:
        """Seconds from the page's first question to its second, both of them answered, by the browser's clock."""
        first, second = (request.timing["startTime"] for request in self.asked()[:2])
        return (second - first) / 1000


@asynccontextmanager
async def opened(browser: Browser, *, listed: bool = True, **context: Any) -> AsyncIterator[Tab]:
    """A tab for the page, of an origin that the proxy lists or not; whatever happens, the browser behaves to its end.

    What is kept is fresh for minutes: so a refresh gets a 304, and costs the hub nothing.
    """
    with listen(LOOPBACK, 0) as sock:
        origin = url_of(sock)
        settings = Settings(
            cors=CorsSettings(origins=(origin if listed else "https://app.example",)),
            jwt=JwtSettings(algorithm="HS256", key=Secret(KEY), issuer=ISSUER, audience=AUDIENCE),
            cache=CacheSettings(live_ttl=300, settled_ttl=300, compose=False),
        )
        async with (
            serving(page_server, sock),
            socket_rig(settings) as proxy,
            await browser.new_context(**context) as profile,
        ):
            page = await profile.new_page()
            page.set_default_timeout(PATIENCE)
            expect.set_options(timeout=PATIENCE)
            tab = Tab(page, proxy, origin)
            page.on("request", lambda request: tab.requests.append(request))  # noqa: PLW0108  likewise
            page.on("response", lambda response: tab.responses.append(response))  # noqa: PLW0108  it takes no builtin
            page.on("console", lambda message: tab.said.append(message.text))
            page.on("pageerror", lambda error: tab.said.append(f"uncaught: {error}"))
            yield tab
            own = {urlsplit(url).netloc for url in (origin, proxy.proxy_url)}
            assert {urlsplit(request.url).netloc for request in tab.requests if "data:" not in request.url} <= own
            assert [text for text in tab.said if not any(known.search(text) for known in tab.expected)] == []


async def test_a_page_of_generations_is_shown_and_turned(browser: Browser) -> None:
    async with opened(browser) as tab:
        rows = list(tab.proxy.hub.world.newest_first("ox"))
        await tab.open(token())
        await tab.shows("#status", "Page 1 of 3, 60 generations")
        await tab.shows_rows(20)
        assert await tab.column("model") == [row.model for row in rows[:20]]
        assert await tab.column("status") == [row.status for row in rows[:20]]
        assert all(re.fullmatch(r"\d+ (s|min|h|d) ago", age) for age in await tab.column("age"))

        previous, following = (tab.page.get_by_role("button", name=name) for name in ("Previous", "Next"))
        await expect(previous).to_have_attribute("aria-disabled", "true")
        for number in (2, 3):
            await following.click()
            await tab.shows("#status", f"Page {number} of 3")
            assert await tab.column("model") == [row.model for row in rows[20 * number - 20 : 20 * number]]
        await expect(following).to_have_attribute("aria-disabled", "true")
        await following.press("Enter")  # may be reached, and does nothing
        await previous.press("Enter")
        await tab.shows("#status", "Page 2 of 3")
        assert [parse_qs(urlsplit(request.url).query)["page"] for request in tab.asked()][-1] == ["2"]


async def test_a_filter_is_asked_for(browser: Browser) -> None:
    async with opened(browser) as tab:
        ended = [row for row in tab.proxy.hub.world.newest_first("ox") if row.status == "failed"]
        assert 0 < len(ended) <= 20
        await tab.open(token())
        await tab.shows_rows(20)
        await tab.page.get_by_label("Status").select_option("failed")
        await tab.shows_rows(len(ended))
        assert set(await tab.column("status")) == {"failed"}


async def test_a_refresh_gets_a_304_from_the_cache_and_the_page_may_read_the_headers(browser: Browser) -> None:
    async with opened(browser) as tab:
        await tab.open(token())
        await tab.shows("#answer", re.compile(r"^200, changed at "))
        await tab.shows("#cache-status", "generations-proxy; fwd=")
        await tab.shows("#answer", re.compile(r"^304, unchanged since "))
        await tab.shows("#cache-status", "generations-proxy; hit; ")
        await tab.shows("#age", re.compile(r"^\d+ s$"))
        await tab.shows_rows(20)
        answers = [answer for answer in tab.responses if LIST in answer.url and answer.request.method == "GET"]
        assert [answer.status for answer in answers][:2] == [200, 304]
        ids = [await answer.header_value("x-request-id") for answer in answers]
        assert await tab.page.locator("#request-id").text_content() in ids
        assert await answers[1].request.header_value("if-none-match") == await answers[0].header_value("etag")
        assert 1.5 < tab.between() < 10
        assert tab.proxy.hub.journal.count == 1, "a browser's own Cache-Control would have asked the hub each time"


async def test_a_change_is_shown_by_itself(browser: Browser) -> None:
    async with opened(browser) as tab:
        await tab.open(token())
        await tab.shows_rows(20)
        # The pages of another page size are another question: its answer tells the proxy that the listing moved on.
        tab.proxy.hub.world.enqueue("ox", parameters={"prompt": "a new one"})
        await tab.page.evaluate(
            "async ([url, token]) => (await fetch(url, {headers: {Authorization: token}})).status",
            [f"{tab.proxy.list_url}?namespace=ox&page_size=1", f"Bearer {token()}"],
        )
        await expect(tab.page.locator("#rows td.prompt").first).to_have_text("a new one")
        await tab.shows("#status", "61 generations")


async def test_hostile_text_is_shown_as_text(browser: Browser) -> None:
    async with opened(browser) as tab:
        tab.expected += [failed(403)]
        tab.proxy.hub.world.enqueue("ox", model=HOSTILE, parameters={"prompt": HOSTILE})
        await tab.open(token())
        await tab.shows_rows(20)
        for name in ("prompt", "model"):
            assert (await tab.column(name))[0] == HOSTILE
        assert await tab.page.locator("#rows td *").count() == 0
        await tab.open(token(), namespace=HOSTILE)
        await tab.shows("#error", "is not granted")
        await tab.shows("#error", "<img src=x onerror=")
        assert await tab.page.locator("#error *").count() == 0
        assert await tab.page.locator("img").count() == 0
        assert await tab.page.evaluate("typeof globalThis.ran") == "undefined"


async def test_an_expired_token_is_said_in_words_and_not_sent_again(browser: Browser) -> None:
    async with opened(browser) as tab:
        tab.expected += [failed(401)]
        await tab.open(token(lasts=-60))
        await tab.shows("#error", "The token is expired (exp). Get a new token")
        await tab.shows("#answer", "401 at")
        await expect(tab.page.get_by_role("alert")).to_be_visible()
        await tab.shows_rows(0)
        await tab.page.wait_for_timeout(2500)
        assert len(tab.asked()) == 1
        await tab.page.get_by_label("Token").fill(token())
        await tab.page.get_by_label("Token").press("Enter")
        await tab.shows_rows(20)
        await expect(tab.page.locator("#error")).to_be_empty()


async def test_what_can_be_no_token_is_said_in_words_and_not_sent(browser: Browser) -> None:
    async with opened(browser) as tab:
        await tab.open(f"{token()}\u200b")
        await tab.shows("#error", "visible ASCII characters")
        assert not tab.asked()
        await tab.open(token())
        await tab.shows_rows(20)


async def test_a_namespace_that_is_not_granted_is_said_in_words(browser: Browser) -> None:
    async with opened(browser) as tab:
        tab.expected += [failed(403)]
        await tab.open(token())
        await tab.shows_rows(20)
        await tab.open(token(), namespace="bessie")
        await tab.shows("#error", "The namespace 'bessie' is not granted to this caller.")
        await tab.shows_rows(0)


async def test_who_is_asked_to_wait_waits(browser: Browser) -> None:
    async with opened(browser) as tab:
        tab.expected += [failed(503)]
        tab.proxy.hub.faults.set(Fault(status=429, retry_after="4", times=1))
        await tab.open(token())
        await tab.shows("#error", re.compile(r"\(503\).* Asking again in \d s, at "))
        await tab.shows_rows(20)
        await expect(tab.page.locator("#error")).to_be_empty()
        answer = next(answer for answer in tab.responses if answer.status == 503)
        wait = float(await answer.header_value("retry-after") or 0)
        assert wait >= 3
        assert tab.between() >= wait - 0.1


async def test_a_page_of_an_origin_that_is_not_listed_gets_nothing(browser: Browser) -> None:
    async with opened(browser, listed=False) as tab:
        tab.expected += [CORS_REFUSAL, failed(405), failed(401)]
        await tab.open(token())
        await tab.shows("#error", f"this page's origin, {tab.origin}, is not in the proxy's PROXY_CORS_ORIGINS")
        await tab.shows_rows(0)
        await expect(tab.page.locator("#request-id")).to_have_text("\N{EN DASH}")
        tried = await tab.page.evaluate(
            """async ([url, token]) => Promise.all([{}, {headers: {Authorization: token}}].map(
                (options) => fetch(url, options).then(() => "read", (error) => error.name)))""",
            [f"{tab.proxy.list_url}?namespace=ox", f"Bearer {token()}"],
        )
        assert tried == ["TypeError", "TypeError"]
        assert tab.proxy.hub.journal.count == 0


@pytest.mark.parametrize("way", ["fragment", "form"])
async def test_the_token_is_nowhere_but_in_memory(browser: Browser, way: str) -> None:
    """But for the browser's own entries about a page that came with a fragment, which no page can clear."""
    async with opened(browser) as tab:
        given = token()
        await tab.open(given if way == "fragment" else None)
        if way == "form":
            await tab.page.get_by_label("Proxy").fill(tab.proxy.proxy_url)
            await tab.page.get_by_label("Namespace").fill("ox")
            await tab.page.get_by_label("Token").fill(given)
            await tab.page.get_by_role("button", name="Show").click()
        await tab.shows_rows(20)
        assert tab.page.url == f"{tab.origin}/browser.html"
        places = await tab.page.evaluate(
            """(way) => [location.href, document.URL, document.documentElement.outerHTML, document.cookie, name,
                ...[...document.querySelectorAll("input, select")].map((field) => field.value),
                JSON.stringify([localStorage, sessionStorage, history.state]),
                JSON.stringify(performance.getEntries().filter(
                    (entry) => way === "form" || entry.entryType === "resource"))]""",
            way,
        )
        assert [place for place in places if given in place] == []
        assert await tab.page.evaluate("[localStorage.length, sessionStorage.length]") == [0, 0]
        assert tab.asked()
        assert all(given not in request.url for request in tab.asked())
        await tab.page.reload()
        await tab.shows("#status", "Nothing is shown yet.")
        await tab.shows_rows(0)


async def test_the_form_works_with_the_keyboard_alone(browser: Browser) -> None:
    async with opened(browser) as tab:
        await tab.open()
        await tab.page.get_by_label("Proxy").focus()
        for text in (tab.proxy.proxy_url + "/", "ox", token()):
            await tab.page.keyboard.type(text)
            await tab.page.keyboard.press("Tab")
        await tab.page.keyboard.press("Tab")
        await tab.page.keyboard.press("Enter")
        await tab.shows_rows(20)
        for _ in range(2):
            await tab.page.keyboard.press("Tab")
        await expect(tab.page.get_by_role("button", name="Next")).to_be_focused()
        await tab.page.keyboard.press("Enter")
        await tab.shows("#status", "Page 2 of 3")
        await expect(tab.page.get_by_role("status")).to_have_attribute("aria-live", "polite")
        await expect(tab.page.get_by_role("button", name="Next")).to_be_focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_phone_shows_it_without_scrolling_sideways(browser: Browser, scheme: str) -> None:
    async with opened(browser, viewport={"width": 375, "height": 700}, color_scheme=scheme) as tab:
        tab.proxy.hub.world.enqueue("ox", model="m" * 90, parameters={"prompt": "W" * 250})
        await tab.open(token())
        await tab.shows_rows(20)
        await tab.shows("#cache-status", "generations-proxy")
        assert await tab.page.evaluate("document.documentElement.scrollWidth") == 375
        await expect(tab.page.get_by_role("row")).to_have_count(21)
        await expect(tab.page.get_by_role("cell")).to_have_count(80)
        back = await tab.page.evaluate("getComputedStyle(document.body).backgroundColor")
        red = int(re.findall(r"\d+", back)[0])
        assert (red < 64) == (scheme == "dark")
        if folder := os.environ.get("BROWSER_SCREENSHOTS"):
            await tab.page.screenshot(path=Path(folder, f"{scheme}.png"))


FETCH = """
async ([url, token]) => {
  const answer = await fetch(url, {headers: {Authorization: token, "Last-Event-ID": "unknown"}});
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  globalThis.stream = {status: answer.status, text: ""};
  (async () => {
    let piece;
    while (!(piece = await reader.read()).done) globalThis.stream.text += piece.value;
  })();
}
"""
EVENT_SOURCE = """
(url) => {
  globalThis.heard = [];
  globalThis.source = new EventSource(url);
  globalThis.source.addEventListener("media_generation_completed", (event) => {
    globalThis.heard.push([JSON.parse(event.data).generation_id, event.lastEventId]);
  });
}
"""


async def test_a_stream_by_fetch_with_a_token_shows_only_what_it_may(browser: Browser) -> None:
    """Across origins, with a preflight for both headers."""
    async with opened(browser) as tab:
        await tab.open(None)
        await until(lambda: tab.proxy.hub.streams.open.total() == 1)
        await tab.page.evaluate(FETCH, [tab.proxy.proxy_url + EVENTS, f"Bearer {token()}"])
        world = tab.proxy.hub.world
        hidden, shown = world.enqueue("moo"), world.enqueue("ox")
        world.end(hidden)
        world.end(shown)
        await tab.page.wait_for_function("(id) => stream.text.includes(id)", arg=shown.id)
        text = await tab.page.evaluate("stream.text")
        assert await tab.page.evaluate("stream.status") == 200
        assert "event: gap" in text
        assert hidden.id not in text
        tab.expected += [CORS_REFUSAL, re.compile("network error")]


async def test_an_event_source_where_nobody_has_to_say_who_they_are(browser: Browser) -> None:
    """It comes back by itself, and gets what it missed."""
    with listen(LOOPBACK, 0) as sock:
        settings = Settings(cors=CorsSettings(origins=(url_of(sock),)))
        async with serving(page_server, sock), socket_rig(settings) as proxy:
            page = await (await browser.new_context()).new_page()
            page.set_default_timeout(PATIENCE)
            await page.goto(f"{url_of(sock)}/browser.html")
            await until(lambda: proxy.hub.streams.open.total() == 1)
            await page.evaluate(EVENT_SOURCE, proxy.proxy_url + EVENTS)
            await page.wait_for_function("() => source.readyState === EventSource.OPEN")
            world = proxy.hub.world
            ids = []
            for _ in range(3):
                row = world.enqueue("ox")
                world.end(row)
                ids.append(row.id)
            await page.wait_for_function("() => heard.length === 3")
            await page.context.set_offline(True)
            await page.context.set_offline(False)
            row = world.enqueue("ox")
            world.end(row)
            await page.wait_for_function("() => heard.length === 4")
            heard = await page.evaluate("heard")
            assert [one for one, _ in heard] == [*ids, row.id]
            assert len({last for _, last in heard}) == 4
            await page.context.close()
