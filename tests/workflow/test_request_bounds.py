"""How many requests a delete with its inspection costs at Daytona, with the event stream and without."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from issuebox.domain.issue import IssueState
from issuebox.domain.phase import Goal
from localdaytona.testing import Server
from tests.waiting import until

from .conftest import Stack, Started

QUICK: Mapping[str, float] = {"start_s": 0.1, "stop_s": 0.1, "destroy_s": 0.1, "restore_wait_s": 0.1, "restore_s": 0.1}
SLOW: Mapping[str, float] = dict.fromkeys(QUICK, 2.5) | {"restore_wait_s": 0.1}
"""Each step takes longer than a command listens, so that a wait follows."""

LISTEN_S = 1.0
READ_INTERVAL_S = 2.0


@dataclass(frozen=True, slots=True)
class Case:
    """How the sandbox rests, how quick the runner is, and whether the event stream is connected."""

    state: str
    is_slow: bool
    has_stream: bool
    requests_max: int

    def __str__(self) -> str:
        return f"{self.state}, {'slow' if self.is_slow else 'quick'}, stream {'on' if self.has_stream else 'off'}"


CASES = (
    Case("stopped", is_slow=False, has_stream=True, requests_max=7),
    Case("archived", is_slow=False, has_stream=True, requests_max=7),
    Case("stopped", is_slow=True, has_stream=True, requests_max=10),
    Case("archived", is_slow=True, has_stream=True, requests_max=10),
    Case("stopped", is_slow=False, has_stream=False, requests_max=11),
    Case("archived", is_slow=False, has_stream=False, requests_max=12),
    Case("stopped", is_slow=True, has_stream=False, requests_max=17),
    Case("archived", is_slow=True, has_stream=False, requests_max=21),
)
"""With the stream at most 10. Without it, each step of a quick runner costs a read, and the end of the delete three;
each step of a slow one costs three more: two while the command listens, and one as its wait begins.
"""


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_delete_with_its_inspection_costs_few_requests(start: Started, daytona: Server, case: Case) -> None:
    """A lookup, a start, the inspection, a stop, a delete, and a read before each command that a person may cross."""
    await daytona.admin.config(events=case.has_stream)
    never = {"close_stop_after_s": -1.0, "close_archive_after_s": -1.0, "close_delete_after_s": -1.0}
    stack = await start(
        **never, daytona_listen_s=LISTEN_S, daytona_settle_timeout_s=30.0, daytona_read_interval_s=READ_INTERVAL_S
    )
    handover = await stack.ensure()
    assert handover.sandbox is not None
    for step, state in (("stop", "stopped"), ("archive", "archived")):
        await daytona.admin.act(handover.sandbox.id, step)
        await until(stack.state, lambda seen, state=state: seen == state, state)  # type: ignore[misc]
        if state == case.state:
            break
    await daytona.admin.config(durations=dict(SLOW if case.is_slow else QUICK))
    before = await stack.journal_end()
    await stack.close(IssueState.DELETED)
    await stack.reached(Goal.DELETED)
    requests = await _requests(stack, handover.sandbox.id, before)
    assert {"start", "toolbox", "stop", "delete"} <= set(requests)
    assert len(requests) <= case.requests_max, requests


async def _requests(stack: Stack, sandbox_id: str, after: int) -> list[str]:
    """All requests about the sandbox, also those to its toolbox, and the lists that check for an outage."""
    entries = await stack.daytona.admin.journal(after=after)
    return [
        "toolbox" if entry.kind == "toolbox" else str(entry.operation)
        for entry in entries
        if entry.kind in {"request", "toolbox"}
        and (entry.sandbox_id == sandbox_id or entry.name == stack.name or entry.operation == "list")
    ]
