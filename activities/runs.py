"""The activities that work on an attempt of a run inside its sandbox. What is true of it stands on the sandbox's disk.

Each of them ends with a probe, so the workflow learns the same way from every step. Only `begin_run` starts anything:
an attempt's own claim makes that safe to repeat, by whatever sends the request again. No text of a person and no
secret is in a command line: texts are files, secrets are in the environment of the one request that begins.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import structlog
from temporalio import activity

from activities.claims import refuse_foreign
from activities.failures import typed_failures
from activities.reporting import heartbeats, log_fields
from activities.run_log import LogCopy
from activities.run_messages import (
    AttemptSeen,
    BeginInput,
    Collected,
    FollowInput,
    InterruptInput,
    PrepareInput,
    RunInput,
)
from activities.run_reports import RunReportActivities
from activities.run_watch import Watch
from activities.scripts import command_line, text_of
from issuebox.domain.errors import GoneError, ProviderError, RefusedError, TransientError
from issuebox.domain.phase import Cause
from issuebox.domain.presets import Preset
from issuebox.domain.probe import TAIL_BYTES_MAX, Probe, read_probe
from issuebox.domain.prompt import prompt, request_json
from issuebox.domain.provider import Execution, SandboxProvider
from issuebox.domain.redaction import Redaction
from issuebox.domain.run import FOLLOW_SLICE, Report
from issuebox.domain.sandbox import DEFAULT_INSTANCE
from issuebox.domain.set_up import directory_of
from issuebox.domain.text import one_line
from issuebox.run_logs import RunLogs

INTERRUPT_PATIENCE_S = 35
"""For a job to end in order. Then what is left of it is killed."""

UPLOAD_TIMEOUT_S = 60.0

SLICE_BYTES = 64 * 1024
"""Of the job's output, read with one probe."""

BEHIND_PAUSE_S = 1.0
"""Between two probes while the copy of the output is behind it by more than a slice."""

PAUSE_S, PAUSE_MAX_S, PAUSE_GROWTH = 0.25, 10.0, 2.0
"""Between two probes of a follower: 11 requests in the first minute, then 6. A short command is over at once."""

THROUGH_S = 60.0
"""How long an agent may live after it has said how it ended. Then it is ended, and its word counts."""

FOLLOW_S = FOLLOW_SLICE.total_seconds()
"""How long a follower follows before it returns."""

NO_COPIES = RunLogs()

_log = structlog.get_logger("issuebox.activities")


@dataclass(frozen=True, slots=True)
class RunTimeouts:
    """How long a request to a sandbox may take, in seconds, before it counts as lost."""

    probe_s: float = 15.0
    """It reads some files: what takes longer hangs, and a run waits for its answer."""
    script_s: float = 60.0
    """The longest of our scripts, an interruption in order, takes 45 s."""


TIMEOUTS = RunTimeouts()


@dataclass(frozen=True, slots=True)
class Work:
    """What runs, and in which environment. ``secrets`` are names: `values_of` reads them when an attempt begins.

    ``has_clone``: the set-up clones the repository, and the command runs in the clone.
    """

    preset: Preset
    command: str
    time_limit_s: float = 3600.0
    secrets: tuple[str, ...] = ()
    has_clone: bool = False


class MissingValueError(Exception):
    """A variable for the job has no value in the worker's environment."""


