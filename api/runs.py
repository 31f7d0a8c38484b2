"""REST for the runs of an issue's agent: ask for work, see what became of it, pause it, cancel it, read what it wrote.

Asking is an update that the workflow answers at once. What runs write is read from the copies that the workers make;
nothing is read from inside a sandbox.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from typing import Annotated, ParamSpec, TypeVar

from fastapi import APIRouter, Path, Query, Response
from pydantic import AfterValidator, Field

from api.problems import RETRY_AFTER_S, ProblemError, responses
from api.sandboxes import REST, IdempotencyKey, IssueBody, IssueIdPath, OrderReply
from issuebox.domain.issue import Issue
from issuebox.domain.run import RUN_ID, TEXT_BYTES_MAX
from issuebox.run_logs import ATTEMPTS_MAX, LOG_BYTES_MAX, LogName, RunLogs, Stream
from issuebox.settings import ApiSettings
from issuebox.temporal.issues import Issues
from workflows.run_messages import RunReceipt, RunsView, RunView

P = ParamSpec("P")
T = TypeVar("T")

SLICE_BYTES = 256 * 1024
"""Of a log in one answer."""

RunPath = Annotated[str, Path(pattern=f"^{RUN_ID}$", description="The ID of a run.", examples=["r-0123456789ab"])]


def _whole(prompt: str) -> str:
    if not prompt.strip():
        raise ValueError("it is empty")
    if len(prompt.encode(errors="replace")) > TEXT_BYTES_MAX:
        raise ValueError(f"it has more than {TEXT_BYTES_MAX} bytes")
    return prompt


class RunBody(IssueBody):
    """What the agent is to do, and what the caller knows of the issue."""

    prompt: Annotated[str, AfterValidator(_whole)] = Field(examples=["Fix the crash, and open a pull request."])


@dataclass(frozen=True, slots=True)
class RunRequestReply(RunReceipt):
    """What became of the request so far; runs_url shows what becomes of it."""

    runs_url: str = ""


class _Bytes(Response):
    media_type = "application/octet-stream"


def add(routes: APIRouter, settings: ApiSettings, issues: Issues) -> None:
    """Add the routes of an issue's runs."""
    _add_requests(routes, issues)
    _add_orders(routes, issues)
    _add_reads(routes, issues)
    _add_log(routes, RunLogs(settings.run_log_dir), issues)


def _add_requests(routes: APIRouter, issues: Issues) -> None:
    @routes.post(
        "/issues/{issue_id}/runs",
        tags=["runs"],
        status_code=202,
        operation_id="askForRun",
        response_model=RunRequestReply,
        responses=responses(409, 413),
        summary="Ask the issue's agent for work",
    )
    async def ask(
        issue_id: IssueIdPath, body: RunBody, response: Response, idempotency_key: IdempotencyKey = None
    ) -> RunRequestReply:
        """The sandbox is created or started for it. Requests that wait are served together by the next run.

        What is repeated under the same `Idempotency-Key` is the same request, and the answer says how it stands now.
        409 `no-runs`: no agent is set up here. 409 `run-refused`: it was not taken, as `detail` says. 503: no worker
        has taken it yet, and one may take it later: repeat it under the same key.
        """
        known = body.model_dump()
        prompt = known.pop("prompt")
        receipt = await issues.run(Issue(id=issue_id, **known), prompt, REST, key=idempotency_key or "")
        response.headers["Location"] = runs_url(issue_id)
        return RunRequestReply(
            **{field.name: getattr(receipt, field.name) for field in fields(RunReceipt)}, runs_url=runs_url(issue_id)
        )


