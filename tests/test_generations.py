"""Single generations and queues, as a caller sees them: the same way with another question."""

from __future__ import annotations

import asyncio
import json
import math
import uuid
from decimal import Decimal

import fakeredis
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.answer import links
from proxy.answer.directives import Directives
from proxy.answer.page import Page, namespace_of, parse_page
from proxy.errors import HubAnswerNotAPage, HubBusy, InvalidParameter
from proxy.fetch_queue import Wait
from proxy.pages import Pages
from proxy.questions.query import ListQuery, parse_id
from proxy.questions.question import (
    LIST_PATH,
    QUEUE_PATH,
    Question,
    generation_question,
    page_question,
    queue_question,
)
from proxy.questions.watermarks import Extent, Watermarks
from proxy.secret import Secret
from proxy.settings import AuthSettings, CacheSettings, CallerSettings, CredentialSettings, LimitSettings
from proxy.simulator import Fault
from proxy.simulator.world import Generation
from tests.callers import ALL, CALLERS, OX, bearer
from tests.support import REQUIRED_HEADERS, Rig, envelope, rig

ID = "0e8a1f64-0000-4000-8000-000000000001"
PATHS = [LIST_PATH, QUEUE_PATH]


def a_row(it: Rig, namespace: str = "ox", *, terminal: bool = True) -> Generation:
    """The newest of its sort."""
    if not terminal:
        it.hub.world.enqueue(namespace)
    rows = it.hub.world.newest_first(namespace)
    return next(row for row in rows if row.terminal is terminal)


async def ask(it: Rig, path: str, **headers: str) -> httpx.Response:
    return await it.caller.get(path, headers=headers)


