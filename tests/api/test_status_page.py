"""The status pages as they are served: each in one piece, allowed nothing else, with nothing in it that is secret."""

from __future__ import annotations

import re

import httpx
import pytest
from pydantic import ValidationError

from api.status_page import sandboxes_url
from issuebox.settings import ApiSettings
from issuebox.temporal.web_ui import list_url, workflow_url
from tests.api.conftest import SECRET, TOKEN, Serve

UI = "http://127.0.0.1:8233"


@pytest.fixture(params=["/status", "/status/issues/7"])
async def page(request: pytest.FixtureRequest, serve: Serve, closed_address: str) -> httpx.Response:
    """The page as a browser gets it, without a token and without a Temporal."""
    api = await serve(closed_address, temporal_ui_url=UI)
    return await api.client.get(str(request.param))


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
    assert set(re.findall(r"href\s*=\s*[\"'](?!data:)([^\"']*)", page.text)) == {"/docs", "/status"}
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "connect-src 'self'" in policy
    assert not re.search(r"unsafe|\*|https?:", policy)
    assert not re.findall(r"\{[a-z_]+\}", re.sub(r"(?s)<(script|style)>.*?</\1>", "", page.text))


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


def test_links_lead_into_temporal_and_daytona() -> None:
    """Each address is derived from a setting; without one there is no link."""
    assert workflow_url("https://temporal.example/", "ours.acct", "claude-issue-7") == (
        "https://temporal.example/namespaces/ours.acct/workflows/claude-issue-7"
    )
    query = "WorkflowType%20%3D%20%27IssueSandboxWorkflow%27%20AND%20ExecutionStatus%20%3D%20%27Running%27"
    assert list_url(UI, "default") == f"{UI}/namespaces/default/workflows?query={query}"
    assert (workflow_url("", "default", "x"), list_url("", "default")) == ("", "")
    assert sandboxes_url("https://app.daytona.io/api") == "https://app.daytona.io/dashboard/sandboxes/"
    assert not sandboxes_url("https://daytona.example/v2")


async def test_page_of_an_issue_names_its_workflow(serve: Serve, closed_address: str) -> None:
    """The prefix is the installation's own."""
    api = await serve(closed_address, temporal_ui_url=UI, name_prefix="ours-")
    text = (await api.client.get("/status/issues/7")).text
    assert f'name="temporal-workflow" content="{UI}/namespaces/default/workflows/ours-7"' in text


@pytest.mark.parametrize("issue_id", ["0", "007", "-1", "7%22%3E%3Cscript%3E", "9" * 20])
async def test_page_of_what_is_no_issue_is_refused(serve: Serve, closed_address: str, issue_id: str) -> None:
    """An issue has one address."""
    api = await serve(closed_address)
    assert (await api.client.get(f"/status/issues/{issue_id}")).status_code == 400


async def test_address_in_the_settings_is_no_markup(serve: Serve, closed_address: str) -> None:
    """The value of the setting ends up in attributes, and nowhere else; and it must be http or https."""
    api = await serve(closed_address, temporal_ui_url='http://x/"><script>alert(1)</script>')
    text = (await api.client.get("/status")).text
    assert "<script>alert(1)" not in text
    assert "&quot;&gt;&lt;script&gt;" in text
    for address in ("javascript:alert(1)", "ftp://x", "http://x y"):
        with pytest.raises(ValidationError):
            ApiSettings(temporal_ui_url=address)
