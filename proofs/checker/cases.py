"""Sorts the evidence by issue, so that each rule looks at one issue and nothing else. No judgement."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from localdaytona.journal import Entry
from localdaytona.types import JSON
from proofs.checker.evidence import Block, Delivery, Evidence, Order, Signal, Wish
from proofs.checker.lives import Identity, Lives, SandboxLife, issue_of

PERSONS_OWN = frozenset({"created", "comment", "labeled"})
"""Actions by which a person asks for the sandbox whatever the state of the issue; they do not tell that state."""

SHOWING = frozenset({"get", "create", "start", "recover", "stop", "archive", "delete"})
"""Operations whose reply shows the state of a sandbox."""

REFUSED_MIN, FAILED_MIN = 400, 500


@dataclass(frozen=True, slots=True)
class Heard:
    """What the service can have heard: a delivery, its redeliveries included, or a person's order.

    It arrived between `lo` and `hi`, in epoch seconds; `hi` is infinite when nobody knows. `is_certain`: the
    service said so, or has it in a history. `second` is GitHub's `updated_at` in whole seconds; an order has none.
    """

    key: str
    wish: Wish
    action: str
    lo: float
    hi: float
    is_certain: bool
    second: int = -1
    is_order: bool = False
    is_repetition: bool = False
    is_forced: bool = False

    @property
    def is_persons_own(self) -> bool:
        """Whether it asks on a closed issue too, and does not say whether the issue is open."""
        return self.action in PERSONS_OWN


@dataclass(slots=True)
class Case:
    """All that is known of one issue; `issue` None: what belongs to none.

    `creates` are the requests for a new sandbox. `effects` says by which injected fault a request was hit. `seen`
    and `shown` say in which entry a sandbox was first and last shown to the service as it was, `past` in which
    replies as it had been.
    """

    issue: int | None
    evidence: Evidence
    lives: list[SandboxLife] = field(default_factory=list)
    creates: list[Entry] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    signals: list[Signal] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    effects: dict[str, str] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)
    shown: dict[str, int] = field(default_factory=dict)
    past: dict[str, list[Entry]] = field(default_factory=dict)
    heard: list[Heard] = field(default_factory=list)


class Docket:
    """The cases. The journal may be fed bit by bit; the sender's notes and the histories are read anew each time."""

    def __init__(self, identity: Identity = issue_of) -> None:
        self.identity = identity
        self._lives = Lives(identity)
        self._creates: dict[int | None, list[Entry]] = defaultdict(list)
        self._effects: dict[str, str] = {}
        self._seen: dict[str, int] = {}
        self._shown: dict[str, int] = {}
        self._past: dict[str, list[Entry]] = defaultdict(list)
        self._touched: set[int | None] = set()

    def feed(self, journal: Iterable[Entry]) -> None:
        """Take more entries of the journal, in order."""
        for entry in journal:
            self._take(entry)

    def cases(self, evidence: Evidence, *, only_touched: bool = False) -> list[Case]:
        """The case of each issue; with `only_touched`, of those that the journal told of since the last call."""
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
        touched, self._touched = self._touched, set()
        chosen = [case for case in cases.values() if not only_touched or case.issue in touched]
        for case in chosen:
            case.heard = hear(case)
        return chosen

    def _case(self, cases: dict[int | None, Case], issue: int | None, evidence: Evidence) -> Case:
        if issue not in cases:
            cases[issue] = Case(
                issue, evidence, effects=self._effects, seen=self._seen, shown=self._shown, past=self._past
            )
        return cases[issue]

    def _take(self, entry: Entry) -> None:
        for sandbox_id in self._lives.feed([entry]):
            self._touched.add(self._lives.by_id[sandbox_id].issue)
        if entry.kind == "request" and entry.operation == "create":
            issue = self.identity(entry.name, _labels(entry))
            self._creates[issue].append(entry)
            self._touched.add(issue)
        elif entry.kind == "fault":
            self._note_fault(entry)
        elif entry.kind == "reply" and entry.sandbox_id is not None and self._shows(entry):
            self._note_sight(entry.sandbox_id, entry)

    def _note_fault(self, entry: Entry) -> None:
        request_id, effect = entry.detail.get("request_id"), entry.detail.get("effect")
        if isinstance(request_id, str) and isinstance(effect, dict):
            self._effects[request_id] = str(effect.get("kind"))

    def _note_sight(self, sandbox_id: str, entry: Entry) -> None:
        if entry.detail.get("as_of") is not None:
            self._past[sandbox_id].append(entry)
            return
        self._seen.setdefault(sandbox_id, entry.seq)
        if entry.operation in SHOWING:
            self._shown[sandbox_id] = entry.seq

    def _shows(self, entry: Entry) -> bool:
        """Whether the reply arrived and showed a sandbox."""
        status, detail = entry.detail.get("status"), entry.detail
        is_good = isinstance(status, int) and status < REFUSED_MIN and detail.get("delivered") is True
        return is_good and self._effects.get(str(detail.get("request_id"))) != "malformed"


