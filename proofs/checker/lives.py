"""Rebuilds each sandbox's life from localdaytona's journal alone. No judgement: that is `rules`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from localdaytona.journal import Entry
from localdaytona.types import JSON

Labels = Mapping[str, JSON]
Identity = Callable[[str | None, Labels], int | None]
"""From a sandbox's name (None: it has none) and labels to its issue; None: it belongs to no issue."""

ERRORED = frozenset({"error", "build_failed"})
RESTING = frozenset({"started", "stopped", "archived", "paused", "destroyed"}) | ERRORED
"""Raw states that last until somebody acts."""

BY_TIMER = frozenset({"ttl", "auto_stop", "auto_pause", "auto_delete", "auto_archive"})
"""Operations of Daytona's own timers."""

BY_PERSON = "admin:"
"""The prefix of operations that a person carries out at Daytona, without the service."""

ISSUE_LABELS = ("issue-id", "issue", "issue_id")
"""Labels that name an issue; the first one present counts."""

_NAME = re.compile(r"^(?:DESTROYED_)?claude-issue-(\d+)(?:_\d+)?$")
_CHANGES = frozenset({"created", "desired", "renamed", "state"})
COMMANDS = frozenset({"start", "stop", "archive", "recover", "pause", "delete", "labels", "interval", "last_activity"})
"""Requests that change a sandbox, besides the create."""


def issue_of(name: str | None, labels: Labels) -> int | None:
    """The issue by the name `claude-issue-{id}`, also of a dying sandbox; else by a label."""
    found = _NAME.match(name or "")
    if found:
        return int(found[1])
    texts = (str(labels[key]) for key in ISSUE_LABELS if key in labels)
    return next((int(text) for text in texts if text.isdecimal()), None)


def is_outside(operation: str | None) -> bool:
    """Whether a person at Daytona or one of Daytona's timers did it, and not the service."""
    return (operation or "").startswith(BY_PERSON) or operation in BY_TIMER


@dataclass(frozen=True, slots=True)
class Moment:
    """A sandbox's state from entry `seq` on. `state`: Daytona's own. `operation`, `request_id`: what changed it."""

    seq: int
    at: float
    name: str
    state: str
    desired: str
    operation: str | None
    request_id: str | None
    ever_started: bool
    is_recoverable: bool = False

    @property
    def is_gone(self) -> bool:
        """Whether every client gets a 404: destroyed, or deleted while errored."""
        return self.state == "destroyed" or (self.state in ERRORED and self.is_delete_accepted)

    @property
    def is_delete_accepted(self) -> bool:
        """Whether its delete was accepted."""
        return self.desired == "destroyed"

    @property
    def is_dying(self) -> bool:
        """Whether its delete was accepted and it is not gone yet. It may still run."""
        return self.is_delete_accepted and not self.is_gone

    @property
    def is_live(self) -> bool:
        """Whether it can be used, now or after a start."""
        return not self.is_delete_accepted and self.state not in ERRORED and self.state != "destroyed"

    @property
    def is_started(self) -> bool:
        """Whether a client sees it started."""
        return self.state == self.desired == "started"

    @property
    def is_broken(self) -> bool:
        """Whether it is errored and Daytona offers no repair."""
        return self.state in ERRORED and not self.is_delete_accepted and not self.is_recoverable

    @property
    def is_passing(self) -> bool:
        """Whether a change of state is under way. An archive is none: it may wait for ever for its backup."""
        if self.desired == "archived" and self.state in {"stopped", "archiving"}:
            return False
        is_on_its_way = self.state != self.desired and self.state not in ERRORED
        return not self.is_gone and (self.state not in RESTING or is_on_its_way)


@dataclass(frozen=True, slots=True)
class Period:
    """A period in which a sandbox was started: from `begin` to `end`; None: it still is."""

    begin: Moment
    end: Moment | None

    def reaches(self, at: float) -> bool:
        """Whether it was started at that time or later."""
        return self.end is None or self.end.at >= at


@dataclass(frozen=True, slots=True)
class Labelling:
    """A sandbox's labels from entry `seq` on."""

    seq: int
    at: float
    labels: Labels


@dataclass(slots=True)
class SandboxLife:
    """One sandbox from its creation on. `issue` is None when neither name nor label shows its issue.

    `toolbox`: the entries of calls inside it. `is_by_hand`: a person created it, without the service. `commands`: the
    requests to change it, accepted or not. `acts`: what people did to it at Daytona. `labellings`: its labels, from its
    creation on.
    """

    id: str
    issue: int | None
    is_by_hand: bool
    labellings: list[Labelling]
    moments: list[Moment] = field(default_factory=list)
    toolbox: list[Entry] = field(default_factory=list)
    acts: list[Entry] = field(default_factory=list)
    commands: list[Entry] = field(default_factory=list)

    @property
    def labels(self) -> Labels:
        """Its labels at the end of the journal."""
        return self.labellings[-1].labels

    @property
    def name(self) -> str:
        """The name at its creation."""
        return self.moments[0].name

    @property
    def born(self) -> Moment:
        """Its creation."""
        return self.moments[0]

    @property
    def last(self) -> Moment:
        """Its state at the end of the journal."""
        return self.moments[-1]

    @property
    def exists(self) -> bool:
        """Whether it exists at the end of the journal, dying or not."""
        return not self.last.is_gone

    @property
    def ever_started(self) -> bool:
        """Whether it was ever started, so that somebody can have worked in it."""
        return self.last.ever_started

    @property
    def deletion(self) -> Moment | None:
        """When its delete was accepted, and by which operation."""
        return next((moment for moment in self.moments if moment.is_delete_accepted), None)

    @property
    def gone(self) -> Moment | None:
        """When every client got a 404 for it."""
        return next((moment for moment in self.moments if moment.is_gone), None)

    @property
    def periods(self) -> list[Period]:
        """The periods in which it was started, in order."""
        found: list[Period] = []
        begin: Moment | None = None
        for moment in self.moments:
            if begin is None and moment.is_started:
                begin = moment
            elif begin is not None and not moment.is_started:
                found.append(Period(begin, moment))
                begin = None
        return [*found, Period(begin, None)] if begin is not None else found

    def was_acted_on(self, act: str, since: float, until: float) -> bool:
        """Whether a person did this to it at that time. `act`: such as ``idle``."""
        return any(entry.detail.get("act") == act and since <= entry.at <= until for entry in self.acts)

    def before(self, seq: int) -> Moment | None:
        """Its state just before entry `seq`; None: it did not exist yet."""
        return next((moment for moment in reversed(self.moments) if moment.seq < seq), None)

    def at(self, at: float) -> Moment | None:
        """Its state at a time in epoch seconds; None: it did not exist yet."""
        return next((moment for moment in reversed(self.moments) if moment.at <= at), None)

    def was_started_since(self, at: float) -> bool:
        """Whether it was started at that time or later."""
        return any(period.reaches(at) for period in self.periods)


