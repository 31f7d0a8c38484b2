"""What `issuebox dev` keeps in its data directory, and what it passes to which process."""

from __future__ import annotations

import hmac
import os
import shlex
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from issuebox.dev import dev_stack, services
from issuebox.dev.dev_stack import DevError, DevSecrets, DevStack, choose_port, claimed
from issuebox.dev.run import DevOptions, _addresses, _choose_ports, _commands
from issuebox.dev.services import Ports, Surroundings
from issuebox.dev.temporal_server import DevServer
from issuebox.environment import secrets_of
from issuebox.settings import WorkerSettings


def around(data_dir: Path, ports: Ports | None = None, **inherited: str) -> Surroundings:
    return Surroundings(
        data_dir=data_dir,
        ports=ports or Ports(api=1, temporal=2, ui=3, daytona=4),
        secrets=DevSecrets(webhook_secret="ws", api_token="at", daytona_api_key="dk"),
        daytona_speed=1.0,
        inherited={"PATH": "/bin", **inherited},
    )


def test_secrets_survive_a_restart(tmp_path: Path) -> None:
    """The second start on a data directory uses the secrets of the first, which only this user can read."""
    first = DevSecrets.load_or_create(tmp_path)
    assert DevSecrets.load_or_create(tmp_path) == first
    assert (tmp_path / "secrets.json").stat().st_mode & 0o777 == 0o600


def test_claimed_directory_is_refused_to_a_second_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two stacks never share one data directory."""
    monkeypatch.setattr(dev_stack, "LOCK_TIMEOUT_S", 0.2)
    with claimed(tmp_path), pytest.raises(DevError, match="in use by another"), claimed(tmp_path):
        pass


def test_released_directory_can_be_claimed_again(tmp_path: Path) -> None:
    """A clean stop releases the directory."""
    with claimed(tmp_path):
        pass
    with claimed(tmp_path) as lock:
        assert lock > 0


def test_survivors_of_a_killed_stack_refuse_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that outlives its stack holds the directory, and the error names the child."""
    monkeypatch.setattr(dev_stack, "LOCK_TIMEOUT_S", 0.2)
    with claimed(tmp_path) as lock:
        program = "import signal; signal.pause()"
        survivor = subprocess.Popen([sys.executable, "-c", program], pass_fds=[lock])
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    stack(pid=dead.pid, processes={"temporal": survivor.pid}).write(tmp_path)
    try:
        with pytest.raises(DevError, match=f"temporal {survivor.pid}"), claimed(tmp_path):
            pass
    finally:
        survivor.kill()
        survivor.wait()


def stack(**changes: object) -> DevStack:
    facts: dict[str, object] = {
        "pid": os.getpid(),
        "is_ready": True,
        "api_url": "http://127.0.0.1:1",
        "api_token": "t",
        "webhook_secret": "s",
        "temporal_address": "127.0.0.1:2",
        "temporal_namespace": "default",
        "temporal_ui_url": None,
        "daytona_api_url": "",
        "daytona_page_url": None,
        "daytona_api_key": None,
        "processes": {},
    }
    return DevStack.model_validate(facts | changes)


def test_running_stack_is_found_and_a_stopped_one_is_not(tmp_path: Path) -> None:
    """A lookup returns what was published, which only this user can read, until it is forgotten."""
    assert DevStack.lookup(tmp_path) is None
    stack().write(tmp_path)
    assert DevStack.lookup(tmp_path) == stack()
    assert (tmp_path / "dev.json").stat().st_mode & 0o777 == 0o600
    dev_stack.forget(tmp_path)
    assert DevStack.lookup(tmp_path) is None


def test_taken_port_is_an_error_when_given_and_avoided_when_not() -> None:
    """A given port is used or refused by name; a default port gives way to a free one."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(DevError, match=f"Port {port} for api"):
            choose_port("api", port, 1, set())
        assert choose_port("api", None, port, set()) != port


def test_one_port_given_twice_is_an_error() -> None:
    """Two parts never get the same port."""
    with pytest.raises(DevError, match="for temporal"):
        _choose_ports(DevOptions(api_port=47301, temporal_port=47301), {})


def test_external_services_are_not_started() -> None:
    """TEMPORAL_ADDRESS and DAYTONA_API_KEY select services that somebody else runs."""
    ports = _choose_ports(DevOptions(), {"TEMPORAL_ADDRESS": "t:7233", "DAYTONA_API_KEY": "k"})
    assert (ports.temporal, ports.ui, ports.daytona) == (None, None, None)


def test_own_temporal_hides_the_users_other_cluster(tmp_path: Path) -> None:
    """Keys and profiles for another cluster never reach the embedded one."""
    environment = around(tmp_path, TEMPORAL_API_KEY="x", TEMPORAL_PROFILE="prod").environment()
    assert "TEMPORAL_API_KEY" not in environment
    assert "TEMPORAL_PROFILE" not in environment
    assert environment["TEMPORAL_ADDRESS"] == "127.0.0.1:2"
    assert environment["TEMPORAL_CONFIG_FILE"] == os.devnull


def test_external_temporal_keeps_the_users_settings(tmp_path: Path) -> None:
    """With the user's own cluster, Temporal's environment configuration is passed on unchanged."""
    external = Ports(api=1, temporal=None, ui=None, daytona=4)
    environment = around(tmp_path, external, TEMPORAL_ADDRESS="t:1", TEMPORAL_API_KEY="x").environment()
    assert environment["TEMPORAL_ADDRESS"] == "t:1"
    assert environment["TEMPORAL_API_KEY"] == "x"
    assert "TEMPORAL_CONFIG_FILE" not in environment


def test_each_process_gets_only_its_own_secrets(tmp_path: Path) -> None:
    """The worker gets Daytona's key and no webhook secret, and the API the opposite."""
    here = around(
        tmp_path,
        ISSUEBOX_API_TOKENS="mine,other",
        DAYTONA_TARGET="eu",
        DAYTONA_API_URL="https://real",
        ISSUEBOX_GITHUB_TOKEN="gt",
    )
    worker = services.worker_service(here).environment
    api = services.api_service(here).environment
    assert worker["DAYTONA_API_KEY"] == "dk"
    assert worker["DAYTONA_API_URL"] == "http://127.0.0.1:4/api"
    assert "DAYTONA_TARGET" not in worker
    assert not {"ISSUEBOX_API_TOKENS", "ISSUEBOX_WEBHOOK_SECRETS"} & set(worker)
    assert not secrets_of(WorkerSettings) & set(api)
    assert (api["ISSUEBOX_WEBHOOK_SECRETS"], api["ISSUEBOX_API_TOKENS"]) == ("ws", "mine,other")
    assert here.api_token == "mine"
    assert worker["ISSUEBOX_GITHUB_TOKEN"] == "gt"


