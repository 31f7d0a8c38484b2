"""The checker on what real parts record: a whole life keeps the promise, and a lost one is found."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

from bench.checker.evidence import Delivery, Evidence, Order, Wish
from bench.checker.histories import read_signals
from bench.checker.rules import Watch, check
from bench.checker.run_dir import DATABASE, read_database, read_run, write_run
from issuebox.domain.events import Intention, IssueEvent
from issuebox.domain.issue import Issue, IssueState
from issuebox.domain.phase import Goal
from tests.waiting import until
from tests.workflow.conftest import Stack, Started, daytona, start  # noqa: F401 -- fixtures
from workflows.messages import SIGNAL_DELETE, SIGNAL_REPLACE, DeleteRequest

STATES = {Wish.RUNNING: IssueState.OPEN, Wish.STOPPED: IssueState.CLOSED, Wish.GONE: IssueState.DELETED}
INTENTIONS = {Wish.RUNNING: Intention.ENSURE, Wish.STOPPED: Intention.STOP, Wish.GONE: Intention.DELETE}


class Sender:
    """Plays GitHub and a person, and notes what it did."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.deliveries: list[Delivery] = []
        self.orders: list[Order] = []
        self._second = int(time.time()) - 1000

    async def send(self, action: str, wish: Wish) -> IssueEvent:
        """One delivery, a second newer than the one before."""
        self._second += 1
        moment = datetime.fromtimestamp(self._second, UTC)
        issue = Issue(self.stack.issue_id, "octo/repo", 5, "A title", state=STATES[wish], updated_at=moment)
        event = self.stack.event(INTENTIONS[wish], issue=issue, action=action)
        sent_at = time.time()
        await self.stack.deliver(event)
        self.deliveries.append(
            Delivery(
                delivery=event.delivery,
                issue=self.stack.issue_id,
                action=action,
                wish=wish,
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
        """All that the run has left."""
        return Evidence(
            journal=await self.stack.daytona.admin.journal(),
            deliveries=self.deliveries,
            orders=self.orders,
            histories=await read_signals(self.stack.temporal, [self.stack.name]),
            **facts,  # type: ignore[arg-type]
        )


async def test_whole_life_keeps_the_promise(start: Started, tmp_path: Path) -> None:  # noqa: F811
    """Opened, stopped by a person, reopened, replaced, held, forced, closed, deleted: nothing to object to."""
    sender = Sender(await start(close_stop_after_s=0.2, close_archive_after_s=0.5))
    stack, watch = sender.stack, Watch()
    await sender.send("opened", Wish.RUNNING)
    await stack.served()
    await stack.daytona.admin.act(stack.name, "stop")
    await sender.send("created", Wish.RUNNING)
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
    await sender.send("reopened", Wish.RUNNING)
    await stack.served()
    await sender.send("closed", Wish.STOPPED)
    await stack.reached(Goal.ARCHIVED)
    await sender.send("deleted", Wish.GONE)
    await stack.reached(Goal.DELETED)
    await until(stack.state, lambda state: state == "", "gone")
    evidence = await sender.evidence(closed_rests_at={"archived"}, worked_in={status.sandbox.id})
    assert check(evidence) == []
    assert watch.feed(evidence) == []
    write_run(tmp_path / "run", evidence)
    assert read_run(tmp_path / "run") == evidence
    assert read_database(tmp_path / "daytona" / DATABASE) == evidence.journal
