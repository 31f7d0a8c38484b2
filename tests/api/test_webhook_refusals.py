"""A bad delivery gets a clear 4xx and starts nothing, and its body appears nowhere."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Any

import pytest
from temporalio.client import Client

from api import webhooks
from tests.api.conftest import SECRET, Api, Serve, status_line
from tests.api.deliveries import MARKER, encoded, payload, signed, without
from tests.waiting import until

GOOD = encoded(payload())
LIMIT = 64 * 1024


@dataclass(frozen=True)
class Case:
    """A delivery, the status it gets and words of its reason."""

    status: int
    words: str
    body: bytes = GOOD
    event: str = "issues"
    headers: dict[str, Any] = field(default_factory=dict)


def _sha1(body: bytes) -> str:
    return "sha1=" + hmac.new(SECRET.encode(), body, hashlib.sha1).hexdigest()


def _issue(**changes: object) -> bytes:
    return encoded(payload(issue=changes))


CASES: dict[str, Case] = {
    "too large": Case(413, "larger than", GOOD + b" " * LIMIT),
    "plain text": Case(415, "application/json", headers={"Content_Type": "text/plain"}),
    "no media type": Case(415, "application/json", headers={"Content_Type": None}),
    "no signature": Case(401, "missing", headers={"X_Hub_Signature_256": None}),
    "SHA-1 signature": Case(401, "sha256=", headers={"X_Hub_Signature_256": _sha1(GOOD)}),
    "SHA-1 under its old header": Case(
        401, "missing", headers={"X_Hub_Signature_256": None, "X_Hub_Signature": _sha1(GOOD)}
    ),
    "signature not hexadecimal": Case(401, "sha256=", headers={"X_Hub_Signature_256": "sha256=" + "z" * 64}),
    "signature cut short": Case(401, "sha256=", headers={"X_Hub_Signature_256": "sha256=00"}),
    "signature not ASCII": Case(401, "sha256=", headers={"X_Hub_Signature_256": b"sha256=\xe9"}),
    "signature of another body": Case(401, "secret", headers={"X_Hub_Signature_256": "sha256=" + "0" * 64}),
    "no event": Case(400, "X-GitHub-Event", headers={"X_GitHub_Event": None}),
    "malformed event": Case(400, "X-GitHub-Event", headers={"X_GitHub_Event": "issues; drop"}),
    "no delivery": Case(400, "X-GitHub-Delivery", headers={"X_GitHub_Delivery": None}),
    "malformed delivery": Case(400, "X-GitHub-Delivery", headers={"X_GitHub_Delivery": "a b"}),
    "endless delivery": Case(400, "X-GitHub-Delivery", headers={"X_GitHub_Delivery": "a" * 500}),
    "empty body": Case(400, "JSON", b""),
    "not JSON": Case(400, "JSON", f"{{{MARKER}".encode()),
    "two documents": Case(400, "JSON", b"{} {}"),
    "not an object": Case(400, "object", f'["{MARKER}"]'.encode()),
    "null": Case(400, "object", b"null"),
    "NaN": Case(400, "NaN", GOOD[:-1] + b', "x": NaN}'),
    "infinity": Case(400, "Infinity", GOOD[:-1] + b', "x": -Infinity}'),
    "repeated key": Case(400, "repeats", GOOD.replace(b'"id": 1', b'"id": 1, "id": 2')),
    "repeated key deep down": Case(400, "repeats", GOOD[:-1] + b', "x": [{"y": {"z": 1, "z": 2}}]}'),
    "deep nesting": Case(400, "JSON", b'{"x": ' + b"[" * 20_000 + b"]" * 20_000 + b"}"),
    "endless number": Case(400, "JSON", GOOD[:-1] + b', "x": ' + b"1" * 10_000 + b"}"),
    "invalid UTF-8": Case(400, "JSON", GOOD.replace(b"octocat", b"\xff\xfe")),
    "UTF-16": Case(400, "JSON", GOOD.decode().encode("utf-16")),
    "byte order mark": Case(400, "JSON", b"\xef\xbb\xbf" + GOOD),
    "lone surrogate": Case(400, "JSON", GOOD.replace(b"octocat", b"\\ud800")),
    "no issue": Case(400, "issue", without("issue")),
    "no action": Case(400, "action", without("action")),
    "no repository": Case(400, "repository", without("repository")),
    "sender without a login": Case(400, "sender.login", encoded(payload(sender={}))),
    "comment event without a comment": Case(400, "comment", encoded(payload(action="created")), event="issue_comment"),
    "action not a word": Case(400, "action", encoded(payload(action="opened\n"))),
    "no issue id": Case(400, "issue.id", without("issue.id")),
    "issue id in quotes": Case(400, "issue.id", _issue(id="1")),
    "issue id not whole": Case(400, "issue.id", _issue(id=1.5)),
    "issue id whole but a float": Case(400, "issue.id", _issue(id=1.0)),
    "issue id a truth value": Case(400, "issue.id", _issue(id=True)),
    "issue id null": Case(400, "issue.id", _issue(id=None)),
    "issue id zero": Case(400, "issue.id", _issue(id=0)),
    "issue id negative": Case(400, "issue.id", _issue(id=-1)),
    "issue id beyond 64 bits": Case(400, "issue.id", _issue(id=2**63)),
    "issue number in quotes": Case(400, "issue.number", _issue(number="12")),
    "title a list": Case(400, "issue.title", _issue(title=[MARKER])),
    "unknown state": Case(400, "issue.state", _issue(state=MARKER)),
    "time without a zone": Case(400, "issue.updated_at", _issue(updated_at="2026-02-03T04:05:06")),
    "time a number": Case(400, "issue.updated_at", _issue(updated_at=1)),
    "time of the close without a zone": Case(400, "issue.closed_at", _issue(closed_at="2026-02-03T04:05:06")),
    "labels not a list": Case(400, "issue.labels", _issue(labels="agreed")),
    "label a word": Case(400, "issue.labels", _issue(labels=["agreed"])),
    "label without a name": Case(400, "issue.labels", _issue(labels=[{"id": 1}])),
    "association a number": Case(400, "issue.author_association", _issue(author_association=1)),
    "author without a login": Case(400, "issue.user", _issue(user={"id": 1})),
    "link not to the web": Case(400, "issue.html_url", _issue(html_url="javascript:alert(1)")),
    "repository not owner/name": Case(400, "repository.full_name", encoded(payload(repository={"full_name": "x"}))),
}


@pytest.fixture(autouse=True)
def _low_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lower the limit: bodies of the real size would only take time."""
    monkeypatch.setattr(webhooks, "WEBHOOK_BODY_MAX_BYTES", LIMIT)


