"""The application over real HTTP, with a real Temporal or without one."""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import httpx
import pytest
import structlog
import uvicorn
from pydantic import SecretStr
from temporalio.client import Client

from api.app import create_app
from api.connections import BoundedHttp
from issuebox.settings import ApiSettings
from issuebox.temporal.connect import DATA_CONVERTER
from localdaytona.testing import free_port
from tests.waiting import until

SECRET = "a webhook secret"
TOKEN = "an-api-token"
NAMESPACE = "default"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@dataclass(frozen=True)
class Api:
    """A served application and a client that may call it."""

    client: httpx.AsyncClient
    settings: ApiSettings


def settings_for(task_queue: str, **changes: object) -> ApiSettings:
    given: dict[str, object] = {
        "webhook_secrets": (SecretStr(SECRET),),
        "api_tokens": (SecretStr(TOKEN),),
        "task_queue": task_queue,
    }
    return ApiSettings.model_validate(given | changes)


@asynccontextmanager
async def served(address: str, settings: ApiSettings) -> AsyncIterator[Api]:
    """The application on its own port; its Temporal need not exist."""

    async def client() -> Client:
        return await Client.connect(address, namespace=NAMESPACE, lazy=True, data_converter=DATA_CONVERTER)

    server = uvicorn.Server(
        uvicorn.Config(create_app(settings, client), port=0, http=BoundedHttp, ws="none", log_config=None)
    )
    serving = asyncio.create_task(server.serve())

    async def is_started() -> bool:
        return server.started

    await until(is_started, bool, "the API started")
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as http:
            yield Api(http, settings)
    finally:
        server.should_exit = True
        await serving


async def status_line(api: Api, head: Iterable[str], chunk: bytes, times: int) -> bytes:
    """The status line of the answer to an endless body in chunks. Fails when there is none within 10 s."""
    url = api.client.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    try:
        writer.write("\r\n".join([*head, "Host: x", "Transfer-Encoding: chunked", "", ""]).encode())
        writer.write((b"%x\r\n" % len(chunk) + chunk + b"\r\n") * times)
        return await asyncio.wait_for(reader.readline(), 10)
    finally:
        writer.close()  # An open connection would keep the server, and so the test, from ending.


Serve = Callable[..., Awaitable[Api]]


@pytest.fixture
async def serve(temporal_address: str) -> AsyncIterator[Serve]:
    """Serve with these settings, and with the real Temporal unless another address is given."""
    async with AsyncExitStack() as exits:

        async def start(address: str = temporal_address, task_queue: str = "", **changes: object) -> Api:
            settings = settings_for(task_queue or f"queue-{uuid.uuid4().hex[:8]}", **changes)
            return await exits.enter_async_context(served(address, settings))

        yield start


@pytest.fixture
async def api(serve: Serve) -> Api:
    """The usual case: the real Temporal, and no worker."""
    return await serve()


@pytest.fixture
def closed_address() -> str:
    """An address where nobody listens."""
    return f"127.0.0.1:{free_port()}"


@pytest.fixture
def silent_address() -> Iterator[str]:
    """An address that accepts connections and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(128)
        yield f"127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def logged() -> Iterator[list[dict[str, object]]]:
    """What our own code logs, as fields."""
    # Cached loggers would keep the processors from before the capture.
    structlog.reset_defaults()
    with structlog.testing.capture_logs() as lines:
        yield lines  # type: ignore[misc]
