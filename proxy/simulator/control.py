"""The simulator's control path, for tests and people in other processes. JSON in and out, no credentials.

Under ``/_simulator/``:

- ``GET requests``: count, the most at once, those under way and a list of what the API was asked; ``DELETE
  requests``: begin anew (event streams are counted apart)
- ``GET streams``: how many event streams are open, by a digest of their token, and how many have been opened;
  ``DELETE streams`` ends them
- ``PUT faults``: a list of faults in place of those set; ``DELETE faults``
- ``PUT budget``: ``{"rate": 20, "burst": 40}``; ``{"rate": null}`` lifts the limit
- ``PUT key``: ``{"api_key": "..."}``, the token that is accepted from now on
- ``POST world``: ``{"do": "enqueue" | "start" | "end" | "delete", "namespace", "id", "status"}``
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Struct

from proxy.simulator.app import Simulator
from proxy.simulator.faults import NONE, Fault
from proxy.simulator.sending import Receive, Refusal, Scope, Send, received, send_answer

PREFIX: Final = "/_simulator/"


class _Budget(Struct):
    rate: float | None
    burst: float = 1.0


class _Key(Struct):
    api_key: str


class _Deed(Struct):
    do: str
    namespace: str = "ox"
    id: str = ""
    status: str = "succeeded"


class Controlled:
    """A simulator together with its control path, as an ASGI application."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or not scope["path"].startswith(PREFIX):
            await self.simulator(scope, receive, send)
            return
        status, answer = 200, {}
        try:
            body = await received(receive)
            answer = self._do(scope["method"], scope["path"].removeprefix(PREFIX), body)
        except msgspec.MsgspecError as error:
            status, answer = 422, {"error": str(error)}
        except Refusal as refusal:
            status, answer = refusal.status, {"error": "no such control"}
        await send_answer(send, status, msgspec.json.encode(answer), NONE)

    def _do(self, method: str, what: str, body: bytes) -> dict[str, Any]:
        simulator = self.simulator
        match method, what:
            case "GET", "requests":
                journal = simulator.journal
                counts = {"count": journal.count, "most_at_once": journal.most_at_once}
                return {**counts, "under_way": journal.under_way, "requests": list(journal.requests)}
            case "DELETE", "requests":
                simulator.journal.clear()
            case "GET", "streams":
                streams = simulator.streams
                return {"open": {token: n for token, n in streams.open.items() if n}, "opened": streams.opened}
            case "DELETE", "streams":
                simulator.streams.cut()
            case "PUT", "faults":
                simulator.faults.set(*msgspec.json.decode(body, type=list[Fault]))
            case "DELETE", "faults":
                simulator.faults.clear()
            case "PUT", "budget":
                budget = msgspec.json.decode(body, type=_Budget)
                simulator.budget.set(budget.rate, budget.burst)
            case "PUT", "key":
                simulator.api_key = msgspec.json.decode(body, type=_Key).api_key
            case "POST", "world":
                return {"id": self._deed(msgspec.json.decode(body, type=_Deed))}
            case _:
                raise Refusal(404)
        return {}

    def _deed(self, deed: _Deed) -> str:
        world = self.simulator.world
        if deed.do == "enqueue":
            if deed.namespace not in world.namespaces:
                raise Refusal(404)
            return world.enqueue(deed.namespace).id
        row = self.simulator.find(deed.id)
        match deed.do:
            case "start":
                world.start(row)
            case "end":
                world.end(row, deed.status)
            case "delete":
                world.delete(row)
            case _:
                raise Refusal(404)
        return row.id
