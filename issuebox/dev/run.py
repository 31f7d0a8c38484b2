"""`issuebox dev`: runs Temporal, localdaytona, worker and API on this machine, on loopback.

Nothing else may start processes. `issuebox.dev.services` describes what runs, `issuebox.dev.supervisor`
keeps it alive, and `issuebox.dev.dev_stack` publishes it.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from issuebox.connections import Connected, added_to, directory_of, read
from issuebox.dangers import open_to_others
from issuebox.dev import dev_stack, services
from issuebox.dev.dev_stack import DEFAULT_DATA_DIR, DevError, DevSecrets, DevStack, choose_port
from issuebox.dev.mock_delivery import MockIssue, build
from issuebox.dev.services import Ports, Surroundings
from issuebox.dev.supervisor import Reporter, ServiceFailedError, Supervisor
from issuebox.dev.temporal_server import DevServer, TemporalBinaryError, ensure_binary
from issuebox.environment import SettingsError, load, load_both
from issuebox.settings import WorkerSettings
from issuebox.temporal.connect import connect
from issuebox.temporal.search_attributes import register_or_say
from issuebox.temporal.web_ui import list_url

STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
CLUSTER_TIMEOUT_S: Final = 15.0
LOG_BYTES_MAX: Final = 10 * 1024 * 1024
READ_BYTES: Final = 1024
SAMPLE_REPOSITORY: Final = "o/r"
STYLES: Final[Mapping[str, str]] = {
    "temporal": "magenta",
    "localdaytona": "yellow",
    "worker": "green",
    "api": "cyan",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DevOptions:
    """What the user may choose. A port that is None is the usual one when free, any free one otherwise."""

    data_dir: Path = DEFAULT_DATA_DIR
    api_port: int | None = None
    temporal_port: int | None = None
    ui_port: int | None = None
    daytona_port: int | None = None
    temporal_binary: Path | None = None
    daytona_speed: float = 1.0
    quiet: bool = False
    is_attached: bool = False
    """End when standard input does: a program that starts the stack holds the other end, and may be killed."""


async def run_dev(options: DevOptions) -> int:
    """Run the stack until a signal or a failure, and return the exit code.

    Safe to repeat on one data directory, which keeps workflows, sandboxes and secrets. A second run
    at the same time is refused.
    """
    console = _Console(highlight=False)
    data_dir = options.data_dir.absolute()
    try:
        inherited = added_to(os.environ, directory_of(data_dir))
        load_both(inherited)
        with dev_stack.claimed(data_dir) as lock:
            stack = _Stack(options, data_dir, inherited, lock, console)
            return await _until_signalled(stack, is_attached=options.is_attached)
    except SettingsError as error:
        _complain("\n".join(error.mistakes))
        return 2
    except (DevError, ServiceFailedError, TemporalBinaryError) as error:
        _complain(str(error))
        return 1


def _complain(text: str) -> None:
    Console(stderr=True, highlight=False).print(Text(f"issuebox: {text}", style="red"), soft_wrap=True)


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Whoever read this is gone, and the parts still have to be ended in order."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Stack:
    """One run of everything, between the claim of the data directory and its release."""

    def __init__(
        self, options: DevOptions, data_dir: Path, inherited: dict[str, str], lock: int, console: Console
    ) -> None:
        self._options = options
        self._console = console
        self._started_s = time.monotonic()
        self._is_ready = False
        self._around = Surroundings(
            data_dir=data_dir,
            ports=_choose_ports(options, inherited),
            secrets=DevSecrets.load_or_create(data_dir),
            daytona_speed=options.daytona_speed,
            inherited=inherited,
        )
        log_dir = data_dir / "logs"
        log_dir.mkdir(exist_ok=True)
        _rotate(log_dir)
        reporter = Reporter(say=self.say, show=self._show, changed=self._publish)
        self.supervisor = Supervisor(log_dir, reporter, inherited=[lock])
        self._publish()

    async def run(self) -> None:
        """Start the parts in the order of their dependencies, print how to use them, and supervise them."""
        around = self._around
        await self._start_temporal()
        await register_or_say(await connect(environment=around.environment()), self.say)
        if around.ports.daytona:
            await self.supervisor.start(services.daytona_service(around, around.ports.daytona))
        await self.supervisor.start(services.worker_service(around))
        await self.supervisor.start(services.api_service(around))
        self._is_ready = True
        self._publish()
        self._welcome()
        for danger in open_to_others("data directory", around.data_dir):
            self.say(f"Warning: {danger.reason}. {danger.advice}")
        await self.supervisor.watch()

    async def stop(self) -> None:
        """Stop the parts in reverse order, and unpublish the stack."""
        self.say("Stopping.")
        await self.supervisor.stop()
        dev_stack.forget(self._around.data_dir)

    def say(self, text: str) -> None:
        """Print a line of our own, distinguishable from the lines of the parts."""
        self._show("issuebox", text)

    async def _start_temporal(self) -> None:
        around = self._around
        if around.ports.temporal is None or around.ports.ui is None:
            await self._await_cluster()
            return
        server = DevServer(
            binary=await ensure_binary(self._options.temporal_binary, self.say),
            database=around.data_dir / "temporal.db",
            port=around.ports.temporal,
            ui_port=around.ports.ui,
            log_level="error",  # At "warn" it reports each of its own connections when it stops.
        )
        await self.supervisor.start(services.temporal_service(server, around))

    async def _await_cluster(self) -> None:
        """Wait for the given cluster, so that a wrong address is reported here and not in a worker's log."""
        address = os.environ["TEMPORAL_ADDRESS"]
        try:
            async with asyncio.timeout(CLUSTER_TIMEOUT_S):
                while not await services.has_namespace(self._around.environment()):  # noqa: ASYNC110
                    await asyncio.sleep(1.0)
        except TimeoutError as error:
            message = f"Temporal at {address} (TEMPORAL_ADDRESS) did not answer for its namespace"
            raise DevError(f"{message} within {CLUSTER_TIMEOUT_S:.0f} s.") from error

    def _publish(self) -> None:
        around, ports = self._around, self._around.ports
        environment = around.environment()
        DevStack(
            pid=os.getpid(),
            is_ready=self._is_ready,
            api_url=around.api_url,
            api_token=around.api_token,
            webhook_secret=around.webhook_secret,
            temporal_address=environment["TEMPORAL_ADDRESS"],
            temporal_namespace=environment.get("TEMPORAL_NAMESPACE", services.NAMESPACE),
            temporal_ui_url=f"http://{dev_stack.LOOPBACK}:{ports.ui}" if ports.ui else None,
            daytona_api_url=services.worker_service(around).environment.get("DAYTONA_API_URL", ""),
            daytona_page_url=around.daytona_page_url,
            daytona_api_key=around.secrets.daytona_api_key if ports.daytona else None,
            run_log_dir=environment["ISSUEBOX_RUN_LOG_DIR"],
            processes=self.supervisor.pids,
        ).write(around.data_dir)

    def _show(self, name: str, line: str) -> None:
        if self._options.quiet and name in STYLES:
            return
        prefix = Text(f"{name:>12} │ ", style=STYLES.get(name, "bold"))
        self._console.print(prefix + Text.from_ansi(line), soft_wrap=True)

    def _welcome(self) -> None:
        """Print a panel of addresses, and commands to paste, which stand outside any frame."""
        around = self._around
        table = Table.grid(padding=(0, 2))
        for name, place in _places(around):
            table.add_row(Text(name, style="bold"), Text(place))
        seconds = time.monotonic() - self._started_s
        self._console.print(Panel(table, title=f"issuebox is ready ({seconds:.1f} s)", expand=False))
        for heading, commands in [*_addresses(around), *_commands(around)]:
            self._console.print(Text(f"\n{heading}", style="bold"))
            self._console.print(Text("\n".join(commands)), soft_wrap=True)
        self._console.print()


