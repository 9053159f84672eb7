"""Callers: keys, what they may see, and what they are told."""

from __future__ import annotations

import re
from typing import Any

import jwt
import msgspec
import pytest

from proxy.callers import caller as callers
from proxy.callers.caller import ANONYMOUS, Caller, by_digest, digest, make_key
from proxy.config import sources
from proxy.config.faults import require_safe_address
from proxy.errors import Forbidden
from proxy.secret import Secret
from proxy.settings import AuthSettings, JwtSettings
from tests.callers import ALL, BESSIE, CALLERS, OX, bearer
from tests.processes import run
from tests.support import NOW, rig

# What they may see.


@pytest.mark.parametrize(
    ("namespaces", "unnamed", "asked", "allowed"),
    [
        (("ox",), False, "ox", True),
        (("ox", "moo"), False, "moo", True),
        (("ox",), False, "OX", False),
        (("ox",), False, "oxen", False),
        (("ox",), False, "o", False),
        (("ox",), False, "*", False),
        (("ox",), False, None, False),
        (("ox",), True, None, True),
        (("*",), False, "anything", True),
        (("*",), False, None, False),
        (("*",), True, None, True),
        ((), False, "ox", False),
        ((), True, None, True),
    ],
)
def test_a_namespace_may_be_asked_for_only_by_who_is_granted_it(
    namespaces: tuple[str, ...], unnamed: bool, asked: str | None, allowed: bool
) -> None:
    caller = Caller("c", frozenset(namespaces), unnamed)
    if allowed:
        caller.permit(asked)
        return
    with pytest.raises(Forbidden) as caught:
        caller.permit(asked)
    assert caught.value.parameter == "namespace"
    assert asked is None or repr(asked) in caught.value.detail


def test_where_nobody_is_known_everybody_may_see_everything() -> None:
    ANONYMOUS.permit(None)
    ANONYMOUS.permit("anything")


# Keys.


def test_keys_are_long_and_random_and_only_their_digests_are_kept() -> None:
    made = {make_key() for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch(r"gp_[A-Za-z0-9_-]{43}", key) for key in made)
    table = by_digest(CALLERS.callers)
    assert OX not in repr(table)
    assert table[digest(OX)] == table[digest("gp_ox_old")] == Caller("ox", frozenset({"ox"}))


def test_the_command_prints_settings_that_let_the_key_in() -> None:
    done = run("key", "web", "--namespace", "ox", "--namespace", "bessie")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    key = next(line for line in lines if line.startswith("gp_"))
    table = done.stdout[done.stdout.index("[[auth.callers]]") :]
    assert key not in table
    settings = msgspec.toml.decode(table, type=dict[str, AuthSettings])["auth"]
    assert by_digest(settings.callers)[digest(key)] == Caller("web", frozenset({"ox", "bessie"}))


# Over HTTP.


@pytest.mark.parametrize("headers", [bearer(OX), {"x-api-key": OX}, {"authorization": f"bEARER   {OX} "}])
async def test_both_ways_to_send_a_key(headers: dict[str, str]) -> None:
    async with rig(auth=CALLERS) as it:
        assert (await it.get("namespace=ox", **headers)).status_code == 200
        assert it.events[-1].info.caller == "ox"


async def test_an_old_key_goes_on_beside_the_new_one() -> None:
    async with rig(auth=CALLERS) as it:
        for key in (OX, "gp_ox_old"):
            assert (await it.get("namespace=ox", **bearer(key))).status_code == 200
        assert it.hub_requests == 1, "pages are kept for a question, not for a caller"


async def test_who_may_both_see_a_page_share_it_who_may_not_learns_nothing() -> None:
    """The refusal is the same whether the namespace exists, is cached, or its ETag was guessed."""
    async with rig(auth=CALLERS) as it:
        tag = (await it.get("namespace=ox", **bearer(OX))).headers["etag"]
        assert "hit" in (await it.get("namespace=ox", **bearer(ALL))).headers["cache-status"]
        refusals = [
            await it.get("namespace=ox", **bearer(BESSIE)),
            await it.get("namespace=nobody", **bearer(BESSIE)),
            await it.get("namespace=ox", **bearer(BESSIE), **{"if-none-match": tag}),
            await it.get("namespace=ox", **bearer(BESSIE), **{"if-none-match": "*"}),
            await it.get("namespace=ox", **bearer(BESSIE), **{"cache-control": "only-if-cached"}),
        ]
        assert it.hub_requests == 1
        shapes = set()
        for refusal in refusals:
            assert refusal.status_code == 403
            error = refusal.json()["error"]
            assert (error["type"], error["parameter"]) == ("forbidden", "namespace")
            assert refusal.headers["cache-status"] == "generations-proxy; detail=forbidden"
            named = re.sub(r"'\w+'", "'…'", refusal.text.replace(refusal.json()["request_id"], "…"))
            shapes.add((named, tuple(name for name in refusal.headers if name != "content-length")))
        assert len(shapes) == 1


