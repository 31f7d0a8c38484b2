"""What a sandbox provider must offer. `issuebox.providers` implements it; activities call it.

Every method sends the platform at most one command, never retries, and raises only `ProviderError`s.
The contract suite in ``tests/contract`` holds each implementation to these sentences. A method that
waits returns what it read last: possibly still in a transitional phase, or None when the sandbox is gone.
What runs inside a sandbox (`execute`, `clone`, `run_job`) changes nothing at the platform.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Protocol

from issuebox.domain.sandbox import Sandbox


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """What to create: the name, and the labels that say whose it is."""

    name: str
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Execution:
    """How a command in a sandbox ended.

    ``exit_code`` is None when the command was killed because its time was up. ``output`` is what it said on
    both streams: whoever works in the sandbox may have written it.
    """

    exit_code: int | None
    output: str = ""


@dataclass(frozen=True, slots=True)
class SandboxPage:
    """A page of a list, and where the next one begins: None after the last."""

    sandboxes: tuple[Sandbox, ...]
    next_cursor: str | None = None


class SandboxProvider(Protocol):
    """One sandbox platform."""

    async def lookup(self, name: str, sandbox_id: str | None = None, *, is_doubted: bool = False) -> Sandbox | None:
        """Read a sandbox: by ID when one is known, by name when that ID is gone or unknown.

        None means that the platform answered *not found*, once: enough to try a create under a
        unique name, never enough to destroy or replace anything. With `is_doubted`, None means that it said
        so before and after a moment in which it was not in an outage; raises TransientError when it is.
        """

    async def lookup_by_id(self, sandbox_id: str) -> Sandbox | None:
        """Read this sandbox and no other, whatever has its name by now. None as for `lookup`."""

    async def create(self, spec: SandboxSpec) -> Sandbox | None:
        """Send one create and wait for the sandbox to settle. Raises NameTakenError when the name is held."""

    async def start(self, sandbox_id: str) -> Sandbox | None:
        """Send one start and wait for the sandbox to settle."""

    async def recover(self, sandbox_id: str) -> Sandbox | None:
        """Send one recover and wait for the sandbox to settle."""

    async def stop(self, sandbox_id: str) -> Sandbox | None:
        """Send one stop and wait for the sandbox to settle."""

    async def archive(self, sandbox_id: str) -> Sandbox | None:
        """Send one archive and wait for the sandbox to settle."""

    async def delete(self, sandbox_id: str) -> Sandbox | None:
        """Send one delete and wait until the sandbox is gone. None as for a doubted `lookup`."""

    async def settle(self, sandbox_id: str, timeout_s: float) -> Sandbox | None:
        """Wait until the sandbox leaves the transitional phases, `timeout_s` at most."""

    async def refresh_activity(self, sandbox_id: str) -> None:
        """Put off the platform's idle stop. Safe to repeat."""

    async def label(self, sandbox_id: str, labels: dict[str, str]) -> None:
        """Add these labels to those that are there. Safe to repeat."""

    async def execute(self, sandbox_id: str, command: str, timeout_s: float) -> Execution:
        """Run a command line in a shell of the running sandbox and wait for its end, `timeout_s` at most.

        The platform may run it twice, so it has to be safe to repeat. For what ends within a minute.
        """

    async def clone(self, sandbox_id: str, url: str, path: str, *, token: str, timeout_s: float) -> None:
        """Clone a git repository into `path` of the running sandbox. Raises RefusedError when git cannot.

        The token, '' for a public repository, is in this one request: not in the clone, no error names it.
        After any other error the clone may be there, in part or as a whole, or still be going on.
        """

    async def run_job(self, sandbox_id: str, job_id: str, command: str, timeout_s: float) -> Execution:
        """Run a command in the running sandbox that outlives its caller, and wait for its end.

        Of one `job_id` one command runs at a time. Called again while the same command runs, it follows that
        one; a different command takes its place. `timeout_s` counts from the command's start; then it is
        killed. After an error the command may go on: call again to follow it. Output is not returned.
        """

    async def list_page(self, labels: dict[str, str], cursor: str | None = None) -> SandboxPage:
        """One page of those with these labels, oldest first, as an eventually consistent index shows them.

        Hints, for sweeps only: rows may be late, missing, or on their way out. The order is by creation, which
        never changes, so that a sandbox which starts or stops between two pages is not skipped. A cursor stays
        valid when the sandbox it was taken from is gone.
        """

    def list_managed(self, labels: dict[str, str]) -> AsyncIterator[Sandbox]:
        """All with these labels, page by page, with what is said of `list_page`."""

    async def close(self) -> None:
        """Release connections."""
