"""What a good delivery becomes: an event that Temporal has stored, or a reason to ignore it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from issuebox.dev.mock_delivery import ACTIONS, MockIssue, build
from issuebox.domain.run_comment import marker
from localdaytona.testing import free_port
from tests.api.conftest import SECRET, Api, Serve
from tests.api.deliveries import MARKER, encoded, payload, signed
from tests.waiting import until

EXPECTED = {
    "opened": ("ensure", "open", False),
    "reopened": ("ensure", "open", False),
    "labeled": ("ensure", "open", True),
    "comment": ("ensure", "open", True),
    "closed": ("stop", "closed", False),
    "transferred": ("stop", "transferred", False),
    "deleted": ("delete", "deleted", False),
    "ping": ("pong", None, False),
    "edited": ("ignore", None, False),
    "assigned": ("ignore", None, False),
}


async def stored(temporal: Client, issue_id: int) -> list[dict[str, Any]]:
    """The events that Temporal has for this issue."""
    history = await temporal.get_workflow_handle(f"claude-issue-{issue_id}").fetch_history()
    signals = [e for e in history.events if e.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED]
    return [json.loads(e.workflow_execution_signaled_event_attributes.input.payloads[0].data) for e in signals]


def test_every_mock_action_has_an_expectation() -> None:
    """No action that `issuebox send` offers is left out below."""
    assert set(EXPECTED) == set(ACTIONS)


@pytest.mark.parametrize("action", EXPECTED)
async def test_delivery_is_stored_or_ignored_with_a_reason(
    api: Api, temporal: Client, issue_id: int, logged: list[dict[str, Any]], action: str
) -> None:
    """A 2xx names a workflow only when Temporal has stored the event; without a workflow it has a reason."""
    intention, state, is_explicit = EXPECTED[action]
    mock = build(action, MockIssue(7, "octo/repo", issue_id, f"A {MARKER}"), SECRET, comment=f"@claude {MARKER}")
    reply = await api.client.post("/webhooks/github", content=mock.body, headers=dict(mock.headers))
    assert reply.status_code == 202, reply.text
    answer = reply.json()
    assert answer["intention"] == intention
    assert answer["reason"]
    assert answer["delivery"] == mock.delivery
    (line,) = [line for line in logged if str(line["event"]).startswith("webhook_")]
    assert line["event"] == ("webhook_ignored" if state is None else "webhook_accepted")
    assert (line["delivery"], line["reason"]) == (mock.delivery, answer["reason"])
    assert MARKER not in repr(logged)
    if state is None:
        assert "workflow_id" not in answer
        return
    assert answer["workflow_id"] == answer["sandbox_name"] == f"claude-issue-{issue_id}"
    assert answer["status_url"] == f"/v1/issues/{issue_id}/sandbox"
    (event,) = await stored(temporal, issue_id)
    assert event["intention"] == intention
    assert event["issue"]["id"] == issue_id
    assert event["issue"]["state"] == state
    assert (event["issue"]["closed_at"] is not None) is (state == "closed")
    assert event["is_explicit"] is is_explicit
    assert event["delivery"] == mock.delivery
    assert event["sender"] == "octocat"
    assert event["digest"] == hashlib.sha256(mock.body).hexdigest()


async def test_events_of_one_issue_go_to_one_workflow(api: Api, temporal: Client, issue_id: int) -> None:
    """Fifty deliveries at once, each sent twice, reach one running workflow, which has all hundred."""
    bodies = [encoded(payload(issue_id, issue={"number": number})) for number in range(1, 51)]
    sends = [api.client.post("/webhooks/github", content=body, headers=signed(body)) for body in bodies * 2]
    assert {reply.status_code for reply in await asyncio.gather(*sends)} == {202}
    assert len(await stored(temporal, issue_id)) == 100


async def test_request_of_a_comment_dates_from_the_comment(api: Api, temporal: Client, issue_id: int) -> None:
    """A late comment is judged by when it was written, not by the issue's last update."""
    comment = {"body": "@claude please", "created_at": "2026-01-01T00:00:00Z"}
    body = encoded(payload(issue_id, "created", comment=comment))
    await api.client.post("/webhooks/github", content=body, headers=signed(body, "issue_comment"))
    (event,) = await stored(temporal, issue_id)
    assert event["requested_at"].startswith("2026-01-01T00:00:00")


