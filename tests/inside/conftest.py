"""A real sandbox of localdaytona behind the real provider, and a real git server beside it."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.inside import InsideActivities
from activities.messages import CommandInput, CommandReply
from issuebox.domain.issue import Issue
from issuebox.domain.sandbox import Sandbox
from issuebox.domain.set_up import SetUp
from issuebox.domain.unsaved_work import Inspection
from issuebox.providers.daytona import DaytonaProvider
from localdaytona.testing import Server, running_inside
from tests.contract.conftest import options
from workflows.options import THRICE

from .origin import Origin, serving

NAME = "claude-issue-7"
REPOSITORY = "octo/repo"


@dataclass
class Box:
    """A running sandbox."""

    server: Server
    provider: DaytonaProvider
    sandbox: Sandbox
    home: Path

    async def shell(self, command: str) -> str:
        """Run a command in the sandbox's home directory, like somebody who works there."""
        done = await self.provider.execute(self.sandbox.id, f"sh -c {shlex.quote(f'set -e; {command}')}", 20.0)
        assert done.exit_code == 0, done.output
        return done.output

    def request(self, repository: str = REPOSITORY) -> CommandInput:
        issue = Issue(7, repository, 5) if repository else None
        return CommandInput(7, NAME, self.sandbox.id, issue)

    async def set_up(self, given: SetUp, repository: str = REPOSITORY) -> CommandReply:
        """Run the activity as a worker would."""
        activities = InsideActivities(self.provider, set_up=given)
        return await ActivityEnvironment().run(activities.set_up_sandbox, self.request(repository))

    async def inspect_as(self, request: CommandInput) -> tuple[Inspection, list[str]]:
        """The activity for this request, and the requests to Daytona that it sent, its toolbox's left out."""
        entries = await self.server.admin.journal()
        found = await ActivityEnvironment().run(InsideActivities(self.provider).inspect_sandbox, request)
        sent = await self.server.admin.journal(after=entries[-1].seq, kind="request")
        return found, [str(entry.operation) for entry in sent]

    async def inspect(self, *paths: str) -> Inspection:
        """Run the activity as Temporal would: an attempt that fails is followed by another, without the pause."""
        activities = InsideActivities(self.provider, inspect_paths=paths or ("~",))
        policy = THRICE  # As `options.inspect` has it.
        for attempt in range(1, policy.maximum_attempts):
            with contextlib.suppress(ApplicationError):
                return await self._attempt(activities, attempt, policy)
        return await self._attempt(activities, policy.maximum_attempts, policy)

    async def _attempt(self, activities: InsideActivities, attempt: int, policy: RetryPolicy) -> Inspection:
        environment = ActivityEnvironment()
        environment.info = replace(environment.info, attempt=attempt, retry_policy=policy)
        return await environment.run(activities.inspect_sandbox, self.request())

    async def labels(self) -> dict[str, str]:
        return dict((await self.server.admin.sandbox(self.sandbox.id)).labels)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """A localdaytona in which state changes take a tenth of their usual time."""
    async with running_inside(tmp_path / "daytona") as server:
        await server.admin.config(durations={"create_s": 0.1, "start_s": 0.1, "stop_s": 0.1, "destroy_s": 0.2})
        yield server


@pytest.fixture
async def provider(server: Server) -> AsyncIterator[DaytonaProvider]:
    async with DaytonaProvider(options(server)) as provider:
        yield provider


async def open_box(server: Server, provider: DaytonaProvider, tmp_path: Path, **asked: object) -> Box:
    """Create a sandbox and wait until it runs. `asked` are fields that a person may set by hand, such as `env`."""
    made = await server.admin.create(name=NAME, **asked)
    sandbox = await provider.settle(made.id, 5.0)
    assert sandbox is not None
    box = Box(server, provider, sandbox, tmp_path / "daytona" / "sandboxes" / made.id / "home")
    await box.shell("printf '[user]\\nname = T\\nemail = t@example.org\\n[init]\\ndefaultBranch = main\\n' >.gitconfig")
    return box


@pytest.fixture
async def box(server: Server, provider: DaytonaProvider, tmp_path: Path) -> Box:
    return await open_box(server, provider, tmp_path)


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[Origin]:
    """A git server with `octo/repo`, which requires the token."""
    with serving(tmp_path / "origin") as origin:
        origin.add(REPOSITORY)
        yield origin
