"""The FastAPI application, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI

from api import docs_page, health, listing, openapi, overview, problems, queue, runs, sandboxes, status_page, webhooks
from api.body_limit import v1_router
from api.counted import CountedRequests
from issuebox.environment import load
from issuebox.health import answering
from issuebox.settings import ApiSettings
from issuebox.start_checks import TEMPORAL_PAUSES, Standing, repeated, temporal_check
from issuebox.temporal.connect import connect
from issuebox.temporal.counted import TimedCalls
from issuebox.temporal.issues import ClientFactory, Issues

TEMPORAL_TIMEOUT_S = 4.0
"""How long a call to Temporal may take before the caller gets a 503: GitHub gives up after 10 s."""

DESCRIPTION = """Exactly one Daytona sandbox per GitHub issue.

GitHub's webhooks go to `/webhooks/github`, signed. People and programs use `/v1`, with a bearer token.
Errors are RFC 9457 problem details. What is not known is null where it would be a word of a list, a time or an object;
a text is empty then, and a number 0."""


def from_environment() -> FastAPI:
    """The application with the settings of the process's environment. Raises SettingsError."""
    settings = load(ApiSettings)
    interceptors = [TimedCalls()] if settings.admin_address else []
    return create_app(settings, lambda: connect(lazy=True, interceptors=interceptors))


def create_app(settings: ApiSettings, client_factory: ClientFactory) -> FastAPI:
    """The application. `client_factory` makes the Temporal client, lazily: Temporal may be down at start-up."""
    issues = Issues(
        client_factory,
        name_prefix=settings.name_prefix,
        task_queue=settings.task_queue,
        timeout_s=TEMPORAL_TIMEOUT_S,
    )

    async def is_not_ready() -> str:
        return str(await temporal_check(issues) or "")

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await issues.client()  # An unusable configuration fails the start, not the first delivery.
        async with (
            answering(settings.admin_address, is_not_ready),
            repeated({"temporal": lambda: temporal_check(issues)}, Standing(), TEMPORAL_PAUSES),
        ):
            yield

    app = FastAPI(
        lifespan=lifespan,
        title="issuebox",
        version=version("issuebox"),
        description=DESCRIPTION,
        servers=openapi.SERVERS,
        openapi_tags=openapi.TAGS,
        generate_unique_id_function=lambda route: route.name,
        # Both pages of FastAPI load scripts from another host; `docs_page` has ours.
        docs_url=None,
        redoc_url=None,
        # A redirect for a trailing slash would go to whatever host the caller's Host header names.
        redirect_slashes=False,
    )
    if settings.admin_address:
        app.add_middleware(CountedRequests)
    problems.install(app)
    app.include_router(webhooks.router(settings, issues))
    v1 = v1_router(settings)
    sandboxes.add(v1, issues)
    runs.add(v1, settings, issues)
    listing.add(v1, settings, issues)
    queue.add(v1, issues)
    overview.add(v1, issues)
    app.include_router(v1)
    app.include_router(health.router(issues))
    app.include_router(status_page.router(settings, issues))
    app.include_router(docs_page.router(lambda: app.openapi()))  # noqa: PLW0108 -- replaced below

    openapi.install(app)
    return app
