"""Whether memory may be trusted, and what is said of that."""

from __future__ import annotations

from typing import cast

from proxy.known.trust import Trust
from proxy.redis.news import News


class Flowing:
    flowing = True


def trust(news: object) -> Trust:
    return Trust(
        cast("News", news),
        has_peers=True,
        backing_off=lambda: False,
        suspect_all=lambda: None,
        on_reconnect=lambda: None,
    )


def test_a_replica_that_could_write_nothing_and_is_asked_nothing_gets_news_all_the_same() -> None:
    """Nobody is to look for a fault of the news after one of Redis has gone."""
    one = trust(Flowing())
    one.note_write(answered=False)
    assert (one.news_flowing, one.in_sync) == (True, False)
    one.note_write(answered=True)
    assert (one.news_flowing, one.in_sync) == (True, True)