async def _until_signalled(stack: _Stack, *, is_attached: bool) -> int:
    """Run until done, signalled or detached, then stop in order; a second signal kills what still runs."""
    loop = asyncio.get_running_loop()
    signalled = asyncio.Event()

    def on_signal() -> None:
        if signalled.is_set():
            stack.supervisor.hurry()
        signalled.set()

    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, on_signal)
    work = asyncio.create_task(stack.run())
    reasons: list[asyncio.Task[Any]] = [asyncio.create_task(signalled.wait())]
    if is_attached:
        reasons.append(asyncio.create_task(_detached()))
    try:
        await asyncio.wait({work, *reasons}, return_when=asyncio.FIRST_COMPLETED)
        work.cancel()
        await asyncio.wait({work})
    finally:
        for reason in reasons:
            reason.cancel()
        await stack.stop()
        for number in STOP_SIGNALS:
            loop.remove_signal_handler(number)
    if not work.cancelled():
        work.result()  # Raises what ended the stack: without a signal only a failure does.
    return 0


async def _detached() -> None:
    """Return when standard input ends, as it does when the process at its other end dies, however it dies."""
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    try:
        while await reader.read(READ_BYTES):
            pass  # What is said is ignored.
    finally:
        transport.close()


def _choose_ports(options: DevOptions, environment: Mapping[str, str]) -> Ports:
    taken: set[int] = set()

    def choose(name: str, given: int | None, preferred: int) -> int:
        port = choose_port(name, given, preferred, taken)
        taken.add(port)
        return port

    has_cluster = bool(environment.get("TEMPORAL_ADDRESS"))
    has_daytona = bool(load(WorkerSettings, environment).daytona_api_key.get_secret_value())
    return Ports(
        api=choose("api", options.api_port, 8787),
        temporal=None if has_cluster else choose("temporal", options.temporal_port, 7233),
        ui=None if has_cluster else choose("ui", options.ui_port, 8233),
        daytona=None if has_daytona else choose("daytona", options.daytona_port, 3986),
    )


