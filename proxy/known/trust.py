"""Whether this process' memory may be trusted, as other processes learn of the same listings.

*In sync*: there is no Redis, so there are no others, or their news is flowing; memory is as good as Redis.
*Interrupted*: news does not come but Redis answers; each question is looked up there first. *Partitioned*: Redis cannot
be had; only what this process itself learned since counts, and for no longer than ``live_ttl``.
"""

from __future__ import annotations

from collections.abc import Callable

from proxy.redis.news import News


class Trust:
    """Follows how Redis and its news fare.

    Args:
        has_peers: there is a Redis, and so there may be others.
        backing_off: whether it is known that Redis cannot be asked just now.
        suspect_all: called when nothing counts that is in memory, but what is learned from now on.
        on_reconnect: called when Redis or its news is back: it is not known what others learned, nor do they know what
            was learned here.

    Attributes:
        changes: how often ``partitioned`` may have changed.
    """

    def __init__(
        self,
        news: News | None,
        *,
        has_peers: bool,
        backing_off: Callable[[], bool],
        suspect_all: Callable[[], object],
        on_reconnect: Callable[[], object],
    ) -> None:
        self._news = news
        self.has_peers = has_peers
        self._backing_off = backing_off
        self._suspect_all = suspect_all
        self._on_reconnect = on_reconnect
        self._unreadable = False
        self._unwritable = False
        self._alone = False
        self.changes = 0

    @property
    def in_sync(self) -> bool:
        """Whether memory is as good as Redis: there are no others, or news goes both ways."""
        return self.news_flowing and not self._unwritable

    @property
    def memory_suffices(self) -> bool:
        """Whether a lookup in Redis would tell nothing that memory does not know already.

        That is so if there are no others, or what they tell comes here; or if it is known that Redis cannot be asked,
        and all was doubted for that.
        """
        return self.news_flowing or (self._unreadable and self._backing_off())

    @property
    def news_flowing(self) -> bool:
        """Whether there are no others, or what they tell comes here."""
        return not self.has_peers or (self._news is not None and self._news.flowing)

    @property
    def partitioned(self) -> bool:
        """Whether there are others from whom nothing comes, or to whom nothing can be told."""
        return self._unwritable or self._unreadable

    def note_read(self, *, answered: bool) -> None:
        """Redis was read, or could not be."""
        if answered:
            self._alone = False
            if self._unreadable:
                self.gap()
        elif not self.in_sync:
            self.changes += not self._unreadable
            self._unreadable = True
            self._stand_alone()

    def note_write(self, *, answered: bool) -> None:
        """Redis was written to; if it did not take it (down, full or read-only), others do not hear of it.

        That this goes on is nothing new, also where it can be read meanwhile: all was doubted when it began.
        """
        began, ended = not answered and not self._unwritable, answered and self._unwritable
        self._alone = self._alone and not answered
        self._unwritable = not answered
        self.changes += began or ended
        if began:
            self._stand_alone()
        if ended:
            self.gap()

    def gap(self) -> None:
        """Something may have been missed."""
        self._unreadable = False
        self.changes += 1
        self._on_reconnect()

    def _stand_alone(self) -> None:
        """Redis cannot be had: of what is in memory, only what this process learns from now on counts."""
        if self.has_peers and not self._alone:
            self._alone = True
            self._suspect_all()
