"""`issuebox connect github` against a stand-in for GitHub: the way that works, and every way in which it does not."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from issuebox.connections import added_to
from issuebox.environment import load_both
from tests.cli.conftest import REPOSITORY
from tests.connect.conftest import Running
from tests.connect.github_pages import GitHubPages, Person
from tests.waiting import until

Start = Callable[..., Awaitable[Running]]
HOOK = "https://issuebox.example.org"


@pytest.fixture
def connect(start: Start, github: GitHubPages) -> Start:
    """`issuebox connect github` at the stand-in, without a browser."""

    async def started(*arguments: str, **given: str) -> Running:
        where = ("--github-url", github.url, "--no-browser", "--timeout", "20")
        return await start("connect", "github", *where, *arguments, **given)

    return started


async def connected(connect: Start, github: GitHubPages, person: Person, *arguments: str) -> Running:
    """An App that is registered and installed."""
    ran = await connect(*arguments)
    reply = await person.registers(await ran.page())
    assert reply.status_code == 200, reply.text
    github.install()
    return ran


def secrets_of(github: GitHubPages) -> list[str]:
    """All that must never be shown."""
    shown = ["a-client-secret", "a secret body", "BEGIN RSA", *github.tokens]
    for app in github.apps.values():
        shown += [app.webhook_secret, app.pem, *app.pem.splitlines()[1:3]]
    return shown


def files(directory: Path) -> dict[str, int]:
    """The files with their modes."""
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}


async def test_app_is_registered_stored_and_found_installed(
    connect: Start, github: GitHubPages, person: Person, tmp_path: Path
) -> None:
    """The whole way: what is asked and why, what GitHub gets, what is stored for whom, and no secret anywhere."""
    ran = await connect("--webhook-url", HOOK, "--name", "My issuebox", "--org", "octo")
    url = await ran.page()
    assert github.posted == []
    page = await person.opens(url)
    for reason in ("GitHub demands it of every App", "open a pull request", "Somebody may ask for a sandbox"):
        assert reason in page
        assert reason in ran.printed
    reply = await person.http.get(await person.creates(page))
    [manifest] = github.posted
    assert manifest["organization"] == "octo"
    assert manifest["default_permissions"] == {
        "metadata": "read", "issues": "write", "contents": "write", "pull_requests": "write",
    }  # fmt: skip
    assert manifest["default_events"] == ["issues", "issue_comment"]
    assert (manifest["public"], manifest["name"]) == (False, "My issuebox")
    assert manifest["hook_attributes"] == {"url": f"{HOOK}/webhooks/github", "active": True}
    assert manifest["redirect_url"].startswith("http://127.0.0.1:")
    assert f'href="{github.url}/apps/my-issuebox/installations/new"' in reply.text
    await ran.shows(f"{github.url}/apps/my-issuebox/installations/new")
    github.install()
    assert await ran.ends() == 0, ran.printed
    assert "octo/repo" in ran.printed
    assert "for octo" in ran.printed
    assert "Nothing failed" in ran.printed or "checks are ok" in ran.printed

    directory = tmp_path / "here" / ".issuebox" / "connections"
    assert stat.S_IMODE(directory.stat().st_mode) == stat.S_IMODE(directory.parent.stat().st_mode) == 0o700
    found = files(directory)
    found.pop(".gitignore")
    assert found == {
        "github.json": 0o600, "github-1000.private-key.pem": 0o600, "github-1000.webhook-secret": 0o600,
    }  # fmt: skip
    api, worker = load_both(added_to({}, directory))
    app = github.app_only
    assert [one.get_secret_value() for one in api.webhook_secrets] == [app.webhook_secret]
    assert worker.github_app_id == str(app.id)
    assert worker.github_app_private_key.get_secret_value() == app.pem.strip()
    assert worker.github_api_url == f"{github.url}/api/v3"
    assert worker.resync_repositories == ("octo/repo",)
    for secret in secrets_of(github):
        assert secret not in ran.printed + reply.text + (directory / "github.json").read_text()


async def test_state_of_a_stranger_connects_nothing(connect: Start, github: GitHubPages, person: Person) -> None:
    """A code without the state of this page is not exchanged, and the way that began here still works."""
    ran = await connect()
    url = await ran.page()
    for query in ({"code": "stranger", "state": "wrong"}, {"code": "stranger"}, {"code": "stranger", "state": "é"}):
        reply = await person.http.get(f"{url}/done", params=query)
        assert (reply.status_code, "Refused" in reply.text) == (400, True)
    await ran.shows("its state is wrong")
    assert github.conversions == 0
    assert (await person.registers(url)).status_code == 200
    github.install()
    assert await ran.ends() == 0, ran.printed


async def test_page_works_once_and_only_under_its_own_address(
    connect: Start, github: GitHubPages, person: Person
) -> None:
    """No other name leads to it, nobody finds it without its word, no site frames it, and it takes one code."""
    ran = await connect()
    url = await ran.page()
    root = f"http://{urlsplit(url).netloc}/"
    assert (await person.http.get(root)).status_code == 404
    assert (await person.http.get(url, headers={"host": "evil.example"})).status_code == 421
    back = await person.creates(await person.opens(url))
    assert (await person.http.get(back.copy_set_param("code", "../../app"))).status_code == 400
    assert github.conversions == 0
    shown = await asyncio.gather(person.http.get(back), person.http.get(back))
    assert {reply.status_code for reply in shown} == {200, 410}
    assert all("frame-ancestors 'none'" in reply.headers["content-security-policy"] for reply in shown)
    assert github.conversions == 1
    github.install()
    assert await ran.ends() == 0


async def test_expired_code_is_told_and_nothing_is_stored(
    connect: Start, github: GitHubPages, person: Person, tmp_path: Path
) -> None:
    """GitHub answers 404 after an hour, and to a code that was used."""
    ran = await connect()
    back = await person.creates(await person.opens(await ran.page()))
    github.codes.clear()
    reply = await person.http.get(back)
    assert (reply.status_code, "older than an hour" in reply.text) == (502, True)
    assert await ran.ends() == 1
    assert (
        "GitHub does not know the code: it was used already, or is older than an hour. Nothing was stored."
        in ran.printed
    )
    assert f"{github.url}/settings/apps" in ran.printed
    assert set(files(tmp_path / "here/.issuebox/connections")) == {".gitignore"}


@pytest.mark.parametrize("lacking", ["pem", "webhook_secret"])
async def test_answer_without_a_secret_is_told_and_nothing_is_stored(
    connect: Start, github: GitHubPages, person: Person, tmp_path: Path, lacking: str
) -> None:
    """Half an App is none: the sentence names what is lacking, and where the App can be deleted."""
    github.lacking = (lacking,)
    ran = await connect()
    assert (await person.registers(await ran.page())).status_code == 502
    assert await ran.ends() == 1
    assert f"GitHub's answer about the new App lacks {lacking}. Nothing was stored." in ran.printed
    assert set(files(tmp_path / "here/.issuebox/connections")) == {".gitignore"}
    assert not any(secret in ran.printed for secret in secrets_of(github))


async def test_key_that_is_none_is_told(connect: Start, github: GitHubPages, person: Person) -> None:
    """A PEM that cannot be read would fail at the first question."""
    github.pem = "-----BEGIN RSA PRIVATE KEY-----\nnonsense\n-----END RSA PRIVATE KEY-----\n"
    ran = await connect()
    assert (await person.registers(await ran.page())).status_code == 502
    assert await ran.ends() == 1
    assert "private key cannot be read. Nothing was stored." in ran.printed
    assert "nonsense" not in ran.printed


@pytest.mark.parametrize(("status", "code"), [(500, 3), (403, 1)])
async def test_refusal_and_outage_differ_in_the_exit_code(
    connect: Start, github: GitHubPages, person: Person, status: int, code: int
) -> None:
    """The body of an error is not shown."""
    github.failing["conversions"] = status
    ran = await connect()
    await person.registers(await ran.page())
    assert await ran.ends() == code
    assert f"GitHub answered {status} when asked for the new App. Nothing was stored." in ran.printed
    assert "a secret body" not in ran.printed


async def test_second_run_says_what_is_there_and_registers_nothing(
    connect: Start, github: GitHubPages, person: Person, tmp_path: Path
) -> None:
    """It looks again and takes a new address; another App takes --replace, and then nothing of the old one is left."""
    first = await connected(connect, github, person, "--webhook-url", HOOK)
    assert await first.ends() == 0, first.printed
    directory = tmp_path / "here/.issuebox/connections"
    before = {path.name: path.read_bytes() for path in directory.glob("github-*")}
    github.repositories.append({"full_name": "octo/other", "private": False})
    again = await connect("--webhook-url", "https://moved.example.org/hook")
    assert await again.ends() == 0, again.printed
    assert "is connected already" in again.printed
    assert "--replace" in again.printed
    assert "docs/who-may-ask.md" in again.printed
    assert github.app_only.hook["url"] == "https://moved.example.org/hook"
    assert "https://moved.example.org/hook" in again.printed
    assert {path.name: path.read_bytes() for path in directory.glob("github-*")} == before
    assert added_to({}, directory)["ISSUEBOX_RESYNC_REPOSITORIES"] == "octo/other,octo/repo"

    replaced = await connected(connect, github, person, "--replace")
    assert await replaced.ends() == 0, replaced.printed
    assert len(github.apps) == 2
    assert {path.name for path in directory.glob("github-*")} == {
        "github-1001.private-key.pem", "github-1001.webhook-secret",
    }  # fmt: skip


async def test_without_an_address_it_says_what_will_and_will_not_come(
    connect: Start, github: GitHubPages, person: Person
) -> None:
    """GitHub refuses a loopback address, and demands one; so the webhook is there and switched off."""
    ran = await connected(connect, github, person)
    assert await ran.ends() == 0, ran.printed
    assert "it cannot reach this machine's loopback" in ran.printed
    assert "Resync brings what happens every 15 minutes." in ran.printed
    assert github.posted[0]["hook_attributes"] == {"url": "https://example.com/webhooks/github", "active": False}
    later = await connect("--webhook-url", HOOK)
    assert await later.ends() == 0, later.printed
    assert github.app_only.hook["url"] == f"{HOOK}/webhooks/github"
    assert "tick *Active*" in later.printed


async def test_app_that_is_installed_nowhere_is_kept_and_looked_at_again(
    start: Start, github: GitHubPages, person: Person
) -> None:
    """The exit code says that it is not ready, and the next run goes on from there."""
    arguments = ("connect", "github", "--github-url", github.url, "--no-browser", "--timeout", "3")
    ran = await start(*arguments)
    await person.registers(await ran.page())
    assert await ran.ends() == 1
    assert "installed nowhere yet" in ran.printed
    github.install()
    again = await start(*arguments)
    assert await again.ends() == 0, again.printed


async def test_interrupt_before_anything_came_back_stores_nothing(
    connect: Start, github: GitHubPages, tmp_path: Path
) -> None:
    """Ctrl-C ends with 130 and a sentence about what was stored, not with a traceback."""
    ran = await connect()
    await ran.page()
    ran.process.send_signal(signal.SIGINT)
    assert await ran.ends() == 130
    assert "Interrupted. Nothing was stored. If you have pressed *Create GitHub App*, delete that App" in ran.printed
    assert "Traceback" not in ran.printed
    assert set(files(tmp_path / "here/.issuebox/connections")) == {".gitignore"}


async def test_interrupt_during_the_exchange_stores_nothing(
    connect: Start, github: GitHubPages, person: Person
) -> None:
    """GitHub may have made the App by then."""
    github.hangs = True
    ran = await connect()
    back = await person.creates(await person.opens(await ran.page()))
    browser = asyncio.create_task(person.http.get(back))
    await asyncio.wait_for(github.conversion_hangs.wait(), 20)
    ran.process.send_signal(signal.SIGINT)
    assert await ran.ends() == 130
    assert "Interrupted. Nothing was stored." in ran.printed
    assert "Traceback" not in ran.printed
    browser.cancel()
    await asyncio.wait({browser})


async def test_interrupt_after_the_exchange_says_that_the_app_is_stored(
    connect: Start, github: GitHubPages, person: Person, tmp_path: Path
) -> None:
    """The next run goes on with it."""
    ran = await connect("--name", "kept")
    await person.registers(await ran.page())
    await ran.shows("Choose the repositories")
    ran.process.send_signal(signal.SIGINT)
    assert await ran.ends() == 130
    assert "Interrupted. The GitHub App kept of octo is stored in" in ran.printed
    assert "Traceback" not in ran.printed
    assert "github.json" in files(tmp_path / "here/.issuebox/connections")


async def test_nothing_coming_back_ends_in_time(start: Start, github: GitHubPages) -> None:
    """Nobody is at the browser."""
    ran = await start("connect", "github", "--github-url", github.url, "--no-browser", "--timeout", "1")
    assert await ran.ends() == 1
    assert "nothing came back from GitHub within 1 s. Nothing was stored." in ran.printed


async def test_production_directory_gets_the_files_and_the_settings_are_printed(
    connect: Start, github: GitHubPages, person: Person, tmp_path: Path
) -> None:
    """Each printed line is a setting that a process understands; together they are the App."""
    out = tmp_path / "secrets"
    ran = await connected(connect, github, person, "--out", str(out), "--webhook-url", HOOK)
    assert await ran.ends() == 0, ran.printed
    lines = [line for line in ran.printed.splitlines() if line.startswith("ISSUEBOX_")]
    _, worker = load_both(dict(line.split("=", 1) for line in lines))
    assert worker.github_app_id == str(github.app_only.id)
    assert any(line == f"ISSUEBOX_WEBHOOK_SECRETS_FILE={out}/github-1000.webhook-secret" for line in lines)
    assert not (tmp_path / "here/.issuebox").exists()

    # The same lines are what the secrets of docker-compose.yml are written from.
    mounted = tmp_path / "mounted"
    own = {"PATH": os.environ["PATH"]} | dict(line.split("=", 1) for line in lines if "_FILE=" in line)
    subprocess.run([str(REPOSITORY / "deploy/new-secrets"), str(mounted)], env=own, check=True, capture_output=True)
    assert (mounted / "issuebox_webhook_secrets").read_text() == github.app_only.webhook_secret
    assert (mounted / "issuebox_github_app_private_key").read_text() == github.app_only.pem.strip()


async def test_directory_that_cannot_be_made_is_told(connect: Start) -> None:
    """Also where root may not write."""
    ran = await connect("--out", "/proc/secrets")
    assert await ran.ends() == 2
    assert "/proc/secrets cannot be written: " in ran.printed
    assert "Traceback" not in ran.printed


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_unwritable_directory_is_told_before_anything_is_asked(connect: Start, tmp_path: Path) -> None:
    """An App's key is shown only once."""
    place = tmp_path / "closed"
    place.mkdir(mode=0o500)
    ran = await connect("--out", str(place / "secrets"))
    assert await ran.ends() == 2
    assert f"{place}/secrets cannot be written: Permission denied" in ran.printed
    assert "press its button" not in ran.printed


