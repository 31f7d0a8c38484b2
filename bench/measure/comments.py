"""A stand-in for the part of GitHub's REST API that telling an issue of its runs uses. It answers well and at once.

What happens when GitHub does not is a matter of tests. Here only the number of its requests and of the events counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from issuebox.dev.demo.stack import until
from issuebox.dev.dev_stack import LOOPBACK
from localdaytona.testing import free_port

LOGIN = "bench-bot"
TOKEN = "ghp_of-the-bench"  # noqa: S105 -- the stand-in takes any


@dataclass
class Comments:
    """Our comments by their IDs, and how often each method was used."""

    port: int = field(default_factory=free_port)
    bodies: dict[int, dict[str, Any]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    @property
    def settings(self) -> dict[str, str]:
        """What makes a worker tell its issues here."""
        return {"ISSUEBOX_GITHUB_TOKEN": TOKEN, "ISSUEBOX_GITHUB_API_URL": f"http://{LOOPBACK}:{self.port}"}

    def says(self, words: str) -> bool:
        """Whether one comment says this."""
        return any(words in body["body"] for body in self.bodies.values())

    def app(self) -> Starlette:
        """The routes."""
        repository = "/repos/{owner}/{name}/issues"
        return Starlette(
            routes=[
                Route("/user", self._user),
                Route(repository + "/{number:int}/comments", self._listed, methods=["GET"]),
                Route(repository + "/{number:int}/comments", self._create, methods=["POST"]),
                Route(repository + "/comments/{comment:int}", self._edit, methods=["PATCH"]),
                Route(repository + "/comments/{comment:int}/reactions", self._react, methods=["POST"]),
            ]
        )

    async def _user(self, _: Request) -> JSONResponse:
        return JSONResponse({"login": LOGIN, "type": "User"})

    async def _listed(self, request: Request) -> JSONResponse:
        self.asked.append("list")
        ending = f"/issues/{request.path_params['number']}"
        return JSONResponse([body for body in self.bodies.values() if body["issue_url"].endswith(ending)])

    async def _create(self, request: Request) -> JSONResponse:
        self.asked.append("create")
        now, given, path = datetime.now(UTC).isoformat(timespec="seconds"), await request.json(), request.url.path
        body = {
            "id": len(self.bodies) + 1,
            "body": given["body"],
            "issue_url": f"http://{LOOPBACK}:{self.port}{path.removesuffix('/comments')}",
            "created_at": now,
            "updated_at": now,
            "user": {"login": LOGIN, "type": "User"},
        }
        self.bodies[len(self.bodies) + 1] = body
        return JSONResponse(body, 201)

    async def _edit(self, request: Request) -> JSONResponse:
        self.asked.append("edit")
        body = self.bodies.get(request.path_params["comment"])
        if body is None:
            return JSONResponse({"message": "Not Found"}, 404)
        body["body"] = (await request.json())["body"]
        return JSONResponse(body)

    async def _react(self, _: Request) -> JSONResponse:
        self.asked.append("react")
        return JSONResponse({"id": 1, "content": "eyes"}, 201)


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the measurement's."""
        yield


@asynccontextmanager
async def serving_comments() -> AsyncIterator[Comments]:
    """Serve on loopback for the block."""
    comments = Comments()
    config = uvicorn.Config(
        comments.app(), host=LOOPBACK, port=comments.port, log_config=None, ws="none", lifespan="off"
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve())

    async def is_up() -> bool:
        return server.started or serving.done()

    try:
        await until(is_up, bool, "the stand-in listens", 10.0)
        yield comments
    finally:
        server.should_exit = True
        await serving
