"""Callers that the settings know, their keys, and how they send them."""

from __future__ import annotations

from proxy.callers.caller import Caller, digest
from proxy.callers.tokens import Tokens
from proxy.settings import AuthSettings, CallerSettings

OX, BESSIE, ALL = "gp_ox", "gp_bessie", "gp_all"


def known(*given: CallerSettings) -> AuthSettings:
    return AuthSettings(callers=given)


CALLERS = known(
    CallerSettings(name="ox", keys=(digest(OX), digest("gp_ox_old")), namespaces=("ox",)),
    CallerSettings(name="bessie", keys=(digest(BESSIE),), namespaces=("bessie",)),
    CallerSettings(name="all", keys=(digest(ALL),), namespaces=("*",), unnamed=True),
)


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def caller_known(it: Tokens, token: str) -> Caller | None:
    """Whose token it is, if that is known without waiting."""
    found = it.verified(token)
    return None if found is None else found.caller
