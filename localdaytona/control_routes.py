"""The control plane's routes under /api: one table row each."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fastapi import APIRouter, Request, Response

from localdaytona.control import Control
from localdaytona.dispatch import Dispatcher, Operation, unknown_route
from localdaytona.world import World

# A name may contain a slash, which arrives decoded: hence `:path`, and the longer routes first.
ONE = "/sandbox/{id_or_name:path}"


@dataclass(frozen=True, slots=True)
class Route:
    """A route: the operation's name for journal, faults and limits, and its implementation."""

    method: str
    path: str
    name: str
    operation: Operation
    setting: str = ""  # for intervals: which one


def control_router(world: World) -> APIRouter:
    """Return the API's routes."""
    control, dispatcher = Control(world), Dispatcher(world)
    router = APIRouter(prefix="/api", include_in_schema=False)
    for route in _routes(control):
        router.add_api_route(route.path, _endpoint(dispatcher, route), methods=[route.method], name=route.name)
    router.add_api_route("/{rest:path}", _unknown, methods=["GET", "POST", "PUT", "PATCH", "DELETE"], name="unknown")
    return router


def _routes(control: Control) -> tuple[Route, ...]:
    lifecycle = (
        ("start", control.start),
        ("stop", control.stop),
        ("archive", control.archive),
        ("recover", control.recover),
        ("pause", control.pause),
    )
    intervals = (
        ("autostop", "auto_stop"),
        ("autopause", "auto_pause"),
        ("autoarchive", "auto_archive"),
        ("autodelete", "auto_delete"),
        ("ttl", "ttl"),
    )
    return (
        Route("POST", "/sandbox", "create", control.create),
        Route("GET", "/sandbox", "list", control.list),
        Route("GET", "/api-keys/current", "api_key", control.api_key),
        Route("GET", "/regions", "regions", control.regions),
        Route("GET", "/snapshots/{id_or_name:path}", "snapshot", control.snapshot),
        *(Route("POST", f"{ONE}/{name}", name, operation) for name, operation in lifecycle),
        *(
            Route("POST", f"{ONE}/{path}/{{minutes}}", "interval", control.interval, setting)
            for path, setting in intervals
        ),
        Route("GET", "/sandbox/ssh-access/validate", "ssh_check", control.check_ssh_access),
        Route("POST", f"{ONE}/ssh-access", "ssh_access", control.grant_ssh_access),
        Route("DELETE", f"{ONE}/ssh-access", "ssh_access", control.revoke_ssh_access),
        Route("PUT", f"{ONE}/labels", "labels", control.labels),
        Route("POST", f"{ONE}/last-activity", "last_activity", control.last_activity),
        Route("GET", f"{ONE}/toolbox-proxy-url", "get", control.toolbox_url),
        Route("GET", ONE, "get", control.get),
        Route("DELETE", ONE, "delete", control.delete),
    )


def _endpoint(dispatcher: Dispatcher, route: Route) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        argument = f"{route.setting}/{request.path_params['minutes']}" if route.setting else ""
        return await dispatcher.handle(request, route.name, route.operation, argument)

    return endpoint


async def _unknown(request: Request) -> Response:
    return unknown_route(request)
