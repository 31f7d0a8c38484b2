"""Runs the application under uvicorn on a socket that is already bound."""

import asyncio
import logging
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace

import uvicorn

from localdaytona.app import build_app, build_world
from localdaytona.interruption import DroppableHttp
from localdaytona.world import Options, World

BACKLOG = 2048
# A held create may be open for 30 s, which nobody who ends the server wants to wait for.
SHUTDOWN_S = 1


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes a free one.

    Raises OSError when the address is in use.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    listener.listen(BACKLOG)
    return listener


def base_url(listener: socket.socket) -> str:
    """Return the URL of a bound socket, without a slash at the end."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class LocalServer(uvicorn.Server):
    """uvicorn's server, which at its end answers held requests and resets hanging ones."""

    def __init__(self, config: uvicorn.Config, world: World) -> None:
        super().__init__(config)
        self._world = world

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """End on a signal with exit code 0; uvicorn would raise the signal again after its shutdown."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    @asynccontextmanager
    async def serving(self, listener: socket.socket) -> AsyncIterator[None]:
        """Serve while the block runs, without signal handlers or a main loop."""
        self.config.load()
        self.lifespan = self.config.lifespan_class(self.config)
        await self.startup(sockets=[listener])
        try:
            yield
        finally:
            await self.shutdown(sockets=[listener])

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the requests that would delay the end of the process, then shut down as uvicorn does."""
        self._world.engine.end_holds()
        asyncio.get_running_loop().call_later(SHUTDOWN_S / 2, self._reset_connections)
        await super().shutdown(sockets)

    def _reset_connections(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()


def build_server(listener: socket.socket, options: Options) -> LocalServer:
    """Return a server that is ready to `serve(sockets=[listener])`."""
    logging.getLogger("socketio").setLevel(logging.WARNING)
    world = build_world(replace(options, base_url=options.base_url or base_url(listener)))
    config = uvicorn.Config(
        build_app(world),
        http=DroppableHttp,
        ws="websockets-sansio",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=SHUTDOWN_S,
        timeout_keep_alive=60,
    )
    return LocalServer(config, world)
