"""Everything that crosses Temporal, at its limits, has at most half of what Temporal takes.

The space is small and enumerated: every record of every message with every field full, once for each character that
costs most: those that JSON doubles, those of three and four bytes, those that are cleaned away.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.testing import ActivityEnvironment

from activities import audit_messages, gate_messages, github_messages, run_messages
from activities import messages as activity_messages
from activities.audit import AuditActivities
from activities.gate import GateActivities
from activities.github import GitHubActivities
from activities.inside import InsideActivities
from activities.messages import CommandInput, LookupInput
from activities.notices import NoticeActivities
from activities.resync import Progress
from activities.run_reports import RunReportActivities
from activities.runs import RunActivities
from activities.sandboxes import SandboxActivities
from issuebox.domain.errors import AmbiguousError, RefusedError, TransientError
from issuebox.domain.events import IssueEvent
from issuebox.domain.memory import Memory
from issuebox.domain.phase import Cause
from issuebox.domain.policy import Policy
from issuebox.temporal.connect import DATA_CONVERTER
from issuebox.temporal.starts import summary
from tests import limits
from tests.property.full import MOMENT, filled, worst
from workflows import audit_messages as audit_workflow_messages
from workflows import display, messages, resync_messages
from workflows import gate_messages as gate_workflow_messages
from workflows import run_messages as run_workflow_messages
from workflows.inputs import command_input, create_input, lookup_input
from workflows.messages import MEMO_STATUS, StartInput, Why

CHARACTERS = {
    "quote": '"',
    "backslash": "\\",
    "three bytes": "漢",
    "four bytes": "😀",
    "markup": "[",
    "control": "\x00",
    "line": "\n",
    "letter": "x",
}
MARGIN = 2

MODULES = (
    messages,
    activity_messages,
    github_messages,
    audit_messages,
    audit_workflow_messages,
    resync_messages,
    gate_messages,
    gate_workflow_messages,
    run_messages,
    run_workflow_messages,
)
ACTIVITIES = [
    method
    for kind in (
        SandboxActivities,
        InsideActivities,
        GitHubActivities,
        AuditActivities,
        NoticeActivities,
        GateActivities,
        RunActivities,
        RunReportActivities,
    )
    for _, method in inspect.getmembers(kind, inspect.isfunction)
    if hasattr(method, "__temporal_activity_definition")
]


def records_of(hint: Any) -> set[type[Any]]:
    """The records among the parts of an annotation."""
    parts = typing.get_args(hint) or (hint,)
    return {part for part in parts if dataclasses.is_dataclass(part) and isinstance(part, type)}


OF_MODULES = {
    kind
    for module in MODULES
    for _, kind in inspect.getmembers(module, inspect.isclass)
    if dataclasses.is_dataclass(kind) and kind.__module__ == module.__name__
}
OF_ACTIVITIES = {
    record for method in ACTIVITIES for hint in typing.get_type_hints(method).values() for record in records_of(hint)
}
RECORDS = sorted(OF_MODULES | OF_ACTIVITIES | {IssueEvent, Progress}, key=lambda kind: kind.__name__)
"""Whatever is the input or the output of a workflow, a signal, an update, a query or an activity, or a heartbeat."""

at_worst = pytest.mark.parametrize("text", [pytest.param(worst(one), id=name) for name, one in CHARACTERS.items()])


async def payload(value: object) -> Payload:
    """The value on its way to Temporal."""
    (encoded,) = await DATA_CONVERTER.encode([value])
    return encoded


async def require_half(value: object, bytes_max: int) -> None:
    """Its payload has at most half of the limit."""
    size = (await payload(value)).ByteSize()
    assert size <= bytes_max / MARGIN, f"{size} of {bytes_max} bytes"


@at_worst
@pytest.mark.parametrize("record", RECORDS, ids=lambda kind: kind.__name__)
async def test_full_message_has_half_of_temporals_limit(record: type[Any], text: str) -> None:
    """Beyond the limit a query fails, and the workflow run that continues as new is terminated with its memory."""
    value = filled(record, text)
    await require_half(value, limits.PAYLOADS_BYTES_MAX)


@at_worst
@pytest.mark.parametrize("record", RECORDS, ids=lambda kind: kind.__name__)
async def test_full_message_survives_the_wire(record: type[Any], text: str) -> None:
    """What was cleaned once is clean: reading a record makes it anew, and must change nothing."""
    value = filled(record, text)
    (read,) = await DATA_CONVERTER.decode([await payload(value)], [record])
    is_same = read == value  # Two megabytes of difference would be of no use in a report.
    assert is_same


@at_worst
async def test_full_memory_is_carried_on_and_shown(text: str) -> None:
    """Continue-as-new, the answers of queries and updates, inputs of activities, memo, search attributes, details."""
    memory = filled(Memory, text)
    now = MOMENT
    sandbox = memory.seen.sandbox
    # Nobody waits any more when it continues as new: every answer is given before.
    carried = dataclasses.replace(memory, requests=dataclasses.replace(memory.requests, answers={}))
    await require_half(StartInput(memory.issue_id, memory.name, carried), limits.PAYLOADS_WARN_BYTES * MARGIN)
    await require_half(display.status(memory, "looking the sandbox up", now), limits.PAYLOADS_BYTES_MAX)
    await require_half(Why(display.sentence(memory), tuple(memory.notes)), limits.PAYLOADS_BYTES_MAX)
    for answer in (None, *memory.requests.answers.values()):
        await require_half(display.handover(memory, answer), limits.PAYLOADS_BYTES_MAX)
    for request in (
        create_input(memory),
        command_input(memory, sandbox, names_issue=True),
        lookup_input(memory, is_doubted=True),
    ):
        await require_half(request, limits.PAYLOADS_BYTES_MAX)
    await require_half(display.details(memory, "looking the sandbox up", now), limits.DETAILS_BYTES_MAX)
    shown = display.published(memory, now)
    await require_half({MEMO_STATUS: dataclasses.asdict(shown)}, limits.MEMO_BYTES_MAX)


@at_worst
async def test_full_search_attributes_are_within_every_database(text: str) -> None:
    """One that is too long fails the workflow task again and again."""
    attributes = display.searchable(display.published(filled(Memory, text), MOMENT))
    sizes = []
    for attribute in attributes:
        size = (await payload(attribute.value)).ByteSize()
        assert size <= limits.SEARCH_ATTRIBUTE_BYTES_MAX / MARGIN
        assert len(str(attribute.value)) <= limits.KEYWORD_CHARACTERS_MAX
        sizes.append(size)
    assert sum(sizes) <= limits.SEARCH_ATTRIBUTES_BYTES_MAX / MARGIN


@at_worst
async def test_full_summaries_have_half_of_temporals_limit(text: str) -> None:
    """Of the workflow, and of an activity that names the state of its sandbox."""
    memory = filled(Memory, text)
    await require_half(summary(memory.told.issue), limits.SUMMARY_BYTES_MAX)
    await require_half(f"the sandbox was {memory.seen.sandbox.state}", limits.SUMMARY_BYTES_MAX)


@at_worst
def test_reasons_in_the_details_make_no_link_and_no_image(text: str) -> None:
    """Temporal's Web UI shows the details as Markdown and would load an image that Daytona's error names."""
    memory = filled(Memory, f"![x](https://evil.example/p.png) <img src=y> {text}")
    memory.progress.blocked = dataclasses.replace(memory.progress.blocked, advice="Send `retry`.")
    details = display.details(memory, "looking", MOMENT)
    assert memory.progress.blocked.reason.startswith("![x]")
    assert "!\\[x\\](" in details
    assert not re.search(r"(?<!\\)(!\[|<)", details)


class _Failing:
    """A provider, every call of which raises."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, _name: str) -> Any:
        async def fail(*_: object, **__: object) -> None:
            raise self._error

        return fail


@at_worst
@pytest.mark.parametrize("kind", [TransientError, AmbiguousError, RefusedError])
async def test_full_failure_keeps_its_type(kind: type[Exception], text: str) -> None:
    """Temporal replaces the failure of an attempt that is retried when it is too long, and the loop reads its type."""
    error = RefusedError(text, cause=Cause.INVALID) if kind is RefusedError else kind(text)
    activities = SandboxActivities(_Failing(error), policy=Policy(), instance="default")  # type: ignore[arg-type]
    command = CommandInput(7, "claude-issue-7", "s1")
    for method, request in (
        (activities.lookup_sandbox, LookupInput(7, "claude-issue-7")),
        (activities.stop_sandbox, command),
        (activities.settle_sandbox, command),
    ):
        with pytest.raises(Exception) as raised:
            await ActivityEnvironment().run(method, request)  # type: ignore[arg-type]
        failure = Failure()
        await DATA_CONVERTER.encode_failure(raised.value, failure)
        assert failure.application_failure_info.type == kind.__name__
        assert failure.ByteSize() <= limits.FAILURE_BYTES_MAX / MARGIN
