"""REST for the queue of the installation: how many slots are in use, who waits for one, and what for."""

from __future__ import annotations

from fastapi import APIRouter

from issuebox.temporal.issues import Issues
from issuebox.temporal.queue import Queues, read_queues


def add(routes: APIRouter, issues: Issues) -> None:
    """Add the route of the queue."""

    @routes.get(
        "/queue",
        tags=["queue"],
        operation_id="getQueue",
        response_model=Queues,
        summary="Who waits for a slot, and how many are in use",
    )
    async def queue() -> Queues:
        """The slots of the installation, for sandboxes that run and for runs at work, and the issues that wait for one.

        People's own requests come first, then the repositories in turn. Where no issue has needed a slot yet, `caps`
        is null and nobody waits. 503: no worker answers, or Temporal does not.
        """
        return await read_queues(issues)
