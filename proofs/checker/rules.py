"""The promise as rules, each a function from one issue's case to its violations. Pure.

(a), (b), (d), (h) and (O) hold at every moment, (O) where there is a cap. (c), (e) and (f) are checked once a run has
come to rest. (g) is checked when the workflows' histories were read, and (i) when the sender noted the answers. The
rules about runs have capital letters, and are checked when the sandboxes' ledgers were read: `proofs.checker.runs`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from proofs.checker import answers, openings, rest, runs, whose, work
from proofs.checker.cases import Case, CaseBuilder, Message, index
from proofs.checker.evidence import Delivery, Evidence, Expectation, Violation
from proofs.checker.expectations import is_on_closed, superseders
from proofs.checker.lives import Identity, Moment, SandboxLife, issue_of

Check = Callable[[Case], Iterator[Violation]]

SAFETY = frozenset("abdhO")
"""The rules that are checked at any moment, from the journal."""

AT_REST = frozenset("cefHJM")
"""The rules that a run may still come to keep until it has come to rest."""

FOREIGN = "foreign"
"""The service's own word for a sandbox under the issue's name that is another's."""

INTERNAL = "internal"
"""The service's own word for a failure that must be a bug of the service."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: its letter, its text in one sentence, and the function that finds its violations."""

    letter: str
    says: str
    check: Check


def check(
    evidence: Evidence, identity: Identity = issue_of, only: frozenset[str] = frozenset("abcdefghiGHIJKMNO")
) -> list[Violation]:
    """All violations, in the order of the journal. Without rest, (c), (e) and (f) are not checked."""
    return _judge(index(evidence, identity), evidence, only)


def is_checked(letter: str, evidence: Evidence) -> bool:
    """Whether the evidence allows a verdict. A rule that is not checked is not reported as held."""
    if letter == "g":
        return evidence.blocks is not None
    if letter == "i":
        return answers.are_noted(evidence.orders)
    is_read = {
        "G": evidence.ledger is not None,
        "H": evidence.receipts is not None,
        "I": evidence.ledger is not None and evidence.run_steps is not None,
        "J": evidence.ledger is not None,
        "K": evidence.ledger is not None and evidence.run_steps is not None,
        "M": evidence.comments is not None,
        "N": evidence.run_steps is not None,
        "O": is_about("O", evidence),
    }
    return is_read.get(letter, True) and (evidence.is_at_rest or letter not in AT_REST)


def is_about(letter: str, evidence: Evidence) -> bool:
    """Whether the rule says anything of such a run: without a cap, (O) says nothing."""
    return letter != "O" or evidence.running_max > 0


class Watch:
    """Checks (a), (b), (d), (h) and (O) during a run: feed it the journal as it grows."""

    def __init__(self, identity: Identity = issue_of) -> None:
        self._builder = CaseBuilder(identity)

    @property
    def up(self) -> int:
        """How many sandboxes are up by now, by anybody's doing."""
        return self._builder.census.up

    def feed(self, evidence: Evidence) -> list[Violation]:
        """Take the new entries (and only those), with all notes so far. Returns the violations of these rules.

        It judges the whole history of each issue that has new entries.
        """
        self._builder.feed(evidence.journal)
        return _judge(self._builder.cases(evidence, only_touched=True), evidence, SAFETY)


def _judge(cases: Sequence[Case], evidence: Evidence, only: frozenset[str]) -> list[Violation]:
    rules = [rule for letter, rule in RULES.items() if letter in only and is_checked(letter, evidence)]
    found = [violation for case in cases for rule in rules for violation in rule.check(case)]
    return sorted(found, key=lambda violation: (violation.rule, violation.at or 0.0, violation.entries))


