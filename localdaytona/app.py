"""The ASGI application: event stream, control plane, administration, toolbox and page."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import socketio
from fastapi import FastAPI
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from localdaytona.admin_routes import admin_router
from localdaytona.control_routes import control_router
from localdaytona.dashboard import dashboard_router
from localdaytona.events import PATH
from localdaytona.fault_model import Plan
from localdaytona.interruption import until_gone
from localdaytona.toolbox import toolbox_router
from localdaytona.world import Options, World, WorldToolboxHost


def build_world(options: Options) -> World:
    """Return the opened world; the command line's options override what the file remembers.

    Raises pydantic.ValidationError for a fault file that is not a plan.
    """
    plan = None
    if options.faults_file is not None:
        plan = Plan.model_validate(json.loads(options.faults_file.read_text("utf-8")))
    world = World(options)
    with world.store.transaction():
        if options.speed is not None:
            world.reconfigure(world.config.model_copy(update={"speed": options.speed}))
        if plan is not None:
            world.faults.replace(plan)
        if options.seed is not None:
            world.faults.reseed(options.seed)
    return world


def build_app(world: World) -> ASGIApp:
    """Return the application over a world. It must be served with `http=DroppableHttp`."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with world.running():
            yield

    # FastAPI's pages load scripts from another host, which could then use /_local/ without a key.
    api = FastAPI(
        title="localdaytona", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url="/_local/openapi.json"
    )
    api.include_router(control_router(world))
    api.include_router(admin_router(world))
    api.include_router(toolbox_router(WorldToolboxHost(world), world.api_key))
    api.include_router(dashboard_router())
    return _with_events(world, api)


def _with_events(world: World, api: FastAPI) -> ASGIApp:
    """Return the application with the event stream in front of it."""
    stream = socketio.ASGIApp(world.events.server, socketio_path=PATH)
    off = JSONResponse({"message": "Not Found", "error": "Not Found", "statusCode": 404}, 404)
    no_polling = JSONResponse({"code": 0, "message": "Transport unknown"}, 400)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or not scope["path"].startswith(PATH):
            await api(scope, receive, send)
        elif not world.config.events:
            await off(scope, receive, send)
            await _until_closed(scope, receive)
        elif scope["type"] != "websocket":
            await no_polling(scope, receive, send)
        else:
            await stream(scope, receive, send)

    return app


async def _until_closed(scope: Scope, receive: Receive) -> None:
    """Return when a refused web socket is closed: uvicorn logs an error for an application that returns earlier."""
    if scope["type"] == "websocket":
        await until_gone(receive)
        await asyncio.sleep(0)  # the transport reports its end in the next iteration of the loop
