"""Sandboxes that another installation claims between a lookup and a command, and how they are reported."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from temporalio.testing import ActivityEnvironment

import issuebox.worker
from activities.messages import LookupInput
from activities.sandboxes import SandboxActivities
from issuebox.domain.phase import Cause, Outcome, Phase
from issuebox.domain.policy import Policy
from issuebox.domain.sandbox import Sandbox
from issuebox.providers.daytona import DaytonaProvider
from issuebox.settings import WorkerSettings
from tests.waiting import until
from workflows.messages import SIGNAL_DELETE, SIGNAL_LOOK, DeleteRequest

from .conftest import Stack, Started
from .meddling import Meddler
from .test_activities import ARCHIVES, STOPS

OTHER = "the-other-one"
READS = {"get", "list"}


async def _runs(stack: Stack) -> None:
    made = await stack.daytona.admin.create(name=stack.name)
    await stack.provider.settle(made.id, 5.0)


async def _rests(stack: Stack) -> None:
    await _runs(stack)
    await stack.provider.stop((await stack.live())[0].id)


async def _is_broken(stack: Stack) -> None:
    await _runs(stack)
    await stack.daytona.admin.act(stack.name, "break", recoverable=True)


async def _is_idle(stack: Stack) -> None:
    await _runs(stack)
    await stack.daytona.admin.act(stack.name, "idle", seconds=3000)


async def _asked(stack: Stack) -> None:
    await stack.deliver()


async def _closed(stack: Stack) -> None:
    await stack.close()
    await stack.order(SIGNAL_LOOK)


async def _forced(stack: Stack) -> None:
    await stack.deliver(stack.event(action="edited"))
    await stack.served()
    await stack.provider.stop((await stack.live())[0].id)
    await stack.order(SIGNAL_DELETE, DeleteRequest(force=True))


@dataclass(frozen=True)
class Scene:
    """A sandbox that somebody made by hand, and what brings the workflow to an activity on it."""

    arrange: Callable[[Stack], Awaitable[None]]
    play: Callable[[Stack], Awaitable[None]] = _asked
    settings: dict[str, object] = field(default_factory=dict)


SCENES: dict[str, Scene] = {
    "start_sandbox": Scene(_rests),
    "recover_sandbox": Scene(_is_broken),
    "set_up_sandbox": Scene(_runs, settings={"setup_command": "touch ready"}),
    "label_sandbox": Scene(_runs),
    "refresh_activity": Scene(_is_idle),
    "inspect_sandbox": Scene(_runs, _closed, STOPS),
    "stop_sandbox": Scene(_runs, _closed, STOPS),
    "archive_sandbox": Scene(_rests, _closed, ARCHIVES),
    "delete_sandbox": Scene(_runs, _forced),
}


@pytest.mark.parametrize("name", SCENES)
async def test_sandbox_that_another_has_claimed_since_the_lookup_is_left_alone(start: Started, name: str) -> None:
    """Just before each command, the other installation labels the sandbox: from then on it is only read."""
    scene, meddler = SCENES[name], Meddler(name)
    stack = await start(interceptors=[meddler], **scene.settings)
    await scene.arrange(stack)
    claimed_at: list[int] = []

    async def claim() -> None:
        # As the other installation does: by Daytona's API.
        labels = {"managed-by": "issuebox", "issuebox-instance": OTHER, "issue-id": str(stack.issue_id)}
        await stack.provider.label((await stack.live())[0].id, labels)
        claimed_at.append(await stack.journal_end())

    meddler.changes[stack.name] = claim
    await scene.play(stack)
    await until(_claimed(claimed_at), bool, f"{name} was needed")
    status = await stack.blocked()
    assert status.blocked is not None
    assert status.blocked.cause is Cause.FOREIGN
    assert OTHER in status.blocked.reason
    assert [word for word in await stack.requests(after=claimed_at[0]) if word not in READS] == []
    [row] = await stack.live()
    assert row.labels["issuebox-instance"] == OTHER


def _claimed(claimed_at: list[int]) -> Callable[[], Awaitable[bool]]:
    async def read() -> bool:
        return bool(claimed_at)

    return read


async def test_sandbox_made_by_hand_is_claimed_before_its_set_up(start: Started) -> None:
    """A set-up takes minutes: meanwhile another installation can see whose the sandbox is."""
    stack = await start(setup_command="exit 1")
    await _runs(stack)
    handover = await stack.ensure()
    assert handover.blocked is not None
    assert handover.blocked.cause is Cause.SETUP
    [row] = await stack.live()
    assert row.labels["issuebox-instance"] == stack.settings.instance


async def test_label_of_the_instance_alone_is_enough(stack: Stack) -> None:
    """The label that names the other installation is enough to make the sandbox foreign."""
    labels = {"issuebox-instance": OTHER}
    made = await stack.daytona.admin.create(name=stack.name, labels=labels)
    await stack.provider.settle(made.id, 5.0)
    handover = await stack.ensure()
    assert handover.blocked is not None
    assert handover.blocked.cause is Cause.FOREIGN
    [row] = await stack.live()
    assert row.labels == labels
    assert set(await stack.requests()) == {"get"}


async def test_absent_label_of_the_instance_is_put_on(stack: Stack) -> None:
    """A sandbox with the issue's label but no instance label is adopted, and gets our instance label."""
    labels = {"managed-by": "issuebox", "issue-id": str(stack.issue_id)}
    made = await stack.daytona.admin.create(name=stack.name, labels=labels)
    handover = await stack.ensure()
    assert (handover.outcome, handover.sandbox and handover.sandbox.id) == (Outcome.REUSED, made.id)
    [row] = await stack.live()
    assert row.labels["issuebox-instance"] == stack.settings.instance


def test_instance_reaches_the_workflow_with_the_settings() -> None:
    """A changed instance changes the policy hash, so the next lookup brings it."""
    blue, green = (
        issuebox.worker.policy(WorkerSettings.model_validate({"instance": name})) for name in ("blue", "green")
    )
    assert (blue.instance, green.instance) == ("blue", "green")
    assert blue.hash() != green.hash()


class _Renamed:
    """Daytona, where another installation's sandbox that had our name was renamed."""

    labels = {"managed-by": "issuebox", "issuebox-instance": OTHER, "issue-id": "7"}  # noqa: RUF012 -- never changed

    def __init__(self, by_name: Sandbox | None) -> None:
        self.by_name = by_name

    async def lookup(self, name: str, sandbox_id: str | None = None, *, is_doubted: bool = False) -> Sandbox | None:
        del is_doubted
        theirs = Sandbox("theirs", f"{name}-theirs", Phase.USABLE, "started", labels=self.labels)
        return theirs if sandbox_id == theirs.id else self.by_name


@pytest.mark.parametrize(
    "by_name", [None, Sandbox("ours", "claude-issue-7", Phase.STOPPED, "stopped")], ids=["free", "taken"]
)
async def test_renamed_sandbox_of_another_is_in_nobodys_way(by_name: Sandbox | None) -> None:
    """The advice works: after the renaming, the lookup goes by our name and not by the known ID."""
    provider: DaytonaProvider = _Renamed(by_name)  # type: ignore[assignment]
    activities = SandboxActivities(provider, policy=Policy(), instance="ours")
    request = LookupInput(7, "claude-issue-7", "theirs")
    lookup = await ActivityEnvironment().run(activities.lookup_sandbox, request)
    assert lookup.sandbox == by_name