@pytest.mark.parametrize("path", PATHS)
async def test_a_terminal_generation_is_kept(path: str) -> None:
    async with rig(cache=CacheSettings(settled_item_ttl=600)) as it:
        at = f"{path}/{a_row(it).id}"
        first = await ask(it, at)
        it.clock.advance(500)
        second = await ask(it, at)
        assert it.hub_requests == 1
        assert first.content == second.content
        assert first.headers["cache-status"] == "generations-proxy; fwd=uri-miss; fwd-status=200; stored; ttl=600"
        assert second.headers["cache-status"] == "generations-proxy; hit; ttl=100; detail=memory"
        assert set(second.headers) == REQUIRED_HEADERS | {"age", "etag"}
        again = await ask(it, at, **{"if-none-match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        it.clock.advance(101)
        assert (await ask(it, at)).status_code == 200
        assert it.hub_requests == 2


@pytest.mark.parametrize("path", PATHS)
async def test_the_body_is_the_hubs(path: str) -> None:
    async with rig() as it, httpx.AsyncClient(transport=httpx.ASGITransport(it.hub)) as direct:
        for row in it.hub.world.newest_first("ox"):
            if row.status == "succeeded":
                continue  # their links are signed for each answer
            wanted = await direct.get(
                f"http://hub.test{path}/{row.id}", headers={"authorization": f"Bearer {it.hub.api_key}"}
            )
            assert (await ask(it, f"{path}/{row.id}")).content == wanted.content
            assert (await ask(it, f"{path}/{row.id.upper()}")).headers["cache-status"].split("; ")[1] == "hit"


async def test_a_generation_is_not_used_past_its_link() -> None:
    async with rig(cache=CacheSettings(settled_item_ttl=86_400)) as it:
        rows = it.hub.world.newest_first("ox")
        at = f"{LIST_PATH}/{next(row for row in rows if row.status == 'succeeded').id}"
        dead_at = links.dead_at((await ask(it, at)).content, it.clock.now)
        assert dead_at is not None
        it.clock.advance(dead_at - it.clock.now - 1)
        assert (await ask(it, at)).headers["cache-status"].startswith("generations-proxy; hit")
        it.clock.advance(1)
        it.hub.faults.set(Fault(status=500))
        assert (await ask(it, at)).status_code == 502


@pytest.mark.parametrize("path", PATHS)
async def test_one_in_flight_is_live(path: str) -> None:
    async with rig() as it:
        row = a_row(it, terminal=False)
        at = f"{path}/{row.id}"
        for _ in range(3):
            answer = await ask(it, at)
            assert answer.headers["cache-status"].endswith(("ttl=1", "ttl=1; detail=memory"))
        assert it.hub_requests == 1
        it.hub.world.end(row, "succeeded")
        it.clock.advance(1.1)
        answer = await ask(it, at)
        shown = answer.json()
        assert shown.get("generation", shown)["status"] == "succeeded"
        assert answer.headers["cache-status"].endswith("ttl=600")


async def test_a_queue_is_live_and_one_of_terminal_rows_is_settled() -> None:
    async with rig() as it:
        a_row(it, terminal=False)
        queue = await ask(it, f"{QUEUE_PATH}?namespace=ox")
        assert {row["status"] for row in queue.json()["generations"]} <= {"queued", "processing"}
        assert queue.json()["count"] == len(queue.json()["generations"]) > 0
        assert queue.headers["cache-status"].endswith("ttl=1")
        empty = await ask(it, f"{QUEUE_PATH}?namespace=ox&model=nobody")
        assert empty.json() == {"count": 0, "generations": []}
        assert empty.headers["cache-status"].endswith("ttl=1"), "nothing is in flight, which may change at any time"
        for status in ("succeeded", "failed", "cancelled"):
            settled = await ask(it, f"{QUEUE_PATH}?namespace=ox&status={status}")
            assert settled.headers["cache-status"].endswith("ttl=5")
        assert (await ask(it, f"{QUEUE_PATH}?status=failed&namespace=ox")).headers["cache-status"].endswith("memory")


async def test_each_question_is_its_own() -> None:
    async with rig() as it:
        row = a_row(it)
        for at in (
            f"{LIST_PATH}/{row.id}",
            f"{QUEUE_PATH}/{row.id}",
            QUEUE_PATH,
            f"{QUEUE_PATH}?namespace=ox",
            LIST_PATH,
            f"{LIST_PATH}?namespace=ox",
        ):
            assert (await ask(it, at)).headers["cache-status"].startswith("generations-proxy; fwd=uri-miss")
        assert it.hub_requests == 6


BAD = [
    ("/not-a-uuid", "generation_id"),
    ("/0e8a1f6400004000800000000000000a", "generation_id"),
    ("/%7B0e8a1f64-0000-4000-8000-000000000001%7D", "generation_id"),
    ("/0e8a1f64-0000-4000-8000-00000000000g", "generation_id"),
    ("/0e8a1f64-0000-4000-8000-00000000000%EF%BC%91", "generation_id"),
    (f"/{ID}%20", "generation_id"),
    (f"/{ID}%0a", "generation_id"),
    (f"/{ID}?namespace=ox", "namespace"),
    (f"/{ID}?x", "x"),
    (f"/{ID}?page=1", "page"),
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("what", "parameter"), BAD)
async def test_what_is_no_id_of_a_generation_is_a_400(path: str, what: str, parameter: str) -> None:
    async with rig() as it:
        answer = await ask(it, f"{path}{what}")
        assert answer.status_code == 400
        assert envelope(answer)["error"]["parameter"] == parameter
        assert it.hub_requests == 0


@pytest.mark.parametrize(
    "query", ["page=1", "page_size=5", "namespace=ox&namespace=ox", "status=done", "x=1", "model="]
)
async def test_a_bad_query_for_a_queue_is_a_400(query: str) -> None:
    async with rig() as it:
        answer = await ask(it, f"{QUEUE_PATH}?{query}")
        assert answer.status_code == 400
        assert "page" not in envelope(answer)["error"]["detail"].partition("known are")[2]
        assert it.hub_requests == 0


@pytest.mark.parametrize("path", [f"{LIST_PATH}/..%2Fqueue", f"{LIST_PATH}/%2e%2e", f"{LIST_PATH}/{ID}/x"])
async def test_a_path_that_leads_elsewhere_never_reaches_the_hub(path: str) -> None:
    async with rig() as it:
        assert (await ask(it, path)).status_code in (400, 404)
        assert it.hub_requests == 0


@given(st.uuids())
def test_ids_are_read_in_either_case(one: uuid.UUID) -> None:
    assert parse_id(str(one)) == parse_id(str(one).upper()) == str(one)
    with pytest.raises(InvalidParameter):
        parse_id(one.hex)


@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT"])
@pytest.mark.parametrize("path", [QUEUE_PATH, f"{QUEUE_PATH}/{ID}", f"{LIST_PATH}/{ID}"])
async def test_nothing_is_written(path: str, method: str) -> None:
    async with rig() as it:
        answer = await it.caller.request(method, path)
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
        assert it.hub_requests == 0


@pytest.mark.parametrize("path", [f"{LIST_PATH}/{ID}", f"{QUEUE_PATH}/{ID}"])
async def test_a_404_is_shared_for_live_ttl(path: str) -> None:
    async with rig() as it:
        answers = await asyncio.gather(*[ask(it, path) for _ in range(5)], ask(it, path.upper().replace("API/AI", "x")))
        assert {answer.status_code for answer in answers} == {404}
        assert (await ask(it, path)).json()["error"]["type"] == "resource_not_found"
        assert it.hub_requests == 1
        it.clock.advance(1.1)
        await ask(it, path)
        assert it.hub_requests == 2


@pytest.mark.parametrize("path", [*PATHS, None])
@pytest.mark.parametrize("content", ["{}", "[]", '{"generation": 1}', '{"count": 1}', '{"generation_id": 7}'])
async def test_an_answer_that_is_no_generation_or_queue_is_a_502(path: str | None, content: str) -> None:
    async with rig() as it:
        at = f"{path}/{a_row(it).id}" if path else QUEUE_PATH
        it.hub.faults.set(Fault(content=content))
        answer = await ask(it, at)
        assert answer.status_code == 502
        assert envelope(answer)["error"]["type"] == "hub_answer_not_a_page"


async def test_a_failing_hub_is_stood_in_for() -> None:
    async with rig() as it:
        row = a_row(it, terminal=False)
        for path in (f"{LIST_PATH}/{row.id}", QUEUE_PATH):
            it.hub.faults.clear()
            first = await ask(it, path)
            it.clock.advance(2)
            it.hub.faults.set(Fault(status=500))
            stale = await ask(it, path)
            assert stale.content == first.content
            assert "detail=stale-hub_failed" in stale.headers["cache-status"]


async def test_replicas_share_generations_and_queues() -> None:
    server = fakeredis.FakeServer()
    async with rig(redis=fakeredis.FakeAsyncRedis(server=server)) as it:
        row = a_row(it)
        paths = [f"{LIST_PATH}/{row.id}", f"{QUEUE_PATH}/{row.id}", QUEUE_PATH, f"{LIST_PATH}/{ID}"]
        mine = [await ask(it, path) for path in paths]
        async with rig(redis=fakeredis.FakeAsyncRedis(server=server), clock=it.clock, simulator=it.hub) as other:
            theirs = [await ask(other, path) for path in paths]
        assert [answer.content for answer in theirs] == [answer.content for answer in mine]
        assert [answer.status_code for answer in theirs] == [200, 200, 200, 404]
        assert it.hub_requests == 4
        assert all("detail=redis" in answer.headers["cache-status"] for answer in theirs)


async def test_one_that_is_charged_late_is_shown_as_it_was_by_no_replica() -> None:
    """Once any has been told of it; nor does that answer vouch for the one from before."""
    server = fakeredis.FakeServer()
    async with rig(redis=fakeredis.FakeAsyncRedis(server=server)) as it:
        row = next(row for row in it.hub.world.newest_first("ox") if row.status == "succeeded")
        at = f"{LIST_PATH}/{row.id}"
        async with rig(redis=fakeredis.FakeAsyncRedis(server=server), clock=it.clock, simulator=it.hub) as other:
            before = [await ask(one, at) for one in (it, other, it, other)]
            assert len({answer.content for answer in before}) == 1
            it.hub.world.charge(row, Decimal("9.99"))
            it.clock.advance(2)
            told = await ask(it, at, **{"cache-control": "no-cache"})
            it.clock.advance(1)
            after = [await ask(one, at) for one in (it, other)]
        assert b"9.99" in told.content
        assert [answer.content for answer in after] == [told.content] * 2
        assert [answer.headers["age"] for answer in after] == ["1"] * 2
        assert it.hub_requests == 2


# Who may see them.


async def test_a_generation_is_of_the_namespace_that_its_row_names() -> None:
    async with rig(auth=CALLERS) as it:
        mine, theirs = a_row(it, "ox").id, a_row(it, "bessie").id
        for path in PATHS:
            assert (await ask(it, f"{path}/{mine}", **bearer(OX))).status_code == 200
            assert (await ask(it, f"{path}/{theirs}", **bearer(ALL))).status_code == 200
            asked = it.hub_requests
            hidden = await ask(it, f"{path}/{theirs}", **bearer(OX), **{"if-none-match": "*"})
            unknown = await ask(it, f"{path}/{ID}", **bearer(OX), **{"if-none-match": "*"})
            assert it.hub_requests == asked + 1
            for answer in (hidden, unknown):
                assert answer.status_code == 404
                assert envelope(answer)["error"]["type"] == "resource_not_found"
            assert hidden.json()["error"] == unknown.json()["error"]
            assert hidden.headers["cache-status"] == unknown.headers["cache-status"]
            assert set(hidden.headers) == set(unknown.headers)
            assert (await ask(it, f"{path}/{mine}")).status_code == 401


@pytest.mark.parametrize("asked_by", ["oneself", "another"])
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("failing", "headers", "expected"),
    [
        (False, {"cache-control": "only-if-cached"}, 504),
        (False, {}, 404),
        (True, {}, 502),
        (True, {"cache-control": "no-cache"}, 502),
        (True, {"cache-control": "max-stale"}, 502),
    ],
)
async def test_what_is_kept_does_not_tell_that_a_generation_is_there(
    path: str, asked_by: str, *, failing: bool, headers: dict[str, str], expected: int
) -> None:
    """Nor what the hub is asked for it, which some are charged for: as what does not exist is answered."""
    async with rig(auth=CALLERS) as it:
        theirs = a_row(it, "bessie").id
        await ask(it, f"{path}/{theirs}", **bearer(OX if asked_by == "oneself" else ALL))
        await ask(it, f"{path}/{ID}", **bearer(OX))
        for _ in range(2):
            it.clock.advance(1.5)
            if failing:
                it.hub.faults.set(Fault(status=500))
            answers, asked = [], []
            for one in (theirs, ID):
                before = it.hub_requests
                answers.append(await ask(it, f"{path}/{one}", **bearer(OX), **headers))
                asked.append(it.hub_requests - before)
            assert [answer.status_code for answer in answers] == [expected, expected]
            assert answers[0].json()["error"] == answers[1].json()["error"]
            assert answers[0].headers["cache-status"] == answers[1].headers["cache-status"]
            assert failing or asked[0] == asked[1]


@pytest.mark.parametrize("path", PATHS)
async def test_what_is_kept_of_others_is_not_cached(path: str) -> None:
    """With only-if-cached, a 404 in place of a 504 would tell by a status who asks for what, and when."""
    server = fakeredis.FakeServer()
    async with rig(auth=CALLERS, redis=fakeredis.FakeAsyncRedis(server=server)) as it:
        redis = fakeredis.FakeAsyncRedis(server=server)
        async with rig(auth=CALLERS, redis=redis, clock=it.clock, simulator=it.hub) as other:
            mine = a_row(it).id
            theirs, never = [row.id for row in it.hub.world.newest_first("bessie") if row.terminal][:2]
            for one in (mine, theirs, ID):
                assert (await ask(it, f"{path}/{one}", **bearer(ALL))).status_code == (404 if one == ID else 200)
            only = {"cache-control": "only-if-cached", **bearer(OX)}
            for replica in (it, other):
                assert (await ask(replica, f"{path}/{mine}", **only)).status_code == 200
                told = [await ask(replica, f"{path}/{one}", **only) for one in (theirs, ID, never)]
                assert [answer.status_code for answer in told] == [504, 504, 504]
                assert len({str(envelope(answer)["error"]) for answer in told}) == 1
                assert len({answer.headers["cache-status"] for answer in told}) == 1


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "directives", ["min-fresh=1", "min-fresh=2", "max-age=0", "max-age=1", "max-age=1, min-fresh=2"]
)
async def test_a_callers_directives_do_not_tell_that_a_generation_is_there(path: str, directives: str) -> None:
    """Nor what it pays for that: a 404 is fresh for ``live_ttl`` only, a generation that has ended for hours."""
    limits = LimitSettings(rate=0.001, burst=100, hit_weight=0.25)
    told = []
    for is_there in (True, False):
        async with rig(auth=CALLERS, cache=CacheSettings(live_ttl=2.0), limits=limits) as it:
            one = f"{path}/{a_row(it, 'bessie').id if is_there else ID}"
            await ask(it, one, **bearer(OX))
            it.clock.advance(0.75)
            answers = [await ask(it, one, **bearer(OX), **{"cache-control": directives}) for _ in range(5)]
            answers.append(await ask(it, one, **bearer(OX)))
            said = [(each.json()["error"], each.headers["cache-status"], each.headers["ratelimit"]) for each in answers]
            told.append((said, it.hub_requests))
    assert told[0] == told[1]


