"""The receiver of notices in a chaos run: what it must know at rest, and in which order it may learn it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from proofs.chaos.receiver import Told, knows, out_of_order, present

BEGAN = datetime(2026, 3, 4, tzinfo=UTC)


def told(*seconds: int) -> list[Told]:
    return [Told(f"id-{second}", "sandbox.ready", BEGAN + timedelta(seconds=second)) for second in seconds]


def status(**changes: object) -> dict[str, object]:
    given = {"blocked": None, "seen_at": "2026-03-04T00:00:00Z", "goal": "running", "outcome": "created"}
    return given | changes


@pytest.mark.parametrize("seconds", [(), (1,), (1, 1), (1, 2, 3), (1, 1, 2, 2)])
def test_notice_may_come_twice(seconds: tuple[int, ...]) -> None:
    """The same again is no news, and allowed."""
    assert not list(out_of_order({7: told(*seconds)}, frozenset()))


def test_older_notice_after_a_newer_one_is_a_breach() -> None:
    """Not for an issue whose workflow run was ended or reset: an attempt of that run may still have been under way."""
    notices = {7: told(1, 3, 2), 8: told(2, 1)}
    [breach] = out_of_order(notices, frozenset({8}))
    assert breach.startswith("issue 7: ")


def test_notice_that_was_refused_is_not_known() -> None:
    """It was read, and answered with an error: it has to come again."""
    refused, taken = Told("a", "sandbox.ready", BEGAN, is_taken=False), Told("a", "sandbox.ready", BEGAN)
    newer = Told("b", "sandbox.stopped", BEGAN, is_taken=False)
    assert [knows(told) for told in ([], [refused], [refused, taken], [taken, refused], [taken, newer])] == [
        "",
        "",
        "sandbox.ready",
        "sandbox.ready",
        "",
    ]


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({}, "sandbox.ready"),
        ({"outcome": "reused"}, "sandbox.ready"),
        ({"outcome": None}, ""),
        ({"goal": "stopped"}, "sandbox.stopped"),
        ({"goal": "archived"}, "sandbox.stopped"),
        ({"goal": "deleted"}, "sandbox.deleted"),
        ({"blocked": {"cause": "unsaved"}, "goal": "deleted"}, "sandbox.blocked"),
        ({"blocked": {"cause": "queued"}}, ""),
        ({"goal": "stopped", "seen_at": None}, ""),
    ],
)
def test_what_the_receiver_must_know(given: dict[str, object], kind: str) -> None:
    """By what the workflow says of itself at rest."""
    assert present(status(**given)) == kind
