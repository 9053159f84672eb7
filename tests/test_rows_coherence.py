"""Pages composed of rows, and walks as of one moment, whatever happens: the machine of ``coherence``, and more.

A composed page has the rows of its listing at one moment, in the hub's bytes (links aside), and in states that were
true no longer ago than its freshness allows; unless it is marked stale. A walk with ``Listing-Moment`` shows each
generation of its moment once, however the listing moves meanwhile. (Slow: .ci/run.)
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any, ClassVar

import httpx
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import consumes, rule, run_state_machine_as_test
from msgspec.structs import replace

from proxy.simulator.world import Generation
from tests.coherence import CACHE, FILTERS, REPLICAS, TERMINAL, Coherence, Noted, NotedKnowledge, NotedShield
from tests.support import LIST, RedisServer

pytestmark = pytest.mark.slow

ROWS = replace(CACHE, compose=True, stale_if_error_live=20)
_LINK = re.compile(rb'"result_url": (?:"[^"]*"|null)')


class Composed(Coherence):
    """The same machine; windows are small, so that most of a listing lies below them."""

    cache = ROWS
    history = 40
    walked: ClassVar[list[int]] = []
    composed: ClassVar[list[str]] = []
    in_flight = Coherence.in_flight

    def begin_rows(self) -> None:
        self.orders: dict[str, list[tuple[float, tuple[int, str | None], list[str]]]] = {}
        self.states: dict[str, list[tuple[float, str, str | None]]] = {}
        self.latest: dict[tuple[str, str], int] = {}
        self.all_told = True

    def note_moments(self) -> None:
        """Write down what is true of each listing and each row, where it changed, and when."""
        super().note_moments()
        if not hasattr(self, "orders"):
            self.begin_rows()
        for filters in FILTERS:
            rows = self.rows(filters)
            story = self.orders.setdefault(filters, [])
            ids, stamp = [row.id for row in rows], self.moments[filters][-1][1]
            if not story or story[-1][1:] != (stamp, ids):
                story.append((self.clock.now, stamp, ids))
            for row in rows:
                told = self.states.setdefault(row.id, [])
                state = (row.status, None if row.cost is None else str(row.cost))
                if not told or told[-1][1:] != state:
                    told.append((self.clock.now, *state))

    def rows(self, filters: str) -> list[Generation]:
        return self.hub._select(dict(pair.split("=") for pair in filters.split("&") if pair))

    @rule(row=consumes(Coherence.in_flight))
    def strange(self, row: Generation) -> None:
        """A status that no contract lists: the row is in flight, for good."""
        self.clock.advance(0.05)
        row.status = "warming"
        row.version += 1
        self.note_moments()

    @rule(back=st.integers(0, 30))
    def delete(self, back: int) -> None:
        """One that has been charged: what changes no total cannot be noticed below the window (README)."""
        self.clock.advance(0.05)
        charged = [row for row in self.hub.world.newest_first("ox") if row.cost]
        self.hub.world.delete(charged[min(back, len(charged) - 1)])
        self.note_moments()

    @rule()
    def ties_change_places(self) -> None:
        """At the top, where the next answer shows it."""
        self.clock.advance(0.05)
        rows = self.hub.world._rows["ox"]
        rows[-2:] = reversed(rows[-2:])
        self.note_moments()

    @rule(
        replica=st.integers(0, REPLICAS - 1),
        filters=st.sampled_from(FILTERS),
        page=st.sampled_from([1, 2, 3, 4, 6, 8]),
        page_size=st.sampled_from([2, 3, 5]),
    )
    def ask_deeper(self, replica: int, filters: str, page: int, page_size: int) -> None:
        self.ask(replica, filters, page, page_size, None)

    @rule(
        replica=st.integers(0, REPLICAS - 1),
        filters=st.sampled_from(FILTERS),
        page_size=st.sampled_from([4, 7]),
        changes=st.lists(st.sampled_from(["enqueue", "end", "pass", "delete", "charge"]), max_size=6),
    )
    def walk_one_moment(self, replica: int, filters: str, page_size: int, changes: list[str]) -> None:
        """All pages of one moment, by all replicas in turn, while the world goes on."""
        self.hub.faults.clear()
        self.cooldowns_end()
        self.clock.advance(CACHE.settled_ttl + CACHE.live_ttl)
        self.settle()
        first = self.run(self.get(replica, f"{filters}page=1&page_size={page_size}"))
        moment, total = first.headers["listing-moment"], first.json()["total_entries"]
        expected = self.orders[filters][-1][2]
        ids = [row["generation_id"] for row in first.json()["generations"]]
        page = 1
        while len(ids) < total:
            self.happen(changes.pop() if changes else "pass")
            page += 1
            self.settle()
            query = f"{filters}page={page}&page_size={page_size}"
            answer = self.run(self.get((replica + page) % REPLICAS, query, **{"listing-moment": moment}))
            if answer.status_code == 412:
                assert answer.json()["error"]["type"] == "moment_gone"
                return  # what changed could not be followed; nothing wrong was shown
            assert answer.status_code == 200, answer.text
            assert answer.headers["listing-moment"] == moment
            assert answer.json()["total_entries"] == total
            ids += [row["generation_id"] for row in answer.json()["generations"]]
        assert ids == expected, "each generation of the moment once, in its order"
        self.walked.append(len(ids))

    @rule(
        replica=st.integers(0, REPLICAS - 1),
        page_size=st.sampled_from([3, 5]),
        seconds=st.sampled_from([1.1, 12.0]),
        status=st.sampled_from([429, 500]),
        change=st.sampled_from(["start", "cancel", "enqueue", "pass"]),
    )
    def change_before_the_hub_fails(
        self, replica: int, page_size: int, seconds: float, status: int, change: str
    ) -> None:
        """A small page shows a row anew that larger ones, with others in flight, are kept with as it was."""
        self.hub.faults.clear()
        self.cooldowns_end()
        for _ in range(page_size - 1):
            self.happen("enqueue")
        row = self.hub.world.enqueue("ox")
        self.note_moments()
        self.ask(replica, "", 1, page_size, None)
        self.clock.advance(seconds)
        if change == "start":
            self.hub.world.start(row)
        elif change == "cancel":
            self.hub.world.end(row, "cancelled")
        self.happen(change)
        self.ask((replica + 1) % REPLICAS, "", 1, 2, None)
        self.clock.advance(1.1)
        self.the_hub_fails_or_recovers(status)
        for other in range(REPLICAS):
            self.ask(other, "", 1, page_size, None)

    def happen(self, what: str) -> None:
        self.clock.advance(0.05)
        world = self.hub.world
        match what:
            case "enqueue":
                world.enqueue("ox")
            case "end":
                world.end(world.enqueue("ox"))
            case "delete":
                world.delete([row for row in world.newest_first("ox") if row.cost][20])
            case "charge":
                row = [row for row in world.newest_first("ox") if row.terminal][25]
                world.charge(row, (row.cost or Decimal(0)) + Decimal("0.001"))
        self.note_moments()

    async def get(self, replica: int, query: str, **headers: str) -> httpx.Response:
        return await self.replicas[replica].caller.get(f"{LIST}?{query}", headers=headers)

    @rule()
    def redis_forgets(self) -> None:
        super().redis_forgets()
        self.all_told = False

    @rule()
    def subscriptions_break(self) -> None:
        super().subscriptions_break()
        self.all_told = False

    def hold_rows(self, filters: str, answer: httpx.Response) -> None:
        """No row is shown as it was before it was shown later, stale or not, while replicas can tell each other."""
        for row in answer.json()["generations"] if self.all_told else ():
            told = [state for _, *state in self.states[row["generation_id"]]]
            state = len(told) - 1 - told[::-1].index([row["status"], row["cost"]])
            key = (filters, row["generation_id"])
            assert state >= self.latest.get(key, 0), f"{row} was {told[self.latest[key]]} before"
            self.latest[key] = state

    def hold(self, filters: str, answer: httpx.Response) -> None:
        self.hold_rows(filters, answer)
        if answer.content in self.hub.said:
            super().hold(filters, answer)
            return
        status, body = answer.headers["cache-status"], json.loads(answer.content)
        assert "composed" in status or "stale" in status, status
        self.composed.append(status)
        rows = body["generations"]
        self.hold_order(filters, body, [row["generation_id"] for row in rows])
        for row in re.split(rb'(?=\{"generation_id": )', answer.content)[1:]:
            assert any(_LINK.sub(b"", row).strip()[:200] in _LINK.sub(b"", said) for said in self.hub.said)
        if "detail=stale-" in status:
            return
        settled = all(row["status"] in TERMINAL for row in rows)
        oldest = self.clock.now - (CACHE.settled_ttl if settled else CACHE.live_ttl) - 0.001
        for row in rows:
            if row["status"] in TERMINAL and not settled:
                continue  # vouched for by the listing's totals, as the rows of a settled page
            self.hold_state(row, oldest)

    def hold_order(self, filters: str, body: dict[str, Any], ids: list[str]) -> None:
        """The rows stood so at one moment with these totals, which is not older than what was shown before."""
        stamp, start = (body["total_entries"], body["total_cost"]), (body["page_number"] - 1) * body["page_size"]
        stamps = [stamp for _, stamp in self.moments[filters]]
        moment = len(stamps) - 1 - stamps[::-1].index(stamp)
        assert moment >= self.shown.get(filters, 0), "back in time"
        self.shown[filters] = moment
        known = [order for _, at, order in self.orders[filters] if at == stamp]
        assert any(order[start : start + len(ids)] == ids for order in known), "rows of several moments"
        assert body["count"] == len(ids) == min(body["page_size"], body["total_entries"] - start)

    def hold_state(self, row: dict[str, Any], oldest: float) -> None:
        """The row was so at some time since ``oldest``."""
        told = self.states[row["generation_id"]]
        for number, (_, status, cost) in enumerate(told):
            ended_at = told[number + 1][0] if number + 1 < len(told) else self.clock.now + 1
            if (status, cost) == (row["status"], row["cost"]) and ended_at >= oldest:
                return
        raise AssertionError(f"{row['generation_id']} is {row['status']} {row['cost']}; it was {told}")


def composed_before_it_is_contradicted() -> None:
    """A page of old rows, composed while the hub is asked, that shows them in another order with the same totals."""
    machine = Composed()
    try:
        machine.begin()
        for page_size in (7, 4):
            machine.walk_one_moment(replica=0, filters="", page_size=page_size, changes=[])
            machine.ties_change_places()
    finally:
        machine.teardown()


def test_rows_of_one_moment(own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.core.News", Noted)
    monkeypatch.setattr("proxy.core.Shield", NotedShield)
    monkeypatch.setattr("proxy.core.Knowledge", NotedKnowledge)
    monkeypatch.setattr("proxy.redis.news.HEARTBEAT", 0.005)
    monkeypatch.setattr("proxy.redis.news.FIRST_WAIT", 0.02)
    for name, rows in {"STEP": 4, "CHEAP_ROWS": 8, "WIDE_ROWS": 24}.items():
        monkeypatch.setattr(f"proxy.rows.windows.{name}", rows)
    monkeypatch.setattr("proxy.known.rows.STEP", 4)
    Coherence.redis_url = own_redis.url
    Composed.walked.clear()
    Composed.composed.clear()
    composed_before_it_is_contradicted()
    run_state_machine_as_test(
        Composed,
        settings=settings(
            max_examples=100,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
    assert len(Composed.walked) > 20, "most walks come to their end"
    assert len(Composed.composed) > 30
