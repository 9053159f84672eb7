"""The proxy's pages in a real browser, over real sockets. Pictures of them are kept in ``artifacts``."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx

from proxy.app import create_app
from proxy.commands.sockets import LOOPBACK, listen, serving, url_of
from proxy.secret import Secret
from proxy.settings import CacheSettings, HubSettings, Settings, StatusSettings
from proxy.simulator import PLAIN_PROMPTS, Controlled, Simulator, World
from proxy.web.page_files import PageFile, page_handler
from tests.chromium import PATIENCE, PLAYWRIGHT
from tests.support import KEY, LIST, ROOT

if PLAYWRIGHT:
    from playwright.async_api import Browser, Page, Request, expect

ARTIFACTS = ROOT / "artifacts"
SCHEMES: tuple[Literal["light"], Literal["dark"]] = ("light", "dark")
NARROW: Any = {"width": 360, "height": 740}
FRUITLESS = re.compile(r"/api/events|status of 404")
"""What the console says where there are no events; the page goes on without."""


@dataclass
class Tab:
    """A page in a browser, the hub behind the proxy, and everything that the browser did and said."""

    page: Page
    hub: Simulator
    url: str
    expected: list[re.Pattern[str]] = field(default_factory=lambda: [FRUITLESS])
    requests: list[Request] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    async def shows(self, selector: str, text: str | re.Pattern[str]) -> None:
        await expect(self.page.locator(selector)).to_contain_text(text)

    async def tiles(self, count: int) -> None:
        await expect(self.page.locator("#grid .tile")).to_have_count(count)

    async def keep(self, name: str, **how: Any) -> None:
        """Keep a picture for people to look at."""
        ARTIFACTS.mkdir(exist_ok=True)
        await self.page.screenshot(path=ARTIFACTS / f"{name}.png", **how)

    async def fits(self) -> bool:
        """Whether nothing has to be scrolled sideways."""
        return bool(await self.page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


@asynccontextmanager
async def opened(
    browser: Browser, path: str, *, status: StatusSettings | None = None, ttl: float = 0.2, **context: Any
) -> AsyncIterator[Tab]:
    """A tab at this path; whatever happens in it, no foreign host is asked and the console says nothing unexpected."""
    world = World(clock=time.time, speed=0, history=60, prompts=PLAIN_PROMPTS)
    hub = Simulator(world, api_key=KEY)
    with listen(LOOPBACK, 0) as hub_socket, listen(LOOPBACK, 0) as proxy_socket:
        hub_url, url = url_of(hub_socket), url_of(proxy_socket)
        hub.serve_results(hub_url)
        settings = Settings(
            hub=HubSettings(url=hub_url, api_key=Secret(KEY)),
            cache=CacheSettings(live_ttl=ttl, settled_ttl=ttl),
            status=status or StatusSettings(open=True),
        )
        gallery = page_handler("/", PageFile("gallery.html", images=hub_url))
        app = create_app(settings, sinks=[], handlers=[gallery])
        async with (
            serving(Controlled(hub), hub_socket),
            serving(app, proxy_socket),
            await browser.new_context(**context) as profile,
        ):
            page = await profile.new_page()
            page.set_default_timeout(PATIENCE)
            expect.set_options(timeout=PATIENCE)
            tab = Tab(page, hub, url)
            page.on("request", lambda request: tab.requests.append(request))  # noqa: PLW0108  it takes no builtin
            page.on("console", lambda message: tab.said.append(f"{message.text} {message.location.get('url')}"))
            page.on("pageerror", lambda error: tab.said.append(f"uncaught: {error}"))
            await page.goto(f"{url}{path}")
            yield tab
            own = {urlsplit(one).netloc for one in (hub_url, url)}
            assert {urlsplit(one.url).netloc for one in tab.requests if not one.url.startswith("data:")} <= own
            pictures = [one.url for one in tab.requests if one.url.startswith(hub_url)]
            assert all(urlsplit(one).path.startswith("/results/") for one in pictures), (
                "the hub's API is not the page's"
            )
            assert [text for text in tab.said if not any(known.search(text) for known in tab.expected)] == []


async def ask(tab: Tab, *queries: str) -> None:
    async with httpx.AsyncClient() as caller:
        for query in queries:
            await caller.get(f"{tab.url}{LIST}?{query}")
