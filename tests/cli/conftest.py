"""The `issuebox` command as a process, with exit code, standard output and standard error."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import from_json
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError

from issuebox.domain.issue import Issue, IssueState
from issuebox.temporal.connect import DATA_CONVERTER
from issuebox.temporal.search_attributes import registered
from tests.api.conftest import closed_address  # noqa: F401 -- a fixture
from tests.waiting import until
from tests.workflow.conftest import Stack, daytona, stack, start  # noqa: F401 -- fixtures

REPOSITORY = Path(__file__).parents[2]

FOREIGN = ("TEMPORAL_", "ISSUEBOX_", "DAYTONA_", "COLUMNS")
"""Variables of the machine's own environment that must not reach the commands."""


@dataclass(frozen=True)
class Ran:
    """The result of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document on standard output. Fails when there is anything else."""
        return from_json(self.out)


Run = Callable[..., Awaitable[Ran]]


def environment(directory: Path, given: dict[str, str]) -> dict[str, str]:
    """The machine's environment without variables that select a Temporal, and with the given ones."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}
    return clean | {"TEMPORAL_CONFIG_FILE": str(directory / "no-such-file")} | given


@pytest.fixture(scope="session")
def preloaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket of the process that forks for each command."""
    path = tmp_path_factory.mktemp("preloaded") / "socket"
    process = subprocess.Popen([sys.executable, "-m", "tests.cli.preloaded", str(path)], cwd=REPOSITORY)
    yield path
    process.kill()
    process.wait()


@pytest.fixture
def run(tmp_path: Path, preloaded: Path) -> Run:
    """Run `issuebox` with these arguments, and with these variables as keywords."""

    async def ran(*arguments: str, **given: str) -> Ran:
        directory = Path(tempfile.mkdtemp(dir=tmp_path))
        request = {
            "arguments": arguments,
            "environment": environment(tmp_path, given) | {"PRELOADED_CWD": str(tmp_path)},
            "directory": str(directory),
        }
        reader, writer = await connected(preloaded)
        writer.write(json.dumps(request).encode() + b"\n")
        code = await asyncio.wait_for(reader.readline(), 60)
        writer.close()
        return Ran(int(code), (directory / "out").read_text(), (directory / "err").read_text())

    return ran


async def connected(path: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to the process, once it has imported everything."""

    async def listens() -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        try:
            return await asyncio.open_unix_connection(path)
        except (FileNotFoundError, ConnectionRefusedError):
            return None

    streams = await until(listens, bool, "the preloaded process listens", 60.0)
    assert streams is not None
    return streams


@pytest.fixture
def issuebox(run: Run, stack: Stack, temporal_address: str) -> Run:  # noqa: F811 -- the fixture, not the import
    """`issuebox` on the stack of this test."""

    async def ran(*arguments: str, **given: str) -> Ran:
        settings = {
            "TEMPORAL_ADDRESS": temporal_address,
            "TEMPORAL_NAMESPACE": stack.temporal.namespace,
            "ISSUEBOX_TASK_QUEUE": stack.settings.task_queue,
        }
        return await run(*arguments, **settings | given)

    return ran


async def own_namespace(address: str, name: str) -> Client:
    """A new namespace, for tests of commands that read all workflows of one."""
    first = await Client.connect(address)
    request = RegisterNamespaceRequest(namespace=name)
    request.workflow_execution_retention_period.FromSeconds(86_400)
    await first.workflow_service.register_namespace(request)
    client = await Client.connect(address, namespace=name, data_converter=DATA_CONVERTER)
    await until(lambda: is_known(client), bool, "the namespace is known")
    return client


async def is_known(client: Client) -> bool:
    """Whether the server knows the namespace by now."""
    try:
        await registered(client)
    except RPCError:
        return False
    return True


@pytest.fixture
def repository() -> str:
    """A repository in which no other test has issues: all tests share one Temporal."""
    return f"octo/r{uuid.uuid4().hex[:8]}"


def issue_in(stack: Stack, repository: str, number: int = 5, title: str = "A title") -> Issue:  # noqa: F811
    """The stack's issue, in the test's own repository."""
    return Issue(stack.issue_id, repository, number, title, state=IssueState.OPEN)
