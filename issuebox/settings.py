"""Every setting, with its default, its allowed values and its meaning.

Ours are ``ISSUEBOX_*``. Daytona's and Temporal's own variables keep their names: ``DAYTONA_API_KEY``,
``DAYTONA_API_URL``, ``DAYTONA_TARGET`` here; ``TEMPORAL_*`` through Temporal's environment configuration in
`issuebox.temporal.connect`. `issuebox.environment.load` reads them from the process environment. What nobody needs to
tune is not a setting but a constant, next to the code that uses it.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from issuebox.domain.issue import DEFAULT_NAME_PREFIX
from issuebox.domain.issue_source import is_repository
from issuebox.domain.sandbox import DEFAULT_INSTANCE
from issuebox.domain.triggers import OCCASIONS, Association, Criteria
from workflows.messages import TASK_QUEUE, Aside

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_UNITS_S = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(?P<number>-?\d+(\.\d+)?)\s*(?P<unit>[smhd]?)", re.IGNORECASE)
DURATION = "a duration such as 90, 90s, 30m, 12h or 7d"
DURATION_MAX_S = 3650 * 86400.0
"""Ten years, which is still possible for a Temporal timer."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_HOST_PORT = re.compile(r"(\d{1,3}(\.\d{1,3}){3}|\[[0-9A-Fa-f:.]+\]):[1-9]\d{0,4}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_GLOB = re.compile(r"\*|[A-Za-z0-9_.*?-]+/[A-Za-z0-9_.*?-]+")
_ASIDE = tuple(aside.queue("") for aside in Aside)
"""What would make a task queue that of another installation: its waits, say."""
_YES, _NO = frozenset({"true", "yes", "on", "1"}), frozenset({"false", "no", "off", "0"})


class WrongValueError(ValueError):
    """A wrong value. The text completes "the value has to be …"."""


def _stripped(value: object) -> object:
    return value.strip() if isinstance(value, str) else value


def _split(value: object) -> object:
    """Split text at commas and line breaks, without empty items; return anything else as it is."""
    if isinstance(value, str):
        return tuple(part for part in (piece.strip() for piece in re.split(r"[,\n]", value)) if part)
    return value


def _duration(least_s: float, most_s: float, fits: str) -> BeforeValidator:
    """Seconds from a number with or without a unit."""

    def seconds(value: object) -> float:
        match = _DURATION.fullmatch(str(value).strip())
        if match is None:
            raise WrongValueError(fits)
        found_s = float(match["number"]) * _UNITS_S[match["unit"].lower()]
        if not least_s <= found_s <= most_s:
            raise WrongValueError(fits)
        return found_s

    return BeforeValidator(seconds)


def _word(*words: str, change: Callable[[str], str] = str.lower) -> BeforeValidator:
    """One of the words, in any case."""

    def known(value: object) -> str:
        word = change(str(value).strip())
        if word not in words:
            raise WrongValueError(f"{', '.join(words[:-1])} or {words[-1]}")
        return word

    return BeforeValidator(known)


def _yes_or_no(value: object) -> bool:
    word = str(value).strip().lower()
    if word not in _YES | _NO:
        raise WrongValueError("true or false")
    return word in _YES


def _name(length_max: int) -> AfterValidator:
    def checked(value: str) -> str:
        if len(value) > length_max or not _NAME.fullmatch(value):
            raise WrongValueError(
                f"at most {length_max} letters, digits, '.', '_' and '-', beginning with a letter or digit"
            )
        return value

    return AfterValidator(checked)


def _glob(value: str) -> str:
    if not _GLOB.fullmatch(value):
        raise WrongValueError("owner/name, with * and ? as wildcards, such as acme/*; * alone for every repository")
    return value


def _repository(value: str) -> str:
    if not is_repository(value):
        raise WrongValueError("owner/name, without wildcards, for each repository")
    return value


def _paths(value: tuple[str, ...]) -> tuple[str, ...]:
    """A relative path would depend on where the sandbox's daemon was started."""
    if not value or not all(path == "~" or path.startswith(("~/", "/")) for path in value):
        raise WrongValueError("paths that are ~ or begin with / or ~/, comma-separated")
    return value