def _one_live(case: Case) -> Iterator[Violation]:
    """(a) While a sandbox is live, none of the issue's earlier ones is. One that a person created may break this."""
    lives = [] if case.issue is None else case.lives
    for place, later in enumerate(lives):
        for earlier in lives[:place]:
            met = None if later.is_by_hand else _meeting(earlier, later)
            if met is not None:
                what = f"{later.id} and {earlier.id} are live at once"
                yield _violation("a", case, met, what, earlier.born.seq, later.born.seq, met.seq)


def _meeting(earlier: SandboxLife, later: SandboxLife) -> Moment | None:
    """The first moment at which both are live."""
    moments = sorted([*earlier.moments, *later.moments], key=lambda moment: moment.seq)
    for moment in moments:
        states = [life.before(moment.seq + 1) for life in (earlier, later)]
        if all(state is not None and state.is_live for state in states):
            return moment
    return None


def _creates(case: Case) -> Iterator[Violation]:
    """(b) Every create carries the name, and finds no sandbox of the issue, not even a dying one."""
    for request in case.creates:
        if issue_of(request.name, {}) is None:
            what = f"a create with the name {request.name}" if request.name else "a create without a name"
            yield Violation(rule="b", issue=case.issue, at=request.at, what=what, entries=(request.seq,))
    for life in case.lives if case.issue is not None else []:
        for other in _found_at_birth(case, life):
            state = other.before(life.born.seq)
            what = f"{life.id} was created while {other.id} was {state.state if state else ''}"
            yield _violation("b", case, life.born, what, other.born.seq, life.born.seq)


def _found_at_birth(case: Case, life: SandboxLife) -> Iterator[SandboxLife]:
    """The sandboxes of the issue that existed when the service created this one."""
    if life.is_by_hand:
        return
    for other in case.lives:
        state = other.before(life.born.seq)
        if state is not None and not state.is_gone and not _is_stranger(case, other, state, life.born.at):
            yield other


def _is_stranger(case: Case, life: SandboxLife, state: Moment, at: float) -> bool:
    """Documented limits: a dying sandbox whose workflow run was ended by hand before the create, so that the next one
    never knew it; one that was deleted without the service, before any reply showed it.
    """
    deletion = life.deletion
    if not state.is_dying or deletion is None:
        return False
    if case.has_end(life.born.at, at):
        return True
    return deletion.operation != "delete" and case.seen.get(life.id, deletion.seq) >= deletion.seq


def _deliveries(case: Case) -> Iterator[Violation]:
    """(c) Every acknowledged delivery is in a history, was handled, and was honoured."""
    acknowledged = {each.delivery: each for each in case.deliveries if each.is_acknowledged}
    recorded = {signal.delivery: False for signal in case.signals}
    for signal in case.signals:
        recorded[signal.delivery] |= signal.is_handled or case.is_ended(signal.run_id)
    lost = {message.key for message in case.messages if message.is_lost}
    for delivery in acknowledged.values():
        if delivery.expects is Expectation.NOTHING or case.evidence.histories is None or delivery.delivery in lost:
            continue
        if delivery.expects is Expectation.KEPT and not _was_known(case, delivery):
            continue
        what = f"delivery {delivery.delivery} ({delivery.action}) was acknowledged and "
        if delivery.delivery not in recorded:
            yield _lost(case, delivery.answered_at, what + "is in no history of its issue's workflow")
        elif not recorded[delivery.delivery]:
            yield _lost(case, delivery.answered_at, what + "no workflow task handled it")
    for message in case.messages:
        if message.is_certain and message.expects is Expectation.RUNNING and not _is_honoured(case, message):
            what = f"{message.key} ({message.action}) asked for a sandbox, and none was started"
            yield _lost(case, message.lo, what)
    for life, command, opening in openings.undue(case):
        what = f"{life.id} was sent {command.operation} although {opening.key} ({opening.action}) undid the close"
        yield Violation(rule="c", issue=case.issue, at=command.at, what=what, entries=(life.born.seq, command.seq))