def test_what_others_have_set_for_other_programs_reaches_no_part(tmp_path: Path) -> None:
    """The commands in localdaytona's sandboxes could read it."""
    foreign = {"AWS_SECRET_ACCESS_KEY": "s", "GITHUB_TOKEN": "s", "HTTPS_PROXY": "http://me:s@proxy"}
    here = around(tmp_path, **foreign, ISSUEBOX_GITHUB_TOKEN="s", DAYTONA_API_KEY="s", LC_ALL="C", HOME="/home/me")
    server = DevServer(binary=Path("temporal"), database=Path("db"), port=1, ui_port=2)
    own = {"PATH": "/bin", "LC_ALL": "C", "HOME": "/home/me"}
    assert services.temporal_service(server, here).environment == own
    assert services.daytona_service(here, 4).environment == own | {"LOCALDAYTONA_API_KEY": "dk"}
    assert not {*foreign, "ISSUEBOX_GITHUB_TOKEN", "DAYTONA_API_KEY"} & set(services.api_service(here).environment)
    assert set(foreign) & set(services.worker_service(here).environment) == {"HTTPS_PROXY"}


def test_no_secret_is_on_a_command_line(tmp_path: Path) -> None:
    """Every user of the machine can read it with `ps`."""
    here = around(tmp_path)
    for service in (services.daytona_service(here, 4), services.worker_service(here), services.api_service(here)):
        assert not {"ws", "at", "dk"} & set(service.command)


def test_secrets_from_files_are_the_ones_that_are_used(tmp_path: Path) -> None:
    """A file counts as the variable does: nothing is made up beside it, which the API would refuse."""
    file = tmp_path / "tokens"
    file.write_text("from-a-file\n")
    here = around(tmp_path, ISSUEBOX_API_TOKENS_FILE=str(file))
    assert here.api_token == "from-a-file"
    api = services.api_service(here).environment
    assert ("ISSUEBOX_API_TOKENS" in api, api["ISSUEBOX_API_TOKENS_FILE"]) == (False, str(file))


def test_printed_address_brings_the_token_along_to_the_page_alone(tmp_path: Path) -> None:
    """Behind the #, where no browser sends it to a server, and quoted so that the page reads it back."""
    here = around(tmp_path, ISSUEBOX_API_TOKENS="a+b/c#d%e")
    ((_, [page]), *_) = _addresses(here)
    parts = urlsplit(page)
    assert (f"{parts.scheme}://{parts.netloc}{parts.path}", parts.query) == ("http://127.0.0.1:1/status", "")
    assert unquote(parts.fragment) == "token=a+b/c#d%e"


def test_api_links_to_the_page_of_the_daytona_that_the_worker_uses(tmp_path: Path) -> None:
    """It gets the address of Daytona, and no key of it."""
    url, hosted = "https://daytona.example/api", Ports(api=1, temporal=2, ui=3, daytona=None)
    here = services.api_service(around(tmp_path)).environment
    assert here["DAYTONA_API_URL"] == services.worker_service(around(tmp_path)).environment["DAYTONA_API_URL"]
    there = services.api_service(around(tmp_path, hosted, DAYTONA_API_KEY="k", DAYTONA_API_URL=url)).environment
    assert there["DAYTONA_API_URL"] == url
    assert "DAYTONA_API_KEY" not in here.keys() | there.keys()


def test_printed_command_carries_a_valid_signature(tmp_path: Path) -> None:
    """The webhook command can be pasted: its signature matches its body, byte for byte."""
    [command] = dict(_commands(around(tmp_path)))["Send the same delivery by hand:"]
    words = shlex.split(command)
    body = words[words.index("--data-raw") + 1].encode()
    headers = dict(words[at + 1].split(": ") for at, word in enumerate(words) if word == "-H")
    expected = "sha256=" + hmac.new(b"ws", body, "sha256").hexdigest()
    assert headers["X-Hub-Signature-256"] == expected
    assert words[-1] == "http://127.0.0.1:1/webhooks/github"


def test_only_the_worker_has_the_admin_address(tmp_path: Path) -> None:
    """Both would bind it, and the second one not start."""
    here = around(tmp_path, ISSUEBOX_ADMIN_ADDRESS="127.0.0.1:8788")
    assert services.worker_service(here).environment["ISSUEBOX_ADMIN_ADDRESS"] == "127.0.0.1:8788"
    assert "ISSUEBOX_ADMIN_ADDRESS" not in services.api_service(here).environment
