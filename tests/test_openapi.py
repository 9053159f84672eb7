"""The OpenAPI document against the hub's contract."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy import errors
from proxy.contract import GenerationsListResponse
from proxy.web import openapi
from tests import hub_contract
from tests.support import LIST, ROOT, rig

DOCUMENT: dict[str, Any] = json.loads(openapi.document())
LIST_OPERATION = DOCUMENT["paths"][LIST]["get"]


def structure(schema: Any) -> Any:
    """A schema without its texts and with its lists in order."""
    if isinstance(schema, dict):
        return {name: structure(value) for name, value in schema.items() if name not in ("description", "title")}
    if isinstance(schema, list):
        return sorted(map(structure, schema), key=repr)
    return schema


async def test_it_is_served() -> None:
    async with rig() as it:
        response = await it.caller.get(openapi.PATH)
        assert response.status_code == 200
        assert response.headers["content-type"] == "application/json"
        assert response.json() == DOCUMENT
        assert it.hub_requests == 0


def test_the_answer_has_the_hubs_structure() -> None:
    assert structure(openapi.schema_of(GenerationsListResponse)) == structure(hub_contract.LIST_RESPONSE)
    assert structure(DOCUMENT["components"]["schemas"]["GenerationsListResponse"]) == structure(
        hub_contract.LIST_RESPONSE
    )


def test_the_parameters_are_the_hubs() -> None:
    found = {p["name"]: p["schema"] for p in LIST_OPERATION["parameters"]}
    assert found == hub_contract.PARAMETERS
    assert all(p["in"] == "query" and p["required"] is False for p in LIST_OPERATION["parameters"])


def test_operation_id_and_component_name_are_the_hubs() -> None:
    assert LIST_OPERATION["operationId"] == hub_contract.OPERATION_ID
    reference = LIST_OPERATION["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
    assert reference == "#/components/schemas/GenerationsListResponse"


def test_rows_allow_further_members() -> None:
    row = DOCUMENT["components"]["schemas"]["GenerationsListResponse"]["properties"]["generations"]["items"]
    assert "additionalProperties" not in row


def test_errors_are_documented() -> None:
    assert {"400", "404", "405", "502", "503", "504"} <= set(LIST_OPERATION["responses"])
    for status in ("400", "404", "405", "502", "503", "504"):
        reference = LIST_OPERATION["responses"][status]["content"]["application/json"]["schema"]["$ref"]
        assert reference == "#/components/schemas/ErrorResponse"
    kinds: list[type[errors.ProxyError]] = [errors.InvalidParameter, *errors.HubError.__subclasses__()]
    used = {kind.status for kind in kinds}
    assert {str(status) for status in used} <= set(LIST_OPERATION["responses"])


def test_against_the_hubs_own_document_where_it_is_at_hand() -> None:
    path = ROOT.parent / "shared" / "hub_openapi.json"
    if not path.exists():
        pytest.skip("the hub's own document is not part of the repository")
    theirs = json.loads(path.read_text())
    mine = DOCUMENT["components"]["schemas"]["GenerationsListResponse"]
    assert structure(mine) == structure(theirs["components"]["schemas"]["GenerationsListResponse"])
    assert structure(LIST_OPERATION["parameters"]) == structure(theirs["paths"][LIST]["get"]["parameters"])
    assert structure(hub_contract.LIST_RESPONSE) == structure(
        theirs["components"]["schemas"]["GenerationsListResponse"]
    )
