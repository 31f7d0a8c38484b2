"""The page: one document, which may load nothing else, and which never renders a name as markup."""

import re
from collections.abc import AsyncIterator

import httpx
import pytest
from playwright.async_api import Browser, Page, expect

from localdaytona.testing import NO_TLS, Server
from tests.browser import CHROMIUM, LOOKS, PATIENCE_MS, Watched, browsing, is_wider_than_the_screen, opened, violations
from tests.localdaytona.clients import reaches

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
expect.set_options(timeout=PATIENCE_MS)
HOSTILE = "<img src=x onerror=\"document.title='owned'\">"


@pytest.fixture
async def page(server: Server) -> httpx.Response:
    """The page as served to a browser."""
    async with httpx.AsyncClient(base_url=server.base_url, trust_env=False, verify=NO_TLS) as client:
        return await client.get("/")


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with browsing() as browser:
        yield browser


async def shown(page: Page, server: Server, path: str = "/") -> None:
    """Open the page, and wait until it has read the server."""
    await page.goto(f"{server.base_url}{path}")
    await expect(page.locator("#link")).to_have_text("live")


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


@needs_chromium
async def test_page_shows_the_sandboxes_in_a_browser(server: Server, browser: Browser) -> None:
    """The script runs under its policy, and shows name, label, state, journal and fault."""
    await server.admin.create(name="claude-issue-7", labels={"issue": "42"})
    await reaches(server, "claude-issue-7", "started")
    await server.admin.add_fault("start", {"kind": "stuck"})
    page = await opened(browser)
    watched = Watched(page)
    await shown(page, server)
    row = page.locator("#sandboxes tbody tr")
    for text in ("claude-issue-7", "issue: 42", "started"):
        await expect(row).to_contain_text(text)
    await expect(page.locator("#entries")).to_contain_text("claude-issue-7: creating → started")
    await expect(page.locator("#rules")).to_contain_text("stuck")
    assert all(url.startswith((server.base_url, "data:")) for url in watched.requested)
    assert watched.console == []


@needs_chromium
async def test_page_is_for_everybody(server: Server, browser: Browser) -> None:
    """It has no violation of axe's rules and fits the screen, in each look; so has its question."""
    for name in ("claude-issue-7", "a-long-name-" * 8):
        await server.admin.create(name=name, labels={"repository": "octo/repo", "note": "x" * 120})
        await reaches(server, name, "started")
    await server.admin.add_fault("start", {"kind": "status", "status": 503})
    for width, scheme in LOOKS:
        page = await opened(browser, width, scheme)
        await shown(page, server)
        await expect(page.locator("#sandboxes tbody tr")).to_have_count(2)
        found = [(await violations(page), await is_wider_than_the_screen(page))]
        await page.get_by_role("button", name="delete claude-issue-7").click()
        found.append((await violations(page), await is_wider_than_the_screen(page)))
        assert found == [("", False)] * 2, (width, scheme)
        await page.context.close()


@needs_chromium
async def test_every_act_can_be_reached_on_a_telephone(server: Server, browser: Browser) -> None:
    """Nothing of a row lies beside the screen: state, timers and every button are in it, and the buttons work."""
    made = await server.admin.create(name="claude-issue-7")
    await reaches(server, "claude-issue-7", "started")
    page = await opened(browser, 390)
    await shown(page, server)
    row = page.locator("#sandboxes tbody tr")
    boxes = [await cell.bounding_box() for cell in await row.locator("td, button").all()]
    outside = [box for box in boxes if box and (box["x"] < 0 or box["x"] + box["width"] > 390)]
    assert len(boxes) > 12
    assert outside == []
    await page.get_by_role("button", name="stop claude-issue-7").click()
    await reaches(server, "claude-issue-7", "stopped")
    await expect(row).to_contain_text("stopped")
    delete = page.get_by_role("button", name="delete claude-issue-7")
    await delete.click()
    await page.keyboard.press("Escape")
    await expect(delete).to_be_focused()
    assert [each.id for each in await server.admin.sandboxes()] == [made.id]


@needs_chromium
async def test_address_of_daytonas_dashboard_shows_one_sandbox(server: Server, browser: Browser) -> None:
    """The status page of issuebox links there, here as at Daytona."""
    made = [await server.admin.create(name=f"claude-issue-{number}") for number in (7, 8)]
    page = await opened(browser)
    await shown(page, server, f"/dashboard/sandboxes/{made[1].id}")
    await expect(page.locator("#sandboxes td.name b")).to_have_text(["claude-issue-8"])


@needs_chromium
async def test_hostile_label_stays_text_in_a_browser(server: Server, browser: Browser) -> None:
    """A label with markup is shown literally, and its script does not run."""
    await server.admin.create(name="hostile", labels={"x": HOSTILE})
    page = await opened(browser)
    await shown(page, server)
    await expect(page.locator(".labels")).to_have_text(f"x: {HOSTILE}")
    assert await page.title() == "localdaytona"
    assert await page.locator("img").count() == 0
