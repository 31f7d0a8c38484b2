"""What API and worker check at their start: once each, again after growing pauses until it is well, and never for long.

Daytona is localdaytona; GitHub is a stand-in that answers what a test tells it.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from structlog.testing import capture_logs
from temporalio.service import RPCError, RPCStatusCode

from api.app import create_app
from issuebox import quick_checks
from issuebox.environment import load
from issuebox.providers.daytona import DaytonaProvider
from issuebox.settings import ApiSettings, WorkerSettings
from issuebox.start_checks import (
    OUTSIDE_PAUSES,
    TEMPORAL_PAUSES,
    Pauses,
    Standing,
    Trouble,
    reached,
    repeated,
    temporal_trouble,
)
from issuebox.temporal.connect import TemporalConfigError, connect
from issuebox.worker import daytona_options
from localdaytona.testing import Server, free_port, running_inside
from tests.waiting import until

QUICK = Pauses(0.01, 0.02)
AWAY = Trouble("daytona", "it is away", "Wait.")


def test_pauses_double_up_to_their_limit() -> None:
    """A part that stays away is asked ever less often, and never less often than the limit says."""
    assert list(itertools.islice(Pauses(1, 6).each(), 5)) == [1, 2, 4, 6, 6]
    assert TEMPORAL_PAUSES.max_s <= 5
    assert OUTSIDE_PAUSES.first_s >= 10


async def test_check_is_repeated_until_it_is_well_and_then_no_more() -> None:
    """A failure is logged with what helps and the next try, and again when either is new; the recovery once."""
    answers = [AWAY, AWAY, AWAY, AWAY, None]
    asked: list[Trouble | None] = []
    meanwhile: list[list[str]] = []

    async def check() -> Trouble | None:
        meanwhile.append(standing.sentences())
        asked.append(answers[len(asked)])
        return asked[-1]

    standing = Standing()
    with capture_logs() as lines:
        async with repeated({"daytona": check}, standing, QUICK):
            await _until(lambda: len(asked) == 5 and not standing.troubles)
            await asyncio.sleep(0.1)  # Time for a sixth, which must not come.
    assert asked == answers
    assert meanwhile == [[], *[["daytona: it is away. Wait."]] * 4]
    assert [line["event"] for line in lines] == ["check_failed", "check_failed", "check_passed"]
    assert [line.get("retry_in_s") for line in lines] == [0.01, 0.02, None]
    assert lines[0]["advice"] == "Wait."


async def test_checks_delay_nobody_and_end_with_the_block() -> None:
    """The block begins while a check still waits for its answer, and its end waits for no answer."""
    started = asyncio.Event()

    async def check() -> Trouble | None:
        started.set()
        await asyncio.Event().wait()
        return None

    async with asyncio.timeout(5), repeated({"daytona": check}, Standing(), QUICK):
        await started.wait()


async def test_stop_ends_the_wait_for_temporal_at_once() -> None:
    """Also while a call hangs: a supervisor that ends the process must not have to kill it."""
    stop = asyncio.Event()

    async def hangs() -> str:
        stop.set()
        await asyncio.Event().wait()
        return "never"

    async with asyncio.timeout(2):
        assert await reached(hangs, stop, Standing()) is None


async def test_temporal_is_asked_until_it_answers() -> None:
    """What it answered comes back, and no trouble is left."""
    standing, asked = Standing(), itertools.count(1)

    async def ask() -> str:
        if next(asked) < 3:
            raise RPCError("namespace", RPCStatusCode.NOT_FOUND, b"")
        return "there"

    assert await reached(ask, asyncio.Event(), standing, QUICK) == "there"
    assert (next(asked), standing.troubles) == (4, {})


async def test_malformed_configuration_of_temporal_ends_the_start() -> None:
    """It is not asked again: only a person can mend it."""

    async def ask() -> str:
        raise TemporalConfigError("TEMPORAL_ADDRESS must be host:port")

    with pytest.raises(TemporalConfigError):
        await reached(ask, asyncio.Event(), Standing(), QUICK)


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (RPCError("", RPCStatusCode.NOT_FOUND, b""), "Set TEMPORAL_NAMESPACE"),
        (RPCError("", RPCStatusCode.UNAUTHENTICATED, b""), "Correct TEMPORAL_API_KEY"),
        (RPCError("", RPCStatusCode.PERMISSION_DENIED, b""), "Correct TEMPORAL_API_KEY"),
        (RPCError("", RPCStatusCode.UNAVAILABLE, b""), "Check TEMPORAL_ADDRESS"),
        (RuntimeError("tcp connect error"), "Check TEMPORAL_ADDRESS"),
        (TimeoutError(), "Check TEMPORAL_ADDRESS"),
    ],
)
def test_trouble_with_temporal_says_what_helps(error: Exception, advice: str) -> None:
    """By what it answered: the namespace, the credentials, or the address."""
    assert temporal_trouble(error).advice.startswith(advice)


@pytest.fixture
async def daytona(tmp_path: Path) -> AsyncIterator[Server]:
    """A Daytona of this test's own."""
    async with running_inside(tmp_path / "localdaytona") as server:
        yield server


def worker_settings(server: Server | None = None, **given: str) -> WorkerSettings:
    own = {"DAYTONA_API_KEY": server.api_key, "DAYTONA_API_URL": server.api_url} if server else {"DAYTONA_API_KEY": "k"}
    return load(WorkerSettings, {**own, **given})