async def test_directory_that_is_a_file_or_open_to_others_is_refused(connect: Start, tmp_path: Path) -> None:
    """One sentence each, before anything is asked."""
    (tmp_path / "file").write_text("")
    ran = await connect("--out", str(tmp_path / "file"))
    assert (await ran.ends(), "File exists" in ran.printed) == (2, True), ran.printed
    (tmp_path / "open").mkdir(mode=0o755)
    ran = await connect("--out", str(tmp_path / "open"))
    assert await ran.ends() == 2
    assert f"run `chmod 700 {tmp_path}/open`" in ran.printed


async def test_taken_port_is_told(connect: Start, github: GitHubPages) -> None:
    """The sentence says which option helps."""
    ran = await connect("--port", github.url.rsplit(":", 1)[1])
    assert await ran.ends() == 2
    assert "choose another with --port" in ran.printed


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--webhook-url", "http://issuebox.example.org"), "is no https URL"),
        (("--webhook-url", "https://127.0.0.1:8787"), "GitHub cannot reach 127.0.0.1"),
        (("--webhook-url", "https://localhost"), "GitHub cannot reach localhost"),
        (("--github-url", "http://github.example.org"), "is no https address of a GitHub"),
        (("--name", "n" * 35), "34 characters at most"),
        (("--org", "../x"), "is no organization's name"),
        (("--tunnel", "no-such-tunnel-program --x"), "'no-such-tunnel-program' is not installed"),
        (("--tunnel", "sh -c 'unclosed"), "is no command"),
    ],
)
async def test_misuse_gets_a_sentence(start: Start, arguments: tuple[str, ...], sentence: str) -> None:
    """Exit code 2, and nothing is asked."""
    ran = await start("connect", "github", "--no-browser", *arguments)
    assert await ran.ends() == 2
    assert sentence in ran.printed
    assert "Traceback" not in ran.printed


