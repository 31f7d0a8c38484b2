"""What can be checked of the images and the compose file without a container engine."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer
import yaml

from issuebox.cli.app import app as issuebox_app
from issuebox.environment import variable_of
from issuebox.settings import ApiSettings, WorkerSettings
from issuebox.temporal.search_attributes import needed
from localdaytona.cli import app as localdaytona_app

REPOSITORY = Path(__file__).parents[2]
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text()
TEXT = (REPOSITORY / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ONE_SHOT = {"temporal-schema", "temporal-namespace"}
OURS = {name: service for name, service in SERVICES.items() if "build" in service}

each_service = pytest.mark.parametrize("name", SERVICES)


def test_compose_file_follows_the_specification() -> None:
    """The file is valid by the Compose Specification's schema, as check-jsonschema carries it."""
    schema = json.loads((files("check_jsonschema.builtin_schemas.vendor") / "compose-spec.json").read_text())
    jsonschema.validate(COMPOSE, schema)


@each_service
def test_image_is_pinned_to_a_version(name: str) -> None:
    """No image moves under us, and none is the deprecated auto-setup."""
    image = SERVICES[name]["image"]
    assert re.search(r":\d+\.\d+(\.\d+)?(-[a-z]+)?$", image)
    assert "auto-setup" not in image


def test_base_images_are_pinned_to_a_version() -> None:
    """Every stage of our image starts from a version, or from an earlier stage."""
    sources = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert sources
    assert all(re.search(r":\d+\.\d+", source) for source in sources)


def test_image_and_bootstrap_use_one_uv() -> None:
    """The lock file is read by the same version of uv in the image as on a fresh machine."""
    in_image = re.search(r"astral-sh/uv:(\S+)", DOCKERFILE)
    in_script = re.search(r"^uv_version=(\S+)", (REPOSITORY / "scripts" / "uv").read_text(), re.MULTILINE)
    assert in_image
    assert in_script
    assert in_image[1] == in_script[1]


def test_image_does_not_run_as_root() -> None:
    """The last USER instruction is a number other than 0."""
    users = re.findall(r"^USER (\S+)", DOCKERFILE, re.MULTILINE)
    assert users
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1])


@pytest.mark.parametrize("name", OURS)
def test_command_is_one_that_the_image_has(name: str) -> None:
    """Each of our services runs a console script of the project, with options that it knows."""
    program, *arguments = OURS[name]["command"]
    command = typer.main.get_command({"issuebox": issuebox_app, "localdaytona": localdaytona_app}[program])
    context = command.make_context(program, list(arguments), resilient_parsing=False)
    if hasattr(command, "resolve_command"):
        _, subcommand, rest = command.resolve_command(context, arguments)
        subcommand.make_context(subcommand.name, rest, parent=context)


