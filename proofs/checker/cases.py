"""Sorts the evidence by issue, so that each rule judges one issue at a time. No judgement here."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from localdaytona.journal import Entry
from localdaytona.types import JSON
from proofs.checker.census import Census
from proofs.checker.evidence import Block, Delivery, End, Evidence, Expectation, Lost, Order, Signal
from proofs.checker.lives import Identity, Lives, SandboxLife, issue_of

PERSONS_OWN = frozenset({"created", "comment", "labeled"})
"""Actions by which a person asks for the sandbox, in any state of the issue; they do not show that state."""

SHOWING = frozenset({"get", "create", "start", "recover", "stop", "archive", "delete"})
"""Operations whose reply shows a sandbox's state."""

REFUSED_MIN, FAILED_MIN = 400, 500

ENDS = frozenset({Expectation.STOPPED, Expectation.GONE})
"""What the end of an issue asks for."""

OPENINGS = frozenset({"opened", "reopened"})
"""Actions that undo a close."""

FACTS_ALONE = frozenset({Expectation.KEPT, Expectation.NOTHING})
"""Of deliveries that ask for nothing: a service that does not know the issue yet disregards what they say about it."""

UNLISTED = frozenset({"labeled"})
"""Actions that GitHub's lists do not show: when they are lost, no resync brings them back."""

LEFT = frozenset({"deleted", "transferred"})
"""Actions after which GitHub lists the issue no longer: a resync finds them only where the issue is known as open."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message that the service may have received: a delivery with its redeliveries, or a person's order.

    It arrived between `lo` and `hi`, in epoch seconds; an infinite `hi` is unknown. `is_certain`: the service
    acknowledged it, or a history has it. `second`: GitHub's `updated_at` in whole seconds; an order has none.
    `handled_at`: when the first workflow task after it completed; infinite when none did, or nobody read the histories.
    `is_lost`: the service had stored it, and a restored database has forgotten it; a resync may bring it back later.
    """

    key: str
    expects: Expectation
    action: str
    lo: float
    hi: float
    is_certain: bool
    second: int = -1
    is_order: bool = False
    is_repetition: bool = False
    is_forced: bool = False
    handled_at: float = math.inf
    is_lost: bool = False

    @property
    def is_persons_own(self) -> bool:
        """Whether it asks for the sandbox on a closed issue too, and does not show whether the issue is open."""
        return self.action in PERSONS_OWN


@dataclass(slots=True)
class Case:
    """All evidence on one issue; `issue` None: what belongs to no issue.

    `creates`: the requests to create a sandbox. `effects`: the injected fault by request ID. `seen` and `shown`: the
    entries that first and last showed a sandbox to the service in its present state; `reads`: all that showed the whole
    of it; `past`: the replies that showed an earlier state. `census`: that of all issues.
    """

    issue: int | None
    evidence: Evidence
    lives: list[SandboxLife] = field(default_factory=list)
    creates: list[Entry] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    signals: list[Signal] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    ends: list[End] = field(default_factory=list)
    effects: dict[str, str] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)
    shown: dict[str, int] = field(default_factory=dict)
    reads: dict[str, list[int]] = field(default_factory=dict)
    past: dict[str, list[Entry]] = field(default_factory=dict)
    census: Census = field(default_factory=Census)
    messages: list[Message] = field(default_factory=list)

    def is_ended(self, run_id: str) -> bool:
        """Whether this workflow run was ended by hand: what it had not handled by then is lost."""
        return any(end.run_id == run_id for end in self.ends)

    def has_end(self, since: float, until: float) -> bool:
        """Whether a workflow run of the issue was ended by hand in that time."""
        return any(since <= end.at <= until for end in self.ends)


