"""What an issue's sandbox should be, by the messages about the issue. Pure; knows nothing of sandboxes.

Where the evidence does not show which of two messages was later, both expectations are right: nothing here guesses.
"""

from __future__ import annotations

from collections.abc import Sequence

from proofs.checker.cases import Message
from proofs.checker.evidence import Expectation

CLOCKS_APART_S = 3
"""GitHub's times are in whole seconds, and its clock and the person's may be apart by two."""

DOWN = frozenset({Expectation.STOPPED, Expectation.GONE})


def standing(messages: Sequence[Message]) -> frozenset[Expectation]:
    """The expectations of which any may be the newest one. Empty without a certain message."""
    deliveries = [each for each in messages if not each.is_order and each.expects is not Expectation.NOTHING]
    orders = [each for each in messages if each.is_order]
    expectations = _by_deliveries(deliveries)
    if expectations == {Expectation.GONE}:
        return expectations
    expectations = _with_requests(expectations, orders)
    return _with_orders(expectations, messages)


def sandbox_requests(messages: Sequence[Message]) -> list[Message]:
    """The certain requests for a running sandbox that no close or delete takes back. They lift a person's order."""
    ends = [each for each in messages if each.expects in DOWN and not each.is_order]
    return [
        each
        for each in messages
        if each.expects is Expectation.RUNNING
        and each.is_certain
        and not each.is_repetition
        and not any(_takes_back(end, each) for end in ends)
    ]


def superseders(request: Message, messages: Sequence[Message]) -> list[Message]:
    """The messages that may have taken back a sandbox request: a newer event, or a person's later order."""
    return [each for each in messages if each.expects in DOWN and _takes_back(each, request)]


def is_on_closed(request: Message, messages: Sequence[Message]) -> bool:
    """Whether the issue may have been closed at the time of the request.

    Then it gets its sandbox for a while only. The timers of the close begin anew with the handover, so none of them
    takes the request back before.
    """
    if not (request.is_order or request.is_persons_own):
        return False
    showing = [each for each in messages if not each.is_order and _shows_state(each, request)]
    newest = max((each.second for each in showing), default=-1)
    return any(each.expects is Expectation.STOPPED for each in showing if each.second == newest)


def _shows_state(message: Message, request: Message) -> bool:
    is_before = request.is_order or message.second <= request.second
    return is_before and not message.is_persons_own and message.expects is not Expectation.NOTHING


def _takes_back(down: Message, request: Message) -> bool:
    if down.expects is Expectation.GONE and not down.is_order:
        return True
    if down.is_order and not request.is_order:
        return down.hi >= request.lo or may_be_before(request, down)
    if down.is_order or request.is_order:
        return down.hi >= request.lo
    if down.action == "transferred" and not request.is_persons_own:
        return True
    return down.second >= request.second


def may_be_before(request: Message, order: Message) -> bool:
    """Whether what was delivered may have happened before the person's order, by GitHub's clock and the person's."""
    return not request.is_order and request.second < order.hi


def _may_be_after(request: Message, order: Message) -> bool:
    """Whether what was delivered may have happened after the person's order."""
    return request.is_order or request.second >= order.lo - CLOCKS_APART_S


def _by_deliveries(deliveries: Sequence[Message]) -> frozenset[Expectation]:
    """The expectations of deliveries, by GitHub's own clock. Deleted and transferred are final."""
    certain = [each for each in deliveries if each.is_certain]
    if any(each.expects is Expectation.GONE for each in certain):
        return frozenset({Expectation.GONE})
    if not certain:
        return frozenset()
    left = [each for each in certain if each.action == "transferred"]
    counting = [each for each in deliveries if not left or each in left or each.is_persons_own]
    newest = max(each.second for each in counting if each.is_certain)
    expectations = {each.expects for each in counting if each.second >= newest}
    if any(each.expects is Expectation.GONE for each in deliveries):
        expectations.add(Expectation.GONE)
    if left:
        expectations.add(Expectation.STOPPED)
    return frozenset(expectations | _of_closed(counting))


def _of_closed(deliveries: Sequence[Message]) -> set[Expectation]:
    """A request on a closed issue gets the sandbox for a while only: then the close counts again."""
    showing = [each for each in deliveries if each.is_certain and not each.is_persons_own]
    newest = max((each.second for each in showing), default=-1)
    return {each.expects for each in showing if each.second == newest and each.expects is Expectation.STOPPED}


def _with_requests(expectations: frozenset[Expectation], orders: Sequence[Message]) -> frozenset[Expectation]:
    """Add the requests over REST: a person gets the sandbox on a closed issue too, for a while."""
    requests = [each for each in orders if each.expects is Expectation.RUNNING]
    if any(each.is_certain for each in requests) or (requests and expectations):
        return expectations | {Expectation.RUNNING}
    return expectations


def _with_orders(expectations: frozenset[Expectation], messages: Sequence[Message]) -> frozenset[Expectation]:
    """Add the orders: a person's stop or delete stands until the next sandbox request."""
    downs = [each for each in messages if each.is_order and each.expects in DOWN]
    certain_requests = sandbox_requests(messages)
    open_downs = [
        down
        for down in downs
        if not any(request.lo > down.hi and not may_be_before(request, down) for request in certain_requests)
        and not any(later.lo > down.hi and later.is_certain for later in downs)
    ]
    if not open_downs:
        return expectations
    possible_requests = [each for each in messages if each.expects is Expectation.RUNNING]
    stands = any(
        down.is_certain
        and not any(request.hi >= down.lo and _may_be_after(request, down) for request in possible_requests)
        for down in open_downs
    )
    ordered = frozenset(down.expects for down in open_downs)
    return ordered if stands else expectations | ordered
