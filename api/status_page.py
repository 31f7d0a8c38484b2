"""The status pages for people: the list of all issues, and the page of one issue with its timeline and its orders.

Both are static and contain no secrets: their script calls ``/v1`` with the token that the person types, or that stands
behind the ``#`` of the address, which no browser sends to a server. Their policy allows no other script and no other
host. Anybody can write a title, so the script inserts texts as text only, and Trusted Types make the browser enforce
that.
"""

from __future__ import annotations

import html
from collections.abc import Mapping

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, RedirectResponse

from api import pages
from api.sandboxes import IssueIdPath
from issuebox.settings import ApiSettings
from issuebox.temporal.issues import Issues
from issuebox.temporal.web_ui import list_url, workflow_url

ROOM = "status"


def router(settings: ApiSettings, issues: Issues) -> APIRouter:
    """The two pages, and ``/``, which redirects to the list. They need no token; the calls of their script do."""
    routes = APIRouter(include_in_schema=False)
    listed, one = _Page("list"), _Page("issue")

    async def links(name: str = "") -> Mapping[str, str]:
        namespace = (await issues.client()).namespace if settings.temporal_ui_url else ""
        return {
            "temporal": workflow_url(settings.temporal_ui_url, namespace, name),
            "temporal_list": list_url(settings.temporal_ui_url, namespace),
            "daytona": sandboxes_url(settings.daytona_api_url),
        }

    @routes.get("/status")
    async def status() -> HTMLResponse:
        return listed.reply(await links())

    @routes.get("/status/issues/{issue_id}")
    async def issue(issue_id: IssueIdPath) -> HTMLResponse:
        return one.reply(await links(issues.name(issue_id)))

    @routes.get("/")
    async def root() -> RedirectResponse:
        return RedirectResponse("/status")

    return routes


def sandboxes_url(api_url: str) -> str:
    """The URL of a sandbox in Daytona's dashboard, up to the sandbox's ID; '' when the API is not where Daytona has it.

    Daytona serves its API under ``/api``, its dashboard under ``/dashboard`` (apps/dashboard/src/enums/RoutePath.ts).
    """
    root, slash, _ = api_url.rpartition("/api")
    return f"{root}/dashboard/sandboxes/" if slash and api_url.endswith("/api") else ""


class _Page:
    """One of the pages as a whole, and headers that let a browser run its script and no other."""

    def __init__(self, name: str) -> None:
        style = pages.part(ROOM, "page.css")
        script = pages.part(ROOM, "common.js") + pages.part(ROOM, f"{name}.js")
        shell, main = pages.part(ROOM, "shell.html"), pages.part(ROOM, f"{name}.html")
        self._text = shell.replace("{main}", main).replace("{style}", style).replace("{script}", script)
        self._headers = pages.headers(style, script)

    def reply(self, links: Mapping[str, str]) -> HTMLResponse:
        """The page with these addresses, each in an attribute."""
        text = self._text
        for name, url in links.items():
            text = text.replace(f"{{{name}}}", html.escape(url))
        return HTMLResponse(text, headers=self._headers)
