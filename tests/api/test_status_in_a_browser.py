"""The status pages in a real browser, on the whole stack: what is shown, what the buttons do, and for whom it works."""

from __future__ import annotations

import re
import shlex
import uuid
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, Page, expect
from temporalio.client import Client

from localdaytona.admin_models import SandboxView
from tests.api.conftest import BEARER, TOKEN, Api, Serve
from tests.api.listed import start_listed
from tests.browser import CHROMIUM, LOOKS, PATIENCE_MS, Watched, browsing, is_wider_than_the_screen, opened, violations
from tests.stuck import make_stuck
from tests.waiting import until
from tests.workflow.conftest import Stack, Started, daytona, start  # noqa: F401 -- fixtures
from tests.workflow.test_agent_runs import in_the_sandbox, over, working

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
expect.set_options(timeout=PATIENCE_MS)

HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
UI = "http://127.0.0.1:8233"
DASH = "\N{EN DASH}"


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with browsing() as browser:
        yield browser


@pytest.fixture
async def page(browser: Browser) -> Page:
    """A page at a desk, in the light."""
    return await opened(browser)


@pytest.fixture
async def stack(start: Started) -> Stack:  # noqa: F811 -- the fixture of that name
    return await start()


@pytest.fixture
async def api(serve: Serve, stack: Stack) -> Api:
    return await serve(task_queue=stack.settings.task_queue, temporal_ui_url=UI, daytona_api_url=stack.daytona.api_url)


def prefix() -> str:
    """A name prefix of which no other test has issues."""
    return f"browsed-{uuid.uuid4().hex[:8]}-"


def at(api: Api, path: str = "/status", token: str = TOKEN) -> str:
    """The address with the token behind the #."""
    return f"{str(api.client.base_url).rstrip('/')}{path}#token={token}"


async def ensured(api: Api, stack: Stack, title: str) -> None:
    path = f"/v1/issues/{stack.issue_id}/sandbox"
    body = {"repository": "octo/repo", "number": 5, "title": title, "url": "https://github.com/octo/repo/issues/5"}
    reply = await api.client.put(path, params={"wait_s": 20}, headers=BEARER, json=body)
    assert reply.status_code == 200, reply.text


async def entered(page: Page, api: Api, stack: Stack) -> None:
    """Open the list, and search for this test's issue: others may be in it."""
    await page.goto(at(api, f"/status?search={stack.issue_id}"))
    await expect(page.locator("tr.issue")).to_have_count(1)


async def entered_issue(page: Page, api: Api, stack: Stack) -> None:
    await page.goto(at(api, f"/status/issues/{stack.issue_id}"))
    await expect(page.locator("#timeline li").first).to_be_visible()


async def refreshed(page: Page) -> None:
    """Have the page ask now, as it does when its tab is looked at again, and not in some seconds."""
    await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


async def sandbox(stack: Stack, state: str) -> SandboxView:
    (row,) = await until(stack.live, lambda rows: [row.state for row in rows] == [state], f"it is {state}")
    return row


async def test_every_page_is_for_everybody(browser: Browser, api: Api, stack: Stack) -> None:
    """Door, list, issue and question have no violation of axe's rules, and fit the screen, in each look."""
    await ensured(api, stack, "A title without any break: " + "x" * 200)
    for width, scheme in LOOKS:
        page = await opened(browser, width, scheme)
        seen: dict[str, tuple[str, bool]] = {}

        async def look(name: str, page: Page = page, seen: dict[str, tuple[str, bool]] = seen) -> None:
            seen[name] = await violations(page), await is_wider_than_the_screen(page)

        await page.goto(str(api.client.base_url))
        await look("door")
        await entered(page, api, stack)
        await look("list")
        await entered_issue(page, api, stack)
        await look("issue")
        await page.get_by_role("button", name="Delete").click()
        await expect(page.get_by_role("dialog")).to_be_visible()
        await look("question")
        assert seen == dict.fromkeys(("door", "list", "issue", "question"), ("", False)), (width, scheme)
        await page.context.close()


