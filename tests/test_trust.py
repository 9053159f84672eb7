"""Whether memory may be trusted, and what is said of that."""

from __future__ import annotations

from typing import cast

from proxy.known.trust import Trust
from proxy.redis.news import News


class Flowing:
    flowing = True


def trust(news: object) -> Trust:
    return Trust(cast("News", news), others=True, resting=lambda: False, doubt=lambda: None, reunite=lambda: None)


def test_a_replica_that_could_tell_nothing_and_is_asked_nothing_hears_all_the_same() -> None:
    """Nobody is to look for a fault of the news after one of Redis has gone."""
    one = trust(Flowing())
    one.told(answered=False)
    assert (one.hears, one.together) == (True, False)
    one.told(answered=True)
    assert (one.hears, one.together) == (True, True)
