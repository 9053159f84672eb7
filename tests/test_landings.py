"""How flights of other replicas end: what is told, and who is woken by it."""

from __future__ import annotations

import asyncio

import pytest

from proxy import errors
from proxy.questions.query import ListQuery
from proxy.questions.question import page_question
from proxy.redis.landings import Landings, LandingWaiter, landing, read_failure, write_failure

QUESTION = page_question("c", ListQuery())


@pytest.mark.parametrize("kind", errors.HubError.__subclasses__())
def test_errors_of_the_hub_arrive_as_they_were(kind: type[errors.HubError]) -> None:
    error = read_failure(write_failure(kind("what happened", hub_status=503, retry_after=2.5)))
    assert type(error) is kind
    assert isinstance(error, errors.HubError)
    assert (error.detail, error.hub_status, error.retry_after) == ("what happened", 503, 2.5)


@pytest.mark.parametrize("kind", errors.Forwarded.__subclasses__())
@pytest.mark.parametrize("body", [None, b'{"error": "\xc3\xa9"}'])
def test_the_hubs_own_errors_keep_their_body(kind: type[errors.Forwarded], body: bytes | None) -> None:
    error = read_failure(write_failure(kind("what happened", body)))
    assert type(error) is kind
    assert isinstance(error, errors.Forwarded)
    assert error.body == body


def test_an_error_that_only_a_newer_release_knows_is_read_as_the_hubs() -> None:
    raw = write_failure(errors.HubFailed("what happened")).replace(b"hub_failed", b"hub_fooled")
    assert type(read_failure(raw)) is errors.HubError


@pytest.mark.parametrize("raw", [b"x", b"\x91\x01", b"\xc1"])
def test_what_is_no_failure_is_not_read_as_one(raw: bytes) -> None:
    with pytest.raises(ValueError, match="no failure"):
        read_failure(raw)


def news(token: str, failure: bytes = b"") -> bytes:
    return landing(QUESTION.page_key, token, failure)


async def hears(waiter: LandingWaiter, token: str) -> bool:
    return await waiter.wait(token, 0.01)


async def test_who_waits_is_woken() -> None:
    landings = Landings()
    with landings.listening(QUESTION.page_key) as waiter:
        assert not await hears(waiter, "t")
        waiting = asyncio.create_task(waiter.wait("t", 5))
        await asyncio.sleep(0)
        landings.on_news(news("t"))
        assert await waiting
        assert not await hears(waiter, "t")
    landings.on_news(news("t"))
    assert not landings._waiters, "nothing is kept for those who do not wait"


async def test_news_may_overtake_the_answer_that_says_whom_to_wait_for() -> None:
    landings = Landings()
    with landings.listening(QUESTION.page_key) as waiter:
        landings.on_news(news("t", write_failure(errors.HubFailed("x"))))
        with pytest.raises(errors.HubFailed):
            await hears(waiter, "t")


async def test_the_failure_of_another_flight_is_not_this_ones() -> None:
    landings = Landings()
    with landings.listening(QUESTION.page_key) as waiter:
        landings.on_news(news("other", write_failure(errors.HubFailed("x"))))
        assert await hears(waiter, "t"), "but a reason to look"


async def test_a_gap_wakes_everybody() -> None:
    landings = Landings()
    with landings.listening("a") as one, landings.listening("b") as other:
        landings.wake_all()
        assert await hears(one, "t")
        assert await hears(other, "t")


@pytest.mark.parametrize("garbage", [b"", b"one", b"one two", b"\xff\xfe a b"])
def test_news_that_cannot_be_read_is_refused(garbage: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        Landings().on_news(garbage)


async def test_a_failure_that_cannot_be_read_is_refused() -> None:
    landings = Landings()
    with landings.listening(QUESTION.page_key), pytest.raises(ValueError, match="no failure"):
        landings.on_news(news("t", b"\xc1"))


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("kind", [errors.HubFailed, errors.HubBusy])
def test_whether_the_hub_was_asked_is_told_too(kind: type[errors.HubError], *, asked: bool) -> None:
    """Callers are charged by it, in all replicas."""
    error = kind("what happened")
    error.asked = asked
    again = read_failure(write_failure(error))
    assert isinstance(again, errors.HubError)
    assert again.asked is asked


def test_what_is_no_error_of_the_hub_arrives_as_one_for_which_it_was_not_asked() -> None:
    again = read_failure(write_failure(errors.NotCached("what happened")))
    assert isinstance(again, errors.HubError)
    assert (again.detail, again.asked) == ("what happened", False)


async def test_a_failure_is_told_whole_whatever_is_in_it() -> None:
    landings, body = Landings(), b'{"error": {"detail": "of several words"}}'
    with landings.listening(QUESTION.page_key) as waiter:
        landings.on_news(news("t", write_failure(errors.HubRejectedQuestion("what happened", body))))
        with pytest.raises(errors.HubRejectedQuestion, match="what happened") as caught:
            await hears(waiter, "t")
    assert caught.value.body == body
