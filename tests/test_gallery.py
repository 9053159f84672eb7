"""The demo's gallery, as people see it; and the pictures that the simulator draws for it."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest

from proxy.simulator.faults import Fault
from proxy.simulator.world import IMAGE_MODELS, VIDEO_MODELS
from tests.browser import NARROW, SCHEMES, opened
from tests.chromium import PLAYWRIGHT, SHARED, browser
from tests.support import LIST

if PLAYWRIGHT:
    from playwright.async_api import Browser, Route, expect

pytestmark = [pytest.mark.slow, SHARED]
__all__ = ["browser"]  # the fixture


async def test_the_gallery_shows_a_page_with_pictures(browser: Browser) -> None:
    async with opened(browser, "/", viewport={"width": 1280, "height": 900}) as tab:
        await tab.tiles(24)
        rows = list(tab.hub.world.newest_first("ox"))
        prompts = await tab.page.locator("#grid .prompt").all_text_contents()
        assert prompts == [str(row.parameters["prompt"]) for row in rows[:24]]
        await tab.shows("#page", "Page 1 of 3")
        await tab.shows("#count", "60 generations, $")
        await tab.page.wait_for_function(
            "[...document.images].slice(0, 4).every((one) => one.complete && one.naturalWidth > 0)"
        )
        await tab.shows("#share", re.compile(r"\d %"))
        await tab.keep("gallery")


async def test_the_gallery_turns_pages_and_filters(browser: Browser) -> None:
    async with opened(browser, "/") as tab:
        rows = list(tab.hub.world.newest_first("ox"))
        await tab.tiles(24)
        await tab.page.get_by_role("button", name="Older").click()
        await tab.shows("#page", "Page 2 of 3")
        await expect(tab.page.locator("#grid .prompt").first).to_have_text(str(rows[24].parameters["prompt"]))
        failed = [row for row in rows if row.status == "failed"]
        await tab.page.get_by_label("Status").select_option("failed")
        await tab.tiles(len(failed))
        await tab.shows("#page", "Page 1 of 1")
        assert "status=failed" in tab.page.url
        await tab.page.reload()
        await tab.tiles(len(failed))
        await tab.page.get_by_label("Model").select_option("veo-4")
        await tab.page.get_by_label("Kind").select_option("image")
        await tab.shows("#grid", "There is nothing that fits.")
        await expect(tab.page.get_by_role("button", name="Newer")).to_have_attribute("aria-disabled", "true")


async def test_what_runs_is_shown_as_it_ends(browser: Browser) -> None:
    async with opened(browser, "/") as tab:
        await tab.tiles(24)
        row = tab.hub.world.enqueue("ox", media_type="image", parameters={"prompt": "the one that is awaited"})
        first = tab.page.locator("#grid .tile").first
        await expect(first).to_contain_text("the one that is awaited")
        await expect(first.locator(".badge").first).to_have_text("queued")
        tab.hub.world.start(row)
        await expect(first.locator(".since")).to_contain_text("running for")
        tab.hub.world.end(row)
        await expect(first.locator(".badge").first).to_have_text("succeeded")
        await expect(first.locator("img")).to_be_visible()
        await expect(tab.page.get_by_role("status")).to_contain_text("succeeded")


async def test_an_unchanged_page_is_asked_for_with_its_tag_and_costs_nothing(browser: Browser) -> None:
    async with opened(browser, "/#namespace=ox&status=failed", ttl=60) as tab:
        async with tab.page.expect_response(lambda answer: LIST in answer.url and answer.status == 304) as answered:
            pass
        assert "hit" in (await (await answered.value).header_value("cache-status") or "")
        await tab.shows("#own", "from the cache")


async def test_a_generation_opens_in_a_dialog_that_can_be_closed(browser: Browser) -> None:
    async with opened(browser, "/") as tab:
        await tab.page.locator("#grid .open").first.press("Enter")
        dialog = tab.page.get_by_role("dialog")
        await expect(dialog).to_contain_text(next(iter(tab.hub.world.newest_first("ox"))).id)
        await dialog.get_by_role("button", name="Close").click()
        await expect(dialog).to_be_hidden()


async def test_a_late_charge_and_a_new_link_are_shown_and_no_picture_is_loaded_twice(browser: Browser) -> None:
    async with opened(browser, "/#status=succeeded") as tab:
        await tab.tiles(24)
        first = tab.page.locator("#grid .tile").first
        await tab.page.wait_for_function("document.images[0].complete && document.images[0].naturalWidth > 0")
        shown = await first.locator("img").get_attribute("src")
        row = next(row for row in tab.hub.world.newest_first("ox") if row.status == "succeeded")
        tab.hub.world.charge(row, Decimal("12.345"))
        await expect(first).to_contain_text("$12.345")
        assert await first.locator("img").get_attribute("src") == shown
        await first.locator(".open").click()
        await expect(tab.page.get_by_role("dialog")).to_contain_text("$12.345")
        assert await tab.page.get_by_role("dialog").locator("img").get_attribute("src") != shown


async def test_a_picture_that_cannot_be_had_is_said_and_loaded_by_its_next_link(browser: Browser) -> None:
    async with opened(browser, "/#status=succeeded") as tab:
        tab.expected.append(re.compile("ERR_FAILED"))
        row = next(row for row in tab.hub.world.newest_first("ox") if row.status == "succeeded")

        async def refuse(route: Route) -> None:
            await route.abort()

        await tab.page.route(f"**/{row.id}.*", refuse)
        await tab.page.reload()
        first = tab.page.locator("#grid .tile").first
        await expect(first).to_contain_text("picture not available")
        await tab.page.unroute(f"**/{row.id}.*")
        tab.hub.world.charge(row, Decimal("12.345"))
        await expect(first.locator("img")).to_be_visible()
        await expect(first).not_to_contain_text("picture not available")


async def test_times_go_on_while_nothing_changes(browser: Browser) -> None:
    async with opened(browser, "/", ttl=60) as tab:
        age = tab.page.locator("#grid .tile").first.get_by_text(re.compile(r"^\d+ s ago$"))
        await expect(age).not_to_have_text(await age.text_content() or "")


async def test_who_comes_back_to_the_tab_does_not_have_more_asked(browser: Browser) -> None:
    async with opened(browser, "/") as tab:
        await tab.shows("#share", "%")
        waiting = """async () => {
            const waiting = new Set(), [begin, end] = [setTimeout, clearTimeout];
            globalThis.setTimeout = (...given) => { const one = begin(...given); waiting.add(one); return one; };
            globalThis.clearTimeout = (one) => { waiting.delete(one); end(one); };
            for (let times = 0; times < 5; times += 1) await saving();
            return waiting.size;
        }"""
        assert await tab.page.evaluate(waiting) <= 2, "one look at the grid, one at what was saved"


async def test_hostile_text_is_shown_as_text_in_the_gallery(browser: Browser) -> None:
    hostile = """<img src=x onerror="globalThis.ran = 1"><script>globalThis.ran = 1</script>"""
    async with opened(browser, "/") as tab:
        tab.hub.world.enqueue("ox", model=hostile, parameters={"prompt": hostile})
        await expect(tab.page.locator("#grid .prompt").first).to_have_text(hostile)
        await tab.page.locator("#grid .open").first.click()
        assert await tab.page.evaluate("typeof globalThis.ran") == "undefined"


async def test_the_gallery_says_that_the_hub_fails(browser: Browser) -> None:
    async with opened(browser, "/") as tab:
        tab.expected.append(re.compile("status of 50[234]"))
        await tab.tiles(24)
        tab.hub.faults.set(Fault(status=500))
        await tab.page.get_by_label("Namespace").select_option("moo")
        await expect(tab.page.get_by_role("alert")).to_contain_text("Not up to date")
        await tab.tiles(0)
        await expect(tab.page.locator("#count")).to_be_empty()
        await expect(tab.page.locator("#page")).to_have_text("Page 1")
        tab.hub.faults.clear()
        await expect(tab.page.locator("#alert")).to_be_empty()
        await tab.tiles(24)


async def test_the_gallery_fits_on_a_phone(browser: Browser) -> None:
    async with opened(browser, "/", viewport=NARROW) as tab:
        await tab.tiles(24)
        assert await tab.fits()
        for scheme in SCHEMES:
            await tab.page.emulate_media(color_scheme=scheme)
            await tab.keep(f"gallery-narrow-{scheme}")


async def test_the_gallery_offers_what_the_demo_has(browser: Browser) -> None:
    async with opened(browser, "/") as tab:
        offered = [
            await tab.page.get_by_label(name).locator("option").all_text_contents() for name in ("Namespace", "Model")
        ]
        assert offered == [list(tab.hub.world.namespaces), ["any", *IMAGE_MODELS, *VIDEO_MODELS]]
