"""Slots: how many runs an installation works on at once. Pure.

The *gate* hands out *leases* on slots, to the first that asked first. The workflow of an issue asks for one before it
prepares an attempt or wakes a sandbox for it, and returns it once nothing of its run is at work any more. What they say
to each other may come twice, late and in any order, and a reset of a workflow undoes what it knew. So each side names a
lease by the time of its asking, which grows from one asking to the next:

1. A lease ends when its holder returns it, asks anew, or has ended. Without a sign of its holder it ends only when
   nothing of the run can be alive any more.
2. A grant is a question as well: who does not know the lease returns it, and who holds it says so.
3. Who says that it holds a slot is believed, even beyond the limit: its run is at work, whatever the gate remembers.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from operator import attrgetter
from typing import Protocol

from issuebox.domain.issue import in_utc
from issuebox.domain.text import clean, word

HOLDERS_MAX = 800
"""Issues that wait, and those that hold a slot, each. Whoever asks beyond that asks again later, and keeps its place:
that goes by the time of its first asking."""

HOLDER_BYTES_MAX = 128
"""Of the ID of an issue's workflow: a prefix of at most 80 bytes, and an issue ID."""

KEEP_MAX_S = 30 * 86400.0
"""Longer than any run may take: its time limit is 7 days at most."""

AHEAD_MAX = timedelta(minutes=5)
"""How far a holder's clock may be ahead. A word from beyond would silence the holder's own for good."""

STRANGE_MAX = 8
"""Leases that a holder does not know, and has not returned yet."""

ASK_AGAIN = timedelta(minutes=10)
"""How often an issue that waits asks again: the gate may have been terminated, or the answer undone by a reset."""

SAY_AGAIN = timedelta(minutes=15)
"""How often a holder says that it still holds its slot: with the next slice of its follower, so every 20 minutes."""

REOPENS_AFTER = timedelta(minutes=22)
"""How long a gate that lost its memory grants nothing: by then every holder has said that it holds a slot."""

QUESTION_AFTER = timedelta(minutes=30)
"""A holder that said nothing for so long is asked, and then again after as long."""

CHECK_EVERY = timedelta(minutes=1)
"""How often Temporal is asked which holders have ended, while somebody waits."""


class Need(StrEnum):
    """What a run needs of the gate."""

    NONE = "none"
    WANTED = "wanted"
    """It would begin if it had a slot."""
    OCCUPIED = "occupied"
    """Something of it may be at work, with a slot or without."""


class Word(StrEnum):
    """What the workflow of an issue says to the gate."""

    ASK = "ask"
    HOLD = "hold"
    RETURN = "return"


