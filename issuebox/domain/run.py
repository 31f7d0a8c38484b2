"""Runs: what an issue's agent was asked, and how far the work on it has come. Pure.

A *run request* is a person's act that asks for work. It has a key from the act, not from the delivery, so that
whatever brings the same act again changes nothing. A *run* is one piece of work; it serves one request or more. An
*attempt* is one execution of the command. Another one follows only the proven end of the one before.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from hashlib import sha256

from issuebox.domain.issue import in_utc
from issuebox.domain.run_pause import STOPPED_AGAIN_WITHIN, Pause
from issuebox.domain.slot import Need, Slot
from issuebox.domain.text import Clean, clean, passage, prose, word

TEXT_BYTES_MAX = 32 * 1024
"""Of one request's text. GitHub's comments have 65,536 characters; what is longer is cut, and says so."""
TEXTS_BYTES_MAX = 96 * 1024
"""Of all texts that the memory of an issue holds, as JSON. A request beyond that is refused."""
QUEUE_MAX = 50
"""Requests that wait for a run. A request beyond that is refused."""
RUNS_MAX = 10
"""Runs that the memory keeps, the last ones."""
RECEIPTS_MAX = 64
"""Requests of runs that are over whose receipts the memory keeps, the last ones."""
KEYS_MAX = 256
"""Keys of requests that the memory knows, the last ones."""
KEY_BYTES_MAX = 140
"""Of a request. A caller's own key has 128, behind what tells it from other acts."""
SUMMARY_BYTES_MAX = 500
REASON_BYTES_MAX = 400
SESSION_BYTES_MAX = 128

CALLED_OFF = "somebody called it off"
"""Why a request is refused that a person's *stop* came after."""

FOLLOW_SLICE = timedelta(minutes=10)
"""A follower returns after so long: Temporal then knows how far it came, and the history grows by a few events."""


class RequestKind(StrEnum):
    """What asks for work."""

    START = "start"
    """The issue itself: it was labelled, opened, reopened or assigned. One such request is open at a time."""
    COMMENT = "comment"
    CALL = "call"
    """A program or a person, by REST or the command line."""
    CANCEL = "cancel"
    """Asks for no work: what runs and what waits is to end."""


class RunGoal(StrEnum):
    """What is wanted of a run."""

    WORK = "work"
    PAUSE = "pause"
    """It ends its attempt in order, and goes on with the next one once somebody asks."""
    CANCEL = "cancel"


class RunPhase(StrEnum):
    """What is known of the current attempt. The first five a probe shows."""

    ABSENT = "absent"
    PREPARED = "prepared"
    RUNNING = "running"
    ENDED = "ended"
    DEAD = "dead"
    """It began, nothing of it is alive, and nobody wrote how it ended."""
    LOST = "lost"
    """It had begun, and the disk does not know of it: another sandbox, or an older disk."""
    UNKNOWN = "unknown"
    """Nobody could read it."""
    ASLEEP = "asleep"
    """The sandbox does not run, so nothing in it does."""


class Step(StrEnum):
    """What to do next about a run. Completes "the workflow decides to …"."""

    PREPARE = "prepare"
    BEGIN = "begin"
    FOLLOW = "follow"
    INTERRUPT = "interrupt"
    FENCE = "fence"
    COLLECT = "collect"
    PROBE = "probe"
    WAKE = "wake"
    """Ask for the sandbox."""
    REST = "rest"
    CLOSE = "close"


class RunOutcome(StrEnum):
    """How a run ended. Completes "the run is …" or "… ended it"."""

    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIME_LIMIT = "time_limit"
    STALLED = "stalled"
    ATTEMPTS = "attempts"
    """As many attempts as are allowed were cut off."""
    LOST = "lost"
    CREDENTIALS = "credentials"
    BUDGET = "budget"
    TURNS = "turns"
    POISONED = "poisoned"
    """The conversation cannot be continued. The next run begins a new one."""
    REFUSED = "refused"
    """It could not be prepared, for a reason that another try would meet again."""


BEGUN = frozenset({RunPhase.RUNNING, RunPhase.ENDED, RunPhase.DEAD, RunPhase.LOST})
"""Phases that only an attempt reaches that has begun."""

SETTLED = frozenset({RunPhase.ABSENT, RunPhase.ASLEEP, RunPhase.LOST})
"""Phases in which nothing of the attempt is alive, or can come alive by itself."""


