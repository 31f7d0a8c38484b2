"""REST over the issues' workflows, put together, and what is read of one issue. Every route wants a bearer token."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from fastapi import APIRouter, Depends
from temporalio.client import WorkflowQueryFailedError, WorkflowQueryRejectedError
from temporalio.service import RPCError, RPCStatusCode

from api import rest_ensure, rest_list, rest_steering
from api.auth import bearer
from api.guard import guarded
from api.issue_path import IssueIdPath, unknown_issue
from api.problems import ProblemError, responses
from api.temporal import Temporal, is_namespace_missing, unavailable
from issuebox.settings import ApiSettings
from workflows.messages import QUERY_STATUS, QUERY_WHY, Status, Why

T = TypeVar("T")


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
    rest_list.add(routes, settings, temporal)
    return routes


def _add_reads(routes: APIRouter, temporal: Temporal) -> None:
    @routes.get(
        "/issues/{issue_id}/sandbox", response_model=Status, responses=responses(404), summary="State, phase and reason"
    )
    async def status(issue_id: IssueIdPath) -> Status:
        """What the issue's workflow knows and does. Asks Daytona nothing."""
        return await _query(temporal, issue_id, QUERY_STATUS, Status)

    @routes.get(
        "/issues/{issue_id}/sandbox/why",
        response_model=Why,
        responses=responses(404),
        summary="Why is this sandbox in this state",
    )
    async def why(issue_id: IssueIdPath) -> Why:
        """One sentence, and the last decisions with time, delivery, phase, action and outcome."""
        return await _query(temporal, issue_id, QUERY_WHY, Why)


async def _query(temporal: Temporal, issue_id: int, query: str, kind: type[T]) -> T:
    async with temporal.within():
        handle = (await temporal.client()).get_workflow_handle(temporal.name(issue_id))
        try:
            async with asyncio.timeout(temporal.half_s):
                answer: T = await handle.query(query, result_type=kind)
        except TimeoutError as error:
            # Temporal holds a query until a worker takes it. If it answers now, it was not the one that is away.
            await temporal.check()
            raise unavailable("no worker answers for this issue") from error
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND and not is_namespace_missing(error):
                raise unknown_issue(issue_id) from error
            raise
        except (WorkflowQueryFailedError, WorkflowQueryRejectedError) as error:
            raise ProblemError(503, "unavailable", f"the workflow could not answer: {error}") from error
        return answer
