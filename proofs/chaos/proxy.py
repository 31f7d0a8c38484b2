"""A TCP proxy whose connections can be cut, slowed down and stalled while it runs.

One `Link` connects one client with one server, so that each pair can be separated alone. Knows no protocol.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, cast

from proofs.loopback import LOOPBACK

HIGH_WATER_BYTES: Final = 256 * 1024
"""How much may wait in one direction before the proxy stops reading its source."""
RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
"""Linger for no time: unsent data is dropped, and the other side gets a reset (socket(7))."""


class Link:
    """One listener and its connections. All times are seconds on the event loop's clock."""

    def __init__(self, name: str, target_port: int) -> None:
        self.name = name
        self.target_port = target_port
        self.port = 0
        self.carried_bytes = 0
        self.refused = 0
        self._cut_until = 0.0
        self._stalled_until = 0.0
        self._slow_until = 0.0
        self._delay_s = 0.0
        self._ends: set[_End] = set()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Link]:
        """Listen on a free port of loopback for the duration of the block."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _End(self), LOOPBACK, 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self._reset()

    @property
    def connections(self) -> int:
        """How many connections are open now."""
        return sum(end.is_front for end in self._ends)

    def cut(self, seconds: float) -> None:
        """Reset every connection, and each new one, for so long."""
        self._cut_until = max(self._cut_until, _now() + seconds)
        self._reset()

    def stall(self, seconds: float) -> None:
        """Carry nothing for so long, as when packets are lost; then carry everything that waited."""
        self._stalled_until = max(self._stalled_until, _now() + seconds)

    def delay(self, each_s: float, seconds: float) -> None:
        """Carry each piece `each_s` later, for `seconds`. This replaces an earlier delay."""
        self._delay_s, self._slow_until = each_s, _now() + seconds

    def heal(self) -> None:
        """Carry everything at once from now on. What already waits is sent when it is due."""
        self._cut_until = self._stalled_until = self._slow_until = 0.0

    @property
    def is_cut(self) -> bool:
        """Whether new connections are reset now."""
        return _now() < self._cut_until

    def due_at(self, now: float) -> float:
        """When a piece that arrives now is due to be carried."""
        return max(self._stalled_until, now + self._delay_s if now < self._slow_until else now)

    def joined(self, end: _End) -> None:
        """An end was connected."""
        self._ends.add(end)

    def left(self, end: _End) -> None:
        """An end was closed."""
        self._ends.discard(end)

    def _reset(self) -> None:
        for end in list(self._ends):
            end.reset()


class _End(asyncio.Protocol):
    """One side of a connection: the front is the client's, its peer the server's. It writes what the peer reads."""

    def __init__(self, link: Link, peer: _End | None = None) -> None:
        self.is_front = peer is None
        self._link = link
        self._peer = peer
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[tuple[float, bytes | None]] = deque()
        """What is still to be written here, and when. None is the end of the stream."""
        self._waiting_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._connecting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._link.joined(self)
        if not self.is_front:
            self._flush()
        elif self._link.is_cut:
            self._link.refused += 1
            self.reset()
        else:
            self._peer = _End(self._link, self)
            self._connecting = asyncio.create_task(self._connect(self._peer))

    def data_received(self, data: bytes) -> None:
        self._link.carried_bytes += len(data)
        if self._peer is not None:
            self._peer.carry(data)

    def eof_received(self) -> bool:
        if self._peer is not None:
            self._peer.carry(None)
        return True  # The other direction may go on.

    def connection_lost(self, exc: Exception | None) -> None:
        self._link.left(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._peer is not None and exc is not None:
            self._peer.reset()
        elif self._peer is not None:
            self._peer.carry(None, is_last=True)

    def carry(self, data: bytes | None, *, is_last: bool = False) -> None:
        """Write this when it is due, after what already waits. After the last piece, nothing more is read here."""
        now = _now()
        due_at = max(self._link.due_at(now), self._waiting[-1][0] if self._waiting else now)
        self._waiting.append((due_at, data))
        self._waiting_bytes += len(data or b"")
        if is_last:
            self._peer = None
        self._flush()

    def reset(self) -> None:
        """End the connection at once, with a reset rather than an orderly end."""
        if self._connecting is not None:
            self._connecting.cancel()
        if self._transport is not None:
            # Without this, closing a socket that has read everything is an orderly end, and no reset.
            socket_of: socket.socket = self._transport.get_extra_info("socket")
            if not self._transport.is_closing():
                socket_of.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            self._transport.abort()
        peer, self._peer = self._peer, None
        if peer is not None:
            peer.reset()

    async def _connect(self, back: _End) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: back, LOOPBACK, self._link.target_port)
        except OSError:  # The server is down: its client sees a reset, as from a load balancer.
            self.reset()

    def _flush(self) -> None:
        """Write what is due, and schedule the rest."""
        if self._transport is None:
            return
        now = _now()
        while self._waiting and self._waiting[0][0] <= now:
            _, data = self._waiting.popleft()
            self._write(data)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting:
            self._timer = asyncio.get_running_loop().call_at(self._waiting[0][0], self._flush)
        self._throttle()

    def _write(self, data: bytes | None) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if data is not None:
            self._waiting_bytes -= len(data)
            self._transport.write(data)
        elif self._peer is None:
            self._transport.close()
        else:
            try:
                self._transport.write_eof()
            except OSError:  # It was just reset, and the event loop does not know yet.
                self.reset()

    def _throttle(self) -> None:
        """Read from the peer only while little waits here."""
        peer = self._peer._transport if self._peer is not None else None  # noqa: SLF001 -- the same class
        if peer is None or peer.is_closing() or self._transport is None:
            return
        if self._waiting_bytes + self._transport.get_write_buffer_size() > HIGH_WATER_BYTES:
            peer.pause_reading()
        else:
            peer.resume_reading()

    def pause_writing(self) -> None:
        self._throttle()

    def resume_writing(self) -> None:
        self._throttle()


def _now() -> float:
    return asyncio.get_running_loop().time()