_REQUEST_TEXTS: Mapping[str, Clean] = {
    "key": partial(word, bytes_max=KEY_BYTES_MAX),
    "author": partial(word, bytes_max=64),
    "text": partial(passage, bytes_max=TEXT_BYTES_MAX),
    "body": partial(passage, bytes_max=TEXT_BYTES_MAX),
}
RUN_TEXTS: Mapping[str, Clean] = {
    "id": partial(word, bytes_max=32),
    "ending": partial(word, bytes_max=32),
    "summary": partial(prose, bytes_max=SUMMARY_BYTES_MAX),
    "reason": partial(prose, bytes_max=REASON_BYTES_MAX),
    "trouble": partial(prose, bytes_max=REASON_BYTES_MAX),
    "progress": partial(prose, bytes_max=300),
    "session": partial(word, bytes_max=SESSION_BYTES_MAX),
    "branch": partial(word, bytes_max=256),
    "pull_request": partial(word, bytes_max=256),
    "told": partial(word, bytes_max=16),
}


RECEIPT_TEXTS: Mapping[str, Clean] = {
    "key": _REQUEST_TEXTS["key"],
    "author": _REQUEST_TEXTS["author"],
    "reason": RUN_TEXTS["reason"],
}
"""Of what says what became of a request."""


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A person's act that asks for work, as it was delivered: what the agent reads is what the permitted person wrote.

    ``key`` names the act; '' for a *start*, which the memory numbers. ``text`` is the comment or the prompt, ``body``
    the issue's own text. ``comment_id`` is GitHub's, 0 for none. ``at`` is when it was asked, by GitHub's clock or, for
    a call, by that of the API; None: when it arrived.
    """

    kind: RequestKind
    key: str = ""
    author: str = ""
    text: str = ""
    body: str = ""
    comment_id: int = 0
    at: datetime | None = None

    def __post_init__(self) -> None:
        clean(self, _REQUEST_TEXTS)
        object.__setattr__(self, "at", in_utc(self.at))

    def without_texts(self) -> RunRequest:
        """The request, without what people wrote."""
        return replace(self, text="", body="")

    @property
    def bytes(self) -> int:
        """What its texts cost in the memory."""
        return sum(len(json.dumps(text, ensure_ascii=False).encode()) for text in (self.text, self.body))


@dataclass(frozen=True, slots=True)
class Refused:
    """A request that was not taken, and why."""

    key: str
    author: str
    reason: str
    at: datetime

    def __post_init__(self) -> None:
        clean(self, RECEIPT_TEXTS)


@dataclass(slots=True)
class Run:
    """One piece of work.

    ``requests`` are those that it serves; their texts are given up at its end. ``sandbox_id`` is the sandbox in
    which the current attempt began or is being prepared. ``session`` names the agent's conversation. ``begun_at``
    is when the current attempt was first seen begun. ``is_sent``: an attempt was told
    to begin, and may have begun; ``has_slept``: the sandbox did not run for a time since then. ``out_bytes`` counts
    what was followed of its output, and ``quiet_since`` says since when that had not grown at ``seen_at``, the time
    of the last probe. ``failures`` counts the steps in a row that failed, ``trouble`` says how, and before
    ``next_step_at`` nothing is tried. ``ending`` is why we end the attempt, '' while we do not; ``interruptions``
    counts how often that was tried. ``is_through``: the agent has said how it ended, and lives on. ``cut_off``
    counts the attempts that something else ended. ``stops`` says when the sandbox was last seen stopped under one that
    worked: at most two times, since the last pause. ``comment_id`` is the comment that tells of it on the issue: 0
    before there is one, -1 when somebody deleted it. ``told`` is the state that it was last told in, at
    ``told_at``: see `issuebox.domain.run_comment`.
    """

    id: str
    requests: tuple[RunRequest, ...]
    asked_at: datetime
    goal: RunGoal = RunGoal.WORK
    phase: RunPhase = RunPhase.ABSENT
    attempt: int = 1
    is_sent: bool = False
    has_slept: bool = False
    sandbox_id: str = ""
    session: str = ""
    first_begun_at: datetime | None = None
    begun_at: datetime | None = None
    ended_at: datetime | None = None
    out_bytes: int = 0
    quiet_since: datetime | None = None
    seen_at: datetime | None = None
    progress: str = ""
    ending: str = ""
    is_through: bool = False
    failures: int = 0
    trouble: str = ""
    next_step_at: datetime | None = None
    interruptions: int = 0
    cut_off: int = 0
    stops: tuple[datetime, ...] = ()
    oom_kills: int = 0
    outcome: RunOutcome | None = None
    reason: str = ""
    exit_code: int | None = None
    summary: str = ""
    cost_usd: float = 0.0
    branch: str = ""
    pull_request: str = ""
    comment_id: int = 0
    told: str = ""
    told_at: datetime | None = None

    def __post_init__(self) -> None:
        clean(self, RUN_TEXTS)
        self.stops = self.stops[-2:]

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of the requests that it serves."""
        return tuple(request.key for request in self.requests)

    @property
    def is_over(self) -> bool:
        """Whether nothing will be done about it any more."""
        return self.outcome is not None

    @property
    def is_begun(self) -> bool:
        """Whether the current attempt was ever seen begun."""
        return self.begun_at is not None

    def may_live(self) -> bool:
        """Whether something of it may be alive in the sandbox, or come alive by a request whose reply was lost."""
        return not self.is_over and self.phase not in SETTLED

    def slot_need(self, now: datetime, *, is_held: bool, is_blocked: bool) -> Need:
        """What it needs of the installation's slots. ``is_blocked``: the sandbox cannot be brought up now.

        What may live keeps the slot that it has. Without one, only what is seen at work claims one: a sandbox that
        somebody else woke up is no way past those who wait.
        """
        if self.is_over:
            return Need.NONE
        if self.phase is RunPhase.RUNNING or (is_held and self.may_live()):
            return Need.OCCUPIED
        is_later = self.next_step_at is not None and self.next_step_at > now
        has_work = self.goal is RunGoal.WORK and self.phase is not RunPhase.LOST
        return Need.WANTED if has_work and not is_later and not is_blocked else Need.NONE

    def move_on(self) -> None:
        """Nothing of this attempt is alive: turn to the next one."""
        self.attempt += 1
        self.phase, self.begun_at = RunPhase.ABSENT, None
        self.has_slept = False
        self.out_bytes, self.quiet_since, self.progress, self.ending, self.interruptions = 0, None, "", "", 0
        self.is_through = False

    def cut(self, reason: str) -> None:
        """Something else has ended the attempt."""
        self.cut_off += 1
        self.reason = reason

    @property
    def is_stopped_again(self) -> bool:
        """Whether the sandbox was stopped under it twice, so soon that it would only be stopped once more."""
        return len(self.stops) == 2 and self.stops[1] - self.stops[0] <= STOPPED_AGAIN_WITHIN  # noqa: PLR2004

    def close(self, outcome: RunOutcome, reason: str, now: datetime) -> None:
        """The run is over. What people wrote is given up: it stands on the sandbox's disk."""
        self.outcome, self.reason, self.ended_at = outcome, prose(reason, REASON_BYTES_MAX), now
        self.next_step_at, self.trouble = None, ""
        self.requests = tuple(request.without_texts() for request in self.requests)

    def fail(self, trouble: str, pause_s: float, now: datetime) -> None:
        """A step failed. Nothing is tried for `pause_s`."""
        self.failures += 1
        self.trouble, self.next_step_at = prose(trouble, REASON_BYTES_MAX), now + timedelta(seconds=pause_s)

    def succeed(self) -> None:
        """A step was carried out."""
        self.failures, self.trouble, self.next_step_at = 0, "", None


