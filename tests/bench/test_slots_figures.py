"""The figures about slots, from journals and orders written by hand."""

from __future__ import annotations

from bench.measure.slots import ahead_max, handed_on, lead_max, up_max
from localdaytona.journal import JSON, Entry


def _entry(at: float, kind: str, name: str, operation: str | None = None, **detail: JSON) -> Entry:
    return Entry(seq=0, at=at, kind=kind, sandbox_id=name, name=name, operation=operation, detail=detail)


JOURNAL = [
    _entry(1.0, "request", "a", "create"),
    _entry(1.1, "state", "a", new="started"),
    _entry(2.0, "request", "b", "create"),
    _entry(2.1, "state", "b", new="started"),
    _entry(5.0, "state", "a", new="stopped"),
    _entry(5.5, "request", "c", "create"),
    _entry(5.6, "state", "c", new="started"),
    _entry(7.0, "state", "b", new="stopped"),
    _entry(7.2, "request", "d", "create"),
    _entry(7.3, "state", "d", new="started"),
]


def test_sandboxes_that_are_up_at_once_are_counted() -> None:
    assert up_max(JOURNAL) == 2
    assert up_max([entry for entry in JOURNAL if entry.detail.get("new") != "stopped"]) == 4


def test_each_stop_is_followed_by_the_create_that_got_its_slot() -> None:
    assert handed_on(JOURNAL, 2) == [0.2, 0.5]


def test_who_is_served_before_somebody_who_asked_earlier_is_ahead() -> None:
    names = ["i-1", "i-6", "i-11", "i-2"]
    asked = {name: float(number) for number, name in enumerate(names)}
    assert ahead_max(names, asked) == 0
    assert ahead_max(["i-6", "i-11", "i-1", "i-2"], asked) == 2


def test_repository_that_gets_more_slots_leads_until_another_one_has_none_left_to_serve() -> None:
    in_turn = ["i-1", "i-2", "i-6", "i-7", "i-11", "i-12"]
    assert lead_max(in_turn) == 1
    assert lead_max(["i-1", "i-6", "i-2", "i-11", "i-7", "i-12"]) == 2
    assert lead_max(["i-1", "i-2", "i-6", "i-11", "i-16"]) == 1, "the second repository has none left"
