"""Who waits for a slot of the installation, and how many are in use: what its gate says, as people read it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from pydantic import Field
from temporalio.client import WorkflowQueryRejectedError
from temporalio.common import QueryRejectCondition

from issuebox.domain.gate import Caps
from issuebox.domain.issue import issue_id_of
from issuebox.domain.slot import Kind, Limit, waits_for
from issuebox.temporal.gate import gate_id
from issuebox.temporal.issues import Issues, UnavailableError, found
from workflows.gate_messages import QUERY_GATE, GateView

UNTIL = "waiting until "
"""With which each reason begins."""

ITS_TURN = "waiting until the gate hands out its slot, any moment"


@dataclass(frozen=True, slots=True)
class QueuedIssue:
    """An issue that waits for a slot."""

    place: Annotated[int, Field(description="From 1, in the order in which they are served.")]
    issue_id: int
    name: Annotated[str, Field(examples=["claude-issue-1"])]
    repository: Annotated[str, Field(description="In small letters.", examples=["octo/repo"])]
    since: Annotated[datetime, Field(description="When it asked.")]
    limit: Annotated[Limit | None, Field(description="What keeps it waiting; null when its turn has come.")]
    reason: Annotated[
        str, Field(description="The same in words.", examples=["waiting until fewer sandboxes run in the installation"])
    ]


@dataclass(frozen=True, slots=True)
class SlotQueue:
    """The slots of one kind."""

    caps: Annotated[Caps | None, Field(description="Null where no issue has needed a slot yet.")] = None
    in_use: Annotated[int, Field(description="What is not limited is not counted.")] = 0
    beyond_cap: Annotated[
        int, Field(description="Of those in use: people started sandboxes by hand, or the cap was lowered.")
    ] = 0
    waiting: tuple[QueuedIssue, ...] = ()
    opens_at: Annotated[
        datetime | None, Field(description="Before that none is granted, unless it is known earlier what is in use.")
    ] = None
    held_until: Annotated[
        datetime | None, Field(description="Daytona's quota is used up. Before that nobody tries.")
    ] = None


@dataclass(frozen=True, slots=True)
class Queues:
    """Both kinds of slots."""

    sandboxes: Annotated[SlotQueue, Field(description="For sandboxes that run.")] = SlotQueue()
    runs: Annotated[SlotQueue, Field(description="For runs at work.")] = SlotQueue()


async def read_queues(issues: Issues) -> Queues:
    """What the installation's gate says; nothing when none runs. Raises UnavailableError."""
    async with issues.within():
        handle = (await issues.client()).get_workflow_handle(gate_id(issues.name_prefix, issues.task_queue))
        try:
            async with asyncio.timeout(issues.timeout_s / 2):
                views: dict[Kind, GateView] | None = await found(
                    handle.query(
                        QUERY_GATE,
                        result_type=dict[Kind, GateView],
                        reject_condition=QueryRejectCondition.NOT_OPEN,
                    )
                )
        except WorkflowQueryRejectedError:
            views = None
        except TimeoutError as error:
            # Temporal holds a query until a worker takes it.
            raise UnavailableError("no worker answers for the gate") from error
    return queues_of(views or {}, issues.name_prefix)


def queues_of(views: dict[Kind, GateView], name_prefix: str) -> Queues:
    """What the gate says of both kinds."""
    kinds = {kind: _queue(kind, view, name_prefix) for kind, view in views.items()}
    return Queues(kinds.get(Kind.SANDBOX, SlotQueue()), kinds.get(Kind.RUN, SlotQueue()))


def _queue(kind: Kind, view: GateView, name_prefix: str) -> SlotQueue:
    in_use = len(view.working)
    return SlotQueue(
        caps=view.caps,
        in_use=in_use,
        beyond_cap=max(0, in_use - view.caps.total) if view.caps.total else 0,
        waiting=tuple(
            QueuedIssue(
                place=place,
                issue_id=issue_id_of(each.name, name_prefix) or 0,
                name=each.name,
                repository=each.repository,
                since=each.since,
                limit=each.limit,
                reason=waits_for(kind, each.limit) if each.limit is not None else ITS_TURN,
            )
            for place, each in enumerate(view.waiting, 1)
        ),
        opens_at=view.opens_at,
        held_until=view.held_until,
    )
