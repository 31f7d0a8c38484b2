"""What is done to the system, and when: a function of seed, issues and duration. No I/O.

The duration is cut into rounds of some forty seconds. In each round every kind of process is killed and frozen,
our own are told to end and their logs are not read, every link is cut, stalled or slow, every knob of Daytona is
turned; meanwhile waves of faults follow one another, until each fault was dealt on each operation, and then again.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from localdaytona.types import JSONObject
from proofs.chaos.deeds import (
    Act,
    Command,
    Cut,
    Deed,
    Freeze,
    Kill,
    Knob,
    RollingRestart,
    Slow,
    Stall,
    StallReader,
    Terminate,
    Timed,
    Wave,
    Work,
)
from proofs.chaos.faults import MISSES, deck
from proofs.chaos.story import IssueState, Post, stories
from proofs.chaos.terms import (
    API,
    DAYTONA,
    HEARTBEAT_TIMEOUT_S,
    LINKS,
    NAME_CACHE_S,
    SLOW,
    STALL_S,
    TEMPORAL,
    WORKERS,
)

ROUND_S: Final = 40.0
WAVE_S: Final = 2.5
WAVE_RULES_MIN: Final = 12
HITS_MIN: Final = 3
ISSUES_PER_HIT: Final = 50
"""A rule may hit so often, and once more for so many issues: a thousand issues are not spared."""
MISSES_MAX: Final = 3
"""False 404s of one rule: a look that makes sure reads four times, and what is lied to in all four is not claimed."""
LAST_DEED: Final = 0.97
"""Share of the duration in which deeds begin."""
SLOW_BEFORE_SHARE: Final = 0.08
"""Daytona is slow from so long before what should meet commands in their middle: a share of a round, some 3.5 s."""
SLOW_S: Final = 5.0
ROLL_SLOW_S: Final = 20.0
"""Until the last worker of a rolling restart was told to end, or nearly so."""


BURSTS_S: Final = (1.5, 3.0, 4.5, 6.0)
"""When after the beginning of a long stall a burst comes."""
BURST_ISSUES_MAX: Final = 50
BURST_COPIES: Final = 3

UNREAD_SHARE: Final = 0.09
UNREAD_S: Final = 25.0
"""The log of an API that is told to end is not read any more some 4 s before, and longer than it may take to end."""

Slot = tuple[float, float, Deed]
"""A deed, and between which shares of its round it is done."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a run does, in order."""

    seed: int
    issues: int
    seconds: float
    posts: tuple[Post, ...]
    again: tuple[Post, ...]
    """What somebody has sent once more, in bursts, beside the deliveries of the stories."""
    deeds: tuple[Timed, ...]

    @property
    def sent(self) -> list[Post]:
        """All that is sent, in order."""
        return sorted([*self.posts, *self.again], key=lambda post: (post.at_s, post.delivery, post.happening.issue))

    def lines(self) -> Iterator[str]:
        """The whole plan as text, one line for each thing that happens."""
        told = [(timed.at_s, f"{timed.deed}") for timed in self.deeds]
        told += [
            (post.at_s, f"deliver {post.happening.kind.action} of issue {post.happening.issue} ({post.delivery})")
            for post in self.sent
        ]
        for at_s, text in sorted(told):
            yield f"{at_s:8.3f} s  {text}"


def make_plan(seed: int, issues: int, seconds: float) -> Plan:
    """The plan: the same for the same arguments, on every machine."""
    posts = stories(seed, issues, seconds)
    deeds = [
        *_rounds(random.Random(f"{seed}/rounds"), random.Random(f"{seed}/ends"), seconds),
        *_waves(random.Random(f"{seed}/waves"), issues, seconds),
        *_people(random.Random(f"{seed}/people"), issues, seconds, posts),
    ]
    again = [post for timed in deeds if _is_long_stall(timed.deed) for post in _again(posts, timed.at_s)]
    in_order = sorted(deeds, key=lambda timed: (timed.at_s, repr(timed.deed)))
    return Plan(seed, issues, seconds, posts, tuple(again), tuple(in_order))


