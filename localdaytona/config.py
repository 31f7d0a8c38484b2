"""Every knob of the server: unit, default, why. Values only; their effects live where they are used.

All durations are Daytona's, in seconds or minutes, and are divided by `speed` when they are used.
The defaults of transitions are close to the live service as observed in July 2026.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

SandboxClass = Literal["container", "linux-vm", "windows"]
Seconds = Annotated[float, Field(ge=0, le=86_400)]
Share = Annotated[float, Field(ge=0, le=1)]
Limit = Annotated[int, Field(ge=0)]


class Snapshot(BaseModel):
    """A snapshot that sandboxes can be created from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    glob: str = Field(description="Name, or a glob over names.")
    sandbox_class: SandboxClass = "container"
    cpu: int = Field(default=1, ge=1)
    memory: int = Field(default=1, ge=1, description="GiB")
    disk: int = Field(default=3, ge=1, description="GiB")
    state: str = Field(default="active", description="Any other state makes creates fail with 400.")


PERMISSIONS = ("write:sandboxes", "delete:sandboxes")

SNAPSHOTS = (
    Snapshot(glob="daytonaio/*"),
    Snapshot(glob="daytona-small"),
    Snapshot(glob="daytona-medium", cpu=2, memory=4, disk=8),
    Snapshot(glob="daytona-large", cpu=4, memory=8, disk=10),
    Snapshot(glob="local-*"),
    Snapshot(glob="linux-vm*", sandbox_class="linux-vm"),
    Snapshot(glob="windows*", sandbox_class="windows"),
)


class Durations(BaseModel):
    """How long a sandbox stays in each transitional state."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pickup_s: Seconds = Field(default=0.02, description="From an accepted call until a runner takes it.")
    create_s: Seconds = Field(default=1.0, description="creating")
    pending_build_s: Seconds = Field(default=0.04, description="pending_build, before an image is built.")
    build_s: Seconds = Field(default=3.0, description="building_snapshot")
    start_s: Seconds = Field(default=0.7, description="starting")
    stop_s: Seconds = Field(default=0.4, description="stopping")
    archive_s: Seconds = Field(default=2.0, description="archiving")
    restore_wait_s: Seconds = Field(default=0.2, description="archived with desired started.")
    restore_s: Seconds = Field(default=3.0, description="restoring; minutes for a large one in production.")
    recover_s: Seconds = Field(default=1.0, description="error, while it is being repaired in place.")
    pause_s: Seconds = Field(default=0.5, description="pausing")
    resume_s: Seconds = Field(default=0.5, description="resuming")
    destroy_s: Seconds = Field(default=1.4, description="destroying: the old one still runs, its name is free.")
    discard_s: Seconds = Field(default=0.1, description="archived with desired destroyed.")


class Timeouts(BaseModel):
    """How long a sandbox may stay in a transitional state before it is turned into an error; 0: for ever."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    create_s: Seconds = Field(default=900.0, description="creating")
    build_s: Seconds = Field(default=3600.0, description="building_snapshot")
    start_s: Seconds = Field(default=300.0, description="starting")
    restore_s: Seconds = Field(default=1800.0, description="restoring")
    stop_s: Seconds = Field(default=600.0, description="stopping")
    destroy_s: Seconds = Field(default=600.0, description="destroying; the sandbox is then hidden, and not cleaned up.")


