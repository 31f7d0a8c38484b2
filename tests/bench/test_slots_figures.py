"""The figures about slots, from journals and orders written by hand."""

from __future__ import annotations

from bench.measure.slots import Turn, handed_on, judge, up_max
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


def _asks(*names: str) -> list[Turn]:
    """Each is a repository's letter and the time since when its issue waits."""
    return [Turn(name, name[0], name[1:]) for name in names]


def _gets(*names: str) -> list[Turn]:
    return [Turn(name, is_grant=True) for name in names]


def test_who_is_served_before_somebody_who_asked_earlier_is_out_of_turn() -> None:
    assert judge(_asks("a1", "a2", "a3") + _gets("a1", "a2", "a3"))[:2] == (2, 0)
    assert judge(_asks("a1", "a2", "a3") + _gets("a2", "a1", "a3"))[:2] == (2, 1)
    gone = [Turn("a1", is_over=True)]
    assert judge(_asks("a1", "a2", "a3") + gone + _gets("a2", "a3"))[:2] == (1, 0), "the first wants none any more"
    assert judge(_asks("a1") + _gets("a1") + _asks("a2") + _gets("a2"))[:2] == (0, 0), "nobody waited"


def test_repository_that_gets_more_slots_while_all_wait_leads() -> None:
    five = _asks("a1", "b1", "c1", "d1", "e1", "a2", "b2", "c2", "d2", "e2", "a3", "b3", "c3", "d3", "e3")
    assert judge(five + _gets("a1", "b1", "c1", "d1", "e1", "a2"))[2] == 1
    assert judge(five + _gets("a1", "a2", "b1", "c1", "d1", "e1"))[2] == 2
