"""The gate: it hands out slots for running sandboxes and for runs, in order, and never more than the caps allow. Pure.

What it says with the workflows of the issues, and by which rules, stands in `issuebox.domain.slot`.

*In order*: people who wait for an answer first; then the repositories in turn, the one that was served longest ago
first; within a repository the first that asked first.

*On hold*: once Daytona has refused a create or a start because the organization's quota is used up, one issue tries
again each minute, the next in order, and nobody else. When a try succeeds two may follow, then four, and so on.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from operator import attrgetter, itemgetter
from typing import Protocol

from issuebox.domain.issue import REPOSITORY_BYTES_MAX
from issuebox.domain.slot import HOLDER_MAX, NEVER, REPOSITORY_MAX, Answer, Asker, Kind, Limit, Said, Word, plain
from issuebox.domain.text import clean

HOLDERS_MAX = 500
"""Issues that wait, and those that hold a slot, each. Whoever asks beyond that asks again later, and keeps its place:
that goes by the time of its first asking."""

AHEAD_MAX = timedelta(minutes=5)
"""How far a holder's clock may be ahead. A word from beyond would silence the holder's own for good."""

REOPENS_AFTER = timedelta(minutes=22)
"""How long a gate that lost its memory grants no run: by then every holder has said that it holds a slot."""

QUESTION_AFTER = timedelta(minutes=30)
"""A holder that said nothing for so long is asked, and then again after as long."""

CHECK_EVERY = timedelta(minutes=1)
"""How often Temporal is asked which holders have ended, and Daytona which sandboxes run, while somebody waits."""

LISTED_AFTER = timedelta(seconds=3)
"""While somebody waits, Daytona's list is read so long after a grant: to listen for a stop takes the sandbox's ID."""

LIST_LAG_MAX = timedelta(minutes=1)
"""How far Daytona's list may lag. A holder that said something since is not doubted because of the list."""

PROBE_EVERY = timedelta(minutes=1)
"""How often one issue tries, while the organization's quota is used up."""

LISTED_MAX = 1000
"""Sandboxes that run and are taken from one list. More than the highest cap count for nothing."""

SANDBOX_ID_MAX = 64
"""Characters of Daytona's ID of a sandbox: 36."""


@dataclass(frozen=True, slots=True)
class Caps:
    """How many slots of one kind there are: in all, for each repository, and for each author; 0 for no limit.

    ``reserve`` of those in all are for trusted people only.
    """

    total: int = 0
    per_repository: int = 0
    per_author: int = 0
    reserve: int = 0

    @property
    def is_set(self) -> bool:
        """Whether anything is limited."""
        return any((self.total, self.per_repository, self.per_author))

    def limit(self, asker: Asker, used: Used) -> Limit | None:
        """What keeps this asker waiting; None when a slot is free for it."""
        if self.total and used.total >= self.total:
            return Limit.TOTAL
        if self.total and not asker.is_trusted and used.total >= self.total - self.reserve:
            return Limit.RESERVE
        if asker.repository and 0 < self.per_repository <= used.repositories[asker.repository]:
            return Limit.REPOSITORY
        if asker.author and 0 < self.per_author <= used.authors[asker.author]:
            return Limit.AUTHOR
        return None


@dataclass(frozen=True, slots=True)
class Letter:
    """An answer, and the workflow to which it goes."""

    holder: str
    answer: Answer


@dataclass(slots=True)
class Lease:
    """A slot in use. ``heard_at`` is when its holder said something last, ``questioned_at`` when it was asked.

    ``is_trial``: it was granted to find out whether Daytona's quota has room. ``is_doubted``: something says that it is
    over, so its holder is asked. ``keep_s`` as in `Said`. ``is_unanswered``: its holder is to be told of it.
    """

    holder: str
    asked_at: datetime
    keep_s: float
    heard_at: datetime
    questioned_at: datetime | None = None
    asker: Asker = field(default_factory=Asker)
    is_trial: bool = False
    is_doubted: bool = False
    is_unanswered: bool = False

    @property
    def ends_at(self) -> datetime | None:
        """When nothing of the holder's can be alive any more, if it says nothing until then; None: nobody knows."""
        return self.heard_at + timedelta(seconds=self.keep_s) if self.keep_s else None

    @property
    def touched_at(self) -> datetime:
        """When something was last heard of its holder, or asked of it."""
        return max(self.heard_at, self.questioned_at or self.heard_at)

    @property
    def question_at(self) -> datetime | None:
        """When the holder is asked, if it says nothing until then; None: only when somebody else wants its slot."""
        return self.touched_at + QUESTION_AFTER if self.keep_s else None