async def test_a_401_says_how_to_come_in() -> None:
    async with rig(auth=CALLERS) as it:
        without = await it.get("namespace=ox")
        wrong = await it.get("namespace=ox", **bearer("gp_wrong"))
        assert (without.status_code, wrong.status_code) == (401, 401)
        assert without.headers["www-authenticate"] == 'Bearer realm="generations-proxy"'
        assert wrong.headers["www-authenticate"] == 'Bearer realm="generations-proxy", error="invalid_token"'
        assert "gp_wrong" not in wrong.text
        assert it.hub_requests == 0


async def test_a_stranger_is_refused_before_the_question_is_read() -> None:
    """A stranger does not even learn whether the question is one."""
    async with rig(auth=CALLERS) as it:
        assert (await it.get("page=0")).status_code == 401
        assert (await it.get("page=0&namespace=ox", **bearer(OX))).status_code == 400


async def test_anonymous_beside_callers_only_if_that_is_said() -> None:
    async with rig(auth=msgspec.structs.replace(CALLERS, allow_anonymous=True)) as it:
        assert (await it.get()).status_code == 200
        assert (await it.get("namespace=ox", **bearer(OX))).status_code == 200
        assert (await it.get("namespace=ox", **bearer("gp_wrong"))).status_code == 401, "wrong is not none"


async def test_without_callers_nobody_has_to_say_who_they_are() -> None:
    async with rig() as it:
        assert (await it.get(**bearer("whatever"))).status_code == 200


async def test_health_and_schema_are_for_everybody() -> None:
    async with rig(auth=CALLERS) as it:
        for path in ("/health/live", "/health/ready", "/schema/openapi.json"):
            assert (await it.caller.get(path)).status_code == 200


async def test_a_callers_credentials_never_reach_the_hub() -> None:
    async with rig(auth=CALLERS) as it:
        await it.get("namespace=ox", **bearer(OX))
        (request,) = it.hub.journal.requests
        assert request.authorized
        assert OX not in str(request)


# Settings.

DIGEST = digest("x")


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("x", "not JSON"),
        ("{}", "callers is not a list"),
        ('[{"keys": []}]', "callers[0] lacks name"),
        ('[{"name": "a", "keys": ["gp_secret_itself"]}]', "callers[0].keys[0] is not"),
        ('[{"name": "a b", "keys": []}]', "callers[0].name is not"),
        ('[{"name": "a", "keys": [], "role": "x"}]', "an unknown field"),
        ('[{"name": "a", "keys": [], "namespaces": [""]}]', "callers[0].namespaces[0] is not"),
        ('[{"name": "a", "keys": []}, {"name": "a", "keys": []}]', "the name a is there twice"),
        (f'[{{"name": "a", "keys": ["{DIGEST}", "{DIGEST}"]}}]', f"the key {DIGEST} is there twice"),
    ],
)
def test_callers_that_are_not_well_formed_are_refused_by_name(value: str, fault: str) -> None:
    with pytest.raises(sources.SettingsError) as caught:
        sources.load({"PROXY_AUTH_CALLERS": value})
    (said,) = caught.value.faults
    assert said.startswith("PROXY_AUTH_CALLERS: ")
    assert fault in said
    assert "gp_secret_itself" not in said


def test_with_callers_the_proxy_may_listen_anywhere() -> None:
    given = {"PROXY_HOST": "0.0.0.0", "PROXY_AUTH_CALLERS": f'[{{"name": "a", "keys": ["{DIGEST}"]}}]'}
    sources.load(given, None, require_safe_address)


def test_the_grant_of_all_is_a_star() -> None:
    assert callers.EVERY == "*"


# Tokens. (All that a token may be: test_tokens.)


def token(**claims: Any) -> str:
    given = {"iss": "https://login.test", "aud": "proxy", "sub": "ann", "namespaces": ["ox"], "exp": NOW + 60, **claims}
    return jwt.encode(given, "s" * 32, "HS256")


JWT = JwtSettings(algorithm="HS256", key=Secret("s" * 32), issuer="https://login.test", audience="proxy")


async def test_a_signed_token_names_its_caller_and_namespaces() -> None:
    async with rig(auth=CALLERS, jwt=JWT) as it:
        for _ in range(2):
            assert (await it.get("namespace=ox", **bearer(token()))).status_code == 200
            assert it.events[-1].info.caller == "jwt:ann"
        assert (await it.get("namespace=bessie", **bearer(token()))).status_code == 403
        assert (await it.get("namespace=ox", **bearer(OX))).status_code == 200, "keys go on beside tokens"
        it.clock.advance(100)
        assert (await it.get("namespace=ox", **bearer(token()))).status_code == 401, "it has expired"


async def test_a_forged_token_is_refused() -> None:
    async with rig(jwt=JWT) as it:
        forged = jwt.encode({"sub": "ann"}, "x" * 32, "HS256")
        refused = await it.get("namespace=ox", **bearer(forged))
        assert refused.status_code == 401
        assert forged.split(".")[1] not in refused.text
        assert (await it.get("namespace=ox", **{"x-api-key": token()})).status_code == 401, "a token is no key"
        assert (await it.get()).status_code == 401, "with tokens alone, too, everybody has to say who they are"
