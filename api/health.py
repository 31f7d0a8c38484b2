"""Liveness and readiness of this process. Neither needs a token, because they reveal nothing else."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter
from pydantic import BaseModel

from api.problems import responses
from issuebox.temporal.issues import Issues

READY_FOR_S = 1.0
"""How long Temporal's answer is reused, so that frequent probes do not load it."""


class Health(BaseModel):
    """The process answers."""

    status: str = "ok"


def router(issues: Issues) -> APIRouter:
    """``/healthz`` and ``/readyz``."""
    routes = APIRouter(tags=["health"])
    ready_until = 0.0

    @routes.get("/healthz", response_model=Health, summary="Whether the process is alive")
    async def healthz() -> Health:
        return Health()

    @routes.get("/readyz", response_model=Health, responses=responses(503), summary="Whether Temporal can be reached")
    async def readyz() -> Health:
        nonlocal ready_until
        now = asyncio.get_running_loop().time()
        if now >= ready_until:
            await issues.check()
            ready_until = now + READY_FOR_S
        return Health()

    return routes
