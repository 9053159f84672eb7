"""``/metrics``, read as Prometheus reads it."""

from __future__ import annotations

import fakeredis
from prometheus_client.parser import text_string_to_metric_families

from proxy.secret import Secret
from proxy.settings import CredentialSettings
from proxy.simulator import Fault
from proxy.web.metrics import METRICS_PATH
from tests.support import Rig, rig

FARM = CredentialSettings(name="farm", namespaces=("bessie",), api_key=Secret("another-token"))


async def scraped(it: Rig) -> dict[str, float]:
    """All samples, by name and labels."""
    answer = await it.caller.get(METRICS_PATH)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    families = list(text_string_to_metric_families(answer.text))
    assert all(family.documentation and family.type in ("gauge", "counter") for family in families)
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in families
        for sample in family.samples
    }


async def test_a_refused_token_is_a_gauge() -> None:
    async with rig(credentials=(FARM,)) as it:
        assert (await scraped(it))["generations_proxy_credential_refused farm"] == 0
        await it.get("namespace=bessie")  # the simulator knows one token only
        await it.get("namespace=ox")
        found = await scraped(it)
        assert found["generations_proxy_credential_refused farm"] == 1
        assert found["generations_proxy_credential_refused default"] == 0
        it.hub.faults.set(Fault(status=401))
        await it.get("namespace=moo")
        assert (await scraped(it))["generations_proxy_credential_refused default"] == 1


async def test_requests_of_the_hub_are_counted() -> None:
    async with rig() as it:
        for query in ("page=1", "page=1", "page=2", "page=0"):
            await it.get(query)
        found = await scraped(it)
        assert found["generations_proxy_hub_requests_total default"] == it.hub_requests == 2
        assert not [name for name in found if "redis" in name]


async def test_redis_and_its_faults() -> None:
    server = fakeredis.FakeServer()
    async with rig(redis=fakeredis.FakeAsyncRedis(server=server)) as it:
        await it.get()
        assert (await scraped(it))["generations_proxy_redis_up"] == 1
        server.connected = False
        await it.get("page=2")
        found = await scraped(it)
        assert found["generations_proxy_redis_up"] == 0
        assert any(name.startswith("generations_proxy_redis_faults_total ") for name in found)
