"""REST over the issues' workflows, put together, and what is read of one issue. Every route wants a bearer token."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from api import listing, rest_ensure, rest_steering
from api.auth import bearer
from api.body_limit import guarded
from api.issue_path import IssueIdPath
from api.problems import responses
from issuebox.settings import ApiSettings
from issuebox.temporal.issue_calls import query
from issuebox.temporal.issues import Temporal
from workflows.messages import QUERY_STATUS, QUERY_WHY, Status, Why


def router(settings: ApiSettings, temporal: Temporal) -> APIRouter:
    """The routes under /v1."""

    routes = APIRouter(
        prefix="/v1",
        tags=["sandboxes"],
        route_class=guarded(settings),
        dependencies=[Depends(bearer)],  # Only documents the scheme: the route class enforces it.
        responses=responses(400, 401, 503),
    )
    rest_ensure.add(routes, settings, temporal)
    _add_reads(routes, temporal)
    rest_steering.add(routes, temporal)
    listing.add(routes, settings, temporal)
    return routes


def _add_reads(routes: APIRouter, temporal: Temporal) -> None:
    @routes.get(
        "/issues/{issue_id}/sandbox", response_model=Status, responses=responses(404), summary="State, phase and reason"
    )
    async def status(issue_id: IssueIdPath) -> Status:
        """What the issue's workflow knows and does. Asks Daytona nothing."""
        return await query(temporal, issue_id, QUERY_STATUS, Status)

    @routes.get(
        "/issues/{issue_id}/sandbox/why",
        response_model=Why,
        responses=responses(404),
        summary="Why is this sandbox in this state",
    )
    async def why(issue_id: IssueIdPath) -> Why:
        """One sentence, and the last decisions with time, delivery, phase, action and outcome."""
        return await query(temporal, issue_id, QUERY_WHY, Why)
