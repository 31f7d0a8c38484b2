"""The picture of the demo shows its end, and takes nothing from elsewhere."""

from __future__ import annotations

import pytest

from scripts.demo_picture import PICTURE, final, picture

FRAME = " ✓  1  mock event  \x1b[32mcreated\x1b[0m  1.2\n"
LOG = "The worker's log\n  a line\n"
SHOWN = f"Ready\n\x1b[2K · 1  mock event\n\x1b[2K{FRAME}\x1b[?25h\n{LOG}\n1 of 1 checks hold, in 2 s.\n"


def test_picture_has_the_last_table_and_the_count() -> None:
    """The frames before it are progress, and the log between is of no interest here."""
    assert final(SHOWN).plain.splitlines() == [
        "$ make demo",
        " ✓  1  mock event  created  1.2",
        "",
        "1 of 1 checks hold, in 2 s.",
    ]


@pytest.mark.parametrize("svg", [picture(final(SHOWN)), PICTURE.read_text()], ids=["made now", "kept"])
def test_picture_loads_nothing(svg: str) -> None:
    """A font of somebody's server would make readers ask for it."""
    assert "checks" in svg
    assert "@font-face" not in svg
    assert "url(http" not in svg


def test_kept_picture_shows_that_all_checks_hold() -> None:
    """The number that the README gives."""
    readme = (PICTURE.parents[2] / "README.md").read_text()
    assert "32 checks" in readme
    assert PICTURE.read_text().count("✓") == 32
