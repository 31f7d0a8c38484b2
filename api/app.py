"""The FastAPI application, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI

from api import health, listing, problems, sandboxes, status_page, webhooks
from api.body_limit import v1_router
from issuebox.settings import ApiSettings
from issuebox.temporal.connect import connect
from issuebox.temporal.issues import ClientFactory, Issues

DESCRIPTION = """Exactly one Daytona sandbox per GitHub issue.

GitHub's webhooks go to `/webhooks/github`, signed. People and programs use `/v1`, with a bearer token.
Errors are RFC 9457 problem details."""


def from_environment() -> FastAPI:
    """The application as the process's own environment describes it. Raises pydantic's ValidationError."""
    return create_app(ApiSettings(), lambda: connect(lazy=True))


def create_app(settings: ApiSettings, client_factory: ClientFactory) -> FastAPI:
    """The application. `client_factory` makes the Temporal client, lazily: Temporal may be down at start-up."""
    issues = Issues(
        client_factory,
        name_prefix=settings.name_prefix,
        task_queue=settings.task_queue,
        timeout_s=settings.temporal_timeout_s,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await issues.client()  # A configuration that cannot be used stops the start, not the first delivery.
        yield

    app = FastAPI(
        lifespan=lifespan,
        title="issuebox",
        version=version("issuebox"),
        description=DESCRIPTION,
        redoc_url=None,
        # A redirect for a trailing slash would lead to whatever Host the caller named.
        redirect_slashes=False,
    )
    problems.install(app)
    app.include_router(webhooks.router(settings, issues))
    v1 = v1_router(settings)
    sandboxes.add(v1, settings, issues)
    listing.add(v1, settings, issues)
    app.include_router(v1)
    app.include_router(health.router(issues))
    app.include_router(status_page.router(settings, issues))

    _document(app)
    return app


def _document(app: FastAPI) -> None:
    """Make the OpenAPI page say what is true: problems instead of FastAPI's own 422."""
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
        assert app.openapi_schema is not None  # noqa: S101 -- FastAPI keeps what it made
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