def _add_orders(routes: APIRouter, issues: Issues) -> None:
    """A person's orders about the runs. Each is a 404 when no workflow runs for the issue."""
    ordering = partial(routes.post, tags=["runs"], status_code=202, responses=responses(404))

    @ordering("/issues/{issue_id}/runs/pause", operation_id="pauseRuns", summary="Pause the issue's runs")
    async def pause(issue_id: IssueIdPath) -> OrderReply:
        """The agent is interrupted, with some seconds to end in order, and nothing begins until the runs are resumed.

        Requests are taken and wait. The sandbox stays as it is wanted. Safe to repeat: the first pause stands.
        """
        await issues.pause_runs(issue_id, REST)
        return OrderReply(status_url=runs_url(issue_id))

    @ordering("/issues/{issue_id}/runs/resume", operation_id="resumeRuns", summary="Let the issue's runs go on")
    async def resume(issue_id: IssueIdPath) -> OrderReply:
        """The paused run goes on with a further attempt, in the same conversation; then what waits is served.

        If there is anything to go on with, the sandbox is started for it. Safe to repeat.
        """
        await issues.resume_runs(issue_id, REST)
        return OrderReply(status_url=runs_url(issue_id))

    @ordering(
        "/issues/{issue_id}/runs/{run}/cancel",
        operation_id="cancelRun",
        summary="Cancel a run",
    )
    async def cancel(issue_id: IssueIdPath, run: RunPath) -> OrderReply:
        """The agent is interrupted, and has some seconds to end in order. Safe to repeat; one that is over stays so."""
        await issues.cancel_run(issue_id, run)
        return OrderReply(status_url=f"{runs_url(issue_id)}/{run}")

    @ordering(
        "/issues/{issue_id}/runs/cancel",
        operation_id="cancelRuns",
        summary="Cancel whatever runs and waits",
    )
    async def cancel_all(issue_id: IssueIdPath) -> OrderReply:
        """As for one run. The requests that wait are refused."""
        await issues.cancel_run(issue_id)
        return OrderReply(status_url=runs_url(issue_id))


def _add_reads(routes: APIRouter, issues: Issues) -> None:
    reading = partial(routes.get, tags=["runs"], responses=responses(404))

    @reading(
        "/issues/{issue_id}/runs",
        operation_id="listRuns",
        response_model=RunsView,
        summary="The issue's runs and requests",
    )
    async def all_runs(issue_id: IssueIdPath) -> RunsView:
        """The last runs, oldest first, and a receipt for each of the last requests."""
        return await issues.runs(issue_id)

    @reading("/issues/{issue_id}/runs/{run}", operation_id="getRun", response_model=RunView, summary="One run")
    async def one_run(issue_id: IssueIdPath, run: RunPath) -> RunView:
        """Its state, its reason, and what happens next or what helps."""
        return await issues.find_run(issue_id, run)


def _add_log(routes: APIRouter, logs: RunLogs, issues: Issues) -> None:
    @routes.get(
        "/issues/{issue_id}/runs/{run}/log",
        tags=["runs"],
        operation_id="readRunLog",
        response_class=_Bytes,
        responses=responses(404) | {200: _LOG},
        summary="What the run wrote",
    )
    async def log(
        issue_id: IssueIdPath,
        run: RunPath,
        offset: Annotated[int, Query(ge=0, le=LOG_BYTES_MAX, description="From which byte on.")] = 0,
        attempt: Annotated[int, Query(ge=0, le=ATTEMPTS_MAX, description="Of the run; 0 for its last one.")] = 0,
        stream: Annotated[
            Stream, Query(description="Standard output, or the last part of standard error.")
        ] = Stream.OUT,
    ) -> Response:
        """At most 256 KiB, as the job wrote them, with asterisks for secrets. Ask again from `X-Next-Offset` on.

        No byte means that there are none yet, or no more once the run is over. Standard error is there when the
        attempt is over.
        """
        if not logs:
            raise ProblemError(
                404, "no-run-logs", "no copies of what runs write are kept: ISSUEBOX_RUN_LOG_DIR is empty"
            )
        known = await _reading(logs.attempts, issue_id, run)
        if not known:
            await issues.find_run(issue_id, run)
        wanted = attempt or (known[-1] if known else 1)
        data = await _reading(logs.read, LogName(issue_id, run, wanted, stream), offset, SLICE_BYTES)
        headers = {"X-Next-Offset": str(offset + len(data)), "X-Attempt": str(wanted), "Cache-Control": "no-store"}
        return _Bytes(data, headers=headers)


_NUMBER = {"schema": {"type": "integer"}}
_LOG: dict[str, object] = {
    "description": "Bytes of the log",
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    "headers": {
        "X-Next-Offset": {"description": "Where to read on.", **_NUMBER},
        "X-Attempt": {"description": "Of which attempt this is.", **_NUMBER},
    },
}


async def _reading(read: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """What a read of the copies returns, made in a thread. A copy that cannot be read is a 503."""
    try:
        return await asyncio.to_thread(read, *arguments, **named)
    except OSError as error:
        detail = f"the copies of what runs write cannot be read: {error.strerror}"
        raise ProblemError(503, "unavailable", detail, {"Retry-After": str(RETRY_AFTER_S)}) from error


def runs_url(issue_id: int) -> str:
    """The path of the issue's runs."""
    return f"/v1/issues/{issue_id}/runs"
