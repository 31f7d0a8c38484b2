"""The order for a set-up, and the settings that it comes from."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from issuebox.domain.set_up import SetUp, directory_of
from issuebox.settings import WorkerSettings

URL = "https://github.com/{repository}.git"


@pytest.mark.parametrize(
    ("given", "is_configured"),
    [(SetUp(), False), (SetUp(clone_url=URL), True), (SetUp(command="true"), True), (SetUp(token="t"), False)],
)
def test_set_up_is_configured_when_there_is_something_to_do(given: SetUp, is_configured: bool) -> None:
    """A token alone gives no work."""
    assert given.is_configured is is_configured


def test_url_is_that_of_the_repository() -> None:
    """Without a repository, or without a template, there is nothing to clone."""
    assert SetUp(clone_url=URL).url_of("octo/repo") == "https://github.com/octo/repo.git"
    assert SetUp(clone_url=URL).url_of("") == ""
    assert SetUp().url_of("octo/repo") == ""


def test_token_is_in_no_repr() -> None:
    """What is logged by accident holds no secret."""
    assert "s3cr3t" not in repr(SetUp(token="s3cr3t"))


@pytest.mark.parametrize(
    ("repository", "name"), [("octo/repo", "repo"), ("o-c/.github", ".github"), ("a/b_c.d", "b_c.d")]
)
def test_clone_has_the_name_of_its_repository(repository: str, name: str) -> None:
    """The owner is left out."""
    assert directory_of(repository) == name


@pytest.mark.parametrize(
    "repository",
    ["", "repo", "a/", "/b", "a/b/c", "a/..", "a/.", "a/.git", "a/.issuebox", "a/-rf", "a/b c", "a/b\n", "a/$(x)"],
)
def test_what_is_no_name_is_no_directory(repository: str) -> None:
    """A name comes from outside and goes into paths: all others are refused."""
    with pytest.raises(ValueError, match="no name of a repository"):
        directory_of(repository)


@pytest.mark.parametrize(
    ("url", "token", "mistake"),
    [
        (URL, "t", ""),
        ("http://127.0.0.1:8080/{repository}.git", "t", ""),
        ("http://git.example.org/{repository}.git", "", ""),
        ("http://git.example.org/{repository}.git", "t0ken", "has to be https"),
        ("https://user:pa55@github.com/{repository}.git", "", "without user and password"),
        ("git@github.com:{repository}.git", "", "http or https"),
        ("--upload-pack=x", "", "http or https"),
        ("file:///srv/{repository}.git", "", "http or https"),
    ],
)
def test_clone_url_cannot_give_a_secret_away(url: str, token: str, mistake: str) -> None:
    """A URL with credentials would stay in every clone, and a token without TLS on every wire; neither is told."""
    given = {"setup_clone_url": url, "github_token": token}
    if not mistake:
        assert WorkerSettings.model_validate(given).setup_clone_url == url
        return
    with pytest.raises(ValidationError, match=mistake) as refused:
        WorkerSettings.model_validate(given)
    assert not any(secret in str(refused.value) for secret in ("t0ken", "pa55"))


def test_inspected_paths_are_whole() -> None:
    """Paths are split at commas; a relative one is refused."""
    assert WorkerSettings.model_validate({"inspect_paths": "~, /workspace,~/x"}).inspect_paths == (
        "~",
        "/workspace",
        "~/x",
    )
    assert WorkerSettings().inspect_paths == ("~",)
    for wrong in ("work", "~other", "", "-x"):
        with pytest.raises(ValidationError):
            WorkerSettings.model_validate({"inspect_paths": wrong})
