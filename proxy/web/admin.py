"""The operator's endpoint: ``POST /admin/purge``, with a key of its own, and only if one is set."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Response
from litestar.enums import HttpMethod
from litestar.exceptions import MethodNotAllowedException
from litestar.handlers import HTTPRouteHandler
from msgspec import Meta, Struct

from proxy.errors import BadPurge
from proxy.known.agreed_watermarks import AgreedWatermarks
from proxy.questions import query
from proxy.questions.watermarks import Extent
from proxy.web.credentials import CurrentKey, require_key
from proxy.web.handlers import respond

PURGE_PATH: Final = "/admin/purge"
_EXPECTED: Final = (
    'Send JSON with exactly one of page, listing, namespace and everything, for example {"namespace": "ox"}'
)


class PurgeRequest(Struct, forbid_unknown_fields=True):
    """What to purge; exactly one of these. ``page`` and ``listing`` are query strings of the list endpoint.

    They may be empty: so is the query of the listing that nothing selects from.
    """

    page: str | None = None
    listing: str | None = None
    namespace: Annotated[str, Meta(min_length=1)] | None = None
    everything: bool = False


def admin_handlers(
    purged: AgreedWatermarks, key: CurrentKey | None, *, redis: bool, alone: bool
) -> list[HTTPRouteHandler]:
    """Handlers for operators; none without a key, so that the path is as unknown as any other.

    ``redis``: there is one. ``alone``: there is no other process, so that here is everywhere.
    """
    if key is None:
        return []

    @HTTPRouteHandler(PURGE_PATH, http_method=[HttpMethod.POST, HttpMethod.OPTIONS], status_code=200)
    async def purge(request: Request[Any, Any, Any]) -> Response[bytes]:
        if request.method == HttpMethod.OPTIONS:
            raise MethodNotAllowedException(headers={"allow": "POST"})
        require_key(request.headers, [key], "Send the operator's key (PROXY_ADMIN_KEY) as Authorization: Bearer.")
        wanted = read_purge(await request.body())
        agreed = await purged.agree(wanted)
        state = "up" if agreed else "away" if redis else "off"
        done = {wanted.scope: wanted.scope == "everything" or wanted.what}
        body = msgspec.json.encode({"purged": done, "everywhere": agreed or alone, "redis": state})
        return respond(request, 200, {"cache-control": "no-store"}, body)

    return [purge]


def read_purge(body: bytes) -> Extent:
    """Read a request's body.

    Raises:
        BadPurge: saying what is wrong.
        InvalidParameter: the query string in it is none.
    """
    try:
        wanted = msgspec.json.decode(body, type=PurgeRequest)
    except msgspec.ValidationError as error:  # of JSON: says what does not fit, and where
        raise BadPurge(f"{_EXPECTED} ({error}).") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise BadPurge(f"{_EXPECTED}.") from None
    given = [value for value in msgspec.structs.astuple(wanted) if value not in (None, False)]
    if len(given) != 1:
        raise BadPurge(f"{_EXPECTED}.")
    if wanted.page is not None:
        return Extent("page", query.parse(wanted.page.encode()).canonical)
    if wanted.listing is not None:
        return Extent("listing", query.parse(wanted.listing.encode()).listing)
    return Extent("namespace", wanted.namespace) if wanted.namespace else Extent("everything")
