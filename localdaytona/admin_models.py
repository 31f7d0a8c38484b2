"""What `/_local/` takes and returns. Data only."""

import base64

from pydantic import Base64Bytes, BaseModel, ConfigDict, Field

from localdaytona.model import Sandbox, iso
from localdaytona.toolbox_host import InsideProcess
from localdaytona.types import JSON

# A year: longer than every timer, and still a time that can be represented.
IDLE_MAX_S = 365 * 86_400


class SandboxView(BaseModel):
    """A row with its raw values, hidden or not."""

    id: str
    name: str
    state: str = Field(description="The raw state.")
    desired_state: str
    hidden: bool = Field(description="Calls answer 404: destroyed, or deleted in an error state.")
    labels: dict[str, JSON]
    snapshot: str | None
    sandbox_class: str
    error_reason: str | None
    recoverable: bool
    ever_started: bool
    ephemeral: bool
    transition: str | None = Field(description="The transition in flight.")
    stuck: bool
    due_at: str | None
    created_at: str | None
    updated_at: str | None
    last_activity_at: str | None
    state_since: str | None
    auto_stop_interval: float
    auto_archive_interval: float
    auto_delete_interval: float
    auto_destroy_at: str | None

    @classmethod
    def of(cls, sandbox: Sandbox) -> "SandboxView":
        """Return the view of a row."""
        flight = sandbox.flight
        return cls(
            id=sandbox.id,
            name=sandbox.name,
            state=sandbox.state,
            desired_state=sandbox.desired,
            hidden=sandbox.hidden,
            labels=sandbox.labels,
            snapshot=sandbox.spec.snapshot,
            sandbox_class=sandbox.spec.sandbox_class,
            error_reason=sandbox.error_reason,
            recoverable=sandbox.recoverable,
            ever_started=sandbox.ever_started,
            ephemeral=sandbox.ephemeral,
            transition=None if flight is None else flight.transition,
            stuck=flight is not None and flight.stuck and flight.due_at is None,
            due_at=None if flight is None else iso(flight.due_at),
            created_at=iso(sandbox.created_at),
            updated_at=iso(sandbox.updated_at),
            last_activity_at=iso(sandbox.last_activity_at),
            state_since=iso(sandbox.state_since),
            auto_stop_interval=sandbox.intervals.auto_stop,
            auto_archive_interval=sandbox.intervals.auto_archive,
            auto_delete_interval=sandbox.intervals.auto_delete,
            auto_destroy_at=iso(sandbox.destroy_at),
        )


class SandboxesPage(BaseModel):
    """Rows, newest first, and the `after` for the next page."""

    sandboxes: list[SandboxView]
    next: str | None


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NewSandbox(_Asked):
    """A sandbox to create by hand."""

    name: str | None = None
    labels: dict[str, str] = {}
    env: dict[str, str] = {}
    snapshot: str | None = None


class ActDetail(_Asked):
    """The arguments of a manual action; an action ignores those that it does not need."""

    recoverable: bool = Field(default=False, description="break: whether `recover` would help.")
    reason: str = Field(default="Broken by hand", max_length=1_000_000, description="break, build-failed.")
    state: str | None = Field(default=None, min_length=1, max_length=64, description="set-state: any word.")
    desired_state: str | None = Field(default=None, min_length=1, max_length=64, description="set-state.")
    seconds: float = Field(
        default=0.0, ge=0, le=IDLE_MAX_S, description="idle: since the last activity; real, not divided by `speed`."
    )


class FileView(BaseModel):
    """A file of a sandbox."""

    path: str
    content: Base64Bytes | None = Field(description="Null: there is no such file.")

    @classmethod
    def of(cls, path: str, content: bytes | None) -> "FileView":
        """Return the view of a content."""
        return cls(path=path, content=None if content is None else base64.b64encode(content))


class ProcessView(BaseModel):
    """A living process of a sandbox."""

    model_config = ConfigDict(from_attributes=True)

    pid: int
    rss_bytes: int = Field(description="Resident memory.")
    value: str | None = Field(repr=False, description="Of the variable that was asked for.")


class ProcessesView(BaseModel):
    """The living processes of a sandbox."""

    processes: list[ProcessView]

    @classmethod
    def of(cls, found: list[InsideProcess]) -> "ProcessesView":
        """Return the view of processes."""
        return cls(processes=[ProcessView.model_validate(each) for each in found])


class Health(BaseModel):
    """The reply of a server that runs."""

    status: str = "ok"
    pid: int
    speed: float


class Added(BaseModel):
    """The ID of a rule that was added."""

    id: str


class Dropped(BaseModel):
    """How many event connections were reset."""

    dropped: int
