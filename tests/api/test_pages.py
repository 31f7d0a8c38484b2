"""The HTML pages: each is one piece, may do nothing else, and cannot read what another keeps."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import httpx
import pytest

from tests.api.conftest import Api, Serve
from tests.api.test_rest import document, operations

PAGES = ["/status", "/status/issues/7", "/docs"]


@pytest.fixture
async def offline(serve: Serve, closed_address: str) -> Api:
    """Without a Temporal, and without a network."""
    return await serve(closed_address)


async def test_every_page_is_tested(offline: Api) -> None:
    """No route answers with HTML unseen."""
    for path in (
        "/",
        "/docs",
        "/redoc",
        "/docs/oauth2-redirect",
        "/status",
        "/status/issues/7",
        "/openapi.json",
        "/healthz",
        "/v1/x",
    ):
        reply = await offline.client.get(path)
        is_page = reply.headers.get("content-type", "").startswith("text/html")
        assert is_page is (path in PAGES), path


@pytest.mark.parametrize("path", PAGES)
async def test_page_may_do_nothing_but_what_it_brings(offline: Api, path: str) -> None:
    """Its policy forbids everything but its own style and script, and framing; its address goes to nobody."""
    reply = await offline.client.get(path)
    policy = dict(part.strip().partition(" ")[::2] for part in reply.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert not re.search(r"unsafe|\*|https?:", reply.headers["content-security-policy"])
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["referrer-policy"] == "no-referrer"
    assert not re.findall(r"""\s(?:src|style|on\w+)=["']""", reply.text)
    assert not re.findall(r"""href\s*=\s*["'](?!data:|/[a-z]|#)""", reply.text)


async def test_docs_can_run_no_script(offline: Api) -> None:
    """A page without a script cannot read the token that the status page keeps in the same tab."""
    reply = await offline.client.get("/docs")
    assert "<script" not in reply.text
    assert "script-src" not in reply.headers["content-security-policy"]
    assert "connect-src" not in reply.headers["content-security-policy"]


class Reader(HTMLParser):
    """The text, the anchors, and what is open at the end."""

    def __init__(self, page: httpx.Response) -> None:
        super().__init__()
        self.text, self.anchors, self.links, self.open = "", set(), set(), []
        self.feed(page.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open += [] if tag in {"meta", "link"} else [tag]
        self.anchors |= {value for name, value in attrs if name == "id"}
        self.links |= {value for name, value in attrs if name == "href"}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


async def test_docs_describe_every_call(offline: Api) -> None:
    """Each operation with its summary, parameters and answers, and each schema that it names, is on the page."""
    page = Reader(await offline.client.get("/docs"))
    assert page.open == []
    schema = await document(offline)
    for method, path, operation in operations(schema):
        for text in (f"{method.upper()} {path}", operation["summary"], *operation["responses"]):
            assert text in page.text
        assert all(parameter["name"] in page.text for parameter in operation.get("parameters", ()))
    assert set(schema["components"]["schemas"]) == page.anchors
    assert {link[1:] for link in page.links if link.startswith("#")} <= page.anchors
