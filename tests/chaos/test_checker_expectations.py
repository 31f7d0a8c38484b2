"""Which expectations may stand, as a truth table: the messages, and what may be the newest expectation."""

from __future__ import annotations

import math

import pytest

from proofs.checker.cases import Message
from proofs.checker.evidence import Expectation
from proofs.checker.expectations import is_on_closed, sandbox_requests, standing, superseders
from tests.chaos.tape import GONE, NOTHING, RUNNING, STOPPED

EXPECTATIONS = {
    "opened": RUNNING, "reopened": RUNNING, "created": RUNNING, "edited": NOTHING, "closed": STOPPED,
    "transferred": STOPPED, "deleted": GONE, "stop": STOPPED, "delete": GONE, "ensure": RUNNING, "replace": RUNNING,
}  # fmt: skip


def event(
    action: str, second: int = 1, at: float = 10.0, *, is_certain: bool = True, is_repetition: bool = False
) -> Message:
    """A delivery of GitHub's `second` that arrived at that time; an uncertain one, then or later."""
    hi = at if is_certain else math.inf
    return Message(action, EXPECTATIONS[action], action, at, hi, is_certain, second, is_repetition=is_repetition)


def order(word: str, at: float, until: float | None = None, *, is_certain: bool = True) -> Message:
    """A person's order, which arrived in that period."""
    return Message(word, EXPECTATIONS[word], word, at, at if until is None else until, is_certain, is_order=True)