@pytest.mark.parametrize("namespace", [None, 7, True, ["ox"], {"ox": "ox"}, math.inf, "\ud83d"])
async def test_a_generation_of_no_namespace_is_for_those_who_see_all(namespace: object) -> None:
    """What is no text is no namespace."""
    async with rig(auth=CALLERS) as it:
        one = a_row(it).id
        row = {"generation_id": one, "status": "failed", "target_namespace": namespace}
        it.hub.faults.set(Fault(content=json.dumps({"status": "s", "status_message": "m", "generation": row})))
        if namespace == math.inf:
            it.hub.faults.set(Fault(content=json.dumps({"generation": row}).replace("Infinity", "1e999")))
        assert (await ask(it, f"{LIST_PATH}/{one}", **bearer(OX))).status_code == 404
        assert (await ask(it, f"{LIST_PATH}/{one}", **bearer(ALL))).status_code == 200
        assert it.hub_requests == 1


async def test_queues_are_granted_as_listings_are() -> None:
    async with rig(auth=CALLERS) as it:
        assert (await ask(it, f"{QUEUE_PATH}?namespace=ox", **bearer(OX))).status_code == 200
        for query in ("", "?namespace=bessie", "?namespace=nobody"):
            assert (await ask(it, f"{QUEUE_PATH}{query}", **bearer(OX))).status_code == 403
        assert it.hub_requests == 1


