"""The plan of a chaos run: a function of seed, issues and duration. No I/O.

The duration is divided into rounds of some forty seconds. In each round, every kind of process is killed and frozen,
our own get a SIGTERM and their logs are not read, every link is cut, stalled or slowed down, and every knob of Daytona
is turned. Meanwhile waves of fault rules follow one another, until each fault was dealt on each operation, and then
again. Operators end and reset workflows, start workers with wrong settings, and strangers send what nobody asked for.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from localdaytona.types import JSONObject
from proofs.chaos.fault_schedule import (
    FOREIGN,
    IN_COMMANDS,
    MEDDLINGS,
    MOMENTS,
    Act,
    Burst,
    Command,
    Cut,
    Door,
    Freeze,
    Kill,
    Knob,
    Meddle,
    OrderRuns,
    RollingRestart,
    Slow,
    Stall,
    StallReader,
    Step,
    Stray,
    StrikeRun,
    Terminate,
    TimedStep,
    Wave,
    Work,
)
from proofs.chaos.faults import FALSE_404, deck
from proofs.chaos.run_strikes import MARKS, Strike
from proofs.chaos.story import IssueState, Post, stories
from proofs.chaos.terms import (
    API,
    DAYTONA,
    HEARTBEAT_TIMEOUT_S,
    LINKS,
    NAME_CACHE_S,
    SLOW,
    STALL_S,
    STRAYS,
    TEMPORAL,
    WORKERS,
)

ROUND_S: Final = 40.0
WAVE_S: Final = 2.5
WAVE_RULES_MIN: Final = 12
HITS_MIN: Final = 3
ISSUES_PER_HIT: Final = 50
"""A rule may hit `HITS_MIN` times, and once more for each `ISSUES_PER_HIT` issues."""
FALSE_404S_MAX: Final = 3
"""False 404s of one rule. A lookup that makes sure reads four times; if all four are false, nothing is promised."""
LAST_STEP: Final = 0.97
"""Share of the duration in which steps begin."""
SLOW_BEFORE_SHARE: Final = 0.08
"""Daytona is slow from this share of a round (some 3.5 s) before a step that should interrupt commands."""
SLOW_STATES: Final = "slow states"
SLOW_S: Final = 5.0
ROLL_SLOW_S: Final = 20.0
"""Until about the SIGTERM to the last worker of a rolling restart."""

BURSTS_S: Final = (1.5, 3.0, 4.5, 6.0)
"""When bursts come after the beginning of a long stall."""
BURST_ISSUES_MAX: Final = 50
BURST_COPIES: Final = 3

MEDDLED: Final = (
    *((act, moment) for act in MEDDLINGS for moment in MOMENTS),
    *(("cancel", moment) for moment in IN_COMMANDS * 2),
)
"""What operators do to workflows, and when. A cancel has to settle a command that lasts longer than the search."""
MEDDLED_AFTER_S: Final = (0.5, 2.5)
"""When operators look for commands after Daytona began to be slow: before the SIGTERM that it is slow for."""
MEDDLED_SHARES: Final = (0.15, 0.9)
"""In this share of the duration: there are workflows, and most of what they are told is still to come."""
ISSUES_PER_MEDDLING: Final = 250
"""All of `MEDDLED` is done once, and once more for each `ISSUES_PER_MEDDLING` issues."""
HOSTILE_COPIES: Final = {Door.WEBHOOK: 5, Door.REST: 5, Door.SIGNAL: 6}
"""So many of each kind of hostile call about each of `BURST_VICTIMS` issues: a few hundred in all."""
BURST_VICTIMS: Final = 3

UNREAD_SHARE: Final = 0.09
UNREAD_S: Final = 25.0
"""The log of an API is unread from some 4 s before its SIGTERM, for longer than its end may take."""

Slot = tuple[float, float, Step]
"""A step, and the shares of its round between which it is done."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a run does, in order."""

    seed: int
    issues: int
    seconds: float
    posts: tuple[Post, ...]
    again: tuple[Post, ...]
    """Redeliveries by a script, in bursts, besides the deliveries of the stories."""
    schedule: tuple[TimedStep, ...]
    """The fault schedule."""

    @property
    def sent(self) -> list[Post]:
        """All deliveries, in order."""
        return sorted([*self.posts, *self.again], key=lambda post: (post.at_s, post.delivery, post.event.issue))

    def lines(self) -> Iterator[str]:
        """The whole plan as text, one line for each step and delivery."""
        lines = [(timed.at_s, f"{timed.step}") for timed in self.schedule]
        lines += [
            (post.at_s, f"deliver {post.event.kind.action} of issue {post.event.issue} ({post.delivery})")
            for post in self.sent
        ]
        for at_s, text in sorted(lines):
            yield f"{at_s:8.3f} s  {text}"


