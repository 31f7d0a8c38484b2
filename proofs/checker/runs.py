"""The rules about runs, by capital letters: each attempt begins once, and no command meets one that is at work. Pure.

What an attempt did stands in its sandbox's ledger, which the service never reads. When an attempt's end was known
stands in the histories: an activity said so, and had ended by then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from proofs.checker.cases import Case, latest_orders
from proofs.checker.evidence import Begun, Comment, Delivery, Expectation, Receipt, RunStep, Violation
from proofs.checker.lives import RESTING, SandboxLife, is_outside
from proofs.checker.rest import is_queued

ENDING = frozenset({"stop", "archive", "delete"})
"""Commands under which nothing in a sandbox stays alive."""

PROVES_END = frozenset({"fence_run", "collect_run"})
"""Steps after which the next attempt may follow, when they say that this one is over."""

OVER = frozenset({"ended", "dead"})
"""What a step says of an attempt of which nothing is alive."""

SETTLED = frozenset({"over", "refused"})
"""What is said of a request about which nothing more will happen."""

FINAL = frozenset({"deleted", "transferred"})
"""Deliveries after which an issue's workflow comes to its end, with all receipts."""

AT_WORK = "To stop it:"
"""What the service writes in the comment of a run that is not over, and in no other."""

SECOND = 1.0
"""The ledger has whole seconds."""


def once(case: Case) -> Iterator[Violation]:
    """(G) No attempt begins twice, and none before the one before it is over."""
    lines = _ledger(case)
    for (run, attempt), count in Counter((line.run, line.attempt) for line in lines).items():
        if count > 1:
            yield _violation("G", case, None, f"attempt {attempt} of run {run} began {count} times")
    for before, after in pairwise(lines):
        is_over = before.ended_at is not None and before.ended_at <= after.at + SECOND
        is_over = is_over or before.sandbox_id != after.sandbox_id or _is_over_by(case, before, after.at + SECOND)
        if not is_over:
            what = f"{_name(after)} began while {_name(before)} may have been alive"
            yield _violation("G", case, after.at, what)


def each_request(case: Case) -> Iterator[Violation]:
    """(H) Each request for work is in one run, or refused, and each run ends."""
    places: dict[str, set[str]] = {}
    receipts = _receipts(case)
    for receipt in receipts:
        places.setdefault(receipt.key, set()).add(receipt.run)
    for key, runs in places.items():
        if len(runs) > 1:
            yield _violation("H", case, None, f"request {key} is in {len(runs)} runs: {', '.join(sorted(runs))}")
    is_held_up = any(order.order == "stop" for order in case.orders) or bool(case.blocks) or is_queued(case)
    for receipt in receipts:
        if receipt.state not in SETTLED and not is_held_up:
            yield _violation("H", case, None, f"request {receipt.key} is still {receipt.state} at rest")
    for delivery in case.deliveries:
        is_due = delivery.asks and delivery.is_acknowledged and delivery.expects is Expectation.RUNNING
        if is_due and delivery.asks not in places and not _may_be_dropped(case, delivery):
            yield _violation("H", case, delivery.answered_at, f"request {delivery.asks} is in no run, and not refused")


def in_turn(case: Case) -> Iterator[Violation]:
    """(I) An attempt follows only the proven end of the one before, in the same sandbox."""
    lines = _ledger(case)
    first = {line.run: line for line in reversed(lines)}
    for line in lines:
        if first[line.run].sandbox_id != line.sandbox_id:
            what = f"{_name(line)} began in {line.sandbox_id}, and the run in {first[line.run].sandbox_id}"
            yield _violation("I", case, line.at, what)
        for number in range(1, line.attempt):
            if not any(_proves(step, line.run, number, line.at + SECOND) for step in _steps(case)):
                what = f"{_name(line)} began, and no step had shown the end of attempt {number}"
                yield _violation("I", case, line.at, what)


def nothing_left(case: Case) -> Iterator[Violation]:
    """(J) At rest, nothing of a run is alive."""
    ids = {life.id for life in case.lives}
    for alive in case.evidence.left:
        if alive.sandbox_id in ids:
            yield _violation("J", case, alive.at, f"something of run {alive.run} is alive in {alive.sandbox_id}")


def undisturbed(case: Case) -> Iterator[Violation]:
    """(K) No stop, archive or delete is sent while an attempt may be alive in the sandbox, unless it was forced."""
    for line in _ledger(case):
        life = next(life for life in case.lives if life.id == line.sandbox_id)
        for command in life.commands:
            is_sent = (
                command.operation in ENDING and not is_outside(command.operation) and command.at > line.at + SECOND
            )
            if not is_sent or _is_over_by(case, line, command.at) or _is_forced(case, command.at):
                continue
            what = f"{life.id} was sent {command.operation} while {_name(line)} may have been alive"
            yield Violation(rule="K", issue=case.issue, at=command.at, what=what, entries=(command.seq,))
            break


