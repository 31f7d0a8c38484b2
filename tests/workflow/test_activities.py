"""Each activity failed before its effect, failed after its effect, and repeated, by looping over all of them.

A worker can die at any of these points. Whatever it leaves behind, the issue ends with one sandbox.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Any

import pytest
from temporalio import activity
from temporalio.exceptions import ApplicationError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from activities.sandboxes import SandboxActivities
from issuebox.domain.phase import Outcome, Phase

from .conftest import Stack, Started


class Mishap(Enum):
    """What happens to an activity, once."""

    FAILS_BEFORE = "fails before its effect"
    FAILS_AFTER = "fails after its effect"
    IS_REPEATED = "is repeated"


class Accident(Interceptor):
    """Lets one mishap happen to the first execution of one activity."""

    def __init__(self, name: str, mishap: Mishap) -> None:
        self.name = name
        self.mishap = mishap
        self.has_happened = False

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        return _Inbound(next, self)


class _Inbound(ActivityInboundInterceptor):
    def __init__(self, inner: ActivityInboundInterceptor, accident: Accident) -> None:
        super().__init__(inner)
        self._accident = accident

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002
        accident = self._accident
        if accident.has_happened or activity.info().activity_type != accident.name:
            return await super().execute_activity(input)
        accident.has_happened = True
        if accident.mishap is Mishap.FAILS_BEFORE:
            raise ApplicationError("lost before", type="TransientError")
        await super().execute_activity(input)
        if accident.mishap is Mishap.FAILS_AFTER:
            raise ApplicationError("lost after", type="AmbiguousError")
        return await super().execute_activity(input)


Arrange = Callable[[Stack], Awaitable[object]]


async def _nothing(_stack: Stack) -> None:
    return


async def _stopped(stack: Stack) -> None:
    made = await stack.daytona.admin.create(name=stack.name)
    await stack.provider.settle(made.id, 5.0)
    await stack.provider.stop(made.id)


async def _recoverable(stack: Stack) -> None:
    made = await stack.daytona.admin.create(name=stack.name)
    await stack.provider.settle(made.id, 5.0)
    await stack.daytona.admin.act(made.id, "break", recoverable=True)


async def _stopping(stack: Stack) -> None:
    made = await stack.daytona.admin.create(name=stack.name)
    await stack.provider.settle(made.id, 5.0)
    await stack.daytona.admin.config(durations={"stop_s": 0.5})
    await stack.daytona.admin.act(made.id, "stop")


async def _build_fails(stack: Stack) -> None:
    await stack.daytona.admin.add_fault("create", {"kind": "build_failed"})


async def _made_by_hand(stack: Stack) -> None:
    made = await stack.daytona.admin.create(name=stack.name)
    await stack.provider.settle(made.id, 5.0)


async def _idle(stack: Stack) -> None:
    await _made_by_hand(stack)
    await stack.daytona.admin.act(stack.name, "idle", seconds=900)


SCENES: dict[str, Arrange] = {
    "lookup_sandbox": _nothing,
    "create_sandbox": _nothing,
    "start_sandbox": _stopped,
    "recover_sandbox": _recoverable,
    "settle_sandbox": _stopping,
    "delete_sandbox": _build_fails,
    "label_sandbox": _made_by_hand,
    "refresh_activity": _idle,
}
"""For each activity, a world in which the workflow needs it."""

NOT_YET_USED = {"stop_sandbox", "archive_sandbox"}
"""Activities for goals that this version records and does not act on; their provider methods have contract tests."""

ASKS_NOBODY = {"read_patience"}


def test_every_activity_has_its_scene() -> None:
    """An activity that is added without a scene here fails the suite."""
    names = {method.__name__ for method in SandboxActivities.all(object.__new__(SandboxActivities))}
    assert names == set(SCENES) | NOT_YET_USED | ASKS_NOBODY


@pytest.mark.parametrize("mishap", Mishap, ids=[mishap.name.lower() for mishap in Mishap])
@pytest.mark.parametrize("name", SCENES)
async def test_mishap_at_any_activity_leaves_one_running_sandbox(start: Started, name: str, mishap: Mishap) -> None:
    """Failed before, failed after, or done twice: one sandbox, running, and its event served."""
    accident = Accident(name, mishap)
    stack = await start(interceptors=[accident])
    await SCENES[name](stack)
    handover = await stack.ensure()
    assert accident.has_happened, f"{name} was never needed"
    assert handover.sandbox is not None, handover
    assert handover.sandbox.phase is Phase.USABLE
    assert handover.outcome in {Outcome.CREATED, Outcome.STARTED, Outcome.RECOVERED, Outcome.REUSED}
    assert [row.state for row in await stack.live()] == ["started"]
    creates = [e for e in await stack.daytona.admin.journal(kind="created") if e.name == stack.name]
    assert len(creates) == (2 if name == "delete_sandbox" else 1)
