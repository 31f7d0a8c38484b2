"""Which wishes may stand, as a truth table: what was said, and what may be the newest of it."""

from __future__ import annotations

import math

import pytest

from proofs.checker.cases import Heard
from proofs.checker.evidence import Wish
from proofs.checker.wishes import asks, is_on_closed, standing, superseders
from tests.chaos.tape import GONE, NOTHING, RUNNING, STOPPED

WISHES = {
    "opened": RUNNING, "reopened": RUNNING, "created": RUNNING, "edited": NOTHING, "closed": STOPPED,
    "transferred": STOPPED, "deleted": GONE, "stop": STOPPED, "delete": GONE, "ensure": RUNNING, "replace": RUNNING,
}  # fmt: skip


def said(
    action: str, second: int = 1, at: float = 10.0, *, is_certain: bool = True, is_repetition: bool = False
) -> Heard:
    """A delivery of GitHub's `second` that arrived at that time; one that is not certain, then or later."""
    hi = at if is_certain else math.inf
    return Heard(action, WISHES[action], action, at, hi, is_certain, second, is_repetition=is_repetition)


def told(word: str, at: float, until: float | None = None, *, is_certain: bool = True) -> Heard:
    """A person's order, which arrived within that time."""
    return Heard(word, WISHES[word], word, at, at if until is None else until, is_certain, is_order=True)


