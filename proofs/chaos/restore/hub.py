"""GitHub's REST API, as far as resync reads it: one repository, whose issues are as the events of the load say.

An event is there from its second on, whether its delivery came or not. No faults: those are in tests/resync.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from issuebox.dev.mock_delivery import AUTHOR
from proofs.chaos.github import SENDERS
from proofs.chaos.story import Event, Post
from proofs.chaos.terms import REPOSITORY
from proofs.loopback import listener, served

TOKEN: Final = "chaos-github-token"  # noqa: S105 -- of a server on loopback that lives for minutes
ELSEWHERE: Final = "octo/elsewhere"
"""Where issues are transferred to."""
ANOTHER_ID: Final = 1_000_000
"""A transferred issue has another ID, higher by this."""
ACTS: Final = frozenset({"closed", "reopened", "labeled"})


class Hub:
    """The repository. `base`: the beginning of the load, a whole epoch second."""

    def __init__(self, posts: Iterable[Post]) -> None:
        self.url = ""
        self.base = 0
        self._events: dict[int, list[Event]] = {}
        for event in dict.fromkeys(post.event for post in sorted(posts, key=lambda post: post.event.second)):
            self._events.setdefault(event.issue, []).append(event)

    def app(self) -> Starlette:
        """The routes."""
        places: Mapping[str, Callable[[Request], Response]] = {
            "": self._repository,
            "/issues": self._issues,
            "/issues/comments": self._comments,
            "/issues/{number:int}": self._issue,
            "/issues/{number:int}/events": self._acts,
        }
        return Starlette(routes=[Route(f"/repos/{{owner}}/{{repo}}{place}", do) for place, do in places.items()])

    def _happened(self, issue: int) -> list[Event]:
        return [event for event in self._events[issue] if self.base + event.second <= time.time()]

    def _listed(self) -> list[dict[str, Any]]:
        """The issues that are there now."""
        return [
            self._body(events)
            for issue in self._events
            if (events := self._happened(issue)) and events[-1].kind.action not in {"transferred", "deleted"}
        ]

    def _repository(self, request: Request) -> Response:
        return JSONResponse({"full_name": f"{request.path_params['owner']}/{request.path_params['repo']}"})

    def _issues(self, request: Request) -> Response:
        query = request.query_params
        found = [
            body
            for body in self._listed()
            if query.get("state") in {"all", body["state"]} and body["updated_at"] >= query.get("since", "")
        ]
        found.sort(key=lambda body: (body[f"{query.get('sort', 'created')}_at"], body["id"]))
        return self._page(request, found)

    def _comments(self, request: Request) -> Response:
        listed = {body["number"] for body in self._listed()}
        found = [
            self._comment(issue, place, event)
            for issue in listed
            for place, event in enumerate(self._happened(issue))
            if event.kind.action == "comment"
        ]
        since = request.query_params.get("since", "")
        in_order = sorted(found, key=lambda body: (body["updated_at"], body["id"]))
        return self._page(request, [body for body in in_order if body["updated_at"] >= since])

    def _acts(self, request: Request) -> Response:
        """Who closed, reopened and labelled the issue, the oldest first."""
        events = self._happened(request.path_params["number"])
        acts = enumerate(event for event in events if event.kind.action in ACTS)
        return self._page(request, [self._act(place, event) for place, event in acts])

    def _act(self, place: int, event: Event) -> dict[str, Any]:
        sender = SENDERS[event.kind.sender]
        return {
            "id": event.issue * 1000 + place + 1,
            "event": event.kind.action,
            "created_at": self._stamp(event.second),
            "actor": {"login": sender.login, "type": "Bot" if sender.is_bot else "User"},
            "label": {"name": event.label} if event.kind.action == "labeled" else None,
        }

    def _issue(self, request: Request) -> Response:
        number = request.path_params["number"]
        if request.path_params["repo"] == ELSEWHERE.partition("/")[2]:
            events = self._happened(number - ANOTHER_ID)
            return JSONResponse(self._body(events) | {"id": number, "number": number})
        events = self._happened(number) if number in self._events else []
        match events[-1].kind.action if events else "":
            case "":
                return JSONResponse({"message": "Not Found"}, 404)
            case "deleted":
                return JSONResponse({"message": "This issue was deleted"}, 410)
            case "transferred":
                location = f"{self.url}/repos/{ELSEWHERE}/issues/{number + ANOTHER_ID}"
                return Response(status_code=301, headers={"location": location})
            case _:
                return JSONResponse(self._body(events))

    def _body(self, events: Sequence[Event]) -> dict[str, Any]:
        first, last = events[0], events[-1]
        is_labelled = any(event.kind.action == "labeled" and event.kind.is_trigger for event in events)
        return {
            "id": first.issue,
            "number": first.issue,
            "title": f"Issue {first.issue} of the chaos run",
            "state": "open" if last.closed_at is None else "closed",
            "html_url": f"https://github.com/{REPOSITORY}/issues/{first.issue}",
            "created_at": self._stamp(first.second),
            "updated_at": self._stamp(last.second),
            "closed_at": None if last.closed_at is None else self._stamp(last.closed_at),
            "user": {"login": AUTHOR, "type": "User"},
            "author_association": "OWNER",
            "labels": [{"name": "claude"}] if is_labelled else [],
            "assignees": [],
        }

    def _comment(self, issue: int, place: int, event: Event) -> dict[str, Any]:
        return {
            "id": issue * 1000 + place,
            "body": event.comment,
            "issue_url": f"{self.url}/repos/{REPOSITORY}/issues/{issue}",
            "html_url": f"https://github.com/{REPOSITORY}/issues/{issue}#issuecomment-{place}",
            "created_at": self._stamp(event.second),
            "updated_at": self._stamp(event.second),
            "user": {"login": "maintainer", "type": "User"},
            "author_association": "OWNER",
        }

    def _page(self, request: Request, found: Sequence[object]) -> Response:
        size, page = int(request.query_params.get("per_page", "30")), int(request.query_params.get("page", "1"))
        headers = {}
        if page * size < len(found):
            following = request.url.include_query_params(page=page + 1)
            headers["link"] = f'<{self.url}{following.path}?{following.query}>; rel="next"'
        return JSONResponse(found[(page - 1) * size : page * size], headers=headers)

    def _stamp(self, second: int) -> str:
        return datetime.fromtimestamp(self.base + second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@asynccontextmanager
async def serving(hub: Hub) -> AsyncIterator[Hub]:
    """Serve on loopback, at `hub.url`."""
    at, hub.url = listener()
    async with served(hub.app(), at):
        yield hub
