"""Known mistakes, planted one by one: of other systems, and of earlier versions. The model must find each of them.

A plant changes the real code, or the modelled activity, for the duration of its block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, cast

from activities.messages import CommandReply
from issuebox.domain import decision, goal, sandbox
from issuebox.domain.decision import Column, decide
from issuebox.domain.memory import Answer, Builds, Memory, Orders, Requests, Seen
from issuebox.domain.phase import AWAKE, Action, Cause, Goal, Outcome, Phase
from issuebox.domain.policy import Policy
from issuebox.domain.sandbox import Sandbox
from issuebox.domain.unsaved_work import LastInspection, WorkState
from proofs.model.activity_outcomes import Mistakes
from proofs.model.deliveries import CLOSED, COMMENTED, DELETED, OPENED, REOPENED
from proofs.model.outside import Allowance
from proofs.model.policies import POLICY, PREPARING
from workflows import display, issue_sandbox, reconcile
from workflows.failures import BlockedError, Failure
from workflows.inputs import command_input
from workflows.issue_sandbox import IssueSandboxWorkflow
from workflows.messages import Handover, StartInput
from workflows.reconcile import Inspected, Reconciliation

Patch = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class Plant:
    """A mistake: what it is, how it is planted, the bound that reveals it, and the promise that it breaks."""

    about: str
    bound: Allowance
    breaks: str
    patch: Patch = nullcontext
    mistakes: Mistakes = field(default_factory=Mistakes)
    policy: Policy = POLICY


@contextmanager
def set_to(owner: object, name: str, value: object) -> Iterator[None]:
    """Give the owner's name another value for the duration of the block."""
    kept = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, kept)


@contextmanager
def _planted(owner: type, name: str, value: object) -> Iterator[None]:
    """As `set_to`, for a name that the class itself does not have."""
    setattr(owner, name, value)
    try:
        yield
    finally:
        delattr(owner, name)


@contextmanager
def _rows(*rows: tuple[Phase, Column, Action]) -> Iterator[None]:
    """Change cells of the decision table."""
    table = cast("Any", decision.TABLE)
    kept = {phase: dict(cells) for phase, cells in table.items()}
    for phase, column, action in rows:
        table[phase][column] = action
    try:
        yield
    finally:
        table.update(kept)


def _adopt_without_waiting() -> AbstractContextManager[None]:
    return _rows((Phase.PENDING, Column.RUNNING, Action.USE))


@contextmanager
def _replace_on_transient() -> Iterator[None]:
    """A sandbox that is changing its state is deleted for a new one, as if it could not hold work."""
    rows = [(phase, Column.RUNNING, Action.DELETE) for phase in (Phase.STOPPING, Phase.PENDING, Phase.RECOVERABLE)]
    with _rows(*rows):
        yield


def _trust_the_first_404() -> AbstractContextManager[None]:
    return set_to(Reconciliation, "_is_doubtful", lambda _self, _sandbox: False)


@contextmanager
def _take_dying_for_gone() -> Iterator[None]:
    with _rows((Phase.LEAVING, Column.RUNNING, Action.CREATE)):
        send = Reconciliation._send  # noqa: SLF001 -- a mistake is planted where it would be made

        def sent(self: Reconciliation, action: Action, sandbox: Sandbox | None) -> object:
            return send(self, action, None if action is Action.CREATE else sandbox)

        with set_to(Reconciliation, "_send", sent):
            yield


def _trust_any_inspection() -> AbstractContextManager[None]:
    def verdict(
        last_inspection: LastInspection | None, sandbox: Sandbox | None, _goal: Goal, *, is_fresh: bool
    ) -> WorkState | None:
        del is_fresh
        is_about = last_inspection is not None and sandbox is not None and last_inspection.sandbox_id == sandbox.id
        return last_inspection.result.state if is_about and last_inspection is not None else None

    return set_to(reconcile, "standing_verdict", verdict)


