"""What the workflow of one issue remembers.

`Memory` is the one object that continue-as-new carries on, and everything in it is bounded. It consists of small
value objects, one per subject: what GitHub reported, the requests, a person's orders, what lookups showed.
Events change it in `issuebox.domain.intake`, time in `issuebox.domain.goal`, and lookups in `Memory.see`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial

from issuebox.domain.issue import Issue, IssueState
from issuebox.domain.phase import ASLEEP, HAS_RUN, REMEDIES, Action, Cause, Goal, Outcome, Phase
from issuebox.domain.policy import Policy
from issuebox.domain.run import RunGoal, Runs
from issuebox.domain.sandbox import LABEL_SET_UP, SET_UP_DONE, Sandbox
from issuebox.domain.slot import Slot
from issuebox.domain.text import Clean, clean, prose, word
from issuebox.domain.unsaved_work import LastInspection

DELIVERIES_MAX = 256
"""Remembered delivery IDs and body digests per issue. GitHub's redeliveries come within three days."""
KEY_BYTES_MAX = 128
"""Of a key under which a caller gives an order."""
NOTES_MAX = 40
"""Remembered decisions per issue, for `why`."""
REASON_BYTES_MAX = 1000
"""Of a reason that the memory keeps: a whole error of Daytona's in a sentence of ours."""
CLOCKS_APART_MAX = timedelta(seconds=2)
"""How far GitHub's clock and Temporal's may be apart; GitHub's times are in whole seconds."""
AHEAD_MAX = timedelta(hours=1)
"""A time of GitHub's that is further ahead of Temporal's clock is not believed: it would make all true ones late."""
PAST_SHOWN_MAX = timedelta(seconds=30)
"""How long a read may show an earlier state: Daytona caches its answers for up to 10 s. Later, a read with an
older ``updated_at`` is accepted, because Daytona's clock may have been set back."""


_reason = partial(prose, bytes_max=REASON_BYTES_MAX)
_BLOCKED_TEXTS: Mapping[str, Clean] = {"reason": _reason, "advice": partial(prose, bytes_max=400)}
_NOTE_TEXTS: Mapping[str, Clean] = {
    "what": partial(word, bytes_max=160),
    "reason": _reason,
    "state": partial(word, bytes_max=64),
}


class Order(StrEnum):
    """What a person ordered for the sandbox; it stands until somebody asks for the sandbox again."""

    STOP = "stop"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Note:
    """One decision or event, for the question *why is this sandbox in this state*."""

    at: datetime
    what: str
    reason: str = ""
    phase: Phase | None = None
    state: str = ""
    action: Action | None = None
    deliveries: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """A note stays short whatever its reason quotes: the memory holds forty."""
        clean(self, _NOTE_TEXTS)


@dataclass(frozen=True, slots=True)
class Blocked:
    """Why the issue cannot be served now, since when, and when the workflow tries again by itself."""

    cause: Cause
    reason: str
    advice: str
    since: datetime
    tries: int = 1
    next_try_at: datetime | None = None

    def __post_init__(self) -> None:
        """The reason stays short whatever it quotes."""
        clean(self, _BLOCKED_TEXTS)


@dataclass(slots=True)
class Told:
    """What GitHub reported about the issue.

    ``issue`` is the newest snapshot. ``closed_at`` and ``requested_at`` are GitHub's times of the newest close and of
    a person's newest request; the later one decides whether a closed issue has a running sandbox. ``ended_at`` is when
    the workflow learned of the close, or of a request after it; the timers of a closed issue count from then. None
    while the issue is open. ``is_contradicted``: two snapshots of the same second disagree.
    """

    issue: Issue | None = None
    closed_at: datetime | None = None
    requested_at: datetime | None = None
    ended_at: datetime | None = None
    is_contradicted: bool = False

    @property
    def is_deleted(self) -> bool:
        """Whether GitHub deleted the issue. Final: its ID never comes back."""
        return self.issue is not None and self.issue.state is IssueState.DELETED

    @property
    def is_requested_since_close(self) -> bool:
        """Whether a person asked for the sandbox after the newest close."""
        return self.requested_at is not None and self.closed_at is not None and self.requested_at > self.closed_at

    def request(self, moment: datetime | None) -> None:
        """Remember when a person asked, in whole seconds as GitHub's closes are. Within one second the close wins."""
        if moment is not None:
            second = moment.replace(microsecond=0)
            self.requested_at = max(second, self.requested_at or second)

    def request_now(self, now: datetime) -> None:
        """Remember that a person asks now, by Temporal's clock: after the known close, whatever GitHub's clock says."""
        after_close = now if self.closed_at is None else self.closed_at + timedelta(seconds=1)
        self.request(max(now, after_close))


