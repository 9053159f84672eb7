"""A page's term is reckoned once, and anew whenever anything has been learned that bears on it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from proxy.answer.freshness import POPULAR_AFTER, POPULAR_REFRESH_SHARE, REFRESH_AHEAD_SHARE, Fresh
from proxy.answer.page import Page
from proxy.answer.record import Record, Stamp
from proxy.known.cached_page import NO_PAGE, CachedPage
from proxy.known.completion import Completion, Origin
from proxy.known.doubts import Doubts
from proxy.known.invalidations import Invalidations
from proxy.known.judging import Judging
from proxy.known.memory import Memory
from proxy.known.rows import KnownRows
from proxy.known.trust import Trust
from proxy.questions.query import ListQuery
from proxy.questions.question import Question, page_question
from proxy.questions.watermarks import Extent
from proxy.settings import CacheSettings
from tests.support import Clock

SETTINGS = CacheSettings(live_ttl=1, settled_ttl=5, max_page_age=30, compose=False)
QUESTIONS = [page_question("c", ListQuery(namespace="ox", page=page)) for page in (1, 2)]
QUESTIONS += [page_question("c", ListQuery(namespace="bessie"))]
STAMPS = [Stamp(1, "0.10"), Stamp(2, "0.20")]
DONE = Completion("0e8a1f64-0000-4000-8000-000000000001", "succeeded", "video", "veo-4", "")
some = st.sampled_from
ago = st.sampled_from([0.0, 0.05, 0.5, 3.0])


@pytest.fixture(autouse=True, scope="module")
def few() -> Iterator[None]:
    """Of the listings below, one has more pages than are told of a change one by one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("proxy.known.memory.ONE_BY_ONE_LIMIT", 1)
        yield


