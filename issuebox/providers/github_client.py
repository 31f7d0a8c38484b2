"""One question to GitHub's REST API: credentials, one deadline, redirects, rate limits; no retries.

Requests go to the configured API and to nowhere else: a page's link or a redirect that leads to another
host is refused, so that the token cannot follow it. Only `write` changes anything at GitHub.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import parse_qs, urlsplit

import httpx
from gidgethub import sansio
from pydantic import TypeAdapter, ValidationError

from issuebox.domain.errors import RefusedError, TransientError
from issuebox.domain.issue_source import is_repository
from issuebox.domain.phase import Cause
from issuebox.providers import github_models as models
from issuebox.providers.github_auth import AppTokens, Credential, proof_of
from issuebox.providers.github_errors import Pauses, Reply, error_for

BODY_MAX_BYTES = 64 * 1024 * 1024
"""A page of a hundred issues with bodies of 65,536 characters each is less."""
REDIRECTS_MAX = 2
QUERY_MAX = 2000
CONNECT_TIMEOUT_S = 5.0
ANONYMOUS = Credential("anonymous")

LIMITS = ((60.0, 80), (3600.0, 500))
"""(seconds, writes in them)."""

OK = frozenset({200, 201, 204})
REDIRECTS = frozenset({301, 302, 307, 308})
NOT_MODIFIED, NOT_FOUND, GONE, UNAUTHORIZED = 304, 404, 410, 401

_PLACE = re.compile(
    r"/(?:repos/[^/]+/[^/]+|repositories/[0-9]+)(/issues/comments|/issues/comments/[0-9]+(?:/reactions)?"
    r"|/issues/[0-9]+/(?:events|comments)|/issues/[0-9]+|/issues|)"
)
"""Where a link may lead: GitHub names a repository by its ID in the links of its own making."""

_PAGE = re.compile(r"[1-9][0-9]{0,8}")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class GitHubOptions:
    """How GitHub is reached. An App is preferred to a token; with neither, only public issues are seen.

    ``limits``: how many writes are sent in how many seconds.
    """

    api_url: str = "https://api.github.com"
    token: str = field(default="", repr=False)
    app_id: str = ""
    private_key: str = field(default="", repr=False)
    timeout_s: float = 15.0
    limits: tuple[tuple[float, int], ...] = LIMITS


@dataclass(slots=True)
class Question:
    """What is asked, and how many requests it took. ``may_be_gone``: an answer of 404 or 410 is an answer."""

    repository: str
    place: str = ""
    query: str = ""
    etag: str = ""
    may_be_gone: bool = False
    requests: int = 0

    @property
    def path(self) -> str:
        """Where it is asked."""
        return f"/repos/{self.repository}{self.place}"

    @property
    def what(self) -> str:
        """What is asked for, in words."""
        return f"{self.place.lstrip('/') or 'the repository'} of {self.repository}"


@dataclass(frozen=True, slots=True)
class Answer:
    """A success, a 304, or for what may be gone a 404 or 410. ``is_redirected``: it was found at another place."""

    reply: Reply
    is_redirected: bool = False


class GitHubClient:
    """GitHub's API. Opens no connection before the first question."""

    def __init__(self, options: GitHubOptions) -> None:
        self._options = options
        self._base = options.api_url.rstrip("/")
        self._pauses = Pauses()
        self._apps = AppTokens(options.app_id, options.private_key) if options.app_id else None
        self._http: httpx.AsyncClient | None = None

    async def close(self) -> None:
        """Release connections."""
        if self._http is not None:
            await self._http.aclose()
            self._http = None

    async def get(self, question: Question) -> Answer:
        """Ask. Raises a `ProviderError` for whatever is no answer."""
        return await self._ask("GET", question)

    async def write(self, method: str, question: Question, body: Mapping[str, str] | None = None) -> Answer:
        """Change something. Raises as `get` does; after a `TransientError` nobody knows whether it was done."""
        return await self._ask(method, question, b"" if body is None else json.dumps(body).encode())

    async def login(self) -> str:
        """Who we are at GitHub: the author of what we write. Raises as `get` does."""
        options = self._options
        question = Question("these credentials", "/the account")
        if options.app_id:
            proof = Credential("app", proof_of(options.app_id, options.private_key))
            reply = await self._send("GET", self._url("/app"), proof, question, is_app=True)
            app = self._made(reply, models.APP, question, "the account")
            return f"{app.slug}[bot]"
        reply = await self._send("GET", self._url("/user"), Credential("token", options.token), question)
        return self._made(reply, models.ACCOUNT, question, "the account").login

    async def _ask(self, method: str, question: Question, content: bytes = b"") -> Answer:
        if not is_repository(question.repository):
            raise RefusedError("a repository is owner/name", cause=Cause.INVALID)
        credential = await self._credential(question)
        url, hops = self._url(question.path, question.query), 0
        reply = await self._send(method, url, credential, question, content=content)
        while reply.status in REDIRECTS:
            if hops == REDIRECTS_MAX:
                raise RefusedError(f"GitHub leads from place to place for {question.what}", cause=Cause.INVALID)
            url, hops = self._redirected(reply, question), hops + 1
            reply = await self._send(method, url, credential, question, content=content)
        self._require_answer(reply, credential, question)
        return Answer(reply, is_redirected=hops > 0)

    def next_cursor(self, reply: Reply, question: Question) -> str:
        """The query of the next page, '' at the end. It must lead to where we asked; the rest is not used."""
        _, _, link = sansio.decipher_response(reply.status, reply.headers, b"")
        if not link:
            return ""
        query = self._same_place(link, question)
        if not query or len(query) > QUERY_MAX:
            raise RefusedError(f"GitHub's next page of {question.what} cannot be used", cause=Cause.INVALID)
        return query

    def last_page(self, reply: Reply, question: Question) -> int:
        """The number of a listing's last page. 0 when there are more pages and GitHub does not say how many."""
        links = httpx.Response(reply.status, headers={"link": reply.headers.get("link", "")}).links
        if "next" not in links:
            return 1
        if "last" not in links:
            return 0
        number = parse_qs(self._same_place(links["last"]["url"], question)).get("page", [""])[0]
        return int(number) if _PAGE.fullmatch(number) else 0

    def _require_answer(self, reply: Reply, credential: Credential, question: Question) -> None:
        is_answer = reply.status in OK or reply.status == NOT_MODIFIED
        if is_answer or (question.may_be_gone and reply.status in {NOT_FOUND, GONE}):
            return
        if reply.status == UNAUTHORIZED and self._apps is not None:
            self._apps.forget(question.repository)
            if not credential.is_fresh:
                raise TransientError("GitHub does not accept an installation token any more; a new one is made")
        raise error_for(reply, question.what)

    def _redirected(self, reply: Reply, question: Question) -> str:
        """Where a redirect leads: into the same API, to the same kind of place."""
        location = reply.headers.get("location", "")
        query = self._same_place(location, question) or question.query
        parts = urlsplit(location)
        return f"{parts.scheme}://{parts.netloc}{parts.path}" + (f"?{query}" if query else "")

    def _same_place(self, url: str, question: Question) -> str:
        """The query of a link into the configured API. Raises RefusedError when it leads elsewhere."""
        ours, theirs = urlsplit(self._base), urlsplit(url)
        is_ours = (theirs.scheme, theirs.netloc) == (ours.scheme, ours.netloc) and theirs.path.startswith(ours.path)
        if not is_ours or _kind(theirs.path.removeprefix(ours.path)) != _kind(question.path):
            raise RefusedError(f"GitHub's answer for {question.what} leads to another place", cause=Cause.INVALID)
        return theirs.query

    async def _credential(self, question: Question) -> Credential:
        if self._apps is None:
            return Credential("token", self._options.token) if self._options.token else ANONYMOUS

        async def find(proof: str, repository: str) -> models.InstallationBody:
            url = self._url(f"/repos/{repository}/installation")
            reply = await self._send("GET", url, Credential("app", proof), question, is_app=True)
            return self._made(reply, models.INSTALLATION, question, "the GitHub App's installation")

        async def make(proof: str, installation: int) -> models.TokenBody:
            url = self._url(f"/app/installations/{installation}/access_tokens")
            reply = await self._send("POST", url, Credential("app", proof), question, is_app=True)
            return self._made(reply, models.TOKEN, question, "a token of the GitHub App's installation")

        return await self._apps.credential(question.repository, find, make)

    async def _send(
        self,
        method: str,
        url: str,
        credential: Credential,
        question: Question,
        *,
        content: bytes = b"",
        is_app: bool = False,
    ) -> Reply:
        """One request, with one deadline. Raises TransientError when there is no answer that can be read."""
        self._pauses.require_none(credential.key)
        token = {"jwt" if is_app else "oauth_token": credential.token} if credential.token else {}
        headers = sansio.create_headers("issuebox", **token) | {"x-github-api-version": "2022-11-28"}
        if question.etag and not is_app:
            headers["if-none-match"] = question.etag
        if content:
            headers["content-type"] = "application/json"
        question.requests += 1
        try:
            async with asyncio.timeout(self._options.timeout_s):
                async with self._client().stream(method, url, headers=headers, content=content or None) as response:
                    reply = Reply(response.status_code, _lowered(response), await _body(response))
        except (TimeoutError, httpx.TimeoutException):
            raise TransientError(f"GitHub did not answer in time when asked for {question.what}") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            # Without the cause: it knows the request, and that has the token.
            raise TransientError(f"GitHub cannot be reached: {type(error).__name__}") from None
        self._pauses.learn(credential.key, reply)
        return reply

    def _client(self) -> httpx.AsyncClient:
        if self._http is None:
            timeout = httpx.Timeout(self._options.timeout_s, connect=min(CONNECT_TIMEOUT_S, self._options.timeout_s))
            self._http = httpx.AsyncClient(timeout=timeout, follow_redirects=False)
        return self._http

    def _url(self, path: str, query: str = "") -> str:
        return f"{self._base}{path}?{query}" if query else f"{self._base}{path}"

    def _made(self, reply: Reply, shape: TypeAdapter[T], question: Question, what: str) -> T:
        if reply.status not in OK:
            raise error_for(reply, f"{what} in {question.repository}")
        return self.parsed(reply, shape, question)

    def parsed(self, reply: Reply, shape: TypeAdapter[T], question: Question) -> T:
        """The body as what it should be. Half a body, or a proxy's page, is taken for an outage."""
        try:
            data, _, _ = sansio.decipher_response(reply.status, reply.headers, reply.body)
            return shape.validate_python(data)
        except (ValidationError, ValueError):
            # Without the cause: it quotes the body.
            raise TransientError(f"GitHub's answer for {question.what} cannot be read", status=reply.status) from None


def _kind(path: str) -> str | None:
    """What a path of the API is about, whichever repository and issue it names; None for anything else."""
    place = _PLACE.fullmatch(path)
    return re.sub("[0-9]+", "", place[1]) if place else None


def _lowered(response: httpx.Response) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


async def _body(response: httpx.Response) -> bytes:
    chunks, size = [], 0
    async for chunk in response.aiter_bytes():
        chunks.append(chunk)
        size += len(chunk)
        if size > BODY_MAX_BYTES:
            raise httpx.DecodingError("the body is too large")
    return b"".join(chunks)
