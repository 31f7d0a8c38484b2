"""What happens inside a running sandbox: its set-up, and its inspection for unsaved work.

Both are safe to repeat, and both may be cut off at any moment: a half-done set-up has no marker and is
repeated, an inspection that did not finish counts as *unchecked*.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import structlog
from temporalio import activity

from activities.claims import identity_labels, refuse_foreign
from activities.failures import typed_failures
from activities.messages import CommandInput, CommandReply
from activities.reporting import heartbeats, log_fields, logged, ms
from activities.scripts import command_line, text_of
from issuebox.domain.errors import AmbiguousError, GoneError, ProviderError, RefusedError, TransientError
from issuebox.domain.phase import Cause, Phase
from issuebox.domain.provider import SandboxProvider
from issuebox.domain.sandbox import (
    DEFAULT_INSTANCE,
    LABEL_REPOSITORY,
    LABEL_SET_UP,
    LABEL_WORK,
    SET_UP_DONE,
    Ownership,
    Sandbox,
    ownership,
)
from issuebox.domain.set_up import SetUp, directory_of
from issuebox.domain.text import one_line
from issuebox.domain.unsaved_work import Inspection, read_report, unchecked

SET_UP_JOB = "issuebox-set-up"
"""The toolbox session in which the configured command runs."""

LOG_PATH = "~/.issuebox/setup.log"

SCRIPT_TIMEOUT_S = 60.0
"""For one of our scripts, which moves one directory or runs some git commands."""

GIT_TIMEOUT_S = 20
"""For one git command."""

REPOSITORIES_MAX = 50
DEPTH_MAX = 6
"""How many levels below a path a ``.git`` is found, its own level included."""

INSPECTION_RETRY_WITHIN_S = 30.0
"""No further attempt after one that took longer, so a toolbox that hangs costs one deadline: 90 s, or 150 s with the
label."""

_OUTPUT_BYTES_MAX = 300
"""Limit on a script's output in a reason. Whoever works in the sandbox may have written it."""

_ABSENT = re.compile(r"^issuebox absent (?P<directory>/.*)$", re.MULTILINE)
_PRESENT = re.compile(r"^issuebox present$", re.MULTILINE)

_log = structlog.get_logger("issuebox.activities")