class Judged(RuleBasedStateMachine):
    """Everything that is learned, in any order; what is said at once is what is said after reckoning anew."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.memory = Memory(6_000)
        self.trust = Trust(
            None,
            has_peers=True,
            backing_off=lambda: False,
            suspect_all=self.memory.suspect_all,
            on_reconnect=lambda: None,
        )
        self.invalidations = Invalidations(None, keep=100.0, clock=self.clock)
        self.doubts = Doubts(100.0)
        rows = KnownRows(SETTINGS, 2**20, None, clock=self.clock)
        parts = (self.memory, rows, self.trust, self.invalidations, self.doubts)
        self.judging = Judging(SETTINGS, *parts, clock=self.clock)
        self.slots: dict[str, list[CachedPage]] = {}

    @rule(question=some(QUESTIONS), stamp=some(STAMPS), ago=ago, settled=st.booleans(), size=some([10, 3_000]))
    def learn(self, question: Question, stamp: Stamp, ago: float, settled: bool, size: int) -> None:
        now = self.clock()
        self.memory.learn(question.listing, Record(stamp, now - ago if ago == 3 else 0.0, now - ago, now))
        self.memory.put(question.listing, Page(question.key, bytes(size), '"e"', now - ago, stamp, settled, None))

    @rule(question=some(QUESTIONS), stamp=some(STAMPS))
    def hear(self, question: Question, stamp: Stamp) -> None:
        self.memory.learn_from_news(question.listing, Record(stamp, 0.0, self.clock(), self.clock()))

    @rule(question=some(QUESTIONS))
    def suspect(self, question: Question) -> None:
        self.memory.suspect(question.listing)

    @rule()
    def suspect_all(self) -> None:
        self.memory.suspect_all()

    @rule(question=some(QUESTIONS))
    def forget(self, question: Question) -> None:
        self.memory.forget(question.listing)

    @rule(scope=some(["ox", "bessie", ""]))
    def purge(self, scope: str) -> None:
        self.invalidations.purged.note(Extent("namespace", scope) if scope else Extent("everything"), self.clock())

    @rule(question=some(QUESTIONS), status=some([401, 403]), ago=ago)
    def refuse(self, question: Question, status: int, ago: float) -> None:
        self.invalidations.note_refusal(question, status, self.clock() - ago)

    @rule(namespace=some(["ox", "bessie", None]), ago=ago)
    def doubt(self, namespace: str | None, ago: float) -> None:
        self.doubts.add("default", DONE, self.clock() - ago, Origin(target_namespace=namespace))

    @rule(ago=ago)
    def doubt_all(self, ago: float) -> None:
        self.doubts.add_all("default", self.clock() - ago)

    @rule(answered=st.booleans())
    def told(self, answered: bool) -> None:
        self.trust.note_write(answered=answered)

    @rule(answered=st.booleans())
    def looked(self, answered: bool) -> None:
        self.trust.note_read(answered=answered)

    @rule()
    def gap(self) -> None:
        self.trust.gap()

    @rule(passes=some([0.0, 0.04, 0.9, 4.0, 40.0]))
    def wait(self, passes: float) -> None:
        self.clock.advance(passes)

    @invariant()
    def as_if_reckoned_anew(self) -> None:
        for question in QUESTIONS:
            again = [slot.serve_again(self.clock(), self.judging.changes) for slot in self.slots.get(question.key, [])]
            said = [self.judging.best(question, suspect=suspect) for suspect in (False, True)]
            if kept := self.memory.get(question.key):
                kept.changes_seen = -1
            assert [self.judging.best(question, suspect=suspect) for suspect in (True, False)] == said[::-1]
            page, verdict = said[0]
            for hit in again:
                if hit is not None:
                    assert isinstance(verdict, Fresh)
                    assert (hit.page, hit.age, hit.ttl, verdict.due) == (page, verdict.age, verdict.ttl, False)
            for slot in self.slots.get(question.key, []):
                assert slot is self.memory.get(question.key) or slot.page is NO_PAGE, "memory would not count it"
            if kept := self.memory.get(question.key):
                self.slots[question.key] = [*self.slots.get(question.key, [])[-2:], kept]


TestJudged = Judged.TestCase
TestJudged.settings = settings(max_examples=150, stateful_step_count=30)


@pytest.mark.parametrize("cut_off", [Trust.note_write, Trust.note_read])
def test_who_is_cut_off_once_more_trusts_its_memory_for_no_longer_than_a_live_page(cut_off: Any) -> None:
    it = Judged()
    it.trust.note_read(answered=False)
    it.trust.gap()  # there is news again, but Redis has not answered yet
    it.learn(question=QUESTIONS[0], stamp=STAMPS[0], ago=0.0, settled=True, size=10)
    assert it.judging.best(QUESTIONS[0])[1] == Fresh(5.0, 0.0)
    cut_off(it.trust, answered=False)
    assert it.judging.best(QUESTIONS[0])[1] == Fresh(1.0, 0.0)
    it.trust.gap()
    if cut_off is Trust.note_read:
        assert it.judging.best(QUESTIONS[0])[1] == Fresh(5.0, 0.0)


def test_what_is_read_from_a_redis_that_takes_no_writes_is_doubted_when_it_cannot_be_read_either() -> None:
    it = Judged()
    it.trust.note_write(answered=False)
    it.learn(question=QUESTIONS[0], stamp=STAMPS[0], ago=0.0, settled=True, size=10)
    it.trust.note_read(answered=True)
    it.trust.note_write(answered=False)
    assert it.judging.best(QUESTIONS[0])[1] == Fresh(1.0, 0.0), "it is still the same that others are not told"
    it.trust.note_read(answered=False)
    assert not isinstance(it.judging.best(QUESTIONS[0])[1], Fresh), "others may have been told since it was read"


def refreshed(it: Judged, times: int) -> bool:
    """Whether the page is due after it was shown so many times more."""
    verdicts = [it.judging.best(QUESTIONS[0], show=True)[1] for _ in range(times)]
    assert isinstance(verdicts[-1], Fresh)
    return verdicts[-1].due


def test_what_many_are_shown_is_refreshed_early_once_for_each_so_many() -> None:
    it = Judged()
    it.learn(question=QUESTIONS[0], stamp=STAMPS[0], ago=0.0, settled=True, size=10)
    assert not refreshed(it, POPULAR_AFTER), "however many ask, not at once"
    it.clock.advance(POPULAR_REFRESH_SHARE * SETTINGS.settled_ttl)
    assert refreshed(it, 1)
    it.suspect_all()
    it.learn(question=QUESTIONS[1], stamp=STAMPS[0], ago=0.0, settled=True, size=10)
    assert not refreshed(it, 1), "another page has confirmed the listing"
    it.clock.advance(POPULAR_REFRESH_SHARE * SETTINGS.settled_ttl)
    assert not refreshed(it, POPULAR_AFTER - 2)
    it.learn(question=QUESTIONS[2], stamp=STAMPS[0], ago=0.0, settled=True, size=10)
    assert refreshed(it, 1), "what is learned of another listing does not count"


def test_what_is_judged_for_nobody_counts_as_shown_to_nobody() -> None:
    it = Judged()
    it.learn(question=QUESTIONS[0], stamp=STAMPS[0], ago=0.0, settled=True, size=10)
    for _ in range(2 * POPULAR_AFTER):
        it.judging.best(QUESTIONS[0])
    it.clock.advance(POPULAR_REFRESH_SHARE * SETTINGS.settled_ttl)
    assert not refreshed(it, 1)


def test_what_few_are_shown_is_refreshed_late() -> None:
    it = Judged()
    it.learn(question=QUESTIONS[0], stamp=STAMPS[0], ago=0.0, settled=True, size=10)
    it.clock.advance((1 - REFRESH_AHEAD_SHARE) * SETTINGS.settled_ttl - 0.1)
    assert not refreshed(it, POPULAR_AFTER - 1)
    it.clock.advance(0.2)
    assert refreshed(it, 1)