def _keep_the_force() -> AbstractContextManager[None]:
    """A forced delete still counts after a new request for the sandbox."""
    ask = Memory.ask

    def asked(self: Memory, now: Any, delivery: str = "", **whose: bool) -> int:
        force = self.orders.is_forced, self.orders.forced_id
        ticket = ask(self, now, delivery, **whose)
        self.orders.is_forced, self.orders.forced_id = force
        return ticket

    return set_to(Memory, "ask", asked)


def _forget_the_create() -> AbstractContextManager[None]:
    return set_to(Builds, "is_create_open", property(lambda _self: False, lambda _self, _value: None))


def _act_on_the_old_decision() -> AbstractContextManager[None]:
    """The loop, except that it carries out after a pause what it decided before the pause."""

    async def run(self: Reconciliation) -> None:
        memory, previous = self._memory, None
        sandbox = await self._lookup()
        memory.orders.is_lookup_asked = False
        while True:
            situation = self._situation(sandbox)
            if situation.goal is Goal.RUNNING and not memory.requests.is_waiting:
                return memory.progress.unblock()
            decision = decide(situation, memory.policy.limits)
            if decision.action is Action.BLOCK:
                raise BlockedError(decision.cause or Cause.INTERNAL, decision.reason)
            if decision.action in {Action.USE, Action.REST}:
                if not self._is_doubtful(sandbox):
                    return await self._finish(decision.action, sandbox)
                sandbox = await self._lookup_later(situation.goal)
                continue
            if decision.action is previous:
                await self._pause()
            previous = decision.action
            sandbox = await self._carry_out(decision, sandbox)

    return set_to(Reconciliation, "_run", run)


def _trust_any_set_up() -> AbstractContextManager[None]:
    set_up = Reconciliation._set_up  # noqa: SLF001 -- a mistake is planted where it would be made

    async def believed(self: Reconciliation, sandbox: Sandbox) -> CommandReply:
        reply = await set_up(self, sandbox)
        self._memory.seen.set_up_id = sandbox.id
        return reply

    return set_to(Reconciliation, "_set_up", believed)


def _count_each_delete() -> AbstractContextManager[None]:
    fail = Builds.fail

    def counted(self: Builds, sandbox_id: str) -> None:
        self.counted_id = ""
        fail(self, sandbox_id)

    return set_to(Builds, "fail", counted)


def _forget_the_stop() -> AbstractContextManager[None]:
    return set_to(Inspected, "is_stopping", property(lambda _self: False, lambda _self, _value: None))


def _keep_the_quiet() -> AbstractContextManager[None]:
    after_failure = Reconciliation._after_failure  # noqa: SLF001 -- a mistake is planted where it would be made

    async def kept(self: Reconciliation, action: Action, failure: Failure) -> Sandbox | None:
        quiet_id = self._inspected.quiet_id
        sandbox = await after_failure(self, action, failure)
        self._inspected.quiet_id = quiet_id
        return sandbox

    return set_to(Reconciliation, "_after_failure", kept)


def _start_whatever_it_is() -> AbstractContextManager[None]:
    def unconditional(memory: Memory, sandbox: Sandbox, *, only_at_rest: bool = False, **_more: object) -> object:
        del only_at_rest
        return command_input(memory, sandbox)

    return set_to(reconcile, "command_input", unconditional)


def _accept_older_reads() -> AbstractContextManager[None]:
    return set_to(Seen, "shows_past", lambda _self, _read, _now: False)


def _skip_the_set_up() -> AbstractContextManager[None]:
    return _rows((Phase.UNPREPARED, Column.RUNNING, Action.USE))


def _forget_when_it_was_ordered() -> AbstractContextManager[None]:
    return set_to(Orders, "is_after", lambda _self, _asked_at, _now: False)


def _follow_no_late_command() -> AbstractContextManager[None]:
    return set_to(reconcile, "LATE", frozenset())


def _count_from_the_request() -> AbstractContextManager[None]:
    return set_to(goal, "_counts_from", lambda memory: memory.told.ended_at)


