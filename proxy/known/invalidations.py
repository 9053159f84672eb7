"""What may no longer be shown, in any replica: what is purged, and what the hub has refused to show since."""

from __future__ import annotations

from collections.abc import Callable

from proxy.known.agreed_watermarks import AgreedWatermarks
from proxy.questions.question import Question
from proxy.questions.watermarks import Extent
from proxy.redis.link import RedisLink
from proxy.redis.shared_watermarks import SharedWatermarks
from proxy.redis_keys import Kind
from proxy.tasks.detached import drain_all


class Invalidations:
    """Both, agreed with all replicas.

    Args:
        keep: seconds after which nothing is kept that there is now.
        clock: Unix seconds.

    Attributes:
        purged: by operators; not served.
        withdrawn: the right to see it may have been: it stands in for no answer of the hub, and for no moment's page.
    """

    def __init__(self, link: RedisLink | None, *, keep: float, clock: Callable[[], float]) -> None:
        def agreed(kind: Kind) -> AgreedWatermarks:
            return AgreedWatermarks(None if link is None else SharedWatermarks(link, kind), keep=keep, clock=clock)

        self.purged, self.withdrawn = agreed("purged"), agreed("withdrawn")

    @property
    def changes(self) -> int:
        """How often there was another."""
        return self.purged.changes + self.withdrawn.changes

    def since(self, question: Question) -> float:
        """The time before which answers to the question serve for nothing; 0 if there is none."""
        return max(self.purged.since(question), self.withdrawn.since(question))

    def note_refusal(self, question: Question, status: int | None, at: float) -> None:
        """The hub, asked at ``at`` (Unix seconds) or later, has refused to show this.

        A 401 is about the token and all that it shows, a 403 about the listing.
        """
        token = Extent("credential", question.credential_id)
        self.withdrawn.note(token if status == 401 else Extent("listing", question.filters), at)

    async def read(self) -> bool:
        """Take in what all replicas have agreed on; return whether it could be had."""
        return await self.purged.read() and await self.withdrawn.read()

    def on_reconnect(self) -> None:
        """Redis is back: it is told again what it has lost of both."""
        self.purged.on_reconnect()
        self.withdrawn.on_reconnect()

    async def drain(self, timeout: float) -> int:
        """Wait at most ``timeout`` seconds until others have been told; return what goes on."""
        return await drain_all(timeout, self.purged, self.withdrawn)
