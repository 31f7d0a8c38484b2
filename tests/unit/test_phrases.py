"""What counts as writing the trigger phrase."""

from __future__ import annotations

import pytest

from issuebox.domain.triggers import says

SAID = ["@claude", "@Claude please", "please, @CLAUDE!", "(@claude)", "> quoted\n@claude", "`code` @claude", "@claude."]
SAID += ["```\ncode\n```\n@claude", "line\r\n@claude\r\n", "**@claude**", "~~~\ncode\n~~~\n@claude"]
UNSAID = ["", "claude", "@claudette", "@claude-bot", "@claude_2", "me@claude.com", "@@claude", "@claude/team"]
UNSAID += ["> @claude", "  > @claude", ">@claude", "`@claude`", "``say `@claude` ``", "```\n@claude\n```"]
UNSAID += ["```python\n@claude\n", "~~~\n@claude\n~~~", "````\n```\n@claude\n````", "/@claude"]


@pytest.mark.parametrize("text", SAID)
def test_phrase_said_is_heard(text: str) -> None:
    """As a whole word, ignoring case."""
    assert says(text, "@claude")


@pytest.mark.parametrize("text", UNSAID)
def test_phrase_quoted_in_code_or_part_of_another_word_is_not_heard(text: str) -> None:
    """Quotes, code and other people's names ask for nothing."""
    assert not says(text, "@claude")


@pytest.mark.parametrize("text", ["`" * 65_536, "`a``" * 16_000, "```\n" * 16_000, "> " * 32_000, "@claude-" * 8_000])
@pytest.mark.timeout(5)
def test_hostile_comment_takes_no_time(text: str) -> None:
    """No comment of GitHub's maximum length keeps the API busy."""
    assert not says(text, "@claude")
