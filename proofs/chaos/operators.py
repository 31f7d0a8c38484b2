"""Operators: they end and reset workflows, start a worker with a wrong setting, and set right what came of it.

What sets it right is in docs/operations.md: the next event, `issuebox audit`, a resync, the signals `look` and `retry`,
and for a sandbox that a worker of another instance has created, the right label. A resync is the redelivery of all
that GitHub knows of the issue, the newest first. The audit is done for the issues alone whose workflow was ended: for
all issues it would hide what their own workflows miss.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

import httpx
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType, ResetReapplyType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client, WorkflowExecutionDescription
from temporalio.service import RPCError, RPCStatusCode

from issuebox.domain.issue import Issue
from issuebox.temporal import runs
from issuebox.temporal.sweeps import SweptIssues
from proofs.chaos.cluster import DAYTONA_KEY, Cluster
from proofs.chaos.fault_schedule import Meddle, Stray
from proofs.chaos.github import GitHub
from proofs.chaos.parts import PartError
from proofs.chaos.story import IssueState, Post
from proofs.chaos.tally import Meddled, Tally
from proofs.chaos.terms import INSTANCE, NAME_PREFIX, REPOSITORY, STRANGE_INSTANCE, TASK_QUEUE, WORKFLOWS
from proofs.checker.evidence import End, Expectation

SEARCH_S: Final = 8.0
"""How long an operator looks for a workflow in the moment that the plan asks for."""
SEARCH_INTERVAL_S: Final = 0.4
DESCRIBED_MAX: Final = 60
"""So many workflows are described at a time in search of a moment."""
STRAY_READY_S: Final = 30.0
TRIES_MAX: Final = 10
RETRY_S: Final = 0.5

RUNNING: Final = f'{WORKFLOWS} AND ExecutionStatus = "Running"'
ENDED: Final = f'{WORKFLOWS} AND ExecutionStatus IN ("Terminated", "Canceled", "Failed")'
OPENINGS: Final = frozenset({"opened", "reopened"})
RESTING: Final = frozenset(
    {("running", "usable"), ("stopped", "stopped"), ("archived", "archived"), ("deleted", "missing")}
)
"""Goals, and the phases in which they are reached, as workflows publish them."""
STRAYED: Final = frozenset({"wrong_name", "foreign"})
"""Causes of a block by a worker with wrong settings. They end with `retry`, once that worker is gone."""

COMMANDS: Final = frozenset(f"{word}_sandbox" for word in ("create", "start", "recover", "stop", "archive", "delete"))
NOT_REPEATED: Final = frozenset({"delete", "replace"})
"""Signals that no operator has applied again: docs/operations.md says to terminate instead."""
_COMPLETED: Final = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
_SIGNALED: Final = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED


class Operators:
    """What they do is noted in the tally. What cannot be done at that moment never fails the run."""

    def __init__(self, cluster: Cluster, tally: Tally) -> None:
        self._cluster = cluster
        self._tally = tally

    async def meddle(self, step: Meddle) -> None:
        """Cancel, terminate or reset the first workflow that is in the moment that the step asks for."""
        word = f"{step.act} {step.moment}"
        try:
            client = await self._cluster.temporal()
            found = await _found(client, step)
            if found is None or not await self._done(client, found, step):
                self._tally.refused_acts[word] += 1
                return
        except (RPCError, RuntimeError):  # Temporal is down.
            self._tally.refused_acts[word] += 1
            return
        self._tally.acts[word] += 1
        self._tally.meddled.append(Meddled(time.time(), int(found.id.removeprefix(NAME_PREFIX)), word))

    async def _done(self, client: Client, found: WorkflowExecutionDescription, step: Meddle) -> bool:
        """Do it, as the `temporal` command does. Returns whether it could be done."""
        handle = client.get_workflow_handle(found.id, run_id=found.run_id)
        if step.act == "reset":
            points = reset_points((await handle.fetch_history()).events)
            if points:
                self._tally.reset_runs.add(found.run_id)
                await _reset(client, found, points[min(len(points) - 1, int(step.share * len(points)))])
            return bool(points)
        is_cancel = step.act == "cancel"
        kind = "canceled" if is_cancel else "terminated"
        self._tally.ends.append(End(workflow_id=found.id, run_id=found.run_id, at=time.time(), kind=kind))
        await (handle.cancel() if is_cancel else handle.terminate(reason="chaos"))
        return True

    async def stray(self, step: Stray) -> None:
        """Start a worker with a wrong setting, end it after some time, and set right what came of it."""
        ready_at = 0.0
        part = self._cluster.stray(step.part)
        part.start()
        try:
            await part.ready(STRAY_READY_S)
            ready_at = time.time()
            await asyncio.sleep(step.seconds)
        except PartError:
            self._tally.refused_acts[f"start {step.part}"] += 1
        finally:
            await part.stop()
        if ready_at:
            self._tally.note_past_disturbance(ready_at, step.part, "wrong settings")
        for _ in range(TRIES_MAX):
            with contextlib.suppress(RPCError, RuntimeError, httpx.HTTPError):
                await self.unblock()
                return
            await asyncio.sleep(RETRY_S)
        self._tally.refused_acts[f"mend {step.part}"] += 1

    async def mend(self, restless: Collection[str]) -> None:
        """After the faults, for workflows that do not come to rest.

        One may be blocked by wrong settings that it learned just before they ended, or wait for what Temporal has lost
        in a reset.
        """
        await self.unblock()
        client = await self._cluster.temporal()
        for name in sorted(restless)[:DESCRIBED_MAX]:
            with contextlib.suppress(RPCError):  # It has ended meanwhile.
                await self._reset_again(client, name)

    async def _reset_again(self, client: Client, name: str) -> None:
        """When it waits for what Temporal has lost, as the advice for a stuck workflow says."""
        handle = client.get_workflow_handle(name)
        found = await handle.describe()
        stuck = await runs.stuck(client, found)
        if stuck is not None and stuck.waits_for and stuck.reset_to is not None and not stuck.repeats_orders:
            self._tally.reset_runs.add(found.run_id)
            await _reset(client, found, stuck.reset_to)
            self._tally.acts["reset again"] += 1
            self._tally.meddled.append(Meddled(time.time(), int(name.removeprefix(NAME_PREFIX)), "reset again"))

    async def unblock(self) -> None:
        """Correct the labels that a worker of another instance has put, and retry what it left blocked."""
        for row in await self._cluster.admin.sandboxes():
            if row.labels.get("issuebox-instance") == STRANGE_INSTANCE and not row.hidden:
                await self._label(row.id, {**row.labels, "issuebox-instance": INSTANCE})
        client = await self._cluster.temporal()
        async for execution in client.list_workflows(RUNNING):
            if _blocked(await execution.memo()) in STRAYED:
                with contextlib.suppress(RPCError):  # It has ended meanwhile.
                    await client.get_workflow_handle(execution.id).signal("retry")
                self._tally.acts["retry"] += 1

    async def revive(self, github: GitHub, posts: Sequence[Post]) -> None:
        """After the faults: do for each issue whose workflow was ended what the documentation says."""
        await self.unblock()
        client = await self._cluster.temporal()
        swept = SweptIssues(client, name_prefix=NAME_PREFIX, task_queue=TASK_QUEUE)
        ends: dict[int, str] = {}
        async for execution in client.list_workflows(ENDED):
            if execution.run_id not in self._tally.reset_runs and execution.status is not None:
                ends.setdefault(int(execution.id.removeprefix(NAME_PREFIX)), execution.status.name.lower())
        for issue, end in ends.items():
            is_orphan = not await _is_running(client, f"{NAME_PREFIX}{issue}")
            if is_orphan and end != "canceled" and await self._has_sandbox(issue):
                await swept.adopt(Issue(issue, REPOSITORY, issue))
                self._tally.acts["audit"] += 1
        again = [post for issue in ends for post in newest_first(posts, issue)]
        self._tally.acts["resync"] += len(ends)
        await github.send_again(again)
        for issue in ends:
            await swept.look(f"{NAME_PREFIX}{issue}")

    async def _has_sandbox(self, issue: int) -> bool:
        try:
            return not (await self._cluster.admin.sandbox(f"{NAME_PREFIX}{issue}")).hidden
        except httpx.HTTPStatusError:
            return False

    async def _label(self, sandbox_id: str, labels: dict[str, Any]) -> None:
        url = f"{self._cluster.daytona_url}/api/sandbox/{sandbox_id}/labels"
        headers = {"Authorization": f"Bearer {DAYTONA_KEY}"}
        reply = await self._cluster.http.put(url, json={"labels": labels}, headers=headers)
        reply.raise_for_status()
        self._tally.acts["correct a label"] += 1


def newest_first(posts: Iterable[Post], issue: int) -> list[Post]:
    """What a resync sends: one delivery of each ID, the newest event first, and no close that was undone.

    A request on the closed issue is sent with the present state of the issue, which is open again.
    """
    of_issue = {post.delivery: post for post in posts if post.event.issue == issue}
    openings = [each.event.second for each in of_issue.values() if each.event.kind.action in OPENINGS]
    opened_at = max(openings, default=0)
    sent = []
    for post in sorted(of_issue.values(), key=lambda post: (-post.event.second, post.delivery)):
        is_undone = post.event.second < opened_at and post.event.kind.leads_to is not IssueState.OPEN
        if not is_undone:
            sent.append(post)
        elif post.event.kind.expects is Expectation.RUNNING:
            sent.append(replace(post, event=replace(post.event, closed_at=None)))
    return sent


async def _found(client: Client, step: Meddle) -> WorkflowExecutionDescription | None:
    """The first workflow from the step's issue on that is in the moment; None when there is none for a while."""
    deadline = time.monotonic() + SEARCH_S
    while True:
        found = await _in_moment(client, step)
        if found is not None or time.monotonic() > deadline:
            return found
        await asyncio.sleep(SEARCH_INTERVAL_S)


