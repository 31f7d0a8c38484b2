"""The checker's outputs: the report, the exit code, and the counts that compare systems."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.enums.v1 import EventType, WorkflowTaskFailedCause
from temporalio.api.history.v1 import HistoryEvent

from proofs.checker.__main__ import main
from proofs.checker.histories import blocks_of, failed_tasks_of, signals_of
from proofs.checker.lives import Labels
from proofs.checker.measures import measure
from proofs.checker.rules import check
from proofs.checker.run_dir import write_run
from tests.chaos.tape import GONE, RUNNING, Tape
from tests.chaos.test_checker import OTHER, served


@pytest.fixture
def tape() -> Tape:
    return Tape()


def test_good_run_is_reported_with_exit_code_0(tape: Tape, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every rule is named, and holds."""
    served(tape)
    write_run(tmp_path, tape.evidence(blocks=[]))
    assert main([str(tmp_path)]) == 0
    assert re.findall(r"^\((\w)\) (\w+)", capsys.readouterr().out, re.MULTILINE) == [
        (letter, "holds") for letter in "abcdefghi"
    ]


def test_broken_run_is_reported_with_its_entries(
    tape: Tape, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1; each violation shows the lines of the journal that prove it."""
    served(tape)
    tape.create(**OTHER)
    write_run(tmp_path, tape.evidence())
    assert main([str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "(a) BROKEN 1x" in out
    assert "(c) holds" in out
    created = [entry.seq for entry in tape.journal if entry.kind == "created"]
    assert all(f"#{seq} " in out for seq in created)


def test_unfinished_run_is_reported_without_the_rules_of_rest(
    tape: Tape, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A rule that was not checked is not reported as held."""
    tape.send("opened", RUNNING)
    write_run(tmp_path, tape.evidence(is_at_rest=False))
    assert main([str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "(e) not checked: the run is not at rest" in out
    assert "(g) not checked: nobody read the blocks" in out


def test_report_as_json_says_the_same(tape: Tape, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The report is one document, for programs."""
    served(tape)
    tape.create(**OTHER)
    write_run(tmp_path, tape.evidence())
    assert main([str(tmp_path), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert [each["rule"] for each in report["violations"]] == [each.rule for each in tape.broken()]
    assert report["measures"]["duplicated"] == 1


def test_directory_without_evidence_is_no_good_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without evidence there is no success."""
    assert main([str(tmp_path)]) == 2
    assert "neither" in capsys.readouterr().err


def test_measures_count_what_went_wrong(tape: Tape) -> None:
    """Of three issues, one has a duplicate and left a broken one behind, one is stranded, one is right."""
    tape.breaks(served(tape))
    tape.create(**OTHER)
    tape.create("more", labels={"issue-id": "1"})
    tape.send("opened", RUNNING, issue=2)
    tape.send("opened", RUNNING, issue=3)
    tape.create("claude-issue-3")
    tape.create("nobodys")
    seen = measure(tape.evidence(histories=None))
    assert (seen.issues, seen.deliveries, seen.requests) == (3, 3, 5)
    assert (seen.duplicated, seen.duplicated_at_rest, seen.live_max) == (1, 1, 2)
    assert (seen.leaks, seen.stranded, seen.lost_events) == (3, 1, 1)
    assert seen.replacements == 1
    assert seen.per_1000_issues(seen.stranded) == pytest.approx(333.3, abs=0.1)
    assert seen.per_delivery == pytest.approx(5 / 3)


def test_measures_of_a_good_run_are_zero(tape: Tape) -> None:
    """One issue has one sandbox, from one request."""
    served(tape)
    seen = measure(tape.evidence())
    assert (seen.duplicated, seen.leaks, seen.stranded, seen.lost_events, seen.replacements) == (0, 0, 0, 0, 0)
    assert (seen.live_max, seen.requests) == (1, 1)


def test_duplicate_that_is_gone_at_rest_is_counted_once(tape: Tape) -> None:
    """Two at any time and two at rest are different counts."""
    served(tape)
    copy = tape.create(**OTHER)
    tape.delete(copy)
    seen = measure(tape.evidence())
    assert (seen.duplicated, seen.duplicated_at_rest, seen.leaks) == (1, 0, 0)


def test_leak_of_a_deleted_issue_is_counted(tape: Tape) -> None:
    """A sandbox that runs for a deleted issue is a leak."""
    served(tape)
    tape.send("deleted", GONE)
    assert measure(tape.evidence()).leaks == 1


def test_each_system_may_have_its_own_identity(tape: Tape) -> None:
    """A system with other names for its sandboxes is judged by those."""

    def by_thread(name: str | None, labels: Labels) -> int | None:
        thread = str(labels.get("thread", ""))
        return int(thread.removeprefix("t-")) if thread else None

    tape.send("opened", RUNNING)
    tape.create("x1", labels={"thread": "t-1"})
    tape.create("x2", labels={"thread": "t-1"})
    evidence = tape.evidence(histories=None)
    assert measure(evidence).duplicated == 0
    assert measure(evidence, by_thread).duplicated == 1
    assert "a" in {violation.rule for violation in check(evidence, by_thread)}


def test_label_that_comes_later_names_the_issue(tape: Tape) -> None:
    """Some systems create a sandbox first and label it afterwards."""
    tape.send("opened", RUNNING)
    sandbox = tape.create(None)
    tape.relabel(sandbox, {"issue": "1"})
    assert measure(tape.evidence(histories=None)).stranded == 0


def _event(number: int, kind: EventType.ValueType, data: bytes = b"", encoding: bytes = b"json/plain") -> HistoryEvent:
    event = HistoryEvent(event_id=number, event_type=kind)
    payloads = Payloads(payloads=[Payload(metadata={"encoding": encoding}, data=data)])
    if kind == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED:
        update = event.workflow_execution_update_accepted_event_attributes.accepted_request.input
        update.name = "ensure"
        update.args.CopyFrom(payloads)
    elif kind == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED:
        event.workflow_execution_signaled_event_attributes.input.CopyFrom(payloads)
    return event


SIGNALED = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED
UPDATED = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED
COMPLETED = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED


def test_signal_counts_as_handled_only_by_a_later_task() -> None:
    """The last event of a history is not handled, before or after a workflow task starts."""
    events = [
        _event(1, EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED),
        _event(2, SIGNALED, b'{"delivery": "one"}'),
        _event(3, EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED),
        _event(4, COMPLETED),
        _event(5, SIGNALED, b'{"delivery": "two"}'),
        _event(6, EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED),
        _event(7, EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED),
    ]
    for event in events:
        event.event_time.FromSeconds(100 + event.event_id)
    assert [(signal.delivery, signal.is_handled, signal.handled_at) for signal in signals_of("w", "r", events)] == [
        ("one", True, 104.0),
        ("two", False, None),
    ]


def test_update_that_carries_a_delivery_is_read() -> None:
    """A delivery may come by a signal or an update."""
    events = [_event(1, UPDATED, b'{"delivery": "one"}'), _event(2, UPDATED, b'{"issue": 1}'), _event(3, COMPLETED)]
    assert [(signal.name, signal.delivery) for signal in signals_of("w", "r", events)] == [("ensure", "one")]


def test_messages_without_a_delivery_are_skipped() -> None:
    """Orders without an argument, other encodings, other shapes: none of them is a delivery."""
    events = [
        _event(1, SIGNALED, b"\x00", b"binary/plain"),
        _event(2, SIGNALED, b"[1]"),
        _event(3, SIGNALED, b'{"delivery": 5}'),
        _event(4, SIGNALED, b'{"delivery": ""}'),
    ]
    assert list(signals_of("w", "r", events)) == []


def _memo(number: int, status: str) -> HistoryEvent:
    event = HistoryEvent(event_id=number, event_type=EventType.EVENT_TYPE_WORKFLOW_PROPERTIES_MODIFIED)
    payload = Payload(metadata={"encoding": b"json/plain"}, data=status.encode())
    event.workflow_properties_modified_event_attributes.upserted_memo.fields["status"].CopyFrom(payload)
    return event


def test_each_block_is_read_once_from_the_memo() -> None:
    """A block counts once for each new cause; other changes of the memo, and the end of a block, do not count."""
    events = [
        _memo(1, '{"phase": "missing", "blocked": ""}'),
        _memo(2, '{"phase": "missing", "blocked": "internal"}'),
        _memo(3, '{"phase": "usable", "blocked": "internal"}'),
        _memo(4, '{"phase": "usable", "blocked": "quota"}'),
        _memo(5, '{"phase": "usable", "blocked": ""}'),
        _memo(6, '{"phase": "usable"}'),
        _memo(7, '{"phase": "usable", "blocked": "internal"}'),
        HistoryEvent(event_id=8, event_type=EventType.EVENT_TYPE_WORKFLOW_PROPERTIES_MODIFIED),
    ]
    blocks = list(blocks_of("w", "r", events))
    assert [(block.event_id, block.cause) for block in blocks] == [(2, "internal"), (4, "quota"), (7, "internal")]
    assert {(block.workflow_id, block.run_id) for block in blocks} == {("w", "r")}


def test_failed_workflow_tasks_are_counted_by_their_code() -> None:
    """The SDK's code when the message begins with one, else Temporal's word. A reset is no failure."""
    events = [_event(1, EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED) for _ in range(4)]
    for event in events[:2]:
        event.workflow_task_failed_event_attributes.failure.message = "[TMPRL1101] Potential deadlock detected"
    causes = (
        WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_UNHANDLED_COMMAND,
        WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_RESET_WORKFLOW,
    )
    for event, cause in zip(events[2:], causes, strict=True):
        event.workflow_task_failed_event_attributes.cause = cause
    assert failed_tasks_of([*events, _event(4, COMPLETED)]) == {
        "TMPRL1101": 2,
        "WORKFLOW_TASK_FAILED_CAUSE_UNHANDLED_COMMAND": 1,
    }
