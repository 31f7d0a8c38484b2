"""Puts the toolbox together: every route of a sandbox, behind one gate."""

from fastapi import APIRouter, Request

from localdaytona.toolbox.errors import ToolboxError
from localdaytona.toolbox.file_routes import add_file_routes
from localdaytona.toolbox.gate import Gate
from localdaytona.toolbox.git_routes import add_git_routes
from localdaytona.toolbox.inside import Inside
from localdaytona.toolbox.process_routes import add_process_routes
from localdaytona.toolbox.session_routes import add_session_routes
from localdaytona.toolbox.workspaces import Workspaces
from localdaytona.toolbox_host import ToolboxHost

PREFIX = "/toolbox/{sandbox_id}"


def toolbox_router(host: ToolboxHost, api_key: str | None = None) -> APIRouter:
    """Return the toolbox of all sandboxes, mounted at `/toolbox/{sandbox_id}`.

    Without `api_key` any key is accepted: whoever reaches the port can then run commands as this user.
    """
    workspaces, gate = Workspaces(host), Gate(host, api_key)
    host.add_listener(workspaces)
    host.add_inside(Inside(host, workspaces))
    router = APIRouter(
        prefix=PREFIX, route_class=gate.route_class(), lifespan=workspaces.serving, include_in_schema=False
    )
    add_process_routes(router, workspaces)
    add_session_routes(router, workspaces, gate)
    add_file_routes(router, workspaces)
    add_git_routes(router, workspaces)
    router.add_api_route("/{rest:path}", _unknown, methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
    return router


async def _unknown(request: Request) -> None:
    raise ToolboxError(404, f"not found: {request.method} {request.url.path} is not in this toolbox")
