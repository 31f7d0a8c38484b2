"""deploy/new-secrets, which writes what docker-compose.yml mounts."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from issuebox.settings import WorkerSettings

REPOSITORY = Path(__file__).parents[2]
NAMES = set(yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["secrets"])
RANDOM = {"postgres_password", "issuebox_webhook_secrets", "issuebox_api_tokens", "issuebox_notice_secret"}


def new_secrets(directory: Path, *arguments: str, **environment: str) -> str:
    """Write them. Returns what the script says."""
    command = [str(REPOSITORY / "deploy" / "new-secrets"), *arguments, str(directory)]
    environment["PATH"] = "/usr/bin:/bin"
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def contents(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in directory.iterdir()}


def test_there_is_a_file_for_each_secret(tmp_path: Path) -> None:
    """Compose finds every file. Ours are random and long; what only a person has is empty, and named."""
    said = new_secrets(tmp_path / "secrets")
    found = contents(tmp_path / "secrets")
    assert found.keys() == NAMES
    assert {name for name, value in found.items() if value} == RANDOM
    assert len({found[name] for name in RANDOM}) == len(RANDOM)
    assert min(len(found[name]) for name in RANDOM) >= 64
    assert all(name in said for name in NAMES - RANDOM)
    given = {
        "daytona_api_key": "key",
        "notice_url": "https://x.example",
        "notice_secret": found["issuebox_notice_secret"],
    }
    assert WorkerSettings.model_validate(given).notice_secret.get_secret_value().startswith("whsec_")


def test_only_the_owner_can_enter_the_directory(tmp_path: Path) -> None:
    """The files themselves are readable: each container runs as a user of its own."""
    new_secrets(tmp_path / "secrets")
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "secrets").iterdir()} == {0o444}


def test_only_what_is_given_replaces_a_secret(tmp_path: Path) -> None:
    """A repetition fills what is empty and keeps the rest; the database would not learn of another password."""
    directory = tmp_path / "secrets"
    new_secrets(directory)
    before = contents(directory)
    (tmp_path / "key.pem").write_text("line\nline\n")
    given = {"DAYTONA_API_KEY": "key of mine", "ISSUEBOX_API_TOKENS": "other", "POSTGRES_PASSWORD": "other"}
    new_secrets(directory, **given, ISSUEBOX_GITHUB_APP_PRIVATE_KEY_FILE=str(tmp_path / "key.pem"))
    new_secrets(directory)
    assert contents(directory) == before | {
        "daytona_api_key": "key of mine",
        "issuebox_api_tokens": "other",
        "issuebox_github_app_private_key": "line\nline",
    }


def test_localdaytona_gets_a_random_key(tmp_path: Path) -> None:
    """Its key opens a shell, so none that everybody knows."""
    assert "daytona_api_key" not in new_secrets(tmp_path, "--local")
    assert len(contents(tmp_path)["daytona_api_key"]) >= 64


@pytest.mark.parametrize("script", ["new-secrets", "backup.sh", "restore.sh"])
def test_script_is_read_by_a_plain_shell(script: str) -> None:
    """Its syntax is that of sh, which is all that an image may have."""
    subprocess.run(["sh", "-n", str(REPOSITORY / "deploy" / script)], check=True)
