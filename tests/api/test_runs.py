"""Runs by REST on the whole stack: asked for once, followed, cancelled, and read without secrets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.conftest import BEARER, Api, Serve
from tests.api.test_rest import conforms, document
from tests.waiting import until
from tests.workflow.conftest import Stack, Started, daytona, start  # noqa: F401 -- fixtures
from tests.workflow.test_agent_runs import WORK

JOB = "echo hello; echo oh >&2; [ ! -e ~/hold ] || sleep 60"


@pytest.fixture
def log_dir(tmp_path: Path) -> str:
    return str(tmp_path / "runs")


@pytest.fixture
async def stack(start: Started, log_dir: str) -> Stack:  # noqa: F811 -- the fixture of that name
    return await start(**WORK, run_command=JOB, run_log_dir=log_dir)


@pytest.fixture
async def api(serve: Serve, stack: Stack, log_dir: str) -> Api:
    """The API on the task queue that the stack's worker serves, with the same directory of logs."""
    return await serve(task_queue=stack.settings.task_queue, run_log_dir=log_dir)


async def ask(api: Api, issue_id: int, key: str = "", **body: object) -> httpx.Response:
    headers = BEARER | ({"Idempotency-Key": key} if key else {})
    return await api.client.post(f"/v1/issues/{issue_id}/runs", headers=headers, json={"prompt": "Do it"} | body)


async def read(api: Api, issue_id: int, path: str = "", **params: Any) -> httpx.Response:
    return await api.client.get(f"/v1/issues/{issue_id}/runs{path}", headers=BEARER, params=params)


async def in_state(api: Api, issue_id: int, state: str) -> dict[str, Any]:
    """Wait until the newest run is in this state."""

    async def newest() -> dict[str, Any]:
        runs = (await read(api, issue_id)).json()["runs"]
        return dict(runs[-1]) if runs else {}

    return await until(newest, lambda run: run.get("state") == state, f"the run is {state}", 40.0)


async def test_request_is_made_once_and_followed(api: Api, stack: Stack) -> None:
    """The same key is the same request, and each answer is as the document says."""
    schema, path = await document(api), "/v1/issues/{issue_id}/runs"
    first = await ask(api, stack.issue_id, "a-key", repository="octo/repo", number=5)
    assert (first.status_code, first.headers["location"]) == (202, f"/v1/issues/{stack.issue_id}/runs")
    assert (first.json()["key"], first.json()["state"], first.json()["place"]) == ("call-a-key", "waiting", 1)
    conforms(schema, "post", path, first)
    run = await in_state(api, stack.issue_id, "done")
    again = await ask(api, stack.issue_id, "a-key")
    assert (again.json()["state"], again.json()["run"]) == ("over", run["id"])
    listed = await read(api, stack.issue_id)
    conforms(schema, "get", path, listed)
    assert [run["keys"] for run in listed.json()["runs"]] == [["call-a-key"]]
    one = await read(api, stack.issue_id, f"/{run['id']}")
    conforms(schema, "get", f"{path}/{{run}}", one)
    assert one.json() == run
    status = await api.client.get(f"/v1/issues/{stack.issue_id}/sandbox", headers=BEARER)
    conforms(schema, "get", "/v1/issues/{issue_id}/sandbox", status)
    assert status.json()["run"] == run


async def test_longest_keys_are_told_apart(api: Api, stack: Stack) -> None:
    """Both are requests, although they differ in their last letter alone."""
    keys = ["k" * 127 + end for end in "ab"]
    replies = [(await ask(api, stack.issue_id, key)).json()["key"] for key in keys]
    assert replies == [f"call-{key}" for key in keys]


async def test_log_is_read_in_parts(api: Api, stack: Stack) -> None:
    """From each offset on, as far as there are bytes; standard error separately."""
    await ask(api, stack.issue_id)
    run = await in_state(api, stack.issue_id, "done")
    path = f"/{run['id']}/log"
    whole = await read(api, stack.issue_id, path)
    assert (whole.content, whole.headers["x-next-offset"], whole.headers["x-attempt"]) == (b"hello\n", "6", "1")
    assert whole.headers["content-type"] == "application/octet-stream"
    rest = await read(api, stack.issue_id, path, offset=4, attempt=1)
    assert (rest.content, rest.headers["x-next-offset"]) == (b"o\n", "6")
    end = await read(api, stack.issue_id, path, offset=6)
    assert (end.status_code, end.content, end.headers["x-next-offset"]) == (200, b"", "6")
    assert (await read(api, stack.issue_id, path, stream="err")).content == b"oh\n"


