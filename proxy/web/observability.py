"""What is made of all that happens, put together: metrics, and spans if there is tracing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from litestar.handlers import HTTPRouteHandler

from proxy.core import Core
from proxy.hub.client import HubCall
from proxy.redis.status import SharedStatus
from proxy.settings import Settings
from proxy.siblings import Siblings
from proxy.web.credentials import CurrentKey
from proxy.web.edge import Tracer
from proxy.web.health import Readiness
from proxy.web.status import Status, status_handlers
from proxy.web.telemetry.event import Sink
from proxy.web.telemetry.metrics import Metrics, metrics_handler

if TYPE_CHECKING:
    from proxy.web.telemetry.spans import Spans


class Observability:
    """Tells all sinks of requests and of the hub's answers, and shows what they know.

    Args:
        others: further sinks.
        siblings: this worker's way to the others behind the same port.
        operators: their key.

    Attributes:
        sinks: what is to be told of each request.
        tracer: what says where a request belongs, with tracing on.
        handlers: of what is shown.
    """

    def __init__(
        self,
        settings: Settings,
        core: Core,
        readiness: Readiness,
        others: Sequence[Sink],
        siblings: Siblings | None,
        operators: CurrentKey | None,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._siblings = siblings
        self._spans = _spans(settings)
        metrics = Metrics(core, readiness, siblings)
        shared = None if core.link is None else SharedStatus(core.link)
        self._status = Status(core, readiness, shared, siblings, clock=clock)
        self.sinks: list[Sink] = [*others, metrics.requests.note]
        self.tracer: Tracer | None = None
        shown = status_handlers(self._status, settings.status, operators)
        self.handlers: list[HTTPRouteHandler] = [metrics_handler(metrics), *shown]
        of_the_hub: list[Callable[[HubCall], None]] = [metrics.requests.note_hub]
        self._tells = bool(shown)
        if self._tells:
            self.sinks.append(self._status.samples.note)
            of_the_hub.append(self._status.samples.note_hub)
        if self._spans is not None:
            self.sinks.append(self._spans.note)
            self.tracer = self._spans.begin
            of_the_hub.append(self._spans.note_hub)
        for upstream in core.upstreams.values():
            upstream.hub.on_call += of_the_hub

    async def start(self) -> None:
        """Begin to answer the other workers."""
        if self._siblings is not None:
            await self._siblings.start()
        if self._tells:
            self._status.start()

    async def withdraw(self) -> None:
        """Tell the other replicas that this one ends, while there is a way to them."""
        if self._tells:
            await self._status.aclose()

    async def aclose(self, timeout: float) -> None:
        """Send what is left to send, in at most ``timeout`` seconds."""
        if self._siblings is not None:
            await self._siblings.aclose()
        if self._spans is not None:
            await self._spans.aclose(timeout)


def _spans(settings: Settings) -> Spans | None:
    if not settings.tracing.enabled:
        return None
    from proxy.web.telemetry.spans import Spans  # noqa: PLC0415  an optional extra

    return Spans(settings.tracing.ratio)
