"""An inspection that could not be made holds a delete until the next try, and not for ever."""

from __future__ import annotations

from typing import Any

from temporalio import activity
from temporalio.exceptions import ApplicationError

from issuebox.domain.phase import Cause
from issuebox.domain.unsaved_work import WorkState
from tests.waiting import until

from .conftest import Stack, Started
from .meddling import Around, GoOn

DELETES = {"close_stop_after_s": 0.0, "close_archive_after_s": 0.0, "close_delete_after_s": 0.0}
RETRIES = {"blocked_retry_initial_s": 0.5, "blocked_retry_max_s": 0.5}


class NoInspections(Around):
    """The workers lose every inspection while `is_on`."""

    def __init__(self) -> None:
        self.is_on = True

    async def around(self, info: activity.Info, go_on: GoOn) -> Any:
        if self.is_on and info.activity_type == "inspect_sandbox":
            raise ApplicationError("lost", type="RefusedError")
        return await go_on()


async def _held(stack: Stack) -> None:
    """The issue is closed, and its sandbox is held because it could not be inspected."""
    await stack.ensure()
    await stack.close()
    status = await stack.blocked()
    assert status.blocked is not None
    assert status.inspection is not None
    assert (status.blocked.cause, status.inspection.state) == (Cause.UNSAVED, WorkState.UNCHECKED)


async def test_delete_goes_on_when_the_toolbox_answers_again(start: Started) -> None:
    """An outage at the moment of the inspection costs a slow retry, and nobody has to act."""
    stack = await start(**DELETES, **RETRIES)
    await stack.daytona.admin.add_fault("toolbox", {"kind": "status", "status": 502}, times=None)
    await _held(stack)
    await stack.daytona.admin.set_faults()
    await until(stack.state, lambda state: state == "", "the sandbox gone")


async def test_delete_goes_on_when_the_workers_can_inspect_again(start: Started) -> None:
    """The same when the inspection was lost with its worker."""
    outage = NoInspections()
    stack = await start(interceptors=[outage], **DELETES, **RETRIES)
    await _held(stack)
    outage.is_on = False
    await until(stack.state, lambda state: state == "", "the sandbox gone")


async def test_sandbox_that_cannot_be_inspected_is_kept(start: Started) -> None:
    """However often it is tried: a sandbox that cannot be inspected may hold work."""
    stack = await start(**DELETES, **RETRIES)
    await stack.daytona.admin.add_fault("toolbox", {"kind": "status", "status": 502}, times=None)
    await _held(stack)
    before = await stack.journal_end()

    async def inspections() -> int:
        return len(await stack.daytona.admin.journal(after=before, kind="toolbox"))

    await until(inspections, lambda count: count >= 6, "two more inspections")
    assert (await stack.blocked()).blocked is not None
    assert await stack.state() != ""
