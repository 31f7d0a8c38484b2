"""What `issuebox dev` runs: the command, the environment and the readiness check of each part.

This module only describes; `issuebox.dev.supervisor` runs. Each part gets only the environment that it needs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.envconfig import ClientConfig
from temporalio.service import RPCError

from issuebox.dev.dev_stack import LOOPBACK, DevSecrets
from issuebox.dev.supervisor import Service
from issuebox.dev.temporal_server import DevServer
from issuebox.environment import load, secrets_of
from issuebox.settings import ApiSettings, CommonSettings, WorkerSettings

NAMESPACE: Final = "default"
PROBE_TIMEOUT_S: Final = 2.0
# -P: an `api` directory in the working directory must not become our `api` package.
PYTHON: Final = (sys.executable, "-P")
SECRETS: Final = secrets_of(ApiSettings, WorkerSettings)

EVERYONE: Final = frozenset(
    {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TERM", "LD_LIBRARY_PATH"}
)
EVERYONE_PREFIXES: Final = ("LC_", "XDG_", "PYTHON", "SSL_CERT_")
"""Variables that any program may need. All else that the user has set, such as keys for other services, stays out."""

OURS_PREFIXES: Final = ("ISSUEBOX_", "TEMPORAL_")
WORKER_PREFIXES: Final = ("DAYTONA_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
"""The worker alone calls Daytona and GitHub, perhaps through a proxy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Where the parts listen, all on loopback; None for a part that `issuebox dev` does not run."""

    api: int
    temporal: int | None
    ui: int | None
    daytona: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the descriptions of all parts are made from."""

    data_dir: Path
    ports: Ports
    secrets: DevSecrets
    daytona_speed: float
    inherited: Mapping[str, str]

    @property
    def api_url(self) -> str:
        """Our REST API and webhook receiver, without a trailing slash."""
        return f"http://{LOOPBACK}:{self.ports.api}"

    @property
    def daytona_page_url(self) -> str | None:
        """localdaytona's page; None when the real Daytona is used."""
        return f"http://{LOOPBACK}:{self.ports.daytona}" if self.ports.daytona else None

    @property
    def configured(self) -> ApiSettings:
        """What the caller has set for the API."""
        return load(ApiSettings, self.inherited)

    @property
    def webhook_secret(self) -> str:
        """What signs webhooks: the first configured secret, or else the one that was made for this data directory."""
        configured = self.configured.webhook_secrets
        return configured[0].get_secret_value() if configured else self.secrets.webhook_secret

    @property
    def api_token(self) -> str:
        """What callers of the REST API present: the first configured token, or else the one made here."""
        configured = self.configured.api_tokens
        return configured[0].get_secret_value() if configured else self.secrets.api_token

    def environment(self) -> dict[str, str]:
        """What our own processes share: how to reach Temporal, and how to log."""
        own = {
            "PYTHONUNBUFFERED": "1",
            "ISSUEBOX_LOG_FORMAT": self.inherited.get("ISSUEBOX_LOG_FORMAT", "console"),
            "ISSUEBOX_RUN_LOG_DIR": self.inherited.get("ISSUEBOX_RUN_LOG_DIR", str(self.data_dir / "runs")),
        }
        if self.ports.temporal is None:
            return {**self.inherited, **own}
        # A profile in the user's Temporal configuration may carry TLS and keys for another cluster.
        clean = {key: value for key, value in self.inherited.items() if not key.startswith("TEMPORAL_")}
        address = {
            "TEMPORAL_ADDRESS": f"{LOOPBACK}:{self.ports.temporal}",
            "TEMPORAL_NAMESPACE": NAMESPACE,
            "TEMPORAL_CONFIG_FILE": os.devnull,
        }
        return {**clean, **own, **address}


def temporal_service(server: DevServer, around: Surroundings) -> Service:
    """The dev server, ready when its namespace answers."""

    async def is_ready() -> bool:
        return await has_namespace(around.environment())

    return Service(name="temporal", command=server.command(), environment=_needed(around.inherited), is_ready=is_ready)