@dataclass(slots=True)
class Runs:
    """The runs of an issue, and the requests that wait for one.

    ``starts`` counts the *start* requests, ``sessions`` the conversations that were given up. ``session`` is the last
    one in which an attempt has begun. ``refused`` are the last requests that were not taken.
    ``unseen`` are the comments that asked, and under which nothing shows yet that they were heard. While there is a
    ``pause`` nothing begins, and the active run has no goal but to pause or to be cancelled. ``called_off_at`` is when
    somebody called the work off on the issue last, by GitHub's clock: what was asked there before comes too late.
    """

    queue: list[RunRequest] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    starts: int = 0
    session: str = ""
    sessions: int = 0
    slot: Slot = field(default_factory=Slot)
    unseen: list[int] = field(default_factory=list)
    pause: Pause | None = None
    called_off_at: datetime | None = None

    def __post_init__(self) -> None:
        """A memory that somebody typed may hold more."""
        del self.queue[QUEUE_MAX:], self.unseen[:-QUEUE_MAX]
        del self.runs[:-RUNS_MAX], self.keys[:-KEYS_MAX], self.refused[:-RUNS_MAX]
        self.session = RUN_TEXTS["session"](self.session)
        self._forget_receipts()
        while self.queue and self.texts_bytes > TEXTS_BYTES_MAX:
            self.queue.pop()
        if self.texts_bytes > TEXTS_BYTES_MAX and self.runs:
            self.runs[-1].requests = tuple(request.without_texts() for request in self.runs[-1].requests)

    @property
    def active(self) -> Run | None:
        """The run that is not over. There is one at most, and it is the last."""
        return self.runs[-1] if self.runs and not self.runs[-1].is_over else None

    @property
    def texts_bytes(self) -> int:
        """What the texts of all requests cost in the memory."""
        active = self.runs[-1].requests if self.runs else ()
        return sum(request.bytes for request in (*self.queue, *active))

    @property
    def is_open(self) -> bool:
        """Whether a request waits, or a run is not over."""
        return bool(self.queue) or self.active is not None

    def take(self, request: RunRequest, now: datetime) -> str:
        """Take a request. Returns its key, '' when it was not taken: it is known, joins another one, or is refused."""
        asked_at = request.at or now
        request = replace(request, at=asked_at)
        if request.kind is RequestKind.START:
            if self._is_started(request):
                return ""
            request = replace(request, key=f"start-{self.starts + 1}")
        if request.key in self.keys:
            return ""
        self._remember(request.key)
        self.starts += request.kind is RequestKind.START
        if len(self.queue) >= QUEUE_MAX or self.texts_bytes + request.bytes > TEXTS_BYTES_MAX:
            self.refuse(request, "too many requests already wait for this issue's agent", now)
            return ""
        # Within one second, which is GitHub's precision, it counts. A call is dated by another clock, and never late.
        is_called_off = self.called_off_at is not None and asked_at < self.called_off_at
        if is_called_off and request.kind is not RequestKind.CALL:
            self.refuse(request, CALLED_OFF, now)
            return ""
        # The issue's own text stands in the newest request that has it.
        self.queue = [replace(each, body="") if request.body else each for each in self.queue]
        self.queue.append(request)
        if request.comment_id:
            self.unseen.append(request.comment_id)
            del self.unseen[:-QUEUE_MAX]
        return request.key

    def refuse_once(self, request: RunRequest, reason: str, now: datetime) -> None:
        """Refuse a request that came too late, unless its key is known. What asks without a key has no receipt."""
        if request.key and request.key not in self.keys:
            self._remember(request.key)
            self.refuse(request, reason, now)

    def _remember(self, key: str) -> None:
        self.keys.append(key)
        del self.keys[:-KEYS_MAX]

    def refuse(self, request: RunRequest, reason: str, now: datetime) -> None:
        """Remember a request that was not taken."""
        self.refused.append(Refused(request.key, request.author, reason, now))
        del self.refused[:-RUNS_MAX]

    def next_run(self, issue_id: int, sandbox_id: str, now: datetime) -> Run:
        """Make one run of all requests that wait, in order. Its ID follows from the issue and the first key."""
        requests, self.queue = tuple(self.queue), []
        run = Run(run_id(issue_id, requests[0].key), requests, now, sandbox_id=sandbox_id)
        self.runs.append(run)
        del self.runs[:-RUNS_MAX]
        self._forget_receipts()
        return run

    def _forget_receipts(self) -> None:
        """Of the runs before the last one, keep the newest requests, without what people wrote."""
        left = RECEIPTS_MAX
        for run in reversed(self.runs[:-1]):
            kept = run.requests[:left]
            run.requests = tuple(request.without_texts() for request in kept)
            left -= len(kept)

    def session_in(self, issue_id: int, sandbox_id: str) -> str:
        """The agent's conversation about the issue. It lives on the sandbox's disk, so each sandbox has its own."""
        digits = sha256(f"{issue_id} {sandbox_id} {self.sessions}".encode()).hexdigest()
        # In the form of a UUID of version 8 (RFC 9562): agents take nothing else.
        return f"{digits[:8]}-{digits[8:12]}-8{digits[13:16]}-8{digits[17:20]}-{digits[20:32]}"

    def forget_session(self) -> None:
        """The next run begins a conversation of its own."""
        self.sessions += 1

    def want(self, goal: RunGoal) -> bool:
        """Set the goal of the active run. Returns whether that is new.

        A run that is to be cancelled stays so, and one that somebody paused works only once it is resumed.
        """
        run = self.active
        if run is None or goal is run.goal or run.goal is RunGoal.CANCEL:
            return False
        if goal is RunGoal.WORK and self.pause is not None:
            return False
        run.goal, run.next_step_at = goal, None
        return True

    @property
    def is_paused(self) -> bool:
        """Whether something waits until somebody resumes it, or, after a stop of the sandbox, asks again."""
        active = self.active
        return self.pause is not None or (active is not None and active.goal is RunGoal.PAUSE)

    def hold(self, pause: Pause) -> bool:
        """Begin nothing until somebody resumes the runs. Returns whether that is new: the first person's pause stands.

        What issuebox itself has paused, a person may pause as well: then it outlasts the run.
        """
        if self.pause is not None and (self.pause.by or not pause.by):
            return False
        self.pause = pause
        self.want(RunGoal.PAUSE)
        if self.active is not None:
            self.active.stops = ()  # They count anew.
        return True

    def release(self) -> bool:
        """End the pause. Returns whether something can go on now: a run that was paused, or requests that wait."""
        if not self.is_paused:
            return False
        self.pause = None
        return self.want(RunGoal.WORK) or bool(self.queue)

    def forget_pause_of(self, run: Run) -> None:
        """The run is over, and with it the pause that issuebox itself made under it."""
        if self.pause is not None and not self.pause.by and run.is_over:
            self.pause = None

    def call_off(self, reason: str, now: datetime, *, asked_at: datetime | None = None) -> None:
        """Cancel the active run, and refuse all requests that wait: those from before `asked_at`, None for all."""
        active = self.active
        if asked_at is not None:
            self.called_off_at = max(asked_at, self.called_off_at or asked_at)
        if active is not None and not any(_is_after(each, asked_at) for each in active.requests):
            self.want(RunGoal.CANCEL)
        self.refuse_waiting(reason, now, asked_at=asked_at)

    def refuse_waiting(self, reason: str, now: datetime, *, asked_at: datetime | None = None) -> None:
        """Refuse the requests that wait: those from before `asked_at`, None for all."""
        for request in self.queue:
            if not _is_after(request, asked_at):
                self.refuse(request, reason, now)
        self.queue = [request for request in self.queue if _is_after(request, asked_at)]

    def _is_started(self, request: RunRequest) -> bool:
        """Whether a start is open, which this one joins, or one as new was taken: then it comes late, or once more."""
        is_open = (*self.queue, *(self.active.requests if self.active else ()))
        taken = (each for run in self.runs for each in run.requests if not _is_after(request, each.at))
        return any(each.kind is RequestKind.START for each in (*is_open, *taken))


