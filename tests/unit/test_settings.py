"""Settings: the sentence for each wrong value, and the spellings that are accepted."""

from __future__ import annotations

import os
import re
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from issuebox.domain.decision import Limits
from issuebox.domain.policy import Policy
from issuebox.domain.triggers import Association
from issuebox.environment import (
    SettingsError,
    is_secret,
    load,
    load_both,
    secrets_of,
    unknown,
    variable_of,
    variables,
)
from issuebox.providers.daytona import DaytonaOptions
from issuebox.settings import ApiSettings, CommonSettings, WorkerSettings
from scripts.reference import SETTINGS
from workflows import options

DURATION = "a duration such as 90, 90s, 30m, 12h or 7d"
NEVER = f"{DURATION}, at most 3650d; negative for never"
INTERVAL = f"{DURATION}, at most 3650d; 0 for never"
A_NAME = "letters, digits, '.', '_' and '-', beginning with a letter or digit"
A_QUEUE = "a name that does not end with -waits, -inside, -notices or -runs"
A_RECEIVER = "an https URL without a user"
A_SIGNER = "whsec_ and 24 to 64 bytes in base64: echo whsec_$(openssl rand -base64 32)"
A_KEY = "one word of visible ASCII characters"
A_PEM = (
    "a private key as GitHub issues it, a PEM text without a passphrase; to name its file, set "
    "ISSUEBOX_GITHUB_APP_PRIVATE_KEY_FILE"
)
PATHS = "paths that are ~ or begin with / or ~/, comma-separated"
A_CACHE = "a whole number between 100 and 9999999"
A_GRACE = f"{DURATION}, at most 10m"
A_LISTENER = "an IP address and a port, such as 127.0.0.1:8788 or [::1]:8788, or empty for none"
A_TIME = f"{DURATION}, between 1s and 1h"
A_CLONE = "an http or https URL without a user or password; a token goes into ISSUEBOX_GITHUB_TOKEN"
A_GLOB = "owner/name, with * and ? as wildcards, such as acme/*; * alone for every repository"
A_RUN_TIME = f"{DURATION}, between 1s and 7d"
A_STALL_TIME = f"{DURATION}, at most 1d; 0 for never"
A_VARIABLE = "names of environment variables, comma-separated, none of which begins with ISSUEBOX_"
OCCASIONS_FIT = "some of label, comment, opened, reopened, assigned, comma-separated"
PRESETS = ", command, claude or codex"
ROLES = "NONE, MANNEQUIN, FIRST_TIMER, FIRST_TIME_CONTRIBUTOR, CONTRIBUTOR, COLLABORATOR, MEMBER or OWNER"

