"""The checker on records of the real parts: a whole history keeps the promise, and a lost signal is found."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path

from issuebox.domain.events import Intention, IssueEvent
from issuebox.domain.issue import Issue, IssueState
from issuebox.domain.phase import Goal
from proofs.checker.evidence import Delivery, Evidence, Expectation, Order
from proofs.checker.histories import read_histories, read_signals
from proofs.checker.rules import Watch, check
from proofs.checker.run_dir import DATABASE, read_database, read_run, write_run
from tests.conftest import EVENTS_BEFORE_CONTINUE_AS_NEW
from tests.waiting import until
from tests.workflow.conftest import Stack, Started, daytona, start  # noqa: F401 -- fixtures
from workflows.messages import SIGNAL_DELETE, SIGNAL_REPLACE, DeleteRequest

STATES = {
    Expectation.RUNNING: IssueState.OPEN,
    Expectation.STOPPED: IssueState.CLOSED,
    Expectation.GONE: IssueState.DELETED,
}
INTENTIONS = {
    Expectation.RUNNING: Intention.ENSURE,
    Expectation.STOPPED: Intention.STOP,
    Expectation.GONE: Intention.DELETE,
}


class Sender:
    """Plays GitHub and a person, and notes what it sends."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.deliveries: list[Delivery] = []
        self.orders: list[Order] = []
        self._second = 0

    async def send(self, action: str, expects: Expectation) -> IssueEvent:
        """One delivery, a second newer than the one before."""
        self._second = max(self._second + 1, int(time.time()))
        moment = datetime.fromtimestamp(self._second, UTC)
        issue = Issue(self.stack.issue_id, "octo/repo", 5, "A title", state=STATES[expects], updated_at=moment)
        event = self.stack.event(INTENTIONS[expects], issue=issue, action=action)
        sent_at = time.time()
        await self.stack.deliver(event)
        self.deliveries.append(
            Delivery(
                delivery=event.delivery,
                issue=self.stack.issue_id,
                action=action,
                expects=expects,
                updated_at=float(self._second),
                sent_at=sent_at,
                answered_at=time.time(),
                status=202,
            )
        )
        return event

    async def order(self, word: str, signal: str, *arguments: object, is_forced: bool = False) -> None:
        """A person's order."""
        sent_at = time.time()
        await self.stack.order(signal, *arguments)
        self.orders.append(
            Order(
                order=word,
                issue=self.stack.issue_id,
                is_forced=is_forced,
                sent_at=sent_at,
                answered_at=time.time(),
                status=202,
            )
        )

    async def evidence(self, **facts: object) -> Evidence:
        """All evidence of the run."""
        recorded = await read_histories(self.stack.temporal, [self.stack.name])
        return Evidence(
            journal=await self.stack.daytona.admin.journal(),
            deliveries=self.deliveries,
            orders=self.orders,
            histories=recorded.signals,
            blocks=recorded.blocks,
            **facts,  # type: ignore[arg-type]
        )


async def test_whole_life_keeps_the_promise(start: Started, tmp_path: Path) -> None:  # noqa: F811
    """Opened, stopped by a person, reopened, replaced, held, forced, closed, deleted: no violation."""
    sender = Sender(await start(close_stop_after_s=0.2, close_archive_after_s=0.5))
    stack, watch = sender.stack, Watch()
    await sender.send("opened", Expectation.RUNNING)
    await stack.served()
    await stack.daytona.admin.act(stack.name, "stop")
    await sender.send("created", Expectation.RUNNING)
    await stack.served()
    await sender.order("replace", SIGNAL_REPLACE)
    status = await until(stack.status, lambda seen: seen.requests_waiting == 0, "replaced")
    assert status.sandbox is not None
    await stack.provider.execute(status.sandbox.id, "git init -q repo && echo draft > repo/notes.txt", 10.0)
    await sender.order("delete", SIGNAL_DELETE)
    await stack.blocked()
    held = await sender.evidence(worked_in={status.sandbox.id})
    assert check(held) == []
    await sender.order("delete", SIGNAL_DELETE, DeleteRequest(force=True), is_forced=True)
    await stack.reached(Goal.DELETED)
    await sender.send("reopened", Expectation.RUNNING)
    await stack.served()
    await sender.send("closed", Expectation.STOPPED)
    await stack.reached(Goal.ARCHIVED)
    await sender.send("deleted", Expectation.GONE)
    await stack.reached(Goal.DELETED)
    await until(stack.state, lambda state: state == "", "gone")
    evidence = await sender.evidence(closed_rests_at={"archived"}, worked_in={status.sandbox.id})
    assert check(evidence) == []
    assert evidence.blocks is not None
    assert {block.cause for block in evidence.blocks} == {"unsaved"}
    assert watch.feed(evidence) == []
    write_run(tmp_path / "run", evidence)
    assert read_run(tmp_path / "run") == evidence
    kept = read_database(tmp_path / "daytona" / DATABASE)  # By now there may be more: the worker reads on.
    assert kept[: len(evidence.journal)] == evidence.journal


async def test_signals_are_read_from_every_run_of_a_chain(start: Started) -> None:  # noqa: F811
    """Each delivery is found once and handled, in whichever workflow run it came."""
    stack = await start()
    sent = set()
    for _ in range(3):
        events = [stack.event() for _ in range(EVENTS_BEFORE_CONTINUE_AS_NEW // 2)]
        await asyncio.gather(*(stack.deliver(event) for event in events))
        await stack.served()
        sent |= {event.delivery for event in events}
    signals = await read_signals(stack.temporal, [stack.name])
    assert sorted(signal.delivery for signal in signals) == sorted(sent)
    assert len({signal.run_id for signal in signals}) > 1
    assert all(signal.is_handled and signal.workflow_id == stack.name for signal in signals)


async def test_signals_of_an_ended_chain_are_read_too(start: Started) -> None:  # noqa: F811
    """A workflow that ended and was started again under its ID has two chains."""
    stack = await start()
    first, second = stack.event(), stack.event()
    await stack.deliver(first)
    await stack.served()
    await stack.handle.terminate()
    await stack.deliver(second)
    await stack.served()

    async def read() -> list[str]:
        return [signal.delivery for signal in await read_signals(stack.temporal, [stack.name])]

    # Temporal's visibility learns of a closed run a little later.
    await until(read, lambda seen: seen == [first.delivery, second.delivery], "both chains read")


async def test_signal_without_a_worker_is_not_handled(start: Started) -> None:  # noqa: F811
    """Temporal has stored it and no worker handled it: the checker reports that."""
    sender = Sender(await start(has_worker=False))
    await sender.send("opened", Expectation.RUNNING)
    evidence = await sender.evidence()
    assert evidence.histories is not None
    assert [signal.is_handled for signal in evidence.histories] == [False]
    found = [violation.what for violation in check(evidence) if violation.rule == "c"]
    assert any("no workflow task handled it" in what for what in found)


async def test_issue_without_a_workflow_has_no_signals(start: Started) -> None:  # noqa: F811
    """An issue without a workflow is no error."""
    stack = await start(has_worker=False)
    assert await read_signals(stack.temporal, [stack.name]) == []
