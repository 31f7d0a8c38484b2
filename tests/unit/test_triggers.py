"""The trigger table, row by row, and what counts as saying the phrase."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.payload import SHAPES
from issuebox.domain.events import Intention
from issuebox.domain.triggers import EVENTS, TABLE, Detection, Facts, Rules, detect, says

RULES = Rules(label="claude", phrase="@claude", login="claude-bot")
OFF = Rules(label="", phrase="", login="")
ENSURE, STOP, DELETE, IGNORE, PONG = (
    Intention.ENSURE, Intention.STOP, Intention.DELETE, Intention.IGNORE, Intention.PONG,
)  # fmt: skip

TRUTH: list[tuple[Facts, Intention, bool]] = [
    # facts, intention, explicit
    (Facts("ping"), PONG, False),
    (Facts("issues", "opened"), ENSURE, False),
    (Facts("issues", "reopened"), ENSURE, False),
    (Facts("issues", "labeled", label="claude"), ENSURE, True),
    (Facts("issues", "labeled", label="bug"), IGNORE, False),
    (Facts("issues", "labeled"), IGNORE, False),
    (Facts("issues", "unlabeled", label="claude"), IGNORE, False),
    (Facts("issues", "assigned", assignee="claude-bot"), ENSURE, False),
    (Facts("issues", "assigned", assignee="Claude-Bot"), ENSURE, False),
    (Facts("issues", "assigned", assignee="octocat"), IGNORE, False),
    (Facts("issues", "unassigned", assignee="claude-bot"), IGNORE, False),
    (Facts("issues", "closed"), STOP, False),
    (Facts("issues", "closed", is_bot=True), STOP, False),
    (Facts("issues", "transferred"), STOP, False),
    (Facts("issues", "deleted"), DELETE, False),
    (Facts("issues", "edited"), IGNORE, False),
    (Facts("issues", "pinned"), IGNORE, False),
    (Facts("issues"), IGNORE, False),
    (Facts("issue_comment", "created", comment="hey @claude, look"), ENSURE, True),
    (Facts("issue_comment", "created", comment="nothing"), IGNORE, False),
    (Facts("issue_comment", "created", comment="@claude", is_bot=True), IGNORE, False),
    (Facts("issue_comment", "created", comment="@claude", is_pull_request=True), IGNORE, False),
    (Facts("issue_comment", "edited", comment="@claude"), IGNORE, False),
    (Facts("issue_comment", "deleted", comment="@claude"), IGNORE, False),
    (Facts("pull_request", "opened"), IGNORE, False),
    (Facts("push"), IGNORE, False),
    (Facts(""), IGNORE, False),
]


@pytest.mark.parametrize(("facts", "intention", "is_explicit"), TRUTH)
def test_facts_are_detected_as_the_table_says(facts: Facts, intention: Intention, is_explicit: bool) -> None:
    """Each delivery asks for exactly what its row says, with a reason in words."""
    detection = detect(facts, RULES)
    assert (detection.intention, detection.is_explicit) == (intention, is_explicit)
    assert detection.reason


def test_every_row_is_reached() -> None:
    """No row of the table stands behind another that takes all of its deliveries."""
    reached = {(detect(facts, RULES).intention, detect(facts, RULES).reason) for facts, _, _ in TRUTH}
    assert {(row.intention, row.reason) for row in TABLE} <= reached


def test_every_event_of_the_table_has_its_body() -> None:
    """An event that may ask for something is parsed as strictly as the others; a ping carries no issue."""
    assert set(SHAPES) == EVENTS - {"ping"}


@pytest.mark.parametrize(
    "facts",
    [
        Facts("issues", "labeled", label=""),
        Facts("issues", "assigned", assignee=""),
        Facts("issue_comment", "created", comment=""),
        Facts("issue_comment", "created", comment="@claude"),
    ],
)
def test_trigger_switched_off_asks_for_nothing(facts: Facts) -> None:
    """An empty setting switches its trigger off, and does not match whatever is empty."""
    assert detect(facts, OFF).intention is IGNORE


WORDS = st.sampled_from(["", "issues", "issue_comment", "ping", "push", "opened", "created", "labeled", "closed"])
ANYTHING = st.one_of(WORDS, st.text(max_size=30), st.sampled_from(["claude", "@claude", "claude-bot", "> @claude"]))


@given(st.builds(Facts, WORDS | st.text(), ANYTHING, ANYTHING, ANYTHING, ANYTHING, st.booleans(), st.booleans()))
def test_detection_is_total(facts: Facts) -> None:
    """Whatever arrives has one intention and a reason; explicit are only requests for a sandbox."""
    detection = detect(facts, RULES)
    assert isinstance(detection, Detection)
    assert detection.reason
    assert not detection.is_explicit or detection.intention is ENSURE
    if facts.event not in EVENTS:
        assert detection.intention is IGNORE


SAID = ["@claude", "@Claude please", "please, @CLAUDE!", "(@claude)", "> quoted\n@claude", "`code` @claude", "@claude."]
SAID += ["```\ncode\n```\n@claude", "line\r\n@claude\r\n", "**@claude**", "~~~\ncode\n~~~\n@claude"]
UNSAID = ["", "claude", "@claudette", "@claude-bot", "@claude_2", "me@claude.com", "@@claude", "@claude/team"]
UNSAID += ["> @claude", "  > @claude", ">@claude", "`@claude`", "``say `@claude` ``", "```\n@claude\n```"]
UNSAID += ["```python\n@claude\n", "~~~\n@claude\n~~~", "````\n```\n@claude\n````", "/@claude"]


@pytest.mark.parametrize("text", SAID)
def test_phrase_said_is_heard(text: str) -> None:
    """Said as a word of its own, in any case."""
    assert says(text, "@claude")


@pytest.mark.parametrize("text", UNSAID)
def test_phrase_quoted_in_code_or_part_of_another_word_is_not_heard(text: str) -> None:
    """Quotes, code and other people's names ask for nothing."""
    assert not says(text, "@claude")


@pytest.mark.parametrize("text", ["`" * 65_536, "`a``" * 16_000, "```\n" * 16_000, "> " * 32_000, "@claude-" * 8_000])
@pytest.mark.timeout(5)
def test_hostile_comment_takes_no_time(text: str) -> None:
    """No comment of GitHub's maximal length keeps the API busy."""
    assert not says(text, "@claude")