WRONG: dict[str, tuple[tuple[str, str], ...]] = {
    # setting: (what was given, the sentence behind "VARIABLE='given' has to be "). The sentences of secrets, and of
    # URLs that may hold one, do not repeat what was given.
    "allowed_repositories": (("acme", A_GLOB), ("octo/repo,acme/web/x", A_GLOB), ("acme/[ab]", A_GLOB)),
    "min_association": (("coll", ROLES), ("", ROLES)),
    "instance": (("a/b", f"at most 63 {A_NAME}"), ("", f"at most 63 {A_NAME}"), ("x" * 64, f"at most 63 {A_NAME}")),
    "name_prefix": (("-x", f"at most 80 {A_NAME}"), ("x" * 81, f"at most 80 {A_NAME}")),
    "task_queue": tuple(
        (queue, A_QUEUE) for queue in (" ", "issuebox-waits", "issuebox-inside", "issuebox-notices", "issuebox-runs")
    ),
    "run_preset": (("gpt", PRESETS),),
    "run_on": (("label, edited", OCCASIONS_FIT + "; 'edited' is none"),),
    "run_min_association": (("coll", ROLES),),
    "run_timeout_s": (("0", A_RUN_TIME), ("8d", A_RUN_TIME)),
    "run_stall_s": (("-1", A_STALL_TIME), ("2d", A_STALL_TIME)),
    "run_attempts": (("0", "a whole number between 1 and 100"), ("three", "a whole number between 1 and 100")),
    "run_env": (("A B", A_VARIABLE), ("ISSUEBOX_API_TOKENS", A_VARIABLE), ("A=b", A_VARIABLE)),
    "run_follow_up": (("steer", "queue or interrupt"),),
    "run_on_close": (("kill", "finish or cancel"),),
    "run_report": (("email", "comment or none"),),
    "run_log_dir": (
        ("runs", "a path that begins with /, or empty for none"),
        ("~/runs", "a path that begins with /, or empty for none"),
    ),
    "log_format": (("xml", "json or console"),),
    "log_level": (("verbose", "debug, info, warning or error"),),
    "api_tokens": (("good,b ad", A_KEY), ("tökén", A_KEY)),
    "temporal_ui_url": (("localhost:8233", "an http or https URL without a user or query"),),
    "daytona_api_key": (("k ey", A_KEY), ("ключ", A_KEY)),
    "daytona_api_url": (
        ("app.daytona.io/api", "an http or https URL without a user or query"),
        ("https://app.daytona.io/api?x=1", "an http or https URL without a user or query"),
        ("https://me:pa55@app.daytona.io/api", "an http or https URL without a user or query"),
    ),
    "auto_stop_interval_s": (("-1", INTERVAL), ("soon", INTERVAL), ("1w", INTERVAL), ("1e3", INTERVAL)),
    "auto_archive_interval_s": (("4000d", INTERVAL),),
    "close_stop_after_s": (("half an hour", NEVER), ("", NEVER), ("nan", NEVER)),
    "close_archive_after_s": (("99999999999", NEVER),),
    "close_delete_after_s": (("30 days", NEVER),),
    "setup_clone_url": (
        ("git@github.com:o/r.git", A_CLONE),
        ("file:///srv/x", A_CLONE),
        ("https://u:pa55@x/y", A_CLONE),
    ),
    "setup_timeout_s": (("2h", A_TIME), ("0", A_TIME)),
    "inspect_paths": (
        ("work", PATHS),
        ("~,~other", PATHS),
        (" , ", PATHS),
    ),
    "github_token": (("ghp_ x", A_KEY),),
    "github_app_id": (("my app", "letters, digits and dots"),),
    "github_app_private_key": (("/etc/key.pem", A_PEM), ("-----BEGIN RSA PRIVATE KEY-----\nAA", A_PEM)),
    "github_api_url": (
        ("http://ghe.example/api/v3", "an https URL without a user or query"),
        ("https://t0ken@ghe.example", "an https URL without a user or query"),
        ("ftp://ghe.example", "an https URL without a user or query"),
    ),
    "notice_url": (("http://hooks.example/x", A_RECEIVER), ("https://t0ken@hooks.example", A_RECEIVER)),
    "notice_secret": (("pa55", A_SIGNER), ("whsec_good", A_SIGNER), ("whsec_" + "a" * 100, A_SIGNER)),
    "resync_repositories": (("acme/*", "owner/name, without wildcards, for each repository"),),
    "resync_interval_s": (("-5m", INTERVAL),),
    "audit_interval_s": (("hourly", INTERVAL),),
    "audit_mend": (("maybe", "true or false"), ("", "true or false")),
    "running_max": (("-1", "a whole number between 0 and 500"), ("ten", "a whole number between 0 and 500")),
    "running_max_per_repository": (("501", "a whole number between 0 and 500"),),
    "running_max_per_author": (("501", "a whole number between 0 and 500"),),
    "running_reserve": (("500", "a whole number between 0 and 499"),),
    "runs_max": (("-1", "a whole number between 0 and 500"), ("many", "a whole number between 0 and 500")),
    "cached_workflows": (
        ("0", A_CACHE),
        ("99", A_CACHE),
        ("100.5", A_CACHE),
    ),
    "grace_s": (("-1", A_GRACE), ("11m", A_GRACE)),
    "admin_address": (("8788", A_LISTENER), ("localhost:8788", A_LISTENER), ("0.0.0.0:0", A_LISTENER)),
}

ANY = {
    # These take any text. Daytona, GitHub or Temporal shows whether it is right.
    "webhook_secrets", "required_label", "trigger_label", "trigger_phrase", "trigger_login", "daytona_target",
    "snapshot", "setup_command", "run_command", "run_arguments",
}  # fmt: skip


def mistakes(**environ: str) -> tuple[str, ...]:
    """The mistakes that API and workers report about this environment."""
    with pytest.raises(SettingsError) as error:
        load_both({variable_of(name): value for name, value in environ.items()})
    return error.value.mistakes


