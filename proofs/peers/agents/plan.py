"""The rounds: one kind of fault each, with an issue's comments and what befalls it as a function of the seed alone.

Offsets are real seconds. Those of `Since.WORK` count from the moment at which the agent's ledger shows that it works.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from localdaytona.types import JSONObject
from proofs.peers.agents.agent import Work
from proofs.peers.plan import rule, status
from proofs.peers.system import HOSTS, Crash

SPEED = 10.0
SHORT, MIDDLE, LONG, ENDLESS = 8, 12, 30, 450
"""Beats: less than 2 s, 3 s, 6 s, and longer than any round."""
APART_S = 5.0
"""Between two requests that should not race."""
CALM_APART_S = 9.0


class Since(Enum):
    """From when on an offset counts."""

    BEGINNING = "beginning"
    WORK = "work"


@dataclass(frozen=True, slots=True)
class Send:
    """A delivery of a person's act. Several may be about one act: redelivered, or by a second hook.

    `waits_for_hosts`: it is sent once both hosts are up again.
    """

    at_s: float
    host: int
    act: int
    action: str = "comment"
    hook: int = 0
    since: Since = Since.BEGINNING
    crash: Crash | None = None
    waits_for_hosts: bool = False


@dataclass(frozen=True, slots=True)
class Stop:
    """A person stops the issue's sandbox at Daytona."""

    at_s: float
    since: Since = Since.WORK


@dataclass(frozen=True, slots=True)
class Kill:
    """Both hosts are killed at once, and come up again."""

    at_s: float
    since: Since = Since.WORK


Moment = Send | Stop | Kill


@dataclass(frozen=True, slots=True)
class Life:
    """What happens to one issue, and what its comments ask the agent for."""

    work: Work
    moments: tuple[Moment, ...]


@dataclass(frozen=True, slots=True)
class Round:
    """One kind of fault. `is_called_off`: its issues are closed, or their requests cancelled, while the agent works."""

    key: str
    title: str
    life: Callable[[random.Random], Life]
    rules: tuple[JSONObject, ...] = ()
    is_called_off: bool = False
    issues_at_once: int = 20


def inside(probability: float, effect: JSONObject) -> JSONObject:
    """A rule that hits this share of the requests into a sandbox: commands, and files."""
    return rule("toolbox", probability, effect)


def request_key(act: str) -> str:
    """The key of the comment with which a person asks: its ID, as GitHub gives one to each comment."""
    return f"comment-{comment_id(act)}"


def comment_id(act: str) -> int:
    """A number for each act."""
    return int.from_bytes(hashlib.sha256(act.encode()).digest()[:6]) + 1


def _apart(rng: random.Random) -> Life:
    """Two requests, the second after the first one's work."""
    return Life(Work(SHORT), (Send(0, rng.randrange(HOSTS), 0), Send(APART_S, rng.randrange(HOSTS), 1)))


def _calm(rng: random.Random) -> Life:
    """The same, with enough time between them even on a busy machine."""
    return Life(Work(SHORT), (Send(0, rng.randrange(HOSTS), 0), Send(CALM_APART_S, rng.randrange(HOSTS), 1)))


def _killed_early(rng: random.Random) -> Life:
    """The process that handles the first request is killed meanwhile, mostly; a second request comes later."""
    host = rng.randrange(HOSTS)
    is_killed = rng.random() < 0.8  # noqa: PLR2004 -- a share
    crash = Crash(rng.randrange(1, 13), rng.uniform(0, 1.5)) if is_killed else None
    return Life(Work(SHORT), (Send(0, host, 0, crash=crash), Send(APART_S, 1 - host, 1, waits_for_hosts=True)))


def _killed_late(rng: random.Random) -> Life:
    """Both hosts are killed while the agent works."""
    return Life(Work(LONG), (Send(0, rng.randrange(HOSTS), 0), Kill(rng.uniform(0.3, 2.0))))


def _copies(rng: random.Random) -> Life:
    """One comment: delivered, by a second hook at the same time, to the other host again, and much later again."""
    first = rng.randrange(HOSTS)
    return Life(
        Work(SHORT),
        (
            Send(0, first, 0),
            Send(rng.uniform(0, 0.05), 1 - first, 0, hook=1),
            Send(rng.uniform(0, 0.3), 1 - first, 0),
            Send(APART_S, rng.randrange(HOSTS), 0),
        ),
    )


def _stopped(rng: random.Random) -> Life:
    """The sandbox is stopped while the agent works."""
    return Life(Work(LONG), (Send(0, rng.randrange(HOSTS), 0), Stop(rng.uniform(0.3, 2.0))))


def _called_off(action: str) -> Callable[[random.Random], Life]:
    """A close, or a comment that cancels, while the agent works. Half of the agents have a helper."""

    def life(rng: random.Random) -> Life:
        work = Work(ENDLESS, has_helper=rng.random() < 0.5)  # noqa: PLR2004 -- half of them
        end = Send(rng.uniform(1.0, 1.5), rng.randrange(HOSTS), 1, action, since=Since.WORK)
        return Life(work, (Send(0, rng.randrange(HOSTS), 0), end))

    return life


def _burst(rng: random.Random) -> Life:
    """Five comments while the agent works, within a second."""
    more = [Send(rng.uniform(0.3, 1.3), rng.randrange(HOSTS), act, since=Since.WORK) for act in range(1, 6)]
    return Life(Work(MIDDLE), (Send(0, rng.randrange(HOSTS), 0), *more))


def _mixed(rng: random.Random) -> Life:
    """One of the others."""
    return rng.choice((_apart, _killed_early, _copies, _stopped, _burst))(rng)


ROUNDS: tuple[Round, ...] = (
    Round("A1", "reply lost after the effect", _apart,
          (inside(0.25, {"kind": "drop_after"}), inside(0.1, {"kind": "status_after", "status": 502}))),
    Round("A2", "5xx before the effect", _apart,
          (inside(0.3, status(502)), rule("create", 0.3, status(503)), rule("get", 0.2, status(502)))),
    Round("A3", "process killed between steps", _killed_early, issues_at_once=4),
    Round("A4", "hosts killed while the agent works", _killed_late, issues_at_once=4),
    Round("A5", "sent twice by the proxy", _apart, (inside(0.4, {"kind": "twice"}),)),
    Round("A6", "carried out after the sender gave up", _apart, (inside(0.15, {"kind": "late", "seconds": 1.0}),)),
    Round("A7", "redelivered, two hooks, two hosts", _copies),
    Round("A8", "sandbox stopped during the run", _stopped),
    Round("A9", "five comments while it works", _burst),
    Round("A10", "closed during the run", _called_off("closed"), is_called_off=True),
    Round("A11", "cancelled during the run", _called_off("cancel"), is_called_off=True),
    Round("A12", "all together", _mixed,
          (inside(0.06, {"kind": "drop_after"}), inside(0.06, status(502)), inside(0.06, {"kind": "twice"}),
           inside(0.02, {"kind": "late", "seconds": 1.0})), issues_at_once=8),
)  # fmt: skip

CALM = Round("A0", "no fault", _calm)
"""The control round: every system must execute each request once here."""


def life_of(each: Round, seed: int, number: int) -> Life:
    """What happens to the round's issue of this number: the same for every system."""
    return each.life(random.Random(f"{seed}/{each.key}/{number}"))
