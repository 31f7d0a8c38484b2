"""The command line: a key that everybody knows opens nothing that others can reach."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from localdaytona.cli import DEFAULT_API_KEY, app, key_for

LOOPBACK = ["127.0.0.1", "127.0.0.2", "::1", "localhost"]
OPEN = ["0.0.0.0", "::", "192.168.1.7", "10.0.0.1", "fe80::1", "example.org", "", "::ffff:0.0.0.0"]


@pytest.mark.parametrize("host", LOOPBACK)
def test_this_machine_alone_may_use_the_known_key(host: str) -> None:
    """On loopback the known key is the default, and any other may be given."""
    assert key_for(host, None) == key_for(host, DEFAULT_API_KEY) == DEFAULT_API_KEY
    assert key_for(host, "mine") == "mine"


@pytest.mark.parametrize("host", OPEN)
def test_other_machines_need_a_key_that_nobody_knows(host: str) -> None:
    """Where others can reach it, it makes a long key of its own, and takes one that was chosen."""
    made = {key_for(host, None) for _ in range(9)}
    assert len(made) == 9
    assert min(map(len, made)) > 30
    assert key_for(host, "mine") == "mine"


@pytest.mark.parametrize("host", [*OPEN, *LOOPBACK])
@pytest.mark.parametrize("key", [DEFAULT_API_KEY, "", " "])
def test_key_that_protects_nothing_is_refused(host: str, key: str) -> None:
    """It does not start with the known key where others can reach it, and nowhere without one."""
    if host in LOOPBACK and key == DEFAULT_API_KEY:
        return
    result = CliRunner().invoke(app, ["--host", host, "--port", "0", "--api-key", key])
    assert result.exit_code == 2
    assert "--api-key" in result.output


def test_key_may_come_from_a_file(tmp_path: Path) -> None:
    """As containers get their secrets. An empty file is no key, and two keys are one too many."""
    empty = tmp_path / "empty"
    empty.touch()
    arguments = ["--host", "0.0.0.0", "--port", "0", "--api-key-file", str(empty)]
    assert CliRunner().invoke(app, arguments).exit_code == 2
    (tmp_path / "key").write_text("mine\n")
    both = CliRunner().invoke(app, ["--api-key", "mine", "--api-key-file", str(tmp_path / "key")])
    assert both.exit_code == 2
    assert "both" in both.output
