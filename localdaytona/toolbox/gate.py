"""Admits requests to a sandbox by the key, the sandbox's state and injected faults. Not here: what they do."""

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Message
from starlette.websockets import WebSocket

from localdaytona import fault_model as effects
from localdaytona.admission import IN_PROGRESS, MODIFIED, SCIP
from localdaytona.fault_model import Fault
from localdaytona.interruption import HANG_MAX_S, DroppedReply, HangingReply, left_within, until_gone
from localdaytona.toolbox.errors import ToolboxError, unreachable
from localdaytona.toolbox_host import ToolboxHost

CONFLICTS = {"state_change": SCIP, "modified": MODIFIED, "in_progress": IN_PROGRESS}
LOST = (DroppedReply, HangingReply)
# A request counts as activity for as long as it lasts. The real proxy reports it every 45 s; here a
# timer's minute may be a fraction of a second, and the host throttles its writes.
TOUCH_EVERY_S = 0.2

# The answers of the proxy and the runner. A deleted sandbox's key fits no sandbox.
NO_SANDBOX = (401, "unauthorized: authentication failed: Bearer token is invalid")
NO_ADDRESS = (400, "bad request: no IP address found. Is the Sandbox started?")
NO_RUNNER = (400, "bad request: failed to get runner info: runner not found")
NO_CONTAINER = (404, "not found: sandbox container not found")
# Raw state -> refusal. In every other state except `started`, the daemon is not up yet.
REFUSALS: dict[str, tuple[int, str]] = {
    "stopping": NO_ADDRESS,
    "stopped": NO_ADDRESS,
    "pausing": NO_ADDRESS,
    "paused": NO_ADDRESS,
    "archiving": NO_RUNNER,
    "archived": NO_RUNNER,
    "destroying": NO_CONTAINER,
    "error": NO_CONTAINER,
    "build_failed": NO_CONTAINER,
}


@dataclass(frozen=True, slots=True)
class Admitted:
    """A web socket may be opened; a fault may yet cut what it sends."""

    fault: Fault | None


Handle = Callable[[Request], Awaitable[Response]]


class Gate:
    """Stands before every route of the toolbox."""

    def __init__(self, host: ToolboxHost, api_key: str | None) -> None:
        self._host = host
        self._api_key = api_key

    def route_class(self) -> type[APIRoute]:
        """Return the class of routes that this gate guards."""
        gate = self

        class GatedRoute(APIRoute):
            def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
                handle = super().get_route_handler()

                async def gated(request: Request) -> Response:
                    return await gate.handle(request, handle)

                return gated

        return GatedRoute

    async def handle(self, request: Request, handle: Handle) -> Response:
        """Answer a request and journal it, without commands, queries and bodies."""
        began = time.monotonic()
        try:
            fault = self._admit(request)
            async with self.active(str(request.path_params["sandbox_id"])):
                response = await _faulted(fault, request, lambda request: self._answered(request, handle))
        except ToolboxError as error:
            response = error.response(request)
        self._note(request, None if isinstance(response, LOST) else response.status_code, time.monotonic() - began)
        return response

    async def admit_socket(self, socket: WebSocket) -> Admitted | None:
        """Return how a web socket may be opened. If None, its handshake has been answered."""
        fault: Fault | None = None
        refusal: Response | None = None
        try:
            fault = self._admit(socket)
            refusal = await _socket_refusal(fault)
        except ToolboxError as error:
            refusal = error.response(socket)
        if isinstance(refusal, LOST):
            await refusal(socket.scope, socket.receive, socket.send)
        elif refusal is not None:
            await self.refuse_socket(socket, refusal)
        self._note(socket, 101 if refusal is None else refusal.status_code, 0.0)
        return Admitted(fault) if refusal is None else None

    async def refuse_socket(self, socket: WebSocket, refusal: Response) -> None:
        """Answer a handshake with an error and wait for its end; otherwise uvicorn logs an error."""
        await socket.send_denial_response(refusal)
        await until_gone(socket.receive)
        await asyncio.sleep(0)  # the transport reports its end in the next iteration of the loop

    @asynccontextmanager
    async def active(self, sandbox_id: str) -> AsyncIterator[None]:
        """Count as activity from the block's beginning to its end, so that no idle stop interrupts it."""
        touching = asyncio.create_task(self._keep_touching(sandbox_id))
        try:
            yield
        finally:
            touching.cancel()

    async def _keep_touching(self, sandbox_id: str) -> None:
        while True:
            self._host.touch(sandbox_id)
            await asyncio.sleep(TOUCH_EVERY_S)

    def refuse_unless_started(self, sandbox_id: str) -> None:
        """Raise the real proxy's error as ToolboxError unless the sandbox runs."""
        status = self._host.sandbox_status(sandbox_id)
        if not status.exists:
            raise ToolboxError(*NO_SANDBOX)
        if status.state in REFUSALS:
            raise ToolboxError(*REFUSALS[status.state])
        if status.state != "started":
            raise unreachable()

    def _admit(self, request: HTTPConnection) -> Fault | None:
        """Return the fault that hits this request. Raises ToolboxError."""
        sandbox_id = str(request.path_params["sandbox_id"])
        self._refuse_wrong_key(request.headers.get("authorization", ""))
        if not self._host.sandbox_status(sandbox_id).exists:
            raise ToolboxError(*NO_SANDBOX)
        self._host.touch(sandbox_id)
        return self._host.take_fault("toolbox", sandbox_id, _path(request))

    def _refuse_wrong_key(self, authorization: str) -> None:
        if self._api_key is None:
            return
        if not secrets.compare_digest(authorization.encode(), f"Bearer {self._api_key}".encode()):
            raise ToolboxError(*NO_SANDBOX)

    async def _answered(self, request: Request, handle: Handle) -> Response:
        """Return the route's answer, errors included."""
        try:
            self.refuse_unless_started(str(request.path_params["sandbox_id"]))
            return await handle(request)
        except ToolboxError as error:
            return error.response(request)
        except RequestValidationError as error:
            return ToolboxError(400, _complaint(error), "INVALID_REQUEST_BODY").response(request)
        except HTTPException as error:
            return ToolboxError(error.status_code, str(error.detail)).response(request)

    def _note(self, request: HTTPConnection, status: int | None, took_s: float) -> None:
        sandbox_id = str(request.path_params["sandbox_id"])
        self._host.journal(
            "toolbox",
            sandbox_id,
            {
                "method": request.scope.get("method", "WEBSOCKET"),
                "path": _path(request),
                "status": status,
                "seconds": round(took_s, 3),
            },
        )