class InsideActivities:
    """Setting sandboxes up and inspecting them, on one provider."""

    def __init__(
        self,
        provider: SandboxProvider,
        *,
        set_up: SetUp | None = None,
        inspect_paths: tuple[str, ...] = ("~",),
        instance: str = DEFAULT_INSTANCE,
    ) -> None:
        self._provider = provider
        self._instance = instance
        self._set_up = set_up or SetUp()
        self._inspect_paths = inspect_paths

    def all(self) -> list[Callable[..., Any]]:
        """Every activity, for the worker and for tests that loop over all of them."""
        return [self.set_up_sandbox, self.inspect_sandbox]

    @activity.defn
    async def set_up_sandbox(self, request: CommandInput) -> CommandReply:
        """Clone, run the configured command, and set the marker. Returns the sandbox as it is then.

        Safe to repeat: a marked sandbox is left alone, an existing clone is never touched, and a command that
        still runs is followed to its end. A sandbox that does not run is returned unchanged. Fails with
        RefusedError and the cause ``setup`` when git or the command fails.
        """
        async with typed_failures(), logged("sandbox_set_up", request) as saw, heartbeats():
            sandbox = await self._ready(request)
            saw(sandbox)
        return CommandReply(sandbox)

    @activity.defn
    async def inspect_sandbox(self, request: CommandInput) -> Inspection:
        """Inspect the sandbox for work that is nowhere else, and label it with the verdict.

        An inspection that fails returns *unchecked*. The activity itself fails when another attempt may get an answer,
        and for a sandbox that was not labelled as ours: with RefusedError when its labels now name another owner, or
        when they cannot be read.
        """
        began = time.monotonic()
        async with typed_failures(), heartbeats():
            if not request.is_ours:
                found = await self._provider.lookup_by_id(request.sandbox_id)
                refuse_foreign(found, request.issue_id, self._instance)
                request = _with(found, request)
            inspection, work = await self._visit(request)
            if work != inspection.state and not (request.is_quiet and inspection.is_clean):
                await self._label_work(request, inspection)
        _log.info(
            "sandbox_inspected",
            **log_fields(request),
            work=str(inspection.state),
            findings=list(inspection.findings),
            duration_ms=ms(began),
        )
        return inspection

    async def _ready(self, request: CommandInput) -> Sandbox | None:
        sandbox = await self._provider.lookup(request.name, request.sandbox_id)
        if sandbox is None or sandbox.id != request.sandbox_id:
            raise GoneError(f"sandbox {request.sandbox_id} was not found")
        refuse_foreign(sandbox, request.issue_id, self._instance)
        if sandbox.phase is not Phase.USABLE or sandbox.labels.get(LABEL_SET_UP) == SET_UP_DONE:
            return sandbox
        await self._claim(sandbox, request)
        # A request before the first event has no issue data; the label keeps the repository of an earlier one.
        repository = request.issue.repository if request.issue else ""
        directory = await self._clone(sandbox, repository or sandbox.labels.get(LABEL_REPOSITORY, ""))
        await self._run(sandbox, directory)
        await self._provider.label(sandbox.id, {LABEL_SET_UP: SET_UP_DONE})
        return await self._provider.lookup(request.name, sandbox.id)

    async def _claim(self, sandbox: Sandbox, request: CommandInput) -> None:
        """Label a sandbox that was made by hand as ours before its set-up: two set-ups would disturb each other."""
        if ownership(sandbox.labels, request.issue_id, self._instance) is Ownership.UNLABELLED:
            labels = identity_labels(self._instance, request.issue_id, request.issue)
            await self._provider.label(sandbox.id, labels)

    async def _clone(self, sandbox: Sandbox, repository: str) -> str:
        """Put the clone in its place. Returns the directory for the command: the clone, or ``.`` when there is none.

        git fills a directory that belongs to this attempt. Once the clone is whole, one rename puts it in its place.
        """
        url = self._set_up.url_of(repository)
        if not url:
            return "."
        try:
            directory = directory_of(repository)
        except ValueError as error:
            raise RefusedError(str(error), cause=Cause.SETUP) from error
        output = await self._script(sandbox, "clone_prepare", directory)
        if _PRESENT.search(output):
            return directory
        absent = _ABSENT.search(output)
        if absent is None:
            raise _failed(f"the clone could not be prepared: {output}")
        attempt = uuid.uuid4().hex
        await self._provider.clone(
            sandbox.id,
            url,
            f"{absent['directory']}/{attempt}",
            token=self._set_up.token,
            timeout_s=self._set_up.timeout_s,
        )
        await self._script(sandbox, "clone_finish", directory, attempt)
        return directory

    async def _run(self, sandbox: Sandbox, directory: str) -> None:
        if not self._set_up.command:
            return
        command, timeout_s = command_line("set_up", directory, self._set_up.command), self._set_up.timeout_s
        execution = await self._provider.run_job(sandbox.id, SET_UP_JOB, command, timeout_s)
        if execution.exit_code is None:
            raise _failed(f"the set-up command was killed after {timeout_s:.0f} s: see {LOG_PATH} in the sandbox")
        if execution.exit_code != 0:
            raise _failed(
                f"the set-up command ended with exit code {execution.exit_code}: see {LOG_PATH} in the sandbox"
            )

    async def _script(self, sandbox: Sandbox, name: str, *arguments: str) -> str:
        """The output of one of our scripts. Raises RefusedError when it failed."""
        execution = await self._provider.execute(sandbox.id, command_line(name, *arguments), SCRIPT_TIMEOUT_S)
        if execution.exit_code != 0:
            raise _failed(f"the clone could not be put in its place: {execution.output}")
        return execution.output

    async def _visit(self, request: CommandInput) -> tuple[Inspection, str]:
        """What an inspection finds, and the verdict with which the sandbox is labelled."""
        arguments = (text_of("visit"), str(DEPTH_MAX), str(REPOSITORIES_MAX), str(GIT_TIMEOUT_S), *self._inspect_paths)
        command = command_line("inspect", *arguments, is_silent=True)
        began = time.monotonic()
        try:
            if not request.toolbox_url:
                request = _with(await self._provider.lookup_by_id(request.sandbox_id), request)
            execution = await self._provider.execute(
                request.sandbox_id, command, SCRIPT_TIMEOUT_S, toolbox_url=request.toolbox_url
            )
        except ProviderError as error:
            if _is_worth_another_attempt(error, time.monotonic() - began):
                raise
            return replace(unchecked(f"the inspection of the sandbox failed: {error}"), is_failed=True), request.work
        return read_report(execution.output, execution.exit_code, ", ".join(self._inspect_paths)), request.work

    async def _label_work(self, request: CommandInput, inspection: Inspection) -> None:
        """Best effort, for people who read Daytona's dashboard: the verdict counts without the label."""
        try:
            await self._provider.label(request.sandbox_id, {LABEL_WORK: inspection.state.value})
        except ProviderError as error:
            _log.warning(
                "sandbox_inspected_unlabelled", **log_fields(request), error=type(error).__name__, reason=str(error)
            )


def _with(found: Sandbox | None, request: CommandInput) -> CommandInput:
    """The request with what a read has shown."""
    if found is None:
        return request
    return replace(request, toolbox_url=found.toolbox_url, work=found.labels.get(LABEL_WORK, ""))


def _is_worth_another_attempt(error: ProviderError, took_s: float) -> bool:
    """Whether Temporal tries again, at once and with a prospect. A rate limit is left to the slow retries."""
    info = activity.info()
    is_passing = isinstance(error, TransientError | AmbiguousError) and error.retry_after_s is None
    has_attempts = info.retry_policy is not None and info.attempt < info.retry_policy.maximum_attempts
    return is_passing and has_attempts and took_s <= INSPECTION_RETRY_WITHIN_S


def _failed(reason: str) -> RefusedError:
    """The refusal of a set-up that fails until somebody acts or until something it depends on works again."""
    return RefusedError(one_line(reason, _OUTPUT_BYTES_MAX), cause=Cause.SETUP)