def _is_after(request: RunRequest, asked_at: datetime | None) -> bool:
    return asked_at is not None and request.at is not None and request.at > asked_at


RUN_ID = r"r-[0-9a-f]{12}"
"""What `run_id` makes, as a regular expression."""


def comment_key(comment_id: int) -> str:
    """The key of a request by this comment."""
    return f"comment-{comment_id}"


def run_id(issue_id: int, key: str) -> str:
    """The ID of the run whose first request has this key: the same in every process, and after every restart."""
    return f"r-{sha256(f'{issue_id} {key}'.encode()).hexdigest()[:12]}"


@dataclass(frozen=True, slots=True)
class RunTerms:
    """What the workers' settings say about runs. Times in seconds.

    ``is_configured`` is False where no command is set: then no request is taken, and nothing runs.
    """

    is_configured: bool = False
    time_limit_s: float = 3600.0
    stall_s: float = 900.0
    attempts_max: int = 3
    is_cancelled_on_close: bool = False
    interrupts_for_follow_up: bool = False
    is_told: bool = False
    """Whether the issue is told of its runs, by a comment for each."""
    runs_max: int = 0
    """How many runs the installation works on at once; 0 for no limit."""
    closing_margin_s: float = 120.0
    """Beyond the time limit, which the supervisor keeps by itself, the workflow ends the attempt."""


@dataclass(frozen=True, slots=True)
class Report:
    """What an ended attempt says about itself, as its preset reads it. All of it is untrusted but ``outcome``.

    ``outcome`` None: it asks to be continued at ``wait_s`` from now.
    """

    outcome: RunOutcome | None = None
    reason: str = ""
    summary: str = ""
    cost_usd: float = 0.0
    session: str = ""
    branch: str = ""
    pull_request: str = ""
    wait_s: float = 0.0

    def __post_init__(self) -> None:
        """The job may write anything, at any length."""
        clean(self, {name: RUN_TEXTS[name] for name in ("reason", "summary", "session", "branch", "pull_request")})