class Lives:
    """The lives of all sandboxes. Feed it the journal in order, at once or in parts."""

    def __init__(self, identity: Identity = issue_of) -> None:
        self._identity = identity
        self.by_id: dict[str, SandboxLife] = {}

    def feed(self, journal: Iterable[Entry]) -> set[str]:
        """Add entries. Returns the IDs of their sandboxes, without unknown ones."""
        return {entry.sandbox_id for entry in journal if entry.sandbox_id is not None and self._take(entry)}

    def _take(self, entry: Entry) -> bool:
        if entry.kind == "created":
            self.by_id[str(entry.sandbox_id)] = self._born(entry)
        life = self.by_id.get(str(entry.sandbox_id))
        if life is None:
            return False
        if entry.kind in _CHANGES:
            _move(life, entry)
        elif entry.kind == "toolbox":
            life.toolbox.append(entry)
        elif entry.kind == "request" and entry.operation in COMMANDS:
            life.commands.append(entry)
        elif entry.kind in {"fault", "admin"}:
            _spoil(life, entry)
            if entry.kind == "admin":
                life.acts.append(entry)
        elif entry.kind == "labels":
            self._relabel(life, entry)
        return True

    def _born(self, entry: Entry) -> SandboxLife:
        labels = _mapping(entry.detail.get("labels"))
        is_by_hand = (entry.operation or "").startswith(BY_PERSON)
        issue = self._identity(entry.name, labels)
        return SandboxLife(str(entry.sandbox_id), issue, is_by_hand, [Labelling(entry.seq, entry.at, labels)])

    def _relabel(self, life: SandboxLife, entry: Entry) -> None:
        """Set new labels. They may name the issue of a sandbox that had none; they never move it to another issue."""
        life.labellings.append(Labelling(entry.seq, entry.at, _mapping(entry.detail.get("labels"))))
        if life.issue is None:
            life.issue = self._identity(life.name, life.labels)


def read_lives(journal: Iterable[Entry], identity: Identity = issue_of) -> list[SandboxLife]:
    """The life of each sandbox in a whole journal, in the order of creation."""
    lives = Lives(identity)
    lives.feed(journal)
    return list(lives.by_id.values())


def _move(life: SandboxLife, entry: Entry) -> None:
    """Add a moment. All entries of one change have the same `now`; the first of them counts."""
    now, detail = _mapping(entry.detail.get("now")), entry.detail
    last = life.moments[-1] if life.moments else None
    moment = Moment(
        seq=entry.seq,
        at=entry.at,
        name=str(now["name"]),
        state=str(now["state"]),
        desired=str(now["desired"]),
        operation=entry.operation,
        request_id=_text(detail.get("request_id")),
        ever_started=detail.get("ever_started") is True,
        is_recoverable=_is_recoverable(entry, last),
    )
    if last is None or (last.name, last.state, last.desired) != (moment.name, moment.state, moment.desired):
        life.moments.append(moment)
    elif last.at == moment.at:
        life.moments[-1] = replace(last, is_recoverable=moment.is_recoverable)


def _spoil(life: SandboxLife, entry: Entry) -> None:
    """Break an errored sandbox again, by hand or by a repair that is going to fail. Its state does not change."""
    last, effect = life.moments[-1], _mapping(entry.detail.get("effect"))
    is_repair = entry.operation == "recover" and effect.get("kind") == "fail_transition"
    is_break = entry.kind == "admin" and entry.detail.get("act") == "break"
    if last.state not in ERRORED or not (is_repair or is_break):
        return
    is_recoverable = (effect if is_repair else entry.detail).get("recoverable") is True
    request_id = _text(entry.detail.get("request_id"))
    change = replace(last, seq=entry.seq, at=entry.at, operation=entry.operation, request_id=request_id)
    life.moments.append(replace(change, is_recoverable=is_recoverable))


def _is_recoverable(entry: Entry, last: Moment | None) -> bool:
    """Only a change of state says whether it is recoverable; any other entry leaves that as it was."""
    if entry.kind == "state":
        return entry.detail.get("recoverable") is True
    return last is not None and last.is_recoverable


def _mapping(value: JSON) -> dict[str, JSON]:
    return value if isinstance(value, dict) else {}


def _text(value: JSON) -> str | None:
    return value if isinstance(value, str) else None
