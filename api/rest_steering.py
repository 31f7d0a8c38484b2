"""A person's orders by REST: retry, stop, replace, delete. Each is a signal; the workflow judges and acts."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from api.issue_path import IssueIdPath, status_url
from api.problems import responses
from issuebox.temporal import issue_calls
from issuebox.temporal.issues import Temporal
from workflows.messages import SIGNAL_DELETE, SIGNAL_REPLACE, SIGNAL_RETRY, SIGNAL_STOP, DeleteRequest

Force = Annotated[bool, Query(description="Give up whatever in the sandbox is saved nowhere else.")]


_UNKNOWN = responses(404)


class OrderReply(BaseModel):
    """The order is stored by Temporal; what becomes of it is read at status_url."""

    status_url: str = Field(examples=["/v1/issues/1/sandbox"])


def add(routes: APIRouter, temporal: Temporal) -> None:
    """The routes. Each but replace is safe to repeat; each is a 404 when no workflow of the issue runs."""

    @routes.post("/issues/{issue_id}/retry", summary="Try a blocked issue now", status_code=202, responses=_UNKNOWN)
    async def retry(issue_id: IssueIdPath) -> OrderReply:
        """On an issue that is not blocked: look at its sandbox again."""
        return await _order(temporal, issue_id, SIGNAL_RETRY)

    @routes.post("/issues/{issue_id}/stop", summary="Stop the sandbox", status_code=202, responses=_UNKNOWN)
    async def stop(issue_id: IssueIdPath) -> OrderReply:
        """What is in it stays. The next request for the sandbox starts it again."""
        return await _order(temporal, issue_id, SIGNAL_STOP)

    @routes.post("/issues/{issue_id}/replace", summary="Make it anew", status_code=202, responses=_UNKNOWN)
    async def replace(issue_id: IssueIdPath) -> OrderReply:
        """Delete the sandbox, unsaved work included, and make a new one."""
        return await _order(temporal, issue_id, SIGNAL_REPLACE)

    @routes.delete("/issues/{issue_id}/sandbox", summary="Delete the sandbox", status_code=202, responses=_UNKNOWN)
    async def delete(issue_id: IssueIdPath, force: Force = False) -> OrderReply:
        """Unless forced, only when nothing in it would be lost; otherwise it is stopped and the issue says why."""
        return await _order(temporal, issue_id, SIGNAL_DELETE, DeleteRequest(force))


async def _order(temporal: Temporal, issue_id: int, signal: str, *arguments: object) -> OrderReply:
    await issue_calls.order(temporal, issue_id, signal, *arguments)
    return OrderReply(status_url=status_url(issue_id))
