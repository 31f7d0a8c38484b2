"""Who may ask, over real HTTP: a refused delivery is answered with the reason and starts nothing."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from issuebox.dev.mock_delivery import MockIssue, MockSender, build
from issuebox.domain.triggers import Association
from tests.api.conftest import SECRET, Api, Serve
from tests.api.deliveries import encoded, payload, signed, without
from tests.api.test_webhook_deliveries import stored

STRICT = {"allowed_repositories": "octo/*", "min_association": "MEMBER", "required_label": "agreed"}
GOOD = MockSender(association=Association.MEMBER)


@dataclass(frozen=True)
class Case:
    """A delivery that lacks one thing, and words of the reason."""

    words: str
    action: str = "opened"
    repository: str = "octo/repo"
    labels: tuple[str, ...] = ("agreed",)
    sender: MockSender = GOOD


STRANGER = MockSender(association=Association.CONTRIBUTOR)
CASES = {
    f"{action}, {name}": case
    for action in ("opened", "reopened", "labeled", "comment")
    for name, case in {
        "by a bot": Case("bots cannot ask", action, sender=MockSender(is_bot=True)),
        "in another's repository": Case("acme/repo is not among ISSUEBOX_ALLOWED_REPOSITORIES", action, "acme/repo"),
        "by a stranger": Case("below ISSUEBOX_MIN_ASSOCIATION MEMBER", action, sender=STRANGER),
        "without the label": Case("'agreed' of ISSUEBOX_REQUIRED_LABEL", action, labels=()),
    }.items()
}


async def send(api: Api, issue_id: int, case: Case) -> httpx.Response:
    issue = MockIssue(7, case.repository, issue_id, labels=case.labels)
    mock = build(case.action, issue, SECRET, sender=case.sender)
    return await api.client.post("/webhooks/github", content=mock.body, headers=dict(mock.headers))


async def is_known(temporal: Client, issue_id: int) -> bool:
    """Whether Temporal has a workflow of this issue, by the server's own state and not by an index."""
    try:
        await temporal.get_workflow_handle(f"claude-issue-{issue_id}").describe()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return False
    return True


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_refused_request_is_a_202_with_the_reason(
    serve: Serve, issue_id: int, logged: list[dict[str, Any]], case: Case
) -> None:
    """GitHub shows an accepted delivery and why nobody acts on it; the log has the same reason."""
    reply = await send(await serve(**STRICT), issue_id, case)
    assert reply.status_code == 202, reply.text
    assert reply.json()["intention"] == "ignore"
    assert "workflow_id" not in reply.json()
    assert case.words in reply.json()["reason"]
    (line,) = [line for line in logged if line["event"] == "webhook_ignored"]
    assert line["reason"] == reply.json()["reason"]


async def test_refused_requests_leave_no_workflow(serve: Serve, temporal: Client, issue_id: int) -> None:
    """After every refusal Temporal knows nothing of the issue; after one allowed request it does."""
    api = await serve(**STRICT)
    for case in CASES.values():
        assert (await send(api, issue_id, case)).json()["intention"] == "ignore"
    assert not await is_known(temporal, issue_id)
    assert (await send(api, issue_id, Case(""))).json()["intention"] == "ensure"
    assert await is_known(temporal, issue_id)


@pytest.mark.parametrize("action", ["labeled", "reopened"])
async def test_maintainer_may_ask_for_an_issue_of_a_stranger(serve: Serve, issue_id: int, action: str) -> None:
    """A person who labels or reopens another's issue has triage rights, so the author's association does not count."""
    api = await serve(**STRICT)
    maintainer = MockSender("maintainer", Association.NONE)
    assert (await send(api, issue_id, Case("", action, sender=maintainer))).json()["intention"] == "ensure"


