"""The OpenAPI document says exactly what a generated client may rely on."""

from __future__ import annotations

import re
from typing import Any

import pytest

from api.app import create_app
from api.openapi import correct
from issuebox.settings import ApiSettings
from tests.api.test_rest import OPEN, operations


async def no_client() -> Any:
    raise AssertionError("a document needs no Temporal")


@pytest.fixture
def schema() -> dict[str, Any]:
    return create_app(ApiSettings(), no_client).openapi()


IDS = {
    ("put", "/v1/issues/{issue_id}/sandbox"): "ensureSandbox",
    ("get", "/v1/issues/{issue_id}/sandbox"): "getSandbox",
    ("get", "/v1/issues/{issue_id}/sandbox/why"): "explainSandbox",
    ("delete", "/v1/issues/{issue_id}/sandbox"): "deleteSandbox",
    ("post", "/v1/issues/{issue_id}/stop"): "stopSandbox",
    ("post", "/v1/issues/{issue_id}/replace"): "replaceSandbox",
    ("post", "/v1/issues/{issue_id}/retry"): "retryIssue",
    ("post", "/v1/issues/{issue_id}/runs"): "askForRun",
    ("get", "/v1/issues/{issue_id}/runs"): "listRuns",
    ("get", "/v1/issues/{issue_id}/runs/{run}"): "getRun",
    ("get", "/v1/issues/{issue_id}/runs/{run}/log"): "readRunLog",
    ("post", "/v1/issues/{issue_id}/runs/pause"): "pauseRuns",
    ("post", "/v1/issues/{issue_id}/runs/resume"): "resumeRuns",
    ("post", "/v1/issues/{issue_id}/runs/{run}/cancel"): "cancelRun",
    ("post", "/v1/issues/{issue_id}/runs/cancel"): "cancelRuns",
    ("get", "/v1/repos/{owner}/{repo}/issues/{number}"): "findIssue",
    ("get", "/v1/sandboxes"): "listSandboxes",
    ("get", "/v1/queue"): "getQueue",
    ("post", "/webhooks/github"): "takeDelivery",
    ("get", "/healthz"): "healthz",
    ("get", "/readyz"): "readyz",
}


def test_names_of_the_calls_are_the_known_ones(schema: dict[str, Any]) -> None:
    """They become the names of functions in generated clients: whoever renames one breaks those."""
    assert {(method, path): op["operationId"] for method, path, op in operations(schema)} == IDS
    assert schema["servers"] == [{"url": "/", "description": "Where this document comes from"}]
    assert {tag for _, _, op in operations(schema) for tag in op["tags"]} == {tag["name"] for tag in schema["tags"]}


def test_calls_say_what_they_need(schema: dict[str, Any]) -> None:
    """A token under /v1 and nowhere else; a body only where one is taken, and that of the sandbox may be left out."""
    for _, path, op in operations(schema):
        assert (path, op.get("security")) == (path, None if path in OPEN else [{"token": []}])
        assert ("requestBody" in op) == (op["operationId"] in {"ensureSandbox", "askForRun", "takeDelivery"})
    [body] = [op["requestBody"] for method, _, op in operations(schema) if method == "put"]
    assert body == {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/IssueBody"}}}}


def test_parameters_are_given_or_not_and_never_null(schema: dict[str, Any]) -> None:
    """No client sends the word null, and each order takes a key."""
    keyed = set()
    for method, path, op in operations(schema):
        for part in op.get("parameters", ()):
            assert "null" not in repr(part["schema"]), (path, part)
            if part["name"] == "Idempotency-Key":
                keyed.add(op["operationId"])
        assert (method != "get") or op["operationId"] not in keyed
    assert keyed == {"ensureSandbox", "stopSandbox", "replaceSandbox", "retryIssue", "deleteSandbox", "askForRun"}


def test_answers_have_all_of_their_fields(schema: dict[str, Any]) -> None:
    """What is not known is null or empty. Only the bodies that callers send have fields that may be missing."""
    for name, found in schema["components"]["schemas"].items():
        missing = found.get("properties", {}).keys() - set(found.get("required", ()))
        assert (name, bool(missing)) == (name, name in {"IssueBody", "RunBody", "Accepted"})


def test_whole_numbers_have_64_bits(schema: dict[str, Any]) -> None:
    """Issue IDs have outgrown 32 bits, which is what a client takes for an integer without a format."""
    assert (
        len(re.findall(r"'type': 'integer'", repr(schema))) == len(re.findall(r"'format': 'int64'", repr(schema))) > 5
    )


def test_every_error_is_described_as_a_problem(schema: dict[str, Any]) -> None:
    """FastAPI's own shape of a mistake appears nowhere."""
    for _, path, op in operations(schema):
        for status, reply in op["responses"].items():
            if int(status) >= 400:
                media = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
                assert (path, reply["content"]) == (path, media)
    assert "ValidationError" not in repr(schema)


def test_correction_can_be_repeated(schema: dict[str, Any]) -> None:
    """It is about the document's shape, not about FastAPI's version."""
    before = repr(schema)
    correct(schema)
    assert repr(schema) == before
