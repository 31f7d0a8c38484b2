"""What a person is told to do about a stuck workflow: the commands, and their order."""

from __future__ import annotations

import pytest

from issuebox.domain.workflow_ends import Stuck, advice_for


@pytest.mark.parametrize("repeats_orders", [True, False])
def test_terminated_workflow_is_followed_by_an_audit_before_a_resync(*, repeats_orders: bool) -> None:
    """The audit begins a new one with what the ended one published; then resync knows the issue, and finds its close.

    A resync before it sends nothing about a closed issue that no workflow knows, and the audit would take it for open.
    """
    advice = advice_for(Stuck(2, "Nondeterminism", 9, repeats_orders=repeats_orders), "claude-issue-1")
    places = [advice.index(word) for word in ("workflow terminate", "`issuebox audit`", "`issuebox resync`")]
    assert places == sorted(places)
