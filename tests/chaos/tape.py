"""Writes evidence by hand: a journal made by localdaytona's own pure functions, and a sender's notes.

Every step takes a second, so that the order of writing is the order of time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from localdaytona.config import Config
from localdaytona.fault_model import Stuck, TransitionEffect
from localdaytona.flights import Cause, advance, break_down, depart
from localdaytona.journal import Entry, NewEntry
from localdaytona.ledger import entries
from localdaytona.model import Intervals, Sandbox, Spec
from localdaytona.timers import destroying
from localdaytona.types import JSON, JSONObject
from proofs.checker.evidence import (
    Alive,
    Begun,
    Comment,
    Delivery,
    End,
    Evidence,
    Expectation,
    Lost,
    Order,
    Receipt,
    RunStep,
    Signal,
    Violation,
)
from proofs.checker.rules import check

RUNNING, STOPPED, GONE = Expectation.RUNNING, Expectation.STOPPED, Expectation.GONE
KEPT, NOTHING = Expectation.KEPT, Expectation.NOTHING
CONFIG = Config()


@dataclass
class Tape:
    """A run that a test writes step by step. Methods that change a sandbox take its ID; `by` is the operation."""

    now: float = 1_000.0
    journal: list[Entry] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    signals: list[Signal] = field(default_factory=list)
    ends: list[End] = field(default_factory=list)
    rows: dict[str, Sandbox] = field(default_factory=dict)
    ledger: list[Begun] = field(default_factory=list)
    run_steps: list[RunStep] = field(default_factory=list)
    receipts: list[Receipt] = field(default_factory=list)
    left: list[Alive] = field(default_factory=list)
    comments: list[Comment] = field(default_factory=list)

    def send(
        self,
        action: str,
        expects: Expectation,
        *,
        issue: int = 1,
        second: float | None = None,
        closed_at: float | None = None,
        delivery: str = "",
        status: int | None = 202,
        is_recorded: bool = True,
        is_handled: bool = True,
        handled_after_s: float = 0.2,
        workflow_id: str = "",
        asks: str = "",
    ) -> str:
        """One POST. `second`: GitHub's time, by default the present."""
        key = delivery or f"d{len(self.deliveries)}"
        sent_at = self._tick()
        moment = sent_at if second is None else second
        self.deliveries.append(
            Delivery(
                delivery=key, issue=issue, action=action, expects=expects, updated_at=moment, sent_at=sent_at,
                closed_at=closed_at, answered_at=None if status is None else sent_at + 0.2, status=status, asks=asks,
            )
        )  # fmt: skip
        if is_recorded and (status is None or status < 300):
            self.signals.append(
                Signal(
                    workflow_id=workflow_id or f"claude-issue-{issue}", run_id="r", event_id=len(self.signals) + 1,
                    at=sent_at + 0.1, name="issue_event", delivery=key, is_handled=is_handled,
                    handled_at=sent_at + handled_after_s if is_handled else None,
                )
            )  # fmt: skip
        return key

    def order(self, word: str, *, issue: int = 1, is_forced: bool = False, status: int | None = 202) -> None:
        """A person's order to the service."""
        sent_at = self._tick()
        answered_at = None if status is None else sent_at + 0.1
        self.orders.append(
            Order(order=word, issue=issue, is_forced=is_forced, sent_at=sent_at, answered_at=answered_at, status=status)
        )

    def answer(self, sandbox_id: str, *, since: float, issue: int = 1, status: int = 200) -> None:
        """The answer to an `ensure` that was sent at `since`: it hands this sandbox over."""
        facts = {"sent_at": since, "answered_at": self._tick(), "status": status, "sandbox_id": sandbox_id}
        self.orders.append(Order.model_validate({"order": "ensure", "issue": issue} | facts))

    def begin(self, sandbox_id: str, attempt: int = 1, *, run: str = "r-1") -> None:
        """An attempt of a run begins, as its ledger says."""
        self.ledger.append(Begun(sandbox_id=sandbox_id, run=run, attempt=attempt, at=self._tick()))

    def step(self, word: str, sandbox_id: str, phase: str, attempt: int = 1, *, run: str = "r-1") -> None:
        """An activity carries out a step of a run, and says how the attempt is."""
        at = self._tick()
        self.run_steps.append(
            RunStep(
                workflow_id="claude-issue-1", step=word, run=run, attempt=attempt, sandbox_id=sandbox_id, at=at,
                ended_at=self._tick(), phase=phase,
            )
        )  # fmt: skip

    def receive(self, key: str, state: str = "over", run: str = "r-1") -> None:
        """What the service says at the end of a request for work."""
        self.receipts.append(Receipt(issue=1, key=key, state=state, run=run))

    def find_alive(self, sandbox_id: str, run: str = "r-1") -> None:
        """Something of a run is alive at the end."""
        self.left.append(Alive(sandbox_id=sandbox_id, run=run, at=self._tick()))

    def comment(self, run: str = "r-1", *, body: str = "The agent is done.", late_s: float = 0.0) -> Comment:
        """The service looks at the issue's comments, and then asks for one that names a run."""
        looked_at, asked_at = self._tick(), self._tick()
        made = Comment(
            issue=1, run=run, comment_id=len(self.comments) + 1, looked_at=looked_at, asked_at=asked_at,
            at=asked_at + late_s, body=body,
        )  # fmt: skip
        self.comments.append(made)
        return made

    def change(self, comment: Comment, **facts: object) -> None:
        """What is noted of a comment is another."""
        place = self.comments.index(comment)
        self.comments[place] = comment.model_copy(update=facts)

    def uncomment(self, comment: Comment) -> None:
        """The service deletes a comment."""
        self.change(comment, deleted_at=self._tick())

    def restore(self, since: float) -> Lost:
        """Temporal's database is put back to how it was then: what was recorded since is in no history any more."""
        self.signals = [signal for signal in self.signals if signal.at < since]
        return Lost(since=since, until=self._tick())

    def terminate(self, issue: int = 1, *, run_id: str = "r") -> None:
        """An operator ends the workflow."""
        name, at = f"claude-issue-{issue}", self._tick()
        self.ends.append(End(workflow_id=name, run_id=run_id, at=at, kind="terminated"))

    def create(
        self,
        name: str | None = "claude-issue-1",
        *,
        labels: dict[str, JSON] | None = None,
        by: str = "create",
        is_started: bool = True,
        fails: bool = False,
        is_shown: bool = True,
    ) -> str:
        """An accepted create, to its end. With `fails` it ends in an error that Daytona does not repair."""
        cause = self._ask("create", name, labels=labels) if by == "create" else Cause(by)
        sandbox_id = f"s{len(self.rows)}"
        fresh = Sandbox(
            id=sandbox_id, name=name or sandbox_id, state="unknown", desired="started", spec=Spec(),
            labels=labels or {}, intervals=Intervals(), created_at=self.now, updated_at=self.now,
            last_activity_at=self.now, state_since=self.now,
        )  # fmt: skip
        self._put(None, depart(fresh, "create", cause, self._tick(), CONFIG), cause)
        if fails:
            self.breaks(sandbox_id, by="create")
        elif is_started:
            self.finish(sandbox_id)
        if by == "create":
            self._reply(cause, sandbox_id, is_delivered=is_shown)
        return sandbox_id

    def refused_create(self, name: str | None = "claude-issue-1") -> None:
        """A create that was not accepted."""
        self._reply(self._ask("create", name), None, status=409)

    def refused(self, operation: str, sandbox_id: str) -> None:
        """A command that was not accepted."""
        cause = self._ask(operation, self.rows[sandbox_id].name, sandbox_id)
        self._reply(cause, sandbox_id, status=409)

    def start(
        self,
        sandbox_id: str,
        *,
        by: str = "start",
        effect: TransitionEffect | None = None,
        is_finished: bool = True,
        meanwhile: Callable[[], object] | None = None,
    ) -> None:
        """Started from stopped or archived. With `effect`, an injected fault hits the start.

        Without `is_finished` it is on its way until `finish`. `meanwhile` comes between request and execution.
        """
        way = "restore" if self.rows[sandbox_id].state == "archived" else "start"
        self._carry_out(sandbox_id, way, by, is_finished=is_finished, effect=effect, meanwhile=meanwhile)

    def stop(self, sandbox_id: str, *, by: str = "stop", is_finished: bool = True) -> None:
        """Stopped. Without `is_finished` it is on its way until `finish`."""
        self._carry_out(sandbox_id, "stop", by, is_finished=is_finished)

    def release(self, sandbox_id: str) -> None:
        """A person lets a state change go on that was stuck."""
        self._tick()
        self._note(NewEntry("admin", sandbox_id, self.rows[sandbox_id].name, "admin:release", {"act": "release"}))

    def idle(self, sandbox_id: str) -> None:
        """A person puts its last activity back."""
        self._tick()
        self._note(NewEntry("admin", sandbox_id, self.rows[sandbox_id].name, "admin:idle", {"act": "idle"}))

    def archive(self, sandbox_id: str, *, by: str = "archive") -> None:
        """Archived."""
        self._carry_out(sandbox_id, "archive", by)

    def recover(self, sandbox_id: str, *, effect: TransitionEffect | None = None) -> None:
        """Repaired. With `effect`, an injected fault hits the repair."""
        cause = self._ask("recover", self.rows[sandbox_id].name, sandbox_id)
        if effect is not None:
            self._fault(cause, sandbox_id, effect)
        old = self.rows[sandbox_id]
        self._put(old, depart(old, "recover", cause, self._tick(), CONFIG, effect=effect), cause)
        self.finish(sandbox_id)

    def delete(self, sandbox_id: str, *, by: str = "delete", is_finished: bool = True) -> None:
        """Deleted. Without `is_finished` it is dying until `finish`, or to the end of the tape."""
        self._carry_out(sandbox_id, destroying(self.rows[sandbox_id]), by, is_finished=is_finished)

    def stick(self, sandbox_id: str, way: str) -> None:
        """A transition that an injected fault holds for ever."""
        cause = self._ask("start", self.rows[sandbox_id].name, sandbox_id)
        self._fault(cause, sandbox_id, Stuck(kind="stuck"))
        old = self.rows[sandbox_id]
        departed = depart(old, way, cause, self._tick(), CONFIG, effect=Stuck(kind="stuck"))
        self._put(old, departed, cause)
        self._put(departed, advance(departed, self._tick(), CONFIG), cause)

    def breaks(self, sandbox_id: str, *, is_recoverable: bool = False, by: str = "admin:break") -> None:
        """Errored, by a person or by a transition that failed."""
        old = self.rows[sandbox_id]
        if by == "admin:break":
            detail: JSONObject = {"act": "break", "recoverable": is_recoverable}
            self._note(NewEntry("admin", sandbox_id, old.name, by, detail))
        self._put(old, break_down(old, "error", "broken", self._tick(), recoverable=is_recoverable), Cause(by))

    def set_state(self, sandbox_id: str, state: str, *, by: str = "admin:set-state") -> None:
        """Any raw state."""
        old = self.rows[sandbox_id]
        is_started = old.ever_started or state == "started"
        self._put(old, replace(old, state=state, flight=None, ever_started=is_started), Cause(by))

    def relabel(self, sandbox_id: str, labels: dict[str, JSON]) -> None:
        """Other labels."""
        old = self.rows[sandbox_id]
        self._put(old, replace(old, labels=labels), Cause("labels"))

    def inspect(self, sandbox_id: str, status: int | None = 200) -> None:
        """A call inside the sandbox, as an inspection makes it."""
        detail: JSONObject = {"method": "POST", "path": "/process/execute", "status": status, "seconds": 0.01}
        self._note(NewEntry("toolbox", sandbox_id, self.rows[sandbox_id].name, None, detail))

    def show(self, sandbox_id: str, *, as_of: float | None = None) -> None:
        """A read that reached the service. With `as_of`, it shows that earlier time."""
        self._reply(self._ask("get", self.rows[sandbox_id].name, sandbox_id), sandbox_id, as_of=as_of)

    def finish(self, sandbox_id: str, *, cause: Cause | None = None) -> None:
        """The transition under way ends."""
        while (flight := self.rows[sandbox_id].flight) is not None:
            old, by = self.rows[sandbox_id], cause or Cause(flight.operation, flight.request_id)
            self._put(old, advance(old, self._tick(), CONFIG), by)

    def evidence(self, **facts: object) -> Evidence:
        """Everything on the tape."""
        given: dict[str, object] = {
            "journal": self.journal, "deliveries": self.deliveries, "orders": self.orders, "histories": self.signals,
            "ends": self.ends,
        }  # fmt: skip
        if self.ledger or self.receipts:
            given |= {"ledger": self.ledger, "run_steps": self.run_steps, "receipts": self.receipts, "left": self.left}
        if self.comments:
            given["comments"] = self.comments
        return Evidence.model_validate(given | facts)

    def broken(self, **facts: object) -> list[Violation]:
        """The violations that the checker finds."""
        return check(self.evidence(**facts))

    def letters(self, **facts: object) -> str:
        """The letters of the broken rules, such as `abd`."""
        return "".join(sorted({violation.rule for violation in self.broken(**facts)}))

    def _carry_out(
        self,
        sandbox_id: str,
        way: str,
        by: str,
        *,
        is_finished: bool = True,
        effect: TransitionEffect | None = None,
        meanwhile: Callable[[], object] | None = None,
    ) -> None:
        is_call = by in {"start", "stop", "archive", "delete"}
        cause = self._ask(by, self.rows[sandbox_id].name, sandbox_id) if is_call else Cause(by)
        if meanwhile is not None:
            meanwhile()
        if effect is not None:
            self._fault(cause, sandbox_id, effect)
        old = self.rows[sandbox_id]
        self._put(old, depart(old, way, cause, self._tick(), CONFIG, effect=effect), cause)
        if is_call:
            self._reply(cause, sandbox_id)
        if is_finished:
            self.finish(sandbox_id)

    def _put(self, old: Sandbox | None, new: Sandbox, cause: Cause) -> None:
        self.rows[new.id] = new
        for entry in entries(old, new, cause):
            self._note(entry)

    def _ask(
        self, operation: str, name: str | None, sandbox_id: str | None = None, labels: dict[str, JSON] | None = None
    ) -> Cause:
        self._tick()
        cause = Cause(operation, f"q{len(self.journal)}")
        body: JSON = {"name": name, "labels": labels or {}} if operation == "create" else None
        detail: JSONObject = {"request_id": cause.request_id, "method": "POST", "path": "", "source": "", "body": body}
        self._note(NewEntry("request", sandbox_id, name, operation, detail))
        return cause

    def _reply(
        self,
        cause: Cause,
        sandbox_id: str | None,
        status: int = 200,
        *,
        is_delivered: bool = True,
        as_of: float | None = None,
    ) -> None:
        name = self.rows[sandbox_id].name if sandbox_id is not None else None
        detail: JSONObject = {
            "request_id": cause.request_id, "status": status, "message": None, "committed": sandbox_id is not None,
            "delivered": is_delivered, "as_of": as_of,
        }  # fmt: skip
        self._note(NewEntry("reply", sandbox_id, name, cause.operation, detail))

    def _fault(self, cause: Cause, sandbox_id: str, effect: TransitionEffect) -> None:
        detail: JSONObject = {
            "rule": "rule-0", "effect": effect.model_dump(mode="json"), "request_id": cause.request_id
        }  # fmt: skip
        self._note(NewEntry("fault", sandbox_id, self.rows[sandbox_id].name, cause.operation, detail))

    def _note(self, entry: NewEntry) -> None:
        self.journal.append(
            Entry(
                seq=len(self.journal) + 1, at=self.now, kind=entry.kind, sandbox_id=entry.sandbox_id,
                name=entry.name, operation=entry.operation, detail=entry.detail or {},
            )
        )  # fmt: skip

    def _tick(self) -> float:
        self.now += 1.0
        return self.now