def test_every_setting_has_its_sentence() -> None:
    """A new setting needs a sentence that refuses it, or takes any text."""
    assert set(WRONG) | ANY == set(ApiSettings.model_fields) | set(WorkerSettings.model_fields)
    assert not set(WRONG) & ANY


@pytest.mark.parametrize(
    ("name", "given", "fits"), [(name, given, fits) for name, rows in WRONG.items() for given, fits in rows]
)
def test_wrong_setting_is_refused_by_its_variable(name: str, given: str, fits: str) -> None:
    """One sentence has the whole variable, the given value and what fits; never a secret."""
    [sentence] = mistakes(**{name: given})
    is_hidden = is_secret(variables()[variable_of(name)]) or ("@" in given and "//" in given)
    shown = given if len(given) <= 60 else f"{given[:60]}…"
    assert sentence == f"{variable_of(name)}{'' if is_hidden else f'={shown!r}'} has to be {fits}"
    assert not re.search("pa55|t0ken|good|b ad", sentence)


def test_all_mistakes_are_reported_at_once() -> None:
    """The mistakes of API and workers, in values and in names, are each reported once."""
    environ = {
        "ISSUEBOX_LOG_LEVEL": "loud",
        "ISSUEBOX_AUDIT_MEND": "perhaps",
        "ISSUEBOX_API_TOKENS": "a b",
        "ISSUEBOX_CLOSE_STOP_AFTER_S": "2h",
        "ISSUEBOX_CLOSE_DELETE_AFTER_S": "1h",
        "ISSUEBOX_WEBHOOK_SECRET": "x",
    }
    with pytest.raises(SettingsError) as error:
        load_both(environ)
    named = sorted(re.split("[= ]", sentence)[0] for sentence in error.value.mistakes)
    assert named == [
        "ISSUEBOX_API_TOKENS",
        "ISSUEBOX_AUDIT_MEND",
        "ISSUEBOX_CLOSE_DELETE_AFTER_S",  # Before the stop, and before the default time of archiving.
        "ISSUEBOX_CLOSE_DELETE_AFTER_S",
        "ISSUEBOX_LOG_LEVEL",
        "ISSUEBOX_WEBHOOK_SECRET",
    ]


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("90", 90.0), ("0.5", 0.5), ("90s", 90.0), ("30m", 1800.0), ("12H", 43200.0), (" 7d ", 604800.0),
        ("1 d", 86400.0), ("-1", -1.0), ("1.5h", 5400.0),
    ],
)  # fmt: skip
def test_duration_takes_a_unit(given: str, seconds: float) -> None:
    """A number without a unit is in seconds."""
    environ = {"ISSUEBOX_CLOSE_ARCHIVE_AFTER_S": "-1", "ISSUEBOX_CLOSE_DELETE_AFTER_S": "-1"}
    settings = load(WorkerSettings, environ | {"ISSUEBOX_CLOSE_STOP_AFTER_S": given})
    assert settings.close_stop_after_s == seconds


def test_words_are_read_in_any_case_and_without_white_space() -> None:
    """A log level may be in capitals, and a line break after a key is ignored."""
    worker = load(
        WorkerSettings,
        {
            "ISSUEBOX_LOG_LEVEL": "WARNING",
            "ISSUEBOX_LOG_FORMAT": " Console",
            "ISSUEBOX_MIN_ASSOCIATION": "collaborator",
            "ISSUEBOX_AUDIT_MEND": "No",
            "ISSUEBOX_SNAPSHOT": " daytona-small ",
            "DAYTONA_API_KEY": " dtn_key\n",
            "DAYTONA_API_URL": "https://daytona.example/api/",
        },
    )
    assert (worker.log_level, worker.log_format, worker.audit_mend) == ("warning", "console", False)
    assert worker.min_association is Association.COLLABORATOR
    assert (worker.snapshot, worker.daytona_api_url) == ("daytona-small", "https://daytona.example/api")
    assert worker.daytona_api_key.get_secret_value() == "dtn_key"
    api = load(ApiSettings, {"ISSUEBOX_API_TOKENS": " one , two,,", "ISSUEBOX_WEBHOOK_SECRETS": "a secret "})
    assert [token.get_secret_value() for token in api.api_tokens] == ["one", "two"]
    assert [secret.get_secret_value() for secret in api.webhook_secrets] == ["a secret"]


