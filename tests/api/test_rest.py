"""The REST API's own promises: who may call, what is malformed, lists; and that OpenAPI says what is true."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from pydantic import SecretStr
from temporalio.client import Client

from api import listing, problems
from api.body_limit import BODY_MAX_BYTES
from issuebox.temporal.index import NotIndexedError
from issuebox.temporal.issues import IssuesError
from tests.api.conftest import BEARER, Api, Serve, status_line
from tests.api.deliveries import encoded, payload, signed
from tests.waiting import until
from workflows.messages import WORKFLOW_TYPE, StartInput

OPEN = {"/webhooks/github", "/healthz", "/readyz"}
"""What wants no token: the webhook has its signature, the probes tell nothing."""


async def document(api: Api) -> dict[str, Any]:
    found: dict[str, Any] = (await api.client.get("/openapi.json")).json()
    return found


def operations(schema: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(method, path, op) for path, ops in schema["paths"].items() for method, op in ops.items()]


async def test_every_route_but_the_open_ones_wants_a_token(serve: Serve, closed_address: str) -> None:
    """No route is open by oversight: each one without a token, or with a wrong one, is a 401 with a challenge."""
    api = await serve(closed_address)
    closed = [(method, path) for method, path, _ in operations(await document(api)) if path not in OPEN]
    assert closed
    for method, path in closed:
        # A body that FastAPI would refuse: the token comes before it.
        for header in (
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": "Basic YTpi"},
            {"Authorization": "Bearer"},
        ):
            reply = await api.client.request(method, path.format(issue_id="x"), headers=header, content=b"{")
            assert (method, path, reply.status_code) == (method, path, 401)
            assert reply.headers["www-authenticate"].startswith("Bearer")


async def test_no_token_configured_refuses_every_call(serve: Serve, closed_address: str) -> None:
    """Without tokens the API fails closed, also for an empty one."""
    api = await serve(closed_address, api_tokens="")
    for header in (BEARER, {"Authorization": "Bearer"}):
        reply = await api.client.get("/v1/sandboxes", headers=header)
        assert reply.status_code == 401
    assert "no API token is configured" in (await api.client.get("/v1/sandboxes", headers=BEARER)).json()["detail"]


@pytest.mark.parametrize(
    ("token", "status"), [("one", 200), ("two", 200), ("three", 401), ("é", 401), ("one,two", 401)]
)
async def test_each_configured_token_is_taken(serve: Serve, token: str, status: int) -> None:
    """While a token is rotated both are good, and nothing else is."""
    api = await serve(api_tokens="one, two")
    reply = await api.client.get("/v1/sandboxes", headers={"Authorization": f"Bearer {token}".encode("latin-1")})
    assert reply.status_code == status


async def test_stranger_cannot_fill_the_memory(serve: Serve, closed_address: str) -> None:
    """Without a token a body is not read at all; with one it is read to the limit, announced or not."""
    api = await serve(closed_address)
    for header, expected in (({}, b" 401 "), (BEARER, b" 413 ")):
        headers = [f"{name}: {value}" for name, value in (header | {"Content-Type": "application/json"}).items()]
        head = ["PUT /v1/issues/1/sandbox HTTP/1.1", *headers]
        assert expected in await status_line(api, head, b" " * (BODY_MAX_BYTES // 2 + 1), 2)


BAD: dict[str, tuple[str, str, dict[str, Any]]] = {
    "issue id not a number": ("GET", "/v1/issues/x/sandbox", {}),
    "issue id zero": ("GET", "/v1/issues/0/sandbox", {}),
    "issue id beyond 64 bits": ("PUT", f"/v1/issues/{2**63}/sandbox", {}),
    "issue id endless": ("PUT", f"/v1/issues/{'9' * 6_000}/sandbox", {}),
    "wait not a number": ("PUT", "/v1/issues/1/sandbox?wait_s=soon", {}),
    "wait NaN": ("PUT", "/v1/issues/1/sandbox?wait_s=nan", {}),
    "wait negative": ("PUT", "/v1/issues/1/sandbox?wait_s=-1", {}),
    "wait for ever": ("PUT", "/v1/issues/1/sandbox?wait_s=inf", {}),
    "body not JSON": (
        "PUT",
        "/v1/issues/1/sandbox",
        {"content": b"{", "headers": {"Content-Type": "application/json"}},
    ),
    "body deep": (
        "PUT",
        "/v1/issues/1/sandbox",
        {"content": b"[" * 30_000, "headers": {"Content-Type": "application/json"}},
    ),
    "body with an unknown field": ("PUT", "/v1/issues/1/sandbox", {"json": {"repo": "o/r"}}),
    "repository not owner/name": ("PUT", "/v1/issues/1/sandbox", {"json": {"repository": "o/r/x"}}),
    "lone surrogate": (
        "PUT",
        "/v1/issues/1/sandbox",
        {"content": b'{"url": "https://\\ud800"}', "headers": {"Content-Type": "application/json"}},
    ),
    "idempotency key malformed": ("PUT", "/v1/issues/1/sandbox", {"headers": {"Idempotency-Key": "a b"}}),
    "idempotency key endless": ("PUT", "/v1/issues/1/sandbox", {"headers": {"Idempotency-Key": "a" * 129}}),
    "page size zero": ("GET", "/v1/sandboxes?page_size=0", {}),
    "page size endless": ("GET", "/v1/sandboxes?page_size=100000", {}),
    "page token not base64": ("GET", "/v1/sandboxes?page_token=%25%25", {}),
    "page token not ASCII": ("GET", "/v1/sandboxes?page_token=%C3%A9", {}),
    "force not a truth value": ("DELETE", "/v1/issues/1/sandbox?force=perhaps", {}),
    "filter misspelt": ("GET", "/v1/sandboxes?repo=octo/repo", {}),
    "repository filter with a quote": ("GET", "/v1/sandboxes?repository=octo/re'po", {}),
    "repository filter that says more": ("GET", "/v1/sandboxes?repository=o/r'%20OR%20''='", {}),
    "phase filter unknown": ("GET", "/v1/sandboxes?phase=started", {}),
    "issue state filter unknown": ("GET", "/v1/sandboxes?issue_state=open'", {}),
    "blocked filter unknown": ("GET", "/v1/sandboxes?blocked=yes", {}),
    "page token forged": ("GET", "/v1/sandboxes?page_token=bm9wZQ==", {}),
}


@pytest.mark.parametrize("name", BAD)
async def test_malformed_call_is_a_400_that_says_where(serve: Serve, closed_address: str, name: str) -> None:
    """What is malformed is refused before Temporal is asked: there is none here to ask."""
    api = await serve(closed_address)
    method, path, more = BAD[name]
    headers = BEARER | more.pop("headers", {})
    reply = await api.client.request(method, path, headers=headers, **more)
    assert reply.status_code == 400, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("GET", "/v1/nowhere", 404), ("GET", "/healthz/", 404), ("DELETE", "/healthz", 405)],
)
async def test_wrong_address_is_a_problem(
    serve: Serve, closed_address: str, method: str, path: str, status: int
) -> None:
    """Every error is a problem, those of the router too; none redirects to where the caller says we are."""
    api = await serve(closed_address)
    reply = await api.client.request(method, path, headers={"Host": "evil.example"})
    assert reply.status_code == status
    assert reply.headers["content-type"] == "application/problem+json"
    assert "evil" not in repr(reply.headers)


async def test_bug_is_a_problem_that_tells_nothing(
    serve: Serve, closed_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What nobody foresaw is a 500 problem without the exception's words."""

    async def broken(*_: object) -> None:
        raise LookupError("secret words")

    monkeypatch.setattr("issuebox.temporal.issues.Issues.check", broken)
    reply = await (await serve(closed_address)).client.get("/readyz")
    assert reply.status_code == 500
    assert reply.headers["content-type"] == "application/problem+json"
    assert "secret words" not in reply.text


