"""How the hub fares, and what the log is told of that."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from proxy.errors import HubBusy, HubError, HubRefusedCredential, HubResting
from proxy.hub.faults import OutOfTime
from proxy.log_throttle import LogThrottle

_log: Final = logging.getLogger("proxy.hub")


class HubState:
    """As far as it is known from what became of questions that were put to it with one credential.

    Args:
        credential: its name.
        clock: seconds.

    Attributes:
        name: ``unknown`` before the first request, then ``ok`` or the last ``error.type``.
    """

    def __init__(self, credential: str, *, clock: Callable[[], float]) -> None:
        self.name = "unknown"
        self._credential = credential
        self._clock = clock
        self._throttle = LogThrottle(clock)
        self._since = 0.0
        self._logged: set[str] = set()

    def answered(self) -> None:
        """The hub has answered a question, and be it that there is nothing, or nothing to be seen with this token."""
        if self._logged:  # one that comes and goes is told of as seldom as that it fails
            seconds = self._clock() - self._since
            _log.info("the hub answers credential %s again, after %.0f s", self._credential, seconds)
            self._logged.clear()
        self.name = "ok"

    def failed(self, error: HubError) -> None:
        """A question came to this.

        Each type is worth a line in the log until the hub answers again, and so is that it is left alone.
        """
        if isinstance(error, HubBusy | OutOfTime):  # of the proxy's own
            return
        well = self.name in ("ok", "unknown")
        if well:
            self._since = self._clock()
        if well or not isinstance(error, HubResting):  # why it is left alone says more
            self.name = error.type
        # Of a pause, what it turns away says nothing new; and most of that does not come by here.
        news = set() if isinstance(error, HubResting) else {error.type}
        if error.retry_after is not None:
            news.add("pause")
        if set(filter(self._throttle.due, news - self._logged)):  # each is asked
            self._logged |= news
            self._say(error)

    def _say(self, error: HubError) -> None:
        if isinstance(error, HubRefusedCredential):  # an operator's business
            _log.error("the hub refuses the token of credential %s: renew it", self._credential)
            return
        pause = "" if error.retry_after is None else f"; asked again in {error.retry_after:.3g} s"
        _log.warning(
            "the hub fails, asked with credential %s: %s: %s%s", self._credential, error.type, error.explained(), pause
        )
