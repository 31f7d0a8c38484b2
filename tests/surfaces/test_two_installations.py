"""Two installations in one Daytona organization get the same webhooks: a sandbox's label names its owner.

Both are the whole product as `issuebox dev` runs it, each with its own Temporal. They differ in `ISSUEBOX_INSTANCE`,
and the second one ends the sandboxes of closed issues within seconds: a sandbox that it considers its own does not
live long.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio

from issuebox.dev.demo.stack import SETTINGS, Stack, running, until
from localdaytona.admin_models import SandboxView

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]

BLUE, GREEN = "blue-team", "green-team"
READS = frozenset({"get", "list"})

SLOW_TO_STOP = {"ISSUEBOX_CLOSE_STOP_AFTER_S": "3600", "ISSUEBOX_CLOSE_ARCHIVE_AFTER_S": "3600"}
HASTY = {
    "ISSUEBOX_CLOSE_STOP_AFTER_S": "0.5",
    "ISSUEBOX_CLOSE_ARCHIVE_AFTER_S": "1",
    "ISSUEBOX_CLOSE_DELETE_AFTER_S": "1.5",
}


@dataclass
class Both:
    """The two installations; blue's data directory also has the Daytona of both."""

    blue: Stack
    green: Stack

    async def deliver(self, action: str, issue: int) -> None:
        """GitHub sends the delivery to both."""
        await asyncio.gather(self.blue.send(action, issue), self.green.send(action, issue))

    async def of_blue(self, issue: int) -> SandboxView:
        """The issue's sandbox, which blue created before green heard of the issue."""
        await self.blue.send("opened", issue)
        await self.blue.served(issue)
        await self.green.send("opened", issue)
        await self.settled(issue)
        return await self.blue.one(issue)

    async def settled(self, issue: int, after: str = "") -> dict[str, Any]:
        """Green's status once it is idle and has noted `after`."""

        async def read() -> tuple[dict[str, Any], list[str]]:
            notes = [note["what"] for note in (await self.why(issue)).get("notes", ())]
            return await self.green.status(issue), notes

        seen, _ = await until(
            read,
            lambda pair: (
                str(pair[0].get("doing")).startswith(("resting", "blocked")) and (not after or after in pair[1])
            ),
            f"green has settled issue {issue}",
        )
        return seen

    async def cause(self, issue: int) -> str:
        """The cause that blocks the issue at green; '' for none."""
        return str(((await self.green.status(issue))["blocked"] or {}).get("cause", ""))

    async def at_goal(self, issue: int, goal: str) -> None:
        """Wait until this is green's goal and green has acted on it."""
        await until(
            lambda: self.green.status(issue),
            lambda seen: seen.get("goal") == goal and str(seen.get("doing")).startswith(("resting", "blocked")),
            f"green's goal for issue {issue} is {goal}",
        )

    async def why(self, issue: int) -> dict[str, Any]:
        """Green's answer over REST."""
        reply = await self._green("GET", f"/v1/issues/{issue}/sandbox/why")
        body: dict[str, Any] = reply.json() if reply.is_success else {}
        return body

    async def order(self, method: str, path: str, **params: Any) -> None:
        reply = await self._green(method, path, **params)
        assert reply.status_code == 202, reply.text

    async def acts(self, row: SandboxView, after: int) -> list[str]:
        """What anyone requested of Daytona for this sandbox since then, besides reads."""
        entries = await self.blue.admin.journal(after=after, kind="request")
        found = [entry.operation for entry in entries if row.id == entry.sandbox_id or row.name == entry.name]
        return [operation for operation in found if operation and operation not in READS]

    async def journal_end(self) -> int:
        return (await self.blue.admin.journal())[-1].seq

    async def label(self, row: SandboxView, **labels: str) -> None:
        """A person changes labels at Daytona."""
        merged = dict(row.labels) | {key.replace("_", "-"): value for key, value in labels.items()}
        reply = await self.blue.http.put(
            f"{self.blue.stack.daytona_api_url}/sandbox/{row.id}/labels",
            json={"labels": merged},
            headers={"Authorization": f"Bearer {self.blue.stack.daytona_api_key}"},
        )
        assert reply.is_success, reply.text

    async def issuebox(self, *arguments: str) -> tuple[int, str]:
        """The command line, on green's data directory: exit code and standard output."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "issuebox", *arguments, "--data", str(self.green.data_dir)),
            env=os.environ | {"COLUMNS": "4000"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        output, _ = await process.communicate()
        return process.returncode or 0, output.decode()

    async def _green(self, method: str, path: str, **params: Any) -> httpx.Response:
        stack = self.green.stack
        headers = {"Authorization": f"Bearer {stack.api_token}"}
        return await self.green.http.request(method, stack.api_url + path, params=params, headers=headers)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def both(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Both]:
    """Both for all tests; each test has its own issues."""
    data = tmp_path_factory.mktemp("both")
    async with AsyncExitStack() as exits:
        blue = await exits.enter_async_context(running(data / "blue", _settings(BLUE, SLOW_TO_STOP)))
        daytona = {
            "DAYTONA_API_KEY": blue.stack.daytona_api_key or "",
            "DAYTONA_API_URL": blue.stack.daytona_api_url,
        }
        green = await exits.enter_async_context(running(data / "green", _settings(GREEN, HASTY | daytona)))
        green.admin = blue.admin
        yield Both(blue, green)


def _settings(instance: str, more: dict[str, str]) -> dict[str, str]:
    return SETTINGS | {"ISSUEBOX_INSTANCE": instance} | more


async def test_issue_is_blocked_and_names_the_owner_of_its_sandbox(both: Both) -> None:
    """REST, `why` and `show` name both instances, the one on the label and their own, and give the advice."""
    issue = 501
    row = await both.of_blue(issue)
    assert row.labels["issuebox-instance"] == BLUE
    seen = await both.settled(issue)
    assert (seen["blocked"] or {}).get("cause") == "foreign", seen
    for name in (BLUE, GREEN):
        assert name in seen["blocked"]["reason"]
        assert name in (await both.why(issue))["summary"]
        for command in ("show", "why"):
            assert name in (await both.issuebox(command, str(issue)))[1], command
    for word in ("delete", "rename", "ISSUEBOX_INSTANCE", "label", "retry"):
        assert word in seen["blocked"]["advice"]


async def _closed(both: Both, issue: int) -> None:
    """To the last rung of green's ladder: by then it would have stopped, archived and deleted its own sandbox."""
    await both.deliver("closed", issue)
    await both.at_goal(issue, "deleted")