async def test_each_credential_that_may_serve_the_caller_is_tried() -> None:
    """The simulator knows one token: the other's hub is one that has nothing."""
    farm = CredentialSettings(name="farm", namespaces=("ox",), api_key=Secret("farm-token"))
    keys = CALLERS.callers[0].keys
    lonely = CallerSettings(name="lonely", keys=("sha256:" + "0" * 64,), namespaces=())
    callers = AuthSettings(callers=(CallerSettings(name="both", keys=keys, namespaces=("ox", "bessie")), lonely))
    asked: list[str] = []

    async with rig() as hub:
        row = a_row(hub, "ox")

        def answer(request: httpx.Request) -> httpx.Response:
            asked.append(request.headers["authorization"])
            if "farm" not in asked[-1]:
                return httpx.Response(404, stream=httpx.ByteStream(b'{"error": {}}'))
            return httpx.Response(200, stream=httpx.ByteStream(hub.hub.writer.show(row, hub.clock.now)))

        async with rig(auth=callers, credentials=(farm,), transport=httpx.MockTransport(answer)) as it:
            for _ in range(2):
                got = await ask(it, f"{LIST_PATH}/{row.id}", **bearer(OX))
                assert got.status_code == 200
            assert len(asked) == 2
            assert "farm" in asked[1]
            it.clock.advance(60)  # the 404 is not kept for that long
            got = await ask(it, f"{LIST_PATH}/{row.id}", **bearer(OX))
            assert (got.status_code, len(asked)) == (200, 2), "what is in memory is asked of nobody"
            it.clock.advance(600)
            got = await ask(it, f"{LIST_PATH}/{row.id}", **bearer(OX))
            assert (got.status_code, len(asked)) == (200, 4), "nor is it shown for longer than it is fresh"


