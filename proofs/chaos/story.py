"""The events of the issues at GitHub, and their deliveries: a function of the seed. No I/O.

Each issue has its own history, in GitHub's seconds. Its deliveries come late and out of order, twice and in bursts, and
sometimes two contradicting events have the same second.
"""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from proofs.checker.evidence import Expectation

DELIVERIES_PER_ISSUE: Final = 10
LATE_S: Final = 6.0
"""The longest time from an event to its delivery."""
ON_TIME_S: Final = 0.4
GAP_MAX_S: Final = 8
COMMENTS_PER_ISSUE_MAX: Final = 1_000_000
QUICK: Final = 0.6


class IssueState(StrEnum):
    """The issue at GitHub."""

    OPEN = "open"
    CLOSED = "closed"
    GONE = "gone"
    """Transferred or deleted: final."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of event: the mock delivery's word for it, what it expects of the sandbox, and the issue's next state."""

    action: str
    weight: float
    expects: Expectation
    leads_to: IssueState
    is_trigger: bool = True
    """Whether the label or comment is one that asks for a sandbox."""
    sender: str = "maintainer"
    """Who caused it: of `maintainer`, `author` and `bot` only the first may ask."""


_OPEN: Final = (
    Kind("labeled", 2.0, Expectation.RUNNING, IssueState.OPEN),
    Kind("comment", 3.0, Expectation.RUNNING, IssueState.OPEN),
    Kind("comment", 1.0, Expectation.NOTHING, IssueState.OPEN, is_trigger=False),
    Kind("labeled", 1.0, Expectation.NOTHING, IssueState.OPEN, is_trigger=False),
    Kind("edited", 1.0, Expectation.NOTHING, IssueState.OPEN),
    Kind("closed", 4.0, Expectation.STOPPED, IssueState.CLOSED),
    Kind("transferred", 0.25, Expectation.STOPPED, IssueState.GONE),
    Kind("deleted", 0.5, Expectation.GONE, IssueState.GONE),
)
_CLOSED: Final = (
    Kind("reopened", 4.0, Expectation.RUNNING, IssueState.OPEN),
    Kind("comment", 1.5, Expectation.RUNNING, IssueState.CLOSED),
    Kind("labeled", 0.5, Expectation.RUNNING, IssueState.CLOSED),
    Kind("edited", 0.5, Expectation.NOTHING, IssueState.CLOSED),
    Kind("deleted", 0.5, Expectation.GONE, IssueState.GONE),
)
_REFUSED: Final = (
    Kind("reopened", 1.0, Expectation.KEPT, IssueState.OPEN, sender="bot"),
    Kind("reopened", 1.0, Expectation.KEPT, IssueState.OPEN, sender="author"),
)
REFUSED_SHARE: Final = 0.4
"""So many reopenings are by somebody who may not ask for the sandbox."""
_FIRST: Final = Kind("opened", 1.0, Expectation.RUNNING, IssueState.OPEN)
NEXT: Final = {IssueState.OPEN: _OPEN, IssueState.CLOSED: _CLOSED}
_OPPOSITE: Final = {"closed": "reopened", "reopened": "closed"}


@dataclass(frozen=True, slots=True)
class Event:
    """An event of one issue. Times are whole GitHub seconds since the beginning of the load.

    `closed_at`: the issue's, as in the payload; None while it is open.
    """

    issue: int
    kind: Kind
    second: int
    closed_at: int | None

    @property
    def comment_id(self) -> int:
        """GitHub's ID of the comment, whichever delivery brings it. An issue has at most one a second."""
        return self.issue * COMMENTS_PER_ISSUE_MAX + self.second

    @property
    def asks(self) -> str:
        """The key of the request for work that a comment makes; '' for everything else.

        A label asks as well, and its key depends on what came before.
        """
        is_request = self.kind.action == "comment" and self.kind.is_trigger and self.kind.sender == "maintainer"
        return f"comment-{self.comment_id}" if is_request else ""

    @property
    def label(self) -> str:
        """The label of ``labeled``."""
        return "claude" if self.kind.is_trigger else "bug"

    @property
    def comment(self) -> str:
        """The text of ``comment``."""
        return "@claude have a look" if self.kind.is_trigger else "Any news?"


@dataclass(frozen=True, slots=True)
class Post:
    """One delivery, sent `at_s` seconds after the beginning of the load."""

    at_s: float
    delivery: str
    event: Event


