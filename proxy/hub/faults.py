"""What a failure of the hub is called: a status that cannot be passed on, or a connection that broke."""

from __future__ import annotations

import errno
from typing import Final

import httpx

from proxy import errors
from proxy.causes import reason
from proxy.hub import retry_after
from proxy.hub.connection import Overdue, StaleConnection
from proxy.hub.dates import date
from proxy.settings import HubSettings


class KeptAliveBroke(errors.HubUnreachable):
    """A connection that was kept alive had ended before this request came: says nothing of how the hub fares."""


class NothingLeft(errors.HubUnreachable):
    """This process, or its machine, has nothing left to make a connection with: says nothing of how the hub fares."""


class OutOfTime(errors.HubTimeout):
    """Most of the question's time had gone by before the hub was asked: says nothing of how the hub fares.

    Nor of what others can have who ask the same, and have more of it.
    """


_OWN: Final = {errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM}
"""What the system says where files, ports or memory are used up."""


def status_error(status: int, headers: httpx.Headers, now: float) -> errors.HubError:
    """Name an answer that is neither a page nor the hub's own word on the question. ``now``: Unix seconds."""
    lines = headers.get_list("retry-after")
    wait = retry_after.parse(lines, date(headers.get("date", "")) or now)  # whichever clock the hub has
    if status in (401, 403):  # after a 403, its answers to other questions may be pages
        meaning = "an operator has to renew the token" if status == 401 else "its token may not see this"
        return errors.HubRefusedCredential(f"The hub answered {status}: {meaning}.", hub_status=status)
    if status == 429:
        return errors.HubRateLimited(
            "The hub answered 429.",
            hub_status=status,
            retry_after=wait,
        )
    if status == 503 and lines:  # also where nobody can read when it is to be asked again
        return errors.HubUnavailable("The hub answered 503.", hub_status=status, retry_after=wait)
    if status < 300:
        return errors.HubAnswerUnexpected(f"The hub answered {status}, expected 200.", hub_status=status)
    if status < 400:
        return errors.HubRedirected(f"The hub answered {status}; redirects are not followed.", hub_status=status)
    cls = errors.HubRejectedRequest if status < 500 else errors.HubFailed
    return cls(f"The hub answered {status}.", hub_status=status)


def connection_error(error: httpx.HTTPError, settings: HubSettings, *, began: bool) -> errors.HubError:
    """Name a failure of the connection. ``began``: the status line had already come."""
    failure = _connection_error(error, settings, began=began)
    failure.cause = reason(error)
    return failure


def _connection_error(error: httpx.HTTPError, settings: HubSettings, *, began: bool) -> errors.HubError:
    match error:
        case _ if _is_own(error):
            return NothingLeft(
                "No connection to the hub could be made: the proxy's machine is out of files, ports or memory for it.",
                retry_after=retry_after.jittered(),
            )
        case httpx.PoolTimeout():
            return errors.HubBusy(
                f"{settings.concurrency} requests to the hub are under way and none ended"
                f" within {settings.read_timeout:g} s.",
                retry_after=retry_after.jittered(),
            )
        case httpx.TimeoutException():
            return errors.HubTimeout(_lateness(error, settings))
        case _ if began:
            return errors.HubAnswerCutOff("The connection broke within the hub's answer.", hub_status=200)
        case httpx.ConnectError():
            unreachable = errors.HubUnreachable("No connection to the hub could be made.")
            unreachable.repeatable = True
            return unreachable
        case _:
            kept_alive = isinstance(error, StaleConnection)
            cls = KeptAliveBroke if kept_alive else errors.HubUnreachable
            unreachable = cls("The connection to the hub broke before an answer began.")
            unreachable.repeatable = kept_alive
            return unreachable


def _lateness(error: httpx.TimeoutException, settings: HubSettings) -> str:
    match error:
        case Overdue():
            return "No whole answer in time."
        case httpx.ConnectTimeout():
            return f"No connection to the hub within {settings.connect_timeout:g} s."
        case _:
            return f"The hub was silent for {settings.read_timeout:g} s."


def _is_own(error: BaseException | None) -> bool:
    """Whether it came of nothing else. Of a name's several addresses, one may be of a kind that this machine lacks."""
    match error:
        case None:
            return False
        case BaseExceptionGroup():
            return all(map(_is_own, error.exceptions))
        case OSError() if error.errno in _OWN:
            return True
        case _:
            return _is_own(error.__cause__ or error.__context__)
