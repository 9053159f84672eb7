"""The status page's ring of samples, busy listings and faults: exact, aligned over replicas, and bounded."""

from __future__ import annotations

from msgspec.structs import replace

from proxy.hub.client import HubCall
from proxy.web.telemetry.event import Endpoint, RequestEvent, RequestInfo, request_info
from proxy.web.telemetry.samples import (
    INTERVAL,
    LISTINGS,
    MAX_SHOWN,
    SAMPLES,
    Activity,
    FaultActivity,
    ListingActivity,
    Sample,
    Samples,
    Totals,
    merged,
)
from tests.support import LIST, NOW, Clock

EVENT = RequestEvent(
    request_id="r1",
    info=request_info("GET", "web", "list", LIST, "gp1:{ab}", "status=failed"),
    status=200,
    outcome="hit",
    seconds=0.001,
    bytes=321,
    age=3.0,
)


def of(listing: str, endpoint: Endpoint = "list") -> RequestInfo:
    return replace(EVENT.info, listing=listing, endpoint=endpoint)


REFUSED = replace(EVENT, outcome="invalid_parameter", status=400, age=None, info=of("-"))
FAILED = replace(EVENT, outcome="hub_failed", status=502, age=None)


def test_samples_begin_at_multiples_and_none_is_lost() -> None:
    clock = Clock(NOW + 3)
    it = Samples(clock)
    for seconds in (0.0, 1.0, 1.5, 20.0):
        clock.advance(seconds)
        it.note([EVENT])
    told = it.activity()
    assert all(sample.at % INTERVAL == 0 for sample in told.samples)
    assert [sample.requests for sample in told.samples] == [{"hit": 2}, {"hit": 1}, {"hit": 1}]
    assert told.totals == Totals(pages=4, hub=0)


def test_outcomes_of_the_hub_and_of_callers_are_told_apart() -> None:
    it = Samples(Clock())
    for event in (EVENT, replace(EVENT, outcome="stale"), REFUSED, FAILED, replace(FAILED, status=0, outcome="none")):
        it.note([event])
    it.note([replace(EVENT, info=of("a", "metrics"))])
    for call in (
        HubCall("default", 200),
        HubCall("default", 404, "resource_not_found"),
        HubCall("default", 0, "hub_timeout"),
    ):
        it.note_hub(call)
    told = it.activity()
    assert told.samples[-1].requests == {"hit": 1, "stale": 1, "refused": 1, "failed": 2}
    assert told.samples[-1].hub == {"200": 1, "404": 1, "none": 1}
    assert {(fault.where, fault.what) for fault in told.faults} == {
        ("callers", "hub_failed"),
        ("callers", "none"),
        ("hub", "hub_timeout"),
    }
    assert told.totals == Totals(pages=2, hub=3)


def test_listings_are_those_of_the_last_minute() -> None:
    clock = Clock()
    it = Samples(clock)
    for _ in range(3):
        it.note([replace(EVENT, info=of("a"))])
    clock.advance(30)
    it.note([replace(EVENT, info=of("b"), age=7.0)])
    assert [(one.listing, one.asked) for one in it.activity().listings] == [("a", 3), ("b", 1)]
    clock.advance(40)
    it.note([replace(EVENT, info=of("b"), age=8.0)])
    (only,) = it.activity().listings
    assert (only.listing, only.asked, only.age, only.filters) == ("b", 2, 8.0, EVENT.info.filters)
    clock.advance(3600)
    assert it.activity().listings == []


def test_nothing_grows_without_bounds() -> None:
    clock = Clock()
    it = Samples(clock)
    for number in range(3 * LISTINGS):
        it.note([replace(EVENT, info=of(f"l{number}"))])
    assert len(it._last) == LISTINGS
    assert len(it.activity().listings) == MAX_SHOWN
    for _ in range(3 * SAMPLES):
        clock.advance(INTERVAL)
        it.note([EVENT])
    assert len(it.activity().samples) == SAMPLES
    assert len(it._last) == 1


def test_what_several_tell_is_added_up() -> None:
    def told(at: int, age: float) -> Activity:
        listing = ListingActivity("a", "list", "", 2, age, "hit", 100.0 - age)
        fault = FaultActivity("hub", "hub_failed", 3, 50.0 + at)
        return Activity([Sample(at, {"hit": 1}, {"200": 2}, 0.5)], [listing], [fault], Totals(5, 2))

    it = merged([told(0, 9.0), told(0, 1.0), told(5, 4.0)])
    assert [(one.at, one.requests, one.hub) for one in it.samples] == [
        (0, {"hit": 2}, {"200": 4}),
        (5, {"hit": 1}, {"200": 2}),
    ]
    assert [(one.asked, one.age) for one in it.listings] == [(6, 1.0)]
    assert [(one.times, one.last_at) for one in it.faults] == [(9, 55.0)]
    assert it.totals == Totals(15, 6)
    assert merged([]) == Activity([], [], [], Totals())