async def _issue_deleted(both: Both, issue: int) -> None:
    await both.green.send("deleted", issue)
    await both.at_goal(issue, "deleted")


async def _stopped(both: Both, issue: int) -> None:
    await both.order("POST", f"/v1/issues/{issue}/stop")
    await both.settled(issue, "stop")


async def _forced(both: Both, issue: int) -> None:
    await both.order("DELETE", f"/v1/issues/{issue}/sandbox", force=True)
    await both.settled(issue, "delete --force")


async def _replaced(both: Both, issue: int) -> None:
    await both.order("POST", f"/v1/issues/{issue}/replace")
    await both.settled(issue, "replace")


async def _retried(both: Both, issue: int) -> None:
    await both.order("POST", f"/v1/issues/{issue}/retry")
    await both.settled(issue, "retry")


async def _asked_again(both: Both, issue: int) -> None:
    code, _ = await both.issuebox("ensure", str(issue), "--wait", "20")
    assert code != 0
    await both.settled(issue, "ensure")


Act = Callable[[Both, int], Awaitable[None]]
ACTS: list[Act] = [_closed, _issue_deleted, _stopped, _forced, _replaced, _retried, _asked_again]


@pytest.mark.parametrize("act", ACTS, ids=[act.__name__.strip("_") for act in ACTS])
async def test_sandbox_of_the_other_installation_is_left_alone(both: Both, act: Act) -> None:
    """Whatever happens to the issue here or is ordered here, the other installation's sandbox is only read."""
    issue = 510 + ACTS.index(act)
    before = await both.of_blue(issue)
    began = await both.journal_end()
    await act(both, issue)
    after = await both.blue.one(issue)
    assert await both.acts(before, began) == []
    assert (after.id, after.state, after.labels) == (before.id, "started", before.labels)
    assert await both.cause(issue) == "foreign"


