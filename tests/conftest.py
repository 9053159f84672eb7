"""Fixtures."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import RedisServer, started_redis


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A real Redis server for tests that leave it running."""
    yield from started_redis()


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A real Redis server for one test, which may do to it what it likes."""
    yield from started_redis()
