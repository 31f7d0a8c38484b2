"""The page: one document, which may load nothing else, and which never renders a name as markup."""

import asyncio
import re
import shutil
from pathlib import Path

import httpx
import pytest

from localdaytona.testing import NO_TLS, Server
from tests.localdaytona.clients import reaches

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--no-proxy-server",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--virtual-time-budget=3000",
)  # fmt: skip
HOSTILE = "<img src=x onerror=\"document.title='owned'\">"


@pytest.fixture
async def page(server: Server) -> httpx.Response:
    """The page as served to a browser."""
    async with httpx.AsyncClient(base_url=server.base_url, trust_env=False, verify=NO_TLS) as client:
        return await client.get("/")


async def rendered(server: Server, profile: Path) -> str:
    """Return the page's DOM after three seconds in a real browser."""
    browser = await asyncio.create_subprocess_exec(
        str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}", "--dump-dom", f"{server.base_url}/",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    said, _ = await asyncio.wait_for(browser.communicate(), 60)
    return said.decode()


def test_page_is_one_piece(page: httpx.Response) -> None:
    """The page links to no other file, and its policy forbids other scripts."""
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert not re.findall(r"(?:src|href)\s*=\s*[\"'](?!data:)", page.text)
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", page.text)
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy


async def test_no_other_page_is_served(server: Server) -> None:
    """FastAPI's own pages would load scripts from another host, which could then use `/_local` without a key."""
    async with httpx.AsyncClient(base_url=server.base_url, trust_env=False, verify=NO_TLS) as client:
        for path in ("/docs", "/redoc", "/_local/docs", "/_local/redoc", "/docs/oauth2-redirect"):
            assert (await client.get(path)).status_code == 404, path
        assert "Config" in (await client.get("/_local/openapi.json")).json()["components"]["schemas"]


def test_page_never_makes_markup_of_text(page: httpx.Response) -> None:
    """The script has no way to turn the server's text into elements."""
    assert not re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", page.text)


async def test_every_act_on_the_page_exists(server: Server, page: httpx.Response) -> None:
    """No button of the page sends an action that the server does not know."""
    acts = set(re.findall(r'\["[^"]+", "([a-z-]+)", \{', page.text))
    assert {"start", "stop", "archive", "break", "build-failed", "release", "delete"} <= acts
    with pytest.raises(httpx.HTTPStatusError, match="There is no action") as refusal:
        await server.admin.act("nobody", "dance")
    known = set(re.split(r"[,:] ", str(refusal.value).rstrip('"}')))
    assert acts <= known


async def test_every_fault_on_the_page_is_accepted(server: Server, page: httpx.Response) -> None:
    """The server accepts each template: its operation and its kind of effect match."""
    found = re.findall(r'RULE\("([a-z_*]+)", \{ kind: "([a-z_]+)"(.*?) \}[,)]', page.text)
    assert len(found) > 15
    needs = {"status": 503, "seconds": 1}
    for operation, kind, rest in found:
        given = {key: value for key, value in needs.items() if f"{key}:" in rest}
        await server.admin.add_fault(operation, {"kind": kind, **given})


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
async def test_page_shows_the_sandboxes_in_a_browser(server: Server, tmp_path: Path) -> None:
    """The script runs under its policy, and shows name, label, state, journal and fault."""
    await server.admin.create(name="claude-issue-7", labels={"issue": "42"})
    await reaches(server, "claude-issue-7", "started")
    await server.admin.add_fault("start", {"kind": "stuck"})
    dom = await rendered(server, tmp_path / "profile")
    assert ">live<" in dom
    assert "<b>claude-issue-7</b>" in dom
    assert "issue: 42" in dom
    assert '<span class="state up">started</span>' in dom
    assert "claude-issue-7: creating → started" in dom
    assert "<b>start</b><code>stuck</code>" in dom


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
async def test_hostile_label_stays_text_in_a_browser(server: Server, tmp_path: Path) -> None:
    """A label with markup is shown literally, and its script does not run."""
    await server.admin.create(name="hostile", labels={"x": HOSTILE})
    dom = await rendered(server, tmp_path / "profile")
    assert "<b>hostile</b>" in dom
    assert "&lt;img src=x onerror=" in dom
    assert "<title>localdaytona</title>" in dom
    assert not re.search(r"<img\b", dom)