async def test_snapshot_of_a_refused_request_reaches_the_workflow_that_runs(
    serve: Serve, temporal: Client, issue_id: int
) -> None:
    """Only the request is refused: the workflow gets the snapshot of the issue."""
    await send(await serve(), issue_id, Case("", repository="acme/repo"))
    strict = await serve(**STRICT)
    for case in CASES.values():
        reply = (await send(strict, issue_id, case)).json()
        assert (reply["intention"], reply["workflow_id"]) == ("ignore", f"claude-issue-{issue_id}")
    events = await stored(temporal, issue_id)
    assert [event["intention"] for event in events] == ["ensure", *["ignore"] * len(CASES)]


async def test_snapshot_of_a_refused_request_is_a_503_without_temporal(serve: Serve, closed_address: str) -> None:
    """Without Temporal nobody knows whether a workflow runs, so GitHub must record a failed delivery."""
    assert (await send(await serve(closed_address, **STRICT), 1, CASES["reopened, by a stranger"])).status_code == 503


@pytest.mark.parametrize("action", ["edited", "deleted"])
async def test_edited_or_deleted_comment_leaves_the_issue_open(
    serve: Serve, temporal: Client, issue_id: int, action: str
) -> None:
    """The action `deleted` of a comment is only about the comment: the issue's state is that of its snapshot."""
    api = await serve()
    await send(api, issue_id, Case(""))
    comment = {"body": "@claude", "created_at": "2026-01-01T00:00:00Z", "author_association": "MEMBER"}
    body = encoded(payload(issue_id, action, comment=comment))
    reply = await api.client.post("/webhooks/github", content=body, headers=signed(body, "issue_comment"))
    assert reply.json()["intention"] == "ignore", reply.text
    _, event = await stored(temporal, issue_id)
    assert (event["intention"], event["issue"]["state"]) == ("ignore", "open")


async def test_comment_on_a_pull_request_does_not_reach_temporal(serve: Serve, closed_address: str) -> None:
    """A pull request has no sandbox and no workflow: its many comments cost Temporal nothing."""
    comment = {"body": "@claude", "created_at": "2026-01-01T00:00:00Z", "author_association": "MEMBER"}
    body = encoded(payload(1, "created", comment=comment, issue={"pull_request": {"url": "https://x"}}))
    api = await serve(closed_address)
    reply = await api.client.post("/webhooks/github", content=body, headers=signed(body, "issue_comment"))
    assert (reply.status_code, reply.json()["intention"]) == (202, "ignore")


@pytest.mark.parametrize("field", ["issue.author_association", "issue.labels", "comment.author_association"])
async def test_what_github_leaves_out_is_no_pass(serve: Serve, issue_id: int, field: str) -> None:
    """A delivery without an association counts as a stranger's, and one without labels as unlabelled."""
    issue = {"author_association": "MEMBER", "labels": [{"name": "agreed"}], "user": {"login": "octocat"}}
    comment = {"body": "@claude", "created_at": "2026-01-01T00:00:00Z", "author_association": "MEMBER"}
    is_comment = field.startswith("comment")
    action = "created" if is_comment else "opened"
    changes = {"comment": comment} if is_comment else {}
    body = without(field, issue_id=issue_id, action=action, issue=issue, **changes)
    api = await serve(**STRICT)
    headers = signed(body, "issue_comment" if is_comment else "issues")
    reply = await api.client.post("/webhooks/github", content=body, headers=headers)
    assert (reply.status_code, reply.json().get("intention")) == (202, "ignore"), reply.text
    assert ("ISSUEBOX_REQUIRED_LABEL" if field == "issue.labels" else "ISSUEBOX_MIN_ASSOCIATION") in reply.text


@pytest.mark.parametrize(
    "issue",
    [
        {"labels": None, "user": None, "author_association": None, "closed_at": None},
        {"labels": [None, {"name": "bug", "color": "ff0000"}]},
    ],
)
async def test_null_where_github_allows_it_is_taken(api: Api, issue_id: int, issue: dict[str, object]) -> None:
    """A deleted account or label does not make a delivery malformed."""
    body = encoded(payload(issue_id, issue=issue))
    reply = await api.client.post("/webhooks/github", content=body, headers=signed(body))
    assert (reply.status_code, reply.json()["intention"]) == (202, "ensure")