def _directory(value: str) -> str:
    """A relative path would depend on where each process was started."""
    if value and not value.startswith("/"):
        raise WrongValueError("a path that begins with /, or empty for none")
    return value


def _task_queue(value: str) -> str:
    if not value or value.endswith(_ASIDE):
        raise WrongValueError(f"a name that does not end with {', '.join(_ASIDE[:-1])} or {_ASIDE[-1]}")
    return value


def _app_id(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9.]*", value):
        raise WrongValueError("letters, digits and dots")
    return value


def _web_address(value: str) -> str:
    """Without a trailing slash, with which the SDK would request ``/api//sandbox``."""
    parts = _parts(value)
    if parts is None or parts.query or parts.fragment:
        raise WrongValueError("an http or https URL without a user or query")
    return value.rstrip("/")


def _optional_web_address(value: str) -> str:
    return _web_address(value) if value else value


def _private_address(value: str) -> str:
    """Without TLS, the network could read the token. Loopback needs none."""
    parts = _parts(value)
    if parts is None or parts.query or parts.fragment or _is_open(value):
        raise WrongValueError("an https URL without a user or query")
    return value.rstrip("/")


def _optional_receiver(value: str) -> str:
    """It may have a query, and ends as it is written: both are the receiver's own."""
    if value and (_parts(value) is None or _is_open(value)):
        raise WrongValueError("an https URL without a user")
    return value


def _clone_url(value: str) -> str:
    """Credentials in the URL would stay in the clone, where everybody in the sandbox can read them."""
    if value and _parts(value) is None:
        raise WrongValueError(
            "an http or https URL without a user or password; a token goes into ISSUEBOX_GITHUB_TOKEN"
        )
    return value


def _parts(url: str) -> Any:
    """The parts of an http or https URL that names no user; None for anything else."""
    parts = urlsplit(url)
    is_whole = parts.scheme in {"http", "https"} and parts.hostname and "@" not in parts.netloc
    return parts if is_whole and not re.search(r"\s", url) else None


def _is_open(url: str) -> bool:
    """Whether the network can read what is sent there."""
    parts = urlsplit(url)
    return parts.scheme == "http" and parts.hostname not in _LOOPBACK


def _sendable(value: SecretStr) -> SecretStr:
    """It is sent in a header: with white space or a non-ASCII letter in it, each call would fail."""
    if not re.fullmatch(r"[\x21-\x7e]*", value.get_secret_value()):
        raise WrongValueError("one word of visible ASCII characters")
    return value


def _signing_secret(value: SecretStr) -> SecretStr:
    """As Standard Webhooks has it: whsec_ and 24 to 64 bytes in base64."""
    text = value.get_secret_value()
    if not text:
        return value
    try:
        length = len(b64decode(text.removeprefix("whsec_"), validate=True))
    except ValueError:
        length = 0
    if not text.startswith("whsec_") or not 24 <= length <= 64:  # noqa: PLR2004 -- the convention's own numbers
        raise WrongValueError("whsec_ and 24 to 64 bytes in base64: echo whsec_$(openssl rand -base64 32)")
    return value


def _private_key(value: SecretStr) -> SecretStr:
    """The key itself, checked now and not at the first call to GitHub. Line breaks may be written as ``\\n``."""
    text = value.get_secret_value().replace("\\n", "\n")
    if not text:
        return value
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415 -- for Apps only

    try:
        load_pem_private_key(text.encode(), password=None)
    except (ValueError, TypeError):
        # Without the cause, which may quote the key. A key with a passphrase raises TypeError.
        raise WrongValueError(
            "a private key as GitHub issues it, a PEM text without a passphrase; to name its file, set "
            "ISSUEBOX_GITHUB_APP_PRIVATE_KEY_FILE"
        ) from None
    return SecretStr(text)