async def deliver(api: Api, case: Case) -> Any:
    headers = signed(case.body, case.event, **case.headers)
    return await api.client.post("/webhooks/github", content=case.body, headers=headers)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_bad_delivery_is_refused_with_its_reason(
    serve: Serve, closed_address: str, logged: list[dict[str, Any]], case: Case
) -> None:
    """A bad delivery gets its own 4xx as a problem; reply and log name the reason and never quote the body."""
    # There is no Temporal at all, so any call to it would lead to a 503.
    api = await serve(closed_address)
    reply = await deliver(api, case)
    assert reply.status_code == case.status, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    problem = reply.json()
    assert problem["status"] == case.status
    assert case.words in problem["detail"]
    (line,) = [line for line in logged if line["event"] == "webhook_refused"]
    assert line["reason"] == problem["detail"]
    assert line["status"] == case.status
    assert MARKER not in reply.text + repr(logged)


async def test_bad_deliveries_start_no_workflow(serve: Serve, temporal: Client, issue_id: int) -> None:
    """After every bad delivery of the table, Temporal knows one workflow: that of the good delivery, sent last."""
    api = await serve()
    for case in CASES.values():
        assert (await deliver(api, case)).is_client_error
    assert (await deliver(api, Case(202, "", encoded(payload(issue_id))))).status_code == 202

    async def started() -> list[str]:
        query = f"TaskQueue = '{api.settings.task_queue}'"
        return [execution.id async for execution in temporal.list_workflows(query)]

    # The index lags: once it shows the last one, it shows whatever was started before.
    assert await until(started, bool, "the good delivery listed") == [f"claude-issue-{issue_id}"]


async def test_unannounced_length_is_limited_while_it_arrives(serve: Serve, closed_address: str) -> None:
    """An endless body in chunks is refused as soon as it is too large."""
    api = await serve(closed_address)
    headers = [f"{name}: {value}" for name, value in signed(b"").items()]
    line = await status_line(api, ["POST /webhooks/github HTTP/1.1", *headers], b" " * (LIMIT // 4), 5)
    assert b" 413 " in line


async def test_no_secret_configured_refuses_even_what_is_signed_with_nothing(serve: Serve, closed_address: str) -> None:
    """Without a secret the endpoint fails closed, and says why."""
    api = await serve(closed_address, webhook_secrets="")
    for secret in ("", SECRET):
        reply = await api.client.post("/webhooks/github", content=GOOD, headers=signed(GOOD, secret=secret))
        assert reply.status_code == 401
        assert "no webhook secret is configured" in reply.json()["detail"].lower()


@pytest.mark.parametrize(
    ("secret", "status"), [("old", 202), ("new", 202), ("older", 401), ("", 401), ("old,new", 401)]
)
async def test_rotated_secrets_are_all_taken_and_no_others(
    serve: Serve, issue_id: int, secret: str, status: int
) -> None:
    """During a rotation each configured secret is accepted, and nothing else is."""
    api = await serve(webhook_secrets="old, new")
    body = encoded(payload(issue_id))
    reply = await api.client.post("/webhooks/github", content=body, headers=signed(body, secret=secret))
    assert reply.status_code == status
