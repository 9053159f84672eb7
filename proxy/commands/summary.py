"""What runs, in one line: the first of the log."""

from __future__ import annotations

from proxy import NAME, __version__
from proxy.redis.address import redacted
from proxy.settings import Settings


def summary(settings: Settings, address: str, process: int) -> str:
    """The release, where it listens and what it works with; no secret."""
    redis = "none" if settings.redis.url is None else redacted(settings.redis.url)
    callers = [f"{len(settings.auth.callers)} with keys"] if settings.auth.callers else []
    if settings.jwt.algorithm is not None:
        callers.append(f"JWT ({settings.jwt.algorithm})")
    return (
        f"{NAME} {__version__} on {address}, {settings.server.workers} worker(s), process {process}:"
        f" hub {settings.hub.url}, Redis {redis}, callers {', '.join(callers) or 'anybody'}"
    )
