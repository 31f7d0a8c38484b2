"""The REST API itself: who may call, what is malformed, lists, and that the OpenAPI document is right."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from pydantic import SecretStr
from temporalio.client import Client

from api import listing, problems, webhooks
from api.body_limit import BODY_MAX_BYTES
from issuebox.temporal.index import NotIndexedError
from issuebox.temporal.issues import IssuesError
from tests.api.conftest import BEARER, Api, Serve, status_line
from tests.api.deliveries import encoded, payload, signed
from tests.waiting import until
from workflows.messages import WORKFLOW_TYPE, StartInput

OPEN = {"/webhooks/github", "/healthz", "/readyz"}
"""Paths without a token: webhooks are signed, and probes reveal nothing."""


async def document(api: Api) -> dict[str, Any]:
    found: dict[str, Any] = (await api.client.get("/openapi.json")).json()
    return found


def operations(schema: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(method, path, op) for path, ops in schema["paths"].items() for method, op in ops.items()]


async def test_every_route_but_the_open_ones_requires_a_token(serve: Serve, closed_address: str) -> None:
    """No route is open by oversight: without a token, or with a wrong one, each is a 401 with a challenge."""
    api = await serve(closed_address)
    closed = [(method, path) for method, path, _ in operations(await document(api)) if path not in OPEN]
    assert closed
    for method, path in closed:
        # FastAPI would refuse this body, but the token is checked first.
        for header in (
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": "Basic YTpi"},
            {"Authorization": "Bearer"},
        ):
            reply = await api.client.request(method, _filled(path), headers=header, content=b"{")
            assert (method, path, reply.status_code) == (method, path, 401)
            assert reply.headers["www-authenticate"].startswith("Bearer")


def _filled(path: str) -> str:
    return path.format(issue_id="x", owner="o", repo="r", number="x", run="x")


async def test_no_token_configured_refuses_every_call(serve: Serve, closed_address: str) -> None:
    """Without configured tokens the API fails closed, even for an empty token."""
    api = await serve(closed_address, api_tokens="")
    for header in (BEARER, {"Authorization": "Bearer"}):
        reply = await api.client.get("/v1/sandboxes", headers=header)
        assert reply.status_code == 401
    assert "no API token is configured" in (await api.client.get("/v1/sandboxes", headers=BEARER)).json()["detail"]


@pytest.mark.parametrize(
    ("token", "status"), [("one", 200), ("two", 200), ("three", 401), ("é", 401), ("one,two", 401)]
)
async def test_each_configured_token_is_taken(serve: Serve, token: str, status: int) -> None:
    """During a rotation both tokens are accepted, and nothing else is."""
    api = await serve(api_tokens="one, two")
    reply = await api.client.get("/v1/sandboxes", headers={"Authorization": f"Bearer {token}".encode("latin-1")})
    assert reply.status_code == status


async def test_stranger_cannot_fill_the_memory(serve: Serve, closed_address: str) -> None:
    """Without a token a body is not read at all; with one it is read up to the limit, even if its length is unknown."""
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
    "wait for something else": ("GET", "/v1/issues/1/sandbox?wait_for=stopped", {}),
    "wait for too long": ("GET", "/v1/issues/1/sandbox?wait_for=usable&timeout_s=301", {}),
    "time without a wait": ("GET", "/v1/issues/1/sandbox?timeout_s=5", {}),
    "number with a zero before it": ("GET", "/v1/repos/octo/repo/issues/07", {}),
    "owner with a quote": ("GET", "/v1/repos/oc'to/repo/issues/7", {}),
    "idempotency key malformed": ("PUT", "/v1/issues/1/sandbox", {"headers": {"Idempotency-Key": "a b"}}),
    "idempotency key half quoted": ("POST", "/v1/issues/1/stop", {"headers": {"Idempotency-Key": '"a'}}),
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
    """A malformed call is refused without a call to Temporal, which does not exist here."""
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
    """Every error is a problem, even the router's; none redirects to the host that the caller names."""
    api = await serve(closed_address)
    reply = await api.client.request(method, path, headers={"Host": "evil.example"})
    assert reply.status_code == status
    assert reply.headers["content-type"] == "application/problem+json"
    assert "evil" not in repr(reply.headers)