STANDING: dict[str, tuple[list[Heard], set[Wish]]] = {
    "nothing was said": ([], set()),
    "nothing that counts": ([said("edited")], set()),
    "opened": ([said("opened")], {RUNNING}),
    "perhaps opened": ([said("opened", is_certain=False)], set()),
    "closed": ([said("opened", 1), said("closed", 2)], {STOPPED}),
    "edited since the close": ([said("closed", 1), said("edited", 2)], {STOPPED}),
    "closed, told late": ([said("reopened", 2, 10), said("closed", 1, 20)], {RUNNING}),
    "closed and reopened in one second": ([said("closed", 2), said("reopened", 2)], {STOPPED, RUNNING}),
    "perhaps closed": ([said("opened", 1), said("closed", 2, is_certain=False)], {RUNNING, STOPPED}),
    "perhaps closed, and before": ([said("reopened", 2), said("closed", 1, is_certain=False)], {RUNNING}),
    "perhaps reopened since the close": (
        [said("opened", 1), said("closed", 2), said("reopened", 3, is_certain=False)], {STOPPED, RUNNING}
    ),
    "a comment on an open issue": ([said("opened", 1), said("created", 2)], {RUNNING}),
    "a comment on a closed issue": ([said("opened", 1), said("closed", 2), said("created", 3)], {RUNNING, STOPPED}),
    "a comment before the close": ([said("opened", 1), said("created", 2), said("closed", 3)], {STOPPED}),
    "a comment on a reopened issue": ([said("closed", 2), said("reopened", 3), said("created", 4)], {RUNNING}),
    "a comment, perhaps closed before": (
        [said("opened", 1), said("closed", 2, is_certain=False), said("created", 3)], {RUNNING}
    ),
    "a comment, and nothing else": ([said("created", 1)], {RUNNING}),
    "deleted": ([said("deleted", 1), said("reopened", 2)], {GONE}),
    "perhaps deleted": ([said("deleted", 1, is_certain=False), said("reopened", 2)], {RUNNING, GONE}),
    "deleted, whatever a person wants": ([said("deleted"), told("ensure", 20)], {GONE}),
    "transferred": ([said("transferred", 1), said("reopened", 2)], {STOPPED}),
    "transferred, and a comment": ([said("transferred", 1), said("created", 2)], {RUNNING, STOPPED}),
    "transferred, and a comment before": ([said("created", 1), said("transferred", 2)], {STOPPED}),
    "ensured": ([told("ensure", 10)], {RUNNING}),
    "perhaps ensured": ([told("ensure", 10, is_certain=False)], set()),
    "ensured on a closed issue": ([said("closed"), told("ensure", 20)], {RUNNING, STOPPED}),
    "perhaps ensured on a closed issue": ([said("closed"), told("ensure", 20, is_certain=False)], {RUNNING, STOPPED}),
    "replaced": ([said("opened"), told("replace", 20)], {RUNNING}),
    "ordered to stop": ([said("opened"), told("stop", 20)], {STOPPED}),
    "ordered to stop before anybody asked": ([said("opened", at=30), told("stop", 20)], {RUNNING}),
    "ordered to stop at about the same time": ([said("opened", at=30), told("stop", 20, 40)], {RUNNING, STOPPED}),
    "perhaps ordered to stop": ([said("opened"), told("stop", 20, math.inf, is_certain=False)], {RUNNING, STOPPED}),
    "ordered to delete": ([said("opened"), told("delete", 20)], {GONE}),
    "ordered to delete when closed": ([said("closed"), told("delete", 20)], {GONE}),
    "ordered to delete, then closed": ([said("closed", at=30), told("delete", 20)], {GONE}),
    "stop, then delete": ([said("opened"), told("stop", 20), told("delete", 30)], {GONE}),
    "delete, then stop": ([said("opened"), told("delete", 20), told("stop", 30)], {STOPPED}),
    "stop and delete at about the same time": (
        [said("opened"), told("stop", 20, 35), told("delete", 30)], {STOPPED, GONE}
    ),
    "delete, then perhaps stop": (
        [said("opened"), told("delete", 20), told("stop", 30, is_certain=False)], {GONE, STOPPED}
    ),
    "an order lifted by ensure": ([said("opened"), told("stop", 20), told("ensure", 30)], {RUNNING}),
    "an order lifted by a comment": ([said("opened"), told("delete", 20), said("created", 2, 30)], {RUNNING}),
    "an order perhaps lifted": (
        [said("opened"), told("stop", 20), said("created", 2, 30, is_certain=False)], {RUNNING, STOPPED}
    ),
    "an order not lifted by a repetition": (
        [said("created"), told("stop", 20), said("created", 1, 30, is_repetition=True)], {RUNNING, STOPPED}
    ),
    "an order not lifted by what is late": (
        [said("closed", 2), told("delete", 20), said("opened", 1, 30)], {GONE, STOPPED}
    ),
    "an order not lifted by a close": ([said("opened"), told("delete", 20), said("closed", 2, 30)], {GONE}),
    "one order lifted, one not": (
        [said("opened"), told("delete", 20), said("created", 2, 30), told("stop", 40)], {STOPPED}
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", STANDING)
def test_the_wishes_that_may_stand(case: str) -> None:
    """Where the evidence decides there is one; where it cannot, each that may be meant."""
    heard, wishes = STANDING[case]
    assert standing(heard) == wishes


SUPERSEDED: dict[str, tuple[Heard, Heard, bool]] = {
    "a newer close": (said("opened", 1), said("closed", 2), True),
    "a close of the same second": (said("opened", 1), said("closed", 1), True),
    "an older close": (said("opened", 2), said("closed", 1), False),
    "a newer reopening": (said("opened", 1), said("reopened", 2), False),
    "an older delete": (said("opened", 2), said("deleted", 1), True),
    "an older transfer": (said("opened", 2), said("transferred", 1), True),
    "a comment after a transfer": (said("created", 2), said("transferred", 1), False),
    "a later order": (said("opened", at=10), told("stop", 20), True),
    "an earlier order": (said("opened", at=10), told("stop", 5), False),
    "an earlier order to delete": (said("opened", at=10), told("delete", 5), False),
    "an order of the same moment": (said("opened", at=10), told("delete", 5, 10), True),
    "a later replacement": (said("opened", at=10), told("replace", 20), False),
    "a close after a request": (told("ensure", 10), said("closed", at=20), True),
    "a close before a request": (told("ensure", 10), said("closed", at=5), False),
}


@pytest.mark.parametrize("case", SUPERSEDED)
def test_what_takes_a_request_back(case: str) -> None:
    """Newer by GitHub's clock, or a person's later word."""
    ask, other, is_taken_back = SUPERSEDED[case]
    assert bool(superseders(ask, [ask, other])) is is_taken_back


CLOSED: dict[str, tuple[Heard, list[Heard], bool]] = {
    "closed": (said("created", 2), [said("closed", 1)], True),
    "open": (said("created", 2), [said("opened", 1)], False),
    "reopened": (said("created", 3), [said("closed", 1), said("reopened", 2)], False),
    "closed and reopened in one second": (said("created", 3), [said("closed", 1), said("reopened", 1)], True),
    "closed later": (said("created", 2), [said("opened", 1), said("closed", 3)], False),
    "closed in the same second": (said("created", 2), [said("opened", 1), said("closed", 2)], True),
    "edited since": (said("created", 3), [said("closed", 1), said("edited", 2)], True),
    "a comment since": (said("created", 3), [said("closed", 1), said("created", 2)], True),
    "an order since": (said("created", 3), [said("opened", 1), told("stop", 2)], False),
    "an order, and nothing else": (said("created", 3), [told("stop", 2)], False),
    "a reopening asks for itself": (said("reopened", 2), [said("closed", 1)], False),
    "a request on a closed issue": (told("ensure", 20), [said("closed", 5)], True),
    "a request on an open issue": (told("ensure", 20), [said("closed", 5), said("reopened", 6)], False),
}


@pytest.mark.parametrize("case", CLOSED)
def test_what_is_asked_on_a_closed_issue(case: str) -> None:
    """Only such a request may go without a sandbox: its time may be over before one was made."""
    ask, others, is_closed = CLOSED[case]
    assert is_on_closed(ask, [*others, ask]) is is_closed


def test_only_what_certainly_asks_lifts_an_order() -> None:
    """Not what may never have arrived, what repeats an earlier delivery, what is late, or what asks for nothing."""
    certain = [said("opened", 5), said("created", 6), told("ensure", 20)]
    others = [
        said("closed", 4, 5.0), said("edited", 7), said("created", 3), said("created", 8, is_certain=False),
        said("created", 9, is_repetition=True), told("stop", 30),
    ]  # fmt: skip
    assert asks([*others, *certain]) == certain