def test_every_failure_of_the_client_is_a_problem() -> None:
    """One that is added without its row would be answered by the accident of another error."""

    def kinds(kind: type[IssuesError]) -> set[type[IssuesError]]:
        return {kind, *(each for child in kind.__subclasses__() for each in kinds(child))}

    assert kinds(IssuesError) - {IssuesError} == set(problems.OF_ISSUES)
    assert problems.problem_of(NotIndexedError("no such attribute")).status == 500


async def test_list_pages_through_all_running_workflows_once(serve: Serve, temporal: Client, issue_id: int) -> None:
    """Page by page each issue is listed once, and one that another installation owns is not."""
    prefix = f"p{issue_id}-"
    api = await serve(name_prefix=prefix)
    for number in range(1, 8):
        body = encoded(payload(number))
        assert (await api.client.post("/webhooks/github", content=body, headers=signed(body))).status_code == 202
    foreign = f"{prefix}not-a-number"
    await temporal.start_workflow(WORKFLOW_TYPE, StartInput(1, foreign), id=foreign, task_queue="nobody")

    async def listed() -> list[int]:
        return [row["issue_id"] for page in await pages(api) for row in page]

    found = await until(listed, lambda ids: len(ids) >= 7, "all listed")
    assert sorted(found) == list(range(1, 8))