async def test_list_shows_an_issue_and_leads_to_its_page(page: Page, api: Api, stack: Stack) -> None:
    """A row has repository, number, title, state, outcome and goal; its link leads to the reasons and the timeline."""
    await ensured(api, stack, "A bug in the clock")
    await entered(page, api, stack)
    row = page.locator("tr.issue")
    for text in ("octo/repo#5", "A bug in the clock", "started", "created", "running"):
        await expect(row).to_contain_text(text)
    await row.get_by_role("link").click()
    await expect(page).to_have_url(re.compile(rf"/status/issues/{stack.issue_id}$"))
    await expect(page.locator("h1")).to_have_text(["Enter an API token", "A bug in the clock"])
    await expect(page.locator("#summary")).to_contain_text(f"{stack.name} for octo/repo#5")
    made = await sandbox(stack, "started")
    for text in (made.id, "requested by REST", "REST, "):
        await expect(page.locator("#facts, #timeline").filter(has_text=text).first).to_be_visible()
    timeline = page.locator("#timeline li")
    await expect(timeline.filter(has_text="decided to create")).to_have_attribute("data-kind", "decision")
    await expect(timeline.last).to_have_attribute("data-kind", "request")
    links = {name: await page.get_by_role("link", name=name).get_attribute("href") for name in ("GitHub", "Workflow")}
    assert links == {
        "GitHub": "https://github.com/octo/repo/issues/5",
        "Workflow": f"{UI}/namespaces/default/workflows/{stack.name}",
    }
    async with page.context.expect_page() as shown:
        await page.get_by_role("link", name="Sandbox at Daytona").click()
    await expect((await shown.value).locator("#sandboxes tbody tr")).to_have_count(1)
    await page.get_by_role("link", name="All issues").click()
    await expect(page).to_have_url(re.compile(rf"/status\?search={stack.issue_id}$"))


async def test_page_marks_a_stuck_workflow_and_says_what_helps(page: Page, api: Api, stack: Stack) -> None:
    """Its row says so, it counts as blocked, and its page has the reason and the command."""
    await make_stuck(stack)
    await entered(page, api, stack)
    await expect(page.locator(".blocked")).to_have_text("stuck")
    await page.get_by_role("button", name="blocked").click()
    await expect(page.locator("tr.issue")).to_have_count(1)
    await page.locator("tr.issue .open").click()
    for text in ("Failed decoding arguments", f"temporal workflow terminate --workflow-id {stack.name}"):
        await expect(page.locator("#summary")).to_contain_text(text)
    await expect(page.locator("#orders")).to_be_hidden()


async def test_issue_that_waits_for_its_turn_is_queued_and_not_blocked(
    page: Page,
    serve: Serve,
    start: Started,  # noqa: F811 -- the fixture of that name
) -> None:
    """It has a group of its own. Its page has its place, and nothing on either page alarms anybody."""
    first = await start(running_max=1)
    api = await serve(task_queue=first.settings.task_queue)
    await ensured(api, first, "Before it")
    second = first.another()
    path = f"/v1/issues/{second.issue_id}/sandbox"
    reply = await api.client.put(path, headers=BEARER, json={"repository": "octo/repo", "number": 6, "title": "Next"})
    assert reply.json()["outcome"] == "queued"
    await entered(page, api, second)
    chip = page.locator("tr.issue .blocked")
    await expect(chip).to_have_text("queued")
    await expect(chip).to_have_attribute("data-tone", "moving")
    await page.get_by_role("button", name=re.compile(r"^queued \d+$")).click()
    await expect(page.locator("tr.issue")).to_have_count(1)
    await page.get_by_role("button", name=re.compile(r"^blocked \d+$")).click()
    await expect(page.locator("tr.issue")).to_have_count(0)
    await page.get_by_role("button", name=re.compile(r"^queued \d+$")).click()
    await page.locator("tr.issue .open").click()
    for where in ("#summary", "#facts"):
        await expect(page.locator(where)).to_contain_text("in the installation, place 1 in the queue")
    await expect(page.locator(".chips .blocked")).to_have_text("queued")
    assert await violations(page) == ""


async def test_unknown_issue_can_only_be_ensured(page: Page, serve: Serve) -> None:
    """The page of an issue that nobody asked for says so, and offers what would help."""
    await page.goto(at(await serve(name_prefix=prefix()), "/status/issues/77"))
    await expect(page.locator("#summary")).to_contain_text("Nobody has asked for a sandbox of issue 77 yet")
    assert await page.locator("#orders button:visible").all_inner_texts() == ["Ensure"]
    assert await page.locator("#stale").is_hidden()