async def test_same_delivery_at_both_makes_one_sandbox_for_one_of_them(both: Both) -> None:
    """The sandbox belongs to the installation whose create succeeded; the other one blocks with the reason."""
    issue = 530
    await both.deliver("opened", issue)
    statuses = await asyncio.gather(*(_at_rest(stack, issue) for stack in (both.blue, both.green)))
    causes = [(seen["blocked"] or {}).get("cause") for seen in statuses]
    owner = (await both.blue.one(issue)).labels["issuebox-instance"]
    assert causes == ([None, "foreign"] if owner == BLUE else ["foreign", None])
    assert await both.blue.creates(issue) == 1


async def _at_rest(stack: Stack, issue: int) -> dict[str, Any]:
    return await until(
        lambda: stack.status(issue),
        lambda seen: str(seen.get("doing")).startswith(("resting", "blocked")),
        f"issue {issue} is at rest",
    )


async def test_retry_makes_its_own_when_the_other_one_is_gone(both: Both) -> None:
    """The advice works: delete it there, then `retry`."""
    issue = 531
    row = await both.of_blue(issue)
    assert await both.cause(issue) == "foreign"
    await both.blue.admin.act(row.id, "delete")
    await until(lambda: both.blue.live(issue), lambda rows: not rows, "it is gone")
    await _retried(both, issue)
    own = await both.green.one(issue)
    assert (own.id != row.id, own.labels["issuebox-instance"]) == (True, GREEN)


async def test_retry_takes_it_when_its_label_is_corrected(both: Both) -> None:
    """The other advice works: it is really ours, so correct the label, then `retry`."""
    issue = 532
    row = await both.of_blue(issue)
    assert await both.cause(issue) == "foreign"
    await both.label(row, issuebox_instance=GREEN)
    await _retried(both, issue)
    seen = await both.green.status(issue)
    assert (seen["blocked"], seen["sandbox"]["id"], seen["outcome"]) == (None, row.id, "reused")


async def test_order_on_anothers_sandbox_gives_up_nothing_later(both: Both) -> None:
    """`delete --force` and `replace` were refused; they do not take effect once the sandbox becomes ours."""
    for issue, act in ((533, _forced), (534, _replaced)):
        row = await both.of_blue(issue)
        await both.blue.execute(issue, "git init -q work && touch work/unsaved")
        await act(both, issue)
        assert await both.cause(issue) == "foreign"
        began = await both.journal_end()
        await both.label(row, issuebox_instance=GREEN)
        await _retried(both, issue)
        assert "delete" not in await both.acts(row, began)
        assert (await both.green.one(issue)).id == row.id


async def test_sandbox_that_is_anothers_from_now_on_is_left_alone(both: Both) -> None:
    """Somebody gives our sandbox to the other installation: from then on it is theirs, and our timers do not apply."""
    issue = 535
    await both.green.send("opened", issue)
    await both.green.served(issue)
    row = await both.green.one(issue)
    await both.label(row, issuebox_instance=BLUE)
    began = await both.journal_end()
    await both.green.send("closed", issue)
    await both.at_goal(issue, "deleted")
    assert await both.acts(row, began) == []
    assert (await both.blue.one(issue)).state == "started"


async def test_audit_counts_it_apart(both: Both) -> None:
    """It is no leak, lost, orphan or duplicate: the promise holds, and the report counts such issues."""
    open_issue, closed_issue = 540, 541
    for issue in (open_issue, closed_issue):
        await both.of_blue(issue)
    await _closed(both, closed_issue)
    began = await both.journal_end()
    code, output = await both.issuebox("audit", "--json")
    report = json.loads(output)
    assert [found for found in report["findings"] if found["issue_id"] in {open_issue, closed_issue}] == []
    assert report["foreign"] >= 2
    for issue in (open_issue, closed_issue):
        assert await both.acts(await both.blue.one(issue), began) == []
    assert (code, report["promise_holds"]) == (0, True), report
    code, output = await both.issuebox("audit")
    assert code == 0
    assert f"{report['foreign']} issues" in output
    assert "another installation" in output
