"""Text that others wrote, on its way to a line, a length or a number."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import pytest

from issuebox.domain.issue import TITLE_BYTES_MAX, Issue, title_line
from issuebox.domain.text import as_markdown, cut_to_bytes, number_of, one_line, prose, word
from issuebox.temporal.connect import DATA_CONVERTER
from issuebox.temporal.starts import summary
from tests.limits import SUMMARY_BYTES_MAX


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\nb", "a?b"),
        ("\x1b[31mred", "??31mred"),
        ("a\u2028b\u202ec\u200bd", "a?b?c?d"),
        ("[x](y) `z` <b> |", "?x?(y) ?z? ?b? ?"),
        ("  prüfung  ", "prüfung"),
        ("{place} %s", "{place} %s"),
        ("12345678901x", "1234567…"),
        ("漢漢漢漢", "漢漢…"),
    ],
)
def test_text_of_others_is_one_harmless_line(text: str, line: str) -> None:
    """Nothing remains that ends a line, moves a cursor, reverses text or makes a link."""
    assert one_line(text, 10 if text.startswith(("1", "漢")) else 100) == line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Crash\x00 on\n\tstart ", "Crash on start"),
        ("a\u2028b\u202ec\u200bd", "a b c d"),
        ("a\ud800b", "a b"),
        ("[bug] `f` <b> | x", "[bug] `f` <b> | x"),
        ("\x1b[31mred\x1b[0m \x1b]0;title\x07 \x9b1mbold", "red bold"),
        ("\x1b]0;never closed", "0;never closed"),
        ("x" * (TITLE_BYTES_MAX + 1), "x" * (TITLE_BYTES_MAX - 3) + "…"),
    ],
)
def test_title_keeps_its_markup_and_no_controls(text: str, line: str) -> None:
    """A title stays as people wrote it, but for what would rewrite the place where it is shown."""
    assert title_line(text) == line


@pytest.mark.parametrize("character", ["x", "漢", "😀"])
def test_title_of_github_is_never_cut(character: str) -> None:
    """GitHub's limit is 256 characters."""
    assert title_line(character * 256) == character * 256


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("default", "default"),
        ("default\n", "default?"),
        (" default", " default"),
        ("a\u202eb", "a?b"),
        ("x" * 9, "x" * 9),
    ],
)
def test_name_that_had_to_be_cleaned_is_not_the_clean_one(text: str, shown: str) -> None:
    """A label or a name that differs by a control character stays another one."""
    assert word(text, 64) == shown


HOSTILE = ['"', "\\", "漢", "😀", "\n", "\x00", "\x1b[31m", "\u202e", " ", "a\u0301", "\ud800", "x ", "[`"]
LIMITS: list[Callable[[str], str]] = [
    partial(word, bytes_max=100),
    partial(prose, bytes_max=100),
    partial(one_line, bytes_max=100),
    title_line,
]


@pytest.mark.parametrize("clean", LIMITS)
@pytest.mark.parametrize("part", HOSTILE)
@pytest.mark.parametrize("count", [1, 24, 25, 33, 34, 99, 100, 101, 1025, 100_000])
def test_clean_text_is_short_and_cleaning_it_changes_nothing(
    clean: Callable[[str], str], part: str, count: int
) -> None:
    """Each record cleans its fields whenever it is made, so twice must be the same as once."""
    once = clean(part * count)
    assert clean(once) == once
    assert once.isprintable()
    assert len(once.encode()) <= (TITLE_BYTES_MAX if clean is title_line else 100)


def test_text_of_megabytes_is_cut_before_it_is_cleaned() -> None:
    """A workflow task may not take 2 s, and somebody may send it a field of 2 MB."""
    began = time.perf_counter()
    for text in ("\x1b]" * 1_000_000, "\x1b[0;" * 500_000, "\n" * 2_000_000, "x\u202e" * 1_000_000):
        prose(text, 500)
        word(text, 500)
    assert time.perf_counter() - began < 0.5


@pytest.mark.parametrize(
    ("text", "bytes_max", "beginning"),
    [
        ("abcd", 4, "abcd"),
        ("abcde", 4, "a…"),
        ("aéb", 4, "aéb"),
        ("aééé", 6, "aé…"),
        ("😀😀", 7, "😀…"),
        ("ab cdef", 6, "ab…"),
    ],
)
def test_cut_leaves_whole_characters(text: str, bytes_max: int, beginning: str) -> None:
    """The limit is in bytes, no character is cut in two, and what was cut says so."""
    assert cut_to_bytes(text, bytes_max) == beginning


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("![x](https://evil.example/p.png)", "!\\[x\\](https://evil.example/p.png)"),
        ("<img src=x>", "\\<img src=x\\>"),
        ("`code` *bold*", "\\`code\\` \\*bold\\*"),
        ("\\[x\\](y)", "\\\\\\[x\\\\\\](y)"),
        ("plain, 5 of 6 (octo_x)", "plain, 5 of 6 (octo_x)"),
    ],
)
def test_text_in_markdown_makes_no_link_and_no_image(text: str, escaped: str) -> None:
    """Temporal's Web UI shows summaries and current details as Markdown, and loads the images in it."""
    assert as_markdown(text) == escaped


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


@pytest.mark.parametrize("character", ["x", '"', "\\", "漢", "😀", "["])
async def test_summary_of_any_title_is_within_temporals_limit(character: str) -> None:
    """Servers that enforce the limit must not refuse a start for its title."""
    issue = Issue(7, "octo/repo", 12, character * 256)
    (payload,) = await DATA_CONVERTER.encode([summary(issue)])
    assert payload.ByteSize() <= SUMMARY_BYTES_MAX


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"repository": "octo/.github", "number": 5}, ("octo/.github", 5, "")),
        ({"repository": "octo/repo\n", "number": 2**63}, ("octo/repo?", 0, "")),
        ({"repository": "octo/" + "x" * 300, "number": -1}, ("octo/" + "x" * 193 + "…", 0, "")),
        ({"url": "https://github.com/octo/repo/issues/5"}, ("", 0, "https://github.com/octo/repo/issues/5")),
        ({"url": "https://x)![i](https://evil.example/p.png"}, ("", 0, "")),
        ({"url": "javascript:alert(1)"}, ("", 0, "")),
        ({"url": "https://x/" + "y" * 500}, ("", 0, "")),
    ],
)
def test_number_or_address_that_cannot_be_one_counts_as_not_given(
    given: dict[str, object], kept: tuple[str, int, str]
) -> None:
    """Temporal's index fails the task of a workflow for each of them, and the Web UI's details would load the image."""
    issue = Issue(7, **given)  # type: ignore[arg-type]
    assert (issue.repository, issue.number, issue.url) == kept
