"""An issue is found by its repository and number, and the answer says clearly when it is not there."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from temporalio.client import Client
from temporalio.common import SearchAttributePair, TypedSearchAttributes

from tests.api.conftest import BEARER, Api, Serve
from tests.api.test_list import begin, namespace  # noqa: F401 -- a fixture
from tests.api.test_rest import conforms, document
from tests.waiting import until
from workflows import search_attributes
from workflows.messages import Published

PATH = "/v1/repos/{owner}/{repo}/issues/{number}"


@pytest.fixture
def prefix(issue_id: int) -> str:
    """Of the names of this test's issues, whose IDs may then be small."""
    return f"n{issue_id}-"


@pytest.fixture
async def api(serve: Serve, prefix: str) -> Api:
    return await serve(name_prefix=prefix)


async def know(temporal: Client, prefix: str, issue_id: int, published: Published) -> None:
    """An issue whose workflow has published this; returns when it is in the index."""
    number = TypedSearchAttributes([SearchAttributePair(search_attributes.NUMBER, published.number)])
    await begin(temporal, issue_id, published, prefix, "nobody", search_attributes=number)
    query = f"WorkflowId = '{prefix}{issue_id}' AND {search_attributes.NUMBER.name} = {published.number}"

    async def listed() -> int:
        return (await temporal.count_workflows(query)).count

    await until(listed, bool, "the issue listed")


async def get(api: Api, owner: str, repo: str, number: int) -> httpx.Response:
    """The answer, which is as documented."""
    reply = await api.client.get(PATH.format(owner=owner, repo=repo, number=number), headers=BEARER)
    conforms(await document(api), "get", PATH, reply)
    return reply


async def test_issue_is_found_in_any_case_of_its_name(api: Api, temporal: Client, prefix: str) -> None:
    """The answer has the ID and the name as GitHub writes it; the same number elsewhere is another issue."""
    await know(temporal, prefix, 11, Published(repository="Octo/Repo", number=7, title="A bug", issue_state="open"))
    await know(temporal, prefix, 12, Published(repository="octo/other", number=7))
    for owner, repo in (("Octo", "Repo"), ("octo", "repo")):
        reply = await get(api, owner, repo, 7)
        assert (reply.status_code, reply.json()) == (
            200,
            {
                "issue_id": 11,
                "name": f"{prefix}11",
                "repository": "Octo/Repo",
                "number": 7,
                "title": "A bug",
                "issue_state": "open",
                "ended": "",
                "status_url": "/v1/issues/11/sandbox",
            },
        )


async def test_unknown_number_is_a_404_that_says_what_works(api: Api, temporal: Client, prefix: str) -> None:
    """Neither another number nor another repository leads to the issue."""
    await know(temporal, prefix, 11, Published(repository="octo/repo", number=7))
    for repo, number in (("repo", 8), ("other", 7)):
        reply = await get(api, "octo", repo, number)
        assert (reply.status_code, reply.json()["type"]) == (404, "urn:issuebox:problem:unknown-issue")
        assert f"gh api repos/octo/{repo}/issues/{number} --jq .id" in reply.json()["detail"]


@pytest.mark.parametrize(("state", "words"), [("transferred", "another repository"), ("deleted", "deleted at GitHub")])
async def test_issue_that_left_is_a_410(api: Api, temporal: Client, prefix: str, state: str, words: str) -> None:
    """Nobody takes what is left of it for the issue, and the answer says where that is."""
    await know(temporal, prefix, 11, Published(repository="octo/repo", number=7, issue_state=state))
    reply = await get(api, "octo", "repo", 7)
    assert (reply.status_code, reply.json()["type"]) == (410, "urn:issuebox:problem:issue-gone")
    assert words in reply.json()["detail"]
    assert "/v1/issues/11/sandbox" in reply.json()["detail"]


async def test_repository_that_was_created_anew_is_ambiguous(api: Api, temporal: Client, prefix: str) -> None:
    """Two open issues under one number are a 409 with both IDs, until the old one is known to be deleted or ended."""
    place: dict[str, Any] = {"repository": "octo/repo", "number": 7}
    await know(temporal, prefix, 11, Published(**place, issue_state="open"))
    await know(temporal, prefix, 12, Published(**place, issue_state="open"))
    await know(temporal, prefix, 13, Published(**place, issue_state="deleted"))
    reply = await get(api, "octo", "repo", 7)
    assert (reply.status_code, reply.json()["type"]) == (409, "urn:issuebox:problem:ambiguous-issue")
    assert "(11, 12)" in reply.json()["detail"]
    await temporal.get_workflow_handle(f"{prefix}12").terminate()
    reply = await until(lambda: get(api, "octo", "repo", 7), lambda reply: reply.status_code == 200, "only one is left")
    assert (reply.json()["issue_id"], reply.json()["ended"]) == (11, "")
    await temporal.get_workflow_handle(f"{prefix}11").terminate()
    reply = await until(lambda: get(api, "octo", "repo", 7), lambda reply: reply.status_code == 409, "all have ended")
    assert "(11, 12)" in reply.json()["detail"]


async def test_issue_whose_workflow_ended_is_found_and_said_to_be(api: Api, temporal: Client, prefix: str) -> None:
    """Its ID is still right: the next request starts a new workflow."""
    await know(temporal, prefix, 11, Published(repository="octo/repo", number=7, issue_state="open"))
    await temporal.get_workflow_handle(f"{prefix}11").terminate()

    async def ended() -> str:
        return (await get(api, "octo", "repo", 7)).json()["ended"]

    assert (await until(ended, bool, "it ended in the index")).startswith("the workflow was terminated at ")


async def test_search_without_registered_attributes_is_a_503(namespace: Client, serve: Serve) -> None:  # noqa: F811
    """An operator has to act, and the answer names what is missing."""
    assert namespace.namespace
    reply = await get(await serve(), "octo", "repo", 7)
    assert reply.status_code == 503
    assert search_attributes.NUMBER.name in reply.json()["detail"]