def _is_long_stall(deed: Deed) -> bool:
    return isinstance(deed, StallReader) and deed.part in WORKERS and deed.seconds > STALL_S


def _again(posts: Sequence[Post], stalled_at_s: float) -> Iterator[Post]:
    """A script redelivers what came last, while a worker's log is not read: many lines at once at a full pipe."""
    for after_s in BURSTS_S:
        at_s = stalled_at_s + after_s
        newest = {post.happening.issue: post for post in posts if post.at_s < at_s}
        last = sorted(newest.values(), key=lambda post: post.at_s)[-BURST_ISSUES_MAX:]
        yield from (replace(post, at_s=at_s) for post in last for _ in range(BURST_COPIES))


def _rounds(rng: random.Random, ends: random.Random, seconds: float) -> Iterator[Timed]:
    """`ends` is a stream of its own for what was added later: a seed still deals what it dealt before, and more."""
    rounds = max(1, round(seconds / ROUND_S))
    length_s = seconds / rounds
    rolled = ends.randrange(rounds)
    for number in range(rounds):
        workers, apis = rng.sample(WORKERS, 3), rng.sample(API, 2)
        for low, high, deed in (*_on_parts(rng, workers, apis), *_on_wires(rng), *_on_daytona(rng)):
            yield Timed((number + rng.uniform(low, high)) * length_s, deed)
        for low, high, deed in (*_on_lives(ends, workers, apis), *(_roll(ends) if number == rolled else ())):
            yield Timed((number + ends.uniform(low, high)) * length_s, deed)


def _on_parts(rng: random.Random, workers: Sequence[str], apis: Sequence[str]) -> Iterator[Slot]:
    """Each kind is killed once and frozen for a moment; two of the three workers are hit harder, one after the other.

    A worker is frozen, and another one cut off from Temporal, for longer than a heartbeat may be late: what they
    do wakes up in an attempt that is lost, beside the one that took its place.
    """
    first, second, third = workers
    api, other_api = apis
    yield 0.1, 0.5, Kill(TEMPORAL, _span(rng, 0.0, 1.5))
    yield 0.3, 0.9, Kill(DAYTONA, _span(rng, 0.0, 1.5))
    yield 0.1, 0.9, Kill(api, _span(rng, 0.0, 2.0))
    yield 0.55, LAST_DEED, Kill(first, _span(rng, 0.0, 1.0))
    yield 0.1, 0.4, Kill(third, _span(rng, 0.0, 1.0))
    yield 0.05, 0.3, Freeze(first, HEARTBEAT_TIMEOUT_S + _span(rng, 1.0, 4.0))
    yield 0.5, 0.7, Stall(f"{second}>{TEMPORAL}", HEARTBEAT_TIMEOUT_S + _span(rng, 1.0, 3.0))
    yield 0.55, 0.9, Freeze(third, _span(rng, 0.5, 4.0))
    yield 0.5, LAST_DEED, Freeze(TEMPORAL, _span(rng, 0.3, 2.0))
    yield 0.05, LAST_DEED, Freeze(other_api, _span(rng, 0.5, 5.0))
    # Longer than a request's deadline: Daytona carries out later what its client has given up.
    yield 0.1, 0.5, Freeze(DAYTONA, _span(rng, 2.5, 5.0))


