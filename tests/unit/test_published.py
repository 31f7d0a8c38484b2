"""What is published of an issue, and when."""

from __future__ import annotations

import pytest

from workflows.display import is_news
from workflows.messages import Published

SHOWN = Published(phase="usable", outcome="reused", requested_at="2026-01-01T00:00:30+00:00")
EARLIER = Published(phase="usable", outcome="reused", requested_at="2026-01-01T00:00:00+00:00")


@pytest.mark.parametrize(
    ("shown", "published", "republish_after_s", "expected"),
    [
        (SHOWN, SHOWN, 0.0, False),
        (SHOWN, SHOWN, 60.0, False),
        (SHOWN, EARLIER, 0.0, True),
        (SHOWN, EARLIER, 60.0, False),
        (SHOWN, EARLIER, 30.0, True),
        (SHOWN, Published(phase="usable", outcome="reused"), 60.0, True),
        (SHOWN, Published(phase="usable", outcome="created", requested_at=EARLIER.requested_at), 60.0, True),
        (Published(phase="usable", outcome="reused"), EARLIER, 60.0, True),
    ],
    ids=[
        "same",
        "same, sparing",
        "later",
        "later, sparing",
        "late enough",
        "first",
        "another outcome",
        "none any more",
    ],
)
def test_published_when_it_says_something_new(
    shown: Published, published: Published, republish_after_s: float, expected: bool
) -> None:
    """A change of only the request time waits; everything else is published at once."""
    assert is_news(shown, published, republish_after_s) is expected
