"""A stand-in for the parts of GitHub that an App is made with: the form, the conversion, and the App's own API.

It judges a manifest as GitHub does, which is documented in part and known from bug reports for the rest. It has two
addresses like GitHub Enterprise: pages at the root, the REST API under ``/api/v3``.
"""

from __future__ import annotations

import asyncio
import html
import json
import re
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import jwt
import uvicorn
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.waiting import until

SUPPORTED_EVENTS = {"issues", "issue_comment", "pull_request", "push"}
OWNER = "octo"


@dataclass
class RegisteredApp:
    """An App, as GitHub keeps it."""

    id: int
    manifest: dict[str, Any]
    pem: str
    public_key: str
    webhook_secret: str
    slug: str
    hook: dict[str, str]
    installations: list[dict[str, Any]] = field(default_factory=list)


class GitHubPages:
    """The stand-in's state, and what tests do to it."""

    def __init__(self) -> None:
        self.url = ""
        self.posted: list[dict[str, Any]] = []
        self.codes: dict[str, dict[str, Any]] = {}
        self.apps: dict[int, RegisteredApp] = {}
        self.conversions = 0
        self.tokens: dict[str, int] = {}
        self.repositories = [{"full_name": "octo/repo", "private": True}]
        self.lacking: tuple[str, ...] = ()
        """Fields that the answer of a conversion leaves out."""
        self.pem: str | None = None
        self.conversion_hangs = asyncio.Event()
        self.hangs = False
        self.failing: dict[str, int] = {}
        """A status instead of the answer, by the path's end."""

    @property
    def app_only(self) -> RegisteredApp:
        [app] = self.apps.values()
        return app

    def install(self, login: str = OWNER) -> None:
        """A person installs the newest App."""
        app = list(self.apps.values())[-1]
        app.installations.append(
            {"id": 70 + len(app.installations), "account": {"login": login}, "suspended_at": None,
             "repository_selection": "selected"}
        )  # fmt: skip

    def app(self) -> Starlette:
        api = "/api/v3"
        return Starlette(
            routes=[
                Route("/settings/apps/new", self._form, methods=["POST"]),
                Route("/organizations/{org}/settings/apps/new", self._form, methods=["POST"]),
                Route("/create", self._create, methods=["POST"]),
                Route(api + "/app-manifests/{code}/conversions", self._convert, methods=["POST"]),
                Route(api + "/app", self._as_app(self._about)),
                Route(api + "/app/installations", self._as_app(lambda app, _: JSONResponse(app.installations))),
                Route(api + "/app/hook/config", self._hook, methods=["GET", "PATCH"]),
                Route(
                    api + "/app/installations/{id:int}/access_tokens", self._as_app(self._make_token), methods=["POST"]
                ),
                Route(api + "/installation/repositories", self._repositories),
                Route(api + "/repos/{owner}/{repo}/installation", self._as_app(self._installation)),
                Route(api + "/repos/{owner}/{repo}/issues{rest:path}", self._nothing),
            ]
        )

    async def _form(self, request: Request) -> Response:
        """What the button of the local page leads to: GitHub's own page, which asks once more."""
        form = await request.form()
        manifest, state = json.loads(str(form["manifest"])), request.query_params.get("state", "")
        if complaint := complaint_about(manifest):
            return HTMLResponse(f"Invalid GitHub App configuration: {html.escape(complaint)}", 422)
        self.posted.append(manifest | {"organization": request.path_params.get("org", "")})
        fields = (
            f'<input name="manifest" value="{html.escape(json.dumps(manifest))}"><input name="state" value="{state}">'
        )
        return HTMLResponse(f'<form action="/create" method="post">{fields}<button>Create GitHub App</button></form>')

    async def _create(self, request: Request) -> Response:
        form = await request.form()
        manifest = json.loads(str(form["manifest"]))
        code = secrets.token_hex(20)
        self.codes[code] = manifest
        place = manifest["redirect_url"]
        return RedirectResponse(f"{place}?code={code}&state={form['state']}", 302)

    async def _convert(self, request: Request) -> Response:
        self.conversions += 1
        if self.hangs:
            self.conversion_hangs.set()
            await asyncio.sleep(60)
        if status := self.failing.get("conversions"):
            return JSONResponse({"message": "a secret body"}, status)
        manifest = self.codes.pop(request.path_params["code"], None)
        if manifest is None:
            return JSONResponse({"message": "Not Found"}, 404)
        made = self._made(manifest)
        body = {
            "id": made.id, "slug": made.slug, "node_id": "A_1", "client_id": "Iv1.8a61f9b3a7aba766",
            "client_secret": "a-client-secret", "webhook_secret": made.webhook_secret, "pem": made.pem,
            "html_url": f"{self.url}/apps/{made.slug}", "owner": {"login": OWNER}, "name": manifest["name"],
            "permissions": manifest["default_permissions"], "events": manifest["default_events"],
        }  # fmt: skip
        return JSONResponse({name: value for name, value in body.items() if name not in self.lacking}, 201)

    def _made(self, manifest: dict[str, Any]) -> RegisteredApp:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        ).decode()
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        app = RegisteredApp(
            id=1000 + len(self.apps),
            manifest=manifest,
            pem=pem if self.pem is None else self.pem,
            public_key=public.decode(),
            webhook_secret=secrets.token_hex(20),
            slug=re.sub(r"[^a-z0-9]+", "-", manifest["name"].lower()),
            hook={"url": manifest["hook_attributes"]["url"], "content_type": "json", "insecure_ssl": "0"},
        )
        self.apps[app.id] = app
        return app

    def _as_app(self, answer: Callable[[RegisteredApp, Request], Response]) -> Callable[[Request], Any]:
        async def handle(request: Request) -> Response:
            for ending, status in self.failing.items():
                if request.url.path.endswith(ending):
                    return JSONResponse({"message": "a secret body"}, status)
            app = self._authorized(request)
            return app if isinstance(app, Response) else answer(app, request)

        return handle

    def _authorized(self, request: Request) -> RegisteredApp | Response:
        kind, _, proof = request.headers.get("authorization", "").partition(" ")
        refusal = JSONResponse({"message": "A JSON web token could not be decoded"}, 401)
        try:
            issuer = jwt.decode(proof, options={"verify_signature": False})["iss"]
            app = self.apps[int(issuer)]
            jwt.decode(proof, app.public_key, algorithms=["RS256"])
        except (jwt.PyJWTError, KeyError, ValueError):
            return refusal
        return app if kind.lower() == "bearer" else refusal

    def _about(self, app: RegisteredApp, _request: Request) -> Response:
        manifest = app.manifest
        return JSONResponse(
            {"id": app.id, "slug": app.slug, "owner": {"login": OWNER}, "permissions": manifest["default_permissions"],
             "events": manifest["default_events"]}
        )  # fmt: skip

    async def _hook(self, request: Request) -> Response:
        app = self._authorized(request)
        if isinstance(app, Response):
            return app
        if request.method == "PATCH":
            app.hook |= await request.json()
        return JSONResponse(app.hook | {"secret": "********"})

    def _make_token(self, app: RegisteredApp, _request: Request) -> Response:
        token = f"ghs_{secrets.token_hex(16)}"
        self.tokens[token] = app.id
        expires = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        return JSONResponse({"token": token, "expires_at": expires}, 201)

    async def _repositories(self, request: Request) -> Response:
        if request.headers.get("authorization", "").partition(" ")[2] not in self.tokens:
            return JSONResponse({"message": "Bad credentials"}, 401)
        return JSONResponse({"total_count": len(self.repositories), "repositories": self.repositories})

    async def _nothing(self, request: Request) -> Response:
        """Neither issues nor comments: for the resync of a connected worker."""
        is_known = request.headers.get("authorization", "").partition(" ")[2] in self.tokens
        return JSONResponse([] if is_known else {"message": "Bad credentials"}, 200 if is_known else 401)

    def _installation(self, app: RegisteredApp, request: Request) -> Response:
        name = f"{request.path_params['owner']}/{request.path_params['repo']}"
        if not app.installations or name not in [one["full_name"] for one in self.repositories]:
            return JSONResponse({"message": "Not Found"}, 404)
        return JSONResponse(app.installations[0])


