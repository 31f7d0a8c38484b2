"""A stand-in for GitHub's REST API on loopback: real HTTP, GitHub's own pagination, ETags, limits and faults.

It keeps a few repositories in memory and records every request. Its answers follow GitHub's documentation of the
REST API (version 2022-11-28) and replies of the real API.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import jwt
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from proofs.loopback import listener, served

TOKEN = "ghp_a-secret-token"  # noqa: S105 -- of a server on loopback
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Asked:
    """One request, as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    status: int = 0


@dataclass
class Mishap:
    """What happens instead of the answer to a request whose path ends like this; `skip` requests pass before."""

    ending: str
    status: int = 500
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b'{"message": "a secret body"}'
    times: int = 1
    skip: int = 0
    is_drop: bool = False
    before: Callable[[], Any] | None = None


@dataclass
class Repository:
    """A repository with its issues, comments and the events of its issues, by number and ID."""

    id: int
    name: str
    issues: dict[int, dict[str, Any]] = field(default_factory=dict)
    comments: list[dict[str, Any]] = field(default_factory=list)
    events: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    deleted: set[int] = field(default_factory=set)
    transferred: dict[int, tuple[int, int]] = field(default_factory=dict)
    are_issues_off: bool = False


class GitHub:
    """The server's state and what tests do to it."""

    def __init__(self) -> None:
        self.url = ""
        self.repositories: dict[str, Repository] = {}
        self.renamed: dict[str, str] = {}
        self.asked: list[Asked] = []
        self.mishaps: list[Mishap] = []
        self.tokens = {TOKEN}
        self.app_public_key = ""
        self.installation_tokens = 0
        self.page_size_max = 100
        self.links_lead_to = ""
        self.remaining = 5000
        self.last_event_id = 0
        self.now = BEGAN + timedelta(days=1)

    def repository(self, name: str = "octo/repo") -> Repository:
        return self.repositories.setdefault(name, Repository(100 + len(self.repositories), name))

    def issue(self, issue_id: int, number: int, *, at: datetime, repo: str = "octo/repo", **given: Any) -> None:
        """An issue created at a time, and updated then unless stated otherwise. Its author gave it its labels."""
        body: dict[str, Any] = {
            "id": issue_id, "number": number, "title": f"Issue {number}", "state": "open",
            "html_url": f"https://github.com/{repo}/issues/{number}", "created_at": _stamp(at),
            "updated_at": _stamp(at), "closed_at": None, "state_reason": None, "user": account("octocat"),
            "author_association": "NONE", "labels": [], "assignees": [],
        }  # fmt: skip
        issue = self.repository(repo).issues[number] = body | given
        self.repository(repo).events[number] = []
        for label in issue["labels"]:
            self._happened(number, "labeled", issue["user"], at=at, repo=repo, label=_label(label))
        for assignee in issue["assignees"]:
            self._happened(
                number, "assigned", account(assignee["login"]), at=at, repo=repo, assignee=assignee,
                assigner=issue["user"],
            )  # fmt: skip

    def change(
        self, number: int, *, at: datetime, repo: str = "octo/repo", by: dict[str, Any] | None = None, **given: Any
    ) -> None:
        """Something happened to the issue; its author did it unless stated otherwise."""
        issue = self.repository(repo).issues[number]
        was = issue["state"]
        issue.update(given | {"updated_at": _stamp(at)})
        if "state" not in given:
            return
        issue["closed_at"] = _stamp(at) if given["state"] == "closed" else None
        issue["state_reason"] = {"closed": "completed", "open": "reopened"}[given["state"]]
        if given["state"] != was:
            event = {"closed": "closed", "open": "reopened"}[given["state"]]
            self._happened(number, event, by or issue["user"], at=at, repo=repo)

    def label(self, number: int, name: str, *, at: datetime, by: dict[str, Any] | None) -> None:
        """Somebody puts a label on the issue; None is an account that was deleted since."""
        self.change(number, at=at, labels=[*self.repository().issues[number]["labels"], {"name": name}])
        self._happened(number, "labeled", by, at=at, label=_label({"name": name}))

    def assign(self, number: int, login: str, *, at: datetime, by: dict[str, Any] | None) -> None:
        """Somebody assigns the issue. In this event alone ``actor`` is the assignee, and ``assigner`` who did it."""
        self.change(number, at=at, assignees=[*self.repository().issues[number]["assignees"], account(login)])
        self._happened(number, "assigned", account(login), at=at, assignee=account(login), assigner=by)

    def mention(self, number: int, *, at: datetime, times: int = 1) -> None:
        """Events that nobody here reads."""
        for _ in range(times):
            self._happened(number, "mentioned", account("octocat"), at=at)

    def _happened(
        self, number: int, event: str, by: dict[str, Any] | None, *, at: datetime, repo: str = "octo/repo", **given: Any
    ) -> None:
        self.last_event_id += 1
        body = {
            "id": self.last_event_id, "actor": by, "event": event, "commit_id": None, "commit_url": None,
            "created_at": _stamp(at), "performed_via_github_app": None,
        }  # fmt: skip
        self.repository(repo).events.setdefault(number, []).append(body | given)

    def comment(self, comment_id: int, number: int, text: str, *, at: datetime, **given: Any) -> None:
        """A comment, which updates its issue."""
        self.change(number, at=at)
        body = {
            "id": comment_id, "body": text, "created_at": _stamp(at), "updated_at": _stamp(at),
            "user": account("octocat"), "author_association": "NONE",
            "issue_url": f"{self.url}/repos/octo/repo/issues/{number}",
            "html_url": f"https://github.com/octo/repo/issues/{number}#issuecomment-{comment_id}",
        }  # fmt: skip
        self.repository().comments.append(body | given)

    def delete(self, number: int) -> None:
        del self.repository().issues[number]
        self.repository().deleted.add(number)

    def transfer(self, number: int, *, new_id: int) -> None:
        """The issue gets another ID and number in another repository; the old URL redirects there."""
        issue = self.repository().issues.pop(number)
        other = self.repository("octo/other")
        new_number = len(other.issues) + 1
        other.issues[new_number] = issue | {"id": new_id, "number": new_number}
        self.repository().transferred[number] = (other.id, new_number)

    def rename(self, old: str, new: str) -> None:
        self.repositories[new] = self.repositories.pop(old)
        self.repositories[new].name = new
        self.renamed[old] = new

    def requests(self, ending: str = "") -> list[Asked]:
        """The requests, in order."""
        return [asked for asked in self.asked if asked.path.endswith(ending)]

    def forget(self) -> None:
        self.asked.clear()

    def app(self) -> Starlette:
        make_token, installation = (self._with_token(f, is_app=True) for f in (self._make_token, self._installation))
        routes = [
            Route("/app/installations/{installation:int}/access_tokens", make_token, methods=["POST"]),
            Route("/repos/{owner}/{repo}/installation", installation),
        ]
        for place in ("/repos/{owner}/{repo}", "/repositories/{id:int}"):
            routes += [
                Route(place, self._with_token(self._repository)),
                Route(place + "/issues", self._with_token(self._issues)),
                Route(place + "/issues/comments", self._with_token(self._comments)),
                Route(place + "/issues/{number:int}", self._with_token(self._issue)),
                Route(place + "/issues/{number:int}/events", self._with_token(self._events)),
            ]
        return Starlette(routes=routes)

    def _with_token(self, answer: Callable[[Request], Response], *, is_app: bool = False) -> Callable[..., Any]:
        async def handle(request: Request) -> Response:
            asked = Asked(request.method, request.url.path, dict(request.query_params), dict(request.headers))
            self.asked.append(asked)
            mishap = self._mishap(request.url.path)
            if mishap is not None and mishap.is_drop:
                asked.status = -1
                return Cut(b"[{")
            if mishap is not None:
                response = Response(mishap.body, mishap.status, mishap.headers, media_type="application/json")
            else:
                response = self._authorized(request, answer, is_app=is_app)
            asked.status = response.status_code
            response.headers.setdefault("date", format_datetime(self.now, usegmt=True))
            response.headers.setdefault("x-ratelimit-limit", "5000")
            response.headers.setdefault("x-ratelimit-remaining", str(self.remaining))
            response.headers.setdefault("x-ratelimit-reset", str(int(self.now.timestamp()) + 2))
            return response

        return handle

    def _mishap(self, path: str) -> Mishap | None:
        for mishap in self.mishaps:
            if path.endswith(mishap.ending) and mishap.times > 0:
                if mishap.skip > 0:
                    mishap.skip -= 1
                    continue
                mishap.times -= 1
                if mishap.before is not None:
                    mishap.before()
                return mishap if mishap.status else None
        return None

    def _authorized(self, request: Request, answer: Callable[[Request], Response], *, is_app: bool) -> Response:
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        if is_app:
            try:
                jwt.decode(given, self.app_public_key, algorithms=["RS256"])
            except jwt.PyJWTError:
                return as_json({"message": "A JSON web token could not be decoded"}, 401)
        elif kind and given not in self.tokens:
            return as_json({"message": "Bad credentials"}, 401)
        return answer(request)

    def _place(self, request: Request) -> Repository | Response:
        if "id" in request.path_params:
            wanted = request.path_params["id"]
            return next(found for found in self.repositories.values() if found.id == wanted)
        name = f"{request.path_params['owner']}/{request.path_params['repo']}"
        if name in self.renamed:
            found = self.repositories[self.renamed[name]]
            rest = request.url.path.removeprefix(f"/repos/{name}")
            query = f"?{request.url.query}" if request.url.query else ""
            return Response(status_code=301, headers={"location": f"{self.url}/repositories/{found.id}{rest}{query}"})
        found_by_case = {known.lower(): repository for known, repository in self.repositories.items()}
        return found_by_case.get(name.lower()) or as_json({"message": "Not Found"}, 404)

    def _repository(self, request: Request) -> Response:
        place = self._place(request)
        return place if isinstance(place, Response) else as_json({"id": place.id, "full_name": place.name})

    def _issue(self, request: Request) -> Response:
        found = self._located(request)
        return found if isinstance(found, Response) else as_json(self._with_url(*found))

    def _events(self, request: Request) -> Response:
        """The events of one issue, oldest first."""
        found = self._located(request, "/events")
        if isinstance(found, Response):
            return found
        place, number = found[0], request.path_params["number"]
        return self._paged(request, place, f"/issues/{number}/events", place.events.get(number, []))

    def _located(self, request: Request, rest: str = "") -> tuple[Repository, dict[str, Any]] | Response:
        """The issue in its repository, or the answer that tells why it is not there."""
        place, number = self._place(request), request.path_params["number"]
        if isinstance(place, Response):
            return place
        if place.are_issues_off:
            return as_json({"message": "Issues are disabled for this repo"}, 410)
        if number in place.deleted:
            return as_json({"message": "This issue was deleted"}, 410)
        if number in place.transferred:
            repository, new_number = place.transferred[number]
            location = f"{self.url}/repositories/{repository}/issues/{new_number}{rest}"
            return Response(status_code=301, headers={"location": location})
        if number not in place.issues:
            return as_json({"message": "Not Found"}, 404)
        return place, place.issues[number]

    def _issues(self, request: Request) -> Response:
        place, query = self._place(request), request.query_params
        if isinstance(place, Response):
            return place
        if place.are_issues_off:
            return as_json({"message": "Issues are disabled for this repo"}, 410)
        since = query.get("since", "")
        found = [
            self._with_url(place, issue) for issue in place.issues.values()
            if query.get("state") in {"all", issue["state"]} and issue["updated_at"] >= since
        ]  # fmt: skip
        found.sort(key=lambda issue: (issue[f"{query.get('sort', 'created')}_at"], issue["id"]))
        return self._paged(request, place, "/issues", found)

    def _comments(self, request: Request) -> Response:
        place = self._place(request)
        if isinstance(place, Response):
            return place
        since = request.query_params.get("since", "")
        found = [comment for comment in place.comments if comment["updated_at"] >= since]
        found.sort(key=lambda comment: (comment["updated_at"], comment["id"]))
        return self._paged(request, place, "/issues/comments", found)

    def _paged(self, request: Request, place: Repository, rest: str, found: list[dict[str, Any]]) -> Response:
        query = dict(request.query_params)
        size, page = min(int(query.get("per_page", "30")), self.page_size_max), int(query.get("page", "1"))
        rows = found[(page - 1) * size : page * size]
        etag = 'W/"' + hashlib.sha256(json.dumps(rows).encode()).hexdigest() + '"'
        if request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers={"etag": etag})
        # GitHub's own links name a repository by its ID.
        base = f"{self.links_lead_to or self.url}/repositories/{place.id}{rest}"
        last = max(1, -(-len(found) // size))
        pages = {"prev": page - 1, "next": page + 1, "last": last, "first": 1}
        shown = [*(("prev", "first") if page > 1 else ()), *(("next", "last") if page < last else ())]
        links = [
            f'<{base}?{_query(query | {"page": str(pages[name])})}>; rel="{name}"' for name in pages if name in shown
        ]
        headers = {"etag": etag} | ({"link": ", ".join(links)} if links else {})
        return as_json(rows, headers=headers)

    def _installation(self, request: Request) -> Response:
        place = self._place(request)
        return place if isinstance(place, Response) else as_json({"id": 77})

    def _make_token(self, _request: Request) -> Response:
        self.installation_tokens += 1
        token = f"ghs_installation-{self.installation_tokens}"
        self.tokens.add(token)
        return as_json({"token": token, "expires_at": _stamp(datetime.now(UTC) + timedelta(hours=1))}, 201)

    def _with_url(self, place: Repository, issue: dict[str, Any]) -> dict[str, Any]:
        return issue | {"repository_url": f"{self.url}/repos/{place.name}"}


def account(login: str, kind: str = "User") -> dict[str, Any]:
    """An account: a User, or a Bot."""
    return {"login": login, "type": kind}


def _label(label: dict[str, Any] | str) -> dict[str, Any]:
    return {"name": label if isinstance(label, str) else label["name"], "color": "ededed"}


def _query(parameters: dict[str, str]) -> str:
    return "&".join(f"{key}={value}" for key, value in parameters.items())


def as_json(body: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(json.dumps(body), status, headers, media_type="application/json; charset=utf-8")


def _stamp(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


@asynccontextmanager
async def running(github: GitHub) -> AsyncIterator[GitHub]:
    """Serve on loopback; `github.url` is the address."""
    at, url = listener()
    github.url = github.url or url
    # That an answer was cut off is no news.
    async with served(github.app(), at, log_level="critical", server_header=False, date_header=False):
        yield github


class Cut(Response):
    """Sends the first bytes of an answer and drops the connection."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG002 -- Starlette's signature
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1000")]})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
