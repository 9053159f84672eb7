"""Whether this process' memory may be trusted, as other processes learn of the same listings.

*Together*: there is no Redis, so there are no others, or their news is flowing; memory is as good as Redis.
*Looking*: news is interrupted but Redis answers; each question looks there first. *Apart*: Redis cannot be had; only
what this process itself learned since counts, and for no longer than ``live_ttl``.
"""

from __future__ import annotations

from collections.abc import Callable

from proxy.redis.news import News


class Trust:
    """Follows how Redis and its news fare.

    Args:
        others: there is a Redis, and so there may be others.
        resting: whether it is known that Redis cannot be asked just now.
        doubt: called when nothing counts that is in memory, but what is learned from now on.
        reunite: called when Redis or its news is back: it is not known what others learned, nor do they know what was
            learned here.

    Attributes:
        changes: how often ``apart`` may have changed.
    """

    def __init__(
        self,
        news: News | None,
        *,
        others: bool,
        resting: Callable[[], bool],
        doubt: Callable[[], object],
        reunite: Callable[[], object],
    ) -> None:
        self._news = news
        self.others = others
        self._resting = resting
        self._doubt = doubt
        self._reunite = reunite
        self._cut_off = False
        self._mute = False
        self._alone = False
        self.changes = 0

    @property
    def together(self) -> bool:
        """Whether memory is as good as Redis: there are no others, or all that they learn is heard and told."""
        return self.hears and not self._mute

    @property
    def at_hand(self) -> bool:
        """Whether a look into Redis would tell nothing that memory does not know already.

        That is so if there are no others, or what they tell is heard; or if it is known that Redis cannot be asked,
        and all was doubted for that.
        """
        return self.hears or (self._cut_off and self._resting())

    @property
    def hears(self) -> bool:
        """Whether there are no others, or what they tell is heard."""
        return not self.others or (self._news is not None and self._news.flowing)

    @property
    def apart(self) -> bool:
        """Whether there are others of whom nothing is heard, or to whom nothing can be told."""
        return self._mute or self._cut_off

    def looked(self, *, answered: bool) -> None:
        """Redis was asked."""
        if answered:
            self._alone = False
            if self._cut_off:
                self.gap()
        elif not self.together:
            self.changes += not self._cut_off
            self._cut_off = True
            self._stand_alone()

    def told(self, *, answered: bool) -> None:
        """Redis was told something; if it did not take it (down, full or read-only), others do not hear of it.

        That this goes on is nothing new, also where it can be read meanwhile: all was doubted when it began.
        """
        began, ended = not answered and not self._mute, answered and self._mute
        self._alone = self._alone and not answered
        self._mute = not answered
        self.changes += began or ended
        if began:
            self._stand_alone()
        if ended:
            self.gap()

    def gap(self) -> None:
        """Something may have been missed."""
        self._cut_off = False
        self.changes += 1
        self._reunite()

    def _stand_alone(self) -> None:
        """Redis cannot be had: of what is in memory, only what this process learns from now on counts."""
        if self.others and not self._alone:
            self._alone = True
            self._doubt()