ENDINGS = [("closed", "stop"), ("transferred", "stop"), ("deleted", "delete")]


@pytest.mark.parametrize(("action", "intention"), ENDINGS)
async def test_end_in_a_repository_that_is_not_allowed_reaches_the_workflow_that_runs(
    serve: Serve, temporal: Client, issue_id: int, action: str, intention: str
) -> None:
    """After a repository is taken off the list, its sandboxes still end with their issues."""
    await send(await serve(), issue_id, Case("", repository="acme/repo"))
    stranger = MockSender("anybody", Association.NONE, is_bot=True)
    case = Case("", action, "acme/repo", labels=(), sender=stranger)
    reply = await send(await serve(**STRICT), issue_id, case)
    assert reply.json()["intention"] == intention
    assert reply.json()["workflow_id"] == f"claude-issue-{issue_id}"
    assert [event["action"] for event in await stored(temporal, issue_id)] == ["opened", action]


@pytest.mark.parametrize(("action", "_intention"), ENDINGS)
async def test_end_in_a_repository_that_is_not_allowed_starts_no_workflow(
    serve: Serve, temporal: Client, issue_id: int, logged: list[dict[str, Any]], action: str, _intention: str
) -> None:
    """Strangers' repositories do not fill Temporal: without a running workflow, the delivery is ignored."""
    reply = await send(await serve(**STRICT), issue_id, Case("", action, "acme/repo"))
    assert (reply.status_code, reply.json()["intention"]) == (202, "ignore")
    assert "no workflow runs" in reply.json()["reason"]
    assert "ISSUEBOX_ALLOWED_REPOSITORIES" in reply.json()["reason"]
    assert not await is_known(temporal, issue_id)
    assert [line["event"] for line in logged if line["event"].startswith("webhook_")] == ["webhook_ignored"]


async def test_end_in_a_repository_that_is_not_allowed_is_a_503_without_temporal(
    serve: Serve, closed_address: str
) -> None:
    """Without Temporal nobody knows whether a workflow runs, so GitHub must record a failed delivery."""
    reply = await send(await serve(closed_address, **STRICT), 1, Case("", "closed", "acme/repo"))
    assert reply.status_code == 503


async def test_end_of_a_welcome_issue_is_stored_without_a_workflow_before(
    serve: Serve, temporal: Client, issue_id: int
) -> None:
    """A close that overtakes its `opened` is remembered, so that the late `opened` creates no sandbox."""
    await send(await serve(**STRICT), issue_id, Case("", "closed"))
    (event,) = await stored(temporal, issue_id)
    assert event["issue"]["closed_at"] == event["issue"]["updated_at"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("opened --label agreed", '"ensure"'),
        ("opened --label bug --label Agreed --association member", '"ensure"'),
        ("labeled --label agreed --association none --sender maintainer", '"ensure"'),
        ("labeled --label agreed --association none", "ISSUEBOX_MIN_ASSOCIATION"),
        ("opened --label agreed --repo acme/repo", "ISSUEBOX_ALLOWED_REPOSITORIES"),
        ("comment --label bug", "ISSUEBOX_REQUIRED_LABEL"),
        ("comment --label agreed --bot", "bots cannot ask"),
    ],
)
async def test_each_criterion_can_be_tried_by_hand(serve: Serve, issue_id: int, options: str, words: str) -> None:
    """`issuebox send` has an option for each criterion, and prints the reason."""
    api = await serve(**STRICT)
    command = f"send {options} --id {issue_id} --url {api.client.base_url} --secret".split()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "issuebox", *command, SECRET),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    assert words in output.decode()