def keyed(order: str, key: str) -> str:
    """What is remembered of an order that a caller gives under a key. GitHub's delivery IDs have no space."""
    return f"{order} {key}"


@dataclass(slots=True)
class Deliveries:
    """Which deliveries were taken, so that none is taken twice. ``seen`` counts all that arrived.

    ``ids`` also has the orders that came under a key: `keyed`. ``last_at`` is when the last one arrived.
    """

    ids: list[str] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    seen: int = 0
    last_at: datetime | None = None

    def __post_init__(self) -> None:
        """A memory that somebody typed may hold more."""
        del self.ids[:-DELIVERIES_MAX], self.digests[:-DELIVERIES_MAX]

    def is_repeated(self, delivery: str, digest: str) -> bool:
        """Whether the delivery was taken before: under this ID, or with the same body under another ID."""
        return (bool(delivery) and delivery in self.ids) or (bool(digest) and digest in self.digests)

    def order_of(self, key: str) -> str:
        """The order for which a caller has used the key; '' when it is not known."""
        return next((order for order, _, known in (item.partition(" ") for item in self.ids) if known == key), "")

    def remember(self, delivery: str, digest: str) -> None:
        """Remember a taken delivery; the oldest is forgotten."""
        for known, item in ((self.ids, delivery), (self.digests, digest)):
            if item:
                known.append(item)
                del known[:-DELIVERIES_MAX]


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a request. It is given once and never changed."""

    outcome: Outcome
    sandbox: Sandbox | None = None
    blocked: Blocked | None = None


@dataclass(slots=True)
class Requests:
    """The requests for a running sandbox. Each one has a ticket, and tickets are numbered from 1.

    ``asked`` is the last ticket. ``observed`` is the last ticket before the current observation began: the observation
    may serve the requests up to it, and no later one. Up to ``served``, requests got their sandbox or were called off.
    ``answers`` has an entry for each ticket whose caller waits for an answer; None until it is given. ``delivery`` is
    the last delivery that waits, for the log. Of those that wait, ``is_person`` says whether one came by REST or the
    command line, ``is_trusted`` whether one came from somebody who may use the reserve.
    """

    asked: int = 0
    observed: int = 0
    served: int = 0
    answers: dict[int, Answer | None] = field(default_factory=dict)
    delivery: str = ""
    is_person: bool = False
    is_trusted: bool = False

    @property
    def is_waiting(self) -> bool:
        """Whether a request has not been served yet."""
        return self.asked > self.served

    def ask(self, delivery: str = "", *, is_person: bool = False, is_trusted: bool = False) -> int:
        """Count one more request; returns its ticket."""
        self.asked += 1
        self.is_person, self.is_trusted = self.is_person or is_person, self.is_trusted or is_trusted
        self.delivery = delivery or self.delivery
        return self.asked

    def observe(self) -> None:
        """An observation begins: it may serve every request made so far."""
        self.observed = self.asked

    def answer(self, ticket: int, answer: Answer) -> None:
        """Give this answer to all callers who wait, up to `ticket`."""
        for waiting, known in self.answers.items():
            if waiting <= ticket and known is None:
                self.answers[waiting] = answer

    def serve(self, ticket: int, answer: Answer) -> None:
        """Close all requests up to `ticket`: they got their sandbox, or will get none."""
        self.answer(ticket, answer)
        self.served = max(self.served, ticket)
        if not self.is_waiting:
            self.delivery, self.is_person, self.is_trusted = "", False, False


@dataclass(slots=True)
class Orders:
    """What a person wants done with the sandbox.

    ``ordered_at`` is when the standing order was given, by the clock of the API or of Temporal. ``forced_id`` is the
    sandbox that a forced delete was meant for, ``abandoned_id`` the one that a person gave up for a new one. An order
    never applies to a sandbox that came later.
    """

    standing: Order | None = None
    ordered_at: datetime | None = None
    is_forced: bool = False
    forced_id: str = ""
    is_replace_asked: bool = False
    abandoned_id: str = ""
    is_lookup_asked: bool = False

    def stand(self, order: Order, ordered_at: datetime, *, is_forced: bool = False) -> None:
        """Replace the standing order."""
        self.standing, self.ordered_at, self.is_forced, self.forced_id = order, ordered_at, is_forced, ""

    def lift(self) -> None:
        """End the standing order."""
        self.standing, self.ordered_at, self.is_forced, self.forced_id = None, None, False, ""

    def is_after(self, asked_at: datetime | None, now: datetime) -> bool:
        """Whether the standing order is newer than what somebody asked for at `asked_at`, by GitHub's clock.

        The two clocks may be apart by `CLOCKS_APART_MAX`: within that the request counts. When nobody said when the
        order was given, what arrives in the same workflow task counts by its arrival: both may have waited for a
        worker.
        """
        if self.ordered_at is None or asked_at is None or now == self.ordered_at:
            return False
        return asked_at < self.ordered_at - CLOCKS_APART_MAX

    def gives_up(self, sandbox_id: str) -> bool:
        """Whether a person gave up the work in this very sandbox."""
        is_meant = self.is_forced and sandbox_id == self.forced_id
        return bool(sandbox_id) and (is_meant or sandbox_id == self.abandoned_id)

    def keep_the_sandbox(self) -> None:
        """Cancel the order to replace the sandbox with a new one."""
        self.is_replace_asked, self.abandoned_id = False, ""


@dataclass(slots=True)
class Seen:
    """What lookups showed. The known ID is kept on *not found*: one 404 proves nothing.

    ``phase_since`` is when the sandbox was first seen in its phase, of lookups without a rest in between; ``set_up_id``
    the sandbox whose set-up is known to be finished; ``gone_id`` the one that is proven to be gone.
    """

    sandbox: Sandbox | None = None
    sandbox_id: str = ""
    at: datetime | None = None
    phase_since: datetime | None = None
    set_up_id: str = ""
    gone_id: str = ""

    @property
    def phase(self) -> Phase | None:
        """The phase that the last lookup showed; None before the first one."""
        if self.at is None:
            return None
        return Phase.MISSING if self.sandbox is None else self.sandbox.phase

    def begin(self) -> None:
        """Begin to count anew how long the sandbox is in its phase: nobody looked in between."""
        self.phase_since = None

    def take(self, sandbox: Sandbox | None, now: datetime) -> None:
        """Remember what a lookup found."""
        before = self.phase, self.sandbox.id if self.sandbox else ""
        self.sandbox, self.at = sandbox, now
        if self.phase_since is None or before != (self.phase, sandbox.id if sandbox else ""):
            self.phase_since = now
        self.sandbox_id = sandbox.id if sandbox else self.sandbox_id
        self.gone_id = "" if sandbox else self.gone_id

    def shows_past(self, read: Sandbox | None, now: datetime) -> bool:
        """Whether a read shows a state from before the last one seen."""
        if read is None or self.sandbox is None or self.at is None:
            return False
        return now - self.at < PAST_SHOWN_MAX and read.is_older_than(self.sandbox)

    def waited_s(self, now: datetime) -> float:
        """Seconds since the sandbox was first seen in its phase."""
        return 0.0 if self.phase_since is None else (now - self.phase_since).total_seconds()


@dataclass(slots=True)
class Builds:
    """What is known of the sandboxes that the workflow created.

    ``is_create_open``: a create was sent, and no sandbox was seen since. ``unbuilt_id`` is a sandbox that failed
    before it ever ran, ``failed`` the number of such sandboxes in a row, ``counted_id`` the last one counted.
    """

    is_create_open: bool = False
    unbuilt_id: str = ""
    failed: int = 0
    counted_id: str = ""

    def see(self, sandbox: Sandbox) -> None:
        """A lookup showed the sandbox."""
        self.is_create_open = False
        if sandbox.phase is Phase.UNBUILT:
            self.unbuilt_id = sandbox.id
        elif sandbox.id == self.unbuilt_id and sandbox.phase in HAS_RUN:
            self.unbuilt_id = ""  # Somebody started it by hand and may have worked in it.

    def fail(self, sandbox_id: str) -> None:
        """Count a failed build, once per sandbox however often its delete is tried."""
        self.failed += sandbox_id != self.counted_id
        self.counted_id = sandbox_id

    def succeed(self) -> None:
        """A sandbox runs: start counting failed builds anew."""
        self.failed, self.unbuilt_id = 0, ""


@dataclass(slots=True)
class Progress:
    """How far the sandbox has come towards its goal.

    ``goal`` is the goal that the loop works on; `issuebox.domain.goal.course` computes it. ``reached`` is the last
    goal that was reached. ``unsure_until``: the reply to a command was lost, and Daytona may still execute it; at that
    time the sandbox is looked up once more. ``may_unblock``: something happened since the last reconciliation that may
    end a block. ``is_woken``: something happened that the loop must see. Continue-as-new keeps both.
    """

    goal: Goal = Goal.RUNNING
    reached: Goal | None = None
    outcome: Outcome | None = None
    blocked: Blocked | None = None
    unsure_until: datetime | None = None
    may_unblock: bool = False
    is_woken: bool = False

    @property
    def is_open(self) -> bool:
        """Whether the goal is not reached yet. *Running* is open only for requests, which `Requests` counts."""
        return self.goal is not Goal.RUNNING and self.goal is not self.reached

    def turn_to(self, goal: Goal) -> None:
        """Start over with another goal. This ends a block."""
        self.goal, self.reached, self.blocked, self.may_unblock = goal, None, None, True

    def unblock(self) -> None:
        """End a block: the obstacle is gone, or nothing is left to do."""
        self.blocked = None
        if self.outcome in {Outcome.BLOCKED, Outcome.QUEUED}:
            self.outcome = None


@dataclass(frozen=True, slots=True)
class Notice:
    """A new state of the issue's sandbox, for the program that uses it: see `issuebox.domain.notices`.

    ``id`` is the same at each try, so that a receiver can tell what it has had. ``kind`` is a `Kind` of notice.
    """

    id: str
    kind: str
    at: datetime
    sandbox_id: str = ""
    state: str = ""
    outcome: str = ""
    blocked: Blocked | None = None


@dataclass(slots=True)
class Notices:
    """What the receiver of notices was told.

    ``handovers`` and ``made`` count handovers and notices, ``occasion`` says what the last notice was about, and
    ``pending`` is that one until it is delivered or given up. ``undelivered`` is its kind when it was given up.
    """

    handovers: int = 0
    made: int = 0
    occasion: str = ""
    pending: Notice | None = None
    undelivered: str = ""

    def settle(self, notice: Notice, *, is_delivered: bool) -> None:
        """The notice was delivered, or given up. It changes nothing about a newer one."""
        if self.pending is not None and self.pending.id == notice.id:
            self.pending = None
            self.undelivered = "" if is_delivered else notice.kind


@dataclass(slots=True)
class Memory:
    """The state of one issue's workflow.

    ``policy`` is what a worker's settings hand to the workflow, and ``policy_hash`` identifies it; '' until the first
    worker has supplied it.
    """

    issue_id: int
    name: str
    told: Told = field(default_factory=Told)
    deliveries: Deliveries = field(default_factory=Deliveries)
    requests: Requests = field(default_factory=Requests)
    orders: Orders = field(default_factory=Orders)
    seen: Seen = field(default_factory=Seen)
    builds: Builds = field(default_factory=Builds)
    last_inspection: LastInspection | None = None
    progress: Progress = field(default_factory=Progress)
    policy: Policy = field(default_factory=Policy)
    policy_hash: str = ""
    notices: Notices = field(default_factory=Notices)
    runs: Runs = field(default_factory=Runs)
    slot: Slot = field(default_factory=Slot)
    notes: list[Note] = field(default_factory=list)

    def __post_init__(self) -> None:
        """A memory that somebody typed may hold more."""
        del self.notes[:-NOTES_MAX]

    @property
    def is_only_told(self) -> bool:
        """Whether the issue ended and nobody ever asked for its sandbox: then Daytona is asked nothing.

        What is known of it still keeps a late delivery from creating a sandbox.
        """
        is_untouched = self.requests.asked == 0 and self.orders.standing is None and self.seen.at is None
        return self.told.ended_at is not None and is_untouched and not self.orders.is_lookup_asked

    @property
    def is_held(self) -> bool:
        """Whether something of a run may be alive: its end comes before any stop or delete that nobody forces."""
        run = self.runs.active
        return run is not None and run.may_live() and not self.orders.gives_up(self.seen.sandbox_id)

    @property
    def has_work(self) -> bool:
        """Whether there is anything to do: a request, a lookup, or a goal that is not reached yet."""
        is_open = self.progress.is_open and not self.is_only_told and not self.is_held
        return self.requests.is_waiting or self.orders.is_lookup_asked or is_open

    def note(self, note: Note) -> None:
        """Remember a decision; the oldest is forgotten."""
        self.notes.append(note)
        del self.notes[:-NOTES_MAX]

    def hand_over(self, ticket: int, answer: Answer, now: datetime) -> None:
        """Give the requests up to `ticket` their sandbox. The timers of a closed issue count from here."""
        self.requests.serve(ticket, answer)
        self.notices.handovers += 1
        if self.told.ended_at is not None:
            self.told.ended_at = now

    def ask(self, now: datetime, delivery: str = "", *, is_person: bool = False, is_trusted: bool = False) -> int:
        """Count one more request for a running sandbox; returns its ticket.

        This ends a standing order, and the pause of a run that came with it.
        """
        self.orders.lift()
        self.runs.want(RunGoal.WORK)
        if self.told.ended_at is not None:
            self.told.ended_at = now
        return self.requests.ask(delivery, is_person=is_person, is_trusted=is_trusted or is_person)

    def block(
        self, cause: Cause, reason: str, now: datetime, retry_after_s: float, chance: Callable[[], float]
    ) -> None:
        """Remember why nothing can be done now and when to try again: after `retry_after_s`, unless that is 0."""
        progress, remedy, known = self.progress, REMEDIES[cause], self.progress.blocked
        tries = known.tries if known else 0
        next_try_at = now + timedelta(seconds=retry_after_s) if retry_after_s else None
        if known is not None and known.cause is cause and known.next_try_at is not None and known.next_try_at > now:
            # An event tried it before its time. That neither counts nor puts the next try off.
            next_try_at = max(known.next_try_at, next_try_at or known.next_try_at)
        else:
            tries += 1
            next_try_at = next_try_at or now + timedelta(seconds=self.policy.blocked_retry_s(tries, chance()))
        since = known.since if known else now
        progress.blocked = Blocked(
            cause, reason, remedy.advice, since, max(tries, 1), next_try_at if remedy.passes else None
        )
        progress.outcome = Outcome.QUEUED if cause is Cause.QUEUED else Outcome.BLOCKED
        progress.reached = None
        said = reason if cause is Cause.QUEUED else f"{cause}: {reason}"
        self.note(Note(now, str(progress.outcome), said, self.seen.phase))

    def see(self, sandbox: Sandbox | None, now: datetime) -> None:
        """Remember what a lookup found."""
        self.seen.take(sandbox, now)
        if sandbox is not None:
            self.builds.see(sandbox)

    def is_set_up(self, sandbox: Sandbox | None) -> bool:
        """Whether the sandbox is set up, or needs no set-up before it is used."""
        if sandbox is None or not self.policy.is_setup_configured:
            return True
        return sandbox.id == self.seen.set_up_id or sandbox.labels.get(LABEL_SET_UP) == SET_UP_DONE

    def settle_inspection(self, now: datetime) -> None:
        """Note when the inspected sandbox is first seen asleep: later activity in it makes the inspection stale."""
        last_inspection, sandbox = self.last_inspection, self.seen.sandbox
        if last_inspection is None or last_inspection.stopped_at is not None or sandbox is None:
            return
        if sandbox.id == last_inspection.sandbox_id and sandbox.phase in ASLEEP:
            self.last_inspection = replace(last_inspection, stopped_at=now)