def _on_lives(rng: random.Random, workers: Sequence[str], apis: Sequence[str]) -> Iterator[Slot]:
    """Two of the three workers and an API are told to end; the logs of two workers and of both APIs are not read.

    The long stall is that of the worker which `_on_parts` leaves alive and at work meanwhile. Whether it hangs since
    then is found out when it is told to end as well: in the rolling restart, and at the end of the run. The API that
    is told to end has to do so although nobody reads its last words.
    """
    first, second, third = workers
    api, other_api = apis
    yield from _in_the_middle(rng, 0.2, 0.3, StallReader(second, STALL_S + _span(rng, 0.5, 2.5)))
    yield 0.42, 0.5, StallReader(third, _span(rng, 3.0, 5.0))
    yield 0.1, 0.6, StallReader(api, _span(rng, 3.0, 6.0))
    ends = rng.uniform(0.3, 0.6)
    yield ends - UNREAD_SHARE, ends - UNREAD_SHARE, StallReader(other_api, UNREAD_S)
    yield ends, ends, Terminate(other_api, _span(rng, 0.0, 1.0))
    yield from _in_the_middle(rng, 0.5, 0.55, Terminate(first, _span(rng, 0.0, 1.0)))
    yield from _in_the_middle(rng, 0.66, 0.75, Terminate(third, _span(rng, 0.0, 1.0)))


def _roll(rng: random.Random) -> Iterator[Slot]:
    """Late in its round, so that it meets what `_on_lives` did to the workers, and the looks before the deletes."""
    deed = RollingRestart(tuple(rng.sample(WORKERS, len(WORKERS))), 0.0)
    return _in_the_middle(rng, 0.8, 0.85, deed, slow_s=ROLL_SLOW_S)


def _in_the_middle(rng: random.Random, low: float, high: float, deed: Deed, slow_s: float = SLOW_S) -> Iterator[Slot]:
    """A deed against who waits for Daytona, for longer than a worker gives what it does to come to an end."""
    share = rng.uniform(low, high)
    yield share - SLOW_BEFORE_SHARE, share - SLOW_BEFORE_SHARE, Knob("slow states", {"durations": SLOW}, slow_s)
    yield share, share, deed


def _on_wires(rng: random.Random) -> Iterator[Slot]:
    for link in LINKS:
        seconds = _span(rng, 0.1, 3.0)
        slow = Slow(link, round(rng.uniform(0.02, 0.3), 3), 2 * seconds)
        yield 0.05, LAST_DEED, rng.choice((Cut(link, seconds), Cut(link, 0.0), Stall(link, seconds), slow))


def _on_daytona(rng: random.Random) -> Iterator[Slot]:
    """Every knob. Not in a round's last third, so that no second look at a 404 meets the next round's outage."""
    limits: JSONObject = {
        "window_s": 2.0,
        "authenticated": rng.randint(10, 30),
        "sandbox_create": rng.randint(1, 4),
        "sandbox_lifecycle": rng.randint(2, 6),
    }
    stale: JSONObject = {"stale_read_s": _span(rng, 0.5, 3.0), "stale_read_probability": 0.3}
    for knob in (
        Knob("outage", {"outage": True}, _span(rng, 1.0, 4.0)),
        Knob("maintenance", {"maintenance": True}, _span(rng, 0.5, 2.0)),
        Knob("no runner", {"runner_available": False}, _span(rng, 1.0, 3.0)),
        Knob("suspended", {"suspended": "Please verify your email address"}, _span(rng, 1.0, 3.0)),
        Knob("CPU quota", {"cpu_max": rng.randint(1, 6)}, _span(rng, 2.0, 5.0)),
        Knob("name cache", {"name_cache_s": NAME_CACHE_S}, _span(rng, 6.0, 12.0)),
        Knob("stale reads", stale, _span(rng, 4.0, 8.0)),
        Knob("list lag", {"list_lag_s": 3.0, "list_flap_probability": 0.3}, _span(rng, 4.0, 8.0)),
        Knob("no events", {"events": False}, _span(rng, 2.0, 6.0)),
        Knob("short events", {"events_drop_after_s": 1.0}, _span(rng, 3.0, 6.0)),
        Knob("old conflicts", {"scip_status": 400}, _span(rng, 4.0, 8.0)),
        Knob("rate limits", {"rate_limits": limits}, _span(rng, 3.0, 6.0)),
    ):
        yield 0.05, 0.62, knob


def _span(rng: random.Random, low: float, high: float) -> float:
    return round(rng.uniform(low, high), 2)


