"""Who gets no turn is told why, and for how long; and what the hub's errors lead to."""

from __future__ import annotations

import asyncio

import pytest

from proxy import errors
from proxy.admission.gate import Allowance
from tests.shield_fixture import both, go, holding, server_of, shield
from tests.support import Clock


@both
async def test_who_waits_in_vain_is_told_how_long_it_would_take(server: str | None) -> None:
    one = shield(server_of(server), Allowance(rate=0.1, burst=1, concurrency=5))
    await go(one)
    with pytest.raises(errors.HubBusy) as caught:
        await go(one)
    assert 9 < (caught.value.retry_after or 0) <= 10
    await one.drain(1)


async def test_who_waited_for_a_slot_in_vain_is_told_to_wait_as_long_again() -> None:
    clock = Clock()
    one = shield(None, Allowance(1e6, 1e6, 1), clock=clock)
    (held,) = await holding(one, 1)
    waiting = asyncio.create_task(go(one, patience=0.05))
    await asyncio.sleep(0)
    clock.advance(1.5)
    with pytest.raises(errors.HubBusy) as caught:
        await waiting
    assert caught.value.retry_after == 1.5
    await held.end()
    await one.drain(1)


@both
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (errors.HubRateLimited("429", retry_after=7.0), errors.HubRateLimited),
        (errors.HubUnavailable("503", retry_after=7.0), errors.HubUnavailable),
    ],
)
async def test_a_cooldown_lasts_as_long_as_the_hub_says(
    server: str | None, error: errors.HubError, kind: type[errors.HubError]
) -> None:
    one = shield(server_of(server))
    with pytest.raises(kind):
        await go(one, error)
    with pytest.raises(kind) as caught:
        await go(one)
    assert 6 < (caught.value.retry_after or 0) <= 7


@both
async def test_a_429_without_a_time_gets_one(server: str | None) -> None:
    one = shield(server_of(server))
    with pytest.raises(errors.HubRateLimited) as caught:
        await go(one, errors.HubRateLimited("429"))
    assert 0 < (caught.value.retry_after or 0) <= 1


@both
async def test_a_429_that_says_at_once_is_told_so(server: str | None) -> None:
    one = shield(server_of(server))
    with pytest.raises(errors.HubRateLimited) as caught:
        await go(one, errors.HubRateLimited("429", retry_after=0.0))
    assert caught.value.retry_after == 0.0
    await one.drain(1)


@both
@pytest.mark.parametrize("kind", [errors.HubFailed, errors.HubUnreachable, errors.HubTimeout, errors.HubAnswerCutOff])
async def test_failures_of_every_kind_open_the_breaker(server: str | None, kind: type[errors.HubError]) -> None:
    one = shield(server_of(server))
    for _ in range(5):
        with pytest.raises(kind):
            await go(one, kind("x"))
    with pytest.raises(errors.HubResting) as caught:
        await go(one)
    assert 0 < (caught.value.retry_after or 0) <= 1


@both
@pytest.mark.parametrize(
    "error",
    [
        *[errors.HubFoundNothing("404", b"{}"), errors.HubRejectedQuestion("400", None)],
        *[errors.HubRefusedCredential("401"), errors.HubAnswerNotAPage("x"), errors.HubRedirected("302")],
    ],
)
async def test_a_hub_that_answers_is_not_failing(server: str | None, error: errors.ProxyError) -> None:
    one = shield(server_of(server))
    for _ in range(20):
        with pytest.raises(type(error)):
            await go(one, error)
    await one.drain(1)