@dataclass(frozen=True, slots=True)
class Said:
    """One word of a holder, about the lease that it asked for at `asked_at`.

    ``holder`` is the ID of its workflow. ``keep_s``: after so many seconds from its last word nothing of it is alive.
    """

    holder: str
    word: Word
    asked_at: datetime
    keep_s: float

    def __post_init__(self) -> None:
        clean(self, {"holder": partial(word, bytes_max=HOLDER_BYTES_MAX)})
        object.__setattr__(self, "asked_at", in_utc(self.asked_at))
        # Written so that no number, NaN included, is out of bounds.
        object.__setattr__(self, "keep_s", self.keep_s if 0 <= self.keep_s <= KEEP_MAX_S else KEEP_MAX_S)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the gate says about a lease: that it is granted, or its ``place`` among those that wait, from 1."""

    asked_at: datetime
    is_granted: bool = False
    place: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "asked_at", in_utc(self.asked_at))


@dataclass(frozen=True, slots=True)
class Letter:
    """An answer, and the workflow to which it goes."""

    holder: str
    answer: Answer


@dataclass(slots=True)
class Slot:
    """The lease of an issue, as its workflow knows it.

    ``asked_at`` is None while it neither has nor wants one. ``last_asked_at`` is the time of the newest asking, also of
    one that is over. ``told_at`` is when the gate was told last. ``is_spent``: it is to be returned, whatever comes
    next. ``is_questioned``: the gate wants to hear of it. ``strange``: what the gate believes, and is not so.
    """

    asked_at: datetime | None = None
    last_asked_at: datetime | None = None
    told_at: datetime | None = None
    is_held: bool = False
    is_spent: bool = False
    is_questioned: bool = False
    place: int = 0
    strange: list[datetime] = field(default_factory=list)

    def __post_init__(self) -> None:
        """A memory that somebody typed may hold more."""
        del self.strange[STRANGE_MAX:]

    @property
    def is_waiting(self) -> bool:
        """Whether it asked, and has no slot yet."""
        return self.asked_at is not None and not self.is_held

    @property
    def wait(self) -> str:
        """What is waited for, as people read it, with the place as far as the gate told it; '' for nothing."""
        if not self.is_waiting:
            return ""
        place = f", place {self.place} in the queue" if self.place else ""
        return f"waiting until fewer runs are at work in the installation{place}"

    def spend(self) -> None:
        """The run is over: the next one asks anew, behind those who wait by then."""
        self.is_spent = self.asked_at is not None

    def next_word(self, need: Need, now: datetime) -> Word | None:
        """What to say to the gate now; None for nothing."""
        if self.strange:
            return Word.RETURN
        if self.asked_at is not None and (self.is_spent or need is Need.NONE):
            return Word.RETURN
        if need is Need.NONE:
            return None
        if need is Need.OCCUPIED and not self.is_held:
            return Word.HOLD
        if self.is_held:
            return Word.HOLD if self.is_questioned or self._is_silent(SAY_AGAIN, now) else None
        return Word.ASK if self.asked_at is None or self._is_silent(ASK_AGAIN, now) else None

    def say(self, need: Need, now: datetime) -> tuple[Word, datetime] | None:
        """Take the next word to say as said: the word, and the lease that it is about."""
        spoken = self.next_word(need, now)
        if spoken is None:
            return None
        if self.strange:
            return spoken, self.strange.pop(0)
        if self.asked_at is None:
            self.asked_at = self.last_asked_at = self._later(now)
        about, self.told_at, self.is_questioned = self.asked_at, now, False
        self.is_held = self.is_held or spoken is Word.HOLD
        if spoken is Word.RETURN:
            self.asked_at, self.is_held, self.is_spent, self.place = None, False, False, 0
        return spoken, about

    def hear(self, answer: Answer) -> None:
        """Take an answer of the gate."""
        if answer.asked_at == self.asked_at and not self.is_spent:
            self.is_questioned = self.is_questioned or (answer.is_granted and self.is_held)
            self.is_held = self.is_held or answer.is_granted
            self.place = 0 if self.is_held else answer.place
        elif answer.is_granted and answer.asked_at not in (self.asked_at, *self.strange):
            self.strange = [*self.strange, answer.asked_at][:STRANGE_MAX]

    def due_at(self, need: Need) -> datetime | None:
        """When time alone makes it say something; None for never. A holder says it when something else wakes it up."""
        if need is not Need.WANTED or not self.is_waiting or self.told_at is None:
            return None
        return self.told_at + ASK_AGAIN

    def _is_silent(self, so_long: timedelta, now: datetime) -> bool:
        return self.told_at is None or now >= self.told_at + so_long

    def _later(self, now: datetime) -> datetime:
        """The time of an asking, later than that of every asking before."""
        last = self.last_asked_at
        return now if last is None or now > last else last + timedelta(microseconds=1)


@dataclass(slots=True)
class Lease:
    """A slot in use. ``heard_at`` is when its holder said something last, ``questioned_at`` when it was asked."""

    holder: str
    asked_at: datetime
    keep_s: float
    heard_at: datetime
    questioned_at: datetime | None = None

    @property
    def ends_at(self) -> datetime:
        """When nothing of the holder's run can be alive any more, if it says nothing until then."""
        return self.heard_at + timedelta(seconds=self.keep_s)

    @property
    def question_at(self) -> datetime:
        """When the holder is asked, if it says nothing until then."""
        return max(self.heard_at, self.questioned_at or self.heard_at) + QUESTION_AFTER


@dataclass(slots=True)
class Waiting:
    """An issue that waits for a slot."""

    holder: str
    asked_at: datetime
    keep_s: float


IN_ORDER = attrgetter("asked_at", "holder")


