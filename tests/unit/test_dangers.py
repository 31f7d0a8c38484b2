"""What is allowed and dangerous is told, and what is not dangerous is not."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from issuebox.dangers import SECRET_MIN, dangers, open_to_others
from issuebox.environment import load
from issuebox.settings import ApiSettings, WorkerSettings

LONG = "x" * SECRET_MIN
SAFE = {"ISSUEBOX_WEBHOOK_SECRETS": LONG, "ISSUEBOX_API_TOKENS": LONG, "ISSUEBOX_MIN_ASSOCIATION": "member"}


def told(**given: str) -> list[str]:
    """The settings that are dangerous."""
    environ = SAFE | given
    return [danger.what for danger in dangers(load(ApiSettings, environ), environ)]


def test_safe_settings_are_not_told() -> None:
    """Nobody gets used to warnings."""
    assert told() == []


@pytest.mark.parametrize(
    ("given", "is_open"),
    [
        ({}, True),
        ({"ISSUEBOX_MIN_ASSOCIATION": "contributor"}, False),
        ({"ISSUEBOX_REQUIRED_LABEL": "ok"}, False),
        ({"ISSUEBOX_ALLOWED_REPOSITORIES": "acme/*"}, False),
        ({"ISSUEBOX_WEBHOOK_SECRETS": ""}, False),
    ],
)
def test_everybody_who_may_ask_is_told(given: dict[str, str], *, is_open: bool) -> None:
    """Only when nothing at all limits who may, and deliveries are taken."""
    assert told(**{"ISSUEBOX_MIN_ASSOCIATION": "none"} | given) == ["ISSUEBOX_MIN_ASSOCIATION"] * is_open


@pytest.mark.parametrize("name", ["ISSUEBOX_WEBHOOK_SECRETS", "ISSUEBOX_API_TOKENS"])
def test_secret_that_can_be_guessed_is_told_without_it(name: str) -> None:
    """Also when it is one of several."""
    environ = SAFE | {name: f"{LONG},!"}
    [danger] = dangers(load(ApiSettings, environ), environ)
    assert danger.what == name
    assert "!" not in danger.reason + danger.advice


@pytest.fixture
def public(tmp_path: Path) -> Iterator[Path]:
    """A directory that everybody may enter, unlike those of pytest."""
    with tempfile.TemporaryDirectory(prefix="issuebox-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.parametrize(("mode", "is_open"), [(0o600, False), (0o640, False), (0o604, True), (0o644, True)])
def test_key_file_that_others_can_read_is_told(public: Path, mode: int, *, is_open: bool) -> None:
    """Group access is how a service's user gets it; everybody's is not."""
    path = public / "key"
    path.write_text("k")
    path.chmod(mode)
    environ = {"DAYTONA_API_KEY_FILE": str(path)}
    found = [danger.what for danger in dangers(load(WorkerSettings, environ), environ)]
    assert found == ["DAYTONA_API_KEY_FILE"] * is_open


def test_file_in_a_private_directory_is_not_told(public: Path) -> None:
    """Nobody reaches it, whatever its own mode."""
    private = public / "private"
    private.mkdir(mode=0o700)
    (private / "key").write_text("k")
    (private / "key").chmod(0o644)
    assert list(open_to_others("x", private / "key")) == []


def test_data_directory_that_others_can_enter_is_told(public: Path) -> None:
    """With the command that closes it."""
    [danger] = open_to_others("data directory", public)
    assert danger.advice == f"Run: chmod 700 {public}"
    public.chmod(0o700)
    assert list(open_to_others("data directory", public)) == []
    assert list(open_to_others("data directory", public / "nowhere")) == []
