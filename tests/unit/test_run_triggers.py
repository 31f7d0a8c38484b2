"""Which deliveries ask for a run, and which call one off."""

from __future__ import annotations

from dataclasses import replace

import pytest

from issuebox.domain.events import Intention
from issuebox.domain.run import RequestKind
from issuebox.domain.triggers import Association, Criteria, Facts, detect

OFF = Criteria()
ON = Criteria(run_on=("label", "comment"))
COMMENT = Facts(
    "issue_comment", "created", comment="@claude fix it", repository="o/r", sender="ann", author="bob",
    comment_association="COLLABORATOR",
)  # fmt: skip
LABEL = Facts("issues", "labeled", label="claude", repository="o/r", sender="ann", author="bob")


@pytest.mark.parametrize(
    ("facts", "kind"),
    [
        (COMMENT, RequestKind.COMMENT),
        (LABEL, RequestKind.START),
        (Facts("issues", "opened", repository="o/r", sender="bob", author="bob", issue_association="OWNER"), None),
        (replace(COMMENT, comment="@claude stop"), RequestKind.CANCEL),
        (replace(COMMENT, comment=" @Claude  STOP.\n"), RequestKind.CANCEL),
        (replace(COMMENT, comment="@claude stop using tabs"), RequestKind.COMMENT),
        (replace(COMMENT, comment="please stop"), None),
        (replace(COMMENT, comment="> @claude stop"), None),
        (replace(LABEL, action="unlabeled"), RequestKind.CANCEL),
        (replace(LABEL, action="unlabeled", label="other"), None),
    ],
)
def test_what_asks_for_a_run(facts: Facts, kind: RequestKind | None) -> None:
    assert detect(facts, ON).run is kind
    assert detect(facts, OFF).run is None


def test_calling_off_asks_for_no_sandbox() -> None:
    detection = detect(replace(COMMENT, comment="@claude stop"), ON)
    assert (detection.intention, bool(detection.start_objection)) == (Intention.IGNORE, True)


@pytest.mark.parametrize("facts", [COMMENT, replace(COMMENT, comment="@claude stop")])
@pytest.mark.parametrize(("association", "may"), [("CONTRIBUTOR", False), ("COLLABORATOR", True), ("", False)])
def test_fewer_people_may_ask_for_a_run_than_for_a_sandbox(facts: Facts, association: str, *, may: bool) -> None:
    detection = detect(replace(facts, comment_association=association), ON)
    assert bool(detection.run_objection) is not may
    assert (detection.run is not None and not detection.run_objection) is may
    if facts is COMMENT:
        assert detection.intention is Intention.ENSURE, "the sandbox is a question of its own"


def test_label_of_a_template_asks_as_the_issues_author() -> None:
    """Whoever opens an issue with a template puts its labels on, with no rights at all."""
    own = replace(LABEL, sender="bob", issue_association="NONE")
    assert detect(own, ON).run is None
    assert "ISSUEBOX_RUN_MIN_ASSOCIATION" in detect(own, ON).run_objection
    assert detect(own, replace(ON, run_min_association=Association.NONE)).run is RequestKind.START


def test_bots_neither_ask_nor_call_off() -> None:
    """The agent itself may be one: what it writes must not make it work."""
    for comment in ("@claude go on", "@claude stop"):
        detection = detect(replace(COMMENT, comment=comment, is_bot=True), ON)
        assert detection.run is None or detection.run_objection
