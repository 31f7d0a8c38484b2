"""The doctor on working set-ups, and on set-ups that are broken in one place each."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.client import Client

from issuebox.dev.environment import bare, to_temporal
from issuebox.doctor.temporal import polled
from issuebox.temporal.pollers import POLL_MAX_S, Poller
from issuebox.temporal.search_attributes import has_search_attributes, needed, register, registered
from localdaytona.testing import Server
from proofs.loopback import listener, served
from tests.cli.conftest import Ran, Run, own_namespace
from tests.waiting import until
from tests.workflow.conftest import Stack, Started

KEY = "a-key-that-must-not-be-shown"
TOKEN = "ghp_token_that_must_not_be_shown"


def verdicts(ran: Ran) -> dict[str, str]:
    """The verdict of each check in a JSON report."""
    return {f"{f['part']}: {f['check']}": f["verdict"] for f in ran.json["checks"]}


def failed(ran: Ran) -> list[str]:
    return [name for name, verdict in verdicts(ran).items() if verdict == "failed"]


def advice(ran: Ran, check: str) -> str:
    [found] = [f["advice"] for f in ran.json["checks"] if f"{f['part']}: {f['check']}" == check]
    return str(found)


def seen(ran: Ran, check: str) -> str:
    [found] = [f["seen"] for f in ran.json["checks"] if f"{f['part']}: {f['check']}" == check]
    return str(found)


@pytest.fixture
def doctor(issuebox: Run, stack: Stack) -> Run:
    """The doctor on the whole stack."""

    async def ran(*arguments: str, **given: str) -> Ran:
        settings = {
            "DAYTONA_API_KEY": stack.daytona.api_key,
            "DAYTONA_API_URL": stack.daytona.api_url,
            "ISSUEBOX_WEBHOOK_SECRETS": "w",
            "ISSUEBOX_API_TOKENS": "t",
        }
        return await issuebox("doctor", *arguments, **settings | given)

    return ran


@pytest.fixture
async def namespace(temporal_address: str) -> Client:
    """A namespace without search attributes, only for this test."""
    return await own_namespace(temporal_address, f"doctor-{uuid.uuid4().hex[:8]}")


@pytest.fixture
async def temporal(temporal_address: str) -> Client:
    """A namespace only for this test: others leave workflows behind that nobody serves."""
    client = await own_namespace(temporal_address, f"healthy-{uuid.uuid4().hex[:8]}")
    await register(client)
    return client


async def test_whole_installation_is_healthy(doctor: Run, stack: Stack) -> None:
    """Nothing fails, the exit code is 0, and every part was checked; the table says the same as the JSON."""
    await stack.ensure()
    ran = await doctor("--json")
    assert (ran.code, failed(ran), ran.json["is_healthy"]) == (0, [], True)
    assert {"temporal: worker: activities", "daytona: lookup", "github: webhook secret"} <= set(verdicts(ran))
    seen = await doctor()
    assert seen.code == 0
    assert all(f["check"] in seen.out for f in ran.json["checks"])
    assert stack.daytona.api_key not in ran.out + seen.out.replace(stack.daytona.api_url, "")


async def test_doctor_changes_nothing_at_daytona(doctor: Run, stack: Stack) -> None:
    """It only reads: a lookup, a list, and what its own key may do."""
    before = await stack.journal_end()
    await doctor("--only", "daytona", "--json")
    entries = await stack.daytona.admin.journal(after=before, kind="request")
    assert {entry.operation for entry in entries} <= {"get", "lookup", "list", "api_key", "socket.io", "events"}
    assert entries


async def test_narrow_terminal_gets_a_list_that_fits(doctor: Run) -> None:
    """No line is wider than the terminal, and no verdict is missing."""
    ran = await doctor(COLUMNS="40")
    assert max(len(line) for line in ran.out.splitlines()) <= 40
    assert "daytona, lookup" in " ".join(ran.out.split())


async def test_temporal_away_is_one_failure_and_the_rest_is_checked(doctor: Run, closed_address: str) -> None:
    """The report names the address and omits what depends on it; Daytona is still checked."""
    ran = await doctor("--json", TEMPORAL_ADDRESS=closed_address)
    assert (ran.code, failed(ran)) == (1, ["temporal: server"])
    assert "refused" in ran.out
    assert verdicts(ran)["daytona: key"] == "ok"


async def test_unknown_namespace_fails_with_how_to_create_it(doctor: Run) -> None:
    """The advice has the command that creates it."""
    ran = await doctor("--json", TEMPORAL_NAMESPACE="nowhere")
    assert (ran.code, failed(ran)) == (1, ["temporal: namespace"])
    assert "temporal operator namespace create --namespace nowhere" in advice(ran, "temporal: namespace")


@pytest.mark.parametrize(
    ("variable", "value", "check"),
    [
        ("TEMPORAL_ADDRESS", "nonsense", "temporal: configuration"),
        ("ISSUEBOX_GITHUB_TOKEN", f"{KEY} x", "settings: settings"),
    ],
)
async def test_wrong_setting_fails_a_check(doctor: Run, variable: str, value: str, check: str) -> None:
    """The failure is a check result and no traceback; the report does not repeat values of our settings."""
    ran = await doctor("--json", **{variable: value})
    assert (ran.code, failed(ran), ran.err) == (1, [check], "")
    assert KEY not in ran.out


async def test_dangerous_settings_are_warnings(doctor: Run) -> None:
    """They leave the installation healthy, because they may be meant."""
    ran = await doctor("--json", "--only", "github")
    warned = {name for name, verdict in verdicts(ran).items() if verdict == "warning" and name.startswith("settings")}
    secrets = {"settings: ISSUEBOX_WEBHOOK_SECRETS", "settings: ISSUEBOX_API_TOKENS"}
    assert warned == {*secrets, "settings: ISSUEBOX_MIN_ASSOCIATION"}
    assert (ran.code, ran.json["is_healthy"]) == (0, True)


async def test_queue_without_workers_is_a_failure(doctor: Run) -> None:
    """All kinds of polls are missing, and the advice is to start a worker. No query is sent."""
    ran = await doctor("--json", "--only", "temporal", ISSUEBOX_TASK_QUEUE="nobody-serves-this")
    kinds = ("workflows", "activities", "waits", "inside", "notices", "runs")
    assert failed(ran) == [f"temporal: worker: {kind}" for kind in kinds]
    assert seen(ran, "temporal: worker: waits") == "nobody polls the task queue nobody-serves-this-waits"
    assert "issuebox worker" in advice(ran, "temporal: worker: workflows")


@pytest.mark.parametrize(
    ("ages_s", "verdict", "said"),
    [
        ([], "failed", "nobody polls the task queue q"),
        ([POLL_MAX_S + 50], "failed", "nobody polls the task queue q; silent: worker-0 (last polled 200 s ago)"),
        ([1.0, 2.0], "ok", "2 on the task queue q"),
        (
            [1.0, POLL_MAX_S + 50, POLL_MAX_S],
            "warning",
            "1 on the task queue q; silent: worker-2 (last polled 150 s ago), worker-1 (last polled 200 s ago)",
        ),
    ],
    ids=["none", "all silent", "all poll", "some silent"],
)
def test_silent_pollers_are_named(ages_s: list[float], verdict: str, said: str) -> None:
    """A worker that Temporal still lists, but that has not polled for longer than a poll lasts, has ended or hangs."""
    found = polled("workflows", "q", [Poller(f"worker-{number}", age_s) for number, age_s in enumerate(ages_s)])
    assert (found.verdict, found.seen) == (verdict, said)
    assert bool(found.advice) == (verdict != "ok")


@asynccontextmanager
async def worker_process(stack: Stack, address: str, ready: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A polling worker of the stack's task queue, started as an operator starts it."""
    own = {
        "TEMPORAL_NAMESPACE": stack.temporal.namespace,
        "ISSUEBOX_TASK_QUEUE": stack.settings.task_queue,
        "DAYTONA_API_KEY": stack.daytona.api_key,
        "DAYTONA_API_URL": stack.daytona.api_url,
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "issuebox", "worker", "--ready-file", str(ready)),
        env=bare() | to_temporal(address) | own,
        stderr=asyncio.subprocess.DEVNULL,
    )

    async def is_ready() -> bool:
        return ready.exists()

    try:
        await until(is_ready, bool, "the worker polls", 60.0)
        yield process
    finally:
        process.kill()
        await process.wait()


