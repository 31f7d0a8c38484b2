"""No secret is visible: a run of everything that handles secrets is searched for planted ones."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from temporalio.client import Client

from issuebox.dev.demo.stack import Stack, running, until
from issuebox.dev.mock_delivery import MockIssue, build, post
from tests.inside.origin import USER, Origin, serving

pytestmark = pytest.mark.timeout(180)

GITHUB_TOKEN = "ghp_PLANTED0github0token0000000000000000"
WEBHOOK_SECRET = "PLANTED-webhook-secret-3f9a"
API_TOKEN = "PLANTED-api-token-77c1"
KNOWN_WORD = "Demo issue"
"""The search must find this word: one that finds nothing at all proves nothing."""


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[Origin]:
    """A git server that requires the token."""
    with serving(tmp_path / "origin") as origin:
        origin.token = GITHUB_TOKEN
        origin.add("octo/repo")
        yield origin


@pytest.fixture
async def stack(tmp_path: Path, origin: Origin) -> AsyncIterator[Stack]:
    """Everything that knows a secret, as separate processes."""
    async with running(
        tmp_path / "data",
        ISSUEBOX_GITHUB_TOKEN=GITHUB_TOKEN,
        ISSUEBOX_WEBHOOK_SECRETS=WEBHOOK_SECRET,
        ISSUEBOX_API_TOKENS=API_TOKEN,
        ISSUEBOX_SETUP_CLONE_URL=origin.url + "/{repository}.git",
        ISSUEBOX_SETUP_COMMAND="test ! -e fail",
        ISSUEBOX_GITHUB_API_URL=origin.url,
    ) as stack:
        yield stack


async def _run_everything(stack: Stack, origin: Origin) -> None:
    """Use each secret, in the successful cases and in those that end in an error."""
    await stack.send("opened", 201)
    await stack.served(201)
    assert origin.is_fetching.is_set(), "the clone carried the token"
    await stack.send("opened", 204)
    await stack.served(204)
    await stack.send("deleted", 204)
    await until(lambda: stack.live(204), lambda rows: not rows, "the sandbox gone")
    # A clone that fails, a key that Daytona refuses, and a wrong signature and token.
    missing = MockIssue(202, "octo/missing", title=f"{KNOWN_WORD} 202")
    await post(stack.http, stack.stack.api_url, build("opened", missing, WEBHOOK_SECRET))
    await stack.blocked(202)
    await stack.admin.add_fault("get", {"kind": "status", "status": 401}, name=stack.name(203), times=1)
    await stack.send("opened", 203)
    await stack.blocked(203)
    unsigned = await post(stack.http, stack.stack.api_url, build("opened", missing, "another secret"))
    assert unsigned.status_code == httpx.codes.UNAUTHORIZED
    url = f"{stack.stack.api_url}/v1/sandboxes"
    refused = await stack.http.get(url, headers={"Authorization": f"Bearer {API_TOKEN}x"})
    assert refused.status_code == httpx.codes.UNAUTHORIZED


async def _places(stack: Stack) -> dict[str, bytes]:
    """Everything that people or other programs can see, by a name for the report."""
    seen: dict[str, bytes] = {}
    client = await Client.connect(stack.stack.temporal_address)
    async for execution in client.list_workflows():
        handle = client.get_workflow_handle(execution.id, run_id=execution.run_id)
        description = await handle.describe()
        seen[f"description of {execution.id}"] = description.raw_description.SerializeToString()
        events = (await handle.fetch_history()).events
        seen[f"history of {execution.id}"] = b"".join(event.SerializeToString() for event in events)
    for path in (stack.data_dir / "logs").iterdir():
        seen[f"log {path.name}"] = path.read_bytes()
    for path in stack.data_dir.rglob("sandboxes/*/home/**/*"):
        if path.is_file():
            seen[f"in the sandbox: {path.name}"] = path.read_bytes()
    seen["labels"] = repr([row.labels for row in await stack.admin.sandboxes()]).encode()
    seen["Daytona's journal"] = repr(await stack.admin.journal()).encode()
    for issue in (201, 202, 203, 204):
        for tail in ("", "/why"):
            url = f"{stack.stack.api_url}/v1/issues/{issue}/sandbox{tail}"
            seen[url] = (await stack.http.get(url, headers={"Authorization": f"Bearer {API_TOKEN}"})).content
    return seen


async def test_planted_secrets_are_nowhere(stack: Stack, origin: Origin) -> None:
    """They are in no history, memo, label, log line, error, answer or file of the sandbox, nor encoded for HTTP."""
    await _run_everything(stack, origin)
    daytona_key = stack.stack.daytona_api_key
    assert daytona_key
    basic = base64.b64encode(f"{USER}:{GITHUB_TOKEN}".encode()).decode()
    secrets = (GITHUB_TOKEN, WEBHOOK_SECRET, API_TOKEN, daytona_key, basic)
    places = await _places(stack)
    assert any(name.startswith("history") and KNOWN_WORD.encode() in text for name, text in places.items())
    assert any(name.startswith("log") and b"sandbox_set_up" in text for name, text in places.items())
    assert any(name == "in the sandbox: config" for name in places)
    found = [(name, secret) for name, text in places.items() for secret in secrets if secret.encode() in text]
    assert found == []