async def test_hostile_title_stays_text(page: Page, api: Api, stack: Stack) -> None:
    """Anybody can write a title: it is shown as it is written, and nothing in it runs or is loaded."""
    watched = Watched(page)
    await ensured(api, stack, HOSTILE)
    await entered(page, api, stack)
    assert await page.locator(".title").text_content() == HOSTILE
    assert await page.title() == "issuebox"
    await page.locator("tr.issue .open").click()
    await expect(page.locator("#title")).to_have_text(HOSTILE)
    assert await page.title() == f"octo/repo#5 {DASH} issuebox"
    await page.get_by_role("button", name="Delete").click()
    assert await page.locator("img, main script, dialog script").count() == 0
    assert watched.console == []


async def test_page_asks_nobody_but_its_own_api(page: Page, api: Api, stack: Stack) -> None:
    """It loads everything from its own API, and the token is in no request's address and no lasting storage."""
    watched = Watched(page)
    await ensured(api, stack, "A title")
    await page.goto(str(api.client.base_url))
    await page.get_by_label("API token").fill(TOKEN)
    await page.get_by_role("button", name="Show").click()
    await page.get_by_label("Search all issues").fill(str(stack.issue_id))
    await expect(page.locator("tr.issue")).to_have_count(1)
    await page.locator("tr.issue .open").click()
    await expect(page.locator("#timeline li").first).to_be_visible()
    assert len(watched.requested) > 3
    for url in watched.requested:
        assert url.startswith((str(api.client.base_url), "data:image/svg+xml"))
        assert TOKEN not in url
    assert await page.evaluate("sessionStorage['issuebox-token']") == TOKEN
    assert await page.evaluate("localStorage.length + document.cookie.length") == 0
    await page.get_by_role("button", name="Forget token").click()
    assert TOKEN not in str(await page.evaluate("Object.values(sessionStorage).join()"))
    assert "octo/repo#5" not in str(await page.content())


async def test_token_behind_the_address_is_taken_out_of_it(page: Page, api: Api, stack: Stack) -> None:
    """Neither the address bar nor the way back shows it, and it reaches no server. It works on each page."""
    watched = Watched(page)
    await page.goto(at(api, "/status?group=running"))
    await expect(page.locator("#link")).to_contain_text("as of")
    assert page.url == f"{api.client.base_url}/status?group=running"
    await page.evaluate("sessionStorage.clear()")
    await page.goto(at(api, f"/status/issues/{stack.issue_id}"))
    await expect(page.locator("#link")).to_contain_text("as of")
    assert page.url == f"{api.client.base_url}/status/issues/{stack.issue_id}"
    assert not [url for url in watched.requested if TOKEN in url.partition("#")[0]]


async def test_wrong_token_is_forgotten_with_the_reason(page: Page, serve: Serve) -> None:
    """The person reads why, and can type another token."""
    api = await serve()
    for token, sentence in {
        "wrong": "not one of ISSUEBOX_API_TOKENS",
        "t%C3%B6ken": "A token is one word of visible ASCII characters.",
        "%E0%A4%A": "not one of ISSUEBOX_API_TOKENS",
    }.items():
        await page.goto(at(api, token=token))
        await expect(page.locator("#refused")).to_contain_text(sentence)
        assert await page.evaluate("sessionStorage['issuebox-token'] === undefined")
        await expect(page.get_by_label("API token")).to_be_focused()
        await expect(page.locator("#inside")).to_be_hidden()


async def test_list_of_many_issues_is_paged_sorted_and_searched(page: Page, serve: Serve, temporal: Client) -> None:
    """Only the visible page is sent, and not again while nothing changes; the address says what is shown."""
    ours = prefix()
    await start_listed(temporal, ours, 120)
    api = await serve(name_prefix=ours)
    await page.goto(at(api, "/status?sort=issue&descending=false"))
    rows = page.locator("tr.issue .number")
    await expect(rows).to_have_count(50)
    await expect(rows.first).to_have_text("octo/repo#1")
    await expect(page.locator("#range")).to_have_text("page 1 of 3, 120 issues")
    await page.get_by_role("button", name="Next").click()
    await expect(rows.first).to_have_text("octo/repo#51")
    await page.reload()
    await expect(rows.first).to_have_text("octo/repo#51")
    await page.get_by_role("button", name="Issue").click()
    await expect(rows.first).to_have_text("octo/repo#120")
    await expect(page.get_by_role("columnheader", name="Issue")).to_have_attribute("aria-sort", "descending")
    await page.get_by_label("Search all issues").fill("number 77")
    await expect(rows).to_have_text(["octo/repo#77"])
    await expect(page.get_by_role("status").filter(has_text="1 of 120")).to_be_visible()
    await page.get_by_role("button", name="resting").click()
    await expect(page.get_by_text("No issue fits.")).to_be_visible()
    async with page.expect_response(lambda reply: "/v1/overview" in reply.url and reply.status == 304):
        await refreshed(page)


