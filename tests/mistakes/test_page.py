"""The page of mistakes says what the tests have seen."""

from __future__ import annotations

from collections import Counter

from tests.mistakes.mistakes import MISTAKES
from tests.mistakes.page import PAGE, page

PROMISED = 40


def test_page_is_made_of_the_table() -> None:
    """Run `python -m tests.mistakes.page` after a change."""
    assert PAGE.read_text(encoding="utf-8") == page()


def test_every_mistake_is_another_one() -> None:
    """At least forty, each with a name of its own."""
    assert len(MISTAKES) >= PROMISED
    assert [key for key, count in Counter(mistake.key for mistake in MISTAKES).items() if count > 1] == []
