"""The Hypothesis state machine: the steps, in any order and at any moment, and the invariant.

What is drawn depends only on earlier steps, and never on an answer of the system, so that a failing sequence can be
replayed. The system runs at its own pace between two steps.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.property.example import Example
from tests.property.faults import EFFECTS, OPERATIONS, effects_on
from tests.property.github import LEAVES, STAYS, Event, GitHubIssue, IssueAction
from tests.property.rig import Rig
from tests.property.terms import ACTS, DAYTONA_VARIANTS, LADDERS, ORDERS, SET_UPS, Terms

T = TypeVar("T")
Step = Callable[..., None]

ISSUES_MAX = 3
DELIVERIES_BEFORE_LEAVING = 5
"""An issue may be deleted or transferred only after this many deliveries."""

_issue = st.integers(0, ISSUES_MAX - 1)
_rarely = st.sampled_from((False, False, False, True))
_pause_s = st.sampled_from((0.0, 0.0, 0.02, 0.06, 0.2, 0.5))


def step(**arguments: st.SearchStrategy[Any]) -> Callable[[Step], Step]:
    """A rule that is followed by a pause. After none, the next step meets this one under way."""

    def decorate(act: Step) -> Step:
        @functools.wraps(act)
        def act_and_wait(self: IssueMachine, pause_s: float, **given: Any) -> None:
            drawn = ", ".join(f"{name}={value!r}" for name, value in given.items() if name != "data")
            self._note(f"{act.__name__}({drawn})")
            act(self, **given)
            self._do(asyncio.sleep(pause_s))
            self._end_outage_when_due()

        ruled: Step = rule(pause_s=_pause_s, **arguments)(act_and_wait)
        return ruled

    return decorate


class IssueMachine(RuleBasedStateMachine):
    """One to three issues, and the people, faults and crashes around them."""

    loop: ClassVar[asyncio.AbstractEventLoop]
    rig: ClassVar[Rig]

    def __init__(self) -> None:
        super().__init__()
        self._example: Example | None = None
        self._issues: list[GitHubIssue] = []
        self._sent: list[Event] = []
        self._held: list[Event] = []
        self._log: list[str] = []
        self._ordered_away: set[int] = set()
        self._is_worker_away = False
        self._has_failed = False
        self._is_all_delivered = False
        self._has_denied = False
        self._outage_steps = 0
        self._restarts_left = 1
        self._rests_left = 1

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return self.loop.run_until_complete(work)
        except BaseException as error:  # Any failure ends the example, which is not judged again.
            self._has_failed = True
            self.rig.failures.append("\n".join([str(error) or repr(error), "", "What happened:", *self._log]))
            raise

    def _note(self, what: str) -> None:
        """Note a step. Hypothesis shows only the steps of a sequence that fails again, and this one may not."""
        self._log.append(f"  {time.time():.3f} {what}")

    def _end_outage_when_due(self) -> None:
        self._outage_steps -= 1
        if self._outage_steps == 0:
            self._do(self.example.end_outage())

    @property
    def example(self) -> Example:
        assert self._example is not None
        return self._example

    def _at(self, index: int) -> GitHubIssue:
        return self._issues[index % len(self._issues)]

    @initialize(
        count=st.integers(1, ISSUES_MAX),
        ladder=st.sampled_from(sorted(LADDERS)),
        variant=st.sampled_from(sorted(DAYTONA_VARIANTS)),
        set_up=st.sampled_from(sorted(SET_UPS)),
        is_all_delivered=st.booleans(),
    )
    def begin(self, count: int, ladder: str, variant: str, set_up: str, is_all_delivered: bool) -> None:
        """`is_all_delivered`: what is held back to the end arrives then, newest first; otherwise it is lost."""
        self._is_all_delivered = is_all_delivered
        if self.rig.failures:
            raise AssertionError("Hypothesis repeats the sequence, but the system has moved on: see the first failure")
        ids = [self.rig.new_issue() for _ in range(count)]
        self.rig.examples += 1
        self._note(f"example {self.rig.examples}: issues {ids}, {ladder}, {variant}, {set_up}")
        self._issues = [GitHubIssue(issue, number) for number, issue in enumerate(ids, 1)]
        settings = LADDERS[ladder] | SET_UPS[set_up]
        self._example = Example(
            self.rig, ids, Terms(settings, DAYTONA_VARIANTS[variant], can_delete=ladder.startswith("deleted"))
        )
        self._do(self.example.begin())
        self._send(self._issues[0].apply(IssueAction.OPENED, time.time(), is_same_second=False))

    def _send(self, event: Event, copies: int = 1) -> None:
        self._note(f"  arrives: {event.delivery}")
        self._sent.append(event)
        self._do(self.example.post(event, copies=copies))

    def _new_event(
        self, data: st.DataObject, index: int, *, is_same_second: bool, among: tuple[IssueAction, ...] = STAYS
    ) -> Event | None:
        issue = self._at(index)
        possible = [what for what in issue.possible if what in among]
        if not possible:
            return None
        what = data.draw(st.sampled_from(possible), f"issue {issue.issue}")
        event = issue.apply(what, time.time(), is_same_second=is_same_second)
        self._note(f"  issue {issue.issue} {what}: {event.delivery}")
        return event

    @step(data=st.data(), index=_issue, is_same_second=_rarely, copies=st.sampled_from((1, 1, 1, 3)))
    def event(self, data: st.DataObject, index: int, is_same_second: bool, copies: int) -> None:
        """An event happens at GitHub, and its delivery arrives."""
        event = self._new_event(data, index, is_same_second=is_same_second)
        if event is not None:
            self._send(event, copies)

    @precondition(lambda self: len(self._sent) >= DELIVERIES_BEFORE_LEAVING)
    @step(data=st.data(), index=_issue)
    def issue_leaves(self, data: st.DataObject, index: int) -> None:
        """The issue is deleted or transferred, and nothing more happens to it."""
        event = self._new_event(data, index, is_same_second=False, among=LEAVES)
        if event is not None:
            self._send(event)

    @step(data=st.data(), index=_issue, is_same_second=_rarely)
    def event_held_back(self, data: st.DataObject, index: int, is_same_second: bool) -> None:
        """An event happens at GitHub, and its delivery is late, or never comes."""
        event = self._new_event(data, index, is_same_second=is_same_second)
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
        """A delivery arrives again: as a redelivery, or by a second hook."""
        event = self._sent[data.draw(st.integers(0, len(self._sent) - 1), "sent")]
        self._do(self.example.post(event, delivery=f"{event.delivery[:-2]}-2" if is_second_hook else ""))

    @step(data=st.data(), index=_issue, length=st.integers(2, 6))
    def burst(self, data: st.DataObject, index: int, length: int) -> None:
        """Several events, each with its own second, arrive at once and in any order."""
        events = []
        for _ in range(length):
            event = self._new_event(data, index, is_same_second=False)
            if event is None:
                break
            events.append(event)
        for place in data.draw(st.permutations(range(len(events))), "order"):
            self._send(events[place])

    @step(index=_issue, order=st.sampled_from(ORDERS))
    def person_orders(self, index: int, order: str) -> None:
        """A person sends a request or an order over REST."""
        issue, example = self._at(index).issue, self.example
        match order:
            case "ask":
                self._do(example.ask(issue, 0.0))
            case "ask and wait":
                self._do(example.ask(issue, 0.3))
            case "stop":
                self._do(example.stop(issue))
            case "replace":
                self._do(example.replace(issue))
            case "retry":
                self._do(example.retry(issue))
            case _:
                self._ordered_away.add(issue)
                self._do(example.delete(issue, is_forced=order == "delete by force"))

    @step(index=_issue, act=st.sampled_from(sorted(ACTS)))
    def person_acts(self, index: int, act: str) -> None:
        """A person acts at Daytona, or the sandbox idles until Daytona stops it."""
        self._do(self.example.by_hand(self._at(index).issue, act.split(",", maxsplit=1)[0], **ACTS[act]))

    @step(index=_issue)
    def person_works(self, index: int) -> None:
        """Somebody works in the sandbox of an open issue, and saves the work nowhere else.

        Not when a delete may be under way: a person who enters a sandbox that was started for an inspection alone,
        between the inspection and the stop, is a documented limit.
        """
        issue = self._at(index)
        if IssueAction.CLOSED in issue.possible and issue.issue not in self._ordered_away:
            self._do(self.example.work(issue.issue))

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
        self._note(f"  {effect}")
        self._do(self.example.fault(self._at(index).issue, operation, effects[effect], times=times, skip=skip))

    @step(index=_issue, skip=st.integers(0, 3))
    def false_404(self, index: int, skip: int) -> None:
        """One read of the issue's sandbox finds nothing, though it is there."""
        if self._may_deny():
            effect = EFFECTS["a false 404"]
            self._do(self.example.fault(self._at(index).issue, "get", effect, times=1, skip=skip))

    def _may_deny(self) -> bool:
        """Whether Daytona may deny an existing sandbox now: once between two rests.

        issuebox repeats the lookup after a longer time than any observed outage. Two false answers with an outage's end
        in between are beyond that limit.
        """
        may_deny, self._has_denied = not self._has_denied, True
        return may_deny

    @step(trouble=st.sampled_from(("event stream breaks", "outage", "outage", "long outage", "killed")))
    def daytona_in_trouble(self, trouble: str) -> None:
        """The event stream breaks, or the database is down, or Daytona is killed and restarted (once an example)."""
        match trouble:
            case "outage" | "long outage" if self._may_deny():
                self._outage_steps = 2 if trouble == "outage" else 4
                self._do(self.example.begin_outage())
            case "killed" if self._restarts_left:
                self._restarts_left -= 1
                self._do(self.example.restart_daytona())
            case _:
                self._do(self.example.drop_events())

    @step(cached_workflows=st.sampled_from((0, 100)), is_back=st.booleans())
    def worker_killed(self, cached_workflows: int, is_back: bool) -> None:
        """kill -9 of the workers at any point. Without a cache, the next one replays at each step."""
        self.example.kill_workers()
        self._is_worker_away = not is_back
        if is_back:
            self.example.start_worker(cached_workflows=cached_workflows)

    @precondition(lambda self: self._is_worker_away)
    @step()
    def worker_returns(self) -> None:
        """A worker starts after an outage of all workers."""
        self._is_worker_away = False
        self.example.start_worker()

    @precondition(lambda self: self._rests_left)
    @step()
    def mended(self) -> None:
        """The faults end, everything comes to rest, and every rule holds. Then the example goes on."""
        self._rests_left -= 1
        self._come_to_rest()

    @invariant()
    def is_safe(self) -> None:
        """Rules (a), (b) and (d) hold after every step."""
        if self._example is not None:
            self._do(self.example.recorder.require_safe())

    def _come_to_rest(self) -> None:
        self._note("everything comes to rest")
        while self._is_all_delivered and self._held:
            self._send(self._held.pop())
        self._is_worker_away = self._has_denied = False
        self._do(self.example.rest())

    def teardown(self) -> None:
        """The faults end, and everything comes to rest. Nothing of this example acts in the next one."""
        if self._example is None:
            return
        try:
            if not self._has_failed:
                self._come_to_rest()
        finally:
            self.loop.run_until_complete(self.example.end())