def stories(seed: int, issues: int, seconds: float) -> tuple[Post, ...]:
    """All deliveries of this many issues within this many seconds, ten for each, in the order of sending."""
    posts = [post for issue in range(1, issues + 1) for post in _story(seed, issue, seconds)]
    return tuple(sorted(posts, key=lambda post: (post.at_s, post.delivery, post.event.issue)))


def _story(seed: int, issue: int, seconds: float) -> list[Post]:
    """`refusals` is a separate random stream for what was added later: a seed still deals its earlier events."""
    rng, refusals = random.Random(f"{seed}/{issue}"), random.Random(f"{seed}/{issue}/refusals")
    posts: list[Post] = []
    for event in (_refused(refusals, event) for event in _events(rng, issue, seconds)):
        left = DELIVERIES_PER_ISSUE - len(posts)
        if left <= 0:
            break
        posts += _deliveries(rng, event, left)
    while len(posts) < DELIVERIES_PER_ISSUE:
        posts.append(_again(rng, rng.choice(posts)))
    latest = seconds - 0.5
    return [replace(post, at_s=min(post.at_s, max(latest, post.event.second + 1.0))) for post in posts]


def _events(rng: random.Random, issue: int, seconds: float) -> list[Event]:
    """The issue's events: at most one a second, except for ties."""
    second = rng.randint(0, int(seconds * 0.5))
    # About five more events; in a long run they are still close enough to meet each other's work.
    gap_max = max(2, min(int((seconds - second) / 4), max(GAP_MAX_S, int(seconds / 8))))
    events = [Event(issue, _FIRST, second, None)]
    state, closed_at = IssueState.OPEN, None
    while state is not IssueState.GONE and len(events) < DELIVERIES_PER_ISSUE:
        # Mostly in quick succession, so that events overtake late deliveries and interrupt work.
        second += rng.randint(1, 3) if rng.random() < QUICK else rng.randint(1, gap_max)
        if second > seconds - 2:
            break
        kind = rng.choices(NEXT[state], [each.weight for each in NEXT[state]])[0]
        closed_at = _closed_at(kind, second, closed_at)
        state = kind.leads_to
        events.append(Event(issue, kind, second, closed_at))
        if kind.action in _OPPOSITE and rng.random() < 0.06:  # noqa: PLR2004 -- ties are rare
            kind = next(each for each in NEXT[state] if each.action == _OPPOSITE[kind.action])
            closed_at = _closed_at(kind, second, closed_at)
            state = kind.leads_to
            events.append(Event(issue, kind, second, closed_at))
    return events


def _refused(rng: random.Random, event: Event) -> Event:
    """Some reopenings are by somebody who may not ask: the issue is open again, and nobody asks for its sandbox."""
    if event.kind.action != "reopened" or rng.random() >= REFUSED_SHARE:
        return event
    return replace(event, kind=rng.choice(_REFUSED))


def _closed_at(kind: Kind, second: int, before: int | None) -> int | None:
    if kind.action == "closed":
        return second
    return None if kind.leads_to is IssueState.OPEN else before


def _deliveries(rng: random.Random, event: Event, most: int) -> list[Post]:
    """The event's deliveries: on time or late, once, twice, or several at once."""
    delay_s = rng.uniform(0.0, ON_TIME_S) if rng.random() < 0.75 else rng.uniform(0.5, LATE_S)  # noqa: PLR2004
    # An event happens within its GitHub second, so it is never delivered before the end of that second.
    first = Post(event.second + 1.0 + delay_s, _id(rng), event)
    fate = rng.random()
    if fate < 0.12:  # noqa: PLR2004 -- a burst of the same
        copies = [replace(first, at_s=first.at_s + rng.uniform(0.0, 0.05)) for _ in range(rng.randint(2, 4))]
    elif fate < 0.30:  # noqa: PLR2004 -- one more, soon or late
        copies = [_again(rng, first)]
    else:
        copies = []
    return [first, *copies][:most]


def _again(rng: random.Random, post: Post) -> Post:
    """The same delivery once more; or the same event by a second hook, with another ID."""
    delivery = _id(rng) if rng.random() < 0.25 else post.delivery  # noqa: PLR2004
    return replace(post, at_s=post.at_s + rng.uniform(0.0, LATE_S), delivery=delivery)


def _id(rng: random.Random) -> str:
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))
