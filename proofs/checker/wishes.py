"""What an issue's sandbox should be, from what was said about the issue. Pure; knows nothing of sandboxes.

Where the evidence cannot tell which of two was later, both answers are right: nothing here guesses.
"""

from __future__ import annotations

from collections.abc import Sequence

from proofs.checker.cases import Heard
from proofs.checker.evidence import Wish

DOWN = frozenset({Wish.STOPPED, Wish.GONE})


def standing(heard: Sequence[Heard]) -> frozenset[Wish]:
    """The wishes of which any may be the newest one. Empty when nothing certain was said."""
    deliveries = [each for each in heard if not each.is_order and each.wish is not Wish.NOTHING]
    orders = [each for each in heard if each.is_order]
    wishes = _by_deliveries(deliveries)
    if wishes == {Wish.GONE}:
        return wishes
    wishes = _with_requests(wishes, orders)
    return _with_orders(wishes, heard)


def asks(heard: Sequence[Heard]) -> list[Heard]:
    """What certainly asked for a running sandbox of an issue that was not ended: it lifts a person's order."""
    ends = [each for each in heard if each.wish in DOWN and not each.is_order]
    return [
        each
        for each in heard
        if each.wish is Wish.RUNNING
        and each.is_certain
        and not each.is_repetition
        and not any(_takes_back(end, each) for end in ends)
    ]


def superseders(ask: Heard, heard: Sequence[Heard]) -> list[Heard]:
    """What may have taken back a request for a running sandbox: a newer event, or a person's later order."""
    return [each for each in heard if each.wish in DOWN and _takes_back(each, ask)]


def is_on_closed(ask: Heard, heard: Sequence[Heard]) -> bool:
    """Whether the issue may have been closed when this was asked.

    Then it has its sandbox for a while only, and none when that while is over before it could be made.
    """
    if not (ask.is_order or ask.is_persons_own):
        return False
    telling = [each for each in heard if not each.is_order and _tells_state(each, ask)]
    newest = max((each.second for each in telling), default=-1)
    return any(each.wish is Wish.STOPPED for each in telling if each.second == newest)


def _tells_state(told: Heard, ask: Heard) -> bool:
    is_before = ask.is_order or told.second <= ask.second
    return is_before and not told.is_persons_own and told.wish is not Wish.NOTHING


def _takes_back(down: Heard, ask: Heard) -> bool:
    if down.wish is Wish.GONE and not down.is_order:
        return True
    if down.is_order or ask.is_order:
        return down.hi >= ask.lo
    if down.action == "transferred" and not ask.is_persons_own:
        return True
    return down.second >= ask.second


def _by_deliveries(deliveries: Sequence[Heard]) -> frozenset[Wish]:
    """By GitHub's own clock; deleted and transferred are final."""
    certain = [each for each in deliveries if each.is_certain]
    if any(each.wish is Wish.GONE for each in certain):
        return frozenset({Wish.GONE})
    if not certain:
        return frozenset()
    left = [each for each in certain if each.action == "transferred"]
    counting = [each for each in deliveries if not left or each in left or each.is_persons_own]
    newest = max(each.second for each in counting if each.is_certain)
    wishes = {each.wish for each in counting if each.second >= newest}
    if any(each.wish is Wish.GONE for each in deliveries):
        wishes.add(Wish.GONE)
    if left:
        wishes.add(Wish.STOPPED)
    return frozenset(wishes | _of_closed(counting))


def _of_closed(deliveries: Sequence[Heard]) -> set[Wish]:
    """A request on a closed issue has its sandbox for a while: then it stops again."""
    telling = [each for each in deliveries if each.is_certain and not each.is_persons_own]
    newest = max((each.second for each in telling), default=-1)
    return {each.wish for each in telling if each.second == newest and each.wish is Wish.STOPPED}


def _with_requests(wishes: frozenset[Wish], orders: Sequence[Heard]) -> frozenset[Wish]:
    """A person who asks over REST gets the sandbox on a closed issue too, for a while."""
    requests = [each for each in orders if each.wish is Wish.RUNNING]
    if any(each.is_certain for each in requests) or (requests and wishes):
        return wishes | {Wish.RUNNING}
    return wishes


def _with_orders(wishes: frozenset[Wish], heard: Sequence[Heard]) -> frozenset[Wish]:
    """A person's stop or delete stands until somebody asks again."""
    downs = [each for each in heard if each.is_order and each.wish in DOWN]
    certain_asks = asks(heard)
    open_downs = [
        down
        for down in downs
        if not any(ask.lo > down.hi for ask in certain_asks)
        and not any(later.lo > down.hi and later.is_certain for later in downs)
    ]
    if not open_downs:
        return wishes
    may_ask = [each for each in heard if each.wish is Wish.RUNNING]
    stands = any(down.is_certain and not any(ask.hi >= down.lo for ask in may_ask) for down in open_downs)
    ordered = frozenset(down.wish for down in open_downs)
    return ordered if stands else wishes | ordered
