"""The parts of `issuebox connect`: addresses, tunnels, what is stored, and what the doctor says of an App."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from issuebox.connect.manifest import Wanted, manifest, registration_url, settings_url
from issuebox.connect.tunnel import TunnelError, address_in, running
from issuebox.connect.webhook import AddressError, webhook_address
from issuebox.connections import Connected, ConnectionsError, added_to, change, prepare, read, store
from issuebox.doctor import github as doctor
from issuebox.environment import load
from issuebox.providers.github_app import api_url_of, register
from issuebox.settings import ApiSettings, WorkerSettings
from tests.connect.github_pages import GitHubPages, complaint_about

KEY = "DAYTONA_API_KEY"


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("https://a.example.org", "https://a.example.org/webhooks/github"),
        ("https://a.example.org/", "https://a.example.org/webhooks/github"),
        ("https://a.example.org:8443/box/webhooks/github", "https://a.example.org:8443/box/webhooks/github"),
        ("https://smee.io/AbCdEf", "https://smee.io/AbCdEf"),
        ("https://8.8.8.8", "https://8.8.8.8/webhooks/github"),
    ],
)
def test_address_without_a_path_gets_the_one_of_the_api(given: str, address: str) -> None:
    """A relay has a path of its own, and it is kept."""
    assert webhook_address(given) == address


@pytest.mark.parametrize(
    "given",
    ["", "a.example.org", "http://a.example.org", "https://user@a.example.org", "https://a b", "https://[::1]",
     "https://192.168.1.2", "https://box.local", "https://10.0.0.1/x"],
)  # fmt: skip
def test_address_that_github_cannot_use_is_refused(given: str) -> None:
    """GitHub would refuse it later, or deliver nothing."""
    with pytest.raises(AddressError):
        webhook_address(given)


@pytest.mark.parametrize(
    ("line", "address"),
    [
        ("2026-01-01 INF |  https://some-words.trycloudflare.com   |", "https://some-words.trycloudflare.com"),
        ('t=1 lvl=info msg="started tunnel" url=https://a1b2.ngrok-free.app', "https://a1b2.ngrok-free.app"),
        ("Forwarding https://smee.io/AbCdEf to http://127.0.0.1:8787/webhooks/github", "https://smee.io/AbCdEf"),
        ("your url is: https://brave-cat.loca.lt", "https://brave-cat.loca.lt"),
        ("https://host.tailnet.ts.net/", "https://host.tailnet.ts.net"),
        ("see https://developers.cloudflare.com/cloudflare-one/", ""),
        ("update at https://github.com/x/y/releases, https://ngrok.com/docs", ""),
        ("listening on https://127.0.0.1:8787 and https://localhost:1", ""),
        ("nothing", ""),
    ],
)  # fmt: skip
def test_address_of_a_tunnel_is_told_from_its_chatter(line: str, address: str) -> None:
    """As cloudflared, ngrok, smee, localtunnel and tailscale print it."""
    assert address_in(line) == address


async def test_silent_tunnel_is_given_up_in_time() -> None:
    """And ended."""
    async with running("sh -c 'echo waiting; sleep 60'", "http://127.0.0.1:1") as tunnel:
        with pytest.raises(TunnelError, match=r"printed no public https address in 0\.5 s\n  waiting"):
            await tunnel.url(0.5)
    assert await asyncio.wait_for(tunnel.ended(), 1) != 0


async def test_tunnel_that_prints_much_is_read_to_the_end() -> None:
    """A full pipe would hold it up."""
    script = "head -c 300000 /dev/zero | tr '\\0' x; echo; echo https://a.example.org; sleep 60"
    async with running(f'sh -c "{script}"', "") as tunnel:
        assert await tunnel.url(10) == "https://a.example.org"


@pytest.mark.parametrize("address", ["", "https://a.example.org/webhooks/github"])
def test_manifest_is_one_that_github_takes(address: str) -> None:
    """With and without an address."""
    made = manifest(Wanted("https://github.com", "n" * 34, webhook_url=address), "http://127.0.0.1:1/x/done")
    assert complaint_about(made) == ""


def test_places_at_github_are_those_of_the_owner() -> None:
    """A person's Apps and an organization's are at different places; so are the APIs of the three kinds of GitHub."""
    own, acme = Wanted("https://github.com", "n"), Wanted("https://github.com", "n", "acme")
    assert registration_url(own, "s-1") == "https://github.com/settings/apps/new?state=s-1"
    assert registration_url(acme, "s") == "https://github.com/organizations/acme/settings/apps/new?state=s"
    assert settings_url(acme, "n") == "https://github.com/organizations/acme/settings/apps/n"
    assert api_url_of("https://github.com") == "https://api.github.com"
    assert api_url_of("https://acme.ghe.com") == "https://api.acme.ghe.com"
    assert api_url_of("https://github.example.org") == "https://github.example.org/api/v3"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory with a key of Daytona's."""
    place = tmp_path / "connections"
    prepare(place)
    store(place, Connected.DAYTONA, {"DAYTONA_TARGET": "us"}, {KEY: ("daytona-1.key", "first")}, {})
    return place