async def test_worker_that_hangs_fails_and_is_fine_when_it_goes_on(
    run: Run, start: Started, temporal_address: str, tmp_path: Path
) -> None:
    """Temporal still lists a frozen worker as polling, but the worker does not answer. Once thawed, it does."""
    stack = await start(has_worker=False)

    async def ran() -> Ran:
        settings = to_temporal(temporal_address) | {
            "TEMPORAL_NAMESPACE": stack.temporal.namespace,
            "ISSUEBOX_TASK_QUEUE": stack.settings.task_queue,
        }
        return await run("doctor", "--json", "--only", "temporal", **settings)

    async with worker_process(stack, temporal_address, tmp_path / "ready") as worker:
        idle = await ran()
        assert "nothing to ask" in seen(idle, "temporal: worker: answers")
        await stack.ensure()
        worker.send_signal(signal.SIGSTOP)
        frozen = await ran()
        worker.send_signal(signal.SIGCONT)
        thawed = await ran()
    assert (idle.code, failed(idle)) == (0, [])
    assert (frozen.code, failed(frozen)) == (1, ["temporal: worker: answers"])
    assert stack.name in seen(frozen, "temporal: worker: answers")
    assert f"{worker.pid}@" in seen(frozen, "temporal: worker: answers"), "it is named"
    assert "restart it" in advice(frozen, "temporal: worker: answers")
    assert (thawed.code, failed(thawed)) == (0, [])
    assert stack.name in seen(thawed, "temporal: worker: answers")


