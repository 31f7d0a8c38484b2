"""Checks Temporal: configuration, server, namespace, search attributes, workers, schedules.

When a check fails that later ones depend on, the examination ends: they would only fail for the same reason.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Mapping, Sequence

from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    DescribeNamespaceResponse,
    GetSystemInfoRequest,
)
from temporalio.client import Client, WorkflowQueryFailedError
from temporalio.service import RPCError, RPCStatusCode

from issuebox.dev.temporal_server import SERVER_MINIMUM
from issuebox.doctor.check_results import CheckResult, Part, Verdict
from issuebox.domain.text import one_line
from issuebox.domain.workflow_ends import advice_for
from issuebox.temporal import search_attributes as setup
from issuebox.temporal.connect import TemporalConfigError, configuration, connect
from issuebox.temporal.fitting import misfits
from issuebox.temporal.index import Index, Row, running_on
from issuebox.temporal.issues import Issues, IssuesError
from issuebox.temporal.pollers import KINDS, Poller, pollers, queue_of
from workflows.messages import QUERY_STATUS

TIMEOUT_S = 8.0
ANSWER_MAX_S = 10.0
"""A worker answers a query in milliseconds, or in a second or two if it must first replay a long history."""

LISTED_MAX = 100
"""Limit on the workflows that are searched for one that can answer."""

NAMED_MAX = 5
"""Stuck workflows that are named; all of them are counted."""

REASON_MAX = 300

CLOUD_HOSTS = (".tmprl.cloud", ".api.temporal.io")
SCHEDULE_PREFIX = "issuebox-"

_REFUSALS = frozenset({RPCStatusCode.UNAUTHENTICATED, RPCStatusCode.PERMISSION_DENIED})
_MINIMUM = ".".join(map(str, SERVER_MINIMUM))
_UNANSWERED = frozenset({RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED})


class _EndError(Exception):
    """Ends the examination with this last check result. Never leaves this module."""

    def __init__(self, result: CheckResult) -> None:
        super().__init__(result.seen)
        self.result = result


async def examine(
    environment: Mapping[str, str], task_queue: str, name_prefix: str, *, is_fixing: bool
) -> list[CheckResult]:
    """The check results for Temporal. With `is_fixing`, missing search attributes are registered first."""
    results: list[CheckResult] = []
    try:
        results.append(_configured(environment))
        client = await connect(lazy=True, environment=environment)
        results.append(await _server(client))
        results.append(await _namespace(client))
        results.append(await _search_attributes(client, is_fixing=is_fixing))
        workers = {kind: polled(kind, task_queue, await _pollers(client, task_queue, kind)) for kind in KINDS}
        results += workers.values()
        issues = Issues.over(client, name_prefix=name_prefix, task_queue=task_queue, timeout_s=TIMEOUT_S)
        stuck = await Index(issues).stuck(running_on(task_queue))
        if workers["workflows"].verdict is not Verdict.FAILED:  # Without a poller, nobody answers.
            results.append(await _answers(issues, {row.name for row in stuck}))
        results += [_stuck(stuck), await _fits(issues), await _schedules(client)]
    except _EndError as end:
        results.append(end.result)
    except (RPCError, RuntimeError, TimeoutError, IssuesError) as error:
        results.append(
            _found("access", Verdict.FAILED, reason(error), "Allow the credentials to read what the doctor checks.")
        )
    return results


def _line(text: str) -> str:
    return one_line(text, REASON_MAX, keeps_markup=True)


def reason(error: Exception) -> str:
    """Why the call to Temporal failed, on one line."""
    if isinstance(error, TimeoutError):
        return f"no answer within {TIMEOUT_S:g} s"
    if isinstance(error, RPCError):
        return f"{error.status.name}: {_line(error.message)}"
    # The SDK wraps the system's message in the names of its own parts (1.35.0).
    message = re.search(r'message: "([^"]+)"', str(error))
    return f"no connection: {_line(message[1] if message else str(error))}"


def _configured(environment: Mapping[str, str]) -> CheckResult:
    try:
        config = configuration(environment)
    except TemporalConfigError as error:
        advice = "Correct the TEMPORAL_* variables, or the profile that they name."
        raise _EndError(_found("configuration", Verdict.FAILED, str(error), advice)) from error
    security = "TLS" if config.get("tls") or config.get("api_key") else "no TLS"
    key = ", with an API key" if config.get("api_key") else ""
    place = f"{config['target_host']}, namespace {config.get('namespace', 'default')}, {security}{key}"
    return _found("configuration", Verdict.OK, place)


async def _server(client: Client) -> CheckResult:
    """Whether the server answers and is new enough: we need update-with-start and its conflict policy."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            info = await client.workflow_service.get_system_info(GetSystemInfoRequest())
    except (RPCError, RuntimeError, TimeoutError) as error:
        is_refused = isinstance(error, RPCError) and error.status in _REFUSALS
        advice = (
            "Correct TEMPORAL_API_KEY or the client certificate (TEMPORAL_TLS_…)."
            if is_refused
            else "Check TEMPORAL_ADDRESS, that Temporal runs there, and that TLS is on only if the server requires it."
        )
        raise _EndError(_found("server", Verdict.FAILED, reason(error), advice)) from error
    version = re.match(r"(\d+)\.(\d+)\.(\d+)", info.server_version)
    if version is None:
        return _found("server", Verdict.WARNING, f"version {info.server_version or 'unknown'}", f"Needs {_MINIMUM}.")
    if tuple(map(int, version.groups())) < SERVER_MINIMUM:
        return _found("server", Verdict.FAILED, f"version {info.server_version}", f"Upgrade it to {_MINIMUM} or later.")
    return _found("server", Verdict.OK, f"reached, version {info.server_version}")