def _hand_over_in_no_time() -> AbstractContextManager[None]:
    return set_to(Memory, "hand_over", lambda self, ticket, answer, _now: self.requests.serve(ticket, answer))


def _serve_who_came_since() -> AbstractContextManager[None]:
    hand_over = Memory.hand_over

    def served(self: Memory, _ticket: int, answer: Answer, now: Any) -> None:
        hand_over(self, self.requests.asked, answer, now)

    return set_to(Memory, "hand_over", served)


def _answer_when_sent() -> AbstractContextManager[None]:
    def handover(memory: Memory, _answer: Answer | None) -> Handover:
        outcome = memory.progress.outcome or Outcome.REUSED
        return Handover(memory.issue_id, memory.name, outcome, memory.seen.sandbox, memory.progress.blocked)

    return set_to(display, "handover", handover)


def _answer_again() -> AbstractContextManager[None]:
    def answer(self: Requests, ticket: int, answer: Answer) -> None:
        self.answers.update({waiting: answer for waiting in self.answers if waiting <= ticket})

    return set_to(Requests, "answer", answer)


def _compare_within_a_task() -> AbstractContextManager[None]:
    is_after = Orders.is_after
    return set_to(Orders, "is_after", lambda self, asked_at, now: is_after(self, asked_at, now + timedelta(seconds=1)))


def _roll_at_once() -> AbstractContextManager[None]:
    return _rolling(lambda memory: memory)


def _roll_without_requests() -> AbstractContextManager[None]:
    return _rolling(lambda memory: replace(memory, requests=Requests()))


@contextmanager
def _rolling(carried: Callable[[Memory], Memory]) -> Iterator[None]:
    """Continue as new with what is carried of the memory, whoever still waits."""

    async def roll(self: IssueSandboxWorkflow) -> None:
        memory = self._memory
        cast("Any", issue_sandbox).workflow.continue_as_new(StartInput(memory.issue_id, memory.name, carried(memory)))

    with set_to(IssueSandboxWorkflow, "_roll", roll):
        yield


def _ignore_the_instance() -> AbstractContextManager[None]:
    identity = sandbox._identity  # noqa: SLF001 -- a mistake is planted where it would be made

    def shared(issue_id: int, instance: str) -> dict[str, str]:
        return {label: own for label, own in identity(issue_id, instance).items() if label != sandbox.LABEL_INSTANCE}

    return set_to(sandbox, "_identity", shared)


def _tie_to_the_next_lookup() -> AbstractContextManager[None]:
    give = goal.give

    def given(memory: Memory, *order: Any, **more: Any) -> None:
        give(memory, *order, **more)
        memory.orders.forced_id = ""

    return set_to(issue_sandbox, "give", given)


def _force_whatever_is_there() -> AbstractContextManager[None]:
    is_forced = goal.is_forced
    return set_to(reconcile, "is_forced", lambda memory, found: memory.orders.is_forced or is_forced(memory, found))


def _take_stopping_for_up() -> AbstractContextManager[None]:
    return set_to(reconcile, "STAYS_UP", AWAKE)


def _keep_the_reached() -> AbstractContextManager[None]:
    block = Memory.block

    def blocked(self: Memory, *arguments: Any) -> None:
        reached = self.progress.reached
        block(self, *arguments)
        self.progress.reached = reached

    return set_to(Memory, "block", blocked)


def _trust_any_delete() -> AbstractContextManager[None]:
    wait = Reconciliation._wait  # noqa: SLF001 -- a mistake is planted where it would be made

    async def waited(self: Reconciliation, leaving: Sandbox) -> Sandbox | None:
        found = await wait(self, leaving)
        if found is None and leaving.phase is Phase.LEAVING:
            self._gone.destroyed_id = leaving.id
        return found

    return set_to(Reconciliation, "_wait", waited)


def _of(*events: int, **more: Any) -> Allowance:
    return Allowance(frozenset(events), **more)