async def test_missing_search_attributes_fail_until_fixed(doctor: Run, namespace: Client) -> None:
    """--fix registers all of them, which fixes the report."""
    given = {"TEMPORAL_NAMESPACE": namespace.namespace}
    before = await doctor("--json", "--only", "temporal", **given)
    assert "temporal: search attributes" in failed(before)
    assert "issuebox doctor --fix" in advice(before, "temporal: search attributes")
    assert not await has_search_attributes(namespace)
    fixed = await doctor("--json", "--only", "temporal", "--fix", **given)
    assert verdicts(fixed)["temporal: search attributes"] == "ok"
    assert await has_search_attributes(namespace)


async def test_registering_twice_changes_nothing(namespace: Client) -> None:
    """Safe to repeat, also by two processes at once."""
    both = await asyncio.gather(register(namespace), register(namespace))
    assert all(found.is_complete for found in both)
    assert (await register(namespace)).is_complete


async def test_wrong_type_is_a_failure_that_a_person_must_fix(doctor: Run, namespace: Client) -> None:
    """The server silently ignores a second registration with another type, so the doctor compares types."""
    request = AddSearchAttributesRequest(namespace=namespace.namespace)
    request.search_attributes["IssueNumber"] = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
    await namespace.operator_service.add_search_attributes(request)
    ran = await doctor("--json", "--fix", "--only", "temporal", TEMPORAL_NAMESPACE=namespace.namespace)
    assert "temporal: search attributes" in failed(ran)
    assert "IssueNumber must be Int" in advice(ran, "temporal: search attributes")
    found = await registered(namespace)
    assert (found.missing, found.wrong) == ((), {"IssueNumber": "Keyword"})
    assert not await has_search_attributes(namespace)


async def test_refused_fix_says_how_it_is_done_by_hand(doctor: Run, namespace: Client) -> None:
    """When the server does not register them, here because its columns are full, the advice has the whole command."""
    request = AddSearchAttributesRequest(namespace=namespace.namespace)
    for number in range(3):
        request.search_attributes[f"Other{number}"] = IndexedValueType.INDEXED_VALUE_TYPE_INT
    await namespace.operator_service.add_search_attributes(request)
    ran = await doctor("--json", "--fix", "--only", "temporal", TEMPORAL_NAMESPACE=namespace.namespace)
    assert "temporal: search attributes" in failed(ran)
    told = advice(ran, "temporal: search attributes")
    assert all(f"--name {name} --type {kind}" in told for name, kind in needed().items())


async def test_unreachable_temporal_has_no_search_attributes(closed_address: str) -> None:
    """The worker starts without them instead of failing."""
    client = await Client.connect(closed_address, lazy=True)
    assert not await has_search_attributes(client)