Text = Annotated[str, BeforeValidator(_stripped)]
Secret = Annotated[SecretStr, BeforeValidator(_stripped)]
Key = Annotated[Secret, AfterValidator(_sendable)]
Choice = Annotated[bool, BeforeValidator(_yes_or_no)]
Least = Annotated[Association, _word(*(str(word) for word in Association), change=str.upper)]
AfterClose = Annotated[
    float, _duration(-DURATION_MAX_S, DURATION_MAX_S, f"{DURATION}, at most 3650d; negative for never")
]
Interval = Annotated[float, _duration(0, DURATION_MAX_S, f"{DURATION}, at most 3650d; 0 for never")]
RunTime = Annotated[float, _duration(1, 7 * 86400, f"{DURATION}, between 1s and 7d")]
StallTime = Annotated[float, _duration(0, 86400, f"{DURATION}, at most 1d; 0 for never")]
SetUpTime = Annotated[float, _duration(1, 3600, f"{DURATION}, between 1s and 1h")]
Grace = Annotated[float, _duration(0, 600, f"{DURATION}, at most 10m")]


def _issues(value: object) -> int:
    text = str(value).strip()
    if not re.fullmatch(r"[1-9][0-9]{2,6}", text):
        raise WrongValueError("a whole number between 100 and 9999999")
    return int(text)


def _count(least: int, most: int) -> BeforeValidator:
    def counted(value: object) -> int:
        text = str(value).strip()
        if not re.fullmatch(r"\d{1,9}", text) or not least <= int(text) <= most:
            raise WrongValueError(f"a whole number between {least} and {most}")
        return int(text)

    return BeforeValidator(counted)


def _occasions(value: tuple[str, ...]) -> tuple[str, ...]:
    words = tuple(dict.fromkeys(word.lower() for word in value))
    if wrong := [word for word in words if word not in OCCASIONS]:
        raise WrongValueError(f"some of {', '.join(OCCASIONS)}, comma-separated; {wrong[0]!r} is none")
    return words


def _variable(value: str) -> str:
    if not _VARIABLE.fullmatch(value) or value.startswith("ISSUEBOX_"):
        raise WrongValueError("names of environment variables, comma-separated, none of which begins with ISSUEBOX_")
    return value


def _listener(value: str) -> str:
    if value and not _HOST_PORT.fullmatch(value):
        raise WrongValueError("an IP address and a port, such as 127.0.0.1:8788 or [::1]:8788, or empty for none")
    return value


Listener = Annotated[Text, AfterValidator(_listener)]

_ADMIN_ADDRESS: str = Field(
    "",
    description="Address at which this process answers `/healthz`, `/readyz` and `/metrics`, such as 127.0.0.1:8788; "
    "each on one machine needs its own. Empty for none, and then nothing is counted. It has no access control.",
)


