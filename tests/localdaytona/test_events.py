"""The event stream: who may listen, the order of events, and how connections are lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import httpx
import pytest
import socketio

from localdaytona.events import Batch, Publisher
from localdaytona.ledger import Event
from localdaytona.testing import Server
from localdaytona.types import JSONObject
from tests.localdaytona.clients import create, eventually, sdk_of


@asynccontextmanager
async def listening(server: Server, token: str) -> AsyncIterator[tuple[socketio.AsyncClient, list[tuple[str, ...]]]]:
    """Yield a connected client and the events that it has received so far."""
    told: list[tuple[str, ...]] = []
    # Its own session, because a client that cannot connect leaks the one that it creates.
    session = aiohttp.ClientSession()
    client = socketio.AsyncClient(reconnection=False, http_session=session)
    client.on("sandbox.created", lambda shown: told.append(("created", shown["state"])))
    client.on("sandbox.state.updated", lambda change: told.append((change["oldState"], change["newState"])))
    client.on("sandbox.desired-state.updated", lambda change: told.append(("desired", change["newDesiredState"])))
    try:
        await client.connect(
            server.base_url, auth={"token": token}, transports=["websocket"], socketio_path="/api/socket.io"
        )
        yield client, told
    finally:
        await client.shutdown()
        await session.close()


async def test_events_come_in_daytonas_order(server: Server, rest: httpx.AsyncClient) -> None:
    """Each call's events come in the observed order, and labels and intervals cause none."""
    async with listening(server, server.api_key) as (_, told):
        made = (await rest.post("/sandbox", json={"name": "told"})).json()
        at_reply = list(told)
        await rest.put("/sandbox/told/labels", json={"labels": {"a": "b"}})
        await rest.post("/sandbox/told/autostop/3")
        await rest.post("/sandbox/told/stop")

        async def stopped() -> bool:
            return ("stopping", "stopped") in told

        await eventually(stopped)
        await rest.delete(f"/sandbox/{made['id']}")

        async def destroyed() -> bool:
            return ("destroying", "destroyed") in told

        await eventually(destroyed)
    assert at_reply == [("created", "creating"), ("unknown", "creating"), ("creating", "started")]
    assert told[3:] == [
        ("desired", "stopped"),
        ("started", "stopping"),
        ("stopping", "stopped"),
        ("desired", "destroyed"),
        ("stopped", "destroying"),
        ("destroying", "destroyed"),
    ]


async def test_wrong_key_cannot_listen(server: Server) -> None:
    """A connection with a wrong key is refused in the namespace."""
    with pytest.raises(socketio.exceptions.ConnectionError):
        async with listening(server, "wrong"):
            pytest.fail("a wrong key must not connect")


async def test_polling_transport_is_refused(rest: httpx.AsyncClient) -> None:
    """Only web sockets are supported."""
    reply = await rest.get("/socket.io/?EIO=4&transport=polling")
    assert (reply.status_code, reply.json()) == (400, {"code": 0, "message": "Transport unknown"})


async def test_without_events_the_sdk_waits_by_reading(server: Server) -> None:
    """With the stream switched off, creates, stops and starts still end."""
    await server.admin.config(events=False)
    async with sdk_of(server) as sdk:
        sandbox = await create(sdk, "quiet")
        await sandbox.stop()
        assert sandbox.state == "stopped"


async def test_turned_off_stream_is_not_found(server: Server) -> None:
    """The handshake gets a plain 404."""
    await server.admin.config(events=False)
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(f"{server.api_url}/socket.io/?EIO=4&transport=websocket")
    assert refused.value.status == 404


@pytest.mark.parametrize("how", ["act", "config"])
async def test_dropped_connection_ends_without_goodbye(server: Server, how: str) -> None:
    """A person, or a limit on a connection's age, resets the connection under the client."""
    if how == "config":
        await server.admin.config(events_drop_after_s=1)
    async with listening(server, server.api_key) as (client, _):
        gone = asyncio.Event()
        client.on("disconnect", lambda reason: gone.set())
        if how == "act":
            await server.admin.drop_events()
        async with asyncio.timeout(5):
            await gone.wait()


@pytest.mark.parametrize("effect", [{"kind": "drop"}, {"kind": "status", "status": 503}])
async def test_fault_keeps_a_client_from_connecting(server: Server, effect: JSONObject) -> None:
    """A fault on the stream hits the connection once, and the next one succeeds."""
    await server.admin.add_fault("events", effect)
    with pytest.raises(socketio.exceptions.ConnectionError):
        async with listening(server, server.api_key):
            pytest.fail("the fault must hit")
    async with listening(server, server.api_key) as (client, _):
        assert client.connected


class SlowListener:
    """Records its notifications, and takes its time."""

    def __init__(self) -> None:
        self.told: list[str] = []

    async def sandbox_stopped(self, sandbox_id: str) -> None:
        """Record the beginning and the end."""
        self.told.append(f"stopping {sandbox_id}")
        await asyncio.sleep(0.05)
        self.told.append(f"stopped {sandbox_id}")

    async def sandbox_destroyed(self, sandbox_id: str) -> None:
        """Record it."""
        self.told.append(f"destroyed {sandbox_id}")


async def test_toolbox_is_notified_in_order_and_without_delaying_others() -> None:
    """The notification of a sandbox's end waits until that of its stop is done; other sandboxes do not wait."""

    async def emit(_: Event) -> None:
        return None

    publisher, listener = Publisher(emit), SlowListener()
    publisher.add_listener(listener)
    publisher.put(Batch(stopped=["a"]))
    publisher.put(Batch(destroyed=["a", "b"]))
    running = asyncio.create_task(publisher.run())

    async def all_told() -> bool:
        return len(listener.told) == 4

    await eventually(all_told)
    running.cancel()
    assert listener.told == ["stopping a", "destroyed b", "stopped a", "destroyed a"]