STANDING: dict[str, tuple[list[Message], set[Expectation]]] = {
    "no message": ([], set()),
    "nothing that counts": ([event("edited")], set()),
    "opened": ([event("opened")], {RUNNING}),
    "perhaps opened": ([event("opened", is_certain=False)], set()),
    "closed": ([event("opened", 1), event("closed", 2)], {STOPPED}),
    "edited since the close": ([event("closed", 1), event("edited", 2)], {STOPPED}),
    "closed, delivered late": ([event("reopened", 2, 10), event("closed", 1, 20)], {RUNNING}),
    "closed and reopened in one second": ([event("closed", 2), event("reopened", 2)], {STOPPED, RUNNING}),
    "perhaps closed": ([event("opened", 1), event("closed", 2, is_certain=False)], {RUNNING, STOPPED}),
    "perhaps closed, and before": ([event("reopened", 2), event("closed", 1, is_certain=False)], {RUNNING}),
    "perhaps reopened since the close": (
        [event("opened", 1), event("closed", 2), event("reopened", 3, is_certain=False)], {STOPPED, RUNNING}
    ),
    "a comment on an open issue": ([event("opened", 1), event("created", 2)], {RUNNING}),
    "a comment on a closed issue": ([event("opened", 1), event("closed", 2), event("created", 3)], {RUNNING, STOPPED}),
    "a comment before the close": ([event("opened", 1), event("created", 2), event("closed", 3)], {STOPPED}),
    "a comment on a reopened issue": ([event("closed", 2), event("reopened", 3), event("created", 4)], {RUNNING}),
    "a comment, perhaps closed before": (
        [event("opened", 1), event("closed", 2, is_certain=False), event("created", 3)], {RUNNING}
    ),
    "a comment, and nothing else": ([event("created", 1)], {RUNNING}),
    "deleted": ([event("deleted", 1), event("reopened", 2)], {GONE}),
    "perhaps deleted": ([event("deleted", 1, is_certain=False), event("reopened", 2)], {RUNNING, GONE}),
    "deleted, whatever a person wants": ([event("deleted"), order("ensure", 20)], {GONE}),
    "transferred": ([event("transferred", 1), event("reopened", 2)], {STOPPED}),
    "transferred, and a comment": ([event("transferred", 1), event("created", 2)], {RUNNING, STOPPED}),
    "transferred, and a comment before": ([event("created", 1), event("transferred", 2)], {STOPPED}),
    "ensured": ([order("ensure", 10)], {RUNNING}),
    "perhaps ensured": ([order("ensure", 10, is_certain=False)], set()),
    "ensured on a closed issue": ([event("closed"), order("ensure", 20)], {RUNNING, STOPPED}),
    "perhaps ensured on a closed issue": ([event("closed"), order("ensure", 20, is_certain=False)], {RUNNING, STOPPED}),
    "replaced": ([event("opened"), order("replace", 20)], {RUNNING}),
    "ordered to stop": ([event("opened"), order("stop", 20)], {STOPPED}),
    "ordered to stop before anybody asked": ([event("opened", 30, 30), order("stop", 20)], {RUNNING}),
    "ordered to stop at about the same time": ([event("opened", 30, 30), order("stop", 20, 40)], {RUNNING, STOPPED}),
    "perhaps ordered to stop": ([event("opened"), order("stop", 20, math.inf, is_certain=False)], {RUNNING, STOPPED}),
    "ordered to delete": ([event("opened"), order("delete", 20)], {GONE}),
    "ordered to delete when closed": ([event("closed"), order("delete", 20)], {GONE}),
    "ordered to delete, then closed": ([event("closed", at=30), order("delete", 20)], {GONE}),
    "stop, then delete": ([event("opened"), order("stop", 20), order("delete", 30)], {GONE}),
    "delete, then stop": ([event("opened"), order("delete", 20), order("stop", 30)], {STOPPED}),
    "stop and delete at about the same time": (
        [event("opened"), order("stop", 20, 35), order("delete", 30)], {STOPPED, GONE}
    ),
    "delete, then perhaps stop": (
        [event("opened"), order("delete", 20), order("stop", 30, is_certain=False)], {GONE, STOPPED}
    ),
    "an order lifted by ensure": ([event("opened"), order("stop", 20), order("ensure", 30)], {RUNNING}),
    "an order lifted by a comment": ([event("opened"), order("delete", 20), event("created", 25, 30)], {RUNNING}),
    "an order perhaps lifted": (
        [event("opened"), order("stop", 20), event("created", 25, 30, is_certain=False)], {RUNNING, STOPPED}
    ),
    "an order not lifted by a repetition": (
        [event("created"), order("stop", 20), event("created", 25, 30, is_repetition=True)], {RUNNING, STOPPED}
    ),
    "an order not lifted by what is late": (
        [event("closed", 2), order("delete", 20), event("opened", 1, 30)], {GONE}
    ),
    "an order not lifted by what came before it": (
        [event("opened"), order("stop", 20), event("created", 9, 30)], {STOPPED}
    ),
    "an order perhaps lifted by what came just before it": (
        [event("opened"), order("stop", 20), event("created", 18, 30)], {RUNNING, STOPPED}
    ),
    "an order not lifted by a close": ([event("opened"), order("delete", 20), event("closed", 2, 30)], {GONE}),
    "one order lifted, one not": (
        [event("opened"), order("delete", 20), event("created", 25, 30), order("stop", 40)], {STOPPED}
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", STANDING)
def test_expectations_that_may_stand(case: str) -> None:
    """There is one when the evidence decides, else each that is possible."""
    messages, expectations = STANDING[case]
    assert standing(messages) == expectations


SUPERSEDED: dict[str, tuple[Message, Message, bool]] = {
    "a newer close": (event("opened", 1), event("closed", 2), True),
    "a close of the same second": (event("opened", 1), event("closed", 1), True),
    "an older close": (event("opened", 2), event("closed", 1), False),
    "a newer reopening": (event("opened", 1), event("reopened", 2), False),
    "an older delete": (event("opened", 2), event("deleted", 1), True),
    "an older transfer": (event("opened", 2), event("transferred", 1), True),
    "a comment after a transfer": (event("created", 2), event("transferred", 1), False),
    "a later order": (event("opened", at=10), order("stop", 20), True),
    "an earlier order": (event("opened", 10, 10), order("stop", 5), False),
    "an earlier order to delete": (event("opened", 10, 10), order("delete", 5), False),
    "an earlier order, and a late delivery": (event("opened", 1, 10), order("stop", 5), True),
    "an order of the same moment": (event("opened", at=10), order("delete", 5, 10), True),
    "a later replacement": (event("opened", at=10), order("replace", 20), False),
    "a close after a request": (order("ensure", 10), event("closed", at=20), True),
    "a close before a request": (order("ensure", 10), event("closed", at=5), False),
}


@pytest.mark.parametrize("case", SUPERSEDED)
def test_newer_event_or_order_takes_a_request_back(case: str) -> None:
    """It is newer by GitHub's clock, or a person's later order."""
    request, other, is_taken_back = SUPERSEDED[case]
    assert bool(superseders(request, [request, other])) is is_taken_back


CLOSED: dict[str, tuple[Message, list[Message], bool]] = {
    "closed": (event("created", 2), [event("closed", 1)], True),
    "open": (event("created", 2), [event("opened", 1)], False),
    "reopened": (event("created", 3), [event("closed", 1), event("reopened", 2)], False),
    "closed and reopened in one second": (
        event("created", 3),
        [event("closed", 1), event("reopened", 1)],
        True,
    ),
    "closed later": (event("created", 2), [event("opened", 1), event("closed", 3)], False),
    "closed in the same second": (event("created", 2), [event("opened", 1), event("closed", 2)], True),
    "edited since": (event("created", 3), [event("closed", 1), event("edited", 2)], True),
    "a comment since": (event("created", 3), [event("closed", 1), event("created", 2)], True),
    "an order since": (event("created", 3), [event("opened", 1), order("stop", 2)], False),
    "an order, and nothing else": (event("created", 3), [order("stop", 2)], False),
    "a reopening asks for itself": (event("reopened", 2), [event("closed", 1)], False),
    "a request on a closed issue": (order("ensure", 20), [event("closed", 5)], True),
    "a request on an open issue": (order("ensure", 20), [event("closed", 5), event("reopened", 6)], False),
}


@pytest.mark.parametrize("case", CLOSED)
def test_request_on_a_closed_issue_is_recognized(case: str) -> None:
    """Only such a request may be called off by a block."""
    request, others, is_closed = CLOSED[case]
    assert is_on_closed(request, [*others, request]) is is_closed


def test_only_a_certain_request_lifts_an_order() -> None:
    """An uncertain, repeated or late message does not, nor one that asks for nothing."""
    certain = [event("opened", 5), event("created", 6), order("ensure", 20)]
    others = [
        event("closed", 4, 5.0), event("edited", 7), event("created", 3), event("created", 8, is_certain=False),
        event("created", 9, is_repetition=True), order("stop", 30),
    ]  # fmt: skip
    assert sandbox_requests([*others, *certain]) == certain