def _waves(rng: random.Random, issues: int, seconds: float) -> Iterator[Timed]:
    """Deal the deck, shuffled anew each time it is through, so that a short run meets every card once."""
    hits_max = HITS_MIN + issues // ISSUES_PER_HIT
    waves = max(1, int(seconds * LAST_DEED / WAVE_S))
    size = max(WAVE_RULES_MIN, -(-len(deck()) // waves))
    cards: list[tuple[str, JSONObject]] = []
    misses = 0
    for number in range(waves):
        rules: list[JSONObject] = []
        while len(rules) < size:
            if not cards:
                cards = deck()
                rng.shuffle(cards)
            operation, effect = cards.pop()
            rule: JSONObject = {"id": f"w{number}-{len(rules)}-{operation}-{effect['kind']}"}
            rule |= {"match": {"operation": operation}, "effect": effect}
            times = rng.randint(1, hits_max)
            if effect["kind"] == MISSES:
                rule["match"] = {"operation": operation, "name": f"claude-issue-*{misses % 10}"}
                times = min(times, MISSES_MAX)
                misses += 1
            rule |= {"times": times, "probability": round(rng.uniform(0.5, 1.0), 2)}
            rules.append(rule)
        yield Timed(number * WAVE_S, Wave(number, tuple(rules)))


_ACTS: Final[tuple[tuple[float, str, JSONObject], ...]] = (
    (4.0, "stop", {}),
    (2.0, "archive", {}),
    (1.0, "start", {}),
    (2.0, "break", {"recoverable": True, "reason": "Disk is full"}),
    (1.0, "break", {"recoverable": False, "reason": "Broken by hand"}),
    (2.0, "idle", {"seconds": 30 * 86_400}),
    (0.5, "release", {}),
)
_ORDERS: Final[tuple[tuple[float, str, bool], ...]] = (
    (3.0, "stop", False),
    (2.0, "delete", False),
    (1.0, "delete", True),
    (2.0, "replace", True),
    (3.0, "ensure", False),
)


def _people(rng: random.Random, issues: int, seconds: float, posts: tuple[Post, ...]) -> Iterator[Timed]:
    for _ in range(max(12, int(issues * 0.6))):
        _, act, detail = rng.choices(_ACTS, [weight for weight, *_ in _ACTS])[0]
        yield Timed(_moment(rng, seconds), Act(rng.randint(1, issues), act, detail))
    deletes: dict[int, float] = {}
    for _ in range(max(8, int(issues * 0.2))):
        _, order, is_forced = rng.choices(_ORDERS, [weight for weight, *_ in _ORDERS])[0]
        at_s, issue = _moment(rng, seconds), rng.randint(1, issues)
        if order != "ensure":
            deletes[issue] = min(at_s, deletes.get(issue, seconds))
        yield Timed(at_s, Command(issue, order, is_forced, rng.randrange(len(API))))
    yield from _work(rng, posts, deletes)


def _work(rng: random.Random, posts: tuple[Post, ...], orders: dict[int, float]) -> Iterator[Timed]:
    """Work in sandboxes whose issue is open and was never closed or ordered about.

    There nobody looks for unsaved work yet. Later the service may start a sandbox for a look alone, and whoever
    works in it at that very moment works in a sandbox that was not given to them.
    """
    opened: dict[int, int] = {}
    ended: dict[int, float] = dict(orders)
    for post in posts:
        happening = post.happening
        opened[happening.issue] = min(happening.second, opened.get(happening.issue, happening.second))
        if happening.kind.leads_to is not IssueState.OPEN:
            ended[happening.issue] = min(happening.second, ended.get(happening.issue, float(happening.second)))
    for issue, second in sorted(opened.items()):
        until_s = ended.get(issue, second + 20.0)
        if until_s - second > 4.0 and rng.random() < 0.5:  # noqa: PLR2004 -- time for a create
            yield Timed(second + 2.5, Work(issue, until_s - 0.5))


def _moment(rng: random.Random, seconds: float) -> float:
    return round(rng.uniform(0.08, LAST_DEED) * seconds, 3)