async def _namespace(client: Client) -> CheckResult:
    try:
        async with asyncio.timeout(TIMEOUT_S):
            request = DescribeNamespaceRequest(namespace=client.namespace)
            found = await client.workflow_service.describe_namespace(request)
    except (RPCError, TimeoutError) as error:
        is_missing = isinstance(error, RPCError) and error.status is RPCStatusCode.NOT_FOUND
        advice = (
            f"Set TEMPORAL_NAMESPACE, or create it: temporal operator namespace create --namespace {client.namespace}"
            if is_missing
            else "Check TEMPORAL_NAMESPACE and what the credentials may see."
        )
        raise _EndError(_found("namespace", Verdict.FAILED, reason(error), advice)) from error
    if _refuses_updates(found):
        advice = "Allow updates there: set frontend.enableUpdateWorkflowExecution."
        return _found("namespace", Verdict.FAILED, f"{client.namespace} does not accept updates", advice)
    kept_days = found.config.workflow_execution_retention_ttl.ToTimedelta().days
    return _found("namespace", Verdict.OK, f"{client.namespace}, keeps closed workflow runs for {kept_days} d")


def _refuses_updates(found: DescribeNamespaceResponse) -> bool:
    return found.namespace_info.HasField("capabilities") and not found.namespace_info.capabilities.sync_update


async def _search_attributes(client: Client, *, is_fixing: bool) -> CheckResult:
    name = "search attributes"
    try:
        async with asyncio.timeout(TIMEOUT_S):
            found = await (setup.register(client) if is_fixing else setup.registered(client))
    except (RPCError, TimeoutError) as error:
        verdict = Verdict.FAILED if is_fixing else Verdict.WARNING
        return _found(name, verdict, reason(error), by_hand(client))
    if found.wrong:
        seen = ", ".join(f"{wrong} is {kind}" for wrong, kind in found.wrong.items())
        needs = ", ".join(f"{wrong} must be {setup.needed()[wrong]}" for wrong in found.wrong)
        advice = f"{needs}. Remove it (temporal operator search-attribute remove --name …), then run --fix."
        return _found(name, Verdict.FAILED, seen, advice)
    if found.missing:
        seen = f"missing: {', '.join(found.missing)}"
        return _found(name, Verdict.FAILED, seen, "Run `issuebox doctor --fix`: it registers them.")
    return _found(name, Verdict.OK, f"all {len(setup.needed())} registered")


def by_hand(client: Client) -> str:
    """How somebody with more rights registers the search attributes."""
    namespace, types = client.namespace, setup.needed().items()
    if client.service_client.config.target_host.partition(":")[0].endswith(CLOUD_HOSTS):
        pairs = " ".join(f"--sa {name}={kind}" for name, kind in types)
        return (
            "Temporal Cloud allows this only with its own tools: add them to the namespace in its web UI, or run: "
            f"tcld namespace search-attributes add --namespace {namespace} {pairs}"
        )
    flags = " ".join(f"--name {name} --type {kind}" for name, kind in types)
    return (
        f"Ask somebody who may do it to run: temporal operator search-attribute create --namespace {namespace} {flags}"
    )


async def _pollers(client: Client, task_queue: str, kind: str) -> list[Poller]:
    async with asyncio.timeout(TIMEOUT_S):
        return await pollers(client, task_queue, kind)


def polled(kind: str, task_queue: str, found: Sequence[Poller]) -> CheckResult:
    """What the pollers of a task queue show about its workers."""
    fresh = [poller for poller in found if not poller.is_silent]
    silent = sorted(set(found) - set(fresh), key=lambda poller: poller.age_s)
    name = f"worker: {kind}"
    queue = queue_of(kind, task_queue)
    seen = f"{len(fresh)} on the task queue {queue}" if fresh else f"nobody polls the task queue {queue}"
    advice = "" if fresh else "Start a worker (`issuebox worker`), with the same TEMPORAL_* and ISSUEBOX_TASK_QUEUE. "
    if silent:
        named = ", ".join(f"{poller.identity} (last polled {poller.age_s:.0f} s ago)" for poller in silent)
        seen += f"; silent: {named}"
        # Temporal lists a poller for this long after its last poll: the server's PollerHistoryTTL (1.31).
        advice += "A silent worker has ended within the last five minutes, or it hangs: restart it if it still runs."
    verdict = Verdict.FAILED if not fresh else Verdict.WARNING if silent else Verdict.OK
    return _found(name, verdict, seen, advice.strip())


