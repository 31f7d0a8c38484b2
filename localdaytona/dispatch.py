"""The path of a call through the server: journal, key, faults, limits, operation, journal, reply.

Injected effects on the reply are applied here, once for all operations.
"""

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from localdaytona import fault_model as effects
from localdaytona.admission import IN_PROGRESS, MODIFIED, SCIP
from localdaytona.caches import as_of
from localdaytona.calls import ApiError, Call, Fate, Reply, error_reply, refuse
from localdaytona.control import Control, not_found
from localdaytona.faults import Target
from localdaytona.interruption import HANG_MAX_S, left_within
from localdaytona.journal import NewEntry
from localdaytona.limits import check_permission
from localdaytona.model import full, now_s
from localdaytona.ssh import without_token
from localdaytona.types import JSON, JSONObject
from localdaytona.world import World

Operation = Callable[[Call], Awaitable[Reply]]
ERROR_MIN = 400
CONFLICTS = {"state_change": SCIP, "modified": MODIFIED, "in_progress": IN_PROGRESS}
# Never written to the journal, whatever their value.
SECRET_FIELDS = ("env", "secrets")
# Calls that are not about one sandbox: in an outage they answer 500, with this text.
WITHOUT_TARGET = {
    "create": "Internal Server Error",
    "list": "An unexpected error occurred.",
    "api_key": "An unexpected error occurred.",
    "ssh_check": "An unexpected error occurred.",
    "regions": "An unexpected error occurred.",
    "snapshot": "An unexpected error occurred.",
}


