"""What can be checked of the images and the compose file without a container engine."""

from __future__ import annotations

import json
import re
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer
import yaml

from issuebox.cli.app import app as issuebox_app
from issuebox.dev.temporal_server import FAIRNESS
from issuebox.environment import is_secret, variable_of
from issuebox.settings import ApiSettings, CommonSettings, ExporterSettings, WorkerSettings
from issuebox.temporal.search_attributes import needed
from localdaytona.cli import app as localdaytona_app

REPOSITORY = Path(__file__).parents[2]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text()
TEXT = (REPOSITORY / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ONE_SHOT = {"temporal-schema", "temporal-namespace"}
BY_HAND = {"restore"}
MODELS: dict[str, type[CommonSettings]] = {
    "api": ApiSettings,
    "worker": WorkerSettings,
    "exporter": ExporterSettings,
}
SECRETS = "/run/secrets/"
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
    assert re.search(r":v?\d+\.\d+(\.\d+)?(-[a-z]+)?$", image)
    assert "auto-setup" not in image


def test_base_images_are_pinned_to_a_version() -> None:
    """Every stage of our images starts from a version, or from an earlier stage."""
    stages: set[str] = set()
    for source, stage in re.findall(r"^FROM (\S+) AS (\S+)", DOCKERFILE, re.MULTILINE):
        assert source in stages or re.search(r":\d+\.\d+", source)
        stages.add(stage)
    assert len(stages) == DOCKERFILE.count("\nFROM ")


def test_our_images_have_the_version_of_the_project() -> None:
    """Whoever rolls back gets the image that the compose file was written for."""
    assert {service["image"].partition(":")[2] for service in OURS.values()} == {PROJECT["project"]["version"]}


def instructions(stage: str) -> list[str]:
    """The instructions of a stage of the Dockerfile."""
    [text] = re.findall(rf"^FROM \S+ AS {stage}$(.*?)(?=^FROM |\Z)", DOCKERFILE, re.MULTILINE | re.DOTALL)
    return text.splitlines()


def test_image_for_production_has_what_production_needs() -> None:
    """It has neither localdaytona nor proofs, benchmarks and tests. It is what `docker build` makes by default."""
    packages = set(PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    copied = {line.split()[1] for line in instructions("build") if line.startswith("COPY ")}
    assert copied == (packages - {"localdaytona"}) | {"pyproject.toml"}
    assert "COPY --from=build /opt/issuebox /opt/issuebox" in instructions("issuebox")
    assert re.findall(r"^FROM \S+ AS (\S+)", DOCKERFILE, re.MULTILINE)[-1] == "issuebox"
    assert {name: service["build"]["target"] for name, service in OURS.items()} == {
        "api": "issuebox",
        "worker": "issuebox",
        "exporter": "issuebox",
        "localdaytona": "localdaytona",
    }


def test_image_and_bootstrap_use_one_uv() -> None:
    """The lock file is read by the same version of uv in the image as on a fresh machine."""
    in_image = re.search(r"astral-sh/uv:(\S+)", DOCKERFILE)
    in_script = re.search(r"^uv_version=(\S+)", (REPOSITORY / "scripts" / "uv").read_text(), re.MULTILINE)
    assert in_image
    assert in_script
    assert in_image[1] == in_script[1]


@pytest.mark.parametrize("stage", ["issuebox", "localdaytona"])
def test_image_does_not_run_as_root(stage: str) -> None:
    """The last USER instruction is a number other than 0."""
    users = [line for line in instructions(stage) if line.startswith("USER ")]
    assert re.fullmatch(r"USER [1-9]\d*:[1-9]\d*", users[-1])


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
    """A server has a health check; a one-shot job is what others wait for, or what a person runs."""
    if name in BY_HAND:
        assert SERVICES[name]["profiles"] == [name]
    elif name in ONE_SHOT:
        waited_for = [service.get("depends_on", {}).get(name) for service in SERVICES.values()]
        assert {"condition": "service_completed_successfully"} in waited_for
    else:
        assert "healthcheck" in SERVICES[name]


@pytest.mark.parametrize("name", MODELS)
def test_prometheus_reads_each_of_our_processes(name: str) -> None:
    """At its admin address, by the name of its service, over one network: over two it would find each process twice.

    Nobody outside can.
    """
    config = yaml.safe_load((REPOSITORY / COMPOSE["configs"]["prometheus"]["file"]).read_text())
    jobs = {job["job_name"]: job["dns_sd_configs"][0] for job in config["scrape_configs"]}
    port = SERVICES[name]["environment"]["ISSUEBOX_ADMIN_ADDRESS"].rpartition(":")[2]
    assert (jobs[f"issuebox-{name}"]["names"], jobs[f"issuebox-{name}"]["port"]) == ([name], int(port))
    assert len(jobs) == len(MODELS)
    assert {*SERVICES[name]["networks"]} & {*SERVICES["prometheus"]["networks"]} == {"metrics"}
    assert COMPOSE["networks"]["metrics"] == {"internal": True}
    assert not any(published.endswith(f":{port}") for published in SERVICES[name].get("ports", []))


def test_prometheus_and_grafana_find_their_files() -> None:
    """The alerts beside the configuration that names them; the dashboard where Grafana looks, and with its source."""
    mounted = {name: {entry["source"]: entry["target"] for entry in SERVICES[name]["configs"]}
               for name in ("prometheus", "grafana")}  # fmt: skip
    config = yaml.safe_load((REPOSITORY / COMPOSE["configs"]["prometheus"]["file"]).read_text())
    at = Path(mounted["prometheus"]["prometheus"])
    assert f"--config.file={at}" in SERVICES["prometheus"]["command"]
    assert [str(at.parent / name) for name in config["rule_files"]] == [mounted["prometheus"]["alerts"]]
    provider = yaml.safe_load((REPOSITORY / COMPOSE["configs"]["grafana_dashboards"]["file"]).read_text())
    assert provider["providers"][0]["options"]["path"] == str(Path(mounted["grafana"]["dashboard"]).parent)
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == mounted["grafana"]["dashboard"]
    source = yaml.safe_load((REPOSITORY / COMPOSE["configs"]["grafana_datasource"]["file"]).read_text())
    assert source["datasources"][0]["url"] == "http://prometheus:9090"


@pytest.mark.parametrize("name", ["exporter", "prometheus", "grafana"])
def test_metrics_are_an_addition(name: str) -> None:
    """Who does not ask for them runs none of it."""
    assert SERVICES[name]["profiles"] == ["metrics"]


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
    [period_s] = re.findall(r":-(\d+)s\}", SERVICES["worker"]["stop_grace_period"])
    assert float(period_s) >= float(WorkerSettings.model_fields["grace_s"].default) + 10


def test_health_check_of_the_worker_asks_where_it_answers() -> None:
    """Also there where Prometheus asks."""
    assert SERVICES["worker"]["environment"]["ISSUEBOX_ADMIN_ADDRESS"].startswith("0.0.0.0:")
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


@pytest.mark.parametrize("name", MODELS)
def test_every_setting_reaches_the_process_that_reads_it(name: str) -> None:
    """All settings of the process, its secrets as files, and none that it would ignore."""
    expected = {
        variable_of(setting) + ("_FILE" if is_secret(info) else "")
        for setting, info in MODELS[name].model_fields.items()
    }
    given = {key for key in SERVICES[name]["environment"] if not key.startswith("TEMPORAL_")}
    assert given == expected


def test_no_default_is_said_twice() -> None:
    """A setting passes from the file .env; only what the containers make necessary has a value of its own."""
    values = {
        variable: value
        for name in MODELS
        for variable, value in SERVICES[name]["environment"].items()
        if value is not None and not variable.endswith("_FILE")
    }
    needed_here = {"TEMPORAL_ADDRESS", "TEMPORAL_NAMESPACE", "ISSUEBOX_TEMPORAL_UI_URL", "ISSUEBOX_ADMIN_ADDRESS"}
    assert set(values) == needed_here


@pytest.mark.parametrize("name", sorted(SERVICES.keys() - MODELS.keys()))
def test_no_setting_reaches_what_needs_none(name: str) -> None:
    """Neither Temporal nor the database learns of our settings, and no other process of our secrets."""
    given = SERVICES[name].get("environment", {})
    assert not [key for key in given if key.startswith(("ISSUEBOX_", "DAYTONA_"))]


@each_service
def test_secret_is_a_file_for_the_one_that_reads_it(name: str) -> None:
    """A service has the secrets that it names, no others, and none of them in its environment."""
    service = SERVICES[name]
    assert set(re.findall(rf"{SECRETS}(\w+)", json.dumps(service))) == set(service.get("secrets", []))
    for key, value in service.get("environment", {}).items():
        if re.search("PASSWORD|PWD|TOKEN|SECRET|PRIVATE_KEY|API_KEY", key):
            assert key.endswith("_FILE")
            assert value.startswith(SECRETS)


def test_file_of_a_secret_has_the_name_of_its_setting() -> None:
    """So that nobody has to look up which is which."""
    for name in MODELS:
        for key, value in SERVICES[name]["environment"].items():
            if key.endswith("_FILE"):
                assert value == SECRETS + key.removesuffix("_FILE").lower()
    assert {name: entry["file"] for name, entry in COMPOSE["secrets"].items()} == {
        name: f"./deploy/secrets/{name}" for name in COMPOSE["secrets"]
    }


def test_server_has_the_fairness_that_the_dev_server_has() -> None:
    entries = yaml.safe_load((REPOSITORY / COMPOSE["configs"]["dynamicconfig"]["file"]).read_text())
    assert {name: entries[name] for name in FAIRNESS} == {name: [{"value": value}] for name, value in FAIRNESS.items()}


def test_every_file_that_is_mounted_exists() -> None:
    """The engine would refuse to start, or make a directory of that name."""
    assert {name for service in SERVICES.values() for name in configs(service)} == set(COMPOSE["configs"])
    assert all((REPOSITORY / entry["file"]).is_file() for entry in COMPOSE["configs"].values())


def configs(service: dict[str, Any]) -> set[str]:
    return {entry["source"] for entry in service.get("configs", [])}


@each_service
def test_memory_is_limited(name: str) -> None:
    """One part that grows without bound does not take the others with it."""
    assert re.fullmatch(r"(\$\{\w+_MEMORY:-)?\d+[mg]\}?", SERVICES[name]["mem_limit"])


TEMPORAL_SERVICES = 4
"""Frontend, history, matching and worker, which each have a pool of their own for each database."""
SPARE_CONNECTIONS = 10
"""For the three that PostgreSQL keeps for superusers, the health check, the schema job and people."""


def test_temporal_cannot_use_up_the_connections_of_the_database() -> None:
    """At the server's defaults it could: four times 20 + 10 are more than 100."""
    temporal = SERVICES["temporal"]["environment"]
    pools = [int(temporal[key]) for key in ("SQL_MAX_CONNS", "SQL_VIS_MAX_CONNS")]
    [limit] = re.findall(r"max_connections=(\d+)", " ".join(SERVICES["postgresql"]["command"]))
    assert TEMPORAL_SERVICES * sum(pools) + SPARE_CONNECTIONS <= int(limit)
    assert pools == [int(temporal[key]) for key in ("SQL_MAX_IDLE_CONNS", "SQL_VIS_MAX_IDLE_CONNS")]


def test_dynamic_configuration_has_the_form_that_temporal_reads() -> None:
    """Each key has a list of values; a number without one would be ignored."""
    entries = yaml.safe_load((REPOSITORY / COMPOSE["configs"]["dynamicconfig"]["file"]).read_text())
    assert entries
    for values in entries.values():
        assert all({"value"} <= set(value) <= {"value", "constraints"} for value in values)
    mounted = [entry["target"] for entry in SERVICES["temporal"]["configs"]]
    assert SERVICES["temporal"]["environment"]["DYNAMIC_CONFIG_FILE_PATH"] in mounted


def test_example_environment_offers_variables_that_the_compose_file_reads() -> None:
    """What .env.example names is a variable of the compose file, and none of them is a secret."""
    text = (REPOSITORY / ".env.example").read_text()
    offered = set(re.findall(r"^#?([A-Z_]+)=", text, re.MULTILINE))
    passed_on = {key for name in MODELS for key, value in SERVICES[name]["environment"].items() if value is None}
    assert offered <= passed_on | set(re.findall(r"\$\{(\w+):-", TEXT))
    assert not set(re.findall(r"\$\{(\w+):\?", TEXT))


def test_secrets_of_an_installation_are_kept_out_of_git_and_images() -> None:
    """The directory is ignored by git, and the images are built from a list that does not have it."""
    assert "/deploy/secrets/" in (REPOSITORY / ".gitignore").read_text().splitlines()
    assert (REPOSITORY / ".dockerignore").read_text().splitlines()[1] == "*"
    assert not re.search("^!deploy", (REPOSITORY / ".dockerignore").read_text(), re.MULTILINE)
