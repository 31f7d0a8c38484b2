"""What GitHub and PyPI read of the repository: forms, workflows, licence and addresses; and what a release needs."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from scripts.release import Sources, mistakes, notes

REPOSITORY = Path(__file__).parents[2]
FORMS = REPOSITORY / ".github" / "ISSUE_TEMPLATE"
WORKFLOWS = sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
VERSION = PROJECT["version"]
PLACEHOLDER = "github.com/OWNER/"


def parsed(path: Path) -> Any:
    """The YAML file. Its word `on` is a key, not a truth value as in YAML 1.1."""
    return yaml.load(path.read_text(), Loader=yaml.BaseLoader)  # noqa: S506 - makes nothing but texts


def schema(name: str) -> Any:
    """A schema that check-jsonschema carries."""
    return json.loads((files("check_jsonschema.builtin_schemas.vendor") / f"{name}.json").read_text())


@pytest.mark.parametrize("form", ["bug", "idea"])
def test_issue_form_is_one_that_github_shows(form: str) -> None:
    """GitHub silently leaves out a form with a mistake."""
    jsonschema.validate(yaml.safe_load((FORMS / f"{form}.yml").read_text()), schema("github-issue-forms"))


def test_links_beside_the_forms_are_ones_that_github_shows() -> None:
    """The private way to report a vulnerability stands where people begin an issue."""
    config = yaml.safe_load((FORMS / "config.yml").read_text())
    jsonschema.validate(config, schema("github-issue-config"))
    assert any("/security/advisories/new" in link["url"] for link in config["contact_links"])


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow_may_do_only_what_each_job_needs(path: Path) -> None:
    """Without rights at the top, each job names its own. An action cannot change: it is pinned to a commit."""
    workflow = parsed(path)
    assert workflow["permissions"] == {}
    for job in workflow["jobs"].values():
        assert job["permissions"]
        assert int(job["timeout-minutes"]) <= 90
    used = re.findall(r"uses: (.+)", path.read_text())
    assert used
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action) for action in used)


def test_release_waits_for_the_check_of_the_tag() -> None:
    """Nothing is built or published before the tag, the checks and the tests were right."""
    jobs = parsed(REPOSITORY / ".github" / "workflows" / "release.yml")["jobs"]
    commands = [step.get("run", "") for step in jobs["check"]["steps"]]
    assert any("scripts.release" in command for command in commands)
    assert ".ci/run" in commands
    for name, job in jobs.items():
        assert name == "check" or set(job["needs"] if isinstance(job["needs"], list) else [job["needs"]]) <= set(jobs)
    assert jobs["wheel"]["needs"] == jobs["image"]["needs"] == "check"
    assert jobs["pypi"]["needs"] == jobs["page"]["needs"] == ["wheel", "image"]


def test_places_of_the_placeholder_are_listed() -> None:
    """Whoever gives the repository an address finds every place."""
    looked_at = [*REPOSITORY.glob("*.*"), *REPOSITORY.glob(".github/**/*.yml"), *REPOSITORY.glob("docs/**/*.md")]
    places = {str(path.relative_to(REPOSITORY)) for path in looked_at if path.is_file() and PLACEHOLDER in text(path)}
    [section] = re.findall(r"^Replace the placeholder.*?\n\n(.*?)\n\n", placeholder_section(), re.MULTILINE | re.DOTALL)
    assert places == set(re.findall(r"^- `([^`]+)`", section, re.MULTILINE))


def text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def placeholder_section() -> str:
    contributing = (REPOSITORY / "CONTRIBUTING.md").read_text()
    return contributing[contributing.index("Replace the placeholder") :]


def test_licence_is_the_one_that_the_project_names() -> None:
    """The whole text, in the repository and in what is built from it."""
    licence = (REPOSITORY / "LICENSE").read_text()
    assert PROJECT["license"] == "Apache-2.0"
    assert PROJECT["license-files"] == ["LICENSE"]
    assert "Apache License" in licence
    assert "Version 2.0, January 2004" in licence
    assert "END OF TERMS AND CONDITIONS" in licence


AGREED = Sources(
    project='[project]\nversion = "1.2.3"',
    compose="image: issuebox:1.2.3\nimage: issuebox-localdaytona:1.2.3\nimage: postgres:16",
    changelog=(
        "# Changelog\n\n## [Unreleased]\n\n"
        "## [1.2.3] - 2026-12-01\n\n### Added\n- More.\n\n## [1.2.2] - 2026-11-01\n\nLess.\n"
    ),
)


def test_tag_that_fits_is_released_with_its_notes() -> None:
    """The notes are the changelog's section, and nothing of the next."""
    assert list(mistakes("v1.2.3", AGREED)) == []
    assert notes("1.2.3", AGREED.changelog) == "### Added\n- More."


@pytest.mark.parametrize(
    ("tag", "sources", "part"),
    [
        ("v1.2.4", AGREED, "v1.2.3"),
        ("1.2.3", AGREED, "v1.2.3"),
        ("v1.2.3", replace(AGREED, compose="image: issuebox:1.2.2"), "issuebox:1.2.2"),
        ("v1.2.3", replace(AGREED, changelog="## [1.2.30] - 2026-12-01\n\nMore."), "no section [1.2.3]"),
        ("v1.2.3", replace(AGREED, changelog="## [1.2.3]\n\nMore."), "no section [1.2.3]"),
        ("v1.2.3", replace(AGREED, changelog="## [1.2.3] - 2026-12-01\n\n## [1.2.2] - 2026-11-01"), "no section"),
    ],
    ids=["other", "bare", "image", "similar", "undated", "empty"],
)
def test_tag_that_does_not_fit_is_refused_with_a_sentence(tag: str, sources: Sources, part: str) -> None:
    """Each mistake alone stops the release."""
    [mistake] = mistakes(tag, sources)
    assert part in mistake


def test_checkout_is_ready_for_its_tag() -> None:
    """The version of this checkout could be released as it is."""
    assert list(mistakes(f"v{VERSION}", Sources.read())) == []
