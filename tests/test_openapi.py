"""The OpenAPI document against the hub's contract."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy import errors
from proxy.questions.question import LIST_PATH
from proxy.web import openapi
from tests import hub_contract
from tests.support import ROOT, rig

DOCUMENT: dict[str, Any] = json.loads(openapi.document())
OPERATIONS = {path: DOCUMENT["paths"][path]["get"] for path in hub_contract.OPERATIONS}


def structure(schema: Any) -> Any:
    """A schema without its texts and with its lists in order."""
    if isinstance(schema, dict):
        return {name: structure(value) for name, value in schema.items() if name not in ("description", "title")}
    if isinstance(schema, list):
        return sorted(map(structure, schema), key=repr)
    return schema


async def test_the_document_is_served() -> None:
    async with rig() as it:
        response = await it.caller.get(openapi.PATH)
        assert response.status_code == 200
        assert response.headers["content-type"] == "application/json"
        assert response.json() == DOCUMENT
        assert it.hub_requests == 0


@pytest.mark.parametrize("name", hub_contract.RESPONSES)
def test_the_answers_have_the_hubs_structure(name: str) -> None:
    assert structure(DOCUMENT["components"]["schemas"][name]) == structure(hub_contract.RESPONSES[name])


@pytest.mark.parametrize("path", OPERATIONS)
def test_the_operations_are_the_hubs(path: str) -> None:
    operation, answer, parameters = hub_contract.OPERATIONS[path]
    mine = OPERATIONS[path]
    assert mine["operationId"] == f"OxenApiWeb.Controllers.{operation}"
    assert mine["responses"]["200"]["content"]["application/json"]["schema"] == {
        "$ref": f"#/components/schemas/{answer}"
    }
    in_query = [one for one in mine["parameters"] if one["in"] == "query"]
    assert {one["name"]: one["schema"] for one in in_query} == {
        name: hub_contract.PARAMETERS[name] for name in parameters
    }
    assert not any(one["required"] for one in in_query)
    in_path = [one for one in mine["parameters"] if one["in"] == "path"]
    assert [one["name"] for one in in_path if one["required"]] == (["generation_id"] if "{" in path else [])


def test_a_listings_moment_can_be_sent() -> None:
    """Beside the operation's parameters, which are the hub's."""
    (moment,) = DOCUMENT["paths"][LIST_PATH]["parameters"]
    assert (moment["in"], moment["name"], moment["required"]) == ("header", "Listing-Moment", False)
    assert "Listing-Moment" in OPERATIONS[LIST_PATH]["responses"]["200"]["headers"]
    assert [path for path, item in DOCUMENT["paths"].items() if set(item) != {"get"}] == [LIST_PATH]


def test_the_stream_is_described() -> None:
    stream = DOCUMENT["paths"]["/api/events"]["get"]
    assert list(stream["responses"]["200"]["content"]) == ["text/event-stream"]
    assert set(stream["responses"]) == {"200", "400", "401", "404", "405", "429", "503"}
    assert [(one["in"], one["name"]) for one in stream["parameters"]] == [("header", "Last-Event-ID")]


def test_rows_allow_further_members() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    assert "additionalProperties" not in str([schemas[name] for name in hub_contract.RESPONSES])


@pytest.mark.parametrize("path", OPERATIONS)
def test_errors_are_documented(path: str) -> None:
    responses = OPERATIONS[path]["responses"]
    told = {"400", "401", "403", "404", "405", "429", "500", "502", "503", "504"}
    assert told <= set(responses)
    for status in told:
        reference = responses[status]["content"]["application/json"]["schema"]["$ref"]
        assert reference == "#/components/schemas/ErrorResponse"
    kinds: list[type[errors.ProxyError]] = [errors.InvalidParameter, *errors.HubError.__subclasses__()]
    assert {str(kind.status) for kind in kinds} <= set(responses)


def test_against_the_hubs_own_document_where_it_is_at_hand() -> None:
    path = ROOT.parent / "shared" / "hub_openapi.json"
    if not path.exists():
        pytest.skip("the hub's own document is not part of the repository")
    theirs = json.loads(path.read_text())
    for name, schema in theirs["components"]["schemas"].items():
        assert structure(DOCUMENT["components"]["schemas"][name]) == structure(schema)
        assert structure(hub_contract.RESPONSES[name]) == structure(schema)
    assert set(OPERATIONS) == set(theirs["paths"])
    for path_, methods in theirs["paths"].items():
        mine = OPERATIONS[path_]
        assert mine["operationId"] == methods["get"]["operationId"]
        assert structure(mine["parameters"]) == structure(methods["get"]["parameters"])
        assert structure(mine["responses"]["200"]["content"]) == structure(
            methods["get"]["responses"]["200"]["content"]
        )