def _places(around: Surroundings) -> list[tuple[str, str]]:
    ports = around.ports
    ui = f"http://{dev_stack.LOOPBACK}:{ports.ui}" if ports.ui else f"cluster at {os.environ['TEMPORAL_ADDRESS']}"
    return [
        ("Status page", f"{around.api_url}/status"),
        ("API and its documentation", f"{around.api_url}/docs"),
        ("Temporal Web UI", ui),
        ("Sandboxes (localdaytona)", around.daytona_page_url or _daytona(around)),
        ("GitHub", _github(around)),
        ("Data, logs and secrets", str(around.data_dir)),
    ]


def _daytona(around: Surroundings) -> str:
    settings = load(WorkerSettings, around.inherited)
    return f"not started: sandboxes are at {settings.daytona_api_url}"


def _github(around: Surroundings) -> str:
    """Where issues come from."""
    app_id = load(WorkerSettings, around.inherited).github_app_id
    if not app_id:
        return "not connected (the command is below)"
    stored = read(directory_of(around.data_dir), Connected.GITHUB)
    is_stored = stored is not None and stored.settings.get("ISSUEBOX_GITHUB_APP_ID") == app_id
    return stored.facts.get("page", "") if stored and is_stored else f"App {app_id}"


def _addresses(around: Surroundings) -> list[tuple[str, Sequence[str]]]:
    """What to open in a browser. A browser sends nothing behind the # to a server."""
    token = quote(around.api_token, safe="")
    found: list[tuple[str, Sequence[str]]] = [
        ("Open the status page, with the token:", [f"{around.api_url}/status#token={token}"])
    ]
    if around.ports.ui:
        view = list_url(f"http://{dev_stack.LOOPBACK}:{around.ports.ui}", services.NAMESPACE)
        found.append(("Open the issues in Temporal's Web UI:", [view]))
    return found


def _commands(around: Surroundings) -> list[tuple[str, Sequence[str]]]:
    """What to try first, to be pasted into a shell."""
    mock = build("opened", MockIssue(1, SAMPLE_REPOSITORY), around.webhook_secret)
    webhook = _curl(f"{around.api_url}/webhooks/github", mock.headers, mock.body.decode())
    sandbox_url = f"{around.api_url}/v1/issues/1/sandbox"

    return [
        (
            "Open an issue, as GitHub would:",
            [_ours(around, "send", "opened", "--issue", "1", "--repo", SAMPLE_REPOSITORY)],
        ),
        (
            "Wait for its sandbox, and run something in it:",
            [_ours(around, "wait", "1"), _ours(around, "exec", "1", after=["--", "uname", "-a"])],
        ),
        ("See all issues, until Ctrl-C:", [_ours(around, "list", "--watch")]),
        ("Send the same delivery by hand:", [webhook]),
        ("Ask the API for the sandbox:", [_curl(sandbox_url, {"Authorization": f"Bearer {around.api_token}"})]),
        *_next_steps(around),
    ]


def _next_steps(around: Surroundings) -> list[tuple[str, Sequence[str]]]:
    """How to connect what is not connected yet."""
    is_missing = {
        "github": not load(WorkerSettings, around.inherited).github_app_id,
        "daytona": around.ports.daytona is not None,
    }
    commands = [_ours(around, "connect", part) for part, missing in is_missing.items() if missing]
    return [("Go on to the real ones:", commands)] if commands else []


def _ours(around: Surroundings, *words: str, after: Sequence[str] = ()) -> str:
    """A command of ours, which finds this stack from every directory."""
    return f"{_issuebox()} {shlex.join([*words, '--data', str(around.data_dir), *after])}"


def _issuebox() -> str:
    """How a shell somewhere else calls this installation. `uv run` and an activated environment change only their own.

    A link on the PATH, as `uv tool install` and pipx make one, is found everywhere.
    """
    script = Path(sys.executable).with_name("issuebox")
    found = shutil.which("issuebox")
    if found is not None and Path(found).parent != script.parent and Path(found).resolve() == script.resolve():
        return "issuebox"
    return shlex.quote(str(script)) if script.exists() else shlex.join([sys.executable, "-P", "-m", "issuebox"])


def _curl(url: str, headers: Mapping[str, str], body: str | None = None) -> str:
    """A command to paste into a shell."""
    flags = [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]
    data = [] if body is None else ["--data-raw", body]
    return shlex.join(["curl", "-sS", *flags, *data, url])


def _rotate(log_dir: Path) -> None:
    """Keep one older file of each log, so that many runs cannot fill the disk."""
    for log in log_dir.glob("*.log"):
        if log.stat().st_size > LOG_BYTES_MAX:
            log.replace(log.with_suffix(".log.1"))