def _was_known(case: Case, delivery: Delivery) -> bool:
    """Whether the issue's workflow ran when the delivery came: it had handled something before, and did not end."""
    handled = [signal.handled_at for signal in case.signals if signal.handled_at is not None]
    answered_at = delivery.answered_at or delivery.sent_at
    return any(at <= delivery.sent_at and not case.has_end(at, answered_at) for at in handled)


def _is_honoured(case: Case, request: Message) -> bool:
    anothers = [life for life in case.lives if whose.is_anothers(case, life)]
    own = [life for life in case.lives if life not in anothers]
    is_served = any(life.was_started_since(request.lo) for life in own)
    is_called_off = bool(superseders(request, case.messages))
    is_blocked = rest.is_beyond_help(case, request.lo) or any(rest.is_held_up(case, life) for life in own)
    is_blocked |= any(_is_reported(case, life) for life in anothers)
    is_refused = is_on_closed(request, case.messages) and _may_be_refused(case, request)
    is_misled = any(rest.was_shown_past(case, life, request.lo) for life in case.lives)
    return is_served or is_called_off or is_blocked or is_refused or is_misled or rest.is_queued(case)


def _is_reported(case: Case, life: SandboxLife) -> bool:
    """Whether the issue was blocked because of another's sandbox, as far as anybody read the blocks."""
    blocks = [block for block in case.blocks if block.cause == FOREIGN and block.at >= life.born.at]
    return case.evidence.blocks is None or bool(blocks)


def _may_be_refused(case: Case, request: Message) -> bool:
    """Whether the issue was blocked then: on a closed issue, the request is called off after some time.

    A block that was recorded before the request may have lasted, as long as no sandbox was started in between.
    """
    if case.evidence.blocks is None or request.is_lost:  # A restored database may have forgotten the block too.
        return True
    return any(
        block.at >= request.lo or not any(life.was_started_since(block.at) for life in case.lives)
        for block in case.blocks
    )


def _lost(case: Case, at: float | None, what: str) -> Violation:
    entries = tuple(life.last.seq for life in case.lives)
    return Violation(rule="c", issue=case.issue, at=at, what=what, entries=entries)


def _kept(case: Case) -> Iterator[Violation]:
    """(d) No sandbox that may hold work was deleted, or left behind for a new one."""
    for life in case.lives:
        objection, deletion = work.objection(case, life), life.deletion
        if objection and deletion is not None:
            yield _violation("d", case, deletion, f"{life.id} {objection}", life.born.seq, deletion.seq)
    for life in case.lives if case.issue is not None else []:
        for other in [] if life.is_by_hand else case.lives:
            state = other.before(life.born.seq)
            if state is not None and state.ever_started and not state.is_delete_accepted:
                what = f"{other.id} ({state.state}) may hold work, and {life.id} took its place"
                yield _violation("d", case, life.born, what, other.born.seq, state.seq, life.born.seq)


def _as_expected(case: Case) -> Iterator[Violation]:
    """(e) At rest, the sandbox is as the issue's newest event asks."""
    objection = rest.objection(case) if case.issue is not None else ""
    if objection:
        last = case.lives[-1].last if case.lives else None
        entries = tuple(life.last.seq for life in case.lives)
        at = last.at if last is not None else None
        yield Violation(rule="e", issue=case.issue, at=at, what=f"the sandbox {objection}", entries=entries)


def _nothing_left(case: Case) -> Iterator[Violation]:
    """(f) At rest, no sandbox is without an issue, beyond the issue's one, or changing its state for ever."""
    existing = [life for life in case.lives if life.exists]
    is_known = case.issue is not None and bool(case.deliveries or case.orders)
    for life in existing:
        last = life.last
        if not is_known and not life.is_by_hand:
            yield _violation("f", case, last, f"{life.id} belongs to no issue", life.born.seq, last.seq)
        if last.is_passing and not rest.is_held_up(case, life):
            what = f"{life.id} is {last.state} and should become {last.desired}"
            yield _violation("f", case, last, what, life.born.seq, last.seq)
    for life in existing[:-1] if is_known else []:
        what = f"{life.id} ({life.last.state}) was left behind beside {existing[-1].id}"
        yield _violation("f", case, life.last, what, life.born.seq, existing[-1].born.seq)


