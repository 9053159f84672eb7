"""The status page, as people see it; and what both pages owe to those who see less."""

from __future__ import annotations

import re

import pytest

from proxy.secret import Secret
from proxy.settings import StatusSettings
from proxy.simulator.faults import Fault
from tests.browser import NARROW, SCHEMES, ask, opened
from tests.chromium import PLAYWRIGHT, SHARED, browser

if PLAYWRIGHT:
    from playwright.async_api import Browser, Route, expect

pytestmark = [pytest.mark.slow, SHARED]
__all__ = ["browser"]  # the fixture
STATUS_KEY = "look-8f2k1z"


async def test_the_status_page_tells_what_happens(browser: Browser) -> None:
    async with opened(browser, "/status", ttl=60, viewport={"width": 1200, "height": 900}) as tab:
        await ask(tab, *["namespace=ox&page_size=5"] * 4, "namespace=moo&status=succeeded", "page=0")
        await tab.shows("#state", "All is well")
        await tab.shows("#callers-legend", "hit 3")
        await tab.shows("#callers-legend", "miss 2")
        await tab.shows("#callers-legend", "refused 1")
        await tab.shows("#hub-legend", "200 2 (100 %)")
        await tab.shows("#listings", "list: namespace=moo, status=succeeded")
        await expect(tab.page.locator("#callers-chart")).to_have_attribute(
            "aria-label", re.compile("hit 3, miss 2, refused 1")
        )
        await tab.shows("#budgets", "of 40")
        await tab.shows("#faults", "Nothing, since the start.")
        await tab.keep("status", full_page=True)


async def test_the_status_page_updates_by_itself_and_says_what_is_wrong(browser: Browser) -> None:
    async with opened(browser, "/status") as tab:
        await tab.shows("#state", "All is well")
        tab.hub.faults.set(Fault(status=429, retry_after="30"))
        await ask(tab, "namespace=ox")
        await expect(tab.page.get_by_role("status")).to_have_text("The hub is left alone, as it answered 429")
        await tab.shows("#faults", "hub_rate_limited")
        await tab.shows("#hub-legend", "429 1")
        await tab.shows("#budgets", "Left alone for")


async def test_the_key_is_typed_in_once(browser: Browser) -> None:
    async with opened(browser, "/status", status=StatusSettings(key=Secret(STATUS_KEY))) as tab:
        tab.expected.append(re.compile("status of 401"))
        await expect(tab.page.locator("#main")).to_be_hidden()
        await tab.shows("#state", "A key is needed")
        await tab.page.get_by_label("Key of the status page").fill("wrong")
        await tab.page.get_by_role("button", name="Show").click()
        await expect(tab.page.get_by_role("alert")).to_contain_text("That key is not known here.")
        await tab.page.get_by_label("Key of the status page").fill(STATUS_KEY)
        await tab.page.get_by_label("Key of the status page").press("Enter")
        await expect(tab.page.locator("#main")).to_be_visible()
        await tab.page.reload()
        await expect(tab.page.locator("#main")).to_be_visible()
        assert STATUS_KEY not in await tab.page.content()
        assert not await tab.page.evaluate("document.cookie + JSON.stringify(localStorage).replace('{}', '')")


@pytest.mark.parametrize("pasted", [f"{STATUS_KEY}\u200b", "kl\u00e9", "two words", "  "])
async def test_what_can_be_no_key_is_not_kept(browser: Browser, pasted: str) -> None:
    """A browser throws at a header that it cannot send: the page would ask in vain, and show no form, for good."""
    async with opened(browser, "/status", status=StatusSettings(key=Secret(STATUS_KEY))) as tab:
        tab.expected.append(re.compile("status of 401"))
        await tab.shows("#state", "A key is needed")
        await tab.page.get_by_label("Key of the status page").fill(pasted)
        await tab.page.get_by_role("button", name="Show").click()
        await expect(tab.page.get_by_role("alert")).to_contain_text("visible ASCII characters")
        assert await tab.page.evaluate("sessionStorage.length") == 0
        await tab.page.get_by_label("Key of the status page").fill(f" {STATUS_KEY} ")
        await tab.page.get_by_label("Key of the status page").press("Enter")
        await expect(tab.page.locator("#main")).to_be_visible()
        await expect(tab.page.locator("#alert")).to_be_empty()