@dataclass(slots=True)
class Waiting:
    """An issue that waits for a slot. ``since`` is its place in its repository, ``is_unanswered`` as in `Lease`."""

    holder: str
    asked_at: datetime
    keep_s: float
    since: datetime
    asker: Asker = field(default_factory=Asker)
    is_unanswered: bool = True


@dataclass(frozen=True, slots=True)
class Served:
    """When a repository got a slot last."""

    repository: str
    at: datetime

    def __post_init__(self) -> None:
        """As in `Asker`, from which it comes."""
        clean(self, {"repository": partial(plain, characters_max=REPOSITORY_MAX)})


@dataclass(slots=True)
class Used:
    """Slots in use."""

    total: int = 0
    repositories: Counter[str] = field(default_factory=Counter)
    authors: Counter[str] = field(default_factory=Counter)

    def add(self, asker: Asker) -> None:
        """One more is in use."""
        self.total += 1
        self.repositories[asker.repository] += 1
        self.authors[asker.author] += 1


@dataclass(slots=True)
class Hold:
    """Daytona's quota is used up. Before ``until`` nobody tries, then ``window`` at once."""

    until: datetime
    window: int = 1


IN_ORDER = attrgetter("since", "holder")


@dataclass(slots=True)
class Gate:
    """Who holds a slot of one kind, and who waits for one.

    Before ``opens_at`` nothing is granted. ``checked_at`` is when it was last asked who has ended, ``listed_at`` what
    runs.
    ``served`` has the repositories of those who wait.
    """

    caps: Caps = field(default_factory=Caps)
    kind: Kind = Kind.RUN
    leases: list[Lease] = field(default_factory=list)
    waiting: list[Waiting] = field(default_factory=list)
    opens_at: datetime | None = None
    checked_at: datetime | None = None
    listed_at: datetime | None = None
    served: list[Served] = field(default_factory=list)
    hold: Hold | None = None

    def hear(self, said: Said, now: datetime) -> None:
        """Take a word of a holder. Safe to repeat; a word about an earlier lease than the newest changes nothing."""
        lease = next((each for each in self.leases if each.holder == said.holder), None)
        known = [each.asked_at for each in self.waiting if each.holder == said.holder]
        known += [lease.asked_at] if lease is not None else []
        if said.asked_at > now + AHEAD_MAX or any(asked_at > said.asked_at for asked_at in known):
            return
        if said.word is Word.ASK:
            self._ask(said, lease)
        elif said.word is Word.HOLD:
            self._hear_hold(said, lease, now)
        else:
            if said.word is Word.REFUSED:
                self.hold = Hold(now + PROBE_EVERY)
            elif lease is not None:
                self._pass_trial(lease)
            self._forget(said.holder)

    def step(self, now: datetime) -> list[Letter]:
        """Free what is over, grant what can be granted, ask who is silent. Returns what to tell whom."""
        self.leases = [lease for lease in self.leases if lease.ends_at is None or lease.ends_at > now]
        if self.opens_at is not None and now >= self.opens_at:
            self.opens_at = None
        letters, left = self._grant(now)
        for lease in self.leases:
            is_due = lease.question_at is not None and lease.question_at <= now
            if is_due or lease.is_doubted or lease.is_unanswered:
                lease.questioned_at, lease.is_doubted, lease.is_unanswered = now, False, False
                letters.append(self._granted(lease))
        for place, (each, limit) in enumerate(left, 1):
            if each.is_unanswered:
                letters.append(Letter(each.holder, Answer(each.asked_at, place=place, kind=self.kind, limit=limit)))
                each.is_unanswered = False
        is_wanted = bool(self.waiting) or any(lease.is_trial for lease in self.leases)
        if self.hold is not None and now >= self.hold.until and not is_wanted:
            self.hold = None
        return letters

    def queue(self) -> list[Waiting]:
        """Those who wait, in the order in which they are served."""
        served = {each.repository: each.at for each in self.served}
        rounds: Counter[str] = Counter()
        keyed = []
        for each in self.waiting:
            repository = each.asker.repository
            is_event = not each.asker.is_person
            turn = (rounds[repository], served.get(repository, NEVER)) if is_event else (0, NEVER)
            keyed.append(((is_event, *turn, each.since, each.holder), each))
            rounds[repository] += is_event  # A person's own request does not use up the turn of its repository.
        return [each for _, each in sorted(keyed, key=itemgetter(0))]

    def outlook(self, now: datetime) -> list[tuple[Waiting, Limit | None]]:
        """Those who wait, in order, and what keeps each of them waiting: None for a slot that is free for it."""
        used, room = Used(), self._room(now)
        for lease in self.leases:
            used.add(lease.asker)
        found: list[tuple[Waiting, Limit | None]] = []
        for each in self.queue():
            limit = Limit.QUOTA if room == 0 else self.caps.limit(each.asker, used)
            found.append((each, Limit.OPENING if self.opens_at is not None else limit))
            if found[-1][1] is None:
                used.add(each.asker)
                room -= 1
        return found

    def is_check_due(self, now: datetime) -> bool:
        """Whether to find out who has ended: somebody waits, and it was not asked for a while."""
        return bool(self.waiting) and (self.checked_at is None or now >= self.checked_at + CHECK_EVERY)

    def is_list_due(self, now: datetime) -> bool:
        """Whether to find out what runs: somebody waits for a cap, and it is not known of all."""
        due_at = self._list_due_at()
        return due_at is not None and due_at <= now

    def reclaim(self, gone: Iterable[tuple[str, datetime]]) -> None:
        """Of these holders nothing is left. What they asked for since is not meant."""
        dead = frozenset(gone)
        self.leases = [each for each in self.leases if (each.holder, each.asked_at) not in dead]
        self.waiting = [each for each in self.waiting if (each.holder, each.asked_at) not in dead]

    def see(self, up: Iterable[tuple[str, Asker]], busy: Collection[str], now: datetime) -> None:
        """Take which sandboxes run, as Daytona lists them. `busy` are issues whose run is at work.

        What nobody told is counted from now on: people start sandboxes by hand. What is not listed any more is doubted,
        and so is the holder of which nothing was heard for longest, whatever the list says.
        """
        listed, self.listed_at = dict(up), now
        for lease in self.leases:
            lease.is_doubted |= lease.holder not in listed and lease.heard_at <= now - LIST_LAG_MAX
        known = {lease.holder for lease in self.leases}
        for holder, asker in listed.items():
            if holder not in known and len(self.leases) < HOLDERS_MAX:
                self.leases.append(Lease(holder, NEVER, 0.0, now, asker=asker))
        quiet = [each for each in self.leases if each.holder not in busy and each.touched_at <= now - CHECK_EVERY]
        if quiet:
            min(quiet, key=attrgetter("touched_at", "holder")).is_doubted = True

    def doubt(self, holders: Collection[str]) -> None:
        """Something says that the sandboxes of these holders have stopped."""
        for lease in self.leases:
            lease.is_doubted |= lease.holder in holders

    def due_at(self, after: datetime) -> datetime | None:
        """When time alone makes something due, later than the step at `after`; None for never."""
        moments = [moment for lease in self.leases for moment in (lease.ends_at, lease.question_at)]
        if self.waiting:
            moments += [self.opens_at, self.hold.until if self.hold else None]
            moments.append(self.checked_at + CHECK_EVERY if self.checked_at is not None else None)
            moments.append(self._list_due_at())
        return min((moment for moment in moments if moment is not None and moment > after), default=None)

    def _list_due_at(self) -> datetime | None:
        if self.kind is not Kind.SANDBOX or not self.caps.is_set or not self.waiting:
            return None
        if self.listed_at is None:
            return NEVER
        since = [lease.heard_at for lease in self.leases if lease.heard_at >= self.listed_at]
        soon = max(min(since), self.listed_at) + LISTED_AFTER if since else self.listed_at + CHECK_EVERY
        return min(soon, self.listed_at + CHECK_EVERY)

    def _ask(self, said: Said, lease: Lease | None) -> None:
        """Who asks anew while it holds a slot has lost its memory, and goes on with that slot: it counts once."""
        known = next((each for each in self.waiting if each.holder == said.holder), None)
        if lease is not None and self.kind is Kind.SANDBOX:
            lease.asked_at = said.asked_at
        elif lease is None or lease.asked_at != said.asked_at:
            since = known.since if known is not None and known.asked_at == said.asked_at else said.since
            if known is not None or len(self.waiting) < HOLDERS_MAX:
                self._forget(said.holder)
                waits = Waiting(said.holder, said.asked_at, said.keep_s, since or said.asked_at, said.asker)
                insort(self.waiting, waits, key=IN_ORDER)
        if lease is not None:
            lease.is_unanswered = True

    def _hear_hold(self, said: Said, lease: Lease | None, now: datetime) -> None:
        if lease is not None:
            self._pass_trial(lease)
            is_other = lease.asked_at != said.asked_at
            lease.heard_at, lease.questioned_at, lease.keep_s, lease.asker = now, None, said.keep_s, said.asker
            lease.asked_at = said.asked_at
            lease.is_unanswered = lease.is_unanswered or is_other
        elif len(self.leases) < HOLDERS_MAX:
            # It may be a late word about a lease that was returned since. So its holder is asked.
            self._forget(said.holder)
            found = Lease(said.holder, said.asked_at, said.keep_s, now, asker=said.asker, is_unanswered=True)
            self.leases.append(found)

    def _pass_trial(self, lease: Lease) -> None:
        """The quota had room for it: one more may try at once, so that in each round twice as many do."""
        if lease.is_trial and self.hold is not None:
            self.hold.window += 1
        lease.is_trial = False

    def _grant(self, now: datetime) -> tuple[list[Letter], list[tuple[Waiting, Limit]]]:
        """Grant what can be granted, in order. Returns whom to tell, and who is left, with what keeps it waiting."""
        outlook = self.outlook(now)
        left = [(each, limit) for each, limit in outlook if limit is not None]
        letters = []
        for each in (each for each, limit in outlook if limit is None):
            lease = Lease(each.holder, each.asked_at, each.keep_s, now, asker=each.asker)
            lease.is_trial = self.hold is not None
            self.leases.append(lease)
            letters.append(self._granted(lease))
        taken = {letter.holder for letter in letters}
        self.waiting = [each for each in self.waiting if each.holder not in taken]
        served = {each.repository: each.at for each in self.served}
        served |= {each.asker.repository: now for each, limit in outlook if limit is None and not each.asker.is_person}
        waits = {each.asker.repository for each in self.waiting}
        self.served = [Served(name, at) for name, at in served.items() if name in waits]
        return letters, left

    def _room(self, now: datetime) -> int:
        """How many may go on, as far as Daytona's quota is known; negative for any number."""
        if self.hold is None:
            return -1
        tried = sum(lease.is_trial for lease in self.leases)
        return max(0, self.hold.window - tried) if now >= self.hold.until else 0

    def _granted(self, lease: Lease) -> Letter:
        return Letter(lease.holder, Answer(lease.asked_at, is_granted=True, kind=self.kind, is_trial=lease.is_trial))

    def _forget(self, holder: str) -> None:
        self.leases = [each for each in self.leases if each.holder != holder]
        self.waiting = [each for each in self.waiting if each.holder != holder]


@dataclass(frozen=True, slots=True)
class Running:
    """A sandbox that runs, by Daytona's list: the name that it shares with its issue's workflow, and its labels."""

    holder: str
    sandbox_id: str
    repository: str = ""

    def __post_init__(self) -> None:
        """Labels may hold anything."""
        limits = {"holder": HOLDER_MAX, "sandbox_id": SANDBOX_ID_MAX, "repository": REPOSITORY_BYTES_MAX}
        clean(self, {name: partial(plain, characters_max=most) for name, most in limits.items()})


class Gates(Protocol):
    """The gate of the installation, as activities reach it. Raises TransientError when Temporal does not answer."""

    async def say(self, said: Said, caps: dict[Kind, Caps]) -> None:
        """Tell the gate, which is started if it does not run. ``caps`` are those that this worker knows."""

    async def list_ended(self, holders: Iterable[str]) -> dict[str, datetime | None]:
        """Those of them whose workflow does not run, and when it ended; None for one that there never was."""