async def _answers(issues: Issues, stuck: Collection[str]) -> CheckResult:
    """Query the newest issue's status, which a worker must answer: one that hangs is still listed as polling."""
    name, client = "worker: answers", await issues.client()
    workflow_id = await _newest(issues, stuck)
    if workflow_id is None:
        return _found(name, Verdict.OK, "no issue's workflow runs that could answer, so there is nothing to ask")
    try:
        async with asyncio.timeout(ANSWER_MAX_S):
            await client.get_workflow_handle(workflow_id).query(QUERY_STATUS)
    except WorkflowQueryFailedError as error:
        seen = f"a worker answers, but not for {workflow_id}: {_line(str(error))}"
        return _found(name, Verdict.WARNING, seen, f"Search the worker's log for {workflow_id}.")
    except (RPCError, TimeoutError) as error:
        return _unanswered(name, workflow_id, error, await _pollers(client, issues.task_queue, "workflows"))
    return _found(name, Verdict.OK, f"the status of {workflow_id}")


def _unanswered(name: str, workflow_id: str, error: RPCError | TimeoutError, suspects: Sequence[Poller]) -> CheckResult:
    if isinstance(error, TimeoutError) or error.status in _UNANSWERED:
        named = ", ".join(sorted(poller.identity for poller in suspects))
        seen = f"no worker has answered for {workflow_id} within {ANSWER_MAX_S:g} s; polling: {named}"
        advice = "A worker hangs or is overloaded: see its log, and restart it. Nothing is lost by a restart."
        return _found(name, Verdict.FAILED, seen, advice)
    if error.status is RPCStatusCode.NOT_FOUND:
        return _found(name, Verdict.OK, f"{workflow_id} has just ended, so there is nothing to ask")
    advice = "Start a worker (`issuebox worker`), or restart the one that runs; its log says what is missing."
    return _found(name, Verdict.FAILED, f"no answer for {workflow_id}: {reason(error)}", advice)


async def _newest(issues: Issues, stuck: Collection[str]) -> str | None:
    """The ID of the newest workflow on our task queue that is not stuck, by Temporal's list; None when none runs."""
    page = await Index(issues).page(running_on(issues.task_queue), size=LISTED_MAX)
    able = (row.name for row in page.rows if row.task_queue == issues.task_queue and row.name not in stuck)
    return next(able, None)


def _stuck(rows: Sequence[Row]) -> CheckResult:
    """Workflows whose workflow task fails again and again: they take events, and do nothing about them."""
    name = "workflows: stuck"
    if not rows:
        return _found(name, Verdict.OK, "none")
    first, more = rows[0], len(rows) - NAMED_MAX
    named = ", ".join(row.name for row in rows[:NAMED_MAX]) + (f" and {more} more" if more > 0 else "")
    assert first.stuck is not None  # noqa: S101 -- the index gave the stuck ones
    return _found(name, Verdict.FAILED, f"{named}. The first {first.stuck}", advice_for(first.stuck, first.name))


async def _fits(issues: Issues) -> CheckResult:
    """Whether task queue and name prefix fit the workflows that run."""
    name, found = "workflows: settings", await misfits(issues)
    if not found:
        return _found(name, Verdict.OK, "all workflows with our names run on our task queue")
    verdict = Verdict.WARNING if all(misfit.is_served for misfit in found) else Verdict.FAILED
    seen = "; ".join(misfit.seen for misfit in found)
    return _found(name, verdict, seen, " ".join(misfit.advice for misfit in found))


async def _schedules(client: Client) -> CheckResult:
    found = {}
    async with asyncio.timeout(TIMEOUT_S):
        async for schedule in await client.list_schedules(page_size=100):
            if schedule.id.startswith(SCHEDULE_PREFIX):
                is_paused = schedule.schedule is not None and schedule.schedule.state.paused
                found[schedule.id] = " (paused)" if is_paused else ""
    if not found:
        advice = "A worker creates them when it starts, if it may; until then there is no audit and no resync."
        return _found("schedules", Verdict.WARNING, f"none whose name begins with {SCHEDULE_PREFIX}", advice)
    seen = ", ".join(f"{name}{paused}" for name, paused in sorted(found.items()))
    if any(found.values()):
        return _found("schedules", Verdict.WARNING, seen, "Resume it: temporal schedule toggle --unpause …")
    return _found("schedules", Verdict.OK, seen)


def _found(check: str, verdict: Verdict, seen: str, advice: str = "") -> CheckResult:
    return CheckResult(Part.TEMPORAL, check, verdict, seen, advice)