async def checked(settings: WorkerSettings) -> Trouble | None:
    """The quick check of Daytona."""
    async with DaytonaProvider(daytona_options(settings)) as provider:
        return await quick_checks.daytona(settings, provider)


async def test_good_key_costs_one_request_and_a_region_one_more(daytona: Server) -> None:
    """A start is no burden on the organization's limits."""
    for given, operations in (({}, ["api_key"]), ({"DAYTONA_TARGET": "eu"}, ["api_key", "regions"])):
        before = (await daytona.admin.journal())[-1:]
        assert await checked(worker_settings(daytona, **given)) is None
        after = before[0].seq if before else 0
        entries = await daytona.admin.journal(after=after, kind="request")
        assert [entry.operation for entry in entries if entry.operation not in {"socket.io", "events"}] == operations


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ({"DAYTONA_API_KEY": "wrong"}, "the key is refused: 401"),
        ({"DAYTONA_TARGET": "mars"}, "Daytona offers no region mars, only eu, us"),
        ({"DAYTONA_API_URL": f"http://127.0.0.1:{free_port()}/api"}, "http://127.0.0.1:"),
    ],
    ids=["key", "region", "away"],
)
async def test_trouble_with_daytona_is_told(daytona: Server, given: dict[str, str], seen: str) -> None:
    """With what helps, and without the key."""
    trouble = await checked(worker_settings(daytona, **given))
    assert trouble is not None
    assert trouble.seen.startswith(seen)
    assert trouble.advice
    assert daytona.api_key not in str(trouble)


def test_key_that_may_not_delete_is_a_trouble() -> None:
    """It passes every read, and is refused only when it is needed."""
    trouble = quick_checks.lacking(frozenset({"write:sandboxes"}))
    assert trouble is not None
    assert trouble.seen == "the key is accepted, but it lacks delete:sandboxes"
    assert quick_checks.lacking(frozenset(quick_checks.PERMISSIONS)) is None
    assert quick_checks.lacking(None) is None


@asynccontextmanager
async def github(answer: Callable[[web.Request], Awaitable[web.Response]]) -> AsyncIterator[str]:
    """A stand-in for GitHub's API, which gives this answer to every request."""
    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    port = free_port()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("status", "body", "seen"),
    [
        (200, {"resources": {"core": {"limit": 5000, "remaining": 4999}}}, None),
        (401, {"message": "Bad credentials"}, "the token is refused: 401"),
        (404, {}, "GitHub's answer cannot be read: 404"),
    ],
)
async def test_token_of_github_costs_one_request(status: int, body: dict[str, object], seen: str | None) -> None:
    """It asks for the rate limit alone, which does not count against it."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(f"{request.path} {request.headers.get('Authorization')}")
        return web.json_response(body, status=status)

    async with github(answer) as url:
        trouble = await quick_checks.github_token(
            worker_settings(ISSUEBOX_GITHUB_TOKEN="secret", ISSUEBOX_GITHUB_API_URL=url)
        )
    assert asked == ["/rate_limit Bearer secret"]
    assert (trouble.seen if trouble else None) == seen
    assert "secret" not in str(trouble)


@pytest.mark.parametrize(
    ("status", "body", "advice"),
    [
        (200, {"slug": "ours"}, None),
        (401, {"message": "A JSON web token could not be decoded"}, "Check the App at GitHub"),
        (503, {}, "Check ISSUEBOX_GITHUB_API_URL"),
    ],
)
async def test_app_of_github_costs_one_request(
    app_key: str, status: int, body: dict[str, object], advice: str | None
) -> None:
    """It asks what it is itself, and the trouble says whose fault it is."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.json_response(body, status=status)

    async with github(answer) as url:
        settings = worker_settings(
            ISSUEBOX_GITHUB_APP_ID="1", ISSUEBOX_GITHUB_APP_PRIVATE_KEY=app_key, ISSUEBOX_GITHUB_API_URL=url
        )
        trouble = await quick_checks.github_app(settings)
    assert asked == ["/app"]
    assert (trouble is None) == (advice is None)
    assert trouble is None or trouble.advice.startswith(str(advice))


@pytest.fixture(scope="module")
def app_key() -> str:
    """The private key of an App."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def test_only_what_is_configured_is_asked() -> None:
    """Without a token or an App, GitHub hears nothing of a start."""
    provider = object()
    names = {
        "daytona": {},
        "daytona github": {"ISSUEBOX_GITHUB_TOKEN": "t"},
    }
    for expected, given in names.items():
        assert " ".join(quick_checks.quick_checks(worker_settings(**given), provider)) == expected  # type: ignore[arg-type]


async def test_api_begins_without_temporal_and_says_so() -> None:
    """It serves, is not ready, and its log has the reason and what helps."""
    environment = {"TEMPORAL_ADDRESS": f"127.0.0.1:{free_port()}"}
    app = create_app(load(ApiSettings, {}), lambda: connect(lazy=True, environment=environment))
    with capture_logs() as lines:
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
                assert (await client.get("/readyz")).status_code == httpx.codes.SERVICE_UNAVAILABLE
                assert (await client.get("/healthz")).status_code == httpx.codes.OK
            await _until(lambda: any(line["event"] == "check_failed" for line in lines))
    line = next(line for line in lines if line["event"] == "check_failed")
    assert (line["part"], line["log_level"]) == ("temporal", "warning")
    assert line["reason"].startswith("no connection to Temporal")


async def _until(is_so: Callable[[], object]) -> None:
    async def look() -> object:
        return is_so()

    await until(look, bool, "it is so")