def test_part_is_exchanged_as_a_whole(directory: Path) -> None:
    """The record names the files: until it is replaced the old part is whole, then the new one is."""
    old = added_to({}, directory)
    store(directory, Connected.DAYTONA, {"DAYTONA_TARGET": "eu"}, {KEY: ("daytona-2.key", "second")}, {})
    new = added_to({}, directory)
    assert (old["DAYTONA_TARGET"], new["DAYTONA_TARGET"]) == ("us", "eu")
    assert load(WorkerSettings, new).daytona_api_key.get_secret_value() == "second"
    assert sorted(path.name for path in directory.iterdir()) == [".gitignore", "daytona-2.key", "daytona.json"]


def test_part_that_cannot_be_written_leaves_the_old_one(directory: Path) -> None:
    """The last step fails here: its scratch file cannot be made."""
    (directory / "daytona.new").mkdir()
    with pytest.raises(ConnectionsError, match="cannot be written"):
        store(directory, Connected.DAYTONA, {}, {KEY: ("daytona-2.key", "second")}, {})
    assert load(WorkerSettings, added_to({}, directory)).daytona_api_key.get_secret_value() == "first"


@pytest.mark.parametrize(
    ("environ", "target"),
    [
        ({}, "us"),
        ({"DAYTONA_TARGET": "eu"}, "eu"),
        ({KEY: ""}, "us"),
        ({KEY: "own"}, None),
        ({f"{KEY}_FILE": "own"}, None),
    ],
)
def test_environment_comes_first(directory: Path, environ: dict[str, str], target: str | None) -> None:
    """One by one, except that a secret in the environment takes the whole part from there."""
    assert added_to(environ, directory).get("DAYTONA_TARGET") == target


def test_change_keeps_the_secrets_and_every_file_is_private(directory: Path) -> None:
    """Nobody else reads them."""
    stored = read(directory, Connected.DAYTONA)
    assert stored
    change(directory, Connected.DAYTONA, stored, {"DAYTONA_TARGET": "eu"}, {"a": "b"})
    assert load(WorkerSettings, added_to({}, directory)).daytona_target == "eu"
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_nothing_is_stored_where_there_is_no_directory(tmp_path: Path) -> None:
    """As for most commands."""
    assert added_to({"A": "b"}, tmp_path / "none") == {"A": "b"}
    (tmp_path / "file").write_text("")
    assert added_to({}, tmp_path / "file") == {}


Examine = Callable[..., Awaitable[dict[str, tuple[str, str]]]]


@pytest.fixture
async def examined(github: GitHubPages) -> Examine:
    """The verdicts of the doctor on a registered App, after something was done to it."""
    github.codes["code"] = manifest(Wanted(github.url, "box", webhook_url="https://a.example.org/x"), "")
    made = await register(f"{github.url}/api/v3", "code")

    async def verdicts(pem: str = made.pem, repositories: str = "octo/repo") -> dict[str, tuple[str, str]]:
        given = {
            "ISSUEBOX_GITHUB_APP_ID": str(made.id),
            "ISSUEBOX_GITHUB_APP_PRIVATE_KEY": pem,
            "ISSUEBOX_GITHUB_API_URL": f"{github.url}/api/v3",
            "ISSUEBOX_RESYNC_REPOSITORIES": repositories,
        }
        results = await doctor.examine(load(ApiSettings, {}), load(WorkerSettings, given))
        return {one.check: (str(one.verdict), one.seen) for one in results}

    return verdicts


async def test_doctor_asks_as_the_app(github: GitHubPages, examined: Examine) -> None:
    """What works is ok; what is missing fails, with where to mend it."""
    github.install()
    found = await examined()
    assert found["App"] == ("ok", "box of octo; its key is accepted")
    assert found["App: installed"] == ("ok", "for octo")
    assert found["App: webhook"] == ("ok", "goes to https://a.example.org/x")
    assert found["octo/repo"] == ("ok", "the App is installed there")
    assert "App: permissions" not in found
    assert (await examined(repositories="octo/other"))["octo/other"][0] == "failed"
    assert (await examined(repositories=""))["resync"][0] == "warning"


async def test_doctor_finds_what_an_app_lacks(github: GitHubPages, examined: Examine) -> None:
    """Permissions that only runs need are a warning; without issues nothing works."""
    app = github.app_only
    app.hook["url"] = "https://example.com/webhooks/github"
    app.manifest["default_permissions"] = {"metadata": "read", "issues": "read", "contents": "write"}
    app.manifest["default_events"] = ["issues"]
    found = await examined()
    lacking = "it lacks issues (write), pull_requests (write), the event issue_comment"
    assert found["App: permissions"] == ("warning", lacking)
    assert found["App: installed"] == ("failed", "nowhere")
    assert found["App: webhook"][0] == "warning"
    app.manifest["default_permissions"] = {"metadata": "read"}
    github.install()
    app.installations[0]["suspended_at"] = "2026-01-01T00:00:00Z"
    found = await examined()
    assert found["App: permissions"][0] == "failed"
    assert found["App: installed"] == ("failed", "suspended for octo")


async def test_doctor_tells_a_wrong_key_from_a_github_that_is_away(github: GitHubPages, examined: Examine) -> None:
    """Without what GitHub answered."""
    github.codes["other"] = manifest(Wanted(github.url, "other"), "")
    other = await register(f"{github.url}/api/v3", "other")
    verdict, seen = (await examined(pem=other.pem))["App"]
    assert (verdict, "does not accept the App's key" in seen) == ("failed", True)
    github.failing = {"/app": 502}
    verdict, seen = (await examined())["App"]
    assert (verdict, seen) == ("failed", "GitHub answered 502 when asked for the App")