@pytest.mark.parametrize(("farm", "status"), [(200, 200), (404, 502), (500, 502)])
async def test_a_credential_that_fails_does_not_hide_what_another_knows(farm: int, status: int) -> None:
    """Where no other knows the generation, the failure counts, as it may be there."""
    token = CredentialSettings(name="farm", namespaces=("ox",), api_key=Secret("farm-token"))
    async with rig() as hub:
        row = a_row(hub, "ox")

        def answer(request: httpx.Request) -> httpx.Response:
            if "farm" not in request.headers["authorization"]:
                return httpx.Response(401)
            shown = hub.hub.writer.show(row, hub.clock.now) if farm == 200 else b'{"error": {}}'
            return httpx.Response(farm, stream=httpx.ByteStream(shown))

        async with rig(credentials=(token,), transport=httpx.MockTransport(answer)) as it:
            got = await ask(it, f"{LIST_PATH}/{row.id}")
            assert got.status_code == status
            assert status == 200 or got.json()["error"]["type"] == "hub_refused_credential"
            kept = await ask(it, f"{LIST_PATH}/{row.id}", **{"cache-control": "only-if-cached"})
            assert kept.status_code == (200 if status == 200 else 504)


async def test_all_credentials_that_are_tried_have_one_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[Wait] = []

    async def answer(_: Pages, _question: Question, _directives: Directives, _moment: str = "", *, wait: Wait) -> None:
        waits.append(wait)
        raise HubBusy("The hub is busy.", retry_after=1.0)

    monkeypatch.setattr(Pages, "answer", answer)
    token = CredentialSettings(name="farm", namespaces=("ox",), api_key=Secret("farm-token"))
    both = CallerSettings(name="both", keys=CALLERS.callers[0].keys, namespaces=("ox", "bessie"))
    async with rig(credentials=(token,), auth=AuthSettings(callers=(both,))) as it:
        assert (await ask(it, f"{LIST_PATH}/{ID}", **bearer(OX))).status_code == 503
        assert len(waits) == 2
        assert len({wait.until for wait in waits}) == 1
        monkeypatch.setattr("proxy.web.asking.half_left", lambda _: 0.0)
        assert (await ask(it, f"{LIST_PATH}/{ID}", **bearer(OX))).status_code == 503
        assert len(waits) == 3, "when it is over, no other is asked"


