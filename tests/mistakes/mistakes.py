"""The mistakes of operators: what was done, what is shown, what helps. docs/troubleshooting.md is made of this table.

Each row is run by `test_mistakes`. In ``shown``, … stands for anything. Placeholders such as {api} in commands and
environments are filled from `tests.mistakes.conftest.World`.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.mistakes import places

STRANGE = "Ünïcode → 世界 😀"
"""The title of the issue that the world has, number 5 of octo/repo."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """One row. ``on``: where it is shown, `log` being a line of JSON on standard error.

    ``until``: what the process prints before it gets ``signal``. ``stdout``: what is wrong with it: `full`, `broken`
    or `closed`.
    """

    key: str
    done: str
    shown: str
    helps: str
    command: tuple[str, ...]
    code: int
    env: Mapping[str, str] = field(default_factory=dict)
    on: str = "err"
    prepare: Callable[[Path], None] | None = None
    cwd: str = ""
    until: str = ""
    signal: int = signal.SIGTERM
    stdout: str = ""


@dataclass(frozen=True, slots=True)
class Symptom:
    """A heading of the page, and its rows."""

    heading: str
    mistakes: tuple[Mistake, ...]


CLOSED = {"TEMPORAL_ADDRESS": "127.0.0.1:{closed}"}
STALLED = {"TEMPORAL_ADDRESS": "127.0.0.1:{stalled}"}
TEMPORAL = {"TEMPORAL_ADDRESS": "{temporal}"}
KEY = {"DAYTONA_API_KEY": "{key}"}
DAYTONA = {**KEY, "DAYTONA_API_URL": "{daytona}/api"}
WORKER = {**TEMPORAL, **DAYTONA, "ISSUEBOX_TASK_QUEUE": "nobody-else"}
CHECK = "Check TEMPORAL_ADDRESS, that Temporal runs there, and that TLS is on only if the server requires it."
DOCTOR = "`issuebox doctor` looks for the cause."
PATIENT = "Nothing needs a restart: it goes on by itself."

TEMPORAL_AWAY = Symptom(
    "Temporal is not reached",
    (
        Mistake(
            key="worker-without-temporal",
            done="`issuebox worker`, and no Temporal runs",
            shown=f"check_failed: no connection to Temporal: Connection refused. {CHECK}",
            helps=f"Start Temporal, or correct the address. The worker tries again for as long as it takes. {PATIENT}",
            command=("worker",),
            env={**KEY, **CLOSED},
            on="log",
            until="check_failed",
            code=0,
        ),
        Mistake(
            key="worker-wrong-namespace",
            done="`issuebox worker` with a `TEMPORAL_NAMESPACE` that does not exist",
            shown="check_failed: Temporal answered NOT_FOUND: Namespace nowhere is not found. Set TEMPORAL_NAMESPACE, "
            "or create it: temporal operator namespace create --namespace NAME",
            helps="Create it, and the worker goes on by itself. Or correct the name, and start it again.",
            command=("worker",),
            env={**KEY, **TEMPORAL, "TEMPORAL_NAMESPACE": "nowhere"},
            on="log",
            until="check_failed",
            code=0,
        ),
        Mistake(
            key="api-without-temporal",
            done="`issuebox api`, and no Temporal runs",
            shown=f"check_failed: no connection to Temporal: Connection refused. {CHECK}",
            helps=f"As above. Until then `/readyz` answers 503. {PATIENT}",
            command=("api", "--port", "{free}"),
            env=CLOSED,
            on="log",
            until="check_failed",
            code=-signal.SIGTERM,
        ),
        Mistake(
            key="outside-of-the-dev-directory",
            done="`issuebox list` in another directory than `issuebox dev`",
            shown="issuebox: Temporal cannot be reached; try again later. Temporal is expected at 127.0.0.1:…, "
            "namespace default, because TEMPORAL_ADDRESS is not set and no `issuebox dev` runs on .issuebox. Run this "
            "where it was started, or name its data directory with --data.",
            helps="`issuebox list --data DIR`, with the directory that `issuebox dev` printed",
            command=("list",),
            env={"TEMPORAL_CONFIG_FILE": "profile.toml"},
            prepare=places.profile_of_nobody,
            code=3,
        ),
        Mistake(
            key="resync-outside-of-the-dev-directory",
            done="`issuebox resync owner/name` there",
            shown="issuebox: no connection to Temporal: Connection refused. Temporal is expected at 127.0.0.1:…, "
            "namespace default, because TEMPORAL_ADDRESS is not set and no `issuebox dev` runs on .issuebox. Run this "
            "where it was started, or name its data directory with --data.",
            helps="As above.",
            command=("resync", "octo/repo"),
            env={"TEMPORAL_CONFIG_FILE": "profile.toml"},
            prepare=places.profile_of_nobody,
            code=3,
        ),
        Mistake(
            key="temporal-away",
            done="Any command, and no Temporal runs at `TEMPORAL_ADDRESS`",
            shown="issuebox: Temporal cannot be reached; try again later. Temporal is expected at 127.0.0.1:…, "
            f"namespace default; {DOCTOR}",
            helps="Start it, or correct the address.",
            command=("show", "1"),
            env=CLOSED,
            code=3,
        ),
        Mistake(
            key="wrong-namespace",
            done="Any command with a `TEMPORAL_NAMESPACE` that does not exist",
            shown="issuebox: Temporal does not know the namespace. Temporal is expected at …, "
            f"namespace nowhere; {DOCTOR}",
            helps="Correct the name.",
            command=("list",),
            env={**TEMPORAL, "TEMPORAL_NAMESPACE": "nowhere"},
            code=3,
        ),
        Mistake(
            key="tls-to-a-server-without",
            done="`TEMPORAL_TLS=true`, and the server has no TLS",
            shown="issuebox: Temporal cannot be reached; try again later. Temporal is expected at …, namespace "
            f"default; {DOCTOR}",
            helps="Unset `TEMPORAL_TLS`.",
            command=("list",),
            env={**TEMPORAL, "TEMPORAL_TLS": "true"},
            code=3,
        ),
        Mistake(
            key="something-else-at-that-address",
            done="`TEMPORAL_ADDRESS` is the address of the API",
            shown="issuebox: Temporal cannot be reached; try again later. Temporal is expected at 127.0.0.1:…, "
            f"namespace default; {DOCTOR}",
            helps="Temporal's own port is 7233; 8233 is that of its Web UI.",
            command=("list",),
            env={"TEMPORAL_ADDRESS": "127.0.0.1:{api_port}"},
            code=3,
        ),
    ),
)

WRONG_SETTINGS = Symptom(
    "A process ends at once and names a setting",
    (
        Mistake(
            key="no-daytona-key",
            done="`issuebox worker` without `DAYTONA_API_KEY`",
            shown="issuebox: a setting is wrong: DAYTONA_API_KEY is not set",
            helps="`issuebox connect daytona`, or set it.",
            command=("worker",),
            env=CLOSED,
            code=2,
        ),
        Mistake(
            key="several-wrong-settings",
            done="Several wrong settings at once",
            shown="issuebox: these settings are wrong: DAYTONA_API_URL='ftp://x' has to be an http or https URL "
            "without a user or query ISSUEBOX_GRACE_S='soon' has to be a duration such as 90, 90s, 30m, 12h or 7d, at "
            "most 10m",
            helps="All are told at once. [All settings](reference/settings.md).",
            command=("worker",),
            env={**KEY, "ISSUEBOX_GRACE_S": "soon", "DAYTONA_API_URL": "ftp://x"},
            code=2,
        ),
        Mistake(
            key="misspelt-setting",
            done="A misspelt setting",
            shown="issuebox: a setting is wrong: ISSUEBOX_ALOWED_REPOSITORIES is not a setting: did you mean "
            "ISSUEBOX_ALLOWED_REPOSITORIES?",
            helps="Correct it. A name that resembles none is only warned of.",
            command=("api",),
            env={"ISSUEBOX_ALOWED_REPOSITORIES": "acme/*"},
            code=2,
        ),
        Mistake(
            key="pem-that-is-none",
            done="`ISSUEBOX_GITHUB_APP_PRIVATE_KEY` is the name of a file",
            shown="issuebox: a setting is wrong: ISSUEBOX_GITHUB_APP_PRIVATE_KEY has to be a private key as GitHub "
            "issues it, a PEM text without a passphrase; to name its file, set ISSUEBOX_GITHUB_APP_PRIVATE_KEY_FILE",
            helps="Set the variable with `_FILE`.",
            command=("worker",),
            env={**KEY, "ISSUEBOX_GITHUB_APP_ID": "1", "ISSUEBOX_GITHUB_APP_PRIVATE_KEY": "/etc/app.pem"},
            code=2,
        ),
        Mistake(
            key="secret-file-missing",
            done="A `…_FILE` that does not exist",
            shown="issuebox: a setting is wrong: ISSUEBOX_API_TOKENS_FILE='nowhere/tokens' cannot be read: No such "
            "file or directory",
            helps="Name the file, and let the process's user read it.",
            command=("api",),
            env={"ISSUEBOX_API_TOKENS_FILE": "nowhere/tokens"},
            code=2,
        ),
        Mistake(
            key="secret-twice",
            done="A secret and its `_FILE`, both set",
            shown="issuebox: a setting is wrong: ISSUEBOX_API_TOKENS and ISSUEBOX_API_TOKENS_FILE are both set: set "
            "one of them",
            helps="Unset one.",
            command=("api",),
            env={"ISSUEBOX_API_TOKENS": "t", "ISSUEBOX_API_TOKENS_FILE": "tokens"},
            code=2,
        ),
        Mistake(
            key="key-with-a-blank",
            done="A key with white space in it",
            shown="issuebox: a setting is wrong: DAYTONA_API_KEY has to be one word of visible ASCII characters",
            helps="Copy it anew.",
            command=("worker",),
            env={"DAYTONA_API_KEY": "two words"},
            code=2,
        ),
        Mistake(
            key="wrong-prefix",
            done="`ISSUEBOX_NAME_PREFIX` with a blank",
            shown="issuebox: a setting is wrong: ISSUEBOX_NAME_PREFIX='my issue-' has to be at most 80 letters, "
            "digits, '.', '_' and '-', beginning with a letter or digit",
            helps="Every process needs the same one.",
            command=("list",),
            env={"ISSUEBOX_NAME_PREFIX": "my issue-"},
            code=2,
        ),
        Mistake(
            key="times-in-the-wrong-order",
            done="Times after a close in the wrong order",
            shown="issuebox: a setting is wrong: ISSUEBOX_CLOSE_DELETE_AFTER_S (60 s) has to be at least "
            "ISSUEBOX_CLOSE_ARCHIVE_AFTER_S (86400 s), or negative for never: the sandbox is stopped, then archived, "
            "then deleted",
            helps="Change one of them.",
            command=("worker",),
            env={**KEY, "ISSUEBOX_CLOSE_DELETE_AFTER_S": "60s", "ISSUEBOX_CLOSE_STOP_AFTER_S": "0"},
            code=2,
        ),
        Mistake(
            key="temporal-address-is-a-url",
            done="`TEMPORAL_ADDRESS` with `http://`",
            shown="issuebox: TEMPORAL_ADDRESS must be host:port, such as 127.0.0.1:7233, not 'http://temporal:7233'",
            helps="Leave `http://` out.",
            command=("list",),
            env={"TEMPORAL_ADDRESS": "http://temporal:7233"},
            code=2,
        ),
        Mistake(
            key="no-such-profile",
            done="`TEMPORAL_PROFILE` names no profile",
            shown="issuebox: Temporal's configuration (TEMPORAL_*) cannot be loaded: Profile 'nosuch' not found",
            helps="`temporal config list --profile nosuch`",
            command=("api",),
            env={"TEMPORAL_PROFILE": "nosuch"},
            code=2,
        ),
        Mistake(
            key="temporal-config-is-no-toml",
            done="`TEMPORAL_CONFIG_FILE` is no TOML",
            shown="issuebox: Temporal's configuration (TEMPORAL_*) cannot be loaded: …",
            helps="Correct the line that it quotes.",
            command=("list",),
            env={"TEMPORAL_CONFIG_FILE": "bad.toml"},
            prepare=places.bad_toml,
            code=2,
        ),
        Mistake(
            key="temporal-certificate-is-none",
            done="`TEMPORAL_TLS_CLIENT_CERT_DATA` is no PEM text",
            shown="issuebox: TEMPORAL_TLS_CLIENT_CERT_DATA or TEMPORAL_TLS_CLIENT_CERT_PATH has to be a PEM text with "
            "a certificate",
            helps="Give the text to `…_DATA`, or the file's name to `…_PATH`.",
            command=("worker",),
            env={**KEY, **CLOSED, "TEMPORAL_TLS_CLIENT_CERT_DATA": "client.pem"},
            code=2,
        ),
    ),
)

WARNINGS = Symptom(
    "A process begins, and warns",
    (
        Mistake(
            key="secret-that-can-be-guessed",
            done="A webhook secret or a token of one character",
            shown="setting_dangerous: a secret of less than 16 characters can be guessed. Take a random one, such as "
            "that of: openssl rand -hex 32",
            helps="Do what it says, and give GitHub or your programs the new one.",
            command=("api", "--port", "{free}"),
            env={**CLOSED, "ISSUEBOX_API_TOKENS": "x"},
            on="log",
            until="setting_dangerous",
            code=-signal.SIGTERM,
        ),
        Mistake(
            key="everybody-may-ask",
            done="Nothing says who may ask for a sandbox",
            shown="setting_dangerous: everybody who may open an issue in a connected repository may ask for a sandbox. "
            "Before you connect a public repository: docs/who-may-ask.md.",
            helps="[Say who may ask](who-may-ask.md). In private repositories it may be meant.",
            command=("api", "--port", "{free}"),
            env={**CLOSED, "ISSUEBOX_WEBHOOK_SECRETS": "a-secret-of-more-than-16-characters"},
            on="log",
            until="setting_dangerous",
            code=-signal.SIGTERM,
        ),
    ),
)

ADDRESSES = Symptom(
    "An address or a port",
    (
        Mistake(
            key="port-in-use",
            done="`issuebox api` on a port that is in use",
            shown="api_start_failed: 127.0.0.1:… cannot be bound: address already in use. Give another --host or "
            "--port",
            helps="End what listens there (`ss -ltnp`), or give another port.",
            command=("api", "--port", "{api_port}"),
            env=CLOSED,
            on="log",
            code=3,
        ),
        Mistake(
            key="host-that-is-none",
            done="`issuebox api --host` with an address of another machine",
            shown="api_start_failed: 203.0.113.1:… cannot be bound: cannot assign requested address. Give another "
            "--host or --port",
            helps="127.0.0.1 for this machine alone, 0.0.0.0 for everybody.",
            command=("api", "--host", "203.0.113.1", "--port", "{free}"),
            env=CLOSED,
            on="log",
            code=3,
        ),
        Mistake(
            key="admin-address-in-use",
            done="Two workers with one `ISSUEBOX_ADMIN_ADDRESS`",
            shown="worker_start_failed: ISSUEBOX_ADMIN_ADDRESS=127.0.0.1:… cannot be bound: address already in use",
            helps="Give each worker of a machine its own.",
            command=("worker",),
            env={**KEY, **CLOSED, "ISSUEBOX_ADMIN_ADDRESS": "127.0.0.1:{api_port}"},
            on="log",
            code=3,
        ),
        Mistake(
            key="admin-address-of-the-api-in-use",
            done="An API with the `ISSUEBOX_ADMIN_ADDRESS` of a worker, or of another API",
            shown="api_start_failed: ISSUEBOX_ADMIN_ADDRESS=127.0.0.1:… cannot be bound: address already in use. Give "
            "each process of a machine its own",
            helps="As above.",
            command=("api", "--port", "{free}"),
            env={**CLOSED, "ISSUEBOX_ADMIN_ADDRESS": "127.0.0.1:{api_port}"},
            on="log",
            code=3,
        ),
        Mistake(
            key="exporter-without-an-address",
            done="`issuebox exporter` without `ISSUEBOX_ADMIN_ADDRESS`",
            shown="issuebox: a setting is wrong: ISSUEBOX_ADMIN_ADDRESS is not set",
            helps="Set it: Prometheus reads the exporter there.",
            command=("exporter",),
            env=CLOSED,
            code=2,
        ),
        Mistake(
            key="check-without-an-address",
            done="`issuebox worker --check` without `ISSUEBOX_ADMIN_ADDRESS`",
            shown="issuebox: ISSUEBOX_ADMIN_ADDRESS is not set: the worker answers no checks",
            helps="Set it for the worker and for the check.",
            command=("worker", "--check"),
            code=2,
        ),
        Mistake(
            key="check-of-nobody",
            done="`issuebox worker --check`, and no worker runs there",
            shown="issuebox: the worker at 127.0.0.1:… does not answer: [Errno 111] Connection refused",
            helps="See the worker's log.",
            command=("worker", "--check"),
            env={"ISSUEBOX_ADMIN_ADDRESS": "127.0.0.1:{closed}"},
            code=3,
        ),
        Mistake(
            key="check-of-something-else",
            done="`issuebox worker --check` at the address of the API",
            shown="issuebox: what answers at 127.0.0.1:… is no worker",
            helps="Correct `ISSUEBOX_ADMIN_ADDRESS`.",
            command=("worker", "--check"),
            env={"ISSUEBOX_ADMIN_ADDRESS": "127.0.0.1:{api_port}"},
            code=3,
        ),
        Mistake(
            key="dev-port-in-use",
            done="`issuebox dev --api-port` with a port that is in use",
            shown="issuebox: Port … for api is taken. Choose another with --api-port, or omit the option.",
            helps="Without the option it takes a free one.",
            command=("dev", "--api-port", "{api_port}"),
            code=1,
        ),
    ),
)

DATA = Symptom(
    "The data directory, and other files",
    (
        Mistake(
            key="data-is-a-file",
            done="`issuebox dev --data` with a file",
            shown="issuebox: The data directory …/file cannot be used: it is a file. Name another one with --data.",
            helps="Name a directory, which need not exist.",
            command=("dev", "--data", "file"),
            prepare=places.file,
            code=1,
        ),
        Mistake(
            key="data-cannot-be-written",
            done="`issuebox dev` in a directory that cannot be written",
            shown="issuebox: The data directory /proc/.issuebox cannot be used: no such file or directory. Name "
            "another one with --data.",
            helps="`--data` with a directory of your own",
            command=("dev",),
            cwd="/proc",
            code=1,
        ),
        Mistake(
            key="disk-full",
            done="`issuebox dev`, and the disk is full",
            shown="issuebox: …/full/data/secrets.json: No space left on device. Free some space, or name another "
            "place.",
            helps="Free some space, or name another directory with `--data`.",
            command=("dev", "--data", "full/data"),
            prepare=places.full_disk,
            code=2,
        ),
        Mistake(
            key="data-of-a-stack-that-runs",
            done="`issuebox dev` a second time",
            shown="issuebox: … is in use by another `issuebox dev` (process …). Stop that one, or give another --data.",
            helps="One stack runs on a data directory.",
            command=("dev", "--data", "{data}"),
            code=1,
        ),
        Mistake(
            key="secrets-half-written",
            done="`secrets.json` of the data directory is damaged",
            shown="issuebox: …/data/secrets.json is damaged. Put it back from a copy, or delete it: new secrets are "
            "made, and senders of deliveries and callers of the API have to learn them.",
            helps="Do what it says.",
            command=("dev", "--data", "data"),
            prepare=places.half_written("data/secrets.json"),
            code=1,
        ),
        Mistake(
            key="connection-half-written",
            done="What `issuebox connect` stored is damaged",
            shown="issuebox: …/data/connections/daytona.json is damaged: run `issuebox connect daytona --replace`, or "
            "delete the file",
            helps="Do what it says.",
            command=("dev", "--data", "data"),
            prepare=places.half_written("data/connections/daytona.json"),
            code=2,
        ),
        Mistake(
            key="stack-half-written",
            done="`dev.json` of the data directory is damaged",
            shown="issuebox: Temporal cannot be reached; try again later. Temporal is expected at 127.0.0.1:…, "
            "namespace default, because TEMPORAL_ADDRESS is not set and no `issuebox dev` runs on data. Run this where "
            "it was started, or name its data directory with --data.",
            helps="Start `issuebox dev` again: it writes the file anew.",
            command=("list", "--data", "data"),
            env={"TEMPORAL_CONFIG_FILE": "profile.toml"},
            prepare=places.both(places.half_written("data/dev.json"), places.profile_of_nobody),
            code=3,
        ),
        Mistake(
            key="data-of-a-command-is-a-file",
            done="`issuebox list --data` with a file",
            shown="issuebox: file is not a directory. Name the data directory of an `issuebox dev`.",
            helps="`issuebox dev` prints its data directory.",
            command=("list", "--data", "file"),
            prepare=places.file,
            code=2,
        ),
        Mistake(
            key="doctor-with-a-file",
            done="`issuebox doctor --data` with a file",
            shown="issuebox: file is not a directory. Name the data directory of an `issuebox dev`.",
            helps="As above.",
            command=("doctor", "--data", "file"),
            prepare=places.file,
            code=2,
        ),
        Mistake(
            key="connections-open-to-others",
            done="`issuebox connect daytona`, and others may enter the directory",
            shown="issuebox: …/data/connections is open to others (mode 0755), and secrets go there: run `chmod 700 "
            "…`, or name another directory. Nothing was stored.",
            helps="Do what it says.",
            command=("connect", "daytona", "--data", "data"),
            prepare=places.directory("data/connections", 0o755),
            code=2,
        ),
        Mistake(
            key="ready-file-nowhere",
            done="`issuebox worker --ready-file` in a directory that does not exist",
            shown="worker_start_failed: nowhere/ready cannot be written: No such file or directory",
            helps="Create the directory.",
            command=("worker", "--ready-file", "nowhere/ready"),
            env=WORKER,
            on="log",
            code=3,
        ),
        Mistake(
            key="temporal-cli-that-is-none",
            done="`ISSUEBOX_TEMPORAL_BINARY` is no Temporal CLI",
            shown="issuebox: nowhere is configured, but is not a Temporal CLI that runs here.",
            helps="Unset it: `issuebox dev` finds or fetches one.",
            command=("dev", "--data", "data"),
            env={"ISSUEBOX_TEMPORAL_BINARY": "nowhere"},
            on="both",
            code=1,
        ),
        Mistake(
            key="no-home",
            done="No Temporal CLI on `PATH`, and `HOME` is no directory",
            shown="issuebox: …/file/.cache/issuebox/bin: Not a directory. Name a directory instead.",
            helps="Set `XDG_CACHE_HOME` to a directory that can be written.",
            command=("dev", "--data", "data"),
            env={"HOME": "{cwd}/file", "PATH": "/nowhere", "XDG_CACHE_HOME": ""},
            prepare=places.file,
            on="both",
            code=2,
        ),
        Mistake(
            key="localdaytona-damaged",
            done="`localdaytona --data` with a damaged database",
            shown="… Invalid value: data: file is not a database",
            helps="Delete it, or name another directory: its sandboxes are only for trials.",
            command=("localdaytona", "--port", "0", "--data", "data"),
            prepare=places.half_written("data/localdaytona.sqlite3"),
            code=2,
        ),
    ),
)

DAYTONA_OR_GITHUB = Symptom(
    "Daytona or GitHub refuses",
    (
        Mistake(
            key="worker-with-a-wrong-key",
            done="`issuebox worker` with a wrong `DAYTONA_API_KEY`",
            shown="check_failed: the key is refused: 401: Invalid credentials. …",
            helps="`issuebox connect daytona` checks a new one. The worker works meanwhile, and blocks the issues that "
            "need Daytona.",
            command=("worker",),
            env={**WORKER, "DAYTONA_API_KEY": "wrong"},
            on="log",
            until="check_failed",
            code=0,
        ),
        Mistake(
            key="worker-with-an-unknown-region",
            done="`issuebox worker` with a `DAYTONA_TARGET` that Daytona does not offer",
            shown="check_failed: Daytona offers no region mars, only eu, us. Set DAYTONA_TARGET to one of them, or to "
            "nothing.",
            helps="Do what it says.",
            command=("worker",),
            env={**WORKER, "DAYTONA_TARGET": "mars"},
            on="log",
            until="check_failed",
            code=0,
        ),
        Mistake(
            key="worker-without-github",
            done="`issuebox worker`, and GitHub is not reached",
            shown="check_failed: GitHub cannot be reached: ConnectError. Check ISSUEBOX_GITHUB_API_URL, and that this "
            "machine may reach it.",
            helps=f"Deliveries are served; resync waits. {PATIENT}",
            command=("worker",),
            env={**WORKER, "ISSUEBOX_GITHUB_TOKEN": "t", "ISSUEBOX_GITHUB_API_URL": "https://127.0.0.1:{closed}"},
            on="log",
            until="check_failed",
            code=0,
        ),
        Mistake(
            key="connect-with-a-wrong-key",
            done="`issuebox connect daytona` with a wrong key",
            shown="issuebox: Daytona's key does not fit: refused: 401: Invalid credentials. Nothing was stored.",
            helps="Create one in Daytona's dashboard: Keys.",
            command=("connect", "daytona", "--api-url", "{daytona}/api"),
            env={"DAYTONA_API_KEY": "wrong"},
            on="both",
            code=1,
        ),
        Mistake(
            key="connect-with-an-unknown-region",
            done="`issuebox connect daytona --target` with a region that Daytona does not offer",
            shown="issuebox: Daytona's region does not fit: Daytona offers no region mars, only eu, us. Nothing was "
            "stored.",
            helps="One of those, or leave it out for the organization's own.",
            command=("connect", "daytona", "--api-url", "{daytona}/api", "--target", "mars"),
            env=KEY,
            on="both",
            code=1,
        ),
        Mistake(
            key="connect-with-an-unknown-snapshot",
            done="`issuebox connect daytona --snapshot` with one that does not exist",
            shown="issuebox: Daytona's snapshot does not fit: nosuch does not exist. Nothing was stored.",
            helps="An active snapshot of Daytona's dashboard, or leave it out.",
            command=("connect", "daytona", "--api-url", "{daytona}/api", "--snapshot", "nosuch"),
            env=KEY,
            on="both",
            code=1,
        ),
        Mistake(
            key="connect-to-something-else",
            done="`issuebox connect daytona --api-url` with something that is not Daytona",
            shown="issuebox: Daytona's API does not fit: http://127.0.0.1:…/api does not answer like Daytona: 404: … "
            "Nothing was stored.",
            helps="The URL ends in `/api`.",
            command=("connect", "daytona", "--api-url", "{api}/api"),
            env=KEY,
            on="both",
            code=3,
        ),
        Mistake(
            key="sdk-and-server-do-not-fit",
            done="A Daytona whose answers the SDK cannot read, such as one of a much newer version",
            shown="issuebox: Daytona's API does not fit: http://127.0.0.1:…/api gives no usable answer: … Nothing was "
            "stored.",
            helps="Upgrade issuebox, or name the Daytona that it was made for.",
            command=("connect", "daytona", "--api-url", "{strange}/api"),
            env=KEY,
            on="both",
            code=3,
        ),
        Mistake(
            key="connect-to-nobody",
            done="`issuebox connect daytona`, and Daytona is not reached",
            shown="issuebox: Daytona's API does not fit: http://127.0.0.1:…/api gives no usable answer: Cannot "
            "connect to host … Nothing was stored.",
            helps="Check the URL, a proxy, the firewall.",
            command=("connect", "daytona", "--api-url", "http://127.0.0.1:{closed}/api"),
            env=KEY,
            on="both",
            code=3,
        ),
        Mistake(
            key="connect-without-a-key",
            done="`issuebox connect daytona` in a script, without a key",
            shown="issuebox: there is no key: set DAYTONA_API_KEY, give --key-file, or run this on a terminal. Create "
            "one at https://app.daytona.io/dashboard/keys",
            helps="Do what it says.",
            command=("connect", "daytona"),
            code=2,
        ),
        Mistake(
            key="wrong-webhook-secret",
            done="A delivery that is signed with another secret",
            shown="401 Unauthorized … X-Hub-Signature-256 matches none of the configured secrets …",
            helps="Give GitHub and the API the same secret; during a rotation the API takes several.",
            command=("send", "opened", "--url", "{api}", "--secret", "another-secret"),
            on="out",
            code=1,
        ),
        Mistake(
            key="wrong-token",
            done="`curl` with a wrong token",
            shown="the bearer token is not one of ISSUEBOX_API_TOKENS",
            helps="`issuebox dev` prints its token; else it is the one that you gave the API.",
            command=("curl", "{api}/v1/issues/5/sandbox"),
            on="out",
            code=401,
        ),
        Mistake(
            key="send-to-nobody",
            done="`issuebox send --url`, and no API runs there",
            shown="issuebox: http://127.0.0.1:… cannot be reached: … Give the URL of the API, such as "
            "http://127.0.0.1:8787",
            helps="Start the API, or `issuebox dev`.",
            command=("send", "opened", "--url", "http://127.0.0.1:{closed}", "--secret", "s"),
            code=2,
        ),
        Mistake(
            key="send-without-a-stack",
            done="`issuebox send`, and no `issuebox dev` runs",
            shown="issuebox: no `issuebox dev` runs on .issuebox: start it, name its --data, or give --url and "
            "--secret",
            helps="Do what it says.",
            command=("send", "opened"),
            code=2,
        ),
        Mistake(
            key="resync-of-nothing",
            done="`issuebox resync` without a repository, and none is set",
            shown="issuebox: name a repository, or set ISSUEBOX_RESYNC_REPOSITORIES",
            helps="`issuebox resync owner/name`",
            command=("resync",),
            code=2,
        ),
        Mistake(
            key="resync-of-a-name",
            done="`issuebox resync` with something that is no repository",
            shown="issuebox: 'octo' is not a repository: give owner/name",
            helps="`issuebox resync owner/name`",
            command=("resync", "octo"),
            code=2,
        ),
    ),
)

ISSUES = Symptom(
    "A command finds no issue, or does nothing",
    (
        Mistake(
            key="empty-list",
            done="`issuebox list`, and there are no issues",
            shown="There are no issues yet. Open one in a connected repository, or try `issuebox send opened`, which "
            "sends to a running `issuebox dev` what GitHub would send.",
            helps="Do what it says.",
            command=("list",),
            env={**TEMPORAL, "TEMPORAL_NAMESPACE": "temporal-system"},
            on="out",
            code=0,
        ),
        Mistake(
            key="nothing-fits",
            done="`issuebox list` with options that no issue fits",
            shown="No issue fits.",
            helps="`issuebox list` without options; `--ended` lists those whose workflow is over.",
            command=("list", "--data", "{data}", "--repo", "nobody/nothing"),
            on="out",
            code=0,
        ),
        Mistake(
            key="unknown-issue",
            done="A command about an issue that nobody has asked for",
            shown="issuebox: nobody has asked for a sandbox of issue 99 yet, or its workflow ended so long ago that "
            "Temporal no longer keeps it. `issuebox ensure` requests one. If it is an issue number, not a global ID, "
            "give owner/repo#number.",
            helps="`issuebox show owner/repo#5`: a bare number is GitHub's global ID.",
            command=("show", "99", "--data", "{data}"),
            code=4,
        ),
        Mistake(
            key="unknown-number",
            done="`owner/repo#number` of an issue that issuebox has not met",
            shown="issuebox: no issue is known as octo/repo#99 yet. Its global ID always works: gh api "
            "repos/octo/repo/issues/99 --jq .id. `issuebox ensure ID` requests one.",
            helps="Do what it says.",
            command=("show", "octo/repo#99", "--data", "{data}"),
            code=4,
        ),
        Mistake(
            key="no-name-of-an-issue",
            done="Something that names no issue",
            shown="issuebox: 'five' names no issue: give its global ID, claude-issue-N, owner/repo#number, or its URL",
            helps="Do what it says.",
            command=("show", "five", "--data", "{data}"),
            code=2,
        ),
        Mistake(
            key="other-prefix",
            done="`ISSUEBOX_NAME_PREFIX` is not that of the workers",
            shown="… under names that do not begin with 'other-' …",
            helps="Give every process the same prefix. `issuebox doctor` compares it with the workflows.",
            command=("doctor", "--only", "temporal", "--data", "{data}"),
            env={"ISSUEBOX_NAME_PREFIX": "other-"},
            on="out",
            code=0,
        ),
        Mistake(
            key="force-without-a-terminal",
            done="`issuebox delete --force` in a script",
            shown="issuebox: there is no terminal to ask on; confirm with --yes: Delete the sandbox of 5 with all "
            "unsaved work in it?",
            helps="`--yes`, if that is meant.",
            command=("delete", "5", "--force", "--data", "{data}"),
            code=2,
        ),
        Mistake(
            key="audit-without-a-worker",
            done="`issuebox audit`, and no worker runs",
            shown="issuebox: issuebox-audit-…: waiting for a worker on 'nobody'; `issuebox worker` starts one "
            "issuebox: interrupted",
            helps="Start a worker with the same `ISSUEBOX_TASK_QUEUE`; the audit then goes on.",
            command=("audit",),
            env={**TEMPORAL, "ISSUEBOX_TASK_QUEUE": "nobody"},
            until="waiting for a worker",
            signal=signal.SIGINT,
            code=130,
        ),
        Mistake(
            key="no-such-command",
            done="A command that there is not",
            shown="… No such command 'nosuch'. …",
            helps="`issuebox --help`",
            command=("nosuch",),
            code=2,
        ),
        Mistake(
            key="no-such-delivery",
            done="`issuebox send` with something that GitHub does not send",
            shown="issuebox: 'nosuch' is not an action; use one of: ping, opened, reopened, edited, labeled, assigned, "
            "closed, transferred, deleted, comment",
            helps="Do what it says.",
            command=("send", "nosuch"),
            code=2,
        ),
    ),
)

OUTPUT = Symptom(
    "The terminal and the output",
    (
        Mistake(
            key="title-on-a-latin-1-terminal",
            done="A title with letters that the terminal does not have (`PYTHONIOENCODING=latin-1`)",
            shown="… \\u2192 \\u4e16\\u754c \\U0001f600 …",
            helps="Use a terminal with UTF-8 (`LANG=C.UTF-8`).",
            command=("show", "5", "--data", "{data}"),
            env={"PYTHONIOENCODING": "latin-1"},
            on="out",
            code=0,
        ),
        Mistake(
            key="json-on-an-ascii-terminal",
            done="`--json` on such a terminal",
            shown='… "title": "\\u00dcn\\u00efcode \\u2192 \\u4e16\\u754c \\ud83d\\ude00" …',
            helps="It stays JSON, with the same letters.",
            command=("show", "5", "--json", "--data", "{data}"),
            env={"PYTHONIOENCODING": "ascii"},
            on="out",
            code=0,
        ),
        Mistake(
            key="terminal-without-a-size",
            done="`COLUMNS=0`",
            shown="… octo/repo#5 …",
            helps="It is taken as not set.",
            command=("list", "--data", "{data}"),
            env={"COLUMNS": "0"},
            on="out",
            code=0,
        ),
        Mistake(
            key="reader-has-gone",
            done="`issuebox list | head -1`",
            shown="",
            helps="It ends without a word and with 141, as shells have it for SIGPIPE.",
            command=("list", "--data", "{data}"),
            stdout="broken",
            code=141,
        ),
        Mistake(
            key="output-on-a-full-disk",
            done="Output into a file, and the disk is full",
            shown="issuebox: the output cannot be written: No space left on device. Free some space, or name another "
            "place.",
            helps="Do what it says.",
            command=("list", "--data", "{data}"),
            stdout="full",
            code=2,
        ),
        Mistake(
            key="no-output",
            done="`issuebox list >&-`",
            shown="",
            helps="Nothing is shown, and the exit code is that of the command.",
            command=("list", "--data", "{data}"),
            stdout="closed",
            code=0,
        ),
    ),
)

INTERRUPTED = Symptom(
    "Ctrl-C",
    (
        *(
            Mistake(
                key=f"interrupted-{command[0]}",
                done=f"Ctrl-C in `issuebox {command[0]}`",
                shown="issuebox: interrupted",
                helps="The exit code is 130. What Temporal has stored by then goes on.",
                command=command,
                env=STALLED,
                until="a connection",
                signal=signal.SIGINT,
                code=130,
            )
            for command in (("show", "1"), ("ensure", "1"), ("stop", "1"), ("resync", "octo/repo"), ("doctor",))
        ),
        Mistake(
            key="interrupted-worker",
            done="Ctrl-C in `issuebox worker`",
            shown="worker_stopping: stopped before Temporal was reached",
            helps="It ends in order, with 0.",
            command=("worker",),
            env={**KEY, **CLOSED},
            on="log",
            until="check_failed",
            signal=signal.SIGINT,
            code=0,
        ),
        Mistake(
            key="interrupted-api",
            done="Ctrl-C in `issuebox api`",
            shown="Application shutdown complete.",
            helps="It ends in order, with 0.",
            command=("api", "--port", "{free}"),
            env=CLOSED,
            on="log",
            until="Uvicorn running",
            signal=signal.SIGINT,
            code=0,
        ),
        Mistake(
            key="interrupted-connect",
            done="Ctrl-C in `issuebox connect github`",
            shown="… Interrupted. Nothing was stored. …",
            helps="Run it again.",
            command=("connect", "github", "--no-browser"),
            on="out",
            until="Open this page",
            signal=signal.SIGINT,
            code=130,
        ),
        Mistake(
            key="interrupted-dev",
            done="Ctrl-C in `issuebox dev`",
            shown="… issuebox │ Stopping. …",
            helps="It stops its parts in order, and ends with 0. A second Ctrl-C kills them.",
            command=("dev", "--data", "data"),
            on="out",
            until="temporal │",
            signal=signal.SIGINT,
            code=0,
        ),
    ),
)

SYMPTOMS = (TEMPORAL_AWAY, WRONG_SETTINGS, WARNINGS, ADDRESSES, DATA, DAYTONA_OR_GITHUB, ISSUES, OUTPUT, INTERRUPTED)
MISTAKES = tuple(mistake for symptom in SYMPTOMS for mistake in symptom.mistakes)
