"""The status page: served in one piece, allowed nothing else, and right in a real browser on the whole stack."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from pydantic import ValidationError

from api.status_page import workflows_url
from issuebox.settings import ApiSettings
from localdaytona.admin_models import SandboxView
from tests.api.browser import CHROMIUM, Page, browsing
from tests.api.conftest import BEARER, SECRET, TOKEN, Api, Serve
from tests.stuck import make_stuck
from tests.waiting import until
from tests.workflow.conftest import Stack, Started, daytona, start  # noqa: F401 -- fixtures

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"


@pytest.fixture
async def page(serve: Serve, closed_address: str) -> httpx.Response:
    """The page as a browser gets it, without a token and without a Temporal."""
    api = await serve(closed_address, temporal_ui_url="http://127.0.0.1:8233")
    return await api.client.get("/status")


async def test_home_leads_to_the_status_page(serve: Serve, closed_address: str) -> None:
    """A browser that opens the API's address gets the page."""
    api = await serve(closed_address)
    reply = await api.client.get("/", follow_redirects=True)
    assert (reply.status_code, reply.url.path) == (200, "/status")


def test_page_is_one_piece(page: httpx.Response) -> None:
    """It loads nothing else, and its policy forbids other scripts, other hosts and framing."""
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert not re.findall(r"src\s*=\s*[\"']", page.text)
    assert set(re.findall(r"href\s*=\s*[\"'](?!data:)([^\"']*)", page.text)) == {"/docs"}
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "connect-src 'self'" in policy
    assert not re.search(r"unsafe|\*|https?:", policy)


def test_page_reveals_nothing_without_a_token(page: httpx.Response) -> None:
    """It is the same for everybody, and contains no token, no secret and no issue."""
    assert TOKEN not in page.text
    assert SECRET not in page.text
    assert page.headers["cache-control"] == "no-store"


def test_page_never_makes_markup_of_text(page: httpx.Response) -> None:
    """Its script has no way to turn text into elements, and the policy makes the browser refuse any."""
    assert not re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", page.text)
    assert "require-trusted-types-for 'script'" in page.headers["content-security-policy"]


def test_page_keeps_the_token_in_its_tab(page: httpx.Response) -> None:
    """No cookie and no storage that outlives the tab."""
    assert "sessionStorage" in page.text
    assert not re.findall(r"localStorage|indexedDB|document\.cookie", page.text)


def test_links_lead_into_temporals_web_ui(page: httpx.Response) -> None:
    """There are links only with a Web UI, and its address must be http or https."""
    assert 'content="http://127.0.0.1:8233/namespaces/default/workflows/"' in page.text
    assert workflows_url("https://temporal.example/", "ours.acct") == (
        "https://temporal.example/namespaces/ours.acct/workflows/"
    )
    assert not workflows_url("", "default")
    for address in ("javascript:alert(1)", "ftp://x", "http://x y"):
        with pytest.raises(ValidationError):
            ApiSettings(temporal_ui_url=address)


async def test_address_in_the_settings_is_no_markup(serve: Serve, closed_address: str) -> None:
    """The value of the setting ends up in an attribute, and nowhere else."""
    api = await serve(closed_address, temporal_ui_url='http://x/"><script>alert(1)</script>')
    text = (await api.client.get("/status")).text
    assert "<script>alert(1)" not in text
    assert "&quot;&gt;&lt;script&gt;" in text


@pytest.fixture
async def stack(start: Started) -> Stack:  # noqa: F811 -- the fixture of that name
    return await start()


@pytest.fixture
async def api(serve: Serve, stack: Stack) -> Api:
    return await serve(task_queue=stack.settings.task_queue, temporal_ui_url="http://127.0.0.1:8233")


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[Page]:
    async with browsing(tmp_path / "profile") as page:
        yield page


async def _ensured(api: Api, stack: Stack, title: str) -> None:
    path, body = f"/v1/issues/{stack.issue_id}/sandbox", {"repository": "octo/repo", "number": 5, "title": title}
    reply = await api.client.put(path, params={"wait_s": 20}, headers=BEARER, json=body)
    assert reply.status_code == 200, reply.text


async def _entered(browser: Page, api: Api, stack: Stack) -> None:
    """Open the page, type the token, and filter for this test's issue: others may be in the list."""
    await browser.open(f"{api.client.base_url}/")
    await browser.type("#token", TOKEN)
    await browser.press("#door button")
    await browser.type("#filter", str(stack.issue_id))
    await browser.wait("document.querySelectorAll('tr.issue').length === 1")


async def _sandbox(stack: Stack, state: str) -> SandboxView:
    (row,) = await until(stack.live, lambda rows: [row.state for row in rows] == [state], f"it is {state}")
    return row


@needs_chromium
async def test_page_shows_an_issue_with_its_sandbox(browser: Page, api: Api, stack: Stack) -> None:
    """A row shows repository, number, title, state, outcome and goal; one press shows why."""
    await _ensured(api, stack, "A bug in the clock")
    await _entered(browser, api, stack)
    await browser.wait("document.querySelector('.state').textContent === 'started'")
    row = str(await browser.js("document.querySelector('tr.issue').innerText"))
    for text in ("octo/repo#5", "A bug in the clock", "started", "created"):
        assert text in row
    await browser.press("tr.issue .open")
    await browser.wait("document.querySelector('tr.detail ol li')")
    detail = str(await browser.js("document.querySelector('tr.detail').innerText"))
    sandbox = await _sandbox(stack, "started")
    for text in (f"{stack.name} for octo/repo#5", sandbox.id, "decided to create"):
        assert text in detail
    link = await browser.js("document.querySelector('tr.detail a[href*=namespaces]').href")
    assert link == f"http://127.0.0.1:8233/namespaces/default/workflows/{stack.name}"


