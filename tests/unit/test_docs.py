"""The pages name what exists: tests, files, settings, and each other's headings."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from issuebox.environment import OTHERS, is_secret, variables

REPOSITORY = Path(__file__).parents[2]
ROOT_PAGES = [REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
PAGES = [*ROOT_PAGES, *sorted((REPOSITORY / "docs").rglob("*.md"))]
LIVING = [page for page in PAGES if page.parent.name != "decisions"]
"""Decisions are of their time: what they name may be gone."""

TESTS = {
    name
    for file in (REPOSITORY / "tests").rglob("*.py")
    for name in (file.stem, *re.findall(r"def (test_\w+)", file.read_text()))
}
ROOTS = "tests|issuebox|workflows|activities|api|proofs|bench|localdaytona|scripts|docs|deploy"
NO_SETTING = {"ISSUEBOX_ALOWED_REPOSITORIES", "ISSUEBOX_API_PORT"}
"""Variables that a page names as what is no setting."""
OF_A_RUN = {f"ISSUEBOX_RUN{name}" for name in ("", "_ATTEMPT", "_DIR", "_KIND")} | {
    f"ISSUEBOX_{name}" for name in ("SESSION", "SESSION_IS_NEW", "REPOSITORY", "ISSUE_NUMBER", "ISSUE_URL", "RECORD")
}
"""What a run's command finds in its environment; and RECORD, of the tests of the real agents."""


def ids(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    plain = (re.sub(r"\[([^]]+)\]\([^)]*\)", r"\1", heading) for heading in headings)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in plain}


@pytest.mark.parametrize("page", LIVING, ids=ids)
def test_page_names_tests_and_files_that_exist(page: Path) -> None:
    """A test that was renamed is renamed where it is named as the proof of something."""
    text = page.read_text()
    assert not {name for name in re.findall(r"\btest_\w+", text) if name not in TESTS}
    named = re.findall(rf"`((?:{ROOTS})/[\w/.-]+)`", text)
    assert not {path for path in named if not (REPOSITORY / path).exists()}


@pytest.mark.parametrize("page", LIVING, ids=ids)
def test_page_names_settings_that_exist(page: Path) -> None:
    """Nobody is told to set what is no setting any more."""
    known = set(variables()) | {f"{name}_FILE" for name, info in variables().items() if is_secret(info)}
    named = set(re.findall(r"\bISSUEBOX_[A-Z_]+[A-Z]\b", page.read_text()))
    assert not named - known - OTHERS - NO_SETTING - OF_A_RUN


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_links_lead_somewhere(page: Path) -> None:
    """To a file of the repository, and to a heading of it."""
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            broken.append(target)
    assert not broken
