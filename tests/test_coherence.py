"""One truth, whatever happens: see the machine in ``coherence``. (Slow: .ci/run.)"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.coherence import Coherence, Noted, NotedKnowledge, NotedShield
from tests.support import RedisServer

pytestmark = pytest.mark.slow


def test_no_caller_is_shown_an_older_truth_whatever_happens(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.core.News", Noted)
    monkeypatch.setattr("proxy.core.Shield", NotedShield)
    monkeypatch.setattr("proxy.core.Knowledge", NotedKnowledge)
    monkeypatch.setattr("proxy.redis.news.HEARTBEAT", 0.005)  # so that waiting for news costs little
    monkeypatch.setattr("proxy.redis.news.FIRST_WAIT", 0.02)
    Coherence.redis_url = own_redis.url
    run_state_machine_as_test(
        Coherence,
        settings=settings(
            max_examples=80,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
