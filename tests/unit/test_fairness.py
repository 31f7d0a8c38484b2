"""Which task a worker gets first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from issuebox.temporal.fairness import KEY_BYTES_MAX, Urgency, fairness_key, priority_of


def test_people_come_before_events_and_events_before_sweeps() -> None:
    keys = [priority_of(urgency).priority_key for urgency in (Urgency.PERSON, Urgency.EVENT, Urgency.SWEEP)]
    assert keys == [1, 3, 5]
    assert Urgency.EVENT == 3, "Temporal's own default, which workflows without a priority have"


def test_repository_is_its_own_key_in_github_s_sense() -> None:
    assert fairness_key("Octo/Repo") == fairness_key("octo/repo") == "octo/repo"
    assert priority_of(Urgency.EVENT).fairness_key is None


@given(st.text(max_size=150), st.text(max_size=150))
def test_key_is_short_and_apart(one: str, other: str) -> None:
    assert len(fairness_key(one).encode()) <= KEY_BYTES_MAX
    if one.lower() != other.lower():
        assert fairness_key(one) != fairness_key(other)