class CaseBuilder:
    """Builds the cases. The journal may come in parts; the sender's notes and the histories are read anew each time."""

    def __init__(self, identity: Identity = issue_of) -> None:
        self.identity = identity
        self._lives = Lives(identity)
        self.census = Census()
        self._creates: dict[int | None, list[Entry]] = defaultdict(list)
        self._effects: dict[str, str] = {}
        self._seen: dict[str, int] = {}
        self._shown: dict[str, int] = {}
        self._reads: dict[str, list[int]] = defaultdict(list)
        self._past: dict[str, list[Entry]] = defaultdict(list)
        self._touched: set[int | None] = set()

    def feed(self, journal: Iterable[Entry]) -> None:
        """Add entries of the journal, in order."""
        for entry in journal:
            self._take(entry)

    def cases(self, evidence: Evidence, *, only_touched: bool = False) -> list[Case]:
        """The case of each issue; with `only_touched`, of each with new entries of the journal since the last call."""
        cases: dict[int | None, Case] = {}
        for life in self._lives.by_id.values():
            self._case(cases, life.issue, evidence).lives.append(life)
        for issue, creates in self._creates.items():
            self._case(cases, issue, evidence).creates.extend(creates)
        for delivery in evidence.deliveries:
            self._case(cases, delivery.issue, evidence).deliveries.append(delivery)
        for order in evidence.orders:
            self._case(cases, order.issue, evidence).orders.append(order)
        for signal in evidence.histories or ():
            self._case(cases, self.identity(signal.workflow_id, {}), evidence).signals.append(signal)
        for block in evidence.blocks or ():
            self._case(cases, self.identity(block.workflow_id, {}), evidence).blocks.append(block)
        for end in evidence.ends:
            self._case(cases, self.identity(end.workflow_id, {}), evidence).ends.append(end)
        touched, self._touched = self._touched, set()
        chosen = [case for case in cases.values() if not only_touched or case.issue in touched]
        for case in chosen:
            case.messages = messages_of(case)
        return chosen

    def _case(self, cases: dict[int | None, Case], issue: int | None, evidence: Evidence) -> Case:
        if issue not in cases:
            cases[issue] = Case(
                issue,
                evidence,
                effects=self._effects,
                seen=self._seen,
                shown=self._shown,
                reads=self._reads,
                past=self._past,
                census=self.census,
            )
        return cases[issue]

    def _take(self, entry: Entry) -> None:
        for sandbox_id in self._lives.feed([entry]):
            life = self._lives.by_id[sandbox_id]
            self.census.take(life)
            self._touched.add(life.issue)
        if entry.kind == "request" and entry.operation == "create":
            issue = self.identity(entry.name, _labels(entry))
            self._creates[issue].append(entry)
            self._touched.add(issue)
        elif entry.kind == "fault":
            self._note_fault(entry)
        elif entry.kind == "reply" and entry.sandbox_id is not None and self._shows(entry):
            self._note_shown(entry.sandbox_id, entry)

    def _note_fault(self, entry: Entry) -> None:
        request_id, effect = entry.detail.get("request_id"), entry.detail.get("effect")
        if isinstance(request_id, str) and isinstance(effect, dict):
            self._effects[request_id] = str(effect.get("kind"))

    def _note_shown(self, sandbox_id: str, entry: Entry) -> None:
        if entry.detail.get("as_of") is not None:
            self._past[sandbox_id].append(entry)
            return
        self._seen.setdefault(sandbox_id, entry.seq)
        if entry.operation in SHOWING:
            self._shown[sandbox_id] = entry.seq
            self._reads[sandbox_id].append(entry.seq)

    def _shows(self, entry: Entry) -> bool:
        """Whether the reply arrived and showed a sandbox."""
        status, detail = entry.detail.get("status"), entry.detail
        is_good = isinstance(status, int) and status < REFUSED_MIN and detail.get("delivered") is True
        return is_good and self._effects.get(str(detail.get("request_id"))) != "malformed"


def index(evidence: Evidence, identity: Identity = issue_of) -> list[Case]:
    """The case of each issue that anything in the evidence is about."""
    builder = CaseBuilder(identity)
    builder.feed(evidence.journal)
    return builder.cases(evidence)


def messages_of(case: Case) -> list[Message]:
    """The messages about an issue that the service received, or may have received."""
    posts: dict[str, list[Delivery]] = defaultdict(list)
    for delivery in case.deliveries:
        posts[delivery.delivery].append(delivery)
    signals: dict[str, list[Signal]] = defaultdict(list)
    for signal in case.signals:
        signals[signal.delivery].append(signal)
    found = [_of_posts(same, signals[key], case.evidence) for key, same in posts.items()]
    known = (_as_remembered(case, signals[message.key], message) for message in found if message is not None)
    in_order = sorted(known, key=lambda message: message.lo)
    orders = _of_orders(case.orders, case.evidence.lost)
    return [
        *_repetitions(in_order, posts),
        *_closes_reported(in_order, posts),
        *(replace(order, is_certain=order.is_certain and not case.has_end(order.lo, math.inf)) for order in orders),
    ]


def _as_remembered(case: Case, signals: Sequence[Signal], message: Message) -> Message:
    """With a workflow run that was ended by hand, its deliveries are forgotten, and count when they come again.

    A close that was undone, and does not come again, may count or not: the next workflow may have heard of neither.
    """
    forgotten = [any(end.run_id == signal.run_id and signal.at <= end.at for end in case.ends) for signal in signals]
    if not any(forgotten):
        return message
    is_undone = any(
        each.is_acknowledged and each.action in OPENINGS and each.updated_at >= message.second
        for each in case.deliveries
    )
    is_known = message.expects not in ENDS or not is_undone or not all(forgotten)
    arrived_at = max(signal.at for signal in signals)
    return replace(message, hi=max(message.hi, arrived_at), is_certain=message.is_certain and is_known)