class CommonSettings(BaseModel):
    """What the API and the workers must agree on."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True)

    allowed_repositories: Annotated[tuple[Annotated[str, AfterValidator(_glob)], ...], BeforeValidator(_split)] = Field(
        ("*",),
        description="Repositories in which people may ask: globs over owner/name, comma-separated. Empty: in none.",
    )
    min_association: Least = Field(
        Association.NONE,
        description="Lowest association with the repository that may ask: " + " < ".join(Association) + ".",
    )
    required_label: Text = Field(
        "", description="Label that an issue must carry before anybody may ask; empty for none."
    )
    trigger_label: Text = Field(
        "claude", description="Label that asks for a sandbox when put on an issue; empty for none."
    )
    trigger_phrase: Text = Field(
        "@claude", description="Phrase in an issue comment that asks for a sandbox; empty for none."
    )
    trigger_login: Text = Field(
        "", description="Login whose assignment to an issue asks for a sandbox; empty for none."
    )
    run_preset: Annotated[Literal["", "command", "claude", "codex"], _word("", "command", "claude", "codex")] = Field(
        "",
        description="What works in the sandbox when somebody asks: `claude`, `codex`, or `command` for "
        "ISSUEBOX_RUN_COMMAND. Empty: nothing runs, people and programs use the sandbox themselves.",
    )
    run_command: Text = Field(
        "", description="Shell command of the preset `command`, run in the clone: see docs/agents.md. Empty for none."
    )
    run_arguments: Text = Field(
        "", description="Further arguments for the agent of the presets `claude` and `codex`; empty for none."
    )
    run_on: Annotated[tuple[str, ...], BeforeValidator(_split), AfterValidator(_occasions)] = Field(
        ("label", "comment"),
        description="What asks for a run: some of " + ", ".join(f"`{each}`" for each in OCCASIONS) + ".",
    )
    run_min_association: Least = Field(
        Association.COLLABORATOR,
        description="Lowest association with the repository that may ask for a run: " + " < ".join(Association) + ".",
    )
    run_log_dir: Annotated[Text, AfterValidator(_directory)] = Field(
        "",
        description="Directory into which the workers copy what runs write, without secrets, and from which the API "
        "and `issuebox logs` read it; the same for all of them. Empty: no copies.",
    )
    instance: Annotated[Text, _name(63)] = Field(
        DEFAULT_INSTANCE,
        description="Name on the label of our sandboxes, for several installations in one Daytona organization. A "
        "sandbox with another name on this label is never touched.",
    )
    name_prefix: Annotated[Text, _name(80)] = Field(
        DEFAULT_NAME_PREFIX, description="Prefix before the issue id in the names of sandboxes and workflows."
    )
    task_queue: Annotated[Text, AfterValidator(_task_queue)] = Field(
        TASK_QUEUE,
        description="Temporal task queue. Four more are named after it, with `-waits`, `-inside`, `-notices` and "
        "`-runs`.",
    )
    daytona_api_url: Annotated[Text, AfterValidator(_web_address)] = Field(
        "https://app.daytona.io/api",
        description="URL of Daytona's API. The API never calls it: its pages link to the dashboard beside it.",
    )
    log_format: Annotated[Literal["json", "console"], _word("json", "console")] = Field(
        "json", description="`json` for machines, `console` for people."
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], _word("debug", "info", "warning", "error")] = (
        Field("info", description="Least severe level that is logged: debug, info, warning or error.")
    )

    def contradictions(self) -> Iterator[tuple[frozenset[str], str]]:
        """Values that are valid alone but not together: the settings concerned, and a sentence."""
        if (self.run_preset == "command") is not bool(self.run_command):
            yield (
                frozenset({"run_preset", "run_command"}),
                "ISSUEBOX_RUN_PRESET=command and ISSUEBOX_RUN_COMMAND go together: set both, or leave both out",
            )


class ApiSettings(CommonSettings):
    """Settings of the API."""

    webhook_secrets: Annotated[tuple[SecretStr, ...], BeforeValidator(_split)] = Field(
        (), description="GitHub webhook secrets, comma-separated; several during a rotation. Empty: none is accepted."
    )
    api_tokens: Annotated[tuple[Key, ...], BeforeValidator(_split)] = Field(
        (), description="Bearer tokens of the REST API, comma-separated. Empty: every call is refused."
    )
    temporal_ui_url: Annotated[Text, AfterValidator(_optional_web_address)] = Field(
        "",
        description="Temporal's Web UI, such as http://127.0.0.1:8233, for links on the status page; empty for none.",
    )
    admin_address: Listener = _ADMIN_ADDRESS


class WorkerSettings(CommonSettings):
    """Settings of the workers: how sandboxes are created, when they end, how to reach Daytona and GitHub."""

    daytona_api_key: Key = Field(SecretStr(""), description="Key of the Daytona organization.")
    daytona_target: Text = Field("", description="Region of new sandboxes; empty for the organization's own.")
    snapshot: Text = Field("", description="Daytona snapshot of new sandboxes; empty for Daytona's default.")
    auto_stop_interval_s: Interval = Field(
        3600.0, description="Idle time after which Daytona stops a sandbox; 0 for never. Daytona counts whole minutes."
    )
    auto_archive_interval_s: Interval = Field(
        7 * 86400.0, description="Time after a stop at which Daytona archives; 0 for Daytona's maximum of 30 days."
    )
    close_stop_after_s: AfterClose = Field(
        30 * 60.0,
        description="Time from the close of an issue, or from the handover of a later request, "
        "to the stop; negative for never.",
    )
    close_archive_after_s: AfterClose = Field(
        86400.0,
        description="Time from the close of an issue, or from the handover of a later request, "
        "to the archiving; negative for never.",
    )
    close_delete_after_s: AfterClose = Field(
        30 * 86400.0,
        description="Time from the close of an issue, or from the handover of a later request, "
        "to the delete; negative for never. "
        "Unsaved work holds the delete.",
    )
    setup_clone_url: Annotated[Text, AfterValidator(_clone_url)] = Field(
        "",
        description="What a new sandbox clones: https://github.com/{repository}.git; empty for none. Without secrets.",
    )
    setup_command: Text = Field(
        "",
        description="Shell command, run in the clone, that prepares a new sandbox; empty for none. Safe to repeat.",
    )
    setup_timeout_s: SetUpTime = Field(
        600.0, description="Time limit of the clone, and of the set-up command, up to 1 hour. Then it is killed."
    )
    inspect_paths: Annotated[tuple[str, ...], BeforeValidator(_split), AfterValidator(_paths)] = Field(
        ("~",), description="Paths that are searched for unsaved git work before a stop or a delete, comma-separated."
    )
    github_token: Key = Field(
        SecretStr(""),
        description="Token that reads issues, clones private repositories, and tells issues of their runs; to read "
        "public ones it is not needed.",
    )
    github_app_id: Annotated[Text, AfterValidator(_app_id)] = Field(
        "", description="ID of the GitHub App that reads and writes issues instead of a token; empty for none."
    )
    github_app_private_key: Annotated[Secret, AfterValidator(_private_key)] = Field(
        SecretStr(""), description="The App's private key, a PEM text."
    )
    github_api_url: Annotated[Text, AfterValidator(_private_address)] = Field(
        "https://api.github.com", description="URL of GitHub's REST API, over TLS."
    )
    resync_repositories: Annotated[tuple[Annotated[str, AfterValidator(_repository)], ...], BeforeValidator(_split)] = (
        Field(
            (),
            description="Repositories that resync reads for missed deliveries: owner/name, comma-separated. Empty: "
            "those of ISSUEBOX_ALLOWED_REPOSITORIES without a wildcard, if a token or an App is set.",
        )
    )
    resync_interval_s: Interval = Field(
        900.0, description="How often resync reads GitHub; 0 for never. A repository without news costs one 304."
    )
    audit_interval_s: Interval = Field(3600.0, description="How often all managed sandboxes are audited; 0 for never.")
    audit_mend: Choice = Field(
        default=True,
        description="Whether an audit mends findings if no work can be lost: it starts a workflow, or wakes it up.",
    )
    notice_url: Annotated[Text, AfterValidator(_optional_receiver)] = Field(
        "",
        description="Where a signed notice of each new state of a sandbox is sent, over TLS; empty for nowhere.",
    )
    notice_secret: Annotated[Secret, AfterValidator(_signing_secret)] = Field(
        SecretStr(""), description="What signs the notices: whsec_ and 24 to 64 bytes in base64."
    )
    run_timeout_s: RunTime = Field(3600.0, description="Time limit of one attempt of a run, up to 7 days.")
    run_stall_s: StallTime = Field(
        900.0, description="Time without output after which a run counts as stalled and is ended; 0 for never."
    )
    run_attempts: Annotated[int, _count(1, 100)] = Field(
        3, description="Attempts of a run that may be cut off (a stopped sandbox, a kill) before it is given up."
    )
    runs_max: Annotated[int, _count(0, 500)] = Field(
        0,
        description="Runs that the installation works on at once; 0 for no limit. Others wait for their turn: "
        "repositories in turn, and the first that asked first.",
    )
    running_max: Annotated[int, _count(0, 500)] = Field(
        0,
        description="Sandboxes that may run at once; 0 for no limit. issuebox starts and creates none beyond that: "
        "others wait for their turn.",
    )
    running_max_per_repository: Annotated[int, _count(0, 500)] = Field(
        0, description="The same for the sandboxes of one repository."
    )
    running_max_per_author: Annotated[int, _count(0, 500)] = Field(
        0, description="The same for the sandboxes of all issues that one author opened."
    )
    running_reserve: Annotated[int, _count(0, 499)] = Field(
        0,
        description="How many of ISSUEBOX_RUNNING_MAX are kept for trusted people: for whom may ask for runs, and for "
        "calls by REST and the command line.",
    )
    run_env: Annotated[tuple[Annotated[str, AfterValidator(_variable)], ...], BeforeValidator(_split)] = Field(
        (),
        description="Variables that a run gets from the worker's environment, comma-separated names such as "
        "ANTHROPIC_API_KEY. `<name>_FILE` may name a file that holds the value.",
    )
    run_follow_up: Annotated[Literal["queue", "interrupt"], _word("queue", "interrupt")] = Field(
        "queue",
        description="What a request does while a run works: `queue` waits for its end, `interrupt` ends it.",
    )
    run_on_close: Annotated[Literal["finish", "cancel"], _word("finish", "cancel")] = Field(
        "finish", description="What the close of the issue does to a run that works: `finish` or `cancel`."
    )
    run_report: Annotated[Literal["comment", "none"], _word("comment", "none")] = Field(
        "comment",
        description="How an issue is told of its runs: `comment`, one for each run, or `none`. Needs a token or an App "
        "that may write issues.",
    )
    cached_workflows: Annotated[int, BeforeValidator(_issues)] = Field(
        1000,
        description="Issues whose workflows a worker keeps in memory, at some 0.1 MB each. An event for any other "
        "issue costs a replay of its history first, some 10 ms.",
    )
    grace_s: Grace = Field(
        5.0,
        description="Time that a worker gives its commands to end when it is stopped. Those that it cuts off go on at "
        "another worker, or at its next start.",
    )
    admin_address: Listener = _ADMIN_ADDRESS

    def contradictions(self) -> Iterator[tuple[frozenset[str], str]]:
        """Times after the close in the wrong order, a token sent without TLS, notices without a secret, half an App."""
        yield from super().contradictions()
        yield from self._out_of_order("close_stop_after_s", "close_archive_after_s")
        yield from self._out_of_order("close_stop_after_s", "close_delete_after_s")
        yield from self._out_of_order("close_archive_after_s", "close_delete_after_s")
        if self.github_token.get_secret_value() and _is_open(self.setup_clone_url):
            yield (
                frozenset({"github_token", "setup_clone_url"}),
                "with ISSUEBOX_GITHUB_TOKEN set, ISSUEBOX_SETUP_CLONE_URL has to be https: the token is sent there",
            )
        if self.notice_url and not self.notice_secret.get_secret_value():
            yield (
                frozenset({"notice_url", "notice_secret"}),
                "ISSUEBOX_NOTICE_URL is set and ISSUEBOX_NOTICE_SECRET is not: each notice is signed with it",
            )
        has_key = bool(self.github_app_private_key.get_secret_value())
        if bool(self.github_app_id) is not has_key:
            there, missing = ("PRIVATE_KEY", "ID") if has_key else ("ID", "PRIVATE_KEY")
            yield (
                frozenset({"github_app_id", "github_app_private_key"}),
                f"ISSUEBOX_GITHUB_APP_{there} is set and ISSUEBOX_GITHUB_APP_{missing} is not: a GitHub App needs both",
            )

    def _out_of_order(self, sooner: str, later: str) -> Iterator[tuple[frozenset[str], str]]:
        """The sandbox of a closed issue is stopped, then archived, then deleted, never in another order."""
        sooner_s, later_s = getattr(self, sooner), getattr(self, later)
        if 0 <= later_s < sooner_s:
            sentence = (
                f"ISSUEBOX_{later.upper()} ({later_s:g} s) has to be at least ISSUEBOX_{sooner.upper()} "
                f"({sooner_s:g} s), or negative for never: the sandbox is stopped, then archived, then deleted"
            )
            yield frozenset({sooner, later}), sentence


class ExporterSettings(CommonSettings):
    """Settings of the exporter: whose workflows it counts, and where it shows what it counted."""

    admin_address: Listener = _ADMIN_ADDRESS


def criteria_of(settings: CommonSettings) -> Criteria:
    """What people do to ask for a sandbox, and who may: the same for deliveries and for resync."""
    return Criteria(
        label=settings.trigger_label,
        phrase=settings.trigger_phrase,
        login=settings.trigger_login,
        allowed_repositories=settings.allowed_repositories,
        min_association=settings.min_association,
        required_label=settings.required_label,
        run_on=settings.run_on if settings.run_preset else (),
        run_min_association=settings.run_min_association,
    )