def complaint_about(manifest: dict[str, Any]) -> str:
    """What GitHub says of a manifest that it refuses; '' for nothing."""
    hook = manifest.get("hook_attributes")
    if not manifest.get("url") or (hook is not None and not hook.get("url")):
        return '"url" wasn\'t supplied.'
    if hook and re.search(r"//(localhost|127\.)", hook["url"]):
        return "Hook url is not supported because it isn't reachable over the public Internet (localhost)"
    if hook and "secret" in hook:
        return "Unknown key secret"
    if unsupported := set(manifest.get("default_events", ())) - SUPPORTED_EVENTS:
        return f"Default events unsupported: {', '.join(sorted(unsupported))}"
    if len(manifest["name"]) > 34:
        return "Name is too long (maximum is 34 characters)"
    return ""


@asynccontextmanager
async def running() -> AsyncIterator[GitHubPages]:
    """Serve it on loopback."""
    github = GitHubPages()
    listener = socket.create_server(("127.0.0.1", 0))
    github.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = uvicorn.Server(uvicorn.Config(github.app(), log_config=None, ws="none", lifespan="off"))
    serving = asyncio.create_task(server.serve([listener]))

    async def is_started() -> bool:
        return server.started

    await until(is_started, bool, "the stand-in started")
    try:
        yield github
    finally:
        server.force_exit = server.should_exit = True
        await serving
        listener.close()


class Person:
    """Somebody with a browser, who opens the local page, presses its button, and then GitHub's."""

    def __init__(self) -> None:
        self.http = httpx.AsyncClient(trust_env=False, timeout=20.0)

    async def opens(self, url: str) -> str:
        """The local page's HTML."""
        reply = await self.http.get(url)
        assert reply.status_code == 200, reply.text
        return reply.text

    async def creates(self, page: str) -> httpx.URL:
        """Press both buttons; where GitHub sends the browser then."""
        reply = await self.http.post(action_of(page), data={"manifest": field_of(page, "manifest")})
        assert reply.status_code == 200, reply.text
        fields = {name: field_of(reply.text, name) for name in ("manifest", "state")}
        reply = await self.http.post(httpx.URL(action_of(page)).join("/create"), data=fields)
        assert reply.status_code == 302
        return httpx.URL(reply.headers["location"])

    async def registers(self, url: str) -> httpx.Response:
        """The whole way; the page that the browser shows in the end."""
        return await self.http.get(await self.creates(await self.opens(url)))


def action_of(page: str) -> str:
    """Where the form is posted."""
    return html.unescape(re.search(r'<form action="([^"]+)"', page)[1])  # type: ignore[index]


def field_of(page: str, name: str) -> str:
    """The value of a field of the form."""
    return html.unescape(re.search(rf'name="{name}" value="([^"]*)"', page)[1])  # type: ignore[index]