async def _in_moment(client: Client, step: Meddle) -> WorkflowExecutionDescription | None:
    is_blocked, is_at_rest = step.moment == "blocked", step.moment == "at rest"
    rows = []
    async for row in client.list_workflows(RUNNING):
        issue, memo = int(row.id.removeprefix(NAME_PREFIX)), await row.memo()
        if bool(_blocked(memo)) is is_blocked:
            # Those that may be in the moment first, by what they published.
            rows.append((_rests(memo) is not is_at_rest, issue < step.issue, issue, row))
    for *_, row in sorted(rows, key=lambda each: each[:3])[:DESCRIBED_MAX]:
        description = await client.get_workflow_handle(row.id, run_id=row.run_id).describe()
        if is_blocked or is_in_moment(description, step.moment):
            return description
    return None


def is_in_moment(description: WorkflowExecutionDescription, moment: str) -> bool:
    """Whether a workflow that is not blocked is in this moment: by its pending activities, as Temporal shows them."""
    raw = description.raw_description
    pending = {activity.activity_type.name for activity in raw.pending_activities}
    match moment:
        case "in a create":
            return "create_sandbox" in pending
        case "in a command":
            return bool(pending & (COMMANDS - {"create_sandbox"}))
        case _:
            return not pending and not raw.HasField("pending_workflow_task")


