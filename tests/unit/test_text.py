"""Text that others wrote, on its way to a line, a length or a number."""

from __future__ import annotations

import pytest

from issuebox.domain.issue import TITLE_MAX, Issue, title_line
from issuebox.domain.text import cut_to_bytes, number_of, one_line
from issuebox.temporal.connect import DATA_CONVERTER
from issuebox.temporal.issues import summary


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\nb", "a?b"),
        ("\x1b[31mred", "??31mred"),
        ("a\u2028b\u202ec\u200bd", "a?b?c?d"),
        ("[x](y) `z` <b> |", "?x?(y) ?z? ?b? ?"),
        ("  prüfung  ", "prüfung"),
        ("{place} %s", "{place} %s"),
        ("1234567890x", "123456789…"),
    ],
)
def test_text_of_others_is_one_harmless_line(text: str, line: str) -> None:
    """Nothing remains that ends a line, moves a cursor, reverses text or makes a link."""
    assert one_line(text, 10 if text.startswith("1") else 100) == line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Crash\x00 on\n\tstart ", "Crash on start"),
        ("a\u2028b\u202ec\u200bd", "a b c d"),
        ("[bug] `f` <b> | x", "[bug] `f` <b> | x"),
        ("x" * 300, "x" * (TITLE_MAX - 1) + "…"),
    ],
)
def test_title_keeps_its_markup_and_no_controls(text: str, line: str) -> None:
    """A title stays as people wrote it, but for what would rewrite the place where it is shown."""
    assert title_line(text) == line


@pytest.mark.parametrize(
    ("text", "bytes_max", "beginning"),
    [("abc", 2, "ab"), ("aé", 2, "a"), ("😀😀", 7, "😀"), ("é", 9, "é"), ("a\ud800b", 9, "ab")],
)
def test_cut_leaves_whole_characters(text: str, bytes_max: int, beginning: str) -> None:
    """The limit is in bytes, and no character is cut in two."""
    assert cut_to_bytes(text, bytes_max) == beginning


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("7", 7.0),
        ("0.5", 0.5),
        ("-4", 0.0),
        ("", None),
        (None, None),
        ("inf", None),
        ("nan", None),
        ("Wed, 21 Oct", None),
    ],
)
def test_number_of_a_header_is_finite_and_not_negative(text: str | None, number: float | None) -> None:
    """No header makes a pause endless or negative."""
    assert number_of(text) == number


@pytest.mark.parametrize("character", ["x", '"', "\\", "漢", "😀"])
async def test_summary_of_any_title_is_within_temporals_limit(character: str) -> None:
    """The limit is 400 bytes of the payload: servers that enforce it must not refuse a start for its title."""
    issue = Issue(7, "octo/repo", 12, character * TITLE_MAX)
    (payload,) = await DATA_CONVERTER.encode([summary(issue)])
    assert payload.ByteSize() <= 400