def test_defaults_hold_without_any_variable() -> None:
    """An empty environment is valid; only the keys are missing."""
    api, worker = load_both({})
    assert (api.allowed_repositories, worker.inspect_paths, worker.close_delete_after_s) == (("*",), ("~",), 2592000.0)
    with pytest.raises(SettingsError) as error:
        load(WorkerSettings, {"DAYTONA_API_KEY": "  "}, required=("daytona_api_key",))
    assert error.value.mistakes == ("DAYTONA_API_KEY is not set",)


@pytest.mark.parametrize(
    ("stop", "archive", "delete", "first"),
    [
        ("2h", "1h", "-1", "CLOSE_ARCHIVE_AFTER_S (3600 s) has to be at least ISSUEBOX_CLOSE_STOP_AFTER_S (7200 s)"),
        ("1h", "-1", "60", "CLOSE_DELETE_AFTER_S (60 s) has to be at least ISSUEBOX_CLOSE_STOP_AFTER_S (3600 s)"),
        ("-1", "2h", "1h", "CLOSE_DELETE_AFTER_S (3600 s) has to be at least ISSUEBOX_CLOSE_ARCHIVE_AFTER_S (7200 s)"),
        ("1h", "1h", "1h", ""), ("-1", "-1", "0", ""), ("0", "-1", "-1", ""), ("-1", "-1", "-1", ""),
    ],
)  # fmt: skip
def test_times_after_the_close_must_be_in_order(stop: str, archive: str, delete: str, first: str) -> None:
    """A delete before the stop would be undone by the goal of the later stop."""
    environ = {
        "ISSUEBOX_CLOSE_STOP_AFTER_S": stop,
        "ISSUEBOX_CLOSE_ARCHIVE_AFTER_S": archive,
        "ISSUEBOX_CLOSE_DELETE_AFTER_S": delete,
    }
    if not first:
        load(WorkerSettings, environ)
        return
    with pytest.raises(SettingsError) as error:
        load(WorkerSettings, environ)
    [sentence] = error.value.mistakes
    assert sentence.startswith(f"ISSUEBOX_{first}, or negative for never: ")
    assert sentence.endswith(": the sandbox is stopped, then archived, then deleted")


def test_order_is_not_checked_against_an_unreadable_value() -> None:
    """The comparison would use the default, which nobody wrote."""
    [sentence] = mistakes(close_archive_after_s="tomorrow", close_delete_after_s="1h", close_stop_after_s="0")
    assert sentence.startswith("ISSUEBOX_CLOSE_ARCHIVE_AFTER_S='tomorrow'")


def test_token_does_not_travel_without_tls() -> None:
    """A clone needs https as well, unless its host is this machine."""
    given = {"github_token": "t0ken", "setup_clone_url": "http://git.example.org/{repository}.git"}
    assert mistakes(**given) == (
        "with ISSUEBOX_GITHUB_TOKEN set, ISSUEBOX_SETUP_CLONE_URL has to be https: the token is sent there",
    )
    load(WorkerSettings, {"ISSUEBOX_GITHUB_TOKEN": "t", "ISSUEBOX_SETUP_CLONE_URL": "http://127.0.0.1:80/{repository}"})
    load(WorkerSettings, {"ISSUEBOX_SETUP_CLONE_URL": "http://git.example.org/{repository}.git"})


@pytest.fixture(scope="module")
def pem() -> str:
    """An App's key as GitHub issues it."""
    key = rsa.generate_private_key(65537, 2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()


def test_app_needs_both_halves(pem: str) -> None:
    """With only one of them, GitHub would silently not be read."""
    assert mistakes(github_app_id="12") == (
        "ISSUEBOX_GITHUB_APP_ID is set and ISSUEBOX_GITHUB_APP_PRIVATE_KEY is not: a GitHub App needs both",
    )
    assert mistakes(github_app_private_key=pem) == (
        "ISSUEBOX_GITHUB_APP_PRIVATE_KEY is set and ISSUEBOX_GITHUB_APP_ID is not: a GitHub App needs both",
    )


def test_app_key_is_read_at_start(pem: str, tmp_path: Path) -> None:
    """It is read from the variable, even on one line, or from its file. A key with a passphrase is refused."""
    file = tmp_path / "key.pem"
    file.write_text(f"{pem}\n")
    for given in (
        {"ISSUEBOX_GITHUB_APP_PRIVATE_KEY": pem},
        {"ISSUEBOX_GITHUB_APP_PRIVATE_KEY": pem.replace("\n", "\\n")},
        {"ISSUEBOX_GITHUB_APP_PRIVATE_KEY_FILE": str(file)},
    ):
        key = load(WorkerSettings, given | {"ISSUEBOX_GITHUB_APP_ID": "12"}).github_app_private_key
        assert key.get_secret_value().strip() == pem.strip()
    locked = rsa.generate_private_key(65537, 2048).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")
    )
    assert mistakes(github_app_private_key=locked.decode(), github_app_id="12") == (
        f"ISSUEBOX_GITHUB_APP_PRIVATE_KEY has to be {A_PEM}",
    )


