"""Every setting, with its unit, its default and the reason for it.

Ours are ``ISSUEBOX_*``. Daytona's and Temporal's own variables keep their names: ``DAYTONA_API_KEY``,
``DAYTONA_API_URL``, ``DAYTONA_TARGET`` here; ``TEMPORAL_*`` through Temporal's environment
configuration in `issuebox.temporal.connect`. Only the process environment is read, never a ``.env``
of the working directory: that may belong to somebody else's repository.
"""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from issuebox.domain.issue import DEFAULT_NAME_PREFIX
from issuebox.domain.issue_source import is_repository
from issuebox.domain.sandbox import DEFAULT_INSTANCE
from issuebox.domain.triggers import Association, Criteria
from workflows.messages import TASK_QUEUE

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})

_GLOB = re.compile(r"\*|[A-Za-z0-9_.*?-]+/[A-Za-z0-9_.*?-]+")


def _glob(value: str) -> str:
    if not _GLOB.fullmatch(value):
        raise ValueError("a repository is owner/name, with * and ? for others, such as acme/*; * alone is every one")
    return value


Glob = Annotated[str, AfterValidator(_glob)]


def _split(value: object) -> object:
    """A comma-separated list, blanks dropped; anything else as it is."""
    if isinstance(value, str):
        return tuple(part for part in (piece.strip() for piece in value.split(",")) if part)
    return value


_API_URL = re.compile(r"(https://[^/@?#\s]+|http://(127\.0\.0\.1|localhost|\[::1\])(:[0-9]+)?)(/[^@?#\s]*)?")


def _repository(value: str) -> str:
    if not is_repository(value):
        raise ValueError("a repository is owner/name")
    return value


Repository = Annotated[str, AfterValidator(_repository)]


class CommonSettings(BaseSettings):
    """What the API and the workers must agree on."""

    model_config = SettingsConfigDict(
        env_prefix="ISSUEBOX_", extra="ignore", frozen=True, hide_input_in_errors=True, defer_build=True
    )

    name_prefix: str = Field(
        DEFAULT_NAME_PREFIX,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,79}$",
        description="What stands before the issue ID in the names of sandboxes and workflows.",
    )
    instance: str = Field(
        DEFAULT_INSTANCE,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$",
        description="Label on our sandboxes that tells several installations in one Daytona organization apart. A "
        "sandbox that is labelled with another's name is never touched.",
    )
    task_queue: str = Field(TASK_QUEUE, min_length=1, description="Temporal task queue.")
    log_format: str = Field("json", pattern="^(json|console)$", description="json for machines, console for people.")
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="Least severe level logged.")
    trigger_label: str = Field("claude", description="Label that asks for a sandbox when put on an issue; '' for none.")
    trigger_phrase: str = Field("@claude", description="Phrase in an issue comment that asks for one; '' for none.")
    trigger_login: str = Field("", description="Login that asks for one when assigned to an issue; '' for none.")
    allowed_repositories: Annotated[tuple[Glob, ...], NoDecode] = Field(
        ("*",),
        description="Repositories whose issues may ask: globs over owner/name, comma-separated. None: none.",
    )
    min_association: Association = Field(
        Association.NONE,
        description="Least that who asks must be to the repository: " + " < ".join(Association) + ".",
    )
    required_label: str = Field("", description="Label that an issue must carry for any request; '' for none.")

    _split_globs = field_validator("allowed_repositories", mode="before")(_split)


class ApiSettings(CommonSettings):
    """The FastAPI shim."""

    webhook_secrets: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (), description="GitHub webhook secrets, comma-separated; several while one is rotated. None: all refused."
    )
    api_tokens: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (), description="Bearer tokens of the REST API, comma-separated. None: every call is refused."
    )
    webhook_body_max_bytes: int = Field(
        25 * 1024 * 1024, ge=1024, description="Larger webhook bodies get 413. GitHub itself caps payloads at 25 MB."
    )
    temporal_timeout_s: float = Field(
        4.0, gt=0, le=8, description="How long a call to Temporal may take before 503. GitHub gives up after 10 s."
    )
    wait_max_s: float = Field(
        300.0, gt=0, description="Upper bound of ?wait_s= on PUT /v1/issues/{issue_id}/sandbox, in seconds."
    )

    temporal_ui_url: str = Field(
        "",
        pattern=r"^(https?://\S+)?$",
        description="Temporal's Web UI, such as http://127.0.0.1:8233, for links on the status page; '' for none.",
    )

    _split_lists = field_validator("webhook_secrets", "api_tokens", mode="before")(_split)