@pytest.mark.parametrize(
    ("changes", "check", "words"),
    [
        ({"DAYTONA_API_KEY": ""}, "daytona: key", "DAYTONA_API_KEY"),
        ({"DAYTONA_API_KEY": KEY}, "daytona: key", "valid DAYTONA_API_KEY"),
        ({"DAYTONA_API_URL": "nonsense"}, "settings: settings", "docs/reference/settings.md"),
        ({"DAYTONA_API_URL": "http://127.0.0.1:1/api"}, "daytona: API", "may reach it"),
    ],
    ids=["no key", "wrong key", "no URL", "away"],
)
async def test_unusable_daytona_is_one_failure(doctor: Run, changes: dict[str, str], check: str, words: str) -> None:
    """The report distinguishes a missing key, a refused key, and an unreachable server."""
    ran = await doctor("--json", "--only", "daytona", **changes)
    assert (ran.code, failed(ran), ran.err) == (1, [check], "")
    assert words in advice(ran, check)
    assert KEY not in ran.out


async def test_key_that_may_not_create_is_noticed(doctor: Run, daytona: Server) -> None:
    """Such a key passes every read; without this check the first create would find out."""
    await daytona.admin.config(permissions=["delete:sandboxes"])
    ran = await doctor("--json", "--only", "daytona")
    assert (ran.code, failed(ran)) == (1, ["daytona: key"])
    assert "write:sandboxes" in advice(ran, "daytona: key")


async def test_server_that_is_not_daytona_is_noticed(doctor: Run, daytona: Server) -> None:
    """Another server also answers 404 to a lookup, so the doctor requests a list, too."""
    ran = await doctor("--json", "--only", "daytona", DAYTONA_API_URL=f"{daytona.base_url}/_local")
    assert (ran.code, failed(ran)) == (1, ["daytona: API"])
    assert "DAYTONA_API_URL" in advice(ran, "daytona: API")


async def test_region_is_compared_with_those_that_daytona_offers(doctor: Run, stack: Stack) -> None:
    """An unknown one fails before the first create does; one without any of our sandboxes is worth a warning."""
    await stack.ensure()
    ran = [await doctor("--json", "--only", "daytona", DAYTONA_TARGET=region) for region in ("us", "eu", "mars")]
    assert [verdicts(one)["daytona: region"] for one in ran] == ["ok", "warning", "failed"]
    assert [one.code for one in ran] == [0, 0, 1]


async def test_snapshot_that_does_not_exist_fails(doctor: Run) -> None:
    """Every create would be refused."""
    ran = [await doctor("--json", "--only", "daytona", ISSUEBOX_SNAPSHOT=name) for name in ("daytona-small", "none")]
    assert [verdicts(one)["daytona: snapshot"] for one in ran] == ["ok", "failed"]


async def test_unset_secrets_of_the_api_are_warned_of(doctor: Run) -> None:
    """They may belong to another process, so this is not a failure."""
    ran = await doctor("--json", "--only", "github", ISSUEBOX_WEBHOOK_SECRETS="", ISSUEBOX_API_TOKENS="")
    seen = verdicts(ran)
    assert (ran.code, seen["github: webhook secret"], seen["github: API token"]) == (0, "warning", "warning")


async def test_unknown_part_is_misuse(doctor: Run) -> None:
    """The error names the existing parts."""
    ran = await doctor("--only", "everything")
    assert ran.code == 2
    assert "'everything' is none of temporal" in ran.err


def github_app(hooks: Response | None) -> FastAPI:
    """The part of GitHub that the doctor uses: one valid token, and one repository that it may read."""
    app = FastAPI()

    @app.middleware("http")
    async def authenticated(request: Request, follow: Callable[[Request], Awaitable[Response]]) -> Response:
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return JSONResponse({"message": "Bad credentials"}, 401)
        return await follow(request)

    @app.get("/rate_limit")
    async def rate_limit() -> JSONResponse:
        return JSONResponse({"resources": {"core": {"limit": 5000, "remaining": 4987}}})

    @app.get("/repos/octo/good/issues")
    async def issues() -> JSONResponse:
        return JSONResponse([])

    @app.get("/repos/octo/good/hooks")
    async def of_hooks() -> Response:
        return hooks or JSONResponse({"message": "Not Found"}, 404)

    return app