def test_every_secret_may_come_from_a_file(tmp_path: Path) -> None:
    """White space around it is removed; a list may have an item on each line."""
    file = tmp_path / "secrets"
    file.write_text("one\ntwo\n")
    api = load(ApiSettings, {"ISSUEBOX_WEBHOOK_SECRETS_FILE": str(file), "ISSUEBOX_API_TOKENS_FILE": f" {file} "})
    assert [secret.get_secret_value() for secret in (*api.webhook_secrets, *api.api_tokens)] == ["one", "two"] * 2
    file.write_text("key\n")
    worker = load(
        WorkerSettings,
        {"DAYTONA_API_KEY_FILE": str(file), "ISSUEBOX_GITHUB_TOKEN_FILE": str(file)},
        required=("daytona_api_key",),
    )
    assert (worker.daytona_api_key.get_secret_value(), worker.github_token.get_secret_value()) == ("key", "key")


def test_secret_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """The file is absent, a directory or not text, or the variable itself is set as well."""
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    for path, reason in (
        (tmp_path / "absent", "No such file or directory"),
        (tmp_path, "Is a directory"),
        (binary, "it is not UTF-8 text"),
    ):
        with pytest.raises(SettingsError) as error:
            load(ApiSettings, {"ISSUEBOX_API_TOKENS_FILE": str(path)})
        assert error.value.mistakes == (f"ISSUEBOX_API_TOKENS_FILE={str(path)!r} cannot be read: {reason}",)
    with pytest.raises(SettingsError) as error:
        load(ApiSettings, {"ISSUEBOX_API_TOKENS": "a", "ISSUEBOX_API_TOKENS_FILE": str(binary)})
    assert error.value.mistakes == ("ISSUEBOX_API_TOKENS and ISSUEBOX_API_TOKENS_FILE are both set: set one of them",)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("ISSUEBOX_ALOWED_REPOSITORIES", "ISSUEBOX_ALLOWED_REPOSITORIES"),
        ("ISSUEBOX_ALLOWED_REPOS", "ISSUEBOX_ALLOWED_REPOSITORIES"),
        ("ISSUEBOX_ALLOWED_REPOSITORY", "ISSUEBOX_ALLOWED_REPOSITORIES"),
        ("issuebox_allowed_repositories", "ISSUEBOX_ALLOWED_REPOSITORIES"),
        ("ISSUEBOX_MINIMUM_ASSOCIATION", "ISSUEBOX_MIN_ASSOCIATION"),
        ("ISSUEBOX_WEBHOOK_SECRET", "ISSUEBOX_WEBHOOK_SECRETS"),
        ("ISSUEBOX_WEBHOOK_SECRET_FILE", "ISSUEBOX_WEBHOOK_SECRETS_FILE"),
        ("ISSUEBOX_CLOSE_DELETE_AFTER", "ISSUEBOX_CLOSE_DELETE_AFTER_S"),
        ("ISSUEBOX_REQUIRED_LABELS", "ISSUEBOX_REQUIRED_LABEL"),
        ("ISSUEBOX_INSTANCES", "ISSUEBOX_INSTANCE"),
    ],
)
def test_misspelt_setting_is_refused_with_the_one_that_was_meant(given: str, meant: str) -> None:
    """Each process refuses it, even one that does not read it: a misspelt restriction must not be ignored."""
    for model in (ApiSettings, WorkerSettings):
        with pytest.raises(SettingsError) as error:
            load(model, {given: "x"})
        assert error.value.mistakes == (f"{given} is not a setting: did you mean {meant}?",)


