"""The Hypothesis state machine: what may happen, in any order and at any moment, and what must hold meanwhile.

Nothing that is drawn depends on what the world answers, only on what the machine itself did, so that a failing
sequence can be replayed. How far the world has come between two rules is up to it.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.property.faults import EFFECTS, OPERATIONS, effects_on
from tests.property.github import LEAVES, STAYS, Event, GitHubIssue, Happening
from tests.property.play import Play
from tests.property.rig import Rig
from tests.property.terms import ACTS, LADDERS, ORDERS, SET_UPS, WEATHERS, Terms

T = TypeVar("T")
Step = Callable[..., None]

ISSUES_MAX = 3
MATURE = 5
"""Deliveries before an issue may leave."""

_issue = st.integers(0, ISSUES_MAX - 1)
_rarely = st.sampled_from((False, False, False, True))
_pause_s = st.sampled_from((0.0, 0.0, 0.02, 0.06, 0.2, 0.5))


def step(**arguments: st.SearchStrategy[Any]) -> Callable[[Step], Step]:
    """A rule after which some time passes: none, in which the next step meets this one under way, or a while."""

    def decorate(act: Step) -> Step:
        @functools.wraps(act)
        def act_and_wait(self: IssueMachine, pause_s: float, **given: Any) -> None:
            drawn = ", ".join(f"{name}={value!r}" for name, value in given.items() if name != "data")
            self._tell(f"{act.__name__}({drawn})")
            act(self, **given)
            self._do(asyncio.sleep(pause_s))
            self._end_outage_in_time()

        ruled: Step = rule(pause_s=_pause_s, **arguments)(act_and_wait)
        return ruled

    return decorate


class IssueMachine(RuleBasedStateMachine):
    """One to three issues, and everybody who has to do with them."""

    loop: ClassVar[asyncio.AbstractEventLoop]
    rig: ClassVar[Rig]

    def __init__(self) -> None:
        super().__init__()
        self._play: Play | None = None
        self._issues: list[GitHubIssue] = []
        self._sent: list[Event] = []
        self._held: list[Event] = []
        self._story: list[str] = []
        self._ordered_away: set[int] = set()
        self._is_worker_away = False
        self._has_failed = False
        self._is_all_delivered = False
        self._has_lied = False
        self._outage_steps = 0
        self._restarts_left = 1
        self._rests_left = 1

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return self.loop.run_until_complete(work)
        except BaseException as error:  # Whatever it was, the example is over, and is not judged once more.
            self._has_failed = True
            self.rig.failures.append("\n".join([str(error) or repr(error), "", "What happened:", *self._story]))
            raise

    def _tell(self, what: str) -> None:
        """Hypothesis shows the steps of a sequence that fails again; this one may not, so it is written down."""
        self._story.append(f"  {time.time():.3f} {what}")

    def _end_outage_in_time(self) -> None:
        self._outage_steps -= 1
        if self._outage_steps == 0:
            self._do(self.play.end_outage())

    @property
    def play(self) -> Play:
        assert self._play is not None
        return self._play

    def _at(self, index: int) -> GitHubIssue:
        return self._issues[index % len(self._issues)]

    @initialize(
        count=st.integers(1, ISSUES_MAX),
        ladder=st.sampled_from(sorted(LADDERS)),
        weather=st.sampled_from(sorted(WEATHERS)),
        set_up=st.sampled_from(sorted(SET_UPS)),
        is_all_delivered=st.booleans(),
    )
    def begin(self, count: int, ladder: str, weather: str, set_up: str, is_all_delivered: bool) -> None:
        """`is_all_delivered`: what is held back until the end arrives then, the newest first; else it is lost."""
        self._is_all_delivered = is_all_delivered
        if self.rig.failures:
            raise AssertionError("Hypothesis tries it again, but the world has moved on: see the first failure")
        ids = [self.rig.new_issue() for _ in range(count)]
        self.rig.examples += 1
        self._tell(f"example {self.rig.examples}: issues {ids}, {ladder}, {weather}, {set_up}")
        self._issues = [GitHubIssue(issue, number) for number, issue in enumerate(ids, 1)]
        settings = LADDERS[ladder] | SET_UPS[set_up]
        self._play = Play(self.rig, ids, Terms(settings, WEATHERS[weather], can_delete=ladder.startswith("deleted")))
        self._do(self.play.begin())
        self._send(self._issues[0].happen(Happening.OPENED, time.time(), is_same_second=False))

    def _send(self, event: Event, copies: int = 1) -> None:
        self._tell(f"  arrives: {event.delivery}")
        self._sent.append(event)
        self._do(self.play.post(event, copies=copies))

    def _happens(
        self, data: st.DataObject, index: int, *, is_same_second: bool, among: tuple[Happening, ...] = STAYS
    ) -> Event | None:
        issue = self._at(index)
        possible = [what for what in issue.possible if what in among]
        if not possible:
            return None
        what = data.draw(st.sampled_from(possible), f"issue {issue.issue}")
        event = issue.happen(what, time.time(), is_same_second=is_same_second)
        self._tell(f"  issue {issue.issue} {what}: {event.delivery}")
        return event

    @step(data=st.data(), index=_issue, is_same_second=_rarely, copies=st.sampled_from((1, 1, 1, 3)))
    def event(self, data: st.DataObject, index: int, is_same_second: bool, copies: int) -> None:
        """Something happens at GitHub, and the delivery arrives."""
        event = self._happens(data, index, is_same_second=is_same_second)
        if event is not None:
            self._send(event, copies)

    @precondition(lambda self: len(self._sent) >= MATURE)
    @step(data=st.data(), index=_issue)
    def issue_leaves(self, data: st.DataObject, index: int) -> None:
        """The issue is deleted or transferred, and nothing more happens to it. Not before something has."""
        event = self._happens(data, index, is_same_second=False, among=LEAVES)
        if event is not None:
            self._send(event)

    @step(data=st.data(), index=_issue, is_same_second=_rarely)
    def event_held_back(self, data: st.DataObject, index: int, is_same_second: bool) -> None:
        """Something happens at GitHub, and the delivery is late, or never comes."""
        event = self._happens(data, index, is_same_second=is_same_second)
        if event is not None:
            self._held.append(event)

    @precondition(lambda self: self._held)
    @step(data=st.data())
    def late_delivery(self, data: st.DataObject) -> None:
        """A delivery that was held back arrives after others."""
        self._send(self._held.pop(data.draw(st.integers(0, len(self._held) - 1), "held")))

    @precondition(lambda self: self._sent)
    @step(data=st.data(), is_second_hook=st.booleans())
    def redelivery(self, data: st.DataObject, is_second_hook: bool) -> None:
        """A delivery arrives again: sent anew, or by a hook that was registered twice."""
        event = self._sent[data.draw(st.integers(0, len(self._sent) - 1), "sent")]
        self._do(self.play.post(event, delivery=f"{event.delivery[:-2]}-2" if is_second_hook else ""))

    @step(data=st.data(), index=_issue, length=st.integers(2, 6))
    def burst(self, data: st.DataObject, index: int, length: int) -> None:
        """Much happens in one moment, each in a second of its own, and all of it arrives at once, in any order."""
        events = []
        for _ in range(length):
            event = self._happens(data, index, is_same_second=False)
            if event is None:
                break
            events.append(event)
        for place in data.draw(st.permutations(range(len(events))), "order"):
            self._send(events[place])

    @step(index=_issue, order=st.sampled_from(ORDERS))
    def person_orders(self, index: int, order: str) -> None:
        """A person asks or orders over REST."""
        issue, play = self._at(index).issue, self.play
        match order:
            case "ask":
                self._do(play.ask(issue, 0.0))
            case "ask and wait":
                self._do(play.ask(issue, 0.3))
            case "stop":
                self._do(play.stop(issue))
            case "replace":
                self._do(play.replace(issue))
            case "retry":
                self._do(play.retry(issue))
            case _:
                self._ordered_away.add(issue)
                self._do(play.delete(issue, is_forced=order == "delete by force"))

    @step(index=_issue, act=st.sampled_from(sorted(ACTS)))
    def person_acts(self, index: int, act: str) -> None:
        """A person does something at Daytona, or the sandbox idles until Daytona stops it."""
        self._do(self.play.by_hand(self._at(index).issue, act.split(",", maxsplit=1)[0], **ACTS[act]))

    @step(index=_issue)
    def person_works(self, index: int) -> None:
        """Somebody works in the sandbox of an open issue, and does not save it anywhere else.

        Not where a delete may be on its way: who slips into a sandbox that was started for a look alone, between
        the look and the stop, is a documented limit.
        """
        issue = self._at(index)
        if Happening.CLOSED in issue.possible and issue.issue not in self._ordered_away:
            self._do(self.play.work(issue.issue))

    @step(
        data=st.data(),
        index=_issue,
        operation=st.sampled_from(OPERATIONS),
        times=st.integers(1, 3),
        skip=st.integers(0, 2),
    )
    def fault(self, data: st.DataObject, index: int, operation: str, times: int, skip: int) -> None:
        """The next requests of a kind meet a fault."""
        effects = effects_on(operation)
        effect = data.draw(st.sampled_from(sorted(effects)), "effect")
        self._tell(f"  {effect}")
        self._do(self.play.fault(self._at(index).issue, operation, effects[effect], times=times, skip=skip))

    @step(index=_issue, skip=st.integers(0, 3))
    def false_404(self, index: int, skip: int) -> None:
        """One read of the issue's sandbox finds nothing, though it is there."""
        if self._may_lie():
            effect = EFFECTS["a false 404"]
            self._do(self.play.fault(self._at(index).issue, "get", effect, times=1, skip=skip))

    def _may_lie(self) -> bool:
        """Whether Daytona may deny what is there: for one moment between two rests.

        issuebox looks again after longer than Daytona was ever seen to deny everything. That both looks fall into
        such moments, with a true answer possible in between, is a limit that it has to have somewhere.
        """
        may_lie, self._has_lied = not self._has_lied, True
        return may_lie

    @step(trouble=st.sampled_from(("event stream breaks", "outage", "outage", "long outage", "killed")))
    def daytona_in_trouble(self, trouble: str) -> None:
        """The event stream breaks, or the database is away, or it is killed and comes back (once an example)."""
        match trouble:
            case "outage" | "long outage" if self._may_lie():
                self._outage_steps = 2 if trouble == "outage" else 4
                self._do(self.play.begin_outage())
            case "killed" if self._restarts_left:
                self._restarts_left -= 1
                self._do(self.play.restart_daytona())
            case _:
                self._do(self.play.drop_events())

    @step(cached_workflows=st.sampled_from((0, 100)), is_back=st.booleans())
    def worker_killed(self, cached_workflows: int, is_back: bool) -> None:
        """kill -9 in the middle of whatever it does. Without a cache the next one replays at each step."""
        self.play.kill_workers()
        self._is_worker_away = not is_back
        if is_back:
            self.play.start_worker(cached_workflows=cached_workflows)

    @precondition(lambda self: self._is_worker_away)
    @step()
    def worker_returns(self) -> None:
        """After an outage of all workers."""
        self._is_worker_away = False
        self.play.start_worker()

    @precondition(lambda self: self._rests_left)
    @step()
    def mended(self) -> None:
        """The faults end, and everything comes to rest: what was promised is so. Then it goes on from there."""
        self._rests_left -= 1
        self._rest()

    @invariant()
    def is_safe(self) -> None:
        """Never two, never unnamed, never work lost."""
        if self._play is not None:
            self._do(self.play.witness.require_safe())

    def _rest(self) -> None:
        self._tell("everything comes to rest")
        while self._is_all_delivered and self._held:
            self._send(self._held.pop())
        self._is_worker_away = self._has_lied = False
        self._do(self.play.rest())

    def teardown(self) -> None:
        """The faults end, and everything comes to rest; then the next example has the world for itself."""
        if self._play is None:
            return
        try:
            if not self._has_failed:
                self._rest()
        finally:
            self.loop.run_until_complete(self.play.end())