@asynccontextmanager
async def github(hooks: Response | None = None) -> AsyncIterator[str]:
    """Run a stand-in for GitHub over real HTTP, and yield its URL."""
    at, url = listener()
    async with served(github_app(hooks), at):
        yield url


async def examined(run: Run, url: str, token: str = TOKEN, repositories: str = "octo/good") -> Ran:
    return await run(
        "doctor", "--json", "--only", "github",
        ISSUEBOX_GITHUB_API_URL=url, ISSUEBOX_GITHUB_TOKEN=token, ISSUEBOX_RESYNC_REPOSITORIES=repositories,
    )  # fmt: skip


def hook(url: str, *, active: bool = True, events: tuple[str, ...] = ("issues", "issue_comment")) -> Response:
    body = [{"active": active, "events": list(events), "config": {"url": url}, "unknown": 1}]
    return Response(json.dumps(body), media_type="application/json")


OURS = "https://example.org/webhooks/github"


@pytest.mark.parametrize(
    ("hooks", "verdict"),
    [
        (None, None),
        (hook(OURS), "ok"),
        (hook(OURS, events=("*",)), "ok"),
        (hook(OURS, active=False), "warning"),
        (hook(OURS, events=("issues",)), "warning"),
        (hook("https://example.org/other"), "warning"),
        (Response("[]", media_type="application/json"), "warning"),
    ],
    ids=["not permitted", "ours", "all events", "switched off", "without comments", "of others", "none"],
)
async def test_hook_is_judged_if_the_token_may_read_it(run: Run, hooks: Response | None, verdict: str | None) -> None:
    """Otherwise there is no check. A hook never fails the report: an organization's hook is not visible."""
    async with github(hooks) as url:
        ran = await examined(run, url)
    seen = verdicts(ran)
    assert (ran.code, seen["github: token"], seen["github: octo/good"]) == (0, "ok", "ok")
    assert seen.get("github: octo/good: webhook") == verdict


async def test_repository_that_the_token_may_not_read_is_a_failure(run: Run) -> None:
    """Each configured repository is read, and the report names the unreadable one."""
    async with github() as url:
        ran = await examined(run, url, repositories="octo/good, octo/secret")
    assert (ran.code, failed(ran)) == (1, ["github: octo/secret"])


async def test_refused_github_token_is_a_failure_and_is_not_shown(run: Run) -> None:
    """The report says that GitHub refuses the token, without repeating it."""
    async with github() as url:
        ran = await examined(run, url, token=KEY)
    assert (ran.code, failed(ran)) == (1, ["github: token"])
    assert "refused: 401" in ran.out
    assert KEY not in ran.out + ran.err


async def test_github_that_cannot_be_reached_is_a_failure(run: Run, closed_address: str) -> None:
    """The report has no traceback, and says what to check."""
    ran = await examined(run, f"http://{closed_address}")
    assert (ran.code, failed(ran), ran.err) == (1, ["github: token"], "")
    assert "may reach it" in advice(ran, "github: token")


async def test_stand_in_refuses_what_github_would(run: Run) -> None:
    """Unless the stand-in itself answers 401, the tests above cannot fail."""
    async with github() as url, httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"{url}/rate_limit")).status_code == httpx.codes.UNAUTHORIZED


async def test_changed_instance_or_prefix_is_noticed_at_daytona(doctor: Run, stack: Stack) -> None:
    """Under another instance or prefix the same sandboxes are another's, or nobody's."""
    await stack.ensure()
    ours, renamed, moved = [
        await doctor("--json", "--only", "daytona", **changes)
        for changes in ({}, {"ISSUEBOX_NAME_PREFIX": "other-"}, {"ISSUEBOX_INSTANCE": "other"})
    ]
    assert (ours.code, verdicts(ours)["daytona: instance"], "daytona: names" in verdicts(ours)) == (0, "ok", False)
    assert verdicts(renamed)["daytona: names"] == "warning"
    assert stack.name in seen(renamed, "daytona: names")
    assert verdicts(moved)["daytona: instance"] == "warning"
    assert seen(moved, "daytona: instance") == "other has no sandboxes, but here are: default (1)"