async def test_keyboard_moves_through_the_list(page: Page, serve: Serve, temporal: Client) -> None:
    """Down and up lead from issue to issue and on to the next page and back; End and Home to the ends; Enter opens."""
    ours = prefix()
    await start_listed(temporal, ours, 60)
    await page.goto(at(await serve(name_prefix=ours), "/status?sort=issue&descending=false"))
    focused = page.locator(".open:focus .number")
    await page.locator("tr.issue .open").first.focus()
    for key, number in (("ArrowDown", 2), ("ArrowUp", 1), ("End", 50), ("ArrowDown", 51), ("ArrowUp", 50), ("Home", 1)):
        await page.keyboard.press(key)
        await expect(focused).to_have_text(f"octo/repo#{number}")
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(re.compile(r"/status/issues/1$"))


async def test_empty_list_shows_the_next_command(page: Page, serve: Serve) -> None:
    """Who has just started reads what to type, and not that nothing fits."""
    await page.goto(at(await serve(name_prefix=prefix())))
    await expect(page.locator("#first")).to_be_visible()
    await expect(page.locator("#first")).to_contain_text("issuebox send opened --issue 1 --repo octo/repo")
    assert await violations(page) == ""


async def test_ensure_and_retry_reach_the_workflow(page: Page, api: Api, stack: Stack) -> None:
    """One press starts a stopped sandbox, and a retry is among the workflow's own notes."""
    await ensured(api, stack, "A title")
    made = await sandbox(stack, "started")
    await stack.daytona.admin.act(made.id, "stop")
    await sandbox(stack, "stopped")
    await entered(page, api, stack)
    await page.get_by_role("button", name="Ensure octo/repo#5").click()
    await expect(page.locator(".said")).to_have_text("the sandbox was started")
    await sandbox(stack, "started")
    await page.get_by_role("button", name="Retry octo/repo#5").click()
    await expect(page.locator(".said")).to_contain_text("asked;")
    assert "retry" in [note.what for note in (await stack.why()).notes]


async def test_agent_is_shown_paused_and_cancelled(browser: Browser, serve: Serve, start: Started) -> None:  # noqa: F811
    """The list has its state; the issue's page has each run with what it came to, what waits, and ways to stop it."""
    stack = await start(run_preset="command", run_command=f"echo {shlex.quote(HOSTILE)}; [ ! -e ~/hold ] || sleep 60")
    api = await serve(task_queue=stack.settings.task_queue)

    async def ask(prompt: str, key: str) -> None:
        headers, path = BEARER | {"Idempotency-Key": key}, f"/v1/issues/{stack.issue_id}/runs"
        reply = await api.client.post(path, headers=headers, json={"prompt": prompt, "repository": "octo/repo"})
        assert reply.status_code == 202, reply.text

    await ask("Do it", "first")
    await over(stack)
    await in_the_sandbox(stack, "touch ~/hold")
    await ask("And that", "second")
    await working(stack)
    await ask("And this", "third")
    for width, scheme in LOOKS:
        await shows_the_agent(await opened(browser, width, scheme), api, stack)
    page = await opened(browser)
    await entered_issue(page, api, stack)
    await expect(page.get_by_role("button", name="Resume the run")).to_be_hidden()
    await page.get_by_role("button", name="Pause the run").click()
    await page.get_by_role("button", name="Pause it").click()
    await expect(page.locator("#runs li .run")).to_have_text(["waiting", "paused", "done"])
    await expect(page.locator("#facts")).to_contain_text("by REST")
    await expect(page.locator("#summary")).to_contain_text("The agent's work is paused by REST since")
    await expect(page.get_by_role("button", name="Pause the run")).to_be_hidden()
    await page.get_by_role("button", name="Resume the run").click()
    await expect(page.locator("#runs li .run")).to_have_text(["waiting", "working", "done"])
    await expect(page.get_by_role("button", name="Resume the run")).to_be_hidden()
    await page.get_by_role("button", name="Cancel the run").click()
    await page.get_by_role("button", name="Cancel it").click()
    runs = page.locator("#runs li")
    await expect(runs.locator(".run")).to_have_text(["refused", "cancelled", "done"])
    await expect(runs.nth(1)).to_contain_text("Ask again to have it done after all.")
    await expect(page.get_by_role("button", name="Cancel the run")).to_be_hidden()


