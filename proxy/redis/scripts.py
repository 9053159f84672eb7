"""Lua scripts of ``proxy/redis/lua``, sent by their digest, and in full to a server that does not know them yet."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import Any

from hiredis import pack_command
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError

from proxy.redis.client import Client


class Script:
    """A script.

    Args:
        name: of its file, without the suffix.
        after: files that come before it, as Redis knows no modules.
    """

    def __init__(self, name: str, *after: str) -> None:
        folder = files("proxy.redis").joinpath("lua")
        self._text = "".join(folder.joinpath(f"{one}.lua").read_text() for one in (*after, name))
        self._digest = hashlib.sha1(self._text.encode(), usedforsecurity=False).hexdigest()

    async def __call__(self, client: Client, keys: list[str], arguments: list[Any]) -> Any:
        """Run it; all keys are of one slot."""
        try:
            return await _evaluate(client, "EVALSHA", self._digest, len(keys), *keys, *arguments)
        except NoScriptError:
            return await client.eval(self._text, len(keys), *keys, *arguments)


async def _evaluate(client: Client, *command: Any) -> Any:
    """Send a command and return its answer.

    What redis-py itself does around that (durations for OpenTelemetry, a packer in Python, callbacks) takes a sixth of
    a small call's processor time, more of a large one's. Its way with a connection that broke is followed: once more,
    on a new one.
    """
    if not isinstance(client, Redis):  # a cluster has to find the node
        return await client.execute_command(*command)
    pool: Any = client.connection_pool  # redis-py has not typed all of it
    packed = pack_command(command)
    connection = await pool.get_connection()
    try:
        try:
            await connection.send_packed_command(packed)
            return await connection.read_response()
        except RedisConnectionError:
            await connection.disconnect()
            await connection.send_packed_command(packed)
            return await connection.read_response()
    finally:
        await pool.release(connection)