@dataclass(slots=True)
class RunGate:
    """Who holds a slot, and who waits for one, in order. ``runs_max`` is the limit, 0 for none.

    Before ``opens_at`` nothing is granted. ``checked_at`` is when it was last known which holders have ended.
    ``unanswered`` are those who asked and were told nothing yet.
    """

    runs_max: int = 0
    leases: list[Lease] = field(default_factory=list)
    waiting: list[Waiting] = field(default_factory=list)
    opens_at: datetime | None = None
    checked_at: datetime | None = None
    unanswered: list[str] = field(default_factory=list)

    def hear(self, said: Said, now: datetime) -> None:
        """Take a word of a holder. Safe to repeat; a word about an earlier lease than the newest changes nothing."""
        known = [lease.asked_at for lease in self.leases if lease.holder == said.holder]
        known += [each.asked_at for each in self.waiting if each.holder == said.holder]
        if said.asked_at > now + AHEAD_MAX or any(asked_at > said.asked_at for asked_at in known):
            return
        is_known = said.asked_at in known
        if said.word is Word.RETURN or not is_known:
            self._forget(said.holder)
        if said.word is Word.ASK and not is_known and len(self.waiting) < HOLDERS_MAX:
            insort(self.waiting, Waiting(said.holder, said.asked_at, said.keep_s), key=IN_ORDER)
        if said.word is Word.ASK:
            self._answer(said.holder)
        if said.word is Word.HOLD:
            self._hold(said, now)

    def step(self, now: datetime) -> list[Letter]:
        """Free what is over, grant what can be granted, ask who is silent. Returns what to tell whom."""
        self.leases = [lease for lease in self.leases if lease.ends_at > now]
        letters = [self._grant(now) for _ in range(self._grantable(now))]
        for lease in self.leases:
            if lease.question_at <= now or lease.holder in self.unanswered:
                lease.questioned_at = now
                letters.append(Letter(lease.holder, Answer(lease.asked_at, is_granted=True)))
        letters += [
            Letter(each.holder, Answer(each.asked_at, place=place))
            for place, each in enumerate(self.waiting, 1)
            if each.holder in self.unanswered
        ]
        self.unanswered.clear()
        return letters

    def is_check_due(self, now: datetime) -> bool:
        """Whether to find out which holders have ended: somebody waits, and it was not asked for a while."""
        return bool(self.waiting) and (self.checked_at is None or now >= self.checked_at + CHECK_EVERY)

    def reclaim(self, gone: Iterable[tuple[str, datetime]]) -> None:
        """These holders have ended, or were never there. What they asked for since is not meant."""
        dead = frozenset(gone)
        self.leases = [each for each in self.leases if (each.holder, each.asked_at) not in dead]
        self.waiting = [each for each in self.waiting if (each.holder, each.asked_at) not in dead]

    def due_at(self) -> datetime | None:
        """When time alone makes something due; None for never."""
        moments = [moment for lease in self.leases for moment in (lease.ends_at, lease.question_at)]
        if self.waiting and self.checked_at is not None:
            moments.append(self.checked_at + CHECK_EVERY)
        if self.waiting and self.opens_at is not None:
            moments.append(self.opens_at)
        return min(moments, default=None)

    def _hold(self, said: Said, now: datetime) -> None:
        lease = next((each for each in self.leases if each.holder == said.holder), None)
        if lease is not None:
            lease.heard_at, lease.questioned_at, lease.keep_s = now, None, said.keep_s
        elif len(self.leases) < HOLDERS_MAX:
            # It may be a late word about a lease that was returned since. So its holder is asked.
            self._forget(said.holder)
            self.leases.append(Lease(said.holder, said.asked_at, said.keep_s, now))
            self._answer(said.holder)

    def _answer(self, holder: str) -> None:
        """With the next step. Whoever is left out asks again."""
        if holder not in self.unanswered and len(self.unanswered) < HOLDERS_MAX:
            self.unanswered.append(holder)

    def _grantable(self, now: datetime) -> int:
        if self.opens_at is not None and now < self.opens_at:
            return 0
        self.opens_at = None
        if self.runs_max == 0:
            return len(self.waiting)
        return min(len(self.waiting), max(0, self.runs_max - len(self.leases)))

    def _grant(self, now: datetime) -> Letter:
        first = self.waiting.pop(0)
        self.leases.append(Lease(first.holder, first.asked_at, first.keep_s, now))
        if first.holder in self.unanswered:
            self.unanswered.remove(first.holder)
        return Letter(first.holder, Answer(first.asked_at, is_granted=True))

    def _forget(self, holder: str) -> None:
        self.leases = [each for each in self.leases if each.holder != holder]
        self.waiting = [each for each in self.waiting if each.holder != holder]
        self.unanswered = [each for each in self.unanswered if each != holder]


class RunGates(Protocol):
    """The gate of the installation, as activities reach it. Raises TransientError when Temporal does not answer."""

    async def say(self, said: Said, runs_max: int) -> None:
        """Tell the gate, which is started if it does not run. ``runs_max`` is the limit that this worker knows."""

    async def list_ended(self, holders: Iterable[str]) -> frozenset[str]:
        """Those of them whose workflow does not run."""