def values_of(names: tuple[str, ...], environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables of these names, each from the environment, or from the file that ``<name>_FILE`` names.

    Raises MissingValueError.
    """
    values = {}
    for name in names:
        if name in environment:
            values[name] = environment[name]
        elif path := environment.get(f"{name}_FILE"):
            try:
                values[name] = Path(path).read_text("utf-8").rstrip("\n")
            except (OSError, UnicodeDecodeError) as error:
                raise MissingValueError(f"{name}_FILE cannot be read: {type(error).__name__}") from None
        else:
            raise MissingValueError(f"the worker's environment has neither {name} nor {name}_FILE")
    return values


def known_values(names: tuple[str, ...]) -> tuple[str, ...]:
    """The values of those of the variables that have one."""
    values: list[str] = []
    for name in names:
        with contextlib.suppress(MissingValueError):
            values += values_of((name,)).values()
    return tuple(values)


def redaction_of(own_secrets: tuple[str, ...], names: tuple[str, ...]) -> Redaction:
    """What is taken out of an agent's words now: the worker's own secrets, and the values of these variables."""
    return _made((*own_secrets, *known_values(names)))


@lru_cache(maxsize=8)
def _made(secrets: tuple[str, ...]) -> Redaction:
    return Redaction.of(secrets)


class RunActivities:
    """Preparing, beginning, following and ending attempts, on one provider."""

    def __init__(
        self,
        provider: SandboxProvider,
        *,
        work: Work,
        instance: str = DEFAULT_INSTANCE,
        logs: RunLogs = NO_COPIES,
        own_secrets: tuple[str, ...] = (),
        reports: RunReportActivities | None = None,
        timeouts: RunTimeouts = TIMEOUTS,
    ) -> None:
        self._provider = provider
        self._work = work
        self._instance = instance
        self._logs = logs
        self._own_secrets = own_secrets
        self._reports = reports
        self._timeouts = timeouts

    def all(self) -> list[Callable[..., Any]]:
        """Every activity, for the worker and for tests that loop over all of them."""
        return [
            self.prepare_run,
            self.begin_run,
            self.probe_run,
            self.follow_run,
            self.interrupt_run,
            self.fence_run,
            self.collect_run,
        ]

    @activity.defn
    async def prepare_run(self, request: PrepareInput) -> AttemptSeen:
        """Put the attempt's files in their place, by one rename. Safe to repeat: what is in its place stays."""
        about, attempt = request.about, uuid4().hex
        async with typed_failures(), heartbeats():
            await self._require_ours(about)
            room = await self._step(about, "run_room", attempt)
            if not room.room:
                return self._seen(room)
            files = self._files(request)
            contents = {f"{room.room}/{name}": text.encode() for name, text in files.items()}
            await self._provider.upload(about.sandbox_id, contents, UPLOAD_TIMEOUT_S)
            placed = await self._step(about, "run_place", attempt)
            return self._seen(replace(placed, other=room.other))

    @activity.defn
    async def begin_run(self, request: BeginInput) -> AttemptSeen:
        """Begin the command. It is claimed inside the sandbox, once for ever, so no repetition begins it again."""
        about = request.about
        async with typed_failures(), heartbeats():
            await self._require_ours(about)
            try:
                secrets = values_of(self._work.secrets)
            except MissingValueError as error:
                raise RefusedError(f"the run cannot begin: {error}", cause=Cause.INVALID) from error
            issue = request.issue
            environment = {
                "ISSUEBOX_RUN_KIND": request.kind,
                "ISSUEBOX_SESSION": request.session,
                "ISSUEBOX_SESSION_IS_NEW": "1" if request.is_session_new else "0",
                "ISSUEBOX_REPOSITORY": issue.repository if issue else "",
                "ISSUEBOX_ISSUE_NUMBER": str(issue.number) if issue else "",
                "ISSUEBOX_ISSUE_URL": issue.url if issue else "",
            }
            probe = await self._script(about, "run_begin", environment=secrets | environment)
        return self._seen(probe)

    @activity.defn
    async def probe_run(self, request: RunInput) -> AttemptSeen:
        """Read how far the attempt is. Writes nothing."""
        async with typed_failures(), heartbeats():
            return self._seen(await self._probe(request))

    @activity.defn
    async def follow_run(self, request: FollowInput) -> AttemptSeen:
        """Follow the attempt until it has ended, is stalled, or the slice is over. It only reads.

        One request says whether it lives, whether it has ended and what it wrote since, and keeps the sandbox awake.
        The heartbeat's details hold how far it came, for the worker that goes on after this one.
        """
        out_bytes, quiet_since = _known(request)
        loop = asyncio.get_running_loop()
        goes_on = request.is_further and activity.info().attempt == 1
        ends_at, pause_s = loop.time() + FOLLOW_S, PAUSE_MAX_S if goes_on else PAUSE_S
        copy, watch = self._copy(request.about), Watch(self._work.preset, out_bytes, SLICE_BYTES)
        through_at: float | None = None

        def beat() -> None:
            activity.heartbeat(out_bytes, quiet_since.isoformat())

        async with typed_failures(), heartbeats(beat), self._telling(request) as tell:
            if goes_on:
                await asyncio.sleep(pause_s)  # The follower before has just looked.
            while True:
                place = await copy.place()
                probe = await self._look(request, watch.place(out_bytes) if place is None else place)
                watch.take(probe)
                through_at = (through_at or loop.time()) if watch.is_through else None
                is_behind = await copy.take(probe)
                now = datetime.now(UTC)
                if probe.out_bytes > out_bytes:
                    out_bytes, quiet_since = probe.out_bytes, now
                hangs = through_at is not None and loop.time() - through_at >= THROUGH_S
                shown = replace(probe, progress=probe.progress or watch.progress)
                seen = self._seen(shown, quiet_since, is_through=hangs)
                tell(seen.progress)
                is_stalled = 0 < request.stall_s <= (now - quiet_since).total_seconds()
                if probe.phase != "running" or probe.is_orphan or is_stalled or hangs or loop.time() >= ends_at:
                    await copy.take_rest(probe, partial(self._probe, request.about))
                    return seen
                await asyncio.sleep(BEHIND_PAUSE_S if is_behind else pause_s)
                pause_s = min(PAUSE_MAX_S, pause_s * PAUSE_GROWTH)

    @activity.defn
    async def interrupt_run(self, request: InterruptInput) -> AttemptSeen:
        """End the attempt in order, or at once. Safe to repeat."""
        patience_s = 0 if request.is_hard else INTERRUPT_PATIENCE_S
        async with typed_failures(), heartbeats():
            probe = await self._step(request.about, "run_interrupt", request.why, str(patience_s))
        _log.info("run_interrupted", **_fields(request.about), why=request.why, phase=probe.phase)
        return self._seen(probe)

    @activity.defn
    async def fence_run(self, request: RunInput) -> AttemptSeen:
        """Make sure that nothing of the attempt lives, and that it can never begin. Safe to repeat."""
        async with typed_failures(), heartbeats():
            probe = await self._step(request, "run_fence")
            await self._copy(request).take_rest(probe, partial(self._probe, request))
            return self._seen(probe)

    @activity.defn
    async def collect_run(self, request: RunInput) -> Collected:
        """Read how the attempt ended, and what it says about itself."""
        async with typed_failures(), heartbeats():
            probe = await self._step(request, "run_collect", str(TAIL_BYTES_MAX))
            copy = self._copy(request)
            await copy.take_rest(probe, partial(self._probe, request))
            await copy.take_errors(probe.err_tail, probe.err_bytes)
        report = self._work.preset.read_output(
            probe.tail, probe.err_tail, probe.exit_code or 0, probe.why, probe.result
        ).as_report()
        return Collected(self._seen(probe), redacted_report(report, self._redaction().text))

    def _seen(self, probe: Probe, quiet_since: datetime | None = None, *, is_through: bool = False) -> AttemptSeen:
        """What the workflow keeps of a probe. The history keeps it, so no known secret is in it."""
        return AttemptSeen(
            phase=probe.phase,
            exit_code=probe.exit_code,
            why=probe.why,
            out_bytes=probe.out_bytes,
            progress=self._redaction().text(probe.progress) if probe.progress else "",
            is_orphan=probe.is_orphan,
            oom_kills=probe.oom or 0,
            quiet_since=quiet_since,
            is_through=is_through,
            other=probe.other,
        )

    @contextlib.asynccontextmanager
    async def _telling(self, request: FollowInput) -> AsyncIterator[Callable[[str], None]]:
        if self._reports is None:
            yield lambda _progress: None
            return
        with self._reports.telling(request.report) as tell:
            yield tell

    def _redaction(self) -> Redaction:
        return redaction_of(self._own_secrets, self._work.secrets)

    def _copy(self, about: RunInput) -> LogCopy:
        return LogCopy(self._logs, about, self._redaction())

    def _files(self, request: PrepareInput) -> dict[str, str]:
        issue, work = request.issue, self._work
        directory = "."
        if work.has_clone and issue is not None and issue.repository:
            try:
                directory = directory_of(issue.repository)
            except ValueError as error:
                raise RefusedError(str(error), cause=Cause.SETUP) from error
        settings = {
            "time_limit_s": f"{work.time_limit_s:.0f}",
            "directory": directory,
            "interrupt_signal": work.preset.interrupt_signal,
            "interrupt_grace_s": "15",
            "terminate_grace_s": "10",
        }
        return {
            "command": work.command,
            "supervise": text_of("run_supervise"),
            "prompt.md": prompt(issue, request.requests, is_continued=request.is_continued),
            "request.json": request_json(issue, request.requests),
            "settings": "".join(f"{name}={value}\n" for name, value in settings.items()),
        }

    async def _require_ours(self, about: RunInput) -> None:
        """Read a sandbox that was not labelled as ours once more before anything is put in it."""
        if about.is_ours:
            return
        found = await self._provider.lookup_by_id(about.sandbox_id)
        if found is None:
            raise GoneError(f"sandbox {about.sandbox_id} was not found")
        refuse_foreign(found, about.issue_id, self._instance)

    async def _look(self, request: FollowInput, offset: int | None) -> Probe:
        """A probe by the toolbox's known URL. When that fails, the sandbox is read first: what the proxy answers does
        not tell a sandbox that is stopped or gone from one that it does not reach just now."""
        if request.about.toolbox_url:
            try:
                return await self._probe(request.about, offset, toolbox_url=request.about.toolbox_url)
            except ProviderError as error:
                _log.debug("run_not_read", **_fields(request.about), error=type(error).__name__, reason=str(error))
        return await self._probe(request.about, offset)

    async def _probe(self, about: RunInput, offset: int | None = None, *, toolbox_url: str = "") -> Probe:
        """How the attempt is, with its output from the offset on; without an offset, none of its output."""
        part = (str(offset or 0), "0" if offset is None else str(SLICE_BYTES))
        return await self._script(about, "run_probe", *part, toolbox_url=toolbox_url)

    async def _step(self, about: RunInput, name: str, *arguments: str) -> Probe:
        """A script that is safe to repeat, by the known address of the toolbox. What fails there is tried again after a
        lookup, which says more."""
        is_first = activity.info().attempt == 1
        return await self._script(about, name, *arguments, toolbox_url=about.toolbox_url if is_first else "")

    async def _script(
        self,
        about: RunInput,
        name: str,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        toolbox_url: str = "",
    ) -> Probe:
        timeout_s = self._timeouts.probe_s if name == "run_probe" else self._timeouts.script_s
        command = command_line(name, about.run, str(about.attempt), *arguments)
        execution = await self._provider.execute(
            about.sandbox_id, command, timeout_s, environment=environment, toolbox_url=toolbox_url
        )
        return _read(execution)


def _read(execution: Execution) -> Probe:
    """The probe in what a script wrote. Raises TransientError when there is no whole one."""
    if execution.exit_code != 0:
        said = one_line(execution.output[-300:], 300) or "it wrote nothing"
        raise TransientError(f"a script in the sandbox ended with {execution.exit_code}: {said}")
    try:
        return read_probe(execution.output)
    except ValueError as error:
        raise TransientError(f"a script in the sandbox wrote no whole answer: {error}") from error


def redacted_report(report: Report, redact: Callable[[str], str]) -> Report:
    """The report without secrets: the agent wrote all of its texts."""
    return replace(
        report,
        reason=redact(report.reason),
        summary=redact(report.summary),
        branch=redact(report.branch),
        pull_request=redact(report.pull_request),
    )


def _known(request: FollowInput) -> tuple[int, datetime]:
    """How far an earlier attempt at this activity came."""
    details = activity.info().heartbeat_details
    if len(details) == 2 and isinstance(details[0], int) and isinstance(details[1], str):  # noqa: PLR2004
        return details[0], datetime.fromisoformat(details[1])
    return request.out_bytes, request.quiet_since


def _fields(about: RunInput) -> dict[str, object]:
    return log_fields(about) | {"run": about.run, "run_attempt": about.attempt}