PLANTS: dict[str, Plant] = {
    "list-lookup": Plant(
        "the sandbox is looked up by label in a list that lags, and created without a name",
        _of(OPENED, faults=1),
        "(a)",
        mistakes=Mistakes(lists=True, unnamed=True),
    ),
    "unnamed-create": Plant("a create without the name", _of(OPENED, faults=1), "(b)", mistakes=Mistakes(unnamed=True)),
    "adopt-without-waiting": Plant(
        "a sandbox that is still starting is handed over", _of(OPENED, acts=1), "handed over", _adopt_without_waiting
    ),
    "replace-on-transient": Plant(
        "a sandbox in a passing state is deleted and created anew",
        _of(OPENED, REOPENED, acts=1),
        "(d)",
        _replace_on_transient,
    ),
    "gone-before-its-end": Plant(
        "a sandbox that is being deleted counts as gone",
        _of(OPENED, REOPENED, acts=1),
        "(b)",
        _take_dying_for_gone,
    ),
    "first-404": Plant("one 404 counts as deleted", _of(OPENED, DELETED, faults=1), "(e)", _trust_the_first_404),
    "unchecked-delete": Plant(
        "a delete is executed although the sandbox is running by then",
        _of(OPENED, DELETED, acts=1),
        "(d)",
        mistakes=Mistakes(unchecked=True),
    ),
    "any-inspection": Plant(
        "an inspection counts however old it is, and whoever was in the sandbox",
        _of(OPENED, DELETED),
        "(d)",
        _trust_any_inspection,
    ),
    "force-forever": Plant(
        "a forced delete still counts after a new request",
        _of(OPENED, REOPENED, DELETED, orders=1),
        "(d)",
        _keep_the_force,
    ),
    "no-set-up": Plant(
        "a sandbox is handed over before its set-up",
        _of(OPENED),
        "not set up",
        _skip_the_set_up,
        policy=PREPARING,
    ),
    "unclear-start": Plant(
        "a start that was refused or lost, while a person starts the sandbox, counts as one for the inspection alone",
        _of(OPENED, DELETED, acts=1, faults=1),
        "(d)",
        _keep_the_quiet,
    ),
    "lost-create": Plant(
        "a create whose sandbox was never seen counts as not executed",
        _of(OPENED, DELETED, faults=1),
        "(e)",
        _forget_the_create,
    ),
    "old-decision": Plant(
        "a decision from before a pause is carried out after it, whatever was ordered in between",
        _of(OPENED, orders=2, faults=1),
        "(d)",
        _act_on_the_old_decision,
    ),
    "unseen-set-up": Plant(
        "a set-up that found the sandbox broken counts as done",
        _of(OPENED, acts=1),
        "not set up",
        _trust_any_set_up,
        policy=PREPARING,
    ),
    "build-counted-twice": Plant(
        "a failed build counts once for each attempt to delete its sandbox",
        _of(OPENED, faults=3),
        "(e)",
        _count_each_delete,
    ),
    "taken-for-ours": Plant(
        "a start for an inspection reaches a sandbox that a person has started, and counts as one for that alone",
        _of(OPENED, DELETED, acts=1),
        "(d)",
        _start_whatever_it_is,
    ),
    "started-after-stop": Plant(
        "an inspection still counts when somebody has started the sandbox since the stop that followed it",
        _of(OPENED, DELETED, acts=1),
        "(d)",
        _forget_the_stop,
    ),
    "older-read": Plant(
        "a read that is older than what was seen before counts",
        _of(OPENED, REOPENED, orders=1, faults=1),
        "(e)",
        _accept_older_reads,
    ),
    "late-undoes-order": Plant(
        "what was asked for before a person's stop or delete, and arrives after it, undoes it",
        _of(OPENED, REOPENED, orders=1),
        "(e)",
        _forget_when_it_was_ordered,
    ),
    "late-stop": Plant(
        "nobody looks again after a stop whose reply was lost, although Daytona may execute it late",
        _of(OPENED, REOPENED, orders=1, faults=1),
        "(e)",
        _follow_no_late_command,
    ),
    "stopping-is-up": Plant(
        "a sandbox that is still stopping counts as up at the look that follows a lost reply",
        _of(OPENED, REOPENED, orders=1, faults=1),
        "(e)",
        _take_stopping_for_up,
    ),
    "blocked-and-reached": Plant(
        "a goal that was reached before still counts as reached when the issue is blocked",
        _of(orders=2, handmade=1),
        "(e)",
        _keep_the_reached,
    ),
    "anybody's-delete": Plant(
        "the end of a delete that somebody else sent is proof that nothing is left",
        _of(OPENED, DELETED, acts=1, faults=1),
        "(e)",
        _trust_any_delete,
    ),
    "timers-from-request": Plant(
        "the timers of a closed issue count from the request, and end it before its sandbox is handed over",
        _of(OPENED, CLOSED, COMMENTED, outlasts=1),
        "nobody called it off",
        _count_from_the_request,
    ),
    "timers-at-handover": Plant(
        "the timers of a closed issue do not start anew at the handover",
        _of(OPENED, CLOSED, COMMENTED, outlasts=1),
        "at once",
        _hand_over_in_no_time,
    ),
    "served-too-soon": Plant(
        "a handover also serves requests that are newer than the read behind it",
        _of(OPENED, REOPENED, acts=1),
        "(e)",
        _serve_who_came_since,
    ),
    "answered-too-soon": Plant(
        "the same, and an update is told of a sandbox that no read since it came has shown",
        _of(OPENED, updates=1),
        "no read since",
        _serve_who_came_since,
    ),
    "answered-when-sent": Plant(
        "the answer to an update is worked out when it is sent, and not when it is given",
        _of(OPENED, updates=1, orders=1),
        "an update was answered",
        _answer_when_sent,
    ),
    "answered-twice": Plant(
        "an answer that was given is replaced by the next one, in the same workflow task",
        _of(OPENED, updates=1, orders=2, pairs=1),
        "its answer was",
        _answer_again,
    ),
    "order-of-the-task": Plant(
        "a delivery is late because of an order that comes in the same workflow task, and has no time of its own",
        _of(OPENED, orders=1, pairs=1),
        "(e)",
        _compare_within_a_task,
    ),
    "rolled-too-soon": Plant(
        "the workflow continues as new while an update waits for its answer",
        _of(OPENED, updates=1, rolls=1),
        "no answer",
        _roll_at_once,
    ),
    "rolled-and-forgotten": Plant(
        "the requests are not carried on when the workflow continues as new",
        _of(OPENED, rolls=1),
        "nobody called it off",
        _roll_without_requests,
    ),
    "shared-name": Plant(
        "a sandbox under the name counts as ours, whichever installation's labels it has",
        _of(OPENED, DELETED, claims=1),
        "another installation's",
        _ignore_the_instance,
    ),
    "late-claim": Plant(
        "a sandbox that had no labels when it was seen is not read again before it gets ours",
        _of(OPENED, acts=1, claims=1),
        "touches",
        mistakes=Mistakes(unclaimed=True),
    ),
    "forced-anyhow": Plant(
        "a forced delete also counts for a sandbox that a person made since",
        _of(OPENED, orders=1, handmade=1),
        "(d)",
        _force_whatever_is_there,
    ),
    "given-up-later": Plant(
        "a forced delete is about the sandbox that the next lookup shows, although the workflow knew one",
        _of(OPENED, orders=1, handmade=1),
        "(d)",
        _tie_to_the_next_lookup,
    ),
    "unwatched-build": Plant(
        "a sandbox that broke in its create counts as never run, although it was not watched all the time",
        _of(OPENED, acts=1, visits=1),
        "(d)",
        mistakes=Mistakes(unwatched=True),
    ),
}