async def pages(api: Api) -> list[list[dict[str, Any]]]:
    found, token = [], ""
    for _ in range(1_000):
        reply = await api.client.get("/v1/sandboxes", headers=BEARER, params={"page_size": 3, "page_token": token})
        assert reply.status_code == 200, reply.text
        found.append(reply.json()["sandboxes"])
        token = reply.json()["next_page_token"]
        if not token:
            return found
    raise AssertionError("the list has no end")


def test_page_token_is_only_taken_as_it_was_sealed() -> None:
    """A token that was changed, or sealed by a stranger, is none; one sealed before a rotation still is."""
    old, new = SecretStr("old"), SecretStr("new")
    text = listing.sealed(b"temporal's", [old])
    assert listing.unsealed(text, [new, old]) == b"temporal's"
    assert listing.unsealed(text, [new]) is None
    assert listing.unsealed(("B" if text[0] == "A" else "A") + text[1:], [old]) is None
    assert listing.unsealed(text[:-4] + "AAA=", [old]) is None
    assert listing.unsealed("", [old]) is None


async def test_documentation_needs_no_token(serve: Serve, closed_address: str) -> None:
    """Who opens the docs in a browser can read them without a token and without Temporal."""
    api = await serve(closed_address)
    assert (await api.client.get("/docs")).status_code == 200