def _path(request: HTTPConnection) -> str:
    """Return the path within the sandbox's toolbox."""
    return request.url.path.removeprefix(f"/toolbox/{request.path_params['sandbox_id']}")


def _complaint(error: RequestValidationError) -> str:
    """Return what is wrong with a request, without its content, which may hold a password."""
    places = (f"{'.'.join(str(part) for part in each['loc'])}: {each['msg']}" for each in error.errors())
    return f"bad request: invalid request body: {'; '.join(places)}"


async def _faulted(fault: Fault | None, request: Request, answer: Handle) -> Response:
    """Apply a fault around an answer. Effects on transitions and stale reads do not apply here."""
    effect = None if fault is None else fault.effect
    early = await _instead(effect)
    if early is not None:
        return early
    if isinstance(effect, effects.Late):
        await _until_late(request, effect)
    response = await (_replayed(request, answer, effect) if isinstance(effect, effects.Twice) else answer(request))
    match effect:
        case effects.StatusAfter(status=status, message=message, headers=headers):
            raise ToolboxError(status, message, headers=headers)
        case effects.DropAfter() | effects.Late():
            return DroppedReply()
        case effects.Hang():
            return HangingReply()
        case effects.DelayAfter(seconds=seconds):
            await asyncio.sleep(seconds)
        case effects.Malformed(field=field):
            return _without(response, field)
    return response


async def _until_late(request: Request, effect: effects.Late) -> None:
    """Keep the body, and wait until the client has left and then for as long as the effect says."""
    await request.body()
    await left_within(request.receive, HANG_MAX_S)
    await asyncio.sleep(effect.seconds)


async def _replayed(request: Request, answer: Handle, effect: effects.Twice) -> Response:
    """Answer a request two times, and return the second answer: the proxy has lost the first."""
    body = await request.body()

    async def again() -> Response:
        await asyncio.sleep(effect.seconds)
        return await answer(_copy(request, body))

    _, second = await asyncio.gather(answer(_copy(request, body)), again())
    return second


def _copy(request: Request, body: bytes) -> Request:
    """Return a request with a state of its own, whose body can be read anew."""
    messages = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> Message:
        return next(messages, None) or await request.receive()

    return Request(dict(request.scope), receive)


async def _instead(effect: effects.Effect | None) -> Response | None:
    """Return the answer of an effect that replaces the operation; wait for one that delays it."""
    match effect:
        case effects.StatusEffect(status=status, message=message, headers=headers):
            raise ToolboxError(status, message, headers=headers)
        case effects.NotFound():
            raise ToolboxError(*NO_CONTAINER)
        case effects.Conflict(text=text):
            raise ToolboxError(409, CONFLICTS[text])
        case effects.Drop():
            return DroppedReply()
        case effects.Hang(after=False):
            return HangingReply()
        case effects.Delay(seconds=seconds):
            await asyncio.sleep(seconds)
    return None


async def _socket_refusal(fault: Fault | None) -> Response | None:
    """Return how a fault refuses a web socket; an `_after` effect does not."""
    return await _instead(None if fault is None else fault.effect)


def _without(response: Response, field: str) -> Response:
    """Return a JSON answer without a field, and any other answer unchanged."""
    if isinstance(response, StreamingResponse) or response.media_type != "application/json":
        return response
    body = json.loads(bytes(response.body))
    if not isinstance(body, dict):
        return response
    return JSONResponse({key: value for key, value in body.items() if key != field}, response.status_code)
