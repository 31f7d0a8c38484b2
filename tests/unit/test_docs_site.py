"""The checks of the built documentation, each with a site that breaks it."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.docs_site import navigation_mistakes, readable, site_mistakes
from tests.docs.blocks import PAGES

FINE = """<h1 id="top">1. A</h1><a href="b/c.html#deep">b</a><a href="https://example.org/">away</a><img src="a.svg">
<code>
- an item in code
</code>"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A built site without a mistake."""
    (tmp_path / "b").mkdir()
    (tmp_path / "a.html").write_text(FINE)
    (tmp_path / "b" / "c.html").write_text('<h2 id="deep">C</h2><a href="../a.html#top">a</a><a href="#deep">c</a>')
    (tmp_path / "a.svg").write_text("<svg/>")
    return tmp_path


def test_site_without_a_mistake_passes(site: Path) -> None:
    """A link to elsewhere is followed by a click only, so it is none of the check's business."""
    assert list(site_mistakes(site)) == []


@pytest.mark.parametrize(
    ("html", "mistake"),
    [
        ('<script src="https://unpkg.com/x.js"></script>', "loads https://unpkg.com/x.js from elsewhere"),
        ('<link rel="stylesheet" href="//fonts.example/a.css">', "loads //fonts.example/a.css from elsewhere"),
        ('<img src="http://example.org/a.png">', "loads http://example.org/a.png from elsewhere"),
        ('<img src="none.svg">', "refers to none.svg, which is not there"),
        ('<a href="none.html">', "refers to none.html, which is not there"),
        ('<a href="b/c.html#shallow">', "refers to b/c.html#shallow, which is not there"),
        ('<a href="#none">', "refers to #none, which is not there"),
        ('<a href="../../etc/">', "refers to ../../etc/, which is not there"),
        ("<p>A\n| a | b |\n|---|---|</p>", "shows '|---|---|' as text: it needs an empty line before"),
        ("<p>A:\n- one</p>", "shows '- one' as text: it needs an empty line before"),
    ],
)
def test_mistake_on_a_page_is_found(site: Path, html: str, mistake: str) -> None:
    """Each alone, with the page that has it."""
    (site / "a.html").write_text(FINE + html)
    assert list(site_mistakes(site)) == [f"a.html {mistake}"]


def test_page_without_a_place_is_found(tmp_path: Path) -> None:
    """Nobody finds a page that stands nowhere; a page stands in one place, and is there."""
    (tmp_path / "deep").mkdir()
    for name in ("a.md", "deep/b.md", "lost.md"):
        (tmp_path / name).touch()
    navigation = [{"Start": ["a.md", {"Deep": ["deep/b.md"]}]}, {"Again": "a.md"}, "gone.md"]
    assert list(navigation_mistakes(navigation, tmp_path)) == [
        "docs/lost.md is not in the navigation of zensical.toml",
        "the navigation of zensical.toml names gone.md, which is not there",
        "the navigation of zensical.toml names a.md 2 times",
    ]


def test_complaint_of_the_builder_is_readable() -> None:
    """Its colours and its traceback help nobody in a log."""
    said = "\x1b[33mWarning:\x1b[0m anchor does not exist\n  connect.md:75\nTraceback (most recent call last):\n  File"
    assert readable(said) == "Warning: anchor does not exist\n  connect.md:75\n"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_of_the_site_has_no_mermaid(page: Path) -> None:
    """The site would fetch Mermaid from a CDN. GitHub draws it in the README, which is no page of the site."""
    assert page.name == "README.md" or "```mermaid" not in page.read_text()