CALLS: dict[tuple[str, str, int], dict[str, Any]] = {
    ("post", "/webhooks/github", 202): {"signed": encoded(payload(1))},
    ("post", "/webhooks/github", 400): {"signed": b"{}"},
    ("post", "/webhooks/github", 401): {"content": b"{}", "headers": {"Content-Type": "application/json"}},
    ("post", "/webhooks/github", 413): {"signed": b" " * 4096},
    ("post", "/webhooks/github", 415): {"content": b"{}"},
    ("post", "/webhooks/github", 503): {"signed": encoded(payload(1)), "away": True},
    ("put", "/v1/issues/{issue_id}/sandbox", 202): {"params": {"wait_s": 0}},
    ("put", "/v1/issues/{issue_id}/sandbox", 400): {"params": {"wait_s": -1}},
    ("put", "/v1/issues/{issue_id}/sandbox", 401): {"token": False},
    ("put", "/v1/issues/{issue_id}/sandbox", 413): {"json": {"title": "x" * 100_000}},
    ("put", "/v1/issues/{issue_id}/sandbox", 503): {"away": True},
    ("get", "/v1/issues/{issue_id}/sandbox", 400): {"issue_id": "x"},
    ("get", "/v1/issues/{issue_id}/sandbox", 401): {"token": False},
    ("get", "/v1/issues/{issue_id}/sandbox", 404): {"issue_id": "77777"},
    ("get", "/v1/issues/{issue_id}/sandbox", 503): {"away": True},
    ("get", "/v1/issues/{issue_id}/sandbox/why", 400): {"issue_id": "x"},
    ("get", "/v1/issues/{issue_id}/sandbox/why", 401): {"token": False},
    ("get", "/v1/issues/{issue_id}/sandbox/why", 404): {"issue_id": "77777"},
    ("get", "/v1/issues/{issue_id}/sandbox/why", 503): {"away": True},
    ("post", "/v1/issues/{issue_id}/retry", 202): {"started": True},
    ("post", "/v1/issues/{issue_id}/retry", 400): {"issue_id": "x"},
    ("post", "/v1/issues/{issue_id}/retry", 401): {"token": False},
    ("post", "/v1/issues/{issue_id}/retry", 404): {"issue_id": "77777"},
    ("post", "/v1/issues/{issue_id}/retry", 503): {"away": True},
    ("post", "/v1/issues/{issue_id}/stop", 202): {"started": True},
    ("post", "/v1/issues/{issue_id}/stop", 400): {"issue_id": "x"},
    ("post", "/v1/issues/{issue_id}/stop", 401): {"token": False},
    ("post", "/v1/issues/{issue_id}/stop", 404): {"issue_id": "77777"},
    ("post", "/v1/issues/{issue_id}/stop", 503): {"away": True},
    ("post", "/v1/issues/{issue_id}/replace", 202): {"started": True},
    ("post", "/v1/issues/{issue_id}/replace", 400): {"issue_id": "x"},
    ("post", "/v1/issues/{issue_id}/replace", 401): {"token": False},
    ("post", "/v1/issues/{issue_id}/replace", 404): {"issue_id": "77777"},
    ("post", "/v1/issues/{issue_id}/replace", 503): {"away": True},
    ("delete", "/v1/issues/{issue_id}/sandbox", 202): {"started": True},
    ("delete", "/v1/issues/{issue_id}/sandbox", 400): {"issue_id": "x"},
    ("delete", "/v1/issues/{issue_id}/sandbox", 401): {"token": False},
    ("delete", "/v1/issues/{issue_id}/sandbox", 404): {"issue_id": "77777"},
    ("delete", "/v1/issues/{issue_id}/sandbox", 503): {"away": True},
    ("get", "/v1/sandboxes", 200): {},
    ("get", "/v1/sandboxes", 400): {"params": {"page_size": 0}},
    ("get", "/v1/sandboxes", 401): {"token": False},
    ("get", "/v1/sandboxes", 503): {"away": True},
    ("get", "/healthz", 200): {},
    ("get", "/readyz", 200): {},
    ("get", "/readyz", 503): {"away": True},
}
NEED_A_WORKER = {
    ("put", "/v1/issues/{issue_id}/sandbox", 200),
    ("put", "/v1/issues/{issue_id}/sandbox", 409),
    ("get", "/v1/issues/{issue_id}/sandbox", 200),
    ("get", "/v1/issues/{issue_id}/sandbox/why", 200),
}
"""Shown in `test_handover.py`, in front of the whole stack."""


async def test_documented_statuses_are_those_that_occur(serve: Serve, closed_address: str) -> None:
    """No status is documented that cannot be had, and none is missing that was seen."""
    schema = await document(await serve(closed_address))
    documented = {(method, path, int(status)) for method, path, op in operations(schema) for status in op["responses"]}
    assert documented == set(CALLS) | NEED_A_WORKER


@pytest.mark.parametrize("case", CALLS, ids=lambda case: " ".join(map(str, case)))
async def test_each_documented_status_has_the_documented_body(
    serve: Serve, closed_address: str, issue_id: int, case: tuple[str, str, int]
) -> None:
    """Each status is answered as documented: its media type, and a body that the schema describes."""
    method, path, status = case
    given = dict(CALLS[case])
    limits = {"webhook_body_max_bytes": 2048}
    api = await (serve(closed_address, **limits) if given.pop("away", False) else serve(**limits))
    where = path.format(issue_id=given.pop("issue_id", issue_id))
    headers = given.pop("headers", {}) | (BEARER if given.pop("token", True) and path.startswith("/v1") else {})
    if given.pop("started", False):
        await api.client.put(f"/v1/issues/{issue_id}/sandbox?wait_s=0", headers=BEARER)
    if body := given.pop("signed", None):
        given["content"], headers = body, signed(body)
    reply = await api.client.request(method, where, headers=headers, **given)
    assert reply.status_code == status, reply.text
    conforms(await document(api), method, path, reply)


def conforms(schema: dict[str, Any], method: str, path: str, reply: httpx.Response) -> None:
    """Whether the reply is what the document says of its status."""
    content = schema["paths"][path][method]["responses"][str(reply.status_code)]["content"]
    media_type = reply.headers["content-type"].partition(";")[0]
    assert media_type in content
    described = content[media_type]["schema"] | {"components": schema["components"]}
    Draft202012Validator(described).validate(reply.json())
