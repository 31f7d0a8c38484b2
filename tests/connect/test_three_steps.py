"""The first hour: `issuebox dev` in an empty directory, then GitHub and Daytona connected, then a real sandbox.

These are the steps of docs/connect.md.
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from issuebox.connections import Connected, directory_of, read
from issuebox.dev.dev_stack import DevStack
from issuebox.dev.mock_delivery import MockIssue, build
from localdaytona.testing import Server, free_port, running
from tests.connect.conftest import Running
from tests.connect.github_pages import GitHubPages, Person
from tests.waiting import until

Start = Callable[..., Awaitable[Running]]
READY_S = 90.0


@pytest.mark.timeout(300)
async def test_three_steps_lead_from_an_empty_directory_to_a_sandbox(
    start: Start, github: GitHubPages, person: Person, tmp_path: Path
) -> None:
    """The next start uses what was connected: GitHub's secret and App, and Daytona's key instead of a local one."""
    place, data = tmp_path / "here", tmp_path / "here" / ".issuebox"
    ports = [text for part in ("api", "temporal", "ui") for text in (f"--{part}-port", str(free_port()))]
    first = await start("dev", *ports, "--daytona-port", str(free_port()))
    before = await ready(first, data)
    assert before.daytona_api_key is not None

    asking = await start(
        "connect", "github", "--github-url", github.url, "--no-browser", "--webhook-url", "https://issuebox.example.org"
    )
    await person.registers(await asking.page())
    github.install()
    assert await asking.ends() == 0, asking.printed
    assert "Restart the `issuebox dev` that runs on .issuebox" in asking.printed
    async with running(tmp_path / "daytona", api_key="dtn_first-hour") as daytona:
        given = {"DAYTONA_API_KEY": "dtn_first-hour", "DAYTONA_API_URL": daytona.api_url}
        asking = await start("connect", "daytona", "--target", "us", **given)
        assert await asking.ends(90) == 0, asking.printed
        first.process.send_signal(signal.SIGINT)
        assert await first.ends() == 0, first.printed

        second = await start("dev", *ports)
        stack = await ready(second, data)
        assert stack.daytona_api_key is None
        assert stack.daytona_api_url == daytona.api_url
        stored = read(directory_of(data), Connected.GITHUB)
        assert stored
        assert stored.facts["page"] in await second.shows("GitHub")
        secret = github.app_only.webhook_secret
        assert await delivered(stack, before.webhook_secret) == 401
        assert await delivered(stack, secret) == 202
        state = await until(lambda: sandbox(daytona), lambda found: found == "started", "the sandbox runs", READY_S)
        assert state == "started"
        sent = await start("send", "opened", "--issue", "8")
        assert (await sent.ends(), "202" in sent.printed) == (0, True), sent.printed
        for logged in (data / "logs").glob("*.log"):
            text = logged.read_text()
            assert not any(word in text for word in (secret, "dtn_first-hour", "BEGIN RSA"))
        second.process.send_signal(signal.SIGINT)
        assert await second.ends() == 0, second.printed
    shutil.rmtree(place)


async def ready(run: Running, data: Path) -> DevStack:
    """The stack, once all its parts run."""

    async def look() -> DevStack | None:
        assert run.process.returncode is None, run.printed
        stack = DevStack.lookup(data)
        return stack if stack and stack.is_ready and stack.pid == run.process.pid else None

    stack = await until(look, bool, "the stack is ready", READY_S)
    assert stack
    return stack


async def delivered(stack: DevStack, secret: str) -> int:
    """The status of a delivery that is signed with this secret."""
    mock = build("opened", MockIssue(7, "octo/repo"), secret)
    async with httpx.AsyncClient(trust_env=False) as client:
        url = f"{stack.api_url}/webhooks/github"
        return (await client.post(url, content=mock.body, headers=dict(mock.headers))).status_code


async def sandbox(daytona: Server) -> str:
    """The state of the issue's sandbox at the connected Daytona; '' for none."""
    headers = {"Authorization": f"Bearer {daytona.api_key}"}
    async with httpx.AsyncClient(headers=headers, trust_env=False) as client:
        reply = await client.get(f"{daytona.api_url}/sandbox/claude-issue-7")
    return str(reply.json()["state"]) if reply.is_success else ""
