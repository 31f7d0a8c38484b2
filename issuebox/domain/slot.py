"""A slot, as the workflow of an issue knows it: one for its running sandbox, one for its run. Pure.

The *gate* (`issuebox.domain.gate`) hands out *leases* on slots. The workflow of an issue asks for one before it brings
its sandbox up, or begins a run; it returns the lease once nothing is up, or at work, any more. What they say to each
other may come twice, late and in any order, and a reset of a workflow undoes what it knew. So each side names a lease
by the time of its asking, which grows from one asking to the next:

1. A lease ends when its holder returns it. Without a sign of its holder it ends only when nothing of it can be left.
2. A grant is a question as well: who does not know the lease returns it, and who holds it says so.
3. Who says that it holds a slot is believed, even beyond the limit: it is in use, whatever the gate remembers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial

from issuebox.domain.issue import in_utc
from issuebox.domain.text import clean, shortened

HOLDER_MAX = 99
"""Characters of the ID of an issue's workflow: a prefix of at most 80, and an issue ID."""

REPOSITORY_MAX = 40
"""Characters of a repository's name. A longer one ends with a digest of the whole: it is only compared."""

LOGIN_MAX = 44
"""Characters of a login at GitHub: 39, or 44 with ``[bot]``."""

_STRANGE = re.compile(r"[^A-Za-z0-9._/\[\]-]")

KEEP_MAX_S = 30 * 86400.0
"""Longer than any run may take: its time limit is 7 days at most."""

NEVER = datetime(1970, 1, 1, tzinfo=UTC)
"""When a lease was asked for of which the gate knows only that its sandbox runs."""

STRANGE_MAX = 8
"""Leases that a holder does not know, and has not returned yet."""

ASK_AGAIN = timedelta(minutes=10)
"""How often an issue that waits asks again: the gate may have been terminated, or the answer undone by a reset."""

UNHEARD_AGAIN = timedelta(seconds=20)
"""How soon it asks again when the gate was not reached, such as while no worker runs."""

SAY_AGAIN = timedelta(minutes=15)
"""How often a holder says that it still holds its slot: with the next slice of its follower, so every 20 minutes."""


def plain(text: str, characters_max: int) -> str:
    """A name at GitHub, Daytona or Temporal, with a question mark for each character that is in none."""
    return _STRANGE.sub("?", text[:characters_max])


def _repository(text: str) -> str:
    return plain(shortened(text.lower(), REPOSITORY_MAX), REPOSITORY_MAX)


class Kind(StrEnum):
    """What a slot is for."""

    SANDBOX = "sandbox"
    """A sandbox that runs."""
    RUN = "run"
    """A run at work."""


class Need(StrEnum):
    """What an issue needs of the gate."""

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
    REFUSED = "refused"
    """It returns the slot: Daytona refused what it was for, because the organization's quota is used up."""


class Limit(StrEnum):
    """What keeps an issue waiting."""

    TOTAL = "total"
    RESERVE = "reserve"
    REPOSITORY = "repository"
    AUTHOR = "author"
    QUOTA = "quota"
    OPENING = "opening"
    """The gate does not know yet what is in use."""


WAITS_FOR: dict[tuple[Kind, Limit], str] = {
    (Kind.RUN, Limit.TOTAL): "waiting until fewer runs are at work in the installation",
    (Kind.SANDBOX, Limit.TOTAL): "waiting until fewer sandboxes run in the installation",
    (Kind.SANDBOX, Limit.RESERVE): "waiting until fewer sandboxes run: those left are reserved for trusted people",
    (Kind.SANDBOX, Limit.REPOSITORY): "waiting until fewer sandboxes of its repository run",
    (Kind.SANDBOX, Limit.AUTHOR): "waiting until fewer sandboxes of its author's issues run",
    (Kind.SANDBOX, Limit.QUOTA): "waiting until Daytona's quota has room, which is tried once a minute",
}
"""What is waited for, as people read it. Anything else is the gate's own start: `OPENING`."""

OPENING = "waiting until the gate knows what is in use"


def waits_for(kind: Kind, limit: Limit) -> str:
    """What is waited for, as people read it."""
    return WAITS_FOR.get((kind, limit), OPENING)