def _no_bug(case: Case) -> Iterator[Violation]:
    """(g) No block is a bug of the service. The service retries such a block, so only the records show it."""
    for block in case.blocks:
        if block.cause == INTERNAL:
            what = f"was blocked as {INTERNAL} (event {block.event_id} of run {block.run_id})"
            yield Violation(rule="g", issue=case.issue, at=block.at, what=what)


def _hands_off(case: Case) -> Iterator[Violation]:
    """(h) No command of the service reaches a sandbox that is labelled as another's, not even a refused one."""
    for life in case.lives if case.issue is not None else []:
        for command in whose.trespasses(case, life):
            what = f"{life.id} is another's, and was sent {command.operation}"
            entries = (life.born.seq, command.seq)
            yield Violation(rule="h", issue=case.issue, at=command.at, what=what, entries=entries)


def _capped(case: Case) -> Iterator[Violation]:
    """(O) Whenever the service raises a sandbox, no more are up by its doing than the cap."""
    most = case.evidence.running_max
    for life in case.lives:
        for count in case.census.by_id.get(life.id, ()):
            if count.is_raised and count.is_own and count.own > most:
                what = f"{life.id} came up beside {count.own - 1} that the service had up, and the cap is {most}"
                yield _violation("O", case, count.moment, what, life.born.seq, count.moment.seq)


def _answers(case: Case) -> Iterator[Violation]:
    """(i) Each answer that hands a sandbox over names one of the issue's, which ran then."""
    for order, objection in answers.empty(case):
        what = f"{order.order} was answered with {order.status}, which {objection}"
        entries = tuple(life.last.seq for life in case.lives if life.id == order.sandbox_id)
        yield Violation(rule="i", issue=case.issue, at=order.answered_at, what=what, entries=entries)


def _violation(rule: str, case: Case, moment: Moment, what: str, *entries: int) -> Violation:
    return Violation(rule=rule, issue=case.issue, at=moment.at, what=what, entries=tuple(dict.fromkeys(entries)))


RULES: Mapping[str, Rule] = {
    rule.letter: rule
    for rule in (
        Rule("a", "At no time does an issue have two live sandboxes.", _one_live),
        Rule("b", "Every create carries the name and finds no sandbox of its issue, not even a dying one.", _creates),
        Rule("c", "Every acknowledged delivery is in a workflow, was handled, and was honoured.", _deliveries),
        Rule("d", "No sandbox that may hold work was deleted or replaced.", _kept),
        Rule("e", "At rest, each issue's sandbox is as its newest event asks.", _as_expected),
        Rule("f", "At rest, no sandbox is leaked or stranded.", _nothing_left),
        Rule("g", "At no time is an issue blocked by a bug of the service.", _no_bug),
        Rule("h", "No command of the service reaches a sandbox that is labelled as another's.", _hands_off),
        Rule("i", "Nobody is answered with a sandbox that did not run.", _answers),
        Rule("G", "No attempt of a run begins twice, and none beside another one.", runs.once),
        Rule("H", "At rest, each request for work is in one run that has ended, or was refused.", runs.each_request),
        Rule("I", "An attempt follows only the proven end of the one before, in the same sandbox.", runs.in_turn),
        Rule("J", "At rest, nothing of a run is alive.", runs.nothing_left),
        Rule("K", "No stop, archive or delete that nobody forced meets an attempt at work.", runs.undisturbed),
        Rule("M", "At rest, each run is told in one comment on its issue, to its end.", runs.told_once),
        Rule("N", "Daytona's idle timer stops no sandbox in which a worker follows a run.", runs.kept_awake),
        Rule("O", "At no time are more sandboxes up by the service's own doing than the cap.", _capped),
    )
}
