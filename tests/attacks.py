"""Attacks and mistakes, one a row."""

from __future__ import annotations

from typing import NamedTuple

from tests.callers import ALL, CALLERS, OX, bearer
from tests.support import KEY, LIST

OXS = bearer(OX)


class Row(NamedTuple):
    """A request, the status that it should get, and how often the hub is asked for it."""

    what: str
    query: str
    headers: dict[str, str] | list[tuple[str, str]]
    status: int
    hub: int = 0
    path: str = LIST
    method: str = "GET"


ROWS = [
    # Who are you?
    Row("no credentials", "namespace=ox", {}, 401),
    Row("an unknown key", "namespace=ox", bearer("gp_unknown"), 401),
    Row("a key with another's beginning", "namespace=ox", bearer(OX + "x"), 401),
    Row("a key cut short", "namespace=ox", bearer(OX[:-1]), 401),
    Row("a key in other letters", "namespace=ox", bearer(OX.upper()), 401),
    Row("an empty key", "namespace=ox", {"x-api-key": ""}, 401),
    Row("an empty bearer", "namespace=ox", {"authorization": "Bearer "}, 401),
    Row("the scheme alone", "namespace=ox", {"authorization": "Bearer"}, 401),
    Row("the key without a scheme", "namespace=ox", {"authorization": OX}, 401),
    Row("Basic", "namespace=ox", {"authorization": "Basic b3g6eA=="}, 401),
    Row("the digest in place of the key", "namespace=ox", bearer(CALLERS.callers[0].keys[0]), 401),
    Row("the digest without its prefix", "namespace=ox", bearer(CALLERS.callers[0].keys[0][7:]), 401),
    Row("the hub's own token", "namespace=ox", bearer(KEY), 401),
    Row("two Authorization headers", "namespace=ox", [("authorization", f"Bearer {k}") for k in (OX, ALL)], 401),
    Row("the same one twice", "namespace=ox", [("authorization", f"Bearer {OX}")] * 2, 401),
    Row("a good and a bad one", "namespace=ox", [("authorization", f"Bearer {OX}"), ("authorization", "x")], 401),
    Row("both headers", "namespace=ox", {**OXS, "x-api-key": ALL}, 401),
    Row("two keys in one header", "namespace=ox", {"x-api-key": f"{OX}, {ALL}"}, 401),
    Row("two tokens in one bearer", "namespace=ox", bearer(f"{OX} {ALL}"), 401),
    Row("the key in the query", f"namespace=ox&access_token={OX}", {}, 401),
    Row("the key in the query beside a good one", f"namespace=ox&access_token={OX}", OXS, 400),
    Row("the key in a cookie", "namespace=ox", {"cookie": f"authorization=Bearer {OX}"}, 401),
    Row("the key as the user of the URL", "namespace=ox", {"authorization": "Basic Z3Bfb3g6"}, 401),
    Row("a very long key", "namespace=ox", bearer("x" * 20_000), 401),
    Row("a proxy's header", "namespace=ox", {"proxy-authorization": f"Bearer {OX}"}, 401),
    Row("an identity claimed in a header", "namespace=ox", {"x-forwarded-user": "ox", "x-caller": "ox"}, 401),
    Row("loopback claimed in a header", "namespace=ox", {"x-forwarded-for": "127.0.0.1"}, 401),
    Row("an unsigned JWT", "namespace=ox", bearer("eyJhbGciOiJub25lIn0.eyJzdWIiOiJveCJ9."), 401),
    # May you see that?
    Row("one's own", "namespace=ox", OXS, 200, 1),
    Row("another's", "namespace=bessie", OXS, 403),
    Row("nobody's", "namespace=nobody", OXS, 403),
    Row("left out", "", OXS, 403),
    Row("in capitals", "namespace=OX", OXS, 403),
    Row("with a look-alike", "namespace=%D0%BEx", OXS, 403),
    Row("full-width", "namespace=%EF%BD%8F%EF%BD%98", OXS, 403),
    Row("with a combining mark", "namespace=ox%CC%81", OXS, 403),
    Row("with a zero-width space", "namespace=ox%E2%80%8B", OXS, 403),
    Row("with a trailing dot", "namespace=ox.", OXS, 403),
    Row("with a trailing slash", "namespace=ox%2F", OXS, 403),
    Row("with a way up", "namespace=bessie%2F..%2Fox", OXS, 403),
    Row("with a space", "namespace=ox%20", OXS, 403),
    Row("with a plus", "namespace=ox+", OXS, 403),
    Row("with a NUL", "namespace=ox%00", OXS, 400),
    Row("with a line's end", "namespace=ox%0d%0aX-Evil:%201", OXS, 400),
    Row("the star itself", "namespace=*", OXS, 403),
    Row("a pattern", "namespace=o%3F", OXS, 403),
    Row("empty", "namespace=", OXS, 400),
    Row("twice, both mine", "namespace=ox&namespace=ox", OXS, 400),
    Row("twice, one another's", "namespace=ox&namespace=bessie", OXS, 400),
    Row("as an array", "namespace[]=bessie&namespace=ox", OXS, 400),
    Row("with an escaped name", "name%73pace=bessie", OXS, 403),
    Row("in other letters, beside mine", "Namespace=bessie&namespace=ox", OXS, 400),
    Row("smuggled in an escaped ampersand", "namespace=ox%26namespace%3Dbessie", OXS, 403),
    Row("escaped twice", "namespace=%256fx", OXS, 403),
    Row("escaped once, which is the same", "namespace=%6fx", OXS, 200, 1),
    Row("smuggled in another parameter", "namespace=ox&model=a%26namespace%3Dbessie", OXS, 200, 1),
    Row("with a semicolon", "namespace=ox;namespace=bessie", OXS, 403),
    Row("in a fragment", "namespace=ox%23&x=1", OXS, 400),
    Row("in an override of the URL", "namespace=ox", {**OXS, "x-original-url": f"{LIST}?namespace=bessie"}, 200, 1),
    Row("only what is kept, of another's", "namespace=bessie", {**OXS, "cache-control": "only-if-cached"}, 403),
    Row("a tag of another's page", "namespace=bessie", {**OXS, "if-none-match": "*"}, 403),
    Row("everything, granted", "namespace=bessie", bearer(ALL), 200, 1),
    Row("left out, granted", "", bearer(ALL), 200, 1),
    # Shapes.
    Row("another method", "namespace=ox", OXS, 405, method="POST"),
    Row("an override of the method", "namespace=ox", {**OXS, "x-http-method-override": "DELETE"}, 200, 1),
    Row("two slashes", "namespace=ox", OXS, 404, path=f"/{LIST}"),
    Row("an escaped way up", "namespace=ox", OXS, 404, path="/health/..%2fapi/ai/generations"),
    Row("a path in capitals", "namespace=ox", OXS, 404, path="/API/AI/generations"),
    Row("something behind the path", "namespace=ox", OXS, 404, path=f"{LIST}.json"),
    Row("an unknown host", "namespace=ox", {**OXS, "host": "evil.example"}, 200, 1),
    Row("a host with a path", "namespace=ox", {**OXS, "x-forwarded-host": "evil.example/x"}, 200, 1),
    Row("a range", "namespace=ox", {**OXS, "range": "bytes=0-0"}, 200, 1),
    Row("an upgrade", "namespace=ox", {**OXS, "connection": "upgrade", "upgrade": "h2c"}, 200, 1),
    Row("a query of 20 KB", "namespace=" + "a" * 20_000, OXS, 400),
    Row("a URL of 40 KB", "namespace=" + "a" * 40_000, OXS, 414),
    Row("headers of 40 KB", "namespace=ox", {**OXS, **{f"x-{n}": "y" * 1000 for n in range(40)}}, 431),
]
