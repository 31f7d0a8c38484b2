"""GitHub Apps as such: what ours may do, its registration, where it is installed, where its deliveries go.

The App proves itself by a JWT. What is asked about issues is asked in `github_client`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar
from urllib.parse import quote

import httpx
from gidgethub import sansio
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from issuebox.domain.errors import RefusedError
from issuebox.providers.github_auth import proof_of

TIMEOUT_S: Final = 15.0
INSTALLATIONS_MAX: Final = 100
REPOSITORIES_MAX: Final = 100
"""Of one installation: the largest page that GitHub returns."""


@dataclass(frozen=True, slots=True)
class Permission:
    """What the App may do with one kind of thing, and why it asks for it."""

    name: str
    access: str
    reason: str


PERMISSIONS: Final = (
    Permission("metadata", "read", "GitHub demands it of every App: names of repositories, and nothing in them."),
    Permission("issues", "write", "Resync reads issues and comments that deliveries missed. Runs are told there."),
    Permission("contents", "write", "Runs will clone the repository and push their branch."),
    Permission("pull_requests", "write", "Runs will open a pull request with their work."),
)
"""All that is ever needed, so that the App is approved once. Today issues are read, and only comments are written."""

EVENTS: Final = {
    "issues": "An issue is opened, closed, reopened, labelled, assigned, transferred or deleted.",
    "issue_comment": "Somebody may ask for a sandbox in a comment.",
}


class GitHubAppError(Exception):
    """GitHub's answer is no answer, or there is none. The text is a sentence for a person, without secrets."""

    def __init__(self, sentence: str, status: int = 0) -> None:
        super().__init__(sentence)
        self.status = status

    @property
    def is_away(self) -> bool:
        """Whether GitHub did not answer, or only with an error of its own."""
        return self.status == 0 or self.status >= httpx.codes.INTERNAL_SERVER_ERROR


class Account(BaseModel):
    """A user or an organization."""

    login: str = ""


class Registration(BaseModel):
    """A new App, with its secrets, as the conversion of a manifest answers it. It is answered once."""

    id: int
    slug: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    html_url: str = Field(pattern=r"^https?://[!-~]+$")
    pem: str = Field(min_length=1, repr=False)
    webhook_secret: str = Field(min_length=1, repr=False)
    owner: Account = Account()


class About(BaseModel):
    """An App as it sees itself."""

    slug: str = ""
    owner: Account = Account()
    permissions: dict[str, str] = Field(default_factory=dict)
    events: list[str] = Field(default_factory=list)


class Installation(BaseModel):
    """One account in whose repositories the App is installed."""

    id: int
    account: Account = Account()
    repository_selection: str = ""
    suspended_at: str | None = None


class Repository(BaseModel):
    """A repository that the App may see."""

    full_name: str
    private: bool = False


class _Repositories(BaseModel):
    total_count: int
    repositories: list[Repository]


class _Hook(BaseModel):
    url: str = ""


class _Token(BaseModel):
    token: str = Field(repr=False)


T = TypeVar("T")


def api_url_of(github_url: str) -> str:
    """The REST API of a GitHub whose pages are here: github.com, a tenant of ghe.com, or an Enterprise Server."""
    scheme, _, host = github_url.partition("://")
    if host == "github.com" or host.endswith(".ghe.com"):
        return f"{scheme}://api.{host}"
    return f"{github_url}/api/v3"


async def register(api_url: str, code: str) -> Registration:
    """Exchange the code that GitHub gave the browser for the new App. A code works once, and for an hour."""
    async with _client(api_url) as client:
        reply = await _ask(client, "POST", f"/app-manifests/{quote(code, safe='')}/conversions")
    if reply.status_code in {httpx.codes.NOT_FOUND, httpx.codes.UNPROCESSABLE_ENTITY}:
        raise GitHubAppError("GitHub does not know the code: it was used already, or is older than an hour", 404)
    try:
        return Registration.model_validate(_answer(reply, TypeAdapter(dict[str, Any]), "the new App"))
    except ValidationError as error:
        # Without the cause, which may quote a secret.
        lacking = ", ".join(sorted({str(detail["loc"][0]) for detail in error.errors(include_input=False)}))
        raise GitHubAppError(f"GitHub's answer about the new App lacks {lacking}", reply.status_code) from None