@pytest.mark.parametrize("action", ["created", "edited", "deleted"])
async def test_delivery_about_our_own_comment_goes_to_no_workflow(
    api: Api, temporal: Client, issue_id: int, action: str
) -> None:
    """A run's comment is edited every 30 s while the agent works, and GitHub delivers each edit."""
    opened = encoded(payload(issue_id))
    await api.client.post("/webhooks/github", content=opened, headers=signed(opened))
    for said in (f"{marker('r-0123456789ab')}\n**The agent is at work.**", "nothing"):
        comment = {"id": 1, "body": said, "created_at": "2026-01-01T00:00:00Z"}
        body = encoded(payload(issue_id, action, comment=comment))
        reply = await api.client.post("/webhooks/github", content=body, headers=signed(body, "issue_comment"))
        assert reply.status_code == 202
    assert [event["action"] for event in await stored(temporal, issue_id)] == ["opened", action]


async def test_name_prefix_names_workflow_and_sandbox(serve: Serve, issue_id: int) -> None:
    """Another installation, with another prefix, has other names."""
    api = await serve(name_prefix="other-")
    body = encoded(payload(issue_id))
    reply = await api.client.post("/webhooks/github", content=body, headers=signed(body))
    assert reply.json()["workflow_id"] == f"other-{issue_id}"


@pytest.fixture
async def process(temporal_address: str) -> AsyncIterator[tuple[httpx.AsyncClient, asyncio.subprocess.Process]]:
    """`issuebox api` as an operator runs it."""
    port = free_port()
    own = {"TEMPORAL_ADDRESS": temporal_address, "ISSUEBOX_WEBHOOK_SECRETS": SECRET, "ISSUEBOX_LOG_FORMAT": "json"}
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "issuebox", "api", "--port", str(port)),
        env=os.environ | own,
        stderr=asyncio.subprocess.PIPE,
    )
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:

        async def is_ready() -> bool:
            try:
                return (await client.get("/readyz")).is_success
            except httpx.TransportError:
                return False

        await until(is_ready, bool, "the API ready")
        yield client, running
    if running.returncode is None:
        running.kill()
        await running.wait()


async def test_hostile_text_cannot_write_to_the_log(
    process: tuple[httpx.AsyncClient, asyncio.subprocess.Process], issue_id: int
) -> None:
    """Each line on standard error is one JSON object of ours, whatever headers, titles and bodies contain."""
    client, running = process
    forged = f'\n{{"event": "forged", "level": "error"}}\r\n\x1b[31m{MARKER}'
    for body in (
        encoded(payload(issue_id, issue={"title": forged, "body": forged})),
        encoded(payload(issue_id, action=forged)),
        encoded(payload(issue_id, repository={"full_name": forged})),
        forged.encode(),
    ):
        await client.post("/webhooks/github", content=body, headers=signed(body))
        await client.post("/webhooks/github", content=body, headers=signed(body, X_GitHub_Delivery=f"a\tb{MARKER}"))
        await client.get(f"/v1/{MARKER}%0Aforged")
    running.terminate()
    _, output = await running.communicate()
    lines = [json.loads(line) for line in output.decode().splitlines() if line]
    words = [line["event"] for line in lines if line["event"].startswith("webhook_")]
    assert sorted(words) == ["webhook_accepted"] + ["webhook_refused"] * 7
    assert "forged" not in [line["event"] for line in lines]
    assert MARKER not in output.decode()