class WorkerSettings(CommonSettings):
    """The workers: what sandboxes are made of, how Daytona is reached, how patient the workflow is."""

    daytona_api_key: SecretStr = Field(SecretStr(""), validation_alias="DAYTONA_API_KEY", description="Daytona key.")
    daytona_api_url: str = Field(
        "https://app.daytona.io/api", validation_alias="DAYTONA_API_URL", description="Daytona API, no trailing slash."
    )
    daytona_target: str = Field(
        "", validation_alias="DAYTONA_TARGET", description="Region of new sandboxes; '' for the organization's own."
    )
    daytona_request_timeout_s: float = Field(
        15.0, gt=0, description="Deadline of a read or a command that returns at once. The SDK has none by itself."
    )
    daytona_command_timeout_s: float = Field(
        45.0, gt=0, description="Deadline of create, start and recover: the server holds these up to 30 s."
    )
    daytona_settle_timeout_s: float = Field(
        60.0, gt=0, description="How long an activity listens for the end of a state change before it reports back."
    )
    daytona_read_interval_s: float = Field(
        10.0, gt=0, description="A read this often while listening, in case the event stream is silent."
    )
    cached_workflows: int = Field(
        1000,
        ge=1,
        description="Issues that a worker keeps in memory, at some 0.1 MB each. An event for another one is preceded "
        "by a replay of its history: some 10 ms.",
    )
    snapshot: str = Field("", description="Daytona snapshot of new sandboxes; '' for Daytona's default.")
    auto_stop_interval_s: int = Field(
        3600, ge=0, description="Idle time after which Daytona stops a sandbox; 0 for never. Whole minutes at Daytona."
    )
    auto_archive_interval_s: int = Field(
        7 * 86400, ge=0, description="Time after a stop until Daytona archives; 0 for Daytona's maximum of 30 days."
    )
    backoff_initial_s: float = Field(0.5, gt=0, description="First pause after a setback; doubles, with jitter.")
    backoff_max_s: float = Field(30.0, gt=0, description="Longest pause between tries before the issue is blocked.")
    blocked_retry_initial_s: float = Field(
        60.0, gt=0, description="First pause before a blocked issue is tried again by itself; doubles, with jitter."
    )
    blocked_retry_max_s: float = Field(3600.0, gt=0, description="Longest such pause.")
    unreachable_after_s: float = Field(
        60.0, gt=0, description="How long a look is tried again before the issue counts as blocked: unreachable."
    )
    close_stop_after_s: float = Field(
        30 * 60, description="Time from the close of an issue, or a request after it, to the stop; < 0 for never."
    )
    close_archive_after_s: float = Field(86400, description="Time from the same to archiving; < 0 for never.")
    close_delete_after_s: float = Field(
        30 * 86400, description="Time from the same to the delete, which unsaved work holds up; < 0 for never."
    )
    forget_after_s: float = Field(
        7 * 86400,
        description="How long the workflow of an issue that GitHub deleted outlives it; late deliveries come within 3 "
        "days. < 0 for ever.",
    )
    confirm_gone_s: float = Field(
        75.0,
        gt=0,
        description="How long a sandbox that was not found is left before it is read again and counts as gone: with "
        "its database down Daytona does not find anything.",
    )
    builds_max: int = Field(3, ge=1, description="Sandboxes in a row that may fail before they ever ran.")
    recovers_max: int = Field(3, ge=1, description="Recoveries tried before a person has to look.")
    attempts_max: int = Field(
        9, ge=2, description="Tries of one command without effect before the issue is blocked: over 75 s by default."
    )
    setup_clone_url: str = Field(
        "",
        description="What a new sandbox clones: https://github.com/{repository}.git; '' for nothing. No secrets.",
    )
    setup_command: str = Field(
        "", description="Shell command that makes a new sandbox ready, run in the clone; '' for none. Safe to repeat."
    )
    setup_timeout_s: float = Field(
        600.0, gt=0, le=3600, description="Longest clone, and longest set-up command. Then it is killed."
    )
    github_token: SecretStr = Field(
        SecretStr(""), description="Token that reads issues and clones private repositories; '' for public ones."
    )
    inspect_paths: Annotated[tuple[str, ...], NoDecode] = Field(
        ("~",),
        min_length=1,
        description="Where to look for unsaved git work before a stop or a delete, comma-separated.",
    )
    pending_budget_s: float = Field(20 * 60, gt=0, description="Longest create or start before it counts as stuck.")
    thaw_budget_s: float = Field(45 * 60, gt=0, description="Longest start of an archived sandbox.")
    stopping_budget_s: float = Field(30 * 60, gt=0, description="Longest stop, pause or archiving.")
    busy_budget_s: float = Field(60 * 60, gt=0, description="Longest snapshot, fork or resize.")
    leaving_budget_s: float = Field(15 * 60, gt=0, description="Longest destroy of the old sandbox.")
    unknown_budget_s: float = Field(10 * 60, gt=0, description="How long a state that we do not know is waited on.")
    github_api_url: str = Field("https://api.github.com", description="GitHub's REST API, over TLS.")
    github_app_id: str = Field(
        "", pattern=r"^[A-Za-z0-9.]*$", description="GitHub App that reads issues instead of a token; '' for none."
    )
    github_app_private_key: SecretStr = Field(
        SecretStr(""), description="The App's private key: the PEM text, or the path of the file that has it."
    )
    github_request_timeout_s: float = Field(15.0, gt=0, description="Deadline of one request to GitHub.")
    resync_repositories: Annotated[tuple[Repository, ...], NoDecode] = Field(
        (),
        description="Repositories whose missed deliveries are repaired: owner/name, comma-separated. None: those of "
        "ISSUEBOX_ALLOWED_REPOSITORIES without a glob, when there is a token or an App.",
    )
    resync_interval_s: float = Field(
        900.0,
        ge=0,
        description="How often GitHub is asked for what was missed; 0 for never. No news costs one 304.",
    )
    resync_lookback_s: float = Field(
        3 * 86400, gt=0, description="How far back the first resync of a repository looks, as GitHub's redelivery does."
    )
    resync_sweep_interval_s: float = Field(
        6 * 3600, ge=0, description="How often all that is known as open is compared with GitHub; 0 for never."
    )
    audit_interval_s: int = Field(3600, ge=0, description="How often all managed sandboxes are audited; 0 for never.")
    audit_recheck_s: float = Field(
        75.0, gt=0, description="How long a suspect is left before it is read again: longer than Daytona caches."
    )
    audit_reads_per_s: float = Field(
        20.0, gt=0, description="Reads by ID in a second, of each worker: far below the smallest limit of Daytona."
    )
    audit_mend: bool = Field(
        default=True, description="Whether audits mend what cannot lose work: start a workflow, have one look again."
    )

    _split_repositories = field_validator("resync_repositories", mode="before")(_split)

    @field_validator("github_api_url")
    @classmethod
    def _keeps_the_token_private(cls, value: str) -> str:
        """Without TLS everybody on the way reads the token. Loopback has no way."""
        if not _API_URL.fullmatch(value):
            raise ValueError("must be https://…, without user and query")
        return value

    @field_validator("daytona_api_url", "github_api_url")
    @classmethod
    def _no_trailing_slash(cls, value: str) -> str:
        """The SDK would ask for ``/api//sandbox`` with one."""
        return value.rstrip("/")

    _split_paths = field_validator("inspect_paths", mode="before")(_split)

    @field_validator("inspect_paths")
    @classmethod
    def _whole_paths(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """A relative path would depend on where the sandbox's daemon was started."""
        if not all(path == "~" or path.startswith(("~/", "/")) for path in value):
            raise ValueError("each path begins with / or ~/, or is ~")
        return value

    @field_validator("setup_clone_url")
    @classmethod
    def _no_credentials(cls, value: str) -> str:
        """What the URL says about a user would stay in the clone, for everybody in the sandbox to read."""
        parts = urlsplit(value)
        if value and (parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc):
            raise ValueError("an http or https URL without user and password; a token goes into ISSUEBOX_GITHUB_TOKEN")
        return value

    @field_validator("github_token")
    @classmethod
    def _stays_private(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        """Without TLS everybody on the way reads the token. Loopback has no way."""
        parts = urlsplit(info.data.get("setup_clone_url", ""))
        if value.get_secret_value() and parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise ValueError("with a token, ISSUEBOX_SETUP_CLONE_URL has to be https")
        return value


def criteria_of(settings: CommonSettings) -> Criteria:
    """What asks for a sandbox and who may: the same for a delivery and for what resync finds."""
    return Criteria(
        label=settings.trigger_label,
        phrase=settings.trigger_phrase,
        login=settings.trigger_login,
        allowed_repositories=settings.allowed_repositories,
        min_association=settings.min_association,
        required_label=settings.required_label,
    )


def first_mistake(error: ValidationError) -> str:
    """The first mistake of a settings error, without the value: that may be a secret."""
    details = error.errors(include_input=False, include_url=False)
    return f"{'.'.join(str(part) for part in details[0]['loc'])}: {details[0]['msg']}"
