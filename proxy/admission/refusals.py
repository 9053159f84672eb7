"""What a gate's refusals are called, and what an error says to the gate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Struct

from proxy import errors
from proxy.admission.gate import Refused, Report
from proxy.errors import HubError, ProxyError
from proxy.hub.faults import KeptAliveBroke, NothingLeft, OutOfTime

CHECK_INTERVAL: Final = 0.1
"""Seconds for which a refusal is taken to hold for all: a pause may end early, by a probe of any replica."""


class Backoff(Struct):
    """A recent refusal of a turn, which holds for all who come; a turn may be had at ``ends``.

    Until ``until`` nobody asks for one; then one caller in ``CHECK_INTERVAL`` seconds, after ``over`` everybody.
    """

    decision: Refused
    error: type[HubError]
    ends: float
    until: float
    over: float
    clock: Callable[[], float]

    def let_one_check(self) -> bool:
        """Whether whoever asks this is to check that it is still so; it holds for the next ones meanwhile."""
        now = self.clock()
        if now < self.until:
            return False
        self.until = min(now + CHECK_INTERVAL, self.over)
        return True

    def refusal(self) -> HubError:
        """The error, with the time that is left."""
        return refusal_error(Refused(self.decision.reason, max(CHECK_INTERVAL, self.ends - self.clock())), ahead=False)


class GaveWay(errors.HubBusy):
    """Nobody waits for the answer, and there is room only for callers who do."""


def refusal_error(decision: Refused, *, ahead: bool) -> HubError:
    """The error for who is refused a turn; ``ahead``: who wanted it for nobody."""
    error = _refusal_error(decision, ahead=ahead)
    error.asked = False
    return error


def _refusal_error(decision: Refused, *, ahead: bool) -> HubError:
    match decision:
        case Refused("rate" | "concurrency", wait):
            return (GaveWay if ahead else errors.HubBusy)(
                "There is no room in time in the hub's budget (hub.rate, hub.burst, hub.concurrency).",
                retry_after=wait,
            )
        case Refused("limited", wait):
            return errors.HubRateLimited("The hub answered 429 and is left alone for now.", retry_after=wait)
        case Refused("unavailable", wait):
            return errors.HubUnavailable("The hub answered 503 and is left alone for now.", retry_after=wait)
        case Refused("refused", wait):
            return errors.HubRefusedCredential(
                "The hub refused the token, and is asked with it again now and then; an operator has to renew it.",
                retry_after=wait,
            )
        case _:
            return errors.HubResting("The hub failed too often and is left alone for now.", retry_after=decision.wait)


def backoff_after(decision: Refused, error: HubError, clock: Callable[[], float], *, patience: float) -> Backoff | None:
    """What a refusal says of the requests to come, of which none waits for longer than ``patience``; None: nothing.

    A refusal for want of rate holds until the next turn is no further away than ``patience``. One for want of a slot
    says nothing of others, as a slot may become free at any time; nor does one of who gave way to callers.
    """
    if decision.reason == "concurrency" or isinstance(error, GaveWay):
        return None
    now = clock()
    until = now + min(decision.wait - (patience if decision.reason == "rate" else 0.0), CHECK_INTERVAL)
    return Backoff(decision, type(error), now + decision.wait, until, until + 2 * CHECK_INTERVAL, clock)


def report_of(error: ProxyError) -> Report:
    """What an error says of the hub. One that answers, whatever it answers, is not failing."""
    match error:
        case errors.HubRateLimited(retry_after=wait):
            return Report("limited", wait)
        case errors.HubUnavailable(retry_after=wait):
            return Report("unavailable", wait)
        case errors.HubRefusedCredential(hub_status=401, repeatable=False):  # a 403 may be for one namespace only
            return Report("refused")
        case KeptAliveBroke() | NothingLeft() | OutOfTime() | errors.HubBusy():
            return Report("abandoned")
        case errors.HubFailed() | errors.HubUnreachable() | errors.HubTimeout() | errors.HubAnswerCutOff():
            return Report("failing")
        case _:
            return Report("answered")
