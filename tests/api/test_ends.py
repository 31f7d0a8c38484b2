"""REST for workflows that are over or cannot go on: the truth, and what helps."""

from __future__ import annotations

import pytest

from tests.api.conftest import BEARER, Api, Serve
from tests.stuck import MARKED_S, make_stuck
from tests.waiting import until
from tests.workflow.conftest import Stack, Started, daytona, start  # noqa: F401 -- fixtures


@pytest.fixture
async def stack(start: Started) -> Stack:  # noqa: F811 -- the fixture of that name
    return await start()


@pytest.fixture
async def api(serve: Serve, stack: Stack) -> Api:
    """The API on the task queue that the stack's worker serves."""
    return await serve(task_queue=stack.settings.task_queue)


READS_AND_ORDERS = [("GET", "sandbox"), ("GET", "sandbox/why"), ("POST", "stop"), ("DELETE", "sandbox")]


@pytest.mark.parametrize(("method", "path"), READS_AND_ORDERS)
async def test_workflow_that_ended_is_not_found_with_its_end(api: Api, stack: Stack, method: str, path: str) -> None:
    """Its last status is history: a program that polls it must not wait for anybody. The next PUT starts anew."""
    await stack.ensure()
    await stack.handle.terminate()
    reply = await api.client.request(method, f"/v1/issues/{stack.issue_id}/{path}", headers=BEARER)
    assert (reply.status_code, reply.json()["type"]) == (404, "urn:issuebox:problem:workflow-ended")
    assert "was terminated at" in reply.json()["detail"]
    again = await api.client.put(f"/v1/issues/{stack.issue_id}/sandbox?wait_s=20", headers=BEARER)
    assert (again.status_code, again.json()["outcome"]) == (200, "reused")


async def test_stuck_workflow_is_told_with_the_command_that_helps(api: Api, stack: Stack) -> None:
    """No worker is missing. What is sent meanwhile is stored, so it is answered with 202."""
    await make_stuck(stack)
    path = f"/v1/issues/{stack.issue_id}/sandbox"

    reply = await api.client.get(path, headers=BEARER)
    problem = reply.json()
    assert (reply.status_code, problem["type"]) == (503, "urn:issuebox:problem:workflow-stuck")
    assert "Failed decoding arguments" in problem["detail"]
    assert f"temporal workflow terminate --workflow-id {stack.name}" in problem["detail"]
    assert "no worker serves" not in problem["detail"]
    asked = await api.client.put(f"{path}?wait_s=5", headers=BEARER)
    assert (asked.status_code, asked.json()["outcome"]) == (202, "pending")

    async def listed() -> list[str]:
        rows = (await api.client.get("/v1/sandboxes?page_size=200", headers=BEARER)).json()["sandboxes"]
        return [row["stuck"] for row in rows if row["issue_id"] == stack.issue_id]

    (reason,) = await until(listed, any, "the list marks it", MARKED_S)
    assert "Failed decoding arguments" in reason
