"""The page for people: the state of the sandboxes, and buttons to interfere. Static; it uses only `/_local/`."""

import base64
import hashlib
from importlib.resources import files

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

__all__ = ["dashboard_router"]


def dashboard_router() -> APIRouter:
    """Return the router that serves the page at `/`, and where Daytona's dashboard shows one sandbox."""
    router = APIRouter(include_in_schema=False)
    page, headers = _page()

    @router.get("/")
    @router.get("/dashboard/sandboxes")
    @router.get("/dashboard/sandboxes/{sandbox_id}")
    async def dashboard() -> HTMLResponse:
        return HTMLResponse(page, headers=headers)

    return router


def _page() -> tuple[str, dict[str, str]]:
    """Return the page as one document, and headers that let a browser run this script and no other."""
    parts = files(__package__)
    style, script = (parts.joinpath(name).read_text("utf-8") for name in ("page.css", "page.js"))
    page = parts.joinpath("page.html").read_text("utf-8").replace("{style}", style).replace("{script}", script)
    policy = (
        "default-src 'none'",
        f"script-src '{_digest(script)}'",
        f"style-src '{_digest(style)}'",
        "connect-src 'self'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
    return page, {
        "Content-Security-Policy": "; ".join(policy),
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