TUNNEL = """
import sys, time
print("INF Thank you for trying it: https://developers.cloudflare.com/cloudflare-one/")
print("Forwarding to", sys.argv[1], flush=True)
print("|  https://some-words.trycloudflare.com   |", file=sys.stderr, flush=True)
time.sleep(float(sys.argv[2]))
"""


async def test_tunnel_gives_the_address_and_lives_as_long_as_the_command(
    connect: Start, github: GitHubPages, person: Person, tmp_path: Path
) -> None:
    """Its own advice is no address; {url} is the API's; after Ctrl-C no process of it is left."""
    script = tmp_path / "tunnel.py"
    script.write_text(TUNNEL)
    ran = await connected(connect, github, person, "--tunnel", f"{sys.executable} {script} {{url}} 60")
    assert github.app_only.hook["url"] == "https://some-words.trycloudflare.com/webhooks/github"
    await ran.shows("The tunnel stays open until Ctrl-C")
    ran.process.send_signal(signal.SIGINT)
    assert await ran.ends() == 0, ran.printed
    assert "The tunnel is closed" in ran.printed

    async def left() -> list[str]:
        commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
        return [command.decode() for command in commands if str(script).encode() in command]

    await until(left, lambda found: not found, "the tunnel has ended")


async def test_tunnel_that_ends_or_says_nothing_is_told(start: Start, tmp_path: Path) -> None:
    """With its exit code and its last lines."""
    ran = await start("connect", "github", "--tunnel", "sh -c 'echo no account; exit 7'")
    assert await ran.ends() == 1
    assert "ended with exit code 7\n  no account" in ran.printed
    assert "Nothing was stored." in ran.printed