def test_unknown_names_are_warnings_except_those_of_kubernetes() -> None:
    """For a Service named issuebox or issuebox-api, Kubernetes sets variables in each container of its namespace."""
    injected = {
        "ISSUEBOX_API_PORT": "tcp://10.0.0.7:8787",
        "ISSUEBOX_API_PORT_8787_TCP": "tcp://10.0.0.7:8787",
        "ISSUEBOX_API_PORT_8787_TCP_ADDR": "10.0.0.7",
        "ISSUEBOX_API_PORT_8787_TCP_PORT": "8787",
        "ISSUEBOX_API_PORT_8787_TCP_PROTO": "tcp",
        "ISSUEBOX_API_SERVICE_HOST": "10.0.0.7",
        "ISSUEBOX_API_SERVICE_PORT": "8787",
        "ISSUEBOX_API_SERVICE_PORT_HTTP": "8787",
        "ISSUEBOX_PORT": "tcp://10.0.0.8:80",
        "ISSUEBOX_SERVICE_HOST": "10.0.0.8",
        "ISSUEBOX_PORT_80_TCP": "tcp://10.0.0.8:80",
    }
    others = {"ISSUEBOX_COLOUR": "blue", "ISSUEBOX_API_PORT": "8787", "PATH": "/bin"}
    load_both(injected)
    assert unknown(injected) == ()
    load_both(others)
    assert unknown(others) == ("ISSUEBOX_COLOUR", "ISSUEBOX_API_PORT")
    known = dict.fromkeys(variables(), "") | {"ISSUEBOX_GITHUB_TOKEN_FILE": "", "ISSUEBOX_TEMPORAL_BINARY": ""}
    assert unknown(known) == ()


def test_each_process_knows_its_own_secrets() -> None:
    """`issuebox dev` removes these variables from the parts that do not need them."""
    assert secrets_of(ApiSettings) == {
        f"ISSUEBOX_{name}" for name in ("WEBHOOK_SECRETS", "WEBHOOK_SECRETS_FILE", "API_TOKENS", "API_TOKENS_FILE")
    }
    assert secrets_of(CommonSettings) == frozenset()
    assert {"DAYTONA_API_KEY", "ISSUEBOX_GITHUB_TOKEN", "ISSUEBOX_GITHUB_APP_PRIVATE_KEY"} < secrets_of(WorkerSettings)


def test_environment_is_read_and_no_dot_env(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The working directory may be somebody else's repository."""
    (tmp_path / ".env").write_text("ISSUEBOX_TRIGGER_LABEL=theirs\n")
    monkeypatch.chdir(tmp_path)
    assert load(ApiSettings).trigger_label == os.environ.get("ISSUEBOX_TRIGGER_LABEL", "claude")
    monkeypatch.setenv("ISSUEBOX_TRIGGER_LABEL", "ours")
    assert load(ApiSettings).trigger_label == "ours"


def test_reference_has_every_setting_once_and_those_that_matter_first() -> None:
    """58 settings, each in one table."""
    names = [name for table in SETTINGS.values() for name in table]
    assert len(names) == len(set(names)) == 58
    assert set(names) == set(ApiSettings.model_fields) | set(WorkerSettings.model_fields)
    assert next(iter(SETTINGS.values()))[:3] == ("webhook_secrets", "api_tokens", "daytona_api_key")


def test_constants_fit_together() -> None:
    """Commands and waits end within the activity's time-out; no budget is shorter than a command and one wait."""
    daytona, policy = DaytonaOptions("", ""), Policy()
    assert daytona.command_timeout_s + daytona.listen_s < options.QUEUE_TIMEOUT.total_seconds()
    assert options.QUEUE_TIMEOUT + timedelta(seconds=daytona.settle_timeout_s) < options.COMMAND_TIMEOUT
    assert daytona.request_timeout_s < options.LOOKUP_TIMEOUT.total_seconds() < policy.unreachable_after_s
    assert min(Limits().budget_s.values()) > daytona.command_timeout_s + daytona.settle_timeout_s
    assert daytona.read_interval_s < daytona.settle_timeout_s
    assert policy.backoff_max_s <= policy.blocked_retry_initial_s < policy.blocked_retry_max_s
    least_s = sum(policy.backoff_s(number, 0.0) for number in range(1, policy.limits.attempts_max))
    assert least_s > 60