async def test_run_is_cancelled(api: Api, stack: Stack) -> None:
    """By its name, or with all that waits. A run that the issue does not have is a 404, and ends nothing."""
    sandbox = (await stack.ensure()).sandbox
    assert sandbox is not None
    await stack.provider.execute(sandbox.id, "touch ~/hold", 10.0)
    issue, schema = f"/v1/issues/{stack.issue_id}", await document(api)
    for wanted in ("/{run}", ""):
        await ask(api, stack.issue_id)
        run = await in_state(api, stack.issue_id, "working")
        unknown = await api.client.post(f"{issue}/runs/r-000000000000/cancel", headers=BEARER)
        assert (unknown.status_code, unknown.json()["type"]) == (404, "urn:issuebox:problem:unknown-run")
        reply = await api.client.post(f"{issue}/runs{wanted.format(run=run['id'])}/cancel", headers=BEARER)
        assert reply.status_code == 202
        conforms(schema, "post", f"/v1/issues/{{issue_id}}/runs{wanted}/cancel", reply)
        assert (await in_state(api, stack.issue_id, "cancelled"))["id"] == run["id"]


async def test_runs_are_paused_and_resumed(api: Api, stack: Stack) -> None:
    """By whom and since when stands in the answers. Both are safe to repeat, and the same run goes on."""
    sandbox = (await stack.ensure()).sandbox
    assert sandbox is not None
    await stack.provider.execute(sandbox.id, "touch ~/hold", 10.0)
    issue, schema = f"/v1/issues/{stack.issue_id}", await document(api)
    await ask(api, stack.issue_id)
    run = await in_state(api, stack.issue_id, "working")
    for word, state, times in (("pause", "paused", 2), ("resume", "working", 2)):
        for _ in range(times):
            reply = await api.client.post(f"{issue}/runs/{word}", headers=BEARER)
            assert (reply.status_code, reply.json()) == (202, {"status_url": f"{issue}/runs"})
            conforms(schema, "post", f"/v1/issues/{{issue_id}}/runs/{word}", reply)
        seen = await in_state(api, stack.issue_id, state)
        assert (seen["id"], seen["attempt"]) == (run["id"], 2)
        listed = await read(api, stack.issue_id)
        conforms(schema, "get", "/v1/issues/{issue_id}/runs", listed)
        status = (await api.client.get(f"{issue}/sandbox", headers=BEARER)).json()
        assert status["run_pause"] == listed.json()["pause"]
        paused_by = (listed.json()["pause"] or {}).get("by")
        assert paused_by == ("REST" if word == "pause" else None)


@pytest.mark.parametrize("prompt", ["", "  \n", "é" * 16385])
async def test_prompt_that_is_no_work_is_a_400(api: Api, stack: Stack, prompt: str) -> None:
    """Empty, or more than an agent is given: it would be cut."""
    reply = await ask(api, stack.issue_id, prompt=prompt)
    assert (reply.status_code, reply.json()["type"]) == (400, "urn:issuebox:problem:invalid-request")
    assert "body.prompt" in reply.json()["detail"]


async def test_refusals_are_told_apart(serve: Serve, start: Started, log_dir: str) -> None:  # noqa: F811
    """No agent, no copies, no such run, no such issue: each has its own type."""
    stack = await start()
    api = await serve(task_queue=stack.settings.task_queue)
    await stack.ensure()
    kept = await serve(task_queue=stack.settings.task_queue, run_log_dir=log_dir)
    path = "/r-0123456789ab/log"
    replies = [
        await ask(api, stack.issue_id),
        await read(api, stack.issue_id, path),
        await read(kept, stack.issue_id, path),
        await read(api, stack.issue_id, "/r-0123456789ab"),
        await read(api, stack.another().issue_id),
        await read(kept, stack.issue_id, "/..%2f..%2fetc/log"),
    ]
    conforms(await document(api), "post", "/v1/issues/{issue_id}/runs", replies[0])
    found = [(reply.status_code, reply.json()["type"].rpartition(":")[2]) for reply in replies]
    assert found == [
        (409, "no-runs"),
        (404, "no-run-logs"),
        (404, "unknown-run"),
        (404, "unknown-run"),
        (404, "unknown-issue"),
        (404, "not-found"),
    ]


async def test_log_of_a_run_that_nobody_can_tell_of_is_a_503(serve: Serve, closed_address: str, log_dir: str) -> None:
    """Where there is no copy, only the workflow knows whether there is such a run."""
    api = await serve(closed_address, run_log_dir=log_dir)
    reply = await read(api, 1, "/r-0123456789ab/log")
    assert (reply.status_code, reply.json()["type"]) == (503, "urn:issuebox:problem:unavailable")
    conforms(await document(api), "get", "/v1/issues/{issue_id}/runs/{run}/log", reply)


async def test_request_that_no_worker_takes_is_a_503(serve: Serve, issue_id: int) -> None:
    """Whether a worker takes it later is not known, so the caller repeats it under its key."""
    api = await serve()
    reply = await ask(api, issue_id, "a-key")
    assert (reply.status_code, reply.json()["type"]) == (503, "urn:issuebox:problem:unavailable")
    assert reply.headers["retry-after"]
    assert "no worker answers" in reply.json()["detail"]
