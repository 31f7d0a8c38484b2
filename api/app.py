"""The FastAPI application, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI

from api import docs_page, health, listing, problems, sandboxes, status_page, webhooks
from api.body_limit import v1_router
from issuebox.environment import load
from issuebox.settings import ApiSettings
from issuebox.temporal.connect import connect
from issuebox.temporal.issues import ClientFactory, Issues

TEMPORAL_TIMEOUT_S = 4.0
"""How long a call to Temporal may take before the caller gets a 503: GitHub gives up after 10 s."""

DESCRIPTION = """Exactly one Daytona sandbox per GitHub issue.

GitHub's webhooks go to `/webhooks/github`, signed. People and programs use `/v1`, with a bearer token.
Errors are RFC 9457 problem details."""


def from_environment() -> FastAPI:
    """The application with the settings of the process's environment. Raises SettingsError."""
    return create_app(load(ApiSettings), lambda: connect(lazy=True))


def create_app(settings: ApiSettings, client_factory: ClientFactory) -> FastAPI:
    """The application. `client_factory` makes the Temporal client, lazily: Temporal may be down at start-up."""
    issues = Issues(
        client_factory,
        name_prefix=settings.name_prefix,
        task_queue=settings.task_queue,
        timeout_s=TEMPORAL_TIMEOUT_S,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await issues.client()  # An unusable configuration fails the start, not the first delivery.
        yield

    app = FastAPI(
        lifespan=lifespan,
        title="issuebox",
        version=version("issuebox"),
        description=DESCRIPTION,
        # Both pages of FastAPI load scripts from another host; `docs_page` has ours.
        docs_url=None,
        redoc_url=None,
        # A redirect for a trailing slash would go to whatever host the caller's Host header names.
        redirect_slashes=False,
    )
    problems.install(app)
    app.include_router(webhooks.router(settings, issues))
    v1 = v1_router(settings)
    sandboxes.add(v1, issues)
    listing.add(v1, settings, issues)
    app.include_router(v1)
    app.include_router(health.router(issues))
    app.include_router(status_page.router(settings, issues))
    app.include_router(docs_page.router(lambda: app.openapi()))  # noqa: PLW0108 -- `_document` replaces it

    _document(app)
    return app


def _document(app: FastAPI) -> None:
    """Correct the OpenAPI document: errors are problems, not FastAPI's own 422."""
    original = app.openapi

    def openapi() -> dict[str, object]:
        if app.openapi_schema is None:
            schema = original()
            schemas = schema.setdefault("components", {}).setdefault("schemas", {})
            schemas["Problem"] = problems.Problem.model_json_schema()
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
            for operations in schema["paths"].values():
                for operation in operations.values():
                    operation["responses"].pop("422", None)
        assert app.openapi_schema is not None  # noqa: S101 -- `original` sets it
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