def make_plan(seed: int, issues: int, seconds: float) -> Plan:
    """The plan: the same for the same arguments, on every machine."""
    posts = stories(seed, issues, seconds)
    rounds = list(_rounds(random.Random(f"{seed}/rounds"), random.Random(f"{seed}/ends"), seconds))
    slow_at_s = [timed.at_s for timed in rounds if isinstance(timed.step, Knob) and timed.step.name == SLOW_STATES]
    schedule = [
        *rounds,
        *_waves(random.Random(f"{seed}/waves"), issues, seconds),
        *_people(random.Random(f"{seed}/people"), issues, seconds, posts),
        *_foreign(random.Random(f"{seed}/foreign"), issues, posts),
        *_operators(random.Random(f"{seed}/operators"), issues, seconds, slow_at_s),
        *_strangers(random.Random(f"{seed}/strangers"), seconds, posts),
        *_on_runs(random.Random(f"{seed}/runs"), issues, seconds, posts),
    ]
    again = [post for timed in schedule if _is_long_stall(timed.step) for post in _again(posts, timed.at_s)]
    in_order = sorted(schedule, key=lambda timed: (timed.at_s, repr(timed.step)))
    return Plan(seed, issues, seconds, posts, tuple(again), tuple(in_order))


def _is_long_stall(step: Step) -> bool:
    return isinstance(step, StallReader) and step.part in WORKERS and step.seconds > STALL_S


def _again(posts: Sequence[Post], stalled_at_s: float) -> Iterator[Post]:
    """A script redelivers the newest deliveries while a worker's log is unread: many log lines meet a full pipe."""
    for after_s in BURSTS_S:
        at_s = stalled_at_s + after_s
        newest = {post.event.issue: post for post in posts if post.at_s < at_s}
        last = sorted(newest.values(), key=lambda post: post.at_s)[-BURST_ISSUES_MAX:]
        yield from (replace(post, at_s=at_s) for post in last for _ in range(BURST_COPIES))


def _rounds(rng: random.Random, ends: random.Random, seconds: float) -> Iterator[TimedStep]:
    """`ends` is a separate random stream for steps that were added later: a seed still deals its earlier steps."""
    rounds = max(1, round(seconds / ROUND_S))
    length_s = seconds / rounds
    rolled = ends.randrange(rounds)
    for number in range(rounds):
        workers, apis = rng.sample(WORKERS, 3), rng.sample(API, 2)
        for low, high, step in (*_on_parts(rng, workers, apis), *_on_links(rng), *_on_daytona(rng)):
            yield TimedStep((number + rng.uniform(low, high)) * length_s, step)
        for low, high, step in (*_on_ends(ends, workers, apis), *(_roll(ends) if number == rolled else ())):
            yield TimedStep((number + ends.uniform(low, high)) * length_s, step)