async def test_browser_is_opened_where_there_is_a_screen(
    start: Start, github: GitHubPages, person: Person, tmp_path: Path
) -> None:
    """And printed in any case."""
    script, opened = tmp_path / "browser", tmp_path / "opened"
    script.write_text(f'#!/bin/sh\necho "$1" > {opened}\n')
    script.chmod(0o700)
    arguments = ("connect", "github", "--github-url", github.url, "--timeout", "20")
    ran = await start(*arguments, DISPLAY=":0", BROWSER=str(script), SSH_CONNECTION="a b c d")
    url = await ran.page()

    async def seen() -> str:
        return opened.read_text().strip() if opened.exists() else ""

    assert await until(seen, bool, "the browser was opened") == url
    assert f"ssh -L {httpx.URL(url).port}:127.0.0.1:" in ran.printed


async def test_damaged_record_is_told(connect: Start, tmp_path: Path) -> None:
    """Nothing is guessed from half a file."""
    directory = tmp_path / "here/.issuebox/connections"
    directory.mkdir(parents=True, mode=0o700)
    (directory / "github.json").write_text("{")
    ran = await connect()
    assert await ran.ends() == 2
    assert "is damaged: run `issuebox connect github --replace`" in ran.printed


async def test_github_that_is_away_is_told(start: Start, github: GitHubPages, person: Person) -> None:
    """A stored App whose GitHub does not answer ends with 3."""
    arguments = ("connect", "github", "--github-url", github.url, "--no-browser", "--timeout", "20")
    ran = await start(*arguments)
    await person.registers(await ran.page())
    github.install()
    assert await ran.ends() == 0, ran.printed
    github.failing["installations"] = 502
    again = await start(*arguments)
    assert await again.ends() == 3
    assert "GitHub answered 502" in again.printed
    assert "is stored in" in again.printed
    github.failing = {"installations": 401}
    again = await start(*arguments)
    assert await again.ends() == 1
    assert "the App was deleted, or this machine's clock is wrong" in again.printed