def reset_points(events: Sequence[HistoryEvent]) -> list[int]:
    """The events to which an operator may reset: completed workflow tasks from which on no order is repeated.

    A reset does that workflow task anew, with the signals that came before it and after the task before.
    """
    points: list[int] = []
    is_repeated = False
    for event in events:
        signal = event.workflow_execution_signaled_event_attributes.signal_name
        if event.event_type == _SIGNALED and signal in NOT_REPEATED:
            points, is_repeated = [], True
        elif event.event_type == _COMPLETED:
            points += [] if is_repeated else [event.event_id]
            is_repeated = False
    return [] if is_repeated else points


async def _reset(client: Client, found: WorkflowExecutionDescription, event_id: int) -> None:
    await client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=found.id, run_id=found.run_id),
            reason="chaos",
            workflow_task_finish_event_id=event_id,
            request_id=str(uuid.uuid4()),
            reset_reapply_type=ResetReapplyType.RESET_REAPPLY_TYPE_ALL_ELIGIBLE,
        )
    )


async def _is_running(client: Client, name: str) -> bool:
    try:
        description = await client.get_workflow_handle(name).describe()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return False
        raise
    return description.status is not None and description.status.name == "RUNNING"


def _rests(memo: Any) -> bool:
    """Whether the workflow last published a sandbox that is as it should be."""
    status = memo.get("status")
    return isinstance(status, dict) and (status.get("goal"), status.get("phase")) in RESTING


def _blocked(memo: Any) -> str:
    """The cause by which the workflow is blocked, as its memo says; '' when it is not."""
    status = memo.get("status")
    return str(status.get("blocked", "")) if isinstance(status, dict) else ""
