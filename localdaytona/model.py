"""The sandbox: its row, its states, and the JSON that Daytona shows of it. No I/O.

`state` in a row is the raw state. What a reply shows is derived from it and the desired state.
"""

import math
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime

from localdaytona.types import JSON

ORGANIZATION_ID = "0f1e2d3c-4b5a-4968-8776-655443322110"
RUNNER_ID = "7d3f0c52-6a1b-4e0e-9a53-1c2b3a4d5e6f"

STATES = frozenset(
    {
        "unknown", "creating", "restoring", "destroyed", "destroying", "started", "stopped", "starting",
        "stopping", "error", "build_failed", "pending_build", "building_snapshot", "pulling_snapshot",
        "archived", "archiving", "resizing", "snapshotting", "forking", "pausing", "paused", "resuming",
    }
)  # fmt: skip
ERRORED = frozenset({"error", "build_failed"})
# The states that end a wait for `started`.
SETTLED_START = frozenset({"started", "error", "build_failed", "destroyed"})
# These consume CPU; stopped sandboxes and those being deleted do not.
CONSUMES_CPU = frozenset(
    {
        "unknown", "creating", "restoring", "started", "starting", "stopping", "pending_build",
        "building_snapshot", "pulling_snapshot", "resizing", "snapshotting", "forking", "resuming", "pausing",
    }
)  # fmt: skip

# (raw state, desired state) -> what a reply shows. Archived, paused, errored and archiving
# sandboxes that are being deleted are not here: they keep showing their raw state.
DERIVED: dict[tuple[str, str], str] = {
    ("started", "stopped"): "stopping",
    ("started", "destroyed"): "destroying",
    ("stopped", "started"): "starting",
    ("stopped", "destroyed"): "destroying",
    ("stopped", "archived"): "archiving",
    ("unknown", "started"): "creating",
}
DERIVED_IN_LIST = {**DERIVED, ("archived", "started"): "restoring"}

AUTO_ARCHIVE_MAX_MIN = 43_200


@dataclass(frozen=True, slots=True)
class Spec:
    """What the create specified and never changes."""

    snapshot: str | None = None
    user: str = "daytona"
    env: dict[str, JSON] = field(default_factory=dict)
    public: bool = False
    network_block_all: bool = False
    network_allow_list: str | None = None
    domain_allow_list: str | None = None
    target: str = "us"
    cpu: int = 1
    gpu: int = 0
    memory: int = 1
    disk: int = 3
    sandbox_class: str = "container"
    volumes: list[JSON] = field(default_factory=list)
    build_info: dict[str, JSON] | None = None


@dataclass(frozen=True, slots=True)
class Intervals:
    """Timers in minutes, as given; None: the class has no such timer."""

    auto_stop: int | float = 15
    auto_pause: int | float | None = None
    auto_archive: int | float = 10_080
    auto_delete: int | float = -1


@dataclass(frozen=True, slots=True)
class Flight:
    """A transition in flight: its progress, and the injected effect on it."""

    transition: str
    step: int
    due_at: float | None  # None: stuck until released
    operation: str
    request_id: str | None
    slow_s: float | None = None
    stuck: bool = False
    fail_state: str | None = None
    fail_reason: str | None = None
    fail_recoverable: bool = False


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A row. Times are epoch seconds, UTC."""

    id: str
    name: str
    state: str
    desired: str
    spec: Spec
    labels: dict[str, JSON]
    intervals: Intervals
    created_at: float
    updated_at: float
    last_activity_at: float
    state_since: float
    flight: Flight | None = None
    error_reason: str | None = None
    recoverable: bool = False
    backup_state: str = "None"
    backup_at: float | None = None
    destroy_at: float | None = None
    ever_started: bool = False
    organization_id: str = ORGANIZATION_ID

    @property
    def ephemeral(self) -> bool:
        """Whether stopping it deletes it."""
        return self.intervals.auto_delete == 0

    @property
    def hidden(self) -> bool:
        """Whether it answers 404: destroyed, or errored and deleted."""
        return self.state == "destroyed" or (self.state in ERRORED and self.desired == "destroyed")


def new_id() -> str:
    """Return a fresh sandbox ID."""
    return str(uuid.uuid4())


def now_s() -> float:
    """Return the time in epoch seconds, UTC. Wall clock, because due times outlive the process."""
    return time.time()


def dying_name(name: str, at: float) -> str:
    """Return the new name of a sandbox whose deletion is accepted."""
    return f"DESTROYED_{name}_{math.floor(at * 1000)}"


def iso(at: float | None) -> str | None:
    """Return epoch seconds as Daytona writes times."""
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def list_item(sandbox: Sandbox, toolbox_url: str) -> dict[str, JSON]:
    """Return an item of the list: without env, kvm, volumes and build info."""
    spec, intervals = sandbox.spec, sandbox.intervals
    shown = DERIVED_IN_LIST.get((sandbox.state, sandbox.desired), sandbox.state)
    item: dict[str, JSON] = {
        "id": sandbox.id,
        "organizationId": sandbox.organization_id,
        "name": sandbox.name,
        "target": spec.target,
        "runnerId": RUNNER_ID,
        "sandboxClass": spec.sandbox_class,
        "state": shown,
        "desiredState": sandbox.desired,
        "snapshot": spec.snapshot,
        "user": spec.user,
        "errorReason": sandbox.error_reason,
        "recoverable": sandbox.recoverable,
        "public": spec.public,
        "networkBlockAll": spec.network_block_all,
        "cpu": spec.cpu,
        "gpu": spec.gpu,
        "memory": spec.memory,
        "disk": spec.disk,
        "labels": dict(sandbox.labels),
        "backupState": sandbox.backup_state,
        "autoStopInterval": intervals.auto_stop,
        "autoPauseInterval": intervals.auto_pause,
        "autoArchiveInterval": intervals.auto_archive,
        "autoDeleteInterval": intervals.auto_delete,
        "autoDestroyAt": iso(sandbox.destroy_at),
        "createdAt": iso(sandbox.created_at),
        "updatedAt": iso(sandbox.updated_at),
        "lastActivityAt": iso(sandbox.last_activity_at),
        "toolboxProxyUrl": toolbox_url,
    }
    return {key: value for key, value in item.items() if value is not None}


def full(sandbox: Sandbox, toolbox_url: str) -> dict[str, JSON]:
    """Return the whole sandbox as GET, the lifecycle calls and the events show it."""
    spec = sandbox.spec
    body = list_item(sandbox, toolbox_url)
    body["state"] = DERIVED.get((sandbox.state, sandbox.desired), sandbox.state)
    body["env"] = dict(spec.env)
    body["kvm"] = False
    body["volumes"] = list(spec.volumes)
    body["networkAllowList"] = spec.network_allow_list
    body["domainAllowList"] = spec.domain_allow_list
    body["errorReason"] = sandbox.error_reason
    body["backupCreatedAt"] = iso(sandbox.backup_at)
    if spec.build_info is not None:
        body["buildInfo"] = dict(spec.build_info)
    return body


def as_built(sandbox: Sandbox, toolbox_url: str) -> dict[str, JSON]:
    """Return the reply to a create, in which nullable fields are absent, not null."""
    return {key: value for key, value in full(sandbox, toolbox_url).items() if value is not None}
