"""The status page for people: all issues with their sandboxes, the reasons, and buttons for requests and orders.

The page is static and contains no secrets: its script calls ``/v1`` with the token that the person types. Its
policy allows no other script and no other host. Anybody can write a title, so the script inserts titles as text
only, and Trusted Types make the browser enforce that.
"""

from __future__ import annotations

import html

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, RedirectResponse

from api import pages
from issuebox.settings import ApiSettings
from issuebox.temporal.issues import Issues


def router(settings: ApiSettings, issues: Issues) -> APIRouter:
    """``/status``, and ``/``, which redirects there. The page needs no token; the calls of its script do."""
    routes = APIRouter(include_in_schema=False)
    page, headers = _page()

    @routes.get("/status")
    async def status() -> HTMLResponse:
        namespace = (await issues.client()).namespace if settings.temporal_ui_url else ""
        workflows = workflows_url(settings.temporal_ui_url, namespace)
        return HTMLResponse(page.replace("{temporal_workflows}", html.escape(workflows)), headers=headers)

    @routes.get("/")
    async def root() -> RedirectResponse:
        return RedirectResponse("/status")

    return routes


def workflows_url(ui_url: str, namespace: str) -> str:
    """The URL of a workflow in Temporal's Web UI, up to the workflow's ID; '' without a Web UI."""
    return f"{ui_url.rstrip('/')}/namespaces/{namespace}/workflows/" if ui_url else ""


def _page() -> tuple[str, dict[str, str]]:
    """The whole page, and headers that let a browser run this script and no other."""
    style, script = pages.part("status", "page.css"), pages.part("status", "page.js")
    page = pages.part("status", "page.html").replace("{style}", style).replace("{script}", script)
    return page, pages.headers(style, script)