@dataclass(frozen=True, slots=True)
class App:
    """Questions that the App asks as itself. Each raises GitHubAppError."""

    api_url: str
    app_id: str
    private_key: str = field(repr=False)

    def require_key(self) -> None:
        """Raise GitHubAppError when the key is none. Asks nobody."""
        self._headers()

    async def about(self) -> About:
        """What it is, and what it may do."""
        return await self._get("/app", TypeAdapter(About), "the App")

    async def installations(self) -> list[Installation]:
        """Where it is installed: the first hundred."""
        path = f"/app/installations?per_page={INSTALLATIONS_MAX}"
        return await self._get(path, TypeAdapter(list[Installation]), "the App's installations")

    async def repositories(self, installation: Installation) -> tuple[list[Repository], int]:
        """The first hundred repositories of an installation, and how many there are."""
        what = f"the repositories of {installation.account.login}"
        async with _client(self.api_url, self._headers()) as client:
            made = await _ask(client, "POST", f"/app/installations/{installation.id}/access_tokens")
            token = _answer(made, TypeAdapter(_Token), what).token
            headers = {"authorization": f"Bearer {token}"}
            path = f"/installation/repositories?per_page={REPOSITORIES_MAX}"
            reply = await _ask(client, "GET", path, headers=headers)
        found = _answer(reply, TypeAdapter(_Repositories), what)
        return found.repositories, found.total_count

    async def is_installed_in(self, repository: str) -> bool:
        """Whether it may see this repository."""
        async with _client(self.api_url, self._headers()) as client:
            reply = await _ask(client, "GET", f"/repos/{repository}/installation")
        if reply.status_code == httpx.codes.NOT_FOUND:
            return False
        _answer(reply, TypeAdapter(dict[str, Any]), f"the App's installation in {repository}")
        return True

    async def webhook_url(self) -> str:
        """Where its deliveries go; '' for nowhere."""
        async with _client(self.api_url, self._headers()) as client:
            reply = await _ask(client, "GET", "/app/hook/config")
        if reply.status_code == httpx.codes.NOT_FOUND:
            return ""
        return _answer(reply, TypeAdapter(_Hook), "the App's webhook").url

    async def send_webhooks_to(self, url: str) -> None:
        """Change where its deliveries go. Its secret stays. Whether it is active cannot be changed by the API."""
        async with _client(self.api_url, self._headers()) as client:
            body = {"url": url, "content_type": "json"}
            reply = await _ask(client, "PATCH", "/app/hook/config", json=body)
        _answer(reply, TypeAdapter(_Hook), "the App's webhook")

    async def _get(self, path: str, shape: TypeAdapter[T], what: str) -> T:
        async with _client(self.api_url, self._headers()) as client:
            return _answer(await _ask(client, "GET", path), shape, what)

    def _headers(self) -> Mapping[str, str]:
        try:
            proof = proof_of(self.app_id, self.private_key)
        except RefusedError as error:
            raise GitHubAppError(str(error), httpx.codes.UNAUTHORIZED) from None
        return sansio.create_headers("issuebox", jwt=proof)


def _client(api_url: str, headers: Mapping[str, str] | None = None) -> httpx.AsyncClient:
    own = headers or sansio.create_headers("issuebox")
    return httpx.AsyncClient(
        base_url=api_url,
        headers={**own, "x-github-api-version": "2022-11-28"},
        timeout=TIMEOUT_S,
        follow_redirects=False,
    )


async def _ask(client: httpx.AsyncClient, method: str, path: str, **given: Any) -> httpx.Response:
    try:
        return await client.request(method, path, **given)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        # Without the cause: it knows the request, and that has the token.
        raise GitHubAppError(f"GitHub cannot be reached: {type(error).__name__}") from None


def _answer(reply: httpx.Response, shape: TypeAdapter[T], what: str) -> T:
    if reply.status_code == httpx.codes.UNAUTHORIZED:
        cause = "the App was deleted, or this machine's clock is wrong"
        raise GitHubAppError(f"GitHub does not accept the App's key when asked for {what}: {cause}", reply.status_code)
    if not reply.is_success:
        raise GitHubAppError(f"GitHub answered {reply.status_code} when asked for {what}", reply.status_code)
    try:
        return shape.validate_json(reply.content)
    except ValidationError:
        raise GitHubAppError(f"GitHub's answer about {what} cannot be read", httpx.codes.BAD_GATEWAY) from None