def daytona_service(around: Surroundings, port: int) -> Service:
    """localdaytona, which keeps its sandboxes in the same data directory."""
    command = [
        *(*PYTHON, "-m", "localdaytona"),
        *("--host", LOOPBACK, "--port", str(port)),
        *("--data", str(around.data_dir / "localdaytona")),
        *("--speed", str(around.daytona_speed)),
    ]

    async def is_ready() -> bool:
        return await answers(f"http://{LOOPBACK}:{port}/_local/healthz")

    environment = _needed(around.inherited) | {"LOCALDAYTONA_API_KEY": around.secrets.daytona_api_key}
    return Service(name="localdaytona", command=command, environment=environment, is_ready=is_ready)


def worker_service(around: Surroundings) -> Service:
    """One worker, ready when it polls its task queue."""
    ready_file = around.data_dir / "worker.ready"
    environment = _needed(around.environment(), (WorkerSettings,), *OURS_PREFIXES, *WORKER_PREFIXES)
    for name in load(WorkerSettings, around.inherited).run_env:
        given = {key: around.inherited[key] for key in (name, f"{name}_FILE") if key in around.inherited}
        environment |= given
    if around.ports.daytona:
        environment = {key: value for key, value in environment.items() if not key.startswith("DAYTONA_")}
        environment |= {
            "DAYTONA_API_KEY": around.secrets.daytona_api_key,
            "DAYTONA_API_URL": f"{around.daytona_page_url}/api",
        }

    async def is_ready() -> bool:
        return ready_file.exists()

    return Service(
        name="worker",
        command=[*PYTHON, "-m", "issuebox", "worker", "--ready-file", str(ready_file)],
        environment=environment,
        is_ready=is_ready,
        before_start=lambda: ready_file.unlink(missing_ok=True),
    )


def api_service(around: Surroundings) -> Service:
    """The FastAPI shim. It never calls Daytona, so it gets no API key."""
    environment = _needed(around.environment(), (ApiSettings,), *OURS_PREFIXES, "DAYTONA_API_URL")
    environment.pop("ISSUEBOX_ADMIN_ADDRESS", None)  # The worker has it, and each process needs its own.
    if around.daytona_page_url:
        environment["DAYTONA_API_URL"] = f"{around.daytona_page_url}/api"
    own = around.configured
    if not own.webhook_secrets:
        environment["ISSUEBOX_WEBHOOK_SECRETS"] = around.webhook_secret
    if not own.api_tokens:
        environment["ISSUEBOX_API_TOKENS"] = around.api_token
    if around.ports.ui:
        environment.setdefault("ISSUEBOX_TEMPORAL_UI_URL", f"http://{LOOPBACK}:{around.ports.ui}")

    async def is_ready() -> bool:
        return await answers(f"{around.api_url}/readyz")

    return Service(
        name="api",
        command=[*PYTHON, "-m", "issuebox", "api", "--host", LOOPBACK, "--port", str(around.ports.api)],
        environment=environment,
        is_ready=is_ready,
    )


async def answers(url: str) -> bool:
    """Whether a GET is answered with success."""
    try:
        async with httpx.AsyncClient(timeout=PROBE_TIMEOUT_S, trust_env=False) as client:
            return (await client.get(url)).is_success
    except httpx.HTTPError:
        return False


async def has_namespace(environment: Mapping[str, str]) -> bool:
    """Whether the Temporal cluster of this environment can be reached and serves its namespace."""
    config = ClientConfig.load_client_connect_config(override_env_vars=dict(environment))
    namespace = config.get("namespace", NAMESPACE)
    try:
        client = await Client.connect(**config)
        await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=namespace))
    except (RPCError, RuntimeError):  # The SDK's core reports a refused connection as RuntimeError.
        return False
    return True


def _needed(
    environment: Mapping[str, str], models: Sequence[type[CommonSettings]] = (), *prefixes: str
) -> dict[str, str]:
    """What every program may need and what begins so, without the secrets that only other parts need."""
    foreign = SECRETS - secrets_of(*models)
    return {
        key: value
        for key, value in environment.items()
        if (key in EVERYONE or key.startswith((*EVERYONE_PREFIXES, *prefixes))) and key not in foreign
    }
