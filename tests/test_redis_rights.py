"""The rights that the README says a user of Redis needs: they are enough, and none is for nothing."""

from __future__ import annotations

import json
import re
import urllib.request
from contextlib import closing
from typing import Any, Final

import pytest
import redis

from proxy.commands.sockets import LOOPBACK
from tests.fleet import Fleet, fleet
from tests.processes import eventually, get
from tests.support import ROOT

ADMIN: Final = "Xq7-pw_of.admin"
RIGHTS: Final = " ".join(
    re.findall(r"^ACL SETUSER proxy on >password (.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
).split()
IN_SCRIPTS: Final = {
    command.lower()
    for script in (ROOT / "proxy" / "redis" / "lua").glob("*.lua")
    for command in re.findall(r"""call\(["'](\w+)["']""", script.read_text())
}
BESIDE: Final = {"evalsha", "eval", "subscribe", "publish", "zrem", "info", "get", "set", "hgetall", "xrange"}
"""What is asked without a script; some of it is asked by scripts too."""


def test_no_right_is_for_nothing() -> None:
    assert {right[1:] for right in RIGHTS if right.startswith("+")} == IN_SCRIPTS | BESIDE
    assert RIGHTS[:2] == ["~gp1:*", "&gp1:news*"]


def everything(it: Fleet) -> None:
    """All that replicas ask of Redis, but for what comes of faults."""
    for replica in it.replicas:
        for query in ("page_size=100", "page_size=100", "page=2&page_size=5", "status=succeeded", "namespace=moo"):
            assert replica.ask(query)[0] == 200
        assert get(f"{replica.url}/api/ai/queue")[0] == 200
        one = json.loads(replica.ask("status=succeeded&page_size=1")[2])["generations"][0]["generation_id"]
        assert get(f"{replica.url}/api/ai/generations/{one}")[0] == 200
        assert get(f"{replica.url}/api/ai/generations/00000000-0000-4000-8000-000000000000")[0] == 404
    it.shares_again()
    for deed in ("start", "end"):
        queued = it.hub.enqueue()
        given = json.dumps({"do": deed, "id": queued}).encode()
        with urllib.request.urlopen(f"{it.hub.url}/_simulator/world", given):
            pass
    it.hub.faults({"status": 429, "retry_after": "1", "times": 1})
    it.replicas[0].ask(it.fresh_query())
    it.asks_again()
    purge = urllib.request.Request(
        f"{it.replicas[0].url}/admin/purge", b'{"everything": true}', {"authorization": f"Bearer {ADMIN}"}
    )
    with urllib.request.urlopen(purge) as answer:
        assert json.load(answer)["everywhere"]
    eventually(lambda: len(json.loads(get(f"{it.replicas[0].url}/status.json")[2])["processes"]) == 2)


@pytest.mark.slow
def test_the_rights_that_the_readme_names_are_enough() -> None:
    own = ("--user", "default", "on", "nopass", "resetkeys", "resetchannels", "-@all", "+ping", *RIGHTS)
    options = (*own, "--user", "admin", "on", f">{ADMIN}", "~*", "&*", "+@all")
    given: dict[str, Any] = {"PROXY_STATUS_OPEN": "true", "PROXY_ADMIN_KEY": ADMIN, "PROXY_LIMITS_RATE": "10000"}
    with fleet(2, redis_options=options, **given) as it:
        everything(it)
        with closing(redis.Redis(LOOPBACK, it.redis.port, username="admin", password=ADMIN)) as admin:
            assert [one["object"] for one in admin.acl_log()] == [], "nothing was denied"