def _of_posts(posts: Sequence[Delivery], signals: Sequence[Signal], evidence: Evidence) -> Message | None:
    """The message of one delivery with its redeliveries; None: the service did not receive it, or disregards it."""
    first = posts[0]
    signalled_at = min((signal.at for signal in signals), default=None)
    is_fact, has_histories = first.expects in FACTS_ALONE, evidence.histories is not None
    acknowledged = [post.answered_at or math.inf for post in posts if post.is_acknowledged]
    is_lost = signalled_at is None and _is_lost(acknowledged, evidence.lost)
    if is_fact and has_histories and signalled_at is None and evidence.lost is None:
        return None
    lo, hi = min(post.sent_at for post in posts), math.inf if is_lost else min(acknowledged, default=math.inf)
    is_possible = not has_histories and any(_is_open(post.status) for post in posts)
    if signalled_at is not None:
        # What was lost and sent again had arrived before.
        hi = max(lo, signalled_at)
        lo = lo if _was_lost(posts, evidence.lost) else hi
    elif not acknowledged and not is_possible:
        return None
    is_forgotten = is_fact or (is_lost and not _is_found(first))
    is_certain = signalled_at is not None or (bool(acknowledged) and not is_forgotten)
    second, handled_at = math.floor(first.updated_at), _handled_at(signals)
    if evidence.lost is not None:  # There is a GitHub to ask: its answer may come before the delivery.
        lo = min(lo, second)
    message = Message(first.delivery, first.expects, first.action, lo, hi, is_certain=is_certain, second=second)
    return replace(message, handled_at=handled_at, is_lost=is_lost)


def _is_lost(acknowledged: Sequence[float], lost: Lost | None) -> bool:
    """Whether all that was acknowledged was stored in the time that a restored database has forgotten."""
    return lost is not None and bool(acknowledged) and all(lost.covers(at) for at in acknowledged)


def _was_lost(posts: Iterable[Delivery], lost: Lost | None) -> bool:
    return lost is not None and any(post.is_acknowledged and lost.covers(post.answered_at) for post in posts)


def _is_found(delivery: Delivery) -> bool:
    """Whether a resync finds at GitHub what the delivery said."""
    return delivery.action not in UNLISTED and not (delivery.action in LEFT and delivery.closed_at is not None)


def _handled_at(signals: Iterable[Signal]) -> float:
    return min((each.handled_at for each in signals if each.handled_at is not None), default=math.inf)


def _closes_reported(messages: Sequence[Message], posts: Mapping[str, Sequence[Delivery]]) -> Iterator[Message]:
    """The closes that a later delivery reports: its snapshot of the issue may arrive before the close itself."""
    for each in messages:
        closed_at = posts[each.key][0].closed_at
        if closed_at is not None:
            yield replace(each, expects=Expectation.STOPPED, action="closed", second=math.floor(closed_at))


def _is_open(status: int | None) -> bool:
    """Whether a call with this status may have had an effect all the same."""
    return status is None or status >= FAILED_MIN


def _repetitions(messages: Sequence[Message], posts: dict[str, list[Delivery]]) -> list[Message]:
    """Mark each message whose content an earlier one has: a hook that is registered twice asks only once."""
    contents: dict[tuple[str, float], Message] = {}
    marked = []
    for each in messages:
        first = posts[each.key][0]
        twin = contents.setdefault((first.action, first.updated_at), each)
        marked.append(each if twin is each else replace(each, lo=twin.lo, is_repetition=True))
    return marked


_ORDERED = {
    "stop": Expectation.STOPPED,
    "delete": Expectation.GONE,
    "replace": Expectation.RUNNING,
    "ensure": Expectation.RUNNING,
}


def latest_orders(orders: Iterable[Order]) -> list[Order]:
    """Each order once: it is noted before it is sent, and again with its answer."""
    return list({(order.order, order.sent_at): order for order in orders}.values())


def _of_orders(orders: Iterable[Order], lost: Lost | None) -> list[Message]:
    """The messages of orders. An order that a restored database has forgotten may have been carried out before."""
    messages = []
    for order in latest_orders(orders):
        is_taken = order.status is not None and order.status < REFUSED_MIN
        if not is_taken and not _is_open(order.status):
            continue
        is_taken &= lost is None or not lost.covers(order.answered_at)
        hi = order.answered_at if is_taken and order.answered_at is not None else math.inf
        is_forced = order.is_forced or order.order == "replace"
        key, expects = f"{order.order}@{order.sent_at}", _ORDERED[order.order]
        message = Message(key, expects, order.order, order.sent_at, hi, is_certain=is_taken, is_order=True)
        messages.append(replace(message, is_forced=is_forced))
    return messages


def _labels(entry: Entry) -> dict[str, JSON]:
    body = entry.detail.get("body")
    labels = body.get("labels") if isinstance(body, dict) else None
    return labels if isinstance(labels, dict) else {}