def test_purges_cover_generations_and_queues() -> None:
    queue = queue_question("c", ListQuery(namespace="ox", status="failed"))
    one = generation_question("c", "generation", ID)
    for purge, of_queue, of_one in (
        (Extent("everything"), 5.0, 5.0),
        (Extent("namespace", "ox"), 5.0, 5.0),  # the generation may be of any
        (Extent("namespace", "bessie"), 0.0, 5.0),
        (Extent("listing", "namespace=ox&status=failed"), 5.0, 0.0),
        (Extent("listing", ""), 0.0, 0.0),
    ):
        purges = Watermarks()
        purges.add(purge, 5.0)
        assert (purges.since(queue), purges.since(one)) == (of_queue, of_one)


# Reading them.


def test_another_generations_answer_is_refused() -> None:
    other = {"generation_id": ID[:-1] + "2", "status": "failed"}
    for kind, body in (("generation", {"generation": other}), ("queued", other)):
        question = generation_question("c", kind, ID)  # type: ignore[arg-type]
        with pytest.raises(HubAnswerNotAPage):
            parse_page(question, json.dumps(body).encode(), 1.0)


@given(st.lists(st.sampled_from(["queued", "processing", "succeeded", "failed", "cancelled", "new"]), max_size=4))
def test_queues_are_of_one_moment_if_their_rows_are_in_the_same_state(statuses: list[str]) -> None:
    def queue(given: list[str], link: str, status: str | None = None) -> Page:
        rows = [{"generation_id": f"{n}", "status": one, "result_url": link} for n, one in enumerate(given)]
        body = json.dumps({"count": len(rows), "generations": rows}).encode()
        return parse_page(queue_question("c", ListQuery(status=status)), body, 1.0)

    terminal = all(one in ("succeeded", "failed", "cancelled") for one in statuses)
    assert queue(statuses, "a").settled is False
    assert queue(statuses, "a", "failed").settled is terminal
    assert queue(statuses, "a").stamp == queue(statuses, "b").stamp
    assert queue(statuses, "a").stamp != queue([*statuses, "queued"], "a").stamp
    if statuses:
        assert queue(statuses, "a").stamp != queue([*statuses[:-1], "else"], "a").stamp


def test_a_generations_namespace_is_that_of_its_own_row() -> None:
    row = {"generation_id": ID, "status": "failed", "target_namespace": "ox", "generation": {"target_namespace": "no"}}
    shown = generation_question("c", "generation", ID)
    bare = generation_question("c", "queued", ID)
    assert namespace_of(shown, parse_page(shown, json.dumps({"generation": row}).encode(), 1.0)) == "ox"
    assert namespace_of(bare, parse_page(bare, json.dumps(row).encode(), 1.0)) == "ox"


def test_no_two_questions_share_a_key() -> None:
    questions = [
        page_question("c", ListQuery()),
        queue_question("c", ListQuery()),
        queue_question("c", ListQuery(status="failed")),
        queue_question("d", ListQuery()),
        generation_question("c", "generation", ID),
        generation_question("c", "queued", ID),
    ]
    for name in ("key", "page_key", "listing"):
        assert len({getattr(question, name) for question in questions}) == len(questions)