def told_once(case: Case) -> Iterator[Violation]:
    """(M) Each run is told in one comment on its issue, to its end, and none is created beside one that is there.

    At rest. A deleted issue has no comments, whatever was written. Of a run whose workflow was ended, nobody knows.
    """
    if any(message.expects is Expectation.GONE for message in case.messages):
        return
    states = {receipt.run: receipt.state for receipt in _receipts(case) if receipt.run}
    comments = [each for each in case.evidence.comments or () if each.issue == case.issue or each.run in states]
    for run in sorted({*states, *(comment.run for comment in comments)}):
        written = [comment for comment in comments if comment.run == run]
        yield from (_violation("M", case, comment.at, what) for comment, what in _blind(written))
        if run not in states and case.has_end(min(comment.asked_at for comment in written), float("inf")):
            continue
        if what := mistold(run, written, states.get(run, "")):
            yield _violation("M", case, None, what)


def mistold(run: str, written: list[Comment], state: str) -> str:
    """What is wrong with what is told of a run, whose requests are in this state; '' for nothing."""
    there = [comment for comment in written if comment.deleted_at is None]
    if len(there) != 1:
        return f"run {run} is told in {len(there)} comments"
    is_stale = state == "over" and AT_WORK in there[0].body
    return f"run {run} is over, and its comment says that it is not" if is_stale else ""


def _blind(written: list[Comment]) -> Iterator[tuple[Comment, str]]:
    """The comments that were asked for although the run had one: nobody had looked, or what was seen was not heeded.

    A request may be carried out twice, or so late that no look can show it.
    """
    for comment in written:
        earlier = [other for other in written if other.asked_at < comment.asked_at]
        looked_at = comment.looked_at or 0.0
        if earlier and looked_at < max(other.asked_at for other in earlier):
            yield comment, f"a comment for run {comment.run} was asked for again, and nobody had looked for the first"
        elif any(other.at < looked_at < (other.deleted_at or float("inf")) for other in earlier):
            yield comment, f"a comment for run {comment.run} was asked for beside one that a look had shown"


def kept_awake(case: Case) -> Iterator[Violation]:
    """(N) Daytona's idle timer stops no sandbox in which a worker follows a run."""
    for step in _steps(case):
        life = next(life for life in case.lives if life.id == step.sandbox_id)
        if step.step != "follow_run" or step.ended_at is None:
            continue
        for moment in life.moments:
            is_stopped = moment.operation == "auto_stop" and step.at <= moment.at <= step.ended_at
            if is_stopped and not life.was_acted_on("idle", step.at, moment.at):
                what = f"{life.id} was idle although a worker followed run {step.run} in it"
                yield Violation(rule="N", issue=case.issue, at=moment.at, what=what, entries=(moment.seq,))
                break


def _ledger(case: Case) -> list[Begun]:
    """The lines of the issue's sandboxes, in order."""
    ids = {life.id for life in case.lives}
    lines = [line for line in case.evidence.ledger or () if line.sandbox_id in ids]
    return sorted(lines, key=lambda line: line.at)


def _steps(case: Case) -> list[RunStep]:
    ids = {life.id for life in case.lives}
    return [step for step in case.evidence.run_steps or () if step.sandbox_id in ids]


def _receipts(case: Case) -> list[Receipt]:
    return [receipt for receipt in case.evidence.receipts or () if receipt.issue == case.issue]


def _proves(step: RunStep, run: str, attempt: int, by: float) -> bool:
    is_about = (step.run, step.attempt) == (run, attempt) and step.step in PROVES_END
    return is_about and step.phase in OVER and step.ended_at is not None and step.ended_at <= by


def _is_over_by(case: Case, line: Begun, at: float) -> bool:
    """Whether a step had said by then that the attempt is over, or its sandbox had stopped since it began."""
    life = next(life for life in case.lives if life.id == line.sandbox_id)
    if _has_stopped(life, line.at, at):
        return True
    if case.evidence.run_steps is None:
        return True  # Nobody read what was known.
    return any(
        (step.run, step.attempt) == (line.run, line.attempt)
        and step.phase in OVER
        and step.ended_at is not None
        and step.ended_at <= at
        for step in _steps(case)
    )


def _has_stopped(life: SandboxLife, since: float, until: float) -> bool:
    """Whether the sandbox was in a state meanwhile in which nothing in it runs."""
    at_rest = RESTING - {"started"}
    return any(since <= moment.at <= until and moment.state in at_rest for moment in life.moments)


def _is_forced(case: Case, at: float) -> bool:
    orders = latest_orders(case.orders)
    return any((order.is_forced or order.order == "replace") and order.sent_at <= at for order in orders)


def _may_be_dropped(case: Case, request: Delivery) -> bool:
    """Whether the issue left its repository after the request, or what knew of the request was ended or forgotten.

    A workflow that was ended may have taken the request from an earlier delivery, and answered it.
    """
    first_at = min(other.sent_at for other in case.deliveries if other.asks == request.asks)
    is_ended = any(other.action in FINAL and other.updated_at >= request.updated_at for other in case.deliveries)
    return is_ended or case.has_end(first_at, float("inf")) or case.evidence.lost is not None


def _name(line: Begun) -> str:
    return f"attempt {line.attempt} of run {line.run}"


def _violation(rule: str, case: Case, at: float | None, what: str) -> Violation:
    return Violation(rule=rule, issue=case.issue, at=at, what=what)