async def test_bug_is_a_problem_that_reveals_nothing(
    serve: Serve, closed_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unforeseen exception is a 500 problem without the exception's words."""

    async def broken(*_: object) -> None:
        raise LookupError("secret words")

    monkeypatch.setattr("issuebox.temporal.issues.Issues.check", broken)
    reply = await (await serve(closed_address)).client.get("/readyz")
    assert reply.status_code == 500
    assert reply.headers["content-type"] == "application/problem+json"
    assert "secret words" not in reply.text


def test_every_failure_of_the_client_is_a_problem() -> None:
    """A failure without a row would be answered as a bug."""

    def kinds(kind: type[IssuesError]) -> set[type[IssuesError]]:
        return {kind, *(each for child in kind.__subclasses__() for each in kinds(child))}

    assert kinds(IssuesError) - {IssuesError} == set(problems.OF_ISSUES)
    assert problems.problem_of(NotIndexedError("no such attribute")).status == 500


async def test_list_pages_through_all_running_workflows_once(serve: Serve, temporal: Client, issue_id: int) -> None:
    """Page by page, each issue is listed once, and another installation's issue is not listed."""
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


def test_page_token_is_only_taken_as_it_was_signed() -> None:
    """A token that was changed, or signed by a stranger, is refused; one signed before a rotation is accepted."""
    old, new = SecretStr("old"), SecretStr("new")
    text = listing.signed(b"temporal's \xff", [old])
    assert listing.unsigned(text, [new, old]) == b"temporal's \xff"
    assert listing.unsigned(listing.signed(b"x", [new, old]), [new]) == b"x"
    assert listing.unsigned(text, [new]) is None
    forged = [
        ("B" if text[0] == "A" else "A") + text[1:],
        text[:-4] + "AAA=",
        text[:-1],
        text.replace(".", ""),
        "é" + text,
    ]
    for other in [*forged, "", ".", "\ud800"]:
        assert listing.unsigned(other, [old]) is None


async def test_page_token_of_an_earlier_version_is_a_400(serve: Serve, closed_address: str) -> None:
    """It was Temporal's own and is signed, too; it is not taken for the first page."""
    api = await serve(closed_address)
    token = listing.signed(b"temporal's \xff", api.settings.api_tokens)
    reply = await api.client.get("/v1/sandboxes", headers=BEARER, params={"page_token": token})
    assert (reply.status_code, reply.json()["detail"]) == (400, "page_token is none of ours")


@pytest.mark.parametrize(
    "spelling",
    ["007", "+7", "-7", "%207", "7%20", "7_0", "7.0", "7e0", "0", "", "0x7", "%EF%BC%97", "%D9%A7", "true", "9" * 19],
)
async def test_issue_has_one_address(serve: Serve, closed_address: str, spelling: str) -> None:
    """What Python reads as the same number is refused: an issue has one spelling, everywhere."""
    api = await serve(closed_address)
    for method, path in (("GET", "sandbox"), ("PUT", "sandbox"), ("DELETE", "sandbox"), ("GET", "sandbox/why"),
                         ("POST", "stop"), ("POST", "retry"), ("POST", "replace")):  # fmt: skip
        reply = await api.client.request(method, f"/v1/issues/{spelling}/{path}", headers=BEARER)
        assert reply.status_code == (400 if spelling else 404), reply.text


async def test_unknown_parameter_is_a_400_that_names_the_known_ones(serve: Serve, closed_address: str) -> None:
    """A misspelt parameter is never ignored under /v1. GitHub's calls are taken whatever stands in their URL."""
    api = await serve(closed_address)
    known = {
        (method, path): sorted(part["name"] for part in op.get("parameters", ()) if part["in"] == "query")
        for method, path, op in operations(await document(api))
        if path.startswith("/v1")
    }
    assert known["put", "/v1/issues/{issue_id}/sandbox"] == ["wait_s"]
    for (method, path), names in known.items():
        url = path.format(issue_id=1, owner="o", repo="r", number=1, run=A_RUN)
        reply = await api.client.request(method, url, headers=BEARER, params={"wait": "30"})
        assert (path, reply.status_code, reply.json()["type"]) == (path, 400, "urn:issuebox:problem:unknown-parameter")
        said = f"the known ones are {', '.join(names)}" if names else "there are none here"
        assert reply.json()["detail"] == f"query: 'wait' is not known; {said}"
    body = b"{}"
    reply = await api.client.post("/webhooks/github?wait=30", content=body, headers=signed(body, "push"))
    assert (reply.status_code, reply.json()["intention"]) == (202, "ignore")


@pytest.mark.parametrize("number", [False, True, "12", 12.0, -1, None])
async def test_number_is_a_number(serve: Serve, closed_address: str, number: object) -> None:
    """A truth value, a text or a fraction is no number of an issue."""
    api = await serve(closed_address)
    reply = await api.client.put("/v1/issues/1/sandbox", headers=BEARER, json={"number": number})
    assert reply.status_code == 400, reply.text
    assert "number" in reply.json()["detail"]


async def test_documentation_needs_no_token(serve: Serve, closed_address: str) -> None:
    """The docs open in a browser without a token and without Temporal."""
    api = await serve(closed_address)
    assert (await api.client.get("/docs")).status_code == 200


A_RUN = "r-0123456789ab"

CALLS: dict[tuple[str, str, int], dict[str, Any]] = {
    ("post", "/webhooks/github", 202): {"signed": encoded(payload(1))},
    ("post", "/webhooks/github", 400): {"signed": b"{}"},
    ("post", "/webhooks/github", 401): {"content": b"{}", "headers": {"Content-Type": "application/json"}},
    ("post", "/webhooks/github", 408): {"signed": b"{}", "endless": True},
    ("post", "/webhooks/github", 413): {"signed": b" " * 4096},
    ("post", "/webhooks/github", 415): {"signed": b"{}", "headers": {"Content-Type": "text/plain"}},
    ("post", "/webhooks/github", 503): {"signed": encoded(payload(1)), "away": True},
    ("put", "/v1/issues/{issue_id}/sandbox", 202): {"params": {"wait_s": 0}},
    ("put", "/v1/issues/{issue_id}/sandbox", 400): {"params": {"wait_s": -1}},
    ("put", "/v1/issues/{issue_id}/sandbox", 401): {"token": False},
    ("put", "/v1/issues/{issue_id}/sandbox", 413): {"json": {"title": "x" * 100_000}},
    ("put", "/v1/issues/{issue_id}/sandbox", 503): {"away": True},
    ("get", "/v1/queue", 200): {},
    ("get", "/v1/queue", 400): {"params": {"page": "1"}},
    ("get", "/v1/queue", 401): {"token": False},
    ("get", "/v1/queue", 503): {"away": True},
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
    ("post", "/v1/issues/{issue_id}/runs", 400): {"json": {}},
    ("post", "/v1/issues/{issue_id}/runs", 401): {"token": False},
    ("post", "/v1/issues/{issue_id}/runs", 413): {"json": {"prompt": "x" * 100_000}},
    ("post", "/v1/issues/{issue_id}/runs", 503): {"json": {"prompt": "x"}, "away": True},
    ("get", "/v1/issues/{issue_id}/runs", 400): {"issue_id": "x"},
    ("get", "/v1/issues/{issue_id}/runs", 401): {"token": False},
    ("get", "/v1/issues/{issue_id}/runs", 404): {"issue_id": "77777"},
    ("get", "/v1/issues/{issue_id}/runs", 503): {"away": True},
    ("get", "/v1/issues/{issue_id}/runs/{run}", 400): {"issue_id": "x"},
    ("get", "/v1/issues/{issue_id}/runs/{run}", 401): {"token": False},
    ("get", "/v1/issues/{issue_id}/runs/{run}", 404): {"issue_id": "77777"},
    ("get", "/v1/issues/{issue_id}/runs/{run}", 503): {"away": True},
    ("get", "/v1/issues/{issue_id}/runs/{run}/log", 400): {"issue_id": "x"},
    ("get", "/v1/issues/{issue_id}/runs/{run}/log", 401): {"token": False},
    ("get", "/v1/issues/{issue_id}/runs/{run}/log", 404): {},
    ("post", "/v1/issues/{issue_id}/runs/pause", 202): {"started": True},
    ("post", "/v1/issues/{issue_id}/runs/pause", 400): {"issue_id": "x"},
    ("post", "/v1/issues/{issue_id}/runs/pause", 401): {"token": False},
    ("post", "/v1/issues/{issue_id}/runs/pause", 404): {"issue_id": "77777"},
    ("post", "/v1/issues/{issue_id}/runs/pause", 503): {"away": True},
    ("post", "/v1/issues/{issue_id}/runs/resume", 202): {"started": True},
    ("post", "/v1/issues/{issue_id}/runs/resume", 400): {"issue_id": "x"},
    ("post", "/v1/issues/{issue_id}/runs/resume", 401): {"token": False},
    ("post", "/v1/issues/{issue_id}/runs/resume", 404): {"issue_id": "77777"},
    ("post", "/v1/issues/{issue_id}/runs/resume", 503): {"away": True},
    ("post", "/v1/issues/{issue_id}/runs/{run}/cancel", 202): {"started": True},
    ("post", "/v1/issues/{issue_id}/runs/{run}/cancel", 400): {"issue_id": "x"},
    ("post", "/v1/issues/{issue_id}/runs/{run}/cancel", 401): {"token": False},
    ("post", "/v1/issues/{issue_id}/runs/{run}/cancel", 404): {"issue_id": "77777"},
    ("post", "/v1/issues/{issue_id}/runs/{run}/cancel", 503): {"away": True},
    ("post", "/v1/issues/{issue_id}/runs/cancel", 202): {"started": True},
    ("post", "/v1/issues/{issue_id}/runs/cancel", 400): {"issue_id": "x"},
    ("post", "/v1/issues/{issue_id}/runs/cancel", 401): {"token": False},
    ("post", "/v1/issues/{issue_id}/runs/cancel", 404): {"issue_id": "77777"},
    ("post", "/v1/issues/{issue_id}/runs/cancel", 503): {"away": True},
    ("get", "/v1/repos/{owner}/{repo}/issues/{number}", 400): {"number": "07"},
    ("get", "/v1/repos/{owner}/{repo}/issues/{number}", 401): {"token": False},
    ("get", "/v1/repos/{owner}/{repo}/issues/{number}", 404): {},
    ("get", "/v1/repos/{owner}/{repo}/issues/{number}", 503): {"away": True},
    ("get", "/v1/sandboxes", 200): {},
    ("get", "/v1/sandboxes", 400): {"params": {"page_size": 0}},
    ("get", "/v1/sandboxes", 401): {"token": False},
    ("get", "/v1/sandboxes", 503): {"away": True},
    ("get", "/healthz", 200): {},
    ("get", "/readyz", 200): {},
    ("get", "/readyz", 503): {"away": True},
}
ELSEWHERE = {
    # On the whole stack, in `test_handover.py`, `test_wait.py` and `test_idempotency.py`.
    ("put", "/v1/issues/{issue_id}/sandbox", 200),
    ("put", "/v1/issues/{issue_id}/sandbox", 409),
    ("put", "/v1/issues/{issue_id}/sandbox", 422),
    ("get", "/v1/issues/{issue_id}/sandbox", 200),
    ("get", "/v1/issues/{issue_id}/sandbox", 202),
    ("get", "/v1/issues/{issue_id}/sandbox", 409),
    ("get", "/v1/issues/{issue_id}/sandbox/why", 200),
    ("post", "/v1/issues/{issue_id}/retry", 422),
    ("post", "/v1/issues/{issue_id}/stop", 422),
    ("post", "/v1/issues/{issue_id}/replace", 422),
    ("delete", "/v1/issues/{issue_id}/sandbox", 422),
    # With an agent, in `test_runs.py`.
    ("post", "/v1/issues/{issue_id}/runs", 202),
    ("post", "/v1/issues/{issue_id}/runs", 409),
    ("get", "/v1/issues/{issue_id}/runs", 200),
    ("get", "/v1/issues/{issue_id}/runs/{run}", 200),
    ("get", "/v1/issues/{issue_id}/runs/{run}/log", 200),
    ("get", "/v1/issues/{issue_id}/runs/{run}/log", 503),
    # With more issues than one, in `test_number.py`.
    ("get", "/v1/repos/{owner}/{repo}/issues/{number}", 200),
    ("get", "/v1/repos/{owner}/{repo}/issues/{number}", 409),
    ("get", "/v1/repos/{owner}/{repo}/issues/{number}", 410),
}
"""Statuses that another test shows with the documented body."""


async def test_documented_statuses_are_those_that_occur(serve: Serve, closed_address: str) -> None:
    """Every documented status can occur, and every status that occurs is documented."""
    schema = await document(await serve(closed_address))
    documented = {(method, path, int(status)) for method, path, op in operations(schema) for status in op["responses"]}
    assert documented == set(CALLS) | ELSEWHERE


@pytest.mark.parametrize("case", CALLS, ids=lambda case: " ".join(map(str, case)))
async def test_each_documented_status_has_the_documented_body(
    serve: Serve, closed_address: str, issue_id: int, monkeypatch: pytest.MonkeyPatch, case: tuple[str, str, int]
) -> None:
    """Each status is answered as documented: its media type, and a body that the schema describes."""
    method, path, status = case
    given = dict(CALLS[case])
    monkeypatch.setattr(webhooks, "WEBHOOK_BODY_MAX_BYTES", 2048)
    api = await (serve(closed_address) if given.pop("away", False) else serve())
    number = given.pop("number", issue_id)
    where = path.format(issue_id=given.pop("issue_id", issue_id), owner="octo", repo="repo", number=number, run=A_RUN)
    headers = given.pop("headers", {}) | (BEARER if given.pop("token", True) and path.startswith("/v1") else {})
    if given.pop("started", False):
        await api.client.put(f"/v1/issues/{issue_id}/sandbox?wait_s=0", headers=BEARER)
    if body := given.pop("signed", None):
        given["content"], headers = body, signed(body) | headers
    if given.pop("endless", False):
        monkeypatch.setattr(webhooks, "BODY_TIMEOUT_S", 0.1)
        given["content"] = _trickling()
    reply = await api.client.request(method, where, headers=headers, **given)
    assert reply.status_code == status, reply.text
    conforms(await document(api), method, path, reply)


async def _trickling() -> AsyncIterator[bytes]:
    """A body that begins."""
    yield b"{"
    await asyncio.sleep(1)


def conforms(schema: dict[str, Any], method: str, path: str, reply: httpx.Response) -> None:
    """Assert that the reply is what the document says about its status."""
    content = schema["paths"][path][method]["responses"][str(reply.status_code)]["content"]
    media_type = reply.headers["content-type"].partition(";")[0]
    assert media_type in content
    described = content[media_type]["schema"] | {"components": schema["components"]}
    Draft202012Validator(described).validate(reply.json())
