"""The rounds: one kind of fault each, with an issue's deliveries and acts as a function of the seed alone.

Offsets are real seconds from the issue's beginning. Daytona's own times pass `SPEED` times as fast.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from localdaytona.types import JSONObject
from proofs.peers.system import HOSTS, Crash

SPEED = 10.0

GAP_S = 1.2
"""Between two events of an issue that should not race: longer than a create with its retries."""
CALM_GAP_S = 4.0
TWIN_GAP_MAX_S = 0.05


@dataclass(frozen=True, slots=True)
class Send:
    """A delivery. `at_s` counts from the end of the acts before it, if any: Daytona has accepted them by then.

    `gone_after_s`: when its caller hangs up. `waits_for_hosts`: it is sent once both hosts are up again.
    """

    at_s: float
    host: int
    action: str
    gone_after_s: float | None = None
    crash: Crash | None = None
    waits_for_hosts: bool = False


@dataclass(frozen=True, slots=True)
class Act:
    """An act of a person or of Daytona's timer on every sandbox of the issue: `stop`, `archive`, `delete`.

    It happens once, `at_s` after the issue's beginning.
    """

    at_s: float
    act: str


Life = tuple[Send | Act, ...]


@dataclass(frozen=True, slots=True)
class Round:
    """One kind of fault: rules for requests, knobs of Daytona, and the deliveries and acts of an issue."""

    key: str
    title: str
    life: Callable[[random.Random], Life]
    rules: tuple[JSONObject, ...] = ()
    knobs: Mapping[str, object] = field(default_factory=dict)
    ends_closed: bool = False
    issues_at_once: int = 20


def rule(operation: str, probability: float, effect: JSONObject) -> JSONObject:
    """A rule that hits this share of the requests."""
    return {"match": {"operation": operation}, "effect": effect, "probability": probability}


def status(code: int, **headers: str) -> JSONObject:
    """An error instead of the request's effect."""
    return {"kind": "status", "status": code, "headers": dict(headers)}


def _spaced(rng: random.Random) -> Life:
    """Three events, each after the one before is handled."""
    return _apart(rng, GAP_S)


def _calm(rng: random.Random) -> Life:
    """The same, with enough time between events even on a busy machine."""
    return _apart(rng, CALM_GAP_S)


def _apart(rng: random.Random, gap_s: float) -> Life:
    return tuple(Send(number * gap_s, rng.randrange(HOSTS), "comment" if number else "opened") for number in range(3))


def _killed(rng: random.Random) -> Life:
    """The process that handles the first event is killed meanwhile, mostly; a second event comes later."""
    host = rng.randrange(HOSTS)
    crash = Crash(rng.randrange(1, 9), rng.uniform(0, 0.3)) if rng.random() < 0.7 else None  # noqa: PLR2004 -- a share
    return (Send(0, host, "opened", crash=crash), Send(GAP_S, 1 - host, "comment", waits_for_hosts=True))


def _gone(rng: random.Random) -> Life:
    """The caller of the first event hangs up while it is handled."""
    return (
        Send(0, rng.randrange(HOSTS), "opened", gone_after_s=rng.uniform(0, 0.25)),
        Send(GAP_S, rng.randrange(HOSTS), "comment"),
    )


def _twins(hosts: int) -> Callable[[random.Random], Life]:
    """Two events within 50 ms, on one host or on two, and a third one later."""

    def life(rng: random.Random) -> Life:
        first = rng.randrange(HOSTS)
        second = first if hosts == 1 else 1 - first
        at_s = rng.uniform(0, TWIN_GAP_MAX_S)
        return (Send(0, first, "opened"), Send(at_s, second, "comment"), Send(GAP_S, rng.randrange(HOSTS), "comment"))

    return life


def _idle(rng: random.Random) -> Life:
    """The sandbox is stopped, and half the time archived; the next event comes meanwhile or afterwards."""
    acts: tuple[Act, ...] = (Act(GAP_S, "stop"),)
    if rng.random() < 0.5:  # noqa: PLR2004 -- half of them
        acts = (*acts, Act(GAP_S + 0.3, "archive"))
    pause_s = rng.choice((rng.uniform(0, 0.05), rng.uniform(0.05, 0.3), rng.uniform(0.5, 0.8)))
    return (Send(0, rng.randrange(HOSTS), "opened"), *acts, Send(pause_s, rng.randrange(HOSTS), "comment"))


def _stale(rng: random.Random) -> Life:
    """A second event soon after the first, a person deletes the sandbox, and a third event soon after that."""
    return (
        Send(0, rng.randrange(HOSTS), "opened"),
        Send(rng.uniform(0.2, 0.5), rng.randrange(HOSTS), "comment"),
        Act(GAP_S, "delete"),
        Send(rng.uniform(0, 0.3), rng.randrange(HOSTS), "comment"),
    )


def _closed(rng: random.Random) -> Life:
    """The issue is closed while its sandbox is being created."""
    return (Send(0, rng.randrange(HOSTS), "opened"), Send(rng.uniform(0.1, 0.9), rng.randrange(HOSTS), "closed"))


def _mixed(rng: random.Random) -> Life:
    """Twins on two hosts, a stop, and two more events."""
    return (
        *_twins(2)(rng)[:2],
        Act(GAP_S, "stop"),
        Send(rng.uniform(0, 0.3), rng.randrange(HOSTS), "comment"),
        Send(GAP_S, rng.randrange(HOSTS), "comment"),
    )


ROUNDS: tuple[Round, ...] = (
    Round(
        "F1", "reply lost after the effect", _spaced,
        (rule("create", 0.5, {"kind": "drop_after"}), rule("start", 0.5, {"kind": "drop_after"})),
    ),
    Round(
        "F2", "5xx before the effect", _spaced,
        (rule("create", 0.5, status(503)), rule("get", 0.3, status(502)), rule("list", 0.3, status(502)),
         rule("start", 0.3, status(503))),
    ),
    Round("F3", "process killed", _killed, issues_at_once=4),
    Round("F4", "caller gone", _gone),
    Round("F5", "two events, one host", _twins(1)),
    Round("F6", "two events, two hosts", _twins(2)),
    Round("F7", "stopped or archived between", _idle),
    Round("F8", "stale lists, deleted by hand", _stale, (),
          {"list_lag_s": 2.0, "list_flap_probability": 0.2, "name_cache_s": 10.0}),
    Round("F9", "create takes 80 s", _spaced, (rule("create", 0.5, {"kind": "slow", "seconds": 8.0}),)),
    Round(
        "F10", "429", _spaced,
        (rule("create", 0.4, status(429, **{"Retry-After": "1"})), rule("get", 0.2, status(429)),
         rule("list", 0.2, status(429)), rule("start", 0.2, status(429))),
    ),
    Round("F11", "closed during the create", _closed, (), {"durations": {"create_s": 10.0}}, ends_closed=True),
    Round(
        "F12", "all together", _mixed,
        (rule("create", 0.15, {"kind": "drop_after"}), rule("create", 0.15, status(503)),
         rule("start", 0.2, status(503)), rule("get", 0.1, status(502)), rule("list", 0.1, status(502))),
        {"list_lag_s": 2.0},
    ),
)  # fmt: skip

CALM = Round("F0", "no fault", _calm)
"""The control round: every system must serve every issue with one sandbox here."""


def life_of(each: Round, seed: int, number: int) -> Life:
    """The deliveries and acts of the round's issue of this number: the same for every system."""
    return each.life(random.Random(f"{seed}/{each.key}/{number}"))