def _operators(rng: random.Random, issues: int, seconds: float, slow_at_s: Sequence[float]) -> Iterator[TimedStep]:
    """Operators end and reset workflows at every moment, and start workers with wrong settings, each kind in turn.

    They meet commands while Daytona is slow. The worker with another prefix comes early, while most issues are new.
    """
    for act, moment in MEDDLED * (1 + issues // ISSUES_PER_MEDDLING):
        is_quick = moment in IN_COMMANDS
        at_s = rng.choice(slow_at_s) + rng.uniform(*MEDDLED_AFTER_S)
        at_s = round(at_s if is_quick else rng.uniform(*MEDDLED_SHARES) * seconds, 3)
        yield TimedStep(at_s, Meddle(act, moment, rng.randint(1, issues), round(rng.random(), 3)))
    rounds = max(1, round(seconds / ROUND_S))
    for number in range(rounds):
        for part, low, high in zip(STRAYS, (0.06, 0.45), (0.12, 0.55), strict=True):
            at_s = (number + rng.uniform(low, high)) * seconds / rounds
            yield TimedStep(at_s, Stray(part, _span(rng, 2.0, 4.0)))


def _strangers(rng: random.Random, seconds: float, posts: Sequence[Post]) -> Iterator[TimedStep]:
    """Two bursts through each door in each round, about issues that have a workflow by then."""
    rounds = max(1, round(seconds / ROUND_S))
    for number in range(rounds):
        for door, copies in HOSTILE_COPIES.items():
            for low, high in ((0.2, 0.5), (0.6, 0.9)):
                at_s = (number + rng.uniform(low, high)) * seconds / rounds
                known = sorted({post.event.issue for post in posts if post.at_s < at_s})
                yield TimedStep(at_s, Burst(door, copies, tuple(rng.sample(known, min(BURST_VICTIMS, len(known))))))


def _on_parts(rng: random.Random, workers: Sequence[str], apis: Sequence[str]) -> Iterator[Slot]:
    """Each kind of process is killed once and frozen for a moment; two of the three workers get more, in turn.

    One worker is frozen, and another is cut off from Temporal, for longer than the heartbeat timeout: their activities
    go on in an attempt that is lost, beside the attempt that replaced it.
    """
    first, second, third = workers
    api, other_api = apis
    yield 0.1, 0.5, Kill(TEMPORAL, _span(rng, 0.0, 1.5))
    yield 0.3, 0.9, Kill(DAYTONA, _span(rng, 0.0, 1.5))
    yield 0.1, 0.9, Kill(api, _span(rng, 0.0, 2.0))
    yield 0.55, LAST_STEP, Kill(first, _span(rng, 0.0, 1.0))
    yield 0.1, 0.4, Kill(third, _span(rng, 0.0, 1.0))
    yield 0.05, 0.3, Freeze(first, HEARTBEAT_TIMEOUT_S + _span(rng, 1.0, 4.0))
    yield 0.5, 0.7, Stall(f"{second}>{TEMPORAL}", HEARTBEAT_TIMEOUT_S + _span(rng, 1.0, 3.0))
    yield 0.55, 0.9, Freeze(third, _span(rng, 0.5, 4.0))
    yield 0.5, LAST_STEP, Freeze(TEMPORAL, _span(rng, 0.3, 2.0))
    yield 0.05, LAST_STEP, Freeze(other_api, _span(rng, 0.5, 5.0))
    # Longer than a request's deadline: Daytona later carries out a request that its client has given up.
    yield 0.1, 0.5, Freeze(DAYTONA, _span(rng, 2.5, 5.0))


def _on_ends(rng: random.Random, workers: Sequence[str], apis: Sequence[str]) -> Iterator[Slot]:
    """Two of the three workers and an API get a SIGTERM; the logs of two workers and of both APIs are not read.

    The long stall hits the worker that `_on_parts` leaves running meanwhile. Whether it hangs after that shows at its
    SIGTERM in the rolling restart and at the end of the run. The API must end although nobody reads its last log lines.
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
    """Late in its round, so that it follows the steps of `_on_ends` and meets the inspections before deletes."""
    step = RollingRestart(tuple(rng.sample(WORKERS, len(WORKERS))), 0.0)
    return _in_the_middle(rng, 0.8, 0.85, step, slow_s=ROLL_SLOW_S)


def _in_the_middle(rng: random.Random, low: float, high: float, step: Step, slow_s: float = SLOW_S) -> Iterator[Slot]:
    """A step while commands wait for Daytona, for longer than the time that a worker gives them at its end."""
    share = rng.uniform(low, high)
    yield share - SLOW_BEFORE_SHARE, share - SLOW_BEFORE_SHARE, Knob(SLOW_STATES, {"durations": SLOW}, slow_s)
    yield share, share, step


def _on_links(rng: random.Random) -> Iterator[Slot]:
    for link in LINKS:
        seconds = _span(rng, 0.1, 3.0)
        slow = Slow(link, round(rng.uniform(0.02, 0.3), 3), 2 * seconds)
        yield 0.05, LAST_STEP, rng.choice((Cut(link, seconds), Cut(link, 0.0), Stall(link, seconds), slow))


def _on_daytona(rng: random.Random) -> Iterator[Slot]:
    """Every knob. Not in a round's last third, so that no second lookup after a 404 meets the next round's outage."""
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


def _waves(rng: random.Random, issues: int, seconds: float) -> Iterator[TimedStep]:
    """Deal the deck, and shuffle it anew each time it is used up, so that even a short run deals every card."""
    hits_max = HITS_MIN + issues // ISSUES_PER_HIT
    waves = max(1, int(seconds * LAST_STEP / WAVE_S))
    size = max(WAVE_RULES_MIN, -(-len(deck()) // waves))
    cards: list[tuple[str, JSONObject]] = []
    false_404s = 0
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
            if effect["kind"] == FALSE_404:
                rule["match"] = {"operation": operation, "name": f"claude-issue-*{false_404s % 10}"}
                times = min(times, FALSE_404S_MAX)
                false_404s += 1
            rule |= {"times": times, "probability": round(rng.uniform(0.5, 1.0), 2)}
            rules.append(rule)
        yield TimedStep(number * WAVE_S, Wave(number, tuple(rules)))


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


def _people(rng: random.Random, issues: int, seconds: float, posts: tuple[Post, ...]) -> Iterator[TimedStep]:
    for _ in range(max(12, int(issues * 0.6))):
        _, act, detail = rng.choices(_ACTS, [weight for weight, *_ in _ACTS])[0]
        yield TimedStep(_moment(rng, seconds), Act(rng.randint(1, issues), act, detail))
    deletes: dict[int, float] = {}
    for _ in range(max(8, int(issues * 0.2))):
        _, order, is_forced = rng.choices(_ORDERS, [weight for weight, *_ in _ORDERS])[0]
        at_s, issue = _moment(rng, seconds), rng.randint(1, issues)
        if order != "ensure":
            deletes[issue] = min(at_s, deletes.get(issue, seconds))
        yield TimedStep(at_s, Command(issue, order, is_forced, rng.randrange(len(API))))
    yield from _work(rng, posts, deletes)


_OTHERS_LABELS: Final[tuple[JSONObject, ...]] = (
    {"managed-by": "issuebox", "issuebox-instance": "another-team"},
    {"managed-by": "somebody"},
    {"managed-by": "issuebox", "issue-id": "999999999"},
)


def _foreign(rng: random.Random, issues: int, posts: tuple[Post, ...]) -> Iterator[TimedStep]:
    """Others create a sandbox under an issue's name, before the issue opens: later the name is mostly taken."""
    opened: dict[int, float] = {}
    for post in posts:
        opened[post.event.issue] = min(post.at_s, opened.get(post.event.issue, post.at_s))
    for number in range(max(len(_OTHERS_LABELS), int(issues * 0.03))):
        issue = rng.randint(1, issues)
        before_s = rng.uniform(0.0, 2.0)
        labels = _OTHERS_LABELS[number % len(_OTHERS_LABELS)]
        yield TimedStep(round(max(0.0, opened[issue] - before_s), 3), Act(issue, FOREIGN, {"labels": labels}))


def _work(rng: random.Random, posts: tuple[Post, ...], orders: dict[int, float]) -> Iterator[TimedStep]:
    """Work in sandboxes whose issue is open and was neither closed nor subject to an order.

    The service does not inspect those yet. Later it may start a sandbox for an inspection alone, and a person who works
    in it at that moment works in a sandbox that was not handed over.
    """
    opened: dict[int, int] = {}
    ended: dict[int, float] = dict(orders)
    for post in posts:
        event = post.event
        opened[event.issue] = min(event.second, opened.get(event.issue, event.second))
        if event.kind.leads_to is not IssueState.OPEN:
            ended[event.issue] = min(event.second, ended.get(event.issue, float(event.second)))
    for issue, second in sorted(opened.items()):
        until_s = ended.get(issue, second + 20.0)
        if until_s - second > 4.0 and rng.random() < 0.5:  # noqa: PLR2004 -- time for a create
            yield TimedStep(second + 2.5, Work(issue, until_s - 0.5))


STRIKES: Final = (*MARKS, Strike.OOM, *MARKS)
"""What strikes a run, in turn. A stop in the dashboard is among people's acts, a close among the stories."""
RUN_ORDERS: Final = ("cancel", "pause")
STRIKES_MIN: Final = 12
STRIKES_PER_ISSUE: Final = 0.25
ORDERED_SHARE: Final = 0.12
"""Of the requests for work."""
ORDERED_AFTER_S: Final = (0.5, 6.0)


def _on_runs(rng: random.Random, issues: int, seconds: float, posts: tuple[Post, ...]) -> Iterator[TimedStep]:
    """Processes of runs are killed, and runs cancelled or paused some seconds after somebody asked for work."""
    for number in range(max(STRIKES_MIN, int(issues * STRIKES_PER_ISSUE))):
        yield TimedStep(_moment(rng, seconds), StrikeRun(rng.randrange(1_000), STRIKES[number % len(STRIKES)]))
    for post in posts:
        if post.event.asks and rng.random() < ORDERED_SHARE:
            at_s = round(min(seconds, post.at_s + rng.uniform(*ORDERED_AFTER_S)), 3)
            yield TimedStep(at_s, OrderRuns(post.event.issue, rng.choice(RUN_ORDERS), rng.randrange(len(API))))


def _moment(rng: random.Random, seconds: float) -> float:
    return round(rng.uniform(0.08, LAST_STEP) * seconds, 3)