class Dispatcher:
    """Turns requests into calls, and replies into responses."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._control = Control(world)

    async def handle(self, request: Request, name: str, operation: Operation, argument: str = "") -> Response:
        """Carry out one request."""
        raw = await request.body()
        try:
            body: JSON = json.loads(raw) if raw else None
        except ValueError:
            return JSONResponse(
                {"message": "Invalid JSON in request body", "error": "Bad Request", "statusCode": 400}, 400
            )
        call = self._call(request, name, body, argument)
        self._note_request(call, request)
        try:
            reply = await self._behind_the_gate(call, request, operation)
        except ApiError as error:
            reply = error_reply(call.url, error)
        delivered = reply.fate is Fate.SEND and not await request.is_disconnected()
        self._note_reply(call, reply, delivered=delivered)
        return reply.response()

    async def _behind_the_gate(self, call: Call, request: Request, operation: Operation) -> Reply:
        config = self._world.config
        if config.maintenance:
            refuse("Service is currently under maintenance. Please try again later.", 503)
        key = request.headers.get("authorization", "")
        self._world.limiter.admit_key(config, valid=key == f"Bearer {self._world.api_key}")
        if self._world.outage_since is not None:
            return self._in_outage(call, now_s() - self._world.outage_since)
        check_permission(call.operation, config)
        call.fault = self._world.faults.take(Target(call.operation, call.sandbox_id, call.name, call.request_id))
        if isinstance(call.fault.effect if call.fault is not None else None, effects.Late):
            await self._until_late(call, request)
        return await self._faulted(call, operation)

    async def _limited(self, call: Call, operation: Operation) -> Reply:
        headers = self._world.limiter.admit(call.operation, self._world.config)
        try:
            reply = await operation(call)
        except ApiError as error:
            error.headers = {**headers, **error.headers}
            raise
        return replace(reply, headers={**headers, **reply.headers})

    async def _faulted(self, call: Call, operation: Operation) -> Reply:
        """Apply an effect that comes before the operation or replaces it."""
        match call.fault.effect if call.fault is not None else None:
            case effects.StatusEffect(status=status, message=message, headers=headers):
                raise ApiError(status, message, headers)
            case effects.NotFound():
                raise not_found(call.target or "")
            case effects.Conflict(text=text):
                refuse(CONFLICTS[text], 409)
            case effects.Drop():
                return Reply(fate=Fate.DROP)
            case effects.Hang(after=False):
                return Reply(fate=Fate.HANG)
            case effects.Delay(seconds=seconds):
                await asyncio.sleep(seconds)
        return await self._faulted_after(call, operation)

    async def _faulted_after(self, call: Call, operation: Operation) -> Reply:
        """Run the operation, then apply an effect that comes after it."""
        try:
            reply = await self._limited(call, operation)
        except ApiError as error:
            reply = error_reply(call.url, error)
        match call.fault.effect if call.fault is not None else None:
            case effects.StatusAfter(status=status, message=message, headers=headers):
                raise ApiError(status, message, headers)
            case effects.DropAfter():
                return Reply(fate=Fate.DROP)
            case effects.Hang():
                return Reply(fate=Fate.HANG)
            case effects.Late():
                return Reply(fate=Fate.DROP)
            case effects.DelayAfter(seconds=seconds):
                await asyncio.sleep(seconds)
            case effects.Malformed(field=field) if isinstance(reply.body, dict) and reply.status < ERROR_MIN:
                return replace(reply, body=_without(reply.body, field))
            case effects.Stale() as stale if isinstance(reply.body, dict) and call.operation != "get":
                call.as_of = stale.moment(now_s())
                return replace(reply, body=self._aged(reply.body, call.as_of))
        return reply

    def _aged(self, body: JSONObject, at: float) -> JSONObject:
        """Return a body with the states its sandboxes had then, without those that did not exist yet."""
        items = body.get("items")
        if isinstance(items, list):
            aged = [self._aged(item, at) for item in items if isinstance(item, dict)]
            return {**body, "items": [item for item in aged if item]}
        sandbox = self._world.store.by_id(str(body.get("id")))
        then = None if sandbox is None else as_of(self._world.store.journal, sandbox, at)
        if then is None:
            return {}
        shown = full(then, self._world.toolbox_url)
        return {**body, **{key: shown[key] for key in ("name", "state", "desiredState", "updatedAt")}}

    async def _until_late(self, call: Call, request: Request) -> None:
        """Wait until the client has left, and then for as long as the effect says."""
        await left_within(request.receive, HANG_MAX_S)
        if call.fault is not None and isinstance(call.fault.effect, effects.Late):
            await asyncio.sleep(call.fault.effect.seconds)

    def _in_outage(self, call: Call, outage_s: float) -> Reply:
        """Answer without a database: from the cache of reads by ID, or with an error."""
        config, target = self._world.config, call.target or ""
        if outage_s >= config.scaled(config.outage_404_s):
            refuse("Temporary authentication service error", 503)
        if call.operation in WITHOUT_TARGET:
            refuse(WITHOUT_TARGET[call.operation], 500)
        read = self._world.reads.fresh(target, config)
        if read is None:
            raise not_found(target)
        if call.operation != "get":
            refuse("Internal Server Error", 500)
        call.as_of = read.at
        return Reply(200, full(read.sandbox, self._world.toolbox_url))

    def _call(self, request: Request, name: str, body: JSON, argument: str) -> Call:
        path = request.path_params.get("id_or_name")
        target = None if path is None else str(path).removesuffix("/")
        sandbox = None if target is None else self._control.resolve(target)
        asked = body.get("name") if isinstance(body, dict) and target is None else target
        query = request.url.query
        return Call(
            request_id=uuid.uuid4().hex,
            operation=name,
            target=target,
            url=f"{request.url.path}?{query}" if query else request.url.path,
            query=request.query_params,
            body=body,
            argument=argument,
            sandbox_id=None if sandbox is None else sandbox.id,
            name=sandbox.name if sandbox is not None else asked if isinstance(asked, str) else None,
        )

    def _note_request(self, call: Call, request: Request) -> None:
        detail: JSONObject = {
            "request_id": call.request_id,
            "method": request.method,
            "path": without_token(call.url),
            "source": request.headers.get("x-daytona-source"),
            "body": _without_secrets(call.body),
        }
        with self._world.store.transaction():
            self._world.store.journal.append(
                now_s(), NewEntry("request", call.sandbox_id, call.name, call.operation, detail)
            )

    def _note_reply(self, call: Call, reply: Reply, *, delivered: bool) -> None:
        message = reply.body.get("message") if isinstance(reply.body, dict) else None
        detail: JSONObject = {
            "request_id": call.request_id,
            "status": reply.status if reply.fate is Fate.SEND else None,
            "message": message,
            "committed": call.committed,
            "delivered": delivered,
            "as_of": call.as_of,
        }
        with self._world.store.transaction():
            self._world.store.journal.append(
                now_s(), NewEntry("reply", call.sandbox_id, call.name, call.operation, detail)
            )


def unknown_route(request: Request) -> Response:
    """Answer a path that the API does not have."""
    error = ApiError(HTTPStatus.NOT_FOUND, f"Cannot {request.method} {request.url.path}")
    return error_reply(request.url.path, error).response()


def _without(body: JSONObject, field: str) -> JSONObject:
    items = body.get("items")
    if isinstance(items, list):
        return {**body, "items": [_without(item, field) if isinstance(item, dict) else item for item in items]}
    return {key: value for key, value in body.items() if key != field}


def _without_secrets(body: JSON) -> JSON:
    if not isinstance(body, dict):
        return body
    return {key: _names_only(value) if key in SECRET_FIELDS else value for key, value in body.items()}


def _names_only(value: JSON) -> JSON:
    return dict.fromkeys(value, "***") if isinstance(value, dict) else "***"