class RateLimits(BaseModel):
    """Calls per window by bucket; null: unlimited and without headers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    window_s: Seconds = 60.0
    authenticated: Limit | None = Field(default=None, description="get, list, labels, intervals, activity.")
    sandbox_create: Limit | None = Field(default=None, description="create")
    sandbox_lifecycle: Limit | None = Field(
        default=None, description="start, stop, archive, delete, recover, pause; refused calls count."
    )
    failed_auth: Limit | None = Field(
        default=None, description="Wrong keys; above it, every request is 429 until the window ends."
    )


class Config(BaseModel):
    """All knobs, as `GET /_local/config` shows and `PATCH /_local/config` changes them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    speed: float = Field(default=1.0, gt=0, le=10_000, description="Divides every duration below.")
    durations: Durations = Durations()
    timeouts: Timeouts = Timeouts()
    backup_every_s: Seconds = Field(
        default=10.0,
        description="One backup is made in this time. Every stop queues one, and an archive waits for its own; "
        "0: no queue.",
    )
    hold_s: Seconds = Field(default=30.0, description="How long create, start and recover hold the request.")
    insert_delay_s: Seconds = Field(
        default=0.02, description="Between the quota check and the INSERT; racing creates both reserve quota."
    )
    stop_grace_s: Seconds = Field(
        default=0.3,
        description="Between SIGTERM and SIGKILL to a sandbox's processes at a stop; 0: it follows at once. Real "
        "seconds, not divided by `speed`: processes do not run faster.",
    )
    exit_code_waits_for_output: bool = Field(
        default=False,
        description="True: as in newer daemons, a command of a session ends only when no process holds its output.",
    )
    tick_s: Seconds = Field(default=10.0, description="How often timers are checked.")
    activity_throttle_s: Seconds = Field(default=5.0, description="At most one activity write per interval.")

    target: str = Field(default="us", description="The default region.")
    regions: tuple[str, ...] = Field(default=("us", "eu"), description="Any other target is a 404.")
    snapshots: tuple[Snapshot, ...] = Field(default=SNAPSHOTS, description="The first that matches counts.")
    default_snapshot: str = "daytona-small"

    permissions: tuple[str, ...] = Field(
        default=PERMISSIONS, description="Of the one key. Without them, creates and other changes answer 403."
    )
    cpu_max: int | None = Field(default=None, ge=0, description="CPUs of the organisation; null: unlimited.")
    suspended: str | None = Field(
        default=None, description="Why the organisation is suspended; create, start and recover then answer 403."
    )
    runner_available: bool = Field(
        default=True, description="False: creates answer 400, accepted calls change nothing until it is true again."
    )
    maintenance: bool = Field(default=False, description="Every call answers 503.")
    outage: bool = Field(
        default=False,
        description="Database down. IDs read in the last seconds: 200 with what was read, and 500 to changes; 404 to "
        "other IDs and to names; 500 to list and create; then 503.",
    )
    outage_404_s: Seconds = Field(default=10.0, description="How long an outage answers 404 before 503.")
    read_cache_s: Seconds = Field(default=10.0, description="How long a read by ID is remembered for an outage.")
    scip_status: Literal[400, 409] = Field(
        default=409, description="Status of `Sandbox state change in progress`; servers before 2026-04: 400."
    )
    rate_limits: RateLimits = RateLimits()

    name_cache_s: Seconds = Field(
        default=10.0,
        description="How long a re-created name answers 404 by name, if its earlier sandbox was read by name and the "
        "name was looked up so shortly before the create; 0: never.",
    )
    name_cache_memory_s: Seconds = Field(default=60.0, description="How long a read by name is remembered.")
    stale_read_s: Seconds = Field(default=0.0, description="Age of a stale read by ID or name.")
    stale_read_probability: Share = Field(default=0.0, description="Share of reads that are stale.")
    list_lag_s: Seconds = Field(default=0.0, description="How old the state in the list is; live 1-3.")
    list_flap_probability: Share = Field(
        default=0.0, description="Chance that a row changed in the last 10 s is missing from a page."
    )

    ssh_gateway: str = Field(
        default="",
        pattern=r"([A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]{1,5})?)?",
        description="Host, or host:port, that accesses by SSH name; empty: none, and asking for one answers 500.",
    )
    events: bool = Field(default=True, description="False: the event stream answers 404.")
    events_drop_after_s: float | None = Field(
        default=None, gt=0, description="Drop each event connection after this time; null: never."
    )

    def scaled(self, seconds: float) -> float:
        """Return a Daytona duration in real seconds."""
        return seconds / self.speed
