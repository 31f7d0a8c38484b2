"""The set-up that the settings describe."""

from __future__ import annotations

import pytest

from issuebox.domain.set_up import SetUp, directory_of

URL = "https://github.com/{repository}.git"


@pytest.mark.parametrize(
    ("given", "is_configured"),
    [(SetUp(), False), (SetUp(clone_url=URL), True), (SetUp(command="true"), True), (SetUp(token="t"), False)],
)
def test_set_up_is_configured_when_there_is_something_to_do(given: SetUp, is_configured: bool) -> None:
    """A token alone is nothing to do."""
    assert given.is_configured is is_configured


def test_url_is_that_of_the_repository() -> None:
    """Without a repository, or without a template, there is nothing to clone."""
    assert SetUp(clone_url=URL).url_of("octo/repo") == "https://github.com/octo/repo.git"
    assert SetUp(clone_url=URL).url_of("") == ""
    assert SetUp().url_of("octo/repo") == ""


def test_token_is_in_no_repr() -> None:
    """A set-up that is logged by accident shows no secret."""
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
    """A name comes from outside and goes into paths: anything but a repository's name is refused."""
    with pytest.raises(ValueError, match="not the name of a repository"):
        directory_of(repository)