@each_service
def test_container_has_no_more_rights_than_it_needs(name: str) -> None:
    """Read-only root, no capabilities, no way to gain privileges, no access to the host."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert not {"privileged", "cap_add", "network_mode", "pid", "devices"} & set(service)
    assert not any(volume.startswith(("/", ".", "~")) for volume in service.get("volumes", []))


@each_service
def test_port_is_published_on_loopback_only(name: str) -> None:
    """Nothing is open to the network without a reverse proxy."""
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@each_service
def test_service_is_watched_or_waited_for(name: str) -> None:
    """A server has a health check; a one-shot job is what others wait for."""
    if name in ONE_SHOT:
        waited_for = [service.get("depends_on", {}).get(name) for service in SERVICES.values()]
        assert {"condition": "service_completed_successfully"} in waited_for
    else:
        assert "healthcheck" in SERVICES[name]


@pytest.mark.parametrize("name", ["api", "worker"])
def test_process_that_ends_by_itself_is_started_again(name: str) -> None:
    """Its watchdog ends a process that hangs, and relies on the restart."""
    assert SERVICES[name]["restart"] == "unless-stopped"


@each_service
def test_dependency_is_waited_for_until_it_works(name: str) -> None:
    """Nothing starts merely because its dependency was started."""
    conditions = {needed["condition"] for needed in SERVICES[name].get("depends_on", {}).values()}
    assert conditions <= {"service_healthy", "service_completed_successfully"}


@each_service
def test_service_can_be_scaled(name: str) -> None:
    """No service is tied to one container by a fixed name."""
    assert "container_name" not in SERVICES[name]


def test_compose_registers_every_search_attribute() -> None:
    """The namespace job registers the names and types that workflows set, and no others."""
    script = SERVICES["temporal-namespace"]["command"][-1].replace("\\\n", " ")
    [line] = re.findall(r"temporal operator search-attribute create (.*)", script)
    assert dict(re.findall(r"--name (\w+) +--type (\w+)", line)) == needed()


def test_container_gives_the_worker_longer_than_the_worker_gives_its_commands() -> None:
    """Otherwise a command that is still running would be killed instead of being handed to another worker."""
    period_s = int(SERVICES["worker"]["stop_grace_period"].removesuffix("s"))
    grace = SERVICES["worker"]["environment"].get("ISSUEBOX_GRACE_S", WorkerSettings.model_fields["grace_s"].default)
    assert period_s >= float(grace) + 10


def test_health_check_of_the_worker_asks_where_it_answers() -> None:
    """On loopback: nobody else can ask."""
    assert SERVICES["worker"]["environment"]["ISSUEBOX_ADMIN_ADDRESS"].startswith("127.0.0.1:")
    assert SERVICES["worker"]["healthcheck"]["test"] == ["CMD", "issuebox", "worker", "--check"]


@each_service
def test_no_secret_is_on_a_command_line(name: str) -> None:
    """Whoever may list the machine's processes could read it there."""
    service = SERVICES[name]
    words = " ".join(map(str, [*service.get("command", []), *service.get("healthcheck", {}).get("test", [])]))
    assert not re.search(r"\$\{\w*(PASSWORD|PWD|TOKEN|SECRET|API_KEY)", words)


def test_worker_publishes_nothing() -> None:
    """Any number of workers fit on one machine."""
    assert "ports" not in SERVICES["worker"]


OPTIONAL_SECRETS = {"ISSUEBOX_GITHUB_TOKEN"}
"""Without it public repositories are read, slowly, and nothing private is cloned."""


@each_service
def test_secret_comes_from_the_environment_or_nothing_starts(name: str) -> None:
    """The file contains no password, and a missing one is reported instead of being empty."""
    environment = SERVICES[name].get("environment", {})
    secrets = {key: value for key, value in environment.items() if re.search("PASSWORD|PWD|TOKEN|SECRET|API_KEY", key)}
    required = {key: value for key, value in secrets.items() if key not in OPTIONAL_SECRETS}
    assert all(re.fullmatch(r"\$\{\w+:\?.+\}", value) for value in required.values())
    assert all(value == f"${{{key}:-}}" for key, value in secrets.items() if key in OPTIONAL_SECRETS)


def test_example_environment_names_every_required_variable() -> None:
    """The file .env.example has every variable that the compose file refuses to start without."""
    required = set(re.findall(r"\$\{(\w+):\?", TEXT))
    offered = set(re.findall(r"^(\w+)=$", (REPOSITORY / ".env.example").read_text(), re.MULTILINE))
    assert required <= offered


@pytest.mark.parametrize(("name", "settings"), [("api", ApiSettings), ("worker", WorkerSettings)])
def test_environment_is_known_to_the_settings(name: str, settings: type[ApiSettings | WorkerSettings]) -> None:
    """A variable that the process would silently ignore is a mistake in the compose file."""
    known = {variable_of(name) for name in settings.model_fields}
    given = {key for key in SERVICES[name]["environment"] if not key.startswith("TEMPORAL_")}
    assert given <= known
