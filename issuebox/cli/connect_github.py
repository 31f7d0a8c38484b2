"""The command line of `issuebox connect github`: registers a GitHub App in the browser and stores its secrets.

What comes back from GitHub is neither printed nor logged. Only the App's ID, its name and its pages are.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from issuebox.cli.command_line import DATA, Exit
from issuebox.cli.connect import Data, NotConnectedError, Out, Place, Progress, Replace, checked, complete, say

if TYPE_CHECKING:
    from issuebox.connect.local_page import Done
    from issuebox.connect.manifest import Wanted
    from issuebox.connections import Connection
    from issuebox.providers.github_app import App, Installation, Registration

GITHUB = "https://github.com"
APP_ID, PRIVATE_KEY = "ISSUEBOX_GITHUB_APP_ID", "ISSUEBOX_GITHUB_APP_PRIVATE_KEY"
WEBHOOK_SECRETS, API_URL = "ISSUEBOX_WEBHOOK_SECRETS", "ISSUEBOX_GITHUB_API_URL"
RESYNC = "ISSUEBOX_RESYNC_REPOSITORIES"
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
LOCAL_API = "http://127.0.0.1:8787"
POLL_S = 2.0
TUNNEL_S = 30.0
NAMED_MAX = 10


@dataclass(frozen=True, slots=True)
class Choices:
    """What the person gave."""

    place: Place
    organization: str
    name: str
    webhook_url: str
    tunnel: str
    github_url: str
    port: int
    timeout_s: float
    opens_browser: bool
    is_replacing: bool


def github(
    *,
    data: Data = DATA,
    out: Out = None,
    org: Annotated[str, typer.Option(help="Organization that should own the App. Default: your own account.")] = "",
    name: Annotated[str, typer.Option(help="Name of the App, unique at GitHub. You can change it there.")] = "",
    webhook_url: Annotated[str, typer.Option(help="Public https address of the API, for GitHub's deliveries.")] = "",
    tunnel: Annotated[
        str, typer.Option(help="Your tunnel's command. It prints the public address; {url} in it becomes the API's.")
    ] = "",
    github_url: Annotated[str, typer.Option(help="GitHub's own address, for GitHub Enterprise.")] = GITHUB,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the local page. Default: any free one.")] = 0,
    timeout: Annotated[float, typer.Option(min=1, max=3600, help="Seconds to wait for the browser, twice.")] = 600.0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page, or only print it.")] = True,
    replace: Replace = False,
) -> None:
    """Register a GitHub App for issuebox, store its key and webhook secret, and see where it is installed.

    Run it again to look where the App is installed now, or to give it another --webhook-url or --tunnel.
    """
    choices = Choices(
        Place(data, out), org, name, webhook_url, tunnel, github_url.rstrip("/"), port, timeout, browser, replace
    )

    async def work(progress: Progress) -> Exit:
        _require_sense(choices)
        return await _with_address(choices, progress)

    complete(work)


def _require_sense(choices: Choices) -> None:
    """Raise for what cannot work, before anything is begun."""
    import re  # noqa: PLC0415
    from urllib.parse import urlsplit  # noqa: PLC0415

    from issuebox.connect.manifest import NAME_MAX  # noqa: PLC0415

    parts = urlsplit(choices.github_url)
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
    if not (is_safe and parts.hostname) or parts.path or parts.query or "@" in parts.netloc:
        raise NotConnectedError(f"--github-url {choices.github_url!r} is no https address of a GitHub", Exit.MISUSE)
    if not re.fullmatch(r"[A-Za-z0-9-]{0,39}", choices.organization):
        raise NotConnectedError(f"--org {choices.organization!r} is no organization's name", Exit.MISUSE)
    if len(choices.name) > NAME_MAX:
        raise NotConnectedError(f"--name may have {NAME_MAX} characters at most: GitHub refuses more", Exit.MISUSE)


async def _with_address(choices: Choices, progress: Progress) -> Exit:
    """Find out where GitHub should deliver, connect, and keep the tunnel open."""
    from issuebox.connect import tunnel  # noqa: PLC0415
    from issuebox.connect.webhook import AddressError, webhook_address  # noqa: PLC0415
    from issuebox.connections import prepare  # noqa: PLC0415
    from issuebox.dev.dev_stack import DevStack  # noqa: PLC0415

    try:
        address = webhook_address(choices.webhook_url) if choices.webhook_url else ""
        prepare(choices.place.directory)
        if not choices.tunnel:
            return await _connect(choices, address, progress)
        stack = DevStack.lookup(choices.place.data)
        async with tunnel.running(choices.tunnel, stack.api_url if stack else LOCAL_API) as opened:
            address = address or webhook_address(await opened.url(TUNNEL_S))
            say(f"The tunnel is open: {address}")
            code = await _connect(choices, address, progress)
            say("The tunnel stays open until Ctrl-C. GitHub's deliveries need it.")
            progress.code = code
            progress.said = "The tunnel is closed: GitHub's deliveries fail until it is open again."
            ended = await opened.ended()
            raise NotConnectedError(f"the tunnel ended with exit code {ended}: GitHub's deliveries fail", Exit.NO)
    except AddressError as error:
        raise NotConnectedError(str(error), Exit.MISUSE) from error
    except tunnel.TunnelError as error:
        code = Exit.MISUSE if error.is_misuse else Exit.NO
        raise NotConnectedError(f"{error}\n{progress.said}", code) from error


async def _connect(choices: Choices, address: str, progress: Progress) -> Exit:
    """Register an App, or go on with the one that is stored; then see where it is installed, and check."""
    import os  # noqa: PLC0415

    from issuebox.connections import Connected  # noqa: PLC0415
    from issuebox.doctor.check_results import Part  # noqa: PLC0415
    from issuebox.providers.github_app import GitHubAppError  # noqa: PLC0415

    stored = choices.place.existing(Connected.GITHUB, is_replacing=choices.is_replacing)
    try:
        if stored is None:
            stored = await _register(choices, address, progress)
        else:
            stored = await _go_on(choices, stored, address)
        _tell_address(choices, stored)
        progress.said = f"{_named(stored)} is stored in {choices.place.directory}. Run this again to go on."
        stored = await _see_installations(choices, stored)
    except GitHubAppError as error:
        raise NotConnectedError(f"{error}. {progress.said}", Exit.AWAY if error.is_away else Exit.NO) from error
    choices.place.tell(stored, os.environ)
    return await checked(Part.GITHUB, choices.place, leaving_out=("API token",))


async def _register(choices: Choices, address: str, progress: Progress) -> Connection:
    """Show what is asked, send the browser to GitHub, and store what comes back."""
    import asyncio  # noqa: PLC0415
    import secrets  # noqa: PLC0415

    from issuebox.connect import local_page  # noqa: PLC0415
    from issuebox.connect.manifest import Wanted, apps_url, manifest, registration_url  # noqa: PLC0415

    name = choices.name or f"issuebox-{secrets.token_hex(3)}"
    wanted = Wanted(choices.github_url, name, choices.organization, address)
    exchange = _Exchange(choices, wanted)
    offer = local_page.Offer(
        manifest=lambda back: manifest(wanted, back),
        target=lambda state: registration_url(wanted, state),
        facts=_facts(choices, wanted),
        take=exchange.take,
        refused=lambda: say("Refused what came back: its state is wrong. It did not begin on this page."),
    )
    _tell_permissions(offer.facts)
    trace = f"If you have pressed *Create GitHub App*, delete that App at {apps_url(wanted)}."
    progress.said = f"Nothing was stored. {trace}"
    try:
        async with local_page.served(offer, choices.port) as page:
            _open(choices, page.url)
            async with asyncio.timeout(choices.timeout_s):
                await page.came_back.wait()
    except local_page.PortTakenError as error:
        raise NotConnectedError(str(error), Exit.MISUSE) from error
    except TimeoutError:
        sentence = f"nothing came back from GitHub within {choices.timeout_s:g} s. {progress.said}"
        raise NotConnectedError(sentence, Exit.NO) from None
    if exchange.stored is None:
        raise exchange.failure or NotConnectedError(progress.said, Exit.NO)
    say(f"\n{_named(exchange.stored)} is registered, and stored in {choices.place.directory}.")
    return exchange.stored


class _Exchange:
    """Makes the code into an App that is stored, while the browser waits for the page that says so."""

    def __init__(self, choices: Choices, wanted: Wanted) -> None:
        self._choices = choices
        self._wanted = wanted
        self.stored: Connection | None = None
        self.failure: Exception | None = None

    async def take(self, code: str) -> Done:
        """Exchange, store, and say so."""
        from issuebox.connect.local_page import Done  # noqa: PLC0415
        from issuebox.connect.manifest import installation_url  # noqa: PLC0415
        from issuebox.connections import ConnectionsError  # noqa: PLC0415
        from issuebox.providers.github_app import App, GitHubAppError, api_url_of, register  # noqa: PLC0415

        api_url = api_url_of(self._wanted.github_url)
        try:
            made = await register(api_url, code)
            App(api_url, str(made.id), made.pem).require_key()
            self.stored = _store(self._choices.place, self._wanted, api_url, made)
        except (GitHubAppError, ConnectionsError) as error:
            self.failure = error
            return Done("Not connected", f"{error}. The terminal says what to do.", is_ok=False)
        return Done(
            f"{made.slug} is registered",
            "Its key is stored on your machine. Now choose the repositories in which it may work.",
            installation_url(made.html_url),
            "Install it",
        )


def _store(place: Place, wanted: Wanted, api_url: str, made: Registration) -> Connection:
    from issuebox.cli.screen import plain  # noqa: PLC0415
    from issuebox.connect.manifest import settings_url  # noqa: PLC0415
    from issuebox.connections import Connected, store  # noqa: PLC0415

    return store(
        place.directory,
        Connected.GITHUB,
        settings={APP_ID: str(made.id), API_URL: api_url},
        secrets={
            PRIVATE_KEY: (f"github-{made.id}.private-key.pem", made.pem),
            WEBHOOK_SECRETS: (f"github-{made.id}.webhook-secret", made.webhook_secret),
        },
        facts={
            "name": made.slug,
            "owner": plain(made.owner.login),
            "page": made.html_url,
            "settings": settings_url(wanted, made.slug),
            "webhook": wanted.webhook_url,
            "is_active": "yes" if wanted.webhook_url else "",
        },
    )


async def _go_on(choices: Choices, stored: Connection, address: str) -> Connection:
    """Say what is there and, if an address is given, have the deliveries sent there."""
    from issuebox.connections import Connected, change  # noqa: PLC0415

    say(f"{_named(stored)} is connected already: {stored.facts.get('page', '')}")
    say("To register another one, add --replace. The old one stays at GitHub until you delete it there.")
    if not address or address == stored.facts.get("webhook"):
        return stored
    await _app(choices.place.directory, stored).send_webhooks_to(address)
    return change(choices.place.directory, Connected.GITHUB, stored, {}, {"webhook": address})


async def _see_installations(choices: Choices, stored: Connection) -> Connection:
    """Wait until the App is installed somewhere, and have resync read those repositories."""
    import asyncio  # noqa: PLC0415

    from issuebox.cli import screen  # noqa: PLC0415
    from issuebox.connect.manifest import installation_url  # noqa: PLC0415
    from issuebox.connections import Connected, change  # noqa: PLC0415

    app = _app(choices.place.directory, stored)
    found = await _active(app)
    if not found:
        say(f"Choose the repositories in which it may work:\n  {installation_url(stored.facts.get('page', ''))}")
        with screen.waiting("Waiting until the App is installed"):
            try:
                async with asyncio.timeout(choices.timeout_s):
                    while not (found := await _active(app)):  # noqa: ASYNC110 -- GitHub sends no event here
                        await asyncio.sleep(POLL_S)
            except TimeoutError:
                say("It is installed nowhere yet. Run this again when it is.")
                return stored
    repositories, total = await _repositories(app, found)
    names = sorted(one.full_name for one in repositories)
    accounts = screen.plain(", ".join(one.account.login for one in found))
    say(f"It is installed for {accounts}, in {total} {'repository' if total == 1 else 'repositories'}:")
    for name in names[:NAMED_MAX]:
        say(f"  {screen.plain(name)}")
    if total > NAMED_MAX:
        say(f"  and {total - NAMED_MAX} more")
    if total > len(names):
        say(f"Resync will read {len(names)} of them. Set {RESYNC} to choose which.")
    if any(not one.private for one in repositories):
        say("Some are public: anybody who may open an issue there can cause a sandbox. See docs/who-may-ask.md.")
    return change(choices.place.directory, Connected.GITHUB, stored, {RESYNC: ",".join(names)}, {})


async def _active(app: App) -> list[Installation]:
    return [one for one in await app.installations() if one.suspended_at is None]


async def _repositories(app: App, installations: list[Installation]) -> tuple[list[Any], int]:
    found: list[Any] = []
    total = 0
    for installation in installations:
        repositories, count = await app.repositories(installation)
        found += repositories
        total += count
    return found, total


def _app(directory: Path, stored: Connection) -> App:
    """The App as the stored settings have it. Raises SettingsError when a file is gone or damaged."""
    from issuebox.environment import load  # noqa: PLC0415
    from issuebox.providers.github_app import App  # noqa: PLC0415
    from issuebox.settings import WorkerSettings  # noqa: PLC0415

    settings = load(WorkerSettings, stored.variables(directory))
    return App(settings.github_api_url, settings.github_app_id, settings.github_app_private_key.get_secret_value())


def _named(stored: Connection) -> str:
    owner = stored.facts.get("owner")
    return f"The GitHub App {stored.facts.get('name', '')}" + (f" of {owner}" if owner else "")


def _facts(choices: Choices, wanted: Wanted) -> list[tuple[str, str]]:
    """What the page and the terminal show beside the permissions."""
    return [
        ("name", wanted.name),
        ("owner", wanted.organization or "your own account"),
        ("GitHub", wanted.github_url),
        ("deliveries go to", wanted.webhook_url or "nowhere: no address was given"),
        ("secrets go to", str(choices.place.directory)),
    ]


def _tell_permissions(facts: list[tuple[str, str]]) -> None:
    from rich.table import Table  # noqa: PLC0415

    from issuebox.cli import screen  # noqa: PLC0415
    from issuebox.providers.github_app import EVENTS, PERMISSIONS  # noqa: PLC0415

    say("issuebox works as a GitHub App of your own. It asks now for all that it will ever need:\n")
    table = Table.grid(padding=(0, 2))
    for permission in PERMISSIONS:
        table.add_row(permission.name.replace("_", " "), permission.access, permission.reason)
    for name, reason in EVENTS.items():
        table.add_row(name, "event", reason)
    screen.show(table)
    say("")
    screen.show(screen.fields_table(facts))


def _tell_address(choices: Choices, stored: Connection) -> None:
    """Say where the deliveries go, or that none come."""
    from issuebox.dev.dev_stack import DevStack  # noqa: PLC0415
    from issuebox.environment import load  # noqa: PLC0415
    from issuebox.settings import WorkerSettings  # noqa: PLC0415

    address = stored.facts.get("webhook", "")
    if address:
        stack = DevStack.lookup(choices.place.data) if choices.place.out is None else None
        api = f", at {stack.api_url}" if stack else ""
        say(f"GitHub sends its deliveries to {address}. That address has to lead to the API{api}.")
        if not stored.facts.get("is_active"):
            say(f"They are switched off, which only a person can change: tick *Active* at {stored.facts['settings']}.")
        return
    minutes = load(WorkerSettings).resync_interval_s / 60
    say(
        "GitHub sends no deliveries: it cannot reach this machine's loopback, and no --webhook-url or --tunnel was "
        "given."
    )
    say(
        f"Resync brings what happens every {minutes:g} minutes."
        if minutes
        else "Resync is switched off too (ISSUEBOX_RESYNC_INTERVAL_S is 0), so nothing comes by itself."
    )


def _open(choices: Choices, url: str) -> None:
    """Open the browser where there is one, and print the address in any case."""
    import os  # noqa: PLC0415

    from issuebox.cli.screen import has_browser  # noqa: PLC0415

    say(f"\nNothing was sent yet. Open this page, and press its button:\n  {url}")
    if os.environ.get("SSH_CONNECTION"):
        port = url.split(":")[2].split("/", maxsplit=1)[0]
        say(f"From your own machine, first: ssh -L {port}:127.0.0.1:{port} <this host>")
    if choices.opens_browser and has_browser(os.environ):
        import webbrowser  # noqa: PLC0415

        webbrowser.open(url)