@needs_chromium
async def test_page_marks_a_stuck_workflow_and_says_what_helps(browser: Page, api: Api, stack: Stack) -> None:
    """Its row says so, it counts as blocked, and its detail has the reason and the command."""
    await make_stuck(stack)
    await _entered(browser, api, stack)
    await browser.wait("document.querySelector('.blocked').textContent === 'stuck'")
    await browser.press("[data-group=blocked]")
    await browser.press("tr.issue .open")
    await browser.wait("document.querySelector('tr.detail .summary').textContent.includes('is stuck')")
    detail = str(await browser.js("document.querySelector('tr.detail').innerText"))
    for text in ("Failed decoding arguments", f"temporal workflow terminate --workflow-id {stack.name}"):
        assert text in detail


@needs_chromium
async def test_hostile_title_stays_text(browser: Page, api: Api, stack: Stack) -> None:
    """Anybody can write a title: it is shown as it is written, and nothing in it runs or is loaded."""
    await _ensured(api, stack, HOSTILE)
    await _entered(browser, api, stack)
    assert await browser.js("document.querySelector('.title').textContent") == HOSTILE
    assert await browser.js("document.title") == "issuebox"
    assert await browser.js("document.querySelectorAll('img, tr script').length") == 0
    assert browser.console == []


@needs_chromium
async def test_page_asks_nobody_but_its_own_api(browser: Page, api: Api, stack: Stack) -> None:
    """It loads everything from its own API, and the token is in no address and no lasting storage."""
    await _ensured(api, stack, "A title")
    await _entered(browser, api, stack)
    assert len(browser.requested) > 1
    for url in browser.requested:
        assert url.startswith((str(api.client.base_url), "data:image/svg+xml"))
        assert TOKEN not in url
    assert await browser.js("Object.values(sessionStorage).join()") == TOKEN
    assert await browser.js("localStorage.length + document.cookie.length") == 0
    await browser.press("#forget")
    assert await browser.js("sessionStorage.length") == 0
    assert "octo/repo#5" not in await browser.text()


@needs_chromium
async def test_wrong_token_is_forgotten_with_the_reason(browser: Page, api: Api) -> None:
    """The API's own sentence is shown, and the person can type another token."""
    await browser.open(f"{api.client.base_url}/status")
    await browser.type("#token", "wrong")
    await browser.press("#door button")
    await browser.wait("document.querySelector('#refused').textContent.includes('not one of ISSUEBOX_API_TOKENS')")
    assert await browser.js("sessionStorage.length") == 0
    assert await browser.js("document.querySelector('main').hidden && !document.querySelector('#door').hidden")


@needs_chromium
async def test_filter_and_groups_narrow_the_list(browser: Page, api: Api, stack: Stack) -> None:
    """The filter searches the shown text, and a group shows only its own issues."""
    await _ensured(api, stack, "Needle in the hay")
    await _entered(browser, api, stack)
    await browser.wait("document.querySelector('.state').textContent === 'started'")
    await browser.press("[data-group=running]")
    assert await browser.js("document.querySelectorAll('tr.issue').length") == 1
    await browser.press("[data-group=resting]")
    assert await browser.js("document.querySelectorAll('tr.issue').length") == 0
    assert "No issue fits." in await browser.text()


@needs_chromium
async def test_ensure_and_retry_reach_the_workflow(browser: Page, api: Api, stack: Stack) -> None:
    """One press starts a stopped sandbox, and a retry is among the workflow's own notes."""
    await _ensured(api, stack, "A title")
    made = await _sandbox(stack, "started")
    await stack.daytona.admin.act(made.id, "stop")
    await _sandbox(stack, "stopped")
    await _entered(browser, api, stack)
    await browser.press("[data-act=ensure]")
    await browser.wait("document.querySelector('.said').textContent === 'the sandbox was started'")
    await _sandbox(stack, "started")
    await browser.press("[data-act=retry]")
    await browser.wait("document.querySelector('.said').textContent.startsWith('asked;')")
    assert "retry" in [note.what for note in (await stack.why()).notes]


@needs_chromium
async def test_stop_asks_twice(browser: Page, api: Api, stack: Stack) -> None:
    """The first press only arms the button; the second sends one stop, and the sandbox is stopped."""
    await _ensured(api, stack, "A title")
    await _entered(browser, api, stack)
    await browser.press("[data-act=stop]")
    assert await browser.js("document.querySelector('[data-act=stop]').textContent") == "Really stop?"
    assert not [url for url in browser.requested if url.endswith("/stop")]
    await browser.press("[data-act=stop]")
    await browser.wait("!['', 'asked'].includes(document.querySelector('.said').textContent)")
    stops = [url for url in browser.requested if url.endswith("/stop")]
    assert stops == [f"{api.client.base_url}/v1/issues/{stack.issue_id}/stop"]
    await _sandbox(stack, "stopped")
    assert await browser.js("document.querySelector('[data-act=stop]').textContent") == "Stop"


@needs_chromium
async def test_page_says_when_the_api_is_away(browser: Page, api: Api, stack: Stack) -> None:
    """The last known issues stay on the page, and the page says that the API does not answer."""
    await _ensured(api, stack, "A title")
    await _entered(browser, api, stack)
    await browser.send(
        "Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0
    )
    await browser.wait("document.querySelector('#link').textContent === 'the API does not answer; trying again'")
    assert "octo/repo#5" in await browser.text()