def index(evidence: Evidence, identity: Identity = issue_of) -> list[Case]:
    """The case of each issue that anything in the evidence is about."""
    docket = Docket(identity)
    docket.feed(evidence.journal)
    return docket.cases(evidence)


def hear(case: Case) -> list[Heard]:
    """What the service heard, or may have heard, about an issue."""
    posts: dict[str, list[Delivery]] = defaultdict(list)
    for delivery in case.deliveries:
        posts[delivery.delivery].append(delivery)
    signals: dict[str, float] = {}
    for signal in case.signals:
        signals[signal.delivery] = min(signal.at, signals.get(signal.delivery, math.inf))
    has_histories = case.evidence.histories is not None
    found = [_of_posts(same, signals.get(key), has_histories=has_histories) for key, same in posts.items()]
    in_order = sorted((heard for heard in found if heard is not None), key=lambda heard: heard.lo)
    return [*_repetitions(in_order, posts), *_closes_told(in_order, posts), *_of_orders(case.orders)]


def _of_posts(posts: Sequence[Delivery], signalled_at: float | None, *, has_histories: bool) -> Heard | None:
    """One delivery with its redeliveries; None: the service cannot have heard of it."""
    first = posts[0]
    acknowledged = [post.answered_at or math.inf for post in posts if post.is_acknowledged]
    lo, hi = min(post.sent_at for post in posts), min(acknowledged, default=math.inf)
    is_possible = not has_histories and any(_is_open(post.status) for post in posts)
    if signalled_at is not None:
        lo = hi = max(lo, signalled_at)
    elif not acknowledged and not is_possible:
        return None
    is_certain = bool(acknowledged) or signalled_at is not None
    return Heard(
        first.delivery, first.wish, first.action, lo, hi, is_certain=is_certain, second=math.floor(first.updated_at)
    )


def _closes_told(heard: Sequence[Heard], posts: Mapping[str, Sequence[Delivery]]) -> Iterator[Heard]:
    """A close may be heard of from a later delivery first: its snapshot of the issue is news like any other."""
    for each in heard:
        closed_at = posts[each.key][0].closed_at
        if closed_at is not None:
            yield replace(each, wish=Wish.STOPPED, action="closed", second=math.floor(closed_at))


def _is_open(status: int | None) -> bool:
    """Whether a call that ended like this can have had an effect all the same."""
    return status is None or status >= FAILED_MIN


def _repetitions(heard: Sequence[Heard], posts: dict[str, list[Delivery]]) -> list[Heard]:
    """Mark what has the same content as an earlier one: a hook that is registered twice asks once."""
    contents: dict[tuple[str, float], Heard] = {}
    marked = []
    for each in heard:
        first = posts[each.key][0]
        twin = contents.setdefault((first.action, first.updated_at), each)
        marked.append(each if twin is each else replace(each, lo=twin.lo, is_repetition=True))
    return marked


_ORDERED = {"stop": Wish.STOPPED, "delete": Wish.GONE, "replace": Wish.RUNNING, "ensure": Wish.RUNNING}


def _of_orders(orders: Iterable[Order]) -> list[Heard]:
    """Orders; one that is noted before it is sent and again when it is answered is one order."""
    latest = {(order.order, order.sent_at): order for order in orders}
    heard = []
    for order in latest.values():
        is_taken = order.status is not None and order.status < REFUSED_MIN
        if not is_taken and not _is_open(order.status):
            continue
        hi = order.answered_at if is_taken and order.answered_at is not None else math.inf
        is_forced = order.is_forced or order.order == "replace"
        key, wish = f"{order.order}@{order.sent_at}", _ORDERED[order.order]
        told = Heard(key, wish, order.order, order.sent_at, hi, is_certain=is_taken, is_order=True)
        heard.append(replace(told, is_forced=is_forced))
    return heard


def _labels(entry: Entry) -> dict[str, JSON]:
    body = entry.detail.get("body")
    labels = body.get("labels") if isinstance(body, dict) else None
    return labels if isinstance(labels, dict) else {}
