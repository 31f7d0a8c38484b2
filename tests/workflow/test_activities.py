"""Each activity failed before its effect, failed after its effect, and repeated, by looping over all of them.

A worker can die at any of these points. Whatever it leaves behind, the issue ends with one sandbox.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import pytest
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.inside import InsideActivities
from activities.sandboxes import SandboxActivities
from issuebox.domain.phase import Outcome, Phase
from tests.waiting import until
from workflows.messages import SIGNAL_LOOK

from .conftest import Stack, Started
from .meddling import Around, GoOn


class Mishap(Enum):
    """What happens to an activity, once."""

    FAILS_BEFORE = "fails before its effect"
    FAILS_AFTER = "fails after its effect"
    IS_REPEATED = "is repeated"


class Accident(Around):
    """Lets one mishap happen to the first execution of one activity."""

    def __init__(self, name: str, mishap: Mishap) -> None:
        self.name = name
        self.mishap = mishap
        self.has_happened = False

    async def around(self, info: activity.Info, go_on: GoOn) -> Any:
        if self.has_happened or info.activity_type != self.name:
            return await go_on()
        self.has_happened = True
        if self.mishap is Mishap.FAILS_BEFORE:
            raise ApplicationError("lost before", type="TransientError")
        await go_on()
        if self.mishap is Mishap.FAILS_AFTER:
            raise ApplicationError("lost after", type="AmbiguousError")
        return await go_on()


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


async def _asked_for(stack: Stack) -> str:
    """Somebody asks; in the end the sandbox is handed over and runs."""
    handover = await stack.ensure()
    assert handover.sandbox is not None, handover
    assert handover.sandbox.phase is Phase.USABLE
    assert handover.outcome in {Outcome.CREATED, Outcome.STARTED, Outcome.RECOVERED, Outcome.REUSED}
    return await stack.state()


async def _closed(stack: Stack) -> str:
    """The issue is closed, and the audit has it looked up; in the end the sandbox is as the scene's settings want."""
    await stack.close()
    await stack.order(SIGNAL_LOOK)
    await until(stack.status, lambda s: bool(s.seen_at) and s.doing.startswith("resting"), "at rest")
    return await stack.state()


@dataclass(frozen=True)
class Scene:
    """A situation in which the workflow needs an activity, what happens then, and how it ends."""

    arrange: Arrange
    play: Callable[[Stack], Awaitable[str]] = _asked_for
    end: str = "started"
    creates: int = 1
    settings: dict[str, object] = field(default_factory=dict)


STOPS: dict[str, object] = {"close_stop_after_s": 0, "close_archive_after_s": -1, "close_delete_after_s": -1}
ARCHIVES = STOPS | {"close_archive_after_s": 0}

SCENES: dict[str, Scene] = {
    "lookup_sandbox": Scene(_nothing),
    "create_sandbox": Scene(_nothing),
    "start_sandbox": Scene(_stopped),
    "recover_sandbox": Scene(_recoverable),
    "settle_sandbox": Scene(_stopping),
    "delete_sandbox": Scene(_build_fails, creates=2),
    "label_sandbox": Scene(_made_by_hand),
    "refresh_activity": Scene(_idle),
    "set_up_sandbox": Scene(_nothing, settings={"setup_command": "touch ready"}),
    "inspect_sandbox": Scene(_made_by_hand, _closed, "stopped", settings=STOPS),
    "stop_sandbox": Scene(_made_by_hand, _closed, "stopped", settings=STOPS),
    "archive_sandbox": Scene(_stopped, _closed, "archived", settings=ARCHIVES),
}

ASKS_NOBODY = {"read_policy"}


def test_every_activity_has_its_scene() -> None:
    """A new activity without a scene here fails the suite."""
    classes = (SandboxActivities, InsideActivities)
    names = {method.__name__ for kind in classes for method in kind.all(object.__new__(kind))}
    assert names == set(SCENES) | ASKS_NOBODY


@pytest.mark.parametrize("mishap", Mishap, ids=[mishap.name.lower() for mishap in Mishap])
@pytest.mark.parametrize("name", SCENES)
async def test_mishap_at_any_activity_changes_nothing_about_the_end(start: Started, name: str, mishap: Mishap) -> None:
    """Failed before, failed after, or done twice: one sandbox, in the wanted state."""
    scene = SCENES[name]
    accident = Accident(name, mishap)
    stack = await start(interceptors=[accident], **scene.settings)
    await scene.arrange(stack)
    end = await scene.play(stack)
    assert accident.has_happened, f"{name} was never needed"
    assert end == scene.end
    creates = [e for e in await stack.daytona.admin.journal(kind="created") if e.name == stack.name]
    assert len(creates) == scene.creates
