"""What a sandbox provider must offer. `issuebox.providers` implements it; activities call it.

Every method sends the platform at most one command, never retries, and raises only `ProviderError`s.
The contract suite in ``tests/contract`` holds each implementation to these sentences. A method that
waits returns what it read last: possibly still in a transitional phase, or None when the sandbox is gone.
What runs inside a sandbox (`execute`, `clone`, `run_job`) changes nothing at the platform.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from issuebox.domain.errors import TransientError
from issuebox.domain.sandbox import Sandbox
from issuebox.domain.text import cut_to_bytes

OUTPUT_BYTES_MAX = 1024 * 1024
"""Limit on a command's output: the end of a run has half of it, a report on fifty repositories a fortieth. What is cut
has no end, and is not believed."""

CURSOR_BYTES_MAX = 4096


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """What to create: the name, and the labels that say whose it is."""

    name: str
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Execution:
    """How a command in a sandbox ended.

    ``exit_code`` is None when the command was killed at its timeout. ``output`` is what it wrote to both streams.
    It is untrusted: whoever works in the sandbox may have written it.
    """

    exit_code: int | None
    output: str = ""

    def __post_init__(self) -> None:
        """Cut the output at `OUTPUT_BYTES_MAX`."""
        object.__setattr__(self, "output", cut_to_bytes(self.output, OUTPUT_BYTES_MAX))


@dataclass(frozen=True, slots=True)
class SandboxPage:
    """A page of a list, and where the next one begins: None after the last."""

    sandboxes: tuple[Sandbox, ...]
    next_cursor: str | None = None

    def __post_init__(self) -> None:
        """Raise TransientError for a cursor that is too long for a heartbeat: a cut one would lead to another page."""
        if len(self.next_cursor or "") > CURSOR_BYTES_MAX:
            raise TransientError("Daytona's next page cannot be used: its cursor is too long")


@dataclass(frozen=True, slots=True)
class Spare:
    """What a limit has to spare, in seconds: how long nothing may be sent, and then the pause between two reads."""

    closed_s: float = 0.0
    pause_s: float = 0.0


class SandboxProvider(Protocol):
    """One sandbox platform."""

    async def lookup(self, name: str, sandbox_id: str | None = None, *, is_doubted: bool = False) -> Sandbox | None:
        """Read a sandbox: by ID when one is known, by name when that ID is gone or unknown.

        None means that the platform answered *not found*, once: enough to try a create under a
        unique name, never enough to destroy or replace anything. With `is_doubted`, None means that it answered
        so both before and after a check that it is not in an outage. Raises TransientError when that check fails.
        """

    async def lookup_by_id(self, sandbox_id: str) -> Sandbox | None:
        """Read this sandbox and no other, even if another one has its name by now. None as for `lookup`."""

    async def create(self, spec: SandboxSpec) -> Sandbox | None:
        """Send one create and wait for the sandbox to settle.

        Raises NameTakenError when the name is held, with the sandbox that holds it if that can be found.
        """

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

    async def execute(
        self,
        sandbox_id: str,
        command: str,
        timeout_s: float,
        *,
        environment: Mapping[str, str] | None = None,
        toolbox_url: str = "",
    ) -> Execution:
        """Run a command line in a shell of the running sandbox and wait for its end, `timeout_s` at most.

        The platform may run it twice, so it must be safe to repeat. Only for commands that end within a minute. The
        `environment` is in this one request and in the memory of the processes, and nowhere else. With `toolbox_url`,
        from an earlier read, the sandbox is not read first: one request instead of two.
        """

    async def upload(self, sandbox_id: str, contents: Mapping[str, bytes], timeout_s: float) -> None:
        """Write files, by their absolute paths, into the running sandbox. After an error some may be there."""

    async def clone(self, sandbox_id: str, url: str, path: str, *, token: str, timeout_s: float) -> None:
        """Clone a git repository into `path` of the running sandbox. Raises RefusedError when git cannot.

        The token, '' for a public repository, is only in this one request: neither the clone nor an error contains it.
        After any other error the clone may be there, in part or as a whole, or may still be running.
        """

    async def run_job(self, sandbox_id: str, job_id: str, command: str, timeout_s: float) -> Execution:
        """Run a command in the running sandbox that outlives its caller, and wait for its end.

        At most one command runs per `job_id`. A repeated call with the same command follows the one that runs; a
        different command replaces it. The command is killed `timeout_s` after its start. After an error the command
        may still run: call again to follow it. Output is not returned.
        """

    async def list_page(self, labels: dict[str, str], cursor: str | None = None) -> SandboxPage:
        """One page of the sandboxes with these labels, oldest first, as an eventually consistent index shows them.

        Hints, for sweeps only: rows may be late or missing, or the sandbox may be on its way out. The order is by
        creation, which never changes, so a sandbox that starts or stops between two pages is not skipped. A cursor
        stays valid when the sandbox it was taken from is gone.
        """

    def list_undestroyed(self, labels: dict[str, str]) -> AsyncIterator[Sandbox]:
        """The sandboxes with these labels that were deleted, and that the platform did not clean up. Oldest first.

        Every other read says that they are gone, and their names are free. Their containers may run and cost. This has
        the limits of `list_page`.
        """

    def list_managed(self, labels: dict[str, str]) -> AsyncIterator[Sandbox]:
        """All sandboxes with these labels, page by page, with the limits of `list_page`."""

    def spare(self, share: float) -> Spare:
        """At which pace callers that can wait may read, when together they take this share. Sends nothing.

        It follows from what the platform said of its limit: no more than `share` of the whole limit, and of what is
        left of it now.
        """

    async def await_stop(self, sandbox_ids: Collection[str], timeout_s: float) -> frozenset[str]:
        """Listen until one of these sandboxes does not run any more. Sends nothing, and reads nothing.

        Returns those of which that was announced; empty after `timeout_s`. What is announced while nobody listens, or
        while the stream is not connected, is missed.
        """

    async def close(self) -> None:
        """Release connections."""