async def test_a_kept_key_that_cannot_be_sent_is_forgotten(browser: Browser) -> None:
    async with opened(browser, "/status", status=StatusSettings(key=Secret(STATUS_KEY))) as tab:
        tab.expected.append(re.compile("status of 401"))
        await tab.shows("#state", "A key is needed")
        await tab.page.evaluate(f"sessionStorage.setItem('generations-proxy status key', '{STATUS_KEY}\\u200b')")
        await tab.page.reload()
        await expect(tab.page.get_by_label("Key of the status page")).to_be_visible()
        assert await tab.page.evaluate("sessionStorage.length") == 0


async def test_a_proxy_that_is_away_is_said(browser: Browser) -> None:
    async with opened(browser, "/status") as tab:
        tab.expected.append(re.compile("ERR_FAILED"))
        await tab.shows("#state", "All is well")

        async def refuse(route: Route) -> None:
            await route.abort()

        await tab.page.route("**/status.json", refuse)
        await expect(tab.page.get_by_role("alert")).to_contain_text("cannot be asked")
        await tab.page.unroute("**/status.json")
        await expect(tab.page.locator("#alert")).to_be_empty()


async def test_the_status_page_fits_on_a_phone(browser: Browser) -> None:
    async with opened(browser, "/status", viewport=NARROW) as tab:
        await ask(tab, "namespace=ox&status=succeeded&folder=gr%C3%B6%C3%9Fe%20%26%20co", "page=2")
        await tab.shows("#listings", "größe & co")
        assert await tab.fits()
        for scheme in SCHEMES:
            await tab.page.emulate_media(color_scheme=scheme)
            await tab.keep(f"status-narrow-{scheme}", full_page=True)


@pytest.mark.parametrize("path", ["/", "/status"])
async def test_everything_can_be_reached_with_the_keyboard_and_has_a_name(browser: Browser, path: str) -> None:
    async with opened(browser, path) as tab:
        await expect(tab.page.locator("main")).to_be_visible()
        nameless = await tab.page.evaluate(
            """() => [...document.querySelectorAll("button, a, input, select, svg, meter, [tabindex]")]
                .filter((one) => !(one.textContent.trim() || one.getAttribute("aria-label") || one.labels?.length
                    || one.getAttribute("aria-labelledby"))).map((one) => one.outerHTML)"""
        )
        assert nameless == []
        await tab.page.keyboard.press("Tab")
        outline = await tab.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid"


@pytest.mark.parametrize(("path", "shown"), [("/", "#share"), ("/status", "#callers-legend")])
async def test_text_has_contrast(browser: Browser, path: str, shown: str) -> None:
    """WCAG 2.1, 1.4.3: 4.5 to 1 for text, against the colour that is behind it."""
    async with opened(browser, path) as tab:
        await ask(tab, "namespace=ox", "page=0")
        await tab.shows(shown, "%")
        for scheme in SCHEMES:
            await tab.page.emulate_media(color_scheme=scheme)
            assert await tab.page.evaluate(CONTRAST) == []


CONTRAST = """() => {
    const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const linear = (c) => c / 255 <= .03928 ? c / 255 / 12.92 : ((c / 255 + .055) / 1.055) ** 2.4;
    const light = ([r, g, b]) => .2126 * linear(r) + .7152 * linear(g) + .0722 * linear(b);
    const behind = (one) => {
        for (; one; one = one.parentElement) {
            const colour = channels(getComputedStyle(one).backgroundColor);
            if (colour.length === 3 || colour[3] === 1) return colour;
        }
        return [255, 255, 255];
    };
    const left_out = "script, style, .hidden, [aria-disabled=true], option";
    const low = new Set(), walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
        const one = walk.currentNode.parentElement, text = walk.currentNode.textContent.trim();
        if (!text || !one.checkVisibility() || one.closest(left_out)) continue;
        const [a, b] = [getComputedStyle(one).color, null].map((c) => light(c ? channels(c) : behind(one)));
        if ((Math.max(a, b) + .05) / (Math.min(a, b) + .05) < 4.5) low.add(`${one.tagName}.${one.className}: ${text}`);
    }
    return [...low];
}"""