async def shows_the_agent(page: Page, api: Api, stack: Stack) -> None:
    """The list and the issue's page, with one request that waits, one run that works, and one that is done."""
    watched = Watched(page)
    await entered(page, api, stack)
    await expect(page.locator("tr.issue .run")).to_have_text("working")
    assert (await violations(page), await is_wider_than_the_screen(page)) == ("", False)
    await entered_issue(page, api, stack)
    runs = page.locator("#runs li")
    await expect(runs.locator(".run")).to_have_text(["waiting", "working", "done"])
    await expect(runs.first).to_contain_text("call-third by REST, place 1")
    await expect(runs.last).to_contain_text(HOSTILE)
    assert (await violations(page), await is_wider_than_the_screen(page)) == ("", False)
    assert watched.console == []


async def test_order_that_ends_work_asks_first(page: Page, api: Api, stack: Stack) -> None:
    """Esc and *Keep it* send nothing, and the focus is back on the button; the answer sends one order."""
    watched = Watched(page)
    await ensured(api, stack, "A title")
    await entered(page, api, stack)
    stop = page.get_by_role("button", name="Stop octo/repo#5")
    await stop.focus()
    for answer in ("Escape", "Enter"):
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("dialog")).to_contain_text("Stop the sandbox of octo/repo#5?")
        await expect(page.get_by_role("button", name="Keep it")).to_be_focused()
        await page.keyboard.press(answer)
        await expect(stop).to_be_focused()
    assert not [url for url in watched.requested if url.endswith("/stop")]
    await stop.click()
    await page.get_by_role("button", name="Stop it").click()
    await expect(page.locator(".said")).to_contain_text("asked;")
    await expect(stop).to_be_focused()
    stops = [url for url in watched.requested if url.endswith("/stop")]
    assert stops == [f"{api.client.base_url}/v1/issues/{stack.issue_id}/stop"]
    await sandbox(stack, "stopped")


async def test_delete_gives_unsaved_work_up_only_when_told_to(page: Page, api: Api, stack: Stack) -> None:
    """The option is off at each question, and the order says what was ticked. Replace is asked for in the same way."""
    watched = Watched(page)
    await ensured(api, stack, "A title")
    first = await sandbox(stack, "started")
    await entered_issue(page, api, stack)
    await page.get_by_role("button", name="Replace").click()
    await expect(page.get_by_role("dialog")).to_contain_text("Everything in it is lost")
    assert await page.get_by_label("Give up unsaved work, too").is_hidden()
    await page.get_by_role("button", name="Replace it").click()
    await until(stack.live, lambda rows: [r.state for r in rows if r.id != first.id] == ["started"], "it is replaced")
    for is_ticked in (True, False):
        await page.get_by_role("button", name="Delete", exact=True).click()
        assert not await page.get_by_label("Give up unsaved work, too").is_checked()
        if is_ticked:
            await page.get_by_label("Give up unsaved work, too").check()
            await page.get_by_role("button", name="Keep it").click()
        else:
            await page.get_by_role("button", name="Delete it").click()
    await until(stack.live, lambda rows: rows == [], "the sandbox is gone")
    deletes = [url.partition("/v1")[2] for url in watched.requested if "force=" in url]
    assert deletes == [f"/issues/{stack.issue_id}/sandbox?force=false"]
    await expect(page.locator("#timeline li").filter(has_text="ordered by signal").first).to_be_visible()


async def test_page_says_that_it_is_not_up_to_date(page: Page, api: Api, stack: Stack) -> None:
    """What was known stays on the page, with the time of the last answer; and it goes on when the API is back."""
    await ensured(api, stack, "A title")
    await entered(page, api, stack)
    await page.context.set_offline(True)
    await refreshed(page)
    stale = page.locator("#stale")
    await expect(stale).to_be_visible()
    await expect(stale).to_contain_text("Not up to date: the API does not answer. The last answer is of ")
    await expect(page.locator("#link")).to_have_text("not up to date")
    await expect(page.locator("tr.issue")).to_contain_text("octo/repo#5")
    assert await violations(page) == ""
    await page.context.set_offline(False)
    await refreshed(page)
    await expect(stale).to_be_hidden()


async def test_page_says_that_temporal_is_away(page: Page, serve: Serve, closed_address: str) -> None:
    """The API's own sentence, and that nothing was known before."""
    await page.goto(at(await serve(closed_address)))
    await expect(page.get_by_role("alert")).to_contain_text(
        "Not up to date: Temporal cannot be reached. There was no answer yet."
    )