@dataclass(frozen=True, slots=True)
class Asker:
    """For whom a slot is. ``author`` opened the issue.

    ``is_person``: somebody waits for the answer, at REST or the command line. ``is_trusted``: whoever asks may use the
    reserve.
    """

    repository: str = ""
    author: str = ""
    is_person: bool = False
    is_trusted: bool = False

    def __post_init__(self) -> None:
        """GitHub compares both without regard to case."""
        clean(self, {"repository": _repository, "author": lambda text: plain(text, LOGIN_MAX).lower()})


@dataclass(frozen=True, slots=True)
class Said:
    """One word of a holder, about the lease that it asked for at `asked_at`.

    ``holder`` is the ID of its workflow. ``keep_s``: after so many seconds from its last word nothing of it is alive; 0
    where only a lookup can tell. ``since`` is its place in the queue, None for `asked_at`.
    """

    holder: str
    word: Word
    asked_at: datetime
    keep_s: float = 0.0
    kind: Kind = Kind.RUN
    since: datetime | None = None
    asker: Asker = field(default_factory=Asker)

    def __post_init__(self) -> None:
        clean(self, {"holder": partial(plain, characters_max=HOLDER_MAX)})
        object.__setattr__(self, "asked_at", in_utc(self.asked_at))
        object.__setattr__(self, "since", in_utc(self.since))
        # Written so that no number, NaN included, is out of bounds.
        object.__setattr__(self, "keep_s", self.keep_s if 0 <= self.keep_s <= KEEP_MAX_S else KEEP_MAX_S)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the gate says about a lease: that it is granted, or its ``place`` among those that wait, from 1.

    ``limit`` is what keeps it waiting. ``is_trial``: the gate wants to hear at once whether the quota had room.
    """

    asked_at: datetime
    is_granted: bool = False
    place: int = 0
    kind: Kind = Kind.RUN
    limit: Limit = Limit.TOTAL
    is_trial: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "asked_at", in_utc(self.asked_at))


@dataclass(slots=True)
class Slot:
    """The lease of an issue, as its workflow knows it.

    ``asked_at`` is None while it neither has nor wants one. ``last_asked_at`` is the time of the newest asking, also of
    one that is over. ``since`` is the place in the queue, which a refused try keeps. ``told_at`` is when the gate was
    told last, ``told`` for whom. ``is_spent``: it is to be returned, whatever comes next. ``is_refused``: so is this,
    because Daytona's quota is used up. ``is_questioned``: the gate wants to hear of it. ``is_trial``: as in `Answer`.
    ``kept_until``: a command whose reply was lost may still bring the sandbox up. ``strange``: what the gate believes,
    and is not so.
    """

    asked_at: datetime | None = None
    last_asked_at: datetime | None = None
    since: datetime | None = None
    told_at: datetime | None = None
    told: Asker | None = None
    is_held: bool = False
    is_spent: bool = False
    is_refused: bool = False
    is_questioned: bool = False
    is_trial: bool = False
    place: int = 0
    limit: Limit = Limit.TOTAL
    kept_until: datetime | None = None
    strange: list[datetime] = field(default_factory=list)

    def __post_init__(self) -> None:
        """A memory that somebody typed may hold more."""
        del self.strange[STRANGE_MAX:]

    @property
    def is_waiting(self) -> bool:
        """Whether it asked, and has no slot yet."""
        return self.asked_at is not None and not self.is_held

    @property
    def is_usable(self) -> bool:
        """Whether what it is for may begin."""
        return self.is_held and not self.is_spent and not self.is_refused

    @property
    def is_told(self) -> bool:
        """Whether the gate has told what is waited for. That it does not know yet what is in use takes it a moment."""
        return self.place > 0 and self.limit is not Limit.OPENING

    def wait(self, kind: Kind) -> str:
        """What is waited for, as people read it, with the place as far as the gate told it; '' for nothing."""
        if not self.is_waiting:
            return ""
        if not self.place:
            return "waiting for a slot, and the gate that hands them out has not answered yet"
        return f"{waits_for(kind, self.limit)}, place {self.place} in the queue"

    def spend(self) -> None:
        """What it was for is over: the next one asks anew, behind those who wait by then."""
        self.is_spent = self.asked_at is not None

    def next_word(self, need: Need, now: datetime, asker: Asker | None = None) -> Word | None:
        """What to say to the gate now; None for nothing. What is its own comes first: that ends every earlier lease."""
        return self._own_word(need, now, asker) or (Word.RETURN if self.strange else None)

    def _own_word(self, need: Need, now: datetime, asker: Asker | None) -> Word | None:
        if self.is_refused:
            return Word.REFUSED
        if self.is_spent or need is Need.NONE:
            return Word.RETURN if self.asked_at is not None else None
        if need is Need.OCCUPIED and (not self.is_held or self.is_trial):
            return Word.HOLD
        if self.is_held:
            return Word.HOLD if self.is_questioned or self._is_silent(SAY_AGAIN, now) else None
        is_news = self.asked_at is None or (asker is not None and asker != self.told)
        return Word.ASK if is_news or self._is_silent(ASK_AGAIN, now) else None

    def say(self, need: Need, now: datetime, asker: Asker | None = None) -> tuple[Word, datetime] | None:
        """Take the next word to say as said: the word, and the lease that it is about."""
        spoken = self._own_word(need, now, asker)
        if spoken is None:
            return (Word.RETURN, self.strange.pop(0)) if self.strange else None
        if self.asked_at is None:
            self.asked_at = self.last_asked_at = self._later(now)
            self.since = self.since or self.asked_at
        about, self.told_at, self.told, self.is_questioned = self.asked_at, now, asker, False
        self.is_held = self.is_held or spoken is Word.HOLD
        if spoken is Word.HOLD:
            self.is_trial = False
        if spoken in {Word.RETURN, Word.REFUSED}:
            self.asked_at, self.is_held, self.is_spent, self.is_trial, self.place = None, False, False, False, 0
            self.is_refused, self.since = False, self.since if spoken is Word.REFUSED else None
        return spoken, about

    def miss(self, now: datetime) -> None:
        """The gate was not reached with what was said. Who waits asks again soon; a lease in use is asked about."""
        self.told_at = now - ASK_AGAIN + min(UNHEARD_AGAIN, ASK_AGAIN)

    def hear(self, answer: Answer) -> None:
        """Take an answer of the gate."""
        if answer.asked_at == self.asked_at and not self.is_spent and not self.is_refused:
            self.is_questioned = self.is_questioned or (answer.is_granted and self.is_held)
            self.is_trial = answer.is_granted and answer.is_trial
            self.is_held = self.is_held or answer.is_granted
            self.place, self.limit = 0 if self.is_held else answer.place, answer.limit
        elif answer.is_granted:
            # Returned alone, it would free the slot of whoever holds another lease on it.
            self.is_questioned = self.is_questioned or self.is_held
            if answer.asked_at not in (self.asked_at, *self.strange):
                self.strange = [*self.strange, answer.asked_at][:STRANGE_MAX]

    def is_forgotten(self, answer: Answer) -> bool:
        """Whether the lease was asked for later than anything that its holder remembers: a reset has undone that."""
        return answer.is_granted and answer.asked_at > (self.last_asked_at or NEVER)

    def start_over(self, answer: Answer, until: datetime) -> None:
        """Go on without knowing what was asked for. What was sent by then may bring the sandbox up `until` then."""
        self.asked_at, self.told_at, self.is_held, self.is_spent, self.is_refused = None, None, False, False, False
        self.is_trial, self.is_questioned, self.place = False, False, 0
        self.last_asked_at, self.kept_until = answer.asked_at, until

    def due_at(self, need: Need) -> datetime | None:
        """When time alone makes it say something; None for never. A holder says it when something else wakes it up."""
        if need is Need.WANTED and self.is_waiting and self.told_at is not None:
            return self.told_at + ASK_AGAIN
        return self.kept_until if self.is_held else None

    def _is_silent(self, so_long: timedelta, now: datetime) -> bool:
        return self.told_at is None or now >= self.told_at + so_long

    def _later(self, now: datetime) -> datetime:
        """The time of an asking, later than that of every asking before."""
        last = self.last_asked_at
        return now if last is None or now > last else last + timedelta(microseconds=1)
