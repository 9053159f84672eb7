"""Whose generations events tell of: what is looked up for that, and how often."""

from __future__ import annotations

import asyncio

import pytest

from proxy.answer.directives import Directives
from proxy.answer.outcome import Miss, Outcome
from proxy.answer.page import not_found, parse_page
from proxy.errors import HubTimeout
from proxy.events.entry import entry_of
from proxy.events.owners import LOOKUP_TIMEOUT, Owners
from proxy.fetch_queue import Wait
from proxy.hub.credential import Credential
from proxy.questions.question import Question
from proxy.secret import Secret
from proxy.settings import HubSettings
from tests.event_logs import done
from tests.support import KEY

ROW = b'{"generation": {"generation_id": "%b", "status": "succeeded", "target_namespace": "ox"}}'


class Answers:
    """Stands for the pages of one generation: the hub knows it or not, or does not say (None)."""

    def __init__(self, *known: bool | None) -> None:
        self.known = iter(known)
        self.asked: list[Directives] = []
        self.waits: set[Wait] = set()

    async def answer(self, question: Question, directives: Directives, *, wait: Wait) -> Outcome:
        self.asked.append(directives)
        self.waits.add(wait)
        known = next(self.known)
        if known is None:
            raise HubTimeout("The hub is late.")
        page = parse_page(question, ROW % question.place.encode(), 0.0) if known else not_found(question, None, 0.0)
        return Miss(page, 0.0, 0.0, "uri-miss", stored=True)


@pytest.mark.parametrize(
    ("known", "namespace"),
    [
        ((False, False), None),
        ((False, True), "ox"),
        ((None, None, None, True), "ox"),
        ((None, False, None, False), None),
    ],
    ids=["it is unknown", "it is not known yet", "the hub is late", "the hub is late, and then does not know it"],
)
async def test_a_generation_that_the_hub_does_not_know_is_looked_up_twice(
    known: tuple[bool | None, ...], namespace: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that comes later waits for it, for whoever may not see everything; and a 404 is an answer."""
    monkeypatch.setattr("proxy.events.owners.FIRST_WAIT", 0.0)
    pages, settled = Answers(*known), asyncio.Event()
    credential = Credential(HubSettings(api_key=Secret(KEY)), "http://hub.test")
    owners = Owners(credential, pages, settled.set)  # type: ignore[arg-type]  # stands for Pages
    entry = entry_of(0.0, done())
    owners.find(entry)
    async with asyncio.timeout(5):
        await settled.wait()
    await owners.aclose(5)
    assert (entry.namespace, entry.lost, entry.settled) == (namespace, namespace is None, True)
    assert len(pages.asked) == len(known)
    (wait,) = pages.waits
    assert wait.reserved, "it waits in no crowd of callers"
    left = wait.until - asyncio.get_running_loop().time()
    assert HubSettings().deadline < left <= LOOKUP_TIMEOUT, "and longer than any of them for the hub"
    if False in known:
        again = pages.asked[known.index(False) + 1 :]
        assert all(one.max_age == 0 for one in again), "that it is unknown may be kept, and says nothing new"
